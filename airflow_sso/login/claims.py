"""Verified claims, or a verified assertion's attributes, become one :class:`~airflow_sso.identity.Identity`.

How each field is read is in :mod:`~airflow_sso.login.claim_fields`. What must stay true: nothing but
:class:`~airflow_sso.login.id_token.VerifiedClaims` and
:class:`~airflow_sso.login.assertion.VerifiedAssertion` becomes an identity, and an overage marker makes the
groups unknown whatever else is said.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from airflow_sso.errors import ClaimMissing, GuestRefused
from airflow_sso.identity import Identity
from airflow_sso.login import claim_fields
from airflow_sso.login.id_token import VerifiedClaims
from airflow_sso.login.vendors import claim_paths, vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.provider_settings import Provider
from airflow_sso.saml_settings import NAME_ID, SamlProvider

if TYPE_CHECKING:
    from airflow_sso.login.assertion import VerifiedAssertion

    Verified = VerifiedClaims | VerifiedAssertion

_MAX_SUBJECT = 1000


def to_identity(claims: Verified, settings: Provider) -> Identity:
    """Who verified claims say that somebody is.

    :raises ClaimMissing: when there is no usable subject.
    :raises GuestRefused: for a guest, where ``guests: deny`` (the default) holds.
    """
    vendor = vendor_of(settings)
    overage = claim_fields.has_overage(claims)
    identity = Identity(
        authority=vendor.authority(settings),
        subject=_subject(claims, settings),
        username=claim_fields.text(claims, settings, "username"),
        email=claim_fields.text(claims, settings, "email"),
        email_verified=claims.get("email_verified") is True,
        first_name=claim_fields.text(claims, settings, "first_name"),
        last_name=claim_fields.text(claims, settings, "last_name"),
        groups=None if overage else claim_fields.groups(claims, settings),
        app_roles=claim_fields.values(claims, settings, "app_roles"),
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
        if paths and all(claim_fields.at(claims, path) is None for path in paths):
            missing.update(path if path in claims else path.split(".")[0] for path in paths)
            missing.update(paths)
    return frozenset(missing)


def _subject(claims: Verified, settings: Provider) -> str:
    """The immutable id: only a string will do, and only the first configured claim that is there."""
    for path in claim_paths(settings, "subject"):
        value = claim_fields.at(claims, path)
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
