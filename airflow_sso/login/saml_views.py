"""The addresses of ours that a SAML identity provider knows: metadata, assertion consumer, logout.

A view of its own, because the identity provider posts across sites: no token against CSRF can come
along, no Lax cookie either, and the rate limit of the sign-in view would lock out whole offices. What
must stay true: the POST proves nothing about the browser that carries it, so it signs nobody in; the
GET after it does, with the attempt's own cookie; and only a verified LogoutRequest signs anybody out.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import flask
from flask_appbuilder import BaseView, expose
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import audit, database, pages
from airflow_sso.accounts import notices, sessions
from airflow_sso.accounts.ending import Endings
from airflow_sso.accounts.notices import NoticeRepeated
from airflow_sso.errors import NotOurAttempt, SsoError
from airflow_sso.login import attempt as attempts
from airflow_sso.login import browser
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.doors import Doors, SignOut
from airflow_sso.login.journey import Journey, answer_refusals

log = logging.getLogger(__name__)

_BECAUSE = "the provider ended it (single logout)"
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
        """The single logout service: takes the provider's requests, and its answers to ours."""
        doors, door = self.door(provider, "saml")
        try:
            form = _logout_form()
            if _is_answer(form):
                # The session here has ended long before, and nothing that is said now changes that.
                _note_answer(door, form)
                return browser.uncached(flask.redirect(doors.urls.signed_out, 303))
            return self._signed_out_there(doors, door, form)
        except SsoError as error:
            # No answer goes out: whoever wrote this could have us send one in anybody's name.
            reference = flask.g.sso_reference
            audit.notice_refused(error, reference, provider=provider)
            return pages.notice_refused_page(error, doors.urls, doors.support_contact, reference=reference)

    def _signed_out_there(self, doors: Doors, door: Any, form: dict[str, str] | None) -> Any:
        """End what a verified request names, and answer it; the same for a session that nobody knows.

        :raises SsoError: when it is not to be obeyed, or cannot be.
        """
        message = door.read_logout(flask.request.query_string, form)
        request = door.verify_logout(message)
        name, obeyed = door.settings.name, True
        ended: Endings = ()
        try:
            ended = _carried_out(name, request)
        except NoticeRepeated as repeated:
            audit.notice_refused(NotOurAttempt(str(repeated)), flask.g.sso_reference, provider=name)
            obeyed = False
        except SQLAlchemyError as cause:
            # Not answered, so that nobody believes it done; the same request may come again.
            raise database.unusable(cause) from None
        answer = door.answer_logout(request, message.relay_state, obeyed=obeyed)
        response = self._answered(doors, door, answer, obeyed=obeyed)
        sessions.forget_ended(ended, response)
        return browser.uncached(response)

    def _answered(self, doors: Doors, door: Any, answer: SignOut | None, *, obeyed: bool) -> Any:
        """The browser takes our answer to the provider, or stays here where the provider takes none."""
        if answer is None:
            return flask.redirect(doors.urls.signed_out, 303)
        if not answer.form:
            return flask.redirect(answer.url, 303)
        return pages.sign_out_page(
            answer.url,
            answer.form,
            door.settings.shown_as,
            doors.support_contact,
            step="answer" if obeyed else "deny",
        )

    def _parked(
        self, doors: Doors, door: Any, response: Any, posted: str, attempt: Attempt, new_browser: str = ""
    ) -> Any:
        """Verify, keep, and send on; ``new_browser`` where no attempt was made before."""
        verified = door.accept(response, attempt)
        if new_browser:
            # It began at the provider: what has ended there since then ends it too.
            began = min(attempt.started_at, verified.issued_at)
            attempts.remember(dataclasses.replace(attempt, started_at=began), new_browser)
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


def _carried_out(name: str, request: Any) -> Endings:
    """:raises NoticeRepeated: when it was carried out before."""
    how = {"because": _BECAUSE, "reference": flask.g.sso_reference}
    if request.is_signed:
        return notices.obey(name, request.id, request.targets, **how)
    # Strangers fill no table: what anybody may have written is not remembered.
    return tuple(one for target in request.targets for one in notices.obey_once(name, target, **how))


def _logout_form() -> dict[str, str] | None:
    """What was posted, ``None`` when the message is in the query."""
    if flask.request.method != "POST":
        return None
    return {name: _posted(name) for name in ("SAMLRequest", "SAMLResponse", "RelayState")}


def _is_answer(form: dict[str, str] | None) -> bool:
    given = flask.request.args if form is None else {name for name, value in form.items() if value}
    return "SAMLResponse" in given and "SAMLRequest" not in given


def _note_answer(door: Any, form: dict[str, str] | None) -> None:
    """Say in the log what became of the session at the provider, if it is not the best."""
    try:
        why_not = door.why_sign_out_not_confirmed(door.read_logout(flask.request.query_string, form))
    except SsoError as error:
        why_not = error.detail
    if why_not:
        # Strangers can write it, so no line of it ends here.
        log.warning("airflow_sso: %s did not confirm a sign-out: %r", door.settings.name, why_not)


def _posted(name: str) -> str:
    """A field of the form, which may stand once. :raises SignatureInvalid: when it stands twice."""
    return browser.posted(flask.request, name, most=_MAX_FORM)
