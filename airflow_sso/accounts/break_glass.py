"""Break-glass: the few local accounts that get in when no identity provider can be asked.

Which ones is written in ``sso.yaml`` and nowhere else. What must stay true: a name opens the one account
that bore it when it was first seen, with the password that it had, as long as it is active and nobody's of
a provider; roles are what the account has; and of a password or a link only hashes are kept.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Select
from werkzeug.security import check_password_hash, generate_password_hash

from airflow_sso import database, models
from airflow_sso.accounts import fab_users, links, register
from airflow_sso.accounts.matching import UserRow
from airflow_sso.accounts.register import LOCAL, Credential, Opening
from airflow_sso.audit import Journal, Subject
from airflow_sso.models import break_glass_links, break_glass_pins

#: A session ends after this long, whatever happens in it.
LASTS = timedelta(hours=1)
#: And a link that was not used after this long.
LINK_LASTS = timedelta(minutes=10)


class NotAllowed(Exception):
    """This name, password or link opens nothing; the text says why, for the log only.

    :param username: whose account was meant, if it is one of ``sso.yaml``; anything else that was
        typed may be a password in the wrong field.
    """

    def __init__(self, reason: str, username: str | None = None) -> None:
        super().__init__(reason)
        self.username = username


class NoSuchAccount(NotAllowed):
    """Airflow has no account of this name."""


@dataclass(frozen=True, slots=True)
class Verified:
    """An account whose password was right, or whose link was presented."""

    user_id: int
    by: str
    proof: str = field(repr=False)
    """The password's hash, or the link's: it must still be there when the session is recorded."""


def opening(began_at: datetime, airflow_session_id: str | None) -> Opening:
    """The session of a break-glass sign-in; activity does not lengthen it."""
    return Opening(
        provider=LOCAL,
        began_at=began_at,
        absolute=LASTS,
        idle=LASTS,
        airflow_session_id=airflow_session_id,
    )


# Which account a name stands for


def pin_all(names: Collection[str], reference: str) -> None:
    """Pin every name whose account can be used and that is not pinned yet; done when a server starts."""
    journal = Journal(reference)
    with database.transaction() as connection:
        for name in names:
            try:
                account(connection, journal, names, name)
            except NotAllowed:
                continue
        journal.write(connection)
    journal.say()


def account(connection: Connection, journal: Journal, names: Collection[str], name: str) -> UserRow:
    """The account that a name opens.

    :param names: those of the configuration.
    :raises NotAllowed: when it opens none.
    """
    user = _usable(connection, names, name)
    _require_this_one(_pinned(connection, journal, user), user)
    return user


def as_it_stands(connection: Connection, names: Collection[str], name: str) -> tuple[UserRow, bool]:
    """The same, and whether its password of now counts; a name that nobody has pinned yet is not pinned.

    :raises NotAllowed: as :func:`account` does.
    """
    user = _usable(connection, names, name)
    row = connection.execute(_pin_of(user)).first()
    if row is None:
        return user, True
    _require_this_one((row.user_id, row.user_created_on), user)
    stored = fab_users.password_of(connection, user.user_id)
    return user, _pinned_password_key(connection, user) == _password_key(stored)


def _require_this_one(pinned: tuple[int, datetime | None], user: UserRow) -> None:
    if pinned != (user.user_id, user.created_on):
        raise NotAllowed(
            "the name stood for another account before; airflow-sso break-glass --pin accepts this one",
            user.username,
        )


def pin_anew(
    connection: Connection, journal: Journal, names: Collection[str], name: str, operator: str
) -> tuple[UserRow, bool]:
    """Let a name stand for the account that bears it now; says whether it was another one before.

    :raises NotAllowed: when that account may not be used whatever the name stands for.
    """
    user = _usable(connection, names, name)
    password_key = _password_key(fab_users.password_of(connection, user.user_id))
    is_this_one = _pinned(connection, journal, user) == (user.user_id, user.created_on)
    if is_this_one and password_key == _pinned_password_key(connection, user):
        return user, False
    connection.execute(
        update(break_glass_pins)
        .where(break_glass_pins.c.name_key == models.name_key(name))
        .values(
            user_id=user.user_id,
            user_created_on=user.created_on,
            password_key=password_key,
            pinned_at=models.now(),
        )
    )
    journal.break_glass_pinned(_about(user), operator=operator)
    return user, True


def _usable(connection: Connection, names: Collection[str], name: str) -> UserRow:
    if name not in names:
        raise NotAllowed("the name is not under break_glass")
    user = fab_users.by_username(connection, name)
    if user is None:
        raise NoSuchAccount("Airflow has no account of this name", name)
    if links.is_linked(connection, user):
        raise NotAllowed("the account is linked to a person of an identity provider", name)
    if not user.active:
        raise NotAllowed("the account is deactivated", name)
    return user


def _pinned(connection: Connection, journal: Journal, user: UserRow) -> tuple[int, datetime | None]:
    """Id and time of creation that a user's name is pinned to; pins it to this one if it is not."""
    key, query = models.name_key(user.username), _pin_of(user)
    row = connection.execute(query).first()
    if row is None:
        pin = {
            "user_id": user.user_id,
            "user_created_on": user.created_on,
            "password_key": _password_key(fab_users.password_of(connection, user.user_id)),
            "pinned_at": models.now(),
        }
        try:
            with connection.begin_nested():
                connection.execute(insert(break_glass_pins).values(name_key=key, **pin))
            journal.break_glass_pinned(_about(user), operator=None)
        except IntegrityError:  # somebody else has just done it
            pass
        row = connection.execute(query.with_for_update()).one()
    return row.user_id, row.user_created_on


def _pin_of(user: UserRow) -> Select[Any]:
    columns = break_glass_pins.c
    return select(columns.user_id, columns.user_created_on).where(
        columns.name_key == models.name_key(user.username)
    )


def _pinned_password_key(connection: Connection, user: UserRow) -> str | None:
    query = select(break_glass_pins.c.password_key).where(
        break_glass_pins.c.name_key == models.name_key(user.username)
    )
    key: str | None = connection.scalar(query)
    return key


def _password_key(stored: str | None) -> str | None:
    return _hash(stored) if stored else None


# Passwords


def verify_password(names: Collection[str], name: str, password: str, reference: str) -> Verified:
    """Whether a password is that of a break-glass account.

    Whatever is wrong, one hash is computed, so that the time it takes tells nobody which names there are.

    :raises NotAllowed: when it is not, or the account may not be used.
    """
    journal = Journal(reference)
    user, stored, refusal = None, None, None
    with database.transaction() as connection:
        try:
            user = account(connection, journal, names, name)
            stored = fab_users.password_of(connection, user.user_id)
            if _password_key(stored) != _pinned_password_key(connection, user):
                raise NotAllowed(
                    "the password was changed since; airflow-sso break-glass --pin accepts the new one", name
                )
        except NotAllowed as cause:
            refusal = cause
        journal.write(connection)
    journal.say()
    matches = _matches(stored, password)
    if refusal is not None:
        raise refusal
    if user is None or stored is None or not matches:
        raise NotAllowed("the password is wrong", name)
    return Verified(user.user_id, "password", stored)


def _matches(stored: str | None, password: str) -> bool:
    """Airflow hashes the empty password for some accounts, which is none."""
    try:
        if stored and stored.count("$") >= 2:
            return check_password_hash(stored, password) and bool(password)
    except ValueError:  # a method that is unknown, or not any more
        pass
    check_password_hash(_somebodys_hash(), password)
    return False


@functools.lru_cache(maxsize=1)
def _somebodys_hash() -> str:
    return generate_password_hash(secrets.token_urlsafe(32))


# One-use links


def make_link(connection: Connection, user: UserRow) -> tuple[str, datetime]:
    """The ticket of a fresh link to an account, and until when it counts."""
    ticket, expires_at = secrets.token_urlsafe(32), models.now() + LINK_LASTS
    connection.execute(delete(break_glass_links).where(break_glass_links.c.expires_at < models.now()))
    connection.execute(
        insert(break_glass_links).values(link_hash=_hash(ticket), user_id=user.user_id, expires_at=expires_at)
    )
    return ticket, expires_at


def verify_link(names: Collection[str], ticket: str, reference: str) -> tuple[Verified, str]:
    """The account that a link opens, and its name; looking does not use the link up.

    :raises NotAllowed: when it opens none.
    """
    journal = Journal(reference)
    query = select(break_glass_links.c.user_id).where(
        break_glass_links.c.link_hash == _hash(ticket), break_glass_links.c.expires_at >= models.now()
    )
    with database.transaction() as connection:
        user_id = connection.scalar(query)
        if user_id is None:
            raise NotAllowed("there is no such link, or no longer")
        user = fab_users.by_id(connection, user_id)
        if user is None:
            raise NotAllowed("the link's account was deleted")
        account(connection, journal, names, user.username)
        journal.write(connection)
    journal.say()
    return Verified(user.user_id, "link", _hash(ticket)), user.username


def _use_link(connection: Connection, user: UserRow, link_hash: str) -> bool:
    """Two requests may have seen the link; only one of them deletes it."""
    mine = (break_glass_links.c.link_hash == link_hash) & (break_glass_links.c.user_id == user.user_id)
    return connection.execute(delete(break_glass_links).where(mine)).rowcount == 1


def _password_is_still(connection: Connection, user: UserRow, stored: str) -> bool:
    return fab_users.password_of(connection, user.user_id) == stored


_STILL: dict[str, Callable[[Connection, UserRow, str], bool]] = {
    "password": _password_is_still,
    "link": _use_link,
}


# The session


def record(names: Collection[str], verified: Verified, opened: Opening, reference: str) -> Credential:
    """Enter the session of a break-glass sign-in, in one transaction with its audit row.

    :raises NotAllowed: when the account, its password or the link are no longer what was verified.
    :raises AccessEnded: when somebody ended the account's access since the sign-in began.
    """
    journal = Journal(reference)
    with database.transaction() as connection:
        epoch = register.lock(connection, verified.user_id)
        user = fab_users.by_id(connection, verified.user_id)
        if user is None:
            raise NotAllowed("the account has just been deleted")
        account(connection, journal, names, user.username)
        if not _STILL[verified.by](connection, user, verified.proof):
            raise NotAllowed(f"the {verified.by} has just been changed or used", user.username)
        credential = register.record(connection, user, epoch, opened)
        journal.break_glass_sign_in(_about(user), by=verified.by, session=credential.session_id)
        journal.write(connection)
    journal.say()
    return credential


def _about(user: UserRow) -> Subject:
    return Subject(provider=LOCAL, user_id=user.user_id, username=user.username)


def _hash(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
