"""The addresses at which an OpenID Connect provider says that somebody has signed out there.

A view of its own, because no browser of ours asks here: a server does, or a hidden frame without our
cookies. What must stay true: by back-channel only a verified logout token ends anything; a fault that
may pass is answered with 503, so that the provider sends the token again, and never with success.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import flask
from flask_appbuilder import BaseView, expose
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import audit, database, pages
from airflow_sso.accounts import notices, sessions
from airflow_sso.accounts.notices import NoticeRepeated, Target
from airflow_sso.errors import (
    ClaimMissing,
    NotOurAttempt,
    NotReady,
    ProviderUnreachable,
    SsoError,
    WrongIssuer,
)
from airflow_sso.login import browser
from airflow_sso.login.journey import Journey

log = logging.getLogger(__name__)

Route = Callable[..., Any]

_MAX_FORM = 120_000  # bytes; a token is 100,000 at most
_LONGEST_SID = 1000
_RETRY_AFTER = 5  # seconds
_MAY_PASS = (NotReady, ProviderUnreachable)
#: In a hidden frame of the provider's own page: nothing to see, and nothing that forbids the frame.
_FRAME = '<!doctype html><html lang="en"><title>Signed out</title></html>'


def answer_provider(route: Route) -> Route:
    """Turn a refusal into its audit record and an answer that a program reads, under one reference."""

    @functools.wraps(route)
    def answered(self: SsoLogoutView, provider: str) -> Any:
        reference = flask.g.sso_reference = audit.new_reference()
        try:
            return browser.uncached(route(self, provider))
        except SsoError as error:
            return self._refused(error, reference, provider)
        except SQLAlchemyError as cause:
            return self._refused(database.unusable(cause), reference, provider)
        finally:
            sessions.leave_none_to_strangers()

    return answered


class SsoLogoutView(Journey, BaseView):  # type: ignore[misc]
    """Back-channel and front-channel logout of every OpenID Connect provider."""

    route_base = "/logout"
    template_folder = pages.template_folder()

    @expose("/backchannel/<provider>", methods=["POST"])
    @answer_provider
    def backchannel(self, provider: str) -> Any:
        """Back-Channel Logout 1.0, sections 2.5 to 2.8: end what a logout token names.

        That nothing of it is known here is a success too: it has ended.
        """
        _, door = self.door(provider, "oidc")
        notice = door.verify_logout(browser.posted(flask.request, "logout_token", most=_MAX_FORM))
        target = Target(session_ref=notice.sid, subject=notice.sub)
        try:
            ended = notices.obey(
                provider,
                notice.jti,
                [target],
                because="the provider ended it",
                reference=flask.g.sso_reference,
            )
        except NoticeRepeated as repeated:
            raise NotOurAttempt(str(repeated)) from None
        log.info("airflow_sso: a logout token of %s ended %d sessions", provider, len(ended))
        return flask.make_response("", 200)

    @expose("/frontchannel/<provider>")
    @answer_provider
    def frontchannel(self, provider: str) -> Any:
        """Front-Channel Logout 1.0, section 3: end the session that the address names.

        Nothing proves who asks. It takes the provider's name of a session to end it, which only the
        provider, the browser and we know. Browsers keep our cookies back in such a frame, and Entra
        sends no ``iss`` (fact A29), so neither is asked for.
        """
        _, door = self.door(provider, "oidc")
        asked = browser.single_values(flask.request)
        session_ref = asked.get("sid", "")
        if not 0 < len(session_ref) <= _LONGEST_SID:
            raise ClaimMissing("the sid is missing or longer than any provider's")
        if asked.get("iss", door.issuer) != door.issuer:
            raise WrongIssuer("the iss is not the provider's")
        ended = notices.obey_once(
            provider,
            Target(session_ref=session_ref),
            because="the provider ended it (front-channel)",
            reference=flask.g.sso_reference,
        )
        log.info("airflow_sso: a front-channel logout of %s ended %d sessions", provider, len(ended))
        return flask.make_response(_FRAME, 200)

    def _refused(self, error: SsoError, reference: str, provider: str) -> flask.Response:
        """Section 2.8: 400 where the notice is wrong; 503, to come again, where it may be right."""
        known = provider if provider in self.doors().open else None
        audit.notice_refused(error, reference, provider=known)
        if isinstance(error, _MAY_PASS):
            said = {"error": "temporarily_unavailable", "error_description": "Try again later."}
            response = flask.make_response(said, 503)
            response.headers["Retry-After"] = str(_RETRY_AFTER)
        else:
            said = {"error": "invalid_request", "error_description": "The logout notice was not accepted."}
            response = flask.make_response(said, 400)
        return browser.uncached(response)  # type: ignore[no-any-return]
