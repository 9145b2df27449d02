"""Flask-AppBuilder's seam: the class that ``webserver_config.py`` names. Wiring only.

What must stay true: on Airflow 3 the process that builds this also serves the workers, so nothing
here may stop it. A fault shuts doors; it never raises, and never falls back to another sign-in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from airflow.providers.fab.auth_manager.views.user import CustomUserOAuthModelView
from flask import current_app, flash, g, redirect, request
from flask_appbuilder.const import AUTH_OAUTH
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, audit, config_location, database, pages
from airflow_sso.accounts import break_glass, by_hand, sessions
from airflow_sso.accounts.by_hand import FollowsDirectory
from airflow_sso.accounts.register import CredentialRefused
from airflow_sso.errors import LocalDoorShut, TablesMissing
from airflow_sso.login import doors
from airflow_sso.login.doors import Doors
from airflow_sso.login.local_views import SsoLocalView
from airflow_sso.login.logout_views import SsoLogoutView
from airflow_sso.login.saml_views import SsoSamlView
from airflow_sso.login.views import (
    ClosedAuthView,
    ClosedPasswordOfOthersView,
    ClosedPasswordView,
    SsoAuthView,
)
from airflow_sso.pages import status_view
from airflow_sso.pages.my_access_view import MyAccessView
from airflow_sso.pages.status_view import SsoStatusView
from airflow_sso.sync import at_sign_in, directories
from airflow_sso.sync.schedule import Schedule
from airflow_sso.urls import Urls

log = logging.getLogger(__name__)


class SsoUserView(CustomUserOAuthModelView):  # type: ignore[misc]
    """Airflow's pages of users; what is refused there says why."""

    def pre_update(self, item: Any) -> None:
        """The last place whose refusals are shown: what comes later is called a database error."""
        super().pre_update(item)
        by_hand.refuse_changes(self.datamodel.session)

    def pre_delete(self, item: Any) -> None:
        super().pre_delete(item)
        try:
            by_hand.refuse_deletion(self.datamodel.session, item)
        except FollowsDirectory:
            self.update_redirect()  # as after a deletion, so that the list is shown next, with the words
            raise


class SsoSecurityManager(FabAirflowSecurityManagerOverride):  # type: ignore[misc]
    """Airflow's security manager with our sign-in in place of Flask-AppBuilder's.

    Reads ``sso.yaml`` once, when the web application is built.
    """

    authoauthview = SsoAuthView
    useroauthmodelview = SsoUserView
    resetmypasswordview = ClosedPasswordView
    resetpasswordview = ClosedPasswordOfOthersView

    def __init__(self, appbuilder: Any) -> None:
        self.sso_doors, self.sso_schedule = _open_doors(current_app.config)
        super().__init__(appbuilder)
        _pin(self.sso_doors)

    def _init_config(self) -> None:
        """Whatever sign-in ``webserver_config.py`` still sets up, ours is the only one."""
        config = current_app.config
        if config.get("AUTH_TYPE", AUTH_OAUTH) != AUTH_OAUTH or config.get("OAUTH_PROVIDERS"):
            log.warning("airflow_sso: AUTH_TYPE and OAUTH_PROVIDERS of webserver_config.py are not used")
        # AUTH_OAUTH is the one type whose view can be replaced and that asks for no password.
        config["AUTH_TYPE"] = AUTH_OAUTH
        config["OAUTH_PROVIDERS"] = []
        config["AUTH_USER_REGISTRATION"] = False
        config["AUTH_ROLES_SYNC_AT_LOGIN"] = False
        config["AUTH_API_LOGIN_ALLOW_MULTIPLE_PROVIDERS"] = False  # its API would take local passwords
        # What Airflow's own settings say counts only if sso.yaml says the same.
        config[config_location.PUBLIC_ROLE_KEY] = self.sso_doors.public_role
        super()._init_config()

    def _init_auth(self) -> None:
        """Flask-AppBuilder's own OAuth registry is not used, so it is not loaded either."""
        self.oauth = None
        self.oauth_remotes: dict[str, Any] = {}

    @property
    def is_auth_limited(self) -> bool:
        """No: nobody posts a password to our view. On 2.11 signing out is posted there, by a whole office."""
        return False

    def register_views(self) -> None:
        current_app.register_error_handler(CredentialRefused, self._sign_in_again)
        current_app.register_error_handler(TablesMissing, self._not_ready)
        current_app.register_error_handler(FollowsDirectory, self._not_by_hand)
        # A second web application is built for old-style plugins and served under /pluginsv2 with
        # cookies of the same names; sign-in routes there would sign people out here.
        if getattr(self.appbuilder, "enable_plugins", False):
            self.auth_view = self.appbuilder.add_view_no_menu(ClosedAuthView())
            return
        super().register_views()
        # Under Airflow's own auth manager nothing else says that this process has begun to serve.
        current_app.before_request(self.start_watching)
        self.appbuilder.add_view_no_menu(SsoSamlView())
        self.appbuilder.add_view_no_menu(SsoLogoutView())
        self.appbuilder.add_view_no_menu(SsoLocalView())
        status = SsoStatusView()
        airflow_compat.put_into_menu(self.appbuilder, status, MyAccessView())
        current_app.register_error_handler(CSRFError, partial(status_view.form_refused, status))
        csrf = current_app.extensions.get("csrf")
        if csrf is not None:  # commands build this application without it
            by_hand.refuse_from_now_on()
            # Providers post across sites, or from their servers, without our token. The local door has a
            # check of its own, because strangers have no session that a token could be kept in.
            for route in (SsoSamlView.acs, SsoSamlView.slo, SsoLogoutView.backchannel, SsoLocalView.local):
                csrf.exempt(f"{route.__module__}.{route.__name__}")

    def has_access(self, action_name: str, resource_name: str, *rest: Any, **more: Any) -> bool:
        """Airflow's, and the entry *My access* in the menu for everybody who is signed in."""
        if (action_name, resource_name) == ("menu_access", airflow_compat.MY_ACCESS_ENTRY):
            return bool(g.user is not None and g.user.is_authenticated)
        return bool(super().has_access(action_name, resource_name, *rest, **more))

    def start_watching(self) -> None:
        """Called by processes that serve; the commands, which build this too, never do."""
        if self.sso_schedule:
            self.sso_schedule.start()

    def _sign_in_again(self, _refusal: CredentialRefused) -> Any:
        """A page of Airflow's own wanted a token for a session that had just ended."""
        return redirect(self.sso_doors.urls.login())

    def _not_ready(self, error: TablesMissing) -> Any:
        """Whose session it is cannot be looked up; that signs nobody out."""
        reference, doors = audit.new_reference(), self.sso_doors
        audit.refused(error, reference)
        return pages.not_ready_page(error, doors.urls, doors.support_contact, reference=reference)

    def _not_by_hand(self, refusal: FollowsDirectory) -> Any:
        """On a page that does not catch it itself; the words are shown on the next page.

        The API, where Flask serves it, answers as the one of 3.x does.
        """
        if airflow_compat.is_api_request(request.path):
            return {"detail": refusal.words}, 403
        flash(str(refusal), "danger")
        routes = current_app.create_url_adapter(request)
        if routes is None or not routes.test(method="GET"):
            return redirect(self.sso_doors.urls.home)
        return redirect(f"{request.script_root}{request.full_path.rstrip('?')}")  # the form that was sent

    def update_user(self, user: Any) -> bool:
        """Airflow's, whose callers cannot tell a refusal from a fault of the database.

        :raises FollowsDirectory: when the account is a linked one.
        """
        by_hand.refuse_changes(airflow_compat.scoped_session(self))
        return bool(super().update_user(user))

    def load_user(self, pk: int) -> Any:
        """The user of a session cookie, if its session counts at this moment, or ``None``.

        :raises DatabaseUnusable: when nobody can tell, which signs nobody out.
        """
        try:
            return super().load_user(pk) if sessions.is_recognised(int(pk)) else None
        except SQLAlchemyError as cause:
            raise database.unusable(cause) from None

    def load_user_jwt(self, _jwt_header: Any, _jwt_data: Any) -> None:
        """Nobody: Flask-AppBuilder's own tokens belong to no session that could be ended."""

    def auth_user_db(self, username: str, password: str, rotate_session_id: bool = True) -> None:  # noqa: ARG002
        """Refused: a local password opens nothing, neither a page nor ``POST /auth/token``."""
        audit.refused(LocalDoorShut("a local password was offered"), audit.new_reference())


def _open_doors(flask_config: Mapping[str, Any]) -> tuple[Doors, Schedule | None]:
    """The doors that the configuration opens, and what looks at the mapping and the directories behind them.

    All doors are shut when the configuration, or a library, is not as it must be.
    """
    fallback_url = (airflow_compat.base_url() or "").rstrip("/")
    loaded = None
    try:
        loaded = config_location.load(flask_config)
        found = directories.of(loaded.settings) if loaded.settings else ()
        by_authority = {one.authority: one for one in found}
        opened = doors.make(
            loaded,
            fallback_url=fallback_url,
            prefix=airflow_compat.AUTH_PREFIX,
            ask_directory=at_sign_in.asker(by_authority),
            keep_refresh_token=at_sign_in.keeper(by_authority),
        )
        schedule = Schedule(loaded.settings, found, opened.current_mapping) if loaded.settings else None
        return opened, schedule
    except Exception as cause:  # a missing library or a bug of ours must not stop a single task
        log.exception("airflow_sso: every door is shut (SSO-501); tasks are not affected")
        fault = f"{type(cause).__name__}: {cause}"
        shut = Doors(
            Urls(fallback_url, airflow_compat.AUTH_PREFIX),
            faults=(fault,),
            break_glass=loaded.break_glass if loaded else (),
        )
        return shut, None


def _pin(opened: Doors) -> None:
    """Whoever bears a break-glass name when the server starts is meant by it from then on."""
    if not opened.break_glass:
        return
    try:
        database.require_tables()
        break_glass.pin_all(opened.break_glass, audit.new_reference())
    except (SQLAlchemyError, TablesMissing) as cause:
        log.info("airflow_sso: break-glass names are pinned later: %s", type(cause).__name__)
