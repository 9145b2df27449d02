"""The one file where Airflow's lines differ, and the one that reaches into Airflow for plain values.

What must stay true: importing it is cheap and touches no database; Airflow is imported inside the
functions, because this module is also loaded by commands that need no Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: What Airflow 3.x puts before every route of the auth manager.
AUTH_PREFIX = "/auth"


def base_url() -> str | None:
    """``[api] base_url``, or ``None`` when it is not set."""
    from airflow.configuration import conf

    return conf.get("api", "base_url", fallback=None) or None


def sso_option(name: str) -> str | None:
    """A value of our own section, ``[sso] <name>`` (``AIRFLOW__SSO__<NAME>``)."""
    from airflow.configuration import conf

    return conf.get("sso", name, fallback=None) or None


def airflow_home() -> Path:
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME)


def webserver_config_file() -> Path:
    """The ``webserver_config.py`` that Airflow itself would read."""
    from airflow.configuration import conf

    return Path(conf.get("fab", "config_file", fallback=str(airflow_home() / "webserver_config.py")))


def secrets_backend_config(key: str) -> str | None:
    """The value that Airflow's configured secrets backend holds for ``key``, if there is one."""
    from airflow.configuration import get_custom_secret_backend

    backend = get_custom_secret_backend()
    return backend.get_config(key) if backend else None


def cookie_path() -> str:
    """The path that Airflow's own cookies have (the sub-path of ``base_url``; CVE-2026-28779)."""
    from airflow.api_fastapi.app import get_cookie_path

    return str(get_cookie_path())


def engine() -> Any:
    """The engine of the metadata database."""
    from airflow import settings

    if settings.engine is None:
        settings.configure_orm()
    return settings.engine


def redirect_with_token() -> Callable[..., Any]:
    """Airflow's ``redirect``: beside redirecting it mints the ``_token`` cookie of the signed-in user."""
    from airflow.providers.fab.www.views import redirect

    return redirect  # type: ignore[no-any-return]


def revoke_token(token: str) -> None:
    """Put one of Airflow's own tokens on its list of those that no replica takes any more."""
    from airflow.api_fastapi.app import get_auth_manager

    get_auth_manager().revoke_token(token)


def forget_cached_user(user_id: int) -> None:
    """Drop the auth manager's cached copy of a user, so that new roles count in this process at once."""
    from airflow.api_fastapi.app import get_auth_manager

    cache = getattr(get_auth_manager(), "cache", None)
    if cache is not None:
        cache.pop(user_id, None)


def stats() -> Any:
    """Airflow's metrics client."""
    try:
        from airflow.observability.stats import Stats
    except ImportError:
        from airflow.stats import Stats
    return Stats


def add_event_log_rows(connection: Any, rows: Sequence[tuple[str, str | None, str]]) -> None:
    """Add rows (event, owner, extra) to Airflow's own event log, in the caller's transaction.

    It is the page *Audit Log*.
    """
    from airflow.models.log import Log
    from sqlalchemy import inspect
    from sqlalchemy.orm import Session

    made = []
    for event, owner, extra in rows:
        name = owner[:500] if owner else None
        made.append(
            Log(event=event[:60], task_instance=None, owner=name, owner_display_name=name, extra=extra)
        )
    columns = [attribute.key for attribute in inspect(Log).column_attrs if attribute.key != "id"]
    with Session(bind=connection) as session:
        session.bulk_insert_mappings(Log, [{key: getattr(row, key) for key in columns} for row in made])


def favicon_url() -> str | None:
    """Airflow's own icon, relative to this server."""
    import flask

    return flask.url_for("static", filename="pin_32.png")


def is_our_auth_manager() -> bool:
    """Whether ``[core] auth_manager`` is ours, so that signing out leads to our calm page."""
    from airflow.api_fastapi.app import get_auth_manager

    from airflow_sso.auth_manager import SsoFabAuthManager

    return isinstance(get_auth_manager(), SsoFabAuthManager)
