"""Permissions as Airflow's database keeps them: which there are, which role has which, read and written.

A permission is an action on a resource, and its row is shared by all roles that have it. What must stay
true: rows that several roles share are only ever added; of a role, only what names that role goes.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, Table, cast, delete, func, select
from sqlalchemy.engine import Connection

from airflow_sso.accounts import fab_users
from airflow_sso.accounts.dag_access import Permission

log = logging.getLogger(__name__)

_MAX_ACTION, _MAX_RESOURCE = 100, 250  # the columns' lengths
_AT_ONCE = 500  # values of one IN: SQLite takes no more than 999 in older versions


class Seen(NamedTuple):
    """A role and a sum of its permissions, that any other set of them would change."""

    role_id: int
    number: int
    last: int
    ids: int
    squares: int


def seen(connection: Connection, names: Collection[str]) -> dict[str, Seen]:
    """Those of the roles that exist, in one statement.

    The sums tell sets apart: new rows have new numbers, and where a database uses the highest number again,
    the squares of the permissions' own numbers differ.
    """
    roles, of_roles = fab_users.role_table(), fab_users.permission_tables().of_roles
    number = of_roles.c.permission_view_id
    sums = (
        func.count(number),
        func.max(of_roles.c.id),
        func.sum(cast(of_roles.c.id, BigInteger)),
        func.sum(cast(number, BigInteger) * number),
    )
    query = (
        select(roles.c.name, roles.c.id, *sums)
        .select_from(roles.outerjoin(of_roles, of_roles.c.role_id == roles.c.id))
        .where(roles.c.name.in_(sorted(names)))
        .group_by(roles.c.name, roles.c.id)
    )
    return {row[0]: Seen(*(int(value or 0) for value in row[1:])) for row in connection.execute(query)}


class Permissions:
    """Every permission that there is, and what the roles asked for have of them.

    :param role_ids: the roles to be read.
    """

    def __init__(self, connection: Connection, role_ids: Collection[int]) -> None:
        self._connection = connection
        self._ids: dict[Permission, int] = {}
        self._names: dict[int, Permission] = {}
        self._read()
        of_roles = fab_users.permission_tables().of_roles
        query = select(of_roles.c.role_id, of_roles.c.permission_view_id)
        self._held: dict[int, set[int]] = defaultdict(set)
        for role_id, permission_id in connection.execute(query.where(of_roles.c.role_id.in_(role_ids))):
            self._held[role_id].add(permission_id)

    def _read(self) -> None:
        actions, resources, permissions, _of_roles = fab_users.permission_tables()
        joined = permissions.join(actions, actions.c.id == permissions.c.permission_id).join(
            resources, resources.c.id == permissions.c.view_menu_id
        )
        query = select(permissions.c.id, actions.c.name, resources.c.name).select_from(joined)
        self._names = {row[0]: (row[1], row[2]) for row in self._connection.execute(query)}
        self._ids = {permission: number for number, permission in self._names.items()}

    def of(self, role_id: int | None) -> frozenset[Permission]:
        """What a role has; of one that does not exist, nothing."""
        held = self._held.get(role_id, ()) if role_id is not None else ()
        return frozenset(self._names[number] for number in held if number in self._names)

    def add(self, wanted: Iterable[Permission]) -> None:
        """Make the permissions that there are not, with their actions and resources."""
        new = {permission for permission in wanted if permission not in self._ids}
        if not new:
            return
        actions, resources, permissions, _of_roles = fab_users.permission_tables()
        action_ids = self._named(actions, {action for action, _resource in new})
        resource_ids = self._named(resources, {resource for _action, resource in new})
        rows = sorted(
            (resource_ids[resource], action_ids[action])
            for action, resource in new
            if resource in resource_ids and action in action_ids
        )
        made = [{"view_menu_id": resource, "permission_id": action} for resource, action in rows]
        fab_users.add_absent(self._connection, permissions, made)
        self._read()

    def _named(self, table: Table, names: set[str]) -> dict[str, int]:
        """The numbers of actions or resources, which are made where they are missing."""
        there = self._numbers(table)
        missing = [{"name": name} for name in sorted(names - set(there))]
        if missing:
            fab_users.add_absent(self._connection, table, missing)
            there = self._numbers(table)
        return there

    def _numbers(self, table: Table) -> dict[str, int]:
        rows = self._connection.execute(select(table.c.name, table.c.id))
        return {row[0]: row[1] for row in rows}

    def there(self, wanted: Iterable[Permission]) -> frozenset[Permission]:
        """Those that there are; after :meth:`add`, all that the database could tell apart."""
        return frozenset(permission for permission in wanted if permission in self._ids)

    def give(self, gained: Mapping[int, Collection[Permission]]) -> None:
        """Give each role permissions that there are, sorted so that no two writers wait for each other."""
        rows = sorted((role, self._ids[one]) for role in gained for one in gained[role])
        given = [{"role_id": role, "permission_view_id": number} for role, number in rows]
        fab_users.add_absent(self._connection, fab_users.permission_tables().of_roles, given)

    def take(self, lost: Mapping[int, Collection[Permission]]) -> None:
        """Take permissions from each role."""
        of_roles = fab_users.permission_tables().of_roles
        for role, permissions in sorted(lost.items()):
            numbers = sorted(self._ids[permission] for permission in permissions)
            for start in range(0, len(numbers), _AT_ONCE):
                some = of_roles.c.permission_view_id.in_(numbers[start : start + _AT_ONCE])
                self._connection.execute(delete(of_roles).where(of_roles.c.role_id == role).where(some))


def delete_roles(connection: Connection, role_ids: Collection[int]) -> None:
    """Delete roles that nobody holds, and that they had permissions."""
    if role_ids:
        roles, of_roles = fab_users.role_table(), fab_users.permission_tables().of_roles
        connection.execute(delete(of_roles).where(of_roles.c.role_id.in_(role_ids)))
        connection.execute(delete(roles).where(roles.c.id.in_(role_ids)))


def held_roles(connection: Connection, role_ids: Collection[int]) -> frozenset[int]:
    """Those of the roles that somebody holds, or a group of Flask-AppBuilder's."""
    if not role_ids:
        return frozenset()
    found: set[int] = set()
    groups = fab_users.group_tables()
    for table in (fab_users.holds_table(), *([groups.gives] if groups else [])):
        query = select(table.c.role_id).where(table.c.role_id.in_(role_ids)).distinct()
        found.update(connection.scalars(query))
    return frozenset(found)


_too_long: set[Permission] = set()


def fits(permission: Permission) -> bool:
    """Whether Airflow's columns can hold a permission's names; said once where they cannot."""
    action, resource = permission
    if len(action) <= _MAX_ACTION and len(resource) <= _MAX_RESOURCE:
        return True
    if permission not in _too_long:
        _too_long.add(permission)
        log.warning(
            "airflow_sso: nobody can be given %s on %s: Airflow's table holds names of at most %d letters; "
            "choose a shorter id for the DAG",
            action[:_MAX_ACTION],
            resource[:_MAX_RESOURCE],
            _MAX_RESOURCE,
        )
    return False
