"""Every decision about a person, with its reason: a row of ours, a row in Airflow's event log, a log
line and a metric, all under one reference that the person's page shows too.

One function an event, taking typed fields only. What must stay true: no token, claim value or secret
can get in here, because nothing here takes one; rows are only ever added.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, database, metrics
from airflow_sso.errors import AccessDenied, SsoError
from airflow_sso.identity import Identity
from airflow_sso.models import decisions, identity_key, now

log = logging.getLogger(__name__)

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


def signed_in(
    connection: Connection, subject: Subject, reference: str, *, rules: Collection[str], groups: int | None
) -> None:
    """A person got in. ``rules`` names the rules that gave roles; ``groups`` counts what was looked at."""
    detail = {"rules": list(rules), "groups": groups}
    _record(connection, "sign_in", subject, reference, detail=detail)


def account_created(connection: Connection, subject: Subject, reference: str, *, reason: str) -> None:
    """A sign-in made an Airflow account; ``reason`` says why none was there."""
    _record(connection, "account_created", subject, reference, reason=reason)


def account_adopted(connection: Connection, subject: Subject, reference: str, *, reason: str) -> None:
    """An account that was there already became this person's."""
    _record(connection, "account_adopted", subject, reference, reason=reason)


def account_changed(
    connection: Connection, subject: Subject, reference: str, fields: Collection[str]
) -> None:
    """Name or address of an account followed the directory; which fields, not what they say."""
    _record(connection, "account_changed", subject, reference, detail={"fields": sorted(fields)})


def roles_changed(
    connection: Connection,
    subject: Subject,
    reference: str,
    *,
    before: Collection[str],
    after: Collection[str],
    reason: str,
) -> None:
    """The roles of an account were set to what the mapping gives."""
    detail = {"before": sorted(before), "after": sorted(after)}
    _record(connection, "roles_changed", subject, reference, reason=reason, detail=detail)


def signed_out(subject: Subject, reference: str) -> None:
    """A person signed out."""
    with database.transaction() as connection:
        _record(connection, "sign_out", subject, reference)


def refused(error: SsoError, reference: str, *, provider: str | None = None) -> None:
    """Somebody was not let in, with the code and the cause.

    Of a person who was identified there is always a row. Anybody can cause the other refusals, so
    their rows are limited in number, and their log lines are the record.
    """
    event = "sign_in_refused"
    if isinstance(error, AccessDenied):
        subject = Subject.of(error.identity, user_id=error.user_id, username=error.username)
    else:
        subject = Subject(provider=provider)
        if not _unidentified.allow():
            _say(event, subject, reference, code=error.code, reason=error.detail, detail={})
            return
    try:
        with database.transaction() as connection:
            _record(connection, event, subject, reference, code=error.code, reason=error.detail)
    except SQLAlchemyError:
        # The refusal stands whether or not it can be written down; the log line is left.
        log.exception("the decision %s could not be written to the database", reference)
        _say(event, subject, reference, code=error.code, reason=error.detail, detail={})


def _record(
    connection: Connection,
    event: str,
    subject: Subject,
    reference: str,
    *,
    code: str | None = None,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """The row, Airflow's own row, the line and the metric of one event."""
    detail = detail or {}
    connection.execute(
        insert(decisions).values(
            at=now(),
            event=event,
            reference=reference,
            code=code,
            reason=reason,
            user_id=subject.user_id,
            username=subject.username,
            provider=subject.provider,
            identity_key=subject.identity_key,
            detail=json.dumps(detail),
        )
    )
    extra = json.dumps({"reference": reference, "code": code, "reason": reason, **detail})
    airflow_compat.add_event_log_row(connection, f"sso.{event}", subject.username, extra)
    _say(event, subject, reference, code=code, reason=reason, detail=detail)


def _say(
    event: str,
    subject: Subject,
    reference: str,
    *,
    code: str | None,
    reason: str | None,
    detail: dict[str, Any],
) -> None:
    line = {
        "event": event,
        "reference": reference,
        "code": code,
        "reason": reason,
        "provider": subject.provider,
        "username": subject.username,
        "user_id": subject.user_id,
        **detail,
    }
    shown = {name: value for name, value in line.items() if value is not None}
    log.log(logging.WARNING if code else logging.INFO, "airflow_sso %s", json.dumps(shown))
    metrics.count(event, code=code or "", provider=subject.provider or "")


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
