"""Signatures that are missing, weak, odd, or made by somebody else (rows S14, S16-S18)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from devidp import saml_keys, saml_sign
from devidp import saml_xml as sx
from devidp.saml_attack import Attack, Context, Table
from devidp.saml_keys import SamlKey
from devidp.saml_response import build, unsigned
from devidp.saml_sign import ENVELOPED, Transform
from devidp.saml_xml import DS, EXC_C14N, Element

SIGNATURE = Table()

_HMAC = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"


def _signed_by_hand(
    context: Context, signer: Callable[[bytes], bytes] | None = None, *, evil: bool = False, **how: Any
) -> bytes:
    """The assertion signed by hand; `evil`: it is about the victim."""
    recipe = context.evil() if evil else context.recipe
    tree = unsigned(replace(recipe, encrypt="none"))
    element = sx.need(tree, "Assertion")
    saml_sign.sign_by_hand(element, signer or saml_sign.rsa_signer(context.key), **how)
    return sx.document(tree)


def _changed_signature(context: Context, change: Callable[[Element], None]) -> bytes:
    tree = sx.own(context.honest(signed="assertion", encrypt="none"))
    change(sx.need(tree, "Assertion/Signature"))
    return sx.document(tree)


# -- none, or not enough (S16) -------------------------------------------------------------------------


@SIGNATURE.attack("S16")
def no_signature(context: Context) -> bytes:
    """Nothing is signed."""
    return build(context.evil(encrypt="none"))


@SIGNATURE.attack("S16")
def signature_removed(context: Context) -> bytes:
    """An honest message whose signatures were taken out."""
    tree = sx.own(context.honest(signed="both", encrypt="none"))
    for node in list(tree.iter(sx.q(DS, "Signature"))):
        sx.remove(node)
    return sx.document(tree)


@SIGNATURE.attack("S16")
def only_response_signed(context: Context) -> bytes:
    """The Response is signed and the Assertion is not: to be refused where assertions must be signed."""
    return context.honest(signed="response", encrypt="none")


@SIGNATURE.attack("S16")
def only_assertion_signed(context: Context) -> bytes:
    """The Assertion is signed and the Response is not: to be refused where responses must be signed."""
    return context.honest(signed="assertion", encrypt="none")


@SIGNATURE.attack("S16")
def empty_signature(context: Context) -> bytes:
    """A Signature element with nothing in it."""
    tree = unsigned(context.evil())
    saml_sign.place(sx.need(tree, "Assertion"), sx.root(DS, "Signature", {"ds": DS}))
    return sx.document(tree)


@SIGNATURE.attack("S16")
def empty_signature_value(context: Context) -> bytes:
    """The SignatureValue is empty."""
    return _signed_by_hand(context, lambda _: b"", evil=True)


@SIGNATURE.attack("S16")
def changed_after_signing(context: Context) -> bytes:
    """An honest message in which the NameID became the victim's."""
    tree = sx.own(context.honest(encrypt="none"))
    sx.need(tree, "Assertion/Subject/NameID").text = context.victim.name_id
    return sx.document(tree)


@SIGNATURE.attack("S16")
def no_reference(context: Context) -> bytes:
    """A true signature over a SignedInfo without any Reference: it covers nothing."""
    return _re_signed(context, lambda info: sx.remove(sx.need(info, "Reference")))


@SIGNATURE.attack("S16")
def reference_to_nothing(context: Context) -> bytes:
    """A true signature whose Reference names an ID that is not there."""
    return _re_signed(context, lambda info: sx.need(info, "Reference").set("URI", "#_nobody"))


@SIGNATURE.attack("S16")
def reference_without_uri(context: Context) -> bytes:
    """A true signature whose Reference has no URI."""
    return _re_signed(context, lambda info: sx.need(info, "Reference").attrib.pop("URI"))


@SIGNATURE.attack("S16")
def reference_to_file(context: Context) -> bytes:
    """A true signature whose Reference is a file, which must not be opened."""
    return _re_signed(context, lambda info: sx.need(info, "Reference").set("URI", "file:///etc/hostname"))


@SIGNATURE.attack("S16")
def reference_to_document(context: Context) -> bytes:
    """A true signature in the Assertion whose Reference is the whole document (an empty URI)."""
    tree = unsigned(replace(context.recipe, encrypt="none"))
    saml_sign.sign(sx.need(tree, "Assertion"), context.key, uri="")
    return sx.document(tree)


def _re_signed(context: Context, change: Callable[[Element], Any]) -> bytes:
    """About the victim, with a SignedInfo changed and then truly signed: only coverage is missing."""
    tree = sx.own(_signed_by_hand(context, evil=True))
    info = sx.need(tree, "Assertion/Signature/SignedInfo")
    change(info)
    value = saml_sign.rsa_signer(context.key)(sx.canonical(info))
    sx.need(tree, "Assertion/Signature/SignatureValue").text = sx.b64(value)
    return sx.document(tree)


# -- algorithms (S14, S17) -----------------------------------------------------------------------------


@SIGNATURE.attack("S17")
def sha1_signature(context: Context) -> bytes:
    """RSA with SHA-1; the digest is SHA-256."""
    return context.honest(signature="rsa-sha1")


@SIGNATURE.attack("S17")
def sha1_digest(context: Context) -> bytes:
    """A SHA-1 digest; the signature is RSA with SHA-256."""
    return context.honest(digest="sha1")


@SIGNATURE.attack("S17")
def sha1_both(context: Context) -> bytes:
    """SHA-1 for signature and digest, as Entra lets administrators choose (fact C7)."""
    return context.honest(signature="rsa-sha1", digest="sha1")


@SIGNATURE.attack("S17")
def unknown_c14n(context: Context) -> bytes:
    """A canonicalisation that nobody knows."""
    return _signed_by_hand(context, c14n_method="urn:devidp:c14n")


@SIGNATURE.attack("S17")
def unknown_signature(context: Context) -> bytes:
    """A signature algorithm that nobody knows."""
    return _signed_by_hand(context, signature_method="urn:devidp:signature")


@SIGNATURE.attack("S17")
def unknown_transform(context: Context) -> bytes:
    """A transform that nobody knows."""
    return _signed_by_hand(context, transforms=[*_usual(), Transform(algorithm="urn:devidp:transform")])


@SIGNATURE.attack("S17")
def no_transform(context: Context) -> bytes:
    """Transforms is empty: the signature would have to cover itself."""
    return _signed_by_hand(context, transforms=[])


def _usual() -> tuple[Transform, Transform]:
    return Transform(algorithm=ENVELOPED), Transform(algorithm=EXC_C14N)


@SIGNATURE.attack("S17")
def xpath_transform(context: Context) -> bytes:
    """A true signature with an XPath that takes the Subject out of what is covered, and the victim in it."""
    # By local name: lxml would drop a prefix that the assertion's default namespace makes redundant.
    inside = f'<ds:XPath xmlns:ds="{DS}">not(ancestor-or-self::*[local-name()="Subject"])</ds:XPath>'
    usual = _usual()
    transforms = [usual[0], Transform(algorithm=_XPATH, inside=inside), usual[1]]
    tree = unsigned(replace(context.recipe, encrypt="none"))
    saml_sign.sign(sx.need(tree, "Assertion"), context.key, transforms=transforms)
    sx.need(tree, "Assertion/Subject/NameID").text = context.victim.name_id
    return sx.document(tree)


@SIGNATURE.attack("S14")
def xslt_transform(context: Context) -> bytes:
    """A stylesheet among the transforms, which must not run (CVE-2021-27736)."""
    inside = (
        '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
        '<xsl:template match="/"><xsl:copy-of select="document(\'http://127.0.0.1:9/\')"/></xsl:template>'
        "</xsl:stylesheet>"
    )
    usual = _usual()
    transforms = [usual[0], Transform(algorithm=_XSLT, inside=inside), usual[1]]
    return _signed_by_hand(context, transforms=transforms)


def _hmac_with(secret: Callable[[SamlKey], bytes]) -> Callable[[Context], bytes]:
    def make(context: Context) -> bytes:
        def signer(data: bytes) -> bytes:
            return hmac.new(secret(context.key), data, hashlib.sha256).digest()

        certificate = context.key.certificate_text
        return _signed_by_hand(context, signer, evil=True, signature_method=_HMAC, certificate=certificate)

    return make


for _name, _words, _secret in (
    ("hmac_public_key", "the public key (PEM)", lambda key: key.public_pem),
    ("hmac_certificate", "the certificate (PEM)", lambda key: key.certificate_pem),
    (
        "hmac_certificate_text",
        "the certificate as metadata shows it",
        lambda key: key.certificate_text.encode(),
    ),
    ("hmac_empty", "nothing", lambda _key: b""),
):
    _about = f"An HMAC whose secret is {_words}."
    SIGNATURE.row(Attack(_name, "S17", _about, _hmac_with(_secret)))


# -- keys (S18) ----------------------------------------------------------------------------------------


def _by(context: Context, key: SamlKey, **changes: Any) -> bytes:
    recipe = context.evil(signed="both", encrypt="none", **changes)
    return build(recipe, key)


@SIGNATURE.attack("S18")
def foreign_key(context: Context) -> bytes:
    """Signed with the attacker's key, whose certificate is in KeyInfo."""
    return _by(context, context.foreign)


@SIGNATURE.attack("S18")
def foreign_key_without_key_info(context: Context) -> bytes:
    """Signed with the attacker's key; KeyInfo is left out."""
    return _by(context, context.foreign, key_info=False)


@SIGNATURE.attack("S18")
def foreign_key_true_certificate(context: Context) -> bytes:
    """Signed with the attacker's key; KeyInfo shows the true certificate."""
    return _by(context, context.foreign, key_info_certificate=context.key.certificate_text)


@SIGNATURE.attack("S18")
def foreign_key_same_name(context: Context) -> bytes:
    """Signed with the attacker's key, whose certificate has the name of the true one."""
    name = context.key.certificate.subject.rfc4514_string().removeprefix("CN=")
    return _by(context, saml_keys.stranger(name))


@SIGNATURE.attack("S18")
def other_provider_key(context: Context) -> bytes:
    """Signed with the key of another provider that is trusted as well, in this one's name."""
    return _by(context, context.other_key)


@SIGNATURE.attack("S18")
def expired_certificate(context: Context) -> bytes:
    """Signed with a key that no metadata lists, whose certificate has expired."""
    return _by(context, context.expired_key)


@SIGNATURE.attack("S18")
def key_info_to_fetch(context: Context) -> bytes:
    """KeyInfo says where a key can be fetched, which nobody must do."""

    def change(node: Element) -> None:
        info = sx.need(node, "KeyInfo")
        sx.remove(sx.need(info, "X509Data"))
        said = {"URI": "http://127.0.0.1:9/key", "Type": f"{DS}rawX509Certificate"}
        sx.add(info, DS, "RetrievalMethod", None, said)

    tree = sx.own(_by(context, context.foreign))
    change(sx.need(tree, "Assertion/Signature"))
    return sx.document(tree)


@SIGNATURE.attack("S18", own_name=True)
def other_certificate_shown(context: Context) -> bytes:
    """A true signature with a stranger's certificate in KeyInfo, which must not count."""
    foreign = context.foreign.certificate_text
    return _changed_signature(
        context, lambda node: setattr(sx.need(node, "KeyInfo/X509Data/X509Certificate"), "text", foreign)
    )
