"""Signing out of Airflow and of the provider, by clicking, in a real browser that obeys our pages' policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from devidp.server import Handle
from tests import browser, test_saml_logout
from tests.browser import Window
from tests.stack import Stack, driver

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
certificate, shared, stack = test_saml_logout.certificate, test_saml_logout.shared, test_saml_logout.stack
OpenWindow = Callable[..., Window]


@pytest.mark.parametrize(
    ("provider", "face", "by_form"), [("plain", "generic", False), ("pingone", "pingone", True)]
)
def test_one_click_signs_out_at_both(
    stack: Stack, idp: Handle, open_window: OpenWindow, provider: str, face: str, by_form: bool
) -> None:
    vera = open_window(stack)
    vera.sign_in("vera", provider=provider, path="/dags")
    assert driver(idp).control("GET", "saml/sessions")[face], "the control: the provider has a session"
    vera.sign_out()
    if by_form:  # a provider that takes nothing else, and a page of ours that runs no script
        button = vera.page.get_by_role("button", name="Sign out of")
        expect(button).to_be_visible()
        expect(vera.page.get_by_role("heading", level=1)).to_have_text("You are signed out of Airflow")
        vera.keep("sign_out_form")
        assert vera.get("/ui/auth/me") == 401, "signed out here before the button is pressed"
        button.click()
    vera.arrives("/auth/signed-out/")
    expect(vera.page.get_by_role("heading", level=1)).to_have_text("You are signed out of Airflow")
    assert driver(idp).control("GET", "saml/sessions")[face] == []
    assert vera.get("/ui/auth/me") == 401
