"""What we send about logout: a LogoutRequest when somebody signs out here, an answer when they do there.

What must stay true: both are signed whenever there are keys (Profiles, sections 4.4.4.1 and 4.4.4.2), go to
an address of the metadata and no other, and name the person exactly as the provider did.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from lxml import etree
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from airflow_sso.login import saml_time
from airflow_sso.login.assertion import NameId
from airflow_sso.login.doors import SignOut
from airflow_sso.login.idp_metadata import REDIRECT, LogoutService
from airflow_sso.login.saml_messages import ServiceProvider, redirect_url
from airflow_sso.login.saml_xml import SAML, SAMLP, Element, tag

SUCCESS = ("Success",)
#: Core 3.2.2.2: the fault is the sender's, and this is as much as it is told.
DENIED = ("Requester", "RequestDenied")
_STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
_LIVES = timedelta(minutes=5)


def hints(name_id: NameId, session_ref: str | None) -> dict[str, str]:
    """What :func:`request` will need of a sign-in, as text; it is kept encrypted."""
    known = {
        "name_id": name_id.value,
        "format": name_id.format,
        "name_qualifier": name_id.name_qualifier,
        "sp_name_qualifier": name_id.sp_name_qualifier,
        "session_index": session_ref,
    }
    return {name: value for name, value in known.items() if value}


def request(ours: ServiceProvider, service: LogoutService, kept: Mapping[str, str]) -> SignOut:
    """A LogoutRequest for one session (Core, section 3.7.1).

    :param kept: what :func:`hints` made.
    """
    message = _message(ours, "LogoutRequest", service.location)
    message.set("NotOnOrAfter", saml_time.written(datetime.now(timezone.utc) + _LIVES))
    names = {
        "NameQualifier": "name_qualifier",
        "SPNameQualifier": "sp_name_qualifier",
        "Format": "format",
    }
    said = {attribute: kept[name] for attribute, name in names.items() if name in kept}
    etree.SubElement(message, tag("saml", "NameID"), said).text = kept["name_id"]
    if "session_index" in kept:
        etree.SubElement(message, tag("samlp", "SessionIndex")).text = kept["session_index"]
    return _sent(ours, service.binding, service.location, "SAMLRequest", message)


def answer(
    ours: ServiceProvider,
    service: LogoutService,
    request_id: str,
    status: tuple[str, ...],
    relay_state: str,
) -> SignOut:
    """A LogoutResponse (Core, section 3.7.2), to where the provider wants answers.

    :param request_id: of a request that was verified.
    :param status: from the outermost code inwards.
    """
    address = service.response_location or service.location
    message = _message(ours, "LogoutResponse", address)
    message.set("InResponseTo", request_id)
    around = etree.SubElement(message, tag("samlp", "Status"))
    for name in status:
        around = etree.SubElement(around, tag("samlp", "StatusCode"), Value=f"{_STATUS}{name}")
    return _sent(ours, service.binding, address, "SAMLResponse", message, relay_state)


def _message(ours: ServiceProvider, name: str, destination: str) -> Element:
    message = etree.Element(
        tag("samlp", name),
        nsmap={"samlp": SAMLP, "saml": SAML},
        ID=f"_{secrets.token_urlsafe(24)}",
        Version="2.0",
        IssueInstant=saml_time.written(datetime.now(timezone.utc)),
        Destination=destination,
    )
    etree.SubElement(message, tag("saml", "Issuer")).text = ours.entity_id
    return message


def _sent(
    ours: ServiceProvider, binding: str, address: str, name: str, message: Element, relay_state: str = ""
) -> SignOut:
    if binding == REDIRECT:
        return SignOut(redirect_url(ours, address, name, message, relay_state, sign=True))
    document = etree.tostring(message)
    if ours.keys:
        document = OneLogin_Saml2_Utils.add_sign(document, ours.keys.private_key, ours.keys.certificate)
    form = {name: base64.b64encode(document).decode(), **({"RelayState": relay_state} if relay_state else {})}
    return SignOut(address, form)
