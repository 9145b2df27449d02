"""Tokens as an honest provider signs them and as a forger would write them; the keys are made in the run.

Header and payload are put together from bytes, because a well-behaved library refuses to write half of
what a token must be tested with. Signing itself is joserfc's.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from airflow_sso.login import id_token
from airflow_sso.login.id_token import Expected, VerifiedClaims

ISSUER = "https://id.contoso.example/tenant/v2.0"
CLIENT_ID = "airflow"
NONCE = "nonce-of-this-attempt"
ACCESS_TOKEN = "access-token-beside-the-id-token"
NOW = 1_800_000_000.0


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


#: As a change: the claim or header member is left out.
ABSENT: Any = _Absent()
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


def signing_key(label: str = "provider", alg: str = "RS256", kid: str | None = "kid-1") -> Key:
    """A private key; the same arguments give the same key for the whole run."""
    return _made_once(label, alg, kid)


@functools.cache
def _made_once(_label: str, alg: str, kid: str | None) -> Key:
    about = {"kid": kid} if kid else None
    if alg == "EdDSA":
        return OKPKey.generate_key("Ed25519", about)
    if alg in _CURVES:
        return ECKey.generate_key(_CURVES[alg], about)
    return RSAKey.generate_key(2048, about)


def public_jwk(key: Key, **members: Any) -> dict[str, Any]:
    """The public half as a JWKS entry, with more members."""
    return {**key.as_dict(private=False), "use": "sig", **members}


def public(key: Key, **members: Any) -> Key:
    """The public half as it comes out of a key set."""
    return type(key).import_key(public_jwk(key, **members))


def honest_claims(**changes: Any) -> dict[str, Any]:
    """Claims that pass every check of :func:`expected`, with changes."""
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "7d1c6c9e",
        "aud": CLIENT_ID,
        "exp": NOW + 3600,
        "iat": NOW,
        "nonce": NONCE,
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not ABSENT}


def signed(
    claims: dict[str, Any] | bytes | None = None,
    *,
    key: Key | None = None,
    alg: str = "RS256",
    header: dict[str, Any] | bytes | None = None,
    sign_with: str | None = None,
) -> str:
    """A compact token.

    :param claims: as an object or as the very bytes to sign; default: honest ones.
    :param header: changes to the honest header, or its very bytes.
    :param sign_with: the algorithm of the signature, where the header is to say another one.
    """
    key = key or signing_key(alg=alg)
    if not isinstance(header, bytes):
        members = {"alg": alg, "kid": key.kid or ABSENT, "typ": "JWT", **(header or {})}
        header = _json({name: value for name, value in members.items() if value is not ABSENT})
    payload = claims if isinstance(claims, bytes) else _json(honest_claims() if claims is None else claims)
    signing_input = f"{b64url(header)}.{b64url(payload)}"
    signature = JWSRegistry.algorithms[sign_with or alg].sign(signing_input.encode(), key)
    return f"{signing_input}.{b64url(signature)}"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def half_hash(value: str, bits: int) -> str:
    """``at_hash`` as OpenID Connect Core 3.1.3.6 defines it, with SHA-``bits``."""
    digest = hashlib.new(f"sha{bits}", value.encode("ascii")).digest()
    return b64url(digest[: len(digest) // 2])


def expected(**changes: Any) -> Expected:
    """What the honest token agrees with, with changes."""
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "client_id": CLIENT_ID,
        "nonce": NONCE,
        "algorithms": ("RS256",),
        "clock_skew": timedelta(seconds=60),
        "now": NOW,
        "access_token": ACCESS_TOKEN,
    }
    return Expected(**{**values, **changes})


def no_more_keys() -> None:
    """A refetch that has been used up."""
    return


def verify(
    token: object,
    *,
    keys: list[Key] | None = None,
    fetch_keys_again: Callable[[], list[Key] | None] = no_more_keys,
    **changes: Any,
) -> VerifiedClaims:
    """The product's verifier, with one known key and honest expectations unless told otherwise."""
    known = [public(signing_key())] if keys is None else keys
    return id_token.verify(token, expected(**changes), known, fetch_keys_again)


def verified(**changes: Any) -> VerifiedClaims:
    """Verified claims, made the only way there is: signed by a provider and verified."""
    claims = honest_claims(**changes)
    return verify(signed(claims), issuer=claims["iss"])
