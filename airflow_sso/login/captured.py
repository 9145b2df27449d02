"""A token or a response that somebody kept in a file, read without verifying, so that it can be explained.

It becomes facts, never an :class:`~airflow_sso.identity.Identity`, which only
:func:`airflow_sso.login.claims.to_identity` makes of what was verified. What must stay true: nobody is signed
in by what this module reads, everything here is called unverified, and no network is asked.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from airflow_sso.errors import SsoError
from airflow_sso.login import claim_fields, saml_response
from airflow_sso.login.saml_xml import (
    Element,
    UnreadableXml,
    attributes_of,
    find,
    name_in,
    parse,
    tag,
    text_of,
)
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.provider_settings import Provider
from airflow_sso.role_mapping import Facts
from airflow_sso.role_mapping.values import Value, claim_values
from airflow_sso.saml_settings import NAME_ID, SamlProvider

_LARGEST = 2_000_000  # bytes
_JSON, _SAML = "{", "<"


class Unreadable(Exception):
    """The file holds nothing that can be read here; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What a file says; anybody may have written it.

    ``kind``
        what it is, in words: ``an ID token``.
    """

    kind: str
    protocol: str
    unverified_claims: Mapping[str, Any] = field(repr=False)
    unverified_issuer: str | None = None

    def username(self, provider: Provider) -> str | None:
        """The name that would be shown."""
        return claim_fields.text(self.unverified_claims, provider, "username")

    def has_overage(self) -> bool:
        """Whether it says that there are more groups than it holds."""
        return claim_fields.has_overage(self.unverified_claims)

    def facts(self, provider: Provider, names: Collection[str]) -> Facts:
        """What it says about each of these facts, read as a sign-in through ``provider`` reads it."""
        claims = self.unverified_claims
        found: dict[str, frozenset[Value] | None] = {
            "group": None if self.has_overage() else claim_fields.groups(claims, provider),
            "app_role": claim_fields.values(claims, provider, "app_roles"),
            "provider": frozenset({provider.name}),
            "protocol": frozenset({provider.protocol}),
        }
        for name in names:
            if name.startswith("claim:"):
                found[name] = claim_values(claims, name.removeprefix("claim:"))
        return {name: found.get(name) for name in names}

    def is_guest(self, provider: Provider) -> bool:
        """Whether the vendor would call this person a guest."""
        try:
            return vendor_of(provider).is_guest(provider, dict(self.unverified_claims))
        except KeyError:  # a claim that every verified token has
            return False

    def is_of(self, provider: Provider) -> bool:
        """Whether it names the issuer that this provider is configured with."""
        issuers = _issuers(provider)
        return self.unverified_issuer is not None and self.unverified_issuer in issuers


def read(path: Path) -> Captured:
    """What a file holds: an ID token, the claims of one as JSON, or a SAML response.

    :raises Unreadable: when it holds none of these.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as cause:
        raise Unreadable(f"cannot be read: {cause.strerror}") from None
    if len(raw) > _LARGEST:
        raise Unreadable("is too large for a token")
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None
    if text.startswith(_JSON):
        return _json(text)
    if text.startswith(_SAML):
        return _saml(text.encode())
    if "SAMLResponse=" in text[:200]:
        (text, *_) = parse_qs(text).get("SAMLResponse", [""])
    return _token(text) if "." in text else _posted(text)


def _json(text: str) -> Captured:
    claims = _object(text, "the JSON")
    token = claims.get("id_token")  # the answer of a token endpoint, kept whole
    if isinstance(token, str):
        return _token(token)
    return Captured("the claims of a token", "oidc", claims, _text(claims.get("iss")))


def _token(token: str) -> Captured:
    parts = token.split(".")
    if len(parts) == 5:
        raise Unreadable("is an encrypted token (JWE), and cannot be read without its key")
    if len(parts) != 3:
        raise Unreadable("is no token: an ID token has three parts between dots")
    payload = parts[1]
    try:
        decoded = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        claims = _object(decoded.decode(), "the middle part of the token")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Unreadable("is no token: its middle part is not base64url") from None
    return Captured("an ID token", "oidc", claims, _text(claims.get("iss")))


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable(f"cannot be read: {what} is not JSON") from None
    if not isinstance(claims, dict):
        raise Unreadable(f"cannot be read: {what} is not a JSON object of claims")
    return claims


def _posted(text: str) -> Captured:
    """A response as a browser posts it."""
    try:
        return _of_response(saml_response.read("".join(text.split())).root)
    except SsoError as cause:
        raise Unreadable(f"is neither a token, JSON, nor a SAML response: {cause.detail}") from None


def _saml(data: bytes) -> Captured:
    try:
        return _of_response(parse(data))
    except UnreadableXml as cause:
        raise Unreadable(f"is no SAML response that can be read: {cause}") from None


def _of_response(root: Element) -> Captured:
    if next(root.iter(tag("saml", "EncryptedAssertion")), None) is not None:
        raise Unreadable(
            "holds an encrypted assertion, which cannot be read here; have the provider send one in the "
            "clear to a test application, or explain the groups: --groups a,b"
        )
    # `iter` begins with the root itself: an assertion alone will do.
    assertion = next(root.iter(tag("saml", "Assertion")), None)
    if assertion is None:
        raise Unreadable("holds no SAML assertion; the provider may have refused the sign-in")
    attributes = attributes_of(assertion)
    for name_id in find(assertion, "saml:Subject/saml:NameID")[:1]:
        attributes[NAME_ID] = text_of(name_id)
    issuers = [name_in(one) for one in find(assertion, "saml:Issuer")[:1]]
    return Captured("a SAML response", "saml", attributes, issuers[0] if issuers else None)


def _issuers(provider: Provider) -> tuple[str, ...]:
    """What a provider calls itself, as far as the configuration alone says so."""
    if isinstance(provider, OidcProvider):
        return (vendor_of(provider).issuer(provider),)
    if isinstance(provider, SamlProvider):
        return vendor_of(provider).entity_ids(provider) or ()
    return ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def chosen(captured: Captured, providers: Mapping[str, Provider]) -> Provider | None:
    """The provider that a captured token came from, if that can be told: by its issuer, or the only one."""
    speaking = [one for one in providers.values() if one.protocol == captured.protocol]
    named = [one for one in speaking if captured.is_of(one)]
    found = named or speaking
    return found[0] if len(found) == 1 else None
