"""What the page *SSO status* shows, as values: mapping, providers, directories, plans, what was decided.

What must stay true: it only reads the database and what this process has loaded already; no provider and no
directory is asked while somebody waits for a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from airflow_sso import airflow_compat, models
from airflow_sso.config import Settings
from airflow_sso.directory import failures
from airflow_sso.login.doors import Doors
from airflow_sso.models import decisions
from airflow_sso.pages import status_mapping
from airflow_sso.pages.status_mapping import MappingShown
from airflow_sso.sync import bookmarks, lease, quarantine, schedule
from airflow_sso.sync.bookmarks import Bookmark
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.quarantine import Quarantined

MOST_PEOPLE = 200
_MOST_DECISIONS = 20
_RECENTLY = timedelta(days=30)
_UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
_SOON = "within a few seconds"
_KINDS = {"graph": "Microsoft Graph", "pingone": "PingOne's API", "scim": "SCIM"}
_OUTCOMES = {
    "applied": "Read, and carried out",
    "nothing": "Read; there was nothing to change",
    "quarantined": "Read; the plan that follows waits",
    "failed": "It could not be read",
}
_EVENTS = {
    "deactivated": "Account shut",
    "reactivated": "Account opened again",
    "roles_changed": "Roles changed",
    "put_back": "Another hand's change put back",
    "access_ended": "Sessions ended",
    "directory_failed": "A directory could not be read",
    "plan_quarantined": "A plan waits",
    "plan_approved": "A plan was approved",
    "mapping_changed": "Another role mapping is in force",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderShown:
    """``vendor`` and ``protocol`` are ``None`` where the entry is too faulty to say."""

    label: str
    vendor: str | None
    protocol: str | None
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryShown:
    """One directory, and how it was read last. ``next_run`` is a time, or what it waits for."""

    label: str
    kind: str
    bookmark: Bookmark
    outcome: str
    has_failed: bool
    detail: str | None
    remedy: str | None
    next_run: datetime | str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanShown:
    """A plan that waits, or was approved and not carried out yet."""

    plan_id: str
    directory: str
    made_at: datetime
    expires_at: datetime
    approved_by: str | None
    carried_out_when: str
    reasons: tuple[str, ...]
    people: tuple[tuple[str, str], ...]
    number: int

    @property
    def more(self) -> int:
        """How many people are not listed."""
        return self.number - len(self.people)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionShown:
    """A line of the record, in words."""

    at: datetime
    what: str
    whom: str
    why: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything on the page, as of ``now``."""

    now: datetime
    providers: tuple[ProviderShown, ...]
    faults: tuple[str, ...]
    mapping: MappingShown | None
    directories: tuple[DirectoryShown, ...]
    plans: tuple[PlanShown, ...]
    decisions: tuple[DecisionShown, ...]
    reading: str | None
    """Who is reading the directories at this moment."""

    def relative(self, at: datetime) -> str:
        """How far from now: ``3 minutes ago``, ``in 2 hours``."""
        return relative(at - self.now)


def relative(distance: timedelta) -> str:
    """A time span as people say it, roughly."""
    seconds = round(abs(distance.total_seconds()))
    if seconds < 5:
        return "now"
    # From two of a unit on: "90 minutes" says more than "1 hour".
    number, unit = next((seconds // size, unit) for size, unit in _UNITS if seconds >= 2 * size)
    words = f"{number} {unit}"
    return f"in {words}" if distance > timedelta(0) else f"{words} ago"


def gather(doors: Doors, directories: tuple[Directory, ...]) -> Status:
    """Everything that the page shows."""
    now = models.now()
    labels = {one.authority: _label(doors.settings, one.name) for one in directories}
    waiting = quarantine.waiting()
    allowed = {one.authority for one in waiting if one.state == quarantine.APPROVED}
    return Status(
        now=now,
        providers=tuple(_providers(doors)),
        faults=doors.faults,
        mapping=status_mapping.gather(doors.mapping),
        directories=tuple(
            _directory(one, doors.settings, now, is_allowed=one.authority in allowed)
            for one in directories
            if doors.settings
        ),
        plans=tuple(_plan(one, labels, doors.settings) for one in waiting),
        decisions=_decisions(now, labels),
        reading=lease.holder_of(schedule.LEASE),
    )


def said_of(plan_id: str, doors: Doors) -> tuple[str, bool]:
    """What has become of a plan that somebody has just acted on, and whether it is approved.

    As it is, whatever the address says.
    """
    plan = quarantine.find(plan_id)
    if plan is None:
        return "There is no plan of this name; those that wait are on this page.", False
    is_over = plan.expires_at <= models.now()
    if plan.state == quarantine.CARRIED_OUT:
        return f"The plan {plan_id}, approved by {plan.approved_by}, was carried out.", True
    if plan.state == quarantine.APPROVED and not is_over:
        when = _when(doors.settings)
        return f"Approved by {plan.approved_by}; it is read afresh and carried out {when}.", True
    if plan.state == quarantine.WAITING and not is_over:
        return (
            f"Nothing was approved: the plan {plan_id} waits. Tick the box under it, then approve it.",
            False,
        )
    gone = f"The plan {plan_id} waits no more: it has expired, or the directory says something else by now. "
    return gone + "Whatever waits instead is on this page.", False


def _label(settings: Settings | None, name: str) -> str:
    provider = settings.providers.get(name) if settings else None
    return provider.shown_as if provider else name


def _providers(doors: Doors) -> list[ProviderShown]:
    settings = doors.settings.providers if doors.settings else {}
    names = {**{name: door.settings.shown_as for name, door in doors.open.items()}, **doors.shut}
    return [
        ProviderShown(
            label=label,
            vendor=settings[name].vendor if name in settings else None,
            protocol=settings[name].protocol.upper() if name in settings else None,
            is_open=name in doors.open,
        )
        for name, label in names.items()
    ]


def _directory(
    directory: Directory, settings: Settings, now: datetime, *, is_allowed: bool
) -> DirectoryShown:
    bookmark = bookmarks.of(directory.authority)
    configured = settings.providers[directory.name].directory
    kind = configured.type if configured else ""
    has_failed = bookmark.outcome == "failed"
    failure = (bookmark.detail or "").partition(":")[0]
    return DirectoryShown(
        label=settings.providers[directory.name].shown_as,
        kind=_KINDS.get(kind, kind),
        bookmark=bookmark,
        outcome=_OUTCOMES.get(bookmark.outcome or "", bookmark.outcome or "It has not been read yet"),
        has_failed=has_failed,
        detail=bookmark.detail,
        remedy=failures.remedy_of(failure) if has_failed else None,
        next_run=_next_run(settings, bookmark, now, is_allowed=is_allowed),
    )


def _next_run(settings: Settings, bookmark: Bookmark, now: datetime, *, is_allowed: bool) -> datetime | str:
    every = settings.sync.every
    if not isinstance(every, timedelta):
        return "when somebody runs airflow-sso sync --apply"
    if is_allowed or bookmark.tried_at is None or bookmark.tried_at + every <= now:
        return _SOON
    return bookmark.tried_at + every


def _when(settings: Settings | None) -> str:
    """When an approved plan is carried out."""
    reads = settings is not None and isinstance(settings.sync.every, timedelta)
    return _SOON if reads else "when somebody runs airflow-sso sync --apply"


def _plan(plan: Quarantined, labels: Mapping[str, str], settings: Settings | None) -> PlanShown:
    return PlanShown(
        plan_id=plan.plan_id,
        directory=labels.get(plan.authority, plan.authority),
        made_at=plan.made_at,
        expires_at=plan.expires_at,
        approved_by=plan.approved_by if plan.state == quarantine.APPROVED else None,
        carried_out_when=_when(settings),
        reasons=tuple(plan.reasons.values()),
        people=tuple((name, why) for _, name, why in plan.removals[:MOST_PEOPLE]),
        number=len(plan.removals),
    )


def _decisions(now: datetime, labels: Mapping[str, str]) -> tuple[DecisionShown, ...]:
    query = (
        select(decisions)
        .where(decisions.c.at > now - _RECENTLY, decisions.c.event.in_(tuple(_EVENTS)))
        .order_by(decisions.c.at.desc(), decisions.c.id.desc())
        .limit(_MOST_DECISIONS)
    )
    with airflow_compat.engine().connect() as connection:
        rows = connection.execute(query).all()
    return tuple(_decision(row, labels) for row in rows)


def _decision(row: Any, labels: Mapping[str, str]) -> DecisionShown:
    detail: dict[str, Any] = json.loads(row.detail)
    authority = str(detail.get("authority", ""))
    whom = row.username or labels.get(authority, authority)
    return DecisionShown(
        at=row.at,
        what=_EVENTS[row.event],
        whom=f"plan {detail.get('plan')}" if row.event == "plan_approved" else whom,
        why=". ".join(filter(None, (_more(row.event, detail), row.reason))),
        reference=row.reference,
    )


def _more(event: str, detail: Mapping[str, Any]) -> str:
    """What a row says beside its reason."""
    if event == "roles_changed":
        before, after = (", ".join(detail.get(key) or ()) or "none" for key in ("before", "after"))
        return f"{before} → {after}"
    if event == "plan_quarantined":
        return f"Plan {detail.get('plan')}, access of {detail.get('people')}"
    if event == "plan_approved":
        return f"By {detail.get('operator')}"
    if event == "mapping_changed":
        return status_mapping.changed(detail)
    if event == "put_back":
        return ", ".join(detail.get("fields") or ())
    return ""
