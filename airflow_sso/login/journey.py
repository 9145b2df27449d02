"""What every sign-in has in common, whatever it speaks: the door, the way from an answer to a role, refusals.

``admit`` is the whole journey on one screen. What must stay true: every refusal of any step ends in
:func:`answer_refusals`, so there is one place where a refusal gets its reference, its audit row and
its page, and none where it is swallowed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flask
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import audit, database, models, pages, role_mapping
from airflow_sso.accounts import provisioning, sessions
from airflow_sso.accounts.register import Credential, Opening
from airflow_sso.errors import DisabledInDirectory, NotReady, RequirementNotMet, SsoError, TablesMissing
from airflow_sso.identity import Identity
from airflow_sso.login import browser
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.doors import Door, Doors
from airflow_sso.role_mapping import Mapping as RoleMapping
from airflow_sso.role_mapping import require

Route = Callable[..., Any]


def answer_refusals(route: Route) -> Route:
    """Turn a refusal of any step into its audit record and its page, under one reference."""

    @functools.wraps(route)
    def answered(self: Journey, **arguments: str) -> Any:
        reference = flask.g.sso_reference = audit.new_reference()
        try:
            return route(self, **arguments)
        except SsoError as error:
            return self._told(error, reference, arguments.get("provider"))
        except SQLAlchemyError as cause:
            return self._told(database.unusable(cause), reference, arguments.get("provider"))
        finally:
            sessions.leave_none_to_strangers()

    return answered


def _require(mapping: RoleMapping, identity: Identity) -> None:
    """Whatever roles the person would have: a sign-in that is not good enough changes nothing.

    :raises RequirementNotMet: naming what is missing in its ``detail``.
    """
    sign_in = require.SignIn(
        claims={**identity.claims, **({"acr": identity.context} if identity.context else {})},
        authenticated_at=identity.authenticated_at,
        address=flask.request.remote_addr,
        now=models.now(),
    )
    unmet = require.unmet(mapping.require, sign_in)
    if unmet:
        raise RequirementNotMet(f"not met: {'; '.join(map(str, unmet))}", identity=identity)


class Journey:
    """For views: the doors, and what lies behind them."""

    appbuilder: Any

    def doors(self) -> Doors:
        """Asked for at each request: Flask-AppBuilder reads every attribute before there are any."""
        doors: Doors = self.appbuilder.sm.sso_doors
        return doors

    def door(self, provider: str, protocol: str | None = None) -> tuple[Doors, Any]:
        """The door that a URL names, ready to be used; 404 when it is none, or speaks another protocol."""
        database.require_tables()
        doors = self.doors()
        door = doors.get(provider)
        if door is None or protocol not in (None, door.settings.protocol):
            flask.abort(404)
        return doors, door

    def admit(self, door: Door, attempt: Attempt, answer: Mapping[str, str]) -> Any:
        """From the provider's answer to a signed-in Airflow user.

        :param attempt: this browser's own, used up by now.
        :param answer: what the provider sent; nothing in it is trusted.
        """
        doors = self.doors()
        flask.g.sso_next = attempt.next_url
        mapping = doors.current_mapping()
        identity = door.finish(attempt, answer)
        _require(mapping, identity)
        identity = doors.ask_directory(identity, mapping)
        decision = role_mapping.decide(identity, mapping, models.now().date())
        opening = sessions.opening(identity, doors.limits, attempt.started_at)
        reference = flask.g.sso_reference
        try:
            credential = provisioning.admit(
                identity,
                decision,
                opening,
                reference,
                adopts=door.adopts(identity),
                reserved=doors.break_glass,
            )
        except DisabledInDirectory:
            # Where only a probe says so, that the provider let them in is what it has to hear.
            doors.keep_refresh_token(identity)
            raise
        response = self.enter(credential, opening, attempt.next_url)
        doors.keep_refresh_token(identity)
        return response

    def enter(self, credential: Credential, opening: Opening, next_url: str) -> Any:
        """Sign the browser in to a session that has been recorded, and send it on."""
        doors = self.doors()
        sessions.start(self.appbuilder.sm, credential, opening, flask.g.sso_reference)
        response = sessions.redirect(next_url)
        browser.remember_sign_in(response, doors.urls)
        browser.forget_restart(flask.request, response, doors.urls)
        return browser.uncached(response)

    def _told(self, error: SsoError, reference: str, provider: str | None) -> flask.Response:
        known = provider if provider in self.doors().open else None
        self.put_on_record(error, reference, provider=known)
        return self.refuse(error, reference, provider=known)

    def put_on_record(self, error: SsoError, reference: str, *, provider: str | None) -> None:
        """The audit row and the log line of a refusal."""
        audit.refused(error, reference, provider=provider)

    def refuse(self, error: SsoError, reference: str, *, provider: str | None) -> flask.Response:
        """The page of a refusal."""
        doors = self.doors()
        next_url = getattr(error, "next_url", None) or flask.g.get("sso_next")
        if isinstance(error, NotReady):
            # Without the tables nobody can be signed in at all.
            local_url = None if isinstance(error, TablesMissing) else self.local_url(next_url)
            return pages.not_ready_page(
                error, doors.urls, doors.support_contact, reference=reference, local_url=local_url
            )
        return pages.refusal_page(
            error,
            doors.urls,
            doors.support_contact,
            reference=reference,
            provider=provider,
            next_url=next_url,
            again_url=doors.urls.start(provider, next_url, anew=True)
            if provider and isinstance(error, RequirementNotMet)
            else None,
            signed_in=flask.g.user is not None and flask.g.user.is_authenticated,
            local_url=self.local_url(next_url) if error.status == 503 else None,
        )

    def local_url(self, next_url: str | None = None) -> str | None:
        """Where break-glass accounts sign in; ``None`` where there are none."""
        doors = self.doors()
        return doors.urls.local_login(next_url) if doors.break_glass else None
