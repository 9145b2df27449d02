"""Verified claims, or a verified assertion's attributes, become one :class:`~airflow_sso.identity.Identity`.

What must stay true: only :class:`~airflow_sso.login.id_token.VerifiedClaims` and
:class:`~airflow_sso.login.assertion.VerifiedAssertion` are read, an overage marker makes the groups
unknown whatever else is said, and absent is unknown unless the vendor defines absence as "none".
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_sso.errors import ClaimMissing, GuestRefused
from airflow_sso.identity import Identity
from airflow_sso.login.id_token import VerifiedClaims
from airflow_sso.login.vendors import claim_paths, vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.provider_settings import Provider
from airflow_sso.saml_settings import NAME_ID, SamlProvider

if TYPE_CHECKING:
    from airflow_sso.login.assertion import VerifiedAssertion

    Verified = VerifiedClaims | VerifiedAssertion

#: What Entra sends in place of the groups when an assertion would hold more than 150 (facts A15, C5).
_GROUPS_LINK = "http://schemas.microsoft.com/claims/groups.link"
_MAX_SUBJECT = 1000
_MAX_NAME = 500


def to_identity(claims: Verified, settings: Provider) -> Identity:
    """Who verified claims say that somebody is.

    :raises ClaimMissing: when there is no usable subject.
    :raises GuestRefused: for a guest, where ``guests: deny`` (the default) holds.
    """
    vendor = vendor_of(settings)
    overage = _has_overage(claims)
    identity = Identity(
        authority=vendor.authority(settings),
        subject=_subject(claims, settings),
        username=_text(claims, settings, "username"),
        email=_text(claims, settings, "email"),
        email_verified=claims.get("email_verified") is True,
        first_name=_text(claims, settings, "first_name"),
        last_name=_text(claims, settings, "last_name"),
        groups=None if overage else _groups(claims, settings),
        app_roles=_values(claims, settings, "app_roles"),
        group_overage=overage,
        is_guest=vendor.is_guest(settings, dict(claims)),
        provider=settings.name,
        protocol=settings.protocol,
        claims=claims,
        session_ref=claims.session_ref,
        authenticated_at=claims.authenticated_at,
        context=claims.context,
        provider_subject=claims.provider_subject,
        session_ends_at=claims.session_ends_at,
    )
    if identity.is_guest and settings.guests == "deny":
        raise GuestRefused(f"a guest, by the claims of {settings.name}", identity=identity)
    return identity


def missing_claims(claims: VerifiedClaims, settings: OidcProvider) -> frozenset[str]:
    """Claims that the configuration names and the ID token lacks, so that userinfo may be asked.

    Of a field with several paths one that is there is enough. What the vendor's defaults name is
    not asked for: an optional claim is no reason for another call.
    """
    missing: set[str] = set()
    for field in type(settings.claims).model_fields:
        paths = getattr(settings.claims, field) or ()
        if paths and all(_at(claims, path) is None for path in paths):
            missing.update(path if path in claims else path.split(".")[0] for path in paths)
            missing.update(paths)
    return frozenset(missing)


def _subject(claims: Verified, settings: Provider) -> str:
    """The immutable id: only a string will do, and only the first configured claim that is there."""
    for path in claim_paths(settings, "subject"):
        value = _at(claims, path)
        if value is None:
            continue
        if path == NAME_ID and isinstance(settings, SamlProvider):
            _require_lasting_name_id(claims, settings)
        if not isinstance(value, str) or not value.strip() or len(value) > _MAX_SUBJECT:
            raise ClaimMissing(f"the subject claim {path} is not a usable string")
        if any(unicodedata.category(char) == "Cc" for char in value):
            raise ClaimMissing(f"the subject claim {path} has control characters")
        if value != value.strip():
            raise ClaimMissing(f"the subject claim {path} has blanks around it")
        return value.lower() if vendor_of(settings).case_insensitive_subject else value
    raise ClaimMissing("no subject claim is there: " + ", ".join(claim_paths(settings, "subject")))


def _require_lasting_name_id(claims: Verified, settings: SamlProvider) -> None:
    """What names a person for one session, or can be given to the next person, is no account's key."""
    name_id: Any = getattr(claims, "name_id", None)
    reason = name_id.why_not_lasting() if name_id else None
    if reason and not (name_id.may_be_reused and settings.may_reuse_subjects):
        raise ClaimMissing(
            f"{reason}: name an immutable attribute, claims: {{subject: ...}}, or have the provider send a "
            "persistent NameID"
        )


def _text(claims: Verified, settings: Provider, field: str) -> str | None:
    """A name to show: the first claim that holds text, without characters that no name has."""
    for path in claim_paths(settings, field):
        value = _at(claims, path)
        if isinstance(value, str):
            kept = "".join(char for char in value if unicodedata.category(char) not in ("Cc", "Cf"))
            if kept.strip():
                return kept.strip()[:_MAX_NAME]
    return None


def _values(claims: Verified, settings: Provider, field: str) -> frozenset[str] | None:
    """A set-valued field: an array, a single string, or an array written into a string.

    Where the vendor defines absence as "none", only absence is: what cannot be read is unknown.
    """
    unreadable = False
    for path in claim_paths(settings, field):
        value = _at(claims, path)
        if isinstance(value, str) and value.startswith("[") and settings.protocol == "oidc":
            value = _array_in_a_string(value)  # SAML has attributes of several values
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            entries = [str(one) if type(one) is int else one for one in value]
            # An entry that cannot be read may be the very one that a deny rule names.
            if all(isinstance(one, str) and _is_text(one) for one in entries):
                return frozenset(one for one in entries if one)
        unreadable = unreadable or path in claims
    return frozenset() if field in vendor_of(settings).empty_when_absent and not unreadable else None


def _is_text(value: str) -> bool:
    """Whether a database can keep it: no lone surrogate, which JSON can write."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _groups(claims: Verified, settings: Provider) -> frozenset[str] | None:
    """The groups, and with ``group_dn: cn`` those that are distinguished names by their CN alone."""
    values = _values(claims, settings, "groups")
    if values is None or settings.group_dn == "whole":
        return values
    return frozenset(_common_name(value) or value for value in values)


def _common_name(value: str) -> str | None:
    """The CN of a distinguished name whose first part it is (RFC 4514, section 2.4)."""
    if len(value) > _MAX_SUBJECT:
        return None
    match = re.match(r"\s*cn\s*=\s*((?:[^,+\\]|\\.)*)(?:,|$)", value, re.IGNORECASE)
    if match is None:
        return None

    def unescaped(escape: re.Match[bytes]) -> bytes:
        written = escape.group(1)
        return bytes.fromhex(written.decode()) if len(written) == 2 else written

    raw = re.sub(rb"\\([0-9a-fA-F]{2}|.)", unescaped, match.group(1).strip(" ").encode())
    try:
        return raw.decode() or None
    except UnicodeDecodeError:
        return None


def _array_in_a_string(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _has_overage(claims: Verified) -> bool:
    """Facts A15, A16 and C5. The URL that the marker holds is never called: it comes from the token."""
    names = claims.get("_claim_names")
    elsewhere = isinstance(names, Mapping) and "groups" in names
    return elsewhere or _GROUPS_LINK in claims or str(claims.get("hasgroups", "")).lower() in ("true", "1")


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The value at a path: a claim of that whole name, else dots leading into nested objects."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
