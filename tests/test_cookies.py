"""Our own cookies: what they are called, where they go, and that a sibling domain cannot plant them."""

from __future__ import annotations

from http.cookies import Morsel, SimpleCookie

import flask
import pytest

from airflow_sso.login import attempt, browser
from airflow_sso.urls import Urls
from tests.lines import both_lines

pytestmark = both_lines


def bound(urls: Urls) -> Morsel[str]:
    """The cookie that binds an attempt to a browser, as it is set under ``urls``."""
    response = flask.Response()
    browser.bind(response, attempt.new_browser_id(), urls)
    (cookie,) = SimpleCookie(response.headers["Set-Cookie"]).values()
    return cookie


@pytest.mark.parametrize(
    ("base_url", "name", "path", "secure"),
    [
        ("http://localhost:8080", "airflow_sso_attempt", "/", False),
        ("https://airflow.example.com", "__Host-airflow_sso_attempt", "/", True),
        ("https://example.com/airflow", "__Secure-airflow_sso_attempt", "/airflow/", True),
    ],
)
def test_the_binding_cookie_is_as_well_kept_as_its_address_allows(
    base_url: str, name: str, path: str, secure: bool
) -> None:
    cookie = bound(Urls(base_url, "/auth"))
    assert cookie.key == name
    assert cookie["path"] == path
    assert bool(cookie["secure"]) == secure
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == "600"
    assert not cookie["domain"]
    assert attempt.is_browser_id(cookie.value)


@pytest.mark.parametrize("planted", ["", "x", "a" * 42, "a" * 44, "a" * 42 + "!", "../" * 14 + "a"])
def test_a_cookie_that_is_not_one_of_ours_is_replaced(planted: str) -> None:
    app = flask.Flask("t")
    urls = Urls("http://localhost:8080", "/auth")
    with app.test_request_context(headers={"Cookie": f"airflow_sso_attempt={planted}"}):
        assert attempt.is_browser_id(browser.browser_id(flask.request, urls))
        assert browser.browser_id(flask.request, urls) != planted
    ours = attempt.new_browser_id()
    with app.test_request_context(headers={"Cookie": f"airflow_sso_attempt={ours}"}):
        assert browser.browser_id(flask.request, urls) == ours
