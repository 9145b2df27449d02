"""Signing in through a SAML identity provider that others wrote: SimpleSAMLphp.

Whatever it can be told to sign and to encrypt is signed and encrypted here, and its keys are rolled
over while people sign in. What must stay true: it reads our metadata with its own parser, and beside
each refusal the same sign-in succeeds with the one thing changed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from lxml import etree
from playwright.sync_api import expect

from tests import browser, simplesamlphp, stack
from tests.browser import Window
from tests.certificates import Certificate, new_certificate
from tests.databases import Database
from tests.lines import route
from tests.simplesamlphp import SimpleSamlPhp, asks_for_password, hidden_fields, post_on
from tests.stack import Stack, Visitor, facts

chromium, open_window = browser.chromium, browser.open_window

NAMESPACES = {
    "saml": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}
SIGNS_RESPONSE = {"saml20__sign__response": True, "saml20__sign__assertion": False}
SIGNS_ASSERTION = {"saml20__sign__response": False, "saml20__sign__assertion": True}
SIGNS_BOTH = {"saml20__sign__response": True, "saml20__sign__assertion": True}
SIGNS_NOTHING = {"saml20__sign__response": False, "saml20__sign__assertion": False}
ENCRYPTS = {"assertion__encryption": True}
ENCRYPTS_NAME = {"nameid__encryption": True}


@dataclass(frozen=True)
class Variant:
    """One entry of ours, and how the peer treats it."""

    settings: dict[str, Any]
    options: dict[str, Any]
    has_keys: bool = True

    @property
    def shows(self) -> set[str]:
        """What can be seen of it in a response on its way."""
        if self.options.get("assertion__encryption"):
            within = {"encrypted assertion"}
        else:
            within = {"signed assertion"} if self.options.get("saml20__sign__assertion") else set()
            within |= {"encrypted name"} if self.options.get("nameid__encryption") else set()
        # What our metadata does not ask for is left to the peer, and it signs the response.
        return within | ({"signed response"} if self.options.get("saml20__sign__response", True) else set())


#: By the name of the provider in our configuration.
VARIANTS = {
    "as-imported": Variant({}, {}),
    "assertion": Variant({"want_signed": "assertion"}, SIGNS_ASSERTION),
    "response": Variant({"want_signed": "response"}, SIGNS_RESPONSE, has_keys=False),
    "both": Variant({"want_signed": "both"}, SIGNS_BOTH),
    "encrypted": Variant({"want_signed": "assertion"}, {**ENCRYPTS, **SIGNS_ASSERTION}),
    "encrypted-in-signed": Variant({"want_signed": "response"}, {**ENCRYPTS, **SIGNS_RESPONSE}),
    "encrypted-both": Variant({"want_signed": "both"}, {**ENCRYPTS, **SIGNS_BOTH}),
    "name-in-assertion": Variant({"want_signed": "assertion"}, {**ENCRYPTS_NAME, **SIGNS_ASSERTION}),
    "name-in-response": Variant({"want_signed": "response"}, {**ENCRYPTS_NAME, **SIGNS_RESPONSE}),
    "name-twice": Variant({"want_signed": "both"}, {**ENCRYPTS_NAME, **ENCRYPTS, **SIGNS_BOTH}),
    "fresh": Variant({"force_authn": True}, SIGNS_BOTH),
}
#: Treated by the tests themselves; ``rolled*`` know the peer whose keys are rolled over.
OTHERS = ("any", "rolled", "rolled-early", "rolled-pinned")
#: Those whose people are signed out both ways, every message signed: what the peer does differently, and
#: which of the two bindings it says that it takes itself.
SIGNED_LOGOUT = {"sign__logout": True, "validate__logout": True}
SIGNS_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "out-redirect": ({}, "HTTP-Redirect"),
    "out-post": ({"post_only": True}, "HTTP-POST"),
    "out-named": (ENCRYPTS_NAME, "HTTP-Redirect"),
}


@dataclass(frozen=True)
class Federation:
    """An Airflow and two identity providers, of which the second changes its keys."""

    airflow: Stack
    peer: SimpleSamlPhp
    rolling: SimpleSamlPhp
    parsed: dict[str, dict[str, Any]]
    """What the peer's own parser read in our metadata, by the provider's name."""

    def our_metadata(self, name: str) -> bytes:
        answer = self.airflow.visitor().at(f"/auth/saml/metadata/{name}")
        assert answer.ok, answer.text
        return answer.content

    def entity_id(self, name: str) -> str:
        return f"{self.airflow.auth_url}/saml/metadata/{name}"

    def peer_of(self, name: str) -> SimpleSamlPhp:
        return self.rolling if name.startswith("rolled") else self.peer

    def trust(self, name: str, **options: Any) -> None:
        """The peer's administrator registers us once more, with other options."""
        self.parsed[name] = self.peer_of(name).trust(self.our_metadata(name), **options)

    def trust_with_logout(self, name: str, **changes: Any) -> None:
        """Register us with signed logout, by the one binding where there is one."""
        options = {**SIGNS_BOTH, **SIGNED_LOGOUT, **SIGNS_OUT[name][0], **changes}
        if options.pop("post_only", False):
            read = self.peer.trust(self.our_metadata(name))["SingleLogoutService"]
            options["SingleLogoutService"] = [one for one in read if one["Binding"].endswith(":HTTP-POST")]
        self.trust(name, **options)

    @contextmanager
    def treated(self, name: str, **options: Any) -> Iterator[None]:
        """A provider of ours, of which both signatures are the rule, treated otherwise for a while."""
        self.trust(name, **{**SIGNS_BOTH, **options})
        try:
            yield
        finally:
            self.trust(name, **SIGNS_BOTH)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Certificate]:
    """Makes certificates, each name once."""
    folder = tmp_path_factory.mktemp("certificates")
    return functools.cache(lambda name: new_certificate(folder, name))


@pytest.fixture(scope="module")
def php() -> str:
    """Asked for first, so that nothing is started where it is missing."""
    return simplesamlphp.php()


@pytest.fixture(scope="module")
def federation(
    php: str,
    certificate: Callable[[str], Certificate],
    migrated_database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("federation")
    with stack.migrated_home(migrated_database, folder / "home") as home, ExitStack() as running:
        airflow = Stack(home)
        peer, rolling = (
            running.enter_context(SimpleSamlPhp(folder / name, certificate(name), php=php))
            for name in ("peer", "rolling")
        )
        federation = Federation(airflow, peer, rolling, parsed={})
        entries = [entry(federation, name, certificate("airflow")) for name in (*VARIANTS, *OTHERS)]
        entries += [entry_with_logout(federation, name, certificate("airflow"), folder) for name in SIGNS_OUT]
        airflow.configure(entries)
        running.callback(airflow.stop)
        airflow.start()
        for name in (*VARIANTS, *OTHERS):
            federation.trust(name, **(VARIANTS[name].options if name in VARIANTS else SIGNS_BOTH))
        for name in SIGNS_OUT:
            federation.trust_with_logout(name)
        yield federation


def entry(federation: Federation, name: str, certificate: Certificate) -> dict[str, Any]:
    """A peer in ``sso.yaml``; the people of all of them are the same."""
    variant, peer = VARIANTS.get(name, Variant({}, {})), federation.peer_of(name)
    files = {"certificate": certificate.certificate_file, "private_key": certificate.key_file}
    keys = {part: {"file": str(path)} for part, path in files.items()}
    return {
        "name": name,
        "vendor": "generic",
        "protocol": "saml",
        "metadata_url": peer.metadata_url,
        "authority": "saml:people",
        "http": {"timeout": "5s"},
        **({"keys": keys} if variant.has_keys else {}),
        **({"metadata_fingerprint": [fingerprint(peer.certificate)]} if name == "rolled-pinned" else {}),
        **variant.settings,
    }


def entry_with_logout(
    federation: Federation, name: str, certificate: Certificate, folder: Path
) -> dict[str, Any]:
    """The same, where signing out leads to the peer, by the binding that its metadata is made to say."""
    binding = SIGNS_OUT[name][1]
    metadata = requests.get(federation.peer.metadata_url, timeout=30).text
    service = 'SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:'
    assert f"{service}HTTP-Redirect" in metadata
    path = folder / f"{name}.xml"
    path.write_text(metadata.replace(f"{service}HTTP-Redirect", f"{service}{binding}"))
    made = entry(federation, name, certificate)
    del made["metadata_url"]
    return {**made, "metadata_file": str(path), "provider_sign_out": True}


def fingerprint(certificate: Certificate) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.pem)).hexdigest()


def start(federation: Federation, name: str, visitor: Visitor, **query: str) -> requests.Response:
    """Start a sign-in; the peer's page."""
    page = visitor.at(f"/auth/login/{name}", params={"next": "/dags", **query})
    assert page.url.startswith(federation.peer_of(name).url), page.text[:2000]
    return page


def sign_in(
    federation: Federation, name: str, person: str, visitor: Visitor | None = None
) -> tuple[Visitor, requests.Response]:
    """The whole way, of a new visitor unless one is given; the page at its end may be a refusal."""
    visitor = visitor or federation.airflow.visitor()
    page = start(federation, name, visitor)
    return visitor, post_on(federation.peer_of(name).sign_in(page, person, visitor), visitor)


def assert_signs_in(federation: Federation, name: str, person: str = "grace") -> None:
    visitor, page = sign_in(federation, name, person)
    assert visitor.who() == person, f"{facts(page)} on {page.url}: {federation.airflow.log[-2000:]}"
    assert page.url == f"{federation.airflow.url}/dags"


def assert_refused(federation: Federation, name: str, code: str, reason: str, person: str = "grace") -> None:
    """The page shows the code, and the log says why."""
    before = len(federation.airflow.log)
    visitor, page = sign_in(federation, name, person)
    assert visitor.who() is None
    assert facts(page)[0] == code
    assert reason in federation.airflow.log[before:]


# --- what it reads of ours --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["as-imported", "response", "both"])
def test_its_own_parser_reads_our_metadata(federation: Federation, name: str) -> None:
    parsed, url = federation.parsed[name], f"{federation.airflow.auth_url}/saml"
    assert parsed["entityid"] == f"{url}/metadata/{name}"
    (acs,) = parsed["AssertionConsumerService"]
    assert acs["Location"] == f"{url}/acs/{name}"
    assert acs["Binding"].endswith(":HTTP-POST")
    assert {one["Location"] for one in parsed["SingleLogoutService"]} == {f"{url}/slo/{name}"}
    assert parsed["NameIDFormat"] == f"{simplesamlphp.NAME_ID_FORMAT}:persistent"
    uses = [use for key in parsed.get("keys", []) for use in ("signing", "encryption") if key[use]]
    has_keys = VARIANTS.get(name, Variant({}, {})).has_keys
    assert uses == (["signing", "encryption"] if has_keys else [])
    assert parsed["validate.authnrequest"] is has_keys, "that we sign is said there, and it holds us to it"
    assert parsed["saml20.sign.assertion"] is (name == "both")


# --- signed and encrypted ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_its_people_sign_in(federation: Federation, name: str) -> None:
    visitor = federation.airflow.visitor()
    page = federation.peer.sign_in(start(federation, name, visitor), "grace", visitor)
    assert seen_in(page) == VARIANTS[name].shows
    assert post_on(page, visitor).url == f"{federation.airflow.url}/dags"
    assert visitor.who() == "grace"


def seen_in(page: requests.Response) -> set[str]:
    """What of a response on its way can be seen to be signed or encrypted."""
    root = etree.fromstring(base64.b64decode(hidden_fields(page)["SAMLResponse"]))
    places = {
        "signed response": "ds:Signature",
        "signed assertion": "saml:Assertion/ds:Signature",
        "encrypted assertion": "saml:EncryptedAssertion",
        "encrypted name": "saml:Assertion/saml:Subject/saml:EncryptedID",
    }
    return {what for what, place in places.items() if root.find(place, NAMESPACES) is not None}


@pytest.mark.parametrize(("person", "role"), [("grace", "Admin"), ("edsger", "Viewer")])
def test_a_group_of_its_becomes_a_role(federation: Federation, person: str, role: str) -> None:
    assert_signs_in(federation, "name-twice", person)
    assert federation.airflow.roles_of(person) == {role}
    (account,) = federation.airflow.rows(
        "select subject, email, authority from sso_account where username = ?", person
    )
    assert account["subject"].startswith("7d3c1f6a-0b0e-4d51-9f7c-"), "its entryUUID, by way of the NameID"
    assert account["email"] == f"{person}@peer.example"


def test_a_person_without_a_mapped_group_is_refused(federation: Federation) -> None:
    assert_refused(federation, "assertion", "SSO-301", "no rule gives a role", "alan")
    assert_signs_in(federation, "assertion", "edsger")


#: What goes wrong at the peer: the option that does it, the refusal, and its reason in the log.
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "nothing is signed": (SIGNS_NOTHING, "SSO-201", "nothing is signed"),
    "encryption is no signature": ({**SIGNS_NOTHING, **ENCRYPTS}, "SSO-201", "nothing is signed"),
    "sha1": ({"signature__algorithm": simplesamlphp.RSA_SHA1}, "SSO-201", "rsa-sha1"),
    "transient": (
        {"NameIDFormat": f"{simplesamlphp.NAME_ID_FORMAT}:transient"},
        "SSO-205",
        "the NameID is transient",
    ),
    "address": (
        {"NameIDFormat": simplesamlphp.EMAIL_ADDRESS, "simplesaml__nameidattribute": "mail"},
        "SSO-205",
        "which can be given to others",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_it_may_send_and_we_refuse(federation: Federation, fault: str) -> None:
    options, code, reason = FAULTS[fault]
    assert_signs_in(federation, "any")
    with federation.treated("any", **options):
        assert_refused(federation, "any", code, reason)


@pytest.mark.parametrize("options", [SIGNS_RESPONSE, SIGNS_ASSERTION], ids=["response", "assertion"])
def test_one_signature_is_refused_where_both_are_wanted(
    federation: Federation, options: dict[str, bool]
) -> None:
    with federation.treated("both", **options):
        assert_refused(federation, "both", "SSO-201", "want_signed: both")
    with federation.treated("any", **options):
        assert_signs_in(federation, "any")


def test_a_key_that_its_metadata_does_not_name_is_refused(
    federation: Federation, certificate: Callable[[str], Certificate]
) -> None:
    """Although the response carries its certificate along."""
    stranger, own = certificate("stranger"), certificate("peer")
    with federation.treated("any", **signed_by(stranger)):
        assert_refused(federation, "any", "SSO-201", "no signing certificate of the metadata verifies")
    with federation.treated("any", **signed_by(own)):
        assert_signs_in(federation, "any")


def signed_by(certificate: Certificate) -> dict[str, str]:
    return {
        "signature__certificate": str(certificate.certificate_file),
        "signature__privatekey": str(certificate.key_file),
    }


def test_what_is_encrypted_for_another_key_is_refused(
    federation: Federation, certificate: Callable[[str], Certificate]
) -> None:
    with federation.treated("any", **ENCRYPTS):
        assert_signs_in(federation, "any")
        read = federation.parsed["any"]["keys"]
    bare = "".join(certificate("another").pem.splitlines()[1:-1])
    others = [{**key, "X509Certificate": bare} if key["encryption"] else key for key in read]
    with federation.treated("any", **ENCRYPTS, keys=others):
        assert_refused(federation, "any", "SSO-201", "what was encrypted cannot be used")


# --- requests and sessions --------------------------------------------------------------------------


def test_it_takes_our_signed_requests_and_no_others(federation: Federation) -> None:
    visitor = federation.airflow.visitor()
    ours = visitor.at("/auth/login/assertion", allow_redirects=False).headers["Location"]
    request, signature = ours.split("&SigAlg=")
    assert asks_for_password(visitor.get(ours, timeout=30))

    bare = visitor.get(request, timeout=30)
    assert not asks_for_password(bare)
    assert "no signature found on message" in federation.peer.log

    another = visitor.at("/auth/login/assertion", allow_redirects=False).headers["Location"]
    mixed = visitor.get(f"{another.split('&SigAlg=')[0]}&SigAlg={signature}", timeout=30)
    assert not asks_for_password(mixed)
    assert "Unable to validate signature on query string" in federation.peer.log


def test_it_takes_an_unsigned_request_where_our_metadata_promises_none(federation: Federation) -> None:
    """The control of the one above."""
    visitor = federation.airflow.visitor()
    ours = visitor.at("/auth/login/response", allow_redirects=False).headers["Location"]
    assert "Signature=" not in ours
    assert asks_for_password(visitor.get(ours, timeout=30))


def test_a_fresh_proof_is_asked_for_although_it_has_a_session(federation: Federation) -> None:
    visitor, _ = sign_in(federation, "fresh", "grace")
    assert visitor.who() == "grace"
    again = start(federation, "assertion", visitor)
    assert "SAMLResponse" in hidden_fields(again), "its session is used where we do not mind"
    assert post_on(again, visitor).url == f"{federation.airflow.url}/dags"

    assert asks_for_password(start(federation, "fresh", visitor))
    sign_in(federation, "fresh", "edsger", visitor)
    assert visitor.who() == "edsger"


def test_another_account_can_be_used_although_it_remembers_the_first(federation: Federation) -> None:
    visitor, page = sign_in(federation, "assertion", "alan")
    assert facts(page)[0] == "SSO-301"
    page = start(federation, "assertion", visitor, switch="1")
    post_on(federation.peer.sign_in(page, "edsger", visitor), visitor)
    assert visitor.who() == "edsger"


@pytest.mark.parametrize("name", ["assertion", "encrypted-both"])
def test_an_unsolicited_response_starts_a_sign_in_of_ours(federation: Federation, name: str) -> None:
    """A tile on its portal: its session answers our request at once."""
    visitor = federation.airflow.visitor()
    page = visitor.get(federation.peer.unsolicited(federation.entity_id(name)), timeout=30)
    page = federation.peer.sign_in(page, "grace", visitor)
    sent_on = post_on(page, visitor, allow_redirects=False)
    assert sent_on.status_code == 303
    assert urlsplit(sent_on.headers["Location"]).path == route(f"/auth/login/{name}")
    assert visitor.who() is None, "the response that nobody asked for signs nobody in"

    page = visitor.get(sent_on.headers["Location"], timeout=30)
    assert page.url.startswith(federation.peer.url)
    assert post_on(page, visitor).ok
    assert visitor.who() == "grace"


def test_a_response_counts_once_and_in_one_browser(federation: Federation) -> None:
    victim = federation.airflow.visitor()
    page = federation.peer.sign_in(start(federation, "assertion", victim), "grace", victim)
    thief = federation.airflow.visitor()
    stolen = post_on(page, thief)
    assert facts(stolen)[0] == "SSO-101", "the browser that posts it has not asked for it"
    assert thief.who() is None
    replayed = post_on(page, victim)
    assert facts(replayed)[0] in ("SSO-101", "SSO-204")
    assert victim.who() is None


# --- single logout ------------------------------------------------------------------------------------


def is_known_there(federation: Federation, name: str, visitor: Visitor) -> bool:
    """Whether the peer answers for this browser without asking for a password."""
    return "SAMLResponse" in hidden_fields(start(federation, name, visitor))


def held_by(visitor: Visitor) -> Visitor:
    """The same cookies in other hands."""
    copied = visitor.stack.visitor()
    copied.cookies.update(visitor.cookies)
    return copied


@pytest.mark.parametrize("name", SIGNS_OUT)
def test_signing_out_of_airflow_signs_out_there(federation: Federation, name: str) -> None:
    """Our LogoutRequest is signed, which it insists on, and its signed answer is one that we verify."""
    visitor, _ = sign_in(federation, name, "grace")
    assert is_known_there(federation, name, visitor)
    held, before, peer_before = held_by(visitor), len(federation.airflow.log), len(federation.peer.log)
    page = visitor.leave()
    if name == "out-post":
        page = post_on(page, visitor)
        page = post_on(page, visitor)  # its answer, by POST too, as our metadata is registered there
    assert page.url == f"{federation.airflow.auth_url}/signed-out/", page.text[:2000]
    assert held.who() is None
    assert "did not confirm a sign-out" not in federation.airflow.log[before:]
    assert "Received SAML 2.0 LogoutRequest from" in federation.peer.log[peer_before:]
    assert not is_known_there(federation, name, visitor)


@pytest.mark.parametrize("name", SIGNS_OUT)
def test_signing_out_there_signs_out_of_airflow(federation: Federation, name: str) -> None:
    """Its LogoutRequest, with the NameID encrypted at one of them, and our answer that it verifies."""
    visitor, _ = sign_in(federation, name, "grace")
    bystander, _ = sign_in(federation, name, "grace")
    held, peer_before = held_by(visitor), len(federation.peer.log)
    assert held.who() == "grace"
    page = visitor.get(federation.peer.sign_out_url, timeout=30)
    if name == "out-post":
        page = post_on(page, visitor)
        assert "You are signed out of Airflow" in page.text
        page = post_on(page, visitor)
    assert page.ok, page.text[:2000]
    assert page.url.startswith(federation.peer.url)
    assert held.who() is None
    assert bystander.who() == "grace", "another session of the same person"
    said = federation.peer.log[peer_before:]
    assert "Received SAML 2.0 LogoutResponse from" in said
    assert "Unsuccessful logout" not in said
    assert not is_known_there(federation, name, visitor)


def test_an_unsigned_logout_request_of_its_ends_nothing(federation: Federation) -> None:
    """The control is the one above."""
    federation.trust_with_logout("out-redirect", sign__logout=False)
    try:
        visitor, _ = sign_in(federation, "out-redirect", "edsger")
        held = held_by(visitor)
        before = len(federation.airflow.log)
        page = visitor.get(federation.peer.sign_out_url, timeout=30)
        assert facts(page)[0] == "SSO-201"
        assert "the logout request is not signed" in federation.airflow.log[before:]
        assert held.who() == "edsger"
    finally:
        federation.trust_with_logout("out-redirect")


def test_it_takes_our_logout_request_only_as_we_signed_it(federation: Federation) -> None:
    visitor, _ = sign_in(federation, "out-redirect", "edsger")
    sent = visitor.leave(allow_redirects=False).headers["Location"]
    peer_before = len(federation.peer.log)
    assert visitor.get(sent.partition("&SigAlg=")[0], timeout=30).url.startswith(federation.peer.url)
    assert "no signature found on message" in federation.peer.log[peer_before:]
    assert is_known_there(federation, "out-redirect", visitor)
    page = visitor.get(sent, timeout=30)
    assert page.url == f"{federation.airflow.auth_url}/signed-out/"
    assert not is_known_there(federation, "out-redirect", visitor)


# --- a certificate is rolled over -------------------------------------------------------------------


def test_nobody_notices_that_its_certificate_is_rolled_over(
    federation: Federation, certificate: Callable[[str], Certificate]
) -> None:
    """``rolled`` has read the metadata before the new key stood in it, ``rolled-early`` while both did."""
    rolling, old, new = federation.rolling, certificate("rolling"), certificate("rolling-new")

    def both_sign_in() -> int:
        """How often the metadata was read for it."""
        before = rolling.metadata_requests
        assert_signs_in(federation, "rolled")
        assert_signs_in(federation, "rolled-early", "edsger")
        return rolling.metadata_requests - before

    rolling.sign_with(old)
    assert_signs_in(federation, "rolled")
    rolling.sign_with(old, publish_too=new)
    assert both_sign_in() == 1, "by the one that had not read it"
    rolling.sign_with(new, publish_too=old)
    assert both_sign_in() == 1, "by the one that did not know the new key"
    rolling.sign_with(new)
    assert both_sign_in() == 0


def test_a_key_that_was_pinned_is_not_rolled_over(
    federation: Federation, certificate: Callable[[str], Certificate]
) -> None:
    """The control of the one above: a new key counts because the metadata says so."""
    rolling, old, new = federation.rolling, certificate("rolling"), certificate("rolling-new")
    rolling.sign_with(old, publish_too=new)
    assert_signs_in(federation, "rolled-pinned")
    rolling.sign_with(new, publish_too=old)
    assert_refused(federation, "rolled-pinned", "SSO-201", "no signing certificate of the metadata verifies")


# --- with a browser ---------------------------------------------------------------------------------


def journey(test: Callable[..., None]) -> Callable[..., None]:
    for mark in browser.journey:
        test = mark(test)
    return test


def identify(window: Window, peer: SimpleSamlPhp, person: str) -> None:
    """The peer's sign-in page; its scripts post the response."""
    window.arrives_at_provider()
    window.page.get_by_label("Username").fill(person)
    window.page.get_by_label("Password").fill(peer.password)
    window.page.get_by_role("button", name="Login").click()


@journey
def test_a_browser_comes_from_its_page_with_no_more_than_its_cookies_allow(
    federation: Federation, open_window: Callable[..., Window]
) -> None:
    """The peer is another site, so that the browser's post brings no Lax cookie along."""
    window = open_window(federation.airflow, provider_url=federation.peer.url)
    window.at("/dags")
    window.link("Sign in with encrypted").click()
    identify(window, federation.peer, "grace")
    window.arrives("/dags")
    expect(window.page.get_by_role("button", name="Security")).to_be_visible()
    window.keep("peer_saml")
    assert window.who() == "grace"


@journey
def test_a_browser_comes_from_a_tile_of_its_portal(
    federation: Federation, open_window: Callable[..., Window]
) -> None:
    window = open_window(federation.airflow, provider_url=federation.peer.url)
    window.page.goto(federation.peer.unsolicited(federation.entity_id("assertion")))
    identify(window, federation.peer, "edsger")
    window.arrives("/")
    assert window.who() == "edsger"
