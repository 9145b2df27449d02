"""Which Airflow account is this person's? Decided from facts alone, and never by a name or address.

What must stay true: a link is followed only to the very row it was made for, and a sign-in never
wakes an account that somebody deactivated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from airflow_sso.accounts.given_roles import GivenRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What :data:`~airflow_sso.models.accounts` remembers of this (authority, subject)."""

    user_id: int
    user_created_on: datetime | None
    given_roles: Mapping[str, GivenRole] = field(default_factory=dict)


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
    """``existing``: sign in as ``user_id``. ``adopt``: the same, and link it first. ``create``: make
    an account. ``refuse``: with the code of the catalogue."""

    kind: Literal["existing", "adopt", "create", "refuse"]
    reason: str
    user_id: int | None = None
    refused_because: str | None = None


def decide(
    link: Link | None,
    user: UserRow | None,
    adoptable: UserRow | None = None,
    *,
    by_directory: bool = False,
) -> AccountDecision:
    """:param link: the remembered link of the identity, if there is one.
    :param user: the user row under the link's id, if there is one.
    :param adoptable: an unlinked row that may become this person's, if the link leads nowhere.
    :param by_directory: whether it was the directory that said the linked account is to be shut.
    """
    follows = link is not None and user is not None and link.user_created_on == user.created_on
    found, kind = (user, "existing") if follows else (adoptable, "adopt")
    if found is None:
        return AccountDecision("create", _why_there_is_none(link, user))
    if not found.active:
        reason, code = "the account is deactivated", "SSO-302"
        if by_directory and kind == "existing":
            reason, code = "the directory said that the person is out", "SSO-303"
        return AccountDecision("refuse", reason, found.user_id, refused_because=code)
    if kind == "existing":
        return AccountDecision("existing", "linked", found.user_id)
    return AccountDecision("adopt", "made by Airflow's own sign-in for the same person", found.user_id)


def _why_there_is_none(link: Link | None, user: UserRow | None) -> str:
    if link is None:
        return "the first sign-in of this person"
    if user is None:
        return "the linked account was deleted"
    return "the linked account was deleted and its number used again"
