"""What a sign-in costs the database, and what strangers can make it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.lines import PROCESSES
from tests.stack import REPOSITORY, Stack, Visitor, facts

MOST_STATEMENTS = 34


@dataclass
class Counted:
    """An Airflow whose statements are counted."""

    airflow: Stack
    log: Path

    def callback(self, visitor: Visitor, person: str) -> list[str]:
        """The statements of one callback, from the request to the end of the response."""
        page = visitor.go_to_provider()
        address = visitor.press_only(page, person)
        time.sleep(0.3)  # what earlier requests of this process still write
        self.log.write_text("")
        answer = visitor.get(address, allow_redirects=False, timeout=30)
        assert answer.status_code == 302, facts(answer)
        time.sleep(0.3)
        return self.log.read_text().splitlines()


@pytest.fixture(scope="module")
def shared_counted(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    log = folder / "sql.log"
    environment = {"SQL_LOG": str(log), "PYTHONPATH": str(REPOSITORY / "tests" / "sql_log")}
    with stacks.running(migrated_database, folder / "home", identity_provider, extra=environment) as stack:
        yield Counted(stack, log)


@pytest.fixture
def counted(shared_counted: Counted, idp: Handle) -> Counted:
    stacks.welcome(shared_counted.airflow, idp)
    return shared_counted


def test_a_callback_costs_few_statements(counted: Counted, idp: Handle) -> None:
    counted.callback(counted.airflow.visitor(), "vera")  # reads the mapping's roles
    first = counted.callback(counted.airflow.visitor(), "ada")
    assert len(first) <= MOST_STATEMENTS, first
    again = counted.callback(counted.airflow.visitor(), "ada")
    assert len(again) <= MOST_STATEMENTS, again
    # The dearest: another name and other roles.
    new = {"claims": {"preferred_username": "countess@contoso.example"}, "groups": ["airflow_prod_viewer"]}
    stacks.driver(idp).control("PUT", "people/ada", new)
    dearest = counted.callback(counted.airflow.visitor(), "ada")
    assert len(dearest) <= MOST_STATEMENTS, dearest
    assert counted.airflow.roles_of("countess@contoso.example") == {"Viewer"}


def test_rules_and_groups_cost_no_statement(counted: Counted, idp: Handle) -> None:
    counted.callback(counted.airflow.visitor(), "vera")
    few = len(counted.callback(counted.airflow.visitor(), "otto"))
    few = len(counted.callback(counted.airflow.visitor(), "otto"))
    groups = [f"g{number}" for number in range(200)]
    rules = [{"group": f"g{number}", "roles": ["Op"]} for number in range(5000)]
    counted.airflow.map({"version": 1, "rules": rules})
    # Groups by name: on this face a made-up group has no id.
    stacks.driver(idp).knobs(groups__format="names")
    stacks.driver(idp).control("PUT", "people/otto", {"groups": groups})
    counted.callback(counted.airflow.visitor(), "otto")  # reads the new mapping's roles
    many = counted.callback(counted.airflow.visitor(), "otto")
    assert len(many) == few, many
    (row,) = counted.airflow.rows(
        "select detail from sso_decision where event = 'sign_in' order by id desc limit 1"
    )
    assert '"groups": 200' in row["detail"]


def test_abandoned_attempts_leave_the_table_bounded(airflow: Stack) -> None:
    airflow.abandon_attempts(100_000)
    visitor = airflow.visitor()
    visitor.sign_in("ada")
    assert visitor.who()
    (left,) = airflow.rows("select count(*) as n from sso_login_attempt")
    assert left["n"] <= 20_000
    airflow.write("delete from sso_login_attempt")


def test_strangers_cannot_fill_tables_with_refusals_or_sessions(airflow: Stack) -> None:
    def counts() -> dict[str, int]:
        tables = ("sso_decision", "session", "sso_login_attempt")
        return {name: airflow.rows(f"select count(*) as n from {name}")[0]["n"] for name in tables}

    before = counts()
    for number in range(150 * PROCESSES):
        address = f"{airflow.auth_url}/oauth-authorized/entra?state=s{number}&code=c"
        answer = requests.get(address, timeout=30)
        assert facts(answer)[0] == "SSO-101"
    for _ in range(20):
        requests.get(f"{airflow.auth_url}/login/", timeout=30, allow_redirects=False)
        requests.get(f"{airflow.auth_url}/signed-out/", timeout=30)
    after = counts()
    assert after["sso_decision"] - before["sso_decision"] <= 120 * PROCESSES, "sixty a minute and process"
    assert after["session"] == before["session"]
    assert after["sso_login_attempt"] == before["sso_login_attempt"]
