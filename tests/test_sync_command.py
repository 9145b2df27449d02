"""``airflow-sso sync`` as cron runs it: beside no web server, against the local provider's Graph.

A process of its own takes seconds to start, so the first test and the one that waits have it; the others
run the same command in this process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_sso import cli
from airflow_sso.sync import lease
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET, TENANT_ID
from tests import stack as stacks
from tests import sync_world
from tests.databases import Database
from tests.stack import GROUPS, ROLES, Stack
from tests.sync_world import World
from tests.test_leavers import soon

pytestmark = [pytest.mark.server, pytest.mark.database]

Run = Callable[..., tuple[int, str]]
Said = Callable[..., tuple[int, Any]]

AUTHORITY = f"entra:public:{TENANT_ID}"
GROUP_OF = {"ada": "airflow_prod_admin", "otto": "airflow_prod_op", "vera": "airflow_prod_viewer"}


@pytest.fixture
def company(migrated_database: Database, idp: Handle, tmp_path: Path) -> Iterator[tuple[Stack, World]]:
    """Three people who have signed in once, and a configuration; no server runs."""
    with stacks.migrated_home(migrated_database, tmp_path / "home") as home:
        stack = Stack(home, idp=idp)
        configure(stack, idp)
        with sync_world.world_in(home.sql_alchemy_conn) as world:
            world.directory = sync_world.Directory(name="entra", authority=AUTHORITY, reader=world.reader)
            sync_world.ROLES.update({GROUPS[name]: role for name, role in ROLES.items()})
            for name, group in GROUP_OF.items():
                person = idp.state.people.get(name)
                assert person is not None
                world.sign_up(name, GROUPS[group], subject=person.oid)
            yield stack, world


def configure(stack: Stack, idp: Handle, most: dict[str, Any] | None = None, **directory: Any) -> None:
    kind = {"type": "graph", "insecure_host": idp.url, **directory}
    sync = {"every": "never", "max_deactivations": {"count": 20, "percent": 100, **(most or {})}}
    stack.configure([stacks.entra(idp.url, directory=kind)], sync=sync)


def as_cron_does(stack: Stack, *arguments: str) -> tuple[int, str]:
    """In a process of its own: the exit code, and what it prints."""
    with stack.command("sync", *arguments) as process:
        return process.wait(timeout=120), process.log.read_text()


@pytest.fixture
def run(
    company: tuple[Stack, World],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command_log: None,
) -> Run:
    """The same command in this process: the exit code, and what it prints."""
    stack, _ = company
    monkeypatch.setenv("TEST_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)

    def here(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["sync", "--config", str(stack.sso_yaml), *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return here


@pytest.fixture
def said(run: Run) -> Said:
    """With ``--json``: the exit code, and what is said of the one directory."""

    def here(*arguments: str) -> tuple[int, Any]:
        code, text = run("--json", *arguments)
        told, _ = json.JSONDecoder().raw_decode(text, text.index("{\n"))
        return code, told["directories"][0]

    return here


def test_it_shows_and_then_does(company: tuple[Stack, World], idp: Handle, run: Run, said: Said) -> None:
    stack, world = company
    code, text = as_cron_does(stack)
    assert (code, "nothing to change" in text) == (0, True), text
    stacks.driver(idp).disable("otto")
    code, text = run()
    assert code == 1
    assert "otto" in text
    assert "disabled in Microsoft Entra ID" in text
    assert "airflow-sso sync --apply does it" in text
    assert world.active() == {"ada", "otto", "vera"}
    code, told = said()
    assert code == 1
    assert told["changes"] == [
        {
            "username": "otto",
            "user_id": told["changes"][0]["user_id"],
            "change": "deactivate",
            "reason": "disabled in Microsoft Entra ID",
            "roles_before": ["Op"],
            "roles_after": [],
        }
    ]
    code, text = as_cron_does(stack, "--apply")
    assert code == 0, text
    assert world.active() == {"ada", "vera"}
    assert said("--apply")[0] == 0
    assert world.events("deactivated") == ["otto"]


def test_a_plan_that_waits_is_approved_by_its_id(
    company: tuple[Stack, World], idp: Handle, run: Run, said: Said
) -> None:
    stack, world = company
    configure(stack, idp, {"count": 0})
    stacks.driver(idp).disable("otto")
    code, told = said("--apply")
    assert (code, told["result"]) == (5, "quarantined")
    assert "limit" in told["unsafe"]
    assert world.active() == {"ada", "otto", "vera"}
    code, text = run()
    assert code == 1
    assert f"airflow-sso sync --approve {told['plan']}" in text
    assert said()[1]["waiting"] == [told["plan"]]
    code, text = run("--approve", "nonsense")
    assert code == 3
    assert "nonsense" in text
    code, text = run("--approve", told["plan"])
    assert code == 0, text
    assert world.active() == {"ada", "vera"}
    assert world.events("plan_approved") == [None]
    assert run("--approve", told["plan"])[0] == 3
    assert said()[1]["waiting"] == []


def test_a_directory_that_cannot_be_read_is_said_and_changes_nothing(
    company: tuple[Stack, World], idp: Handle, run: Run
) -> None:
    _, world = company
    stacks.driver(idp).disable("otto")
    stacks.driver(idp).control("PUT", "directory/permissions", {"graph": ["User.Read.All"]})
    code, text = run("--apply")
    assert code == 4
    assert "GroupMember.Read.All" in text
    assert world.active() == {"ada", "otto", "vera"}
    stacks.driver(idp).control("POST", "reset")
    stacks.driver(idp).disable("otto")
    assert run("--apply")[0] == 0
    assert world.active() == {"ada", "vera"}


def test_wrong_use_is_said(company: tuple[Stack, World], idp: Handle, run: Run) -> None:
    stack, _ = company
    code, text = run("--provider", "nobody")
    assert (code, "nobody" in text) == (2, True)
    stack.map({"version": 1, "rules": [{"group": "x", "roles": ["Nonesuch"]}]})
    code, text = run("--apply")
    assert (code, "Nonesuch" in text) == (2, True)
    stack.configure([stacks.entra(idp.url)])
    assert run()[0] == 2


def test_one_at_a_time(company: tuple[Stack, World], idp: Handle) -> None:
    stack, world = company
    stacks.driver(idp).disable("otto")
    held = lease.take("sync", who="somebody else", lasts=600)
    with stack.command("sync", "--apply") as process:
        soon(lambda: "waiting for somebody else" in process.log.read_text())
        assert "otto" in world.active()
        held.give_back()
        assert process.wait(timeout=120) == 0, process.log.read_text()
    assert "otto" not in world.active()
    with pytest.raises(lease.LeaseLost):
        held.renew()


def test_lint_names_the_rules_that_no_directory_follows(company: tuple[Stack, World]) -> None:
    stack, _ = company
    mapping = {
        "version": 1,
        "rules": [
            {"group": GROUPS["airflow_prod_op"], "roles": ["Op"]},
            {"group": "CONTOSO\\airflow", "roles": ["Viewer"]},
            {"claim": "department", "equals": "Finance", "roles": ["Viewer"]},
        ],
    }
    stack.map(yaml.safe_dump(mapping))
    with stack.command("lint") as process:
        assert process.wait(timeout=60) == 0
        text = process.log.read_text()
    assert "warning: rules[1]: " in text
    assert "CONTOSO\\\\airflow" in text
    assert "warning: rules[2]: " in text
    assert "rules[0]" not in text
