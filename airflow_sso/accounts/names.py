"""What ``ab_user`` shows of a person: the real names where they are free, plain stand-ins elsewhere.

Username and e-mail are unique there and not null. What must stay true: whoever holds a name first
never locks another person out, a username that one person has shown never becomes another's, and
the real values are in our own table whatever is shown.
"""

from __future__ import annotations

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


def shown_values(connection: Connection, identity: Identity, *, user: UserRow | None) -> dict[str, str]:
    """The columns of ``ab_user`` for an identity.

    :param user: the person's own row, whose names are theirs already.
    :raises AccountInTheWay: when a name and a hundred variants of it are taken.
    """
    key = models.identity_key(identity.authority, identity.subject)
    stand_in = key[:16]
    username = (identity.username or stand_in)[:_MAX_LENGTH]
    email = (identity.email or f"{stand_in}@sso.invalid")[:_MAX_LENGTH]
    own_id = user.user_id if user else None
    name_taken, address_taken = fab_users.taken(connection, username=username, email=email, but_not_by=own_id)
    if address_taken:
        email = f"{stand_in}@sso.invalid"
    if name_taken or _was_somebody_elses(connection, username, key):
        username = _free_variant(connection, identity, username, own_id)
    return {
        "username": username,
        "email": email,
        "first_name": (identity.first_name or "")[:_MAX_LENGTH],
        "last_name": (identity.last_name or "")[:_MAX_LENGTH],
    }


def remember(connection: Connection, identity: Identity, username: str) -> None:
    """Note that this person has shown this username."""
    key = models.identity_key(identity.authority, identity.subject)
    name_key = models.name_key(username)
    known = connection.scalar(select(usernames.c.id).where(usernames.c.name_key == name_key))
    if known is None:
        connection.execute(insert(usernames).values(name_key=name_key, identity_key=key))


def _was_somebody_elses(connection: Connection, username: str, key: str) -> bool:
    holder = connection.scalar(
        select(usernames.c.identity_key).where(usernames.c.name_key == models.name_key(username))
    )
    return holder not in (None, key)


def _free_variant(connection: Connection, identity: Identity, username: str, own_id: int | None) -> str:
    """``name~2``, ``name~3``, ...: the first that nobody else holds or held."""
    key = models.identity_key(identity.authority, identity.subject)
    for number in range(2, _VARIANTS):
        variant = f"{username}~{number}"
        taken, _ = fab_users.taken(connection, username=variant, email="", but_not_by=own_id)
        if not taken and not _was_somebody_elses(connection, variant, key):
            return variant
    raise AccountInTheWay(f"{username} and {_VARIANTS} variants of it are taken", identity=identity)
