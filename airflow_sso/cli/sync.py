"""``sync``: what the directories say, against who has an account; carried out only when that is asked for.

For cron and Kubernetes; it needs no web application. What must stay true: without ``--apply`` nothing
changes, and what is printed as done is done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from airflow_sso import database, in_force
from airflow_sso.accounts import owned_upkeep
from airflow_sso.cli import operator
from airflow_sso.cli.outcome import FINDINGS, NOT_FOUND, OK, QUARANTINED, UNREACHABLE, WRONG_USE
from airflow_sso.cli.table import MOST_ROWS, table
from airflow_sso.config import LoadedConfig
from airflow_sso.directory.failures import DirectoryError
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.in_force import MappingInForce
from airflow_sso.role_mapping import Mapping
from airflow_sso.sync import directories, lease, quarantine, run, schedule
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.lease import Lease, LeaseLost, LeaseTaken
from airflow_sso.sync.plan import Change
from airflow_sso.sync.quarantine import NoSuchPlan, Quarantined
from airflow_sso.sync.run import Outcome

_WAITS = 300  # seconds for another one's turn to end
_TOLD_EVERY = 2.0  # seconds


def sync(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print what would change, or carry it out."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    database.require_tables()
    chosen = [one for one in directories.of(loaded.settings) if options.provider in (None, one.name)]
    if not chosen:
        where = f"no provider {options.provider!r} with" if options.provider else "no provider with"
        print(f"sso.yaml has {where} a directory: nothing can be read.", file=sys.stderr)
        return WRONG_USE
    acts = options.apply or options.approve
    decided_by = in_force.of(loaded.settings)
    try:
        mapping = decided_by.current() if acts else decided_by.look()
        if acts:
            owned_upkeep.keep_up(mapping)
    except ConfigurationFaulty as fault:
        print(fault.detail, file=sys.stderr)
        return WRONG_USE
    if options.approve:
        try:
            quarantine.approve(options.approve, operator.name())
        except NoSuchPlan:
            print(
                f"No plan {options.approve!r} waits. airflow-sso sync shows those that do.", file=sys.stderr
            )
            return NOT_FOUND
    if decided_by.why_not_taken and not acts:  # else the log says it
        print(f"{loaded.settings.role_mapping_file}: {decided_by.why_not_taken}.", file=sys.stderr)
    if not options.json:
        print(_mapping_as_text(decided_by))
    told: list[dict[str, Any]] = []
    codes = [_one(one, mapping, loaded, options, told) for one in chosen]
    if options.json:
        print(json.dumps({"mapping": _mapping_as_json(decided_by), "directories": told}, indent=2))
    return max(codes)


def _one(
    directory: Directory,
    mapping: Mapping,
    loaded: LoadedConfig,
    options: argparse.Namespace,
    told: list[dict[str, Any]],
) -> int:
    """One directory, to its exit code."""
    assert loaded.settings is not None  # noqa: S101 (sync has seen to it)
    limits = schedule.limits(loaded.settings)
    progress = _Progress(directory.name)
    try:
        if options.apply or options.approve:
            with_lease = _Turn(progress)
            outcome = with_lease.run(
                lambda held: run.carry_out(directory, mapping, limits, held, progress=progress)
            )
        else:
            outcome = run.look(directory, mapping, limits, progress=progress)
    except DirectoryError as failure:
        print(f"{directory.name}: {failure.detail}. {failure.remedy}", file=sys.stderr)
        told.append({"directory": directory.name, "result": "failed", "reason": failure.detail})
        return UNREACHABLE
    except (LeaseTaken, LeaseLost) as busy:
        print(f"{directory.name}: another process is reading the directories: {busy}.", file=sys.stderr)
        told.append({"directory": directory.name, "result": "busy", "reason": str(busy)})
        return FINDINGS
    waiting = [one for one in quarantine.waiting(directory.authority) if outcome.quarantined is None]
    told.append({**_as_json(outcome), "waiting": [one.plan_id for one in waiting]})
    if not options.json:
        print(*_as_text(outcome), *map(_waits, waiting), sep="\n")
    return {"nothing": OK, "applied": OK, "planned": FINDINGS, "quarantined": QUARANTINED}[outcome.result]


class _Turn:
    """Our turn among all who read the directories, waited for if need be."""

    def __init__(self, progress: _Progress) -> None:
        self._progress = progress

    def run(self, work: Callable[[Lease], Outcome]) -> Outcome:
        held = self._taken()
        try:
            return work(held)
        finally:
            held.give_back()

    def _taken(self) -> Lease:
        until = time.monotonic() + _WAITS
        while True:
            try:
                return lease.take(schedule.LEASE, who="airflow-sso sync")
            except LeaseTaken as taken:
                if time.monotonic() > until:
                    raise
                self._progress(f"waiting for {taken.holder}")
                time.sleep(1)


class _Progress:
    """Says now and then on standard error what is being done."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = time.monotonic() + _TOLD_EVERY
        self._asked = 0

    def __call__(self, doing: str) -> None:
        self._asked += 1
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TOLD_EVERY
            print(f"{self._name}: {doing} (step {self._asked})", file=sys.stderr, flush=True)


def _mapping_as_text(decided_by: MappingInForce) -> str:
    if decided_by.waits:
        return "Decided by the role mapping file as it is here, which a web server or --apply will accept."
    assert decided_by.generation is not None  # noqa: S101 (there is something to decide with)
    return f"Decided by generation {decided_by.generation.number} of the role mapping."


def _mapping_as_json(decided_by: MappingInForce) -> dict[str, Any]:
    """``generation`` is ``None`` where a dry run was decided by a version that nobody has accepted yet."""
    now = None if decided_by.waits else decided_by.generation
    return {
        "generation": now.number if now else None,
        "hash": now.hash if now else None,
        "why_not_the_file": decided_by.why_not_taken,
    }


def _as_json(outcome: Outcome) -> dict[str, Any]:
    plan = outcome.plan
    return {
        "directory": outcome.directory,
        "result": outcome.result,
        "reference": outcome.reference or None,
        "changes": [_change_as_json(change) for change in plan.changes],
        "changed": outcome.changed,
        "sessions_ended_of": outcome.sessions_ended,
        "unchanged": plan.unchanged,
        "unknown": plan.unknown,
        "protected": plan.protected,
        "unsafe": outcome.unsafe,
        "plan": outcome.quarantined.plan_id if outcome.quarantined else None,
    }


def _change_as_json(change: Change) -> dict[str, Any]:
    return {
        "username": change.account.username,
        "user_id": change.account.user_id,
        "change": change.kind,
        "reason": change.reason,
        "roles_before": sorted(change.account.held),
        "roles_after": sorted(change.after),
    }


def _as_text(outcome: Outcome) -> Iterator[str]:
    plan = outcome.plan
    if plan.changes:
        rows = [(one.account.username, one.kind, _roles(one), one.reason) for one in plan.changes[:MOST_ROWS]]
        yield from table(("WHO", "WHAT", "ROLES", "WHY"), rows)
        if len(plan.changes) > MOST_ROWS:
            yield f"... and {len(plan.changes) - MOST_ROWS} more; --json lists them all."
        yield ""
    for line in plan.unknown[:MOST_ROWS]:
        yield f"not read, and left as it is: {line}"
    yield _summary(outcome)


def _summary(outcome: Outcome) -> str:
    plan = outcome.plan
    number = len(plan.changes)
    people = f"{number} {'person' if number == 1 else 'people'}"
    rest = f"{plan.unchanged} stay as they are."
    why = "; ".join(outcome.unsafe.values())
    if outcome.quarantined:
        plan_id = outcome.quarantined.plan_id
        return (
            f"{outcome.directory}: the plan {plan_id} waits, nothing lasting was changed: {why}.\n"
            f"Whoever the directory calls disabled was signed out ({outcome.sessions_ended}). If the plan is "
            f"right: airflow-sso sync --approve {plan_id}"
        )
    if outcome.result == "planned":
        warning = f" It would wait for approval: {why}." if why else ""
        return (
            f"{outcome.directory}: {people} would change, {rest}{warning} "
            "Nothing was changed; airflow-sso sync --apply does it."
        )
    if outcome.result == "applied":
        done = f"{people} changed" if outcome.changed == number else f"{outcome.changed} of {people} changed"
        return f"{outcome.directory}: {done}, {rest} Reference {outcome.reference}."
    return f"{outcome.directory}: nothing to change, {rest}"


def _waits(plan: Quarantined) -> str:
    people = f"{len(plan.removals)} {'person' if len(plan.removals) == 1 else 'people'}"
    if plan.approved_by:
        return f"The plan {plan.plan_id} ({people}) was approved by {plan.approved_by}; its turn comes."
    return (
        f"The plan {plan.plan_id} ({people}) waits until {plan.expires_at:%Y-%m-%d %H:%M} UTC. "
        f"If it is right: airflow-sso sync --approve {plan.plan_id}"
    )


def _roles(change: Change) -> str:
    before, after = ", ".join(sorted(change.account.held)), ", ".join(sorted(change.after))
    return f"{before or 'none'} -> {after or 'none'}" if before != after else before or "none"
