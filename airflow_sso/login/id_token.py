"""Where an ID token is verified: signature first, then a table of checks, each with its clause.

Nothing else makes :class:`VerifiedClaims`. What must stay true: the algorithm list, the keys, the
issuer and the audience come from configuration and never from the token, and the absence of any
required claim is a refusal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from joserfc.jwk import Key

from airflow_sso.errors import ClaimMissing, NotOurAttempt, WrongIssuer, WrongTime
from airflow_sso.login import signed_jwt
from airflow_sso.login.signed_jwt import moment

#: RFC 8725, section 3.11: another kind of token (at+jwt, logout+jwt) is not an ID token.
_KIND = signed_jwt.Kind("ID token", "an", frozenset({"JWT"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the token must agree with; all of it ours."""

    issuer: str
    client_id: str
    nonce: str | None
    """``None`` for a refreshed token alone, which belongs to no attempt (Core, section 12.2)."""
    algorithms: tuple[str, ...]
    clock_skew: timedelta
    now: float
    """Seconds since the epoch."""
    access_token: str | None = field(repr=False)
    required_claims: Mapping[str, str | None] = field(default_factory=dict)
    """The vendor's own: name and the value it must have (``None``: any non-empty string)."""
    algorithm: str = ""
    """The one of ``algorithms`` that the signature was verified with; set by :func:`verify`."""


class VerifiedClaims(Mapping[str, Any]):
    """The claims of a token that passed every check. Made by :func:`verify` only."""

    __slots__ = ("_claims",)

    def __init__(self, claims: dict[str, Any], *, made_by: object) -> None:
        if made_by is not _VERIFIED:
            raise TypeError("only id_token.verify makes VerifiedClaims")
        self._claims = MappingProxyType(claims)

    def __getitem__(self, name: str) -> Any:
        return self._claims[name]

    def __iter__(self) -> Any:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        return f"<verified claims: {', '.join(sorted(self._claims))}>"

    @property
    def session_ref(self) -> str | None:
        """The provider's session (Front-Channel Logout 1.0, section 3)."""
        return self["sid"] if isinstance(self.get("sid"), str) else None

    @property
    def provider_subject(self) -> str:
        """Whom the provider's logout tokens name (Back-Channel Logout 1.0, section 2.4)."""
        return str(self["sub"])

    @property
    def session_ends_at(self) -> None:
        """An ID token says nothing about it: its ``exp`` is the token's own."""
        return None

    @property
    def context(self) -> None:
        """It is a claim like any other: ``acr``."""
        return None

    @property
    def authenticated_at(self) -> datetime | None:
        """When the person proved who they are (Core, section 2)."""
        value = self.get("auth_time")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**33:
            return None
        return datetime.fromtimestamp(value, timezone.utc)


_VERIFIED = object()


def verify(
    unverified_token: object,
    expected: Expected,
    keys: list[Key],
    fetch_keys_again: Callable[[], list[Key] | None],
) -> VerifiedClaims:
    """The claims of an ID token (OpenID Connect Core, section 3.1.3.7).

    :param keys: the provider's keys as known now.
    :param fetch_keys_again: called at most once, when no known key fits; ``None`` when used up.
    :raises TokenRefused: naming in its ``detail`` the check that failed.
    """
    if not isinstance(unverified_token, str) or not unverified_token:
        raise ClaimMissing("the token answer has no id_token")
    signed = signed_jwt.verify(unverified_token, _KIND, expected.algorithms, keys, fetch_keys_again)
    for check in CHECKS:
        check(signed.claims, replace(expected, algorithm=signed.algorithm))
    return VerifiedClaims(signed.claims, made_by=_VERIFIED)


def completed_by_userinfo(
    claims: VerifiedClaims, userinfo: Mapping[str, Any], wanted: frozenset[str]
) -> VerifiedClaims:
    """Verified claims and, of those that they lack, the ``wanted`` ones of a userinfo answer.

    :raises NotOurAttempt: when the answer is about somebody else (Core, section 5.3.2).
    """
    if userinfo.get("sub") != claims["sub"]:
        raise NotOurAttempt("the sub of userinfo is not that of the ID token")
    more = {name: value for name, value in userinfo.items() if name in wanted and name not in claims}
    return VerifiedClaims({**claims, **more}, made_by=_VERIFIED)


# --- the checks -------------------------------------------------------------------------------------


def _required_strings(claims: dict[str, Any], expected: Expected) -> None:
    """Core 2: iss and sub are required; nonce if we sent one."""
    for name in ("iss", "sub", *(() if expected.nonce is None else ("nonce",))):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise ClaimMissing(f"the claim {name} is missing or not a string")
    if len(claims["sub"]) > 1000:
        raise ClaimMissing("the claim sub is longer than any provider's")


def _issuer(claims: dict[str, Any], expected: Expected) -> None:
    """Core 3.1.3.7 (2): exactly the configured issuer."""
    if claims["iss"] != expected.issuer:
        raise WrongIssuer(f"the issuer is {claims['iss']!r}, not {expected.issuer!r}")


def _audience(claims: dict[str, Any], expected: Expected) -> None:
    """Core 3.1.3.7 (3) to (5): for us, and if for others too, then issued to us."""
    several = signed_jwt.audience(claims, expected.client_id)
    if len(several) > 1 and "azp" not in claims:
        raise WrongIssuer("the token is for several clients and does not say to whom it was issued (azp)")
    if "azp" in claims and claims["azp"] != expected.client_id:
        raise WrongIssuer("the token was issued to another client (azp)")


def _vendor_claims(claims: dict[str, Any], expected: Expected) -> None:
    """The vendor's own, such as Entra's tenant (fact A11)."""
    for name, value in expected.required_claims.items():
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise ClaimMissing(f"the claim {name} is missing or not a string")
        if value is not None and claims[name] != value:
            raise WrongIssuer(f"the claim {name} is not the configured one")


def _times(claims: dict[str, Any], expected: Expected) -> None:
    """Core 3.1.3.7 (9) and (10), RFC 7519 4.1.4 to 4.1.6: not expired, not from the future."""
    skew = expected.clock_skew.total_seconds()
    expires, issued = moment(claims, "exp"), moment(claims, "iat")
    signed_jwt.require_not_expired(expires, expected.now, skew)
    signed_jwt.require_not_from_the_future(issued, expected.now, skew)
    if "nbf" in claims and moment(claims, "nbf") > expected.now + skew:
        raise WrongTime("the token is not valid yet")


def _nonce(claims: dict[str, Any], expected: Expected) -> None:
    """Core 3.1.3.7 (11): made for this attempt; a ``nonce_supported`` claim changes nothing."""
    if expected.nonce is None:
        return
    if not hmac.compare_digest(claims["nonce"].encode(), expected.nonce.encode()):
        raise NotOurAttempt("the nonce is not that of this attempt")


def _access_token_hash(claims: dict[str, Any], expected: Expected) -> None:
    """Core 3.1.3.6: at_hash, when present, is that of the access token beside it."""
    if "at_hash" not in claims:
        return
    if not expected.access_token:
        raise NotOurAttempt("there is an at_hash and no access token beside it")
    bits = {"256": 256, "384": 384}.get(expected.algorithm[-3:], 512)  # EdDSA: Ed25519 hashes with SHA-512
    digest = hashlib.new(f"sha{bits}", expected.access_token.encode()).digest()
    ours = base64.urlsafe_b64encode(digest[: bits // 16]).rstrip(b"=").decode()
    if claims["at_hash"] != ours:
        raise NotOurAttempt("at_hash does not fit the access token")


CHECKS: tuple[Callable[[dict[str, Any], Expected], None], ...] = (
    _required_strings,
    _issuer,
    _audience,
    _vendor_claims,
    _times,
    _nonce,
    _access_token_hash,
)
