"""Every decision about a person, with its reason: a row of ours, a row in Airflow's event log, a log
line and a metric, all under one reference that the person's page shows too.

One method an event, taking typed fields only. What must stay true: no token, claim value or secret
can get in here, because nothing here takes one; rows are only ever added.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import insert
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, database, metrics
from airflow_sso.errors import AccessDenied, SsoError
from airflow_sso.identity import Identity
from airflow_sso.models import decisions, identity_key, now
from airflow_sso.plain_text import plain

log = logging.getLogger(__name__)

_MAX_NAME = 500
_MAX_REASON = 4000
#: How many permissions a row names of those that it counts.
_SOME = 20
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that is misread over the telephone


def new_reference() -> str:
    """A short name for one sign-in's rows and log lines, such as ``7F3A-91C2``."""
    word = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{word[:4]}-{word[4:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a decision is about, as far as is known."""

    provider: str | None = None
    identity_key: str | None = None
    username: str | None = None
    user_id: int | None = None

    @classmethod
    def of(cls, identity: Identity, *, user_id: int | None = None, username: str | None = None) -> Subject:
        """A verified person, named as they are named in Airflow where that is known."""
        return cls(
            provider=identity.provider,
            identity_key=identity_key(identity.authority, identity.subject),
            username=username or identity.username,
            user_id=user_id,
        )


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    subject: Subject
    code: str | None
    reason: str | None
    detail: Mapping[str, Any]
    loud: bool


def _plain(text: str | None, most: int) -> str | None:
    """Text that cannot forge a line, turn one around or bury others under its length."""
    if text is None:
        return None
    shown = plain(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


class Journal:
    """The events of one transaction, under one reference: written with it, said once it holds.

    What is said before the commit could be undone by it, so :meth:`say` comes after.
    """

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._events: list[_Event] = []

    def signed_in(
        self, subject: Subject, *, rules: Collection[str], groups: int | None, session: str
    ) -> None:
        """A person got in. ``rules`` names the rules that gave roles; ``groups`` counts what was read."""
        self._note("sign_in", subject, rules=list(rules), groups=groups, session=session)

    def refused(self, error: SsoError, subject: Subject) -> None:
        """Somebody was not let in, with the code and the cause."""
        self._note("sign_in_refused", subject, code=error.code, reason=error.detail)

    def notice_refused(self, error: SsoError, subject: Subject) -> None:
        """A provider's notice that sessions had ended there was not obeyed."""
        self._note("logout_notice_refused", subject, code=error.code, reason=error.detail)

    def break_glass_sign_in(self, subject: Subject, *, by: str, session: str) -> None:
        """Somebody signed in to a local account, ``by`` its password or a one-use link."""
        self._note("break_glass_sign_in", subject, by=by, session=session)

    def break_glass_refused(self, error: SsoError, subject: Subject, *, address: str) -> None:
        """Somebody was not let in at the local door; ``address`` is the client's."""
        self._note("break_glass_refused", subject, code=error.code, reason=error.detail, address=address)

    def break_glass_link_made(self, subject: Subject, *, operator: str) -> None:
        """Somebody with a shell made a one-use link to a local account."""
        self._note("break_glass_link_made", subject, operator=operator)

    def break_glass_pinned(self, subject: Subject, *, operator: str | None) -> None:
        """A break-glass name stands for this account from now on; ``operator`` when somebody said so."""
        self._note("break_glass_pinned", subject, operator=operator)

    def signed_out(self, subject: Subject, *, sessions: Collection[str]) -> None:
        """A person signed out."""
        self._note("sign_out", subject, sessions=list(sessions))

    def replaced(self, subject: Subject, *, sessions: Collection[str]) -> None:
        """A browser that had a session signed in anew; the old one ended."""
        self._note("session_replaced", subject, sessions=list(sessions))

    def access_ended(self, subject: Subject, *, because: str, sessions: Collection[str]) -> None:
        """Sessions were ended by somebody else than the person at the browser."""
        self._note("access_ended", subject, reason=because, sessions=list(sessions))

    def deactivated(self, subject: Subject, *, because: str, source: str, sessions: Collection[str]) -> None:
        """An account was shut, and these sessions of it ended; ``source`` is who said so."""
        self._note("deactivated", subject, reason=because, source=source, sessions=list(sessions))

    def reactivated(self, subject: Subject, *, because: str, source: str) -> None:
        """An account was opened again; what it may do is what the mapping says."""
        self._note("reactivated", subject, reason=because, source=source)

    def put_back(self, subject: Subject, fields: Collection[str]) -> None:
        """What another hand had changed in an account was set to what it was; which fields."""
        self._note("put_back", subject, fields=sorted(fields))

    def plan_quarantined(self, *, authority: str, plan: str, reasons: Collection[str], people: int) -> None:
        """A plan that takes access from so many people waits for somebody to approve it."""
        why = "; ".join(reasons)
        self._note(
            "plan_quarantined",
            Subject(),
            reason=why,
            loud=True,
            authority=authority,
            plan=plan,
            people=people,
        )

    def plan_approved(self, *, plan: str, operator: str) -> None:
        """Somebody approved a plan that had been waiting."""
        self._note("plan_approved", Subject(), plan=plan, operator=operator)

    def mapping_changed(
        self,
        *,
        generation: int,
        file_hash: str,
        instead_of: int | None,
        instead_of_hash: str | None,
        rules: int,
        by: str,
    ) -> None:
        """Another role mapping is in force; hashes are shortened, ``by`` is the file or an operator."""
        self._note(
            "mapping_changed",
            Subject(),
            generation=generation,
            hash=file_hash,
            instead_of=instead_of,
            instead_of_hash=instead_of_hash,
            rules=rules,
            by=by,
        )

    def directory_failed(self, *, authority: str, reason: str) -> None:
        """A directory could not be read; nothing was changed."""
        self._note("directory_failed", Subject(), reason=reason, loud=True, authority=authority)

    def account_created(self, subject: Subject, *, reason: str) -> None:
        """A sign-in made an Airflow account; ``reason`` says why none was there."""
        self._note("account_created", subject, reason=reason)

    def account_adopted(self, subject: Subject, *, reason: str) -> None:
        """An account that was there already became this person's."""
        self._note("account_adopted", subject, reason=reason)

    def account_changed(self, subject: Subject, fields: Collection[str]) -> None:
        """Name or address of an account followed the directory; which fields, not what they say."""
        self._note("account_changed", subject, fields=sorted(fields))

    def roles_changed(
        self,
        subject: Subject,
        *,
        before: Collection[str],
        after: Collection[str],
        reason: str,
        rules: Mapping[str, Collection[str]],
    ) -> None:
        """The roles of an account were set to what the mapping gives.

        :param rules: of each role that was gained, the labels of the rules that give it.
        """
        self._note(
            "roles_changed",
            subject,
            reason=reason,
            before=sorted(before),
            after=sorted(after),
            rules={role: list(labels) for role, labels in sorted(rules.items())},
        )

    def owned_role_changed(
        self,
        role: str,
        *,
        became: Literal["made", "taken over", "permissions changed", "released", "deleted"],
        gained: Collection[str] = (),
        lost: Collection[str] = (),
        reason: str,
    ) -> None:
        """What became of a role that the mapping file owns; how many permissions, and some of their names."""
        self._note(
            "owned_role_changed",
            Subject(),
            reason=reason,
            role=role,
            became=became,
            gained=len(gained),
            lost=len(lost),
            some_gained=sorted(gained)[:_SOME],
            some_lost=sorted(lost)[:_SOME],
        )

    def _note(
        self,
        name: str,
        subject: Subject,
        *,
        code: str | None = None,
        reason: str | None = None,
        loud: bool = False,
        **detail: Any,
    ) -> None:
        whom = replace(subject, username=_plain(subject.username, _MAX_NAME))
        loud = loud or code is not None or name.startswith("break_glass")
        self._events.append(_Event(name, whom, code, _plain(reason, _MAX_REASON), detail, loud))

    def write(self, connection: Connection) -> None:
        """Add the rows, ours and those of Airflow's own event log, in the caller's transaction."""
        if not self._events:
            return
        connection.execute(
            insert(decisions),
            [
                {
                    "at": now(),
                    "event": event.name,
                    "reference": self._reference,
                    "code": event.code,
                    "reason": event.reason,
                    "user_id": event.subject.user_id,
                    "username": event.subject.username,
                    "provider": event.subject.provider,
                    "identity_key": event.subject.identity_key,
                    "detail": json.dumps(event.detail),
                }
                for event in self._events
            ],
        )
        airflow_compat.add_event_log_rows(
            connection,
            [
                (
                    f"sso.{event.name}",
                    event.subject.username,
                    json.dumps(
                        {
                            "reference": self._reference,
                            "code": event.code,
                            "reason": event.reason,
                            **event.detail,
                        }
                    ),
                )
                for event in self._events
            ],
        )

    def say(self) -> None:
        """One log line and one metric an event."""
        for event in self._events:
            line = {
                "event": event.name,
                "reference": self._reference,
                "code": event.code,
                "reason": event.reason,
                "provider": event.subject.provider,
                "username": event.subject.username,
                "user_id": event.subject.user_id,
                **event.detail,
            }
            shown = {name: value for name, value in line.items() if value is not None}
            log.log(logging.WARNING if event.loud else logging.INFO, "airflow_sso %s", json.dumps(shown))
            metrics.count(event.name, code=event.code or "", provider=event.subject.provider or "")

    def write_and_say(self) -> None:
        """In a transaction of its own; what cannot be written is said all the same."""
        try:
            with database.transaction() as connection:
                self.write(connection)
        except SQLAlchemyError:
            log.exception("the decision %s could not be written to the database", self._reference)
        self.say()


def refused(error: SsoError, reference: str, *, provider: str | None = None) -> None:
    """Record a refusal.

    Of a person who was identified there is always a row. Anybody can cause the other refusals, so
    their rows are limited in number, and their log lines are the record.
    """
    journal = Journal(reference)
    if isinstance(error, AccessDenied):
        who = Subject.of(error.identity, user_id=error.user_id, username=error.username)
        journal.refused(error, who)
        journal.write_and_say()
        return
    journal.refused(error, Subject(provider=provider))
    _write_within(_unidentified, journal)


def notice_refused(error: SsoError, reference: str, *, provider: str | None) -> None:
    """Record a logout notice that was not obeyed; anybody can send one, so the rows are limited."""
    journal = Journal(reference)
    journal.notice_refused(error, Subject(provider=provider))
    _write_within(_unidentified, journal)


def break_glass_refused(error: SsoError, reference: str, subject: Subject, *, address: str) -> None:
    """Record a try at the local door that failed; anybody can try, so the rows are limited."""
    journal = Journal(reference)
    journal.break_glass_refused(error, subject, address=address)
    _write_within(_local_door, journal)


def _write_within(limit: _Limit, journal: Journal) -> None:
    if limit.allow():
        journal.write_and_say()
    else:
        journal.say()


class _Limit:
    """At most ``most`` in a minute, in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._minute = 0
        self._used = 0

    def allow(self) -> bool:
        minute = int(time.monotonic() // 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._used = minute, 0
            self._used += 1
            return self._used <= self._most


_unidentified = _Limit(most=60)
#: One of its own, so that noise at the other doors does not use it up.
_local_door = _Limit(most=60)
