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
from datetime import timedelta

from sqlalchemy import delete, insert, select

from airflow_sso import database, models
from airflow_sso.errors import AttemptLost
from airflow_sso.models import login_attempts

LIFETIME = timedelta(minutes=10)
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
    """Only on a fresh attempt; the database keeps its hash."""


def new_browser_id() -> str:
    """A value for the cookie that binds attempts to one browser."""
    return secrets.token_urlsafe(32)


def is_browser_id(value: str | None) -> bool:
    return bool(value) and _BROWSER_ID.fullmatch(value or "") is not None


def new(provider: str, next_url: str) -> Attempt:
    """A fresh attempt; it counts for nothing until :func:`remember` has been called."""
    return Attempt(
        provider=provider,
        nonce=secrets.token_urlsafe(32),
        code_verifier=secrets.token_urlsafe(48),  # RFC 7636, section 4.1: 43 to 128 characters
        next_url=next_url,
        state=secrets.token_urlsafe(32),
    )


def remember(attempt: Attempt, browser_id: str) -> None:
    """Keep a fresh attempt of this browser for ten minutes."""
    with database.transaction() as connection:
        connection.execute(delete(login_attempts).where(login_attempts.c.expires_at < models.now()))
        made = connection.execute(
            insert(login_attempts).values(
                state_hash=_hash(attempt.state),
                browser_hash=_hash(browser_id),
                provider=attempt.provider,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
                next_url=attempt.next_url,
                expires_at=models.now() + LIFETIME,
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
    if not state or len(state) > 200:
        raise AttemptLost("the callback has no state")
    if not is_browser_id(browser_id):
        raise AttemptLost("the browser sent no attempt cookie")
    with database.transaction() as connection:
        row = connection.execute(
            select(login_attempts).where(login_attempts.c.state_hash == _hash(state))
        ).first()
        if row is None:
            raise AttemptLost("no attempt is pending under this state")
        if not secrets.compare_digest(row.browser_hash, _hash(browser_id or "")):
            raise AttemptLost("the attempt was started in another browser")
        if row.provider != provider:
            raise AttemptLost("the attempt was started with another provider")  # RFC 9700, section 4.4
        # Two callbacks may read the row; only one of them deletes it.
        if connection.execute(delete(login_attempts).where(login_attempts.c.id == row.id)).rowcount != 1:
            raise AttemptLost("the attempt has just been used")
    if row.expires_at < models.now():
        raise AttemptLost("the attempt is older than ten minutes", next_url=row.next_url)
    return Attempt(
        provider=row.provider, nonce=row.nonce, code_verifier=row.code_verifier, next_url=row.next_url
    )


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
