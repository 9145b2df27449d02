"""The database as a company runs it: few connections, another isolation, and a failover in the middle of it all.

What must stay true: no request waits for a connection that another one of ours keeps; whoever comes second
under a lock sees what the first one did, at any isolation; and whose sign-in breaks off is told so with a code,
is in no half of it, and gets in at the next try.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import requests
from sqlalchemy import select, text

from airflow_sso import cli, database, models
from airflow_sso.accounts import fab_users, register
from airflow_sso.errors import AccessEnded
from devidp.server import Handle
from tests import stack as stacks
from tests import sync_world
from tests.databases import Database
from tests.lines import both_lines, only_on_3
from tests.review_world import Review, quiet
from tests.stack import REPOSITORY, Stack, Visitor, facts
from tests.sync_world import VIEWERS, World

pytestmark = both_lines

Result = TypeVar("Result")
_LONGEST = 30  # seconds, for anything
MOST_STEPS = 60
#: As many requests as Airflow answers at once; it usually has fifteen connections, and here it has one.
OFFICE = 40


# A server that has one connection of its own


@dataclass
class Poor:
    """An Airflow on PostgreSQL whose processes have one connection each, and which can be stopped."""

    airflow: Stack
    folder: Path
    cluster: Database

    def cut_off_at(self, step: int, act: Callable[[], Result]) -> tuple[bool, Result]:
        """What comes of ``act`` when every connection breaks before the statement after ``step`` others.

        And whether there was such a statement.
        """
        with ThreadPoolExecutor(1) as pool:
            (self.folder / "hold.new").write_text(str(step))
            (self.folder / "hold.new").rename(self.folder / "hold")
            acting = pool.submit(act)
            while not (self.folder / "reached").exists() and not acting.done():
                time.sleep(0.005)
            is_reached = (self.folder / "reached").exists()
            if is_reached:
                assert self.cluster.cluster
                self.cluster.cluster._cut_off(self.airflow.home.sql_alchemy_conn)
            (self.folder / "release").touch()
            answer = acting.result()
        for name in ("hold", "next", "reached", "release"):
            (self.folder / name).unlink(missing_ok=True)
        return is_reached, answer


@pytest.fixture(scope="module")
def shared_poor(
    migrated_postgresql: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Poor]:
    folder = tmp_path_factory.mktemp("poor")
    (folder / "hold").mkdir()
    extra = {
        "SQL_HOLD": str(folder / "hold"),
        "PYTHONPATH": str(REPOSITORY / "tests" / "sql_log"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "0",
    }
    with stacks.running(migrated_postgresql, folder / "home", identity_provider, extra=extra) as stack:
        yield Poor(stack, folder / "hold", migrated_postgresql)


@pytest.fixture
def poor(shared_poor: Poor, idp: Handle) -> Poor:
    stacks.welcome(shared_poor.airflow, idp)
    return shared_poor


def comes_in(visitor: Visitor, person: str) -> bool:
    """Signs in, and stays at the door: the first page of Airflow 2.11 takes two connections by itself."""
    answer = visitor.press(visitor.go_to_provider(), person, follow=False)
    return answer.status_code == 302 and answer.headers["Location"].startswith(visitor.stack.url)


@pytest.mark.server
def test_one_connection_is_enough_for_everything_that_a_person_does(poor: Poor) -> None:
    visitor = poor.airflow.visitor()
    assert comes_in(visitor, "ada")
    assert visitor.who() == "ada@contoso.example"
    for page in ("/auth/users/userinfo/", "/auth/my-access/", "/auth/sso-status/", "/auth/users/list/"):
        answer = visitor.at(page)
        assert (answer.status_code, answer.url) == (200, f"{poor.airflow.url}{poor.airflow.route(page)}")
    assert comes_in(visitor, "ada"), "with the cookie of an older session"
    assert visitor.who() == "ada@contoso.example"
    assert visitor.sign_out().ok
    assert visitor.who() is None


@pytest.mark.server
@only_on_3("a process answers one request at a time")
def test_a_whole_office_looks_at_once(poor: Poor) -> None:
    visitor = poor.airflow.visitor()
    assert comes_in(visitor, "ada")

    def look(page: str) -> int:
        address, cookies = f"{poor.airflow.url}{page}", visitor.cookies.get_dict()
        return requests.get(address, cookies=cookies, timeout=_LONGEST).status_code

    pages = ["/auth/my-access/", "/auth/users/userinfo/", "/ui/auth/me", "/auth/sso-status/"]
    with ThreadPoolExecutor(OFFICE) as everybody:
        assert set(everybody.map(look, pages * (OFFICE // len(pages)))) == {200}


@pytest.mark.server
def test_a_sign_in_that_loses_the_database_says_so_and_opens_nothing(poor: Poor) -> None:
    """A failover at every third statement of a callback."""
    told = set()
    for step in range(0, MOST_STEPS, 3):
        visitor = poor.airflow.visitor()
        address = visitor.press_only(visitor.go_to_provider(), "vera")

        def come_back(visitor: requests.Session = visitor, address: str = address) -> requests.Response:
            return visitor.get(address, allow_redirects=False, timeout=_LONGEST)

        is_reached, answer = poor.cut_off_at(step, come_back)
        if answer.status_code == 302:
            assert visitor.who() == "vera@contoso.example"
        else:
            assert (answer.status_code, facts(answer)[0]) == (503, "SSO-503")
            assert "airflow-sso db upgrade" not in answer.text
            assert visitor.who() is None
            told.add(facts(answer)[1])
            assert comes_in(visitor, "vera"), "the control: the next try"
            assert visitor.who() == "vera@contoso.example"
        if not is_reached:
            break
    assert len(told) > 3, "it was really cut off"
    for reference in told:
        assert f'"reference": "{reference}"' in poor.airflow.log
    for value in ("code_verifier", "INSERT INTO sso_"):
        assert value not in poor.airflow.log
    (accounts,) = poor.airflow.rows("select count(*) as n from ab_user where username like 'vera%'")
    assert accounts["n"] == 1


# Two at once, at any isolation


@pytest.fixture(scope="module", params=["read committed", "repeatable read", "serializable"])
def shared_strict(
    request: pytest.FixtureRequest, migrated_postgresql: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A company whose database gives every transaction this isolation, unless it asks for another."""
    url = migrated_postgresql.copy(tmp_path_factory.mktemp("strict") / "home" / "airflow.db").url
    with sync_world.world_in(url) as made:
        name, isolation = made.engine.url.database, request.param
        made.write(text(f"alter database {name} set default_transaction_isolation to '{isolation}'"))
        made.engine.dispose()
        with made.engine.connect() as connection:
            assert connection.scalar(text("show transaction_isolation")) == isolation
        yield made


@pytest.fixture
def strict(shared_strict: World) -> World:
    shared_strict.forget_everything()
    fresh = World(shared_strict.engine)
    fresh.sign_up("vera", VIEWERS)
    return fresh


def comes_second(world: World, name: str, second: Callable[[], Result]) -> Result:
    """What comes of ``second``, which began while somebody else had the lock of an account, and shut it."""
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as first:
            register.lock(first, world.number_of(name))
            later: Future[Result] = pool.submit(second)
            _wait_until_somebody_waits(world)
            first.execute(
                models.epochs.update().values(epoch=models.epochs.c.epoch + 1, revoked_at=models.now())
            )
            first.execute(fab_users.table().update().values(active=False))
            row = {"user_id": world.number_of(name), "source": "operator", "reason": "by the first"}
            created = first.scalar(
                select(fab_users.table().c.created_on).where(fab_users.table().c.id == row["user_id"])
            )
            first.execute(
                models.shut_accounts.insert().values(**row, since=models.now(), user_created_on=created)
            )
        return later.result(_LONGEST)


def _wait_until_somebody_waits(world: World) -> None:
    query = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    until = time.monotonic() + _LONGEST
    while True:
        with world.engine.connect() as connection:
            if connection.scalar(query):
                return
        assert time.monotonic() < until, "nobody waits"
        time.sleep(0.01)


def test_whoever_comes_second_sees_what_the_first_one_did(strict: World) -> None:
    before = strict.open_session("vera")
    with pytest.raises(AccessEnded):
        comes_second(strict, "vera", lambda: strict.open_session("vera"))
    assert strict.open_sessions() == {before}, "no other was recorded"


def operate(review: Review, command: str, name: str) -> int:
    with quiet():
        return cli.main(["users", command, name, "--config", str(review.config)])


def test_an_account_that_is_opened_while_it_is_being_shut_is_open(strict: World, review: Review) -> None:
    assert comes_second(strict, "vera", lambda: operate(review, "reactivate", "vera")) == 0
    assert strict.active() == {"vera"}
    assert strict.events("reactivated") == ["vera"]


def test_an_account_that_is_shut_by_two_at_once_counts_once(strict: World, review: Review) -> None:
    assert comes_second(strict, "vera", lambda: operate(review, "deactivate", "vera")) == 0
    assert strict.active() == set()
    with strict.engine.connect() as connection:
        assert connection.execute(select(models.removals)).all() == []
