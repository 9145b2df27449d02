"""Every version of the role mapping that was ever in force, as rows: the one with the highest number counts.

Rows are only ever added, so a process can tell that the file it holds belongs to the past. What must stay
true: a number is given once, so that of two who accept at the same moment one has to look again; and the
audit row is written in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from airflow_sso import models
from airflow_sso.audit import Journal
from airflow_sso.models import mappings

#: Who accepted a version that was simply found in the file.
FILE = "file"

#: What tells one version in force from another: its number, and the hash, because a database that was
#: restored from a backup gives a number again.
Key = tuple[int, str]

_LONGEST_NAME = 100  # characters
_SHORT = 12  # characters; enough to tell versions apart, and to read aloud


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One version that was accepted. ``hash`` is the SHA-256 of the file's bytes, in hex."""

    number: int
    hash: str
    text: str = field(repr=False)
    accepted_at: datetime
    accepted_by: str
    """:data:`FILE`, or the operator who activated it."""

    @property
    def key(self) -> Key:
        return self.number, self.hash

    @property
    def short_hash(self) -> str:
        """As people are shown it."""
        return self.hash[:_SHORT]


def latest(connection: Connection) -> Generation | None:
    """The version in force, whole; ``None`` when none was ever accepted."""
    return _generation(connection.execute(select(mappings).order_by(mappings.c.generation.desc()).limit(1)))


def latest_key(connection: Connection) -> Key | None:
    """Which version is in force, without its text: cheap enough to ask at each decision."""
    query = select(mappings.c.generation, mappings.c.hash).order_by(mappings.c.generation.desc()).limit(1)
    row = connection.execute(query).first()
    return (int(row[0]), str(row[1])) if row else None


def by_hash(connection: Connection, file_hash: str, *, before: int) -> int | None:
    """The number under which a version was in force last, before another; ``None`` when it never was."""
    query = (
        select(mappings.c.generation)
        .where(mappings.c.hash == file_hash, mappings.c.generation < before)
        .order_by(mappings.c.generation.desc())
        .limit(1)
    )
    number: int | None = connection.scalar(query)
    return number


def add(
    connection: Connection,
    journal: Journal,
    *,
    file_hash: str,
    text: str,
    rules: int,
    by: str,
    instead_of: Generation | None,
) -> Generation:
    """Put a version in force once this transaction commits, and note that in the journal.

    :param rules: how many it has, for the record.
    :param by: who accepts it: :data:`FILE`, or an operator's name.
    :param instead_of: what was in force when that was decided.
    :raises IntegrityError: when another version took its place meanwhile.
    """
    made = Generation(
        number=instead_of.number + 1 if instead_of else 1,
        hash=file_hash,
        text=text,
        accepted_at=models.now(),
        accepted_by=by[:_LONGEST_NAME],
    )
    connection.execute(
        insert(mappings).values(
            generation=made.number,
            hash=made.hash,
            text=made.text,
            accepted_at=made.accepted_at,
            accepted_by=made.accepted_by,
        )
    )
    journal.mapping_changed(
        generation=made.number,
        file_hash=made.short_hash,
        instead_of=instead_of.number if instead_of else None,
        instead_of_hash=instead_of.short_hash if instead_of else None,
        rules=rules,
        by=made.accepted_by,
    )
    return made


def _generation(found: Any) -> Generation | None:
    row = found.first()
    if row is None:
        return None
    return Generation(
        number=row.generation,
        hash=row.hash,
        text=row.text,
        accepted_at=row.accepted_at,
        accepted_by=row.accepted_by,
    )
