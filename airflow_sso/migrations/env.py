"""Alembic's entry: runs our steps on Airflow's metadata database, with a version table of our own."""

from __future__ import annotations

from alembic import context

from airflow_sso import airflow_compat, models

VERSION_TABLE = "alembic_version_sso"


def _ours(_object: object, name: str | None, kind: str, *_rest: object) -> bool:
    """Autogenerate looks at our tables only."""
    return kind != "table" or name in models.metadata.tables


def _run() -> None:
    if context.is_offline_mode():
        url = airflow_compat.engine().url
        context.configure(
            url=url, target_metadata=models.metadata, version_table=VERSION_TABLE, literal_binds=True
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    with airflow_compat.engine().connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=models.metadata,
            version_table=VERSION_TABLE,
            include_object=_ours,
            transaction_per_migration=True,
            render_as_batch=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()


_run()
