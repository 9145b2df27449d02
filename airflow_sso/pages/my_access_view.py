"""The page *My access*, for everybody who is signed in: who Airflow takes them for, and why they may what.

What must stay true: it takes no permission and shows nobody but the person who asks; looking at it changes
nothing.
"""

from __future__ import annotations

from typing import Any

import flask
from flask_appbuilder import BaseView, expose

from airflow_sso import database, pages
from airflow_sso.login.journey import Journey, answer_refusals
from airflow_sso.pages import my_access


class MyAccessView(Journey, BaseView):  # type: ignore[misc]
    """``/my-access/``; there is no permission that could be withheld."""

    route_base = "/my-access"
    default_view = "mine"  # where the menu of 2.11 leads
    template_folder = pages.template_folder()

    @expose("/")
    @answer_refusals
    def mine(self) -> Any:
        """The page; whoever has not signed in does so first, and comes back."""
        database.require_tables()
        doors, user = self.doors(), flask.g.user
        access = my_access.gather(doors, user.id) if user is not None and user.is_authenticated else None
        if access is None:
            return flask.redirect(doors.urls.login(doors.urls.my_access))
        return pages.page("my_access", doors.support_contact, is_framed=True, access=access)
