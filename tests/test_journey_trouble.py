"""What people see when a sign-in does not end where they were going, and how they get on from there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from devidp.server import Handle
from tests import browser, stack
from tests.browser import Window
from tests.databases import Database
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]

REFUSED = "You cannot use this Airflow"
EXPIRED = "This sign-in has expired"
NOT_COMPLETED = "The sign-in was not completed"
UNREACHABLE = "Your identity provider cannot be reached"


def knob(airflow: Stack, **values: object) -> None:
    """Let the provider misbehave; two underscores stand for the dot."""
    assert airflow.idp
    airflow.idp.state.knobs.put({name.replace("__", "."): value for name, value in values.items()})


def mend(airflow: Stack) -> None:
    assert airflow.idp
    airflow.idp.state.knobs.reset()


def trying_again_works(window: Window, person: str = "vera", path: str = "/dags") -> None:
    """``Try again`` leads to the provider, and from there to where the person was going."""
    window.link("Try again").click()
    window.arrives_at_provider()
    window.person(person).click()
    window.arrives(path)
    assert window.who() == f"{person}@contoso.example"


def callbacks(window: Window) -> list[str]:
    """The addresses at which the provider's answers arrived."""
    return [one.url for one in window.requests if "/auth/oauth-authorized/" in one.url]


# Refused


@pytest.mark.parametrize(
    ("person", "username", "code", "says"),
    [
        ("nora", "nora@contoso.example", "SSO-301", r"group.* opens? (this )?Airflow"),
        ("hugo", "hugo@fabrikam.example", "SSO-306", r"You are a guest in this directory"),
        ("over", "over@contoso.example", "SSO-305", r"could not find out which groups you are in"),
    ],
)
def test_a_refusal_says_why_and_leaves_a_reference_and_no_session(
    airflow: Stack, open_window: OpenWindow, person: str, username: str, code: str, says: str
) -> None:
    window = open_window(airflow)
    window.at("/auth/login/?next=/dags")
    with window.page.expect_navigation() as arrival:
        window.person(person).click()
    assert arrival.value
    assert arrival.value.status == 403
    window.shows(code, REFUSED)
    main = window.page.get_by_role("main")
    expect(main).to_contain_text(re.compile(says))
    expect(main).to_contain_text(f"You signed in as {username}")
    window.keep(f"refused_{person}")

    reference = window.fact("Reference")
    rows = airflow.rows("select event, code, username from sso_decision where reference = ?", reference)
    assert rows == [{"event": "sign_in_refused", "code": code, "username": username}]
    lines = [line for line in airflow.log.splitlines() if reference in line]
    assert lines
    assert code in lines[0]
    assert window.get("/ui/auth/me") == 401
    assert window.cookie("_token") is None


def test_one_group_is_a_group_and_not_groups(airflow: Stack, open_window: OpenWindow) -> None:
    nora = open_window(airflow)
    nora.at("/auth/login/entra")
    nora.person("nora").click()
    nora.shows("SSO-301", REFUSED)
    assert "1 groups" not in nora.page.get_by_role("main").inner_text()


def test_another_account_is_asked_for_at_the_provider(airflow: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow)
    window.at("/auth/login/?next=/dags")
    assert "prompt" not in parse_qs(urlsplit(window.arrives_at_provider()).query)
    window.person("nora").click()
    window.shows("SSO-301", REFUSED)
    window.link("Use another account").click()
    asked = parse_qs(urlsplit(window.arrives_at_provider()).query)
    assert asked["prompt"] == ["select_account"]
    window.person("vera").click()
    window.arrives("/dags")
    assert window.who() == "vera@contoso.example"


def test_a_cancelled_sign_in_ends_on_a_calm_page_and_in_no_loop(
    airflow: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow)
    window.at("/auth/login/?next=/dags")
    window.person("").click()
    window.shows("SSO-104", NOT_COMPLETED)
    window.keep("cancelled")
    assert len(callbacks(window)) == 1
    assert window.get("/ui/auth/me") == 401
    trying_again_works(window)


# Too late, twice, elsewhere


def test_going_back_after_a_sign_in_and_pressing_again_is_answered_honestly(
    airflow: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow)
    window.sign_in("vera", path="/dags")
    window.page.go_back()
    window.arrives_at_provider()
    window.person("vera").click()
    window.shows("SSO-101", EXPIRED)
    window.keep("back_button")
    assert window.who() == "vera@contoso.example", "the session that exists is left alone"
    trying_again_works(window, path="/")


def test_a_reloaded_callback_opens_nothing_and_trying_again_works(
    airflow: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow)
    window.sign_in("vera", path="/dags")
    (callback,) = callbacks(window)
    window.context.clear_cookies(name="session")
    window.context.clear_cookies(name="_token")
    window.page.goto(callback)
    window.shows("SSO-101", EXPIRED)
    window.page.reload()
    window.shows("SSO-101", EXPIRED)
    assert window.get("/ui/auth/me") == 401
    trying_again_works(window, path="/")


def test_an_attempt_that_took_too_long_is_lost_and_trying_again_works(
    airflow: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow)
    window.at("/auth/login/?next=/dags")
    airflow.write("update sso_login_attempt set expires_at = '2001-01-01 00:00:00.000000'")
    window.person("vera").click()
    window.shows("SSO-101", EXPIRED)
    window.keep("expired")
    assert window.get("/ui/auth/me") == 401
    trying_again_works(window, path="/dags")


# The provider is in trouble


@pytest.mark.parametrize("trouble", [{"token__down": True}, {"token__status": 503}], ids=["gone", "ill"])
def test_a_provider_that_fails_half_way_is_named_and_trying_again_works(
    airflow: Stack, open_window: OpenWindow, trouble: dict[str, object]
) -> None:
    window = open_window(airflow)
    window.at("/auth/login/?next=/dags")
    knob(airflow, **trouble)
    with window.page.expect_navigation() as arrival:
        window.person("vera").click()
    assert arrival.value
    assert arrival.value.status == 503
    window.shows("SSO-103", UNREACHABLE)
    assert window.get("/ui/auth/me") == 401
    mend(airflow)
    trying_again_works(window)


@pytest.fixture
def unreached(migrated_database: Database, idp: Handle, tmp_path: Path) -> Iterator[Stack]:
    """An Airflow that has never reached its provider, so it knows none of its addresses."""
    with stack.migrated_home(migrated_database, tmp_path / "home") as home:
        airflow = Stack(home, idp=idp)
        airflow.configure([stack.entra(idp.url)])
        idp.state.client.redirect_uris.add(f"{airflow.auth_url}/oauth-authorized/entra")
        try:
            yield airflow.start()
        finally:
            airflow.stop()


def test_a_provider_that_is_down_at_the_start_is_named_and_trying_again_works(
    unreached: Stack, open_window: OpenWindow
) -> None:
    window = open_window(unreached)
    knob(unreached, down=True)
    answer = window.at("/auth/login/?next=/dags")
    assert answer.status == 503
    window.shows("SSO-103", UNREACHABLE)
    window.keep("unreachable")
    window.link("Try again").click()
    window.shows("SSO-103", UNREACHABLE)
    mend(unreached)
    trying_again_works(window)
