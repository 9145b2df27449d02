"""Where a provider's logout messages are verified: the signature first, then a table of checks.

Nothing else makes :class:`VerifiedLogout`. What must stay true: a LogoutRequest that is not signed by a
key of the metadata ends nothing, unless ``insecure_unsigned_logout`` says otherwise (row S29); what it
names comes from the bytes that were signed; and a LogoutResponse ends nothing, whatever it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from onelogin.saml2.xml_utils import OneLogin_Saml2_XML

from airflow_sso.accounts.notices import Target
from airflow_sso.errors import ClaimMissing, SignatureInvalid, SsoError, WrongIssuer
from airflow_sso.login.saml_bindings import UnverifiedMessage
from airflow_sso.login.saml_checks import (
    require_issuer,
    require_name_id,
    require_not_early,
    require_not_late,
    require_version,
)
from airflow_sso.login.saml_xml import Element, find, shown, tag, text_of
from airflow_sso.login.xml_encryption import decrypted, forgive
from airflow_sso.login.xml_signature import NoKeyFits

Certificates = Sequence[x509.Certificate]
FetchAgain = Callable[[], Certificates | None]

_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")  # an NCName; it stands in our answer
_LIVES = timedelta(minutes=5)
_MOST_SESSIONS = 100  # each is a transaction
_LONGEST_INDEX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a logout message must agree with; all of it ours."""

    issuers: tuple[str, ...]
    """What the identity provider may call itself; Entra has two names (fact C8)."""
    audience: str
    """Our own entity id."""
    slo_url: str
    now: datetime
    clock_skew: timedelta
    takes_unsigned: bool = False
    private_key: str | None = field(default=None, repr=False)
    """PEM; decrypts."""


@dataclass(frozen=True, slots=True)
class VerifiedLogout:
    """A LogoutRequest that passed every check. Made by :func:`verify` only."""

    id: str
    name_id: str = field(repr=False)
    session_indexes: tuple[str, ...] = field(repr=False)
    is_signed: bool
    """``False`` only where ``insecure_unsigned_logout`` let it through: anybody may have written it."""
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _VERIFIED:
            raise TypeError("only saml_logout.verify makes VerifiedLogout")

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom it is about: these sessions of the person, or all that they have (Core 3.7.1)."""
        if not self.session_indexes:
            return (Target(subject=self.name_id),)
        return tuple(Target(session_ref=index, subject=self.name_id) for index in self.session_indexes)


_VERIFIED = object()


@dataclass(frozen=True, slots=True)
class _Received:
    """The request as it was signed, the NameID in the clear."""

    request: Element
    is_signed: bool


def verify(
    message: UnverifiedMessage, expected: Expected, certificates: Certificates, fetch_again: FetchAgain
) -> VerifiedLogout:
    """A LogoutRequest that may be obeyed (Profiles, section 4.4.3).

    :param certificates: the provider's signing certificates as known now.
    :param fetch_again: called at most once, when none fits; ``None`` when used up.
    :raises SsoError: naming in its ``detail`` the check that failed.
    """
    if message.is_response or message.root.tag != tag("samlp", "LogoutRequest"):
        raise SignatureInvalid("the SAMLRequest is not a samlp:LogoutRequest")
    if not message.is_signed and not expected.takes_unsigned:
        raise SignatureInvalid("the logout request is not signed")
    signed = _signed_part(message, certificates, fetch_again) if message.is_signed else message.root
    if isinstance(OneLogin_Saml2_XML.validate_xml(signed, "saml-schema-protocol-2.0.xsd"), str):
        raise ClaimMissing("the logout request is not valid against the SAML 2.0 schema")
    if find(signed, "saml:EncryptedID") and not message.is_signed:
        # Else anybody could find out, try by try, what decrypts.
        raise SignatureInvalid("the NameID is encrypted, and the request not signed")
    clear = decrypted(signed, "saml:EncryptedID", "saml:NameID", expected.private_key)
    received = _Received(clear, message.is_signed)
    for check in CHECKS:
        check(received, expected)
    forgive(signed)
    indexes = tuple(dict.fromkeys(text_of(one) or "" for one in find(clear, "samlp:SessionIndex")))
    (name_id,) = find(clear, "saml:NameID")
    return VerifiedLogout(
        str(clear.get("ID")), text_of(name_id) or "", indexes, received.is_signed, _VERIFIED
    )


def _signed_part(message: UnverifiedMessage, certificates: Certificates, fetch_again: FetchAgain) -> Element:
    try:
        return message.signed_part(certificates)
    except NoKeyFits:
        # A certificate may have been rolled over since.
        newer = fetch_again()
        if newer is None:
            raise
        return message.signed_part(newer)


# --- the checks -------------------------------------------------------------------------------------


def _version(received: _Received, _expected: Expected) -> None:
    """Core 3.2.1: SAML 2.0, and an ID that an answer can name."""
    require_version(received.request, "the logout request")
    if not _ID.fullmatch(str(received.request.get("ID"))):
        raise ClaimMissing("the ID of the logout request is none that can be answered")


def _destination(received: _Received, expected: Expected) -> None:
    """Bindings 3.4.5.2 and 3.5.5.2: sent to exactly this address; what is signed must say so."""
    destination = received.request.get("Destination")
    if destination != expected.slo_url and (destination is not None or received.is_signed):
        raise WrongIssuer("the Destination is not our single logout service")


def _issuer(received: _Received, expected: Expected) -> None:
    """Profiles 4.4.4.1: it is by this identity provider."""
    require_issuer(received.request, expected.issuers, "the logout request")


def _issue_instant(received: _Received, expected: Expected) -> None:
    """Core 3.2.1: not from the future, and not one that was kept: its ID is remembered for longer."""
    require_not_early(received.request, "IssueInstant", expected)
    require_not_late(received.request, "IssueInstant", expected, _LIVES)


def _not_on_or_after(received: _Received, expected: Expected) -> None:
    """Core 3.7.1: not past the end that it gave itself."""
    if received.request.get("NotOnOrAfter") is not None:
        require_not_late(received.request, "NotOnOrAfter", expected)


def _subject(received: _Received, expected: Expected) -> None:
    """Core 3.7.1: one person, named as in our assertions."""
    names = find(received.request, "saml:NameID")
    if len(names) != 1 or find(received.request, "saml:BaseID"):
        raise ClaimMissing("the logout request has not one NameID")
    require_name_id(names[0], expected.audience)


def _session_indexes(received: _Received, _expected: Expected) -> None:
    """Core 3.7.1: none is empty, which would be read as every session."""
    indexes = [text_of(one) or "" for one in find(received.request, "samlp:SessionIndex")]
    if len(indexes) > _MOST_SESSIONS or any(not 0 < len(one) <= _LONGEST_INDEX for one in indexes):
        raise ClaimMissing("there are too many SessionIndexes, or one is empty or too long")


CHECKS: tuple[Callable[[_Received, Expected], None], ...] = (
    _version,
    _destination,
    _issuer,
    _issue_instant,
    _not_on_or_after,
    _subject,
    _session_indexes,
)


def why_not_confirmed(
    message: UnverifiedMessage, expected: Expected, certificates: Certificates, fetch_again: FetchAgain
) -> str | None:
    """Why a LogoutResponse does not confirm that the person is signed out at the provider, if so.

    For the log only: nothing here depends on what it says.
    """
    if message.root.tag != tag("samlp", "LogoutResponse"):
        return "it is not a samlp:LogoutResponse"
    try:
        root = _signed_part(message, certificates, fetch_again) if message.is_signed else message.root
        require_version(root, "the logout response")
        require_issuer(root, expected.issuers, "the logout response")
    except SsoError as error:
        return error.detail
    if root.get("Destination") != expected.slo_url and (root.get("Destination") or message.is_signed):
        return "the Destination is not our single logout service"
    codes = [str(one.get("Value")) for one in root.iter(tag("samlp", "StatusCode"))]
    names = [code.removeprefix(_STATUS)[:60] for code in codes[:2]]
    return None if names == ["Success"] else f"its status is {shown(' / '.join(names) or 'missing')}"
