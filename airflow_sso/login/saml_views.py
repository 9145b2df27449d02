"""The addresses of ours that a SAML identity provider knows: metadata, assertion consumer, logout.

A view of its own, because the identity provider posts across sites: no token against CSRF can come
along, no Lax cookie either, and the rate limit of the sign-in view would lock out whole offices. What
must stay true: the POST proves nothing about the browser that carries it, so it signs nobody in; the
GET after it does, with the attempt's own cookie.
"""

from __future__ import annotations

from typing import Any

import flask
from flask_appbuilder import BaseView, expose
from werkzeug.exceptions import RequestEntityTooLarge

from airflow_sso import pages
from airflow_sso.errors import NotOurAttempt, SignatureInvalid
from airflow_sso.login import attempt as attempts
from airflow_sso.login import browser
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.doors import Doors
from airflow_sso.login.journey import Journey, answer_refusals

_MAX_FORM = 500_000  # bytes; 150 groups (fact A15) are about 40,000


class SsoSamlView(Journey, BaseView):  # type: ignore[misc]
    """Metadata, ACS and SLO of every SAML provider."""

    route_base = "/saml"
    template_folder = pages.template_folder()

    @expose("/metadata/<provider>")
    @answer_refusals
    def metadata(self, provider: str) -> Any:
        """Who we are, for the provider to import."""
        _, door = self.door(provider, "saml")
        response = flask.make_response(door.metadata())
        response.headers["Content-Type"] = "application/samlmetadata+xml"
        return browser.uncached(response)

    @expose("/acs/<provider>", methods=["POST"])
    @answer_refusals
    def acs(self, provider: str) -> Any:
        """The assertion consumer service: verify what was posted, keep it, and say where to fetch it."""
        doors, door = self.door(provider, "saml")
        posted = _posted("SAMLResponse")
        response = door.read(posted)
        if response.is_unsolicited:
            return self._unsolicited(doors, door, response, posted)
        attempt = attempts.pending(provider, response.in_response_to or "")
        flask.g.sso_next = attempt.next_url
        return self._parked(doors, door, response, posted, attempt)

    @expose("/finish/<provider>")
    @answer_refusals
    def finish(self, provider: str) -> Any:
        """The GET after the ACS: this browser's own attempt fetches its answer, once."""
        doors, door = self.door(provider, "saml")
        handle = browser.single_values(flask.request).get("handle")
        attempt = attempts.take_parked(provider, handle, browser.bound_id(flask.request, doors.urls))
        return self.admit(door, attempt, {"SAMLResponse": attempt.answer or ""})

    @expose("/slo/<provider>", methods=["GET", "POST"])
    @answer_refusals
    def slo(self, provider: str) -> Any:
        """Single logout: answers that it is not offered, so that the provider goes on with others."""
        doors, door = self.door(provider, "saml")
        posted = flask.request.method == "POST"
        form = {name: _posted(name) for name in ("SAMLRequest", "RelayState")} if posted else {}
        query = browser.single_values(flask.request)
        if "SAMLResponse" in query:  # the end of a sign-out that nobody here began
            return flask.redirect(doors.urls.signed_out)
        address = door.answer_logout(query, form)
        return browser.uncached(flask.redirect(address)) if address else flask.abort(501)

    def _parked(
        self, doors: Doors, door: Any, response: Any, posted: str, attempt: Attempt, new_browser: str = ""
    ) -> Any:
        """Verify, keep, and send on; ``new_browser`` where no attempt was made before."""
        verified = door.accept(response, attempt)
        if new_browser:
            attempts.remember(attempt, new_browser)
        handle = attempts.park(
            attempt, posted, assertion=door.assertion_key(verified), until=verified.valid_until
        )
        # 303: the browser asks with GET, for which it brings Lax cookies along.
        return browser.uncached(flask.redirect(doors.urls.saml_finish(door.settings.name, handle), 303))

    def _unsolicited(self, doors: Doors, door: Any, response: Any, posted: str) -> Any:
        """Nobody here asked for it: a tile on a portal, or somebody else's response (login CSRF)."""
        response.raise_for_status()
        settings = door.settings
        if door.takes_unsolicited(response):
            attempt, browser_id = attempts.new(settings.name, doors.urls.home), attempts.new_browser_id()
            answer = self._parked(doors, door, response, posted, attempt, new_browser=browser_id)
            browser.bind(answer, browser_id, doors.urls)
            return answer
        if settings.idp_initiated == "refuse":
            raise NotOurAttempt("nobody here asked for this response (idp_initiated: refuse)")
        return browser.uncached(flask.redirect(doors.urls.start(settings.name, again=True), 303))


def _posted(name: str) -> str:
    """A field of the form, which may stand once.

    :raises SignatureInvalid: when the form is larger than any honest one; it is not read then.
    """
    flask.request.max_form_memory_size = flask.request.max_content_length = _MAX_FORM
    try:
        values = flask.request.form.getlist(name)
    except RequestEntityTooLarge:
        raise SignatureInvalid(f"the form is larger than {_MAX_FORM} bytes") from None
    if len(values) > 1:
        raise SignatureInvalid(f"{name} stands twice in the form")
    return values[0] if values else ""
