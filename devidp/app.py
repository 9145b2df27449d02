"""The Flask application: every face's endpoints, wrapped alike, and the control API beside them.

The wrapper is the only place where faults strike, refusals become answers and requests are logged,
so that no endpoint can forget one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, jsonify, request

from devidp import (
    authorize,
    control,
    directory_http,
    directory_page,
    directory_tokens,
    documents,
    faults,
    graph,
    logout,
    pingone_api,
    saml_logout,
    saml_metadata,
    saml_sso,
    scim,
)
from devidp.errors import Refusal
from devidp.faces import FACES, Face
from devidp.saml_faces import SAML_FACES
from devidp.settings import Settings
from devidp.state import State

Handler = Callable[[State, Face], Response]

# Parameters whose values the log may keep; of all others it keeps the name.
LOGGED_VALUES = (
    "client_id", "response_type", "response_mode", "redirect_uri", "scope", "code_challenge_method", "prompt",
    "login_hint", "domain_hint", "max_age", "grant_type", "post_logout_redirect_uri", "person", "acr_values",
    "ui_locales", "client_assertion_type", "logout_hint", "TargetResource",
)  # fmt: skip


def create_app(settings: Settings | None = None) -> Flask:
    """One provider with a state of its own, found at `app.extensions["devidp"]`."""
    app = Flask("devidp", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 4 * 1024 * 1024
    app.json.sort_keys = False  # type: ignore[attr-defined]
    state = State(settings or Settings())
    app.extensions["devidp"] = state
    for face in FACES.values():
        _add_face(app, state, face)
        _add_saml(app, state, face)
    for side in (graph.SIDE, pingone_api.SIDE, scim.SIDE):
        directory_http.add(app, state, side)
    view = _wrapped(state, scim.TOKEN_FACE, "scim.token", scim.token)
    app.add_url_rule(scim.TOKEN_FACE.token, "scim-token", view, methods=["GET", "POST"])
    directory_page.add(app, state)
    app.register_blueprint(control.blueprint(state))
    app.add_url_rule("/", view_func=lambda: _index(state), endpoint="index")
    return app


def _add_face(app: Flask, state: State, face: Face) -> None:
    rows: tuple[tuple[str, str, tuple[str, ...], Handler], ...] = (
        ("discovery", f"{face.issuer}/.well-known/openid-configuration", ("GET",), documents.discovery),
        ("jwks", face.jwks, ("GET",), documents.jwks),
        ("authorize", face.authorize, ("GET", "POST"), authorize.handle),
        # Every method reaches the handler, which answers the wrong ones as this vendor does.
        ("token", face.token, ("GET", "POST", "PUT", "DELETE"), directory_tokens.handle),
        ("userinfo", face.userinfo, ("GET", "POST"), documents.userinfo),
        ("logout", face.logout, ("GET", "POST"), logout.handle),
        *([("older_logout", face.older_logout, ("GET", "POST"), logout.older)] if face.older_logout else ()),
    )
    for endpoint, path, methods, handler in rows:
        view = _wrapped(state, face, endpoint, handler)
        app.add_url_rule(path, f"{face.name}.{endpoint}", view, methods=list(methods))


def _add_saml(app: Flask, state: State, face: Face) -> None:
    """Entra has one address for sign-in and sign-out, and tells them apart by the message (fact C2)."""
    saml = SAML_FACES[face.name]
    both = ("GET", "POST")
    rows: list[tuple[str, str, tuple[str, ...], Handler]] = [
        ("saml.metadata", saml.metadata, ("GET",), saml_metadata.handle),
        ("saml.sso", saml.sso, both, saml_logout.sso_or_slo if saml.sso == saml.slo else saml_sso.handle),
        ("saml.start", saml.start, ("GET",), saml_sso.start),
    ]
    if saml.sso != saml.slo:
        rows.append(("saml.slo", saml.slo, both, saml_logout.handle))
    for endpoint, path, methods, handler in rows:
        view = _wrapped(state, face, endpoint, handler)
        name = f"{face.name}.{endpoint}".replace(".", "-")
        app.add_url_rule(path, name, lambda view=view, **_: view(), methods=list(methods))


def _wrapped(state: State, face: Face, endpoint: str, handler: Handler) -> Callable[[], Response]:
    def view() -> Response:
        g.outcome, g.client_auth, g.saml = "answered", None, None
        response = faults.instead(state, face, endpoint)
        if response is None:
            try:
                response = faults.spoil(state, face, endpoint, handler(state, face))
            except Refusal as refusal:
                response = _refused(state, face, refusal)
        if endpoint in ("token", "scim.token"):
            # RFC 6749 5.1
            response.headers["Cache-Control"] = "no-store"
            response.headers["Pragma"] = "no-cache"
        state.log.add(_log_entry(state, face, endpoint, response))
        return response

    return view


def _refused(state: State, face: Face, refusal: Refusal) -> Response:
    g.outcome = refusal.name
    body = face.error_body(refusal.reason, state.base, state.now())
    response = jsonify(body)
    response.status_code = refusal.reason.status_of(body["error"])
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = f'Basic realm="{face.name}"'
    if response.status_code == 405:
        response.headers["Allow"] = "POST"
    return response


def _log_entry(state: State, face: Face, endpoint: str, response: Response) -> dict[str, Any]:
    entry = {
        "at": state.now(),
        "face": face.name,
        "endpoint": endpoint,
        "method": request.method,
        "path": request.path,
        "query": sorted(request.args),
        "form": sorted(request.form),
        "values": {name: request.values[name] for name in LOGGED_VALUES if name in request.values},
        "status": response.status_code,
        "outcome": g.outcome,
    }
    if g.client_auth is not None:
        entry["client_auth"] = g.client_auth
    if g.saml is not None:
        entry["saml"] = g.saml
    return entry


def _index(state: State) -> Response:
    """Where everything is; also what a health check may ask. A browser gets a page."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return directory_page.index(state)
    where = {name: f"{state.issuer(face)}/.well-known/openid-configuration" for name, face in FACES.items()}
    saml = {
        name: state.base + face.metadata.replace("<application>", "any") for name, face in SAML_FACES.items()
    }
    return jsonify({"about": "A pretend OpenID provider for development.", "discovery": where, "saml": saml})


def with_port(settings: Settings, port: int) -> Settings:
    return dataclasses.replace(settings, port=port)
