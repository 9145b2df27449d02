"""Our own table of links: which (authority, subject) is which row of ``ab_user``, and what is known.

What must stay true: a link names a row by id *and* time of creation, and holds no token, assertion
or code that a provider issued.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import Table, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from airflow_sso import models
from airflow_sso.accounts import fab_users, given_roles
from airflow_sso.accounts.given_roles import GivenBy, GivenRole
from airflow_sso.accounts.matching import Link, UserRow
from airflow_sso.identity import Identity
from airflow_sso.models import accounts
from airflow_sso.role_mapping import Facts

_LINK = ("user_id", "user_created_on", "given_roles")


def find(connection: Connection, authority: str, subject: str) -> tuple[Link | None, UserRow | None]:
    """The link of an account key, and the user row under its id as it is now."""
    users = fab_users.table()
    query = (
        select(
            accounts.c.user_id, accounts.c.user_created_on, accounts.c.given_roles, *fab_users.row_columns()
        )
        .select_from(accounts.outerjoin(users, users.c.id == accounts.c.user_id))
        .where(accounts.c.identity_key == models.identity_key(authority, subject))
    )
    row = connection.execute(query).first()
    if row is None:
        return None, None
    link = Link(
        user_id=row.user_id,
        user_created_on=row.user_created_on,
        given_roles=given_roles.read(row.given_roles),
    )
    return link, fab_users.to_row(row)


def follows(users: Table) -> ColumnElement[bool]:
    """That a link is one to a row of ``ab_user``, which it names by number and time of creation."""
    same_time = accounts.c.user_created_on == users.c.created_on
    neither = and_(accounts.c.user_created_on.is_(None), users.c.created_on.is_(None))
    return and_(users.c.id == accounts.c.user_id, same_time | neither)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a linked person, beside their row of ``ab_user``.

    ``sources``
        of each fact when it was found out, in ISO 8601, and by whom: ``sign_in:entra``.
    """

    key: str
    user_id: int
    authority: str
    provider: str
    username: str | None
    email: str | None
    sources: Mapping[str, tuple[str, str]]
    last_sign_in_at: datetime | None


def named(connection: Connection, name: str) -> list[Kept]:
    """Who goes by a name: that of the account if there is one, else the provider's, or an address.

    Names of the provider and addresses are compared without regard to case; several people may have one.
    """
    columns, users = accounts.c, fab_users.table()
    query = select(accounts, users.c.username.label("shown_as")).join(users, follows(users))
    rows = [row for row in connection.execute(query.where(users.c.username == name)) if row.shown_as == name]
    if not rows:
        asked = name.lower()
        by_name = or_(func.lower(columns.username) == asked, func.lower(columns.email) == asked)
        rows = list(connection.execute(query.where(by_name).order_by(columns.user_id)))
    return [
        Kept(
            key=row.identity_key,
            user_id=row.user_id,
            authority=row.authority,
            provider=row.provider,
            username=row.username,
            email=row.email,
            sources={fact: (told["at"], told["source"]) for fact, told in json.loads(row.facts).items()},
            last_sign_in_at=row.last_sign_in_at,
        )
        for row in rows
    ]


def is_linked(connection: Connection, user: UserRow) -> bool:
    """Whether a user row is somebody's already."""
    query = select(accounts.c.user_created_on).where(accounts.c.user_id == user.user_id)
    return user.created_on in set(connection.scalars(query))


def make(
    connection: Connection,
    authority: str,
    subject: str,
    *,
    provider: str,
    user: UserRow,
    instead_of: Link | None,
) -> None:
    """Link an account key to a user row.

    :param instead_of: the link that this key has had, if it had one.
    """
    key = models.identity_key(authority, subject)
    values = {
        "user_id": user.user_id,
        "user_created_on": user.created_on,
        "created_at": models.now(),
        "given_roles": given_roles.written({}, {}, models.now()),
        "facts": "{}",
        # The directory has not been asked about this one yet, or was about the row before it.
        "read_again": "new",
        "gone_since": None,
    }
    if instead_of:
        connection.execute(update(accounts).where(accounts.c.identity_key == key).values(**values))
    else:
        whose = {"identity_key": key, "authority": authority, "subject": subject, "provider": provider}
        connection.execute(insert(accounts).values(**whose, **values))


def seen(
    connection: Connection,
    identity: Identity,
    facts: Facts,
    given_by: GivenBy,
    *,
    before: Mapping[str, GivenRole],
    shown: Mapping[str, str] | None = None,
) -> None:
    """Keep what a sign-in told: the real names, the facts that the mapping names, the roles it gave.

    :param given_by: each role, and the labels of the rules that give it.
    :param before: the roles that the mapping gave until now.
    :param shown: what ``ab_user`` shows of the person now, if that was looked at.
    """
    key = models.identity_key(identity.authority, identity.subject)
    now = models.now()
    values = {
        "username": identity.username,
        "email": identity.email,
        "provider": identity.provider,
        "last_sign_in_at": now,
        "given_roles": given_roles.written(before, given_by, now),
        "facts": written(facts, f"sign_in:{identity.provider}", is_partial=identity.groups_partial),
        "observed_at": now,
    }
    if shown is not None:
        values["shown"] = json.dumps(dict(shown))
    connection.execute(update(accounts).where(accounts.c.identity_key == key).values(**values))


@dataclass(frozen=True, slots=True)
class Followed:
    """What the directory told of a person between sign-ins, and which roles the mapping gave by it.

    ``given_by`` has the labels of the rules that give each role, and is ``None`` where what was given
    before still stands; ``facts`` is ``None`` where nothing new was told;
    ``is_partial``: see :func:`written`.
    """

    key: str
    given_by: GivenBy | None
    facts: Facts | None
    is_partial: bool = False


def followed(connection: Connection, people: Iterable[Followed], source: str) -> None:
    """Keep what the directory told of several people, a few hundred at most, whose locks are held."""
    people, now = tuple(people), models.now()
    before = _given_texts(connection, [one.key for one in people])
    new, same = list[dict[str, Any]](), list[dict[str, Any]]()
    for one in people:
        gave = before[one.key]
        if one.given_by is not None:
            gave = given_roles.written(given_roles.read(gave), one.given_by, now)
        values = {"of_key": one.key, "gave": gave, "at": now}
        if one.facts is None:
            same.append(values)
        else:
            new.append({**values, "told": written(one.facts, source, is_partial=one.is_partial)})
    statement = (
        update(accounts)
        .where(accounts.c.identity_key == bindparam("of_key"))
        .values(given_roles=bindparam("gave"), observed_at=bindparam("at"))
    )
    if same:
        connection.execute(statement, same)
    if new:
        connection.execute(statement.values(facts=bindparam("told")), new)


def _given_texts(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    if not keys:
        return {}
    query = select(accounts.c.identity_key, accounts.c.given_roles)
    rows = connection.execute(query.where(accounts.c.identity_key.in_(keys)))
    return {row.identity_key: row.given_roles for row in rows}


def written(facts: Facts, source: str, *, is_partial: bool = False) -> str:
    """Facts as they are kept: ``{"value": [...], "at": ..., "source": ...}``; unknown has the value null.

    :param source: who told them, such as ``sign_in:entra``.
    :param is_partial: the groups are those alone that a directory was asked about.
    """
    stamp = {"at": models.now().isoformat(timespec="seconds"), "source": source}
    kept: dict[str, dict[str, Any]] = {
        fact: {"value": None if values is None else sorted(values, key=str), **stamp}
        for fact, values in facts.items()
    }
    if is_partial and "group" in kept:
        kept["group"]["partial"] = True
    return json.dumps(kept)


def is_partial(kept: str) -> bool:
    """Whether of the groups in it only those are known that a directory was asked about."""
    return '"partial"' in kept and bool(json.loads(kept).get("group", {}).get("partial"))


def read_back(kept: str) -> Facts:
    """What :func:`written` was given."""
    return _as_facts(
        tuple(
            (fact, None if entry["value"] is None else tuple((type(one), one) for one in entry["value"]))
            for fact, entry in json.loads(kept).items()
        )
    )


@functools.lru_cache(maxsize=1000)
def _as_facts(told: tuple[tuple[str, tuple[tuple[type, Any], ...] | None], ...]) -> Facts:
    """One object for all who have the same facts; with types, because 1 and True are equal in Python."""
    facts = {
        fact: None if values is None else frozenset(value for _, value in values) for fact, values in told
    }
    return MappingProxyType(facts)
