"""The verifier of SAML responses by itself: what it takes, to the second, and that no check can be lost.

``test_saml_attacks`` posts the same hostile responses to a running Airflow; here they meet the verifier
alone, so that switching off one check is noticed within seconds.
"""

from __future__ import annotations

import base64
import copy
import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from lxml import etree
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings

from airflow_sso.errors import ClaimMissing, SignatureInvalid, SsoError
from airflow_sso.login import assertion, saml_response
from airflow_sso.login.assertion import Expected, VerifiedAssertion
from airflow_sso.login.claims import to_identity
from airflow_sso.saml_settings import GenericSaml
from devidp import saml_sign
from devidp.saml_attacks import ATTACKS, context_for, posted
from devidp.saml_keys import make, stranger
from devidp.saml_response import Attribute, Recipe, build, good
from devidp.saml_sps import ServiceProvider
from devidp.saml_xml import SAML
from devidp.settings import Settings
from devidp.state import State

ACS = "https://airflow.example.com/auth/saml/acs/lab"
AUDIENCE = "https://airflow.example.com/auth/saml/metadata/lab"
REQUEST = "_the-request-of-this-attempt"
METADATA = """
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"
    xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{audience}">
 <md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
  <md:KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate>
  </ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
  <md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{acs}"
    index="0" isDefault="true"/>
 </md:SPSSODescriptor>
</md:EntityDescriptor>"""


@functools.cache
def ours() -> Any:
    """The service provider's own key."""
    return make("service provider")


@pytest.fixture(scope="module")
def state() -> State:
    made = State(Settings(base_url="https://idp.example.com"))
    metadata = METADATA.format(audience=AUDIENCE, acs=ACS, certificate=ours().certificate_text)
    made.saml.service_providers.register(metadata.encode())
    return made


@pytest.fixture(params=["generic", "pingfederate", "entra"])
def face(request: pytest.FixtureRequest) -> str:
    """One that signs the assertion, one that signs the response, one with blanks around its name."""
    return str(request.param)


def recipe(state: State, face: str = "generic", person: str = "vera", **changes: Any) -> Recipe:
    return replace(good(state, face, person, AUDIENCE, REQUEST), **changes)


def expected(state: State, face: str = "generic", **changes: Any) -> Expected:
    given = Expected(
        issuer=recipe(state, face).issuer or "",
        audience=AUDIENCE,
        acs_url=ACS,
        answers=lambda named: named == REQUEST,
        now=datetime.now(timezone.utc),
        clock_skew=timedelta(seconds=60),
        private_key=ours().private_pem.decode(),
    )
    return replace(given, **changes)


def certificates(state: State, face: str = "generic") -> list[x509.Certificate]:
    return [state.saml.rings[face].signing.certificate]


def verify(
    state: State,
    response: bytes | str,
    face: str = "generic",
    known: Sequence[x509.Certificate] | None = None,
    again: Callable[[], Sequence[x509.Certificate] | None] = lambda: None,
    **changes: Any,
) -> VerifiedAssertion:
    encoded = response if isinstance(response, str) else base64.b64encode(response).decode()
    return assertion.verify(
        saml_response.read(encoded),
        expected(state, face, **changes),
        certificates(state, face) if known is None else known,
        again,
    )


def said(state: State, face: str = "generic", **changes: Any) -> bytes:
    return build(recipe(state, face, **changes), state.saml.rings[face].signing)


# --- what is taken ------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", ["assertion", "response", "both"])
@pytest.mark.parametrize("encrypt", ["none", "assertion", "name_id", "both"])
def test_whatever_is_signed_and_encrypted_says_the_same(
    state: State, face: str, signed: str, encrypt: str
) -> None:
    plain = verify(state, said(state, face), face)
    found = verify(state, said(state, face, signed=signed, encrypt=encrypt), face)
    assert dict(found) == dict(plain)
    assert found.name_id == plain.name_id
    assert found["NameID"] == recipe(state, face).name_id


@pytest.mark.parametrize("signature", ["rsa-sha256", "rsa-sha384", "rsa-sha512"])
@pytest.mark.parametrize("block_cipher", ["aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm"])
def test_the_accepted_algorithms(state: State, signature: str, block_cipher: str) -> None:
    response = said(state, signature=signature, block_cipher=block_cipher, encrypt="assertion")
    assert verify(state, response)["NameID"]


@pytest.mark.parametrize(
    "changes",
    [{"signature": "rsa-sha1"}, {"digest": "sha1"}, {"block_cipher": "3des"}, {"key_transport": "rsa-1_5"}],
    ids=str,
)
def test_deprecated_algorithms_are_refused(state: State, changes: dict[str, str]) -> None:
    with pytest.raises(SignatureInvalid, match="not accepted"):
        verify(state, said(state, encrypt="assertion", **changes))


def test_signed_then_encrypted_with_other_prefixes(state: State) -> None:
    """Where the clear text is moved into place as elements, prefixes change and the signature breaks."""
    for signed in ("assertion", "both"):
        response = said(
            state,
            signed=signed,
            encrypt="both",
            response_prefix="r",
            assertion_prefix="a",
            protocol_prefix="p",
        )
        assert verify(state, response)["NameID"]


def test_an_encrypted_assertion_needs_keys(state: State) -> None:
    with pytest.raises(SignatureInvalid, match="no keys"):
        verify(state, said(state, encrypt="assertion"), private_key=None)
    with pytest.raises(SignatureInvalid, match="cannot be used"):
        verify(state, said(state, encrypt="assertion"), private_key=make("another").private_pem.decode())


@pytest.mark.parametrize("wanted", ["any", "assertion", "response", "both"])
@pytest.mark.parametrize("signed", ["assertion", "response", "both", "none"])
@pytest.mark.parametrize("encrypt", ["none", "assertion"])
def test_what_must_be_signed(state: State, wanted: str, signed: str, encrypt: str) -> None:
    enough = signed == "both" or (signed != "none" and wanted in ("any", signed))
    response = said(state, signed=signed, encrypt=encrypt)
    if enough:
        assert verify(state, response, want_signed=wanted)
    else:
        with pytest.raises(SignatureInvalid, match="signed"):
            verify(state, response, want_signed=wanted)


# --- to the second ------------------------------------------------------------------------------------

SKEW = 60
EDGES = {
    "not_on_or_after": (-SKEW + 5, -SKEW - 1),
    "confirmation_not_on_or_after": (-SKEW + 5, -SKEW - 1),
    "session_not_on_or_after": (-SKEW + 5, -SKEW - 1),
    "not_before": (SKEW - 1, SKEW + 5),
    "issue_instant": (SKEW - 1, SKEW + 5),
    "assertion_issue_instant": (SKEW - 1, SKEW + 5),
    "authn_instant": (SKEW - 1, SKEW + 5),
}


@pytest.mark.parametrize("field", EDGES)
def test_clocks_may_differ_by_the_skew_and_no_more(state: State, face: str, field: str) -> None:
    """Row S21."""
    inside, outside = EDGES[field]
    assert verify(state, said(state, face, **{field: inside}), face)
    with pytest.raises(SsoError) as refused:
        verify(state, said(state, face, **{field: outside}), face)
    assert refused.value.code == "SSO-203"


@pytest.mark.parametrize(
    "written", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z"]
)
@pytest.mark.parametrize("path", [".", "{*}Assertion", "{*}Assertion/{*}AuthnStatement"])
def test_a_time_that_no_calendar_has_is_a_refusal(state: State, written: str, path: str) -> None:
    name = "AuthnInstant" if "Authn" in path else "IssueInstant"
    with pytest.raises(SsoError):
        verify(state, said(state, mutate=lambda tree: tree.find(path).set(name, written)))


def test_it_is_remembered_until_the_last_of_its_ends(state: State) -> None:
    found = verify(state, said(state, not_on_or_after=4200, confirmation_not_on_or_after=300))
    left = found.valid_until - datetime.now(timezone.utc)
    assert timedelta(seconds=4250) < left <= timedelta(seconds=4260)


# --- keys ---------------------------------------------------------------------------------------------


def test_any_known_certificate_will_do(state: State) -> None:
    several = [make("other").certificate, *certificates(state)]
    assert verify(state, said(state), known=several)


def test_an_unknown_key_asks_once_for_newer_certificates(state: State) -> None:
    asked = []

    def again() -> list[x509.Certificate]:
        asked.append(1)
        return certificates(state)

    old = [stranger("old").certificate]
    assert verify(state, said(state), known=old, again=again)
    assert asked == [1]
    with pytest.raises(SignatureInvalid, match="no signing certificate"):
        verify(state, said(state, key=stranger("nobody")), known=old, again=again)
    assert asked == [1, 1]


def test_what_is_malformed_asks_for_no_certificates(state: State) -> None:
    """Otherwise anybody could make us fetch."""

    def never() -> None:
        raise AssertionError("metadata was fetched for a response that no key could make good")

    for name in ("xsw1", "no_signature", "sha1_signature", "two_assertions", "hmac_public_key"):
        with pytest.raises(SsoError):
            verify(state, hostile(state, "generic", name), again=never)


# --- hostile responses --------------------------------------------------------------------------------


def hostile(state: State, face: str, name: str) -> str:
    """The form value of an attack; skips where the face has nothing for it to be made from."""
    sp = state.saml.service_providers.get(AUDIENCE)
    assert isinstance(sp, ServiceProvider)
    try:
        return posted(name, context_for(state, face, recipe(state, face), sp, other_face="pingone"))
    except ValueError as cause:
        pytest.skip(f"not with this face: {cause}")


#: Which want_signed makes it an attack, where ``any`` would take it.
WANTED = {"only_response_signed": "assertion", "only_assertion_signed": "response"}
#: Lawful to this module: whether a NameID can be an account's key is decided by what keys it.
NOT_HERE = {"transient_name_id"}


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in NOT_HERE])
def test_it_is_refused(state: State, face: str, name: str) -> None:
    attack = ATTACKS[name]
    form_value = hostile(state, face, name)
    found: VerifiedAssertion | SsoError
    try:
        found = verify(state, form_value, face, want_signed=WANTED.get(name, "any"))
    except SsoError as refused:
        found = refused
    if isinstance(found, SsoError):
        assert found.code[:5] in ("SSO-1", "SSO-2"), found.code
        assert found.detail
    else:
        assert attack.own_name, attack.about
        assert found["NameID"] != recipe(state, face, "ada").name_id
    assert verify(state, said(state, face, signed="both"), face, want_signed="both"), "the control"


def test_a_signature_where_none_belongs_is_refused(state: State) -> None:
    """Nothing of it would be read; but whoever puts one there means something by it."""
    root = etree.fromstring(said(state))
    issuer, signature = root[0], root.find(".//{*}Assertion/{*}Signature")
    extensions = etree.Element("{urn:oasis:names:tc:SAML:2.0:protocol}Extensions")
    issuer.addnext(extensions)
    extensions.append(etree.Element("{urn:example}harmless"))
    assert verify(state, etree.tostring(root)), "the control: extensions as such"
    extensions.append(copy.deepcopy(signature))
    with pytest.raises(SignatureInvalid, match="where none belongs"):
        verify(state, etree.tostring(root))


def strict_settings(state: State, face: str) -> OneLogin_Saml2_Settings:
    """python3-saml as strict as it can be configured."""
    return OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": AUDIENCE,
                "assertionConsumerService": {"url": ACS},
                "privateKey": ours().private_pem.decode(),
                "x509cert": ours().certificate_pem.decode(),
            },
            "idp": {
                # It does not trim what Microsoft surrounds with blanks.
                "entityId": recipe(state, face).response_issuer,
                "singleSignOnService": {"url": "https://idp.example.com/sso"},
                "x509cert": state.saml.rings[face].signing.certificate_text,
            },
            "security": {
                "rejectDeprecatedAlgorithm": True,
                "wantNameId": True,
                "wantAttributeStatement": False,
                "requestedAuthnContext": False,
            },
        }
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_we_take_nothing_that_python3_saml_refuses(state: State, name: str) -> None:
    """Its strict mode is a floor: whatever it refuses, we refuse too, and much else."""
    form_value = hostile(state, "generic", name)
    request = {"https": "on", "http_host": "airflow.example.com", "script_name": ACS.partition(".com")[2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks the clock in a way that Python would like it not to
        try:
            response = OneLogin_Saml2_Response(strict_settings(state, "generic"), form_value)
            taken = response.is_valid({**request, "get_data": {}, "post_data": {}}, REQUEST)
        except Exception:  # it lets parsers' own errors through
            taken = False
    if not taken:
        with pytest.raises(SsoError):
            verify(state, form_value, want_signed=WANTED.get(name, "any"))


def test_that_floor_takes_an_honest_one(state: State) -> None:
    """The control of the test above."""
    request = {"https": "on", "http_host": "airflow.example.com", "script_name": ACS.partition(".com")[2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        response = OneLogin_Saml2_Response(
            strict_settings(state, "generic"), base64.b64encode(said(state)).decode()
        )
        assert response.is_valid({**request, "get_data": {}, "post_data": {}}, REQUEST, raise_exceptions=True)


# --- what it may cost, and what it may tell ---------------------------------------------------------------


def padded(response: bytes, inside: str, on_root: str = "") -> bytes:
    """A response with something unsigned in its Extensions, as anybody may put it there."""
    text = response.decode()
    text = text.replace("<samlp:Response ", f"<samlp:Response {on_root} ", 1)
    end = text.index("</saml:Issuer>") + len("</saml:Issuer>")
    return f"{text[:end]}<samlp:Extensions>{inside}</samlp:Extensions>{text[end:]}".encode()


@pytest.mark.parametrize(
    ("inside", "on_root"),
    [
        ("<p:a/>" * 18_000, f'xmlns:p="urn:{"x" * 150_000}"'),
        ("<p:a/>" * 4_000, f'xmlns:p="urn:{"x" * 60_000}"'),
        ("<b " + " ".join(f'a{n:05}="1"' for n in range(18_000)) + "/>", ""),
        ("<b " + " ".join(f'xmlns:n{n}="urn:{n}"' for n in range(8_000)) + "/>", ""),
        ("<b>" * 60 + "</b>" * 60 + "<b/>" * 19_900, ""),
    ],
    ids=["a long namespace", "half of it", "attributes", "namespaces", "elements"],
)
def test_what_costs_much_is_refused_before_it_does(state: State, inside: str, on_root: str) -> None:
    """Canonicalization writes a namespace anew at each use, and sorts attributes one by one."""
    response = padded(said(state), inside, on_root)
    started = time.monotonic()
    with pytest.raises(SsoError):
        verify(state, response)
    assert time.monotonic() - started < 2
    assert verify(state, padded(said(state), '<b xmlns="urn:x"/>')), "the control"


def test_why_a_decryption_failed_is_not_told(state: State) -> None:
    """Whoever learns it can read an encrypted assertion byte by byte (Jager and Somorovsky, 2011)."""
    details = set()
    for change in (0, 20, -1):
        root = etree.fromstring(said(state, encrypt="assertion", block_cipher="aes128-cbc"))
        value = root.findall(".//{*}EncryptedData/{*}CipherData/{*}CipherValue")[-1]
        cipher = bytearray(base64.b64decode(value.text))
        cipher[change] ^= 1
        value.text = base64.b64encode(cipher).decode()
        with pytest.raises(SignatureInvalid) as refused:
            verify(state, etree.tostring(root))
        details.add(refused.value.detail)
    assert len(details) <= 2, details
    assert not any("tag" in one or "line" in one for one in details)


def test_an_encrypted_key_cannot_be_tried_for_ever(state: State) -> None:
    captured = said(state, encrypt="assertion")
    for _ in range(20):
        assert verify(state, captured), "the honest answer may come again"
    root = etree.fromstring(captured)
    root.findall(".//{*}EncryptedData/{*}CipherData/{*}CipherValue")[-1].text = base64.b64encode(
        bytes(160)
    ).decode()
    details = []
    for _ in range(10):
        with pytest.raises(SignatureInvalid) as refused:
            verify(state, etree.tostring(root))
        details.append(refused.value.detail)
        with pytest.raises(SsoError):  # as captured, and true, but no answer to a request that is pending
            verify(state, captured, answers=lambda _named: False)
    assert "tried too often" not in details[0]
    assert "tried too often" in details[-1]
    assert verify(state, said(state, encrypt="assertion")), "another key is another matter"


def test_a_decrypted_name_id_cannot_end_the_subject_it_stands_in(state: State) -> None:
    """The provider may have passed on what somebody else encrypted for us."""
    evil = (
        f'<saml:NameID xmlns:saml="{SAML}">ada</saml:NameID></saml:Subject><saml:AttributeStatement/>'
        f'<saml:Subject xmlns:saml="urn:x">'
    )
    data = saml_sign.encrypted(
        evil.encode(), ours().certificate_pem, block_cipher="aes256-cbc", key_transport="rsa-oaep"
    )

    def put(tree: Any) -> None:
        name_id = tree.find(".//{*}NameID")
        hidden = etree.Element(f"{{{SAML}}}EncryptedID")
        hidden.append(etree.fromstring(data))
        name_id.getparent().replace(name_id, hidden)

    with pytest.raises(SignatureInvalid, match="cannot be used"):
        verify(state, said(state, mutate=put))


def test_what_a_stranger_writes_is_cut_before_it_is_written_down(state: State) -> None:
    for method in ("CanonicalizationMethod", "SignatureMethod", "DigestMethod"):
        root = etree.fromstring(said(state))
        root.find(f".//{{*}}{method}").set("Algorithm", "A" * 200_000)
        with pytest.raises(SsoError) as refused:
            verify(state, etree.tostring(root))
        assert len(refused.value.detail) < 300


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\u0085", " ", "\t"])
def test_a_name_id_with_blanks_is_nobody_elses(state: State, blank: str) -> None:
    """Some strip more blanks than XML knows, and make two people one."""
    for name_id in (f"{blank}ada", f"ada{blank}"):
        with pytest.raises(ClaimMissing, match="blanks"):
            verify(state, said(state, name_id=name_id))


@pytest.mark.parametrize("group", ["airflow-admins\u00a0", " airflow-admins", '["airflow-admins"]', "[]"])
def test_a_group_is_what_it_is_called(state: State, group: str) -> None:
    """Whoever may make groups must not be able to make one that is read as another."""
    settings = GenericSaml(
        name="lab", vendor="generic", protocol="saml", metadata_url="https://idp.example.com"
    )
    found = verify(state, said(state, attributes=(Attribute(name="groups", values=(group,)),)))
    assert to_identity(found, settings).groups == {group}


def test_the_last_second_of_the_calendar_may_end_an_assertion(state: State) -> None:
    """Some providers write .NET's greatest moment."""

    def last(tree: Any) -> None:
        tree.find(".//{*}Conditions").set("NotOnOrAfter", "9999-12-31T23:59:59.9999999Z")

    assert verify(state, said(state, mutate=last)).valid_until.year == 9999


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (("Responder", "AuthnFailed"), "SSO-104"),
        (("Responder", "RequestDenied"), "SSO-104"),
        (("Responder", "NoPassive"), "SSO-104"),
        (("Requester", "RequestUnsupported"), "SSO-102"),
        (("VersionMismatch",), "SSO-102"),
        (("Responder",), "SSO-103"),
        (("urn:of:their:own",), "SSO-104"),
    ],
)
def test_what_a_provider_answers_instead(state: State, status: tuple[str, ...], code: str) -> None:
    """Fixture J5: Entra's own error is not signed."""
    prefix = "urn:oasis:names:tc:SAML:2.0:status:"
    whole = tuple(one if one.startswith("urn:") else f"{prefix}{one}" for one in status)
    message = "AADSTS75011: no such context\nTrace ID: 1\x07"
    with pytest.raises(SsoError) as refused:
        verify(state, said(state, status=whole, status_message=message.replace("\x07", ""), signed="none"))
    assert refused.value.code == code
    assert "AADSTS75011" in refused.value.detail
    assert "Trace" not in refused.value.detail


def test_nothing_but_the_verifier_makes_one() -> None:
    with pytest.raises(TypeError):
        VerifiedAssertion(None, {}, datetime.now(timezone.utc), made_by=object())


def test_its_repr_shows_no_value(state: State) -> None:
    found = verify(state, said(state))
    shown = (
        repr(found)
        + repr(found.name_id)
        + repr(expected(state))
        + repr(saml_response.read(base64.b64encode(said(state)).decode()))
    )
    assert str(found["NameID"]) not in shown
    assert "PRIVATE" not in shown


@pytest.mark.parametrize("posted_value", [None, "", " ", "====", "QUJD", "\u00e4"])
def test_what_is_no_response_at_all(posted_value: str | None) -> None:
    with pytest.raises((ClaimMissing, SignatureInvalid)):
        saml_response.read(posted_value)
