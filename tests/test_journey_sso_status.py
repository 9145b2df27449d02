"""An administrator looks at *SSO status* and approves a plan: in Airflow's menu, by keyboard, without scripts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from tests import browser, test_sso_status
from tests.browser import Window
from tests.stack import Stack
from tests.test_sso_status import AUTHORITY, PAGE, decided, read, state_of, waits

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
shared, stack = test_sso_status.shared, test_sso_status.stack
OpenWindow = Callable[..., Window]
APPROVED = "Approved by ada@contoso.example; it is read afresh and carried out within a few seconds."


def eventful(stack: Stack) -> str:
    """Everything at once: a failed reading, a large plan, and a record; the plan's id."""
    read(stack, "failed", "CredentialsRefused: the token endpoint says invalid_client")
    people = [
        (f"person{number:03}@contoso.example", "disabled in Microsoft Entra ID") for number in range(230)
    ]
    reason = "230 people would lose their access within 24 hours; sync.max_deactivations allows 20 of 2300"
    plan = waits(stack, people, reason=reason)
    for name, event in {"vera": "deactivated", "otto": "reactivated", "a" * 120: "access_ended"}.items():
        decided(stack, event, username=f"{name}@contoso.example", reason="disabled in Microsoft Entra ID")
    changed = {"before": ["Viewer"], "after": ["Op", "Viewer"]}
    decided(stack, "roles_changed", username="wolf@contoso.example", reason="rule 2", detail=changed)
    about = {"authority": AUTHORITY, "plan": plan, "people": 230}
    decided(stack, "plan_quarantined", reason=reason, detail=about)
    return plan


def opened(stack: Stack, open_window: OpenWindow, **options: object) -> Window:
    window = open_window(stack, **options)
    window.sign_in("ada", path=PAGE)
    return window


def test_it_is_there_for_everyone(stack: Stack, open_window: OpenWindow) -> None:
    plan = eventful(stack)
    window = opened(stack, open_window, bypass_csp=True)
    expect(window.page.get_by_role("heading", level=2).first).to_have_text(f"Plan {plan} waits for approval")
    window.is_there_for_everyone("sso_status")
    window.page.set_viewport_size(browser.WIDE)
    approve(window.page)
    expect(window.page.locator("#told")).to_have_text(APPROVED)
    window.is_there_for_everyone("sso_status_approved")


def approve(page: Page | FrameLocator) -> None:
    page.get_by_label("I have looked at these people").check()
    page.get_by_role("button", name="Approve").click()


def test_the_keyboard_alone_approves_and_no_script_is_needed(stack: Stack, open_window: OpenWindow) -> None:
    plan = waits(stack)
    window = opened(stack, open_window, java_script_enabled=False)
    keys = window.page.keyboard
    keys.press("Tab")
    expect(window.link("Look again")).to_be_focused()
    keys.press("Tab")
    expect(window.page.get_by_role("region", name=f"Whose access plan {plan} takes")).to_be_focused()
    keys.press("Tab")
    expect(window.page.get_by_label("I have looked at these people")).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")  # the box is not ticked: the browser says so, and sends nothing
    assert window.page.url == f"{stack.url}{PAGE}"
    assert state_of(stack, plan) == ("waiting", None)
    expect(window.page.get_by_label("I have looked at these people")).to_be_focused()
    keys.press("Space")
    keys.press("Tab")
    keys.press("Enter")
    window.arrives(f"{PAGE}?plan={plan}")
    expect(window.page.locator("#told")).to_have_text(APPROVED)
    assert state_of(stack, plan) == ("approved", "ada@contoso.example")


def test_it_is_in_airflow_s_menu_and_approves_in_its_frame(stack: Stack, open_window: OpenWindow) -> None:
    if not any(one.name == "airflow_sso" for one in entry_points(group="airflow.plugins")):
        browser.missing("this environment was installed before there was a menu entry; install it again")
    plan = eventful(stack)
    window = open_window(stack)
    window.sign_in("ada")
    window.page.get_by_role("button", name="Admin").click()
    window.page.get_by_role("menuitem", name="SSO status").click()
    frame = window.page.frame_locator('iframe[title="SSO status"]')
    expect(frame.get_by_role("heading", level=2).first).to_have_text(f"Plan {plan} waits for approval")
    window.keep("sso_status_in_airflow")
    approve(frame)
    expect(frame.locator("#told")).to_have_text(APPROVED)
    assert state_of(stack, plan) == ("approved", "ada@contoso.example")
    window.keep("sso_status_in_airflow_approved")
    window.page.reload()
    expect(frame.get_by_role("heading", level=2).first).to_have_text(f"Plan {plan} is approved")


@pytest.mark.parametrize("person", ["vera"])
def test_others_are_told_that_it_is_not_for_them(stack: Stack, open_window: OpenWindow, person: str) -> None:
    window = open_window(stack, bypass_csp=True)
    window.sign_in(person)
    window.at(PAGE)
    expect(window.page.get_by_role("heading", level=1)).to_have_text("This page is for administrators")
    window.is_there_for_everyone("sso_status_refused")
