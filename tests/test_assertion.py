"""The verifier of SAML responses by itself: what it takes, to the second, and that no check can be lost.

``test_saml_attacks`` posts the same hostile responses to a running Airflow; here they meet the verifier
alone, so that switching off one check is noticed within seconds.
"""

from __future__ import annotations

import base64
import copy
import functools
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

from airflow_sso.errors import ClaimMissing, ConfigurationFaulty, SignatureInvalid, SsoError
from airflow_sso.login import assertion, saml_response
from airflow_sso.login.assertion import Expected, VerifiedAssertion
from devidp.saml_attacks import ATTACKS, context_for, posted
from devidp.saml_keys import make, stranger
from devidp.saml_response import Recipe, build, good
from devidp.saml_sps import ServiceProvider
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
    with pytest.raises(ConfigurationFaulty, match="no keys"):
        verify(state, said(state, encrypt="assertion"), private_key=None)
    with pytest.raises(SignatureInvalid, match="cannot be decrypted"):
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
