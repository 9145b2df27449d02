"""Signing keys: one ring a face, made at first use, kept in memory, restored by a reset.

Tokens are put together from bytes here, because a provider that misbehaves on request must be able
to write what a well-behaved library refuses to write. Signing itself is joserfc's.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import hmac
import json
import threading
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256")
ALGORITHMS = ("none", "HS256", *ASYMMETRIC)


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, eq=False)
class SigningKey:
    """A private key with the kid it goes by, which need not be its own."""

    kid: str
    alg: str
    key: RSAKey | ECKey

    @classmethod
    def generate(cls, alg: str = "RS256") -> SigningKey:
        key: RSAKey | ECKey = (
            ECKey.generate_key("P-256") if alg.startswith("ES") else RSAKey.generate_key(2048)
        )
        return cls(kid=key.thumbprint(), alg=alg, key=key)

    def sign(self, message: bytes, alg: str) -> bytes:
        return JWSRegistry.algorithms[alg].sign(message, self.key)

    def private(self) -> RSAPrivateKey | EllipticCurvePrivateKey:
        if self.key.private_key is None:
            raise TypeError("a signing key has a private half")
        return self.key.private_key

    def public_pem(self) -> bytes:
        return self.key.public_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def public_jwk(self) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "use": "sig", "kid": self.kid}


@functools.cache
def certificate_der(key: SigningKey) -> bytes:
    """A self-signed certificate of the key, for the x5c and x5t members of Entra's key set."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "devidp pretend signing key")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.key.public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .sign(key.private(), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def with_certificate(key: SigningKey, jwk: dict[str, Any]) -> dict[str, Any]:
    der = certificate_der(key)
    thumbprint = b64url(hashlib.sha1(der, usedforsecurity=False).digest())
    return {**jwk, "x5t": thumbprint, "x5c": [base64.b64encode(der).decode()]}


@functools.cache
def stranger(label: str, alg: str = "RS256") -> SigningKey:  # noqa: ARG001 -- the label is the cache's key
    """A key that no ring signs with, the same for the life of the process."""
    return SigningKey.generate(alg)


class Keyring:
    """The keys of one face: the one that signs now, and those its key set shows."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._first: SigningKey | None = None
        self._current: SigningKey | None = None
        self._published: list[SigningKey] = []
        self._by_alg: dict[str, SigningKey] = {}

    def reset(self) -> None:
        with self._lock:
            self._current = self._first
            self._published = [self._first] if self._first else []
            self._by_alg = {}

    @property
    def current(self) -> SigningKey:
        with self._lock:
            if self._current is None:
                self._first = self._current = SigningKey.generate()
                self._published = [self._first]
            return self._current

    def published(self) -> list[SigningKey]:
        with self._lock:
            _ = self.current  # made now, if this is the first question
            return list(self._published)

    def for_alg(self, alg: str) -> SigningKey:
        """A key for an unusual algorithm appears in the key set when it first signs.

        Otherwise a relying party would refuse such a token for its unknown key, and a test could
        not tell whether it also refuses the algorithm.
        """
        if alg == "RS256":
            return self.current
        with self._lock:
            self.published()
            if alg not in self._by_alg:
                self._by_alg[alg] = SigningKey.generate(alg)
                self._published.append(self._by_alg[alg])
            return self._by_alg[alg]

    def rotate(self, *, publish: bool = True, same_kid: bool = False, keep_old: bool = True) -> SigningKey:
        """A new key signs from now on; under the same kid the old one cannot stay in the key set."""
        with self._lock:
            old = self.current
            fresh = SigningKey.generate()
            self._current = replace(fresh, kid=old.kid) if same_kid else fresh
            if publish:
                self._published.append(self._current)
                if same_kid or not keep_old:
                    self._published.remove(old)
            return self._current

    def publish(self) -> None:
        """Show the key that signs now, if a rotation kept it back."""
        with self._lock:
            if self.current not in self._published:
                self._published = [key for key in self._published if key.kid != self.current.kid]
                self._published.append(self.current)


def encode_members(members: dict[str, Any], again: dict[str, Any] | None = None) -> bytes:
    """JSON text; members in `again` are written a second time behind the first (duplicate keys)."""
    text = json.dumps(members, separators=(",", ":"))
    if again:
        text = text[:-1] + ("," if members else "") + json.dumps(again, separators=(",", ":"))[1:]
    return text.encode()


def decoded_members(raw: bytes) -> dict[str, Any]:
    """A JSON object. :raises ValueError: when it is none."""
    members = json.loads(raw)
    if not isinstance(members, dict):
        raise ValueError("not an object")
    return members


def compact(header: bytes, payload: bytes, alg: str, key: SigningKey) -> str:
    """Sign header and payload as they are. HS256 uses the *public* key as its secret: the classic attack."""
    signing_input = f"{b64url(header)}.{b64url(payload)}"
    if alg == "none":
        return signing_input + "."
    if alg == "HS256":
        signature = hmac.new(key.public_pem(), signing_input.encode(), hashlib.sha256).digest()
    else:
        signature = key.sign(signing_input.encode(), alg)
    return f"{signing_input}.{b64url(signature)}"


def half_hash(value: str) -> str:
    """at_hash and c_hash of OIDC Core 3.1.3.6 for the algorithms that use SHA-256."""
    return b64url(hashlib.sha256(value.encode("ascii")).digest()[:16])
