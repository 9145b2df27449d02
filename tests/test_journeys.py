"""Signing in with a real browser, and what Airflow's own interface then shows: roles, links, doors."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests import browser
from tests.browser import REPOSITORY, Window
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]

VERAS = {"groups": ["everyone", "airflow_prod_viewer"]}


@pytest.fixture
def hello(airflow: Stack) -> str:
    """The id of a DAG that Airflow knows; its file is read once a run."""
    if not airflow.rows("select dag_id from dag where dag_id = 'hello'"):
        dags = airflow.home.path / "dags"
        shutil.copy(REPOSITORY / "demo" / "dags" / "hello.py", dags / "hello.py")
        with airflow.home.start("dags-reserialize", "dags", "reserialize") as reading:
            assert reading.wait(120) == 0, reading.log_tail()
    return "hello"


def runs_of(airflow: Stack, dag_id: str) -> int:
    return len(airflow.rows("select id from dag_run where dag_id = ?", dag_id))


# What a role allows


def test_ada_administers(airflow: Stack, hello: str, open_window: OpenWindow) -> None:
    ada = open_window(airflow)
    ada.at("/")
    ada.arrives_at_provider()
    ada.person("ada").click()
    ada.arrives("/")
    expect(ada.page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(ada.page.get_by_role("button", name="Admin")).to_be_visible()
    ada.keep("ada_home")

    ada.page.get_by_role("button", name="Security").click()
    ada.page.get_by_role("menuitem", name="Users").click()
    users = ada.page.frame_locator("iframe")
    expect(users.get_by_role("cell", name="ada@contoso.example").first).to_be_visible()
    ada.keep("ada_users")

    assert ada.get("/api/v2/connections") == 200
    expect(ada.open_user_menu()).to_contain_text("ada@contoso.example")
    assert airflow.roles_of("ada@contoso.example") == {"Admin"}


def test_otto_operates_and_does_not_administer_people(
    airflow: Stack, hello: str, open_window: OpenWindow
) -> None:
    otto = open_window(airflow)
    otto.sign_in("otto", path=f"/dags/{hello}")
    before = runs_of(airflow, hello)
    otto.page.get_by_role("button", name="Trigger Dag").click()
    otto.page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    otto.told("successfully triggered")
    otto.keep("otto_triggered")
    assert runs_of(airflow, hello) == before + 1

    otto.page.get_by_role("button", name="Admin").click()
    for item in ("Connections", "Variables", "Pools"):
        expect(otto.page.get_by_role("menuitem", name=item)).to_be_visible()
    expect(otto.page.get_by_role("button", name="Security")).to_have_count(0)
    otto.keep("otto_admin_menu")

    assert otto.post(f"/api/v2/dags/{hello}/dagRuns", {"logical_date": None}) == 200
    assert otto.get("/api/v2/connections") == 200
    assert airflow.roles_of("otto@contoso.example") == {"Op"}


def test_vera_looks_and_does_not_touch(airflow: Stack, hello: str, open_window: OpenWindow) -> None:
    vera = open_window(airflow)
    vera.sign_in("vera", path="/dags")
    expect(vera.page.get_by_role("link", name=hello, exact=True)).to_be_visible()
    expect(vera.page.get_by_role("button", name="Admin")).to_have_count(0)
    # Of this menu she has one entry only: her own roles, on the page My access.
    vera.page.get_by_role("button", name="Security").click()
    expect(vera.page.get_by_role("menuitem")).to_have_text(["Roles"])
    vera.page.keyboard.press("Escape")
    expect(vera.page.get_by_role("button", name="Browse")).to_be_visible()
    vera.keep("vera_dags")

    # Airflow offers its button to everyone, and refuses who may not.
    before = runs_of(airflow, hello)
    vera.page.get_by_role("button", name="Trigger Dag").click()
    vera.page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    vera.told("Access Denied")
    vera.keep("vera_trigger_refused")
    assert vera.get("/api/v2/dags") == 200
    assert vera.post(f"/api/v2/dags/{hello}/dagRuns", {"logical_date": None}) == 403
    assert vera.get("/api/v2/connections") == 403
    assert runs_of(airflow, hello) == before
    assert airflow.roles_of("vera@contoso.example") == {"Viewer"}


@pytest.mark.parametrize(("person", "sees"), [("ada", True), ("vera", False)])
def test_a_page_that_a_role_does_not_open_ends_somewhere(
    airflow: Stack, open_window: OpenWindow, person: str, sees: bool
) -> None:
    """Flask-AppBuilder sends whoever may not see a page to sign in, and they are signed in already."""
    window = open_window(airflow)
    window.sign_in(person)
    assert window.at("/auth/users/list/").status == 200
    expect(window.page).to_have_url(f"{airflow.auth_url}/users/list/" if sees else f"{airflow.url}/")


def test_roles_follow_the_directory_at_the_next_sign_in(airflow: Stack, open_window: OpenWindow) -> None:
    ada = open_window(airflow)
    ada.sign_in("ada")
    expect(ada.page.get_by_role("button", name="Admin")).to_be_visible()
    assert airflow.idp
    airflow.idp.state.people.put("ada", VERAS)
    ada.sign_in("ada")
    expect(ada.page.get_by_role("button", name="Browse")).to_be_visible()
    expect(ada.page.get_by_role("button", name="Admin")).to_have_count(0)
    assert ada.get("/api/v2/connections") == 403
    assert airflow.roles_of("ada@contoso.example") == {"Viewer"}


def test_roles_follow_the_mapping_at_the_next_sign_in(airflow: Stack, open_window: OpenWindow) -> None:
    vera = open_window(airflow)
    vera.sign_in("vera")
    assert vera.get("/api/v2/connections") == 403
    airflow.map("version: 1\nrules: []\nno_match: [Op]\n")
    vera.sign_in("vera")
    expect(vera.page.get_by_role("button", name="Admin")).to_be_visible()
    assert vera.get("/api/v2/connections") == 200


def test_losing_the_last_group_takes_every_role_away_and_refuses(
    airflow: Stack, open_window: OpenWindow
) -> None:
    ada = open_window(airflow)
    ada.sign_in("ada")
    assert airflow.roles_of("ada@contoso.example") == {"Admin"}
    lose_every_group(airflow, ada)
    assert airflow.roles_of("ada@contoso.example") == set()


def test_a_refusal_takes_from_older_sessions_what_it_takes_from_the_account(
    airflow: Stack, open_window: OpenWindow
) -> None:
    """In the process that refuses; elsewhere Airflow's own cache of 30 seconds is a known limit."""
    ada = open_window(airflow)
    ada.sign_in("ada")
    assert ada.get("/api/v2/connections") == 200
    lose_every_group(airflow, ada)
    assert ada.get("/api/v2/connections") == 403


def lose_every_group(airflow: Stack, ada: Window) -> None:
    """Ada signs in again, and is in no group any more that the mapping knows."""
    assert airflow.idp
    airflow.idp.state.people.put("ada", {"groups": ["everyone"]})
    ada.at("/auth/login/entra")
    ada.person("ada").click()
    ada.shows("SSO-301", "You cannot use this Airflow")


# Where a sign-in ends


@pytest.mark.parametrize(
    "path",
    [
        "/dags/hello?tab=code",
        "/dags?tags=demo&paused=false",
        "/dags/hello/runs/manual__2026-11-21T02:28:44.079959+00:00/tasks/greet?try_number=1",
    ],
)
def test_a_deep_link_is_kept_through_the_sign_in(
    airflow: Stack, hello: str, open_window: OpenWindow, path: str
) -> None:
    vera = open_window(airflow)
    vera.at(path)
    vera.arrives_at_provider()
    vera.person("vera").click()
    vera.arrives(path)
    assert vera.who() == "vera@contoso.example"


@pytest.mark.parametrize(
    ("wanted", "ends_at"),
    [
        ("/dags", "/dags"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/%09/evil.example", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_a_sign_in_ends_in_this_airflow_only(
    airflow: Stack, open_window: OpenWindow, wanted: str, ends_at: str
) -> None:
    """A request to any other host would be a complaint of the window. The redirects need no script."""
    vera = open_window(airflow, java_script_enabled=False)
    vera.at(f"/auth/login/?next={wanted}")
    vera.person("vera").click()
    vera.arrives(ends_at)
    vera.at(f"/auth/login/?next={wanted}")
    vera.arrives(ends_at)


def test_two_tabs_that_started_before_either_finished_both_finish(
    airflow: Stack, open_window: OpenWindow
) -> None:
    vera = open_window(airflow)
    first, second = vera.page, vera.context.new_page()
    vera.at("/auth/login/?next=/dags", page=first)
    vera.at("/auth/login/?next=/assets", page=second)
    vera.person("vera", page=first).click()
    vera.arrives("/dags", page=first)
    vera.person("vera", page=second).click()
    vera.arrives("/assets", page=second)
    assert vera.who() == "vera@contoso.example"


# The doors


def test_one_provider_needs_no_button(airflow: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow)
    window.at("/")
    assert window.arrives_at_provider()
    pages = [one for one in window.requests if one.is_navigation_request() and "/auth/login" in one.url]
    answers = [one.response() for one in pages]
    assert {answer.status for answer in answers if answer} <= {302, 307}, "none of our pages was shown"


def test_two_providers_are_two_buttons_and_a_shut_one_says_so(
    airflow_two: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow_two)
    window.at("/")
    window.page.wait_for_url(re.compile(r"/auth/login/\?next="))
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Sign in to Airflow")
    choices = window.page.get_by_role("listitem")
    expect(choices).to_have_count(3)
    expect(choices.get_by_role("link")).to_have_text(["Sign in with Contoso", "Sign in with Lab accounts"])
    expect(choices.nth(2)).to_contain_text("Broken one")
    expect(choices.nth(2)).to_contain_text("SSO-501")
    expect(choices.nth(2).get_by_role("link")).to_have_count(0)

    window.link("Sign in with Lab accounts").click()
    assert "/generic/" in window.arrives_at_provider()
    window.person("vera").click()
    window.arrives("/")
    assert (window.who() or "").startswith("vera")
