"""The one place that gives a role and takes one away, whoever decided it.

What must stay true: what changed is on record in the same transaction, with the reason.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from airflow_sso.accounts import fab_users
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
    if held == wanted or about.user_id is None:
        return
    after = fab_users.set_roles(connection, about.user_id, held, wanted)
    journal.roles_changed(about, before=held, after=after, reason=reason)
