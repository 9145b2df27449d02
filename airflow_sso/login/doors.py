"""Which providers people may sign in through right now, and what is wrong with the others.

What must stay true: a fault of ours never stops the process and never opens another way in. Faulty
configuration shuts every door, a faulty provider shuts its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography import x509

from airflow_sso import in_force
from airflow_sso.config import LoadedConfig, SessionLimits, Settings
from airflow_sso.errors import ConfigurationFaulty, ProviderShut
from airflow_sso.identity import Identity
from airflow_sso.in_force import MappingInForce
from airflow_sso.login.attempt import Attempt
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.provider_settings import Provider
from airflow_sso.role_mapping import Mapping
from airflow_sso.role_mapping.require import Asked
from airflow_sso.saml_settings import SamlProvider
from airflow_sso.urls import Urls

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SignOut:
    """Where a browser signs out at its provider: an address to go to, or a form to send there."""

    url: str = field(repr=False)
    form: MappingOf[str, str] = field(default_factory=dict, repr=False)
    """The fields, where the provider takes a POST only."""


class Door(Protocol):
    """One provider that people may sign in through, whatever it speaks."""

    settings: Any

    def start(self, attempt: Attempt, *, asked: Asked, switch_account: bool = False) -> str:
        """The address of the provider's sign-in page for a fresh attempt."""

    def finish(self, attempt: Attempt, response: MappingOf[str, str]) -> Identity:
        """The identity behind the provider's answer."""

    def sign_out(self, hints: MappingOf[str, str]) -> SignOut | None:
        """How to sign out at the provider as well, given what ``finish`` kept for it.

        ``None`` where the provider offers no such thing.

        :raises SsoError: when the provider cannot be asked how.
        """

    def known_certificates(self) -> Sequence[x509.Certificate]:
        """The provider's signing certificates that are known in this process; nobody is asked."""

    def adopts(self, identity: Identity) -> str | None:
        """The username of an account of Airflow's own sign-in that is this person's, if any counts."""


@dataclass(frozen=True, slots=True)
class Doors:
    """``open``: by provider name, in the order of the file. ``shut``: name and what to call it."""

    urls: Urls
    open: MappingOf[str, Door] = field(default_factory=dict)
    shut: MappingOf[str, str] = field(default_factory=dict)
    mapping: MappingInForce | None = None
    limits: SessionLimits = field(default_factory=SessionLimits)
    support_contact: str | None = None
    faults: tuple[str, ...] = ()
    break_glass: tuple[str, ...] = ()
    """Local accounts that keep their password, whatever else is shut."""
    public_role: str | None = None
    """The role of whoever has not signed in."""
    settings: Settings | None = None
    """What the doors were made of, if it is in order."""
    ask_directory: Callable[[Identity, Mapping], Identity] = lambda identity, _mapping: identity
    """The identity with what its directory says in place of what the provider said."""

    keep_refresh_token: Callable[[Identity], None] = lambda _identity: None
    """Keeps what a sign-in brought along for the probe, where there is one; raises nothing."""

    def require_open(self) -> None:
        """:raises ConfigurationFaulty: when there is no door that anybody could use."""
        if not self.open:
            raise ConfigurationFaulty("; ".join(self.faults) or "no provider is configured")
        self._mapping().require()

    def get(self, name: str) -> Door | None:
        """The door of a provider, or ``None`` when no provider has this name.

        :raises ConfigurationFaulty: when it is shut, alone or with all the others.
        """
        self.require_open()
        if name in self.shut:
            raise ProviderShut(f"the provider {name!r} is shut: {'; '.join(self.faults)}")
        return self.open.get(name)

    def current_mapping(self) -> Mapping:
        """The role mapping in force. :raises ConfigurationFaulty: when there is none."""
        return self._mapping().current()

    def _mapping(self) -> MappingInForce:
        if self.mapping is None:
            raise ConfigurationFaulty("no role mapping is configured")
        return self.mapping


def make(
    loaded: LoadedConfig,
    *,
    fallback_url: str,
    prefix: str,
    ask_directory: Callable[[Identity, Mapping], Identity],
    keep_refresh_token: Callable[[Identity], None],
) -> Doors:
    """The doors that a configuration opens, saying every fault and every weakened check in the log.

    :param ask_directory: see :attr:`Doors.ask_directory`.
    :param keep_refresh_token: see :attr:`Doors.keep_refresh_token`.
    :param fallback_url: where our pages are while the configuration says nothing usable.
    """
    faults = tuple(str(fault) for fault in loaded.faults)
    for fault in faults:
        log.error("airflow_sso configuration: %s", fault)
    for warning in loaded.warnings:
        log.warning("airflow_sso configuration: %s", warning)
    settings = loaded.settings
    if settings is None:
        log.error("airflow_sso: every door is shut (SSO-501); tasks are not affected")
        return Doors(
            Urls(fallback_url, prefix), shut=loaded.shut, faults=faults, break_glass=loaded.break_glass
        )
    urls = Urls(settings.external_url, prefix)
    open_doors: dict[str, Door] = {}
    shut = dict(loaded.shut)
    for name, provider in settings.providers.items():
        try:
            open_doors[name] = _door(provider, urls)
        except Exception as cause:  # xmlsec raises errors of its own when it is imported beside another lxml
            log.exception("airflow_sso: %s is shut: its library cannot be loaded", name)
            shut[name] = provider.shown_as
            why = f"{type(cause).__name__}: {cause}"
            faults += (f"providers: {name}: {provider.protocol} cannot be spoken: {why}",)
    if settings.public_role:
        log.warning("airflow_sso: whoever has not signed in is %s (public_role)", settings.public_role)
    log.info("airflow_sso: open: %s; shut: %s", ", ".join(open_doors), ", ".join(shut) or "none")
    return Doors(
        urls,
        open=open_doors,
        shut=shut,
        mapping=in_force.of(settings),
        limits=settings.session,
        support_contact=settings.support_contact,
        faults=faults,
        break_glass=loaded.break_glass,
        public_role=settings.public_role,
        settings=settings,
        ask_directory=ask_directory,
        keep_refresh_token=keep_refresh_token,
    )


def _door(provider: Provider, urls: Urls) -> Door:
    """Imported here: a protocol library that is missing shuts its own doors, and stops nothing."""
    if isinstance(provider, SamlProvider):
        from airflow_sso.login.saml import SamlDoor

        return SamlDoor(provider, urls)
    if isinstance(provider, OidcProvider):
        from airflow_sso.login.oidc import OidcDoor

        return OidcDoor(provider, urls.callback(provider.name), urls.signed_out)
    raise TypeError(f"{provider.protocol} is no protocol")
