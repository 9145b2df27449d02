"""What every entry under ``providers:`` in ``sso.yaml`` may hold, whatever it speaks.

:mod:`airflow_sso.oidc_settings` and :mod:`airflow_sso.saml_settings` add what is their protocol's. The
docstrings of the fields are their reference. What must stay true: unknown keys are refused, a secret
is a reference, and a setting that weakens a check is spelled ``insecure_*``.
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
)

from airflow_sso.secret import Secret

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_GUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


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

    @property
    def references(self) -> dict[tuple[str, ...], Secret]:
        """Both, by their place."""
        return {("certificate",): self.certificate, ("private_key",): self.private_key}


class ClaimPaths(Strict):
    """Where each field of the identity is found: one claim path or a list, the first present wins."""

    subject: Words | None = None
    username: Words | None = None
    email: Words | None = None
    first_name: Words | None = None
    last_name: Words | None = None
    groups: Words | None = None
    app_roles: Words | None = None


def safe_url(url: str | None, info: ValidationInfo) -> str | None:
    """A validator for a URL field beside ``insecure_http``."""
    if url is not None:
        check_url(url, what=str(info.field_name), insecure_http=bool(info.data.get("insecure_http")))
    return url


class Provider(Strict):
    """What every provider has, whoever made it and whatever it speaks."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    """Part of the URLs, so it stays what it is; ``local`` is reserved."""
    label: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What the button says; default: the name."""
    vendor: str
    protocol: str
    claims: ClaimPaths = ClaimPaths()
    clock_skew: Duration = timedelta(seconds=60)
    """How far the provider's clock and ours may differ."""
    http: HttpSettings = HttpSettings()
    guests: Literal["deny", "map"] = "deny"
    """Whether guests of another tenant are mapped like members."""
    group_dn: Literal["whole", "cn"] = "whole"
    """Whether a group that arrives as a distinguished name keeps it, or is known by its CN alone."""
    provider_sign_out: bool = False
    """Whether signing out of Airflow leads to the provider, to sign out there as well."""
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

    @field_validator("clock_skew")
    @classmethod
    def _skew_is_small(cls, skew: timedelta) -> timedelta:
        if skew > timedelta(minutes=5):
            raise ValueError("clock_skew may be 5m at most")
        return skew
