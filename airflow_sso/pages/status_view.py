"""The page *SSO status*, for administrators: look at it, and approve a plan that waits.

What must stay true: it takes the permission ``can_edit`` on ``SSO``, our own form with its token and a
ticked box to approve anything; looking at the page changes nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import flask
from flask_appbuilder import BaseView, expose
from flask_wtf.csrf import CSRFError, generate_csrf

from airflow_sso import database, pages
from airflow_sso.login.journey import Journey, answer_refusals
from airflow_sso.pages import status, status_keys, status_people
from airflow_sso.sync import quarantine
from airflow_sso.sync.quarantine import NoSuchPlan

_READ, _EDIT = "can_read", "can_edit"
_LONGEST_ID = 16


class SsoStatusView(Journey, BaseView):  # type: ignore[misc]
    """``/sso-status/``; Airflow's Admin role has its permissions, others may be given them."""

    route_base = "/sso-status"
    default_view = "status"  # where the menu of 2.11 leads
    template_folder = pages.template_folder()
    class_permission_name = "SSO"
    base_permissions = [_READ, _EDIT]  # noqa: RUF012 (Flask-AppBuilder wants a list)

    @expose("/")
    @answer_refusals
    def status(self) -> Any:
        """The page; ``plan`` in the address says of which plan to tell what became of it."""
        database.require_tables()
        refusal = self._refusal(_READ)
        if refusal is not None:
            return refusal
        doors = self.doors()
        plan_id = flask.request.args.get("plan", "")[:_LONGEST_ID]
        told, is_done = status.said_of(plan_id, doors) if plan_id else (None, False)
        schedule = self.appbuilder.sm.sso_schedule
        return pages.page(
            "sso_status",
            doors.support_contact,
            is_framed=True,
            status_of=status.gather(doors, schedule.directories if schedule else ()),
            told=told,
            is_done=is_done,
            others=status_people.gather(),
            keys=status_keys.gather(doors),
            may_approve=self._may(_EDIT),
            csrf_token=generate_csrf(),
        )

    @expose("/approve", methods=["POST"])
    @answer_refusals
    def approve(self) -> Any:
        """Allow a plan; the page that follows says what became of it, whatever that is."""
        database.require_tables()
        refusal = self._refusal(_EDIT)
        if refusal is not None:
            return refusal
        # Airflow checks every form, unless webserver_config.py says otherwise; this one is always checked.
        flask.current_app.extensions["csrf"].protect()
        plan_id = flask.request.form.get("plan", "")[:_LONGEST_ID]
        if flask.request.form.get("looked") == "yes":
            with suppress(NoSuchPlan):  # the page says so
                quarantine.approve(plan_id, flask.g.user.username)
        return flask.redirect(flask.url_for("SsoStatusView.status", plan=plan_id), 303)

    def form_refused(self) -> flask.Response:
        """The form was not ours, or lay open for too long."""
        return self._note(
            400,
            "Nothing was approved",
            "The page was open for too long, or what came was not from it.",
            "Look at it again, then decide.",
            leads_back=True,  # nobody has been looked up yet; the page itself will
        )

    def _may(self, permission: str) -> bool:
        return bool(self.appbuilder.sm.has_access(permission, self.class_permission_name))

    def _refusal(self, permission: str) -> Any:
        """What to answer to whoever lacks a permission; ``None`` to whoever has it."""
        if flask.g.user is None or not flask.g.user.is_authenticated:
            urls = self.doors().urls
            return flask.redirect(urls.login(urls.sso_status))
        if self._may(permission):
            return None
        return self._note(
            403,
            "This page is for administrators",
            "Your roles in Airflow do not let you see it, or do what you have asked for.",
            f"It takes the permission {permission} on {self.class_permission_name}; the role Admin has it.",
            leads_back=self._may(_READ),
        )

    def _note(
        self, code: int, headline: str, message: str, remedy: str, *, leads_back: bool
    ) -> flask.Response:
        doors = self.doors()
        return pages.page(
            "note",
            doors.support_contact,
            status=code,
            is_framed=True,
            headline=headline,
            message=message,
            remedy=remedy,
            link_url=flask.url_for("SsoStatusView.status") if leads_back else None,
            link_label="SSO status",
        )


def form_refused(view: SsoStatusView, error: CSRFError) -> Any:
    """Flask-WTF's refusal of a form: in our words where the form is ours, else as it is."""
    is_ours = flask.request.endpoint == "SsoStatusView.approve"
    return view.form_refused() if is_ours else error
