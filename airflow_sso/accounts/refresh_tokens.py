"""Keeps refresh tokens for the probe, encrypted, one a person; and with them what asking told.

Keys come from the configuration: the first encrypts, every one decrypts. What must stay true: nothing is
kept in the clear or shown in a log, and a write that has not seen the latest sign-in changes nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import and_, exists, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError, StatementError

from airflow_sso import airflow_compat, database, models
from airflow_sso.accounts.who_shuts import DIRECTORY
from airflow_sso.identity import Identity
from airflow_sso.models import accounts, refresh_tokens, sessions, shut_accounts
from airflow_sso.refresh import Facts, Kept, Told
from airflow_sso.secret import Secret, SecretUnavailable

log = logging.getLogger(__name__)

#: Longer ago than any interval: whoever was asked then is asked next.
_LONG_AGO = timedelta(days=2)


class RefreshTokens:
    """Those of one provider.

    :param keys: Fernet keys, looked up at each use.
    """

    def __init__(self, *, provider: str, authority: str, keys: tuple[Secret, ...]) -> None:
        self._provider = provider
        self._authority = authority
        self._keys = keys
        self._unreadable = 0

    def keep(self, identity: Identity) -> None:
        """Keep what a sign-in brought, in place of whatever was kept before; nobody's sign-in fails by it.

        Of somebody whom the directory shuts out it is used at the next run: that the provider let them in
        is news.
        """
        token = identity.refresh_token
        if not token or identity.provider != self._provider:
            return
        key = models.identity_key(identity.authority, identity.subject)
        try:
            sealed = self._sealed(token, None)
            with database.transaction() as connection:
                self._put(connection, key, sealed)
        except SecretUnavailable as cause:
            log.error("airflow_sso: no refresh token is kept for %s: %s", self._provider, cause)
        except SQLAlchemyError as cause:  # its words would hold the row
            log.error(
                "airflow_sso: a refresh token of %s could not be kept: %s",
                self._provider,
                type(cause).__name__,
            )

    def all(self) -> list[Kept]:
        """Everybody of whom something is kept; what no key opens is left out, and said once.

        :raises SecretUnavailable: when a key cannot be had.
        """
        cipher = self._cipher()
        found, unreadable = [], 0
        with airflow_compat.engine().connect() as connection:
            for row in connection.execute(self._query()):
                try:
                    found.append(_opened(row, cipher))
                except (InvalidToken, ValueError, KeyError, TypeError):
                    unreadable += 1
        if unreadable > self._unreadable:
            log.error(
                "airflow_sso: %d refresh tokens of %s open with none of directory: keys: in sso.yaml; these "
                "people are not asked about until they sign in again",
                unreadable,
                self._provider,
            )
        self._unreadable = unreadable
        return found

    def claim(self, kept: Kept) -> Kept | None:
        """Say that this one is asked about now; ``None`` when somebody else did, or they signed in."""
        now = models.now()
        as_seen = refresh_tokens.c.asked_at == kept.asked_at
        return replace(kept, asked_at=now) if self._changed(kept, as_seen, asked_at=now) else None

    def renew(self, kept: Kept, token: str) -> Kept | None:
        """Put a new token in the old one's place; ``None`` when they have signed in meanwhile."""
        return self._written(kept, token, kept.told)

    def note(self, kept: Kept, told: Told) -> Kept | None:
        """Write down what asking told; the token goes with it unless the person is usable."""
        return self._written(kept, kept.token if told.state == "usable" else None, told)

    def _written(self, kept: Kept, token: str | None, told: Told | None) -> Kept | None:
        sealed = self._sealed(token, told)
        if not self._changed(kept, token=sealed):
            return None
        return replace(kept, token=token, told=told, version=sealed)

    def _changed(self, kept: Kept, *conditions: Any, **values: Any) -> bool:
        """No two encryptions are alike, so the text itself tells whether anybody has written since."""
        as_seen = (refresh_tokens.c.identity_key == kept.key, refresh_tokens.c.token == kept.version)
        change = update(refresh_tokens).where(*as_seen, *conditions).values(**values)
        try:
            with database.transaction() as connection:
                return bool(connection.execute(change).rowcount == 1)
        except StatementError as cause:
            cause.hide_parameters = True  # whoever logs it need not show the row
            raise

    def _put(self, connection: Connection, key: str, sealed: str) -> None:
        shut = exists().where(
            shut_accounts.c.user_id == accounts.c.user_id, shut_accounts.c.source == DIRECTORY
        )
        account = connection.execute(
            select(shut.label("shut")).select_from(accounts).where(accounts.c.identity_key == key)
        ).first()
        if account is None:
            return
        values = {
            "provider": self._provider,
            "token": sealed,
            "asked_at": models.now() - (_LONG_AGO if account.shut else timedelta()),
        }
        renew = update(refresh_tokens).where(refresh_tokens.c.identity_key == key).values(**values)
        if connection.execute(renew).rowcount:
            return
        try:
            with connection.begin_nested():
                connection.execute(insert(refresh_tokens).values(identity_key=key, **values))
        except IntegrityError:  # another sign-in of the same person, at the same moment
            connection.execute(renew)

    def _query(self) -> Any:
        open_now = and_(sessions.c.ended_at.is_(None), sessions.c.ends_at > models.now())
        oldest = (
            select(sessions.c.user_id, func.min(sessions.c.started_at).label("began"))
            .where(open_now)
            .group_by(sessions.c.user_id)
            .subquery()
        )
        return (
            select(
                refresh_tokens.c.identity_key,
                refresh_tokens.c.token,
                refresh_tokens.c.asked_at,
                accounts.c.subject,
                accounts.c.observed_at,
                oldest.c.began,
            )
            .join(accounts, accounts.c.identity_key == refresh_tokens.c.identity_key)
            .outerjoin(oldest, oldest.c.user_id == accounts.c.user_id)
            .where(refresh_tokens.c.provider == self._provider, accounts.c.authority == self._authority)
        )

    def _cipher(self) -> MultiFernet:
        return MultiFernet(list(_fernets(self._keys)))

    def _sealed(self, token: str | None, told: Told | None) -> str:
        content = {"token": token, "told": _as_json(told) if told else None}
        return self._cipher().encrypt(json.dumps(content).encode()).decode()


def _fernets(keys: tuple[Secret, ...]) -> Iterator[Fernet]:
    for key in keys:
        value = key.reveal()
        try:
            yield Fernet(value)
        except ValueError:
            raise SecretUnavailable("{} holds no Fernet key", key.name) from None


def _opened(row: Any, cipher: MultiFernet) -> Kept:
    content = json.loads(cipher.decrypt(row.token.encode()))
    told = _from_json(content["told"]) if content["told"] else None
    if told and told.state == "usable" and row.observed_at is not None and row.observed_at > told.at:
        told = None  # nothing older than the account's last change is believed over it
    return Kept(
        key=row.identity_key,
        subject=row.subject,
        asked_at=row.asked_at,
        token=content["token"],
        told=told,
        oldest_session=row.began,
        version=row.token,
    )


def _as_json(told: Told) -> dict[str, Any]:
    return {
        "state": told.state,
        "at": told.at.isoformat(),
        "reason": told.reason,
        "valid_from": told.valid_from.isoformat() if told.valid_from else None,
        "facts": {
            name: None if values is None else sorted(values, key=str) for name, values in told.facts.items()
        },
    }


def _from_json(content: dict[str, Any]) -> Told:
    facts: Facts = {
        name: None if values is None else frozenset(values) for name, values in content["facts"].items()
    }
    return Told(
        state=content["state"],
        at=datetime.fromisoformat(content["at"]),
        reason=content["reason"],
        valid_from=datetime.fromisoformat(content["valid_from"]) if content["valid_from"] else None,
        facts=facts,
    )
