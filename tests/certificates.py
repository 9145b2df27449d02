"""Certificates and keys of the run's own, for clients that sign assertions instead of knowing a secret."""

from __future__ import annotations

import base64
import datetime
import hashlib
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from devidp.settings import CLIENT_ID


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate of the run's own, as files."""

    key: RSAKey
    certificate_file: Path
    key_file: Path

    @property
    def pem(self) -> str:
        return self.certificate_file.read_text()

    @property
    def key_hash(self) -> str:
        """The SHA-256 of its public key, as browsers pin it (RFC 7469, section 2.4)."""
        public = x509.load_pem_x509_certificate(self.certificate_file.read_bytes()).public_key()
        info = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(hashlib.sha256(info).digest()).decode()

    def assertion(self, audience: str) -> str:
        now = int(time.time())
        claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": audience, "jti": str(uuid.uuid4())}
        return jwt.encode({"alg": "RS256"}, {**claims, "iat": now, "exp": now + 300}, self.key)


def new_certificate(folder: Path, name: str, *, hosts: Collection[str] = (), days: int = 1) -> Certificate:
    """:param hosts: for which it proves a server, whose clients trust it itself.
    :param days: how long it lasts.
    """
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today)
        .not_valid_after(today + datetime.timedelta(days=days))
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(private, hashes.SHA256())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = Certificate(RSAKey.import_key(pem.decode()), folder / f"{name}.crt", folder / f"{name}.key")
    made.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(pem)
    return made
