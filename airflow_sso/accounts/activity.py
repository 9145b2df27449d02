"""When somebody was last active in a session: what an idle limit goes by.

Activity is a request other than GET, a document navigation, or a GET of a path that the session has not
asked for in five minutes; the UI's polling is none of these. What must stay true: noting it costs a
busy session one statement a minute, and every replica tells polling from activity alike.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cachetools import TTLCache
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from airflow_sso import airflow_compat, database, models
from airflow_sso.accounts.register import SEEN_EVERY, Standing
from airflow_sso.models import session_paths, sessions

log = logging.getLogger(__name__)

_POLLED_WITHIN = timedelta(minutes=5)
_SHARED_EVERY = timedelta(minutes=2)
_MOST_PATHS = 50_000
#: What a page loads beside itself says nothing about the person in front of it (Fetch Metadata).
_PARTS_OF_A_PAGE = frozenset({"script", "style", "image", "font", "manifest", "serviceworker"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request shows whether somebody is there."""

    method: str
    path: str
    navigates: bool = False
    is_part: bool = False

    @classmethod
    def of(cls, method: str, path: str, headers: Mapping[str, str]) -> Asked:
        """:param headers: the request's, their names in lower case."""
        dest = headers.get("sec-fetch-dest", "")
        method = "GET" if airflow_compat.is_polled(method, path) else method
        return cls(method, path, dest == "document", dest in _PARTS_OF_A_PAGE)


#: The request that is being answered, on the side of Airflow that Flask does not serve.
current: ContextVar[Asked | None] = ContextVar("airflow_sso_request", default=None)

_App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class NotesRequest:
    """ASGI middleware: what is being asked, for the auth manager, whom Airflow hands the token only."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
            }
            current.set(Asked.of(scope["method"], scope["path"], headers))
        await self._app(scope, receive, send)


def note(standing: Standing, asked: Asked | None) -> None:
    """Keep when the session was last active, if this request shows activity.

    What cannot be written is logged: the request goes on.
    """
    now = models.now()
    if asked is None or asked.is_part:
        return
    session_id = standing.credential.session_id
    is_fresh = now - standing.last_seen_at < SEEN_EVERY
    acts = asked.method != "GET" or asked.navigates
    if is_fresh or acts:
        _polling.remember(session_id, asked.path)
    try:
        if not is_fresh and (acts or _polling.is_new(session_id, asked.path, now)):
            _seen(session_id, now)
    except SQLAlchemyError:
        log.exception("airflow_sso: the activity of a session could not be written")


def _seen(session_id: str, now: datetime) -> None:
    with database.transaction() as connection:
        connection.execute(
            update(sessions)
            .where(sessions.c.session_id == session_id, sessions.c.last_seen_at <= now - SEEN_EVERY)
            .values(last_seen_at=now)
        )


class _Polling:
    """Which paths each session asked for lately: in this process, and now and then in all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: When this process last told the others; a path that is not here was not asked for lately.
        self._told_at: TTLCache[tuple[str, str], datetime | None] = TTLCache(
            _MOST_PATHS, _POLLED_WITHIN.total_seconds()
        )

    def remember(self, session_id: str, path: str) -> None:
        """The session asked for it, whether that is activity or not."""
        key = (session_id, _path_key(path))
        with self._lock:
            self._told_at[key] = self._told_at.get(key)

    def is_new(self, session_id: str, path: str, now: datetime) -> bool:
        """Whether no process has heard this session ask for the path in the last five minutes."""
        key = (session_id, _path_key(path))
        with self._lock:
            is_known = key in self._told_at
            told_at = self._told_at.get(key)
            tells = told_at is None or now - told_at >= _SHARED_EVERY
            self._told_at[key] = now if tells else told_at
        heard_by_others = tells and _tell(*key, now)
        return not is_known and not heard_by_others


_polling = _Polling()


def _tell(session_id: str, path_key: str, now: datetime) -> bool:
    """Tell all replicas that the path was asked for; returns whether one of them knew."""
    row = (session_paths.c.session_id == session_id, session_paths.c.path_key == path_key)
    values = {"session_id": session_id, "path_key": path_key, "asked_at": now}
    try:
        with database.transaction() as connection:
            before: datetime | None = connection.scalar(select(session_paths.c.asked_at).where(*row))
            if before is None:
                connection.execute(insert(session_paths).values(**values))
            else:
                connection.execute(update(session_paths).where(*row).values(asked_at=now))
    except IntegrityError:  # another process has told it between our two statements
        return True
    return before is not None and now - before < _POLLED_WITHIN


def _path_key(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()
