"""Flask-AppBuilder's user and role tables, read and written as tables.

The ORM classes are not loaded: their relationships cost a statement for each role and permission.
What must stay true: an account that we make holds no password that anything could accept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from airflow_sso import database
from airflow_sso.accounts.matching import UserRow

#: Not a hash of anything: werkzeug's ``check_password_hash`` answers False to it whatever is typed.
UNUSABLE_PASSWORD = "!airflow-sso: this account has no password"  # noqa: S105


def _tables() -> Mapping[str, Table]:
    from airflow.providers.fab.auth_manager.models import Model

    tables: Mapping[str, Table] = Model.metadata.tables
    return tables


def by_id(connection: Connection, user_id: int) -> UserRow | None:
    """The user row under an id."""
    return _one(connection, _tables()["ab_user"].c.id == user_id)


def by_username(connection: Connection, username: str) -> UserRow | None:
    """The user row of exactly this username."""
    row = _one(connection, _tables()["ab_user"].c.username == username)
    return row if row and row.username == username else None


def _one(connection: Connection, condition: ColumnElement[bool]) -> UserRow | None:
    row = connection.execute(select(_tables()["ab_user"]).where(condition)).first()
    if row is None:
        return None
    return UserRow(
        user_id=row.id,
        created_on=row.created_on,
        active=bool(row.active),
        username=row.username,
        email=row.email,
        first_name=row.first_name,
        last_name=row.last_name,
    )


def taken(connection: Connection, *, username: str, email: str, but_not_by: int | None) -> tuple[bool, bool]:
    """Whether another user holds the username, and whether another user holds the address.

    Both are compared without regard to case, as some of the databases do by themselves.
    """
    users = _tables()["ab_user"]
    name, address = func.lower(users.c.username), func.lower(users.c.email)
    query = select(users.c.id, name.label("name"), address.label("address")).where(
        or_(name == username.lower(), address == email.lower())
    )
    rows = [row for row in connection.execute(query) if row.id != but_not_by]
    return (
        any(row.name == username.lower() for row in rows),
        any(row.address == email.lower() for row in rows),
    )


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


def set_roles(connection: Connection, user_id: int, wanted: Collection[str]) -> frozenset[str]:
    """Make the user hold exactly ``wanted``; returns what they hold now.

    A wanted role that does not exist is not made, and is missing from the answer.
    """
    roles, held = _tables()["ab_role"], _tables()["ab_user_role"]
    ids = {
        row.name: row.id
        for row in connection.execute(select(roles.c.id, roles.c.name).where(roles.c.name.in_(list(wanted))))
    }
    here = set(connection.scalars(select(held.c.role_id).where(held.c.user_id == user_id)))
    lost = here - set(ids.values())
    if lost:
        connection.execute(delete(held).where(and_(held.c.user_id == user_id, held.c.role_id.in_(lost))))
    gained = set(ids.values()) - here
    if gained:
        connection.execute(insert(held), [{"user_id": user_id, "role_id": role} for role in sorted(gained)])
    return frozenset(ids)
