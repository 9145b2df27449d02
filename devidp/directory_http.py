"""How a directory request becomes an answer: routing, faults, the bearer, the handler, the log.

The three sides (Graph, PingOne, SCIM) say only what differs: their paths, their handlers and the shape
of their errors. This is the only place where faults strike and requests are counted, so that no
endpoint can forget one of them.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, make_response, redirect, request
from werkzeug.datastructures import Headers

from devidp import faults
from devidp.directory_knobs import FACE_OF
from devidp.knobs import TABLE
from devidp.population import Entry
from devidp.state import State

LOGGED_HEADERS = ("x-ms-throttle-priority", "ConsistencyLevel")
# Tokens of paging stay out of the log; everything else a directory is asked may be read there.
UNLOGGED = frozenset({"$skiptoken", "$deltatoken", "cursor"})


class Problem(Exception):
    """An error answer; the side gives it its shape. `code` and `detail` are words of that side."""

    def __init__(self, status: int, code: str = "", text: str = "", **headers: str) -> None:
        super().__init__(code)
        self.status, self.code, self.text = status, code, text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Call:
    """One request, or one member of a batch. `args` keeps every value: repeated ones are refused."""

    method: str
    path: tuple[str, ...]
    args: dict[str, str]
    headers: Headers
    read: Callable[[], Any]


@dataclass
class Answer:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None


Handler = Callable[[State, Call], Answer]


@dataclass(frozen=True)
class Side:
    """One directory API. `route` gives the endpoint's name and its handler, or raises a Problem."""

    name: str
    prefix: str
    content_type: str
    route: Callable[[Call], tuple[str, Handler]]
    error: Callable[[State, Problem], Any]
    token_words: dict[str, tuple[str, str]]
    """Why a bearer is refused (`missing`, `unknown`, `expired`) -> code and text."""
    open_endpoints: frozenset[str] = frozenset()

    @property
    def face(self) -> str:
        return FACE_OF[self.name]


def add(app: Flask, state: State, side: Side) -> None:
    def view(rest: str = "") -> Response:
        g.outcome, g.client_auth, g.saml, g.members = "answered", None, None, None
        endpoint, response = _answered(state, side, rest)
        name = f"{side.name}.{endpoint}"
        state.directory.count(name)
        state.log.add(_log_entry(state, side, name, response))
        return response

    app.add_url_rule(
        f"{side.prefix}/<path:rest>", f"{side.face}-directory", view, methods=["GET", "POST", "PUT", "DELETE"]
    )


def take(state: State, side: str, knob: str, default: Any = None) -> Any:
    """The side's own knob, e.g. take(state, "graph", "page_size")."""
    return state.knobs.take(f"{side}.{knob}", FACE_OF[side], default) if state.knobs.any_set() else default


def _answered(state: State, side: Side, rest: str) -> tuple[str, Response]:
    endpoint = "unknown"
    try:
        call = _call(rest)
        endpoint, handler = side.route(call)
        latency = state.knobs.take("directory.latency", side.face, 0)
        if latency:
            time.sleep(latency / 1000)
        instead = _fault(state, side, endpoint)
        if instead is not None:
            return endpoint, instead
        if endpoint not in side.open_endpoints:
            check_bearer(state, side, call)
        response = _written(side, handler(state, call))
    except Problem as problem:
        g.outcome = problem.code or str(problem.status)
        return endpoint, _refused(state, side, problem)
    return endpoint, _spoiled(state, side, endpoint, response)


def _call(rest: str) -> Call:
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        raise Problem(400, "", f"Query option '{repeated[0]}' was specified more than once.")
    return Call(
        request.method,
        tuple(rest.strip("/").split("/")),
        request.args.to_dict(),
        request.headers,
        lambda: _json_body(request.get_data()),
    )


def _json_body(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise Problem(400, "", "Unable to read JSON request payload.") from None


def check_bearer(state: State, side: Side, call: Call) -> None:
    scheme, _, token = call.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        why = "missing"
    else:
        why = state.directory.token_state(side.name, token, state.now())
    if why != "good":
        code, text = side.token_words[why]
        raise Problem(401, code, text, WWW_Authenticate='Bearer realm="devidp"')


def _refused(state: State, side: Side, problem: Problem) -> Response:
    answer = Answer(side.error(state, problem), problem.status, problem.headers)
    return _written(side, answer)


def _written(side: Side, answer: Answer) -> Response:
    if isinstance(answer.body, str):
        response = make_response(answer.body, answer.status)
    else:
        response = make_response(json.dumps(answer.body, separators=(",", ":")), answer.status)
    response.headers["Content-Type"] = answer.content_type or side.content_type
    response.headers["Cache-Control"] = "no-cache"
    response.headers.update(answer.headers)
    return response


# -- faults -----------------------------------------------------------------------------------------


def _take(state: State, side: Side, endpoint: str, fault: str, default: Any = None) -> Any:
    """The endpoint's own fault first, then that of the whole side."""
    for name in (f"{side.name}.{endpoint}.{fault}", f"{side.name}.{fault}"):
        if name in TABLE and (value := state.knobs.take(name, side.face)) is not None:
            return value
    return default


def _fault(state: State, side: Side, endpoint: str) -> Response | None:
    if not state.knobs.any_set():
        return None
    if state.knobs.take("down", side.face) or _take(state, side, endpoint, "down"):
        return faults.close_connection()
    time.sleep(_take(state, side, endpoint, "delay", 0))
    retry_after = _take(state, side, endpoint, "retry_after")
    status = _take(state, side, endpoint, "status")
    if retry_after is not None:
        g.outcome = "fault: 429"
        headers = {} if retry_after == "absent" else {"Retry_After": str(retry_after)}
        return _refused(state, side, Problem(status or 429, **headers))
    target = _take(state, side, endpoint, "redirect")
    if target is not None:
        g.outcome = "fault: redirect"
        return make_response(redirect(target, 302))
    body, html = _take(state, side, endpoint, "body"), _take(state, side, endpoint, "html")
    if status is None and body is None and not html:
        return None
    g.outcome = "fault: written"
    if html:
        return make_response(faults.HTML, status or 200)
    if body is None:
        return _refused(state, side, Problem(status))
    return _written(side, Answer(body, status or 200))


def _spoiled(state: State, side: Side, endpoint: str, response: Response) -> Response:
    if state.knobs.any_set():
        if _take(state, side, endpoint, "truncate"):
            data = response.get_data()
            response.set_data(data[: len(data) // 2])
        content_type = _take(state, side, endpoint, "content_type")
        if content_type is not None:
            response.headers["Content-Type"] = content_type
    return response


def limit_of(state: State, side: str, *, reads: bool = False) -> int:
    """The first position that loses_people hides; `reads` asks for single reads, which it may spare."""
    loss = take(state, side, "loses_people")
    if loss is None:
        return len(state.population.entries)
    kept = loss["keep"] if isinstance(loss, dict) else loss
    if reads and not (isinstance(loss, dict) and loss.get("reads")):
        return len(state.population.entries)
    return state.population.limit_of(kept)


def found(state: State, side: str, purpose: str, wanted: str) -> Entry | None:
    """The person of that id for a single read, as the knobs have it."""
    statuses = take(state, side, "member_status", {})
    status = statuses.get(wanted, statuses.get("*"))
    if status is not None and status != 404:
        raise Problem(status)
    entry = state.population.by_id(purpose, wanted)
    if entry is None or status == 404 or entry.position >= limit_of(state, side, reads=True):
        return None
    return entry


# -- links ------------------------------------------------------------------------------------------


def packed(**content: Any) -> str:
    """A token that only we can read, and that a client must hand back as it is."""
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).rstrip(b"=").decode()


def unpacked(token: str, *members: str) -> dict[str, Any] | None:
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError:
        return None
    return content if isinstance(content, dict) and set(members) <= set(content) else None


def base_of_links(state: State, side: str) -> str:
    """Where links to further pages lead; a knob sends them to a foreign host (fact J13)."""
    foreign = take(state, side, "foreign_next_link")
    if not foreign:
        return state.base
    return foreign if isinstance(foreign, str) else "http://127.0.0.2"


# -- the log ----------------------------------------------------------------------------------------


def _log_entry(state: State, side: Side, endpoint: str, response: Response) -> dict[str, Any]:
    entry = {
        "at": state.now(),
        "face": side.face,
        "endpoint": endpoint,
        "method": request.method,
        "path": request.path,
        "query": sorted(request.args),
        "form": [],
        "values": {name: value for name, value in request.args.items() if name not in UNLOGGED},
        "headers": {name: request.headers[name] for name in LOGGED_HEADERS if name in request.headers},
        "status": response.status_code,
        "outcome": g.outcome,
    }
    if g.members is not None:
        entry["members"] = g.members
    return entry
