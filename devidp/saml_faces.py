"""The SAML side of each face: its addresses, what it signs, how it names people and groups.

One row a vendor, beside the row in `faces`; nothing elsewhere asks which face it is. Shapes follow
Entra (facts C1-C8, J3-J5), PingOne (D19) and PingFederate (E7). `generic` is what the standard's
own conformance document describes, where the vendors differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devidp.people import GUEST_IDP, Person, derived_id
from devidp.saml_xml import POST, REDIRECT
from devidp.settings import PINGONE_ENVIRONMENT_ID, TENANT_ID

Claims = dict[str, tuple[str, ...]]

MICROSOFT = "http://schemas.microsoft.com/identity/claims"
XMLSOAP = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
ROLE_CLAIMS = "http://schemas.microsoft.com/ws/2008/06/identity/claims"
GROUPS_LINK = "http://schemas.microsoft.com/claims/groups.link"
HOME_IDP = f"https://sts.windows.net/{TENANT_ID}/"


@dataclass(frozen=True, kw_only=True)
class SamlFace:
    """One provider as a service provider sees it. Paths are on this server's own base URL."""

    name: str
    label: str
    entity_id: str
    metadata: str
    sso: str
    slo: str
    start: str
    start_parameter: str
    claims: Callable[[Person], Claims]
    name_id_format: str
    group_attribute: str
    group_style: str = "names"
    group_limit: int | None = None
    name_format: str | None = "urn:oasis:names:tc:SAML:2.0:attrname-format:basic"
    signed: str = "assertion"
    signs_errors: bool = True
    sso_bindings: tuple[str, ...] = (REDIRECT, POST)
    slo_bindings: tuple[str, ...] = (REDIRECT, POST)
    logout_binding: str = REDIRECT
    logout_issuer: str | None = None
    # The query parameter of the metadata address without which other keys are shown.
    partner_parameter: str | None = None
    # Prefixes of the assertion's namespace in the Response and in the Assertion; "" is the default one.
    prefixes: tuple[str, str] = ("saml", "saml")
    issuer_blank: str = ""
    conditions: tuple[int, int] = (-300, 300)
    confirmation: int = 300
    session_index_is_id: bool = False
    qualified: bool = False
    typed: bool = True
    # Entra ignores Destination and takes any of several formats; the others hold to what is written.
    checks_destination: bool = True
    name_id_choice: tuple[str, ...] = ()
    relay_state_limit: int | None = None
    aadsts: bool = False

    def issuer(self, base: str) -> str:
        return base + self.entity_id


def _entra_claims(person: Person) -> Claims:
    """Fact C5. Roles are the app roles; groups are added where their limit is known."""
    claims: Claims = {
        f"{MICROSOFT}/tenantid": (TENANT_ID,),
        f"{MICROSOFT}/objectidentifier": (person.oid,),
        f"{MICROSOFT}/displayname": (person.display_name,),
        f"{MICROSOFT}/identityprovider": (GUEST_IDP if person.guest else HOME_IDP,),
        f"{XMLSOAP}/givenname": (person.given_name,),
        f"{XMLSOAP}/surname": (person.family_name,),
        f"{XMLSOAP}/emailaddress": (person.email,),
        f"{XMLSOAP}/name": (person.email,),
    }
    if person.app_roles:
        claims[f"{ROLE_CLAIMS}/role"] = person.app_roles
    return claims


def _pingone_claims(person: Person) -> Claims:
    return {
        "username": (person.name,),
        "email": (person.email,),
        "given_name": (person.given_name,),
        "family_name": (person.family_name,),
    }


def _pingfederate_claims(person: Person) -> Claims:
    """entryUUID is the directory's id that is never reused; the NameID is the login name (fact J7)."""
    return {
        "entryUUID": (derived_id(person, "entryUUID"),),
        "mail": (person.email,),
        "givenName": (person.given_name,),
        "sn": (person.family_name,),
    }


def _generic_claims(person: Person) -> Claims:
    return {
        "uid": (person.name,),
        "mail": (person.email,),
        "givenName": (person.given_name,),
        "sn": (person.family_name,),
    }


_TENANT = f"/{TENANT_ID}"
_PINGONE = f"/pingone/{PINGONE_ENVIRONMENT_ID}"

ENTRA = SamlFace(
    name="entra",
    label="Microsoft Entra ID",
    entity_id=f"{_TENANT}/",
    metadata=f"{_TENANT}/federationmetadata/2007-06/federationmetadata.xml",
    sso=f"{_TENANT}/saml2",
    slo=f"{_TENANT}/saml2",
    start=f"{_TENANT}/saml2/start",
    start_parameter="appid",
    claims=_entra_claims,
    name_id_format="emailAddress",
    name_id_choice=("emailAddress", "persistent", "unspecified", "transient", "windows"),
    group_attribute=f"{ROLE_CLAIMS}/groups",
    group_style="ids",
    group_limit=150,
    name_format=None,
    signs_errors=False,
    slo_bindings=(REDIRECT,),
    # Fact C8: the sample's LogoutResponse bears the other of the two names (fact C2), on purpose.
    logout_issuer=HOME_IDP,
    partner_parameter="appid",
    prefixes=("", ""),
    issuer_blank=" ",
    conditions=(0, 4200),
    session_index_is_id=True,
    typed=False,
    checks_destination=False,
    aadsts=True,
)

PINGONE = SamlFace(
    name="pingone",
    label="PingOne",
    entity_id=_PINGONE,
    metadata=f"{_PINGONE}/saml20/metadata/<application>",
    sso=f"{_PINGONE}/saml20/idp/sso",
    slo=f"{_PINGONE}/saml20/idp/slo",
    start=f"{_PINGONE}/saml20/idp/startsso",
    start_parameter="spEntityId",
    claims=_pingone_claims,
    name_id_format="persistent",
    group_attribute="groups",
    signs_errors=False,
    logout_binding=POST,
)

PINGFEDERATE = SamlFace(
    name="pingfederate",
    label="PingFederate",
    entity_id="/pf",
    metadata="/pf/pf/federation_metadata.ping",
    sso="/pf/idp/SSO.saml2",
    slo="/pf/idp/SLO.saml2",
    start="/pf/idp/startSSO.ping",
    start_parameter="PartnerSpId",
    claims=_pingfederate_claims,
    name_id_format="unspecified",
    group_attribute="memberOf",
    group_style="dn",
    signed="response",
    partner_parameter="PartnerSpId",
)

GENERIC = SamlFace(
    name="generic",
    label="a standard SAML provider",
    entity_id="/generic/saml",
    metadata="/generic/saml/metadata",
    sso="/generic/saml/sso",
    slo="/generic/saml/slo",
    start="/generic/saml/start",
    start_parameter="sp",
    claims=_generic_claims,
    name_id_format="persistent",
    group_attribute="groups",
    qualified=True,
    # Bindings 3.4.3: "MUST NOT exceed 80 bytes". The vendors let more through.
    relay_state_limit=80,
)

SAML_FACES = {face.name: face for face in (ENTRA, GENERIC, PINGONE, PINGFEDERATE)}
