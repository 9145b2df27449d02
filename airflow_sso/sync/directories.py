"""The directories that the configuration names, one an authority, ready to be read.

Composes what the configuration, the vendor tables and the readers say. What must stay true: an authority
has one directory, whatever number of providers lead to it, and a faulty one stops no other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from airflow_sso.config import Settings
from airflow_sso.directory import readers
from airflow_sso.directory.snapshot import Reader
from airflow_sso.login.vendors import vendor_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """``name`` is the provider's; ``canary`` is somebody who must always be found."""

    name: str
    authority: str
    reader: Reader
    canary: str | None = None


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
        reader = readers.make(provider)
        if reader is not None:
            canary = provider.directory.canary
            if canary and vendor_of(provider).case_insensitive_subject:
                canary = canary.lower()
            found[authority] = Directory(
                name=provider.name, authority=authority, reader=reader, canary=canary
            )
    return tuple(found.values())
