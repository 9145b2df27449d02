"""What may stand in an entry with ``protocol: saml``, one model a vendor.

What must stay true: the keys that count come from metadata that is named here, and a subject that
can be given to another person is accepted only where that is spelled ``insecure_*``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from airflow_sso.certificates import as_fingerprint
from airflow_sso.provider_settings import Provider
from airflow_sso.setting_types import Guid, KeyPair, Words, check_url, safe_url

#: The name under which a NameID stands among the attributes.
NAME_ID = "NameID"


class SamlProvider(Provider):
    """What every SAML identity provider has, whoever made it."""

    protocol: Literal["saml"]
    metadata_url: str | None = None
    """Where the identity provider publishes its metadata; read again hourly and on an unknown key."""
    metadata_file: Path | None = None
    """Or a copy of it as a file, read again likewise."""
    metadata_fingerprint: Words | None = None
    """SHA-256 fingerprints of signing certificates: then no other one in the metadata counts."""
    entity_id: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What this Airflow is called at the identity provider; default: the URL of our metadata."""
    keys: KeyPair | None = None
    """Signs our requests and decrypts assertions. Without it neither happens."""
    want_signed: Literal["any", "assertion", "response", "both"] = "any"
    """What must be signed; ``any``: whichever it is, it covers all that is read."""
    sign_requests: bool | None = None
    """Whether our requests are signed; default: when there are ``keys``."""
    force_authn: bool = False
    """Ask for a fresh proof of identity at every sign-in, whatever session the provider has."""
    idp_initiated: Literal["restart", "refuse", "insecure_idp_initiated"] = "restart"
    """What becomes of a response that nobody here asked for (a tile on a portal)."""
    insecure_unsigned_logout: bool = False
    """Obey logout requests that are not signed: whoever knows a NameID can end that person's sessions."""

    @property
    def signs_requests(self) -> bool:
        return self.keys is not None if self.sign_requests is None else self.sign_requests

    @property
    def may_reuse_subjects(self) -> bool:
        """Whether a subject counts that may be given to another person one day."""
        return bool(getattr(self, "insecure_subject_may_be_reused", False))

    @field_validator("metadata_url")
    @classmethod
    def _metadata_url_is_safe(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None:
            # A query is part of it: ?appid= with Entra (fact C1), ?PartnerSpId= with Ping (fact E7).
            bare = url.partition("?")[0]
            check_url(bare, what="metadata_url", insecure_http=bool(info.data.get("insecure_http")))
        return url

    @field_validator("metadata_fingerprint")
    @classmethod
    def _fingerprints_are_sha256(cls, written: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return tuple(as_fingerprint(one) for one in written) if written else None

    @model_validator(mode="after")
    def _parts_fit(self) -> SamlProvider:
        if (self.metadata_url is None) == (self.metadata_file is None):
            raise ValueError("must have exactly one of metadata_url, metadata_file")
        if NAME_ID in (self.claims.subject or ()) and self.claims.subject != (NAME_ID,):
            raise ValueError("claims.subject: NameID stands alone: one value could be of either kind")
        if self.sign_requests and self.keys is None:
            raise ValueError("sign_requests needs keys: {certificate: ..., private_key: ...}")
        return self


class EntraSaml(SamlProvider):
    """Microsoft Entra ID: one entry a tenant."""

    vendor: Literal["entra"]
    tenant_id: Guid
    cloud: Literal["public", "usgov", "usgov_dod", "china"] = "public"
    insecure_authority_host: str | None = None
    """Scheme and host to use in place of the cloud's. For a stand-in on this machine."""

    _host_is_safe = field_validator("insecure_authority_host")(safe_url)


class _NameIdSubject(SamlProvider):
    """Vendors whose subject is a NameID, unless an attribute is named."""

    insecure_subject_may_be_reused: bool = False
    """Accept a NameID that is a login name or an address: the account follows it to the next person."""


class PingOneSaml(_NameIdSubject):
    """PingOne: one entry an environment."""

    vendor: Literal["pingone"]
    environment_id: Guid


class GenericSaml(_NameIdSubject):
    """Anything that speaks SAML 2.0 with metadata."""

    vendor: Literal["generic"]
    issuer: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """The identity provider's entity id; needed where its metadata describes several."""
    authority: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    """The account key's first half; default ``saml:<name>``, and fixed at first use."""


class PingFederateSaml(GenericSaml):
    """PingFederate. Its NameID is a login name by default, which may be given to another person."""

    vendor: Literal["pingfederate"]  # type: ignore[assignment]
