"""``doctor`` on the providers and their directories: do they answer, with keys that count, and for how long.

What must stay true: each is asked a few questions with a few seconds each, and nothing is sent that signs
anybody in. A secret is used where the directory asks for it, and never shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import requests
from cryptography import x509
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import database, models, yaml_document
from airflow_sso.cli.doctor_case import Case, Finding, advice, fault, ok
from airflow_sso.directory.failures import DirectoryError
from airflow_sso.directory.snapshot import GONE
from airflow_sso.errors import ProviderUnreachable, SsoError
from airflow_sso.http_calls import bound
from airflow_sso.login.discovery import ProviderDocuments
from airflow_sso.login.doors import Doors
from airflow_sso.login.idp_metadata import IdpDocument
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.pages import status_keys
from airflow_sso.pages.status_keys import SOON
from airflow_sso.provider_settings import Provider
from airflow_sso.role_mapping import understand
from airflow_sso.saml_settings import SamlProvider
from airflow_sso.sync import directories
from airflow_sso.sync.directories import Directory

_PATIENCE = timedelta(seconds=5)
_DIRECTORY_PATIENCE = 10.0  # seconds; a token and one question
#: Nobody: a directory that says so has let us ask.
_NOBODY = "00000000-0000-4000-8000-000000000000"
_MOST_GROUPS = 20
#: Entra says 400 of a tenant that it does not know.
_NOTHING_THERE = re.compile(r": HTTP (400|404) from ")


def providers(case: Case) -> Iterator[Finding]:
    """What each publishes about itself, as a sign-in would read it."""
    settings = case.settings
    assert settings is not None  # noqa: S101 (the table asks for them)
    for name, provider in settings.providers.items():
        asked = _impatient(provider)
        try:
            if isinstance(asked, SamlProvider):
                yield from _saml(asked)
            elif isinstance(asked, OidcProvider):
                yield from _oidc(asked)
        except SsoError as cause:
            yield fault(f"{name}: {cause.detail}", _mend(cause, asked))
        yield from _clock(asked)


def _mend(cause: SsoError, provider: Provider) -> str:
    if not isinstance(cause, ProviderUnreachable):
        return "its entry in sso.yaml names another issuer, tenant or environment than answers there"
    look = f"from here: curl -sv {_published_at(provider) or '(its metadata_file)'}"
    if _NOTHING_THERE.search(cause.detail):
        return (
            "somebody answers, and has nothing at that address: look at tenant_id, environment_id, issuer or "
            f"metadata_url of its entry; {look}"
        )
    return f"the address, the proxy and the CA bundle (http:) of its entry; {look}"


def _impatient(provider: Provider) -> Provider:
    seconds = min(provider.http.timeout, _PATIENCE)
    return provider.model_copy(update={"http": provider.http.model_copy(update={"timeout": seconds})})


def _oidc(provider: OidcProvider) -> Iterator[Finding]:
    documents = ProviderDocuments(provider)
    issuer, keys = documents.metadata().issuer, documents.keys()
    count = "1 key" if len(keys) == 1 else f"{len(keys)} keys"
    yield ok(f"{provider.name}: {issuer} answers, with {count} that can verify a signature")


def _saml(provider: SamlProvider) -> Iterator[Finding]:
    document = IdpDocument(provider)
    metadata = document.current()
    judged = document.judged_certificates(metadata)
    for certificate, why_not in judged:
        yield from _ending(provider.name, certificate, why_not)
    if not any(why_not is None for _, why_not in judged):
        yield fault(
            f"{provider.name}: no signing certificate of its can be used, so nobody signs in through it",
            "the provider must publish a valid one; a metadata_file must be fetched anew",
        )
    else:
        yield ok(f"{provider.name}: {metadata.entity_id} answers, with a certificate that can be used")
    if metadata.wants_signed_requests and not provider.signs_requests:
        yield fault(
            f"{provider.name}: the provider wants signed requests, and ours are not",
            "give its entry keys: {certificate: ..., private_key: ...}",
        )


def _ending(name: str, certificate: x509.Certificate, why_not: str | None) -> Iterator[Finding]:
    ends = certificate.not_valid_after_utc
    if why_not:
        yield advice(f"{name}: a signing certificate of its metadata {why_not}", "the provider takes it out")
    elif ends <= models.now() + SOON:
        yield advice(
            f"{name}: its signing certificate ends on {ends:%Y-%m-%d}",
            "ask when the provider changes it; the new one counts as soon as its metadata lists it",
        )


def _published_at(provider: Provider) -> str | None:
    if isinstance(provider, SamlProvider):
        return provider.metadata_url
    return vendor_of(provider).discovery_url(provider) if isinstance(provider, OidcProvider) else None


def _clock(provider: Provider) -> Iterator[Finding]:
    """Whether the provider's clock and ours agree, by the date of any answer of its server."""
    url = _published_at(provider)
    if url is None:
        return
    try:
        with bound(requests.Session(), provider.http) as session:
            answered = session.get(url, allow_redirects=False).headers.get("Date", "")
        theirs = parsedate_to_datetime(answered)
    except (requests.RequestException, ValueError):  # told already, or it does not say
        return
    if theirs.tzinfo is None:
        return
    apart = abs(datetime.now(timezone.utc) - theirs)
    if apart > provider.clock_skew:
        yield fault(
            f"{provider.name}: its clock and ours are {round(apart.total_seconds())} seconds apart",
            "set this machine's clock (NTP); clock_skew allows five minutes at most",
        )


def our_certificates(case: Case) -> Iterator[Finding]:
    """When those end that we sign with, and prove who we are with."""
    settings = case.settings
    assert settings is not None  # noqa: S101 (the table asks for them)
    shown = status_keys.gather(Doors(case.urls(settings), settings=settings))
    for key in shown:
        what = f"{key.provider}: {key.what.lower()}"
        mend = "make a new pair, register its certificate with the provider, and put it where keys: says"
        if key.ends is None:
            yield advice(f"{what}: {key.unknown}", "look at it where it lies")
        elif key.is_over:
            yield fault(f"{what} ended on {key.ends:%Y-%m-%d}", mend)
        elif key.is_soon:
            yield advice(f"{what} ends on {key.ends:%Y-%m-%d}", mend)
        else:
            yield ok(f"{what} lasts until {key.ends:%Y-%m-%d}")


def directory(case: Case) -> Iterator[Finding]:
    """Whether each directory tells of one person and the groups of the mapping, as every reading needs."""
    settings = case.settings
    assert settings is not None  # noqa: S101 (the table asks for them)
    impatient = {name: _impatient(one) for name, one in settings.providers.items()}
    found = directories.of(replace(settings, providers=impatient))
    written = understand(yaml_document.read(settings.role_mapping_file), None)
    for one in found:
        if one.tokens is not None:
            continue  # the probe asks with people's own tokens, which are not ours to try
        groups = frozenset(
            [value for value in sorted(written.group_values) if one.reader.names_group(value)][:_MOST_GROUPS]
            if written and "group" in one.reader.supplies
            else ()
        )
        yield _asked(one, groups)


def _asked(one: Directory, groups: frozenset[str]) -> Finding:
    subject = one.canary or _somebody(one.authority) or _NOBODY
    try:
        answer = one.reader.read_one(subject, groups, seconds=_DIRECTORY_PATIENCE)
    except DirectoryError as failure:
        return fault(f"the directory of {one.name}: {failure.detail}", failure.remedy)
    if one.canary and answer.observation is GONE:
        return fault(
            f"the directory of {one.name} does not know its canary, so no reading of it is believed",
            "canary: takes the immutable id of somebody who is always there",
        )
    return ok(f"the directory of {one.name} tells of a person and of {len(groups)} groups of the mapping")


def _somebody(authority: str) -> str | None:
    """Who signed in last, where the database tells: a real person shows more than nobody does."""
    columns = models.accounts.c
    query = (
        select(columns.subject)
        .where(columns.authority == authority)
        .order_by(columns.last_sign_in_at.desc(), columns.id.desc())
        .limit(1)
    )
    try:
        with database.transaction() as connection:
            found: str | None = connection.scalar(query)
    except SQLAlchemyError:
        return None
    return found
