"""Which bytes of a SAML document are signed, by a key that counts, and nothing but those.

The mathematics are xmlsec's, reached through python3-saml. What must stay true: algorithms,
transforms and keys come from the lists here and from metadata, never from the document; a signature
is one over its own parent element; and what is given back is that element made anew from the bytes
that were signed, so that nothing unsigned can be read by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from onelogin.saml2.errors import OneLogin_Saml2_ValidationError
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from airflow_sso.errors import SignatureInvalid
from airflow_sso.login import saml_xml
from airflow_sso.login.saml_xml import DS, Element, find, shown, tag

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_SIGNATURES = frozenset(
    [f"{_MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)],
)
_DIGESTS = frozenset(
    [f"{saml_xml.XENC}sha256", f"{_MORE}sha384", f"{saml_xml.XENC}sha512"],
)
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_CANONICALIZATIONS = frozenset([_EXCLUSIVE, f"{_EXCLUSIVE}WithComments"])
_ENVELOPED = f"{DS}enveloped-signature"
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_SIGNATURE = tag("ds", "Signature")


class NoKeyFits(SignatureInvalid):
    """A well-formed signature that none of the known keys has made."""


def signature_of(element: Element) -> Element | None:
    """The signature that an element carries as its own child, if any."""
    found = find(element, "ds:Signature")
    if len(found) > 1:
        raise SignatureInvalid("an element carries several signatures")
    return found[0] if found else None


def require_signatures_only_on(root: Element, elements: Sequence[Element]) -> None:
    """Refuse a document in which anything else than ``elements`` is signed (rows S1 to S11)."""
    for signature in root.iter(_SIGNATURE):
        if signature.getparent() not in elements:
            raise SignatureInvalid("there is a signature where none belongs")


def verified(element: Element, certificates: Sequence[x509.Certificate]) -> Element:
    """The element as it was signed: a document of its own, without the signature.

    :param element: the parent of the signature.
    :param certificates: those whose keys count, and no others; ``KeyInfo`` is not looked at.
    :raises NoKeyFits: when no key has made the signature.
    :raises SignatureInvalid: when it is not of the form that SAML allows (Core, section 5.4).
    """
    signature = signature_of(element)
    if signature is None:
        raise SignatureInvalid("there is no signature")
    prefixes = _require_form(signature, element)
    root = element.getroottree().getroot()
    xmlsec.tree.add_ids(root, ["ID"])
    if not any(_made_by(signature, element, certificate) for certificate in certificates):
        raise NoKeyFits("no signing certificate of the metadata verifies the signature")
    signed = deepcopy(element)
    signed.remove(find(signed, "ds:Signature")[0])
    return saml_xml.parse(saml_xml.canonical(signed, prefixes))


def _made_by(signature: Element, element: Element, certificate: x509.Certificate) -> bool:
    pem = certificate.public_bytes(Encoding.PEM).decode()
    try:
        OneLogin_Saml2_Utils.validate_node_sign(signature, element, cert=pem, raise_exceptions=True)
    except (OneLogin_Saml2_ValidationError, xmlsec.Error):
        return False
    return True


def _require_form(signature: Element, element: Element) -> list[str] | None:
    """SAML Core 5.4.1 to 5.4.4; the prefixes of an InclusiveNamespaces list are given back."""
    _require_unique_id(element)
    if [child.tag for child in signature] not in (
        [tag("ds", "SignedInfo"), tag("ds", "SignatureValue")],
        [tag("ds", "SignedInfo"), tag("ds", "SignatureValue"), tag("ds", "KeyInfo")],
    ):
        raise SignatureInvalid("the signature holds what no SAML signature does")
    names = [child.tag for child in signature[0]]
    if names != [tag("ds", name) for name in ("CanonicalizationMethod", "SignatureMethod", "Reference")]:
        raise SignatureInvalid("SignedInfo is not one method of each kind and one reference")
    canonicalization, method, reference = signature[0]
    if canonicalization.get("Algorithm") not in _CANONICALIZATIONS or len(canonicalization):
        raise SignatureInvalid(
            f"the canonicalization {shown(canonicalization.get('Algorithm'))} is not accepted"
        )
    if method.get("Algorithm") not in _SIGNATURES or len(method):
        raise SignatureInvalid(f"the signature algorithm {shown(method.get('Algorithm'))} is not accepted")
    if reference.get("URI") != f"#{element.get('ID')}":
        raise SignatureInvalid("the signature is not over the element that carries it")
    if [child.tag for child in reference] != [
        tag("ds", name) for name in ("Transforms", "DigestMethod", "DigestValue")
    ]:
        raise SignatureInvalid("the reference holds what no SAML signature's does")
    transforms, digest, _value = reference
    if digest.get("Algorithm") not in _DIGESTS or len(digest):
        raise SignatureInvalid(f"the digest algorithm {shown(digest.get('Algorithm'))} is not accepted")
    return _require_transforms(transforms)


def _require_transforms(transforms: Element) -> list[str] | None:
    algorithms = [transform.get("Algorithm") for transform in transforms]
    if len(algorithms) != 2 or algorithms[0] != _ENVELOPED or algorithms[1] not in _CANONICALIZATIONS:
        raise SignatureInvalid("the transforms are not enveloped-signature and exclusive canonicalization")
    if len(transforms[0]):
        raise SignatureInvalid("a transform holds what none does")
    lists = list(transforms[1])
    if not lists:
        return None
    if len(lists) > 1 or lists[0].tag != f"{{{_EXCLUSIVE}}}InclusiveNamespaces":
        raise SignatureInvalid("a transform holds what none does")
    return str(lists[0].get("PrefixList") or "").split() or None


def _require_unique_id(element: Element) -> None:
    """One name, one element: else the reference could mean another (rows S1 to S9)."""
    wanted = element.get("ID")
    if not wanted:
        raise SignatureInvalid("the signed element has no ID")
    holders = 0
    for other in element.getroottree().getroot().iter():
        if other.get(_XML_ID) is not None:
            raise SignatureInvalid("there is an xml:id, which SAML does not know")
        holders += sum(other.get(name) == wanted for name in ("ID", "Id", "id"))
    if holders != 1:
        raise SignatureInvalid("the ID of the signed element stands twice")
