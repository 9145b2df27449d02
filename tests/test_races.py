"""Access that is ended in the middle of something: at each step of a callback, of a mint, of a slow page.

A step is a statement: the server is stopped before each one in turn, access is ended by another process,
and then it goes on. Whichever comes first, nothing that began before the ending opens anything after it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests

from devidp.server import Handle
from tests import operator_process
from tests import stack as stacks
from tests.databases import Database
from tests.lines import only_on_3
from tests.operator_process import Operator
from tests.stack import REPOSITORY, Stack, Visitor, facts
from tests.test_revocation import Client, assert_out, is_in, is_in_fab, session_of, signed_in

pytestmark = [pytest.mark.server, pytest.mark.database]

MOST_STEPS = 60


@dataclass
class Stage:
    """An Airflow that can be stopped before any statement, and an operator beside it."""

    airflow: Stack
    operator: Operator
    folder: Path
    idp: Handle

    def hold(self, step: int) -> None:
        """Stop the server before the statement that comes after ``step`` others from now on."""
        self.clear()
        (self.folder / "hold.new").write_text(str(step))
        (self.folder / "hold.new").rename(self.folder / "hold")

    def clear(self) -> None:
        for name in ("hold", "next", "reached", "release"):
            (self.folder / name).unlink(missing_ok=True)

    def is_reached(self, finished: Callable[[], bool]) -> bool:
        """Wait until the server stands still, or has finished without coming so far."""
        while not (self.folder / "reached").exists():
            if finished():
                return (self.folder / "reached").exists()
            time.sleep(0.005)
        return True

    def each_step(
        self,
        prepare: Callable[[], Any],
        act: Callable[[Any], requests.Response],
        end: Callable[[Any], None],
        after: Callable[[Any, requests.Response], None],
    ) -> int:
        """Stop ``act`` before each of its statements, ``end`` access then, and look ``after`` both.

        On SQLite a writer that stands still makes the other wait: then the ending comes second.
        """
        for step in range(MOST_STEPS):
            prepared = prepare()
            with ThreadPoolExecutor(2) as pool:
                self.hold(step)
                acting = pool.submit(act, prepared)
                reached = self.is_reached(acting.done)
                if reached:
                    ending = pool.submit(end, prepared)
                    time.sleep(0.15)
                    (self.folder / "release").touch()
                    ending.result()
                answer = acting.result()
            self.clear()
            if not reached:
                return step
            after(prepared, answer)
        raise AssertionError(f"more than {MOST_STEPS} steps")


@pytest.fixture(scope="module")
def shared_stage(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("races")
    (folder / "hold").mkdir()
    extra = {"SQL_HOLD": str(folder / "hold"), "PYTHONPATH": str(REPOSITORY / "tests" / "sql_log")}
    with (
        stacks.running(migrated_database, folder / "home", identity_provider, extra=extra) as stack,
        operator_process.beside(Stack(replace(stack.home, extra={}))) as operator,
    ):
        yield Stage(stack, operator, folder / "hold", identity_provider)


@pytest.fixture
def stage(shared_stage: Stage, idp: Handle) -> Stage:
    stacks.welcome(shared_stage.airflow, idp)
    signed_in(shared_stage.airflow)  # the account is there, and every cache is warm
    return shared_stage


Callback = tuple[Visitor, str]


def begun(stage: Stage) -> Callback:
    """A browser between the provider and the callback."""
    visitor = stage.airflow.visitor()
    return visitor, visitor.press_only(visitor.go_to_provider(), "ada")


def comes_back(callback: Callback) -> requests.Response:
    visitor, address = callback
    return visitor.get(address, allow_redirects=False, timeout=60)


def revoked(stage: Stage) -> None:
    assert stage.operator.run("users", "revoke", "ada@contoso.example") == 0


def assert_opened_nothing(callback: Callback, answer: requests.Response) -> None:
    assert answer.status_code in (302, 403), answer.text
    if answer.status_code == 403:
        assert facts(answer)[0] == "SSO-101"
        assert "were ended" in answer.text
    assert_out(callback[0])


def test_a_person_who_is_revoked_at_any_step_of_their_callback_is_not_in(stage: Stage) -> None:
    control = begun(stage)
    assert comes_back(control).status_code == 302
    assert is_in(control[0])
    steps = stage.each_step(
        lambda: begun(stage), comes_back, lambda _callback: revoked(stage), assert_opened_nothing
    )
    assert steps > 10, "the callback was really stopped in between"
    later = begun(stage)
    assert comes_back(later).status_code == 302
    assert is_in(later[0]), "a sign-in that begins afterwards is welcome"


def test_a_person_who_is_revoked_between_provider_and_callback_is_not_in(stage: Stage) -> None:
    before = begun(stage)
    revoked(stage)
    assert_opened_nothing(before, comes_back(before))


@only_on_3("no tokens")
def test_a_token_that_is_minted_while_its_session_ends_opens_nothing(stage: Stage) -> None:
    def mint(visitor: Visitor) -> requests.Response:
        return visitor.post(f"{stage.airflow.url}/ui/auth/token", json={"token_type": "api"}, timeout=60)

    def end(visitor: Visitor) -> None:
        session = session_of(visitor)
        assert stage.operator.run("users", "revoke", "ada@contoso.example", "--session", session) == 0

    def is_worthless(visitor: Visitor, answer: requests.Response) -> None:
        assert answer.status_code in (200, 403), answer.text
        if answer.status_code == 200:
            assert not is_in(Client(stage.airflow, answer.json()["access_token"]))

    control = signed_in(stage.airflow)
    assert is_in(Client(stage.airflow, mint(control).json()["access_token"]))
    steps = stage.each_step(lambda: signed_in(stage.airflow), mint, end, is_worthless)
    assert steps > 4
    assert is_in(control), "only the named sessions ended"


def test_a_slow_page_brings_no_ended_session_back(stage: Stage) -> None:
    """Airflow writes a deleted session row back when a request that was in flight finishes."""

    def slow(visitor: Visitor) -> requests.Response:
        return visitor.at("/auth/users/userinfo/", allow_redirects=False)

    def is_out(visitor: Visitor, answer: requests.Response) -> None:
        assert answer.status_code in (200, 302), answer.text
        assert_out(visitor)

    control = signed_in(stage.airflow)
    assert slow(control).status_code == 200
    assert is_in_fab(control)
    steps = stage.each_step(lambda: signed_in(stage.airflow), slow, lambda _visitor: revoked(stage), is_out)
    assert steps >= 3


@pytest.mark.parametrize("about", ["the session", "the person"])
def test_a_notice_at_any_step_of_the_callback_ends_what_it_names(stage: Stage, about: str) -> None:
    drive, numbers = stacks.driver(stage.idp), itertools.count()
    sub = "ada, as the provider calls her"

    def with_a_session_of_its_own() -> tuple[Callback, str]:
        sid = f"{about} {next(numbers)}"
        drive.control("PUT", "people/ada", {"claims": {"sid": sid, "sub": sub}})
        return begun(stage), sid

    def notice(prepared: tuple[Callback, str]) -> None:
        _, sid = prepared
        target = {"session_ref": sid} if about == "the session" else {"subject": sub}
        assert isinstance(stage.operator.notice("entra", f"about {sid}", target), int)

    control, sid = with_a_session_of_its_own()
    other = signed_in(stage.airflow, "vera")
    assert comes_back(control).status_code == 302
    assert is_in(control[0])
    notice((control, sid))
    assert_out(control[0])  # the notice after the callback
    assert stage.operator.notice("entra", f"about {sid}", {"session_ref": sid}) == "repeated"
    steps = stage.each_step(
        with_a_session_of_its_own,
        lambda prepared: comes_back(prepared[0]),
        notice,
        lambda prepared, answer: assert_opened_nothing(prepared[0], answer),
    )
    assert steps > 10
    again, same = with_a_session_of_its_own()
    notice((again, same))
    later = begun(stage)  # the provider goes on with its session, and calls it as before
    assert comes_back(later).status_code == 302
    assert is_in(later[0]), "a sign-in that begins afterwards is welcome"
    assert_opened_nothing(again, comes_back(again))
    assert is_in(other)


def test_a_notice_about_a_person_leaves_the_next_sign_in_alone_where_sessions_have_no_name(
    stage: Stage,
) -> None:
    """A provider that sends no ``sid`` can only speak of the person, and for half an hour it is remembered."""
    drive, sub = stacks.driver(stage.idp), "ada, who has no sid"
    drive.control("PUT", "people/ada", {"claims": {"sub": sub}})
    drive.knobs(id_token__remove=["sid"])
    before, under_way = begun(stage), begun(stage)
    assert comes_back(before).status_code == 302
    (row,) = stage.airflow.rows(
        "select provider_session_key as key from sso_session where session_id = ?", session_of(before[0])
    )
    assert row["key"] is None
    assert stage.operator.notice("entra", "about a person", {"subject": sub}) >= 1
    assert_out(before[0])
    assert_opened_nothing(under_way, comes_back(under_way))
    later = begun(stage)
    assert comes_back(later).status_code == 302
    assert is_in(later[0])
