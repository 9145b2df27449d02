"""What may stand under ``directory:`` of a provider: who is asked whether people still exist.

One table says which keys each kind takes. What must stay true: what is left out is taken from the
sign-in's own entry or is a fault that names the key, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from airflow_sso.secret import Secret
from airflow_sso.setting_types import ClientAuth, Duration, Guid, Strict, Words, safe_url

_Text = Annotated[str, Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which keys a kind of directory takes, and which it cannot do without once those of the sign-in
    are added."""

    keys: frozenset[str]
    required: tuple[str, ...] = ()
    taken_from_sign_in: tuple[str, ...] = ()


_KINDS: Mapping[str, _Kind] = {
    "graph": _Kind(
        frozenset({"tenant_id", "cloud", "client_id", "client_auth", "canary", "app_roles", "insecure_host"}),
        required=("tenant_id", "client_auth"),
        taken_from_sign_in=("tenant_id", "cloud", "client_id", "client_auth"),
    ),
    "pingone": _Kind(
        frozenset({"environment_id", "region", "client_id", "client_auth", "canary", "insecure_host"}),
        required=("environment_id", "client_id", "client_auth"),
        taken_from_sign_in=("environment_id", "region", "client_id", "client_auth"),
    ),
    "scim": _Kind(
        frozenset(
            {"url", "token", "token_url", "client_id", "client_auth", "canary", "subject"}
            | {"disabled", "groups"}
        ),
        required=("url",),
    ),
    "probe": _Kind(frozenset({"keys", "every"}), required=("keys",)),
}


class DirectorySettings(Strict):
    """The directory of a provider, as it is written; a bare word is its ``type``."""

    type: Literal["graph", "pingone", "scim", "probe"]
    """What is asked: Microsoft Graph, PingOne's API, a SCIM server, or the provider's token endpoint."""
    tenant_id: Guid | None = None
    """Graph: the tenant; default: the sign-in's."""
    cloud: Literal["public", "usgov", "usgov_dod", "china"] | None = None
    """Graph: the cloud; default: the sign-in's, else ``public``."""
    environment_id: Guid | None = None
    """PingOne: the environment; default: the sign-in's."""
    region: Literal["com", "eu", "ca", "asia", "com.au", "sg"] | None = None
    """PingOne: the region; default: the sign-in's, else ``com``."""
    url: str | None = None
    """SCIM: the base, ``https://host/scim/v2``."""
    client_id: _Text | None = None
    """Who asks; default: the sign-in's."""
    client_auth: ClientAuth | None = None
    """How it proves that; default: the sign-in's."""
    token: Secret | None = None
    """SCIM: a bearer token, where it takes one that does not expire."""
    token_url: str | None = None
    """SCIM: where ``client_id`` and ``client_auth`` are exchanged for a token."""
    canary: _Text | None = None
    """The immutable id of somebody who is always there: a directory that lost them is not believed."""
    app_roles: bool = True
    """Graph: read who is assigned which app role, if the mapping has rules about them."""
    subject: _Text | None = None
    """SCIM: the attribute that holds what sign-in calls the subject; default ``externalId``."""
    disabled: Words | None = None
    """SCIM: the attribute that means "disabled", and optionally the value that does; default: ``active``."""
    groups: Words | None = None
    """SCIM: which of a user's attributes name the groups; default ``groups.value``, ``groups.display``."""
    keys: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=5)] | None = None
    """Probe: Fernet keys that refresh tokens are kept under; the first encrypts, every one decrypts."""
    every: Duration | None = None
    """Probe: how often each person is asked about, 5m to 1d; default ``15m``."""
    insecure_http: bool = False
    """Allow plain http to a host that is not this machine."""
    insecure_host: str | None = None
    """Scheme and host to use in place of the vendor's API. For a stand-in on this machine."""

    _urls_are_safe = field_validator("url", "token_url", "insecure_host")(safe_url)

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_type(cls, data: Any) -> Any:
        return {"type": data} if isinstance(data, str) else data

    @field_validator("disabled")
    @classmethod
    def _disabled_is_one_or_two(cls, words: tuple[str, ...] | None, _info: ValidationInfo) -> Any:
        if words is not None and len(words) > 2:
            raise ValueError("disabled is an attribute, or [attribute, value]")
        return words

    @model_validator(mode="after")
    def _keys_go_with_the_type(self) -> DirectorySettings:
        known = _KINDS[self.type].keys | {"type", "insecure_http"}
        strange = sorted(self.model_fields_set - known)
        if strange:
            raise ValueError(
                f"{', '.join(strange)} is not for type: {self.type}, which takes {', '.join(sorted(known))}"
            )
        if self.type == "scim" and (self.token is None) == (self.token_url is None):
            raise ValueError("must have exactly one of token, token_url (with client_id and client_auth)")
        if self.token_url and not (self.client_id and self.client_auth and self.client_auth.secret):
            raise ValueError("token_url goes with client_id and client_auth: {secret: ...}")
        if self.type == "pingone" and self.client_auth and not self.client_auth.secret:
            raise ValueError("client_auth: PingOne's worker application takes a secret")
        if self.type == "probe" and self.every and not 300 <= self.every.total_seconds() <= 86400:
            raise ValueError("every may be 5m to 1d: the provider counts these calls (fact H8)")
        return self

    def completed(self, provider: Any) -> DirectorySettings:
        """These settings with what is left out taken from the sign-in's entry.

        :raises ValueError: when something is still missing, naming it.
        """
        kind = _KINDS[self.type]
        taken = {
            name: getattr(provider, name)
            for name in kind.taken_from_sign_in
            if getattr(self, name) is None and getattr(provider, name, None) is not None
        }
        if self.client_auth is not None or (self.client_id and "client_id" not in taken):
            # Credentials are one thing: half of them from here and half from there would be neither's.
            taken.pop("client_auth", None)
            taken.pop("client_id", None)
        complete = self.model_copy(update=taken)
        missing = [name for name in kind.required if getattr(complete, name) is None]
        if missing:
            raise ValueError(
                f"type: {self.type} needs {', '.join(missing)}, which this provider's sign-in does not have"
            )
        return complete

    @property
    def references(self) -> dict[tuple[str, ...], Secret]:
        """Every secret that is named here, by its place."""
        named = {("client_auth", *at): one for at, one in self._auth_references().items()}
        if self.token:
            named["token",] = self.token
        return named | {("keys", str(number)): key for number, key in enumerate(self.keys or ())}

    def _auth_references(self) -> dict[tuple[str, ...], Secret]:
        return self.client_auth.references if self.client_auth else {}
