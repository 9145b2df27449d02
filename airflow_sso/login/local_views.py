"""The local door: break-glass accounts sign in here with their password, or with a one-use link.

It needs no provider, and of ``sso.yaml`` the names alone. What must stay true: a form counts only in
the browser that was given it, and once; whatever was wrong, the words are the same; and nothing that
was typed is ever shown or written down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import flask
from flask_appbuilder import BaseView, expose

from airflow_sso import audit, database, pages
from airflow_sso.accounts import break_glass, sessions, throttle
from airflow_sso.accounts.break_glass import NotAllowed, Verified
from airflow_sso.accounts.register import LOCAL
from airflow_sso.audit import Subject
from airflow_sso.errors import (
    AttemptLost,
    LinkRefused,
    LocalDoorShut,
    LocalSignInRefused,
    SignatureInvalid,
    SsoError,
    TooManyTries,
)
from airflow_sso.login import attempt as attempts
from airflow_sso.login import browser
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.doors import Doors
from airflow_sso.login.journey import Journey, answer_refusals

_MAX_FORM = 20_000  # bytes
_LONGEST_TICKET = 200


class SsoLocalView(Journey, BaseView):  # type: ignore[misc]
    """``/login/local``; a view of its own, so that the limit on posts to the sign-in view is not its."""

    route_base = "/login"
    template_folder = pages.template_folder()

    @expose("/local", methods=["GET", "POST"])
    @answer_refusals
    def local(self) -> Any:
        """The form, or the button of a link; and what comes back from either."""
        database.require_tables()
        doors = self.doors()
        if not doors.break_glass:
            doors.require_open()
            raise LocalDoorShut("no break_glass account is configured")
        if flask.request.method == "POST":
            return self._posted(doors)
        next_url = flask.g.sso_next = doors.urls.own_page(flask.request.args.get("next"))
        ticket = flask.request.args.get("secret")
        if not ticket:
            return self._form(doors, next_url)
        browser.keep_out_of_access_log(flask.request, "secret")
        return self._link(doors, ticket, next_url)

    def _form(self, doors: Doors, next_url: str, error: SsoError | None = None) -> Any:
        return self._bound(
            doors,
            next_url,
            lambda state: pages.local_page(
                doors.urls,
                doors.support_contact,
                state=state,
                next_url=next_url,
                error=error,
                reference=flask.g.sso_reference,
            ),
        )

    def _link(self, doors: Doors, ticket: str, next_url: str) -> Any:
        username = self._opened_by(doors, ticket)[1]
        return self._bound(
            doors,
            next_url,
            lambda state: pages.local_link_page(
                doors.support_contact, state=state, ticket=ticket, username=username
            ),
        )

    def _bound(self, doors: Doors, next_url: str, page: Callable[[str], flask.Response]) -> Any:
        """A page whose form counts in this browser only.

        That is what keeps other sites from posting it: strangers have no session for a token of Airflow's.
        """
        browser_id = browser.browser_id(flask.request, doors.urls)
        attempt = attempts.new(LOCAL, next_url)
        response = page(attempt.state)
        attempts.remember(attempt, browser_id)
        browser.bind(response, browser_id, doors.urls)
        return response

    def _posted(self, doors: Doors) -> Any:
        attempt = attempts.take(LOCAL, _field("state"), browser.bound_id(flask.request, doors.urls))
        flask.g.sso_next = attempt.next_url
        ticket = _field("secret")
        return self._with_link(doors, attempt, ticket) if ticket else self._with_password(doors, attempt)

    def _with_link(self, doors: Doors, attempt: Attempt, ticket: str) -> Any:
        """Past the throttle: guessing a link is hopeless, and whoever has one must get in."""
        verified, _ = self._opened_by(doors, ticket)
        try:
            return self._enter(doors, verified, attempt)
        except NotAllowed as refusal:
            raise self._refused(LinkRefused, refusal) from None

    def _opened_by(self, doors: Doors, ticket: str) -> tuple[Verified, str]:
        try:
            return break_glass.verify_link(doors.break_glass, ticket[:_LONGEST_TICKET], flask.g.sso_reference)
        except NotAllowed as refusal:
            raise self._refused(LinkRefused, refusal) from None

    def _with_password(self, doors: Doors, attempt: Attempt) -> Any:
        address = _address()
        throttle.count_try(address)
        name, password = _field("username"), _field("password")
        try:
            verified = break_glass.verify_password(doors.break_glass, name, password, flask.g.sso_reference)
            response = self._enter(doors, verified, attempt)
        except NotAllowed as refusal:
            error = self._refused(LocalSignInRefused, refusal)
            self.put_on_record(error, flask.g.sso_reference, provider=None)
            return self._form(doors, attempt.next_url, error)
        throttle.forget(address)
        return response

    def _enter(self, doors: Doors, verified: Verified, attempt: Attempt) -> Any:
        opening = break_glass.opening(attempt.started_at, sessions.new_airflow_session_id())
        credential = break_glass.record(doors.break_glass, verified, opening, flask.g.sso_reference)
        # On the host that was asked: in an emergency that may be a forwarded port.
        return self.enter(credential, opening, _on_this_host(attempt.next_url))

    def _refused(self, kind: type[LocalDoorShut], refusal: NotAllowed) -> SsoError:
        flask.g.sso_local_name = refusal.username
        return kind(str(refusal))

    def put_on_record(self, error: SsoError, reference: str, *, provider: str | None) -> None:
        """Loudly, where it is about a password or a link."""
        if not isinstance(error, (LocalSignInRefused, LinkRefused, TooManyTries)):
            super().put_on_record(error, reference, provider=provider)
            return
        about = Subject(provider=LOCAL, username=flask.g.get("sso_local_name"))
        audit.break_glass_refused(error, reference, about, address=_address())

    def refuse(self, error: SsoError, reference: str, *, provider: str | None) -> flask.Response:
        """The page of a refusal, from which one tries again here."""
        if not isinstance(error, (AttemptLost, TooManyTries)):
            return super().refuse(error, reference, provider=provider)
        doors = self.doors()
        next_url = getattr(error, "next_url", None) or flask.g.get("sso_next")
        response = pages.refusal_page(
            error,
            doors.urls,
            doors.support_contact,
            reference=reference,
            again_url=doors.urls.local_login(next_url),
        )
        if isinstance(error, TooManyTries):
            response.headers["Retry-After"] = str(error.counts["seconds"])
        return response


def _field(name: str) -> str:
    try:
        return browser.posted(flask.request, name, most=_MAX_FORM)
    except SignatureInvalid as cause:  # the words of a provider's answer, which this is not
        raise AttemptLost(cause.detail) from None


def _address() -> str:
    """The client's; behind a proxy that is for [fab] enable_proxy_fix to know."""
    return flask.request.remote_addr or "unknown"


def _on_this_host(url: str) -> str:
    return urlsplit(url)._replace(scheme="", netloc="").geturl()
