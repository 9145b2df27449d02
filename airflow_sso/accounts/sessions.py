"""Starts and ends a person's browser session in Airflow.

Airflow 3 has two credentials in the browser, the ``session`` cookie and the ``_token`` JWT that is
minted from it. What must stay true: a session id that existed before the sign-in is worthless after
it, and a sign-out leaves neither of the two.
"""

from __future__ import annotations

from typing import Any

import flask
from flask_login import login_user, logout_user

from airflow_sso import airflow_compat

_TOKEN_COOKIE = "_token"  # noqa: S105 (the cookie's name)


def start(security_manager: Any, user_id: int) -> None:
    """Sign the user in, in this request's session, under a new session id.

    Whatever session the browser had before, anonymous or another person's, ends here.
    """
    _revoke_token()
    _leave_old_session()
    # The account was written on a connection of our own: begin anew, to see it as it is now.
    security_manager.session.rollback()
    user = security_manager.get_user_by_id(user_id)
    login_user(user, remember=False)
    flask.g.user = user
    security_manager.update_user_auth_stat(user)


def _revoke_token() -> None:
    """The token of the session that ends here opens nothing any more, in no replica (row O20)."""
    token = flask.request.cookies.get(_TOKEN_COOKIE)
    if token and flask.g.get("user") and flask.g.user.is_authenticated:
        airflow_compat.revoke_token(token)


def _leave_old_session() -> None:
    """Against session fixation: the old id is deleted on the server, not only renamed."""
    interface = flask.current_app.session_interface
    if hasattr(interface, "regenerate"):  # the database backend; a cookie's content is simply replaced
        interface.regenerate(flask.session)
    flask.session.clear()


def leave_none_to_strangers() -> None:
    """Airflow keeps a row for every request without a session; of our pages strangers get none.

    Otherwise anybody could fill the session table, where a row stays for a month.
    """
    if not (flask.g.get("user") and flask.g.user.is_authenticated):
        _empty_session()
        if flask.current_app.config.get("SESSION_COOKIE_NAME", "session") not in flask.request.cookies:
            # A cross-site POST comes without the cookie of a session that the browser may well have:
            # an emptied session would be answered with deleting that cookie.
            flask.session.modified = False


def _empty_session() -> None:
    # Flask-Session's clear() keeps a marker and with it the row: only an empty session is deleted.
    for name in list(flask.session):
        flask.session.pop(name)


def end(security_manager: Any, response: Any) -> None:
    """Forget the session on the server and take both cookies from the browser."""
    user = flask.g.user if flask.g.user is not None and flask.g.user.is_authenticated else None
    _revoke_token()
    logout_user()
    _empty_session()
    if user is not None:
        security_manager.on_user_logout(user)
    for name in (flask.current_app.config.get("SESSION_COOKIE_NAME", "session"), _TOKEN_COOKIE):
        response.delete_cookie(name, path=airflow_compat.cookie_path(), httponly=True, samesite="Lax")
