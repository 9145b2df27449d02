"""Roles named after groups, and roles that the file makes, through a real sign-in: who gets which, who none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from devidp.server import Handle
from tests.lines import both_lines
from tests.stack import Stack, Visitor, default_mapping, driver, facts

pytestmark = both_lines

MAPPING: dict[str, Any] = {
    "version": 1,
    "rules": [
        {"group": "crew-*", "roles": ["crew-{1}"]},
        {"group": "airflow-*", "roles": ["{1}"]},
        {"group": "by-hand-*", "roles": ["hand-{1}"]},
    ],
    "roles": {"crew-payments": {"dags": {"payments_*": ["read"]}}, "hand-*": {}},
}


@pytest.fixture
def crews(airflow_two: Stack) -> Iterator[Stack]:
    airflow_two.map(MAPPING)
    airflow_two.generation()
    yield airflow_two
    airflow_two.map(default_mapping())
    airflow_two.generation()


def sign_in(stack: Stack, idp: Handle, *groups: str) -> tuple[Visitor, Any]:
    driver(idp).control("PUT", "people/nora", {"groups": list(groups)})
    visitor = stack.visitor()
    return visitor, visitor.sign_in("nora", "generic")


def test_a_group_names_a_role_that_the_file_makes(crews: Stack, idp: Handle) -> None:
    visitor, page = sign_in(crews, idp, "crew-payments", "everyone")
    assert page.ok
    username = visitor.who()
    assert username
    assert crews.roles_of(username) == {"crew-payments"}
    (kept,) = crews.rows("select given_roles from sso_account where username like 'nora%'")
    assert '"group crew-*"' in kept["given_roles"]


@pytest.mark.parametrize("group", ["crew-sales", "airflow-Admin", "airflow-admin", "airflow-crew-payments "])
def test_a_name_that_is_not_the_files_gives_nothing(crews: Stack, idp: Handle, group: str) -> None:
    visitor, page = sign_in(crews, idp, group)
    assert (page.status_code, facts(page)[0]) == (403, "SSO-301")
    assert visitor.who() is None
    visitor, page = sign_in(crews, idp, "airflow-crew-payments")
    assert page.ok
    assert crews.roles_of(str(visitor.who())) == {"crew-payments"}


def test_a_role_by_hand_must_be_there(crews: Stack, idp: Handle) -> None:
    """The prefix allows the name; nobody gets in with a role that Airflow does not have."""
    _, page = sign_in(crews, idp, "by-hand-audit")
    assert facts(page)[0] == "SSO-301"
    crews.write("insert into ab_role (name) values ('hand-audit')")
    try:
        visitor, page = sign_in(crews, idp, "by-hand-audit")
        assert page.url == crews.landing_url  # which has nothing for this role
        assert crews.roles_of(str(visitor.who())) == {"hand-audit"}
    finally:
        crews.write(
            "delete from ab_user_role where role_id in (select id from ab_role where name = 'hand-audit')"
        )
        crews.write("delete from ab_role where name = 'hand-audit'")
