"""The one file where Airflow's lines differ, and the one that reaches into Airflow for plain values.

What must stay true: importing it is cheap and touches no database; Airflow is imported inside the
functions, because this module is also loaded by commands that need no Airflow.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

log = logging.getLogger(__name__)


class Line(NamedTuple):
    """What is different between Airflow 2.11 and 3.x and can be said as a value."""

    auth_prefix: str
    """What stands before every route of the auth manager."""
    web_section: str
    """The section of Airflow's configuration about the web server's address and secret."""
    fab_section: str
    """The section with what Flask-AppBuilder needs: sessions, cookies, ``webserver_config.py``."""
    sign_out_methods: tuple[str, ...]
    """How Airflow's own button asks for ``/logout/``; a POST carries Airflow's token against forgery."""
    has_browser_tokens: bool
    """Whether the UI has a token beside the session cookie, which is all that there is otherwise."""
    parts_of_a_dag: tuple[str, ...]
    """What only this line has of a DAG; 2.11 shows every DAG where it shows *DAG Dependencies*."""


AIRFLOW_2 = Line(
    auth_prefix="",
    web_section="webserver",
    fab_section="webserver",
    sign_out_methods=("POST",),
    has_browser_tokens=False,
    parts_of_a_dag=("SLA Misses",),
)
AIRFLOW_3 = Line(
    auth_prefix="/auth",
    web_section="api",
    fab_section="fab",
    sign_out_methods=("GET",),
    has_browser_tokens=True,
    parts_of_a_dag=("DAG Dependencies", "DAG Versions", "HITL Detail"),
)

IS_AIRFLOW_2 = version("apache-airflow").startswith("2.")
#: The one that is installed.
LINE = AIRFLOW_2 if IS_AIRFLOW_2 else AIRFLOW_3
AUTH_PREFIX = LINE.auth_prefix

#: In the menu of 2.11, for everybody who is signed in.
MY_ACCESS_ENTRY = "My access"
#: What the pages of Airflow 2.11 ask for again and again, some by POST.
_POLLED_BY_POST = frozenset(
    {"/blocked", "/dag_stats", "/last_dagruns", "/next_run_datasets_summary", "/task_stats"}
)


def base_url() -> str | None:
    """``base_url`` of the web server, or ``None`` when it is not set."""
    from airflow.configuration import conf

    return conf.get(LINE.web_section, "base_url", fallback=None) or None


def sso_option(name: str) -> str | None:
    """A value of our own section, ``[sso] <name>`` (``AIRFLOW__SSO__<NAME>``)."""
    from airflow.configuration import conf

    return conf.get("sso", name, fallback=None) or None


def public_role() -> str | None:
    """``[fab] auth_role_public``: the role that Airflow itself gives to whoever has not signed in."""
    from airflow.configuration import conf

    if IS_AIRFLOW_2:  # there it is said in webserver_config.py alone
        return None
    return conf.get("fab", "auth_role_public", fallback=None) or None


def airflow_home() -> Path:
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME)


def webserver_config_file() -> Path:
    """The ``webserver_config.py`` that Airflow itself would read."""
    from airflow.configuration import conf

    usual = str(airflow_home() / "webserver_config.py")
    return Path(conf.get(LINE.fab_section, "config_file", fallback=usual))


def secrets_backend_config(key: str) -> str | None:
    """The value that Airflow's configured secrets backend holds for ``key``, if there is one."""
    from airflow.configuration import get_custom_secret_backend

    backend = get_custom_secret_backend()
    return backend.get_config(key) if backend else None


def cookie_path() -> str:
    """The path that Airflow's own cookies have (on 3.x the sub-path of ``base_url``; CVE-2026-28779)."""
    if IS_AIRFLOW_2:
        return "/"
    from airflow.api_fastapi.app import get_cookie_path

    return str(get_cookie_path())


def engine() -> Any:
    """The engine of the metadata database, asked for right before it is used (:mod:`.metadata_engine`).

    Airflow 2.11 asks SQLAlchemy 1.4 for one that commits nothing by itself, as 2.0's does not either.
    """
    from airflow import settings

    from airflow_sso import metadata_engine

    if settings.engine is None:
        settings.configure_orm()
    metadata_engine.give_back_shared_connection(settings.Session)
    return metadata_engine.read_committed(settings.engine)


def scoped_session(security_manager: Any) -> Any:
    """The session of this request that Flask-AppBuilder's pages and Airflow's share."""
    return security_manager.get_session if IS_AIRFLOW_2 else security_manager.session


def api_refusal() -> type[Exception]:
    """The exception that Airflow's API answers by itself, made of an HTTP status and words.

    On 2.11 the API is part of the Flask application, where we answer.
    """
    if IS_AIRFLOW_2:
        return Exception
    from fastapi import HTTPException

    return HTTPException


def is_api_request(path: str) -> bool:
    """Whether a path of the Flask application belongs to Airflow's API, which answers in JSON."""
    return IS_AIRFLOW_2 and path.startswith(("/api/", "/auth/fab/v1/"))


def limit_body(request: Any, most: int) -> None:
    """A body of more bytes is not read.

    :raises RequestEntityTooLarge: now, or when the form is asked for.
    """
    from werkzeug.exceptions import RequestEntityTooLarge

    request.max_form_memory_size = most
    if not IS_AIRFLOW_2:
        request.max_content_length = most
    # Flask 2 knows one limit, which is Airflow's; it holds a body that does not say how long it is.
    elif (request.content_length or 0) > most:
        raise RequestEntityTooLarge


def is_polled(method: str, path: str) -> bool:
    """Whether a page asks for this by itself, although not by GET."""
    return IS_AIRFLOW_2 and method == "POST" and path in _POLLED_BY_POST


def tell_of_sign_out(security_manager: Any, user: Any) -> None:
    """Call the hook that plugins of others may have, where the line has one."""
    if not IS_AIRFLOW_2:
        security_manager.on_user_logout(user)


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
    if not LINE.has_browser_tokens:
        return {}
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
    if not LINE.has_browser_tokens:  # those of a later line in the same database go with their sessions
        return
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

    if session_ids and conf.get(LINE.fab_section, "session_backend", fallback="database") == "database":
        rows = table("session", column("session_id"))
        connection.execute(delete(rows).where(rows.c.session_id.in_(session_ids)))


def forget_sessions_of_airflow_2(connection: Connection) -> int:
    """Delete the rows of Airflow's session table that 2.11 wrote, on a line that reads another notation.

    3.x answers every page with an error to a browser whose row it cannot read. The people behind them sign in
    once more; returns how many rows there were.
    """
    from sqlalchemy import LargeBinary, column, delete, func, inspect, table

    if IS_AIRFLOW_2 or not inspect(connection).has_table("session"):
        return 0
    rows = table("session", column("data", LargeBinary))
    is_json = func.substr(rows.c.data, 1, 1, type_=LargeBinary) == b"{"  # no map of msgpack begins so
    return int(connection.execute(delete(rows).where(is_json)).rowcount)


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


def way_back_url() -> str | None:
    """From a page of ours that 3.x shows in a frame of its interface, and 2.11 by itself."""
    import flask

    return flask.url_for("Airflow.index") if IS_AIRFLOW_2 else None


def put_into_menu(appbuilder: Any, status: Any, my_access: Any) -> None:
    """Register the views of the status page and of *My access*.

    2.11 has a menu that Flask-AppBuilder makes; in that of 3.x both are entries of our plugin.
    """
    if IS_AIRFLOW_2:
        appbuilder.add_view(status, "SSO status", category="Security")
        appbuilder.add_view(my_access, MY_ACCESS_ENTRY)
    else:
        appbuilder.add_view_no_menu(my_access)
        appbuilder.add_view_no_menu(status)


def favicon_url() -> str | None:
    """Airflow's own icon, relative to this server."""
    import flask

    return flask.url_for("static", filename="pin_32.png")


def sees_every_request() -> bool:
    """Whether each request of the UI and the API passes us, so that what is ended has ended at once.

    On 2.11 all of them pass the security manager; on 3.x it takes our auth manager.
    """
    if IS_AIRFLOW_2:
        return True
    from airflow.api_fastapi.app import get_auth_manager

    from airflow_sso.auth_manager import SsoFabAuthManager

    return isinstance(get_auth_manager(), SsoFabAuthManager)


def dag_resource_name() -> Any:
    """How Airflow names what belongs to one DAG: ``("payments", "DAG Runs")`` is ``DAG Run:payments``."""
    if IS_AIRFLOW_2:
        from airflow.security.permissions import resource_name
    else:
        from airflow.providers.fab.www.security.permissions import resource_name
    return resource_name
