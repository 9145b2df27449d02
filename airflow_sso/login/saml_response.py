"""A SAML response as it arrives: decoded, parsed, its status read, and nothing of it believed.

What must stay true: what this module knows is called unverified until
:func:`airflow_sso.login.assertion.verify` has been through it.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_sso.errors import (
    ClaimMissing,
    CodeExchangeRefused,
    ConsentDenied,
    ProviderUnreachable,
    SignatureInvalid,
    SsoError,
    first_line,
)
from airflow_sso.login import saml_xml
from airflow_sso.login.saml_xml import Element, UnreadableXml, find, tag, text_of

MAX_ENCODED = 400_000  # characters of base64; 150 groups (fact A15) are about 40,000
_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_MAX_MESSAGE = 200
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")


@dataclass(frozen=True, slots=True)
class UnverifiedResponse:
    """A ``samlp:Response`` that anybody may have written."""

    root: Element = field(repr=False)

    @property
    def in_response_to(self) -> str | None:
        """The request that it says it answers; ``None`` when it says none, anywhere that can be read."""
        named: str | None = self.root.get("InResponseTo")
        return named

    @property
    def is_unsolicited(self) -> bool:
        """Whether it says that nobody asked for it."""
        confirmations = self.root.iter(tag("saml", "SubjectConfirmationData"))
        return self.in_response_to is None and not any(one.get("InResponseTo") for one in confirmations)

    def raise_for_status(self) -> None:
        """Return if the provider says that the sign-in succeeded (Core, section 3.2.2.2).

        :raises SsoError: what it says otherwise. That is not signed with Entra (fixture J5), and
            need not be: all that it can do is end in a refusal.
        """
        codes = [str(code.get("Value")) for code in self.root.iter(tag("samlp", "StatusCode"))]
        if len(find(self.root, "samlp:Status")) != 1 or not codes:
            raise ClaimMissing("the response has no status")
        if codes != [f"{_STATUS}Success"]:
            raise _refused_by_provider(codes, self._status_message())

    def _status_message(self) -> str:
        messages = find(self.root, "samlp:Status/samlp:StatusMessage")
        return first_line(text_of(messages[0]) if messages else "", most=_MAX_MESSAGE)


def read(posted: str | None) -> UnverifiedResponse:
    """The response in a form field ``SAMLResponse`` (Bindings, section 3.5.4).

    :raises SignatureInvalid: when it is none that may be parsed.
    """
    if not posted:
        raise ClaimMissing("the form has no SAMLResponse")
    if len(posted) > MAX_ENCODED:
        raise SignatureInvalid("the SAMLResponse is too large")
    try:
        root = saml_xml.parse(base64.b64decode("".join(posted.split()), validate=True))
    except (binascii.Error, ValueError) as cause:
        what = str(cause) if isinstance(cause, UnreadableXml) else "it is not base64"
        raise SignatureInvalid(f"the SAMLResponse cannot be read: {what[:_MAX_MESSAGE]}") from None
    if root.tag != tag("samlp", "Response"):
        raise SignatureInvalid("the SAMLResponse is not a samlp:Response")
    return UnverifiedResponse(root)


def logout_request_id(query: Mapping[str, str], form: Mapping[str, str]) -> str:
    """The ID of a LogoutRequest, by HTTP-Redirect or HTTP-POST; nothing else of it is looked at.

    :raises SignatureInvalid: when there is none that may be parsed.
    """
    posted = form.get("SAMLRequest")
    try:
        encoded = base64.b64decode(posted or query.get("SAMLRequest", ""), validate=True)
        root = saml_xml.parse(encoded if posted else _inflated(encoded))
    except (binascii.Error, zlib.error, ValueError) as cause:
        raise SignatureInvalid(f"the SAMLRequest cannot be read: {str(cause)[:_MAX_MESSAGE]}") from None
    name = str(root.get("ID"))
    if root.tag != tag("samlp", "LogoutRequest") or not _NAME.fullmatch(name):
        raise SignatureInvalid("the SAMLRequest is not a samlp:LogoutRequest with an ID")
    return name


def _inflated(data: bytes) -> bytes:
    """Raw DEFLATE, bounded: a few bytes may stand for gigabytes (CVE-2025-25293)."""
    inflater = zlib.decompressobj(wbits=-15)
    message = inflater.decompress(data, MAX_ENCODED)
    if inflater.unconsumed_tail or not inflater.eof:
        raise ValueError("it is too large, or cut off")
    return message


def _refused_by_provider(codes: list[str], message: str) -> SsoError:
    """What a status that is not Success means (Core, section 3.2.2.2)."""
    names = [code.removeprefix(_STATUS)[:60] for code in codes[:2]]
    detail = f"the provider answered {' / '.join(names)}" + (f": {message}" if message else "")
    if {"AuthnFailed", "RequestDenied", "NoPassive"} & set(names):
        return ConsentDenied(detail)
    if names[0] == "Requester" or names[0] == "VersionMismatch":
        return CodeExchangeRefused(detail)
    return ProviderUnreachable(detail) if names[0] == "Responder" else ConsentDenied(detail)
