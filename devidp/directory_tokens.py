"""App-only tokens: an app signs in as itself, to read a directory (facts A22, D10).

Everything but grant_type=client_credentials goes on to the token endpoint of people. A token is good
for one side: Graph's from the Entra face, the PingOne API's from the PingOne face, SCIM's from its own
address.
"""

from __future__ import annotations

from flask import Response, g, jsonify, request

from devidp import token_endpoint
from devidp.client_auth import authenticate
from devidp.errors import Reason, Refusal
from devidp.faces import Face
from devidp.state import State

SIDE_OF = {"entra": "graph", "pingone": "pingone"}
LIFETIME = {"graph": 3599, "pingone": 3600, "scim": 3600}
GRAPH_SCOPE = "https://graph.microsoft.com/.default"
# What each AADSTS code of fact A19 is answered with: error, status and text.
_ERRORS = {
    7000215: ("invalid_client", 401, "Invalid client secret provided."),
    7000222: ("invalid_client", 401, "The provided client secret keys are expired."),
    7000112: ("unauthorized_client", 400, "The application is disabled."),
    90033: ("temporarily_unavailable", 503, "A transient error has occurred. Please try again."),
}
_CODE_OF = {"invalid_client": 7000215, "unauthorized_client": 7000112, "temporarily_unavailable": 90033}


def handle(state: State, face: Face) -> Response:
    """The token endpoint of a face that has a directory behind it, and of those that have none."""
    side = SIDE_OF.get(face.name)
    form = request.form
    if side is None or request.method != "POST" or form.get("grant_type") != "client_credentials":
        return token_endpoint.handle(state, face)
    if request.args:
        raise Refusal("in_query")
    return answer(state, face, side)


def answer(state: State, face: Face, side: str) -> Response:
    state.directory.count(f"{side}.token")
    forced = state.knobs.take("app_token.error", face.name)
    if forced is not None:
        return _error(state, face, forced)
    if any(len(values) > 1 for _, values in request.form.lists()):
        raise Refusal("repeated")
    form = request.form.to_dict()
    authenticate(state, face, form)
    if side == "graph":
        _check_scope(state, form.get("scope"))
    lifetime = state.knobs.take("app_token.lifetime", face.name, LIFETIME[side])
    token = state.directory.issue_token(side, state.now() + lifetime)
    extra = {"ext_expires_in": lifetime} if side == "graph" else {}
    g.outcome = "app token"
    return jsonify({"token_type": "Bearer", "expires_in": lifetime, **extra, "access_token": token})


def _check_scope(state: State, scope: str | None) -> None:
    """One resource and `/.default`, as this grant wants it; extras of MSAL are tolerated (fact A21)."""
    if scope is None:
        raise Refusal("missing")
    if scope not in (GRAPH_SCOPE, f"{state.base}/graph/.default", f"{state.base}/graph//.default"):
        raise Refusal("app_scope")


def _error(state: State, face: Face, wanted: str | int) -> Response:
    code = wanted if isinstance(wanted, int) else _CODE_OF.get(wanted, 90033)
    error, status, text = _ERRORS[code]
    if isinstance(wanted, str) and wanted not in _CODE_OF:
        error, status, text = wanted, 400, "A knob asked for this."
    reason = Reason(error, code, text, status)
    g.outcome = f"fault: {error}"
    response = jsonify(face.error_body(reason, state.base, state.now()))
    response.status_code = status
    return response
