"""Our pages for everyone: by keyboard, by screen reader, in the dark, on a phone, without scripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests import browser
from tests.browser import AXE, Window
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]


def shut_door(window: Window) -> None:
    window.at("/auth/login/broken")


def refused(window: Window) -> None:
    window.at("/auth/login/entra")
    window.person("nora").click()
    window.shows("SSO-301", "You cannot use this Airflow")


PAGES: dict[str, tuple[Callable[[Window], object], str]] = {
    "sign_in": (lambda window: window.at("/auth/login/"), "Sign in to Airflow"),
    "refused": (refused, "You cannot use this Airflow"),
    "not_ready": (shut_door, "This way of signing in is not ready"),
    "signed_out": (lambda window: window.at("/auth/signed-out/"), "You are signed out of Airflow"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_there_for_everyone(airflow_two: Stack, open_window: OpenWindow, name: str) -> None:
    go, headline = PAGES[name]
    window = open_window(airflow_two, bypass_csp=True)
    go(window)
    expect(window.page.get_by_role("heading", level=1)).to_have_text(headline)
    window.is_there_for_everyone(name)


def test_axe_would_find_a_fault(airflow_two: Stack, open_window: OpenWindow) -> None:
    """The control of the test above."""
    if not AXE.exists():
        browser.missing("axe-core is not installed (npm ci in tests/peers/oidc-provider)")
    window = open_window(airflow_two, bypass_csp=True)
    window.at("/auth/login/")
    window.page.evaluate("document.querySelector('a.button').style.color = 'rgb(160, 170, 180)'")
    window.page.add_script_tag(path=AXE)
    found = window.page.evaluate("axe.run().then(found => found.violations)")
    assert [one["id"] for one in found] == ["color-contrast"]


def outline(page: Page) -> tuple[str, float]:
    """Style and width, in pixels, of what surrounds the element that has the focus."""
    found = page.evaluate(
        "() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, s.outlineWidth] }"
    )
    return found[0], float(found[1].removesuffix("px"))


def test_the_keyboard_alone_signs_in(airflow_two: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_two)
    window.at("/auth/login/?next=/dags")
    page = window.page
    assert outline(page)[0] == "none", "nothing has the focus yet"
    reached = []
    for number in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText.trim()"))
        style, width = outline(page)
        assert style == "solid"
        assert width >= 2
        window.keep(f"focus_{number + 1}")
    # The shut door is no link, so the keyboard passes it.
    assert reached == ["Sign in with Contoso", "Sign in with Lab accounts", "data-platform@contoso.example"]

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert "/generic/" in window.arrives_at_provider()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    window.arrives("/dags")
    assert (window.who() or "").startswith("ada")


def test_a_refusal_can_be_left_by_the_keyboard(airflow_two: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_two)
    refused(window)
    window.page.keyboard.press("Tab")
    expect(window.link("Use another account")).to_be_focused()
    window.page.keyboard.press("Tab")
    expect(window.link("Try again")).to_be_focused()
    window.page.keyboard.press("Shift+Tab")
    window.page.keyboard.press("Enter")
    assert "prompt=select_account" in window.arrives_at_provider()


def test_signing_in_needs_no_script_of_ours(airflow_two: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_two, java_script_enabled=False)
    window.at("/auth/login/?next=/dags")
    window.link("Sign in with Contoso").click()
    window.person("vera").click()
    window.arrives("/dags")
    assert window.who() == "vera@contoso.example"


def test_our_pages_load_nothing_but_their_own_look(airflow_two: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_two)
    answer = window.at("/auth/login/")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    loaded = {one.url.removeprefix(airflow_two.url) for one in window.requests}
    assert loaded - {"/auth/static/pin_32.png"} == {"/auth/login/", "/auth/sso/static/airflow_sso.css"}
    expect(window.page.locator(".card")).to_have_css("border-top-left-radius", "12px")


def test_a_window_hears_what_a_page_must_not_do(airflow_two: Stack, open_window: OpenWindow) -> None:
    """The control of every journey: a foreign request, a forbidden style and an error are complaints."""
    window = open_window(airflow_two)
    window.context.route("https://elsewhere.example/**", lambda route: route.abort())
    window.at("/auth/login/")
    assert window.complaints == []
    window.page.evaluate("document.body.setAttribute('style', 'color: red')")
    window.page.evaluate("console.error('something broke')")
    window.at("/auth/signed-out/")
    with pytest.raises(Exception, match="ERR_FAILED"):
        window.page.goto("https://elsewhere.example/")
    heard = "\n".join(window.complaints)
    assert "Content Security Policy" in heard
    assert "something broke" in heard
    assert "a request left for https://elsewhere.example/" in heard
    window.complaints.clear()
