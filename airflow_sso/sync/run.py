"""One run over one directory, on one screen: read, plan, guard, apply, move the bookmark.

What must stay true: a reading that failed changes nothing; a plan that is not safe waits, though whoever
the directory itself called disabled loses their sessions at once; and the bookmark moves last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from airflow_sso import airflow_compat, audit, database, metrics, models
from airflow_sso.audit import Journal
from airflow_sso.directory.failures import CursorExpired, DirectoryError
from airflow_sso.directory.snapshot import Reading, Wanted
from airflow_sso.role_mapping import Mapping
from airflow_sso.sync import apply, bookmarks, guard, population, quarantine
from airflow_sso.sync import plan as plans
from airflow_sso.sync.apply import Work
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.guard import Approval, Circumstances, Limits, UnsafePlan
from airflow_sso.sync.lease import Lease
from airflow_sso.sync.plan import Plan
from airflow_sso.sync.quarantine import Quarantined

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def _silent(_doing: str) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run. ``quarantined`` when the plan waits; ``unsafe`` says why it would."""

    directory: str
    reference: str
    result: Literal["nothing", "planned", "applied", "quarantined"]
    plan: Plan
    changed: int = 0
    sessions_ended: int = 0
    unsafe: dict[str, str] = field(default_factory=dict)
    quarantined: Quarantined | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """A reading, what follows from it, and whether that is safe."""

    reading: Reading
    plan: Plan
    unsafe: UnsafePlan | None
    doubt: str | None


def look(directory: Directory, mapping: Mapping, limits: Limits, *, progress: Progress = _silent) -> Outcome:
    """What a run would do; it does nothing.

    :raises DirectoryError: when the directory cannot be read.
    """
    database.require_tables()
    found = _look(directory, mapping, limits, None, progress)
    result: Literal["nothing", "planned"] = "planned" if found.plan.changes else "nothing"
    unsafe = found.unsafe.reasons if found.unsafe else {}
    return Outcome(directory=directory.name, reference="", result=result, plan=found.plan, unsafe=unsafe)


def carry_out(
    directory: Directory, mapping: Mapping, limits: Limits, lease: Lease, *, progress: Progress = _silent
) -> Outcome:
    """One run: what is safe, or was approved, has happened when this returns.

    :raises DirectoryError: when the directory cannot be read; that is on record, and nothing else is.
    :raises LeaseLost: when another process has taken over; what it had not begun is left to that one.
    """
    database.require_tables()
    reference = audit.new_reference()
    step = _renewing(lease, progress)
    approved = _approved(directory.authority)
    try:
        found = _look(directory, mapping, limits, approved.approval if approved else None, step)
    except DirectoryError as failure:
        _failed(directory, failure, lease, reference)
        raise
    plan = found.plan
    work = Work(
        lease=lease,
        reference=reference,
        provider=directory.name,
        progress=step,
        last_admin_may_go=approved is not None and "admin" in approved.reasons,
    )
    outcome = Outcome(directory=directory.name, reference=reference, result="nothing", plan=plan)
    # Whom to ask about again is worth knowing whatever becomes of the rest.
    apply.remember([mark for mark in plan.marks if mark.read_again], work)
    if found.unsafe:
        ended = apply.end_sessions(plan, work)
        kept = quarantine.keep(directory.authority, plan, found.unsafe, lease, reference)
        why = str(found.unsafe)
        log.warning("airflow_sso: the plan %s for %s waits: %s", kept.plan_id, directory.name, why)
        bookmarks.stay(directory.authority, "quarantined", why, lease)
        return replace(
            outcome, result="quarantined", sessions_ended=ended, unsafe=found.unsafe.reasons, quarantined=kept
        )
    done = apply.carry_out(plan, work)
    # But for those whose turn has to come again: carrying out has marked them.
    done_with = [mark for mark in plan.marks if not mark.read_again and mark.key not in done.read_again]
    apply.remember(done_with, work)
    quarantine.close(directory.authority, lease, carried_out=approved is not None)
    result: Literal["nothing", "applied"] = "applied" if done.changed else "nothing"
    if found.doubt:
        bookmarks.stay(directory.authority, result, found.doubt, lease)
    else:
        bookmarks.move(directory.authority, found.reading, result, lease)
    metrics.count("sync", provider=directory.name)
    _say(directory, plan, done.changed, reference)
    return replace(outcome, result=result, changed=done.changed)


def _look(
    directory: Directory,
    mapping: Mapping,
    limits: Limits,
    approval: Approval | None,
    progress: Progress,
) -> _Looked:
    reader = directory.reader
    bookmark = bookmarks.of(directory.authority)
    everybody, again = population.subjects(directory.authority)
    if directory.canary:
        everybody[directory.canary] = None
        again |= {directory.canary}
    cursor = bookmark.cursor_at(models.now())
    wanted = Wanted(
        subjects=everybody,
        # Whoever everybody is read with need not be asked about once more.
        read_singly=again if cursor else frozenset(),
        groups=frozenset(value for value in mapping.group_values if reader.names_group(value)),
        like=mapping.groups_like if mapping.group_patterns and reader.follows_patterns else None,
        app_roles="app_role" in mapping.facts,
    )
    try:
        reading = reader.read(wanted, cursor, progress)
    except CursorExpired:
        log.info("airflow_sso: %s has forgotten what we read last; everybody is read", directory.name)
        reading = reader.read(replace(wanted, read_singly=frozenset()), None, progress)
    progress("comparing")
    plan = plans.make(
        reading,
        population.linked(directory.authority),
        mapping,
        supplies=reader.supplies,
        names_group=reader.names_group,
        follows_patterns=reader.follows_patterns,
        roles_there=population.role_names(),
    )
    around = _circumstances(directory, reading, plan, limits, bookmark.population)
    found = _Looked(reading=reading, plan=plan, unsafe=None, doubt=guard.doubt(plan, around, limits))
    try:
        guard.raise_if_unsafe(plan, around, limits, approval)
    except UnsafePlan as unsafe:
        return replace(found, unsafe=unsafe)
    return found


def _circumstances(
    directory: Directory, reading: Reading, plan: Plan, limits: Limits, population_before: int | None
) -> Circumstances:
    removed, shut = population.removed_lately(limits.window)
    with airflow_compat.engine().connect() as connection:
        admins = population.admins(connection)
    touched = {change.account.user_id for change in plan.changes}
    known = any(
        seen.state != "gone" for subject, seen in reading.people.items() if subject != directory.canary
    )
    return Circumstances(
        open_accounts=population.open_accounts(),
        removed_lately=removed,
        shut_lately=shut,
        other_admins=len(admins - touched),
        population=reading.population,
        population_before=population_before,
        canary=_canary(directory, reading),
        empty=reading.population == 0 or (reading.everyone and not known),
    )


def _canary(directory: Directory, reading: Reading) -> str | None:
    """What is wrong with the person who is always there."""
    if directory.canary is None:
        return None
    seen = reading.people.get(directory.canary)
    if seen is not None and seen.state == "usable":
        return None
    return f"{directory.canary} is {seen.reason or seen.state if seen else 'not in the answer'}"


def _approved(authority: str) -> Quarantined | None:
    """What somebody has allowed and nobody has carried out yet."""
    allowed = [one for one in quarantine.waiting(authority) if one.state == quarantine.APPROVED]
    return allowed[-1] if allowed else None


def _renewing(lease: Lease, progress: Progress) -> Progress:
    """Tell the progress, and every now and then that we are still at it."""
    told = time.monotonic()

    def step(doing: str) -> None:
        nonlocal told
        progress(doing)
        if time.monotonic() - told > lease.lasts / 4:
            lease.renew()
            told = time.monotonic()

    return step


def _failed(directory: Directory, failure: DirectoryError, lease: Lease, reference: str) -> None:
    """On record and in the log; once, while the same failure goes on."""
    before = bookmarks.of(directory.authority)
    why = f"{type(failure).__name__}: {failure.detail}"
    bookmarks.stay(directory.authority, "failed", why, lease)
    if (before.outcome, before.detail) == ("failed", why):
        log.warning("airflow_sso: %s still cannot be read: %s", directory.name, why)
        return
    journal = Journal(reference)
    journal.directory_failed(authority=directory.authority, reason=f"{why}. {failure.remedy}")
    journal.write_and_say()


def _say(directory: Directory, plan: Plan, changed: int, reference: str) -> None:
    log.log(
        logging.INFO if changed else logging.DEBUG,
        "airflow_sso: %s: %d changed, %d as they were, %d unknown (%s)",
        directory.name,
        changed,
        plan.unchanged,
        len(plan.unknown),
        reference,
    )
