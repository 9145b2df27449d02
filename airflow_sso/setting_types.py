"""The kinds of values that settings are made of: durations, addresses, secrets in pairs, credentials.

Shared by everything that may stand in ``sso.yaml``. What must stay true: unknown keys are refused, and
no message about a faulty value repeats it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

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


def safe_url(url: str | None, info: ValidationInfo) -> str | None:
    """A validator for a URL field beside ``insecure_http``."""
    if url is not None:
        check_url(url, what=str(info.field_name), insecure_http=bool(info.data.get("insecure_http")))
    return url


class KeyPair(Strict):
    """A certificate and its private key, both PEM and both by reference."""

    certificate: Secret
    private_key: Secret

    @property
    def references(self) -> dict[tuple[str, ...], Secret]:
        """Both, by their place."""
        return {("certificate",): self.certificate, ("private_key",): self.private_key}


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
        pair = self.certificate.references if self.certificate else {}
        named = {("certificate", *place): secret for place, secret in pair.items()}
        return {("secret",): self.secret, **named} if self.secret else named
