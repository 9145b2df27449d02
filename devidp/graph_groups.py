"""Graph's groups: who is in them, with what is nested in them, and which of them a person is in.

Membership through nesting counts in transitiveMembers, checkMemberGroups and getMemberGroups, and only
there (facts B9, B10, B11).
"""

from __future__ import annotations

from typing import Any

from devidp.directory_http import Answer, Call, Problem, limit_of, take
from devidp.graph_shared import (
    DEFAULTS,
    USERS,
    charged,
    context,
    counted,
    missing,
    only,
    people_page,
    rendering,
    selected,
)
from devidp.graph_users import person_of
from devidp.population import Entry, Group, page_of
from devidp.state import State

MOST_CHECKED = 20
MOST_TOLD = 11_000


def _group(state: State, wanted: str) -> Group:
    group = state.population.group_by_id(wanted)
    if group is None:
        raise missing(wanted)
    return group


def one(state: State, call: Call) -> Answer:
    only(call, "$select")
    group = _group(state, call.path[1])
    properties = {
        "id": group.id,
        "displayName": group.name,
        "securityEnabled": True,
        "mailEnabled": False,
        "groupTypes": [],
        "description": None,
    }
    names = selected(call, tuple(properties))
    chosen = {name: properties[name] for name in names or properties}
    return charged(call, {**context(state, "groups", names, single=True), **chosen}, units=1)


def members(state: State, call: Call) -> Answer:
    group = _group(state, call.path[1])
    return _people(state, call, state.population.direct_members(group), units=3)


def transitive_members(state: State, call: Call) -> Answer:
    group = _group(state, call.path[1])
    return _people(state, call, state.population.transitive_members(group), units=5)


def _people(state: State, call: Call, positions: Any, units: int) -> Answer:
    only(call, "$select", "$top", "$count", "$skiptoken")
    names, with_count, limit = selected(call), counted(call), limit_of(state, "graph")
    render = rendering(state, names)
    if take(state, "graph", "null_members") or USERS not in state.directory.granted["graph"]:
        render = _null_rendering(names)
    body: dict[str, Any] = dict(context(state, "users", names))
    if with_count:
        body["@odata.count"] = len(page_of(positions, 0, len(positions), limit)[0])
    return charged(call, body | people_page(state, call, positions, limit, render), units=units)


def _null_rendering(names: tuple[str, ...] | None) -> Any:
    """Fact B11: what the app may not read comes with null properties; only the id is said."""
    empty = dict.fromkeys(names or DEFAULTS)

    def said(entry: Entry) -> dict[str, Any]:
        return {**empty, "id": entry.oid}

    return said


# -- the groups of one person -------------------------------------------------------------------------


def check(state: State, call: Call) -> Answer:
    only(call)
    wanted = _posted(call, "groupIds")
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise Problem(400, "Request_BadRequest", "groupIds must be a collection of strings.")
    if len(wanted) > MOST_CHECKED:
        raise Problem(400, "Request_BadRequest", f"groupIds may have at most {MOST_CHECKED} entries.")
    entry = person_of(state, call.path[1])
    has = {group.id for group in state.population.effective_groups(entry)}
    return _ids(state, call, [one for one in dict.fromkeys(wanted) if one.lower() in has], units=4)


def of_person(state: State, call: Call) -> Answer:
    only(call)
    if not isinstance(_posted(call, "securityEnabledOnly"), bool):
        raise Problem(400, "Request_BadRequest", "securityEnabledOnly must be a boolean.")
    entry = person_of(state, call.path[1])
    ids = [group.id for group in state.population.effective_groups(entry)]
    if len(ids) > MOST_TOLD:
        raise Problem(400, "DirectoryResultSizeLimitExceeded", "The result size limit was exceeded.")
    return _ids(state, call, ids, units=2)


def _posted(call: Call, name: str) -> Any:
    body = call.read()
    if not isinstance(body, dict) or name not in body:
        raise Problem(400, "Request_BadRequest", f"The parameter {name} is missing.")
    return body[name]


def _ids(state: State, call: Call, ids: list[str], units: int) -> Answer:
    body = {**context(state, "Collection(Edm.String)", None), "value": ids}
    return charged(call, body, units=units)
