"""Signing in through an OpenID provider that others wrote: npm ``oidc-provider``, with its own pages.

Our plugin and our local provider were written by the same people, and may share a misunderstanding.
This provider is certified, insists on PKCE, announces ``iss`` and asks for consent.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import expect

from demo.processes import Process
from devidp.settings import DEFAULT_CLIENT_SECRET
from tests import browser, stack
from tests.browser import PEER, Window
from tests.stack import Stack

pytestmark = pytest.mark.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]

_SUITABLE = "process.exit(require('crypto').hash && URL.parse ? 0 : 1)"


@pytest.fixture(scope="module")
def node() -> str:
    """A Node.js that the package runs on, and the package itself."""
    executable = shutil.which("node")
    if not executable or subprocess.run([executable, "-e", _SUITABLE], check=False).returncode:
        browser.missing("there is no Node.js here that is 20.19 or newer")
    if not (PEER / "node_modules" / "oidc-provider").exists():
        browser.missing(f"oidc-provider is not installed (npm ci in {PEER})")
    return executable


@pytest.fixture(scope="module")
def airflow_and_peer(
    node: str, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, str]]:
    """An Airflow whose one provider is the peer, and where the peer is."""
    path = tmp_path_factory.mktemp("peer") / "home"
    with stack.migrated_home(migrated_database, path) as home:
        airflow, port = Stack(home), stack.free_port()
        issuer = f"http://localhost:{port}"
        redirect_uri = f"{airflow.url}/auth/oauth-authorized/generic"
        airflow.configure(
            [
                stack.generic(
                    "",
                    issuer=issuer,
                    client_id="airflow",
                    scopes=["openid", "profile", "email", "groups"],
                )
            ]
        )
        environment = {**home.environment(), "CLIENT_SECRET": DEFAULT_CLIENT_SECRET}
        with Process(
            "oidc-provider",
            [node, str(PEER / "server.mjs"), str(port), redirect_uri],
            log=home.logs / "oidc-provider.log",
            env=environment,
        ) as peer:
            try:
                airflow.start()
                peer.wait_for_url(f"{issuer}/.well-known/openid-configuration")
                yield airflow, issuer
            finally:
                airflow.stop()


@pytest.fixture
def visit(airflow_and_peer: tuple[Stack, str], open_window: OpenWindow) -> Callable[[], Window]:
    """Opens windows of people who can see this Airflow and its provider, and nothing else."""
    airflow, issuer = airflow_and_peer

    def open_one() -> Window:
        window = open_window(airflow, provider_url=issuer)
        # The peer's own page would like a font of somebody else's, which is not what is tested here.
        window.forgive("https://fonts.googleapis.com/")
        return window

    return open_one


def identify(window: Window, login: str) -> None:
    """The peer's sign-in page, then its consent page."""
    window.arrives_at_provider()
    window.page.get_by_placeholder("Enter any login").fill(login)
    window.page.get_by_placeholder("and password").fill("any")
    window.page.get_by_role("button", name="Sign-in").click()
    expect(window.page.get_by_role("heading", name="Authorize")).to_be_visible()
    window.page.get_by_role("button", name="Continue").click()


def callback(window: Window) -> dict[str, list[str]]:
    """What the peer's answer said."""
    (url,) = [one.url for one in window.requests if "/auth/oauth-authorized/" in one.url]
    return parse_qs(urlsplit(url).query)


@pytest.mark.parametrize(
    ("login", "role", "administers"), [("grace", "Admin", True), ("edsger", "Viewer", False)]
)
def test_a_group_of_the_peers_becomes_a_role(
    visit: Callable[[], Window],
    airflow_and_peer: tuple[Stack, str],
    login: str,
    role: str,
    administers: bool,
) -> None:
    airflow, issuer = airflow_and_peer
    window = visit()
    window.at("/dags")
    identify(window, login)
    window.arrives("/dags")
    expect(window.page.get_by_role("button", name="Browse")).to_be_visible()
    expect(window.page.get_by_role("button", name="Security")).to_have_count(1 if administers else 0)
    window.keep(f"peer_{login}")
    assert window.who() == login
    assert airflow.roles_of(login) == {role}
    assert window.get("/api/v2/connections") == (200 if administers else 403)
    assert callback(window)["iss"] == [issuer]
    (link,) = airflow.rows("select subject, email from sso_account where username = ?", login)
    assert link == {"subject": login, "email": f"{login}@peer.example"}


def test_a_person_of_the_peers_without_a_mapped_group_is_refused(visit: Callable[[], Window]) -> None:
    window = visit()
    window.at("/auth/login/?next=/dags")
    identify(window, "alan")
    window.shows("SSO-301", "You cannot use this Airflow")
    expect(window.page.get_by_role("main")).to_contain_text("You signed in as alan")
    window.keep("peer_refused")
    assert window.get("/ui/auth/me") == 401


def test_going_away_from_the_peers_page_ends_calmly(visit: Callable[[], Window]) -> None:
    window = visit()
    window.at("/auth/login/?next=/dags")
    window.arrives_at_provider()
    window.page.get_by_role("link", name="Cancel").click()
    window.shows("SSO-104", "The sign-in was not completed")
    assert callback(window)["error"] == ["access_denied"]
    window.link("Try again").click()
    identify(window, "edsger")
    window.arrives("/dags")


def test_another_account_can_be_used_although_the_peer_remembers_the_first(
    visit: Callable[[], Window], airflow_and_peer: tuple[Stack, str]
) -> None:
    """It refuses ``prompt=select_account``; only none and login are every provider's duty (Core, 15.1)."""
    _, issuer = airflow_and_peer
    window = visit()
    window.at("/auth/login/?next=/dags")
    identify(window, "alan")
    window.shows("SSO-301", "You cannot use this Airflow")
    with window.page.expect_navigation():
        window.link("Use another account").click()
    assert window.page.url.startswith(f"{issuer}/interaction/"), window.page.inner_text("main")
    identify(window, "edsger")
    window.arrives("/dags")
    assert window.who() == "edsger"


def test_the_peer_lets_nobody_through_without_pkce(airflow_and_peer: tuple[Stack, str]) -> None:
    """The control of the sign-ins above: ours carries a challenge, and one without is turned away."""
    airflow, issuer = airflow_and_peer
    visitor = airflow.visitor()
    answer = visitor.at("/auth/login/generic", allow_redirects=False)
    ours = answer.headers["Location"]
    asked = parse_qs(urlsplit(ours).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert _led_to(ours).startswith(f"{issuer}/interaction/")
    bare = requests.Request("GET", f"{issuer}/auth", params=_without(asked, "code_challenge")).prepare().url
    assert bare
    refused = parse_qs(urlsplit(_led_to(bare)).query)
    assert refused["error"] == ["invalid_request"]
    assert "PKCE" in refused["error_description"][0]


def _without(asked: dict[str, list[str]], name: str) -> dict[str, Any]:
    return {key: value for key, value in asked.items() if not key.startswith(name)}


def _led_to(url: str) -> str:
    session = requests.Session()
    session.trust_env = False
    answer = session.get(url, allow_redirects=False, timeout=30)
    assert answer.is_redirect, answer.text[:500]
    return requests.compat.urljoin(url, answer.headers["Location"])
