"""Somebody leaves while their browser is open: it finds out by itself."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from devidp.server import Handle
from tests import browser
from tests.browser import Window
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]

#: An interval, a run, and the UI's own half minute between two questions.
PATIENCE = 90_000.0


def test_an_open_browser_is_thrown_out_when_its_person_is_disabled(
    airflow_leavers: Stack, leavers_idp: Handle, open_window: OpenWindow
) -> None:
    otto, vera = open_window(airflow_leavers), open_window(airflow_leavers)
    otto.at("/auth/login/entra?next=/dags")
    otto.person("otto").click()
    otto.arrives("/dags")
    vera.at("/auth/login/entra?next=/dags")
    vera.person("vera").click()
    vera.arrives("/dags")

    people = open_window(airflow_leavers).page
    people.goto(f"{leavers_idp.url}/people")
    people.locator("form", has_text="Otto Lilienthal").get_by_role("button").click()
    expect(people.locator("form", has_text="Otto Lilienthal")).to_contain_text("Disabled.")

    # Nobody touches Otto's browser.
    otto.page.wait_for_url("**/auth/login/**", timeout=PATIENCE)
    expect(otto.page.get_by_role("heading", level=1)).to_have_text("Sign in to Airflow")
    otto.keep("thrown_out")
    assert vera.who() == "vera@contoso.example", "only whoever left is out"
