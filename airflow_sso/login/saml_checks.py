"""Checks that a response and a logout message have in common: who wrote it, when, and how it names a person.

What must stay true: whatever a check looks at and does not find is a refusal, and what it compares with
is ours.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol

from airflow_sso.errors import ClaimMissing, WrongIssuer, WrongTime
from airflow_sso.login import saml_time
from airflow_sso.login.saml_xml import Element, find, name_in, text_of

_ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
_LONGEST_NAME_ID = 1000


class Clock(Protocol):
    """Our time, and how far theirs may differ."""

    @property
    def now(self) -> datetime: ...
    @property
    def clock_skew(self) -> timedelta: ...


def require_version(element: Element, what: str) -> None:
    """Core 2.3.3, 3.2.1 and 3.2.2: SAML 2.0, and a name of its own."""
    if element.get("Version") != "2.0" or not element.get("ID"):
        raise ClaimMissing(f"{what} is not of version 2.0, or has no ID")


def require_issuer(element: Element, names: Collection[str], what: str) -> None:
    """Core 2.2.5: it is by this party; blanks around the name are Microsoft's (fact C2)."""
    issuers = find(element, "saml:Issuer")
    if len(issuers) != 1 or issuers[0].get("Format", _ENTITY) != _ENTITY:
        raise ClaimMissing(f"{what} has not one Issuer")
    if name_in(issuers[0]) not in names:
        raise WrongIssuer(f"the issuer is not {' or '.join(repr(name) for name in names)}")


def require_name_id(name_id: Element, audience: str) -> str:
    """Core 2.2.2: what the person is called, read whole; the name is one for us."""
    value = text_of(name_id)
    if not value or len(value) > _LONGEST_NAME_ID or value != value.strip():
        raise ClaimMissing("the NameID is empty, longer than any provider's, or has blanks around it")
    if name_id.get("SPNameQualifier") not in (None, audience):
        raise WrongIssuer("the NameID is qualified for another service provider")
    return value


def require_not_early(element: Element, name: str, clock: Clock) -> None:
    """The moment in this attribute is not in the future."""
    early = _moment(element, name) - clock.now
    if early > clock.clock_skew:
        raise WrongTime(f"{name} is {early.total_seconds():.0f} s in the future")


def require_not_late(element: Element, name: str, clock: Clock, grace: timedelta = timedelta()) -> None:
    """The moment in this attribute, and ``grace`` after it, have not passed."""
    late = clock.now - _moment(element, name)
    if late >= clock.clock_skew + grace:
        raise WrongTime(f"{name} was {late.total_seconds():.0f} s ago")


def _moment(element: Element, name: str) -> datetime:
    try:
        return saml_time.moment(element.get(name) or "")
    except ValueError as cause:
        raise ClaimMissing(f"{name} is missing or not a time: {cause}") from None
