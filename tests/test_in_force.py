"""Which role mapping is in force: one for all replicas, whatever file each of them holds at the moment.

A replica is a :class:`MappingInForce` with a file of its own on a database that all share; what several
processes do is tried with a real Airflow of two workers and commands beside it.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from sqlalchemy import delete, event, insert, select, text, update
from sqlalchemy.exc import OperationalError

from airflow_sso import airflow_compat, audit, cli, metrics, models
from airflow_sso.audit import Journal
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.in_force import MappingInForce, NotAccepted
from airflow_sso.in_force import mapping as module
from airflow_sso.login.doors import Doors
from airflow_sso.pages import my_access
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping
from airflow_sso.sync import schedule
from airflow_sso.urls import Urls
from tests import stack as stacks
from tests.stack import Stack
from tests.sync_world import World
from tests.test_leavers import soon

pytestmark = pytest.mark.database

OLD = "version: 1\nrules: [{group: g, roles: [Viewer]}]\n"
NEW = "version: 1\nrules: [{group: g, roles: [Op]}]\n"
NEWEST = "version: 1\nrules: [{group: g, roles: [Admin]}]\n"
BROKEN = "version: 1\nrules: [{group: g, roles: [Adminn]}]\n"


@dataclass
class Replica:
    """One server: the file that it holds, and what it decides with. ``restart`` forgets all but the file."""

    path: Path
    roles: set[str] = field(default_factory=lambda: set(BUILT_IN_ROLES))
    on_accept: Any = None
    in_force: MappingInForce = field(init=False)
    _writes: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> Replica:
        self.in_force = MappingInForce(self.path, lambda: set(self.roles), self.on_accept)
        return self

    def holds(self, text: str) -> Replica:
        """The file is replaced, as a ConfigMap or an editor does it."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        at = next(self._writes)
        os.utime(new, ns=(at, at))
        new.rename(self.path)
        return self

    def role(self) -> str:
        """What the one rule gives."""
        (role,) = self.in_force.current().role_names
        return role


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.forget_everything()
    return shared_world


@pytest.fixture
def start(world: World, tmp_path: Path) -> Callable[..., Replica]:
    """Starts a replica with a file that says this; without a text there is no file."""
    numbers = itertools.count(1)

    def made(text: str | None = None, **options: Any) -> Replica:
        folder = tmp_path / f"replica-{next(numbers)}"
        folder.mkdir()
        replica = Replica(folder / "role_mapping.yaml", **options)
        return replica.holds(text) if text else replica

    return made


def rows(world: World) -> list[Any]:
    with world.engine.connect() as connection:
        return list(connection.execute(select(models.mappings).order_by(models.mappings.c.generation)))


def texts(world: World) -> list[str]:
    """Every version that was in force, oldest first."""
    return [row.text for row in rows(world)]


def on_record(world: World) -> list[dict[str, Any]]:
    decisions = models.decisions
    query = select(decisions.c.detail).where(decisions.c.event == "mapping_changed").order_by(decisions.c.id)
    with world.engine.connect() as connection:
        return [json.loads(detail) for detail in connection.scalars(query)]


# --- what takes force, and what does not ------------------------------------------------------------------


def test_a_broken_file_never_takes_force_and_keeps_the_last_good_one(
    world: World, start: Callable[..., Replica]
) -> None:
    replica = start()
    with pytest.raises(ConfigurationFaulty, match="cannot be read"):
        replica.role()
    replica.holds(OLD)
    assert replica.role() == "Viewer"
    replica.holds(BROKEN)
    assert replica.role() == "Viewer"
    assert "there is no role 'Adminn'" in str(replica.in_force.faults[0])
    assert replica.in_force.why_not_taken == "it has 1 fault; generation 1 stays in force"
    replica.holds(NEW)
    assert replica.role() == "Op"
    assert replica.in_force.faults == ()
    assert replica.in_force.why_not_taken is None
    assert texts(world) == [OLD, NEW]


def test_of_a_file_that_grows_without_end_only_the_beginning_is_read(
    start: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = start(OLD)
    assert replica.role() == "Viewer"
    monkeypatch.setattr("airflow_sso.yaml_document.parse", None)  # it would take minutes
    replica.holds(OLD + "# a comment\n" * 500_000)
    assert replica.role() == "Viewer"
    assert str(replica.in_force.faults[0]).endswith("is larger than 5 MB, which nobody writes")
    monkeypatch.undo()
    replica.holds(NEW + "# a comment\n" * 100)
    assert replica.role() == "Op"


def test_looking_at_my_access_puts_nothing_in_force(world: World, start: Callable[..., Replica]) -> None:
    replica = start(OLD)
    shown = my_access._mapping(Doors(Urls("http://localhost", ""), mapping=replica.in_force))
    assert shown is not None
    assert texts(world) == []
    assert replica.role() == "Viewer"
    assert texts(world) == [OLD]


def test_whatever_goes_wrong_while_a_version_is_accepted_leaves_the_one_before(
    world: World, start: Callable[..., Replica], caplog: pytest.LogCaptureFixture
) -> None:
    """Roles are made in the same transaction; a driver of a database has errors of its own, which are no SQL's."""

    def refuses(_connection: Any, _journal: Any, mapping: Mapping) -> None:
        if "Op" in mapping.role_names:
            raise ValueError("a string literal cannot contain NUL")

    replica = start(OLD, on_accept=refuses)
    assert replica.role() == "Viewer"
    replica.holds(NEW)
    assert [replica.role(), replica.role()] == ["Viewer", "Viewer"]
    assert "could not be put into the database (ValueError" in str(replica.in_force.why_not_taken)
    assert "could not be put in force" in caplog.text
    replica.holds(NEWEST)
    assert replica.role() == "Admin"
    assert texts(world) == [OLD, NEWEST]


@pytest.mark.parametrize("key", ['"a\\0b"', '"\\ud83d"'])
def test_a_key_that_no_database_takes_is_a_fault(start: Callable[..., Replica], key: str) -> None:
    replica = start(OLD)
    assert replica.role() == "Viewer"
    replica.holds(f"{NEW}roles: {{{key}: {{}}}}\n")
    assert replica.role() == "Viewer"
    (fault,) = replica.in_force.faults
    assert str(fault).endswith(":3:9: roles: has a key with a character that is no text")
    replica.holds(f"{NEW}roles: {{a: {{}}}}\n")
    assert replica.role() == "Op"


@pytest.mark.parametrize(
    "content", [b"version: 1\nrules: [}", b"\xff\xfe", b"", b"version: 1\nrules: []\n\x00"]
)
def test_what_is_no_mapping_at_all_changes_nothing(start: Callable[..., Replica], content: bytes) -> None:
    replica = start(OLD)
    assert replica.role() == "Viewer"
    replica.path.write_bytes(content)
    assert replica.role() == "Viewer"
    assert replica.in_force.faults
    replica.path.unlink()
    assert replica.role() == "Viewer"
    assert "cannot be read" in str(replica.in_force.faults[0])


def test_a_byte_order_mark_is_no_part_of_the_text(world: World, start: Callable[..., Replica]) -> None:
    replica = start(OLD)
    replica.path.write_bytes(b"\xef\xbb\xbf" + NEW.encode())
    assert replica.role() == "Op"
    assert replica.restart().role() == "Op"
    assert texts(world) == [NEW]


def test_a_role_that_comes_to_exist_mends_the_file_by_itself(start: Callable[..., Replica]) -> None:
    replica = start("version: 1\nrules: [{group: g, roles: [team-a]}]")
    for _ in range(2):
        with pytest.raises(ConfigurationFaulty, match="there is no role 'team-a'"):
            replica.role()
    replica.roles.add("team-a")
    assert replica.role() == "team-a"


def test_a_role_that_has_gone_since_takes_nothing_out_of_force(start: Callable[..., Replica]) -> None:
    replica = start("version: 1\nrules: [{group: g, roles: [team-a]}]", roles={*BUILT_IN_ROLES, "team-a"})
    assert replica.role() == "team-a"
    replica.roles.remove("team-a")
    assert replica.restart().role() == "team-a"
    assert replica.in_force.why_not_taken is None


def test_the_record_names_both_generations(world: World, start: Callable[..., Replica]) -> None:
    replica = start(OLD)
    replica.role()
    replica.holds(NEW).role()
    one, two = rows(world)
    assert on_record(world) == [
        {
            "generation": 1,
            "hash": one.hash[:12],
            "instead_of": None,
            "instead_of_hash": None,
            "rules": 1,
            "by": "file",
        },
        {
            "generation": 2,
            "hash": two.hash[:12],
            "instead_of": 1,
            "instead_of_hash": one.hash[:12],
            "rules": 1,
            "by": "file",
        },
    ]
    with world.engine.connect() as connection:
        logged = connection.scalars(text("select event from log where event = 'sso.mapping_changed'")).all()
    assert len(logged) >= 2


# --- replicas ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.product("AB", repeat=4)), ids="".join)
def test_a_superseded_file_never_comes_back_whoever_looks_first(
    world: World, start: Callable[..., Replica], order: tuple[str, ...]
) -> None:
    """The new ConfigMap has reached A, and not B."""
    replicas = {"A": start(OLD), "B": start(OLD)}
    assert {replica.role() for replica in replicas.values()} == {"Viewer"}
    replicas["A"].holds(NEW)
    for position, name in enumerate(order, 1):
        expected = "Op" if "A" in order[:position] else "Viewer"
        assert replicas[name].role() == expected
    replicas["A"].role()
    assert replicas["B"].role() == "Op"
    assert replicas["B"].in_force.why_not_taken == (
        "it was in force before, as generation 1, and generation 2 has taken its place; "
        "airflow-sso mapping activate brings it back"
    )
    assert replicas["B"].restart().role() == "Op", "a restart with the old file"
    replicas["B"].holds(NEW)
    assert replicas["B"].role() == "Op"
    assert replicas["B"].in_force.why_not_taken is None
    assert texts(world) == [OLD, NEW]


@pytest.mark.parametrize(
    "left", [BROKEN, "version: 1\nrules: [}", None], ids=["faulty", "no YAML", "missing"]
)
def test_a_restart_with_a_broken_file_decides_as_before(
    world: World, start: Callable[..., Replica], left: str | None
) -> None:
    replica = start(OLD)
    replica.role()
    if left is None:
        replica.path.unlink()
    else:
        replica.holds(left)
    assert replica.restart().role() == "Viewer"
    assert replica.in_force.faults
    replica.holds(NEW)
    assert replica.role() == "Op"
    assert start(left).role() == "Op", "a replica that has never seen a good file"


def test_without_a_good_version_ever_nobody_gets_in(start: Callable[..., Replica]) -> None:
    replica = start(BROKEN)
    for ask in (replica.in_force.current, replica.in_force.look, replica.in_force.require):
        with pytest.raises(ConfigurationFaulty, match="there is no role 'Adminn'"):
            ask()
    assert replica.in_force.why_not_taken == "it has 1 fault; none is in force, so nobody can sign in"
    replica.holds(OLD)
    replica.in_force.require()
    assert replica.role() == "Viewer"


@contextmanager
def at_the_same_moment(replicas: list[Replica]) -> Iterator[list[str]]:
    """Each has found its file new before any has accepted one."""
    together = threading.Barrier(len(replicas), timeout=20)
    for replica in replicas:
        waits = iter([True])

        def known(waits: Iterator[bool] = waits, roles: set[str] = replica.roles) -> set[str]:
            if next(waits, False):
                together.wait()
            return roles

        replica.in_force = MappingInForce(replica.path, known)
    with ThreadPoolExecutor(len(replicas)) as pool:
        yield list(pool.map(Replica.role, replicas))


def test_of_two_who_accept_the_same_at_the_same_moment_both_have_it(
    world: World, start: Callable[..., Replica]
) -> None:
    with at_the_same_moment([start(OLD), start(OLD), start(OLD)]) as roles:
        assert set(roles) == {"Viewer"}
    assert texts(world) == [OLD]
    assert len(on_record(world)) == 1


def test_two_who_accept_different_files_at_the_same_moment_agree(
    world: World, start: Callable[..., Replica]
) -> None:
    start(OLD).role()
    replicas = [start(NEW), start(NEWEST)]
    with at_the_same_moment(replicas):
        pass
    assert sorted(texts(world)) == sorted([OLD, NEW, NEWEST])
    last = {NEW: "Op", NEWEST: "Admin"}[texts(world)[-1]]
    assert [replica.role() for replica in replicas] == [last, last]
    assert [entry["instead_of"] for entry in on_record(world)] == [None, 1, 2]


def test_a_version_that_only_a_newer_one_of_ours_understands_opens_nothing(
    world: World, start: Callable[..., Replica]
) -> None:
    replica = start(OLD)
    assert replica.role() == "Viewer"
    newer = {"generation": 2, "hash": "f" * 64, "text": "version: 2\nrules: []", "accepted_by": "file"}
    world.write(insert(models.mappings).values(accepted_at=models.now(), **newer))
    for one in (replica, start(OLD), start(BROKEN)):
        for ask in (one.in_force.current, one.in_force.look, one.in_force.current):
            with pytest.raises(ConfigurationFaulty, match=r"generation 2 .* does not understand it"):
                ask()
        with pytest.raises(ConfigurationFaulty, match="does not understand it"):
            one.in_force.require()
        assert one.in_force.generation is not None
        assert one.in_force.mapping is None
    replica.holds(NEW)
    assert replica.role() == "Op", "what is saved after it, and understood, is in force"


def test_a_database_that_was_restored_counts_as_it_is(world: World, start: Callable[..., Replica]) -> None:
    replica, other = start(OLD), start(OLD)
    replica.role()
    replica.holds(NEW).role()
    assert other.role() == "Op"
    world.write(delete(models.mappings).where(models.mappings.c.generation == 2))
    third = start(NEWEST)
    assert third.role() == "Admin"
    assert len(texts(world)) == 2
    assert other.role() == "Admin", "the same number, another version"


# --- looking, and bringing back ---------------------------------------------------------------------------


def test_looking_accepts_nothing(world: World, start: Callable[..., Replica]) -> None:
    replica = start(OLD)
    assert replica.in_force.look().role_names == {"Viewer"}
    assert replica.in_force.waits
    assert replica.in_force.generation is None
    assert texts(world) == []
    assert replica.role() == "Viewer"
    assert not replica.in_force.waits
    replica.holds(NEW)
    for _ in range(2):
        assert replica.in_force.look().role_names == {"Op"}
        assert replica.in_force.waits
    assert replica.in_force.mapping is not None
    assert replica.in_force.mapping.role_names == {"Viewer"}
    assert texts(world) == [OLD]
    assert replica.role() == "Op"
    replica.holds(OLD)
    assert replica.in_force.look().role_names == {"Op"}, "superseded"
    replica.holds(BROKEN)
    assert replica.in_force.look().role_names == {"Op"}
    assert texts(world) == [OLD, NEW]


def test_activating_is_the_way_back(world: World, start: Callable[..., Replica]) -> None:
    replica, other = start(OLD), start(NEW)
    replica.role()
    other.role()
    assert replica.role() == "Op"
    made = replica.in_force.activate("ada")
    assert made is not None
    assert (made[0].number, made[0].accepted_by, made[1] and made[1].number) == (3, "ada", 2)
    assert (replica.role(), other.role()) == ("Viewer", "Viewer")
    assert other.in_force.why_not_taken is not None, "now the other's is the superseded one"
    assert on_record(world)[-1] == {
        "generation": 3,
        "hash": rows(world)[0].hash[:12],
        "instead_of": 2,
        "instead_of_hash": rows(world)[1].hash[:12],
        "rules": 1,
        "by": "ada",
    }
    assert replica.in_force.activate("ada") is None, "it is in force"
    replica.holds(BROKEN)
    with pytest.raises(NotAccepted, match="there is no role 'Adminn'"):
        replica.in_force.activate("ada")
    assert len(texts(world)) == 3


# --- what comes with a version ----------------------------------------------------------------------------


def test_what_comes_with_a_version_is_written_with_it_or_not_at_all(
    world: World, start: Callable[..., Replica]
) -> None:
    failing: list[Exception] = []

    def on_accept(connection: Any, journal: Journal, mapping: Any) -> None:
        connection.execute(insert(models.owned_roles).values(name=min(mapping.role_names)))
        journal.signed_out(audit.Subject(), sessions=[])
        if failing:
            raise failing[0]

    def made() -> set[str]:
        with world.engine.connect() as connection:
            return set(connection.scalars(select(models.owned_roles.c.name)))

    replica = start(OLD, on_accept=on_accept)
    failing.append(OperationalError("insert", {}, Exception("the disk is full")))
    with pytest.raises(OperationalError):
        replica.role()
    assert (texts(world), made(), on_record(world)) == ([], set(), [])
    failing.clear()
    assert replica.role() == "Viewer"
    assert (texts(world), made()) == ([OLD], {"Viewer"})
    failing.append(OperationalError("insert", {}, Exception("the disk is full")))
    replica.holds(NEW)
    for _ in range(2):
        assert replica.role() == "Viewer", "the last good one stays"
    assert "could not be put into the database (OperationalError: the disk is full)" in str(
        replica.in_force.why_not_taken
    )
    assert (texts(world), made(), len(on_record(world))) == ([OLD], {"Viewer"}, 1)
    failing[0] = ZeroDivisionError("a fault of ours")
    assert replica.role() == "Viewer", "a fault of ours shuts nobody out either"
    assert "ZeroDivisionError: a fault of ours" in str(replica.in_force.why_not_taken)
    assert (texts(world), made()) == ([OLD], {"Viewer"})
    failing.clear()
    assert replica.role() == "Op"
    assert (texts(world), made()) == ([OLD, NEW], {"Viewer", "Op"})
    assert replica.in_force.why_not_taken is None


def test_nobody_waits_long_for_whoever_accepts(
    world: World, start: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    accepting, go_on = threading.Event(), threading.Event()

    def on_accept(_connection: Any, _journal: Any, mapping: Any) -> None:
        if mapping.role_names == {"Op"}:
            accepting.set()
            assert go_on.wait(20)

    replica = start(OLD, on_accept=on_accept)
    replica.role()
    replica.holds(NEW)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(replica.role)
        assert accepting.wait(20)
        began = time.monotonic()
        assert replica.role() == "Viewer", "still in force"
        assert time.monotonic() - began < 3
        go_on.set()
        assert slow.result(20) == "Op"
    assert replica.role() == "Op"


# --- what it costs, and what is said ----------------------------------------------------------------------


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    del world  # it has made its engine Airflow's
    engine = airflow_compat.engine()
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def test_a_decision_costs_one_statement(world: World, start: Callable[..., Replica]) -> None:
    replica = start(OLD)
    replica.role()
    with counted(world) as statements:
        replica.role()
    assert len(statements) == 1
    assert "text" not in statements[0]
    with counted(world) as statements:
        replica.in_force.require()
    assert statements == []
    stale = start(OLD)
    replica.holds(NEW).role()
    stale.role()
    with counted(world) as statements:
        assert stale.role() == "Op"
    assert len(statements) == 1, "a superseded file is not read over and over"


def test_each_version_is_spoken_of_once(
    start: Callable[..., Replica], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(metrics, "count", lambda name, **_tags: sent.append(name))
    caplog.set_level(logging.INFO, "airflow_sso.in_force")
    replica, stale = start(OLD), start(OLD)

    def said(level: int) -> list[str]:
        for _ in range(3):
            replica.role()
            stale.role()
        ours = [record for record in caplog.records if record.name.startswith("airflow_sso.in_force")]
        found = [record.getMessage() for record in ours if record.levelno == level]
        caplog.clear()
        return found

    assert len(said(logging.INFO)) == 2, "once in each"
    replica.holds(BROKEN)
    for one in (replica, stale):
        one.in_force.look()  # says nothing, and takes no word away
    assert sent.count("mapping_refused") == 0
    (line,) = said(logging.ERROR)
    assert "generation 1 stays in force" in line
    assert (
        "role_mapping.yaml:2:28: rules[0].roles[0]: there is no role 'Adminn'; did you mean 'Admin'?" in line
    )
    replica.holds(BROKEN + "# saved once more\n")
    assert len(said(logging.ERROR)) == 1
    assert sent.count("mapping_refused") == 2
    replica.holds(NEW)
    (line,) = said(logging.WARNING)
    assert f"{stale.path}: it was in force before, as generation 1" in line
    replica.holds(NEWEST)
    assert said(logging.WARNING) == []
    assert sent.count("mapping_superseded") == 1
    assert sent.count("mapping_changed") == 3


def end(watch: schedule.Schedule) -> None:
    """Stop it, and wait for what is under way, which would write into the next test."""
    watch.stop()
    assert watch._thread is not None
    watch._thread.join(60)


def test_a_saved_file_counts_without_anybody_asking_and_trouble_is_told_once(
    world: World,
    start: Callable[..., Replica],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule, "_LOOK_EVERY", 0.02)
    replica, turns = start(OLD), itertools.count(1)
    trouble: list[Exception] = []

    def current() -> Mapping:
        number = next(turns)
        if trouble:
            raise OperationalError(f"select {number}", {}, trouble[0])
        return replica.in_force.current()

    def passes(turns_more: int = 5) -> None:
        until = next(turns) + turns_more
        soon(lambda: next(turns) > until)

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == schedule.__name__]

    settings: Any = SimpleNamespace(sync=SimpleNamespace(every="never"))
    watch = schedule.Schedule(settings, (), current)
    watch.start()
    try:
        soon(lambda: texts(world) == [OLD])
        replica.holds(NEW)
        soon(lambda: texts(world) == [OLD, NEW])
        passes()
        assert told() == []
        trouble.append(Exception("the server closed the connection"))
        passes(20)
        assert told() == [
            "airflow_sso: the mapping is looked at later: OperationalError: the server closed the connection"
        ]
        trouble.clear()
        replica.holds(NEWEST)
        soon(lambda: texts(world) == [OLD, NEW, NEWEST])
        passes()
        trouble.append(Exception("the server closed the connection"))
        soon(lambda: len(told()) == 2)
    finally:
        end(watch)


def test_leavers_do_not_wait_for_a_role_that_cannot_be_made(
    world: World, start: Callable[..., Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_mapping: Mapping) -> None:
        raise OperationalError("insert", {}, Exception("the disk is full"))

    read: list[str] = []
    monkeypatch.setattr(schedule, "_LOOK_EVERY", 0.02)
    monkeypatch.setattr(schedule.owned_upkeep, "keep_up", fails)
    monkeypatch.setattr(schedule.Schedule, "_read", lambda _self, one, _lease: read.append(one.name))
    settings: Any = SimpleNamespace(sync=SimpleNamespace(every=timedelta(seconds=5)))
    watch = schedule.Schedule(settings, (world.directory,), start(OLD).in_force.current)
    watch.start()
    try:
        soon(lambda: bool(read))
    finally:
        end(watch)


# --- the commands -----------------------------------------------------------------------------------------


@dataclass
class Terminal:
    """``airflow-sso``, in this process."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str]:
        code = cli.main([*arguments, "--config", str(self.folder / "sso.yaml")])
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def told(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.main([*arguments, "--json", "--config", str(self.folder / "sso.yaml")])
        return code, json.loads(self.capsys.readouterr().out)


@pytest.fixture
def terminal(
    tmp_path: Path, world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    monkeypatch.setenv("TEST_CLIENT_SECRET", "secret")
    monkeypatch.setattr("getpass.getuser", lambda: "grace")
    (tmp_path / "sso.yaml").write_text(
        f"""
external_url: https://airflow.example.com
role_mapping_file: {tmp_path}/terminal.yaml
providers:
  - name: lab
    vendor: generic
    protocol: oidc
    issuer: https://id.example.com
    client_id: airflow
    client_auth: {{secret: {{env: TEST_CLIENT_SECRET}}}}
"""
    )
    log = logging.getLogger("airflow_sso")
    before = (log.handlers, log.level, log.propagate)
    yield Terminal(tmp_path, capsys)
    log.handlers, log.level, log.propagate = before


def test_a_terminal_says_what_is_in_force_and_brings_a_file_back(
    world: World, start: Callable[..., Replica], terminal: Terminal
) -> None:
    file = terminal.folder / "terminal.yaml"
    code, said = terminal.run("mapping", "show")
    assert (code, "No role mapping was ever in force." in said, "cannot be read" in said) == (1, True, True)
    code, said = terminal.run("mapping", "activate")
    assert (code, "cannot be read" in said, texts(world)) == (2, True, [])

    file.write_text(OLD)
    code, said = terminal.run("mapping", "show")
    assert (code, "a new version without a fault" in said) == (0, True)
    assert texts(world) == []
    code, said = terminal.run("mapping", "activate")
    assert code == 0
    assert f"Generation 1 is in force now (1 rule, sha {rows(world)[0].hash[:12]}), the first one." in said
    code, said = terminal.run("mapping", "activate")
    assert (code, f"{file} is in force already, as generation 1" in said) == (0, True)
    code, said = terminal.run("mapping", "show")
    assert (code, "Generation 1 is in force" in said, "by grace" in said) == (0, True, True)
    assert f"{file} is that one." in said

    replica = start(NEW)
    assert replica.role() == "Op"
    code, said = terminal.run("mapping", "show")
    assert (code, "by the file" in said) == (1, True)
    assert "is not it: it was in force before, as generation 1, and generation 2 has taken its place" in said
    code, told = terminal.told("mapping", "show")
    assert code == 1
    assert (told["generation"], told["accepted_by"], told["rules"]) == (2, "file", 1)
    assert told["file"]["is_in_force"] is False
    assert "airflow-sso mapping activate" in told["file"]["why_not_taken"]

    assert "is not taken: it was in force before, as generation 1," in terminal.run("lint")[1]
    code, told = terminal.told("lint")
    assert (code, told["faults"]) == (0, [])
    assert str(file) in [warning["file"] for warning in told["warnings"]]

    file.write_text(BROKEN)
    code, told = terminal.told("mapping", "activate")
    assert (code, told["changed"], len(told["faults"])) == (2, False, 1)
    code, said = terminal.run("mapping", "show")
    assert (code, "it has 1 fault; generation 2 stays in force" in said, "Adminn" in said) == (1, True, True)

    file.write_text(OLD)
    code, told = terminal.told("mapping", "activate")
    assert (code, told["changed"], told["generation"], told["instead_of"]) == (0, True, 3, 2)
    assert replica.role() == "Viewer"
    code, told = terminal.told("mapping", "activate")
    assert (code, told["changed"], told["generation"]) == (0, False, 3)
    assert "is not taken" not in terminal.run("lint")[1]
    assert [entry["by"] for entry in on_record(world)] == ["grace", "file", "grace"]


def test_a_terminal_of_an_older_version_says_that_it_is_one(world: World, terminal: Terminal) -> None:
    (terminal.folder / "terminal.yaml").write_text(OLD)
    assert terminal.run("mapping", "activate")[0] == 0
    world.write(update(models.mappings).values(text="version: 2\nrules: []"))
    code, said = terminal.run("mapping", "show")
    assert (code, "does not understand it" in said) == (1, True)
    code, said = terminal.run("mapping", "activate")
    assert (code, "does not understand it" in said) == (2, True)
    (terminal.folder / "terminal.yaml").write_text(NEW)
    code, said = terminal.run("mapping", "activate")
    assert (code, "Generation 2 is in force now" in said) == (0, True)


# --- real processes ---------------------------------------------------------------------------------------


def gives(role: str) -> dict[str, Any]:
    groups = stacks.GROUPS
    rules = [
        {"group": groups["airflow_prod_op"], "roles": [role]},
        # No reading of the directory would take the last Admin away, whoever else has signed in before.
        {"group": groups["airflow_prod_admin"], "roles": ["Admin"]},
    ]
    return {"version": 1, "rules": rules}


def number_in_force(stack: Stack) -> int:
    return int(stack.rows("select max(generation) as number from sso_mapping")[0]["number"])


@pytest.mark.server
def test_two_workers_and_commands_decide_alike_whatever_file_they_hold(
    airflow_leavers: Stack,
) -> None:
    stack = airflow_leavers

    def is_spoken_of_by_all(number: int) -> bool:
        return stack.log.count(f"role mapping in force: generation {number} ") == 2

    # On 2.11 a worker begins to look with the first request that it gets.
    before = stack.generation()
    soon(lambda: requests.get(stack.home.health_url(), timeout=30).ok and is_spoken_of_by_all(before))

    def signs_in() -> set[str]:
        return {role for _ in range(6) for role in roles_after_sign_in(stack)}

    def accepted_by_all(role: str) -> int:
        """Saved, it counts without anybody signing in; in both workers."""
        stack.map(gives(role))
        number = stack.generation()
        soon(lambda: is_spoken_of_by_all(number))
        return number

    first = accepted_by_all("Viewer")
    old = stack.mapping_yaml.read_text()
    assert signs_in() == {"Viewer"}
    second = accepted_by_all("Op")
    assert second == first + 1
    assert signs_in() == {"Op"}

    # Another replica, whose file has not arrived yet: what it decides with is the servers' version.
    late = stack.home.path / "late.yaml"
    late.write_text(old)
    config = stack.home.path / "late-sso.yaml"
    config.write_text(stack.sso_yaml.read_text().replace(str(stack.mapping_yaml), str(late)))

    def command(*arguments: str) -> tuple[int, str]:
        with stack.command(*arguments, "--config", str(config)) as process:
            return process.wait(timeout=120), process.log.read_text()

    code, said = command("sync", "--apply", "--provider", "entra")
    assert code == 0, said
    assert f"Decided by generation {second} of the role mapping." in said
    assert f"{late}: it was in force before, as generation {first}" in said
    assert number_in_force(stack) == second
    assert signs_in() == {"Op"}

    code, said = command("mapping", "activate")
    assert code == 0, said
    assert f"Generation {second + 1} is in force now" in said
    assert f"in place of generation {second}" in said
    assert signs_in() == {"Viewer"}
    soon(lambda: f"{stack.mapping_yaml}: it was in force before, as generation {second}" in stack.log)
    assert number_in_force(stack) == second + 1


def roles_after_sign_in(stack: Stack) -> set[str]:
    visitor = stack.visitor()
    visitor.sign_in("otto")
    username = visitor.who()
    assert username
    return stack.roles_of(username)
