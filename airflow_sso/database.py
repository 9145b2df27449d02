"""Our own transactions on Airflow's metadata database, and whether our tables are there.

Flask-AppBuilder's scoped session is not used: anything in the same request that opens Airflow's
``create_session`` would commit it half-way. What must stay true: one transaction a decision, which
is written whole or not at all.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection, CursorResult, Engine
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, models
from airflow_sso.errors import DatabaseUnusable, TablesMissing

log = logging.getLogger(__name__)

#: What people are told to run when they are not; it is the same on every line of Airflow.
MIGRATE_COMMAND = "airflow-sso db upgrade"

_found = threading.Event()

#: In the middle of a transaction nobody is silent for so long, unless its machine is suspended or gone.
#: PostgreSQL would keep the locks of such a one for hours, and people would wait for them at the sign-in.
SILENT_AT_MOST = 30  # seconds
_LET_GO_OF_WHOEVER_IS_SILENT = text(
    f"SET LOCAL idle_in_transaction_session_timeout = {SILENT_AT_MOST * 1000}"
)


@contextmanager
def transaction() -> Iterator[Connection]:
    """A connection in a transaction of its own; commits at the end, rolls back on any exception.

    On PostgreSQL it is rolled back as well when this process says nothing for :data:`SILENT_AT_MOST` seconds.
    """
    with airflow_compat.engine().begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(_LET_GO_OF_WHOEVER_IS_SILENT)
        yield connection


def new_id(made: CursorResult[Any]) -> int:
    """The id of the one row that an insert has just made."""
    key = made.inserted_primary_key
    if not key:
        raise RuntimeError("the insert made no row with an id")
    return int(key[0])


def told_by(cause: Exception) -> str:
    """What the driver said, in one line and without the statement; a password of the address is taken out."""
    said = " ".join(str(getattr(cause, "orig", None) or cause).split())
    password = airflow_compat.engine().url.password
    return said.replace(str(password), "***") if password else said


def unusable(cause: SQLAlchemyError) -> DatabaseUnusable:
    """What people are told of a failure of the database; the log is told where it was, without any value."""
    error = DatabaseUnusable(f"the database failed: {type(cause).__name__}: {told_by(cause)}")
    # Not the cause itself: its words hold the statement with everything that was to be written.
    log.error("airflow_sso: the database failed", exc_info=(type(error), error, cause.__traceback__))
    return error


def require_tables() -> None:
    """Return once the tables are there; the answer yes is remembered.

    :raises TablesMissing: when a table or one of its columns is missing.
    """
    if _found.is_set():
        return
    missing = missing_parts(airflow_compat.engine())
    if missing:
        raise TablesMissing("missing in the database: " + ", ".join(missing))
    _found.set()


def missing_parts(engine: Engine | Connection) -> list[str]:
    """The tables, and columns of existing tables, that :mod:`airflow_sso.models` needs and are not there.

    :raises DatabaseUnusable: when nobody can tell.
    """
    try:
        inspector = inspect(engine)
        present = set(inspector.get_table_names())
        missing = [name for name in models.metadata.tables if name not in present]
        for name, table in models.metadata.tables.items():
            if name in present:
                columns = {column["name"] for column in inspector.get_columns(name)}
                missing += [f"{name}.{column.name}" for column in table.columns if column.name not in columns]
    except SQLAlchemyError as cause:
        raise DatabaseUnusable(f"the database cannot be read: {told_by(cause)}") from cause
    return missing
