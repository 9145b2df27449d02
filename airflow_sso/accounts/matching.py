"""Which Airflow account is this person's? Decided from facts alone, and never by a name or address.

What must stay true: a link is followed only to the very row it was made for, and a sign-in never
wakes an account that somebody deactivated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What :data:`~airflow_sso.models.accounts` remembers of this (authority, subject)."""

    user_id: int
    user_created_on: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """The row of ``ab_user`` that a link names, as it is now."""

    user_id: int
    created_on: datetime | None
    active: bool
    username: str
    email: str
    first_name: str
    last_name: str


@dataclass(frozen=True, slots=True)
class AccountDecision:
    """``existing``: sign in as ``user_id``. ``create``: make an account (and ``relink`` when a link
    led to a row that is gone). ``refuse``: with the code of the catalogue."""

    kind: Literal["existing", "create", "refuse"]
    reason: str
    user_id: int | None = None
    refused_because: str | None = None


def decide(link: Link | None, user: UserRow | None) -> AccountDecision:
    """:param link: the remembered link of the identity, if there is one.
    :param user: the user row under the link's id, if there is one.
    """
    if link is None:
        return AccountDecision("create", "the first sign-in of this person")
    if user is None:
        return AccountDecision("create", "the linked account was deleted")
    if link.user_created_on != user.created_on:
        return AccountDecision("create", "the linked account was deleted and its number used again")
    if not user.active:
        return AccountDecision(
            "refuse", "the account is deactivated", user.user_id, refused_because="SSO-302"
        )
    return AccountDecision("existing", "linked", user.user_id)
