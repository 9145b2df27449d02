"""Airflow 2.11 in a real browser: its own pages, menu and button, and ours between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests import browser
from tests.browser import Window
from tests.lines import both_lines, only_on_2
from tests.stack import Stack

pytestmark = [*browser.journey, both_lines, only_on_2("the interface is another one")]

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]


def menu(window: Window) -> Locator:
    return window.page.get_by_role("banner")


def open_person_menu(window: Window) -> None:
    window.page.locator(".navbar-user-icon").hover()


def sign_out(window: Window) -> None:
    open_person_menu(window)
    window.page.get_by_role("button", name="Log Out").click()


def test_in_by_the_provider_and_out_by_airflows_own_button(airflow: Stack, open_window: OpenWindow) -> None:
    vera = open_window(airflow)
    vera.at("/home")
    vera.arrives_at_provider()
    vera.person("vera").click()
    vera.arrives("/home")
    expect(vera.page.get_by_role("heading", name="DAGs")).to_be_visible()
    expect(vera.page.locator(".navbar-user-icon")).to_have_attribute("title", "Vera Rubin")
    vera.keep("airflow_2_home")
    stolen = vera.context.cookies()

    sign_out(vera)
    vera.arrives("/signed-out/")
    expect(vera.page.get_by_role("heading", level=1)).to_have_text("You are signed out of Airflow")
    vera.keep("airflow_2_signed_out")
    assert vera.cookie("session") is None

    thief = open_window(airflow, storage_state={"cookies": stolen, "origins": []})
    thief.at("/home")
    thief.arrives_at_provider()

    vera.at("/home")
    vera.arrives_at_provider()
    vera.person("otto").click()
    vera.arrives("/home")
    expect(vera.page.locator(".navbar-user-icon")).to_have_attribute("title", "Otto Lilienthal")


def test_the_menu_leads_to_our_pages_and_they_lead_back(airflow: Stack, open_window: OpenWindow) -> None:
    ada = open_window(airflow)
    ada.at("/home")
    ada.person("ada").click()
    ada.arrives("/home")
    menu(ada).get_by_text("Security", exact=True).hover()
    ada.keep("airflow_2_menu")
    menu(ada).get_by_role("link", name="SSO status").click()
    ada.arrives("/sso-status/")
    expect(ada.page.get_by_role("heading", level=1)).to_have_text("SSO status")
    ada.keep("airflow_2_sso_status")
    ada.link("Airflow").click()
    ada.arrives("/home")
    menu(ada).get_by_role("link", name="My access").click()
    ada.arrives("/my-access/")
    ada.keep("airflow_2_my_access")


def test_a_viewer_sees_their_own_access_and_nothing_of_security(
    airflow: Stack, open_window: OpenWindow
) -> None:
    vera = open_window(airflow)
    vera.at("/home")
    vera.person("vera").click()
    vera.arrives("/home")
    expect(menu(vera).get_by_role("link", name="My access")).to_be_visible()
    assert menu(vera).get_by_text("SSO status").count() == 0


@pytest.mark.parametrize(("person", "code"), [("nora", "SSO-301"), ("hugo", "SSO-306")])
def test_the_refused_are_told_why(airflow: Stack, open_window: OpenWindow, person: str, code: str) -> None:
    window = open_window(airflow)
    window.at("/home")
    window.person(person).click()
    expect(window.page.get_by_role("heading", level=1)).to_be_visible()
    assert window.fact("Code") == code
    window.keep(f"airflow_2_refused_{person}")
