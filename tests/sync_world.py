"""A small company for the sync's tests: its directory, scripted, and an Airflow database with accounts.

The database is a real one, migrated by Airflow; only the directory is a stand-in, in this process, so that
thousands of sequences can be tried. What readers do with real answers is tested beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, delete, event, insert, select
from sqlalchemy.engine import Connection, Engine

from airflow_sso import audit, database, models
from airflow_sso.accounts import ending, fab_users, links, names, register, shutting
from airflow_sso.accounts.matching import UserRow
from airflow_sso.accounts.register import Opening
from airflow_sso.audit import Journal, Subject
from airflow_sso.directory.failures import CursorExpired, DirectoryError
from airflow_sso.directory.snapshot import GONE, Answer, Like, Observation, Reading, Wanted
from airflow_sso.role_mapping import Mapping, Rule, compile_rules
from airflow_sso.role_mapping.conditions import Test
from airflow_sso.sync import lease, run
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.guard import Limits
from airflow_sso.sync.run import Outcome
from tests.databases import Database

AUTHORITY = "entra:public:test"
ADMINS, OPS, VIEWERS = "admins", "ops", "viewers"
ROLES = {ADMINS: "Admin", OPS: "Op", VIEWERS: "Viewer"}


def rule(number: int, fact: str, value: str | int | bool, *roles: str, **more: Any) -> Rule:
    """A rule about one value of one fact."""
    return Rule(number=number, condition=Test(fact, (value,)), roles=frozenset(roles), **more)


def mapping(**changes: Any) -> Mapping:
    """One rule a group."""
    rules = [rule(number, "group", group, role) for number, (group, role) in enumerate(ROLES.items(), 1)]
    return compile_rules(rules, **changes)


@dataclass
class Entry:
    """One person in the scripted directory."""

    groups: set[str] = field(default_factory=set)
    state: str = "usable"
    valid_from: datetime | None = None

    def seen(self) -> Observation:
        if self.state == "gone":
            return GONE
        reason = {"unusable": "disabled", "unknown": "could not be read"}.get(self.state, "")
        return Observation(self.state, reason, self.valid_from)  # type: ignore[arg-type]


class ScriptedReader:
    """A directory that says what it is told to. ``fails`` is raised at the next reading, once or always."""

    supplies = frozenset({"group"})
    follows_patterns = True

    def __init__(self) -> None:
        self.people: dict[str, Entry] = {}
        self.fails: Exception | None = None
        self.always_whole = False
        self.changed: set[str] = set()
        self.readings = 0
        self.while_reading: Callable[[], None] = lambda: None

    def names_group(self, value: str) -> bool:
        return not value.startswith("token:")

    def touch(self, subject: str) -> Entry:
        """Somebody changed; the next incremental reading tells."""
        self.changed.add(subject)
        return self.people.setdefault(subject, Entry())

    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:
        began = models.now()
        self.readings += 1
        progress("reading")
        if self.fails is not None:
            raise self.fails
        if cursor == "forgotten":
            raise CursorExpired("forgotten")
        everyone = cursor is None or self.always_whole
        asked = (
            set(wanted.subjects) if everyone else (self.changed & set(wanted.subjects)) | wanted.read_singly
        )
        people = {subject: self.people.get(subject, Entry(state="gone")).seen() for subject in asked}
        groups = {
            subject: _of_wanted(entry.groups, wanted)
            for subject, entry in self.people.items()
            if subject in wanted.subjects
        }
        self.while_reading()
        return Reading(
            began_at=began,
            everyone=everyone,
            people=people,
            groups=groups,
            population=len([e for e in self.people.values() if e.state != "gone"]) if everyone else None,
            cursor=str(self.readings),
        )

    def read_one(
        self, subject: str, groups: frozenset[str], *, seconds: float, like: Like | None = None
    ) -> Answer:
        del seconds
        if self.fails is not None:
            raise self.fails
        entry = self.people.get(subject, Entry(state="gone"))
        wanted = Wanted(subjects=(subject,), groups=groups, like=like)
        return Answer(entry.seen(), _of_wanted(entry.groups, wanted), follows_patterns=self.follows_patterns)


def _of_wanted(groups: set[str], wanted: Wanted) -> frozenset[str]:
    return frozenset(groups & wanted.groups) | (wanted.like(groups) if wanted.like else frozenset())


class World:
    """The directory, the database, and what is done with both."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reader = ScriptedReader()
        self.limits = Limits(count=1000, percent=100)
        self.mapping = mapping()
        self.directory = Directory(name="entra", authority=AUTHORITY, reader=self.reader)

    # Accounts

    def sign_up(self, name: str, *groups: str, linked: bool = True, subject: str | None = None) -> int:
        """Somebody of the directory, who has signed in once; returns the number of their account."""
        self.reader.people[subject or name] = Entry(set(groups))
        roles = frozenset(ROLES[group] for group in groups if group in ROLES)
        with database.transaction() as connection:
            created = datetime.now().replace(microsecond=0)  # noqa: DTZ005 (ab_user keeps local time)
            shown = {
                "username": name, "email": f"{name}@example.com", "first_name": name, "last_name": "T",
            }  # fmt: skip
            user_id = fab_users.add(connection, created_on=created, **shown)
            user = fab_users.by_id(connection, user_id)
            assert user is not None
            held = fab_users.RoleWriting(connection)
            held.set_roles(user_id, (), roles)
            held.write()
            if linked:
                self._link(connection, subject or name, user, groups, roles)
        return user_id

    def _link(
        self,
        connection: Connection,
        subject: str,
        user: UserRow,
        groups: tuple[str, ...],
        roles: frozenset[str],
    ) -> None:
        authority = self.directory.authority
        links.make(connection, authority, subject, provider="entra", user=user, instead_of=None)
        key = models.identity_key(authority, subject)
        facts = {"group": frozenset(groups)}
        connection.execute(
            models.accounts.update()
            .where(models.accounts.c.identity_key == key)
            .values(
                username=user.username,
                given_roles=json.dumps(sorted(roles)),
                facts=links.written(facts, "sign_in:entra"),
                shown=json.dumps(names.as_shown(user)),
                observed_at=models.now(),
            )
        )

    def open_session(self, name: str) -> str:
        """Signs somebody in; returns the session's id."""
        with database.transaction() as connection:
            user = fab_users.by_username(connection, name)
            assert user is not None
            opening = Opening(
                provider="entra",
                began_at=models.now(),
                absolute=timedelta(hours=12),
                idle=timedelta(hours=1),
                airflow_session_id=None,
            )
            epoch = register.lock(connection, user.user_id)
            return register.record(connection, user, epoch, opening).session_id

    def operator_shuts(self, name: str) -> None:
        self._operator(name, shut=True)

    def operator_opens(self, name: str) -> None:
        self._operator(name, shut=False)

    def _operator(self, name: str, *, shut: bool) -> None:
        def steps(connection: Connection, journal: Journal) -> ending.Endings:
            user = fab_users.by_username(connection, name)
            assert user is not None
            about = Subject(user_id=user.user_id, username=name)
            if shut:
                return shutting.shut(connection, journal, about, user, source="operator", reason="asked")
            shutting.lift(connection, journal, about, user, source="operator", reason="asked")
            return ()

        ending.carry_out(steps, audit.new_reference())

    # Runs

    def sync(self, *, who: str = "test", progress: Callable[[str], None] = lambda _doing: None) -> Outcome:
        """One run, as the web server and the command line make it."""
        held = lease.take("sync", who=who)
        try:
            return run.carry_out(self.directory, self.mapping, self.limits, held, progress=progress)
        finally:
            held.give_back()

    def try_sync(self) -> Outcome | DirectoryError:
        try:
            return self.sync()
        except DirectoryError as failure:
            return failure

    # What is to be seen

    def active(self) -> set[str]:
        users = fab_users.table()
        return set(self._scalars(select(users.c.username).where(users.c.active.is_(True))))

    def number_of(self, name: str) -> int:
        users = fab_users.table()
        return int(next(self._scalars(select(users.c.id).where(users.c.username == name))))

    def roles_of(self, name: str) -> set[str]:
        with self.engine.connect() as connection:
            user = fab_users.by_username(connection, name)
            assert user is not None
            return set(fab_users.roles_of(connection, user.user_id))

    def open_sessions(self) -> set[str]:
        sessions = models.sessions
        return set(self._scalars(select(sessions.c.session_id).where(sessions.c.ended_at.is_(None))))

    def events(self, name: str) -> list[Any]:
        decisions = models.decisions
        return list(self._scalars(select(decisions.c.username).where(decisions.c.event == name)))

    def state(self) -> dict[str, Any]:
        """Everything about access: who is open, who holds what, which sessions count, who says shut."""
        users = fab_users.table()
        with self.engine.connect() as connection:
            rows = connection.execute(select(users.c.id, users.c.username, users.c.active)).all()
            held = {row.username: (row.active, self._roles(connection, row.id)) for row in rows}
            shut = {
                (row.user_id, row.source) for row in connection.execute(select(models.shut_accounts)).all()
            }
        return {"people": held, "shut": shut, "sessions": self.open_sessions()}

    @staticmethod
    def _roles(connection: Connection, user_id: int) -> frozenset[str]:
        return fab_users.roles_of(connection, user_id)

    def _scalars(self, query: Any) -> Iterator[Any]:
        with self.engine.connect() as connection:
            return iter(connection.scalars(query).all())

    def write(self, statement: Any) -> None:
        """As another hand with a SQL prompt would."""
        with self.engine.begin() as connection:
            connection.execute(statement)

    def forget_everything(self) -> None:
        """Nobody has an account, and nothing was ever read."""
        with self.engine.begin() as connection:
            for table in (*models.metadata.sorted_tables, fab_users.holds_table(), fab_users.table()):
                connection.execute(delete(table))
            assert connection.scalar(select(fab_users.role_table().c.id).limit(1)) is not None


@contextmanager
def world(template: Database, path: Path) -> Iterator[World]:
    """A world of its own on a copy of a migrated database, at `path` where that is a file."""
    with world_in(template.copy(path).url) as made:
        yield made


@contextmanager
def world_in(url: str) -> Iterator[World]:
    """A world of its own in this migrated database; Airflow's engine is this one meanwhile."""
    from airflow import settings

    engine = create_engine(url, future=True)  # as Airflow 2.11 makes its own
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _quick(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous = OFF")

    before, settings.engine = settings.engine, engine
    database._found.clear()
    try:
        made = World(engine)
        _add_missing_roles(engine)
        made.forget_everything()
        yield made
    finally:
        settings.engine = before
        database._found.clear()
        engine.dispose()


def _add_missing_roles(engine: Engine) -> None:
    with engine.begin() as connection:
        there = fab_users.role_names(connection)
        for role in set(ROLES.values()) - there:
            connection.execute(insert(fab_users.role_table()).values(name=role))
