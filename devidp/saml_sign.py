"""Signing, verifying and encrypting with the xmlsec library, and signing by hand what it would refuse.

Templates are written with lxml, so that libxmlsec only fills in values and makes no element that lxml
does not see. `sign` is the honest door; `sign_by_hand` writes any SignedInfo over any digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote_plus, unquote_plus

import xmlsec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from devidp import saml_xml as sx
from devidp.saml_keys import SamlKey
from devidp.saml_xml import DS, XENC, Element

_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
SIGNATURES = {
    "rsa-sha256": f"{_MORE}rsa-sha256",
    "rsa-sha384": f"{_MORE}rsa-sha384",
    "rsa-sha512": f"{_MORE}rsa-sha512",
    "rsa-sha1": f"{DS}rsa-sha1",
}
DIGESTS = {
    "sha256": f"{XENC}sha256",
    "sha384": f"{_MORE}sha384",
    "sha512": f"{XENC}sha512",
    "sha1": f"{DS}sha1",
}
C14N = {
    "exc-c14n": sx.EXC_C14N,
    "exc-c14n-with-comments": f"{sx.EXC_C14N}WithComments",
    "c14n": "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    "c14n11": "http://www.w3.org/2006/12/xml-c14n11",
}
ENVELOPED = f"{DS}enveloped-signature"
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

# Name -> algorithm, kind and bits of the session key. 3DES and RSA 1.5 are there to be refused.
BLOCK_CIPHERS = {
    "aes128-cbc": (f"{XENC}aes128-cbc", "Aes", 128),
    "aes256-cbc": (f"{XENC}aes256-cbc", "Aes", 256),
    "aes128-gcm": ("http://www.w3.org/2009/xmlenc11#aes128-gcm", "Aes", 128),
    "aes256-gcm": ("http://www.w3.org/2009/xmlenc11#aes256-gcm", "Aes", 256),
    "3des": (f"{XENC}tripledes-cbc", "Des", 192),
}
KEY_TRANSPORTS = {"rsa-oaep": f"{XENC}rsa-oaep-mgf1p", "rsa-1_5": f"{XENC}rsa-1_5"}


class BadSignature(Exception):
    """A signature that is there and does not hold, or covers something else than the message."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """One ds:Transform: an algorithm and, for the ones that take it, XML text inside."""

    algorithm: str
    inside: str = ""


def template(
    *,
    uri: str | None,
    signature_method: str,
    digest_method: str,
    c14n_method: str,
    transforms: Iterable[Transform],
    certificate: str | None,
) -> Element:
    """An empty ds:Signature; it goes wherever the caller puts it."""
    node = sx.root(DS, "Signature", {"ds": DS})
    info = sx.add(node, DS, "SignedInfo")
    sx.add(info, DS, "CanonicalizationMethod", None, {"Algorithm": c14n_method})
    sx.add(info, DS, "SignatureMethod", None, {"Algorithm": signature_method})
    reference = sx.add(info, DS, "Reference", None, {"URI": uri})
    listed = sx.add(reference, DS, "Transforms")
    for transform in transforms:
        made = sx.add(listed, DS, "Transform", None, {"Algorithm": transform.algorithm})
        if transform.inside:
            made.append(sx.own(transform.inside.encode()))
    sx.add(reference, DS, "DigestMethod", None, {"Algorithm": digest_method})
    sx.add(reference, DS, "DigestValue")
    sx.add(node, DS, "SignatureValue")
    if certificate is not None:
        data = sx.add(sx.add(node, DS, "KeyInfo"), DS, "X509Data")
        sx.add(data, DS, "X509Certificate", certificate)
    return node


def place(element: Element, signature: Element) -> None:
    """Behind the Issuer, where the SAML schema wants it; in metadata, first."""
    issuer = sx.find(element, "Issuer")
    if issuer is None:
        element.insert(0, signature)
    else:
        issuer.addnext(signature)


def sign(
    element: Element,
    key: SamlKey,
    *,
    signature: str = "rsa-sha256",
    digest: str = "sha256",
    c14n: str = "exc-c14n",
    key_info: bool = True,
    certificate: str | None = None,
    uri: str | None = None,
    transforms: Iterable[Transform] | None = None,
) -> Element:
    """Sign an element (by its ID) in place. `certificate` stands in KeyInfo instead of the key's own."""
    shown = (certificate or key.certificate_text) if key_info else None
    if transforms is None:
        transforms = (Transform(algorithm=ENVELOPED), Transform(algorithm=C14N[c14n]))
    node = template(
        uri=f"#{element.get('ID')}" if uri is None else uri,
        signature_method=SIGNATURES[signature],
        digest_method=DIGESTS[digest],
        c14n_method=C14N[c14n],
        transforms=transforms,
        certificate=shown,
    )
    place(element, node)
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(key.private_pem, xmlsec.constants.KeyDataFormatPem)
    context.register_id(element, "ID")
    context.sign(node)
    return node


def sign_by_hand(
    element: Element,
    signer: Callable[[bytes], bytes],
    *,
    signature_method: str = SIGNATURES["rsa-sha256"],
    digest: str = "sha256",
    c14n_method: str = sx.EXC_C14N,
    transforms: Iterable[Transform] = (Transform(algorithm=ENVELOPED), Transform(algorithm=sx.EXC_C14N)),
    certificate: str | None = None,
    uri: str | None = None,
) -> Element:
    """The SignedInfo names whatever it is told; the digest is always over exclusive c14n."""
    node = template(
        uri=f"#{element.get('ID')}" if uri is None else uri,
        signature_method=signature_method,
        digest_method=DIGESTS[digest],
        c14n_method=c14n_method,
        transforms=transforms,
        certificate=certificate,
    )
    value = hashlib.new(digest, sx.canonical(element), usedforsecurity=False).digest()
    sx.need(node, "SignedInfo/Reference/DigestValue").text = sx.b64(value)
    place(element, node)
    info = sx.canonical(sx.need(node, "SignedInfo"))
    sx.need(node, "SignatureValue").text = sx.b64(signer(info))
    return node


def rsa_signer(key: SamlKey, digest: str = "sha256") -> Callable[[bytes], bytes]:
    return lambda data: key.private.sign(data, padding.PKCS1v15(), _HASHES[digest])


def verify(element: Element, certificates: Iterable[bytes]) -> None:
    """The element's own signature, by one of these certificates (PEM), with nothing weak or odd in it.

    What must hold: one signature, a child of the element, whose one reference is the element's ID.
    """
    found = element.findall(f".//{{{DS}}}Signature")
    if len(found) != 1 or found[0].getparent() is not element:
        raise BadSignature("there must be one signature, directly in the message")
    node = found[0]
    references = node.findall(f"{{{DS}}}SignedInfo/{{{DS}}}Reference")
    if len(references) != 1 or references[0].get("URI") != f"#{element.get('ID')}":
        raise BadSignature("the signature does not refer to the message")
    allowed = {*C14N.values(), ENVELOPED} | {v for k, v in SIGNATURES.items() if "sha1" not in k}
    allowed |= {v for k, v in DIGESTS.items() if k != "sha1"}
    if not {e.get("Algorithm") for e in node.iter() if e.get("Algorithm")} <= allowed:
        raise BadSignature("the signature uses an algorithm that is not allowed")
    for pem in certificates:
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatCertPem)
        context.register_id(element, "ID")
        try:
            context.verify(node)
        except xmlsec.Error:
            continue
        return
    raise BadSignature("no registered certificate made this signature")


# -- HTTP-Redirect, Bindings 3.4.4.1 -----------------------------------------------------------------


def signed_query(
    pairs: list[tuple[str, str]], key: SamlKey, signature: str = "rsa-sha256", digest: str = "sha256"
) -> str:
    """Message, RelayState and SigAlg in this order, as they are escaped, and the signature behind them."""
    pairs = [*pairs, ("SigAlg", SIGNATURES[signature])]
    text = "&".join(f"{name}={quote_plus(value)}" for name, value in pairs)
    return f"{text}&Signature={quote_plus(sx.b64(rsa_signer(key, digest)(text.encode())))}"


def verify_query(raw: str, message: str, certificates: Iterable[bytes]) -> None:
    """`raw` is the query as it came: escapes that another library writes differently must not matter."""
    parts = [part.partition("=") for part in raw.split("&")]
    given = {name: value for name, _, value in parts}
    if len(given) != len(parts):
        raise BadSignature("a parameter is given more than once")
    if not {message, "SigAlg", "Signature"} <= set(given):
        raise BadSignature("SigAlg or Signature is missing")
    names = {uri: name for name, uri in SIGNATURES.items() if name != "rsa-sha1"}
    name = names.get(unquote_plus(given["SigAlg"]))
    if name is None:
        raise BadSignature("the signature algorithm is not allowed")
    text = "&".join(f"{n}={given[n]}" for n in (message, "RelayState", "SigAlg") if n in given)
    value = sx.unb64(unquote_plus(given["Signature"]))
    for pem in certificates:
        public = x509.load_pem_x509_certificate(pem).public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            continue
        try:
            public.verify(value, text.encode(), padding.PKCS1v15(), _HASHES[name.removeprefix("rsa-")])
        except InvalidSignature:
            continue
        return
    raise BadSignature("no registered certificate made this signature")


# -- encryption ----------------------------------------------------------------------------------------


def encrypted(
    plain: bytes, certificate: bytes, *, block_cipher: str = "aes256-cbc", key_transport: str = "rsa-oaep"
) -> bytes:
    """An xenc:EncryptedData (as text) that holds an element for the owner of this certificate (PEM)."""
    algorithm, family, bits = BLOCK_CIPHERS[block_cipher]
    data = sx.root(XENC, "EncryptedData", {"xenc": XENC, "ds": DS}, {"Type": f"{XENC}Element"})
    sx.add(data, XENC, "EncryptionMethod", None, {"Algorithm": algorithm})
    carried = sx.add(sx.add(data, DS, "KeyInfo"), XENC, "EncryptedKey")
    sx.add(carried, XENC, "EncryptionMethod", None, {"Algorithm": KEY_TRANSPORTS[key_transport]})
    sx.add(sx.add(carried, XENC, "CipherData"), XENC, "CipherValue")
    sx.add(sx.add(data, XENC, "CipherData"), XENC, "CipherValue")
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(certificate, xmlsec.constants.KeyDataFormatCertPem))
    context = xmlsec.EncryptionContext(manager)
    context.key = xmlsec.Key.generate(
        getattr(xmlsec.constants, f"KeyData{family}"), bits, xmlsec.constants.KeyDataTypeSession
    )
    return sx.text_of(context.encrypt_binary(data, plain))


def decrypted(data: Element, private_pem: bytes) -> bytes:
    """What an EncryptedData holds, for whoever has the private key."""
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(private_pem, xmlsec.constants.KeyDataFormatPem))
    context = xmlsec.EncryptionContext(manager)
    alone = sx.own(sx.text_of(data)).getroottree()
    wrapper = sx.own(b"<devidp/>")
    wrapper.append(alone.getroot())
    context.decrypt(wrapper[0])
    return sx.text_of(sx.own(sx.text_of(wrapper))[0])
