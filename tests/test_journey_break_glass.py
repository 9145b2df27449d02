"""The local door in a real browser: form, wrong password, one-use link, keyboard, dark, phone, no script."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from devidp.server import Handle
from tests import browser
from tests import stack as stacks
from tests.browser import Window
from tests.databases import Database
from tests.local_door import PASSWORD, SAME_WORDS, add_account, give_role, link
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]


@pytest.fixture(scope="module")
def shared_rescued(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with a provider that is down, one that answers, and a local account."""
    path = tmp_path_factory.mktemp("rescued") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        stack = Stack(home, idp=identity_provider)
        down = stacks.generic(f"http://localhost:{stacks.free_port()}", name="down", label="Lab accounts")
        stack.configure([stacks.entra(identity_provider.url), down], break_glass=["admin"])
        add_account(stack, "admin")
        try:
            stack.start()
            give_role(stack, "admin", "Admin")
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def rescued(shared_rescued: Stack, idp: Handle) -> Stack:
    shared_rescued.write("delete from sso_throttle")
    return shared_rescued


def type_in(window: Window, password: str, username: str = "admin") -> None:
    window.page.get_by_label("Username").fill(username)
    window.page.get_by_label("Password").fill(password)
    window.page.get_by_role("button", name="Sign in", exact=True).click()


def test_from_a_provider_that_is_down_to_the_page_one_wanted(rescued: Stack, open_window: OpenWindow) -> None:
    window = open_window(rescued)
    window.at("/auth/login/down?next=/dags")
    window.shows("SSO-103", "Your identity provider cannot be reached")
    window.link("Local account").click()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Local account")
    type_in(window, "wrong")
    window.shows("SSO-401", "That did not work")
    expect(window.page.get_by_text(SAME_WORDS)).to_be_visible()
    assert window.page.get_by_label("Username").input_value() == ""
    assert window.page.get_by_label("Password").input_value() == ""
    type_in(window, PASSWORD)
    window.arrives("/dags")
    assert window.who() == "admin"


def test_the_sign_in_page_shows_the_way_and_back(rescued: Stack, open_window: OpenWindow) -> None:
    window = open_window(rescued)
    window.at("/auth/login/?next=/dags")
    window.link("Local account").click()
    window.link("Other ways to sign in").click()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Sign in to Airflow")
    window.link("Local account").click()
    type_in(window, PASSWORD)
    window.arrives("/dags")


def test_waiting_is_told_in_seconds(rescued: Stack, open_window: OpenWindow) -> None:
    window = open_window(rescued, bypass_csp=True)
    window.at("/auth/login/local")
    for _ in range(3):
        type_in(window, "wrong")
        window.shows("SSO-401", "That did not work")
    rescued.write("update sso_throttle set failures = 8")
    type_in(window, PASSWORD)
    window.shows("SSO-401", "Too many wrong tries")
    expect(window.page.get_by_text("seconds, then try once more")).to_be_visible()
    assert window.who() is None
    window.is_there_for_everyone("local_waiting")
    rescued.write("delete from sso_throttle")
    window.link("Try again").click()
    type_in(window, PASSWORD)
    window.arrives("/")


def form(window: Window) -> None:
    window.at("/auth/login/local")


def wrong(window: Window) -> None:
    window.at("/auth/login/local")
    type_in(window, "wrong")


def one_use_link(window: Window) -> None:
    window.at(link(window.stack, "admin"))


def used_link(window: Window) -> None:
    window.at("/auth/login/local?secret=used")


def provider_down(window: Window) -> None:
    window.at("/auth/login/down")


def sign_in(window: Window) -> None:
    window.at("/auth/login/")


def signed_out(window: Window) -> None:
    window.at("/auth/signed-out/")


PAGES = {
    "local_form": (form, "Local account"),
    "local_wrong": (wrong, "That did not work"),
    "local_link": (one_use_link, "Sign in as admin?"),
    "local_link_used": (used_link, "This link does not work"),
    "local_from_trouble": (provider_down, "Your identity provider cannot be reached"),
    "local_from_sign_in": (sign_in, "Sign in to Airflow"),
    "local_from_signed_out": (signed_out, "You are signed out of Airflow"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_there_for_everyone(rescued: Stack, open_window: OpenWindow, name: str) -> None:
    go, headline = PAGES[name]
    window = open_window(rescued, bypass_csp=True)
    go(window)
    expect(window.page.get_by_role("heading", level=1)).to_have_text(headline)
    window.is_there_for_everyone(name)


def test_the_keyboard_alone_gets_in(rescued: Stack, open_window: OpenWindow) -> None:
    window = open_window(rescued)
    window.at("/auth/login/local?next=/dags")
    keyboard = window.page.keyboard
    keyboard.press("Tab")
    expect(window.page.get_by_label("Username")).to_be_focused()
    window.keep("local_focus")
    keyboard.type("admin")
    keyboard.press("Tab")
    expect(window.page.get_by_label("Password")).to_be_focused()
    keyboard.type(PASSWORD)
    keyboard.press("Tab")
    expect(window.page.get_by_role("button", name="Sign in", exact=True)).to_be_focused()
    keyboard.press("Enter")
    window.arrives("/dags")
    assert window.who() == "admin"


def test_the_form_says_what_its_fields_are_for(rescued: Stack, open_window: OpenWindow) -> None:
    window = open_window(rescued)
    answer = window.at("/auth/login/local")
    assert answer.headers["cache-control"] == "no-store"
    for label, word in (("Username", "username"), ("Password", "current-password")):
        expect(window.page.get_by_label(label)).to_have_attribute("autocomplete", word)
    expect(window.page.get_by_label("Password")).to_have_attribute("type", "password")
    expect(window.page.get_by_text("one hour")).to_be_visible()
    expect(window.page.get_by_text("Every use is recorded")).to_be_visible()
    type_in(window, "wrong")
    expect(window.page.get_by_label("Password")).to_have_accessible_description(
        f"{SAME_WORDS} Try again, or sign in through your identity provider."
    )


def test_a_link_is_one_press_and_works_once(rescued: Stack, open_window: OpenWindow) -> None:
    path = link(rescued, "admin")
    window = open_window(rescued, java_script_enabled=False)
    window.at(path)
    window.page.reload()
    window.page.get_by_role("button", name="Sign in as admin").click()
    window.arrives("/")
    assert window.who() == "admin"
    other = open_window(rescued)
    other.at(path)
    other.shows("SSO-401", "This link does not work")
    assert other.who() is None


def test_no_script_is_needed(rescued: Stack, open_window: OpenWindow) -> None:
    window = open_window(rescued, java_script_enabled=False)
    window.at("/auth/login/local?next=/dags")
    type_in(window, PASSWORD)
    window.arrives("/dags")
    assert window.who() == "admin"
