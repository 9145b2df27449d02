"""The probe in a running Airflow: out within an interval of being disabled, back after being enabled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import inspect

from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.stack import Stack, facts
from tests.test_leavers import put, signed_in, soon
from tests.test_revocation import assert_out, client, copy_of, is_in

pytestmark = pytest.mark.server

EVERY = 5  # seconds


@pytest.fixture(scope="module")
def shared(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("probe") / "home"
    keys = {"TEST_PROBE_KEY": Fernet.generate_key().decode()}
    probe = {"directory": {"type": "probe", "keys": [{"env": "TEST_PROBE_KEY"}]}}
    scopes = {"scopes": ["openid", "profile", "email", "offline_access"]}
    url = identity_provider.url
    with stacks.migrated_home(migrated_database, path, extra=keys) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure(
            [stacks.entra(url, **probe, **scopes), stacks.generic(url, **scopes)],
            sync={"every": f"{EVERY}s", "max_deactivations": {"count": 20, "percent": 100}},
        )
        try:
            yield stack.start(workers=2)
        finally:
            stack.stop()


@pytest.fixture
def airflow(shared: Stack, idp: Handle) -> Stack:
    uris = [f"{shared.auth_url}/oauth-authorized/{name}" for name in ("entra", "generic")]
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": uris})
    shared.map(stacks.default_mapping())
    return shared


def time_passes(stack: Stack) -> None:
    """Five minutes are the shortest interval, so nobody waits for it here."""
    stack.write("update sso_refresh_token set asked_at = '2020-01-01 00:00:00.000000'")


def everything_written(stack: Stack) -> str:
    """Every value of every table, and every log."""
    tables = inspect(stack.engine).get_table_names()
    assert "sso_refresh_token" in tables
    rows = [row for name in tables for row in stack.rows(f'select * from "{name}"')]
    dump = "\n".join(
        str(bytes(one) if isinstance(one, memoryview) else one) for row in rows for one in row.values()
    )
    return dump + "".join(path.read_text(errors="replace") for path in stack.home.logs.iterdir())


def issued(idp: Handle) -> set[str]:
    return set(idp.state._refresh_tokens)


def test_a_leaver_is_out_and_comes_back(airflow: Stack, idp: Handle) -> None:
    otto, vera = signed_in(airflow, "otto"), signed_in(airflow, "vera")
    bearers = [client(otto), client(vera)]
    otto_is, vera_is = otto.who(), vera.who()
    assert otto_is is not None
    assert vera_is is not None
    tokens = issued(idp)
    put(idp, "otto", disabled=True)
    put(idp, "vera", groups=["everyone", "airflow_prod_op"])
    time_passes(airflow)
    soon(lambda: copy_of(otto).who() is None)
    assert_out(otto)
    assert not is_in(bearers[0])
    soon(lambda: airflow.roles_of(vera_is) == {"Op"})
    assert is_in(bearers[1])
    soon(lambda: airflow.roles_of(otto_is) == set())
    put(idp, "otto", disabled=False)
    assert facts(airflow.visitor().sign_in("otto"))[0] == "SSO-303"
    soon(lambda: airflow.roles_of(otto_is) == {"Op"})
    assert is_in(signed_in(airflow, "otto"))
    tokens |= issued(idp)
    written = everything_written(airflow)
    assert len(tokens) >= 4
    assert not [token for token in tokens if token in written]
    cookies = [str(cookie.value) for visitor in (otto, vera) for cookie in visitor.cookies]
    assert not [token for token in tokens if any(token in value for value in cookies)]


def test_a_revoked_grant_ends_the_session_alone(airflow: Stack, idp: Handle) -> None:
    vera = signed_in(airflow, "vera")
    known: Any = vera.who()
    for grant in idp.state._refresh_tokens.values():
        grant.revoked = True
    time_passes(airflow)
    soon(lambda: copy_of(vera).who() is None)
    assert not is_in(vera)
    roles = airflow.roles_of(known)
    assert roles
    assert is_in(signed_in(airflow, "vera"))
    assert airflow.roles_of(known) == roles


def test_without_a_probe_nothing_is_kept(airflow: Stack, idp: Handle) -> None:
    before = airflow.rows("select identity_key from sso_refresh_token")
    assert is_in(signed_in(airflow, "ada", "generic"))
    assert issued(idp), "the provider gave one"
    assert airflow.rows("select identity_key from sso_refresh_token") == before


def test_a_provider_that_gives_no_token_signs_people_in_all_the_same(airflow: Stack, idp: Handle) -> None:
    stacks.driver(idp).knobs(token__remove=["refresh_token"])
    airflow.write("delete from sso_refresh_token")
    assert is_in(signed_in(airflow, "ada"))
    assert airflow.rows("select * from sso_refresh_token") == []
    assert not re.search(r"Traceback", airflow.log)
