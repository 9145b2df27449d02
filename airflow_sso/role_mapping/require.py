"""What must hold of a sign-in itself, such as a second factor: asked for, then verified in the answer.

These facts are about one session, not about the person, so no role ever rests on them. What must stay
true: what the answer does not say counts as not met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from airflow_sso.role_mapping.conditions import Evidence, Test, answer
from airflow_sso.role_mapping.values import claim_values

#: Claims that tell about a sign-in; rules about people must not read them.
SESSION_CLAIMS = frozenset({"acr", "acrs", "amr", "auth_time", "ipaddr", "sid"})
_SKEW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One entry of ``require``: exactly one of these.

    ``test``
        a claim of this sign-in.
    ``within``
        how long ago the person may have proved who they are (``auth_time``, ``AuthnInstant``).
    ``networks``
        where the browser's address may be.
    """

    test: Test | None = None
    within: timedelta | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    line: int | None = None

    def __str__(self) -> str:
        if self.test is not None:
            return str(self.test)
        if self.within is not None:
            return f"claim auth_time within {self.within.total_seconds():.0f}s"
        return "address " + " or ".join(map(str, self.networks))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What is known of a sign-in.

    ``claims``
        as they were verified.
    ``authenticated_at``
        when the provider says that the person proved who they are.
    ``address``
        the browser's, as the server sees it.
    """

    claims: Mapping[str, Any]
    authenticated_at: datetime | None
    address: str | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a provider is to be asked for, so that its answer can meet the requirements.

    ``claims``
        the values that would do, by claim; none where a pattern says which.
    ``max_age``
        how long ago the person may have proved who they are.
    ``anew``
        the person is to prove it now, because an earlier proof did not do.
    """

    claims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    max_age: timedelta | None = None
    anew: bool = False

    @property
    def contexts(self) -> tuple[str, ...]:
        """The authentication contexts that would do (``acr``; in SAML ``AuthnContextClassRef``)."""
        return self.claims.get("acr", ())


NOTHING_ASKED = Asked()


def asked(requirements: Iterable[Requirement], *, anew: bool = False) -> Asked:
    """What to ask a provider for.

    :param anew: see :class:`Asked`.
    """
    claims: dict[str, tuple[str, ...]] = {}
    ages = []
    for one in requirements:
        if one.within is not None:
            ages.append(one.within)
        if one.test is not None:
            claims[one.test.fact.removeprefix("claim:")] = tuple(
                value for value in one.test.values if isinstance(value, str)
            )
    return Asked(claims=claims, max_age=min(ages, default=None), anew=anew)


def unmet(requirements: Iterable[Requirement], sign_in: SignIn) -> tuple[Requirement, ...]:
    """The requirements that a sign-in does not meet, or does not show that it meets."""
    return tuple(one for one in requirements if not _is_met(one, sign_in))


def _is_met(requirement: Requirement, sign_in: SignIn) -> bool:
    if requirement.test is not None:
        fact = requirement.test.fact
        known = {fact: claim_values(sign_in.claims, fact.removeprefix("claim:"))}
        return answer(requirement.test, Evidence(known)).holds is True
    if requirement.within is not None:
        at = sign_in.authenticated_at
        return at is not None and -_SKEW <= sign_in.now - at <= requirement.within + _SKEW
    try:
        address = ip_address(sign_in.address or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in requirement.networks)
