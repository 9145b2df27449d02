"""Where a token is verified: signature first, then a table of checks, each with its clause.

Nothing else makes :class:`VerifiedClaims`. What must stay true: the algorithm list, the keys, the
issuer and the audience come from configuration and never from the token, and the absence of any
required claim is a refusal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from airflow_sso.errors import ClaimMissing, NotOurAttempt, SignatureInvalid, WrongIssuer, WrongTime

_MAX_TOKEN = 100_000  # characters; 10,000 groups are about 500 kB and no honest token
_LAST = 2**53  # seconds; past it no number is exact, and infinity and not-a-number are past it too
#: Headers that let a token bring its own key, or ask for something we do not understand (RFC 8725, 3.10).
_FORBIDDEN_HEADERS = ("jwk", "jku", "x5u", "crit", "b64", "zip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the token must agree with; all of it ours."""

    issuer: str
    client_id: str
    nonce: str
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
    if len(unverified_token) > _MAX_TOKEN:
        raise SignatureInvalid("the ID token is too large")
    header = _header(unverified_token)
    _check_header(header, expected.algorithms)
    payload = _verified_payload(unverified_token, header, expected.algorithms, keys)
    if payload is None:
        # A key may have been rotated since, even under the same kid.
        newer = fetch_keys_again()
        payload = _verified_payload(unverified_token, header, expected.algorithms, newer or [])
    if payload is None:
        raise SignatureInvalid(f"no key of the provider verifies the signature (kid {header.get('kid')!r})")
    claims = _json_object(payload, "payload")
    for check in CHECKS:
        check(claims, replace(expected, algorithm=str(header["alg"])))
    return VerifiedClaims(claims, made_by=_VERIFIED)


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


def _header(token: str) -> dict[str, Any]:
    if token.count(".") != 2:
        raise SignatureInvalid("the ID token is not a signed JWT of three parts")
    try:
        raw = token.split(".", 1)[0]
        decoded = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise SignatureInvalid("the header is not base64url") from None
    return _json_object(decoded, "header")


def _json_object(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object without duplicate names: two parsers could read two things (RFC 8725, 2.4)."""

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a name stands twice")
        return result

    def refuse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        # As text: given bytes, the parser would guess UTF-16 and UTF-32 too (RFC 7519, section 7.2).
        value = json.loads(raw.decode(), object_pairs_hook=without_duplicates, parse_constant=refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text that can be kept
    except (ValueError, RecursionError) as cause:
        raise SignatureInvalid(f"the {what} of the ID token is not a JSON object: {cause}") from None
    if not isinstance(value, dict):
        raise SignatureInvalid(f"the {what} of the ID token is not a JSON object")
    return value


def _check_header(header: dict[str, Any], algorithms: tuple[str, ...]) -> None:
    if header.get("alg") not in algorithms:
        raise SignatureInvalid(f"the algorithm {header.get('alg')!r} is not one of {', '.join(algorithms)}")
    for name in _FORBIDDEN_HEADERS:
        if name in header:
            raise SignatureInvalid(f"the header has {name!r}")
    if not isinstance(header.get("kid", ""), str):
        raise SignatureInvalid("the kid is not a string")
    # RFC 8725, section 3.11: another kind of token (at+jwt, logout+jwt) is not an ID token.
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise SignatureInvalid(f"the typ {header.get('typ')!r} is not that of an ID token")


class _Registry(jws.JWSRegistry):
    """joserfc's limits, raised: an ``x5c`` header or 200 groups are lawful."""

    max_header_length = 16_384
    max_payload_length = _MAX_TOKEN


def _verified_payload(
    token: str, header: dict[str, Any], algorithms: tuple[str, ...], keys: list[Key]
) -> bytes | None:
    """The payload if one of the keys verifies the signature.

    With a ``kid`` only keys of that kid count; without one, only the provider's single fitting key.
    """
    alg = str(header["alg"])
    fitting = [key for key in keys if _fits(key, alg)]
    if header.get("kid"):
        fitting = [key for key in fitting if key.kid == header["kid"]]
    elif len(fitting) != 1:
        return None
    registry = _Registry(algorithms=list(algorithms), strict_check_header=False)
    for key in fitting:
        try:
            return jws.deserialize_compact(token, key, algorithms=list(algorithms), registry=registry).payload
        except (JoseError, ValueError):
            continue
    return None


def _fits(key: Key, alg: str) -> bool:
    """Whether a key is of the algorithm's type, and not declared for another algorithm (RFC 7517, 4.4)."""
    kind = "RSA" if alg[:2] in ("RS", "PS") else "EC" if alg[:2] == "ES" else "OKP"
    declared = key.as_dict(private=False).get("alg")
    return key.key_type == kind and declared in (None, alg)


# --- the checks -------------------------------------------------------------------------------------


def _required_strings(claims: dict[str, Any], _expected: Expected) -> None:
    """Core 2: iss and sub are required; nonce because we sent one."""
    for name in ("iss", "sub", "nonce"):
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
    audience = claims.get("aud")
    several = [audience] if isinstance(audience, str) else audience
    if not isinstance(several, list) or not several or not all(isinstance(one, str) for one in several):
        raise ClaimMissing("the claim aud is missing or not a string or list of strings")
    if expected.client_id not in several:
        raise WrongIssuer("the token is for another client")
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
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expected.now >= expires + skew:
        raise WrongTime(f"the token expired {expected.now - expires:.0f} s ago")
    if issued > expected.now + skew:
        raise WrongTime(f"the token is issued {issued - expected.now:.0f} s in the future")
    if "nbf" in claims and _moment(claims, "nbf") > expected.now + skew:
        raise WrongTime("the token is not valid yet")


def _moment(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LAST < value < _LAST:
        raise ClaimMissing(f"the claim {name} is missing or not a number")
    return float(value)


def _nonce(claims: dict[str, Any], expected: Expected) -> None:
    """Core 3.1.3.7 (11): made for this attempt; a ``nonce_supported`` claim changes nothing."""
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
