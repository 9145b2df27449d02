"""What we send in SAML: the AuthnRequest, whatever goes by redirect, and the metadata that says who we are.

What must stay true: every name and address in them comes from configuration and ``external_url``;
the AuthnRequest asks for no kind of NameID, and for an authentication context only where the role mapping
requires one, because asking is what makes providers refuse (facts C3, C6).
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import urlencode

from lxml import etree
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from airflow_sso.certificates import OurKeys
from airflow_sso.login import saml_time
from airflow_sso.login.assertion import PERSISTENT
from airflow_sso.login.idp_metadata import POST, REDIRECT
from airflow_sso.login.saml_bindings import RSA_SHA256
from airflow_sso.login.saml_xml import DS, MD, NAMESPACES, SAML, SAMLP, Element, tag


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProvider:
    """Ourselves, as one identity provider knows us."""

    entity_id: str
    acs_url: str
    slo_url: str
    keys: OurKeys | None
    signs_requests: bool
    wants_assertions_signed: bool
    names_by_name_id: bool
    """Whether the NameID is the account's key, so that it has to be persistent."""


def sign_on_request(
    ours: ServiceProvider,
    sign_on_url: str,
    request_id: str,
    *,
    force_authn: bool,
    contexts: Sequence[str] = (),
) -> str:
    """The address that starts a sign-in, an AuthnRequest by HTTP-Redirect (Bindings, section 3.4).

    :param sign_on_url: the provider's, which may have a query of its own.
    :param request_id: the ID that the response has to name.
    :param contexts: authentication contexts, of which one will do.
    """
    request = etree.Element(
        tag("samlp", "AuthnRequest"),
        nsmap={"samlp": SAMLP, "saml": SAML},
        ID=request_id,
        Version="2.0",
        IssueInstant=saml_time.written(datetime.now(timezone.utc)),
        Destination=sign_on_url,
        ProtocolBinding=POST,
        AssertionConsumerServiceURL=ours.acs_url,
    )
    if force_authn:
        request.set("ForceAuthn", "true")
    etree.SubElement(request, tag("saml", "Issuer")).text = ours.entity_id
    if contexts:  # Core, section 3.3.2.2.1; "exact" is all that every provider knows
        wanted = etree.SubElement(request, tag("samlp", "RequestedAuthnContext"), Comparison="exact")
        for context in contexts:
            etree.SubElement(wanted, tag("saml", "AuthnContextClassRef")).text = context
    return redirect_url(ours, sign_on_url, "SAMLRequest", request, sign=ours.signs_requests)


def redirect_url(
    ours: ServiceProvider, address: str, name: str, message: Element, relay_state: str = "", *, sign: bool
) -> str:
    """An address that carries a message, signed where there are keys (Bindings, section 3.4.4.1).

    :param name: ``SAMLRequest`` or ``SAMLResponse``.
    """
    fields = {name: _deflated(etree.tostring(message))}
    query = urlencode({**fields, **({"RelayState": relay_state} if relay_state else {})})
    if sign and ours.keys:
        # What is signed is the query as it is sent, the algorithm's name included.
        query += "&" + urlencode({"SigAlg": RSA_SHA256})
        signature = OneLogin_Saml2_Utils.sign_binary(query, ours.keys.private_key)
        query += "&" + urlencode({"Signature": base64.b64encode(signature).decode()})
    return f"{address}{'&' if '?' in address else '?'}{query}"


def metadata(ours: ServiceProvider) -> bytes:
    """Our metadata document (SAML Metadata, section 2.4.4), for the provider to import."""
    root = etree.Element(tag("md", "EntityDescriptor"), nsmap={"md": MD, "ds": DS}, entityID=ours.entity_id)
    role = etree.SubElement(
        root,
        tag("md", "SPSSODescriptor"),
        protocolSupportEnumeration=SAMLP,
        AuthnRequestsSigned=_boolean(value=ours.signs_requests),
        WantAssertionsSigned=_boolean(value=ours.wants_assertions_signed),
    )
    if ours.keys:
        for use in ("signing", "encryption"):
            _add_key(role, use, ours.keys.certificate)
    for binding in (REDIRECT, POST):
        etree.SubElement(role, tag("md", "SingleLogoutService"), Binding=binding, Location=ours.slo_url)
    if ours.names_by_name_id:
        etree.SubElement(role, tag("md", "NameIDFormat")).text = PERSISTENT
    etree.SubElement(
        role,
        tag("md", "AssertionConsumerService"),
        Binding=POST,
        Location=ours.acs_url,
        index="0",
        isDefault="true",
    )
    document: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return document


def _add_key(role: Element, use: str, certificate_pem: str) -> None:
    descriptor = etree.SubElement(role, tag("md", "KeyDescriptor"), use=use)
    info = etree.SubElement(descriptor, tag("ds", "KeyInfo"))
    data = etree.SubElement(info, tag("ds", "X509Data"))
    bare = re.sub(r"-----[A-Z ]+-----|\s", "", certificate_pem)
    etree.SubElement(data, tag("ds", "X509Certificate")).text = bare
    if use == "encryption":
        for algorithm in ("http://www.w3.org/2009/xmlenc11#aes256-gcm", f"{NAMESPACES['xenc']}aes256-cbc"):
            etree.SubElement(descriptor, tag("md", "EncryptionMethod"), Algorithm=algorithm)
        transport = f"{NAMESPACES['xenc']}rsa-oaep-mgf1p"
        etree.SubElement(descriptor, tag("md", "EncryptionMethod"), Algorithm=transport)


def _deflated(message: bytes) -> str:
    compressor = zlib.compressobj(wbits=-15)  # raw DEFLATE (Bindings, section 3.4.4.1)
    return base64.b64encode(compressor.compress(message) + compressor.flush()).decode()


def _boolean(*, value: bool) -> str:
    return "true" if value else "false"
