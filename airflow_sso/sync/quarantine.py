"""Plans that wait for a person: kept, told loudly, approved, and forgotten when they are of yesterday.

What must stay true: an approval names whose access may go and which alarms were seen, nothing more; it is
read afresh before anything is carried out, and counts once.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql import Select

from airflow_sso import airflow_compat, audit, database, models
from airflow_sso.audit import Journal
from airflow_sso.models import quarantine
from airflow_sso.sync.guard import Approval, UnsafePlan
from airflow_sso.sync.lease import Lease
from airflow_sso.sync.plan import Plan

#: How long a plan waits, and an approval counts, since the plan was last found again.
LASTS = timedelta(hours=24)

WAITING, APPROVED, CARRIED_OUT, SUPERSEDED = "waiting", "approved", "carried_out", "superseded"


class NoSuchPlan(LookupError):
    """No plan of this id waits: it never was, has expired, or another has taken its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A plan as it is kept. ``removals``: user id, name and reason of whoever would lose access."""

    plan_id: str
    authority: str
    state: str
    reasons: dict[str, str]
    removals: tuple[tuple[int, str, str], ...]
    made_at: datetime
    expires_at: datetime
    approved_by: str | None = None

    @property
    def approval(self) -> Approval:
        """What approving it allows."""
        return Approval(
            people=frozenset(user_id for user_id, _, _ in self.removals), alarms=frozenset(self.reasons)
        )


def keep(authority: str, plan: Plan, unsafe: UnsafePlan, lease: Lease, reference: str) -> Quarantined:
    """Keep a plan until somebody approves it. The same one, found again, is the same plan."""
    removals = tuple(sorted((one.account.user_id, one.account.username, one.reason) for one in plan.removals))
    with database.transaction() as connection:
        lease.require(connection)
        for old in _open(connection, authority):
            if old.removals == removals and set(old.reasons) == set(unsafe.reasons):
                values = {"expires_at": models.now() + LASTS, "reasons": json.dumps(unsafe.reasons)}
                _change(connection, old.plan_id, values)
                return old
            _change(connection, old.plan_id, {"state": SUPERSEDED})
        made = Quarantined(
            plan_id=secrets.token_hex(4),
            authority=authority,
            state=WAITING,
            reasons=unsafe.reasons,
            removals=removals,
            made_at=models.now(),
            expires_at=models.now() + LASTS,
        )
        connection.execute(
            insert(quarantine).values(
                plan_id=made.plan_id,
                authority=authority,
                state=WAITING,
                reasons=json.dumps(made.reasons),
                removals=json.dumps(removals),
                made_at=made.made_at,
                expires_at=made.expires_at,
            )
        )
        journal = Journal(reference)
        why = list(made.reasons.values())
        journal.plan_quarantined(authority=authority, plan=made.plan_id, reasons=why, people=len(removals))
        journal.write(connection)
    journal.say()
    return made


def approve(plan_id: str, operator: str) -> Quarantined:
    """Allow a plan that waits; the next run reads afresh and carries out what is still in it.

    :raises NoSuchPlan: when none of this id waits any more.
    """
    journal = Journal(audit.new_reference())
    with database.transaction() as connection:
        waits = (quarantine.c.plan_id == plan_id, quarantine.c.expires_at > models.now())
        allowed = update(quarantine).where(*waits, quarantine.c.state.in_((WAITING, APPROVED)))
        if not connection.execute(allowed.values(state=APPROVED, approved_by=operator)).rowcount:
            raise NoSuchPlan(plan_id)
        journal.plan_approved(plan=plan_id, operator=operator)
        journal.write(connection)
        found = _plan(connection.execute(_all().where(quarantine.c.plan_id == plan_id)).one())
    journal.say()
    return found


def waiting(authority: str | None = None) -> list[Quarantined]:
    """The plans that wait, or were approved and not carried out yet."""
    with airflow_compat.engine().connect() as connection:
        return _open(connection, authority)


def find(plan_id: str) -> Quarantined | None:
    """A plan of this id in whatever state; ``None`` when there never was one."""
    with airflow_compat.engine().connect() as connection:
        row = connection.execute(_all().where(quarantine.c.plan_id == plan_id)).first()
    return _plan(row) if row else None


def close(authority: str, lease: Lease, *, carried_out: bool) -> None:
    """A plan of this authority went through: none waits any more, and an approval is used up."""
    state = CARRIED_OUT if carried_out else SUPERSEDED
    with database.transaction() as connection:
        lease.require(connection)
        for one in _open(connection, authority):
            _change(connection, one.plan_id, {"state": state if one.state == APPROVED else SUPERSEDED})


def _all() -> Select[tuple[object, ...]]:
    return select(quarantine)


def _open(connection: Connection, authority: str | None) -> list[Quarantined]:
    query = _all().where(quarantine.c.state.in_((WAITING, APPROVED)), quarantine.c.expires_at > models.now())
    if authority is not None:
        query = query.where(quarantine.c.authority == authority)
    return [_plan(row) for row in connection.execute(query.order_by(quarantine.c.id))]


def _plan(row: Any) -> Quarantined:
    told = row._mapping
    return Quarantined(
        plan_id=told["plan_id"],
        authority=told["authority"],
        state=told["state"],
        reasons=json.loads(told["reasons"]),
        removals=tuple((number, name, why) for number, name, why in json.loads(told["removals"])),
        made_at=told["made_at"],
        expires_at=told["expires_at"],
        approved_by=told["approved_by"],
    )


def _change(connection: Connection, plan_id: str, values: dict[str, object]) -> None:
    connection.execute(update(quarantine).where(quarantine.c.plan_id == plan_id).values(**values))
