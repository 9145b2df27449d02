"""Enterprise sign-in for Apache Airflow.

The public names are loaded when they are first asked for (PEP 562): Airflow's provider discovery
imports this package while Airflow itself is half loaded, and an eager import here would be a circle
that kills every ``airflow`` command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_sso.security_manager import SsoSecurityManager

__all__ = ["SsoSecurityManager"]


def __getattr__(name: str) -> Any:
    if name == "SsoSecurityManager":
        from airflow_sso.security_manager import SsoSecurityManager

        return SsoSecurityManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
