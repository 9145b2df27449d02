"""Microsoft Graph v1.0 as far as a sign-in plugin needs it: its paths, its errors, its batches.

A member of a batch goes through the same routing, permissions and handlers as a request of its own.
Errors have Graph's shape in every case (facts B3, B4, B6, B15).
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from flask import g, request
from werkzeug.datastructures import Headers

from devidp import graph_apps, graph_groups, graph_users
from devidp.directory_http import Answer, Call, Handler, Problem, Side, take
from devidp.graph_shared import APPS, GROUPS, PREFIX, USERS, needs, stamp
from devidp.state import State

MOST_BATCHED = 20
_WORDS = {
    400: ("Request_BadRequest", "The request was not valid."),
    401: ("InvalidAuthenticationToken", "Access token validation failure."),
    403: ("Authorization_RequestDenied", "Insufficient privileges to complete the operation."),
    404: ("Request_ResourceNotFound", "The resource does not exist."),
    410: ("resyncRequired", "Resync required."),
    429: ("TooManyRequests", "Please retry again later."),
    500: ("InternalServerError", "An internal error occurred."),
    502: ("BadGateway", "The upstream server did not answer."),
    503: ("serviceNotAvailable", "The service is temporarily unavailable."),
    504: ("GatewayTimeout", "The upstream server did not answer in time."),
}

_USERS = needs(graph_users.listed, USERS)
_USER = needs(graph_users.one, USERS)
_MEMBERS = needs(graph_groups.members, GROUPS)
_TRANSITIVE = needs(graph_groups.transitive_members, GROUPS)
_ASSIGNED = needs(graph_apps.assigned, APPS)
_PRINCIPAL = needs(graph_apps.one, APPS)


def route(call: Call) -> tuple[str, Handler]:
    found = _found(call)
    if found is None:
        segment = next((part for part in call.path if part), "")
        raise Problem(400, "BadRequest", f"Resource not found for the segment '{segment}'.")
    method, endpoint, handler = found
    if call.method != method:
        raise Problem(
            405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target."
        )
    return endpoint, handler


def _found(call: Call) -> tuple[str, str, Handler] | None:
    match call.path:
        case ("users",):
            return "GET", "users", _USERS
        case ("users", "$count"):
            return "GET", "users_count", needs(graph_users.count, USERS)
        case ("users", "delta" | "microsoft.graph.delta" | "delta()"):
            return "GET", "users_delta", needs(graph_users.delta, USERS)
        case ("users", _):
            return "GET", "user", _USER
        case ("users", _, "checkMemberGroups"):
            return "POST", "check_member_groups", needs(graph_groups.check, USERS, GROUPS)
        case ("users", _, "getMemberGroups"):
            return "POST", "get_member_groups", needs(graph_groups.of_person, USERS, GROUPS)
        case ("groups", _):
            return "GET", "group", needs(graph_groups.one, GROUPS)
        case ("groups", _, "members", "microsoft.graph.user"):
            return "GET", "group_members", _MEMBERS
        case ("groups", _, "transitiveMembers", "microsoft.graph.user"):
            return "GET", "transitive_members", _TRANSITIVE
        case ("$batch",):
            return "POST", "batch", batch
    return _found_app(call)


def _found_app(call: Call) -> tuple[str, str, Handler] | None:
    if call.path == ("servicePrincipals",):
        return "GET", "service_principals", needs(graph_apps.listed, APPS)
    rest = call.path[1:] if graph_apps.by_key(call.path) else call.path[2:]
    if call.path[0] != "servicePrincipals" and not graph_apps.by_key(call.path):
        return None
    if rest == ():
        return "GET", "service_principals", _PRINCIPAL
    return ("GET", "app_role_assignments", _ASSIGNED) if rest == ("appRoleAssignedTo",) else None


# -- errors -------------------------------------------------------------------------------------------


def error(state: State, problem: Problem) -> dict[str, Any]:
    code, text = _WORDS.get(problem.status, _WORDS[400])
    request_id = str(uuid.uuid4())
    inner: dict[str, Any] = {
        "date": stamp(state.now()).rstrip("Z"),
        "request-id": request_id,
        "client-request-id": request.headers.get("client-request-id", request_id),
    }
    if problem.status == 429:
        inner = {**inner, "code": "429", "message": "Please retry after", "status": "429"}
    return {"error": {"code": problem.code or code, "message": problem.text or text, "innerError": inner}}


# -- batches ------------------------------------------------------------------------------------------


def batch(state: State, call: Call) -> Answer:
    """Facts B4 and B6: up to 20 members, answered in an order of its own, 200 whatever became of them."""
    body = call.read()
    requests = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(requests, list) or not requests or not all(isinstance(one, dict) for one in requests):
        raise Problem(400, "BadRequest", "Invalid batch payload format.")
    if len(requests) > MOST_BATCHED:
        raise Problem(
            400, "BadRequest", f"Number of batch request steps exceeds the limit of {MOST_BATCHED}."
        )
    ids = [one.get("id") for one in requests]
    if not all(isinstance(one, str) and one for one in ids) or len(set(ids)) < len(ids):
        raise Problem(400, "BadRequest", "Every request of a batch needs an id of its own.")
    g.members = len(requests)
    state.directory.count("graph.batch_members", len(requests))
    statuses = take(state, "graph", "batch_member_status", {})
    answers = [_member(state, one, statuses) for one in requests]
    # Real answers come in any order; last first is one in which nobody can be right by luck.
    return Answer({"responses": answers[::-1]})


def _member(state: State, wanted: dict[str, Any], statuses: dict[str, int]) -> dict[str, Any]:
    try:
        call = _member_call(wanted)
        forced = next((statuses[one] for one in (*call.path, "*") if one in statuses), None)
        if forced is not None:
            raise Problem(forced, **({"Retry_After": "10"} if forced in (429, 503) else {}))
        endpoint, handler = route(call)
        if endpoint == "batch":
            raise Problem(400, "BadRequest", "A batch cannot hold a batch.")
        answer = handler(state, call)
    except Problem as problem:
        answer = Answer(error(state, problem), problem.status, problem.headers)
    headers = {"Content-Type": answer.content_type or "application/json", **answer.headers}
    return {"id": wanted["id"], "status": answer.status, "headers": headers, "body": answer.body}


def _member_call(wanted: dict[str, Any]) -> Call:
    method, url, headers = wanted.get("method"), wanted.get("url"), wanted.get("headers", {})
    if method not in ("GET", "POST") or not isinstance(url, str) or not isinstance(headers, dict):
        raise Problem(400, "BadRequest", "A request of a batch needs a method and a url.")
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        raise Problem(400, "BadRequest", "The url of a batched request must be relative.")
    sent = Headers([(str(name), str(value)) for name, value in headers.items()])
    if method == "POST" and "json" not in sent.get("Content-Type", ""):
        raise Problem(400, "BadRequest", "A batched request with a body needs a Content-Type header.")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise Problem(400, "", "A query option was specified more than once.")
    path = tuple(unquote(part) for part in parts.path.strip("/").split("/"))
    return Call(method, path, dict(pairs), sent, lambda: wanted.get("body"))


SIDE = Side(
    name="graph",
    prefix=PREFIX,
    content_type="application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8",
    route=route,
    error=error,
    token_words={
        "missing": ("InvalidAuthenticationToken", "Access token is empty."),
        "unknown": ("InvalidAuthenticationToken", "Invalid audience, or not a token of this service."),
        "expired": ("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
    },
)
