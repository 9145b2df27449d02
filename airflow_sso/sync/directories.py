"""The directories that the configuration names, one an authority, ready to be read.

Composes what the configuration, the vendor tables and the readers say. What must stay true: an authority
has one directory, whatever number of providers lead to it, and a faulty one stops no other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from airflow_sso.accounts.refresh_tokens import RefreshTokens
from airflow_sso.config import Settings
from airflow_sso.directory import readers
from airflow_sso.directory.probe import ProbeReader
from airflow_sso.directory.snapshot import Reader
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider

log = logging.getLogger(__name__)

_PROBED_EVERY = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """``name`` is the provider's; ``canary`` is somebody who must always be found; ``tokens`` are those
    that a probe asks with."""

    name: str
    authority: str
    reader: Reader
    canary: str | None = None
    tokens: RefreshTokens | None = None


def of(settings: Settings) -> tuple[Directory, ...]:
    """One a provider that names a directory; the first of an authority counts."""
    found: dict[str, Directory] = {}
    for provider in settings.providers.values():
        if provider.directory is None:
            continue
        authority = vendor_of(provider).authority(provider)
        if authority in found:
            log.warning(
                "airflow_sso: %s is asked about %s already; directory: of %s is not used",
                found[authority].name,
                authority,
                provider.name,
            )
            continue
        if provider.is_probed and isinstance(provider, OidcProvider):
            found[authority] = _probe(provider, authority)
            continue
        reader = readers.make(provider)
        if reader is not None:
            canary = provider.directory.canary
            if canary and vendor_of(provider).case_insensitive_subject:
                canary = canary.lower()
            found[authority] = Directory(
                name=provider.name, authority=authority, reader=reader, canary=canary
            )
    return tuple(found.values())


def _probe(provider: OidcProvider, authority: str) -> Directory:
    """No directory at all: the provider's token endpoint, and each person's own refresh token."""
    from airflow_sso.login.refresh import Refresher

    settings = provider.directory
    assert settings is not None  # noqa: S101 (is_probed has looked)
    tokens = RefreshTokens(provider=provider.name, authority=authority, keys=settings.keys or ())
    reader = ProbeReader(Refresher(provider).ask, tokens, settings.every or _PROBED_EVERY)
    return Directory(name=provider.name, authority=authority, reader=reader, tokens=tokens)
