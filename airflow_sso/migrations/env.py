"""Alembic's entry: runs our steps on Airflow's metadata database, with a version table of our own.

What must stay true: the caller's connection is used where there is one, because it holds the lock.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy.engine import Connection

from airflow_sso import airflow_compat, migrating, models


def _ours(_object: object, name: str | None, kind: str, *_rest: object) -> bool:
    """Autogenerate looks at our tables only."""
    return kind != "table" or name in models.metadata.tables


def _run() -> None:
    if context.is_offline_mode():
        url = airflow_compat.engine().url
        context.configure(
            url=url,
            target_metadata=models.metadata,
            version_table=migrating.VERSION_TABLE,
            literal_binds=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        _run_on(given)
        return
    with airflow_compat.engine().connect() as connection:
        _run_on(connection)


def _run_on(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=models.metadata,
        version_table=migrating.VERSION_TABLE,
        include_object=_ours,
        transaction_per_migration=True,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_run()
