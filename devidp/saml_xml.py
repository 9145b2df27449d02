"""XML for the SAML side: names, an element builder, a reader that trusts nothing, and splicing of text.

Built with lxml alone. Parts that carry their own namespace prefixes are joined as text, because lxml
renames prefixes when it moves an element under a parent that knows the namespace by another one, and
a signature made before that no longer holds.
"""

from __future__ import annotations

import base64
import binascii
import copy
import datetime
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
XENC = "http://www.w3.org/2001/04/xmlenc#"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
XS = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
NS = {"saml": SAML, "samlp": SAMLP, "md": MD, "ds": DS, "xenc": XENC}

BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:"
POST, REDIRECT = f"{BINDING}HTTP-POST", f"{BINDING}HTTP-Redirect"
STATUS = "urn:oasis:names:tc:SAML:2.0:status:"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
HOLDER_OF_KEY = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
PASSWORD_OVER_TLS = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
FORMATS = {
    "emailAddress": "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
    "unspecified": "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified",
    "windows": "urn:oasis:names:tc:SAML:1.1:nameid-format:WindowsDomainQualifiedName",
    "persistent": "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
    "transient": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient",
    "entity": "urn:oasis:names:tc:SAML:2.0:nameid-format:entity",
}

Element = Any  # lxml publishes no types
_LARGEST = 1024 * 1024


class NotXml(ValueError):
    """What was sent is no XML that this provider reads; the words say why."""


def q(namespace: str, name: str) -> str:
    return f"{{{namespace}}}{name}"


def root(
    namespace: str,
    name: str,
    nsmap: Mapping[str | None, str],
    attributes: Mapping[str, str | None] | None = None,
) -> Element:
    made = etree.Element(q(namespace, name), nsmap=dict(nsmap))
    return _filled(made, None, attributes)


def add(
    parent: Element,
    namespace: str,
    name: str,
    text: str | None = None,
    attributes: Mapping[str, str | None] | None = None,
    nsmap: Mapping[str | None, str] | None = None,
) -> Element:
    """A new last child. An attribute whose value is None is left out."""
    made = etree.SubElement(parent, q(namespace, name), nsmap=dict(nsmap) if nsmap else None)
    return _filled(made, text, attributes)


def _filled(made: Element, text: str | None, attributes: Mapping[str, str | None] | None) -> Element:
    made.text = text
    for key, value in (attributes or {}).items():
        if value is not None:
            made.set(key, value)
    return made


def parse(data: bytes, *, largest: int = _LARGEST) -> Element:
    """What a stranger sent. No DTD of any kind, nothing fetched, nothing expanded, nothing large."""
    if len(data) > largest:
        raise NotXml("the document is too large")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise NotXml("the document is not well-formed XML") from error
    if tree.getroottree().docinfo.internalDTD is not None:
        raise NotXml("the document has a DOCTYPE")
    return tree


def own(data: bytes) -> Element:
    """What this provider wrote a moment ago, however large.

    Also needed after every signature and encryption: elements that libxmlsec made are not found by
    lxml's find and iter until the document is parsed again.
    """
    return etree.fromstring(data, etree.XMLParser(huge_tree=True, resolve_entities=False, no_network=True))


def text_of(tree: Element) -> bytes:
    made: bytes = etree.tostring(tree, encoding="UTF-8")
    return made


def document(tree: Element) -> bytes:
    made: bytes = etree.tostring(tree, encoding="UTF-8", xml_declaration=True)
    return made


def canonical(element: Element, *, comments: bool = False) -> bytes:
    """Exclusive canonicalisation. The text can stand anywhere and keeps its digest."""
    made: bytes = etree.tostring(element, method="c14n", exclusive=True, with_comments=comments)
    return made


def hole(name: str) -> Element:
    """A place to be filled by `spliced`."""
    return etree.ProcessingInstruction("devidp", name)


def spliced(tree: Element, parts: Mapping[str, bytes]) -> bytes:
    """The tree as text with each hole filled. A part may itself have holes that stand later in `parts`."""
    text = text_of(tree)
    for name, part in parts.items():
        text = text.replace(f"<?devidp {name}?>".encode(), part)
    return text


def find(tree: Element, path: str) -> Element | None:
    """By local names: `Assertion/Subject/NameID`. A `ds:Signature` is found as `Signature`."""
    return tree.find("/".join(f"{{*}}{name}" for name in path.split("/")))


def need(tree: Element, path: str) -> Element:
    found = find(tree, path)
    if found is None:
        raise ValueError(f"the message has no {path}")
    return found


def remove(element: Element) -> None:
    element.getparent().remove(element)


def twice(element: Element) -> Element:
    again = copy.deepcopy(element)
    element.addnext(again)
    return again


def children(element: Element) -> Iterator[Element]:
    """Elements only: comments and processing instructions are skipped."""
    yield from element.iterchildren(tag=etree.Element)


def text(element: Element | None) -> str:
    """All of the text, also behind a comment; "" for an element that is not there."""
    return "" if element is None else "".join(element.itertext(etree.Element))


def new_id() -> str:
    """xs:ID must not begin with a digit."""
    return "_" + secrets.token_hex(16)


def instant(moment: float) -> str:
    at = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    """Strict, but for the line breaks that some senders put in."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotXml("the message is not base64") from error
