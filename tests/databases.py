"""The metadata databases that tests stand on: an SQLite file, or a database in the run's own PostgreSQL.

``pytest --database`` decides which. What must stay true: migrating once a run is enough, since everybody gets
a copy, and no connection of ours stays open where somebody else may want to copy or remove a database.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import NullPool

from tests.postgresql import Cluster


@dataclass(frozen=True)
class Database:
    """One metadata database. ``cluster`` is where it lies, ``None`` for an SQLite file."""

    url: str
    cluster: Cluster | None = None

    @classmethod
    def file(cls, path: Path) -> Database:
        """The SQLite database at `path`."""
        return cls(f"sqlite:///{path}")

    def copy(self, path: Path) -> Database:
        """Another one of the same content: at `path` where it is a file, in the same cluster else."""
        if self.cluster is not None:
            made = self.cluster.create(f"{path.parent.parent.name}_{path.stem}", template=self.url)
            return Database(made, self.cluster)
        shutil.copy(str(make_url(self.url).database), path)
        return Database.file(path)


def engine_of(url: str) -> Engine:
    """An engine that keeps no connection, and waits for others as long as Airflow's own commands may take."""
    wait = {"timeout": 60} if url.startswith("sqlite") else {}
    return create_engine(url, poolclass=NullPool, connect_args=wait, future=True)


@contextmanager
def refusing(engine: Engine, table: str, when: str) -> Iterator[None]:
    """Meanwhile the database takes no new row of a table for which `when`, about ``new``, is true."""
    trigger = f"create trigger refused before insert on {table} for each row when ({when})"
    if engine.dialect.name == "postgresql":
        body = "begin raise exception 'the test says no' using errcode = 'check_violation'; end"
        begin = [
            f"create function refuse() returns trigger language plpgsql as $${body}$$",
            f"{trigger} execute function refuse()",
        ]
        end = [f"drop trigger refused on {table}", "drop function refuse()"]
    else:
        begin = [f"{trigger} begin select raise(abort, 'the test says no'); end"]
        end = ["drop trigger refused"]
    _run(engine, begin)
    try:
        yield
    finally:
        _run(engine, end)


def _run(engine: Engine, statements: list[str]) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
