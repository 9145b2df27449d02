"""Starts, recognises and ends a person's session in the browser, on Flask's side of Airflow.

Airflow 3 has two credentials in the browser, the ``session`` cookie and the ``_token`` JWT that is
minted from it; both carry the session of :mod:`~airflow_sso.accounts.register`. What must stay true: a
session id that existed before the sign-in is worthless after it, and a sign-out leaves neither of the two.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import flask
from flask_login import login_user, logout_user
from sqlalchemy.engine import Connection

from airflow_sso import airflow_compat
from airflow_sso.accounts import activity, ending, housekeeping, minting, notices
from airflow_sso.accounts.activity import Asked
from airflow_sso.accounts.ending import Endings
from airflow_sso.accounts.register import Credential, CredentialRefused, Opening
from airflow_sso.audit import Journal
from airflow_sso.config import SessionLimits
from airflow_sso.errors import AccessEnded
from airflow_sso.identity import Identity
from airflow_sso.models import identity_key

log = logging.getLogger(__name__)

_TOKEN_COOKIE = "_token"  # noqa: S105 (the cookie's name)


def opening(identity: Identity, limits: SessionLimits, began_at: datetime) -> Opening:
    """What the register is told of a sign-in through a provider.

    :param began_at: when the sign-in was begun.
    """
    return Opening(
        provider=identity.provider,
        began_at=began_at,
        absolute=limits.absolute,
        idle=idle_limit(limits),
        airflow_session_id=new_airflow_session_id(),
        identity_key=identity_key(identity.authority, identity.subject),
        session_ref=identity.session_ref,
        subject=identity.provider_subject,
        ends_by=identity.session_ends_at,
        sign_out_hints=_sealed(identity.sign_out_hints),
    )


def idle_limit(limits: SessionLimits) -> Any:
    """Under Airflow's own manager nobody sees the UI's requests, so there is nothing to count from."""
    return limits.idle if airflow_compat.sees_every_request() else limits.absolute


def new_airflow_session_id() -> str | None:
    """The id that Airflow's session is to have; ``None`` where sessions live in the cookie itself."""
    return str(uuid.uuid4()) if _keeps_rows() else None


def _keeps_rows() -> bool:
    return hasattr(flask.current_app.session_interface, "regenerate")


def _sealed(hints: Mapping[str, str]) -> str | None:
    """Encrypted, or not kept at all: they hold an ID token."""
    if not hints:
        return None
    sealed = airflow_compat.encrypt(json.dumps(dict(hints)))
    if sealed is None:
        log.warning("airflow_sso: [core] fernet_key is not set, so signing out ends at Airflow only")
    return sealed


def unsealed(sealed: str | None) -> Mapping[str, str] | None:
    """What was kept of a session for its provider's sign-out; ``None`` when there is nothing to use."""
    text = airflow_compat.decrypt(sealed) if sealed else None
    hints: Mapping[str, str] | None = json.loads(text) if text else None
    return hints


def start(security_manager: Any, credential: Credential, opened: Opening, reference: str) -> None:
    """Sign the user in, in this request's session, under a new session id.

    Whatever session the browser had before, anonymous or another person's, ends here.

    :raises AccessEnded: when the provider ended the session while it was being recorded.
    """
    if notices.overtook(credential, opened, reference):
        raise AccessEnded("the provider ended this session before it began")
    _end_presented(reference, lambda journal, about, ids: journal.replaced(about, sessions=ids))
    _leave_old_session(opened.airflow_session_id)
    flask.session.update(credential.as_claims())
    # The account was written on a connection of our own: begin anew, to see it as it is now.
    airflow_compat.scoped_session(security_manager).rollback()
    user = security_manager.get_user_by_id(credential.user_id)
    login_user(user, remember=False)
    flask.g.user = user
    security_manager.update_user_auth_stat(user)
    housekeeping.sweep()


def redirect(url: str) -> Any:
    """Send the signed-in user on, with a fresh token for the UI where the line has one.

    :raises AccessEnded: when there is to be a token, and the session has just been ended.
    """
    user = flask.g.user
    if not airflow_compat.LINE.has_browser_tokens:  # the next request asks whether the session counts
        return flask.redirect(url)
    try:
        token = _browser_token(user)
    except CredentialRefused as refusal:
        raise AccessEnded(str(refusal)) from None
    response = flask.redirect(url)
    airflow_compat.set_token_cookie(response, token)
    return response


def _browser_token(user: Any) -> str:
    seconds = airflow_compat.token_lifetime()
    if airflow_compat.sees_every_request():
        return airflow_compat.sign_token(user, seconds)  # which mints by way of mint_for_browser
    return mint_for_browser(user.id, seconds, lambda left: airflow_compat.sign_token(user, left))


def mint_for_browser(user_id: int, seconds: int, sign: Any) -> str:
    """A token of the session in this request's cookie. :raises CredentialRefused: when it has ended."""
    return minting.mint(presented_credential(user_id), seconds, sign, for_api=False)


def presented_credential(user_id: int) -> Credential:
    """What this request's session cookie carries. :raises CredentialRefused: when that is nothing."""
    return Credential.carried_by(flask.session, user_id)


def is_recognised(user_id: int) -> bool:
    """Whether this request's session cookie counts at this moment; notes that somebody is there."""
    try:
        standing = ending.judged(presented_credential(user_id))
    except CredentialRefused as refusal:
        log.info("airflow_sso: a session cookie was refused: %s", refusal)
        return False
    request = flask.request
    headers = {name.lower(): value for name, value in request.headers.items()}
    activity.note(standing, Asked.of(request.method, request.path, headers))
    return True


def _leave_old_session(new_id: str | None) -> None:
    """Against session fixation: the old id is deleted on the server, not only renamed."""
    # Only the interface and the session of the database backend have what is asked for here.
    if _keeps_rows():  # a cookie's content is simply replaced
        flask.current_app.session_interface.regenerate(flask.session)  # type: ignore[attr-defined]
    flask.session.clear()
    if new_id is not None:
        flask.session.sid = new_id  # type: ignore[attr-defined]


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


def end(security_manager: Any, reference: str) -> Endings:
    """Sign out: end what this browser presents, in every replica."""
    user = flask.g.user if flask.g.user is not None and flask.g.user.is_authenticated else None
    ended = _end_presented(reference, lambda journal, about, ids: journal.signed_out(about, sessions=ids))
    logout_user()
    _empty_session()
    if user is not None:
        airflow_compat.tell_of_sign_out(security_manager, user)
    return ended


def forget_ended(ended: Endings, response: Any) -> None:
    """Take this browser's cookies, if what they carry is among the sessions that have just ended."""
    if {one.session_id for one in ended} & set(_presented_session_ids()):
        logout_user()
        _empty_session()
        take_cookies(response)


def take_cookies(response: Any) -> None:
    """Take Airflow's two cookies from the browser."""
    for name in (flask.current_app.config.get("SESSION_COOKIE_NAME", "session"), _TOKEN_COOKIE):
        response.delete_cookie(name, path=airflow_compat.cookie_path(), httponly=True, samesite="Lax")


def _end_presented(reference: str, note: Any) -> Endings:
    """End every session whose cookie or token this browser presents, signed by this Airflow.

    Either may be missing or older than the other, and a token may have been revoked a moment ago:
    Airflow's own sign-out does that before it comes here.
    """
    presented = set(_presented_session_ids())
    if not presented:
        return ()

    def steps(connection: Connection, journal: Journal) -> Endings:
        ended: Endings = ()
        for session_id in sorted(presented):
            ended += ending.of_session(connection, session_id, "signed out")
        for one in ended:
            for about, ids in ending.by_person(connection, (one,)):
                note(journal, about, ids)
        return ended

    return ending.carry_out(steps, reference)


def _presented_session_ids() -> list[str]:
    token = flask.request.cookies.get(_TOKEN_COOKIE)
    carriers = [flask.session, airflow_compat.signed_claims(token) if token else {}]
    found = []
    for claims in carriers:
        try:
            found.append(Credential.carried_by(claims, 0).session_id)
        except CredentialRefused:
            continue
    return found
