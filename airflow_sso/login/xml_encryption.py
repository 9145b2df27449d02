"""Encrypted parts of a SAML document are put in the clear, with our own key.

What must stay true: decrypting proves nothing about who wrote something, since everybody may encrypt
for us; and the clear text is put in place as text and parsed with its surroundings, because moving
elements about changes their prefixes and breaks signatures within.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from copy import deepcopy

import xmlsec
from lxml import etree
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from airflow_sso.errors import SignatureInvalid
from airflow_sso.login import saml_xml
from airflow_sso.login.saml_xml import Element, UnreadableXml, find, shown, tag

_XENC11 = "http://www.w3.org/2009/xmlenc11#"
#: Block ciphers; 3DES is not among them (NIST SP 800-131A).
_BLOCK = frozenset(
    [f"{saml_xml.XENC}aes{bits}-cbc" for bits in (128, 192, 256)]
    + [f"{_XENC11}aes{bits}-gcm" for bits in (128, 192, 256)],
)
#: Key transport; RSA PKCS #1 v1.5 is not among them (Bleichenbacher's attack).
_TRANSPORT = frozenset([f"{saml_xml.XENC}rsa-oaep-mgf1p", f"{_XENC11}rsa-oaep"])
_MOST_KEYS = 10
_MOST_TRIES = 8  # of one encrypted key; an honest sign-in takes six at most
_MOST_REMEMBERED = 10_000
_UNUSABLE = "what was encrypted cannot be used"


def decrypted(root: Element, place: str, name: str, private_key: str | None) -> Element:
    """The document with the one encrypted element at ``place`` in the clear; itself if there is none.

    :param place: a path from the root, such as ``saml:EncryptedAssertion``.
    :param name: what must be in it and nothing beside, such as ``saml:Assertion``.
    :param private_key: PEM.
    :raises SignatureInvalid: when it cannot be decrypted. Why is never told apart, neither here nor in
        a log: whoever learns it can read what was encrypted for us, piece by piece.
    """
    found = find(root, place)
    if not found:
        return root
    if len(found) > 1:
        raise SignatureInvalid(f"there are several {place}")
    if private_key is None:
        raise SignatureInvalid(f"there is an {place}, and no keys are configured to decrypt it")
    copy = deepcopy(root)
    encrypted = find(copy, place)[0]
    namespaces = encrypted.nsmap
    clear = _clear_text(encrypted, private_key)
    _require_just(name, clear, namespaces)
    stand_in = f"clear-{secrets.token_hex(16)}"
    encrypted.getparent().replace(encrypted, etree.Element(stand_in))
    whole = etree.tostring(copy).replace(f"<{stand_in}/>".encode(), clear)
    try:
        return saml_xml.parse(whole)
    except UnreadableXml:
        raise SignatureInvalid(_UNUSABLE) from None


def forgive(root: Element) -> None:
    """Its response passed every check: the keys in it may be used again, as the browser fetches it.

    A true signature is not enough: whoever captured a whole response could go on for ever with it.
    """
    for key in root.iter(tag("xenc", "EncryptedKey")):
        _tries.forget(key)


class _Tries:
    """How often each encrypted key was used in vain, in this process.

    Every try tells a little about the clear text (Jager and Somorovsky, 2011): a few tell too little.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: OrderedDict[str, int] = OrderedDict()

    def use(self, key: Element) -> None:
        name = self._name(key)
        with self._lock:
            self._used[name] = self._used.get(name, 0) + 1
            self._used.move_to_end(name)
            if len(self._used) > _MOST_REMEMBERED:
                self._used.popitem(last=False)
            if self._used[name] > _MOST_TRIES:
                raise SignatureInvalid("this encrypted key was tried too often")

    def forget(self, key: Element) -> None:
        with self._lock:
            self._used.pop(self._name(key), None)

    @staticmethod
    def _name(key: Element) -> str:
        values = "".join("".join((one.text or "").split()) for one in key.iter(tag("xenc", "CipherValue")))
        return hashlib.sha256(values.encode()).hexdigest()


_tries = _Tries()


def _require_just(name: str, clear: bytes, namespaces: dict[str | None, str]) -> None:
    """The clear text is one whole element by itself, so that it cannot end the one it stands in."""
    opened = etree.tostring(etree.Element("alone", nsmap=namespaces)).removesuffix(b"/>") + b">"
    try:
        alone = saml_xml.parse(opened + clear + b"</alone>")
    except UnreadableXml:
        raise SignatureInvalid(_UNUSABLE) from None
    tags = [child.tag for child in alone]
    around = [alone.text, *(child.tail for child in alone)]
    if tags != [tag(*name.split(":"))] or any((text or "").strip() for text in around):
        raise SignatureInvalid(_UNUSABLE)


def _clear_text(encrypted: Element, private_key: str) -> bytes:
    data = find(encrypted, "xenc:EncryptedData")
    keys = list(encrypted.iter(tag("xenc", "EncryptedKey")))
    if len(data) != 1 or not 0 < len(keys) <= _MOST_KEYS:
        raise SignatureInvalid("the encrypted element does not hold one EncryptedData and its key")
    for key in keys:
        _tries.use(key)
    _require_algorithms(data[0], keys)
    info = find(data[0], "ds:KeyInfo")
    if len(info) != 1:
        raise SignatureInvalid("the EncryptedData has no KeyInfo")
    _require_nothing_from_elsewhere(encrypted, info[0])
    for beside in find(encrypted, "xenc:EncryptedKey"):
        # Where keys stand beside the data (Core 2.7.2 allows it), xmlsec looks for them within.
        info[0].append(beside)
    for pointer in find(info[0], "ds:RetrievalMethod"):
        info[0].remove(pointer)
    # With a Type xmlsec would put elements in place by itself, and rename their prefixes.
    data[0].attrib.pop("Type", None)
    try:
        clear = OneLogin_Saml2_Utils.decrypt_element(data[0], private_key, inplace=True)
    except xmlsec.Error:
        raise SignatureInvalid(_UNUSABLE) from None
    if not isinstance(clear, bytes):
        raise SignatureInvalid(_UNUSABLE)
    return clear


def _require_algorithms(data: Element, keys: list[Element]) -> None:
    used = [method.get("Algorithm") for method in find(data, "xenc:EncryptionMethod")]
    if len(used) != 1 or used[0] not in _BLOCK:
        raise SignatureInvalid(f"the encryption {shown(used)} is not accepted")
    for key in keys:
        transport = [method.get("Algorithm") for method in find(key, "xenc:EncryptionMethod")]
        if len(transport) != 1 or transport[0] not in _TRANSPORT:
            raise SignatureInvalid(f"the key transport {shown(transport)} is not accepted")


def _require_nothing_from_elsewhere(encrypted: Element, info: Element) -> None:
    """xmlsec would follow these, to files and to the network."""
    for element in encrypted.iter():
        name = str(element.tag).rpartition("}")[2]
        own_pointer = element.getparent() is info and str(element.get("URI")).startswith("#")
        if name in ("CipherReference", "KeyInfoReference") or (name == "RetrievalMethod" and not own_pointer):
            raise SignatureInvalid(f"the encrypted element points elsewhere ({name})")
