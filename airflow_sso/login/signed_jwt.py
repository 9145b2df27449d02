"""What every JWT that a provider signs must pass, whatever it says: its form, its header, its signature.

:mod:`~airflow_sso.login.id_token` and :mod:`~airflow_sso.login.logout_token` add what their claims must
be. What must stay true: the algorithm list and the keys come from configuration and from the provider's
own key set, and nothing in the token picks either.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from airflow_sso.errors import ClaimMissing, SignatureInvalid, WrongIssuer, WrongTime

_MAX_TOKEN = 100_000  # characters; 10,000 groups are about 500 kB and no honest token
_LAST = 2**53  # seconds; past it no number is exact, and infinity and not-a-number are past it too
#: Headers that let a token bring its own key, or ask for something we do not understand (RFC 8725, 3.10).
_FORBIDDEN_HEADERS = ("jwk", "jku", "x5u", "crit", "b64", "zip")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of token.

    ``name``
        as messages call it: ``ID token``, ``logout token``.
    ``article``
        that of the name.
    ``types``
        what ``typ`` may be, in capitals; without one, a token is taken for a ``JWT``.
    """

    name: str
    article: str
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature by one of the provider's keys covers. The claims themselves are unchecked yet."""

    claims: dict[str, Any]
    algorithm: str


def verify(
    unverified_token: str,
    kind: Kind,
    algorithms: tuple[str, ...],
    keys: list[Key],
    fetch_keys_again: Callable[[], list[Key] | None],
) -> Signed:
    """The claims of a token whose signature holds.

    :param keys: the provider's keys as known now.
    :param fetch_keys_again: called at most once, when no known key fits; ``None`` when used up.
    :raises SignatureInvalid: naming in its ``detail`` what is wrong.
    """
    if len(unverified_token) > _MAX_TOKEN:
        raise SignatureInvalid(f"the {kind.name} is too large")
    header = _header(unverified_token, kind)
    _check_header(header, kind, algorithms)
    payload = _verified_payload(unverified_token, header, algorithms, keys)
    if payload is None:
        # A key may have been rotated since, even under the same kid.
        newer = fetch_keys_again()
        payload = _verified_payload(unverified_token, header, algorithms, newer or [])
    if payload is None:
        raise SignatureInvalid(f"no key of the provider verifies the signature (kid {header.get('kid')!r})")
    return Signed(_json_object(payload, f"payload of the {kind.name}"), str(header["alg"]))


def _header(token: str, kind: Kind) -> dict[str, Any]:
    if token.count(".") != 2:
        raise SignatureInvalid(f"the {kind.name} is not a signed JWT of three parts")
    try:
        raw = token.split(".", 1)[0]
        decoded = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise SignatureInvalid("the header is not base64url") from None
    return _json_object(decoded, f"header of the {kind.name}")


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
        raise SignatureInvalid(f"the {what} is not a JSON object: {cause}") from None
    if not isinstance(value, dict):
        raise SignatureInvalid(f"the {what} is not a JSON object")
    return value


def _check_header(header: dict[str, Any], kind: Kind, algorithms: tuple[str, ...]) -> None:
    if header.get("alg") not in algorithms:
        raise SignatureInvalid(f"the algorithm {header.get('alg')!r} is not one of {', '.join(algorithms)}")
    for name in _FORBIDDEN_HEADERS:
        if name in header:
            raise SignatureInvalid(f"the header has {name!r}")
    if not isinstance(header.get("kid", ""), str):
        raise SignatureInvalid("the kid is not a string")
    # RFC 8725, section 3.11: a token of one kind is not taken for one of another.
    if str(header.get("typ", "JWT")).upper() not in kind.types:
        raise SignatureInvalid(f"the typ {header.get('typ')!r} is not that of {kind.article} {kind.name}")


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


# --- what the checks of more than one kind of token need ------------------------------------------------


def audience(claims: dict[str, Any], client_id: str) -> list[str]:
    """Whom a token is for, ourselves among them (RFC 7519, section 4.1.3).

    :raises ClaimMissing: when it does not say.
    :raises WrongIssuer: when it is for others.
    """
    value = claims.get("aud")
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not several or not all(isinstance(one, str) for one in several):
        raise ClaimMissing("the claim aud is missing or not a string or list of strings")
    if client_id not in several:
        raise WrongIssuer("the token is for another client")
    return several


def moment(claims: dict[str, Any], name: str) -> float:
    """A claim that is a time, in seconds. :raises ClaimMissing: when it is none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LAST < value < _LAST:
        raise ClaimMissing(f"the claim {name} is missing or not a number")
    return float(value)


def require_not_expired(expires: float, now: float, skew: float) -> None:
    """RFC 7519, section 4.1.4. :raises WrongTime: once ``exp`` is past."""
    if now >= expires + skew:
        raise WrongTime(f"the token expired {now - expires:.0f} s ago")


def require_not_from_the_future(issued: float, now: float, skew: float) -> None:
    """RFC 7519, section 4.1.6. :raises WrongTime: when ``iat`` is still to come."""
    if issued > now + skew:
        raise WrongTime(f"the token is issued {issued - now:.0f} s in the future")
