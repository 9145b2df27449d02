"""When the certificates of each provider end, ours and theirs, for the page *SSO status*.

What must stay true: nobody is asked for a page that somebody waits for, neither a provider nor a secrets
backend; what is not at hand is said to be unknown. Private keys are never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from airflow_sso import models
from airflow_sso.login.doors import Doors
from airflow_sso.provider_settings import Provider
from airflow_sso.secret import Secret, SecretUnavailable
from airflow_sso.setting_types import KeyPair

#: Time to have a new one issued and registered.
SOON = timedelta(days=30)
_AT_HAND = ("env", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShown:
    """A certificate. ``unknown`` says why there is no ``ends``."""

    provider: str
    what: str
    ends: datetime | None = None
    unknown: str = ""
    is_over: bool = False
    is_soon: bool = False


def gather(doors: Doors) -> tuple[KeyShown, ...]:
    """Every certificate that the configuration names, or that this process has read in metadata."""
    if doors.settings is None:
        return ()
    return tuple(key for provider in doors.settings.providers.values() for key in _of(provider, doors))


def _of(provider: Provider, doors: Doors) -> Iterator[KeyShown]:
    pairs: dict[str, KeyPair | None] = {
        "Our SAML certificate": getattr(provider, "keys", None),
        "Our client certificate": _client_certificate(provider),
        "Our certificate for the directory": _client_certificate(provider.directory),
    }
    seen = set[Secret]()
    for what, pair in pairs.items():
        # The directory is asked with the client's own certificate, unless it has another.
        if pair is not None and pair.certificate not in seen:
            seen.add(pair.certificate)
            yield _ours(provider.shown_as, what, pair.certificate)
    door = doors.open.get(provider.name)
    if door is None or provider.protocol != "saml":
        return
    theirs = door.known_certificates()
    for certificate in theirs:
        yield _ending(provider.shown_as, "Their signing certificate", certificate)
    if not theirs:
        unknown = "this process has not read their metadata yet"
        yield KeyShown(provider=provider.shown_as, what="Their signing certificate", unknown=unknown)


def _client_certificate(settings: object) -> KeyPair | None:
    pair: KeyPair | None = getattr(getattr(settings, "client_auth", None), "certificate", None)
    return pair


def _ours(provider: str, what: str, secret: Secret) -> KeyShown:
    if secret.kind not in _AT_HAND:
        unknown = "it lies in Airflow's secrets backend, which is not asked for a page"
        return KeyShown(provider=provider, what=what, unknown=unknown)
    try:
        certificate = x509.load_pem_x509_certificate(secret.reveal().encode())
    except SecretUnavailable as cause:
        return KeyShown(provider=provider, what=what, unknown=str(cause))
    except (ValueError, UnsupportedAlgorithm):
        return KeyShown(provider=provider, what=what, unknown="it is not PEM (-----BEGIN CERTIFICATE-----)")
    return _ending(provider, what, certificate)


def _ending(provider: str, what: str, certificate: x509.Certificate) -> KeyShown:
    ends, now = certificate.not_valid_after_utc, models.now()
    return KeyShown(
        provider=provider, what=what, ends=ends, is_over=ends <= now, is_soon=now < ends <= now + SOON
    )
