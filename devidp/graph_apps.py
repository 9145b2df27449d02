"""Graph's service principals: the app that people sign in to, its app roles, and who was given them.

There is one app, the registered client. Its app roles are those that somebody or some group has; a
role given to a group is one assignment, whose members are not listed here (fact B12).
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid5

from devidp.directory_http import Answer, Call, packed
from devidp.graph_shared import (
    LONG_AGO,
    charged,
    context,
    link_to,
    missing,
    only,
    skipped,
    top,
    unsupported,
)
from devidp.state import State

_NAMESPACE = UUID("5b1f7a0c-6a52-4b5e-8d0e-2f6c9a7f3a11")
APP_NAME = "Airflow"
_BY_APP_ID = re.compile(r"appId eq '([^']*)'")
_KEY = re.compile(r"servicePrincipals\(appId='([^']*)'\)")


def service_principal_id(client_id: str) -> str:
    return str(uuid5(_NAMESPACE, f"service principal:{client_id}"))


def app_role_id(value: str) -> str:
    return str(uuid5(_NAMESPACE, f"app role:{value}"))


def by_key(path: tuple[str, ...]) -> bool:
    return _KEY.fullmatch(path[0]) is not None


def _is_ours(state: State, path: tuple[str, ...]) -> bool:
    key = _KEY.fullmatch(path[0])
    client_id = state.client.client_id
    return key[1] == client_id if key else path[1] == service_principal_id(client_id)


def _principal(state: State) -> dict[str, Any]:
    values = dict.fromkeys(role for entry in _holders(state) for role in entry[3])
    return {
        "id": service_principal_id(state.client.client_id),
        "appId": state.client.client_id,
        "displayName": APP_NAME,
        "accountEnabled": True,
        "appRoles": [
            {
                "allowedMemberTypes": ["User"],
                "description": value,
                "displayName": value,
                "id": app_role_id(value),
                "isEnabled": True,
                "origin": "Application",
                "value": value,
            }
            for value in values
        ],
    }


def _chosen(call: Call, principal: dict[str, Any]) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    given = call.args.get("$select")
    if given is None:
        return None, principal
    names = tuple(name.strip() for name in given.split(","))
    return names, {name: principal.get(name) for name in names}


def listed(state: State, call: Call) -> Answer:
    only(call, "$filter", "$select", "$top")
    wanted = _BY_APP_ID.fullmatch(call.args.get("$filter", ""))
    if wanted is None:
        raise unsupported("Only $filter=appId eq '...' is supported here.")
    found = [_principal(state)] if wanted[1] == state.client.client_id else []
    chosen = [_chosen(call, one)[1] for one in found]
    body = {**context(state, "servicePrincipals", None), "value": chosen}
    return charged(call, body, units=2)


def one(state: State, call: Call) -> Answer:
    only(call, "$select")
    if not _is_ours(state, call.path):
        raise missing(call.path[-1])
    names, chosen = _chosen(call, _principal(state))
    return charged(call, {**context(state, "servicePrincipals", names, single=True), **chosen}, units=1)


def assigned(state: State, call: Call) -> Answer:
    only(call, "$top", "$skiptoken", "$select")
    if not _is_ours(state, call.path):
        raise missing(call.path[-2])
    items = [
        _assignment(state, kind, name, wanted, role)
        for kind, name, wanted, roles in _holders(state)
        for role in roles
    ]
    start, size = skipped(call), top(state, call)
    body: dict[str, Any] = dict(context(state, "appRoleAssignments", None))
    if start + size < len(items):
        args = {**call.args, "$skiptoken": packed(at=start + size)}
        body["@odata.nextLink"] = link_to(state, "/".join(call.path), args)
    return charged(call, {**body, "value": items[start : start + size]}, units=2)


def _holders(state: State) -> list[tuple[str, str, str, tuple[str, ...]]]:
    population = state.population
    people = [
        ("User", entry.display_name, entry.oid, entry.row.app_roles)
        for row in state.people.all()
        if (entry := population.named(row.name)) is not None and entry.row is not None
    ]
    groups = [("Group", group.name, group.id, group.app_roles) for group in population.all_groups()]
    return [holder for holder in (*people, *groups) if holder[3]]


def _assignment(state: State, kind: str, name: str, principal: str, role: str) -> dict[str, Any]:
    return {
        "id": str(uuid5(_NAMESPACE, f"{principal} {role}")),
        "deletedDateTime": None,
        "appRoleId": app_role_id(role),
        "createdDateTime": LONG_AGO,
        "principalDisplayName": name,
        "principalId": principal,
        "principalType": kind,
        "resourceDisplayName": APP_NAME,
        "resourceId": service_principal_id(state.client.client_id),
    }
