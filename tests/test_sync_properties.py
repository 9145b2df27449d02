"""Any sequence of what a directory may say, what people and operators do, and what may go wrong in between.

Whatever the sequence: no failure takes or gives anything, the guard's count holds, and when everything works
again a few runs bring everybody to what directory, mapping and operators say. ``SYNC_EXAMPLES`` tells how many
sequences are tried; with more than the usual number they are other ones each time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import OperationalError

from airflow_sso import audit, database, models
from airflow_sso.accounts import fab_users, shutting, who_shuts
from airflow_sso.audit import Journal, Subject
from airflow_sso.directory import failures
from airflow_sso.directory.failures import DirectoryError
from airflow_sso.sync import apply, lease, population, quarantine, run
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.guard import Limits
from airflow_sso.sync.lease import LeaseLost
from airflow_sso.sync.run import Outcome
from tests.sync_story import (
    STATES,
    Clock,
    Feed,
    Killed,
    Ledger,
    Person,
    broken_at,
    decided,
    everybody,
    given_to,
)
from tests.sync_world import ADMINS, AUTHORITY, OPS, ROLES, VIEWERS, Entry, World

pytestmark = pytest.mark.database

USUAL = 60
EXAMPLES = int(os.environ.get("SYNC_EXAMPLES", USUAL))
MOMENTS = ("reading", "half of it", "read", "comparing", "person")
FAILURES = [
    failures.DirectoryUnreachable,
    failures.DirectoryUnreadable,
    failures.PermissionMissing,
    failures.CredentialsRefused,
    failures.CursorExpired,
]
MOST_PEOPLE = 5

a_group_list = st.frozensets(st.sampled_from((ADMINS, OPS, VIEWERS)), max_size=2)
#: Rather often the same one: most of what is interesting takes several steps.
a_number = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4))
a_moment = st.sampled_from(MOMENTS)
a_deed = st.sampled_from(
    ("shut", "open", "push", "pull", "off", "on", "role", "name", "sign up", "push and pull")
)


class Company(RuleBasedStateMachine):
    """People, their directory, an Airflow, and everything that may happen to them."""

    world: World
    clock: Clock

    # The beginning

    @initialize(
        groups=st.lists(a_group_list, min_size=1, max_size=3), whole=st.booleans(), lingers=st.booleans()
    )
    def begin(self, groups: list[frozenset[str]], whole: bool, lingers: bool) -> None:
        self.clock.reset()
        self.world = World(self.world.engine)
        self.world.forget_everything()
        self.feed = Feed()
        self.feed.always_whole, self.feed.lingers = whole, lingers
        self._restart()
        self.world.limits = Limits(count=2, percent=100)
        self.ledger = Ledger()
        self.people: list[str] = []
        self.touched: set[str] = set()
        # One made by hand, and one who is break-glass though the directory has them.
        self.world.sign_up("root", OPS, linked=False)
        glass = self.world.sign_up("glass", VIEWERS)
        self.feed.people = {"glass": Entry({OPS}, "unusable")}
        pin = {"name_key": models.name_key("glass"), "user_id": glass, "pinned_at": models.now()}
        self.world.write(insert(models.break_glass_pins).values(**pin))
        self.protected = {name: everybody(self.world)[name] for name in ("root", "glass")}
        for one in groups:
            self._sign_up(one)

    def _restart(self) -> None:
        """Another process: it has the database and the directory, and nothing in memory."""
        limits = self.world.limits
        self.world = World(self.world.engine)
        self.world.limits, self.world.reader = limits, self.feed
        self.world.directory = Directory(name="entra", authority=AUTHORITY, reader=self.feed)
        database._found.clear()

    def _sign_up(self, groups: frozenset[str]) -> None:
        name = f"p{len(self.people)}"
        self.people.append(name)
        self.world.sign_up(name, *sorted(groups))
        self.feed.log.append(name)
        self.touched.add(name)

    def _one(self, number: int) -> str:
        return self.people[number % len(self.people)]

    # What happens in the directory

    @precondition(lambda self: len(self.people) < MOST_PEOPLE)
    @rule(groups=a_group_list)
    def somebody_signs_up(self, groups: frozenset[str]) -> None:
        self._sign_up(groups)

    @rule(number=a_number, groups=a_group_list)
    def groups_change(self, number: int, groups: frozenset[str]) -> None:
        self.feed.people[self._one(number)].groups = set(groups)

    @rule(number=a_number, state=st.sampled_from((*STATES, "usable", "unusable", "signed out")))
    def state_changes(self, number: int, state: str) -> None:
        entry = self.feed.touch(self._one(number))
        if state == "signed out":
            entry.valid_from = models.now()
        else:
            entry.state = state

    # What happens in Airflow

    @rule(number=a_number)
    def signs_in(self, number: int) -> None:
        if everybody(self.world)[self._one(number)].has_access:
            self.world.open_session(self._one(number))

    @rule(number=a_number, deed=a_deed)
    def somebody_does(self, number: int, deed: str) -> None:
        self._do(deed, number)

    def _do(self, deed: str, number: int) -> None:
        if deed == "sign up":
            if len(self.people) < MOST_PEOPLE:
                self._sign_up(frozenset({VIEWERS}))
            return
        if deed == "push and pull":
            self._do("push", number)
            self._do("pull", number)
            return
        name = self._one(number)
        self.touched.add(name)
        before = everybody(self.world)[name]
        users, holds = fab_users.table(), fab_users.holds_table()
        mine = users.c.username == name
        if deed in ("shut", "push"):
            self._shuts(name, who_shuts.OPERATOR if deed == "shut" else who_shuts.PUSH)
            if before.active:
                self.ledger.lost(name)
        elif deed in ("open", "pull"):
            self._opens(name, who_shuts.OPERATOR if deed == "open" else who_shuts.PUSH)
        elif deed == "off":
            self.world.write(update(users).where(mine).values(active=False))
            if before.active:
                self.ledger.hand_off.add(name)
        elif deed == "on":
            self.world.write(update(users).where(mine).values(active=True))
            if name in self.ledger.hand_off and who_shuts.OPERATOR in before.shut_by:
                self.ledger.words[name].add(who_shuts.OPERATOR)
            self.ledger.hand_off.discard(name)
        elif deed == "name":
            self.world.write(update(users).where(mine).values(last_name="Other", password="pbkdf2:x"))
        elif deed == "role":
            role = sorted(ROLES.values())[number % len(ROLES)]
            whose = select(users.c.id).where(mine).scalar_subquery()
            what = select(fab_users.role_table().c.id).where(fab_users.role_table().c.name == role)
            those = (holds.c.user_id == whose, holds.c.role_id == what.scalar_subquery())
            if role in before.roles:
                self.world.write(delete(holds).where(*those))
            else:
                self.world.write(insert(holds).values(user_id=whose, role_id=what.scalar_subquery()))

    def _shuts(self, name: str, source: str) -> None:
        self.ledger.words[name].add(source)
        self._in_audit(name, lambda *of: shutting.shut(*of, source=source, reason="asked"))

    def _opens(self, name: str, source: str) -> None:
        self.ledger.words[name].discard(source)
        if source == who_shuts.OPERATOR:
            self.ledger.hand_off.discard(name)
        self._in_audit(name, lambda *of: shutting.lift(*of, source=source, reason="asked"))

    def _in_audit(self, name: str, step: Callable[..., Any]) -> None:
        with database.transaction() as connection:
            journal = Journal(audit.new_reference())
            user = fab_users.by_username(connection, name)
            assert user is not None
            step(connection, journal, Subject(user_id=user.user_id, username=name), user)
            journal.write(connection)

    # What happens around the runs

    @rule(
        limits=st.tuples(st.integers(0, 4), st.sampled_from((10, 50, 100))),
        hours=st.sampled_from((0, 1, 11, 13, 25)),
        forgotten=st.booleans(),
    )
    def time_passes(self, limits: tuple[int, int], hours: int, *, forgotten: bool) -> None:
        """And the settings change, and the directory forgets how far it was read."""
        self.world.limits = Limits(count=limits[0], percent=limits[1])
        self.clock.ahead += timedelta(hours=hours)
        if forgotten:
            known = models.directories.c.cursor.is_not(None)
            self.world.write(update(models.directories).where(known).values(cursor="forgotten"))

    @precondition(lambda self: quarantine.waiting())
    @rule()
    def somebody_approves(self) -> None:
        quarantine.approve(quarantine.waiting()[-1].plan_id, "ada")

    # Runs

    @rule(again=st.sampled_from(("", "", "plan", "run")))
    def runs(self, again: str) -> None:
        outcome = self._run()
        before = everybody(self.world)
        if outcome is None or outcome.result == "quarantined" or not again:
            return
        if again == "run":
            told = self.feed.told or {}
            second = self._run()
            # Whoever was gone is so for the second time now; an approval was for the first.
            if second is not None and not {"gone", "unknown"} & {
                *told.values(),
                *(self.feed.told or {}).values(),
            }:
                assert second.result in ("nothing", "quarantined")
                assert everybody(self.world) == before
            return
        held = lease.take("sync")
        work = apply.Work(lease=held, reference="x", provider="entra", progress=lambda _doing: None)
        assert apply.end_sessions(outcome.plan, work) == 0
        assert apply.carry_out(outcome.plan, work).changed == 0
        held.give_back()
        assert everybody(self.world) == before

    @rule(failure=st.sampled_from(FAILURES), late=st.booleans())
    def the_directory_fails(self, failure: type[DirectoryError], late: bool) -> None:
        before = everybody(self.world)
        self.feed.fails, self.feed.fails_late = failure("asked for this, got that"), late
        assert self._run() is None
        self.feed.fails = None
        assert everybody(self.world) == before

    # A run about so few people writes less than twenty times; a later write never comes.
    @rule(number=st.integers(1, 20), by=st.sampled_from(("kill", "failure")))
    def a_run_is_broken_off(self, number: int, by: str) -> None:
        self._run(broken=broken_at(self.world.engine, number, by=by))
        if by == "kill":
            self._restart()

    @rule(moment=a_moment, deed=a_deed, number=a_number)
    def something_happens_meanwhile(self, moment: str, deed: str, number: int) -> None:
        self._run(moment, lambda: self._do(deed, number))

    @rule(moment=a_moment, runs=st.booleans(), gives_back=st.booleans())
    def another_takes_over(self, moment: str, runs: bool, gives_back: bool) -> None:
        after: list[dict[str, Any]] = []

        def take_over() -> None:
            self.ledger.hear(self.feed.told)
            self.feed.told = None
            if runs:
                self._run()
            self._expire()
            other = lease.take("sync", who="another")
            if gives_back:
                other.give_back()
            after.append(self._dump())

        lost = self._run(moment, take_over, may_lose=True)
        if after:
            assert lost is None
            assert self._dump() == after[0]

    def _expire(self) -> None:
        self.world.write(update(models.leases).values(expires_at=0))

    def _dump(self) -> dict[str, Any]:
        """Every row of every table that a run writes, but the lease itself."""
        tables = [*models.metadata.sorted_tables, fab_users.table(), fab_users.holds_table()]
        with self.world.engine.connect() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(select(table)).all()))
                for table in tables
                if table is not models.leases
            }

    def _run(
        self,
        moment: str = "",
        meanwhile: Callable[[], None] = lambda: None,
        *,
        broken: AbstractContextManager[None] = nullcontext(),  # noqa: B008 (it holds nothing)
        may_lose: bool = False,
    ) -> Outcome | None:
        """One run, whatever becomes of it, and whether what it did was allowed."""
        left = [meanwhile]

        def progress(doing: str) -> None:
            if left and moment and doing.startswith(moment):
                left.pop()()

        self._expire()
        check = Check(self)
        self.feed.told, self.touched = None, set()
        outcome, world = None, self.world
        try:
            with broken:
                held = lease.take("sync", who="test")
                outcome = run.carry_out(world.directory, world.mapping, world.limits, held, progress=progress)
                held.give_back()
            assert not (may_lose and not left), "it wrote on, though another one had taken over"
        except (DirectoryError, Killed, OperationalError):
            pass
        except LeaseLost:
            assert may_lose
            return None
        self.ledger.hear(self.feed.told)
        check.is_allowed(outcome)
        return outcome

    # What is always so

    @invariant()
    def nobody_else_is_touched(self) -> None:
        if hasattr(self, "protected"):
            now = everybody(self.world)
            assert {name: now[name] for name in self.protected} == self.protected

    def teardown(self) -> None:
        """Whatever failed works again: a few runs later all is as everybody says."""
        if not hasattr(self, "people"):
            return
        for name in self.people:
            entry = self.feed.people[name]
            if entry.state in ("unknown", "silent"):  # nobody tells that it was mended
                entry.state = "usable"
        self.world.limits = Limits(count=1000, percent=100)
        due = self._due()
        for _ in range(6):
            outcome = self._run()
            assert outcome is not None
            if outcome.quarantined:
                quarantine.approve(outcome.quarantined.plan_id, "ada")
            elif everybody_is(self.world, due):
                break
        found = {name: (one.active, one.roles) for name, one in everybody(self.world).items() if name in due}
        assert found == due
        now = everybody(self.world)
        shut = [name for name in due if not now[name].active and name not in self.ledger.hand_off]
        assert not any(now[name].sessions for name in shut)
        # What was gone or left aside last time is looked at once more.
        self._run()
        before = everybody(self.world)
        outcome = self._run()
        assert outcome is not None
        assert outcome.result == "nothing"
        assert everybody(self.world) == before
        assert {name: (one.active, one.roles) for name, one in before.items() if name in due} == due

    def _due(self) -> dict[str, tuple[bool, frozenset[str]]]:
        due = {}
        now = everybody(self.world)
        for name in self.people:
            entry = self.feed.people[name]
            roles = given_to(entry)
            shut = self.ledger.says_out(name) or entry.state != "usable"
            # Whom the directory had out comes back when there is something to come back to.
            shut = shut or (who_shuts.DIRECTORY in now[name].shut_by and not roles)
            due[name] = (not shut, frozenset() if shut else roles)
        return due


def everybody_is(world: World, due: dict[str, tuple[bool, frozenset[str]]]) -> bool:
    now = everybody(world)
    return all((now[name].active, now[name].roles) == one for name, one in due.items())


class Check:
    """What a run found, and whether what it made of that was allowed."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._before = everybody(company.world)
        self._events = len(decided(company.world))
        lately = company.ledger.lately(company.world.limits.window)
        shut_lately = sum(not self._before[name].active for name in lately)
        in_play = sum(one.active for name, one in self._before.items() if name != "root")
        self._lately, self._allowed = lately, company.world.limits.allowed(in_play + shut_lately)
        plans = [one for one in quarantine.waiting() if one.state == quarantine.APPROVED]
        self._approved = {name for one in plans for _, name, _ in one.removals}
        self._seen = {alarm for one in plans for alarm in one.reasons}

    def is_allowed(self, outcome: Outcome | None) -> None:
        now = everybody(self._company.world)
        untouched = [name for name in self._company.people if name not in self._company.touched]
        for name in untouched:
            self._one(name, self._before[name], now[name])
        lost = {name for name in untouched if _lost(self._before[name], now[name])}
        for name in lost:
            self._company.ledger.lost(name)
        surprising = lost - self._approved
        assert not surprising or len(surprising | self._lately) <= self._allowed
        self._admins(now)
        self._audit(now, untouched)
        if outcome is not None and outcome.result == "quarantined":
            assert not lost

    def _one(self, name: str, was: Person, now: Person) -> None:
        company, ledger = self._company, self._company.ledger
        entry, told = company.feed.people[name], (company.feed.told or {}).get(name)
        gives, word = given_to(entry), ledger.last_told.get(name)
        out = word in ("unusable", "gone") or who_shuts.DIRECTORY in was.shut_by
        if was.active and not now.active:
            assert out or ledger.says_out(name), f"{name} is shut, and nobody said so"
            assert told != "unknown"
        if now.active and not was.active:
            assert word == "usable"
            assert told in ("usable", None)
            assert gives, f"{name} is open without a role"
            assert not ledger.says_out(name), f"{name} is open, and somebody says not to"
        gained, taken = now.roles - was.roles, was.roles - now.roles
        if gained:
            assert gained <= gives
            assert now.active
            assert told in ("usable", None)
            assert not ledger.says_out(name)
        if taken & gives and now.active:
            raise AssertionError(f"{name} lost {taken & gives}")
        if taken and not (out or ledger.says_out(name)):
            assert told in ("usable", None), f"{name} lost {taken} though {told}"
        over = was.sessions - now.sessions
        if over:
            old = entry.valid_from is not None
            assert old or told == "unusable" or not now.has_access or not was.active, f"{name} was signed out"

    def _admins(self, now: dict[str, Person]) -> None:
        """Whoever was touched meanwhile, by an operator say, is theirs to answer for."""
        touched = self._company.touched
        was = any(_is_admin(one) for name, one in self._before.items() if name not in touched)
        if was and not any(_is_admin(one) for one in now.values()):
            assert "admin" in self._seen, "nobody is Admin any more"

    def _audit(self, now: dict[str, Person], untouched: list[str]) -> None:
        events = decided(self._company.world)[self._events :]
        for name in untouched:
            told = [event for event, about, _ in events if about == name]
            was, after = self._before[name].active, now[name].active
            assert told == ([] if was == after else ["reactivated" if after else "deactivated"])


def _lost(was: Person, now: Person) -> bool:
    return was.active and (not now.active or (bool(was.roles) and not now.roles))


def _is_admin(one: Person) -> bool:
    return one.active and "Admin" in one.roles


def test_whatever_happens(
    shared_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    caplog.set_level(logging.CRITICAL, "airflow_sso")
    monkeypatch.setattr(models, "now", clock.now)
    # So that a few people are several transactions, and several parts.
    monkeypatch.setattr(apply, "_IN_ONE_TRANSACTION", 2)
    monkeypatch.setattr(population, "_AT_ONCE", 3)
    Company.world, Company.clock = shared_world, clock
    run_state_machine_as_test(
        Company,
        settings=settings(
            # Every statement is a journey to a server and back there.
            max_examples=EXAMPLES if shared_world.engine.dialect.name == "sqlite" else EXAMPLES // 4,
            stateful_step_count=25,
            deadline=None,
            derandomize=EXAMPLES == USUAL,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
