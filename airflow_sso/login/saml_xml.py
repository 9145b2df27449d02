"""How SAML documents are read: one parser, strict limits, nothing outside the document.

Everything that arrives as XML, messages and metadata alike, is parsed here and only here, because
two parsers may see two documents (CVE-2025-25291). What must stay true: a document is refused before
its size, its depth, a DTD or an entity can cost anything, and text is read whole or not at all.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
MD = "urn:oasis:names:tc:SAML:2.0:metadata"
DS = "http://www.w3.org/2000/09/xmldsig#"
XENC = "http://www.w3.org/2001/04/xmlenc#"
NAMESPACES = {"saml": SAML, "samlp": SAMLP, "md": MD, "ds": DS, "xenc": XENC}

_DEEPEST = 64
_MOST_ELEMENTS = 20_000
#: Canonicalization writes a namespace anew where it is used and sorts attributes one by one: without
#: these limits a few hundred kilobytes cost gigabytes and minutes.
_MOST_ATTRIBUTES = 100  # of one element
_MOST_NAMESPACES = 64  # declared on one element
_LONGEST_NAMESPACE = 256  # characters
#: Anything that is neither an element, a comment nor character data; the XML declaration is apart.
_FORBIDDEN = re.compile(r"<\?|<!(?!--|\[CDATA\[)")
_DECLARATION = re.compile(
    r"""\s*<\?xml\s+version=["']1\.0["'](\s+encoding=["']utf-8["'])?(\s+standalone=["'](yes|no)["'])?\s*\?>""",
    re.IGNORECASE,
)

Element = Any  # lxml ships no types


class UnreadableXml(ValueError):
    """The document is not XML that may be read here."""


def parse(data: bytes) -> Element:
    """The root element of a document.

    Comments are dropped, so that the text around one is a single text: ``admin<!-- -->@example.com``
    is read whole (CVE-2017-11427).

    :raises UnreadableXml: saying why.
    """
    try:
        text = data.decode("utf-8-sig")  # Entra's metadata begins with a byte order mark (fact C1)
    except UnicodeDecodeError:
        raise UnreadableXml("it is not UTF-8") from None
    declaration = _DECLARATION.match(text)
    body = text[declaration.end() :] if declaration else text
    found = _FORBIDDEN.search(body)
    if found:
        # DTDs, entities and processing instructions: none has a place in SAML (row S14).
        raise UnreadableXml(f"it holds {body[found.start() : found.start() + 9]!r}, which is not accepted")
    encoded = body.strip().encode()
    _measure(encoded)
    try:
        return etree.fromstring(encoded, _parser())
    except etree.XMLSyntaxError as cause:
        raise UnreadableXml(f"it is not well-formed: {cause.msg}") from None


def _parser(**more: Any) -> Any:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        **more,
    )


class _Measure:
    """Counts elements and depth while the parser runs, and builds nothing."""

    def __init__(self) -> None:
        self._depth = self._elements = self._namespaces = 0

    def start_ns(self, _prefix: str, uri: str) -> None:
        """Called for each declaration, before the element that it stands on."""
        self._namespaces += 1
        if len(uri or "") > _LONGEST_NAMESPACE or self._namespaces > _MOST_NAMESPACES:
            raise UnreadableXml("it declares too many namespaces, or too long ones")

    def start(self, _tag: str, attributes: Any) -> None:
        self._namespaces = 0
        self._depth += 1
        self._elements += 1
        if self._depth > _DEEPEST or self._elements > _MOST_ELEMENTS or len(attributes) > _MOST_ATTRIBUTES:
            raise UnreadableXml("it has too many elements, too deep ones, or too many attributes")

    def end(self, _tag: str) -> None:
        self._depth -= 1

    def close(self) -> None:
        """Nothing to give back."""


def _measure(data: bytes) -> None:
    try:
        etree.fromstring(data, _parser(target=_Measure()))
    except etree.XMLSyntaxError as cause:
        raise UnreadableXml(f"it is not well-formed: {cause.msg}") from None


def find(element: Element, path: str) -> list[Element]:
    """The elements at a path such as ``saml:Subject/saml:NameID``."""
    found: list[Element] = element.findall(path, NAMESPACES)
    return found


def tag(prefix: str, name: str) -> str:
    """A qualified name as lxml has it."""
    return f"{{{NAMESPACES[prefix]}}}{name}"


def text_of(element: Element) -> str | None:
    """The text of an element that holds nothing but text, exactly as it stands.

    ``None`` when there is none, or an element among it: half a value is no value.
    """
    return None if len(element) else element.text or None


def name_in(element: Element) -> str | None:
    """The same of an element that names a party, without XML's white space around it (fact C2).

    Names alone are trimmed: of what a person may choose, ``ada`` and ``ada`` with a blank are two.
    """
    return (text_of(element) or "").strip(" \t\r\n") or None


def attributes_of(assertion: Element) -> dict[str, Any]:
    """The attributes of an assertion, a text each, or a list where there are several values.

    A value that is not plain text is ``None``, so that nobody takes it for absent.
    """
    found: dict[str, Any] = {}
    for attribute in find(assertion, "saml:AttributeStatement/saml:Attribute"):
        elements = find(attribute, "saml:AttributeValue")
        values = [None if len(one) else text_of(one) or "" for one in elements]
        found[attribute.get("Name")] = values[0] if len(values) == 1 and values[0] is not None else values
    return found


def shown(value: object) -> str:
    """Something that a document says, short enough to be written down."""
    return repr(str(value)[:80])


def canonical(element: Element, inclusive_prefixes: list[str] | None = None) -> bytes:
    """Exclusive canonical XML 1.0 without comments: what a SAML signature is made over."""
    written: bytes = etree.tostring(
        element, method="c14n", exclusive=True, inclusive_ns_prefixes=inclusive_prefixes, with_comments=False
    )
    return written
