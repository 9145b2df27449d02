"""Leavers are out: what changes in a directory changes in Airflow, without anybody signing in.

A real Airflow of two workers reads the local provider's directories every five seconds, and people with
browsers and bearer tokens find out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET, PINGONE_ENVIRONMENT_ID
from tests import stack as stacks
from tests.stack import Stack, Visitor
from tests.test_revocation import Client, assert_out, client, is_in

pytestmark = pytest.mark.server

EVERY = 5  # seconds
#: The interval, a run, and the watch's own five seconds, on a machine that does other things as well.
IN_TIME = 40.0


def providers(url: str) -> list[dict[str, Any]]:
    """One of each vendor, each with its directory."""
    auth = {"client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}}}
    scim = {"type": "scim", "url": f"{url}/scim/v2", "token": {"env": "TEST_SCIM_TOKEN"}}
    pingone = {
        "name": "pingone",
        "vendor": "pingone",
        "protocol": "oidc",
        "environment_id": PINGONE_ENVIRONMENT_ID,
        "issuer": f"{url}/pingone/{PINGONE_ENVIRONMENT_ID}/as",
        "client_id": stacks.CLIENT_ID,
        "directory": {"type": "pingone", "insecure_host": url},
        **auth,
    }
    return [
        stacks.entra(url, directory={"type": "graph", "insecure_host": url}),
        pingone,
        stacks.generic(url, directory={**scim, "groups": ["groups.display"]}),
    ]


@pytest.fixture(scope="module")
def shared(
    migrated_database: Path, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("leavers") / "home"
    secrets = {"TEST_SCIM_TOKEN": "scim-token", "TEST_CLIENT_SECRET": DEFAULT_CLIENT_SECRET}
    with stacks.migrated_home(migrated_database, path, extra=secrets) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure(
            providers(identity_provider.url),
            sync={"every": f"{EVERY}s", "max_deactivations": {"count": 20, "percent": 100}},
        )
        try:
            yield stack.start(workers=2)
        finally:
            stack.stop()


@pytest.fixture
def airflow(shared: Stack, idp: Handle) -> Stack:
    drive = stacks.driver(idp)
    uris = [f"{shared.url}/auth/oauth-authorized/{name}" for name in ("entra", "generic", "pingone")]
    drive.control("POST", "clients", {"redirect_uris": uris})
    shared.map(stacks.default_mapping())
    return shared


def soon(what: Callable[[], bool], *, within: float = IN_TIME) -> float:
    """Wait for something to become true; how long that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < within, "it did not happen in time"
        time.sleep(0.2)
    return time.monotonic() - began


def signed_in(stack: Stack, person: str, provider: str = "entra") -> Visitor:
    visitor = stack.visitor()
    page = visitor.sign_in(person, provider)
    assert visitor.who() is not None, page.text[:500]
    return visitor


def put(idp: Handle, person: str, **changes: Any) -> None:
    stacks.driver(idp).control("PUT", f"directory/people/{person}", changes)


def has_run(stack: Stack, runs: int = 1) -> None:
    """Wait until every directory has been read, that many times from now."""
    before = {row["authority"]: row["tried_at"] for row in stack.rows("select * from sso_directory")}
    for _ in range(runs):

        def all_moved(before: dict[str, str] = before) -> bool:
            rows = stack.rows("select authority, tried_at from sso_directory")
            return len(rows) == 3 and all(before.get(row["authority"]) != row["tried_at"] for row in rows)

        soon(all_moved)
        before = {row["authority"]: row["tried_at"] for row in stack.rows("select * from sso_directory")}


@pytest.mark.parametrize("provider", ["entra", "pingone", "generic"])
def test_a_leaver_is_out_everywhere_and_a_mover_has_the_new_role(
    airflow: Stack, idp: Handle, provider: str
) -> None:
    otto, vera = signed_in(airflow, "otto", provider), signed_in(airflow, "vera", provider)
    bearers: list[Client] = [client(otto), client(vera)]
    otto_is, vera_is = otto.who(), vera.who()
    assert otto_is is not None
    assert vera_is is not None
    put(idp, "otto", disabled=True)
    put(idp, "vera", groups=["everyone", "airflow_prod_op"])
    soon(lambda: not is_in(otto))
    assert_out(otto)
    assert not is_in(bearers[0])
    soon(lambda: airflow.roles_of(vera_is) == {"Op"})
    assert is_in(vera)
    assert is_in(bearers[1])
    assert airflow.roles_of(otto_is) == set()
    put(idp, "otto", disabled=False)
    soon(lambda: airflow.roles_of(otto_is) == {"Op"})
    assert not is_in(otto)
    assert is_in(signed_in(airflow, "otto", provider))
    put(idp, "vera", groups=["everyone", "airflow_prod_viewer"])
    soon(lambda: airflow.roles_of(vera_is) == {"Viewer"})
