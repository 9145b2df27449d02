"""The PingOne management API: the people and groups of one environment (facts D10 to D16).

Group membership is told on single reads only and to an administrator role only. Members of a nested
group are members of the group around it, in the memberOf lists, in the membership filter and in the
claims at sign-in; memberOfGroups says which kind each is (D14).
"""

from __future__ import annotations

import re
import uuid
from array import array
from typing import Any
from urllib.parse import quote, urlencode

from devidp.directory_http import (
    Answer,
    Call,
    Handler,
    Problem,
    Side,
    base_of_links,
    found,
    limit_of,
    packed,
    take,
    unpacked,
)
from devidp.population import Entry, Group, page_of
from devidp.settings import PINGONE_ENVIRONMENT_ID
from devidp.state import State

PREFIX = "/pingone/v1"
READER, ADMIN = "Identity Data Read Only", "Identity Data Admin"
POPULATION_ID = "cccc0000-2222-4ddd-8333-eeee4444ffff"
LARGEST_LIMIT, DEFAULT_LIMIT, PAGE = 1000, 100, 200
_MEMBERS = re.compile(r'memberOfGroups\[id eq "([^"]*)"\]')
_NAMED = re.compile(r'(name|username|email|externalId|id) eq "([^"]*)"')
DISABLED = "enabled eq false"
INCLUDED = ("memberOfGroupIDs", "memberOfGroupNames")

_WORDS = {
    400: ("INVALID_REQUEST", "The request could not be completed. There was an issue with the request."),
    401: ("ACCESS_FAILED", "The request could not be completed. You do not have access to this resource."),
    403: ("ACCESS_FAILED", "The request could not be completed. You do not have access to this resource."),
    404: ("NOT_FOUND", "The request could not be completed. The requested resource was not found."),
    405: ("METHOD_NOT_ALLOWED", "The method is not allowed for this resource."),
    429: ("REQUEST_LIMITED", "The request could not be completed. There were too many requests."),
    503: ("SERVICE_UNAVAILABLE", "The service is temporarily unavailable."),
}


def route(call: Call) -> tuple[str, Handler]:
    if call.path[:1] != ("environments",) or call.path[1:2] != (PINGONE_ENVIRONMENT_ID,):
        raise Problem(404)
    endpoint, handler = _found(call)
    if call.method != "GET":
        raise Problem(405)
    return endpoint, handler


def _found(call: Call) -> tuple[str, Handler]:
    match call.path[2:]:
        case ("users",):
            by_group = _MEMBERS.fullmatch(call.args.get("filter", "")) is not None
            return "group_members" if by_group else "users", users
        case ("users", _):
            return "user", user
        case ("users", _, "memberOfGroups"):
            return "user_groups", user_groups
        case ("groups",):
            return "groups", groups
        case ("groups", _):
            return "group", group
    raise Problem(404)


def error(state: State, problem: Problem) -> dict[str, Any]:  # noqa: ARG001 -- one signature for all
    """Fact D16. `problem.code` is the word of the detail, which says what exactly was wrong."""
    code, text = _WORDS.get(problem.status, ("UNEXPECTED_ERROR", "An unexpected error occurred."))
    body: dict[str, Any] = {"id": str(uuid.uuid4()), "code": code, "message": text}
    detail = {401: "INVALID_TOKEN", 403: "INSUFFICIENT_PERMISSIONS", 429: "LIMIT_EXCEEDED"}
    word = problem.code or detail.get(problem.status, "")
    if word:
        body["details"] = [{"code": word, "message": problem.text or text}]
    if problem.status == 429:
        seconds = problem.headers.get("Retry-After", "1")
        body["details"][0]["innerError"] = {
            "retryAfter": seconds,
            "quotaLimit": 100,
            "quotaResetTime": seconds,
        }
    return body


def _granted(state: State, *roles: str) -> None:
    if not set(roles) & state.directory.granted["pingone"]:
        raise Problem(403)


def _only(call: Call, *known: str) -> None:
    for name in call.args:
        if name not in known:
            raise Problem(400, "INVALID_VALUE", f"The parameter {name} is not supported here.")


# -- people -------------------------------------------------------------------------------------------


def _self(state: State, *path: str) -> str:
    return "/".join((f"{state.base}{PREFIX}/environments/{PINGONE_ENVIRONMENT_ID}", *path))


def _resource(state: State, entry: Entry) -> dict[str, Any]:
    """Fact D11; locked is not disabled (D12)."""
    own = entry.id_for("pingone")
    account: dict[str, Any] = {
        "canAuthenticate": not (entry.locked or entry.disabled),
        "status": "LOCKED" if entry.locked else "OK",
    }
    if entry.locked:
        account |= {"lockedAt": "2024-01-02T00:00:00.000Z", "secondsUntilUnlock": 900}
    return {
        "_links": {"self": {"href": _self(state, "users", own)}},
        "id": own,
        "environment": {"id": PINGONE_ENVIRONMENT_ID},
        "account": account,
        "createdAt": "2024-01-01T00:00:00.000Z",
        "email": entry.email,
        "enabled": not entry.disabled,
        "externalId": entry.id_for("generic"),
        "identityProvider": {"type": "PING_ONE"},
        "lifecycle": {"status": "ACCOUNT_OK"},
        "mfaEnabled": False,
        "name": {
            "formatted": entry.display_name,
            "given": entry.given_name,
            "family": entry.family_name,
        },
        "population": {"id": POPULATION_ID},
        "updatedAt": "2024-01-02T00:00:00.000Z",
        "username": entry.name,
        "verifyStatus": "NOT_INITIATED",
    }


def _without(body: dict[str, Any], omitted: Any) -> dict[str, Any]:
    for name in omitted:
        body.pop(name, None)
    return body


def _person(state: State, call: Call) -> Entry:
    entry = found(state, "pingone", "pingone", call.path[3])
    if entry is None:
        raise Problem(404)
    return entry


def user(state: State, call: Call) -> Answer:
    _only(call, "include", "expand")
    wanted = [name.strip() for name in call.args.get("include", "").split(",") if name.strip()]
    if not set(wanted) <= set(INCLUDED):
        raise Problem(400, "INVALID_VALUE", f"include may be: {', '.join(INCLUDED)}")
    # Fact D10: membership needs the administrator's role.
    _granted(state, *((ADMIN,) if wanted else (READER, ADMIN)))
    entry = _person(state, call)
    body = _resource(state, entry)
    told = state.population.effective_groups(entry)
    if INCLUDED[0] in wanted:
        body[INCLUDED[0]] = [one.id for one in told]
    if INCLUDED[1] in wanted:
        body[INCLUDED[1]] = [one.name for one in told]
    return Answer(_without(body, take(state, "pingone", "omit", ())))


def users(state: State, call: Call) -> Answer:
    _only(call, "filter", "limit", "cursor")
    _granted(state, READER, ADMIN)
    positions = _filtered(state, call.args.get("filter"))
    limit = limit_of(state, "pingone")
    page, following = page_of(positions, _cursor(call), _size(state, call), limit)
    omitted = take(state, "pingone", "omit", ())
    entries = [_without(_resource(state, state.population.entries[place]), omitted) for place in page]
    total = len(page_of(positions, 0, len(positions), limit)[0])
    return Answer(_list(state, call, "users", entries, total, following))


def _filtered(state: State, wanted: str | None) -> array[int]:
    population = state.population
    if wanted is None:
        return population.live()
    if wanted == DISABLED:
        return population.disabled()
    by_group = _MEMBERS.fullmatch(wanted)
    if by_group is not None:
        _granted(state, ADMIN)
        inside = population.group_by_id(by_group[1])
        return population.transitive_members(inside) if inside is not None else array("I")
    named = _NAMED.fullmatch(wanted)
    if named is None or named[1] == "name":
        raise Problem(400, "INVALID_FILTER", "The filter is not supported.")
    entry = _one_with(state, named[1], named[2])
    return array("I", [entry.position] if entry is not None and entry.deleted is None else [])


def _one_with(state: State, attribute: str, value: str) -> Entry | None:
    if attribute in ("externalId", "id"):
        return state.population.by_id("generic" if attribute == "externalId" else "pingone", value)
    entry = state.population.named(value.lower().partition("@")[0])
    matches = entry is not None and value.lower() == (
        entry.name if attribute == "username" else entry.email.lower()
    )
    return entry if matches else None


# -- groups -------------------------------------------------------------------------------------------


def user_groups(state: State, call: Call) -> Answer:
    """Fact D14: direct membership and that through nesting, each said to be what it is."""
    _only(call, "limit", "cursor", "expand")
    _granted(state, ADMIN)
    entry = _person(state, call)
    direct = {one.id for one in state.population.direct_groups(entry)}
    items = [
        {"id": one.id, "name": one.name, "type": "DIRECT" if one.id in direct else "INDIRECT"}
        for one in state.population.effective_groups(entry)
    ]
    return _paged(state, call, "groupMemberships", items)


def groups(state: State, call: Call) -> Answer:
    _only(call, "filter", "limit", "cursor")
    _granted(state, READER, ADMIN)
    chosen = state.population.all_groups()
    wanted = call.args.get("filter")
    if wanted is not None:
        named = _NAMED.fullmatch(wanted)
        if named is None or named[1] not in ("name", "id"):
            raise Problem(400, "INVALID_FILTER", "The filter is not supported.")
        chosen = [one for one in chosen if named[2] == (one.name if named[1] == "name" else one.id)]
    return _paged(state, call, "groups", [_group(state, one) for one in chosen])


def group(state: State, call: Call) -> Answer:
    _only(call)
    _granted(state, READER, ADMIN)
    wanted = state.population.group_by_id(call.path[3])
    if wanted is None:
        raise Problem(404)
    return Answer(_group(state, wanted))


def _group(state: State, one: Group) -> dict[str, Any]:
    return {
        "_links": {"self": {"href": _self(state, "groups", one.id)}},
        "id": one.id,
        "environment": {"id": PINGONE_ENVIRONMENT_ID},
        "name": one.name,
    }


# -- pages --------------------------------------------------------------------------------------------


def _size(state: State, call: Call) -> int:
    """A page may be smaller than asked for (D15), and here is never larger than 200 unless a knob says so."""
    given = call.args.get("limit", str(DEFAULT_LIMIT))
    if not given.isdecimal() or not 1 <= int(given) <= LARGEST_LIMIT:
        raise Problem(400, "INVALID_VALUE", f"limit must be 1 to {LARGEST_LIMIT}.")
    return min(int(given), take(state, "pingone", "page_size") or PAGE)


def _cursor(call: Call) -> int:
    token = call.args.get("cursor")
    if token is None:
        return 0
    content = unpacked(token, "at")
    if content is None or not isinstance(content["at"], int):
        raise Problem(400, "INVALID_VALUE", "The cursor is not valid.")
    return content["at"]


def _paged(state: State, call: Call, name: str, items: list[dict[str, Any]]) -> Answer:
    start, size = _cursor(call), _size(state, call)
    following = start + size if start + size < len(items) else None
    return Answer(_list(state, call, name, items[start : start + size], len(items), following))


def _list(
    state: State, call: Call, name: str, items: list[Any], total: int, following: int | None
) -> dict[str, Any]:
    """HAL, as in fact D15."""
    path = "/".join(call.path)
    links: dict[str, Any] = {"self": {"href": f"{state.base}{PREFIX}/{path}{_query(call.args)}"}}
    if following is not None:
        args = {**call.args, "cursor": packed(at=following)}
        base = base_of_links(state, "pingone")
        links["next"] = {"href": f"{base}{PREFIX}/{path}{_query(args)}"}
    return {"_links": links, "_embedded": {name: items}, "count": total, "size": len(items)}


def _query(args: dict[str, str]) -> str:
    return f"?{urlencode(args, quote_via=quote)}" if args else ""


SIDE = Side(
    name="pingone",
    prefix=PREFIX,
    content_type="application/hal+json;charset=UTF-8",
    route=route,
    error=error,
    token_words={
        "missing": ("INVALID_TOKEN", "The request could not be completed. The access token is missing."),
        "unknown": ("INVALID_TOKEN", "The request could not be completed. The access token is invalid."),
        "expired": ("INVALID_TOKEN", "The request could not be completed. The access token has expired."),
    },
)
