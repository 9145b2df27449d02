"""Flask-AppBuilder's user and role tables, read and written as tables.

The ORM classes are not loaded: their relationships cost a statement for each role and permission.
What must stay true: an account that we make holds no password that anything could accept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Table,
    and_,
    bindparam,
    case,
    column,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy import table as some_table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from airflow_sso import database
from airflow_sso.accounts.matching import UserRow

#: Not a hash of anything: werkzeug's ``check_password_hash`` answers False to it whatever is typed.
UNUSABLE_PASSWORD = "!airflow-sso: this account has no password"  # noqa: S105


def _tables() -> Mapping[str, Table]:
    from airflow.providers.fab.auth_manager.models import Model

    tables: Mapping[str, Table] = Model.metadata.tables
    return tables


_ROW = ("id", "created_on", "active", "username", "email", "first_name", "last_name")


def row_columns() -> list[ColumnElement[Any]]:
    """The columns of ``ab_user`` that :func:`to_row` reads, named so that they fit into any join."""
    users = _tables()["ab_user"]
    return [users.c[name].label(f"ab_user_{name}") for name in _ROW]


def to_row(row: Any) -> UserRow | None:
    """The user of a result row that has :func:`row_columns`; ``None`` where an outer join found none."""
    if row is None or row.ab_user_id is None:
        return None
    return UserRow(
        user_id=row.ab_user_id,
        created_on=row.ab_user_created_on,
        active=bool(row.ab_user_active),
        username=row.ab_user_username,
        email=row.ab_user_email,
        first_name=row.ab_user_first_name,
        last_name=row.ab_user_last_name,
    )


def table() -> Table:
    """``ab_user``."""
    return _tables()["ab_user"]


def role_table() -> Table:
    """``ab_role``."""
    return _tables()["ab_role"]


def holds_table() -> Table:
    """``ab_user_role``: which user holds which role."""
    return _tables()["ab_user_role"]


def by_username(connection: Connection, username: str) -> UserRow | None:
    """The user row of exactly this username."""
    query = select(*row_columns()).where(table().c.username == username)
    row = to_row(connection.execute(query).first())
    return row if row and row.username == username else None


def by_id(connection: Connection, user_id: int) -> UserRow | None:
    """The user row of this number."""
    query = select(*row_columns()).where(table().c.id == user_id)
    return to_row(connection.execute(query).first())


def by_ids(connection: Connection, user_ids: Collection[int]) -> dict[int, UserRow]:
    """The user rows of these numbers that are there."""
    query = select(*row_columns()).where(table().c.id.in_(user_ids))
    found = (to_row(row) for row in connection.execute(query))
    return {user.user_id: user for user in found if user}


def password_of(connection: Connection, user_id: int) -> str | None:
    """The hash of a user's password, as Flask-AppBuilder keeps it."""
    password: str | None = connection.scalar(select(table().c.password).where(table().c.id == user_id))
    return password


def taken(connection: Connection, *, username: str, email: str, but_not_by: int | None) -> tuple[bool, bool]:
    """Whether another user holds the username, and whether another user holds the address.

    Both are compared without regard to case, and the database lowers both sides: what it takes for
    the same letter is what its unique index goes by.
    """
    users = table()
    same_name = func.lower(users.c.username) == func.lower(bindparam("username", username))
    same_address = func.lower(users.c.email) == func.lower(bindparam("email", email))
    query = select(
        users.c.id,
        case((same_name, 1), else_=0).label("name"),
        case((same_address, 1), else_=0).label("address"),
    ).where(or_(same_name, same_address))
    rows = [row for row in connection.execute(query) if row.id != but_not_by]
    return any(row.name for row in rows), any(row.address for row in rows)


def add(connection: Connection, *, created_on: datetime, **values: str) -> int:
    """A new, active user without a usable password; returns its id."""
    users = _tables()["ab_user"]
    made = connection.execute(
        insert(users).values(
            **values,
            password=UNUSABLE_PASSWORD,
            active=True,
            login_count=0,
            fail_login_count=0,
            created_on=created_on,
            changed_on=created_on,
            created_by_fk=None,
            changed_by_fk=None,
        )
    )
    return database.new_id(made)


def change(connection: Connection, user_id: int, values: Mapping[str, Any]) -> None:
    """Set columns of a user."""
    users = _tables()["ab_user"]
    connection.execute(update(users).where(users.c.id == user_id).values(**values))


def role_names(connection: Connection) -> frozenset[str]:
    """Every role that exists."""
    roles = _tables()["ab_role"]
    return frozenset(connection.scalars(select(roles.c.name)))


def roles_of(connection: Connection, user_id: int) -> frozenset[str]:
    """The names of the roles that a user holds."""
    roles, held = _tables()["ab_role"], _tables()["ab_user_role"]
    query = select(roles.c.name).join(held, held.c.role_id == roles.c.id).where(held.c.user_id == user_id)
    return frozenset(connection.scalars(query))


class GroupTables(NamedTuple):
    """``ab_user_group``: who is in which of Flask-AppBuilder's own groups, which give roles as well; and
    ``ab_group_role``: which roles those groups give."""

    members: Table
    gives: Table


def group_tables() -> GroupTables | None:
    """``None`` before Flask-AppBuilder 5 (Airflow 2.11), which has no groups."""
    tables = _tables()
    if "ab_group_role" not in tables:
        return None
    return GroupTables(tables["ab_user_group"], tables["ab_group_role"])


def leave_groups(connection: Connection, user_id: int) -> None:
    """Out of every group of Flask-AppBuilder's."""
    groups = group_tables()
    if groups:
        connection.execute(delete(groups.members).where(groups.members.c.user_id == user_id))


class PermissionTables(NamedTuple):
    """``ab_permission`` (actions), ``ab_view_menu`` (resources), ``ab_permission_view`` (an action on a
    resource: a permission), and ``ab_permission_view_role``: which role has which permission."""

    actions: Table
    resources: Table
    permissions: Table
    of_roles: Table


def permission_tables() -> PermissionTables:
    names = ("ab_permission", "ab_view_menu", "ab_permission_view", "ab_permission_view_role")
    return PermissionTables(*(_tables()[name] for name in names))


def resource_names(connection: Connection) -> frozenset[str] | None:
    """What Airflow asks permissions on; ``None`` before its first server has filled the table.

    Commands of 2.11 make Admin by then, and a few resources.
    """
    if "Viewer" not in role_names(connection):
        return None
    resources = permission_tables().resources
    return frozenset(connection.scalars(select(resources.c.name)))


def add_absent(connection: Connection, into: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add the rows that are not there; one that another hand adds at the same moment is no fault.

    Airflow's own processes make the same actions, resources and permissions, whenever they meet a DAG.
    """
    if not rows:
        return
    name = connection.dialect.name
    if name == "postgresql":
        connection.execute(postgresql.insert(into).on_conflict_do_nothing(), rows)
    elif name == "sqlite":
        connection.execute(sqlite.insert(into).on_conflict_do_nothing(), rows)
    else:
        connection.execute(insert(into).prefix_with("IGNORE"), rows)


def dag_ids(connection: Connection) -> frozenset[str]:
    """Every DAG that Airflow knows, those too whose file has not been seen for a while."""
    dags = some_table("dag", column("dag_id"), schema=role_table().schema)
    return frozenset(connection.scalars(select(dags.c.dag_id)))


class RoleWriting:
    """The roles of several users, set one by one and written together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[str, int] | None = None
        self._lost: dict[int, list[int]] = defaultdict(list)
        self._gained: list[dict[str, int]] = []

    def set_roles(self, user_id: int, held: Collection[str], wanted: Collection[str]) -> frozenset[str]:
        """Make the user, who holds ``held`` now, hold exactly ``wanted``; returns what they will hold.

        A wanted role that does not exist is not made, and is missing from the answer. Nothing is written
        before :meth:`write`.
        """
        if self._ids is None:
            roles = _tables()["ab_role"]
            rows = self._connection.execute(select(roles.c.id, roles.c.name))
            self._ids = {row.name: row.id for row in rows}
        ids = self._ids
        for name in set(held) - set(wanted):
            if name in ids:
                self._lost[ids[name]].append(user_id)
        gained = sorted(ids[name] for name in set(wanted) - set(held) if name in ids)
        self._gained += [{"user_id": user_id, "role_id": role} for role in gained]
        return frozenset(name for name in wanted if name in held or name in ids)

    def write(self) -> None:
        """A statement a role that is taken, and one for all that are given."""
        holds = _tables()["ab_user_role"]
        for role, user_ids in sorted(self._lost.items()):
            these = and_(holds.c.role_id == role, holds.c.user_id.in_(user_ids))
            self._connection.execute(delete(holds).where(these))
        if self._gained:
            self._connection.execute(insert(holds), self._gained)
        self._lost, self._gained = defaultdict(list), []
