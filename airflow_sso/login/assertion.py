"""Where a SAML response is verified: what is signed first, then a table of checks, each with its clause.

Nothing else makes :class:`VerifiedAssertion`. On top of python3-saml (its schemas, its use of xmlsec),
and stricter than its strict mode: what is optional there when absent is required here, its five
minutes of clock drift are the configured seconds, and values are read from the bytes that were signed.
What must stay true: issuer, audience, addresses, keys and algorithms come from configuration and
metadata, and the absence of anything that a check looks at is a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from cryptography import x509
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from airflow_sso.errors import ClaimMissing, NotOurAttempt, SignatureInvalid, WrongIssuer, WrongTime
from airflow_sso.login import saml_time
from airflow_sso.login.saml_checks import (
    require_issuer,
    require_name_id,
    require_not_early,
    require_not_late,
    require_version,
)
from airflow_sso.login.saml_response import UnverifiedResponse
from airflow_sso.login.saml_xml import Element, attributes_of, find, name_in, tag, text_of
from airflow_sso.login.xml_encryption import decrypted, forgive
from airflow_sso.login.xml_signature import (
    NoKeyFits,
    require_signatures_only_on,
    signature_of,
    verified,
)
from airflow_sso.saml_settings import NAME_ID

_NAME_ID_FORMAT = "urn:oasis:names:tc:SAML:2.0:nameid-format:"
PERSISTENT = f"{_NAME_ID_FORMAT}persistent"
TRANSIENT = f"{_NAME_ID_FORMAT}transient"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_CONDITIONS = {tag("saml", name) for name in ("AudienceRestriction", "OneTimeUse", "ProxyRestriction")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the response must agree with; all of it ours."""

    issuer: str
    """The entity id in the identity provider's metadata."""
    audience: str
    """Our own entity id."""
    acs_url: str
    answers: Callable[[str], bool] | None
    """Whether a request's ID is that of the pending attempt; ``None`` to take what nobody asked for."""
    now: datetime
    clock_skew: timedelta
    want_signed: str = "any"
    required_claims: Mapping[str, str | None] = field(default_factory=dict)
    """The vendor's own: attribute and the value it must have (``None``: any single text)."""
    private_key: str | None = field(default=None, repr=False)
    """PEM; decrypts."""


@dataclass(frozen=True, slots=True)
class NameId:
    """How the provider names the person (Core, section 2.2.3)."""

    value: str = field(repr=False)
    format: str | None
    of_this_provider: bool
    """Whether the name is unique to the provider that sent it, and not qualified by another's."""
    name_qualifier: str | None = None
    sp_name_qualifier: str | None = None

    @property
    def may_be_reused(self) -> bool:
        """Whether it is a login name, an address or something else that another person may get."""
        return self.format not in (PERSISTENT, TRANSIENT) and self.of_this_provider

    def why_not_lasting(self) -> str | None:
        """Why no account can be kept under it, if so (Core, section 8.3)."""
        if not self.of_this_provider:
            return "the NameID is qualified by another provider (NameQualifier)"
        if self.format == TRANSIENT:
            return "the NameID is transient, another one at every sign-in"
        if self.format != PERSISTENT:
            return f"the NameID is of the format {self.format or 'unspecified'}, which can be given to others"
        return None


class VerifiedAssertion(Mapping[str, Any]):
    """The attributes of an assertion that passed every check: a text, or a list where there are several.

    Made by :func:`verify` only.
    """

    __slots__ = (
        "_attributes",
        "authenticated_at",
        "context",
        "id",
        "issued_at",
        "name_id",
        "provider_subject",
        "session_ends_at",
        "session_ref",
        "valid_until",
    )

    def __init__(
        self, assertion: Element, attributes: dict[str, Any], valid_until: datetime, *, made_by: object
    ) -> None:
        if made_by is not _VERIFIED:
            raise TypeError("only assertion.verify makes VerifiedAssertion")
        (statement,) = find(assertion, "saml:AuthnStatement")
        (name_id,) = find(assertion, "saml:Subject/saml:NameID")
        self.id: str = assertion.get("ID")
        (issuer,) = find(assertion, "saml:Issuer")
        self.name_id = NameId(
            text_of(name_id) or "",
            name_id.get("Format"),
            name_id.get("NameQualifier") in (None, name_in(issuer)),
            name_id.get("NameQualifier"),
            name_id.get("SPNameQualifier"),
        )
        self.valid_until = valid_until
        self.issued_at: datetime = saml_time.moment(assertion.get("IssueInstant"))
        self.session_ref: str | None = statement.get("SessionIndex")
        self.authenticated_at: datetime | None = saml_time.moment(statement.get("AuthnInstant"))
        contexts = find(statement, "saml:AuthnContext/saml:AuthnContextClassRef")
        #: Core, section 2.7.2.2; Entra writes a blank before it (fact C2).
        self.context: str | None = (text_of(contexts[0]) or "").strip() or None if contexts else None
        #: Core, section 2.7.2: the session is to end by then.
        self.session_ends_at: datetime | None = (
            saml_time.moment(until) if (until := statement.get("SessionNotOnOrAfter")) else None
        )
        self.provider_subject: str = self.name_id.value
        self._attributes = MappingProxyType({**attributes, NAME_ID: self.name_id.value})

    def __getitem__(self, name: str) -> Any:
        return self._attributes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def __repr__(self) -> str:
        return f"<verified assertion: {', '.join(sorted(self._attributes))}>"


_VERIFIED = object()


@dataclass(frozen=True, slots=True)
class _Received:
    """Both elements as they were signed; of an unsigned response only what can refuse is looked at."""

    response: Element
    assertion: Element
    decrypted_from: tuple[Element, ...]
    """The documents that hold the encrypted keys that were used, if any."""

    @property
    def confirmation(self) -> Element:
        return find(self.assertion, "saml:Subject/saml:SubjectConfirmation/saml:SubjectConfirmationData")[0]


def verify(
    response: UnverifiedResponse,
    expected: Expected,
    certificates: Sequence[x509.Certificate],
    fetch_certificates_again: Callable[[], Sequence[x509.Certificate] | None],
) -> VerifiedAssertion:
    """The one assertion of a response (Profiles, section 4.1.4.3).

    :param certificates: the provider's signing certificates as known now.
    :param fetch_certificates_again: called at most once, when none fits; ``None`` when used up.
    :raises SsoError: naming in its ``detail`` the check that failed.
    """
    response.raise_for_status()
    try:
        received = _signed_parts(response.root, expected, certificates)
    except NoKeyFits:
        # A certificate may have been rolled over since.
        newer = fetch_certificates_again()
        if newer is None:
            raise
        received = _signed_parts(response.root, expected, newer)
    for check in CHECKS:
        check(received, expected)
    for document in received.decrypted_from:
        forgive(document)
    until = _end_of(received, expected)
    return VerifiedAssertion(received.assertion, attributes_of(received.assertion), until, made_by=_VERIFIED)


def _end_of(received: _Received, expected: Expected) -> datetime:
    """When it has expired for good; some providers write the last second of the calendar."""
    ends = [received.confirmation, *find(received.assertion, "saml:Conditions")]
    last = max(saml_time.moment(element.get("NotOnOrAfter")) for element in ends).replace(microsecond=0)
    try:
        return last + expected.clock_skew
    except OverflowError:
        return last


def _signed_parts(root: Element, expected: Expected, certificates: Sequence[x509.Certificate]) -> _Received:
    """What the signatures cover; all that is read later is in it."""
    response_signed = signature_of(root) is not None
    # Before anything is decrypted: then only what the provider encrypted is.
    response = verified(root, certificates) if response_signed else root
    clear = _decrypted_assertion(root, expected)
    assertion = _only_assertion(clear)
    require_signatures_only_on(clear, [clear, assertion])
    if isinstance(OneLogin_Saml2_XML.validate_xml(clear, "saml-schema-protocol-2.0.xsd"), str):
        raise ClaimMissing("the response is not valid against the SAML 2.0 schema")
    assertion_signed = signature_of(assertion) is not None
    wanted = expected.want_signed
    if not (response_signed or assertion_signed):
        raise SignatureInvalid("nothing is signed")
    if (wanted in ("response", "both") and not response_signed) or (
        wanted in ("assertion", "both") and not assertion_signed
    ):
        raise SignatureInvalid(f"not everything is signed that must be (want_signed: {wanted})")
    if assertion_signed:
        read = verified(assertion, certificates)
    else:
        read = _only_assertion(_decrypted_assertion(response, expected))
    read = decrypted(read, "saml:Subject/saml:EncryptedID", "saml:NameID", expected.private_key)
    return _Received(response, read, decrypted_from=(root, clear))


def _decrypted_assertion(root: Element, expected: Expected) -> Element:
    return decrypted(root, "saml:EncryptedAssertion", "saml:Assertion", expected.private_key)


def _only_assertion(root: Element) -> Element:
    """The one assertion, directly in the response and nowhere else (rows S1 to S10)."""
    everywhere = [*root.iter(tag("saml", "Assertion")), *root.iter(tag("saml", "EncryptedAssertion"))]
    if len(everywhere) != 1 or everywhere[0].getparent() is not root:
        raise SignatureInvalid("the response does not hold exactly one assertion")
    return everywhere[0]


# --- the checks -------------------------------------------------------------------------------------


def _versions(received: _Received, _expected: Expected) -> None:
    """Core 2.3.3 and 3.2.2: SAML 2.0, and a name of its own each."""
    for element in (received.response, received.assertion):
        require_version(element, "response or assertion")


def _destination(received: _Received, expected: Expected) -> None:
    """Bindings 3.5.5.2: sent to exactly this address."""
    if received.response.get("Destination") != expected.acs_url:
        raise WrongIssuer("the Destination is not our assertion consumer service")


def _issuers(received: _Received, expected: Expected) -> None:
    """Profiles 4.1.4.2: both are by this identity provider; blanks around the name are Microsoft's (C2)."""
    for element in (received.response, received.assertion):
        require_issuer(element, (expected.issuer,), "response or assertion")


def _issue_instants(received: _Received, expected: Expected) -> None:
    """Core 2.3.3: not from the future."""
    for element in (received.response, received.assertion):
        require_not_early(element, "IssueInstant", expected)


def _subject(received: _Received, expected: Expected) -> None:
    """Core 2.4.1 and 2.2.2: one person, named for us."""
    subjects = find(received.assertion, "saml:Subject")
    names = find(received.assertion, "saml:Subject/saml:NameID")
    if len(subjects) != 1 or len(names) != 1:
        raise ClaimMissing("the assertion has not one Subject with a NameID")
    require_name_id(names[0], expected.audience)


def _confirmation(received: _Received, expected: Expected) -> None:
    """Profiles 4.1.4.2: one bearer confirmation, for this address, with an end and without a beginning."""
    confirmations = find(received.assertion, "saml:Subject/saml:SubjectConfirmation")
    if len(confirmations) != 1 or confirmations[0].get("Method") != _BEARER:
        raise ClaimMissing("the assertion has not one bearer confirmation")
    if [child.tag for child in confirmations[0]] != [tag("saml", "SubjectConfirmationData")]:
        raise ClaimMissing("the confirmation does not hold just its data")
    data = received.confirmation
    if data.get("Recipient") != expected.acs_url:
        raise WrongIssuer("the Recipient is not our assertion consumer service")
    if data.get("NotBefore") is not None:
        raise WrongTime("a bearer confirmation has a NotBefore")
    require_not_late(data, "NotOnOrAfter", expected)


def _in_response_to(received: _Received, expected: Expected) -> None:
    """Profiles 4.1.4.3: both answer the request that this attempt sent, or both none."""
    named = [element.get("InResponseTo") for element in (received.response, received.confirmation)]
    if expected.answers is None:
        if named != [None, None]:
            raise NotOurAttempt("an unsolicited response answers a request")
    elif not all(one is not None and expected.answers(one) for one in named):
        raise NotOurAttempt("the response does not answer the request of this attempt")


def _conditions(received: _Received, expected: Expected) -> None:
    """Core 2.5.1: one set of conditions, each of a kind that we know, and in force."""
    several = find(received.assertion, "saml:Conditions")
    if len(several) != 1:
        raise ClaimMissing("the assertion has not one Conditions")
    if {child.tag for child in several[0]} - _CONDITIONS:
        raise ClaimMissing("there is a condition that is not understood")
    require_not_late(several[0], "NotOnOrAfter", expected)
    if several[0].get("NotBefore") is not None:
        require_not_early(several[0], "NotBefore", expected)


def _audience(received: _Received, expected: Expected) -> None:
    """Core 2.5.1.4 and Profiles 4.1.4.2: one restriction, and we are in it."""
    restrictions = find(received.assertion, "saml:Conditions/saml:AudienceRestriction")
    if len(restrictions) != 1:
        raise WrongIssuer("the assertion is not restricted to one set of audiences")
    audiences = [name_in(one) for one in find(restrictions[0], "saml:Audience")]
    if audiences.count(expected.audience) != 1:
        raise WrongIssuer("the assertion is for another audience")


def _authentication(received: _Received, expected: Expected) -> None:
    """Profiles 4.1.4.2: the person has signed in there, and that session goes on."""
    statements = find(received.assertion, "saml:AuthnStatement")
    if len(statements) != 1:
        raise ClaimMissing("the assertion has not one AuthnStatement")
    if statements[0].get("SessionIndex") == "":
        raise ClaimMissing("the SessionIndex is empty")
    require_not_early(statements[0], "AuthnInstant", expected)
    if statements[0].get("SessionNotOnOrAfter") is not None:
        require_not_late(statements[0], "SessionNotOnOrAfter", expected)


def _attributes(received: _Received, expected: Expected) -> None:
    """Core 2.7.3: each name once, none encrypted; the vendor's own, such as Entra's tenant (fact C5)."""
    statements = find(received.assertion, "saml:AttributeStatement")
    for statement in statements:
        if {child.tag for child in statement} - {tag("saml", "Attribute")}:
            raise ClaimMissing("there is an encrypted attribute")
    names = [one.get("Name") for one in find(received.assertion, "saml:AttributeStatement/saml:Attribute")]
    if not all(names) or len(set(names)) != len(names):
        raise ClaimMissing("an attribute has no name, or stands twice")
    attributes = attributes_of(received.assertion)
    for name, value in expected.required_claims.items():
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise ClaimMissing(f"the attribute {name} is missing or not a single text")
        if value is not None and attributes[name] != value:
            raise WrongIssuer(f"the attribute {name} is not the configured one")


CHECKS: tuple[Callable[[_Received, Expected], None], ...] = (
    _versions,
    _destination,
    _issuers,
    _issue_instants,
    _subject,
    _confirmation,
    _in_response_to,
    _conditions,
    _audience,
    _authentication,
    _attributes,
)
