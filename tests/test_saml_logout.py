"""Single logout: what a provider's LogoutRequest ends and what it does not, and signing out there from here.

Through a running server, with a provider that signs. Beside each refusal the honest request is taken
from the same person's session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from lxml import etree

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from devidp import saml_xml as sx
from devidp.saml_faces import HOME_IDP
from devidp.saml_logout_attacks import LOGOUT_ATTACKS, comment_in_name, other_name
from devidp.server import Handle
from tests import saml
from tests import stack as stacks
from tests.certificates import new_certificate
from tests.databases import Database
from tests.lines import both_lines
from tests.saml_logout import Answer, Guest, arriving, heard, host_of, press_form, send, told
from tests.stack import Stack, Visitor, driver, facts
from tests.test_revocation import assert_out, claims, client, copy_of, is_in, is_in_fab, session_of

pytestmark = pytest.mark.server

REDIRECT, POST = sx.REDIRECT, sx.POST
MD = "{urn:oasis:names:tc:SAML:2.0:metadata}"
#: Name, face of the local provider, and what its entry says besides; ``only`` is what is left of the
#: addresses for logout in its metadata.
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("generic", {"provider_sign_out": True}),
    "entra": ("entra", {"provider_sign_out": True}),
    "pingone": ("pingone", {"provider_sign_out": True, "only": POST}),
    "unsigned": ("generic", {"insecure_unsigned_logout": True, "keys": None, "provider_sign_out": True}),
    "deaf": ("generic", {"only": "nothing"}),
}
SignIn = Callable[..., Guest]


def metadata_file(folder: Path, idp: Handle, face: str, only: str) -> str:
    """A copy of a provider's metadata with no other way for logout than one."""
    root = etree.fromstring(driver(idp).saml_metadata(face))
    for service in list(root.iter(f"{MD}SingleLogoutService")):
        if service.get("Binding") != only:
            service.getparent().remove(service)
    path = folder / f"{face}-{only.rpartition(':')[2]}.xml"
    path.write_bytes(etree.tostring(root))
    return str(path)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our own keys."""
    return new_certificate(tmp_path_factory.mktemp("keys"), "service-provider")


@pytest.fixture(scope="module")
def shared(
    migrated_database: Database,
    identity_provider: Handle,
    certificate: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """An Airflow whose people can be signed out by their providers."""
    folder = tmp_path_factory.mktemp("logout")
    keys = {
        "certificate": {"file": str(certificate.certificate_file)},
        "private_key": {"file": str(certificate.key_file)},
    }
    with stacks.migrated_home(migrated_database, folder / "home") as home:
        entries = []
        for name, (face, more) in PROVIDERS.items():
            changes = {"keys": keys, **more}
            only = changes.pop("only", None)
            if only:
                changes["metadata_file"] = metadata_file(folder, identity_provider, face, only)
                changes["metadata_url"] = None
            entry = saml.entry(identity_provider.url, home.url, face, name, **changes)
            entries.append({key: value for key, value in entry.items() if value is not None})
        stack = Stack(home, idp=identity_provider)
        stack.configure(entries)
        try:
            yield stack.start()
        finally:
            stack.stop()


@pytest.fixture
def stack(shared: Stack, idp: Handle) -> Stack:
    saml.register(idp, shared, list(PROVIDERS))
    shared.map(stacks.default_mapping())
    return shared


@pytest.fixture
def sign_in(stack: Stack, idp: Handle) -> SignIn:
    """Somebody new at a browser, signed in through a provider that remembers it."""

    def signed_in(provider: str = "plain", person: str = "ada", **changes: Any) -> Guest:
        guest, talk, posted = arriving(stack, idp, provider, PROVIDERS[provider][0], person, **changes)
        page = talk.follow(posted)
        assert page.ok, facts(page)
        assert is_in(guest.visitor)
        return guest

    return signed_in


@pytest.fixture
def our_certificate(certificate: Any) -> bytes:
    made: bytes = certificate.pem.encode()
    return made


def ends_by(guest: Guest, page: requests.Response, codes: list[str], pem: bytes | None) -> Answer:
    """Our answer, after a look whether it says what it must."""
    answer = Answer.of(page, pem)
    assert answer.codes == codes
    assert answer.tree.get("Destination") == answer.address
    assert answer.tree.findtext("{*}Issuer") == guest.participant.sp
    return answer


# --- the provider signs somebody out ------------------------------------------------------------------


@both_lines
@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
@pytest.mark.parametrize("provider", ["plain", "entra", "pingone"])
def test_exactly_the_session_of_the_index_ends(
    sign_in: SignIn, stack: Stack, idp: Handle, our_certificate: bytes, provider: str, binding: str
) -> None:
    """In the browser and on every token; another session of the same person goes on, and so do others'."""
    here, elsewhere, bystander = sign_in(provider), sign_in(provider), sign_in(provider, "vera")
    script, other_script = client(here.visitor), client(elsewhere.visitor)
    assert is_in_fab(here.visitor)
    carrier = stack.visitor()
    sent = here.request(binding, relay_state="theirs")
    page = send(carrier, sent)
    answer = ends_by(here, page, ["Success"], our_certificate)
    assert answer.relay_state == "theirs"
    assert page.headers["Cache-Control"] == "no-store"
    assert_out(here.visitor)
    assert not is_in(script)
    for one in (elsewhere, bystander):
        assert is_in(one.visitor)
        assert is_in_fab(one.visitor)
    assert is_in(other_script)

    if page.is_redirect:
        assert carrier.get(page.headers["Location"], timeout=30).ok
    else:
        assert "You are signed out of Airflow" in page.text
        assert "<script" not in page.text
        assert press_form(carrier, page).ok
    got = heard(idp, here.face)
    assert got["outcome"] == "logout response: Success"
    assert got["saml"]["signed"], "and the provider refuses a signature that does not hold"
    (row,) = stack.rows(
        "select event, reason, detail from sso_decision where event = 'access_ended' order by id desc limit 1"
    )
    assert row["reason"] == "the provider ended it (single logout)"
    assert session_of(here.visitor) in row["detail"]


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
def test_without_an_index_every_session_of_the_person_ends(sign_in: SignIn, binding: str) -> None:
    """At this provider: what another provider calls the same name is another person's."""
    first, second, bystander = sign_in("plain"), sign_in("plain"), sign_in("plain", "vera")
    at_another = sign_in("deaf")
    assert at_another.participant.name_id == first.participant.name_id
    page = send(first.stack.visitor(), first.request(binding, session_index=""))
    assert Answer.of(page, None).codes == ["Success"]
    assert_out(first.visitor)
    assert_out(second.visitor)
    assert is_in(bystander.visitor)
    assert is_in(at_another.visitor)


def test_several_indexes_end_several_sessions(sign_in: SignIn) -> None:
    first, second, third = sign_in("plain"), sign_in("plain"), sign_in("plain")
    indexes = tuple(one.participant.session_index for one in (first, second))
    context = first.context()
    page = send(first.stack.visitor(), context.redirect(context.changed(session_indexes=indexes)))
    assert Answer.of(page, None).codes == ["Success"]
    assert_out(first.visitor)
    assert_out(second.visitor)
    assert is_in(third.visitor)


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
def test_a_name_that_is_encrypted_for_us_is_read(
    sign_in: SignIn, our_certificate: bytes, binding: str
) -> None:
    guest = sign_in("plain")
    context = guest.context()
    tree = context.changed(encrypted_for=our_certificate)
    assert guest.participant.name_id.encode() not in sx.text_of(tree)
    page = send(guest.stack.visitor(), context.redirect(tree) if binding == REDIRECT else context.post(tree))
    assert Answer.of(page, our_certificate).codes == ["Success"], facts(page)
    assert_out(guest.visitor)


def test_an_unknown_session_is_a_success_too(sign_in: SignIn, our_certificate: bytes) -> None:
    """It is not open, and that is all that the provider wants."""
    guest = sign_in("plain")
    page = send(guest.stack.visitor(), guest.request(session_index="_unheard_of"))
    ends_by(guest, page, ["Success"], our_certificate)
    page = send(guest.stack.visitor(), guest.request(name_id="nobody-at-all"))
    ends_by(guest, page, ["Success"], our_certificate)
    assert is_in(guest.visitor)


def test_only_whoever_bears_both_names_is_meant(sign_in: SignIn) -> None:
    """The index of one person under the name of another; and a name that begins like the victim's (S13)."""
    guest, attacker = sign_in("plain"), sign_in("plain", "vera")
    for make in (other_name, comment_in_name):
        page = send(guest.stack.visitor(), make(guest.context(attacker)))
        assert Answer.of(page, None).codes == ["Success"], make.__name__
        assert is_in(guest.visitor), make.__name__
        assert is_in(attacker.visitor), make.__name__
    send(guest.stack.visitor(), guest.request())
    assert_out(guest.visitor)


def test_a_provider_that_takes_no_answer_gets_none(sign_in: SignIn) -> None:
    guest = sign_in("deaf")
    page = send(guest.stack.visitor(), guest.request())
    assert page.status_code == 303
    assert page.headers["Location"] == f"{guest.stack.auth_url}/signed-out/"
    assert_out(guest.visitor)


def test_the_browser_that_carries_it_loses_cookies_only_if_they_have_ended(sign_in: SignIn) -> None:
    guest, other = sign_in("plain"), sign_in("plain")
    copies = copy_of(guest.visitor)
    page = send(other.visitor, guest.request())
    assert "_token=" not in page.headers.get("Set-Cookie", "")
    assert is_in(other.visitor)
    assert_out(copies)

    page = send(other.visitor, other.request())
    assert Answer.of(page, None).codes == ["Success"]
    assert not {"session", "_token"} & set(other.visitor.cookies.keys())
    assert_out(copies)


def test_a_long_relay_state_is_not_sent_back(sign_in: SignIn) -> None:
    """Bindings 3.4.3: eighty bytes; the control has eighty."""
    guest = sign_in("plain")
    for relay_state, sent_back in (("x" * 80, "x" * 80), ("x" * 81, None), ("ä" * 41, None)):
        page = send(guest.stack.visitor(), guest.request(relay_state=relay_state))
        assert Answer.of(page, None).relay_state == sent_back


def test_a_key_that_the_metadata_has_listed_since_counts(sign_in: SignIn, idp: Handle) -> None:
    guest = sign_in("plain")
    driver(idp).rotate_saml("generic", publish="both", sign_with="new")
    page = send(guest.stack.visitor(), guest.request())
    assert Answer.of(page, None).codes == ["Success"], facts(page)
    assert_out(guest.visitor)


@pytest.mark.parametrize(
    ("issuer", "taken"),
    [(HOME_IDP, True), (f"  {HOME_IDP}\n", True), ("https://login.evil.example/", False)],
    ids=["the other name", "with blanks", "a third"],
)
def test_entra_has_two_names(sign_in: SignIn, issuer: str, taken: bool) -> None:
    """Facts C2 and C8; elsewhere there is one."""
    guest = sign_in("entra")
    context = guest.context()
    page = send(guest.stack.visitor(), context.redirect(context.changed(issuer=issuer)))
    assert (page.status_code == 303) is taken
    assert is_in(guest.visitor) is not taken


# --- unsigned ones, where that is asked for -----------------------------------------------------------


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
def test_insecure_unsigned_logout_takes_an_unsigned_request_and_no_bad_signature(
    sign_in: SignIn, idp: Handle, binding: str
) -> None:
    guest = sign_in("unsigned")
    driver(idp).knobs(saml__logout="foreign_key")
    assert facts(send(guest.stack.visitor(), guest.request(binding)))[0] == "SSO-201"
    assert is_in(guest.visitor)
    driver(idp).knobs(saml__logout="unsigned")
    page = send(guest.stack.visitor(), guest.request(binding))
    assert Answer.of(page, None).codes == ["Success"]
    assert "Signature" not in page.headers["Location"], "we have no keys here"
    rows = guest.stack.rows("select count(*) as n from sso_logout_notice")[0]["n"]
    send(guest.stack.visitor(), guest.request(binding))
    assert guest.stack.rows("select count(*) as n from sso_logout_notice")[0]["n"] == rows, (
        "strangers fill it not"
    )
    assert_out(guest.visitor)
    assert any(".insecure_unsigned_logout " in one for one in guest.stack.log.splitlines()), "said at start"


@pytest.mark.parametrize(
    "changes",
    [{"destination": None}, {"destination": "https://other.example/"}, {"issue_instant": -900}],
    ids=["no destination", "another", "kept"],
)
def test_an_unsigned_request_is_checked_all_the_same(sign_in: SignIn, changes: dict[str, Any]) -> None:
    """A Destination may be missing where there is no signature (Bindings 3.4.5.2), and may not be wrong."""
    guest = sign_in("unsigned")
    context = guest.context()
    page = send(guest.stack.visitor(), context.redirect(context.changed(**changes), key=None))
    assert is_in(guest.visitor) is (changes != {"destination": None}), facts(page)


# --- hostile ones -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGOUT_ATTACKS)
def test_a_hostile_request_ends_nothing(sign_in: SignIn, name: str) -> None:
    """No answer goes out, one record is made, and the honest request is taken afterwards."""
    guest, attacker = sign_in("plain"), sign_in("plain", "vera")
    carrier, started = guest.stack.visitor(), time.monotonic()
    page = send(carrier, LOGOUT_ATTACKS[name].make(guest.context(attacker)))
    assert time.monotonic() - started < 10
    if IS_AIRFLOW_2 and name == "bomb":
        assert page.status_code in (400, 414), "gunicorn reads no line of that length"
        assert is_in(guest.visitor)
        return
    assert page.status_code == 403, page.headers
    assert (facts(page)[0] or "").startswith("SSO-20")
    assert "Location" not in page.headers
    assert "SAMLResponse" not in page.text
    record = told(guest.stack, page)
    assert (record["event"], record["provider"]) == ("logout_notice_refused", "plain")
    for said in (guest.participant, attacker.participant):
        assert said.name_id not in page.text + str(record)
    assert is_in(guest.visitor)
    assert is_in_fab(guest.visitor)

    honest = send(carrier, guest.request(POST if "post" in name else REDIRECT))
    assert Answer.of(honest, None).codes == ["Success"]
    assert_out(guest.visitor)


def test_a_refusal_is_a_row_too(sign_in: SignIn) -> None:
    guest = sign_in("plain")
    time.sleep(61 - time.time() % 60 if guest.stack.log.count("logout_notice_refused") > 40 else 0)
    page = send(guest.stack.visitor(), LOGOUT_ATTACKS["unsigned_by_redirect"].make(guest.context()))
    rows = guest.stack.rows("select * from sso_decision where reference = ?", facts(page)[1])
    assert [(row["event"], row["code"], row["provider"]) for row in rows] == [
        ("logout_notice_refused", "SSO-201", "plain")
    ]
    assert rows[0]["reason"] == "the logout request is not signed"


@pytest.mark.parametrize("binding", [REDIRECT, POST], ids=["redirect", "post"])
@pytest.mark.parametrize("provider", ["plain", "pingone"])
def test_a_request_counts_once(sign_in: SignIn, our_certificate: bytes, provider: str, binding: str) -> None:
    """Row S29: replayed by another browser against the person's next session."""
    guest = sign_in(provider)
    request = guest.request(binding, session_index="")
    assert Answer.of(send(guest.stack.visitor(), request), our_certificate).codes == ["Success"]
    assert_out(guest.visitor)
    again = sign_in(provider)
    before = len(guest.stack.log)
    page = send(guest.stack.visitor(), request)
    answer = ends_by(again, page, ["Requester", "RequestDenied"], our_certificate)
    if provider == "pingone":
        assert "This sign-out was used before" in page.text
        assert host_of(answer.address) == host_of(guest.idp.url)
    assert is_in(again.visitor)
    assert guest.stack.log[before:].count('"logout_notice_refused"') == 1
    fresh = send(guest.stack.visitor(), again.request(binding, session_index=""))
    assert Answer.of(fresh, our_certificate).codes == ["Success"]
    assert_out(again.visitor)


def test_what_could_not_be_carried_out_is_not_claimed_and_may_come_again(sign_in: SignIn) -> None:
    guest = sign_in("plain")
    request = guest.request()
    guest.stack.write("alter table sso_logout_notice rename to sso_away")
    try:
        page = send(guest.stack.visitor(), request)
    finally:
        guest.stack.write("alter table sso_away rename to sso_logout_notice")
    assert (page.status_code, facts(page)[0]) == (503, "SSO-503")
    assert "Location" not in page.headers
    assert "could not verify" not in page.text
    assert is_in(guest.visitor)
    assert Answer.of(send(guest.stack.visitor(), request), None).codes == ["Success"]
    assert_out(guest.visitor)


# --- and the sign-in that it is about -----------------------------------------------------------------


@pytest.mark.parametrize("index", [None, ""], ids=["session", "person"])
def test_a_request_that_overtakes_the_sign_in_still_ends_it(
    stack: Stack, idp: Handle, index: str | None
) -> None:
    """Fact C8: an application must be ready for one at any moment."""
    guest, talk, posted = arriving(stack, idp, "plain", "generic")
    page = send(stack.visitor(), guest.request(session_index=index))
    assert Answer.of(page, None).codes == ["Success"]
    page = talk.follow(posted)
    assert facts(page)[0] == "SSO-101", facts(page)
    assert guest.visitor.who() is None
    again, talk, posted = arriving(stack, idp, "plain", "generic")
    assert talk.follow(posted).ok
    assert is_in(again.visitor), "the control: begun afterwards"


def test_the_providers_own_end_of_a_session_is_ours(sign_in: SignIn) -> None:
    """SessionNotOnOrAfter (Core 2.7.2): of the session, and of the token that is minted from it."""
    guest = sign_in("plain", session_not_on_or_after=600)
    ends_at = datetime.fromisoformat(guest.session()["ends_at"]).replace(tzinfo=timezone.utc)
    assert 540 < (ends_at - datetime.now(timezone.utc)).total_seconds() <= 600
    tokens = [] if IS_AIRFLOW_2 else [guest.visitor.cookies["_token"], client(guest.visitor).token]
    for token in tokens:
        assert claims(str(token))["exp"] <= ends_at.timestamp()
    control = sign_in("plain")
    without = datetime.fromisoformat(control.session()["ends_at"]).replace(tzinfo=timezone.utc)
    assert (without - ends_at).total_seconds() > 3600


# --- signing out here, and there as well --------------------------------------------------------------


def through_the_provider(stack: Stack, provider: str, person: str = "ada") -> Visitor:
    """Sign in with a browser that the provider knows afterwards."""
    visitor = stack.visitor()
    page = visitor.at(f"/auth/login/{provider}")
    form = visitor.post(_action(page), data={"person": person}, timeout=30)
    assert press_form(visitor, form).ok
    assert is_in(visitor)
    return visitor


def _action(page: requests.Response) -> str:
    from urllib.parse import urljoin

    from devidp.testing import _Form

    return urljoin(page.url, _Form(page.text).action)


def is_known_there(stack: Stack, visitor: Visitor, provider: str) -> bool:
    """Whether the provider signs this browser in without a question."""
    page = visitor.at(f"/auth/login/{provider}")
    return "SAMLResponse" in page.text


@both_lines
@pytest.mark.parametrize("provider", ["plain", "entra", "pingone", "unsigned"])
def test_signing_out_here_signs_out_there(stack: Stack, idp: Handle, provider: str) -> None:
    face = PROVIDERS[provider][0]
    idp.state.knobs.put({"saml.silent": True})
    visitor = through_the_provider(stack, provider)
    session = idp.state.saml.participants(face, "ada")[0]
    assert is_known_there(stack, visitor, provider)
    held, before = copy_of(visitor), len(stack.log)

    page = visitor.leave(allow_redirects=False)
    assert_out(held)
    if provider == "pingone":
        assert page.status_code == 200
        assert "One more step" in page.text
        assert "<script" not in page.text
        policy = page.headers["Content-Security-Policy"]
        assert f"form-action 'self' {idp.url} https:" in policy
        page = press_form(visitor, page, allow_redirects=False)
        assert heard(idp, face)["saml"]["binding"] == "POST"
        page = press_form(visitor, page)  # which is its answer, by POST too
    else:
        assert page.status_code == 302
        page = visitor.get(page.headers["Location"], timeout=30)
        asked = heard(idp, face)
        assert asked["saml"]["binding"] == "redirect"
        assert ("Signature" in asked["query"]) is (provider != "unsigned")
    asked = heard(idp, face)
    assert asked["saml"]["message"] == "LogoutRequest"
    assert asked["outcome"] == "logout", asked
    assert asked["saml"]["session_indexes"] == 1
    assert asked["saml"]["id_first"] == "_"
    assert page.url == f"{stack.auth_url}/signed-out/"
    assert page.status_code == 200
    assert session not in idp.state.saml.participants(face), "ended there: this very session"
    assert not is_known_there(stack, visitor, provider)
    assert "did not confirm a sign-out" not in stack.log[before:]


def test_the_name_goes_back_as_it_came(stack: Stack, idp: Handle, sign_in: SignIn) -> None:
    """Core 3.7.1, with both qualifiers, which the generic face sets."""
    guest = sign_in("plain")
    stored = guest.session()
    assert stored["sign_out_hints"]
    assert guest.participant.name_id not in stored["sign_out_hints"], "encrypted"
    page = guest.visitor.leave(allow_redirects=False)
    request = saml.authn_request(page.headers["Location"])
    (name_id,) = request.findall("{*}NameID")
    assert name_id.text == guest.participant.name_id
    assert name_id.get("Format") == guest.participant.name_id_format
    assert name_id.get("NameQualifier") == f"{idp.url}/generic/saml"
    assert name_id.get("SPNameQualifier") == guest.participant.sp
    assert request.findtext("{*}SessionIndex") == guest.participant.session_index
    assert request.findtext("{*}Issuer") == guest.participant.sp
    assert request.get("Destination") == f"{idp.url}/generic/saml/slo"
    assert request.get("ID", "").startswith("_")
    left = datetime.fromisoformat(request.get("NotOnOrAfter").replace("Z", "+00:00")) - datetime.now(
        timezone.utc
    )
    assert 240 < left.total_seconds() <= 300


def test_without_provider_sign_out_nothing_is_kept_and_nobody_is_sent_away(sign_in: SignIn) -> None:
    guest = sign_in("deaf")
    assert guest.session()["sign_out_hints"] is None
    page = guest.visitor.leave(allow_redirects=False)
    assert page.headers["Location"] == f"{guest.stack.auth_url}/signed-out/"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refused", "Responder / RequestDenied"),
        ("partial", "Responder / PartialLogout"),
        ("foreign_key", "no signing certificate of the metadata verifies"),
        ("other_issuer", "the issuer is not"),
    ],
)
@pytest.mark.parametrize("provider", ["plain", "pingone"])
def test_signed_out_here_whatever_the_provider_says(
    stack: Stack, idp: Handle, provider: str, fault: str, said: str
) -> None:
    visitor = through_the_provider(stack, provider)
    held = copy_of(visitor)
    driver(idp).knobs(saml__logout=fault)
    before = len(stack.log)
    page = visitor.leave()
    if provider == "pingone":
        page = press_form(visitor, press_form(visitor, page))
    assert page.url == f"{stack.auth_url}/signed-out/"
    assert_out(held)
    (line,) = [one for one in stack.log[before:].splitlines() if "did not confirm a sign-out" in one]
    assert said in line
    assert provider in line


def test_signed_out_here_where_the_provider_is_down(stack: Stack, sign_in: SignIn) -> None:
    """The browser is sent to where nobody answers; what ended here has ended before."""
    guest = sign_in("plain")
    held = copy_of(guest.visitor)
    page = guest.visitor.leave(allow_redirects=False)
    assert page.is_redirect
    assert not {"session", "_token"} & set(guest.visitor.cookies.keys())
    assert_out(held)


@pytest.mark.parametrize("query", ["nonsense", "", "a&SAMLResponse=b"], ids=["unreadable", "empty", "twice"])
def test_a_response_that_nobody_can_read_leads_to_the_calm_page(
    stack: Stack, sign_in: SignIn, query: str
) -> None:
    """And ends nothing: the browser that brings it stays signed in."""
    guest, before = sign_in("plain"), len(stack.log)
    page = guest.visitor.at(f"/auth/saml/slo/plain?SAMLResponse={query}", allow_redirects=False)
    assert page.headers["Location"] == f"{stack.auth_url}/signed-out/"
    assert stack.log[before:].count("plain did not confirm a sign-out") == 1
    assert is_in(guest.visitor)


def test_a_response_ends_nothing(sign_in: SignIn, idp: Handle) -> None:
    """Even one that is well signed, in the browser of somebody who is signed in."""
    guest = sign_in("plain")
    context = guest.context()
    tree = context.honest.tree("LogoutResponse")
    for name in ("NameID", "SessionIndex"):
        sx.remove(sx.need(tree, name))
    sx.add(sx.add(tree, sx.SAMLP, "Status"), sx.SAMLP, "StatusCode", None, {"Value": f"{sx.STATUS}Success"})
    sent = context.redirect(tree)
    as_response = {**sent, "url": sent["url"].replace("SAMLRequest=", "SAMLResponse=")}
    page = send(guest.visitor, as_response)
    assert page.headers["Location"] == f"{guest.stack.auth_url}/signed-out/"
    assert is_in(guest.visitor)
    # As a request it is none, whatever its signature.
    assert send(guest.visitor, sent).status_code == 403
    assert is_in(guest.visitor)


def test_our_metadata_announces_both_bindings(stack: Stack) -> None:
    root = etree.fromstring(stack.metadata["plain"])
    services = {one.get("Binding"): one.get("Location") for one in root.iter(f"{MD}SingleLogoutService")}
    assert services == dict.fromkeys((REDIRECT, POST), f"{stack.auth_url}/saml/slo/plain")
