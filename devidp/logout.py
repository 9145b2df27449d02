"""The way out: RP-Initiated Logout 1.0 as each face does it, and PingFederate's older way.

The person's session here ends; the browser is sent on only to an address that is registered where this
vendor looks for it, and only for a hint that this provider signed for this client. Else the person stays
on a page of ours, which is what a relying party sees when it got something wrong.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Response, g, make_response, redirect, request
from joserfc import jws
from joserfc.errors import JoseError

from devidp import keys, page
from devidp.authorize import COOKIE
from devidp.faces import Face
from devidp.keys import SigningKey
from devidp.state import State


def handle(state: State, face: Face) -> Response:
    """RP-Initiated Logout 1.0, section 2."""
    said = request.values.to_dict()
    if any(len(values) > 1 for _, values in request.values.lists()):
        return _stopped(face, "repeated", "A parameter is given more than once.")
    if said.get("client_id", state.client.client_id) != state.client.client_id:
        return _stopped(face, "unknown_client", "This application is not known here.")
    hint = said.get("id_token_hint")
    if hint is not None and _hinted(state, face, hint) is None:
        return _stopped(face, "bad_hint", "The id_token_hint is none of ours for this application.")
    session = state.browser_session(request.cookies.get(COOKIE), face)
    if face.logout_asks_who and session is not None and hint is None:
        # Fact A28: without a hint the person is asked which account it is about.
        person = state.people.get(session.person)
        own = person.claims.get("login_hint") if person is not None else None
        if own is None or said.get("logout_hint") != own:
            return _stopped(face, "which_account", "Which account do you want to sign out of?")
    state.sign_out_browser(request.cookies.get(COOKIE), face)
    return _on(state, face, said.get("post_logout_redirect_uri"), said.get("state"))


def older(state: State, face: Face) -> Response:
    """PingFederate's own (fact E1): it knows ``TargetResource`` and no hints."""
    state.sign_out_browser(request.cookies.get(COOKIE), face)
    return _on(state, face, request.values.get("TargetResource"), None)


def _on(state: State, face: Face, target: str | None, echoed: str | None) -> Response:
    registered: set[str] = getattr(state.client, face.logout_goes_to)
    if target is None or target not in registered:
        g.outcome = "page"
        return page.message(face, "You are signed out", "You can close this window.")
    parts = urlsplit(target)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if echoed is not None:
        query.append(("state", echoed))
    g.outcome = "redirect"
    return make_response(redirect(urlunsplit(parts._replace(query=urlencode(query))), 302))


def _stopped(face: Face, outcome: str, text: str) -> Response:
    g.outcome = outcome
    return page.message(face, "Sign-out stopped", text, status=400)


def _hinted(state: State, face: Face, token: str) -> dict[str, Any] | None:
    """The claims of a hint that we signed for our client; an expired one counts (section 2)."""
    for key in state.keyrings[face.name].published():
        claims = _signed_by(key, token)
        if claims is not None:
            ours = claims.get("iss") == state.issuer(face) and claims.get("aud") == state.client.client_id
            return claims if ours else None
    return None


def _signed_by(key: SigningKey, token: str) -> dict[str, Any] | None:
    registry = jws.JWSRegistry(algorithms=[key.alg], strict_check_header=False)
    registry.max_header_length, registry.max_payload_length = 16_384, 100_000
    try:
        found = jws.deserialize_compact(token, key.key, algorithms=[key.alg], registry=registry)
        return keys.decoded_members(found.payload)
    except (JoseError, ValueError):
        return None
