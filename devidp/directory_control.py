"""The control API of the directory: make a crowd, change people and groups, take permissions, count.

Every call says what it did in the words that it takes. A field that is not known, or a person whom
nobody knows, is refused with a sentence, so that no test passes because of a typing error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from devidp.directory_state import GRANTABLE
from devidp.graph_shared import LONG_AGO, stamp
from devidp.population import Entry, Group
from devidp.state import State

Body = Callable[..., dict[str, Any]]
_DELETED = (None, "soft", "hard")


def add(control: Blueprint, state: State, body: Body) -> None:
    _add_people(control, state, body)
    _add_groups(control, state, body)
    _add_rest(control, state, body)


def _flag(given: dict[str, Any], name: str) -> bool:
    if not isinstance(given[name], bool):
        raise ValueError(f"{name} must be true or false")
    return bool(given[name])


def _names(given: dict[str, Any], name: str) -> list[str]:
    value = given[name]
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"{name} must be a list of names")
    return value


def _entry(state: State, name: str) -> Entry:
    entry = state.population.named(name)
    if entry is None:
        raise ValueError(f"there is nobody called {name!r}")
    return entry


def _add_people(control: Blueprint, state: State, body: Body) -> None:
    @control.get("/directory/people/<name>")
    def read_directory_person(name: str) -> Response | tuple[Response, int]:
        entry = state.population.named(name)
        if entry is None:
            return jsonify({"error": f"there is nobody called {name!r}"}), 404
        return jsonify(_person(state, entry))

    @control.put("/directory/people/<name>")
    def put_directory_person(name: str) -> Response:
        given = body("disabled", "locked", "deleted", "signed_out_everywhere", "groups")
        entry = _entry(state, name)
        changes = _checked_changes(state, entry, given)
        for change in changes:
            change()
        return jsonify(_person(state, _entry(state, name)))


def _checked_changes(state: State, entry: Entry, given: dict[str, Any]) -> list[Callable[[], None]]:
    """What is to be done, in order; nothing is done unless all of it is right."""
    population, changes = state.population, list[Callable[[], None]]()
    # First, because it alone may still be refused: somebody gone for good does not come back.
    if "deleted" in given:
        deleted = given["deleted"]
        if deleted not in _DELETED:
            raise ValueError('deleted must be "soft", "hard" or null')
        changes.append(lambda: population.set_deleted(entry, deleted))
    if "groups" in given:
        names = _names(given, "groups")
        changes.append(lambda: population.set_groups(entry, names))
    if "disabled" in given:
        disabled = _flag(given, "disabled")
        changes.append(lambda: population.set_disabled(entry, disabled))
    if "locked" in given:
        locked = _flag(given, "locked")
        changes.append(lambda: population.set_locked(entry, locked))
    if "signed_out_everywhere" in given:
        if given["signed_out_everywhere"] is not True:
            raise ValueError("signed_out_everywhere can only be true: it cannot be taken back")
        changes.append(lambda: population.sign_out_everywhere(entry, state.now()))
    return changes


def _person(state: State, entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "display_name": entry.display_name,
        "email": entry.email,
        "ids": {
            "graph": entry.oid,
            "pingone": entry.id_for("pingone"),
            "scim": entry.id_for("scim"),
            "external_id": entry.id_for("generic"),
            "entry_uuid": entry.id_for("scim"),
            "user_name": entry.name,
        },
        "disabled": entry.disabled,
        "locked": entry.locked,
        "deleted": entry.deleted,
        "signed_out_at": stamp(entry.valid_from) if entry.valid_from else LONG_AGO,
        "groups": [one.name for one in state.population.direct_groups(entry)],
        "effective_groups": [one.name for one in state.population.effective_groups(entry)],
    }


def _add_groups(control: Blueprint, state: State, body: Body) -> None:
    @control.get("/directory/groups/<name>")
    def read_directory_group(name: str) -> Response | tuple[Response, int]:
        group = state.population.groups.get(name)
        if group is None:
            return jsonify({"error": f"there is no group called {name!r}"}), 404
        return jsonify(_group(state, group))

    @control.put("/directory/groups/<name>")
    def put_directory_group(name: str) -> Response:
        """Makes the group if there is none, and the groups to be nested in it."""
        given = body("groups", "members", "deleted", "app_roles")
        population = state.population
        members = [_entry(state, one) for one in _names(given, "members")] if "members" in given else None
        nested = _names(given, "groups") if "groups" in given else None
        roles = tuple(_names(given, "app_roles")) if "app_roles" in given else None
        deleted = _flag(given, "deleted") if "deleted" in given else None
        group = population.group(name)
        if members is not None:
            population.set_members(group, members)
        if nested is not None:
            population.nest(group, [population.group(one) for one in dict.fromkeys(nested)])
        population.set_group(
            group,
            deleted=group.deleted if deleted is None else deleted,
            app_roles=group.app_roles if roles is None else roles,
        )
        return jsonify(_group(state, group))


def _group(state: State, group: Group) -> dict[str, Any]:
    population = state.population
    return {
        "name": group.name,
        "id": group.id,
        "deleted": group.deleted,
        "groups": [one.name for one in group.nested],
        "app_roles": list(group.app_roles),
        "members": len(population.direct_members(group)),
        "transitive_members": len(population.transitive_members(group)),
    }


def _add_rest(control: Blueprint, state: State, body: Body) -> None:
    @control.post("/directory/generate")
    def generate() -> Response:
        given = {"people": 0, "groups": 0, "members": 20, **body("people", "groups", "members")}
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in given.values()):
            raise ValueError("people, groups and members must be whole numbers")
        state.population.generate(given["people"], given["groups"], given["members"])
        return jsonify({"people": len(state.population.live()), "groups": len(state.population.all_groups())})

    @control.get("/directory/permissions")
    def read_permissions() -> Response:
        return jsonify({side: sorted(names) for side, names in state.directory.granted.items()})

    @control.put("/directory/permissions")
    def put_permissions() -> Response:
        state.directory.grant(body(*GRANTABLE))
        return read_permissions()

    @control.delete("/directory/tokens")
    def revoke_tokens() -> Response:
        """Every app-only token is refused from now on; a new one can be had."""
        state.directory.revoke_tokens()
        return jsonify({})

    @control.get("/directory/counts")
    def read_counts() -> Response:
        return jsonify(dict(sorted(state.directory.counts.items())))

    @control.delete("/directory/counts")
    def delete_counts() -> Response:
        state.directory.clear_counts()
        return jsonify({})
