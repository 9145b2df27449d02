"""Airflow 3's hook for tables beside its own: ``airflow db migrate`` makes and migrates ours with it.

Airflow finds it through :mod:`airflow_sso.provider_info`; importing it builds no web application. What must
stay true: the work itself is :mod:`airflow_sso.migrating`'s, as it is for ``airflow-sso db upgrade``.
"""

from __future__ import annotations

from airflow.utils.db_manager import BaseDBManager

from airflow_sso import migrating, models


class SsoDBManager(BaseDBManager):  # type: ignore[misc]
    """Makes, migrates and, on ``airflow db reset``, drops the tables of :mod:`airflow_sso.models`."""

    metadata = models.metadata
    version_table_name = migrating.VERSION_TABLE
    migration_dir = str(migrating.MIGRATIONS)
    alembic_file = str(migrating.MIGRATIONS / "alembic.ini")
    supports_table_dropping = True
    revision_heads_map = {"0.1.0": "0005"}  # noqa: RUF012 (the base class's attribute, not ours to type)

    def create_db_from_orm(self) -> None:
        """What is called for an empty database; it may not be empty any more when it is our turn."""
        self._bring_up_to_date()

    def upgradedb(
        self,
        to_revision: str | None = None,
        from_revision: str | None = None,
        show_sql_only: bool = False,
        use_migration_files: bool = False,
    ) -> None:
        """To the newest revision by our own way; to a named one, or as SQL, by Airflow's."""
        if to_revision or show_sql_only:
            super().upgradedb(to_revision, from_revision, show_sql_only, use_migration_files)
        else:
            self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        self.session.commit()  # an open reading would keep MySQL's, and SQLite's, tables from being changed
        done = migrating.upgrade()
        self.log.info("airflow_sso: tables at revision %s (%s)", done.newest, done.kind)
