"""``sso.yaml`` as frozen settings: every fault at once, each with file, line and path.

A fault inside one provider shuts only that provider; a fault anywhere else shuts every door. What
must stay true: unknown keys are refused, no secret is ever a plain value here, and a setting that
weakens a check is spelled ``insecure_*``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from airflow_sso import yaml_document
from airflow_sso.secret import Secret, SecretUnavailable
from airflow_sso.yaml_document import Document, Fault, Place

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"

#: Signature algorithms that may be configured: asymmetric ones only (RFC 8725, section 3.1).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def _duration(value: object) -> object:
    match = re.fullmatch(r"(\d{1,6})\s*([smhd])", value) if isinstance(value, str) else None
    if match:
        return timedelta(seconds=int(match.group(1)) * _UNIT_SECONDS[match.group(2)])
    if isinstance(value, timedelta):
        return value
    raise ValueError("must be a number with a unit: 60s, 5m, 12h or 30d")


def _guid(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(_GUID, value):
        return value.lower()
    raise ValueError("must be a GUID: 00000000-0000-0000-0000-000000000000")


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)]
Guid = Annotated[str, BeforeValidator(_guid)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class HttpSettings(_Strict):
    """How the provider is reached."""

    ca_bundle: Path | None = None
    """A PEM file of certificate authorities to trust instead of the system's."""
    proxy: str | None = None
    """An outbound proxy, ``http://host:port``; default: the environment's."""
    timeout: Duration = timedelta(seconds=10)
    """How long one answer may take as a whole."""


class ClientAuth(_Strict):
    """How we prove to the provider that we are the registered client."""

    secret: Secret
    """Where the client secret lies."""
    method: Literal["basic", "post"] | None = None
    """How it is sent; default: ``post`` with Entra, ``basic`` elsewhere (RFC 6749, section 2.3.1)."""


class ClaimPaths(_Strict):
    """Where each field of the identity is found: one claim path or a list, the first present wins."""

    subject: Words | None = None
    username: Words | None = None
    email: Words | None = None
    first_name: Words | None = None
    last_name: Words | None = None
    groups: Words | None = None
    app_roles: Words | None = None


class OidcProvider(_Strict):
    """What every OIDC provider has, whoever made it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    """Part of the URLs, so it stays what it is; ``local`` is reserved."""
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What the button says; default: the name."""
    vendor: str
    protocol: Literal["oidc"]
    client_id: Annotated[str, Field(min_length=1)]
    client_auth: ClientAuth
    scopes: Words = ("openid", "profile", "email")
    claims: ClaimPaths = ClaimPaths()
    id_token_algorithms: Words | None = None
    """Accepted signature algorithms; default: the vendor's. Never what discovery lists."""
    clock_skew: Duration = timedelta(seconds=60)
    """How far the provider's clock and ours may differ."""
    http: HttpSettings = HttpSettings()
    guests: Literal["deny", "map"] = "deny"
    """Whether guests of another tenant are mapped like members."""
    insecure_http: bool = False
    """Allow plain http to a host that is not this machine."""

    @property
    def shown_as(self) -> str:
        return self.label or self.name

    @model_validator(mode="after")
    def _consistent(self) -> OidcProvider:
        if self.name == "local":
            raise ValueError("the name 'local' is reserved")
        if "openid" not in self.scopes:
            raise ValueError("scopes must contain openid")
        unknown = sorted(set(self.id_token_algorithms or ()) - set(ALGORITHMS))
        if unknown or self.id_token_algorithms == ():
            raise ValueError(f"id_token_algorithms may be: {', '.join(ALGORITHMS)}")
        if self.clock_skew > timedelta(minutes=5):
            raise ValueError("clock_skew may be 5m at most")
        return self


class EntraOidc(OidcProvider):
    """Microsoft Entra ID: one entry a tenant."""

    vendor: Literal["entra"]
    tenant_id: Guid
    cloud: Literal["public", "usgov", "usgov_dod", "china"] = "public"
    insecure_authority_host: str | None = None
    """Scheme and host to use in place of the cloud's sign-in host. For a stand-in on this machine."""

    @model_validator(mode="after")
    def _host_is_safe(self) -> EntraOidc:
        if self.insecure_authority_host:
            host = self.insecure_authority_host
            check_url(host, what="insecure_authority_host", insecure_http=self.insecure_http)
        return self


class GenericOidc(OidcProvider):
    """Anything that speaks OpenID Connect with discovery."""

    vendor: Literal["generic"]
    issuer: Annotated[str, Field(min_length=1)]
    authority: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    """The account key's first half; default ``oidc:<name>``, and fixed at first use."""

    @model_validator(mode="after")
    def _issuer_is_safe(self) -> GenericOidc:
        check_url(self.issuer, what="issuer", insecure_http=self.insecure_http)
        return self


_PROVIDER_MODELS: dict[tuple[str, str], type[OidcProvider]] = {
    ("entra", "oidc"): EntraOidc,
    ("generic", "oidc"): GenericOidc,
}


class _Rest(_Strict):
    """Everything but the providers, which are validated one by one."""

    external_url: str | None = None
    role_mapping_file: Path
    support_contact: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    insecure_http: bool = False
    """Allow an ``external_url`` of plain http for a host that is not this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A configuration that is in force."""

    external_url: str
    providers: Mapping[str, OidcProvider]
    role_mapping_file: Path
    support_contact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """What came of reading ``sso.yaml``.

    ``settings`` is ``None`` when no door may open. ``shut`` holds the providers that have faults of
    their own, by name, with the label to show. ``faults`` lists every fault, theirs included.
    """

    settings: Settings | None
    faults: tuple[Fault, ...]
    shut: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def check_url(url: str, *, what: str, insecure_http: bool) -> str:
    """``url`` if it is an absolute http(s) URL that may be used, else ``ValueError``.

    Plain http is for this machine only; everything else would send secrets in the clear.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{what} must be an absolute URL without query: https://host/path")
    if parts.username or parts.password or re.search(r"[\s\\]", url):
        raise ValueError(f"{what} must not contain a user name, spaces or backslashes")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not insecure_http:
        raise ValueError(
            f"{what} must start with https:// (plain http is accepted for localhost; "
            "anywhere else it takes insecure_http: true)"
        )
    return url


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def load(path: Path, *, default_external_url: str | None = None) -> LoadedConfig:
    """Read ``sso.yaml``.

    :param default_external_url: Airflow's own ``base_url``, used when ``external_url`` is not written.
    """
    document = yaml_document.read(path, variables=yaml_document.environment())
    data = document.data
    if not isinstance(data, dict):
        if not document.faults:
            document.add((), "must be a list of keys and values, such as providers: and role_mapping_file:")
        return LoadedConfig(settings=None, faults=tuple(document.faults))
    rest = yaml_document.validate(document, _Rest, {k: v for k, v in data.items() if k != "providers"})
    external_url = _external_url(document, rest, default_external_url) if rest else None
    top_level_faults = [fault for fault in document.faults if fault.place[:1] != ("providers",)]

    raw = data.get("providers")
    if not isinstance(raw, list) or not raw:
        document.add(("providers",), "must be a list with at least one provider")
        return LoadedConfig(settings=None, faults=tuple(document.faults))
    providers, shut = _providers(document, raw)
    settings = None
    if rest and external_url and not top_level_faults:
        settings = Settings(
            external_url=external_url,
            providers=providers,
            role_mapping_file=rest.role_mapping_file,
            support_contact=rest.support_contact,
        )
    warnings = tuple(_insecure_keys(data, ()))
    return LoadedConfig(settings=settings, faults=tuple(document.faults), shut=shut, warnings=warnings)


def _external_url(document: Document, rest: _Rest, default: str | None) -> str | None:
    url = rest.external_url or default
    if not url:
        document.add(
            ("external_url",),
            "is required, because Airflow's [api] base_url is not set: write where people reach Airflow",
        )
        return None
    try:
        what = "it" if rest.external_url else f"Airflow's [api] base_url ({url}), which is used here,"
        check_url(url, what=what, insecure_http=rest.insecure_http)
    except ValueError as cause:
        document.add(("external_url",), str(cause))
        return None
    stripped = url.rstrip("/")
    if stripped.endswith("/auth"):
        document.add(("external_url",), "must not contain /auth; Airflow adds it by itself")
        return None
    return stripped


def _providers(document: Document, raw: list[Any]) -> tuple[dict[str, OidcProvider], dict[str, str]]:
    """The providers that are in order, and the shut ones by name with what to call them."""
    good: dict[str, OidcProvider] = {}
    shut: dict[str, str] = {}
    for number, entry in enumerate(raw):
        place: Place = ("providers", number)
        before = sum(1 for fault in document.faults if fault.place[:2] == place)
        provider = _provider(document, entry, place)
        name = str(entry.get("name", "")) if isinstance(entry, dict) else ""
        if provider and name in good:
            document.add((*place, "name"), f"the name {name!r} is used twice")
            del good[name]
            provider = None
        if provider and name not in shut and not before:
            good[name] = provider
        elif name:
            shut[name] = str(entry.get("label") or name)[:100]
    return good, shut


def _provider(document: Document, entry: Any, place: Place) -> OidcProvider | None:
    if not isinstance(entry, dict):
        document.add(place, "must be keys and values: name, vendor, protocol, ...")
        return None
    kind = (str(entry.get("vendor")), str(entry.get("protocol")))
    model = _PROVIDER_MODELS.get(kind)
    if model is None:
        known = ", ".join(f"vendor: {v} with protocol: {p}" for v, p in _PROVIDER_MODELS)
        key = "vendor" if kind[0] not in {v for v, _ in _PROVIDER_MODELS} else "protocol"
        document.add((*place, key), f"is not one that this version speaks; it speaks {known}")
        return None
    provider: OidcProvider | None = yaml_document.validate(document, model, entry, place)
    if provider is None:
        return None
    try:
        provider.client_auth.secret.reveal()
    except SecretUnavailable as cause:
        document.add((*place, "client_auth", "secret"), str(cause))
        return None
    if provider.http.ca_bundle and not provider.http.ca_bundle.is_file():
        document.add((*place, "http", "ca_bundle"), f"there is no file {provider.http.ca_bundle}")
        return None
    return provider


def _insecure_keys(value: Any, place: Place) -> list[str]:
    """Every ``insecure_*`` key that is set, to be said at start."""
    if isinstance(value, list):
        return [found for i, child in enumerate(value) for found in _insecure_keys(child, (*place, i))]
    if not isinstance(value, dict):
        return []
    found = [
        f"{yaml_document.spell((*place, key))} weakens a check"
        for key, child in value.items()
        if key.startswith("insecure_") and child
    ]
    return found + [f for key, child in value.items() for f in _insecure_keys(child, (*place, key))]
