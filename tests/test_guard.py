"""The guard on its own: what a mistake looks like, one alarm after another, each beside what is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_sso.sync.guard import Approval, Circumstances, Limits, UnsafePlan, raise_if_unsafe
from airflow_sso.sync.plan import Account, Change, Plan
from tests.lines import both_lines

pytestmark = both_lines

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
CALM = Circumstances(open_accounts=100, other_admins=1, population=100, population_before=100)


def leaving(*numbers: int, held: str = "Viewer") -> Plan:
    """A plan that takes everything from these people."""
    plan = Plan(began_at=NOW)
    for number in numbers:
        account = Account(
            key=f"k{number}",
            subject=f"s{number}",
            user_id=number,
            username=f"u{number}",
            active=True,
            held=frozenset({held}),
        )
        nothing: frozenset[str] = frozenset()
        plan.changes.append(
            Change(
                account=account,
                reason="disabled",
                after=nothing,
                shut="directory",
                removes=True,
            )
        )
    return plan


def moving(number: int, held: str, after: str) -> Plan:
    """A plan that gives somebody another role."""
    plan = leaving(number, held=held)
    plan.changes[0] = replace(plan.changes[0], after=frozenset({after}), shut=None, removes=False)
    return plan


def alarms(
    plan: Plan, around: Circumstances = CALM, limits: Limits | None = None, approval: Approval | None = None
) -> set[str]:
    try:
        raise_if_unsafe(plan, around, limits or Limits(count=3, percent=10), approval)
    except UnsafePlan as unsafe:
        return set(unsafe.reasons)
    return set()


def test_a_plan_within_its_limits_is_carried_out() -> None:
    assert alarms(leaving(1, 2, 3)) == set()
    assert alarms(leaving(1, 2, 3, 4)) == {"limit"}


@pytest.mark.parametrize(
    ("people", "percent", "allowed"), [(1, 10, 1), (10, 10, 1), (11, 10, 2), (100, 3, 3), (100, 0, 0)]
)
def test_a_percentage_counts_the_person_it_begins(people: int, percent: int, allowed: int) -> None:
    limits = Limits(count=1000, percent=percent)
    around = replace(CALM, open_accounts=people)
    assert limits.allowed(people) == allowed
    assert alarms(leaving(*range(allowed)), around, limits) == set()
    assert alarms(leaving(*range(allowed + 1)), around, limits) == {"limit"}


def test_those_of_the_window_count_once() -> None:
    around = replace(CALM, removed_lately=frozenset({1, 2}), shut_lately=2)
    assert alarms(leaving(2, 3), around) == set()
    assert alarms(leaving(3, 4), around) == {"limit"}


def test_whoever_was_shut_was_open_when_the_window_began() -> None:
    limits = Limits(count=1000, percent=50)
    around = replace(CALM, open_accounts=2, removed_lately=frozenset({1}), shut_lately=1)
    assert alarms(leaving(2), around, limits) == set()
    assert alarms(leaving(2), replace(around, shut_lately=0), limits) == {"limit"}


def test_the_last_admin() -> None:
    alone = replace(CALM, other_admins=0)
    assert alarms(leaving(1, held="Admin"), alone) == {"admin"}
    assert alarms(leaving(1, held="Admin")) == set()
    assert alarms(leaving(1), alone) == set(), "there was none before"
    assert alarms(moving(1, "Admin", "Viewer"), alone) == {"admin"}
    both = leaving(1, held="Admin")
    both.changes += moving(2, "Viewer", "Admin").changes
    assert alarms(both, alone) == set(), "another one comes"


@pytest.mark.parametrize(
    ("around", "alarm"),
    [
        (replace(CALM, empty=True), "empty"),
        (replace(CALM, canary="x is gone"), "canary"),
        (replace(CALM, population=89), "shrunken"),
    ],
)
def test_a_directory_that_does_not_look_like_itself(around: Circumstances, alarm: str) -> None:
    assert alarms(leaving(1), around) == {alarm}
    assert alarms(Plan(began_at=NOW), around) == set(), "nothing to carry out"
    assert alarms(leaving(1), replace(CALM, population=90)) == set()


def test_an_approval_covers_people_and_the_alarms_that_were_shown() -> None:
    everybody = Approval(people=frozenset({1, 2, 3, 4}))
    assert alarms(leaving(1, 2, 3, 4), approval=everybody) == set()
    assert alarms(leaving(1, 2, 3, 4, 5), approval=everybody) == set(), "one more is within the limits"
    assert alarms(leaving(1, 2, 3, 4, 5, 6, 7, 8), approval=everybody) == {"limit"}
    assert alarms(leaving(1), replace(CALM, empty=True), approval=everybody) == {"empty"}
    seen = Approval(people=frozenset({1}), alarms=frozenset({"empty"}))
    assert alarms(leaving(1), replace(CALM, empty=True), approval=seen) == set()
    assert alarms(leaving(1), replace(CALM, canary="x"), approval=seen) == {"canary"}


def test_an_approval_of_the_limit_is_of_people_alone() -> None:
    seen = Approval(people=frozenset({1}), alarms=frozenset({"limit"}))
    assert alarms(leaving(2, 3, 4, 5), approval=seen) == {"limit"}


def test_limits_are_of_a_window() -> None:
    assert Limits().window == timedelta(hours=24)
    assert (Limits().count, Limits().percent) == (20, 10)
