"""Why a SAML request is refused, as a status, and in Entra's words where the face is Entra's.

Numbers are Entra's own where a document names them (facts C3, J5); the other faces say the sentence.
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass

from devidp.saml_faces import SamlFace


@dataclass(frozen=True)
class SamlReason:
    """`status`: the status codes from the outside in, without their prefix."""

    status: tuple[str, ...]
    aadsts: int
    text: str


_REQUESTER, _RESPONDER = "Requester", "Responder"


def _unsupported(aadsts: int, text: str) -> SamlReason:
    return SamlReason((_REQUESTER, "RequestUnsupported"), aadsts, text)


def _denied(aadsts: int, text: str) -> SamlReason:
    return SamlReason((_REQUESTER, "RequestDenied"), aadsts, text)


SAML_REASONS = {
    # A page, never a post: nobody has shown yet that the address is theirs.
    "missing": _unsupported(750054, "SAMLRequest or SAMLResponse must be present, once."),
    "repeated": _unsupported(75001, "A parameter is given more than once."),
    "undecodable": _unsupported(75001, "The message is not what the binding says it is."),
    "not_xml": _unsupported(7500525, "There was an XML error in the SAML message."),
    "not_a_request": _unsupported(75005, "The message is not the one that belongs here."),
    "unknown_sp": _unsupported(700016, "The application was not found in the directory."),
    "unknown_acs": _unsupported(50011, "The reply URL does not match those of the application."),
    "unknown_ticket": _unsupported(90014, "This sign-in is over; begin again."),
    "unknown_person": _denied(50034, "The user account does not exist."),
    "disabled": _denied(50057, "The user account is disabled."),
    "relay_state": _unsupported(75001, "RelayState must not have more than 80 bytes."),
    # A Response to the registered address.
    "bad_id": _unsupported(7500529, "The ID is not a valid SAML ID: it must not begin with a digit."),
    "version": SamlReason(("VersionMismatch",), 75005, "The Version must be 2.0."),
    "bad_instant": _unsupported(75005, "The IssueInstant is not a time in UTC."),
    "malformed": _unsupported(75005, "The message has an element or attribute that does not belong there."),
    "destination": _denied(75008, "The Destination is not this address."),
    "binding": SamlReason((_REQUESTER, "UnsupportedBinding"), 75003, "Only HTTP-POST is supported."),
    "subject": _unsupported(90011, "A Subject is not supported in the request."),
    "name_id_policy": SamlReason(
        (_REQUESTER, "InvalidNameIDPolicy"), 75016, "The NameIDPolicy cannot be satisfied."
    ),
    "authn_context": SamlReason(
        (_REQUESTER, "NoAuthnContext"), 75011, "The authentication method does not match the one asked for."
    ),
    "signature_missing": _denied(76021, "The request must be signed."),
    "signature_wrong": _denied(76018, "The signature of the request does not hold."),
    "no_session": SamlReason((_RESPONDER, "NoPassive"), 50058, "A silent sign-in was asked for."),
    "declined": SamlReason((_RESPONDER, "AuthnFailed"), 65004, "The user declined to sign in."),
    "knob": SamlReason((_RESPONDER, "RequestDenied"), 90033, "A knob asked for this."),
}


class SamlRefusal(Exception):
    """Raised while a message is read; the endpoint turns it into a page or a Response."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.reason = SAML_REASONS[name]


def words(face: SamlFace, reason: SamlReason, now: float) -> str:
    if not face.aadsts:
        return reason.text
    stamp = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    return (
        f"AADSTS75006: An error occurred while processing a SAML2 Authentication request. "
        f"AADSTS{reason.aadsts}: {reason.text}\nTrace ID: {uuid.uuid4()}\n"
        f"Correlation ID: {uuid.uuid4()}\nTimestamp: {stamp}"
    )
