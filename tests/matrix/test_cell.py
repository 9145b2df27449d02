"""One cell of the support matrix: what must work on every version that we say we run on.

``make matrix`` runs this with the Python of each cell, on a real Airflow of that cell with one server;
``make test`` leaves it out. What must stay true: it goes in by the front door, and knows nothing of the
line that it runs on beyond what tests/stack.py says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from devidp.server import Handle
from tests import saml
from tests import stack as stacks
from tests.databases import Database
from tests.stack import Stack, Visitor, facts
from tests.test_revocation import copy_of

pytestmark = pytest.mark.server

#: Seconds; a wait ends when what it waits for is there.
PATIENCE = 90.0


@pytest.fixture(scope="module")
def shared_cell(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with one provider through OIDC and SAML, whose directory is read every few seconds."""
    path = tmp_path_factory.mktemp("cell") / "home"
    url = identity_provider.url
    with stacks.migrated_home(migrated_database, path) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure(
            [
                stacks.entra(url, directory={"type": "graph", "insecure_host": url}),
                saml.entry(url, home.url, "entra", "entra-saml"),
            ],
            sync={"every": f"{stacks.EVERY}s", "max_deactivations": {"count": 20, "percent": 100}},
        )
        try:
            yield stack.start()
        finally:
            stack.stop()


@pytest.fixture
def cell(shared_cell: Stack, idp: Handle) -> Stack:
    """With a provider that is honest and knows it."""
    stacks.welcome(shared_cell, idp)
    saml.register(idp, shared_cell, ["entra-saml"])
    return shared_cell


def through_oidc(cell: Stack, _idp: Handle, person: str) -> Visitor:
    visitor = cell.visitor()
    page = visitor.sign_in(person)
    assert page.ok, facts(page)
    return visitor


def through_saml(cell: Stack, idp: Handle, person: str) -> Visitor:
    visitor = cell.visitor()
    talk = saml.Conversation(cell, idp.state, "entra-saml", "entra", visitor)
    page = talk.sign_in(person)
    assert page.ok, facts(page)
    return visitor


SignIn = Callable[[Stack, Handle, str], Visitor]
each_protocol = pytest.mark.parametrize("sign_in", [through_oidc, through_saml], ids=["oidc", "saml"])


@each_protocol
def test_a_person_signs_in_has_the_role_and_signs_out(cell: Stack, idp: Handle, sign_in: SignIn) -> None:
    browser, bystander = sign_in(cell, idp, "ada"), sign_in(cell, idp, "vera")
    copied = copy_of(browser)
    assert browser.who() == copied.who() == "ada@contoso.example"
    assert cell.roles_of("ada@contoso.example") == {"Admin"}
    assert cell.roles_of("vera@contoso.example") == {"Viewer"}
    browser.sign_out()
    assert browser.who() is None
    assert copied.who() is None, "whoever copied the cookies is out as well"
    assert bystander.who() == "vera@contoso.example"


@each_protocol
def test_whom_no_rule_knows_is_refused(cell: Stack, idp: Handle, sign_in: SignIn) -> None:
    stranger = cell.visitor()
    if sign_in is through_saml:
        talk = saml.Conversation(cell, idp.state, "entra-saml", "entra", stranger)
        page = talk.sign_in("nora")
    else:
        page = stranger.sign_in("nora")
    assert facts(page)[0] == "SSO-301", (page.status_code, page.text[:500])
    assert stranger.who() is None
    assert cell.visitor().who() is None, "nobody is nobody"


def test_access_that_is_revoked_is_gone_at_the_next_request(cell: Stack, idp: Handle) -> None:
    browser, bystander = through_oidc(cell, idp, "otto"), through_oidc(cell, idp, "vera")
    assert browser.who() == "otto@contoso.example"
    with cell.command("users", "revoke", "otto@contoso.example") as process:
        assert process.wait(timeout=120) == 0, process.log.read_text()
    assert browser.who() is None
    assert bystander.who() == "vera@contoso.example"
    assert through_oidc(cell, idp, "otto").who() == "otto@contoso.example"


def test_a_leaver_is_out_when_the_directory_says_so(cell: Stack, idp: Handle) -> None:
    leaving, staying = through_oidc(cell, idp, "otto"), through_oidc(cell, idp, "vera")
    also_leaving = through_saml(cell, idp, "otto")
    assert leaving.who() == also_leaving.who() == "otto@contoso.example"
    stacks.driver(idp).disable("otto")
    until = time.monotonic() + PATIENCE
    while leaving.who() is not None:
        assert time.monotonic() < until, "the directory has not been read"
        time.sleep(0.2)
    assert also_leaving.who() is None
    assert cell.roles_of("otto@contoso.example") == set()
    assert staying.who() == "vera@contoso.example"
