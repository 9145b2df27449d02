"""The register of sessions: a sign-in is recorded here, and every request asks here whether it counts.

It is the truth about who is signed in; Airflow's own session rows and tokens are only what carries a
:class:`Credential`. What must stay true: a credential that names no session, an ended one, or an older
epoch opens nothing; whoever records, mints or ends holds the lock of the account's epoch; and a
database that cannot answer throws nobody out, it raises.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Select

from airflow_sso import airflow_compat, database, models
from airflow_sso.accounts import fab_users
from airflow_sso.accounts.matching import UserRow
from airflow_sso.errors import AccessEnded
from airflow_sso.models import epochs, sessions

#: The provider of a break-glass session; none of the configuration may be called so.
LOCAL = "local"
#: ``last_seen_at`` is written at most this often, so idle time is known no better.
SEEN_EVERY = timedelta(minutes=1)

_SESSION, _EPOCH = "sso_session", "sso_epoch"


class CredentialRefused(ValueError):
    """A cookie or token that opens nothing; the text says why, for the log."""


class AccountShut(CredentialRefused):
    """It opens nothing because its account is deactivated, while its session has not been ended."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What every cookie and token of a session carries, beside whose it is."""

    session_id: str
    epoch: int
    user_id: int

    @classmethod
    def carried_by(cls, claims: Mapping[str, Any], user_id: int) -> Credential:
        """The credential in Airflow's session or token.

        :raises CredentialRefused: when there is none, as in everything from before this package came.
        """
        session_id, epoch = claims.get(_SESSION), claims.get(_EPOCH)
        if not isinstance(session_id, str) or type(epoch) is not int:
            raise CredentialRefused("it names no session of single sign-on")
        return cls(session_id, epoch, user_id)

    def as_claims(self) -> dict[str, Any]:
        """What :meth:`carried_by` reads."""
        return {_SESSION: self.session_id, _EPOCH: self.epoch}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is known of a sign-in whose session is to be recorded.

    ``began_at``
        when it was begun: whatever ended the person's access since then, ends it too.
    ``ends_by``
        the provider's own limit (``SessionNotOnOrAfter``), if it set one.
    ``sign_out_hints``
        what the provider's sign-out asks for, encrypted.
    """

    provider: str
    began_at: datetime
    absolute: timedelta
    idle: timedelta
    airflow_session_id: str | None
    identity_key: str | None = None
    session_ref: str | None = None
    subject: str | None = None
    ends_by: datetime | None = None
    sign_out_hints: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Epoch:
    """An account's epoch, while its lock is held."""

    number: int
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A session that counts at this moment, and what its account is now."""

    credential: Credential
    provider: str
    last_seen_at: datetime
    ends_at: datetime
    role_ids: frozenset[int]

    @property
    def is_break_glass(self) -> bool:
        return self.provider == LOCAL


def lock(connection: Connection, user_id: int) -> Epoch:
    """Take the account's lock until the transaction ends; its first caller makes the row.

    A write, because that locks on every database, and reads what others have committed.
    """
    whose = epochs.c.user_id == user_id
    take = update(epochs).where(whose).values(epoch=epochs.c.epoch)
    if connection.execute(take).rowcount == 0:
        try:
            with connection.begin_nested():
                connection.execute(insert(epochs).values(user_id=user_id, epoch=0))
        except IntegrityError:  # somebody else made it meanwhile, and has committed
            connection.execute(take)
    row = connection.execute(select(epochs.c.epoch, epochs.c.revoked_at).where(whose).with_for_update()).one()
    return Epoch(row.epoch, row.revoked_at)


def lock_all(connection: Connection, user_ids: Collection[int]) -> None:
    """Take the locks of several accounts, in the order of their numbers, as whoever needs several does."""
    wanted = sorted(set(user_ids))
    these = epochs.c.user_id.in_(wanted)
    if len(connection.scalars(select(epochs.c.user_id).where(these)).all()) < len(wanted):
        for user_id in wanted:  # some rows are still to be made, and in this order too
            lock(connection, user_id)
        return
    # In order where a database has locks on rows; the write is for the one that has none.
    connection.execute(select(epochs.c.user_id).where(these).order_by(epochs.c.user_id).with_for_update())
    connection.execute(update(epochs).where(these).values(epoch=epochs.c.epoch))


def begin_new_epoch(connection: Connection, user_id: int) -> None:
    """Every credential and every begun sign-in of the account is worthless from now on."""
    epoch = lock(connection, user_id)
    connection.execute(
        update(epochs)
        .where(epochs.c.user_id == user_id)
        .values(epoch=epoch.number + 1, revoked_at=models.now())
    )


def record(connection: Connection, user: UserRow, epoch: Epoch, opening: Opening) -> Credential:
    """Enter a session, under the lock that gave ``epoch``.

    :raises AccessEnded: when the account's access was ended after the sign-in had begun.
    """
    if epoch.revoked_at is not None and opening.began_at <= epoch.revoked_at:
        raise AccessEnded(f"the access of user {user.user_id} was ended after this sign-in had begun")
    now = models.now()
    ends_at = min(now + opening.absolute, opening.ends_by or datetime.max.replace(tzinfo=now.tzinfo))
    credential = Credential(secrets.token_hex(16), epoch.number, user.user_id)
    connection.execute(
        insert(sessions).values(
            session_id=credential.session_id,
            user_id=user.user_id,
            user_created_on=user.created_on,
            epoch=epoch.number,
            provider=opening.provider,
            identity_key=opening.identity_key,
            provider_session_key=_key(opening.provider, opening.session_ref),
            provider_subject_key=_key(opening.provider, opening.subject),
            sign_out_hints=opening.sign_out_hints,
            airflow_session_id=opening.airflow_session_id,
            started_at=now,
            last_seen_at=now,
            ends_at=ends_at,
            idle_seconds=int(opening.idle.total_seconds()),
        )
    )
    return credential


def _key(provider: str, value: str | None) -> str | None:
    return models.provider_key(provider, value) if value else None


def check(credential: Credential) -> Standing:
    """Whether a credential counts at this moment; one statement, never cached.

    :raises CredentialRefused: when it does not, saying why.
    :raises TablesMissing: when nobody can tell, which signs nobody out.
    """
    database.require_tables()
    with airflow_compat.engine().connect() as connection:
        return standing(connection, credential)


def standing(connection: Connection, credential: Credential) -> Standing:
    """The same within a transaction. :raises CredentialRefused: likewise."""
    rows = connection.execute(_question(), {"session": credential.session_id}).all()
    if not rows:
        raise CredentialRefused("there is no such session, or its user is gone")
    row = rows[0]
    reason = _why_refused(row, credential)
    if reason:
        raise CredentialRefused(f"session {credential.session_id[:8]}: {reason}")
    if not row.active:
        raise AccountShut(f"session {credential.session_id[:8]}: the account is deactivated")
    return Standing(
        credential,
        row.provider,
        row.last_seen_at,
        row.ends_at,
        frozenset(one.role_id for one in rows if one.role_id is not None),
    )


def _why_refused(row: Any, credential: Credential) -> str | None:
    now = models.now()
    if row.user_id != credential.user_id:
        return "it is somebody else's"
    if row.ended_at is not None:
        return f"it was ended: {row.ended_because}"
    if not credential.epoch == row.epoch == row.account_epoch:
        return "all access of this account was ended"
    if row.user_created_on != row.created_on:
        return "its user was deleted, and another one has the number now"
    if now >= row.ends_at:
        return "it has reached its end"
    if now > row.last_seen_at + timedelta(seconds=row.idle_seconds) + SEEN_EVERY:
        return "it was idle for too long"
    return None


@functools.lru_cache(maxsize=1)
def _question() -> Select[Any]:
    """The session, its account's epoch, its user and the user's roles: a row a role, or one."""
    users, holds = fab_users.table(), fab_users.holds_table()
    return (
        select(
            sessions.c.user_id,
            sessions.c.user_created_on,
            sessions.c.epoch,
            sessions.c.provider,
            sessions.c.last_seen_at,
            sessions.c.ends_at,
            sessions.c.idle_seconds,
            sessions.c.ended_at,
            sessions.c.ended_because,
            epochs.c.epoch.label("account_epoch"),
            users.c.active,
            users.c.created_on,
            holds.c.role_id,
        )
        .select_from(
            sessions.join(epochs, epochs.c.user_id == sessions.c.user_id)
            .join(users, users.c.id == sessions.c.user_id)
            .outerjoin(holds, holds.c.user_id == users.c.id)
        )
        .where(sessions.c.session_id == bindparam("session"))
    )
