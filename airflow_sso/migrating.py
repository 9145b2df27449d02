"""Our tables, made and brought to the newest revision: what ``airflow-sso db upgrade`` and Airflow's own
``airflow db migrate`` (by :mod:`airflow_sso.db_manager`) both call.

What must stay true: however many run it at once, one does it at a time and the others then find it done; and
tables of which nothing says how old they are get a revision only when nothing is missing in them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from airflow_sso import airflow_compat, database, models

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "alembic_version_sso"
log = logging.getLogger(__name__)

#: Ours alone: Airflow's own lock is held already while ``airflow db migrate`` calls us.
_LOCK_NUMBER = 0x5350_5F53_534F
_LOCK_NAME = "airflow_sso_migrations"
_LONGEST_WAIT = 600  # seconds
#: For a table that somebody reads, a backup say. Whoever signs in meanwhile waits behind us for it.
_LONGEST_WAIT_FOR_A_TABLE = 20  # seconds

Kind = Literal["nothing", "newer", "make", "complete", "migrate"]


class RevisionUnknown(Exception):
    """Tables of ours are older than this version and no revision says how old; nothing was changed."""


@dataclass(frozen=True, slots=True)
class State:
    """How the tables stand. ``kind`` is what is to do about it, or why nothing is.

    ``nothing``: they are at the newest revision; ``newer``: a newer version of ours migrated them; ``make``:
    there are none; ``complete``: there are some, and no revision; ``migrate``: they are at an older revision.
    """

    kind: Kind
    revision: str | None
    newest: str

    @property
    def is_done(self) -> bool:
        return self.kind in ("nothing", "newer")


def state() -> State:
    """How the tables stand now; changes nothing.

    :raises sqlalchemy.exc.SQLAlchemyError: when the database cannot be read.
    """
    with airflow_compat.engine().connect() as connection:
        return _state(connection)


def upgrade() -> State:
    """Make or migrate the tables, where something is to do.

    Returns how they stood when it was this caller's turn, ``kind`` being what was then done.

    :raises RevisionUnknown: for tables that are older and have no revision.
    :raises sqlalchemy.exc.SQLAlchemyError: when the database refuses.
    """
    with _alone() as connection:
        before = _state(connection)
        if before.kind == "make":
            models.metadata.create_all(connection)
            command.stamp(_config(connection), "head")
        elif before.kind == "complete":
            _complete(connection)
            command.stamp(_config(connection), "head")
        elif before.kind == "migrate":
            command.upgrade(_config(connection), "head")
        forgotten = airflow_compat.forget_sessions_of_airflow_2(connection)
        if forgotten:
            log.info("airflow_sso: %d browser sessions of Airflow 2 cannot go on here", forgotten)
        return before


def _state(connection: Connection) -> State:
    script = ScriptDirectory.from_config(_config(connection))
    newest = script.get_current_head()
    assert newest is not None  # noqa: S101 (the folder is part of the package)
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    revision = context.get_current_revision()
    if revision == newest:
        return State("nothing", revision, newest)
    if revision is not None:
        known = {step.revision for step in script.walk_revisions()}
        return State("migrate" if revision in known else "newer", revision, newest)
    some = set(inspect(connection).get_table_names()) & set(models.metadata.tables)
    return State("complete" if some else "make", None, newest)


def _complete(connection: Connection) -> None:
    """What an interrupted first run left out: MySQL keeps each table that was made before it broke off."""
    missing = [name for name in database.missing_parts(connection) if "." in name]
    if missing:
        raise RevisionUnknown(
            f"there are tables of ours and no row in {VERSION_TABLE}, and they are of an older version, "
            f"because {', '.join(missing)} is missing: put that row back from a backup, or drop the tables "
            f"whose names begin with sso_, and run {database.MIGRATE_COMMAND} again"
        )
    models.metadata.create_all(connection)
    for table in models.metadata.tables.values():
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def _config(connection: Connection) -> Config:
    made = Config(str(MIGRATIONS / "alembic.ini"))
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.attributes["connection"] = connection  # so that env.py works under the lock
    return made


@contextmanager
def _alone() -> Iterator[Connection]:
    """A transaction that no other of these runs beside. It is kept whole, or not at all except on MySQL."""
    with airflow_compat.engine().connect() as connection:
        kind = connection.dialect.name
        with connection.begin():
            if kind == "sqlite":
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {_LONGEST_WAIT * 1000}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif kind == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = {_LONGEST_WAIT * 1000}"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_NUMBER})
                connection.execute(text(f"SET LOCAL lock_timeout = {_LONGEST_WAIT_FOR_A_TABLE * 1000}"))
            elif kind == "mysql":
                _lock_mysql(connection)
            try:
                yield connection
            finally:
                if kind == "mysql":
                    connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _LOCK_NAME})


def _lock_mysql(connection: Connection) -> None:
    wanted = {"name": _LOCK_NAME, "seconds": _LONGEST_WAIT}
    if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), wanted).scalar() != 1:
        raise TimeoutError(
            f"another run of {database.MIGRATE_COMMAND} has held its lock for {_LONGEST_WAIT} seconds"
        )
