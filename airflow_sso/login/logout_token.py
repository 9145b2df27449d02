"""Where a logout token is verified: signature first, then a table of checks, each with its clause.

A provider sends one to say that a session, or every session of a person, has ended there (OpenID
Connect Back-Channel Logout 1.0). Nothing else makes :class:`VerifiedNotice`. What must stay true: no ID
token passes for a logout token, nor the other way round, and nothing in the token picks who is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from datetime import timedelta
from typing import Any

from joserfc.jwk import Key

from airflow_sso.errors import ClaimMissing, NotOurAttempt, WrongIssuer, WrongTime
from airflow_sso.login import signed_jwt
from airflow_sso.login.signed_jwt import moment

log = logging.getLogger(__name__)

EVENT = "http://schemas.openid.net/event/backchannel-logout"
#: Older providers write no ``typ``, or ``JWT`` (fact G1).
_KIND = signed_jwt.Kind("logout token", "a", frozenset({"JWT", "LOGOUT+JWT"}))
_OLDEST = timedelta(minutes=10)
_LONGEST_LIFE = timedelta(minutes=2)
_LONGEST = 1000  # characters of a jti, sid or sub


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the token must agree with; all of it ours."""

    issuer: str
    client_id: str
    algorithms: tuple[str, ...]
    clock_skew: timedelta
    now: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedNotice:
    """What a logout token that passed every check is about. Made by :func:`verify` only.

    ``sid`` names one session, ``sub`` alone every session of a person; with both, the session must be
    that person's.
    """

    jti: str
    sub: str | None
    sid: str | None
    made_by: InitVar[object]

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _VERIFIED:
            raise TypeError("only logout_token.verify makes a VerifiedNotice")


_VERIFIED = object()


def verify(
    unverified_token: str,
    expected: Expected,
    keys: list[Key],
    fetch_keys_again: Callable[[], list[Key] | None],
) -> VerifiedNotice:
    """What a logout token says (Back-Channel Logout 1.0, section 2.6).

    :param keys: the provider's keys as known now.
    :param fetch_keys_again: called at most once, when no known key fits; ``None`` when used up.
    :raises TokenRefused: naming in its ``detail`` the check that failed.
    """
    if not unverified_token:
        raise ClaimMissing("there is no logout_token")
    claims = signed_jwt.verify(unverified_token, _KIND, expected.algorithms, keys, fetch_keys_again).claims
    for check in CHECKS:
        check(claims, expected)
    return VerifiedNotice(jti=claims["jti"], sub=claims.get("sub"), sid=claims.get("sid"), made_by=_VERIFIED)


# --- the checks -------------------------------------------------------------------------------------


def _issuer(claims: dict[str, Any], expected: Expected) -> None:
    """2.6 (4), as Core 3.1.3.7 (2): exactly the configured issuer."""
    _text(claims, "iss")
    if claims["iss"] != expected.issuer:
        raise WrongIssuer(f"the issuer is {claims['iss']!r}, not {expected.issuer!r}")


def _audience(claims: dict[str, Any], expected: Expected) -> None:
    """2.6 (4), as Core 3.1.3.7 (3): for us; nothing is issued to anybody here, so azp says nothing."""
    signed_jwt.audience(claims, expected.client_id)


def _issued(claims: dict[str, Any], expected: Expected) -> None:
    """2.6 (4), as Core 3.1.3.7 (10): not from the future, and lately. This bounds what has no ``exp``."""
    skew = expected.clock_skew.total_seconds()
    issued = moment(claims, "iat")
    signed_jwt.require_not_from_the_future(issued, expected.now, skew)
    age = expected.now - issued
    if age > _OLDEST.total_seconds() + skew:
        raise WrongTime(f"the token was issued {age:.0f} s ago")


def _expires(claims: dict[str, Any], expected: Expected) -> None:
    """2.4: not expired. Required since errata 1 only, so older providers leave it out (fact G2)."""
    if "exp" not in claims:
        return
    expires = moment(claims, "exp")
    signed_jwt.require_not_expired(expires, expected.now, expected.clock_skew.total_seconds())
    if expires - moment(claims, "iat") > _LONGEST_LIFE.total_seconds():
        # Section 4 recommends two minutes at most. What is remembered of it outlives its use all the
        # same, since iat counts too.
        log.warning(
            "airflow_sso: a logout token of %s lives for %.0f s", expected.issuer, expires - claims["iat"]
        )


def _identifier(claims: dict[str, Any], _expected: Expected) -> None:
    """2.4: jti, by which a token that comes again is known."""
    _text(claims, "jti")


def _subject(claims: dict[str, Any], _expected: Expected) -> None:
    """2.6 (5): whom it is about, the session or the person."""
    named = [name for name in ("sub", "sid") if name in claims]
    if not named:
        raise ClaimMissing("the token has neither sub nor sid")
    for name in named:
        _text(claims, name)


def _event(claims: dict[str, Any], _expected: Expected) -> None:
    """2.6 (6): it says that it is about a logout, in the way of RFC 8417."""
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise ClaimMissing("the claim events is missing or does not hold the logout event")


def _no_nonce(claims: dict[str, Any], _expected: Expected) -> None:
    """2.6 (7): with a nonce, somebody could offer it as an ID token."""
    if "nonce" in claims:
        raise NotOurAttempt("a logout token must not have a nonce")


def _text(claims: dict[str, Any], name: str) -> None:
    if not isinstance(claims.get(name), str) or not claims[name]:
        raise ClaimMissing(f"the claim {name} is missing or not a string")
    if len(claims[name]) > _LONGEST:
        raise ClaimMissing(f"the claim {name} is longer than any provider's")


CHECKS: tuple[Callable[[dict[str, Any], Expected], None], ...] = (
    _issuer,
    _audience,
    _issued,
    _expires,
    _identifier,
    _subject,
    _event,
    _no_nonce,
)
