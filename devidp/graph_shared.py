"""What every Graph v1.0 endpoint needs: permissions, query options, links, and people as objects.

Strict as Graph is: an option that an endpoint does not have is refused, a property that does not exist
is refused, and what comes only with $select comes only with $select (facts B1, B2, B14, B16).
"""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from devidp.directory_http import Answer, Call, Handler, Problem, base_of_links, packed, take, unpacked
from devidp.people import MAIL_DOMAIN
from devidp.population import Entry, page_of
from devidp.state import State

PREFIX = "/graph/v1.0"
USERS, GROUPS, APPS = "User.Read.All", "GroupMember.Read.All", "Application.Read.All"
LONG_AGO = "2020-01-01T00:00:00Z"


def needs(handler: Handler, *permissions: str) -> Handler:
    """The handler for an app that was granted these; any other app gets the 403 of fact B4."""

    def guarded(state: State, call: Call) -> Answer:
        if not set(permissions) <= state.directory.granted["graph"]:
            raise Problem(403)
        return handler(state, call)

    return guarded


def stamp(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def missing(wanted: str) -> Problem:
    """Fact B3: unknown and deleted are the same."""
    rest = "does not exist or one of its queried reference-property objects are not present."
    return Problem(404, "Request_ResourceNotFound", f"Resource '{wanted}' {rest}")


def unsupported(text: str) -> Problem:
    return Problem(400, "Request_UnsupportedQuery", text)


# -- people as objects --------------------------------------------------------------------------------


def principal_name(entry: Entry) -> str:
    """A guest's is their address in the tenant that invited them."""
    if entry.guest:
        return f"{entry.email.replace('@', '_')}#EXT#@{MAIL_DOMAIN}"
    return entry.email


PROPERTIES: dict[str, Callable[[Entry], Any]] = {
    "businessPhones": lambda _: [],
    "displayName": lambda entry: entry.display_name,
    "givenName": lambda entry: entry.given_name,
    "jobTitle": lambda _: None,
    "mail": lambda entry: entry.email,
    "mobilePhone": lambda _: None,
    "officeLocation": lambda _: None,
    "preferredLanguage": lambda _: None,
    "surname": lambda entry: entry.family_name,
    "userPrincipalName": principal_name,
    "id": lambda entry: entry.oid,
    # From here on only with $select (fact B2).
    "accountEnabled": lambda entry: not entry.disabled,
    "signInSessionsValidFromDateTime": lambda e: stamp(e.valid_from) if e.valid_from else LONG_AGO,
    "userType": lambda entry: "Guest" if entry.guest else "Member",
    "mailNickname": lambda entry: entry.name,
    "createdDateTime": lambda _: LONG_AGO,
    "deletedDateTime": lambda _: None,
}
DEFAULTS = tuple(PROPERTIES)[:11]


def selected(call: Call, properties: tuple[str, ...] = tuple(PROPERTIES)) -> tuple[str, ...] | None:
    given = call.args.get("$select")
    if given is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    for name in names:
        if name not in properties:
            raise Problem(
                400,
                "BadRequest",
                "Parsing OData Select and Expand failed: Could not find a property named "
                f"'{name}' on type 'microsoft.graph.user'.",
            )
    return names


def rendering(state: State, names: tuple[str, ...] | None) -> Callable[[Entry], dict[str, Any]]:
    """A function that says a person as an object; made once a request, called a thousand times."""
    omitted = take(state, "graph", "omit", ())
    parts = [(name, PROPERTIES[name]) for name in names or DEFAULTS if name not in omitted]
    return lambda entry: {name: value(entry) for name, value in parts}


# -- query options and pages --------------------------------------------------------------------------


def only(call: Call, *known: str) -> None:
    for name in call.args:
        if name not in known:
            raise unsupported(f"The query option '{name}' is not supported here.")


def counted(call: Call) -> bool:
    """$count=true; a query that needs ConsistencyLevel and has none is refused (B14)."""
    wanted = call.args.get("$count", "false")
    if wanted not in ("true", "false"):
        raise Problem(400, "BadRequest", "Invalid value for $count.")
    if wanted == "true" and not eventual(call):
        raise unsupported("$count needs the header ConsistencyLevel: eventual.")
    return wanted == "true"


def eventual(call: Call) -> bool:
    return call.headers.get("ConsistencyLevel", "").lower() == "eventual"


def top(state: State, call: Call, default: int = 100) -> int:
    given = call.args.get("$top", str(default))
    if not given.isdecimal() or not 1 <= int(given) <= 999:
        raise Problem(
            400,
            "Request_BadRequest",
            f"Invalid page size specified: '{given}'. Must be between 1 and 999 inclusive.",
        )
    return min(int(given), take(state, "graph", "page_size") or 999)


def link_to(state: State, path: str, args: dict[str, str]) -> str:
    base = base_of_links(state, "graph")
    return f"{base}{PREFIX}/{quote(path)}?{urlencode(args, safe='$,', quote_via=quote)}"


def skipped(call: Call) -> int:
    token = call.args.get("$skiptoken")
    if token is None:
        return 0
    content = unpacked(token, "at")
    if content is None or not isinstance(content["at"], int):
        raise Problem(400, "Directory_ExpiredPageToken", "The specified page token value has expired.")
    return content["at"]


def people_page(
    state: State, call: Call, positions: array[int], limit: int, render: Callable[[Entry], dict[str, Any]]
) -> dict[str, Any]:
    """One page of people with its nextLink; ConsistencyLevel is not in the link (B14)."""
    page, following = page_of(positions, skipped(call), top(state, call), limit)
    entries = state.population.entries
    body: dict[str, Any] = {}
    if following is not None:
        args = {**call.args, "$skiptoken": packed(at=following)}
        body["@odata.nextLink"] = link_to(state, "/".join(call.path), args)
    body["value"] = [render(entries[position]) for position in page]
    return body


def context(
    state: State, what: str, names: tuple[str, ...] | None, *, single: bool = False
) -> dict[str, str]:
    chosen = f"({','.join(names)})" if names else ""
    return {"@odata.context": f"{state.base}{PREFIX}/$metadata#{what}{chosen}{'/$entity' if single else ''}"}


def charged(call: Call, body: Any, units: int, **more: Any) -> Answer:
    """The answer with its cost, by the table of fact B16."""
    if "$select" in call.args:
        units -= 1
    given = call.args.get("$top", "")
    if given.isdecimal() and int(given) < 20:
        units -= 1
    return Answer(body, headers={"x-ms-resource-unit": str(max(units, 1))}, **more)
