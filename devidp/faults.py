"""What any endpoint can do wrong: be down, slow, throttled, broken, or answer something else.

`instead` may answer before the endpoint runs (so nothing is used up, no code is redeemed); `spoil`
changes the endpoint's own JSON answer. Without knobs both do nothing.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from flask import Response, g, jsonify, make_response, redirect, request

from devidp.errors import REASONS, Reason
from devidp.faces import Face
from devidp.knobs import TABLE
from devidp.state import State

HTML = "<!doctype html><title>Welcome</title><h1>Please sign in to the network</h1>"


def instead(state: State, face: Face, endpoint: str) -> Response | None:
    """The answer that a fault gives in the endpoint's place, or None."""
    if state.knobs.take("down", face.name) or _take(state, face, endpoint, "down"):
        return close_connection()
    time.sleep(_take(state, face, endpoint, "delay", 0))
    retry_after = _take(state, face, endpoint, "retry_after")
    if retry_after is not None:
        return _throttled(retry_after)
    target = _take(state, face, endpoint, "redirect")
    if target is not None:
        g.outcome = "fault: redirect"
        return make_response(redirect(target, 302))
    if endpoint == "token" and (wanted := state.knobs.take("token.error", face.name)) is not None:
        return _error(state, face, wanted)
    return _written(state, face, endpoint)


def spoil(state: State, face: Face, endpoint: str, response: Response) -> Response:
    """Change a JSON answer: members set, removed, added for size, or the text cut in half."""
    if response.is_json and response.status_code == 200:
        body: dict[str, Any] = json.loads(response.get_data())
        changed = body | _take(state, face, endpoint, "set", {})
        for name in _take(state, face, endpoint, "remove", []):
            changed.pop(name, None)
        size = _take(state, face, endpoint, "oversize", 0)
        if size:
            changed["padding"] = "x" * size
        if changed != body:
            response.set_data(json.dumps(changed))
        if _take(state, face, endpoint, "truncate"):
            data = response.get_data()
            response.set_data(data[: len(data) // 2])
    content_type = _take(state, face, endpoint, "content_type")
    if content_type is not None:
        response.headers["Content-Type"] = content_type
    return response


def _take(state: State, face: Face, endpoint: str, fault: str, default: Any = None) -> Any:
    name = f"{endpoint}.{fault}"
    return state.knobs.take(name, face.name, default) if name in TABLE else default


def close_connection() -> Response:
    g.outcome = "fault: down"
    connection = request.environ.get("werkzeug.socket")
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
    # Nobody receives this: the socket is gone (a test client, which has none, sees the status).
    return make_response("", 503)


def _throttled(retry_after: Any) -> Response:
    g.outcome = "fault: 429"
    response = jsonify({"error": "temporarily_unavailable", "error_description": "Too many requests."})
    response.status_code = 429
    if retry_after != "absent":
        response.headers["Retry-After"] = str(retry_after)
    return response


def _error(state: State, face: Face, wanted: str | dict[str, Any]) -> Response:
    given: dict[str, Any] = {"error": wanted} if isinstance(wanted, str) else wanted
    known = next((reason for reason in REASONS.values() if reason.error == given.get("error")), None)
    reason = Reason(
        given.get("error", "invalid_grant"),
        given.get("code", known.aadsts if known else 90033),
        given.get("description", known.text if known else "A knob asked for this."),
    )
    g.outcome = f"fault: {reason.error}"
    response = jsonify(face.error_body(reason, state.base, state.now()))
    response.status_code = given.get("status", reason.status_of(reason.error))
    return response


def _written(state: State, face: Face, endpoint: str) -> Response | None:
    status = _take(state, face, endpoint, "status")
    body = _take(state, face, endpoint, "body")
    html = _take(state, face, endpoint, "html")
    if status is None and body is None and not html:
        return None
    g.outcome = "fault: written"
    if html:
        return make_response(HTML, status or 200)
    if isinstance(body, dict):
        response = jsonify(body)
    else:
        response = make_response(body or "")
        response.headers["Content-Type"] = "application/json" if body else "text/plain"
    response.status_code = status or 200
    return response
