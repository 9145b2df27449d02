"""Whether a plan may be carried out unasked: what a mistake of this size would look like.

Pure. What must stay true: the limits count people over a window, whoever took their access and in however
many steps; and a plan that leaves nobody who is Admin is never carried out unasked.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from airflow_sso.sync.plan import ADMIN, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many people may lose their access within a window without anybody being asked."""

    count: int = 20
    percent: int = 10
    window: timedelta = timedelta(hours=24)

    def allowed(self, people: int) -> int:
        """Of so many people: the smaller of both limits; a percentage counts the person it begins."""
        return min(self.count, math.ceil(people * self.percent / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What beside the plan itself says whether it is safe.

    ``open_accounts``
        how many people have an account that is open, by whatever directory: what a percentage is of.
    ``removed_lately``
        the accounts whose access was taken within the window, by whomever.
    ``shut_lately``
        how many of them are shut now.
    ``other_admins``
        how many active accounts hold Admin that the plan does not touch; break-glass among them.
    ``population``, ``population_before``
        how many people the directory holds, and held at the last whole reading; ``None``: not told.
    ``canary``
        why the person who is always there was not found usable; ``None``: they were, or none is named.
    ``empty``
        whether not one of the accounts' people was found.
    """

    open_accounts: int = 0
    removed_lately: frozenset[int] = frozenset()
    shut_lately: int = 0
    other_admins: int = 1
    population: int | None = None
    population_before: int | None = None
    canary: str | None = None
    empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What somebody looked at and allowed: whose access may go, and which alarms they saw."""

    people: frozenset[int] = frozenset()
    alarms: frozenset[str] = field(default_factory=frozenset)


class UnsafePlan(Exception):
    """A plan that waits for somebody; ``reasons`` by the name of the alarm, each a sentence."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(reasons.values()))
        self.reasons = reasons


def raise_if_unsafe(
    plan: Plan, around: Circumstances, limits: Limits, approval: Approval | None = None
) -> None:
    """Return if the plan may be carried out.

    :param approval: what somebody allowed; whatever goes beyond it is judged as ever.
    :raises UnsafePlan: when it may not.
    """
    approved = approval or Approval()
    if not plan.changes:
        return
    going = {change.account.user_id for change in plan.removals}
    found = {
        **_too_many(going - approved.people, around, limits),
        **_no_admin(plan, around),
        **_directory(around, limits),
    }
    # An alarm about whom it takes is answered by people, any other one by having been seen.
    left = {alarm: why for alarm, why in found.items() if alarm == "limit" or alarm not in approved.alarms}
    if left:
        raise UnsafePlan(left)


def doubt(plan: Plan, around: Circumstances, limits: Limits) -> str | None:
    """Why people whom a directory has lost are to be looked for in the same way once more.

    Nothing is done about them yet; but what a directory was like before it lost them must be known when
    something is, or it would be compared with itself.
    """
    return "; ".join(_directory(around, limits).values()) or None if plan.missing else None


def _too_many(going: Collection[int], around: Circumstances, limits: Limits) -> dict[str, str]:
    if not going:
        return {}
    together = around.removed_lately | set(going)
    # Those who were shut within the window were open when it began.
    base = around.open_accounts + around.shut_lately
    allowed = limits.allowed(base)
    if len(together) <= allowed:
        return {}
    hours = limits.window.total_seconds() / 3600
    lately = f", {len(around.removed_lately)} of them already" if around.removed_lately else ""
    return {
        "limit": f"{len(together)} people would lose their access within {hours:g} hours{lately}; "
        f"sync.max_deactivations allows {allowed} of {base}"
    }


def _no_admin(plan: Plan, around: Circumstances) -> dict[str, str]:
    was = sum(change.account.active and ADMIN in change.account.held for change in plan.changes)
    stays = sum(change.is_admin_after for change in plan.changes)
    if was and not stays and not around.other_admins:
        return {"admin": "nobody who can sign in would be Admin any more"}
    return {}


def _directory(around: Circumstances, limits: Limits) -> dict[str, str]:
    found = {}
    if around.empty:
        found["empty"] = "the directory knows none of the people who have an account here"
    if around.canary:
        found["canary"] = f"the canary {around.canary}"
    now, before = around.population, around.population_before
    if now is not None and before and now < before * (100 - max(limits.percent, 1)) / 100:
        found["shrunken"] = f"the directory has {now} people, and had {before} when it was last read"
    return found
