"""What may stand under ``providers:`` in ``sso.yaml``, one model a vendor and protocol.

The docstrings of the fields are their reference. What must stay true: unknown keys are refused, a
secret is a reference, and a setting that weakens a check is spelled ``insecure_*``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from airflow_sso.secret import Secret

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


def check_url(url: str, *, what: str, insecure_http: bool) -> str:
    """``url`` if it is an absolute http(s) URL that may be used, else ``ValueError``.

    Plain http is for this machine only; everything else would send secrets in the clear.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as cause:
        raise ValueError(f"{what} must be an absolute URL: {cause}") from None
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


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)]
Guid = Annotated[str, BeforeValidator(_guid)]


class Strict(BaseModel):
    """Settings that refuse unknown keys and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class HttpSettings(Strict):
    """How the provider is reached."""

    ca_bundle: Path | None = None
    """A PEM file of certificate authorities to trust instead of the system's."""
    proxy: str | None = None
    """An outbound proxy, ``http://host:port``; default: the environment's."""
    timeout: Duration = timedelta(seconds=10)
    """How long one answer may take as a whole."""

    @field_validator("timeout")
    @classmethod
    def _timeout_leaves_time(cls, timeout: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= timeout <= timedelta(minutes=1):
            raise ValueError("timeout may be 1s to 1m")
        return timeout


class KeyPair(Strict):
    """A certificate and its private key, both PEM and both by reference."""

    certificate: Secret
    private_key: Secret


class ClientAuth(Strict):
    """How we prove to the provider that we are the registered client: exactly one way."""

    secret: Secret | None = None
    """Where the client secret lies."""
    method: Literal["basic", "post"] | None = None
    """How a secret is sent; default: ``post`` with Entra, ``basic`` elsewhere (RFC 6749, section 2.3.1)."""
    certificate: KeyPair | None = None
    """Signs a client assertion (``private_key_jwt``, RFC 7523)."""
    federated_token_file: Path | None = None
    """A file with a token to present as the assertion; read at each use: it rotates (fact A25)."""
    managed_identity: Guid | None = None
    """Client id of a user-assigned managed identity, for Entra's federated credentials (fact A27)."""

    @model_validator(mode="after")
    def _one_way(self) -> ClientAuth:
        ways = ("secret", "certificate", "federated_token_file", "managed_identity")
        if sum(getattr(self, way) is not None for way in ways) != 1:
            raise ValueError(f"must have exactly one of {', '.join(ways)}")
        if self.method and self.secret is None:
            raise ValueError("method goes with secret")
        return self

    @property
    def references(self) -> dict[tuple[str, ...], Secret]:
        """Every secret that is named here, by its place."""
        pair = self.certificate
        named = {
            ("secret",): self.secret,
            ("certificate", "certificate"): pair and pair.certificate,
            ("certificate", "private_key"): pair and pair.private_key,
        }
        return {place: secret for place, secret in named.items() if secret}


class ClaimPaths(Strict):
    """Where each field of the identity is found: one claim path or a list, the first present wins."""

    subject: Words | None = None
    username: Words | None = None
    email: Words | None = None
    first_name: Words | None = None
    last_name: Words | None = None
    groups: Words | None = None
    app_roles: Words | None = None


def _safe_url(url: str | None, info: ValidationInfo) -> str | None:
    """A validator for a URL field beside ``insecure_http``."""
    if url is not None:
        check_url(url, what=str(info.field_name), insecure_http=bool(info.data.get("insecure_http")))
    return url


class OidcProvider(Strict):
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
    group_dn: Literal["whole", "cn"] = "whole"
    """Whether a group that arrives as a distinguished name keeps it, or is known by its CN alone."""
    insecure_http: bool = False
    """Allow plain http to a host that is not this machine."""

    @property
    def shown_as(self) -> str:
        return self.label or self.name

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name == "local":
            raise ValueError("the name 'local' is reserved")
        return name

    @field_validator("scopes")
    @classmethod
    def _scopes_ask_for_an_id_token(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if "openid" not in scopes:
            raise ValueError("scopes must contain openid")
        return scopes

    @field_validator("id_token_algorithms")
    @classmethod
    def _algorithms_are_asymmetric(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (not names or set(names) - set(ALGORITHMS)):
            raise ValueError(f"id_token_algorithms may be: {', '.join(ALGORITHMS)}")
        return names

    @field_validator("clock_skew")
    @classmethod
    def _skew_is_small(cls, skew: timedelta) -> timedelta:
        if skew > timedelta(minutes=5):
            raise ValueError("clock_skew may be 5m at most")
        return skew


class EntraOidc(OidcProvider):
    """Microsoft Entra ID: one entry a tenant."""

    vendor: Literal["entra"]
    tenant_id: Guid
    cloud: Literal["public", "usgov", "usgov_dod", "china"] = "public"
    adopt_stock_azure: bool = False
    """Take over accounts that Flask-AppBuilder's own Azure sign-in made (their username is the ``oid``)."""
    insecure_authority_host: str | None = None
    """Scheme and host to use in place of the cloud's sign-in host. For a stand-in on this machine."""

    _host_is_safe = field_validator("insecure_authority_host")(_safe_url)


class PingOneOidc(OidcProvider):
    """PingOne: one entry an environment."""

    vendor: Literal["pingone"]
    environment_id: Guid
    region: Literal["com", "eu", "ca", "asia", "com.au", "sg"] = "com"
    issuer: Annotated[str, Field(min_length=1)] | None = None
    """Only for a custom domain: ``https://<host>/as`` (fact D1)."""

    _issuer_is_safe = field_validator("issuer")(_safe_url)


class GenericOidc(OidcProvider):
    """Anything that speaks OpenID Connect with discovery."""

    vendor: Literal["generic"]
    issuer: Annotated[str, Field(min_length=1)]
    authority: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    """The account key's first half; default ``oidc:<name>``, and fixed at first use."""

    _issuer_is_safe = field_validator("issuer")(_safe_url)


class PingFederateOidc(GenericOidc):
    """PingFederate. Its ``sub`` is a login name by default, which may be given to another person."""

    vendor: Literal["pingfederate"]  # type: ignore[assignment]
    insecure_subject_may_be_reused: bool = False
    """Accept that an account follows a login name, also to the next person who gets it."""

    @model_validator(mode="after")
    def _subject_is_immutable(self) -> PingFederateOidc:
        named = self.claims.subject or ()
        if not self.insecure_subject_may_be_reused and (not named or "sub" in named):
            raise ValueError(
                "sub is a login name with PingFederate and can be given to another person: name an immutable "
                "claim, claims: {subject: entryUUID}, or write insecure_subject_may_be_reused: true"
            )
        return self


PROVIDER_MODELS: dict[tuple[str, str], type[OidcProvider]] = {
    ("entra", "oidc"): EntraOidc,
    ("pingone", "oidc"): PingOneOidc,
    ("pingfederate", "oidc"): PingFederateOidc,
    ("generic", "oidc"): GenericOidc,
}
