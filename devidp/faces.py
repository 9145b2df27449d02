"""The faces: one row a vendor, saying its URLs, its discovery document, its claims and its errors.

A face is data plus two small functions; nothing elsewhere asks which face it is. To add one, add a
row. Shapes follow recorded documents: Entra (facts A2, A5, A10, A18), PingOne (D2, J6), PingFederate
(E1, J7).
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from devidp import errors
from devidp.people import GUEST_IDP, Person, derived_id
from devidp.settings import PINGONE_ENVIRONMENT_ID, TENANT_ID


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """One sign-in as the claims need it; `scope` is what the relying party asked for."""

    client_id: str
    scope: frozenset[str]
    nonce: str | None
    sid: str
    auth_time: int
    max_age_asked: bool = False

    def without_nonce(self) -> SignIn:
        return replace(self, nonce=None)


@dataclass(frozen=True, kw_only=True)
class Face:
    """One provider as a relying party sees it. Paths are on this server's own base URL."""

    name: str
    label: str
    issuer: str
    authorize: str
    token: str
    jwks: str
    userinfo: str
    logout: str
    older_logout: str | None = None
    logout_goes_to: str = "post_logout_redirect_uris"
    """Which registered addresses one may be sent to after signing out."""
    logout_asks_who: bool = False
    claims: Callable[[Person, SignIn], dict[str, Any]]
    userinfo_claims: frozenset[str]
    discovery: dict[str, Any]
    error_body: Callable[[errors.Reason, str, float], dict[str, Any]] = errors.plain_body
    auth_methods: tuple[str, ...] = ("client_secret_basic", "client_secret_post")
    sends_iss: bool = False
    sends_at_hash: bool = True
    backdates: int = 0
    lifetime: int = 3600
    key_members: tuple[str, ...] = ()
    group_claim: str = "groups"
    group_style: str = "names"
    group_limit: int | None = None
    group_place: str = "both"
    omits_empty_groups: bool = False
    single_group_is_string: bool = False
    token_extra: dict[str, Any] = field(default_factory=dict)

    def document(self, base: str) -> dict[str, Any]:
        """The discovery document; what the row does not name is not announced (fact A3)."""
        urls = {
            "issuer": self.issuer,
            "authorization_endpoint": self.authorize,
            "token_endpoint": self.token,
            "jwks_uri": self.jwks,
            "userinfo_endpoint": self.userinfo,
            "end_session_endpoint": self.logout,
        }
        fixed = {
            key: base + value if key.endswith("_endpoint") else value for key, value in self.discovery.items()
        }
        return {
            **{key: base + path for key, path in urls.items()},
            "token_endpoint_auth_methods_supported": list(self.auth_methods),
            "id_token_signing_alg_values_supported": ["RS256"],
            **fixed,
        }


def _names(person: Person) -> dict[str, Any]:
    return {"given_name": person.given_name, "family_name": person.family_name}


def _entra_claims(person: Person, sign_in: SignIn) -> dict[str, Any]:
    """Fact A10 and fixture J1, with the optional claims given_name, family_name and email switched on."""
    seed = hashlib.sha256(f"{person.oid}|{sign_in.client_id}".encode()).digest()
    claims: dict[str, Any] = {
        "sub": base64.urlsafe_b64encode(seed).rstrip(b"=").decode(),
        "tid": TENANT_ID,
        "sid": sign_in.sid,
        "uti": base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode(),
        "rh": "0.AAAAqrrAA8wM3d0R0iIi7u4AAA.",
        "ver": "2.0",
        "email": person.email,
    }
    if "profile" in sign_in.scope:
        claims |= {"oid": person.oid, "name": person.display_name, "preferred_username": person.email}
        claims |= _names(person)
    if person.app_roles:
        claims["roles"] = list(person.app_roles)
    if person.guest:
        claims |= {"idp": GUEST_IDP, "acct": 1}
    if sign_in.max_age_asked:
        claims["auth_time"] = sign_in.auth_time
    return claims


def _standard_claims(person: Person, sign_in: SignIn) -> dict[str, Any]:
    """OIDC Core 5.1, given out by scope as Core 5.4 says."""
    claims: dict[str, Any] = {"auth_time": sign_in.auth_time, "sid": sign_in.sid}
    if "profile" in sign_in.scope:
        claims |= {"name": person.display_name, "preferred_username": person.name, **_names(person)}
    if "email" in sign_in.scope:
        claims |= {"email": person.email, "email_verified": True}
    return claims


def _generic_claims(person: Person, sign_in: SignIn) -> dict[str, Any]:
    return {"sub": derived_id(person, "generic"), **_standard_claims(person, sign_in)}


def _pingone_claims(person: Person, sign_in: SignIn) -> dict[str, Any]:
    claims = _standard_claims(person, sign_in)
    claims.pop("email_verified", None)
    return {
        "sub": derived_id(person, "pingone"),
        "acr": "Single_Factor",
        "amr": ["pwd"],
        "env": PINGONE_ENVIRONMENT_ID,
        **claims,
    }


def _pingfederate_claims(person: Person, sign_in: SignIn) -> dict[str, Any]:
    """`sub` is the login name, as PingFederate does by default: it is reused after a rehire."""
    claims = _standard_claims(person, sign_in)
    for name in ("email_verified", "preferred_username"):
        claims.pop(name, None)
    return {
        "sub": person.name,
        "jti": base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode(),
        "acr": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
        "pi.sri": f"{sign_in.sid}..devidp",
        **claims,
    }


_PERSONAL = frozenset({"sub", "name", "given_name", "family_name", "email"})
_STANDARD = _PERSONAL | {"preferred_username", "email_verified"}
_TENANT = f"/{TENANT_ID}"
_ENVIRONMENT = f"/pingone/{PINGONE_ENVIRONMENT_ID}/as"

ENTRA = Face(
    name="entra",
    label="Microsoft Entra ID",
    issuer=f"{_TENANT}/v2.0",
    authorize=f"{_TENANT}/oauth2/v2.0/authorize",
    token=f"{_TENANT}/oauth2/v2.0/token",
    jwks=f"{_TENANT}/discovery/v2.0/keys",
    userinfo="/oidc/userinfo",
    logout=f"{_TENANT}/oauth2/v2.0/logout",
    logout_goes_to="redirect_uris",  # fact A28
    logout_asks_who=True,
    claims=_entra_claims,
    userinfo_claims=_PERSONAL | {"picture"},
    error_body=errors.entra_body,
    auth_methods=("client_secret_post", "private_key_jwt", "client_secret_basic"),
    sends_at_hash=False,
    backdates=300,
    lifetime=3600,
    key_members=("x5c", "issuer"),
    group_style="ids",
    group_limit=200,
    group_place="id_token",
    omits_empty_groups=True,
    token_extra={"ext_expires_in": 3599},
    discovery={
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "request_uri_parameter_supported": False,
        "device_authorization_endpoint": f"{_TENANT}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "claims_supported": [
            "sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name",
            "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name",
            "tid", "ver", "at_hash", "c_hash", "email",
        ],
        "kerberos_endpoint": f"{_TENANT}/kerberos",
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    },
)  # fmt: skip

GENERIC = Face(
    name="generic",
    label="a standard OpenID provider",
    issuer="/generic",
    authorize="/generic/authorize",
    token="/generic/token",
    jwks="/generic/jwks",
    userinfo="/generic/userinfo",
    logout="/generic/logout",
    claims=_generic_claims,
    userinfo_claims=_STANDARD,
    sends_iss=True,
    key_members=("alg",),
    discovery={
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "name", "given_name",
            "family_name", "preferred_username", "email", "email_verified", "groups",
        ],
    },
)  # fmt: skip

PINGONE = Face(
    name="pingone",
    label="PingOne",
    issuer=_ENVIRONMENT,
    authorize=f"{_ENVIRONMENT}/authorize",
    token=f"{_ENVIRONMENT}/token",
    jwks=f"{_ENVIRONMENT}/jwks",
    userinfo=f"{_ENVIRONMENT}/userinfo",
    logout=f"{_ENVIRONMENT}/signoff",
    claims=_pingone_claims,
    userinfo_claims=_STANDARD,
    error_body=errors.pingone_body,
    single_group_is_string=True,
    omits_empty_groups=True,
    discovery={
        "introspection_endpoint": f"{_ENVIRONMENT}/introspect",
        "revocation_endpoint": f"{_ENVIRONMENT}/revoke",
        "pushed_authorization_request_endpoint": f"{_ENVIRONMENT}/par",
        "device_authorization_endpoint": f"{_ENVIRONMENT}/device_authorization",
        "claims_parameter_supported": True,
        "request_parameter_supported": True,
        "scopes_supported": ["openid", "profile", "email", "address", "phone"],
        "response_types_supported": ["code", "id_token", "token id_token", "code id_token"],
        "response_modes_supported": ["pi.flow", "query", "fragment", "form_post"],
        "subject_types_supported": ["public"],
        "code_challenge_methods_supported": ["plain", "S256"],
    },
)

PINGFEDERATE = Face(
    name="pingfederate",
    label="PingFederate",
    issuer="/pf",
    authorize="/pf/as/authorization.oauth2",
    token="/pf/as/token.oauth2",
    jwks="/pf/pf/JWKS",
    userinfo="/pf/idp/userinfo.openid",
    logout="/pf/idp/init_logout.openid",
    older_logout="/pf/idp/startSLO.ping",
    claims=_pingfederate_claims,
    userinfo_claims=_STANDARD,
    error_body=errors.pingfederate_body,
    key_members=("alg", "x5c"),
    group_claim="memberOf",
    group_style="dn",
    single_group_is_string=True,
    omits_empty_groups=True,
    discovery={
        "revocation_endpoint": "/pf/as/revoke_token.oauth2",
        "introspection_endpoint": "/pf/as/introspect.oauth2",
        "ping_end_session_endpoint": "/pf/idp/startSLO.ping",
        "scopes_supported": ["openid", "profile", "email", "groups"],
        "claims_supported": ["acr", "pi.sri", "sid", "sub", "memberOf"],
        "response_types_supported": ["code", "token", "id_token", "code token", "code id_token"],
        "response_modes_supported": ["fragment", "query", "form_post", "pi.flow"],
        "grant_types_supported": ["implicit", "authorization_code", "refresh_token", "client_credentials"],
        "subject_types_supported": ["public"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "backchannel_logout_supported": True,
    },
)

FACES = {face.name: face for face in (ENTRA, GENERIC, PINGONE, PINGFEDERATE)}
