"""Asking a provider with a refresh token, as values: what is kept of a person, and what came of asking.

They cross between login, which asks, accounts, which keeps, and directory, which judges. What must stay
true: no value here shows a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Facts = Mapping[str, frozenset[str | int | bool] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The provider gave new tokens; ``facts`` are what its new ID token says, ``None`` for unknown."""

    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It did not, with OAuth's word for that (RFC 6749, section 5.2), and the vendor's codes (fact A18)."""

    word: str
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What asking told of a person, until it is asked again or they sign in.

    ``state``
        ``unknown`` with a ``valid_from``: nothing but that their sessions of before are to end.
    """

    state: Literal["usable", "unusable", "unknown"]
    at: datetime
    reason: str = ""
    valid_from: datetime | None = None
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of one person.

    ``token``
        ``None`` once it is dead.
    ``told``
        what asking told last, unless the account has changed since.
    ``oldest_session``
        when the oldest of their open sessions began.
    ``version``
        as it is in the database: whoever writes says what they have seen.
    """

    key: str
    subject: str
    asked_at: datetime
    token: str | None = field(repr=False)
    told: Told | None = None
    oldest_session: datetime | None = None
    version: str = field(default="", repr=False)
