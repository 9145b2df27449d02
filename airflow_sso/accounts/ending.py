"""The one place that ends access: of a session, of a person, of whatever a provider's notice names.

Called by pages, commands and notices, from any process. What must stay true: the register is written
first, under the account's lock, and Airflow's session rows and tokens go in the same transaction; the
time it takes depends on the sessions that end, never on how many others there are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import ColumnElement

from airflow_sso import airflow_compat, audit, database, models
from airflow_sso.accounts import fab_users, register
from airflow_sso.accounts.register import AccountShut, Credential, Standing
from airflow_sso.audit import Journal, Subject
from airflow_sso.models import break_glass_links, session_paths, sessions, tokens

log = logging.getLogger(__name__)

_LONGEST_REASON = 40  # characters of the column
_AT_ONCE = 500  # values in one IN (...); some databases take no more than a thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A session that has just ended."""

    session_id: str
    user_id: int
    provider: str
    sign_out_hints: str | None = field(repr=False)


Endings = tuple[Ended, ...]


def carry_out(steps: Callable[[Connection, Journal], Endings], reference: str) -> Endings:
    """Run ``steps`` in one transaction together with their audit rows; then say what was done.

    :param steps: call the functions below, and note in the journal what they did.
    """
    journal = Journal(reference)
    with database.transaction() as connection:
        ended = steps(connection, journal)
        journal.write(connection)
    journal.say()
    for user_id in {one.user_id for one in ended}:
        airflow_compat.forget_cached_user(user_id)
    return ended


def by_person(connection: Connection, ended: Endings) -> Iterator[tuple[Subject, list[str]]]:
    """For the audit, a row a person: whom it is about, and which of their sessions ended."""
    for user_id in sorted({one.user_id for one in ended}):
        theirs = [one for one in ended if one.user_id == user_id]
        user = fab_users.by_id(connection, user_id)
        username = user.username if user else None
        about = Subject(provider=theirs[0].provider, user_id=user_id, username=username)
        yield about, [one.session_id for one in theirs]


def of_person(connection: Connection, user_id: int, because: str) -> Endings:
    """Every session of an account, and every sign-in to it that has begun and not finished."""
    register.begin_new_epoch(connection, user_id)
    connection.execute(delete(break_glass_links).where(break_glass_links.c.user_id == user_id))
    return _end(connection, sessions.c.user_id == user_id, because)


def of_person_before(connection: Connection, user_id: int, before: datetime, because: str) -> Endings:
    """Those sessions of an account that began before a moment."""
    older = and_(sessions.c.user_id == user_id, sessions.c.started_at < before)
    return _under_lock(connection, older, because)


def judged(credential: Credential) -> Standing:
    """Whether a credential counts at this moment: :func:`register.check`, with what follows from it.

    An account that somebody shut without a word to us, by SQL say, has its sessions ended when the first of
    them is seen: opening it again is no reason for old cookies to count again.

    :raises CredentialRefused: when it does not count.
    """
    try:
        return register.check(credential)
    except AccountShut:
        because = "the account was deactivated"

        def steps(connection: Connection, journal: Journal) -> Endings:
            register.lock(connection, credential.user_id)
            user = fab_users.by_id(connection, credential.user_id)
            if user is None or user.active:  # opened again in this very moment
                return ()
            ended = of_person(connection, user.user_id, because)
            if ended:  # else another request has just done it
                about = Subject(user_id=user.user_id, username=user.username)
                journal.access_ended(about, because=because, sessions=[one.session_id for one in ended])
            return ended

        try:
            carry_out(steps, audit.new_reference())
        except SQLAlchemyError:  # the credential is refused all the same
            log.exception("airflow_sso: the sessions of user %d could not be ended", credential.user_id)
        raise


def of_session(connection: Connection, session_id: str, because: str) -> Endings:
    """One session; the person's others go on."""
    return _under_lock(connection, sessions.c.session_id == session_id, because)


def of_session_of(connection: Connection, session_id: str, user_id: int, because: str) -> Endings:
    """One session, if it is this account's."""
    mine = and_(sessions.c.session_id == session_id, sessions.c.user_id == user_id)
    return _under_lock(connection, mine, because)


def of_provider(
    connection: Connection, *, session_key: str | None, subject_key: str | None, because: str
) -> Endings:
    """What a provider calls by these keys; with both of them, sessions that bear both.

    :raises ValueError: when neither is given, which would be everybody's.
    """
    named = {sessions.c.provider_session_key: session_key, sessions.c.provider_subject_key: subject_key}
    conditions = [column == key for column, key in named.items() if key]
    if not conditions:
        raise ValueError("a provider's notice must name a session or a person")
    return _under_lock(connection, and_(*conditions), because)


def _under_lock(connection: Connection, which: ColumnElement[bool], because: str) -> Endings:
    # In order of their numbers, so that two who need the same locks never wait for each other.
    for user_id in connection.scalars(
        select(sessions.c.user_id).where(which, *_are_open()).distinct().order_by(sessions.c.user_id)
    ).all():
        register.lock(connection, user_id)
    return _end(connection, which, because)


def _are_open() -> tuple[ColumnElement[bool], ...]:
    """What has reached its own end needs no other, and is not counted."""
    return sessions.c.ended_at.is_(None), sessions.c.ends_at > models.now()


def _end(connection: Connection, which: ColumnElement[bool], because: str) -> Endings:
    asked = (
        sessions.c.session_id,
        sessions.c.user_id,
        sessions.c.provider,
        sessions.c.sign_out_hints,
        sessions.c.airflow_session_id,
    )
    rows = connection.execute(select(*asked).where(which, *_are_open())).all()
    for part in _parts(rows):
        ids = [row.session_id for row in part]
        connection.execute(
            update(sessions)
            .where(sessions.c.session_id.in_(ids))
            .values(ended_at=models.now(), ended_because=because[:_LONGEST_REASON], sign_out_hints=None)
        )
        airflow_compat.delete_session_rows(
            connection, [row.airflow_session_id for row in part if row.airflow_session_id]
        )
        _revoke_tokens(connection, ids)
        connection.execute(delete(session_paths).where(session_paths.c.session_id.in_(ids)))
    return tuple(
        Ended(
            session_id=row.session_id,
            user_id=row.user_id,
            provider=row.provider,
            sign_out_hints=row.sign_out_hints,
        )
        for row in rows
    )


def _revoke_tokens(connection: Connection, session_ids: Sequence[str]) -> None:
    """Onto Airflow's own list, which its stock manager reads too."""
    of_these = tokens.c.session_id.in_(session_ids)
    query = select(tokens.c.jti, tokens.c.expires_at).where(of_these, tokens.c.expires_at > models.now())
    minted = [(row.jti, row.expires_at) for row in connection.execute(query)]
    airflow_compat.revoke_tokens(connection, minted)
    connection.execute(delete(tokens).where(of_these))


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]
