"""Who calls the token endpoint: the client's secret by Basic or in the body, or a signed assertion.

Exactly one way, and it must be right: a request with two is refused (RFC 6749 2.3), and secrets are
compared in constant time. Certificates for private_key_jwt are registered through the control API.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from flask import g, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from devidp.errors import Refusal
from devidp.faces import Face
from devidp.state import Client, State

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def authenticate(state: State, face: Face, form: Mapping[str, str]) -> str:
    """The authenticated client id; anything else is a Refusal."""
    seen = [
        method
        for method, present in (
            ("client_secret_basic", "Authorization" in request.headers),
            ("client_secret_post", "client_secret" in form),
            ("private_key_jwt", "client_assertion" in form),
        )
        if present
    ]
    g.client_auth = "+".join(seen) or "none"
    if len(seen) > 1:
        raise Refusal("two_methods")
    if not seen or seen[0] not in face.auth_methods:
        raise Refusal("unknown_client" if _is_unknown(state, form) else "no_secret")
    if seen[0] == "private_key_jwt":
        return _assertion(state, face, form)
    client_id, secret = (
        _basic() if seen[0] == "client_secret_basic" else (form.get("client_id", ""), form["client_secret"])
    )
    if client_id != state.client.client_id or _is_unknown(state, form):
        raise Refusal("unknown_client")
    if not hmac.compare_digest(secret.encode(), state.client.secret.encode()):
        raise Refusal("wrong_secret")
    return client_id


def _is_unknown(state: State, form: Mapping[str, str]) -> bool:
    return form.get("client_id", state.client.client_id) != state.client.client_id


def _basic() -> tuple[str, str]:
    """RFC 6749 2.3.1: both halves are form-encoded before they are joined; who forgets that is refused."""
    scheme, _, value = request.headers["Authorization"].partition(" ")
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except ValueError:
        raise Refusal("no_secret") from None
    client_id, colon, secret = pair.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise Refusal("no_secret")
    return unquote_plus(client_id), unquote_plus(secret)


def _assertion(state: State, face: Face, form: Mapping[str, str]) -> str:
    """RFC 7523 3 as Entra asks for it (fact A20): PS256 or RS256, ten minutes at most.

    A jti may come again: MSAL uses one assertion for nine minutes (fact A21).
    """
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise Refusal("bad_assertion")
    claims = _verified(state.client, form["client_assertion"])
    client_id, now = state.client.client_id, state.now()
    audiences = {state.base + face.token, state.issuer(face)}
    exp, nbf = claims.get("exp"), claims.get("nbf", now)
    if not isinstance(exp, int | float) or not isinstance(nbf, int | float):
        raise Refusal("bad_assertion")
    if not now < exp <= now + 660 or nbf > now + 60:
        raise Refusal("bad_assertion")
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise Refusal("bad_assertion")
    if claims.get("aud") not in audiences or not isinstance(claims.get("jti"), str):
        raise Refusal("bad_assertion")
    return client_id


def _verified(client: Client, assertion: str) -> dict[str, Any]:
    # x5t#S256 and x5c make headers longer than joserfc's limit of 512 bytes.
    registry = JWSRegistry(algorithms=["PS256", "RS256"], strict_check_header=False)
    registry.max_header_length = 16_384
    for pem in client.certificates:
        try:
            return dict(jwt.decode(assertion, RSAKey.import_key(pem), registry=registry).claims)
        except (JoseError, ValueError):
            continue
    raise Refusal("bad_assertion")
