"""The auth manager under the name that ``[core] auth_manager`` gives, the same on every line.

What must stay true: its import path contains ``FabAuthManager``; Airflow looks for that word to decide
whether to keep per-DAG permissions and to clean up sessions.
"""

from __future__ import annotations

from airflow_sso import airflow_compat

if airflow_compat.IS_AIRFLOW_2:
    # There every request passes the security manager, so that Airflow's own has nothing to be taught.
    from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager as SsoFabAuthManager
else:
    from airflow_sso.token_auth_manager import SsoFabAuthManager

__all__ = ["SsoFabAuthManager"]
