"""What differs between identity providers, as a table of frozen rows; everything else is the standard.

A new vendor is a row here, a page in docs/ and a fake that passes the shared tests; nowhere does the
code ask for a vendor by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_sso.provider_settings import ALGORITHMS, ClaimPaths, EntraOidc, OidcProvider

#: Sign-in hosts of Microsoft's clouds (fact A9).
_ENTRA_HOSTS = {
    "public": "https://login.microsoftonline.com",
    "usgov": "https://login.microsoftonline.us",
    "usgov_dod": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One row.

    ``issuer``, ``discovery_url``, ``authority``
        made from the provider's settings; ``authority`` is the account key's first half.
    ``required_claims``
        beside those of OIDC Core: claim name and the value it must have (``None``: any string).
    ``empty_when_absent``
        fields whose absence the vendor defines as "none"; everything else absent is unknown.
    ``userinfo``
        whether a claim that the ID token lacks may be asked for there.
    ``switch_prompt``
        the ``prompt`` that offers another account; ``login`` is all that a provider must know (Core, 15.1).
    ``assertion_algorithm``
        what our client assertions are signed with (RFC 7523).
    ``is_guest``
        whether verified claims are of a guest; asked of every sign-in.
    """

    issuer: Callable[[Any], str]
    discovery_url: Callable[[Any], str]
    authority: Callable[[Any], str]
    claims: ClaimPaths
    algorithms: tuple[str, ...] = ALGORITHMS
    client_auth_method: Literal["basic", "post"] = "basic"
    assertion_algorithm: str = "RS256"
    required_claims: Callable[[Any], dict[str, str | None]] = field(default=lambda _settings: {})
    empty_when_absent: frozenset[str] = frozenset()
    userinfo: bool = True
    switch_prompt: str = "login"
    case_insensitive_subject: bool = False
    is_guest: Callable[[Any, dict[str, Any]], bool] = field(default=lambda _settings, _claims: False)


def _entra_host(settings: EntraOidc) -> str:
    return (settings.insecure_authority_host or _ENTRA_HOSTS[settings.cloud]).rstrip("/")


def _entra_issuer(settings: EntraOidc) -> str:
    return f"{_entra_host(settings)}/{settings.tenant_id}/v2.0"  # fact A8


def _entra_guest(settings: EntraOidc, claims: dict[str, Any]) -> bool:
    """``acct`` other than 0, or an ``idp`` that is not this tenant (facts A10, A13).

    Microsoft leaves ``idp`` out when the issuer itself is the identity provider, and ``acct`` is an
    optional claim: its absence says nothing.
    """
    if claims.get("acct", 0) not in (0, "0"):
        return True
    own = (claims["iss"], f"https://sts.windows.net/{settings.tenant_id}/")
    return "idp" in claims and claims["idp"] not in own


def _well_known(settings: Any) -> str:
    """Discovery 1.0, section 4.1."""
    return f"{VENDORS[settings.vendor].issuer(settings).rstrip('/')}/.well-known/openid-configuration"


_STANDARD_CLAIMS = ClaimPaths(
    subject=("sub",),
    username=("preferred_username", "email"),
    email=("email",),
    first_name=("given_name",),
    last_name=("family_name",),
    groups=("groups",),
    app_roles=("roles",),
)

VENDORS: dict[str, Vendor] = {
    "entra": Vendor(
        issuer=_entra_issuer,
        discovery_url=_well_known,  # fact A1
        authority=lambda s: f"entra:{s.cloud}:{s.tenant_id}",
        claims=ClaimPaths(
            subject=("oid",),  # fact A11: `sub` differs per application, `oid` is the Graph user id
            username=("preferred_username", "upn", "email"),
            email=("email", "preferred_username"),
            first_name=("given_name",),
            last_name=("family_name",),
            groups=("groups",),
            app_roles=("roles",),
        ),
        algorithms=("RS256",),
        switch_prompt="select_account",
        client_auth_method="post",
        assertion_algorithm="PS256",  # fact A20
        userinfo=False,  # fact A32: it knows no groups, and nothing that the ID token lacks
        required_claims=lambda s: {"tid": s.tenant_id, "oid": None},
        # Entra leaves `roles` out when nothing is assigned, and it never overflows (fact A17).
        empty_when_absent=frozenset({"app_roles"}),
        case_insensitive_subject=True,
        is_guest=_entra_guest,
    ),
    "pingone": Vendor(
        issuer=lambda s: s.issuer or f"https://auth.pingone.{s.region}/{s.environment_id}/as",  # fact D2
        discovery_url=_well_known,
        authority=lambda s: f"pingone:{s.environment_id}",
        claims=_STANDARD_CLAIMS,  # `sub` is the user's UUID, `groups` is mapped by the admin (facts D5, D6)
        algorithms=("RS256",),
    ),
    "pingfederate": Vendor(
        issuer=lambda s: s.issuer,
        discovery_url=_well_known,
        authority=lambda s: s.authority or f"oidc:{s.name}",
        # Groups arrive under whatever name the directory gives them (fact E3).
        claims=_STANDARD_CLAIMS.model_copy(update={"groups": ("groups", "memberOf", "isMemberOf")}),
    ),
    "generic": Vendor(
        issuer=lambda s: s.issuer,
        discovery_url=_well_known,
        authority=lambda s: s.authority or f"oidc:{s.name}",
        claims=_STANDARD_CLAIMS,
    ),
}


def vendor_of(settings: OidcProvider) -> Vendor:
    """The row of a provider."""
    return VENDORS[settings.vendor]


def claim_paths(settings: OidcProvider, field_name: str) -> tuple[str, ...]:
    """Where a field of the identity is found: as configured, else as the vendor has it."""
    configured: tuple[str, ...] | None = getattr(settings.claims, field_name)
    default: tuple[str, ...] | None = getattr(vendor_of(settings).claims, field_name)
    return configured or default or ()
