"""What the sync's stories are told with: a directory that keeps its changes, a clock, ways to be interrupted.

And :class:`Ledger`, which is told what each reading said and what everybody did, and from that alone says
what a run may have done and must not. It knows the rules as the documentation has them, and no code.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from airflow_sso import models
from airflow_sso.accounts import fab_users
from airflow_sso.directory.failures import CursorExpired
from airflow_sso.directory.snapshot import GONE, Observation, Reading, Wanted
from tests.sync_world import ROLES, Entry, ScriptedReader, World

LONG = "disabled, for a reason that takes more room than anybody has left for one " * 5
#: What a directory may say of a person. ``silent``: a whole answer without them; ``locked``: for long reasons.
STATES = ("usable", "unusable", "locked", "gone", "unknown", "silent")


class Clock:
    """Never stands still, and jumps ahead when it is told to."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.ahead = timedelta()
        self._last = datetime.min.replace(tzinfo=timezone.utc)

    def now(self) -> datetime:
        told = datetime.now(timezone.utc) + self.ahead
        self._last = max(told, self._last + timedelta(microseconds=1))
        return self._last


class Feed(ScriptedReader):
    """Every change has a number, as in a delta feed; the cursor says up to which one was read.

    ``told`` is what the last reading said of each, ``None`` while there is none; ``at`` are called once each,
    when the reading, the comparing or the changing of people comes to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.lingers = False
        self.told: dict[str, str] | None = None
        self.fails_late = False

    def touch(self, subject: str) -> Entry:
        self.log.append(subject)
        return super().touch(subject)

    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:
        began, number = models.now(), len(self.log)
        progress("reading")
        if self.fails is not None and not self.fails_late:
            raise self.fails
        if cursor == "forgotten":
            raise CursorExpired("forgotten")
        everyone = cursor is None or self.always_whole
        since = set() if everyone else set(self.log[int(cursor or 0) :])
        asked = wanted.subjects if everyone else (since & set(wanted.subjects)) | wanted.read_singly
        entries = {subject: self.people.get(subject, Entry(state="gone")) for subject in asked}
        people = {subject: _seen(one) for subject, one in entries.items() if one.state != "silent"}
        groups = {
            subject: frozenset(entry.groups & wanted.groups)
            for subject, entry in self.people.items()
            if subject in wanted.subjects and (self.lingers or entry.state != "gone")
        }
        population = sum(entry.state != "gone" for entry in self.people.values())
        progress("half of it")
        if self.fails is not None:
            raise self.fails
        self.told = {subject: seen.state for subject, seen in people.items()}
        if everyone:
            self.told |= {subject: "unknown" for subject in wanted.subjects if subject not in people}
        progress("read")
        return Reading(
            began_at=began,
            everyone=everyone,
            people=people,
            groups=groups,
            population=population if everyone else None,
            cursor=str(number),
        )


def _seen(entry: Entry) -> Observation:
    if entry.state == "gone":
        return GONE
    if entry.state == "locked":
        return Observation("unusable", LONG, entry.valid_from)
    return entry.seen()


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def broken_at(engine: Engine, number: int, *, by: str) -> Iterator[None]:
    """At the write of this number, or the commit after the last one before it: the process is killed, or the
    database fails, once."""
    left = [number]

    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("INSERT", "UPDATE", "DELETE")):
            return
        left[0] -= 1
        if left[0] != 0:
            return
        if by == "kill":
            raise Killed
        raise OperationalError(statement, {}, Exception("the server closed the connection"))

    event.listen(engine, "before_cursor_execute", stop)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", stop)


@dataclass(frozen=True)
class Person:
    """What anybody can see of an account."""

    active: bool
    roles: frozenset[str]
    shut_by: frozenset[str]
    sessions: frozenset[str]

    @property
    def has_access(self) -> bool:
        return self.active and bool(self.roles)


def everybody(world: World) -> dict[str, Person]:
    """All accounts as they are now."""
    users, roles, holds = fab_users.table(), fab_users.role_table(), fab_users.holds_table()
    shut, sessions = models.shut_accounts, models.sessions
    held: dict[int, set[str]] = defaultdict(set)
    says: dict[int, set[str]] = defaultdict(set)
    opened: dict[int, set[str]] = defaultdict(set)
    with world.engine.connect() as connection:
        for user_id, name in connection.execute(
            select(holds.c.user_id, roles.c.name).join(roles, roles.c.id == holds.c.role_id)
        ):
            held[user_id].add(name)
        for user_id, source in connection.execute(select(shut.c.user_id, shut.c.source)):
            says[user_id].add(source)
        for user_id, session in connection.execute(
            select(sessions.c.user_id, sessions.c.session_id).where(
                sessions.c.ended_at.is_(None), sessions.c.ends_at > models.now()
            )
        ):
            opened[user_id].add(session)
        rows = connection.execute(select(users.c.id, users.c.username, users.c.active)).all()
    return {
        row.username: Person(
            bool(row.active), frozenset(held[row.id]), frozenset(says[row.id]), frozenset(opened[row.id])
        )
        for row in rows
    }


def decided(world: World) -> list[tuple[str, str, str | None]]:
    """What the audit says of accounts shut and opened: event, name, and by whom."""
    rows = models.decisions
    query = select(rows.c.event, rows.c.username, rows.c.detail).order_by(rows.c.id)
    with world.engine.connect() as connection:
        found = connection.execute(query.where(rows.c.event.in_(("deactivated", "reactivated")))).all()
    return [(row.event, row.username, json.loads(row.detail).get("source")) for row in found]


def given_to(entry: Entry) -> frozenset[str]:
    """The roles that the mapping gives to somebody of these groups."""
    return frozenset(ROLES[group] for group in entry.groups)


@dataclass
class Ledger:
    """Who said what of whom, and who lost access when."""

    words: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    hand_off: set[str] = field(default_factory=set)
    last_told: dict[str, str] = field(default_factory=dict)
    gone_runs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    signed_out: dict[str, datetime] = field(default_factory=dict)
    losses: list[tuple[datetime, str]] = field(default_factory=list)

    def hear(self, told: dict[str, str] | None) -> None:
        """What one run's reading said."""
        for name, state in (told or {}).items():
            self.gone_runs[name] = self.gone_runs[name] + 1 if state == "gone" else 0
            if state in ("usable", "unusable"):
                self.last_told[name] = state
            elif state == "gone" and self.gone_runs[name] > 1:
                self.last_told[name] = "gone"

    def lost(self, name: str) -> None:
        self.losses.append((models.now(), name))

    def lately(self, window: timedelta) -> set[str]:
        return {name for at, name in self.losses if at > models.now() - window}

    def says_out(self, name: str) -> bool:
        """Whether somebody else than the directory wants the account shut."""
        return bool(self.words[name]) or name in self.hand_off
