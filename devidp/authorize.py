"""The authorization endpoint: check the request, ask who it is, send the browser back.

An unknown client or redirect URI is answered with a page and never with a redirect (RFC 6749
4.1.2.1): whoever made the request up may have made the address up too. Everything else goes back
to the registered address with an error.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from flask import Response, g, make_response, redirect, request

from devidp import page
from devidp.errors import REASONS, Reason, Refusal
from devidp.faces import Face, SignIn
from devidp.state import BrowserSession, Grant, State

COOKIE = "devidp_session"
_S256 = re.compile(r"[A-Za-z0-9_-]{43}")

Params = dict[str, str]


def handle(state: State, face: Face) -> Response:
    params = {**request.args.to_dict(), **request.form.to_dict()}
    answer = _refused_with_a_page(state, face, params)
    if answer is not None:
        return answer
    forced = state.knobs.take("authorize.error", face.name)
    if forced:
        return _send_error(state, face, params, Reason(forced, 0, "Asked for by a knob."))
    try:
        _each_once()
        for check in CHECKS:
            check(params)
        if not state.knobs.take("ignore_pkce", face.name):
            _pkce(params)
        return _signed_in_or_asked(state, face, params)
    except Refusal as refusal:
        return _send_error(state, face, params, refusal.reason)


# -- checks ---------------------------------------------------------------------------------------


def _refused_with_a_page(state: State, face: Face, params: Params) -> Response | None:
    """RFC 6749 3.1.2.4 and 4.1.2.1; RFC 9700 2.1: exact string comparison."""
    reason = None
    if len(request.args.getlist("client_id")) > 1 or len(request.args.getlist("redirect_uri")) > 1:
        reason = REASONS["repeated"]
    elif params.get("client_id") != state.client.client_id:
        reason = REASONS["unknown_client"]
    elif params.get("redirect_uri") not in state.client.redirect_uris:
        reason = REASONS["redirect_unknown"]
    if reason is None:
        return None
    g.outcome = reason.error
    body = face.error_body(reason, state.base, state.now())
    return page.message(face, "Sign-in stopped", body["error_description"], code=body["error"], status=400)


def _each_once() -> None:
    """RFC 6749 3.1: no parameter more than once, in URL and body together."""
    for name in request.values:
        in_url, in_body = request.args.getlist(name), request.form.getlist(name)
        if len(in_url) > 1 or len(in_body) > 1 or len({*in_url, *in_body}) > 1:
            raise Refusal("repeated")


def _response_type(params: Params) -> None:
    if params.get("response_type") != "code":
        raise Refusal("response_type")
    if params.get("response_mode", "query") != "query":
        raise Refusal("response_mode")


def _no_request_object(params: Params) -> None:
    if {"request", "request_uri", "registration"} & set(params):
        raise Refusal("request_object")


def _scope(params: Params) -> None:
    if "openid" not in params.get("scope", "").split():
        raise Refusal("scope")


def _pkce(params: Params) -> None:
    """RFC 7636 4.3, and RFC 9700 2.1.1: S256 or nothing. A missing method means plain."""
    if not params.get("code_challenge"):
        raise Refusal("pkce_missing")
    if params.get("code_challenge_method") != "S256":
        raise Refusal("pkce_plain")
    if not _S256.fullmatch(params["code_challenge"]):
        raise Refusal("pkce_malformed")


def _max_age(params: Params) -> None:
    if not params.get("max_age", "0").isdecimal():
        raise Refusal("max_age")


CHECKS: tuple[Callable[[Params], None], ...] = (_response_type, _no_request_object, _scope, _max_age)


# -- who is it ------------------------------------------------------------------------------------


def _signed_in_or_asked(state: State, face: Face, params: Params) -> Response:
    """login_hint is read by nobody: a hint must not decide who signs in."""
    if "none" in params.get("prompt", "").split():
        return _silent(state, face, params)
    chosen = request.form.get("person") if request.method == "POST" else None
    if chosen is None:
        chosen = state.knobs.take("authorize.person", face.name)
    if chosen is None:
        return _ask(state, face, params)
    if chosen == "":
        raise Refusal("declined")
    person = state.people.get(chosen)
    if person is None:
        raise Refusal("unknown_person")
    if person.disabled:
        g.outcome = "disabled"
        text = face.error_body(REASONS["disabled"], state.base, state.now())["error_description"]
        return page.message(face, "This account is disabled", text, status=400)
    cookie, session = state.sign_in_browser(request.cookies.get(COOKIE), face, person)
    response = _send_code(state, face, params, session)
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax", path="/")
    return response


def _silent(state: State, face: Face, params: Params) -> Response:
    """OIDC Core 3.1.2.6: prompt=none never shows a page, except when a knob wants the fault."""
    if state.knobs.take("authorize.prompt_none_page", face.name):
        return _ask(state, face, params)
    session = state.browser_session(request.cookies.get(COOKIE), face)
    if session is None or params["prompt"] != "none":
        raise Refusal("no_session")
    person = state.people.get(session.person)
    too_old = "max_age" in params and state.now() - session.auth_time > int(params["max_age"])
    if too_old or person is None or person.disabled:
        raise Refusal("no_session")
    return _send_code(state, face, params, session)


def _ask(state: State, face: Face, params: Params) -> Response:
    g.outcome = "page"
    query = {name: value for name, value in params.items() if name != "person"}
    destination = urlsplit(params["redirect_uri"])
    return page.choose(
        face,
        state.people.all(),
        action=f"{request.script_root}{request.path}?{urlencode(query)}",
        destination=f"{destination.scheme}://{destination.netloc}",
    )


# -- the way back ---------------------------------------------------------------------------------


def _send_code(state: State, face: Face, params: Params, session: BrowserSession) -> Response:
    grant = Grant(
        face=face.name,
        person=session.person,
        redirect_uri=params["redirect_uri"],
        challenge=params.get("code_challenge"),
        sign_in=SignIn(
            client_id=params["client_id"],
            scope=frozenset(params["scope"].split()),
            nonce=params.get("nonce"),
            sid=session.sid,
            auth_time=session.auth_time,
            max_age_asked="max_age" in params,
        ),
        made_at=state.now(),
    )
    answer = [("code", state.issue_code(grant))]
    variant = state.knobs.take("authorize.code", face.name)
    if variant == "missing":
        answer = []
    elif variant == "unknown":
        answer = [("code", secrets.token_urlsafe(48))]
    elif variant == "long":
        # A real code, longer: whatever is behind it is as good as before.
        answer = [("code", state.issue_code(grant, length=700))]
    elif variant == "twice":
        answer.append(("code", secrets.token_urlsafe(48)))
    g.outcome = "code"
    return _send(state, face, params, answer)


def _send_error(state: State, face: Face, params: Params, reason: Reason) -> Response:
    g.outcome = reason.error
    body = face.error_body(reason, state.base, state.now())
    names = ("error", "error_description", "error_uri")
    return _send(state, face, params, [(name, body[name]) for name in names if name in body])


def _send(state: State, face: Face, params: Params, answer: list[tuple[str, str]]) -> Response:
    """Add state and iss as the face and the knobs say; the registered query string stays (RFC 6749 3.1.2)."""
    answer = [*answer, *_state_member(state, face, params), *_iss_member(state, face)]
    answer += [
        (name, str(value)) for name, value in state.knobs.take("authorize.extra", face.name, {}).items()
    ]
    parts = urlsplit(params["redirect_uri"])
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *answer])
    response = make_response(redirect(urlunsplit(parts._replace(query=query)), 302))
    response.headers["Cache-Control"] = "no-store"
    return response


def _state_member(state: State, face: Face, params: Params) -> list[tuple[str, str]]:
    variant = state.knobs.take("authorize.state", face.name)
    if variant == "wrong":
        return [("state", secrets.token_urlsafe(24))]
    if variant == "missing" or "state" not in params:
        return []
    honest = ("state", params["state"])
    return [honest, ("state", secrets.token_urlsafe(24))] if variant == "twice" else [honest]


def _iss_member(state: State, face: Face) -> list[tuple[str, str]]:
    """RFC 9207. Faces that do not announce it do not send it."""
    variant = state.knobs.take("authorize.iss", face.name)
    honest = ("iss", state.issuer(face))
    other = ("iss", f"{state.base}/generic" if face.name != "generic" else f"{state.base}/pf")
    wrong = ("iss", "https://login.example.org")
    choices = {
        "right": [honest],
        "missing": [],
        "twice": [honest, wrong],
        "wrong": [wrong],
        "other_face": [other],
    }
    return choices.get(variant, [honest] if face.sends_iss else [])
