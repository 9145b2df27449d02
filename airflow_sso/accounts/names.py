"""What ``ab_user`` shows of a person: the real names where they are free, plain stand-ins elsewhere.

Username and e-mail are unique there and not null. What must stay true: whoever holds a name first
never locks another person out, a username that one person has shown never becomes another's, no
person of a provider is called like a break-glass account, and the real values are in our own table
whatever is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import insert, literal, select, union_all
from sqlalchemy.engine import Connection

from airflow_sso import models
from airflow_sso.accounts import fab_users
from airflow_sso.accounts.matching import UserRow
from airflow_sso.errors import AccountInTheWay
from airflow_sso.identity import Identity
from airflow_sso.models import break_glass_pins, usernames

_MAX_LENGTH = 250  # ab_user allows 512; indexes on MySQL and the UI do not thank us for more
_VARIANTS = 100
#: Holds the names of break-glass accounts; no identity has this key.
_BREAK_GLASS = "break-glass"


@dataclass(frozen=True, slots=True)
class Shown:
    """The columns of ``ab_user``; ``first_time`` when this username has never been anybody's."""

    values: Mapping[str, str]
    first_time: bool


def is_reserved(connection: Connection, username: str, reserved: Collection[str]) -> bool:
    """Whether a name is a break-glass account's, by the configuration or because it was one once.

    :param reserved: the names of the configuration; upper and lower case make no difference.
    """
    return _holder(connection, username, reserved) == _BREAK_GLASS


def shown(
    connection: Connection, identity: Identity, *, user: UserRow | None, reserved: Collection[str] = ()
) -> Shown:
    """What ``ab_user`` is to show of an identity.

    :param user: the person's own row, whose names are theirs already.
    :param reserved: names that nobody of a provider is given, whether they are free or not.
    :raises AccountInTheWay: when a name and a hundred variants of it are taken.
    """
    stand_in = _key(identity)[:16]
    username = (identity.username or stand_in)[:_MAX_LENGTH]
    email = (identity.email or f"{stand_in}@sso.invalid")[:_MAX_LENGTH]
    own_id = user.user_id if user else None
    name_taken, address_taken = fab_users.taken(connection, username=username, email=email, but_not_by=own_id)
    holder = _holder(connection, username, reserved)
    if name_taken or holder not in (None, _key(identity)):
        username, holder = _free_variant(connection, identity, username, own_id, reserved)
    values = {
        "username": username,
        "email": f"{stand_in}@sso.invalid" if address_taken else email,
        "first_name": (identity.first_name or "")[:_MAX_LENGTH],
        "last_name": (identity.last_name or "")[:_MAX_LENGTH],
    }
    return Shown(values, first_time=holder is None)


def as_shown(user: UserRow) -> dict[str, str]:
    """The columns of a user's row that are ours to say."""
    return {name: getattr(user, name) for name in ("username", "email", "first_name", "last_name")}


def remember(connection: Connection, identity: Identity, username: str) -> None:
    """Note that this person shows this username, which has never been anybody's, from now on."""
    values = {"name_key": models.name_key(username), "identity_key": _key(identity)}
    connection.execute(insert(usernames).values(**values))


def _key(identity: Identity) -> str:
    return models.identity_key(identity.authority, identity.subject)


def _holder(connection: Connection, username: str, reserved: Collection[str]) -> str | None:
    """The identity key of the linked person who has shown a username, ever; break-glass goes first."""
    key = models.name_key(username)
    if key in {models.name_key(name) for name in reserved}:
        return _BREAK_GLASS
    query = union_all(
        select(usernames.c.identity_key).where(usernames.c.name_key == key),
        select(literal(_BREAK_GLASS)).where(break_glass_pins.c.name_key == key),
    )
    holders = set(connection.scalars(query))
    return _BREAK_GLASS if _BREAK_GLASS in holders else next(iter(holders), None)


def _free_variant(
    connection: Connection,
    identity: Identity,
    username: str,
    own_id: int | None,
    reserved: Collection[str],
) -> tuple[str, str | None]:
    """``name~2``, ``name~3``, ...: the first that nobody else holds or held, and whose it is."""
    for number in range(2, _VARIANTS):
        variant = f"{username}~{number}"
        taken, _ = fab_users.taken(connection, username=variant, email="", but_not_by=own_id)
        holder = _holder(connection, variant, reserved)
        if not taken and holder in (None, _key(identity)):
            return variant, holder
    raise AccountInTheWay(f"{username} and {_VARIANTS} variants of it are taken", identity=identity)
