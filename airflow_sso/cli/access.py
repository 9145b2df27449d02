"""``users revoke``, ``deactivate`` and ``reactivate``: an operator ends access, and gives it back.

What must stay true: what is printed has happened by then, in every replica, and is on record.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from sqlalchemy.engine import Connection

from airflow_sso import audit, database
from airflow_sso.accounts import ending, fab_users, register, shutting
from airflow_sso.accounts.ending import Endings
from airflow_sso.accounts.matching import UserRow
from airflow_sso.accounts.who_shuts import OPERATOR
from airflow_sso.audit import Journal, Subject
from airflow_sso.cli import operator
from airflow_sso.cli.outcome import FINDINGS, NOT_FOUND, OK
from airflow_sso.config import LoadedConfig

_Steps = Callable[[Connection, Journal, UserRow, str], Endings]


def revoke(options: argparse.Namespace, _loaded: LoadedConfig) -> int:
    """End every session of a person, or one of them; they may sign in again."""

    def steps(connection: Connection, journal: Journal, user: UserRow, by: str) -> Endings:
        if options.session:
            ended = ending.of_session_of(connection, options.session, user.user_id, "revoked")
        else:
            ended = ending.of_person(connection, user.user_id, "revoked")
        if ended or not options.session:
            journal.access_ended(
                _about(user), because=f"revoked by {by}", sessions=[one.session_id for one in ended]
            )
        return ended

    result = _carried_out(options.username, steps)
    if result is None:
        return NOT_FOUND
    if options.session and not result:
        print(f"{options.username} has no open session {options.session}.", file=sys.stderr)
        return NOT_FOUND
    return _told(options, result, "They can sign in again." if not options.session else "Others go on.")


def deactivate(options: argparse.Namespace, _loaded: LoadedConfig) -> int:
    """Shut an account, and end every session of it."""

    def steps(connection: Connection, journal: Journal, user: UserRow, by: str) -> Endings:
        source = OPERATOR
        return shutting.shut(connection, journal, _about(user), user, source=source, reason=f"by {by}")

    result = _carried_out(options.username, steps)
    if result is None:
        return NOT_FOUND
    return _told(options, result, "The account is shut; its number and its history stay.")


def reactivate(options: argparse.Namespace, _loaded: LoadedConfig) -> int:
    """Open an account again; its sessions from before stay ended."""

    left: dict[str, str] = {}

    def steps(connection: Connection, journal: Journal, user: UserRow, by: str) -> Endings:
        source = OPERATOR
        about = _about(user)
        left.update(shutting.lift(connection, journal, about, user, source=source, reason=f"by {by}"))
        return ()

    if _carried_out(options.username, steps) is None:
        return NOT_FOUND
    if options.json:
        print(json.dumps({"username": options.username, "active": not left, "still_shut_by": left}))
    elif left:
        why = "; ".join(f"{source}: {reason}" for source, reason in left.items())
        print(f"{options.username} is still shut ({why}); whoever said so has to take it back.")
    else:
        print(f"{options.username} can sign in again; the role mapping says what they may do then.")
    return FINDINGS if left else OK


def _carried_out(username: str, steps: _Steps) -> Endings | None:
    """What ended; ``None`` when there is no such account, which has been said then."""
    database.require_tables()
    found = True

    def with_user(connection: Connection, journal: Journal) -> Endings:
        nonlocal found
        named = fab_users.by_username(connection, username)
        if named is not None:
            register.lock(connection, named.user_id)
        # Read under the lock: whoever held it until now may have shut the account, or opened it.
        user = fab_users.by_id(connection, named.user_id) if named else None
        if user is None:
            found = False
            return ()
        return steps(connection, journal, user, f"{operator.name()} (airflow-sso)")

    ended = ending.carry_out(with_user, audit.new_reference())
    if not found:
        print(f"Airflow has no account {username!r}.", file=sys.stderr)
        return None
    return ended


def _about(user: UserRow) -> Subject:
    return Subject(user_id=user.user_id, username=user.username)


def _told(options: argparse.Namespace, ended: Endings, then: str) -> int:
    sessions = [one.session_id for one in ended]
    if options.json:
        print(json.dumps({"username": options.username, "ended_sessions": sessions}))
        return OK
    number = f"{len(ended)} session{'' if len(ended) == 1 else 's'}"
    print(f"{number} of {options.username} ended, with every token made from them. {then}")
    return OK
