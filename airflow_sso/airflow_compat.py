"""The one file where Airflow's lines differ, and the one that reaches into Airflow for plain values.

What must stay true: importing it is cheap and touches no database; Airflow is imported inside the
functions, because this module is also loaded by commands that need no Airflow.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

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


def public_role() -> str | None:
    """``[fab] auth_role_public``: the role that Airflow itself gives to whoever has not signed in."""
    from airflow.configuration import conf

    return conf.get("fab", "auth_role_public", fallback=None) or None


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


def token_lifetime() -> int:
    """How many seconds Airflow wants a browser's token to live."""
    from airflow.providers.fab.www.views import get_token_expiration_seconds

    return int(get_token_expiration_seconds())


def sign_token(user: Any, seconds: int) -> str:
    """A token of the auth manager's for this user."""
    from airflow.api_fastapi.app import get_auth_manager

    return str(get_auth_manager().generate_jwt(user, expiration_time_in_seconds=seconds))


def set_token_cookie(response: Any, token: str) -> None:
    """Give the browser its token, in the cookie and with the flags that Airflow's own sign-in uses."""
    import flask
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.configuration import conf

    secure = flask.request.scheme == "https" or bool(conf.get("api", "ssl_cert", fallback=""))
    response.set_cookie(
        COOKIE_NAME_JWT_TOKEN, token, path=cookie_path(), secure=secure, httponly=True, samesite="Lax"
    )


def signed_claims(token: str) -> Mapping[str, Any]:
    """The claims of a token that this Airflow signed, revoked or not; none where it did not, or long ago."""
    from airflow.api_fastapi.app import get_auth_manager
    from jwt import InvalidTokenError

    try:
        claims: Mapping[str, Any] = get_auth_manager()._get_token_validator().validated_claims(token)
    except InvalidTokenError:
        return {}
    except Exception:  # keys that lie elsewhere cannot be had: the session cookie signs out all the same
        log.exception("airflow_sso: a browser's token could not be read")
        return {}
    return claims


def token_id(token: str) -> tuple[str, datetime]:
    """The ``jti`` of a token that Airflow has just made, and when it expires."""
    import jwt

    claims = jwt.decode(token, options={"verify_signature": False})
    return str(claims["jti"]), datetime.fromtimestamp(claims["exp"], timezone.utc)


def revoke_tokens(connection: Any, minted: Sequence[tuple[str, datetime]]) -> None:
    """Put tokens on Airflow's list by their ``jti`` and expiry, in the caller's transaction."""
    from airflow.models.revoked_token import RevokedToken
    from sqlalchemy import insert
    from sqlalchemy.exc import IntegrityError

    for jti, expires_at in minted:
        try:
            with connection.begin_nested():
                connection.execute(insert(RevokedToken.__table__).values(jti=jti, exp=expires_at))
        except IntegrityError:  # it is on the list already
            continue


def delete_session_rows(connection: Any, session_ids: Sequence[str]) -> None:
    """Delete rows of Airflow's own session table, where there is one, in the caller's transaction."""
    from airflow.configuration import conf
    from sqlalchemy import column, delete, table

    if session_ids and conf.get("fab", "session_backend", fallback="database") == "database":
        rows = table("session", column("session_id"))
        connection.execute(delete(rows).where(rows.c.session_id.in_(session_ids)))


def encrypt(value: str) -> str | None:
    """``value`` under Airflow's Fernet key, or ``None`` where no key is configured."""
    from airflow.models.crypto import get_fernet

    fernet = get_fernet()
    return fernet.encrypt(value.encode()).decode() if fernet.is_encrypted else None


def decrypt(value: str) -> str | None:
    """What :func:`encrypt` was given, or ``None`` when the key is another one now."""
    from airflow.models.crypto import get_fernet
    from cryptography.fernet import InvalidToken

    try:
        return str(get_fernet().decrypt(value.encode()).decode())
    except InvalidToken:
        return None


def forget_cached_user(user_id: int) -> None:
    """Drop the auth manager's cached copy of a user, in a process that serves requests."""
    server = sys.modules.get("airflow.api_fastapi.app")
    if server is None:  # a command, which need not load a web server to find that it is none
        return
    try:
        manager = server.get_auth_manager()
    except RuntimeError:  # loaded, and serving nothing
        return
    cache = getattr(manager, "cache", None)
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
