"""What every entry under ``providers:`` in ``sso.yaml`` may hold, whatever it speaks.

:mod:`airflow_sso.oidc_settings` and :mod:`airflow_sso.saml_settings` add what is their protocol's. The
docstrings of the fields are their reference. What must stay true: unknown keys are refused, a secret
is a reference, and a setting that weakens a check is spelled ``insecure_*``.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.setting_types import Duration, Strict, Words


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


class ClaimPaths(Strict):
    """Where each field of the identity is found: one claim path or a list, the first present wins."""

    subject: Words | None = None
    username: Words | None = None
    email: Words | None = None
    first_name: Words | None = None
    last_name: Words | None = None
    groups: Words | None = None
    app_roles: Words | None = None


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
    directory: DirectorySettings | None = None
    """Who is asked which people still exist and what they are in."""

    @property
    def shown_as(self) -> str:
        return self.label or self.name

    @property
    def is_probed(self) -> bool:
        """Whether refresh tokens are kept, because no directory can be read."""
        return self.directory is not None and self.directory.type == "probe"

    @model_validator(mode="after")
    def _directory_is_complete(self) -> Provider:
        if self.is_probed and self.protocol != "oidc":
            raise ValueError("directory: type: probe needs protocol: oidc; SAML has no refresh tokens")
        if self.directory:
            try:
                self.directory.completed(self)
            except ValueError as cause:
                raise ValueError(f"directory: {cause}") from None
        return self

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
