"""Signing in through an OpenID provider that others wrote: npm ``oidc-provider``, with its own pages.

Our plugin and our local provider were written by the same people, and may share a misunderstanding.
This provider is certified, insists on PKCE, announces ``iss`` and asks for consent.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from playwright.sync_api import expect

from demo.processes import Process
from devidp.settings import DEFAULT_CLIENT_SECRET
from tests import browser, stack
from tests.browser import PEER, Window
from tests.databases import Database
from tests.stack import Stack

pytestmark = browser.journey

chromium, open_window = browser.chromium, browser.open_window
OpenWindow = Callable[..., Window]

_SUITABLE = "process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)"


@pytest.fixture(scope="module")
def node() -> str:
    """A Node.js that the package runs on, and the package itself."""
    executable = shutil.which("node")
    if not executable or subprocess.run([executable, "-e", _SUITABLE], check=False).returncode:
        browser.missing("there is no Node.js here that is 18 or newer")
    if not (PEER / "node_modules" / "oidc-provider").exists():
        browser.missing(f"oidc-provider is not installed (npm ci in {PEER})")
    return executable


@dataclass(frozen=True)
class Peers:
    """An Airflow, and the issuers of the two peers that are its providers, by their names in it."""

    airflow: Stack
    issuers: dict[str, str]


@pytest.fixture(scope="module")
def peers(
    node: str, migrated_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peers]:
    """The provider ``id_token`` tells about people in the ID token, the other one in userinfo only."""
    path = tmp_path_factory.mktemp("peers") / "home"
    with stack.migrated_home(migrated_database, path) as home, ExitStack() as running:
        airflow = Stack(home)
        ports = {name: stack.free_port() for name in ("id_token", "userinfo")}
        issuers = {name: f"http://localhost:{port}" for name, port in ports.items()}
        airflow.configure([entry(name, issuer) for name, issuer in issuers.items()])
        for name, port in ports.items():
            redirect_uri = f"{airflow.auth_url}/oauth-authorized/{name}"
            peer = Process(
                f"peer-{name}",
                [node, str(PEER / "server.mjs"), str(port), redirect_uri, name],
                log=home.logs / f"peer-{name}.log",
                env={
                    **home.environment(),
                    "CLIENT_SECRET": DEFAULT_CLIENT_SECRET,
                    "SIGNED_OUT_URI": f"{airflow.auth_url}/signed-out/",
                    "BACKCHANNEL_LOGOUT_URI": f"{airflow.auth_url}/logout/backchannel/{name}",
                },
            )
            running.enter_context(peer)
            peer.wait_for_url(f"{issuers[name]}/.well-known/openid-configuration")
        running.callback(airflow.stop)
        airflow.start()
        yield Peers(airflow, issuers)


def entry(name: str, issuer: str) -> dict[str, Any]:
    """A peer in ``sso.yaml``; what is named under ``claims`` is asked for in userinfo too."""
    named = {"username": "preferred_username", "email": "email", "groups": "groups"}
    return stack.generic(
        "",
        name=name,
        label=name,
        issuer=issuer,
        client_id="airflow",
        scopes=["openid", "profile", "email", "groups"],
        claims=named if name == "userinfo" else {},
        provider_sign_out=True,
    )


@pytest.fixture
def visit(peers: Peers, open_window: OpenWindow) -> Callable[..., Window]:
    """Opens windows of people who can see this Airflow and one of its providers, and nothing else."""

    def open_one(provider: str = "id_token") -> Window:
        window = open_window(peers.airflow, provider_url=peers.issuers[provider])
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


@pytest.mark.parametrize("provider", ["id_token", "userinfo"])
@pytest.mark.parametrize(("login", "role"), [("grace", "Admin"), ("edsger", "Viewer")])
def test_a_group_of_the_peers_becomes_a_role(
    peers: Peers, visit: Callable[..., Window], provider: str, login: str, role: str
) -> None:
    window = visit(provider)
    window.at("/dags")
    window.link(f"Sign in with {provider}").click()
    identify(window, login)
    window.arrives("/dags")
    expect(window.page.get_by_role("button", name="Browse")).to_be_visible()
    expect(window.page.get_by_role("button", name="Admin")).to_have_count(1 if role == "Admin" else 0)
    window.keep(f"peer_{provider}_{login}")

    username = window.who()
    assert username in (login, f"{login}~2"), "whoever comes through the other provider is another person"
    assert peers.airflow.roles_of(username) == {role}
    assert window.get("/api/v2/connections") == (200 if role == "Admin" else 403)
    assert callback(window)["iss"] == [peers.issuers[provider]]
    links = peers.airflow.rows(
        "select username, email from sso_account where subject = ? and provider = ?", login, provider
    )
    assert links == [{"username": login, "email": f"{login}@peer.example"}]


def test_the_peer_tells_when_somebody_proved_who_they_are(peers: Peers, visit: Callable[..., Window]) -> None:
    """It puts ``auth_time`` into an ID token only for who asks for ``max_age``, and takes no ``claims``."""
    required = [{"claim": "auth_time", "within": "1h"}]
    peers.airflow.map({**stack.default_mapping(), "require": required})
    try:
        window = visit()
        window.at("/dags")
        window.link("Sign in with id_token").click()
        identify(window, "grace")
        window.arrives("/dags")
        assert window.who() == "grace"
        peers.airflow.map(
            {**stack.default_mapping(), "require": [*required, {"claim": "amr", "contains": "mfa"}]}
        )
        another = visit()
        another.at("/dags")
        another.link("Sign in with id_token").click()
        identify(another, "edsger")
        expect(another.page.get_by_text("SSO-308")).to_be_visible()
    finally:
        peers.airflow.map(stack.default_mapping())


def test_a_person_of_the_peers_without_a_mapped_group_is_refused(visit: Callable[..., Window]) -> None:
    window = visit()
    window.at("/auth/login/id_token?next=/dags")
    identify(window, "alan")
    window.shows("SSO-301", "You cannot use this Airflow")
    expect(window.page.get_by_role("main")).to_contain_text("You signed in as alan")
    window.keep("peer_refused")
    assert window.get("/ui/auth/me") == 401


def test_going_away_from_the_peers_page_ends_calmly(visit: Callable[..., Window]) -> None:
    window = visit()
    window.at("/auth/login/id_token?next=/dags")
    window.arrives_at_provider()
    window.keep("peer_sign_in")
    window.page.get_by_role("link", name="Cancel").click()
    window.shows("SSO-104", "The sign-in was not completed")
    assert callback(window)["error"] == ["access_denied"]
    window.link("Try again").click()
    identify(window, "edsger")
    window.arrives("/dags")


def test_another_account_can_be_used_although_the_peer_remembers_the_first(
    visit: Callable[..., Window],
) -> None:
    """It refuses ``prompt=select_account``; only none and login are every provider's duty (Core, 15.1)."""
    window = visit()
    window.at("/auth/login/id_token?next=/dags")
    identify(window, "alan")
    window.shows("SSO-301", "You cannot use this Airflow")
    with window.page.expect_navigation():
        window.link("Use another account").click()
    assert window.page.url.startswith(f"{window.provider_url}/interaction/"), window.page.inner_text("main")
    identify(window, "edsger")
    window.arrives("/dags")
    assert (window.who() or "").startswith("edsger")


def test_signing_out_of_airflow_signs_out_of_the_peer(visit: Callable[..., Window]) -> None:
    window = visit()
    window.at("/auth/login/id_token?next=/dags")
    identify(window, "edsger")
    window.arrives("/dags")
    window.at("/auth/logout/")
    assert window.page.url.startswith(f"{window.provider_url}/session/end?")
    assert window.who() is None, "here it has happened already"
    window.page.get_by_role("button", name="Yes, sign me out").click()
    window.arrives("/auth/signed-out/")
    window.at("/auth/login/id_token?next=/dags")
    identify(window, "grace")
    window.arrives("/dags")
    assert (window.who() or "").startswith("grace")


def test_signing_out_of_the_peer_signs_out_of_airflow(peers: Peers, visit: Callable[..., Window]) -> None:
    """The peer's own logout token, sent by itself to what is registered with it."""
    window, elsewhere = visit(), visit()
    for one in (window, elsewhere):
        one.at("/auth/login/id_token?next=/dags")
        identify(one, "edsger")
        one.arrives("/dags")
    window.page.goto(f"{window.provider_url}/session/end")
    assert window.who(), "it has only asked yet"
    window.page.get_by_role("button", name="Yes, sign me out").click()
    expect(window.page.get_by_text("Sign-out Success").first).to_be_visible()
    assert window.who() is None
    assert elsewhere.who(), "the same person's session in another browser"
    ended = peers.airflow.rows("select reason from sso_decision where event = 'access_ended'")
    assert [one["reason"] for one in ended] == ["the provider ended it"]


def test_the_peer_lets_nobody_through_without_pkce(peers: Peers) -> None:
    """The control of the sign-ins above: ours carries a challenge, and one without is turned away."""
    visitor = peers.airflow.visitor()
    ours = visitor.at("/auth/login/id_token", allow_redirects=False).headers["Location"]
    asked = parse_qs(urlsplit(ours).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert led_to(ours).startswith(f"{peers.issuers['id_token']}/interaction/")

    bare = {name: value for name, value in asked.items() if not name.startswith("code_challenge")}
    refused = parse_qs(urlsplit(led_to(f"{peers.issuers['id_token']}/auth", bare)).query)
    assert refused["error"] == ["invalid_request"]
    assert "PKCE" in refused["error_description"][0]


def led_to(url: str, query: dict[str, list[str]] | None = None) -> str:
    """Where a request is redirected to."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, params=query, allow_redirects=False, timeout=30)
    assert answer.is_redirect, answer.text[:500]
    return urljoin(url, answer.headers["Location"])
