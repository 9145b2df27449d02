"""What differs between identity providers, as a table of frozen rows; everything else is the standard.

A new vendor is a row here, a page in docs/ and a fake that passes the shared tests; nowhere does the
code ask for a vendor by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from airflow_sso.oidc_settings import ALGORITHMS, EntraOidc, OidcProvider
from airflow_sso.provider_settings import ClaimPaths, Provider
from airflow_sso.saml_settings import NAME_ID, EntraSaml, SamlProvider

#: Sign-in hosts of Microsoft's clouds (fact A9).
_ENTRA_HOSTS = {
    "public": "https://login.microsoftonline.com",
    "usgov": "https://login.microsoftonline.us",
    "usgov_dod": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
#: What the names of its SAML issuers begin with (fact C2).
_ENTRA_STS = {"china": "https://sts.chinacloudapi.cn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What a row holds whatever the protocol is.

    ``authority``
        the account key's first half, made from the provider's settings: the same for both protocols
        where the vendor's subjects are.
    ``claims``
        where each field of the identity is found, unless the configuration says otherwise.
    ``required_claims``
        claims that must be there, and the value each must have (``None``: any string).
    ``empty_when_absent``
        fields whose absence the vendor defines as "none"; everything else absent is unknown.
    ``is_guest``
        whether verified claims are of a guest; asked of every sign-in.
    """

    authority: Callable[[Any], str]
    claims: ClaimPaths
    required_claims: Callable[[Any], dict[str, str | None]] = field(default=lambda _settings: {})
    empty_when_absent: frozenset[str] = frozenset()
    case_insensitive_subject: bool = False
    is_guest: Callable[[Any, dict[str, Any]], bool] = field(default=lambda _settings, _claims: False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcVendor(Vendor):
    """What OpenID Connect adds.

    ``issuer``, ``discovery_url``
        made from the provider's settings.
    ``userinfo``
        whether a claim that the ID token lacks may be asked for there.
    ``switch_prompt``
        the ``prompt`` that offers another account; ``login`` is all that a provider must know (Core, 15.1).
    ``assertion_algorithm``
        what our client assertions are signed with (RFC 7523).
    ``logout_hint_claim``
        the claim of the ID token that its sign-out takes as ``logout_hint``.
    ``tells_codes``
        whether a refusal comes with codes of the vendor's own (fact A18).
    ``older_sign_out``
        where servers without the standard's ``end_session_endpoint`` sign out, by its name in the
        discovery document, and the parameter there that says where to go afterwards.
    """

    issuer: Callable[[Any], str]
    discovery_url: Callable[[Any], str]
    algorithms: tuple[str, ...] = ALGORITHMS
    client_auth_method: Literal["basic", "post"] = "basic"
    assertion_algorithm: str = "RS256"
    userinfo: bool = True
    switch_prompt: str = "login"
    logout_hint_claim: str | None = None
    tells_codes: bool = False
    older_sign_out: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamlVendor(Vendor):
    """What SAML adds.

    ``entity_ids``
        what the identity provider may be called in its metadata; ``None``: whatever it says there.
    """

    entity_ids: Callable[[Any], tuple[str, ...] | None] = field(default=lambda _settings: None)


def _entra_host(settings: EntraOidc | EntraSaml) -> str:
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
    return f"{OIDC_VENDORS[settings.vendor].issuer(settings).rstrip('/')}/.well-known/openid-configuration"


def _entra_entity_ids(settings: EntraSaml) -> tuple[str, ...]:
    """The text and the sample of Microsoft's page differ in the host (fact C2)."""
    hosts = (_ENTRA_STS.get(settings.cloud, "https://sts.windows.net"), _entra_host(settings))
    return tuple(f"{host}/{settings.tenant_id}/" for host in hosts)


def _entra_saml_guest(settings: EntraSaml, claims: dict[str, Any]) -> bool:
    """Whoever another identity provider vouches for (facts A13, C5)."""
    named = claims.get(f"{_MICROSOFT}/identity/claims/identityprovider")
    return named is not None and named not in _entra_entity_ids(settings)


_STANDARD_CLAIMS = ClaimPaths(
    subject=("sub",),
    username=("preferred_username", "email"),
    email=("email",),
    first_name=("given_name",),
    last_name=("family_name",),
    groups=("groups",),
    app_roles=("roles",),
)

_MICROSOFT = "http://schemas.microsoft.com"
_XMLSOAP = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
_ENTRA_GROUPS = f"{_MICROSOFT}/ws/2008/06/identity/claims/groups"
_ENTRA_ROLE = f"{_MICROSOFT}/ws/2008/06/identity/claims/role"
_ENTRA_TENANT = f"{_MICROSOFT}/identity/claims/tenantid"
_ENTRA_OBJECT = f"{_MICROSOFT}/identity/claims/objectidentifier"

#: Attribute names in use: plain ones, LDAP's (``urn:oid:``), Entra's.
_ATTRIBUTES = ClaimPaths(
    subject=(NAME_ID,),
    username=("uid", "username", "urn:oid:0.9.2342.19200300.100.1.1", f"{_XMLSOAP}/name", "email", NAME_ID),
    email=("mail", "email", "urn:oid:0.9.2342.19200300.100.1.3", f"{_XMLSOAP}/emailaddress"),
    first_name=("givenName", "given_name", "urn:oid:2.5.4.42", f"{_XMLSOAP}/givenname"),
    last_name=("sn", "surname", "family_name", "urn:oid:2.5.4.4", f"{_XMLSOAP}/surname"),
    groups=("groups", "memberOf", _ENTRA_GROUPS, "urn:oid:1.3.6.1.4.1.5923.1.5.1.1"),
    app_roles=("roles", _ENTRA_ROLE),
)

OIDC_VENDORS: dict[str, OidcVendor] = {
    "entra": OidcVendor(
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
        logout_hint_claim="login_hint",  # fact A28
        tells_codes=True,
        client_auth_method="post",
        assertion_algorithm="PS256",  # fact A20
        userinfo=False,  # fact A32: it knows no groups, and nothing that the ID token lacks
        required_claims=lambda s: {"tid": s.tenant_id, "oid": None},
        # Entra leaves `roles` out when nothing is assigned, and it never overflows (fact A17).
        empty_when_absent=frozenset({"app_roles"}),
        case_insensitive_subject=True,
        is_guest=_entra_guest,
    ),
    "pingone": OidcVendor(
        issuer=lambda s: s.issuer or f"https://auth.pingone.{s.region}/{s.environment_id}/as",  # fact D2
        discovery_url=_well_known,
        authority=lambda s: f"pingone:{s.environment_id}",
        claims=_STANDARD_CLAIMS,  # `sub` is the user's UUID, `groups` is mapped by the admin (facts D5, D6)
        algorithms=("RS256",),
    ),
    "pingfederate": OidcVendor(
        issuer=lambda s: s.issuer,
        discovery_url=_well_known,
        authority=lambda s: s.authority or f"oidc:{s.name}",
        # Groups arrive under whatever name the directory gives them (fact E3).
        claims=_STANDARD_CLAIMS.model_copy(update={"groups": ("groups", "memberOf", "isMemberOf")}),
        older_sign_out=("ping_end_session_endpoint", "TargetResource"),  # fact E1
    ),
    "generic": OidcVendor(
        issuer=lambda s: s.issuer,
        discovery_url=_well_known,
        authority=lambda s: s.authority or f"oidc:{s.name}",
        claims=_STANDARD_CLAIMS,
    ),
}


_ANY_SAML = SamlVendor(
    authority=lambda s: s.authority or f"saml:{s.name}",
    claims=_ATTRIBUTES,
    entity_ids=lambda s: (s.issuer,) if s.issuer else None,
)

SAML_VENDORS: dict[str, SamlVendor] = {
    "entra": SamlVendor(
        entity_ids=_entra_entity_ids,
        authority=OIDC_VENDORS["entra"].authority,
        claims=ClaimPaths(
            subject=(_ENTRA_OBJECT,),  # fact C6: the NameID is whatever the application's owner chose
            username=(f"{_XMLSOAP}/name", NAME_ID),
            email=(f"{_XMLSOAP}/emailaddress",),
            first_name=(f"{_XMLSOAP}/givenname",),
            last_name=(f"{_XMLSOAP}/surname",),
            groups=(_ENTRA_GROUPS,),
            app_roles=(_ENTRA_ROLE,),
        ),
        required_claims=lambda s: {_ENTRA_TENANT: s.tenant_id, _ENTRA_OBJECT: None},
        empty_when_absent=frozenset({"app_roles"}),
        case_insensitive_subject=True,
        is_guest=_entra_saml_guest,
    ),
    # The NameID is the user's UUID, as `sub` is (facts D5, D19).
    "pingone": SamlVendor(authority=OIDC_VENDORS["pingone"].authority, claims=_ATTRIBUTES),
    "pingfederate": _ANY_SAML,
    "generic": _ANY_SAML,
}


@overload
def vendor_of(settings: OidcProvider) -> OidcVendor: ...
@overload
def vendor_of(settings: SamlProvider) -> SamlVendor: ...
@overload
def vendor_of(settings: Provider) -> Vendor: ...
def vendor_of(settings: Provider) -> Vendor:
    """The row of a provider."""
    return (SAML_VENDORS if settings.protocol == "saml" else OIDC_VENDORS)[settings.vendor]


def claim_paths(settings: Provider, field_name: str) -> tuple[str, ...]:
    """Where a field of the identity is found: as configured, else as the vendor has it."""
    configured: tuple[str, ...] | None = getattr(settings.claims, field_name)
    default: tuple[str, ...] | None = getattr(vendor_of(settings).claims, field_name)
    return configured or default or ()
