"""The one place that gives a role and takes one away, whoever decided it.

What must stay true: what changed is on record in the same transaction, with the reason.
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from airflow_sso.accounts import given_roles
from airflow_sso.accounts.fab_users import RoleWriting
from airflow_sso.accounts.given_roles import GivenBy
from airflow_sso.audit import Journal, Subject


def hold(
    connection: Connection,
    journal: Journal,
    about: Subject,
    *,
    held: frozenset[str],
    wanted: frozenset[str],
    reason: str,
    rules: GivenBy,
) -> None:
    """Make an account, which holds ``held`` now, hold exactly ``wanted``, and write down why.

    :param rules: the labels of the rules that give a role, by role.
    """
    writing = RoleWriting(connection)
    hold_later(writing, journal, about, held=held, wanted=wanted, reason=reason, rules=rules)
    writing.write()


def hold_later(
    writing: RoleWriting,
    journal: Journal,
    about: Subject,
    *,
    held: frozenset[str],
    wanted: frozenset[str],
    reason: str,
    rules: GivenBy,
) -> None:
    """The same, for whoever writes the roles of several accounts and the journal at the end."""
    if held == wanted or about.user_id is None:
        return
    after = writing.set_roles(about.user_id, held, wanted)
    gained = {role: rules[role] for role in after - held if role in rules}
    journal.roles_changed(about, before=held, after=after, reason=reason, rules=given_roles.within(gained))
