"""Graph's people: one, a list, how many, and what changed since (facts B2, B3, B7, B8, B14).

Somebody deleted is nowhere but in the changes. A delta link holds everything it needs, is good for
seven days, and is good only in the directory that gave it out.
"""

from __future__ import annotations

import re
from typing import Any

from devidp.directory_http import Answer, Call, Problem, found, limit_of, packed, take, unpacked
from devidp.graph_shared import (
    charged,
    context,
    counted,
    eventual,
    link_to,
    missing,
    only,
    people_page,
    principal_name,
    rendering,
    selected,
    unsupported,
)
from devidp.population import Entry, page_of
from devidp.state import State

DELTA_PAGE = 200
DELTA_LIFETIME = 7 * 24 * 3600
_ID_IN = re.compile(r"id in \(\s*('[^']*'(?:\s*,\s*'[^']*')*)\s*\)")
DISABLED = "accountEnabled eq false"


def person_of(state: State, wanted: str) -> Entry:
    """By id or by userPrincipalName, as Graph takes either."""
    entry = found(state, "graph", "entra", wanted)
    if entry is None and "@" in wanted:
        # A guest's name is what stands before the domain they came from (graph_shared.principal_name).
        before, mark, _ = wanted.lower().partition("#ext#")
        named = state.population.named(before.rpartition("_")[0] if mark else before.partition("@")[0])
        if named is not None and principal_name(named).lower() == wanted.lower():
            entry = found(state, "graph", "entra", named.oid)
    if entry is None:
        raise missing(wanted)
    return entry


def one(state: State, call: Call) -> Answer:
    only(call, "$select")
    names = selected(call)
    entry = person_of(state, call.path[1])
    return charged(
        call, {**context(state, "users", names, single=True), **rendering(state, names)(entry)}, units=1
    )


def listed(state: State, call: Call) -> Answer:
    only(call, "$select", "$top", "$count", "$filter", "$skiptoken")
    names, with_count = selected(call), counted(call)
    population, limit = state.population, limit_of(state, "graph")
    body: dict[str, Any] = dict(context(state, "users", names))
    render = rendering(state, names)
    wanted = call.args.get("$filter")
    ids = _ID_IN.fullmatch(wanted) if wanted is not None else None
    if ids is not None:
        entries = [population.by_id("entra", one) for one in _ids(ids[1])]
        body["value"] = [render(one) for one in entries if one is not None and one.position < limit]
        return charged(call, body, units=2)
    if wanted not in (None, DISABLED):
        raise unsupported("Unsupported or invalid query filter clause specified.")
    positions = population.live() if wanted is None else population.disabled()
    if with_count:
        body["@odata.count"] = len(page_of(positions, 0, len(positions), limit)[0])
    return charged(call, body | people_page(state, call, positions, limit, render), units=2)


def _ids(given: str) -> list[str]:
    ids = re.findall(r"'([^']*)'", given)
    if len(ids) > 15:
        raise unsupported("Too many child clauses specified in search filter expression; maximum 15 (B6).")
    return ids


def count(state: State, call: Call) -> Answer:
    only(call, "$filter")
    if not eventual(call):
        raise unsupported("$count is not currently supported without ConsistencyLevel: eventual.")
    wanted = call.args.get("$filter")
    if wanted not in (None, DISABLED):
        raise unsupported("Unsupported or invalid query filter clause specified.")
    positions = state.population.live() if wanted is None else state.population.disabled()
    number = len(page_of(positions, 0, len(positions), limit_of(state, "graph"))[0])
    return charged(call, str(number), units=2, content_type="text/plain")


# -- what changed -------------------------------------------------------------------------------------


def delta(state: State, call: Call) -> Answer:
    only(call, "$select", "$deltatoken", "$skiptoken")
    token = call.args.get("$deltatoken")
    if token not in (None, "", "latest"):
        return _changes(state, call, _opened(state, call.args["$deltatoken"]))
    if "$skiptoken" in call.args:
        content = unpacked(call.args["$skiptoken"], "epoch", "since", "until", "at", "select")
        if content is None or content["epoch"] != state.population.epoch:
            raise Problem(400, "Directory_ExpiredPageToken", "The specified page token value has expired.")
        return _changes(state, call, content) if content["since"] is not None else _all(state, call, content)
    now = state.population.sequence()
    names = selected(call)
    content = {"since": None, "until": now, "at": 0, "select": names, "epoch": state.population.epoch}
    if token == "latest":
        body = context(state, "users", names) | _delta_link(state, content) | {"value": []}
        return charged(call, body, units=2)
    return _all(state, call, content)


def _opened(state: State, token: str) -> dict[str, Any]:
    """A delta token's content, unless its time is over (B8)."""
    expired = take(state, "graph", "delta_expired")
    content = unpacked(token, "epoch", "since", "select", "made")
    if expired == "410":
        select = {"$select": ",".join(content["select"])} if content and content["select"] else {}
        fresh = link_to(state, "users/delta", {**select, "$deltatoken": ""})
        raise Problem(410, "resyncRequired", "Resync required.", Location=fresh)
    if (
        expired
        or content is None
        or content["epoch"] != state.population.epoch
        or state.now() > content["made"] + DELTA_LIFETIME
    ):
        raise Problem(400, "syncStateNotFound", "The sync state generation is not found.")
    return {**content, "until": state.population.sequence(), "at": 0}


def _all(state: State, call: Call, content: dict[str, Any]) -> Answer:
    """The first round: everybody who is there, then a link that knows what came meanwhile."""
    population = state.population
    page, following = page_of(population.live(), content["at"], _page_size(state), limit_of(state, "graph"))
    return _delta_page(state, call, content, [population.entries[place] for place in page], following)


def _changes(state: State, call: Call, content: dict[str, Any]) -> Answer:
    population = state.population
    changed = population.changed_since(content["since"], content["until"])
    start, size = content["at"], _page_size(state)
    page = [population.entries[place] for place in changed[start : start + size]]
    return _delta_page(state, call, content, page, start + size if start + size < len(changed) else None)


def _page_size(state: State) -> int:
    return take(state, "graph", "page_size") or DELTA_PAGE


def _delta_page(
    state: State, call: Call, content: dict[str, Any], page: list[Entry], following: int | None
) -> Answer:
    names = tuple(content["select"]) if content["select"] else None
    render = rendering(state, names)

    def said(entry: Entry) -> dict[str, Any]:
        if entry.deleted is None:
            return {**render(entry), "id": entry.oid}
        # Restorable is "changed", gone for good is "deleted" (B7).
        reason = "changed" if entry.deleted == "soft" else "deleted"
        return {"id": entry.oid, "@removed": {"reason": reason}}

    if following is not None:
        token = packed(**{**content, "at": following})
        link = {"@odata.nextLink": link_to(state, "users/delta", {"$skiptoken": token})}
    else:
        link = _delta_link(state, content)
    body = {**context(state, "users", names), **link, "value": [said(entry) for entry in page]}
    return charged(call, body, units=2)


def _delta_link(state: State, content: dict[str, Any]) -> dict[str, Any]:
    token = packed(
        epoch=content["epoch"], since=content["until"], select=content["select"], made=int(state.now())
    )
    return {"@odata.deltaLink": link_to(state, "users/delta", {"$deltatoken": token})}
