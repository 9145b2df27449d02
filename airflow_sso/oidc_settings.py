"""What may stand in an entry with ``protocol: oidc``, one model a vendor.

What must stay true: we prove who we are in exactly one way, and the signature algorithms are
asymmetric.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from airflow_sso.provider_settings import Provider
from airflow_sso.setting_types import ClientAuth, Guid, Words, safe_url

#: Signature algorithms that may be configured: asymmetric ones only (RFC 8725, section 3.1).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class OidcProvider(Provider):
    """What every OIDC provider has, whoever made it."""

    protocol: Literal["oidc"]
    client_id: Annotated[str, Field(min_length=1)]
    client_auth: ClientAuth
    scopes: Words = ("openid", "profile", "email")
    id_token_algorithms: Words | None = None
    """Accepted signature algorithms; default: the vendor's. Never what discovery lists."""

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


class EntraOidc(OidcProvider):
    """Microsoft Entra ID: one entry a tenant."""

    vendor: Literal["entra"]
    tenant_id: Guid
    cloud: Literal["public", "usgov", "usgov_dod", "china"] = "public"
    adopt_stock_azure: bool = False
    """Take over accounts that Flask-AppBuilder's own Azure sign-in made (their username is the ``oid``)."""
    insecure_authority_host: str | None = None
    """Scheme and host to use in place of the cloud's sign-in host. For a stand-in on this machine."""

    _host_is_safe = field_validator("insecure_authority_host")(safe_url)

    @model_validator(mode="after")
    def _a_probe_has_tokens(self) -> EntraOidc:
        if self.is_probed and "offline_access" not in self.scopes:  # fact H9
            raise ValueError(
                "directory: type: probe needs refresh tokens, which Entra gives for one scope only: write "
                f"scopes: [{', '.join((*self.scopes, 'offline_access'))}]"
            )
        return self


class PingOneOidc(OidcProvider):
    """PingOne: one entry an environment."""

    vendor: Literal["pingone"]
    environment_id: Guid
    region: Literal["com", "eu", "ca", "asia", "com.au", "sg"] = "com"
    issuer: Annotated[str, Field(min_length=1)] | None = None
    """Only for a custom domain: ``https://<host>/as`` (fact D1)."""

    _issuer_is_safe = field_validator("issuer")(safe_url)


class GenericOidc(OidcProvider):
    """Anything that speaks OpenID Connect with discovery."""

    vendor: Literal["generic"]
    issuer: Annotated[str, Field(min_length=1)]
    authority: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    """The account key's first half; default ``oidc:<name>``, and fixed at first use."""

    _issuer_is_safe = field_validator("issuer")(safe_url)


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
