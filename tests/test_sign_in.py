"""Signing in through OIDC, over HTTP, on a real Airflow: who gets in as what, and who is told why not."""

from __future__ import annotations

import pytest

from tests.stack import Stack


@pytest.mark.parametrize(("person", "role"), [("ada", "Admin"), ("otto", "Op"), ("vera", "Viewer")])
@pytest.mark.parametrize("provider", ["entra", "generic"])
def test_the_mapping_decides_what_a_person_is(
    airflow_two: Stack, provider: str, person: str, role: str
) -> None:
    visitor = airflow_two.visitor()
    page = visitor.sign_in(person, provider)
    assert page.ok
    assert page.url == f"{airflow_two.url}/"
    username = visitor.who()
    assert username
    assert username.startswith(f"{person}@contoso.example")
    assert airflow_two.roles_of(username) == {role}
