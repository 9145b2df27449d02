"""Airflow's hook for tables beside its own: ``airflow db migrate`` makes and migrates ours with it.

Airflow finds it through :mod:`airflow_sso.provider_info`; importing it builds no web application.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.utils.db_manager import BaseDBManager

from airflow_sso import models

_MIGRATIONS = Path(__file__).parent / "migrations"


class SsoDBManager(BaseDBManager):  # type: ignore[misc]
    """Makes, migrates and, on ``airflow db reset``, drops the tables of :mod:`airflow_sso.models`."""

    metadata = models.metadata
    version_table_name = "alembic_version_sso"
    migration_dir = str(_MIGRATIONS)
    alembic_file = str(_MIGRATIONS / "alembic.ini")
    supports_table_dropping = True
    revision_heads_map = {"0.1.0": "0005"}  # noqa: RUF012 (the base class's attribute, not ours to type)

    def _stamp_base_revision(self, config: Any) -> None:
        """Called when some of our tables are there and no version says which.

        Airflow would take them for complete; what is missing is made first.
        """
        self.metadata.create_all(self.session.get_bind().engine)
        super()._stamp_base_revision(config)
