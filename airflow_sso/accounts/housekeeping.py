"""Sweeps out of our tables what no question is asked about any more.

Done beside sign-ins, at most every ten minutes a process. What must stay true: only rows that count for
nothing go: a session is refused just the same once its row is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import database, models
from airflow_sso.models import (
    break_glass_links,
    logout_notices,
    quarantine,
    refresh_tokens,
    removals,
    session_paths,
    sessions,
    throttles,
    tokens,
)

log = logging.getLogger(__name__)

_EVERY = 600  # seconds
#: For how long after its end a session can be looked up, to tell an auditor what became of it.
_ENDED_SESSIONS_KEPT = timedelta(days=7)
#: The longest window that removals are counted in (``sync.max_deactivations``).
_REMOVALS_KEPT = timedelta(days=31)
_SHORT_LIVED_KEPT = timedelta(hours=1)
#: Of whomever the probe has not asked for so long, or who has been told to sign in anew: fact A31.
_REFRESH_TOKENS_KEPT = timedelta(days=90)


class _Sweeper:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def is_due(self) -> bool:
        with self._lock:
            due = time.monotonic() >= self._next
            if due:
                self._next = time.monotonic() + _EVERY
        return due


_sweeper = _Sweeper()


def sweep() -> None:
    """Delete what is over, if that was not done lately; a failure is logged and changes nothing."""
    if not _sweeper.is_due():
        return
    now = models.now()
    over = (
        (sessions, sessions.c.ends_at < now - _ENDED_SESSIONS_KEPT),
        (tokens, tokens.c.expires_at < now),
        (session_paths, session_paths.c.asked_at < now - _SHORT_LIVED_KEPT),
        (logout_notices, logout_notices.c.expires_at < now),
        (break_glass_links, break_glass_links.c.expires_at < now),
        (removals, removals.c.at < now - _REMOVALS_KEPT),
        (quarantine, quarantine.c.expires_at < now - _REMOVALS_KEPT),
        (refresh_tokens, refresh_tokens.c.asked_at < now - _REFRESH_TOKENS_KEPT),
        (throttles, throttles.c.last_failure_at < now - _SHORT_LIVED_KEPT),
    )
    for table, condition in over:
        try:
            with database.transaction() as connection:
                connection.execute(delete(table).where(condition))
        except SQLAlchemyError:
            log.exception("airflow_sso: old rows of %s could not be deleted", table.name)
