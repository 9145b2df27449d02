"""X.509 certificates: ours with its private key, and how a provider's is named and judged.

What must stay true: a certificate counts only while it is valid and only with a key of today's
strength, and nothing of a private key ever stands in a message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

_SHORTEST_RSA = 2048  # bits; NIST SP 800-131A
_SHORTEST_EC = 256


@dataclass(frozen=True, slots=True)
class OurKeys:
    """A certificate and its private key, both PEM."""

    certificate: str
    private_key: str = field(repr=False)


def our_keys(certificate_pem: str, private_key_pem: str) -> OurKeys:
    """The pair, if the two belong together and can sign with RSA-SHA256 and decrypt.

    :raises ValueError: saying which of the two to mend, and how.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the certificate is not PEM (-----BEGIN CERTIFICATE-----)") from None
    try:
        private = serialization.load_pem_private_key(private_key_pem.encode(), password=None)
    except TypeError:
        raise ValueError("the private key has a password: store it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the private key is not PEM (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size < _SHORTEST_RSA:
        raise ValueError(f"the private key must be RSA of {_SHORTEST_RSA} bits or more")
    if private.public_key() != certificate.public_key():
        raise ValueError("the private key does not belong to the certificate")
    return OurKeys(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate, as 64 lower-case hexadecimal digits."""
    return certificate.fingerprint(SHA256()).hex()


def as_fingerprint(written: str) -> str:
    """A SHA-256 fingerprint as people write it, with or without colons, as :func:`fingerprint` has it.

    :raises ValueError: when it is none.
    """
    digits = re.sub(r"[\s:]", "", written).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("must be a SHA-256 fingerprint: 64 hexadecimal digits, colons allowed")
    return digits


def why_not_usable(certificate: x509.Certificate, now: datetime, skew: timedelta) -> str | None:
    """Why no signature may be verified with a provider's certificate at this moment, if so.

    Self-signed or not says nothing: the metadata that names it is what is trusted (SAML Metadata
    Interoperability Profile, section 2.3). Its end counts all the same (row S18).
    """
    if now >= certificate.not_valid_after_utc + skew:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc - skew:
        return f"is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on"
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "has a key of an unknown kind"
    strong_rsa = isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SHORTEST_RSA
    strong_ec = isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= _SHORTEST_EC
    return None if strong_rsa or strong_ec else "has a key that is too weak, or of an unknown kind"
