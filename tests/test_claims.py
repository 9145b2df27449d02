"""Who verified claims say that somebody is: what is known, what is unknown, and what is refused.

Every claim here was signed by a provider and verified; there is no other way into ``to_identity``.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_sso.errors import ClaimMissing, GuestRefused
from airflow_sso.identity import Identity
from airflow_sso.login.claims import to_identity
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import EntraOidc, GenericOidc
from tests.lines import both_lines
from tests.tokens import ABSENT, CLIENT_ID, verified

pytestmark = both_lines

TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
OID = "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"
_COMMON = {"protocol": "oidc", "client_id": CLIENT_ID, "client_auth": {"secret": {"env": "NOT_READ_HERE"}}}


def generic(**changes: Any) -> GenericOidc:
    entry = {"name": "lab", "vendor": "generic", "issuer": "https://id.lab.example.com", **_COMMON}
    return GenericOidc.model_validate({**entry, **changes})


def entra(**changes: Any) -> EntraOidc:
    entry = {"name": "entra", "vendor": "entra", "tenant_id": TENANT, **_COMMON}
    return EntraOidc.model_validate({**entry, **changes})


def of_generic(settings: GenericOidc | None = None, **claims: Any) -> Identity:
    return to_identity(verified(**claims), settings or generic())


def of_entra(settings: EntraOidc | None = None, **claims: Any) -> Identity:
    settings = settings or entra()
    ours = {"iss": vendor_of(settings).issuer(settings), "tid": TENANT, "oid": OID}
    return to_identity(verified(**{**ours, **claims}), settings)


EITHER = pytest.mark.parametrize("identity_of", [of_generic, of_entra], ids=["generic", "entra"])


# --- groups ------------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize(
    ("groups", "known"),
    [
        (["a", "b"], {"a", "b"}),
        ([], set()),
        (["a", "a"], {"a"}),
        ("a", {"a"}),
        ("", set()),
        ("a,b", {"a,b"}),
        ("CN=Größe,OU=Groups,DC=corp", {"CN=Größe,OU=Groups,DC=corp"}),
        (r"CONTOSO\Airflow-Admins", {r"CONTOSO\Airflow-Admins"}),
        ('["a", "b"]', {"a", "b"}),
        ("[]", set()),
        ('["a"', {'["a"'}),
        ("[team] a", {"[team] a"}),
        (["a", 5], {"a", "5"}),
        (["admins", "\u0430dmins", "ADMINS", "admins ", "admins\u200b"], None),
        ([f"g{number}" for number in range(2000)], None),
    ],
    # A set is not written in the same order twice, and processes that share the tests compare the ids.
    ids=lambda value: ascii(sorted(value) if isinstance(value, set) else value)[:24],
)
def test_groups_of_every_lawful_shape_are_read(identity_of: Any, groups: Any, known: set[str] | None) -> None:
    identity = identity_of(groups=groups)
    assert identity.groups == (set(groups) if known is None else known)
    assert not identity.group_overage


@EITHER
@pytest.mark.parametrize(
    "groups", [ABSENT, None, 5, 0, 1.5, True, False, {}, {"a": True}, {"groups": ["a"]}], ids=repr
)
def test_groups_that_are_absent_or_unreadable_are_unknown_and_not_none(
    identity_of: Any, groups: object
) -> None:
    assert identity_of(groups=["a"]).groups == {"a"}
    identity = identity_of(groups=groups)
    assert identity.groups is None
    assert not identity.group_overage


@EITHER
def test_what_an_array_in_a_string_holds_is_text_that_can_be_kept(identity_of: Any) -> None:
    assert identity_of(groups=r'["a", "\u0041"]').groups == {"a", "A"}
    hidden = identity_of(groups=r'["a", "\ud800"]').groups  # lawful in the token, half a character inside
    "".join(hidden or ()).encode()


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ("CN=Airflow-Admins,OU=Groups,DC=corp,DC=example", "Airflow-Admins"),
        ("cn=Größe, ou=Groups", "Größe"),
        (" CN = Airflow Admins , OU=Groups", "Airflow Admins"),
        ("CN=Airflow-Admins", "Airflow-Admins"),
        (r"CN=Sales\, Berlin,OU=Groups", "Sales, Berlin"),
        (r"CN=Sales\2C Berlin,OU=Groups", "Sales, Berlin"),
        (r"CN=Gr\C3\B6\C3\9Fe,OU=Groups", "Größe"),
        ("OU=Groups,CN=Airflow-Admins", "OU=Groups,CN=Airflow-Admins"),
        ("CN=,OU=Groups", "CN=,OU=Groups"),
        ("Airflow-Admins", "Airflow-Admins"),
    ],
)
def test_a_group_may_be_known_by_its_common_name_alone(written: str, short: str) -> None:
    assert of_generic(groups=[written]).groups == {written}
    assert of_generic(generic(group_dn="cn"), groups=[written]).groups == {short}


def test_a_hostile_distinguished_name_costs_no_time() -> None:
    groups = ["cn=a" + " " * 15_000 + "+", "cn=" + "\\a" * 7_500 + "+"]
    claims = verified(groups=groups)
    started = time.monotonic()
    assert to_identity(claims, generic(group_dn="cn")).groups == set(groups)
    assert time.monotonic() - started < 0.5


MARKERS: list[dict[str, Any]] = [
    {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}},
    {"_claim_names": {"groups": "src1"}},
    {"_claim_names": {"groups": None}, "_claim_sources": {}},
    {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "http://169.254.169.254/"}}},
    {"hasgroups": True},
    {"hasgroups": "true"},
    {"hasgroups": "True"},
    {"hasgroups": 1},
    {"hasgroups": "1"},
]


@EITHER
@pytest.mark.parametrize("groups", [ABSENT, ["a"], [], "a", None], ids=repr)
@pytest.mark.parametrize("marker", MARKERS, ids=str)
def test_an_overage_makes_the_groups_unknown_whatever_else_the_token_says(
    identity_of: Any, marker: dict[str, Any], groups: object
) -> None:
    identity = identity_of(groups=groups, **marker)
    assert identity.groups is None
    assert identity.group_overage


@EITHER
@pytest.mark.parametrize(
    "marker",
    [
        {"_claim_names": {"address": "src1"}},
        {"_claim_names": {}},
        {"_claim_names": None},
        {"_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}},
        {"hasgroups": False},
        {"hasgroups": "false"},
        {"hasgroups": 0},
        {"hasgroups": None},
    ],
    ids=str,
)
def test_what_is_no_overage_marker_leaves_the_groups_known(identity_of: Any, marker: dict[str, Any]) -> None:
    identity = identity_of(groups=["a"], **marker)
    assert identity.groups == {"a"}
    assert not identity.group_overage


# --- app roles ------------------------------------------------------------------------------------------------


def test_absent_app_roles_are_none_at_entra_and_unknown_elsewhere() -> None:
    assert of_entra(roles=["Airflow.Op"]).app_roles == {"Airflow.Op"}
    assert of_generic(roles=["Airflow.Op"]).app_roles == {"Airflow.Op"}
    assert of_entra().app_roles == frozenset()
    assert of_generic().app_roles is None


@EITHER
@pytest.mark.parametrize("roles", [5, True, {"a": 1}], ids=repr)
def test_app_roles_that_are_unreadable_are_unknown(identity_of: Any, roles: object) -> None:
    # They are not absent: the vendor's "absent means none" says nothing about them.
    assert identity_of(roles=roles).app_roles is None


def test_an_overage_of_groups_leaves_app_roles_known() -> None:
    identity = of_entra(roles=["Airflow.Op"], hasgroups=True)
    assert identity.app_roles == {"Airflow.Op"}
    assert identity.groups is None


# --- guests -----------------------------------------------------------------------------------------------------

GUESTS: list[dict[str, Any]] = [
    {"acct": 1},
    {"acct": "1"},
    {"idp": "https://sts.windows.net/ffffeeee-9999-dddd-8888-cccc7777bbbb/"},
    {"idp": "https://login.microsoftonline.com/ffffeeee-9999-dddd-8888-cccc7777bbbb/v2.0"},
    {"idp": "live.com"},
    {"idp": "mail"},
    {"idp": ""},
    {"idp": None},
    {"idp": 5},
    {"idp": [f"https://sts.windows.net/{TENANT}/"]},
    {"idp": {"issuer": f"https://sts.windows.net/{TENANT}/"}},
    {"acct": 0, "idp": "live.com"},
    {"acct": 1, "idp": f"https://sts.windows.net/{TENANT}/"},
]
MEMBERS: list[dict[str, Any]] = [
    {},
    {"acct": 0},
    {"acct": "0"},
    {"idp": f"https://sts.windows.net/{TENANT}/"},
    {"idp": f"https://login.microsoftonline.com/{TENANT}/v2.0"},
    {"acct": 0, "idp": f"https://sts.windows.net/{TENANT}/"},
    {"preferred_username": "eve_evil.example#EXT#@contoso.onmicrosoft.com"},  # a name proves nothing
]


@pytest.mark.parametrize("claims", MEMBERS, ids=str)
def test_a_member_is_no_guest(claims: dict[str, Any]) -> None:
    assert not of_entra(**claims).is_guest


@pytest.mark.parametrize("claims", GUESTS, ids=str)
def test_a_guest_is_refused_unless_guests_are_mapped(claims: dict[str, Any]) -> None:
    with pytest.raises(GuestRefused) as caught:
        of_entra(**claims)
    assert "a guest, by the claims of entra" in caught.value.detail
    assert caught.value.identity.subject == OID
    mapped = of_entra(entra(guests="map"), **claims)
    assert mapped.is_guest


def test_elsewhere_those_claims_mean_nothing() -> None:
    assert not of_generic(acct=1, idp="live.com").is_guest


# --- subject ----------------------------------------------------------------------------------------------------


def test_the_account_key_is_the_object_id_at_entra_and_the_subject_elsewhere() -> None:
    at_entra = of_entra(sub="pairwise", oid=OID.upper())
    assert (at_entra.authority, at_entra.subject) == (f"entra:public:{TENANT}", OID)
    elsewhere = of_generic(sub="Ada", oid=OID)
    assert (elsewhere.authority, elsewhere.subject) == ("oidc:lab", "Ada")
    assert of_generic(generic(authority="contoso")).authority == "contoso"
    assert of_entra(entra(cloud="china"), iss="https://x.example").authority == f"entra:china:{TENANT}"


@pytest.mark.parametrize("length", [1, 700, 1000])
def test_a_subject_may_be_long(length: int) -> None:
    assert of_generic(generic(claims={"subject": "employee"}), employee="e" * length).subject == "e" * length


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ABSENT, "no subject claim is there: employee"),
        (None, "no subject claim is there: employee"),
        (5, "employee is not a usable string"),
        (0, "employee is not a usable string"),
        (True, "employee is not a usable string"),
        (["e"], "employee is not a usable string"),
        ({"id": "e"}, "employee is not a usable string"),
        ("", "employee is not a usable string"),
        (" ", "employee is not a usable string"),
        ("\u2003\u00a0", "employee is not a usable string"),
        ("e" * 1001, "employee is not a usable string"),
        ("ada\n", "employee has control characters"),
        ("ada\x00", "employee has control characters"),
        ("a\x7fda", "employee has control characters"),
        ("a\x85da", "employee has control characters"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_subject_that_names_nobody_for_certain_is_refused(value: object, why: str) -> None:
    settings = generic(claims={"subject": "employee"})
    assert of_generic(settings, employee="e1").subject == "e1"
    with pytest.raises(ClaimMissing) as caught:
        of_generic(settings, employee=value)
    assert why in caught.value.detail


def test_the_first_subject_that_is_there_decides_even_when_it_is_unusable() -> None:
    settings = generic(claims={"subject": ["employee", "sub"]})
    assert of_generic(settings, sub="s", employee="e").subject == "e"
    assert of_generic(settings, sub="s").subject == "s"
    with pytest.raises(ClaimMissing, match="employee"):
        of_generic(settings, sub="s", employee=7)


def test_entra_without_an_object_id_names_nobody() -> None:
    with pytest.raises(ClaimMissing, match="no subject claim is there: oid"):
        of_entra(oid=ABSENT)


# --- names ------------------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Ada", "Ada"),
        ("  Ada  ", "Ada"),
        ("Zoë Müller-Šťastná", "Zoë Müller-Šťastná"),
        ("李小龍", "李小龍"),
        ("Ada\r\nSet-Cookie: x=1", "AdaSet-Cookie: x=1"),
        ("A\x00d\x1b[31ma\x7f", "Ad[31ma"),
        ("\u202eadA\u202c", "adA"),
        ("A\u200bd\ufeffa", "Ada"),
        ("A" * 501, "A" * 500),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_name_is_kept_without_characters_that_no_name_has(
    identity_of: Any, written: str, kept: str
) -> None:
    identity = identity_of(
        given_name=written, family_name=written, preferred_username=written, email=written, name=written
    )
    names = (identity.first_name, identity.last_name, identity.username, identity.email)
    assert names == (kept, kept, kept, kept)


@EITHER
@pytest.mark.parametrize("nothing", [ABSENT, None, "", "  ", "\u200b", "\n", 5, True, ["Ada"], {}], ids=ascii)
def test_a_name_that_is_none_gives_way_to_the_next_claim(identity_of: Any, nothing: object) -> None:
    identity = identity_of(given_name=nothing, preferred_username=nothing, email="ada@contoso.example")
    assert identity.first_name is None
    assert identity.username == "ada@contoso.example"


@EITHER
@pytest.mark.parametrize(
    ("value", "is_verified"),
    [(True, True), (False, False), ("true", False), (1, False), (ABSENT, False), (None, False)],
    ids=repr,
)
def test_an_address_is_verified_only_when_the_provider_says_true(
    identity_of: Any, value: object, is_verified: bool
) -> None:
    assert identity_of(email="ada@contoso.example", email_verified=value).email_verified is is_verified


# --- where a claim is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("memberOf", {"memberOf": ["a"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["a"]}}),
        ("resource_access.airflow.roles", {"resource_access": {"airflow": {"roles": ["a"]}}}),
        ("https://contoso.example/groups", {"https://contoso.example/groups": ["a"]}),
        ("urn:oid:1.3.6.1.4.1.5923.1.5.1.1", {"urn:oid:1.3.6.1.4.1.5923.1.5.1.1": ["a"]}),
        ("pi.groups", {"pi.groups": ["a"]}),
        ("pi.groups", {"pi.groups": ["a"], "pi": {"groups": ["b"]}}),  # the whole name comes first
        (["missing", "memberOf"], {"memberOf": ["a"]}),
        (["first", "second"], {"first": ["a"], "second": ["b"]}),
        (["first", "second"], {"first": None, "second": ["a"]}),
        (["first", "second"], {"first": 5, "second": ["a"]}),
    ],
    ids=str,
)
def test_a_configured_path_finds_its_claim(path: str | list[str], claims: dict[str, Any]) -> None:
    assert of_generic(generic(claims={"groups": path}), **claims).groups == {"a"}


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("memberOf", {"groups": ["a"]}),
        ("realm_access.roles", {"realm_access": ["roles"]}),
        ("realm_access.roles", {"realm_access": "roles"}),
        ("realm_access.roles", {"realm_access": {"other": ["a"]}}),
        ("realm_access.roles", {}),
        ("a.b.c", {"a": {"b": None}}),
        ("https://contoso.example/groups", {"https://contoso": {"example/groups": 5}}),
        ("groups.", {"groups": ["a"]}),
    ],
    ids=str,
)
def test_a_path_that_leads_nowhere_leaves_the_groups_unknown(path: str, claims: dict[str, Any]) -> None:
    assert of_generic(generic(claims={"groups": path}), **claims).groups is None


# --- the session ------------------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_767_919_990, datetime(2026, 1, 9, 0, 53, 10, tzinfo=timezone.utc)),
        (1_767_919_990.5, datetime(2026, 1, 9, 0, 53, 10, 500_000, tzinfo=timezone.utc)),
        (0, None),
        (-5, None),
        (True, None),
        ("1767919990", None),
        (None, None),
        (10**12, None),
        (10**400, None),
        ([], None),
        (ABSENT, None),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_when_somebody_proved_who_they_are_may_be_unknown(
    identity_of: Any, value: object, moment: datetime | None
) -> None:
    assert identity_of(auth_time=value).authenticated_at == moment


@EITHER
@pytest.mark.parametrize("value", [5, None, ["s"], {}, True, ABSENT], ids=repr)
def test_the_session_of_the_provider_is_text_or_unknown(identity_of: Any, value: object) -> None:
    assert identity_of(sid="s" * 700).session_ref == "s" * 700
    assert identity_of(sid=value).session_ref is None


@EITHER
def test_an_identity_keeps_all_claims_read_only_and_shows_none(identity_of: Any) -> None:
    identity = identity_of(department="Finance", email="ada@contoso.example", scope=["openid", "email"])
    assert identity.claims["department"] == "Finance"
    with pytest.raises(TypeError):
        identity.claims["department"] = "Sales"
    assert identity.subject in repr(identity)
    assert "Finance" not in repr(identity)
    assert "ada@contoso.example" not in repr(identity)


def test_no_identity_has_groups_that_are_both_known_and_too_many() -> None:
    about: dict[str, Any] = dict.fromkeys(("username", "email", "first_name", "last_name"))
    about |= {"email_verified": False, "app_roles": None, "provider": "lab", "protocol": "oidc"}
    assert Identity(authority="a", subject="s", groups=None, group_overage=True, **about)
    for wrong in (
        {"groups": frozenset(), "group_overage": True},
        {"groups": None, "subject": ""},
        {"groups": None, "authority": ""},
    ):
        with pytest.raises(ValueError, match=r"unknown|authority and a subject"):
            Identity(**{"authority": "a", "subject": "s", **about, **wrong})


@pytest.mark.parametrize("unreadable", [None, 1.5, True, {"x": "b"}, ["b"]], ids=repr)
def test_one_entry_that_cannot_be_read_makes_the_groups_unknown(unreadable: object) -> None:
    """It may be the very one that a deny rule names."""
    assert of_generic(groups=["a", unreadable]).groups is None
    assert of_generic(groups=["a", "b"]).groups == {"a", "b"}
