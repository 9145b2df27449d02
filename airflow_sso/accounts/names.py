"""What ``ab_user`` shows of a person: the real names where they are free, plain stand-ins elsewhere.

Username and e-mail are unique there and not null. What must stay true: whoever holds a name first
never locks another person out, a username that one person has shown never becomes another's, and
the real values are in our own table whatever is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from airflow_sso import models
from airflow_sso.accounts import fab_users
from airflow_sso.accounts.matching import UserRow
from airflow_sso.errors import AccountInTheWay
from airflow_sso.identity import Identity
from airflow_sso.models import usernames

_MAX_LENGTH = 250  # ab_user allows 512; indexes on MySQL and the UI do not thank us for more
_VARIANTS = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """The columns of ``ab_user``; ``first_time`` when this username has never been anybody's."""

    values: Mapping[str, str]
    first_time: bool


def shown(connection: Connection, identity: Identity, *, user: UserRow | None) -> Shown:
    """What ``ab_user`` is to show of an identity.

    :param user: the person's own row, whose names are theirs already.
    :raises AccountInTheWay: when a name and a hundred variants of it are taken.
    """
    stand_in = _key(identity)[:16]
    username = (identity.username or stand_in)[:_MAX_LENGTH]
    email = (identity.email or f"{stand_in}@sso.invalid")[:_MAX_LENGTH]
    own_id = user.user_id if user else None
    name_taken, address_taken = fab_users.taken(connection, username=username, email=email, but_not_by=own_id)
    holder = _holder(connection, username)
    if name_taken or holder not in (None, _key(identity)):
        username, holder = _free_variant(connection, identity, username, own_id)
    values = {
        "username": username,
        "email": f"{stand_in}@sso.invalid" if address_taken else email,
        "first_name": (identity.first_name or "")[:_MAX_LENGTH],
        "last_name": (identity.last_name or "")[:_MAX_LENGTH],
    }
    return Shown(values, first_time=holder is None)


def remember(connection: Connection, identity: Identity, username: str) -> None:
    """Note that this person shows this username, which has never been anybody's, from now on."""
    values = {"name_key": models.name_key(username), "identity_key": _key(identity)}
    connection.execute(insert(usernames).values(**values))


def _key(identity: Identity) -> str:
    return models.identity_key(identity.authority, identity.subject)


def _holder(connection: Connection, username: str) -> str | None:
    """The identity key of the linked person who has shown a username, ever."""
    query = select(usernames.c.identity_key).where(usernames.c.name_key == models.name_key(username))
    holder: str | None = connection.scalar(query)
    return holder


def _free_variant(
    connection: Connection, identity: Identity, username: str, own_id: int | None
) -> tuple[str, str | None]:
    """``name~2``, ``name~3``, ...: the first that nobody else holds or held, and whose it is."""
    for number in range(2, _VARIANTS):
        variant = f"{username}~{number}"
        taken, _ = fab_users.taken(connection, username=variant, email="", but_not_by=own_id)
        holder = _holder(connection, variant)
        if not taken and holder in (None, _key(identity)):
            return variant, holder
    raise AccountInTheWay(f"{username} and {_VARIANTS} variants of it are taken", identity=identity)
