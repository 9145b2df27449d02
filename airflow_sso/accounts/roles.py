"""The one place that gives a role and takes one away, whoever decided it.

What must stay true: what changed is on record in the same transaction, with the reason.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from airflow_sso.accounts.fab_users import RoleWriting
from airflow_sso.audit import Journal, Subject


def hold(
    connection: Connection,
    journal: Journal,
    about: Subject,
    *,
    held: frozenset[str],
    wanted: frozenset[str],
    reason: str,
) -> None:
    """Make an account, which holds ``held`` now, hold exactly ``wanted``, and write down why."""
    writing = RoleWriting(connection)
    hold_later(writing, journal, about, held=held, wanted=wanted, reason=reason)
    writing.write()


def hold_later(
    writing: RoleWriting,
    journal: Journal,
    about: Subject,
    *,
    held: frozenset[str],
    wanted: frozenset[str],
    reason: str,
) -> None:
    """The same, for whoever writes the roles of several accounts and the journal at the end."""
    if held == wanted or about.user_id is None:
        return
    after = writing.set_roles(about.user_id, held, wanted)
    journal.roles_changed(about, before=held, after=after, reason=reason)
