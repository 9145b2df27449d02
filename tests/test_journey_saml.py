"""Signing in with SAML in a real browser, from an identity provider that is really another site.

Over http the provider is ``localhost`` and Airflow ``127.0.0.1``; over https both are hosts of a reverse
proxy. Everywhere else in the tests both are one site to a browser, which then sends every cookie along.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from devidp import server as devidp_server
from devidp.saml_response import Recipe
from devidp.server import Handle
from devidp.settings import Settings
from tests import browser, saml
from tests import stack as stacks
from tests.browser import Window
from tests.certificates import Certificate, new_certificate
from tests.databases import Database
from tests.saml import Conversation, authn_request
from tests.stack import Stack
from tests.tls_proxy import TlsProxy
from tests.wire import Exchange, Wire

pytestmark = browser.journey

open_window = browser.open_window
OpenWindow = Callable[..., Window]

LAB, PORTAL, ENTRA, OIDC = "Laboratory", "Portal", "Contoso (SAML)", "Contoso"
AIRFLOWS_OWN = {"session", "_token"}
NOT_ACCEPTED = "The answer of your identity provider was not accepted"
EXPIRED = "This sign-in has expired"
REFUSED = "You cannot use this Airflow"


# Two sites, three sites


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One for every host behind the proxy, and for the proxy as this machine's processes reach it."""
    hosts = ("airflow.example.test", "login.contoso.test", "localhost")
    return new_certificate(tmp_path_factory.mktemp("tls"), "sites", hosts=hosts)


@pytest.fixture(scope="module")
def chromium(certificate: Certificate) -> Iterator[Browser]:
    """The browser finds every host of ours on this machine, and trusts one key."""
    with browser.running(
        "--host-resolver-rules=MAP *.test 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={certificate.key_hash}",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def shared_airflow_apart(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow at ``127.0.0.1``, whose provider is at ``localhost`` and speaks both protocols."""
    folder = tmp_path_factory.mktemp("apart")
    with stacks.migrated_home(migrated_database, folder / "home") as home:
        home = replace(home, base_url=f"http://127.0.0.1:{home.port}")
        stack = Stack(home, idp=identity_provider)
        entry = partial(saml.entry, identity_provider.url, home.url, keys=saml.our_keys(folder))
        stack.configure(
            [
                entry("generic", "lab-saml", label=LAB, authority="lab"),
                entry(
                    "generic",
                    "lab-unasked",
                    label=PORTAL,
                    authority="lab",
                    idp_initiated="insecure_idp_initiated",
                ),
                entry("entra", "entra-saml", label=ENTRA),
                stacks.entra(identity_provider.url, label=OIDC),
            ]
        )
        try:
            yield stack.start()
        finally:
            stack.stop()


@pytest.fixture
def airflow_apart(shared_airflow_apart: Stack, idp: Handle) -> Stack:
    """The same, known to the honest provider."""
    saml.register(idp, shared_airflow_apart, ["lab-saml", "lab-unasked", "entra-saml"])
    idp.state.client.redirect_uris.add(f"{shared_airflow_apart.auth_url}/oauth-authorized/entra")
    return shared_airflow_apart


@pytest.fixture(scope="module")
def airflow_behind_tls(
    migrated_database: Database, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow and a provider, each behind a reverse proxy, as hosts of two domains.

    Airflow itself reaches the metadata through the proxy too, and trusts its certificate alone.
    """
    folder = tmp_path_factory.mktemp("behind-tls")
    with (
        TlsProxy(certificate) as airflows,
        TlsProxy(certificate) as providers,
        stacks.migrated_home(migrated_database, folder / "home") as home,
    ):
        port = stacks.free_port()
        providers.forward_to(port)
        airflows.forward_to(home.port)
        base_url = airflows.url("airflow.example.test")
        home = replace(
            home, base_url=base_url, extra={**home.extra, "AIRFLOW__FAB__ENABLE_PROXY_FIX": "True"}
        )
        settings = Settings(port=port, base_url=providers.url("login.contoso.test"))
        with devidp_server.start(settings) as idp:
            stack = Stack(home, idp=idp)
            stack.configure(
                [
                    saml.entry(
                        providers.url("localhost"),
                        base_url,
                        "generic",
                        "lab-saml",
                        keys=saml.our_keys(folder),
                        http={"timeout": "3s", "ca_bundle": str(certificate.certificate_file)},
                    )
                ]
            )
            try:
                yield started_behind_a_proxy(stack)
            finally:
                stack.stop()


def started_behind_a_proxy(stack: Stack) -> Stack:
    """Start it as one does there, and let the provider import its metadata."""
    listening = ["--host", "127.0.0.1", "--port", str(stack.home.port), "--workers", "1", "--proxy-headers"]
    server = stack.home.start("api-server", "api-server", *listening)
    stack.processes.append(server)
    server.wait_for_url(stack.home.health_url(), timeout=180)
    answer = stack.visitor().get(stack.home.local_url("/auth/saml/metadata/lab-saml"), timeout=30)
    assert answer.ok, answer.text
    stack.metadata["lab-saml"] = answer.content
    assert stack.idp
    saml.register(stack.idp, stack, ["lab-saml"])
    return stack


class ThirdSite:
    """A site that has nothing to do with either: each of its pages posts one form at once."""

    host = "elsewhere.attacker.test"

    def __init__(self) -> None:
        pages: list[bytes] = []
        self._pages = pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = self.path.strip("/")
                found = number.isdigit()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(pages[int(number)] if found else b"")

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.netloc = f"{self.host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def posts(self, window: Window, conversation: Conversation, response: bytes) -> None:
        """The person comes to a page of this site, and it posts the response to the ACS at once."""
        field = base64.b64encode(response).decode()
        self._pages.append(
            f'<!doctype html><title>Elsewhere</title><link rel="icon" href="data:,">'
            f'<form method="post" action="{conversation.acs}">'
            f'<input type="hidden" name="SAMLResponse" value="{field}"></form>'
            "<script>document.forms[0].submit()</script>".encode()
        )
        window.page.goto(f"http://{self.netloc}/{len(self._pages) - 1}", wait_until="commit")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[ThirdSite]:
    site = ThirdSite()
    yield site
    site.stop()


@pytest.fixture
def talk(airflow_apart: Stack, idp: Handle) -> Conversation:
    """What somebody can do with the provider and the ACS from a machine of their own."""
    return Conversation(airflow_apart, idp.state, "lab-saml", "generic", airflow_apart.visitor())


# What the browser sends, and keeps back


@pytest.mark.parametrize("where", ["http", "https"])
def test_the_post_across_sites_carries_nothing_and_the_get_after_it_does(
    request: pytest.FixtureRequest, open_window: OpenWindow, where: str
) -> None:
    stack = request.getfixturevalue("airflow_apart" if where == "http" else "airflow_behind_tls")
    binding = "airflow_sso_attempt" if where == "http" else "__Host-airflow_sso_attempt"
    window = open_window(stack)
    wire = Wire(window.page)
    window.at("/dags")
    if where == "http":  # where there is a choice
        window.link(f"Sign in with {LAB}").click()
    assert window.arrives_at_provider().startswith(
        "http://localhost:" if where == "http" else "https://login."
    )
    window.person("vera").click()
    window.arrives("/dags")
    expect(window.page.get_by_role("button", name="Browse")).to_be_visible()
    window.keep(f"saml_{where}_vera_dags")
    assert who(window) == "vera"
    assert stack.roles_of("vera") == {"Viewer"}
    the_cookies_are_as_they_should_be(wire, binding, secure=where == "https")
    nothing_came_along(stack, wire, {binding})

    # Over a session: now the browser has everything that it could send, and sends nothing of it.
    window.at("/auth/login/lab-saml?next=/dags")
    window.arrives_at_provider()
    window.person("ada").click()
    window.arrives("/dags")
    assert who(window) == "ada"
    assert stack.roles_of("ada") == {"Admin"}
    nothing_came_along(stack, wire, {binding, *AIRFLOWS_OWN})


def who(window: Window) -> str | None:
    """Who Airflow's API thinks this is; the page asks, so that the browser's own rules hold."""
    script = "fetch('/ui/auth/me').then(answer => answer.ok ? answer.json() : {username: null})"
    name = window.page.evaluate(script)["username"]
    return None if name is None else str(name)


def the_cookies_are_as_they_should_be(wire: Wire, binding: str, *, secure: bool) -> None:
    """Ours as strict as can be; Airflow's own with the SameSite that Airflow wrote."""
    kept = wire.cookies()
    ours = kept[binding]
    assert (ours["httpOnly"], ours["sameSite"], ours["secure"], ours["path"]) == (True, "Lax", secure, "/")
    assert not ours["domain"].startswith("."), "for this host alone"
    assert {name: kept[name].get("sameSite") for name in AIRFLOWS_OWN} == dict.fromkeys(AIRFLOWS_OWN, "Lax")
    assert kept["_token"]["secure"] is secure
    assert all(kept[name]["httpOnly"] for name in AIRFLOWS_OWN)


def nothing_came_along(stack: Stack, wire: Wire, had: set[str]) -> None:
    """The last POST to the ACS left behind what the browser had, and the GET after it brought that."""
    posted = wire.exchanges("POST", f"{stack.auth_url}/saml/acs/lab-saml")[-1]
    assert posted.cookie_header == ""
    assert posted.sent == set()
    for name in had:  # Chromium says "SchemefulSameSiteLax" of http and https alike
        assert [reason.removeprefix("Schemeful") for reason in posted.withheld[name]] == ["SameSiteLax"]
    assert (posted.status, posted.set_cookies) == (303, [])
    fetched = wire.exchanges("GET", f"{stack.auth_url}/saml/finish/lab-saml")[-1]
    assert had <= fetched.sent
    assert fetched.status == 302
    assert {name for name in AIRFLOWS_OWN if written(fetched, name)} == AIRFLOWS_OWN


def written(exchange: Exchange, name: str) -> list[str]:
    """Each time that an answer set this cookie to a value; every one of them must say what it is."""
    found = [one for one in exchange.set_cookies if re.match(rf"{name}=[^;]", one)]
    assert all("samesite=lax" in one.lower() and "httponly" in one.lower() for one in found), found
    return found


# Tiles, and what strangers post


def sign_in(window: Window, person: str, path: str = "/dags") -> None:
    window.sign_in(person, provider="lab-saml", path=path)
    assert window.who() == person


def tile_of(stack: Stack, provider: str) -> str:
    """Where a tile on the provider's portal leads, for the Airflow that this entry makes of ours."""
    assert stack.idp
    return f"{stack.idp.url}/generic/saml/start?sp={quote(saml.entity_id(stack.url, provider), safe='')}"


def test_a_tile_changes_who_is_signed_in_by_an_ordinary_sign_in(
    airflow_apart: Stack, idp: Handle, open_window: OpenWindow
) -> None:
    """First somebody whom the provider then knows, and asks nothing; then somebody whom it asks."""
    window = open_window(airflow_apart)
    sign_in(window, "vera")
    vera = airflow_apart.visitor()
    vera.cookies.set("session", window.cookie("session") or "", domain="127.0.0.1")
    vera.headers["Authorization"] = f"Bearer {window.cookie('_token')}"
    assert vera.who() == "vera"

    tile = tile_of(airflow_apart, "lab-saml")
    idp.state.knobs.put({"saml.silent": True})
    wire = Wire(window.page)
    window.page.goto(tile)
    window.person("ada").click()
    window.arrives("/")
    assert window.who() == "ada"
    assert vera.who() is None
    del vera.headers["Authorization"]
    answer = vera.at("/auth/login/", allow_redirects=False)
    assert answer.status_code == 200, "a page with buttons, and not the way in"
    unasked, asked = wire.exchanges("POST", f"{airflow_apart.auth_url}/saml/acs/")
    assert (unasked.cookie_header, unasked.status, unasked.set_cookies) == ("", 303, [])
    assert (asked.cookie_header, asked.status, asked.set_cookies) == ("", 303, [])
    assert len(wire.exchanges("GET", f"{airflow_apart.auth_url}/login/lab-saml")) == 1
    assert window.cookie("airflow_sso_restarted") is None

    idp.state.knobs.reset()
    window.page.goto(tile)
    window.person("otto").click()
    window.page.wait_for_url(re.compile("SAMLRequest="))
    window.person("otto").click()
    window.arrives("/")
    assert window.who() == "otto"


def test_a_tile_signs_in_at_once_where_the_settings_allow_it(
    airflow_apart: Stack, open_window: OpenWindow
) -> None:
    """The one answer of the ACS that sets a cookie: it must have come back with the very next request."""
    window = open_window(airflow_apart)
    wire = Wire(window.page)
    window.page.goto(tile_of(airflow_apart, "lab-unasked"))
    window.person("ada").click()
    window.arrives("/")
    assert window.who() == "ada"
    (posted,) = wire.exchanges("POST", f"{airflow_apart.auth_url}/saml/acs/")
    (fetched,) = wire.exchanges("GET", f"{airflow_apart.auth_url}/saml/finish/")
    assert [one.partition("=")[0] for one in posted.set_cookies] == ["airflow_sso_attempt"]
    assert fetched.sent == {"airflow_sso_attempt"}
    assert wire.exchanges("GET", f"{airflow_apart.auth_url}/login/lab-unasked") == []


def test_a_response_that_somebody_else_got_unasked_only_begins_a_sign_in(
    airflow_apart: Stack, talk: Conversation, elsewhere: ThirdSite, open_window: OpenWindow
) -> None:
    """Login CSRF with the attacker's own, valid response."""
    window = open_window(airflow_apart, neighbours=[elsewhere.netloc])
    sign_in(window, "vera")
    before = {name: window.cookie(name) for name in AIRFLOWS_OWN}
    elsewhere.posts(window, talk, talk.answer("otto"))
    assert "SAMLRequest=" in window.arrives_at_provider()
    assert {name: window.cookie(name) for name in AIRFLOWS_OWN} == before
    assert window.who() == "vera"
    window.person("vera").click()
    window.arrives("/")
    assert window.who() == "vera"


def test_a_response_that_somebody_else_asked_for_signs_nobody_in(
    airflow_apart: Stack, talk: Conversation, elsewhere: ThirdSite, open_window: OpenWindow
) -> None:
    """With and without an attempt of the victim's own, and whoever the victim is."""
    window = open_window(airflow_apart, neighbours=[elsewhere.netloc])
    elsewhere.posts(window, talk, talk.ask("/dags").answer("otto"))
    window.shows("SSO-101", EXPIRED)
    assert window.who() is None
    assert window.context.cookies() == []

    sign_in(window, "vera")
    before = {name: window.cookie(name) for name in AIRFLOWS_OWN}
    wire = Wire(window.page)
    window.at("/auth/login/lab-saml?next=/assets")
    window.arrives_at_provider()
    elsewhere.posts(window, talk, talk.ask("/dags").answer("otto"))
    window.shows("SSO-101", EXPIRED)
    window.keep("saml_forged")
    assert wire.exchanges("POST", talk.acs)[-1].set_cookies == []
    assert {name: window.cookie(name) for name in AIRFLOWS_OWN} == before
    assert window.who() == "vera"
    window.at("/dags")
    assert who(window) == "vera"


def test_what_is_no_response_at_all_takes_nobodys_session(
    airflow_apart: Stack, talk: Conversation, elsewhere: ThirdSite, open_window: OpenWindow
) -> None:
    window = open_window(airflow_apart, neighbours=[elsewhere.netloc])
    sign_in(window, "vera")
    before = {name: window.cookie(name) for name in AIRFLOWS_OWN}
    elsewhere.posts(window, talk, b"<nonsense/>")
    window.shows("SSO-201", NOT_ACCEPTED)
    assert {name: window.cookie(name) for name in AIRFLOWS_OWN} == before
    assert window.who() == "vera"


# Refusals


def tampered(window: Window, talk: Conversation, elsewhere: ThirdSite) -> Recipe:
    """This window's own attempt is answered, but for one address in the assertion."""
    window.at("/auth/login/lab-saml?next=/dags")
    talk.request_id = authn_request(window.arrives_at_provider()).get("ID")
    recipe = talk.recipe("ada")
    response = talk.answer("ada")
    changed = response.replace(b"ada@contoso.example", b"eve@contoso.example")
    assert changed != response
    elsewhere.posts(window, talk, changed)
    window.shows("SSO-201", NOT_ACCEPTED)
    return recipe


def test_a_response_that_was_tampered_with_is_refused_and_nothing_of_it_is_shown(
    airflow_apart: Stack, talk: Conversation, elsewhere: ThirdSite, open_window: OpenWindow
) -> None:
    window = open_window(airflow_apart, neighbours=[elsewhere.netloc])
    wire = Wire(window.page)
    recipe = tampered(window, talk, elsewhere)
    window.keep("saml_tampered")
    said = [value for one in recipe.attributes or () for value in one.values]
    assert {"ada", "ada@contoso.example", "Lovelace", "airflow_prod_admin"} <= set(said)
    shown = window.page.content()
    for value in (*said, "eve@contoso.example", recipe.name_id or "", talk.request_id or ""):
        assert not re.search(rf"\b{re.escape(value)}\b", shown, re.IGNORECASE), value
    assert wire.exchanges("POST", talk.acs)[-1].set_cookies == []
    assert window.who() is None

    reference = window.fact("Reference")
    rows = airflow_apart.rows("select event, code, username from sso_decision where reference = ?", reference)
    assert rows == [{"event": "sign_in_refused", "code": "SSO-201", "username": None}]
    window.link("Try again").click()
    window.arrives_at_provider()
    window.person("ada").click()
    window.arrives("/dags")
    assert window.who() == "ada"


def test_a_person_without_a_role_is_refused_by_name(airflow_apart: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_apart)
    window.at("/auth/login/lab-saml?next=/dags")
    window.person("nora").click()
    window.shows("SSO-301", REFUSED)
    expect(window.page.get_by_role("main")).to_contain_text("You signed in as nora")
    window.keep("saml_refused_nora")
    assert window.who() is None
    window.link("Use another account").click()
    asked = authn_request(window.arrives_at_provider())
    assert asked.get("ForceAuthn") == "true"
    window.person("vera").click()
    window.arrives("/dags")
    assert window.who() == "vera"


def test_cancelling_ends_on_a_calm_page(airflow_apart: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_apart)
    window.at("/auth/login/lab-saml?next=/dags")
    window.person("").click()
    window.shows("SSO-104", "The sign-in was not completed")
    assert window.who() is None


@pytest.mark.parametrize("name", ["tampered", "refused"])
def test_a_refusal_is_there_for_everyone(
    airflow_apart: Stack, talk: Conversation, elsewhere: ThirdSite, open_window: OpenWindow, name: str
) -> None:
    window = open_window(airflow_apart, neighbours=[elsewhere.netloc], bypass_csp=True)
    if name == "tampered":
        tampered(window, talk, elsewhere)
    else:
        window.at("/auth/login/lab-saml")
        window.person("nora").click()
        window.shows("SSO-301", REFUSED)
    window.is_there_for_everyone(f"saml_{name}")


# Ways of people


def test_going_back_after_a_sign_in_and_pressing_again_is_answered_honestly(
    airflow_apart: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow_apart)
    sign_in(window, "vera")
    window.page.go_back()
    assert "SAMLRequest=" in window.arrives_at_provider()
    window.person("vera").click()
    window.shows("SSO-101", EXPIRED)
    window.keep("saml_back_button")
    assert window.who() == "vera", "the session that exists is left alone"
    window.link("Try again").click()
    window.arrives_at_provider()
    window.person("vera").click()
    window.arrives("/")
    assert window.who() == "vera"


def test_a_reloaded_finish_opens_nothing(airflow_apart: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_apart)
    sign_in(window, "vera")
    (finish,) = {one.url for one in window.requests if "/auth/saml/finish/" in one.url}
    window.context.clear_cookies(name="session")
    window.context.clear_cookies(name="_token")
    window.page.goto(finish)
    window.shows("SSO-101", EXPIRED)
    assert window.who() is None


def test_two_tabs_that_started_before_either_finished_both_finish(
    airflow_apart: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow_apart)
    first, second = window.page, window.context.new_page()
    window.at("/auth/login/lab-saml?next=/dags", page=first)
    window.at("/auth/login/entra-saml?next=/assets", page=second)
    window.person("vera", page=second).click()
    window.arrives("/assets", page=second)
    window.person("ada", page=first).click()
    window.arrives("/dags", page=first)
    assert window.who() == "ada", "who signed in last"


def test_signing_in_needs_no_script(airflow_apart: Stack, open_window: OpenWindow) -> None:
    window = open_window(airflow_apart, java_script_enabled=False)
    window.at("/auth/login/?next=/dags")
    window.link(f"Sign in with {LAB}").click()
    window.person("vera").click()
    expect(window.page.get_by_role("heading", level=1)).to_have_text("Going back")
    window.keep("saml_without_script")
    window.page.get_by_role("button", name="Continue").click()
    window.arrives("/dags")
    assert window.who() == "vera"


def test_both_protocols_side_by_side_and_the_keyboard_alone(
    airflow_apart: Stack, open_window: OpenWindow
) -> None:
    window = open_window(airflow_apart)
    window.at("/auth/login/?next=/dags")
    expect(window.page.get_by_role("listitem").get_by_role("link")).to_have_text(
        [f"Sign in with {label}" for label in (LAB, PORTAL, ENTRA, OIDC)]
    )
    window.keep("saml_sign_in_page")
    reached = []
    for _ in range(4):
        window.page.keyboard.press("Tab")
        reached.append(window.page.evaluate("document.activeElement.innerText.trim()"))
    assert reached == [f"Sign in with {label}" for label in (LAB, PORTAL, ENTRA, OIDC)]
    for _ in range(3):
        window.page.keyboard.press("Shift+Tab")
    window.keep("saml_focus")
    window.page.keyboard.press("Enter")
    assert "/generic/saml/sso" in window.arrives_at_provider()
    window.page.keyboard.press("Tab")
    window.page.keyboard.press("Enter")
    window.arrives("/dags")
    assert window.who() == "ada"


def test_one_person_comes_through_either_protocol(airflow_apart: Stack, open_window: OpenWindow) -> None:
    """Entra's SAML and its OIDC name the same object, so it is one account."""
    names = []
    for label in (ENTRA, OIDC):
        window = open_window(airflow_apart)
        window.at("/auth/login/?next=/dags")
        window.link(f"Sign in with {label}").click()
        window.person("otto").click()
        window.arrives("/dags")
        names.append(window.who())
    assert names == ["otto@contoso.example"] * 2
