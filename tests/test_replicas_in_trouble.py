"""Two replicas, and one of them is killed, frozen, made with other secrets, or of an older version.

What must stay true: the other one goes on, whoever comes back has nothing more to say, and nobody has a role
that the mapping does not give.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from airflow_sso.database import SILENT_AT_MOST
from tests import stack as stacks
from tests.lines import both_lines
from tests.replicas import Replicas
from tests.stack import REPOSITORY, Visitor, facts
from tests.test_leavers import put, signed_in, soon

pytestmark = pytest.mark.server

#: Milliseconds for each request to the directory, so that a run can be met in the middle.
SLOWLY = 3000
#: Before the migration 0005, which is when the mapping in force moved into the database.
OLDER = "846a4c5d6bd78fd5225ba93eb39cec9d9984f920"


# --- who reads the directory --------------------------------------------------------------------------


@pytest.fixture
def otto(replicas: Replicas) -> Visitor:
    """Somebody who is signed in, and whom the directory is asked about."""
    shut = "select reason from sso_shut_account where source = 'directory'"
    soon(lambda: not replicas.stack.rows(shut))  # since another test
    signed_in(replicas.stack, "vera")  # a directory that knows nobody any more would make the plan wait
    return signed_in(replicas.stack, "otto")


def met_in_the_middle(replicas: Replicas) -> tuple[int, int, int]:
    """A run is under way, and only one: its row in the record, the replica and the process."""
    before = replicas.holder()
    stacks.driver(replicas.idp).knobs(directory__latency=SLOWLY)
    now = replicas.next_holder(before)
    assert replicas.next_holder(before) == now
    return now.row, now.replica, now.process


def two_minutes_pass(replicas: Replicas) -> None:
    """The lease has not been renewed for so long."""
    replicas.stack.write("update sso_lease set expires_at = 0")


@both_lines
def test_whoever_is_killed_while_reading_is_followed_by_another(replicas: Replicas, otto: Visitor) -> None:
    row, replica, process = met_in_the_middle(replicas)
    os.kill(process, signal.SIGKILL)
    replicas.send_to(1 - replica)
    put(replicas.idp, "otto", disabled=True)
    stacks.driver(replicas.idp).knobs(directory__latency=0)
    assert otto.who() == "otto@contoso.example"
    held = replicas.holder()
    assert held is not None
    assert held.row == row, "the control: nobody takes it before its time is over"
    two_minutes_pass(replicas)
    soon(lambda: otto.who() is None)
    after = replicas.holder()
    assert after is not None
    assert (after.row > row, after.process != process) == (True, True)
    assert replicas.stack.roles_of("otto@contoso.example") == set()
    replicas.wait_for(replica)  # its other process serves, and a new one comes


@both_lines
def test_whoever_is_frozen_while_reading_writes_nothing_when_it_goes_on(
    replicas: Replicas, otto: Visitor
) -> None:
    row, replica, process = met_in_the_middle(replicas)
    replicas.freeze(replica)
    try:
        replicas.send_to(1 - replica)
        stacks.driver(replicas.idp).knobs(directory__latency=0)
        put(replicas.idp, "otto", disabled=True)
        two_minutes_pass(replicas)
        soon(lambda: otto.who() is None)
        # Good news again: what the frozen one would do by what it has read is seen.
        put(replicas.idp, "otto", disabled=False)
        soon(lambda: replicas.stack.roles_of("otto@contoso.example") == {"Op"})
        assert replicas.written_by(process, row) == []
        told = replicas.log(replica).count("LeaseLost")
    finally:
        replicas.thaw(replica)
    soon(lambda: replicas.log(replica).count("LeaseLost") > told)
    written = [one["what"] for one in replicas.written_by(process, row)]
    assert written[:1] in ([], ["lease"]), "not before it has the turn again"
    assert is_whole(replicas)
    replicas.send_to(replica)
    assert signed_in(replicas.stack, "otto").who(), "it serves as if nothing had been"


@pytest.fixture
def slow_to_write(replicas: Replicas) -> Iterator[None]:
    """Whoever writes the next decision waits in the database for some seconds, with every lock it has."""
    with replicas.stack.engine.begin() as connection:
        for statement in _SLOW:
            connection.execute(text(statement))
    yield
    with replicas.stack.engine.begin() as connection:
        connection.execute(text("drop trigger test_wait on sso_decision"))


_SLOW = (
    "create sequence if not exists test_writers",
    "select setval('test_writers', 1, false)",
    """create or replace function test_wait() returns trigger language plpgsql as $$ begin
           if nextval('test_writers') = 1 then perform pg_sleep(5); end if;
           return null;
       end $$""",
    "create trigger test_wait after insert on sso_decision execute function test_wait()",
)


def met_while_writing(replicas: Replicas) -> tuple[int, int]:
    """A process is in the middle of what it writes: the replica and the process."""
    query = "select application_name from pg_stat_activity where wait_event = 'PgSleep'"
    soon(lambda: bool(replicas.stack.rows(query)))
    (row,) = replicas.stack.rows(query)
    replica, process = row["application_name"].split("-")
    return int(replica), int(process)


@both_lines
def test_whoever_is_frozen_while_writing_lets_go(
    replicas: Replicas, otto: Visitor, slow_to_write: None
) -> None:
    """The people that it was writing about wait for no machine that never comes back."""
    put(replicas.idp, "vera", groups=["everyone", "airflow_prod_op"])
    replica, process = met_while_writing(replicas)
    replicas.freeze(replica)
    try:
        row = replicas.stack.rows("select max(id) as row from test_record")[0]["row"]
        replicas.send_to(1 - replica)
        assert replicas.stack.roles_of("vera@contoso.example") == {"Viewer"}, (
            "the control: nothing is written"
        )
        vera = replicas.stack.visitor()
        took = soon(lambda: signed_in_patiently(vera, "vera"), within=2 * SILENT_AT_MOST)
        assert took > SILENT_AT_MOST / 2, "the control: it did hold what she needs"
        assert replicas.stack.roles_of("vera@contoso.example") == {"Op"}
        put(replicas.idp, "otto", disabled=True)
        two_minutes_pass(replicas)
        soon(lambda: otto.who() is None)
        assert replicas.written_by(process, row) == []
    finally:
        replicas.thaw(replica)
    put(replicas.idp, "otto", disabled=False)
    soon(lambda: replicas.stack.roles_of("otto@contoso.example") == {"Op"})
    replicas.send_to(replica)
    assert signed_in(replicas.stack, "otto").who(), "it serves as if nothing had been"


def signed_in_patiently(visitor: Visitor, person: str) -> bool:
    callback = visitor.press_only(visitor.go_to_provider("entra"), person)
    visitor.get(callback, timeout=2 * SILENT_AT_MOST)
    return visitor.who() is not None


def is_whole(replicas: Replicas) -> bool:
    """The record has seen both replicas write: what it says of one that was silent counts."""
    rows = replicas.stack.rows("select distinct who from test_record where what <> 'lease'")
    return {row["who"].split("-")[0] for row in rows} >= {"0", "1"}


# --- replicas that are not alike ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def guests(shared_replicas: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Two more on the same database: one with secrets of its own, one of an older version."""
    older = older_version(tmp_path_factory.mktemp("older"))
    secrets = {"AIRFLOW__API__SECRET_KEY": "another" * 8, "AIRFLOW__API_AUTH__JWT_SECRET": "another" * 12}
    both = shared_replicas.start(1, **secrets), shared_replicas.start(1, PYTHONPATH=str(older))
    shared_replicas.wait_for(*both)
    yield both
    for number in both:
        shared_replicas.servers[number].stop()


def older_version(folder: Path) -> Path:
    """The package as it was, with its pages where a wheel has them."""
    command = ["git", "archive", OLDER, "airflow_sso", "templates"]
    packed = subprocess.run(command, cwd=REPOSITORY, capture_output=True)
    if packed.returncode != 0:
        pytest.skip("the history is not here")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    shutil.move(folder / "templates", folder / "airflow_sso" / "templates")
    return folder


def signs_in(replicas: Replicas, person: str, begins_at: int, ends_at: int) -> Visitor:
    """A sign-in that begins at one replica and comes back to another."""
    visitor = replicas.stack.visitor()
    replicas.send_to(begins_at)
    callback = visitor.press_only(visitor.go_to_provider("entra"), person)
    replicas.send_to(ends_at)
    visitor.get(callback, allow_redirects=False, timeout=60)
    return visitor


def seen_at(replicas: Replicas, visitor: Visitor, number: int) -> str | None:
    replicas.send_to(number)
    return visitor.who()


def test_replicas_with_other_secrets_do_not_know_each_others_people(
    replicas: Replicas, guests: tuple[int, int]
) -> None:
    """Airflow's `secret_key` and `jwt_secret` have to be alike; the log of whoever is asked says so."""
    odd, _ = guests
    for first, second in ((0, odd), (odd, 0)):
        control = signs_in(replicas, "ada", first, second)
        assert seen_at(replicas, control, second) == "ada@contoso.example", "an attempt needs no secret"
        visitor = signs_in(replicas, "ada", first, second)
        told = replicas.log(first).count("JWT token is not valid: Signature verification failed")
        assert seen_at(replicas, visitor, first) is None
        assert replicas.log(first).count("JWT token is not valid: Signature verification failed") > told
        assert seen_at(replicas, visitor, second) is None, "the token is thrown away there"
    assert replicas.stack.roles_of("ada@contoso.example") == {"Admin"}


@pytest.mark.parametrize("ends_at_older", [True, False])
def test_an_older_version_beside_this_one(
    replicas: Replicas, guests: tuple[int, int], ends_at_older: bool
) -> None:
    _, old = guests
    begins, ends = (0, old) if ends_at_older else (old, 0)
    for person, role in (("ada", "Admin"), ("otto", "Op"), ("vera", "Viewer")):
        name = f"{person}@contoso.example"
        visitor = signs_in(replicas, person, begins, ends)
        assert [seen_at(replicas, visitor, number) for number in (0, old, 1)] == [name] * 3
        assert replicas.stack.roles_of(name) == {role}
    for group, role in (("airflow_prod_op", "Op"), ("airflow_prod_viewer", "Viewer")):
        put(replicas.idp, "vera", groups=["everyone", group])
        for first, second in ((begins, ends), (ends, begins)):
            signs_in(replicas, "vera", first, second)
            assert replicas.stack.roles_of("vera@contoso.example") == {role}
    replicas.send_to(ends)
    assert facts(replicas.stack.visitor().sign_in("nora"))[0] == "SSO-301"


def test_an_older_version_goes_on_with_the_last_mapping_that_it_understands(
    replicas: Replicas, guests: tuple[int, int]
) -> None:
    """Why new words wait until every replica is updated. Whoever is updated undoes what it gives."""
    _, old = guests
    stack, otto = replicas.stack, "otto@contoso.example"
    assert signs_in(replicas, "otto", 0, old).who() == otto
    group = stacks.GROUPS["airflow_prod_viewer"]
    team = {"team-growth": {"like": "Viewer"}}
    stack.map({"version": 1, "rules": [{"group": group, "roles": ["team-growth"]}], "roles": team})
    stack.generation()
    assert signs_in(replicas, "vera", 0, 1).who() == "vera@contoso.example"
    assert stack.roles_of("vera@contoso.example") == {"team-growth"}
    page = stack.visitor()
    assert facts(page.sign_in("otto"))[0] == "SSO-301"
    assert stack.roles_of(otto) == set()
    assert signs_in(replicas, "otto", 0, old).who() == otto
    assert stack.roles_of(otto) == {"Op"}, "by the mapping of before"
    assert "role mapping not accepted, the last good version stays in force" in replicas.log(old)
    replicas.send_to(0, 1)
    assert facts(stack.visitor().sign_in("otto"))[0] == "SSO-301"
    assert stack.roles_of(otto) == set()
