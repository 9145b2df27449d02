"""A SCIM 2.0 server for reading: /Users and /Groups as PingDirectory and PingFederate's stores show them.

A disabled person is shown with active false and in the extension urn:pingidentity:schemas:User:1.0; a
deleted one is not there (facts E9, E10, F4, F5, J10).
"""

from __future__ import annotations

import re
from array import array
from dataclasses import replace
from typing import Any

from flask import Response, request

from devidp import directory_tokens
from devidp.directory_http import Answer, Call, Handler, Problem, Side, found, limit_of, take
from devidp.errors import Refusal
from devidp.faces import GENERIC, Face
from devidp.population import Entry, Group, page_of
from devidp.state import State

PREFIX = "/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PING = "urn:pingidentity:schemas:User:1.0"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
MOST = 200
CREATED = "2024-01-01T00:00:00.000Z"
_FILTER = re.compile(r'([\w:.]+)\s+eq\s+(?:"([^"]*)"|(true|false))', re.IGNORECASE)
_TEXTS = {
    400: "The request was not valid.",
    401: "The bearer token is missing or not valid.",
    403: "The client may not read this.",
    404: "The resource does not exist.",
    405: "The method is not allowed.",
    429: "Too many requests.",
    503: "The service is temporarily unavailable.",
}


def route(call: Call) -> tuple[str, Handler]:
    rows: dict[tuple[str, int], tuple[str, Handler]] = {
        ("Users", 1): ("users", users),
        ("Users", 2): ("user", user),
        ("Groups", 1): ("groups", groups),
        ("Groups", 2): ("group", group),
        ("ServiceProviderConfig", 1): ("config", config),
    }
    found_row = rows.get((call.path[0], len(call.path)))
    if found_row is None:
        raise Problem(404)
    if call.method != "GET":
        raise Problem(405)
    return found_row


def error(state: State, problem: Problem) -> dict[str, Any]:  # noqa: ARG001 -- one signature for all
    """Fact F5: the status is a string."""
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": str(problem.status),
        "detail": problem.text or _TEXTS.get(problem.status, "An internal error occurred."),
    }
    return {**body, "scimType": problem.code} if problem.code and problem.status == 400 else body


def _granted(state: State, name: str) -> None:
    if name not in state.directory.granted["scim"]:
        raise Problem(403)


def _listing(call: Call, total: int, start: int, items: list[dict[str, Any]]) -> Answer:
    body = {"schemas": [LIST], "totalResults": total, "Resources": [_shown(call, one) for one in items]}
    return Answer({**body, "startIndex": start, "itemsPerPage": len(items)})


def _window(state: State, call: Call) -> tuple[int, int]:
    """RFC 7644 3.4.2.4: startIndex counts from 1, below that it is 1; too large a count is the largest."""
    numbers = []
    for name, default in (("startIndex", 1), ("count", MOST)):
        given = call.args.get(name, str(default))
        if not re.fullmatch(r"-?\d{1,9}", given):
            raise Problem(400, "invalidValue", f"{name} must be a whole number.")
        numbers.append(int(given))
    most = min(MOST, take(state, "scim", "page_size") or MOST)
    return max(numbers[0], 1), min(max(numbers[1], 0), most)


def _filter(call: Call) -> tuple[str, str] | None:
    given = call.args.get("filter")
    if given is None:
        return None
    parsed = _FILTER.fullmatch(given.strip())
    if parsed is None:
        raise Problem(400, "invalidFilter", "Only one comparison with eq is supported.")
    return parsed[1].lower(), parsed[2] if parsed[2] is not None else parsed[3].lower()


def _shown(call: Call, resource: dict[str, Any]) -> dict[str, Any]:
    """attributes and excludedAttributes, for top-level attributes; id and schemas always stay. One of an
    extension's (`urn:...:User:1.0:entryUUID`) brings the whole extension."""
    always = {"id", "schemas"}
    wanted = {name.strip().lower() for name in call.args.get("attributes", "").split(",") if name.strip()}
    unwanted = {name.strip().lower() for name in call.args.get("excludedAttributes", "").split(",")}
    return {
        name: value
        for name, value in resource.items()
        if name in always
        or ((not wanted or _is_asked(name.lower(), wanted)) and name.lower() not in unwanted)
    }


def _is_asked(name: str, wanted: set[str]) -> bool:
    return name in wanted or any(one.startswith(f"{name}:") for one in wanted)


# -- people -------------------------------------------------------------------------------------------


def _user(state: State, entry: Entry) -> dict[str, Any]:
    own = entry.id_for("scim")
    body: dict[str, Any] = {
        "schemas": [USER, PING],
        "id": own,
        "externalId": entry.id_for("generic"),
        "meta": {
            "resourceType": "User",
            "created": CREATED,
            "lastModified": CREATED,
            "location": f"{state.base}{PREFIX}/Users/{own}",
        },
        "userName": entry.name,
        "name": {
            "formatted": entry.display_name,
            "familyName": entry.family_name,
            "givenName": entry.given_name,
        },
        "displayName": entry.display_name,
        "active": not entry.disabled,
        "emails": [{"value": entry.email, "type": "work", "primary": True}],
        PING: {"entryUUID": own, "accountDisabled": entry.disabled},
    }
    if "groups" in state.directory.granted["scim"]:
        body["groups"] = [
            {"value": one.id, "display": one.name, "type": "direct"}
            for one in state.population.direct_groups(entry)
        ]
    for name in take(state, "scim", "omit", ()):
        body.pop(name, None)
    return body


def user(state: State, call: Call) -> Answer:
    _granted(state, "users")
    entry = found(state, "scim", "scim", call.path[1])
    if entry is None:
        raise Problem(404, "", f"Resource {call.path[1]} not found.")
    return Answer(_shown(call, _user(state, entry)))


def users(state: State, call: Call) -> Answer:
    _granted(state, "users")
    start, size = _window(state, call)
    limit = limit_of(state, "scim")
    positions = _matching(state, _filter(call))
    seen = page_of(positions, 0, len(positions), limit)[0]
    page = seen[start - 1 : start - 1 + size]
    entries = state.population.entries
    return _listing(call, len(seen), start, [_user(state, entries[place]) for place in page])


def _matching(state: State, wanted: tuple[str, str] | None) -> array[int]:
    population = state.population
    if wanted is None:
        return population.live()
    attribute, value = wanted
    if attribute == "active":
        disabled = population.disabled()
        if value == "false":
            return disabled
        gone = set(disabled)
        return array("I", (place for place in population.live() if place not in gone))
    if attribute == "username":
        entry = population.named(value.lower())
    elif attribute == "externalid":
        entry = population.by_id("generic", value)
    elif attribute in ("id", f"{PING.lower()}:entryuuid", "entryuuid"):
        entry = population.by_id("scim", value)
    else:
        raise Problem(400, "invalidFilter", f"No filter on {attribute} here.")
    if entry is None or entry.deleted is not None:
        return array("I")
    # A filter for one person is a single read, and can fail like one.
    theirs = found(state, "scim", "scim", entry.id_for("scim"))
    return array("I", [] if theirs is None else [theirs.position])


# -- groups -------------------------------------------------------------------------------------------


def _group(state: State, call: Call, one: Group) -> dict[str, Any]:
    body: dict[str, Any] = {
        "schemas": [GROUP],
        "id": one.id,
        "meta": {
            "resourceType": "Group",
            "created": CREATED,
            "lastModified": CREATED,
            "location": f"{state.base}{PREFIX}/Groups/{one.id}",
        },
        "displayName": one.name,
    }
    if "members" not in call.args.get("excludedAttributes", ""):
        body["members"] = _members(state, one)
    return body


def _members(state: State, one: Group) -> list[dict[str, str]]:
    population, limit = state.population, limit_of(state, "scim")
    people = [population.entries[place] for place in population.direct_members(one) if place < limit]
    inside = [nested for nested in one.nested if not nested.deleted]
    return [
        *({"value": e.id_for("scim"), "display": e.display_name, "type": "User"} for e in people),
        *({"value": nested.id, "display": nested.name, "type": "Group"} for nested in inside),
    ]


def group(state: State, call: Call) -> Answer:
    _granted(state, "groups")
    one = state.population.group_by_id(call.path[1])
    if one is None:
        raise Problem(404, "", f"Resource {call.path[1]} not found.")
    return Answer(_shown(call, _group(state, call, one)))


def groups(state: State, call: Call) -> Answer:
    _granted(state, "groups")
    start, size = _window(state, call)
    chosen = state.population.all_groups()
    wanted = _filter(call)
    if wanted is not None:
        attribute, value = wanted
        if attribute not in ("displayname", "id"):
            raise Problem(400, "invalidFilter", f"No filter on {attribute} here.")
        value = value.lower()
        chosen = [one for one in chosen if value == (one.id if attribute == "id" else one.name.lower())]
    page = [_group(state, call, one) for one in chosen[start - 1 : start - 1 + size]]
    return _listing(call, len(chosen), start, page)


def config(state: State, call: Call) -> Answer:  # noqa: ARG001 -- one signature for all
    """Fact F15."""
    off = {"supported": False}
    return Answer(
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": off,
            "bulk": {**off, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": True, "maxResults": MOST},
            "changePassword": off,
            "sort": off,
            "etag": off,
            "authenticationSchemes": [
                {"type": "oauthbearertoken", "name": "Bearer", "description": "A bearer token."}
            ],
        }
    )


# -- its own token endpoint ---------------------------------------------------------------------------


def token(state: State, face: Face) -> Response:
    """POST /scim/token: client credentials, Basic or in the body."""
    if request.method != "POST":
        raise Refusal("not_post")
    if request.form.get("grant_type") != "client_credentials":
        raise Refusal("grant_type")
    return directory_tokens.answer(state, face, "scim")


TOKEN_FACE = replace(GENERIC, name="scim", label="a SCIM server", token="/scim/token")

_BAD = ("", "The bearer token is missing or not valid.")
SIDE = Side(
    name="scim",
    prefix=PREFIX,
    content_type="application/scim+json",
    route=route,
    error=error,
    token_words={"missing": _BAD, "unknown": _BAD, "expired": ("", "The bearer token has expired.")},
)
