"""What a provider says about sessions that ended there: carried out, and remembered for a while.

A notice can overtake the sign-in that it is about: then there is nothing to end yet. So it is written
down first and looked for after a session has been recorded, each in a transaction of its own: whichever
comes second sees the other. What must stay true: only verified notices get here, one that was carried
out counts once, and one that was not may come again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_sso import database, models
from airflow_sso.accounts import ending
from airflow_sso.accounts.ending import Endings
from airflow_sso.accounts.register import Credential, Opening
from airflow_sso.audit import Journal
from airflow_sso.models import logout_notices

#: Longer than an attempt lives, its parked answer included.
REMEMBERED = timedelta(minutes=30)


class NoticeRepeated(Exception):
    """This very notice has been carried out before (Back-Channel Logout 1.0, section 2.6, item 8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom a notice is about, in the provider's words.

    ``session_ref`` alone is one session, ``subject`` alone every session of a person, both together are
    the sessions that bear both.
    """

    session_ref: str | None = None
    subject: str | None = None

    def keys(self, provider: str) -> tuple[str | None, str | None]:
        """The keys of session and person in the register."""
        return (
            models.provider_key(provider, self.session_ref) if self.session_ref else None,
            models.provider_key(provider, self.subject) if self.subject else None,
        )


def obey(
    provider: str, notice_id: str, targets: Sequence[Target], *, because: str, reference: str
) -> Endings:
    """Remember a verified notice, and end the sessions that it names.

    :param notice_id: the notice's own (``jti``, the ID of a LogoutRequest), unique to its provider.
    :param because: for the audit: which kind of notice it was.
    :raises NoticeRepeated: when it was carried out before.
    """
    for number, target in enumerate(targets):
        _remember(provider, _notice_key(provider, notice_id, number), target)

    def steps(connection: Connection, journal: Journal) -> Endings:
        ended: Endings = ()
        for number, target in enumerate(targets):
            ended += _end(connection, provider, target, because)
            _note_done(connection, _notice_key(provider, notice_id, number))
        _note(connection, journal, ended, because)
        return ended

    return ending.carry_out(steps, reference)


def obey_once(provider: str, target: Target, *, because: str, reference: str) -> Endings:
    """End what an unverified notice names, and remember nothing: such ones cost their sender nothing."""

    def steps(connection: Connection, journal: Journal) -> Endings:
        ended = _end(connection, provider, target, because)
        _note(connection, journal, ended, because)
        return ended

    return ending.carry_out(steps, reference)


def overtook(credential: Credential, opening: Opening, reference: str) -> bool:
    """Whether a notice about this session came before it was recorded; it is ended then.

    A sign-in that was begun after the notice is left alone, also where the provider names its new
    session as it named the old one.
    """
    session_key, subject_key = Target(session_ref=opening.session_ref, subject=opening.subject).keys(
        opening.provider
    )
    kept = logout_notices.c
    about = []
    if session_key:
        whose = or_(kept.provider_subject_key.is_(None), kept.provider_subject_key == subject_key)
        about.append(and_(kept.provider_session_key == session_key, whose))
    if subject_key:
        about.append(and_(kept.provider_session_key.is_(None), kept.provider_subject_key == subject_key))
    if not about:  # break-glass, which no provider knows
        return False
    query = select(kept.id).where(or_(*about), kept.received_at >= opening.began_at)
    with database.transaction() as connection:
        found = connection.execute(query.limit(1)).first() is not None
    if found:
        because = "the provider ended it before it began"

        def steps(connection: Connection, journal: Journal) -> Endings:
            ended = ending.of_session(connection, credential.session_id, because)
            _note(connection, journal, ended, because)
            return ended

        ending.carry_out(steps, reference)
    return found


def _remember(provider: str, key: str, target: Target) -> None:
    session_key, subject_key = target.keys(provider)
    now = models.now()
    try:
        with database.transaction() as connection:
            connection.execute(delete(logout_notices).where(logout_notices.c.expires_at < now))
            connection.execute(
                insert(logout_notices).values(
                    notice_key=key,
                    provider_session_key=session_key,
                    provider_subject_key=subject_key,
                    received_at=now,
                    expires_at=now + REMEMBERED,
                )
            )
    except IntegrityError:
        with database.transaction() as connection:
            query = select(logout_notices.c.done_at).where(logout_notices.c.notice_key == key)
            if connection.scalar(query) is not None:
                raise NoticeRepeated("this notice was carried out before") from None


def _note_done(connection: Connection, key: str) -> None:
    connection.execute(
        update(logout_notices).where(logout_notices.c.notice_key == key).values(done_at=models.now())
    )


def _end(connection: Connection, provider: str, target: Target, because: str) -> Endings:
    session_key, subject_key = target.keys(provider)
    return ending.of_provider(connection, session_key=session_key, subject_key=subject_key, because=because)


def _note(connection: Connection, journal: Journal, ended: Endings, because: str) -> None:
    for about, sessions in ending.by_person(connection, ended):
        journal.access_ended(about, because=because, sessions=sessions)


def _notice_key(provider: str, notice_id: str, number: int) -> str:
    return hashlib.sha256(f"{provider}\n{number}\n{notice_id}".encode()).hexdigest()
