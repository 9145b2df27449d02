"""What can be fetched: the discovery document, the key set and userinfo.

The key set is built when it is asked for, so a rotation shows at once. Userinfo takes only this
face's own access tokens, and only in the Authorization header (RFC 6750 2.1).
"""

from __future__ import annotations

from typing import Any

from flask import Response, g, jsonify, request

from devidp import keys, tokens
from devidp.faces import Face
from devidp.settings import OTHER_TENANT_ID
from devidp.state import State


def discovery(state: State, face: Face) -> Response:
    response = jsonify(face.document(state.base))
    response.headers["Cache-Control"] = "max-age=86400, private"
    return response


def jwks(state: State, face: Face) -> Response:
    issuer = state.issuer(face)
    shown = [_jwk(face, key, issuer) for key in state.keyrings[face.name].published()]
    if "issuer" in face.key_members:
        # Entra's key sets hold keys that are good for another issuer only (fact A4). A relying
        # party that ignores the member takes the other tenant's tokens.
        stranger = keys.stranger("foreign_tenant")
        shown.append(_jwk(face, stranger, f"{state.base}/{OTHER_TENANT_ID}/v2.0"))
    return jsonify({"keys": shown})


def _jwk(face: Face, key: keys.SigningKey, issuer: str) -> dict[str, Any]:
    jwk = key.public_jwk()
    if "x5c" in face.key_members:
        jwk = keys.with_certificate(key, jwk)
    # A key for an unusual algorithm says which, also where the vendor leaves `alg` out.
    if "alg" in face.key_members or key.alg != "RS256":
        jwk["alg"] = key.alg
    if "issuer" in face.key_members:
        jwk["issuer"] = issuer
    return jwk


def userinfo(state: State, face: Face) -> Response:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    grant = state.grant_of_access_token(token) if scheme.lower() == "bearer" else None
    person = state.people.get(grant.person) if grant is not None and grant.face == face.name else None
    if grant is None or person is None or person.disabled:
        g.outcome = "invalid_token"
        response = jsonify({"error": "invalid_token", "error_description": "The access token is not valid."})
        response.status_code = 401
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return response
    claims = {**face.claims(person, grant.sign_in), **person.claims}
    answer = {name: value for name, value in claims.items() if name in face.userinfo_claims}
    if state.knobs.take("groups.place", face.name, face.group_place) in ("userinfo", "both"):
        answer |= tokens.group_claims(state, face, person)
    g.outcome = "claims"
    return jsonify(answer)
