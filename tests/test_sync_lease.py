"""Runs in real processes: one that was stopped too long, one that is killed, two at once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select, update

from airflow_sso import models
from airflow_sso.accounts import fab_users
from airflow_sso.models import decisions, removals
from airflow_sso.sync import lease
from tests.sync_process import Running
from tests.sync_story import everybody
from tests.sync_world import ADMINS, OPS, VIEWERS, Entry, World

pytestmark = pytest.mark.database

MANY = 300
AT_ONCE = 20


@pytest.fixture
def world(shared_world: World) -> World:
    """Ada runs it, Otto operates, Vera looks."""
    shared_world.forget_everything()
    fresh = World(shared_world.engine)
    fresh.sign_up("ada", ADMINS)
    fresh.sign_up("otto", OPS)
    fresh.sign_up("vera", VIEWERS)
    return fresh


def url_of(world: World) -> str:
    return world.engine.url.render_as_string(hide_password=False)


def everything(world: World) -> dict[str, Any]:
    """Every row that a run writes, the lease's among them."""
    tables = [*models.metadata.sorted_tables, fab_users.table(), fab_users.holds_table()]
    with world.engine.connect() as connection:
        return {one.name: sorted(map(repr, connection.execute(select(one)).all())) for one in tables}


@pytest.mark.parametrize("moment", ["reading", "person"])
def test_one_that_was_stopped_until_another_took_over_writes_nothing(world: World, moment: str) -> None:
    url = url_of(world)
    now = {**world.reader.people, "otto": Entry({OPS}, "unusable"), "vera": Entry({ADMINS})}
    slow = Running(url, now, hold_at=moment, lasts=2)
    assert slow.is_held()
    slow.stop()
    slow.go_on()
    while lease.holder_of("sync"):
        time.sleep(0.05)
    # Meanwhile the directory has other news, so that what the first one would do is seen.
    later = {**world.reader.people, "vera": Entry({OPS})}
    assert Running(url, later).result() == "applied"
    after = everything(world)
    assert world.active() == {"ada", "otto", "vera"}
    assert world.roles_of("vera") == {"Op"}
    slow.wake()
    assert slow.result() == "LeaseLost"
    assert everything(world) == after


def test_of_two_at_once_one_works(world: World) -> None:
    url = url_of(world)
    now = {**world.reader.people, "otto": Entry({OPS}, "unusable")}
    for _ in range(3):
        both = [Running(url, now, hold_at="comparing") for _ in range(2)]
        # The one that came too late says so and ends, while the other one waits.
        held = [one for one in both if one.is_held()]
        assert len(held) == 1
        held[0].go_on()
        assert held[0].result() in ("applied", "nothing")
    assert world.events("deactivated") == ["otto"]
    assert world.events("roles_changed") == ["otto"]


def sign_up_many(world: World) -> None:
    """So many people, every third with a session."""
    for number in range(MANY):
        world.sign_up(f"p{number}", VIEWERS)
        if number % 3 == 0:
            world.open_session(f"p{number}")


def assert_each_is_whole(world: World) -> int:
    """Whoever is shut is so in every respect, and once; returns how many are."""
    with world.engine.connect() as connection:
        told = Counter(
            connection.execute(select(decisions.c.event, decisions.c.username).order_by(decisions.c.id)).all()
        )
        users = fab_users.table()
        ids = dict(connection.execute(select(users.c.username, users.c.id)).all())
        counted = Counter(connection.scalars(select(removals.c.user_id)))
        given = dict(
            connection.execute(select(models.accounts.c.username, models.accounts.c.given_roles)).all()
        )
    shut = 0
    for name, one in everybody(world).items():
        if not name.startswith("p"):
            continue
        is_shut = not one.active
        shut += is_shut
        assert one.roles == (frozenset() if is_shut else {"Viewer"})
        assert one.shut_by == ({"directory"} if is_shut else frozenset())
        assert not (is_shut and one.sessions)
        assert json.loads(given[name]) == ({} if is_shut else ["Viewer"]), "a list of an older version"
        assert told["deactivated", name] == told["roles_changed", name] == counted[ids[name]] == is_shut
        assert told["access_ended", name] <= 1
    return shut


def test_killed_at_any_moment_the_next_one_completes(world: World) -> None:
    sign_up_many(world)
    url = url_of(world)
    out = {f"p{number}": Entry({VIEWERS}, "unusable") for number in range(MANY)}
    people = {**world.reader.people, **out}
    chance = random.Random(11)
    seen = [0]
    for _ in range(8):
        left = -(-(MANY - seen[-1]) // AT_ONCE)
        one = Running(url, people, hold_at="person", time=chance.randint(1, min(3, left)), at_once=AT_ONCE)
        assert one.is_held()
        one.go_on()
        time.sleep(chance.uniform(0.0, 0.03))
        one.kill()
        world.write(update(models.leases).values(expires_at=0))
        seen.append(assert_each_is_whole(world))
    assert Running(url, people).result() == "applied"
    assert assert_each_is_whole(world) == MANY
    assert world.active() == {"ada", "otto", "vera"}
    assert Running(url, people).result() == "nothing"
    assert seen == sorted(seen)
    assert any(0 < one < MANY for one in seen), f"no kill came half-way: {seen}"
