"""A SAML response as it arrives: decoded, parsed, its status read, and nothing of it believed.

What must stay true: what this module knows is called unverified until
:func:`airflow_sso.login.assertion.verify` has been through it.
"""

from __future__ import annotations

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
from airflow_sso.login import saml_bindings
from airflow_sso.login.saml_xml import Element, find, tag, text_of

_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_MAX_MESSAGE = 200


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
    root = saml_bindings.document(posted, "SAMLResponse")
    if root.tag != tag("samlp", "Response"):
        raise SignatureInvalid("the SAMLResponse is not a samlp:Response")
    return UnverifiedResponse(root)


def _refused_by_provider(codes: list[str], message: str) -> SsoError:
    """What a status that is not Success means (Core, section 3.2.2.2)."""
    names = [code.removeprefix(_STATUS)[:60] for code in codes[:2]]
    detail = f"the provider answered {' / '.join(names)}" + (f": {message}" if message else "")
    if {"AuthnFailed", "RequestDenied", "NoPassive"} & set(names):
        return ConsentDenied(detail)
    if names[0] == "Requester" or names[0] == "VersionMismatch":
        return CodeExchangeRefused(detail)
    return ProviderUnreachable(detail) if names[0] == "Responder" else ConsentDenied(detail)
