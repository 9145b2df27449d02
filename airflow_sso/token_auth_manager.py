"""The seam of Airflow 3.x: the auth manager, for what a security manager alone cannot reach.

What must stay true: every request of the UI and the API passes :meth:`SsoFabAuthManager.deserialize_user`,
every token is made by :meth:`SsoFabAuthManager.generate_jwt`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.common.types import ExtraMenuItem
from airflow.configuration import conf
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from fastapi import HTTPException, status
from flask import has_request_context

from airflow_sso.accounts import activity, ending, minting, sessions
from airflow_sso.accounts.register import Credential, CredentialRefused
from airflow_sso.airflow_compat import AUTH_PREFIX, webserver_config_file

log = logging.getLogger(__name__)

#: What the token of the request carried that is being answered; Airflow asks for another one by the user
#: alone, who may have several sessions.
_presented: ContextVar[Credential | None] = ContextVar("airflow_sso_credential", default=None)
#: What a token that is being made is to carry.
_carries: ContextVar[Credential | None] = ContextVar("airflow_sso_minting", default=None)
#: Of the words that the interface can say under *Security*, the one that fits.
_ROLES = "Roles"


class _ServesWith:
    """ASGI middleware: does something once a process has begun to serve, which no command ever does."""

    def __init__(self, app: Any, begin: Callable[[], None]) -> None:
        self._app = app
        self._begin = begin

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._begin()
        await self._app(scope, receive, send)


class SsoFabAuthManager(FabAuthManager):  # type: ignore[misc]
    """Airflow's FAB auth manager; access that is ended, given or taken counts at the next request."""

    def get_url_logout(self) -> str:
        """Our own sign-out (with the slash): Airflow's leaves the server-side session usable."""
        return urljoin(str(self.apiserver_endpoint), f"{AUTH_PREFIX}/logout/")

    def get_fastapi_middlewares(self) -> list[tuple[Any, dict[str, Any]]]:
        """Airflow's, inside one that sees each request before its token is checked."""
        ours = [(activity.NotesRequest, {}), (_ServesWith, {"begin": self._watch})]
        return [*super().get_fastapi_middlewares(), *ours]

    def get_extra_menu_items(self, *, user: Any) -> list[ExtraMenuItem]:
        """Airflow's, and a way to *My access* for whoever may not see the menu entries of plugins.

        That is under *Security*, as *Roles*: the interface shows no words there but its own, translated.
        """
        items: list[ExtraMenuItem] = super().get_extra_menu_items(user=user)
        sees_plugins = self.is_authorized_view(access_view=AccessView.PLUGINS, user=user)
        if not sees_plugins and user.is_authenticated and all(one.text != _ROLES for one in items):
            items.append(ExtraMenuItem(text=_ROLES, href=f"{AUTH_PREFIX}/my-access/"))
        return items

    def _watch(self) -> None:
        begin = getattr(self._security_manager, "start_watching", None)
        if begin:
            begin()
        else:
            log.error(
                "airflow_sso: %s is not there, or does not name SsoSecurityManager, so nobody can sign in; "
                "airflow-sso doctor says what to write",
                webserver_config_file(),
            )

    @property
    def _security_manager(self) -> Any:
        """``None`` before there is an application."""
        return getattr(getattr(self.flask_app, "appbuilder", None), "sm", None)

    def _get_auth_role_public(self) -> str | None:
        """The role of whoever has not signed in: sso.yaml's, and nothing while its doors are shut.

        Asked for outside any Flask context too, and before there is an application, when it is nobody's.
        """
        doors = getattr(self._security_manager, "sso_doors", None)
        return doors.public_role if doors else None

    def build_public_user(self, **options: Any) -> Any:
        """Whoever has not signed in. Airflow's has no id, and its own "who am I" fails for want of one."""
        user = super().build_public_user(**options)
        if user is None or not user._roles:  # the role was renamed or deleted since
            return None
        user.get_id = lambda: "anonymous"
        return user

    def deserialize_user(self, token: dict[str, Any]) -> Any:
        """The user of a token, if its session counts at this moment.

        :raises ValueError: when it does not, which Airflow answers with 403.
        """
        _presented.set(None)
        standing = ending.judged(Credential.carried_by(token, int(token["sub"])))
        activity.note(standing, activity.current.get())
        _presented.set(standing.credential)
        user = super().deserialize_user(token)
        if {role.id for role in user.roles} != standing.role_ids:
            # The cached copy is of another time, and its permissions with it.
            self.cache.pop(user.id, None)
            user = super().deserialize_user(token)
        return user

    def serialize_user(self, user: Any) -> dict[str, Any]:
        """What a token says: whose it is, and of which session.

        :raises ValueError: outside :meth:`generate_jwt`: no token without a session.
        """
        credential = _carries.get()
        if credential is None or credential.user_id != user.id:
            raise CredentialRefused("a token belongs to a session")
        return {**super().serialize_user(user), **credential.as_claims()}

    def generate_jwt(
        self,
        user: Any,
        *,
        expiration_time_in_seconds: int = conf.getint("api_auth", "jwt_expiration_time"),
    ) -> str:
        """A token of the session that asks for it, which it never outlives.

        :raises CredentialRefused: on a page, when that session has ended.
        :raises HTTPException: the same on the API: 403.
        """
        in_browser = has_request_context()
        try:
            credential = sessions.presented_credential(user.id) if in_browser else self._presented_by(user)
            return minting.mint(
                credential,
                expiration_time_in_seconds,
                lambda seconds: self._signed(user, credential, seconds),
                for_api=not in_browser,
            )
        except CredentialRefused as refusal:
            if in_browser:
                raise
            raise HTTPException(status.HTTP_403_FORBIDDEN, str(refusal)) from None

    def _presented_by(self, user: Any) -> Credential:
        credential = _presented.get()
        if credential is None or credential.user_id != user.id:
            raise CredentialRefused("no session asks for this token")
        return credential

    def _signed(self, user: Any, credential: Credential, seconds: int) -> str:
        before = _carries.set(credential)
        try:
            return str(super().generate_jwt(user, expiration_time_in_seconds=seconds))
        finally:
            _carries.reset(before)
