"""Signing out through Airflow's own menu: what it ends, and where it does not lead."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests import browser
from tests.browser import Window
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]

SIGNED_OUT = "You are signed out of Airflow"


def copied(stack: Stack, open_window: OpenWindow, owner: Window, *names: str) -> Window:
    """Another browser with these cookies of the owner's, as a thief would have them."""
    kept = [one for one in owner.context.cookies() if one.get("name") in names]
    assert len(kept) == len(names)
    return open_window(stack, storage_state={"cookies": kept, "origins": []})


def test_signing_out_ends_the_session_and_stays_calm(airflow: Stack, open_window: OpenWindow) -> None:
    vera = open_window(airflow)
    vera.sign_in("vera", path="/dags")
    session_only = copied(airflow, open_window, vera, "session")
    token_only = copied(airflow, open_window, vera, "_token")
    also_session = copied(airflow, open_window, vera, "session")

    # Before: each of the two is as good as a sign-in.
    assert token_only.who() == "vera@contoso.example"
    session_only.at("/auth/login/?next=/dags")
    session_only.arrives("/dags")
    assert session_only.who() == "vera@contoso.example"

    vera.sign_out()
    vera.arrives("/auth/signed-out/")
    expect(vera.page.get_by_role("heading", level=1)).to_have_text(SIGNED_OUT)
    vera.keep("signed_out")
    assert vera.cookie("session") is None
    assert vera.cookie("_token") is None
    assert vera.get("/ui/auth/me") == 401

    assert token_only.get("/ui/auth/me") in (401, 403)
    also_session.at("/auth/login/?next=/dags")
    also_session.arrives_at_provider()
    assert also_session.get("/ui/auth/me") == 401

    rows = airflow.rows("select username from sso_decision where event = 'sign_out' order by id desc limit 1")
    assert [row["username"] for row in rows] == ["vera@contoso.example"]


def test_after_a_sign_out_the_next_visit_signs_in_anew(airflow: Stack, open_window: OpenWindow) -> None:
    vera = open_window(airflow)
    vera.sign_in("vera", path="/dags")
    vera.sign_out()
    vera.arrives("/auth/signed-out/")
    vera.page.reload()
    expect(vera.page.get_by_role("heading", level=1)).to_have_text(SIGNED_OUT)
    vera.at("/dags")
    vera.arrives_at_provider()
    vera.person("otto").click()
    vera.arrives("/dags")
    assert vera.who() == "otto@contoso.example"


def test_signing_in_again_from_the_calm_page_works(airflow: Stack, open_window: OpenWindow) -> None:
    vera = open_window(airflow)
    vera.at("/auth/signed-out/")
    vera.link("Sign in again").click()
    vera.arrives_at_provider()
    vera.person("vera").click()
    vera.arrives("/")
    assert vera.who() == "vera@contoso.example"


def test_under_airflows_own_manager_a_sign_out_ends_calmly_too(
    airflow_stock: Stack, open_window: OpenWindow
) -> None:
    vera = open_window(airflow_stock)
    vera.sign_in("vera", path="/dags")
    vera.requests.clear()
    vera.sign_out()
    expect(vera.page.get_by_role("heading", level=1)).to_have_text(SIGNED_OUT)
    vera.keep("signed_out_stock")
    assert not [one.url for one in vera.requests if one.url.startswith(vera.provider_url)]
    assert vera.get("/ui/auth/me") == 401

    vera.at("/dags")
    vera.arrives_at_provider()
    vera.person("vera").click()
    vera.arrives("/dags")
    assert vera.who() == "vera@contoso.example"
