"""Signing keys of the SAML side: RSA keys with real certificates, one ring a face, made at first use.

The steps of a rollover are states of the ring: which of the two keys, the old and the new, its
metadata lists, and which of them signs (rows S18 and S30; fact C9).
"""

from __future__ import annotations

import datetime
import functools
import threading
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from devidp.saml_xml import b64

KINDS = ("good", "expired", "weak")
PUBLISH = ("old", "new", "both", "none")
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, eq=False)
class SamlKey:
    """A private key and the certificate that shows its public half."""

    private: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @functools.cached_property
    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @functools.cached_property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @functools.cached_property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(_PEM)

    @functools.cached_property
    def certificate_text(self) -> str:
        """Base64 of the DER form, as ds:X509Certificate holds it."""
        return b64(self.certificate.public_bytes(serialization.Encoding.DER))


def make(common_name: str, kind: str = "good") -> SamlKey:
    """`expired`: its time ended yesterday; `weak`: 1024 bits."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024 if kind == "weak" else 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    until = now - datetime.timedelta(days=1) if kind == "expired" else now + datetime.timedelta(days=3 * 365)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(until)
        .sign(private, hashes.SHA256())
    )
    return SamlKey(private, certificate)


@functools.cache
def stranger(label: str, kind: str = "good") -> SamlKey:
    """A key that no ring has, the same for the life of the process. The label is its certificate's name."""
    return make(label, kind)


class SamlRing:
    """The keys of one face. They are kept over a reset: only what is published and what signs goes back."""

    def __init__(self, face: str) -> None:
        self._face = face
        self._lock = threading.RLock()
        self._made: dict[str, SamlKey] = {}
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._generation, self._kind = 0, "good"
            self._publish, self._sign_with = "old", "old"

    def key(self, which: str) -> SamlKey:
        """`old`, `new`, or `server_default`: the certificate that signs for no partner (facts C1, E7)."""
        with self._lock:
            label = which
            if which == "old":
                label = f"{self._generation} good"
            elif which == "new":
                label = f"{self._generation + 1} {self._kind}"
            if label not in self._made:
                kind = label.rpartition(" ")[2]
                self._made[label] = make(f"devidp {self._face}", kind if kind in KINDS else "good")
            return self._made[label]

    @property
    def signing(self) -> SamlKey:
        with self._lock:
            return self.key(self._sign_with)

    def published(self) -> list[SamlKey]:
        with self._lock:
            names = {"both": ("old", "new"), "none": ()}.get(self._publish, (self._publish,))
            return [self.key(name) for name in names]

    def rotate(
        self,
        *,
        publish: str | None = None,
        sign_with: str | None = None,
        kind: str | None = None,
        forget_old: bool = False,
    ) -> None:
        """One step of a rollover. `kind` says what the new key is; `forget_old`: the new one is the old
        one from here on, and another is new."""
        for name, value, known in (
            ("publish", publish, PUBLISH),
            ("sign_with", sign_with, ("old", "new")),
            ("kind", kind, KINDS),
        ):
            if value is not None and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}")
        with self._lock:
            if forget_old:
                self._generation += 1
                self._kind, self._publish, self._sign_with = "good", "old", "old"
            self._publish = publish or self._publish
            self._sign_with = sign_with or self._sign_with
            self._kind = kind or self._kind

    def as_json(self) -> dict[str, str | int]:
        with self._lock:
            return {"publish": self._publish, "sign_with": self._sign_with, "kind": self._kind}
