"""Our own table of links: which (authority, subject) is which row of ``ab_user``, and what is known.

What must stay true: a link names a row by id *and* time of creation, and holds no token, assertion
or code that a provider issued.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from airflow_sso import models
from airflow_sso.accounts.matching import Link, UserRow
from airflow_sso.identity import Identity
from airflow_sso.models import accounts
from airflow_sso.role_mapping.decide import Facts


def find(connection: Connection, authority: str, subject: str) -> Link | None:
    """The link of an account key."""
    key = models.identity_key(authority, subject)
    row = connection.execute(select(accounts).where(accounts.c.identity_key == key)).first()
    if row is None:
        return None
    return Link(
        user_id=row.user_id,
        user_created_on=row.user_created_on,
        given_roles=frozenset(json.loads(row.given_roles)),
    )


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
    user_id: int,
    user_created_on: datetime | None,
) -> None:
    """Link an account key to a user row, in place of whatever it was linked to."""
    key = models.identity_key(authority, subject)
    target = {"user_id": user_id, "user_created_on": user_created_on, "created_at": models.now()}
    fresh = {"given_roles": "[]", "facts": "{}"}
    changed = connection.execute(
        update(accounts).where(accounts.c.identity_key == key).values(**target, **fresh)
    )
    if changed.rowcount == 0:
        whose = {"identity_key": key, "authority": authority, "subject": subject, "provider": provider}
        connection.execute(insert(accounts).values(**whose, **target, **fresh))


def seen(connection: Connection, identity: Identity, facts: Facts, given_roles: frozenset[str]) -> None:
    """Keep what a sign-in told: the real names, the facts that the mapping names, the roles it gave."""
    key = models.identity_key(identity.authority, identity.subject)
    connection.execute(
        update(accounts)
        .where(accounts.c.identity_key == key)
        .values(
            username=identity.username,
            email=identity.email,
            provider=identity.provider,
            last_sign_in_at=models.now(),
            given_roles=json.dumps(sorted(given_roles)),
            facts=json.dumps(_with_time_and_source(facts, identity.provider)),
        )
    )


def _with_time_and_source(facts: Facts, provider: str) -> Mapping[str, Any]:
    """Each fact as ``{"value": [...], "at": ..., "source": ...}``; an unknown one has the value null."""
    stamp = {"at": models.now().isoformat(timespec="seconds"), "source": f"sign_in:{provider}"}
    return {
        fact: {"value": None if values is None else sorted(values, key=str), **stamp}
        for fact, values in facts.items()
    }
