"""Who has an account through a directory's authority, and what else a plan has to know of them.

Read in parts, so that a hundred thousand accounts never lie in memory at once. What must stay true:
accounts that no directory stands behind, hand-made ones and break-glass, never get into a plan.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from airflow_sso import airflow_compat, database, models
from airflow_sso.accounts import fab_users, given_roles, links
from airflow_sso.models import accounts, break_glass_pins, removals, sessions, shut_accounts
from airflow_sso.sync.compare import Person
from airflow_sso.sync.plan import ADMIN, Account

_AT_ONCE = 2000  # numbers of users
_NOTHING: Mapping[str, str] = MappingProxyType({})
_SHOWN = ("username", "email", "first_name", "last_name")


def subjects(authority: str) -> tuple[dict[str, None], frozenset[str]]:
    """Everybody to ask about: all of them, and those who must be asked about singly."""
    users = fab_users.table()
    query = (
        select(accounts.c.subject, accounts.c.read_again)
        .join(users, links.follows(users))
        .where(accounts.c.authority == authority)
    )
    with airflow_compat.engine().connect() as connection:
        rows = connection.execute(query.execution_options(yield_per=_AT_ONCE))
        everybody: dict[str, None] = {}
        again = set()
        for row in rows:
            everybody[row.subject] = None
            if row.read_again:
                again.add(row.subject)
    return everybody, frozenset(again)


def linked(authority: str) -> Iterator[Account]:
    """Every linked account of an authority, in the order of the user's number."""
    with airflow_compat.engine().connect() as connection:
        protected = _protected(connection)
    last = -1
    while True:
        # A transaction a part: nobody's write waits for all of them to be read.
        with database.transaction() as connection:
            first = _next(connection, last)
            if first is None:
                return
            last = first + _AT_ONCE - 1
            rows = _part(connection, first, last)
            more = _More(connection, functools.partial(_between, first, last))
        for row in rows:
            if row.authority == authority:
                yield _account(row, more, is_protected=row.user_id in protected)


def some(connection: Connection, keys: Collection[str]) -> dict[str, Account]:
    """Some accounts as they are now, by key, for whoever holds their locks; a few hundred at most."""
    rows = connection.execute(_query().where(accounts.c.identity_key.in_(keys))).all()
    ids = [row.user_id for row in rows]
    more = _More(connection, lambda column: column.in_(ids))
    pinned = _protected(connection)
    return {row.identity_key: _account(row, more, is_protected=row.user_id in pinned) for row in rows}


def everybody() -> Iterator[Person]:
    """Whoever has an open account, through whatever authority, in the order of the user's number."""
    users = fab_users.table()
    query = select(
        accounts.c.authority,
        accounts.c.user_id,
        accounts.c.provider,
        accounts.c.given_roles,
        accounts.c.facts,
        users.c.username,
    ).join(users, links.follows(users))
    with airflow_compat.engine().connect() as connection:
        protected = _protected(connection)
    last = -1
    while True:
        with database.transaction() as connection:
            first = _next(connection, last)
            if first is None:
                return
            last = first + _AT_ONCE - 1
            theirs = functools.partial(_between, first, last)
            part = query.where(theirs(accounts.c.user_id), users.c.active.is_(True))
            rows = list(connection.execute(part.order_by(accounts.c.user_id)))
            held = _held(connection, theirs)
        for row in rows:
            if row.user_id not in protected:
                yield Person(
                    user_id=row.user_id,
                    username=row.username,
                    provider=row.provider,
                    authority=row.authority,
                    held=held.get(row.user_id, frozenset()),
                    given=given_roles.names(row.given_roles),
                    facts=links.read_back(row.facts),
                )


def removed_lately(window: timedelta) -> tuple[frozenset[int], int]:
    """Whose access was taken within a window, by whomever; and how many of them are shut now."""
    users = fab_users.table()
    taken = select(removals.c.user_id).where(removals.c.at > models.now() - window).distinct()
    with airflow_compat.engine().connect() as connection:
        found = frozenset(connection.scalars(taken))
        shut = select(func.count()).where(users.c.id.in_(taken), users.c.active.is_(False))
        return found, int(connection.scalar(shut) or 0)


def open_accounts() -> int:
    """How many people have an account that is open, through whatever directory."""
    users = fab_users.table()
    query = select(func.count()).select_from(accounts.join(users, links.follows(users)))
    with airflow_compat.engine().connect() as connection:
        return int(connection.scalar(query.where(users.c.active.is_(True))) or 0)


def role_names() -> frozenset[str]:
    """The roles that exist."""
    with airflow_compat.engine().connect() as connection:
        return fab_users.role_names(connection)


def admins(connection: Connection) -> frozenset[int]:
    """Every active account that holds Admin, whoever made it."""
    users, roles, holds = fab_users.table(), fab_users.role_table(), fab_users.holds_table()
    query = (
        select(users.c.id)
        .join(holds, holds.c.user_id == users.c.id)
        .join(roles, roles.c.id == holds.c.role_id)
        .where(users.c.active.is_(True), roles.c.name == ADMIN)
    )
    return frozenset(connection.scalars(query))


def _protected(connection: Connection) -> frozenset[int]:
    return frozenset(connection.scalars(select(break_glass_pins.c.user_id)))


def _query() -> Any:
    users = fab_users.table()
    return select(
        accounts.c.identity_key,
        accounts.c.authority,
        accounts.c.subject,
        accounts.c.user_id,
        accounts.c.user_created_on,
        accounts.c.given_roles,
        accounts.c.facts,
        accounts.c.shown,
        accounts.c.observed_at,
        accounts.c.read_again,
        accounts.c.gone_since,
        users.c.active,
        users.c.password,
        *(users.c[name] for name in _SHOWN),
    ).join(users, links.follows(users))


def _next(connection: Connection, last: int) -> int | None:
    """The lowest number above this one that has an account, of whatever authority."""
    found: int | None = connection.scalar(
        select(func.min(accounts.c.user_id)).where(accounts.c.user_id > last)
    )
    return found


def _part(connection: Connection, first: int, last: int) -> list[Any]:
    """The accounts of a range of numbers, of every authority.

    Asked for one authority a database may go through all accounts of it for each part.
    """
    query = _query().where(accounts.c.user_id.between(first, last)).order_by(accounts.c.user_id)
    return list(connection.execute(query))


def _between(first: int, last: int, column: Any) -> ColumnElement[bool]:
    found: ColumnElement[bool] = column.between(first, last)
    return found


def _held(connection: Connection, theirs: Callable[[Any], ColumnElement[bool]]) -> dict[int, frozenset[str]]:
    """The names of the roles that users hold, by their number; equal sets are one object."""
    roles, holds = fab_users.role_table(), fab_users.holds_table()
    query = (
        select(holds.c.user_id, roles.c.name)
        .join(roles, roles.c.id == holds.c.role_id)
        .where(theirs(holds.c.user_id))
    )
    names: dict[int, list[str]] = defaultdict(list)
    for row in connection.execute(query):
        names[row.user_id].append(row.name)
    shared: dict[frozenset[str], frozenset[str]] = {}
    return {
        user_id: shared.setdefault(found := frozenset(of_one), found) for user_id, of_one in names.items()
    }


class _More:
    """What other tables hold of the users of a part; ``theirs`` says whether a row is about one of them."""

    def __init__(self, connection: Connection, theirs: Callable[[Any], ColumnElement[bool]]) -> None:
        self.held = _held(connection, theirs)
        self.shut: dict[int, dict[str, tuple[Any, str]]] = defaultdict(dict)
        shut = select(shut_accounts).where(theirs(shut_accounts.c.user_id))
        for row in connection.execute(shut):
            self.shut[row.user_id][row.source] = (row.user_created_on, row.reason)
        oldest = (
            select(sessions.c.user_id, func.min(sessions.c.started_at).label("began"))
            .where(
                theirs(sessions.c.user_id),
                sessions.c.ended_at.is_(None),
                sessions.c.ends_at > models.now(),
            )
            .group_by(sessions.c.user_id)
        )
        self.in_groups: frozenset[int] = frozenset()
        groups = fab_users.group_tables()
        if groups:
            in_some = select(groups.members.c.user_id).where(theirs(groups.members.c.user_id)).distinct()
            self.in_groups = frozenset(connection.scalars(in_some))
        self.oldest = {row.user_id: row.began for row in connection.execute(oldest)}


def _account(row: Any, more: _More, *, is_protected: bool = False) -> Account:
    shut = more.shut.get(row.user_id)
    return Account(
        key=row.identity_key,
        subject=row.subject,
        user_id=row.user_id,
        username=row.username,
        active=bool(row.active),
        held=more.held.get(row.user_id, frozenset()),
        given=given_roles.names(row.given_roles),
        facts=links.read_back(row.facts),
        is_partial=links.is_partial(row.facts),
        shut_by=_shut_by(row, shut) if shut else _NOTHING,
        gone_since=row.gone_since,
        read_again=row.read_again,
        observed_at=row.observed_at,
        oldest_session=more.oldest.get(row.user_id),
        is_protected=is_protected,
        drift=_drift(row),
        in_groups=row.user_id in more.in_groups,
    )


def _shut_by(row: Any, said: Mapping[str, tuple[Any, str]]) -> Mapping[str, str]:
    """Who says so of this very row of ``ab_user``."""
    return {source: reason for source, (made, reason) in said.items() if made == row.user_created_on}


def _drift(row: Any) -> Mapping[str, str]:
    """The columns that say something else than we wrote there last."""
    ours: dict[str, str] = json.loads(row.shown) if row.shown else {}
    drift = {name: value for name, value in ours.items() if getattr(row, name) != value}
    if row.password != fab_users.UNUSABLE_PASSWORD:
        drift["password"] = fab_users.UNUSABLE_PASSWORD
    return drift or _NOTHING
