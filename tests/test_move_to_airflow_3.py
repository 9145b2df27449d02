"""Moving from Airflow 2.11 to 3.x with the same metadata database: whoever had access has it, as the same
account with the same history, and whoever was out stays out.

Both lines run for real, one after the other, each from its own environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from demo.airflow_home import AirflowHome
from demo.processes import Process
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET
from tests import saml
from tests import stack as stacks
from tests.stack import REPOSITORY, Stack, Visitor, facts

#: Of the environment that ``make test`` makes for Airflow 2.11.
PYTHON_2_11 = Path(os.environ.get("AIRFLOW_2_11_PYTHON") or REPOSITORY / ".venv-2.11" / "bin" / "python")

pytestmark = [
    pytest.mark.server,
    pytest.mark.database,
    pytest.mark.skipif(IS_AIRFLOW_2, reason="it begins there, and ends on Airflow 3"),
    pytest.mark.skipif(
        not PYTHON_2_11.exists() and "CI" not in os.environ, reason="there is no environment of Airflow 2.11"
    ),
]

#: Pinned before the move, or the provider would meet a service provider that it does not know.
ENTITY_ID = "urn:example:airflow"
KEPT = """select a.authority, a.subject, a.user_id, a.provider, a.given_roles, u.username, u.created_on
          from sso_account a join ab_user u on u.id = a.user_id order by a.authority, a.subject"""


@dataclass
class Company:
    """What is the same before and after: one home, one database, one configuration."""

    before: Stack
    after: Stack
    seen: dict[str, Any]

    def on(self, stack: Stack, person: str, provider: str = "entra") -> Visitor:
        visitor = stack.visitor()
        if provider == "entra":
            page = visitor.sign_in(person)
        else:
            assert stack.idp is not None
            page = saml.Conversation(stack, stack.idp.state, provider, "generic", visitor).sign_in(person)
        assert page.ok, (facts(page), page.text[:300])
        return visitor


def _ran(process: Process) -> str:
    with process:
        assert process.wait(timeout=300) == 0, process.log.read_text()[-3000:]
        return process.log.read_text()


@pytest.fixture(scope="module")
def moved(
    request: pytest.FixtureRequest, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """People sign in on 2.11, some are put out; then 3.x is started on what that has left."""
    path = tmp_path_factory.mktemp("moving") / "home"
    path.mkdir()
    on_postgresql = request.config.getoption("--database") == "postgresql"
    cluster = request.getfixturevalue("postgresql") if on_postgresql else None
    old_home = AirflowHome(
        path=path,
        port=stacks.free_port(),
        database_url=cluster.create("moving") if cluster else "",
        sso_config=path / "sso.yaml",
        extra={"TEST_CLIENT_SECRET": DEFAULT_CLIENT_SECRET},
        python=str(PYTHON_2_11),
        is_airflow_2=True,
    )
    company = Company(
        before=Stack(old_home, idp=identity_provider),
        after=Stack(replace(old_home, python=AirflowHome.python, is_airflow_2=False), idp=identity_provider),
        seen={},
    )
    old, new = company.before, company.after
    entry = saml.entry(identity_provider.url, old.url, "generic", "lab-saml", entity_id=ENTITY_ID)
    old.configure([stacks.entra(identity_provider.url), entry])
    # Both sets of addresses, before anything moves.
    uris = [f"{old.url}{prefix}/oauth-authorized/entra" for prefix in ("", "/auth")]
    stacks.driver(identity_provider).control("POST", "clients", {"redirect_uris": uris})
    old_home.migrate()
    try:
        _live_on_2_11(company)
        new.home.migrate()
        new.start()
        saml.register(identity_provider, new, ["lab-saml"])
        yield company
    finally:
        old.stop()
        new.stop()


def _live_on_2_11(company: Company) -> None:
    old, seen = company.before, company.seen
    old.start()
    saml.register(old.idp, old, ["lab-saml"])
    ada, _otto, vera = (company.on(old, person) for person in ("ada", "otto", "vera"))
    company.on(old, "ada", "lab-saml")
    seen["open"], seen["ended"] = ada.cookies["session"], vera.cookies["session"]
    _ran(old.command("users", "revoke", "vera@contoso.example"))
    _ran(old.command("users", "deactivate", "otto@contoso.example"))
    seen["accounts"] = old.rows(KEPT)
    seen["decisions"] = old.rows("select * from sso_decision order by id")
    seen["generation"] = old.generation()
    old.stop()


def test_the_database_has_our_newest_tables_and_everything_that_was_in_them(moved: Company) -> None:
    now = moved.after.rows("select * from sso_decision order by id")
    assert now[: len(moved.seen["decisions"])] == moved.seen["decisions"]
    assert moved.after.rows(KEPT) == moved.seen["accounts"]
    assert len(moved.seen["accounts"]) == 4


@pytest.mark.parametrize("provider", ["entra", "lab-saml"])
def test_a_person_is_the_same_account_with_the_same_role(moved: Company, provider: str) -> None:
    query = "select * from sso_account where provider = ? and username like 'ada%'"
    (before,) = moved.after.rows(query, provider)
    visitor = moved.on(moved.after, "ada", provider)
    (after,) = moved.after.rows(query, provider)
    assert (after["user_id"], after["subject"]) == (before["user_id"], before["subject"])
    assert moved.after.roles_of(str(visitor.who())) == {"Admin"}
    assert len(moved.after.rows(KEPT)) == len(moved.seen["accounts"])


def test_whoever_was_deactivated_is_still_out(moved: Company) -> None:
    visitor = moved.after.visitor()
    assert facts(visitor.sign_in("otto"))[0] == "SSO-302"
    assert visitor.who() is None
    _ran(moved.after.command("users", "reactivate", "otto@contoso.example"))
    assert moved.on(moved.after, "otto").who() == "otto@contoso.example"


@pytest.mark.parametrize("which", ["open", "ended"])
def test_a_session_of_2_11_asks_for_one_more_sign_in_and_is_no_error(moved: Company, which: str) -> None:
    visitor = moved.after.visitor()
    visitor.cookies.set("session", moved.seen[which])
    assert "Contoso" in visitor.at("/auth/login/").text, "the page that offers both doors"
    assert visitor.who() is None
    assert visitor.at("/auth/users/userinfo/", allow_redirects=False).is_redirect
    visitor.sign_in("ada")
    assert visitor.who() == "ada@contoso.example"


def test_the_mapping_stays_in_force(moved: Company) -> None:
    moved.on(moved.after, "ada")
    assert moved.after.generation() == moved.seen["generation"]
