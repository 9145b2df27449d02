"""The browser's way into Airflow and out of it: every page of ours that a person visits by name.

The addresses that only a SAML provider sends people to are in :mod:`~airflow_sso.login.saml_views`. What
must stay true: nobody is sent anywhere but to a page of ours or to a provider of the configuration.
"""

from __future__ import annotations

import logging
from typing import Any

import flask
from flask_appbuilder import BaseView, expose
from flask_appbuilder.security.views import AuthOAuthView, AuthView

from airflow_sso import airflow_compat, audit, database, pages
from airflow_sso.accounts import sessions
from airflow_sso.accounts.ending import Endings
from airflow_sso.errors import LocalDoorShut, SsoError
from airflow_sso.login import attempt as attempts
from airflow_sso.login import browser
from airflow_sso.login.journey import Journey, answer_refusals
from airflow_sso.role_mapping import require

log = logging.getLogger(__name__)


class SsoAuthView(Journey, AuthOAuthView):  # type: ignore[misc]
    """Airflow's sign-in view, with our doors in it."""

    template_folder = pages.template_folder()

    @expose("/login/")
    @answer_refusals
    def login(self) -> Any:
        """The way in: straight to the provider when there is one, else one button each."""
        doors = self.doors()
        next_url = flask.g.sso_next = doors.urls.own_page(flask.request.args.get("next"))
        if flask.g.user is not None and flask.g.user.is_authenticated:
            # The UI is back for a fresh token; or a page of Flask-AppBuilder sends away somebody who may
            # not see it, and sending them there again would never end.
            away = doors.urls.home if doors.urls.is_of_sign_in(next_url) else next_url
            return sessions.redirect(away)
        database.require_tables()
        doors.require_open()
        if len(doors.open) == 1 and not doors.shut:
            (name,) = doors.open
            if "next" not in flask.request.args and browser.has_signed_in_before(flask.request):
                return self._calm_page(name)
            return flask.redirect(doors.urls.start(name, next_url))
        return pages.page(
            "sign_in",
            doors.support_contact,
            choices=self._choices(next_url),
            local_url=self.local_url(next_url),
        )

    @expose("/login/<provider>")
    @answer_refusals
    def start(self, provider: str) -> Any:
        """Begin an attempt and send the browser to the provider."""
        doors, door = self.door(provider)
        query = flask.request.args
        next_url = flask.g.sso_next = doors.urls.own_page(query.get("next"))
        switch, anew = "switch" in query, "anew" in query
        if not doors.urls.is_here(flask.request.host) and "moved" not in query:
            # The provider sends the browser back to external_url, and cookies set here stay here. Once
            # only: behind a proxy that rewrites Host, every request seems to be elsewhere.
            return flask.redirect(
                doors.urls.start(
                    provider, next_url, switch=switch, moved=True, again="again" in query, anew=anew
                )
            )
        if "again" in query:
            browser.require_first_restart(flask.request)
        browser_id = browser.browser_id(flask.request, doors.urls)
        attempt = attempts.new(provider, next_url)
        asked = require.asked(doors.current_mapping().require, anew=anew)
        response = flask.redirect(door.start(attempt, asked=asked, switch_account=switch))
        if "again" in query:
            browser.note_restart(response, doors.urls)
        attempts.remember(attempt, browser_id)
        browser.bind(response, browser_id, doors.urls)
        return browser.uncached(response)

    @expose("/oauth-authorized/<provider>")
    @answer_refusals
    def oauth_authorized(self, provider: str) -> Any:
        """The redirect URI of OpenID Connect."""
        doors, door = self.door(provider, "oidc")
        answer = browser.single_values(flask.request)
        attempt = attempts.take(provider, answer.get("state"), browser.bound_id(flask.request, doors.urls))
        return self.admit(door, attempt, answer)

    @expose("/logout/", methods=airflow_compat.LINE.sign_out_methods)
    def logout(self) -> Any:
        """Sign out of Airflow, and end on a page that does not sign in again by itself."""
        ended = sessions.end(self.appbuilder.sm, audit.new_reference())
        response = self._at_the_provider(ended) or flask.redirect(self.doors().urls.signed_out)
        sessions.take_cookies(response)
        return browser.uncached(response)

    @expose("/signed-out/")
    @answer_refusals
    def signed_out(self) -> Any:
        """The calm page."""
        names = list(self.doors().open)
        return self._calm_page(names[0] if len(names) == 1 else None)

    @expose("/sso/static/<name>")
    def static_file(self, name: str) -> Any:
        """Our stylesheet."""
        return pages.asset(name)

    def _at_the_provider(self, ended: Endings) -> Any:
        """The way to the provider's own sign-out, where that is wished for and possible.

        Whatever goes wrong there is logged: the session here has ended already.
        """
        for one in ended:
            hints = sessions.unsealed(one.sign_out_hints)
            door = self.doors().open.get(one.provider)
            if hints is None or door is None:
                continue
            try:
                way = door.sign_out(hints)
            except SsoError as error:
                log.warning("airflow_sso: no sign-out at %s: %s %s", one.provider, error.code, error.detail)
                continue
            if way is None:
                continue
            if way.form:
                return pages.sign_out_page(
                    way.url, way.form, door.settings.shown_as, self.doors().support_contact
                )
            return flask.redirect(way.url)
        return None

    def _calm_page(self, provider: str | None) -> flask.Response:
        doors = self.doors()
        label = doors.open[provider].settings.shown_as if provider else None
        url = doors.urls.start(provider) if provider else doors.urls.login()
        response = pages.page(
            "signed_out",
            doors.support_contact,
            sign_in_url=url,
            provider_label=label,
            local_url=self.local_url(),
        )
        browser.forget_sign_in(response, doors.urls)
        return response

    def _choices(self, next_url: str) -> list[dict[str, object]]:
        doors = self.doors()
        ready: list[dict[str, object]] = [
            {"label": door.settings.shown_as, "url": doors.urls.start(name, next_url), "shut": False}
            for name, door in doors.open.items()
        ]
        shut: list[dict[str, object]] = [
            {"label": label, "url": None, "shut": True, "code": "SSO-501"} for label in doors.shut.values()
        ]
        return ready + shut


class ClosedPasswordView(Journey, BaseView):  # type: ignore[misc]
    """Stands where Airflow lets people choose a password, which would open nothing here."""

    route_base = "/resetmypassword"
    template_folder = pages.template_folder()

    @expose("/form", methods=["GET", "POST"])
    @answer_refusals
    def form(self) -> Any:
        """Refuses, and says so."""
        raise LocalDoorShut("a local password was to be set")


class ClosedPasswordOfOthersView(ClosedPasswordView):
    """The same where an administrator would choose one for somebody else."""

    route_base = "/resetpassword"


class ClosedAuthView(AuthView):  # type: ignore[misc]
    """Stands where Flask-AppBuilder looks for a sign-in view and there must be none.

    Guarded pages send whoever may not see them to its ``login``.
    """

    @expose("/login/")
    def login(self) -> Any:
        """Refuses."""
        flask.abort(403)

    @expose("/logout/")
    def logout(self) -> Any:
        """Refuses."""
        flask.abort(403)
