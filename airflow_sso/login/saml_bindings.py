"""SAML messages as they cross the browser, taken off HTTP-Redirect and HTTP-POST (Bindings 3.4 and 3.5).

What must stay true: a message is one parameter that stands once; a signature by redirect is checked
over the query as it came, octet by octet; its algorithm is one of the list here and its key one of the
metadata; and nothing is believed before :meth:`UnverifiedMessage.signed_part` has given it back.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from airflow_sso.errors import SignatureInvalid
from airflow_sso.login import saml_xml
from airflow_sso.login.saml_xml import Element, UnreadableXml, shown
from airflow_sso.login.xml_signature import (
    NoKeyFits,
    require_signatures_only_on,
    signature_of,
    verified,
)

MAX_ENCODED = 400_000  # characters of base64; 150 groups (fact A15) are about 40,000
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"

_MESSAGES = ("SAMLRequest", "SAMLResponse")
_SIGNED = ("RelayState", "SigAlg")  # behind the message, in this order (section 3.4.4.1)
_SIGNATURES = frozenset(f"http://www.w3.org/2001/04/xmldsig-more#rsa-sha{bits}" for bits in (256, 384, 512))
_DEFLATE = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"
_MAX_REASON = 200
_MAX_RELAY_STATE = 80  # bytes (sections 3.4.3 and 3.5.3)


@dataclass(frozen=True, slots=True)
class _SignedQuery:
    """What a query's signature is said to cover, and the signature."""

    octets: bytes
    algorithm: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class UnverifiedMessage:
    """A request or a response that anybody may have written."""

    root: Element = field(repr=False)
    relay_state: str = field(repr=False)
    """To be sent back with an answer; empty when there is none, or a longer one than is allowed."""
    is_response: bool
    by_redirect: bool
    query: _SignedQuery | None = field(default=None, repr=False)

    @property
    def is_signed(self) -> bool:
        """Whether it carries a signature, good or bad."""
        return self.query is not None if self.by_redirect else signature_of(self.root) is not None

    def signed_part(self, certificates: Sequence[x509.Certificate]) -> Element:
        """The message as it was signed.

        :raises NoKeyFits: when no certificate's key has made the signature.
        :raises SignatureInvalid: when there is none, or it is not of the form that SAML allows.
        """
        if not self.by_redirect:
            require_signatures_only_on(self.root, [self.root])
            return verified(self.root, certificates)
        # An enveloped signature has no place here (section 3.4.4.1): two could say two things.
        require_signatures_only_on(self.root, [])
        if self.query is None:
            raise SignatureInvalid("the query has no signature")
        if self.query.algorithm not in _SIGNATURES:
            raise SignatureInvalid(f"the signature algorithm {shown(self.query.algorithm)} is not accepted")
        if not any(_made_by(self.query, certificate) for certificate in certificates):
            raise NoKeyFits("no signing certificate of the metadata verifies the signature of the query")
        return self.root


def _made_by(query: _SignedQuery, certificate: x509.Certificate) -> bool:
    pem = certificate.public_bytes(Encoding.PEM).decode()
    made: bool = OneLogin_Saml2_Utils.validate_binary_sign(
        query.octets, query.signature, cert=pem, algorithm=query.algorithm
    )
    return made


def by_redirect(query: bytes) -> UnverifiedMessage:
    """The message in a query string (section 3.4.4.1).

    :param query: as it came; whoever decodes it and writes it anew signs something else.
    :raises SignatureInvalid: when it holds none that may be parsed.
    """
    raw = _single_parameters(query)
    name = _only_message(raw)
    if unquote_plus(raw.get("SAMLEncoding", _DEFLATE)) != _DEFLATE:
        raise SignatureInvalid("the SAMLEncoding is not DEFLATE")
    root = document(unquote_plus(raw[name]), name, deflated=True)
    return UnverifiedMessage(
        root,
        _sent_back(unquote_plus(raw.get("RelayState", ""))),
        is_response=name == "SAMLResponse",
        by_redirect=True,
        query=_signed_query(raw, name),
    )


def by_post(form: Mapping[str, str]) -> UnverifiedMessage:
    """The message in a form (section 3.5.4).

    :param form: an empty field counts as absent.
    :raises SignatureInvalid: when it holds none that may be parsed.
    """
    name = _only_message({field_name: value for field_name, value in form.items() if value})
    return UnverifiedMessage(
        document(form[name], name),
        _sent_back(form.get("RelayState", "")),
        is_response=name == "SAMLResponse",
        by_redirect=False,
    )


def document(encoded: str, name: str, *, deflated: bool = False) -> Element:
    """The root of a message in base64.

    :raises SignatureInvalid: when it may not be parsed, saying why.
    """
    if len(encoded) > MAX_ENCODED:
        raise SignatureInvalid(f"the {name} is too large")
    try:
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureInvalid(f"the {name} cannot be read: it is not base64") from None
    try:
        return saml_xml.parse(_inflated(data) if deflated else data)
    except (UnreadableXml, zlib.error) as cause:
        raise SignatureInvalid(f"the {name} cannot be read: {str(cause)[:_MAX_REASON]}") from None


def _inflated(data: bytes) -> bytes:
    """Raw DEFLATE, bounded: a few bytes may stand for gigabytes (CVE-2025-25293)."""
    inflater = zlib.decompressobj(wbits=-15)
    message = inflater.decompress(data, MAX_ENCODED)
    if inflater.unconsumed_tail or inflater.unused_data or not inflater.eof:
        raise UnreadableXml("it is too large, cut off, or has something behind it")
    return message


def _single_parameters(query: bytes) -> Mapping[str, str]:
    """The parameters as they are escaped, each of which may stand once.

    Of two, one reader takes the first and another the last: the one that is verified must be the one
    that is read.
    """
    try:
        pairs = [one.partition("=") for one in query.decode("ascii").split("&") if one]
    except UnicodeDecodeError:
        raise SignatureInvalid("the query is not ASCII") from None
    raw = {unquote_plus(name): value for name, _, value in pairs}
    if len(raw) != len(pairs):
        raise SignatureInvalid("a parameter stands twice")
    return raw


def _only_message(given: Mapping[str, str]) -> str:
    names = [name for name in _MESSAGES if name in given]
    if len(names) != 1:
        raise SignatureInvalid("there is not one SAMLRequest or SAMLResponse")
    return names[0]


def _signed_query(raw: Mapping[str, str], name: str) -> _SignedQuery | None:
    """The octets that must have been signed, in the one order that counts."""
    if "SigAlg" not in raw and "Signature" not in raw:
        return None
    if "SigAlg" not in raw or "Signature" not in raw:
        raise SignatureInvalid("SigAlg and Signature do not stand together")
    octets = "&".join(f"{part}={raw[part]}" for part in (name, *_SIGNED) if part in raw)
    try:
        signature = base64.b64decode("".join(unquote_plus(raw["Signature"]).split()), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureInvalid("the Signature is not base64") from None
    return _SignedQuery(octets.encode(), unquote_plus(raw["SigAlg"]), signature)


def _sent_back(relay_state: str) -> str:
    return relay_state if len(relay_state.encode(errors="replace")) <= _MAX_RELAY_STATE else ""
