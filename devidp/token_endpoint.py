"""The token endpoint: a code, or a refresh token, for tokens.

Checks come in the order of RFC 6749 4.1.3 and OIDC Core 3.1.3.2, and the first that fails answers. A
code is used up by the first authenticated call that shows it, whether that call succeeds or not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from flask import Response, g, jsonify, request

from devidp import tokens
from devidp.client_auth import authenticate
from devidp.errors import Refusal
from devidp.faces import Face
from devidp.knobs import UNSET
from devidp.people import Person
from devidp.state import Grant, State

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
FORM = "application/x-www-form-urlencoded"


def handle(state: State, face: Face) -> Response:
    if request.method != "POST":
        raise Refusal("not_post")
    if request.mimetype != FORM:
        raise Refusal("not_form")
    if request.args:
        raise Refusal("in_query")
    if any(len(values) > 1 for _, values in request.form.lists()):
        raise Refusal("repeated")
    form = request.form.to_dict()
    client_id = authenticate(state, face, form)
    if "grant_type" not in form:
        raise Refusal("missing")
    grants = {"authorization_code": _from_code, "refresh_token": _from_refresh_token}
    grant_of = grants.get(form["grant_type"])
    if grant_of is None:
        raise Refusal("grant_type")
    grant = grant_of(state, face, form)
    if grant.sign_in.client_id != client_id:
        raise Refusal("unknown_code")
    return _answer(state, face, grant, form.get("code"))


def _from_code(state: State, face: Face, form: dict[str, str]) -> Grant:
    if not form.get("code") or not form.get("redirect_uri"):
        raise Refusal("missing")
    grant, first = state.redeem_code(form["code"])
    if grant is None or grant.face != face.name:
        raise Refusal("unknown_code")
    if not first:
        if not state.knobs.take("token.keep_codes", face.name):
            raise Refusal("reused_code")
        state.forget_use(grant)
    if state.now() - grant.made_at > state.settings.code_lifetime:
        raise Refusal("expired_code")
    if form["redirect_uri"] != grant.redirect_uri:
        raise Refusal("redirect_differs")
    _check_verifier(state, face, grant, form.get("code_verifier"))
    return grant


def _check_verifier(state: State, face: Face, grant: Grant, verifier: str | None) -> None:
    """RFC 7636 4.6; a verifier for a request that had no challenge is refused too (RFC 9700 4.8.2)."""
    if state.knobs.take("ignore_pkce", face.name):
        return
    if verifier is None or not _VERIFIER.fullmatch(verifier):
        raise Refusal("pkce_verifier_missing")
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if not hmac.compare_digest(challenge, grant.challenge or ""):
        raise Refusal("pkce_mismatch")


def _from_refresh_token(state: State, face: Face, form: dict[str, str]) -> Grant:
    if not form.get("refresh_token"):
        raise Refusal("missing")
    rotate = state.knobs.take("token.rotate", face.name, default=True)
    grant = state.grant_of_refresh_token(form["refresh_token"], rotate=rotate)
    if grant is None or grant.face != face.name:
        raise Refusal("dead_grant")
    g.refreshed_with = None if rotate else form["refresh_token"]
    return grant


def _answer(state: State, face: Face, grant: Grant, code: str | None) -> Response:
    person: Person | None = state.people.get(grant.person)
    if person is None or person.disabled:
        raise Refusal("disabled")
    access_token = state.issue_access_token(grant)
    sign_in = grant.sign_in
    if code is None:
        # OIDC Core 12.2: a refreshed ID token normally carries no nonce.
        sign_in = sign_in.without_nonce()
    answer = {
        "token_type": "Bearer",
        "scope": " ".join(sorted(sign_in.scope)),
        "expires_in": 3599,
        **face.token_extra,
        "access_token": access_token,
    }
    if "offline_access" in sign_in.scope:
        answer["refresh_token"] = getattr(g, "refreshed_with", None) or state.issue_refresh_token(grant)
    id_token = tokens.id_token(state, face, person, sign_in, access_token=access_token, code=code)
    if id_token is not UNSET:
        answer["id_token"] = id_token
    g.outcome = "tokens"
    return jsonify(answer)
