"""The entries *SSO status* and *My access* in Airflow's own menus; its interface shows both in a frame.

Airflow shows entries of plugins to whoever may read *Plugins*; whom it keeps them from, our auth manager
leads to *My access*.

Every Airflow process loads it, workers included. What must stay true: it imports nothing of ours and is no
Flask plugin, for which Airflow would serve all sign-in pages a second time.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

#: Relative to Airflow's base URL, so that a sub-path is kept.
_STATUS = {
    "name": "SSO status",
    "href": "auth/sso-status/",
    "destination": "nav",
    "category": "admin",
    "url_route": "sso-status",
}
#: In the menu of the person.
_MY_ACCESS = {
    "name": "My access",
    "href": "auth/my-access/",
    "destination": "nav",
    "category": "user",
    "url_route": "my-access",
}


def _serves_our_pages() -> bool:
    """Under an auth manager without Flask-AppBuilder there are none."""
    return "FabAuthManager" in conf.get("core", "auth_manager", fallback="")


class SsoPlugin(AirflowPlugin):  # type: ignore[misc]
    """What Airflow finds under the entry point ``airflow.plugins``."""

    name = "airflow_sso"
    external_views: ClassVar[list[dict[str, Any]]] = [_STATUS, _MY_ACCESS] if _serves_our_pages() else []
