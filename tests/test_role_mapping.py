"""Where a group becomes a role: the language of the mapping file, and what it decides."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from airflow_sso import role_mapping, yaml_document
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping, RoleDecision, understand
from tests.lines import both_lines

pytestmark = both_lines

TODAY = date(2026, 7, 1)
ADMINS = "8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c11"


def identity(**changes: Any) -> Identity:
    values: dict[str, Any] = {
        "authority": "entra:public:t",
        "subject": "s",
        "username": "ada@contoso.example",
        "email": None,
        "email_verified": False,
        "first_name": None,
        "last_name": None,
        "groups": frozenset(),
        "app_roles": frozenset(),
        "provider": "entra",
        "protocol": "oidc",
    }
    return Identity(**{**values, **changes})


def decide(person: Identity, rules: Mapping) -> RoleDecision:
    return role_mapping.decide(person, rules, TODAY)


def mapping(text: str, *roles: str) -> Mapping:
    document = yaml_document.parse(f"version: 1\n{text}", "role_mapping.yaml")
    found = understand(document, {*BUILT_IN_ROLES, *roles})
    assert found is not None, document.faults
    return found


def faults(text: str) -> list[str]:
    document = yaml_document.parse(text, "role_mapping.yaml")
    assert understand(document, BUILT_IN_ROLES) is None
    return [str(fault) for fault in document.faults]


RULES = f"""
rules:
  - {{group: {ADMINS}, name: admins, roles: [Admin]}}
  - {{group: viewers, roles: Viewer}}
  - {{app_role: Airflow.Op, roles: [Op, User]}}
  - {{claim: department, equals: Finance, roles: [Viewer]}}
  - {{claim: address.country, equals: DE, roles: [User]}}
  - {{group: suspended, deny: true}}
"""


@pytest.mark.parametrize(
    ("facts", "roles"),
    [
        ({"groups": frozenset({ADMINS})}, {"Admin"}),
        ({"groups": frozenset({ADMINS.upper()})}, {"Admin"}),
        ({"groups": frozenset({"viewers", ADMINS})}, {"Admin", "Viewer"}),
        ({"app_roles": frozenset({"Airflow.Op"})}, {"Op", "User"}),
        ({"claims": {"department": "Finance"}}, {"Viewer"}),
        ({"claims": {"department": ["Sales", "Finance"]}}, {"Viewer"}),
        ({"claims": {"address": {"country": "DE"}}}, {"User"}),
        ({"claims": {"address.country": "DE"}}, {"User"}),
    ],
)
def test_what_matches_gives_its_roles(facts: dict[str, Any], roles: set[str]) -> None:
    decision = decide(identity(**facts), mapping(RULES))
    assert decision.roles == roles
    assert decision.refused_because is None
    assert decision.matched


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({}, "SSO-301"),
        ({"groups": frozenset({"Viewers"})}, "SSO-301"),  # names are case-sensitive
        ({"groups": frozenset({"viewer"})}, "SSO-301"),
        ({"claims": {"department": "finance"}}, "SSO-301"),
        ({"claims": {"department": True}}, "SSO-301"),
        ({"groups": frozenset({ADMINS, "suspended"})}, "SSO-307"),
        ({"groups": None}, "SSO-305"),
        ({"groups": None, "app_roles": frozenset({"Airflow.Op"})}, "SSO-305"),  # under deny
    ],
)
def test_what_does_not_match_is_refused_with_its_reason(facts: dict[str, Any], code: str) -> None:
    decision = decide(identity(**facts), mapping(RULES))
    assert decision.roles == frozenset()
    assert decision.refused_because == code
    assert decision.keeps_roles == (code == "SSO-305")


def test_unknown_groups_hurt_only_where_a_rule_reads_groups() -> None:
    by_role = mapping("rules: [{app_role: Airflow.Op, roles: [Op]}]")
    person = identity(groups=None, group_overage=True, app_roles=frozenset({"Airflow.Op"}))
    assert decide(person, by_role).roles == {"Op"}


def test_an_overage_never_reads_as_fewer_groups() -> None:
    both = mapping("rules: [{app_role: Airflow.Op, roles: [Op]}, {group: g, roles: [Admin]}]")
    known = identity(groups=None, app_roles=frozenset({"Airflow.Op"}))
    assert decide(known, both).roles == {"Op"}
    overflowing = identity(groups=None, group_overage=True, app_roles=frozenset({"Airflow.Op"}))
    assert decide(overflowing, both).refused_because == "SSO-305"


def test_no_match_gives_its_roles_only_when_everything_is_known() -> None:
    lenient = mapping("rules: [{group: g, roles: [Admin]}]\nno_match: [Viewer]")
    assert decide(identity(), lenient).roles == {"Viewer"}
    assert decide(identity(groups=frozenset({"g"})), lenient).roles == {"Admin"}
    assert decide(identity(groups=None), lenient).refused_because == "SSO-305"


def test_a_truth_value_and_a_one_are_different_things() -> None:
    rules = mapping(
        "rules: [{claim: flag, equals: true, roles: [Op]}, {claim: flag, equals: 1, roles: [User]}]"
    )
    assert decide(identity(claims={"flag": True}), rules).roles == {"Op"}
    assert decide(identity(claims={"flag": 1}), rules).roles == {"User"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("rules: []", "role_mapping.yaml:1:1: version: is required"),
        ("version: 2\nrules: []", "role_mapping.yaml:1:1: version: must be 1"),
        (
            "version: 1\nrules:\n  - {group: g, roles: [Opp]}",
            "3:24: rules[0].roles[0]: there is no role 'Opp'; did you",
        ),
        ("version: 1\nrules:\n  - {group: g, role: [Op]}", "rules[0].role: is not a key that is known here"),
        ("version: 1\nrules:\n  - {group: g}", "exactly one of roles and deny"),
        (
            "version: 1\nrules:\n  - {group: g, app_role: r, roles: [Op]}",
            "must have exactly one of group, app_role, client, provider",
        ),
        ("version: 1\nrules:\n  - {claim: c, roles: [Op]}", "claim goes with exactly one of equals, in"),
        (
            "version: 1\nrules:\n  - {group: {matches: 'team-('}, roles: [Op]}",
            "rules[0].group.matches: is no regular expression of RE2's language: missing )",
        ),
        (
            "version: 1\nrules:\n  - {group: g, roles: [Op]}\n  - {group: g, roles: [Op]}",
            "the same as the one in line 3",
        ),
        ("version: 1\nrules:\n  - {group: g, group: h, roles: [Op]}", "is written twice"),
        ("version: 1\nrules: [}", "is not valid YAML"),
        (
            "version: 1\nrules:\n  - {group: g, roles: [Op]\n  - {group: h, roles: [Op]}",
            "4:3: is not valid YAML: expected ',' or '}', but got '-'; the bracket in line 3 is not closed",
        ),
        ("version: 1\nrules:\n  - {group: *, roles: [Op]}", "a star stands in quotes: '*-admins'"),
        ("version: 1\nrules:\n  - {group: *-ops, roles: [Op]}", "a star stands in quotes: '*-admins'"),
        (
            "version: 1\nrules:\n  - {group: g-*, roles: [t-{1}]}",
            "brackets in it stands in quotes: 'team-{1}'",
        ),
        ("version: 1\nrules:\n  - {group: g-*, roles: t-{1}}", "brackets in it stands in quotes: 'team-{1}'"),
        ("version: 1\nrules: []\nno_match: [Nobody]", "no_match[0]: there is no role 'Nobody'"),
        ("version: 1\nrules:\n  - {group: g, roles: []}", "at least one role"),
        (
            "version: 1\nrules:\n  - {group: g, until: 2027-06-31, roles: [Op]}",
            "rules[0].until: must be a day that exists",
        ),
    ],
)
def test_a_fault_names_its_place_and_its_mend(text: str, says: str) -> None:
    assert any(says in fault for fault in faults(text)), faults(text)


def test_all_faults_are_told_at_once() -> None:
    found = faults(
        "version: 1\nrules:\n  - {group: g, roles: [Opp]}\n  - {group: h, roles: [Viewr]}\nno_match: [X]"
    )
    assert len(found) == 3


# --- roles by hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "held", "given", "holds"),
    [
        ("", {"Viewer", "User"}, {"Viewer"}, {"Op"}),
        ("manual_roles: remove", {"Viewer", "User"}, {"Viewer"}, {"Op"}),
        ("manual_roles: keep", {"Viewer", "User"}, {"Viewer"}, {"Op", "User"}),
        ("manual_roles: keep", {"Op"}, set(), {"Op"}),
        ("protected_roles: [Admin]", {"Viewer", "Admin"}, {"Viewer"}, {"Op", "Admin"}),
        ("protected_roles: [Admin]", {"Viewer"}, {"Viewer"}, {"Op"}),
    ],
)
def test_what_becomes_of_roles_that_were_given_by_hand(
    settings: str, held: set[str], given: set[str], holds: set[str]
) -> None:
    decision = decide(
        identity(groups=frozenset({"g"})), mapping(f"rules: [{{group: g, roles: [Op]}}]\n{settings}")
    )
    assert decision.to_hold(frozenset(held), frozenset(given)) == holds


@pytest.mark.parametrize(
    ("settings", "holds"),
    [("", set()), ("manual_roles: keep", {"User"}), ("protected_roles: [Admin]", {"Admin"})],
)
def test_a_refusal_takes_what_the_mapping_gave_and_no_more(settings: str, holds: set[str]) -> None:
    decision = decide(identity(), mapping(f"rules: [{{group: g, roles: [Op]}}]\n{settings}"))
    assert decision.refused_because == "SSO-301"
    held = (
        {"Op"}
        | ({"User"} if "manual" in settings else set())
        | ({"Admin"} if "protected" in settings else set())
    )
    assert decision.to_hold(frozenset(held), frozenset({"Op"})) == holds


def test_no_rule_gives_a_protected_role() -> None:
    found = faults("version: 1\nprotected_roles: [Admin]\nrules: [{group: g, roles: [Admin]}]")
    assert "Admin is one of protected_roles, which no rule may give" in found[0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("CN=Admins,OU=Groups,DC=corp", "cn=admins, ou=groups ,dc=CORP", True),
        ("CN=Größe,OU=G", "cn=GRÖSSE,ou=g", True),
        ("CN=a\\, b,OU=G", "cn=A\\, B,ou=g", True),
        ("CN=a,OU=G", "CN=a,OU=H", False),
        ("x=y", "X=Y", False),  # one part is no distinguished name of a group
        ("Admins", "admins", False),
    ],
)
def test_distinguished_names_are_compared_without_case_and_spaces(one: str, other: str, same: bool) -> None:
    rules = yaml_document.parse("version: 1\nrules: []", "m")
    rules.data["rules"] = [{"group": one, "roles": ["Op"]}]
    compiled = understand(rules, BUILT_IN_ROLES)
    assert compiled is not None
    assert bool(decide(identity(groups=frozenset({other})), compiled).matched) == same


@pytest.mark.parametrize(
    ("claims", "known"),
    [
        ({"kind": "staff"}, True),
        ({"kind": ["staff", 5, False]}, True),
        ({"kind": []}, True),
        ({}, False),
        ({"kind": None}, False),
        ({"kind": 1.5}, False),
        ({"kind": {"type": "contractor"}}, False),
        ({"kind": [{"type": "contractor"}]}, False),
        ({"kind": ["staff", None]}, False),
    ],
)
def test_a_claim_that_cannot_be_read_is_unknown_and_gives_nothing_under_not(
    claims: dict[str, Any], known: bool
) -> None:
    rules = mapping("rules: [{not: {claim: kind, equals: contractor}, roles: [Viewer]}]")
    assert bool(decide(identity(claims=claims), rules).roles) is known


def test_which_roles_a_rule_may_give_that_nobody_was_asked_about() -> None:
    rules = mapping(
        "rules: [{claim: kind, equals: staff, roles: [Viewer]}, {claim: team, equals: '*', roles: ['team-{1}']},"
        " {claim: seat, equals: '*', roles: ['{1}']}]\n"
        "roles: {'team-*': {}}"
    )
    given = frozenset({"Viewer", "Op", "team-a", "team-", "x"})
    told: dict[str, frozenset[Any] | None] = {"claim:kind": None, "claim:team": None, "claim:seat": None}
    nobody = role_mapping.decide_by_facts({}, rules, TODAY)
    assert nobody.open_of(given) == {"Viewer", "team-a", "team-", "x"}
    assert role_mapping.decide_by_facts(told, rules, TODAY).open_of(given) == set(), "they were asked"
    kind = role_mapping.decide_by_facts({**told, "claim:team": frozenset()}, rules, TODAY)
    assert kind.open_of(given) == set()
    del told["claim:team"]
    assert role_mapping.decide_by_facts(told, rules, TODAY).open_of(given) == {"team-a"}


@pytest.mark.parametrize("name", ["Admin", "ADMIN", "\uff21dmin", "Admin ", "\u00a0admin", "\u2174iewer"])
def test_no_name_that_passes_for_airflows_own_is_caught_or_owned(name: str) -> None:
    rules = mapping("rules: [{group: 'x-*', roles: ['{1}']}]\nroles: {'A*': {}, 'V*': {}}")
    assert rules.why_not_captured(name) == "a pattern never gives a role of Airflow's own"
    document = yaml_document.parse(f"version: 1\nrules: []\nroles: {{'{name}': {{}}}}", "f")
    assert understand(document, role_mapping.BUILT_IN_ROLES) is None
    assert "is one of Airflow's own roles" in " ".join(map(str, document.faults))


@pytest.mark.parametrize("name", ["team ", " team", "te\u200bam", "te\u202eam"])
def test_an_owned_role_has_a_name_that_can_be_told_from_others(name: str) -> None:
    for written, is_fault in ((name, True), ("team", False), ("équipe 7", False)):
        document = yaml_document.parse(f'version: 1\nrules: []\nroles: {{"{written}": {{}}}}', "f")
        assert (understand(document, role_mapping.BUILT_IN_ROLES) is None) is is_fault
