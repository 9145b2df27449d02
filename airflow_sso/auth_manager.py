"""Airflow's seam: the optional auth manager, for what a security manager alone cannot reach.

Its import path must contain ``FabAuthManager``: Airflow looks for that word to decide whether to keep
per-DAG permissions and to clean up sessions.
"""

from __future__ import annotations

from urllib.parse import urljoin

from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

from airflow_sso.airflow_compat import AUTH_PREFIX


class SsoFabAuthManager(FabAuthManager):  # type: ignore[misc]
    """Airflow's FAB auth manager, signing out through us."""

    def get_url_logout(self) -> str:
        """Our own sign-out (with the slash): Airflow's leaves the server-side session usable."""
        return urljoin(str(self.apiserver_endpoint), f"{AUTH_PREFIX}/logout/")
