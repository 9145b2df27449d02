"""Who says that an account is shut: the directory, a push, an operator, each for themselves.

One is enough to keep a person out, and only it takes its own word back. What must stay true:
``ab_user.active`` follows these rows, an account is shut and opened here and nowhere else, and shutting
ends every session in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from airflow_sso import models
from airflow_sso.accounts import ending, fab_users
from airflow_sso.accounts.ending import Endings
from airflow_sso.accounts.matching import UserRow
from airflow_sso.accounts.who_shuts import BY_ANOTHER_HAND, LONGEST_REASON, OPERATOR
from airflow_sso.audit import Journal, Subject
from airflow_sso.models import accounts, removals, shut_accounts


def shut_by(connection: Connection, user: UserRow) -> Mapping[str, str]:
    """Who says that an account is shut, and why; empty while nobody does."""
    rows = connection.execute(
        select(shut_accounts.c.source, shut_accounts.c.reason, shut_accounts.c.user_created_on).where(
            shut_accounts.c.user_id == user.user_id
        )
    )
    # A number that was given again brings nothing along.
    return {row.source: row.reason for row in rows if row.user_created_on == user.created_on}


def shut(
    connection: Connection, journal: Journal, about: Subject, user: UserRow, *, source: str, reason: str
) -> Endings:
    """Keep a person out from now on: the account is shut and every session of it ended.

    Said again by the same source it only renews the reason; the roles are for the caller to take.
    """
    ended = ending.of_person(connection, user.user_id, "deactivated")
    _hear_another_hand(connection, user, source)
    _say(connection, user, source, reason)
    if user.active:
        fab_users.change(connection, user.user_id, {"active": False})
        count_removal(connection, user.user_id, source)
    journal.deactivated(about, because=reason, source=source, sessions=[one.session_id for one in ended])
    _observed(connection, user)
    return ended


def note(connection: Connection, user: UserRow, *, source: str, reason: str) -> None:
    """Write down who says that an account, which is shut already, is to stay so."""
    _hear_another_hand(connection, user, source)
    _say(connection, user, source, reason)


def lift(
    connection: Connection, journal: Journal, about: Subject, user: UserRow, *, source: str, reason: str
) -> Mapping[str, str]:
    """``source`` takes its word back; the account opens if nobody else says that it is shut.

    :returns: who still says so, and why.
    """
    _hear_another_hand(connection, user, source)
    take_back(connection, user, source=source)
    left = shut_by(connection, user)
    if not left and not user.active:
        # Whoever shut it without a word to us left its sessions as they were.
        ending.of_person(connection, user.user_id, "deactivated")
        fab_users.change(connection, user.user_id, {"active": True})
        journal.reactivated(about, because=reason, source=source)
    _observed(connection, user)
    return left


def take_back(connection: Connection, user: UserRow, *, source: str) -> None:
    """``source`` says no longer that an account is shut; whoever else says so decides about it."""
    connection.execute(
        delete(shut_accounts).where(shut_accounts.c.user_id == user.user_id, shut_accounts.c.source == source)
    )


def count_removal(connection: Connection, user_id: int, source: str) -> None:
    """Count towards the limits that somebody's access was taken."""
    connection.execute(insert(removals).values(user_id=user_id, source=source, at=models.now()))


def _hear_another_hand(connection: Connection, user: UserRow, source: str) -> None:
    """Whoever shut it without a word to us said so as an operator does, before ``source`` says anything."""
    if not user.active and source != OPERATOR and not shut_by(connection, user):
        _say(connection, user, OPERATOR, BY_ANOTHER_HAND)


def _say(connection: Connection, user: UserRow, source: str, reason: str) -> None:
    mine = (shut_accounts.c.user_id == user.user_id, shut_accounts.c.source == source)
    same = (*mine, shut_accounts.c.user_created_on == user.created_on)
    renewed = connection.execute(update(shut_accounts).where(*same).values(reason=reason[:LONGEST_REASON]))
    if renewed.rowcount:
        return
    connection.execute(delete(shut_accounts).where(*mine))
    connection.execute(
        insert(shut_accounts).values(
            user_id=user.user_id,
            user_created_on=user.created_on,
            source=source,
            reason=reason[:LONGEST_REASON],
            since=models.now(),
        )
    )


def _observed(connection: Connection, user: UserRow) -> None:
    """What was read of the person before this moment is not believed over it."""
    connection.execute(
        update(accounts)
        .where(accounts.c.user_id == user.user_id, accounts.c.user_created_on == user.created_on)
        .values(observed_at=models.now())
    )
