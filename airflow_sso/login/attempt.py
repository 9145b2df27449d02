"""A sign-in that has been started: remembered on the server, bound to one browser, used once.

Several may be pending at once (two tabs). What must stay true: without this browser's cookie *and*
the state that went to the provider, an attempt opens nothing (RFC 9700, sections 4.5 and 4.7), and
the table stays small however many attempts are abandoned.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, delete, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_sso import database, models
from airflow_sso.errors import AttemptLost, NotOurAttempt
from airflow_sso.models import login_attempts, seen_assertions

LIFETIME = timedelta(minutes=10)
_PARKED = timedelta(minutes=1)
#: How many may be pending at once, everybody's together; then the oldest give way.
_MOST_PENDING = 20_000
_BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What has to be known again when the browser comes back."""

    provider: str
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    next_url: str
    state: str = field(default="", repr=False)
    """Only on a fresh attempt; the database keeps its hash. Also the ID of a SAML request."""
    state_hash: str = field(repr=False)
    started_at: datetime
    answer: str | None = field(default=None, repr=False)
    """The SAML response that was parked for this attempt."""

    def is_answered_by(self, state: str) -> bool:
        """Whether this is the state, or the request's ID, that went to the provider."""
        return secrets.compare_digest(self.state_hash, _hash(state))


def new_browser_id() -> str:
    """A value for the cookie that binds attempts to one browser."""
    return secrets.token_urlsafe(32)


def is_browser_id(value: str | None) -> bool:
    return bool(value) and _BROWSER_ID.fullmatch(value or "") is not None


def new(provider: str, next_url: str) -> Attempt:
    """A fresh attempt; it counts for nothing until :func:`remember` has been called."""
    state = f"_{secrets.token_urlsafe(32)}"  # an XML name, which begins with no digit (fact C3)
    return Attempt(
        provider=provider,
        nonce=secrets.token_urlsafe(32),
        code_verifier=secrets.token_urlsafe(48),  # RFC 7636, section 4.1: 43 to 128 characters
        next_url=next_url,
        state=state,
        state_hash=_hash(state),
        started_at=models.now(),
    )


def remember(attempt: Attempt, browser_id: str) -> None:
    """Keep a fresh attempt of this browser for ten minutes."""
    with database.transaction() as connection:
        connection.execute(delete(login_attempts).where(login_attempts.c.expires_at < models.now()))
        made = connection.execute(
            insert(login_attempts).values(
                state_hash=attempt.state_hash,
                browser_hash=_hash(browser_id),
                provider=attempt.provider,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
                next_url=attempt.next_url,
                expires_at=models.now() + LIFETIME,
                started_at=attempt.started_at,
            )
        )
        oldest_kept = database.new_id(made) - _MOST_PENDING
        if oldest_kept > 0:
            connection.execute(delete(login_attempts).where(login_attempts.c.id <= oldest_kept))


def take(provider: str, state: str | None, browser_id: str | None) -> Attempt:
    """The attempt that a callback belongs to; it is used up by this call.

    :raises AttemptLost: when there is none, it is another browser's or another provider's, it is
        older than ten minutes, or somebody else took it first.
    """
    return _take(login_attempts.c.state_hash, provider, state, browser_id)


def take_parked(provider: str, handle: str | None, browser_id: str | None) -> Attempt:
    """The same of an attempt whose answer was parked, by the handle that :func:`park` gave.

    :raises AttemptLost: likewise, and after a minute.
    """
    return _take(login_attempts.c.handle_hash, provider, handle, browser_id)


def pending(provider: str, state: str) -> Attempt:
    """The attempt under this state, looked at and left as it is; whose browser asks is not known.

    :raises AttemptLost: when there is none.
    :raises NotOurAttempt: when it has its answer.
    """
    with database.transaction() as connection:
        row = _find(connection, login_attempts.c.state_hash, state, provider)
    if row.handle_hash is not None:
        raise NotOurAttempt("the request of this attempt was answered before")
    return _attempt(row)


def park(attempt: Attempt, answer: str, *, assertion: str, until: datetime) -> str:
    """Keep a verified answer for a minute, and give the handle that fetches it, once.

    :param assertion: the key of the assertion in it, which never counts again.
    :param until: when the assertion has expired, and its key may be forgotten.
    :raises NotOurAttempt: when the assertion, or the request, has been used.
    """
    handle = secrets.token_urlsafe(32)
    with database.transaction() as connection:
        connection.execute(delete(seen_assertions).where(seen_assertions.c.expires_at < models.now()))
        try:
            connection.execute(insert(seen_assertions).values(assertion_key=assertion, expires_at=until))
        except IntegrityError:
            raise NotOurAttempt("this assertion was used before") from None
        waiting = login_attempts.c.handle_hash.is_(None)
        parked = connection.execute(
            update(login_attempts)
            .where(login_attempts.c.state_hash == attempt.state_hash, waiting)
            .values(handle_hash=_hash(handle), answer=answer, expires_at=models.now() + _PARKED)
        )
        if parked.rowcount != 1:
            raise NotOurAttempt("the request of this attempt was answered before")
    return handle


def _take(column: Column[str], provider: str, value: str | None, browser_id: str | None) -> Attempt:
    if not value or len(value) > 200:
        raise AttemptLost("the request names no attempt")
    if not is_browser_id(browser_id):
        raise AttemptLost("the browser sent no attempt cookie")
    with database.transaction() as connection:
        row = _find(connection, column, value, provider)
        if not secrets.compare_digest(row.browser_hash, _hash(browser_id or "")):
            raise AttemptLost("the attempt was started in another browser")
        # Two callbacks may read the row; only one of them deletes it.
        if connection.execute(delete(login_attempts).where(login_attempts.c.id == row.id)).rowcount != 1:
            raise AttemptLost("the attempt has just been used")
    return _attempt(row)


def _find(connection: Connection, column: Column[str], value: str, provider: str) -> Any:
    row = connection.execute(select(login_attempts).where(column == _hash(value))).first()
    if row is None:
        raise AttemptLost("no attempt is pending under this name")
    if row.provider != provider:
        raise AttemptLost("the attempt was started with another provider")  # RFC 9700, section 4.4
    return row


def _attempt(row: Any) -> Attempt:
    if row.expires_at < models.now():
        raise AttemptLost("the attempt is too old", next_url=row.next_url)
    return Attempt(
        provider=row.provider,
        nonce=row.nonce,
        code_verifier=row.code_verifier,
        next_url=row.next_url,
        state_hash=row.state_hash,
        started_at=row.started_at or row.expires_at - LIFETIME,
        answer=row.answer,
    )


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
