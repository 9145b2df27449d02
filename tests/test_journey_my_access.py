"""Somebody looks up why they may what: in Airflow's menus, by keyboard, in a dark room and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import pytest
from playwright.sync_api import expect

from devidp.server import Handle
from tests import browser, test_my_access
from tests import stack as stacks
from tests.browser import Window
from tests.local_door import give_role
from tests.stack import Stack
from tests.test_my_access import PAGE, VERA

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
with_local = test_my_access.with_local
OpenWindow = Callable[..., Window]


@pytest.fixture
def stack(with_local: Stack, idp: Handle) -> Stack:
    return stacks.welcome(with_local, idp)


def test_it_is_there_for_everyone(stack: Stack, idp: Handle, open_window: OpenWindow) -> None:
    names = ["airflow_prod_viewer", "everyone", *(f"project_{number:03}" for number in range(70))]
    long = f"CN=Data Platform Readers of the Nordic Region,OU={'Groups ' * 8}Ærø,DC=contoso,DC=example"
    stacks.driver(idp).control("PUT", "people/vera", {"groups": [*names, long], "app_roles": ["Reader"]})
    rules = [
        *stacks.default_mapping()["rules"],
        {"app_role": "Reader", "name": "readers", "roles": ["Viewer"]},
    ]
    stack.map({"version": 1, "rules": rules, "manual_roles": "keep"})
    window = open_window(stack, bypass_csp=True)
    window.sign_in("vera", path=PAGE)
    give_role(stack, VERA, "User")
    window.page.reload()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("My access")
    expect(window.page.get_by_text("Rules that give it")).to_be_visible()
    window.is_there_for_everyone("my_access")
    window.page.get_by_text("23 more").click()
    expect(window.page.locator("details li").last).to_be_visible()
    window.is_there_for_everyone("my_access_unfolded")


def test_the_keyboard_alone_unfolds_and_no_script_is_needed(
    stack: Stack, idp: Handle, open_window: OpenWindow
) -> None:
    names = ["airflow_prod_viewer", *(f"project_{number:03}" for number in range(70))]
    stacks.driver(idp).control("PUT", "people/vera", {"groups": names})
    window = open_window(stack, java_script_enabled=False)
    window.sign_in("vera", path=PAGE)
    last = window.page.locator("details li").last
    expect(last).not_to_be_visible()
    keys = window.page.keyboard
    keys.press("Tab")
    expect(window.link("Look again")).to_be_focused()
    keys.press("Tab")
    expect(window.page.locator("summary")).to_be_focused()
    keys.press("Enter")
    expect(last).to_be_visible()
    keys.press("Tab")
    expect(window.link("data-platform@contoso.example")).to_be_focused()


@pytest.mark.parametrize(
    ("person", "menu", "entry", "title"),
    [("otto", "User", "My access", "My access"), ("vera", "Security", "Roles", "Roles")],
)
def test_it_is_in_airflow_s_menus(
    stack: Stack, open_window: OpenWindow, person: str, menu: str, entry: str, title: str
) -> None:
    """Airflow shows entries of plugins to some; the others are led there all the same."""
    if not any(one.name == "airflow_sso" for one in entry_points(group="airflow.plugins")):
        browser.missing("this environment was installed before there was a menu entry; install it again")
    window = open_window(stack)
    window.sign_in(person)
    window.page.get_by_role("button", name=menu, exact=True).click()
    window.page.get_by_role("menuitem", name=entry, exact=True).click()
    frame = window.page.frame_locator(f'iframe[title="{title}"]')
    expect(frame.get_by_role("heading", level=1)).to_have_text("My access")
    expect(frame.get_by_text(f"{person}@contoso.example", exact=True).first).to_be_visible()
    frame.get_by_role("link", name="Look again").click()
    expect(frame.get_by_role("heading", level=1)).to_have_text("My access")
    window.keep(f"my_access_in_airflow_{menu.lower()}")


def test_whoever_has_not_signed_in_does_so_and_comes_back(stack: Stack, open_window: OpenWindow) -> None:
    window = open_window(stack)
    window.at(PAGE)
    window.arrives_at_provider()
    window.person("vera").click()
    window.arrives(PAGE)
    expect(window.page.get_by_text(VERA, exact=True).first).to_be_visible()
