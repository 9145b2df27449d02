"""How far each directory was read, and how the last reading went.

What must stay true: a bookmark moves only when everything that was read up to it has been carried out, so
that a process which died half-way reads the same again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_sso import airflow_compat, database, models
from airflow_sso.directory.snapshot import Reading
from airflow_sso.models import directories
from airflow_sso.sync.lease import Lease

#: After this long everybody is read again, whatever the directory says has changed.
_WHOLE_EVERY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """What is known of earlier readings of one directory."""

    cursor: str | None = None
    read_at: datetime | None = None
    whole_read_at: datetime | None = None
    population: int | None = None
    tried_at: datetime | None = None
    outcome: str | None = None
    detail: str | None = None

    def cursor_at(self, now: datetime) -> str | None:
        """Where to go on; ``None`` when it is time to read everybody."""
        due = self.whole_read_at is None or now - self.whole_read_at > _WHOLE_EVERY
        return None if due else self.cursor


def of(authority: str) -> Bookmark:
    """The bookmark of an authority's directory."""
    columns = [directories.c[name] for name in Bookmark.__dataclass_fields__]
    with airflow_compat.engine().connect() as connection:
        row = connection.execute(select(*columns).where(directories.c.authority == authority)).first()
    return Bookmark(**row._mapping) if row else Bookmark()


def move(authority: str, reading: Reading, outcome: str, lease: Lease) -> None:
    """Everything up to this reading has been carried out."""
    values: dict[str, Any] = {
        "read_at": reading.began_at,
        "tried_at": models.now(),
        "outcome": outcome,
        "detail": None,
        "cursor": reading.cursor,
    }
    if reading.everyone:
        values |= {"whole_read_at": reading.began_at, "population": reading.population}
    with database.transaction() as connection:
        lease.require(connection)
        _set(connection, authority, values)


def stay(authority: str, outcome: str, detail: str, lease: Lease) -> None:
    """Write down how a try went after which the same is to be read again."""
    with database.transaction() as connection:
        lease.require(connection)
        values = {"tried_at": models.now(), "outcome": outcome, "detail": detail}
        _set(connection, authority, values)


def _set(connection: Connection, authority: str, values: Mapping[str, Any]) -> None:
    mine = directories.c.authority == authority
    if connection.execute(update(directories).where(mine).values(**values)).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(directories).values(authority=authority, **values))
    except IntegrityError:
        connection.execute(update(directories).where(mine).values(**values))
