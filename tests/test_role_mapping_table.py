"""The language of the mapping file, by example: what is written, who signs in, what comes of it and why.

To be read as its documentation. A file is written as its rules, one on a line, and whatever else stands at
its top; the day is 1 July 2026.
"""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_sso import yaml_document
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import (
    BUILT_IN_ROLES,
    Mapping,
    RoleDecision,
    decide,
    decide_by_facts,
    understand,
)
from airflow_sso.yaml_document import Document
from tests.test_role_mapping import TODAY, identity

GUID = "8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c11"
DN = "CN=Airflow Ops,OU=Groups,DC=corp"
ROLES = {*BUILT_IN_ROLES, "team-a", "team-b", "team-root"}
TEAMS = "roles: {'team-*': {}}"


@dataclass(frozen=True)
class Outcome:
    roles: frozenset[str] = frozenset()
    refused: str | None = None
    by: tuple[str, ...] = ()
    not_given: dict[str, str] = field(default_factory=dict)


def gives(*roles: str, by: str = "", not_given: dict[str, str] | None = None) -> Outcome:
    """Lets in with these roles; ``by`` are the labels of the rules that matched, in their order."""
    return Outcome(frozenset(roles), None, tuple(filter(None, by.split(" | "))), not_given or {})


def refuses(code: int, by: str = "", not_given: dict[str, str] | None = None) -> Outcome:
    return Outcome(frozenset(), f"SSO-{code}", tuple(filter(None, by.split(" | "))), not_given or {})


NOBODY, UNKNOWN, DENIED = refuses(301), refuses(305), 307


def groups(*names: str, **rest: Any) -> Identity:
    return identity(groups=frozenset(names), **rest)


def app_roles(*names: str) -> Identity:
    return identity(app_roles=frozenset(names))


def claims(**values: Any) -> Identity:
    return identity(claims=values)


def written(text: str) -> Document:
    """A mapping file: its lines that begin with a brace are rules, the others stand at its top."""
    lines = textwrap.dedent(text).strip().splitlines()
    rules = [line.strip() for line in lines if line.lstrip().startswith("{")]
    rest = [line for line in lines if not line.lstrip().startswith("{")]
    top = ["version: 1", "rules:" if rules else "rules: []", *(f"  - {rule}" for rule in rules), *rest]
    return yaml_document.parse("\n".join(top), "role_mapping.yaml")


def mapping(text: str) -> Mapping:
    document = written(text)
    found = understand(document, ROLES)
    assert found is not None, document.faults
    return found


def told(decision: RoleDecision) -> Outcome:
    return Outcome(
        decision.roles,
        decision.refused_because,
        tuple(match.rule.label for match in decision.matched),
        {one.role: one.why for one in decision.not_given},
    )


Case = tuple[str, Identity, Outcome]

GROUPS: list[Case] = [
    # A group is compared whole and exactly.
    ("{group: ops, roles: [Op]}", groups("ops"), gives("Op", by="group ops")),
    ("{group: ops, roles: [Op]}", groups("ops", "other"), gives("Op", by="group ops")),
    ("{group: ops, roles: [Op]}", groups("Ops"), NOBODY),
    ("{group: ops, roles: [Op]}", groups("ops "), NOBODY),
    ("{group: ops, roles: [Op]}", groups("devops"), NOBODY),
    ("{group: ops, roles: [Op]}", groups("ops-berlin"), NOBODY),
    ("{group: ops, roles: [Op]}", groups(), NOBODY),
    ("{group: ops.berlin, roles: [Op]}", groups("opsxberlin"), NOBODY),
    ("{group: 'Größe', roles: [Op]}", groups("Größe"), gives("Op", by="group Größe")),
    ("{group: 'Größe', roles: [Op]}", groups("Grösse"), NOBODY),
    ("{group: '123', roles: [Op]}", groups("123"), gives("Op", by="group 123")),
    ("{group: 'CORP\\Ops', roles: [Op]}", groups("CORP\\Ops"), gives("Op", by="group CORP\\Ops")),
    ("{group: ops, roles: [Op]}", app_roles("ops"), NOBODY),
    ("{group: ops, roles: [Op]}", claims(groups=["ops"]), NOBODY),
    # GUIDs are the same in any case.
    (f"{{group: {GUID}, roles: [Op]}}", groups(GUID.upper()), gives("Op", by=f"group {GUID}")),
    (f"{{group: {GUID.upper()}, roles: [Op]}}", groups(GUID), gives("Op", by=f"group {GUID.upper()}")),
    (f"{{group: {GUID}, roles: [Op]}}", groups(f"{{{GUID}}}"), NOBODY),
    (f"{{group: {GUID}, roles: [Op]}}", groups(GUID[:-1]), NOBODY),
    # Distinguished names in any case, and with any blanks around their signs, but for escaped ones.
    (f"{{group: '{DN}', roles: [Op]}}", groups(DN), gives("Op", by=f"group {DN}")),
    (f"{{group: '{DN}', roles: [Op]}}", groups(DN.lower()), gives("Op", by=f"group {DN}")),
    (
        f"{{group: '{DN}', roles: [Op]}}",
        groups(" cn = airflow ops , ou=groups,dc=CORP "),
        gives("Op", by=f"group {DN}"),
    ),
    (f"{{group: '{DN}', roles: [Op]}}", groups("CN=Airflow  Ops,OU=Groups,DC=corp"), NOBODY),
    (f"{{group: '{DN}', roles: [Op]}}", groups("CN=AirflowOps,OU=Groups,DC=corp"), NOBODY),
    (f"{{group: '{DN}', roles: [Op]}}", groups("CN=Airflow Ops"), NOBODY),
    (f"{{group: '{DN}', roles: [Op]}}", groups(f"{DN},DC=example"), NOBODY),
    ("{group: 'CN=a\\, b,OU=g', roles: [Op]}", groups("CN=A\\, B, OU=G"), gives("Op", by="group CN=a\\, b,OU=g")),
    ("{group: 'CN=a\\, b,OU=g', roles: [Op]}", groups("CN=a\\,b,OU=g"), NOBODY),
    ("{group: 'CN=a\\ ,OU=g,DC=c', roles: [Op]}", groups("CN=a\\,OU=g,DC=c"), NOBODY),
    ("{group: 'CN=a\\\\, OU=g', roles: [Op]}", groups("cn=a\\\\,ou=g"), gives("Op", by="group CN=a\\\\, OU=g")),
    ("{group: 'CN=a = b,OU=g', roles: [Op]}", groups("CN=a=b,OU=g"), NOBODY),
    ("{group: 'CN=C++ devs,OU=g', roles: [Op]}", groups("CN=C++devs,OU=g"), NOBODY),
    ("{group: 'CN=a+UID=1,OU=g', roles: [Op]}", groups("cn=a + uid=1,ou=g"), gives("Op", by="group CN=a+UID=1,OU=g")),
]  # fmt: skip

OTHER_FACTS: list[Case] = [
    ("{app_role: Airflow.Op, roles: [Op]}", app_roles("Airflow.Op"), gives("Op", by="app_role Airflow.Op")),
    ("{app_role: Airflow.Op, roles: [Op]}", app_roles("airflow.op"), NOBODY),
    ("{app_role: Airflow.Op, roles: [Op]}", groups("Airflow.Op"), NOBODY),
    ("{app_role: 'Airflow.*', roles: [Op]}", app_roles("Airflow.Op"), gives("Op", by="app_role Airflow.*")),
    ("{app_role: Airflow.Op, roles: [Op]}", identity(app_roles=None), NOBODY),
    ("{provider: entra, roles: [Viewer]}", identity(), gives("Viewer", by="provider entra")),
    ("{provider: ping, roles: [Viewer]}", identity(), NOBODY),
    ("{provider: 'en*', roles: [Viewer]}", identity(), gives("Viewer", by="provider en*")),
    ("{protocol: saml, roles: [Viewer]}", identity(), NOBODY),
    ("{protocol: saml, roles: [Viewer]}", identity(protocol="saml"), gives("Viewer", by="protocol saml")),
    # Rules for machines are not asked about people.
    ("{client: etl, for: machines, roles: [Op]}", identity(), NOBODY),
    ("{group: ops, for: machines, roles: [Op]}", groups("ops"), NOBODY),
    ("{group: ops, for: machines, deny: true}\n{group: ops, roles: [Op]}", groups("ops"), gives("Op", by="group ops")),
    ("{group: ops, for: people, roles: [Op]}", groups("ops"), gives("Op", by="group ops")),
]  # fmt: skip

CLAIMS: list[Case] = [
    ("{claim: d, equals: HR, roles: [Op]}", claims(d="HR"), gives("Op", by="claim d equals HR")),
    ("{claim: d, equals: HR, roles: [Op]}", claims(d="hr"), NOBODY),
    ("{claim: d, equals: HR, roles: [Op]}", claims(d=["IT", "HR"]), gives("Op", by="claim d equals HR")),
    ("{claim: d, contains: HR, roles: [Op]}", claims(d=["IT", "HR"]), gives("Op", by="claim d contains HR")),
    ("{claim: d, contains: HR, roles: [Op]}", claims(d="HR"), gives("Op", by="claim d contains HR")),
    ("{claim: d, contains: HR, roles: [Op]}", claims(d="HR department"), NOBODY),
    ("{claim: d, in: [HR, IT], roles: [Op]}", claims(d="IT"), gives("Op", by="claim d in HR or IT")),
    ("{claim: d, in: [HR, IT], roles: [Op]}", claims(d="PR"), NOBODY),
    ("{claim: d, equals: 'H*', roles: [Op]}", claims(d="HR"), gives("Op", by="claim d equals H*")),
    ("{claim: d, equals: 'H\\*', roles: [Op]}", claims(d="HR"), NOBODY),
    ("{claim: d, in: ['H\\*'], roles: [Op]}", claims(d="H*"), gives("Op", by="claim d in H*")),
    ("{claim: d, matches: 'H.', roles: [Op]}", claims(d="HR"), gives("Op", by="claim d matches /H./")),
    ("{claim: d, matches: 'H.', roles: [Op]}", claims(d="HRM"), NOBODY),
    # Truth, numbers and text are three things.
    ("{claim: d, equals: true, roles: [Op]}", claims(d=True), gives("Op", by="claim d equals true")),
    ("{claim: d, equals: true, roles: [Op]}", claims(d="true"), NOBODY),
    ("{claim: d, equals: true, roles: [Op]}", claims(d=1), NOBODY),
    ("{claim: d, equals: false, roles: [Op]}", claims(d=False), gives("Op", by="claim d equals false")),
    ("{claim: d, equals: 0, roles: [Op]}", claims(d=0), gives("Op", by="claim d equals 0")),
    ("{claim: d, equals: 0, roles: [Op]}", claims(d=False), NOBODY),
    ("{claim: d, equals: 7, roles: [Op]}", claims(d="7"), NOBODY),
    ("{claim: d, equals: '7', roles: [Op]}", claims(d=7), NOBODY),
    ("{claim: d, in: [1, true], roles: [Op]}", claims(d=True), gives("Op", by="claim d in 1 or true")),
    ("{any: [{claim: d, equals: true}, {claim: d, equals: 1}], roles: [Op]}", claims(d=1),
     gives("Op", by="claim d equals true or claim d equals 1")),
    ("{claim: d, equals: '*', roles: [Op]}", claims(d=7), NOBODY),
    # Dots lead into what is nested, unless a claim has the whole name.
    ("{claim: a.b, equals: x, roles: [Op]}", claims(a={"b": "x"}), gives("Op", by="claim a.b equals x")),
    ("{claim: a.b, equals: x, roles: [Op]}", identity(claims={"a.b": "x"}), gives("Op", by="claim a.b equals x")),
    ("{claim: a.b, equals: x, roles: [Op]}", identity(claims={"a.b": "x", "a": {"b": "y"}}),
     gives("Op", by="claim a.b equals x")),
    ("{claim: a.b.c, contains: x, roles: [Op]}", claims(a={"b": {"c": ["x"]}}), gives("Op", by="claim a.b.c contains x")),
    ("{claim: a.b, equals: x, roles: [Op]}", claims(a="x"), NOBODY),
    ("{claim: a.b, equals: x, roles: [Op]}", claims(a=[{"b": "x"}]), NOBODY),
    ("{claim: 'https://corp.example/dept', equals: x, roles: [Op]}", identity(claims={"https://corp.example/dept": "x"}),
     gives("Op", by="claim https://corp.example/dept equals x")),
    # What is no value is none.
    ("{claim: d, equals: x, roles: [Op]}", claims(d=None), NOBODY),
    ("{claim: d, equals: x, roles: [Op]}", claims(d={"x": "x"}), NOBODY),
    ("{claim: d, equals: x, roles: [Op]}", claims(d=[["x"], {"x": 1}, None, 1.5]), NOBODY),
]  # fmt: skip

PATTERNS: list[Case] = [
    # A star stands for any text, at the beginning, in the middle, at the end, or several times.
    ("{group: '*-ops', roles: [Op]}", groups("berlin-ops"), gives("Op", by="group *-ops")),
    ("{group: '*-ops', roles: [Op]}", groups("-ops"), gives("Op", by="group *-ops")),
    ("{group: '*-ops', roles: [Op]}", groups("berlin-ops-2"), NOBODY),
    ("{group: 'ops-*', roles: [Op]}", groups("ops-"), gives("Op", by="group ops-*")),
    ("{group: 'ops-*', roles: [Op]}", groups("devops-1"), NOBODY),
    ("{group: 'a*z', roles: [Op]}", groups("abcz"), gives("Op", by="group a*z")),
    ("{group: 'a*z', roles: [Op]}", groups("a"), NOBODY),
    ("{group: 'a*m*z', roles: [Op]}", groups("a-m-z"), gives("Op", by="group a*m*z")),
    ("{group: 'a*m*z', roles: [Op]}", groups("amz"), gives("Op", by="group a*m*z")),
    ("{group: 'a*m*z', roles: [Op]}", groups("azm"), NOBODY),
    ("{group: '*', roles: [Op]}", groups("x"), gives("Op", by="group *")),
    ("{group: '*', roles: [Op]}", groups(), NOBODY),
    ("{group: '*', roles: [Op]}", groups(""), NOBODY),
    ("{group: '*', roles: [Op]}", identity(groups=None), UNKNOWN),
    ("{group: 'ops-*', roles: [Op]}", groups("Ops-1"), NOBODY),
    ("{group: 'größe-*', roles: [Op]}", groups("größe-ü"), gives("Op", by="group größe-*")),
    # Nothing else in it means anything.
    ("{group: 'a.b-*', roles: [Op]}", groups("axb-1"), NOBODY),
    ("{group: 'a.b+(c)-*', roles: [Op]}", groups("a.b+(c)-1"), gives("Op", by="group a.b+(c)-*")),
    ("{group: 'a?-*', roles: [Op]}", groups("ab-1"), NOBODY),
    ("{group: '[ab]-*', roles: [Op]}", groups("a-1"), NOBODY),
    # A star that is meant is written \*.
    ("{group: 'a\\*b', roles: [Op]}", groups("a*b"), gives("Op", by="group a*b")),
    ("{group: 'a\\*b', roles: [Op]}", groups("axb"), NOBODY),
    ("{group: 'a\\*-*', roles: [Op]}", groups("a*-1"), gives("Op", by="group a\\*-*")),
    ("{group: 'a\\*-*', roles: [Op]}", groups("ab-1"), NOBODY),
    # Of distinguished names, case and blanks make no difference, and an escaped sign is text.
    ("{group: 'CN=ops-*,OU=g', roles: [Op]}", groups("cn=OPS-1, ou=G"), gives("Op", by="group CN=ops-*,OU=g")),
    ("{group: 'CN = ops-* , OU=g', roles: [Op]}", groups("CN=ops-1,OU=g"), gives("Op", by="group CN = ops-* , OU=g")),
    ("{group: '*,OU=g,DC=c', roles: [Op]}", groups("cn=x, ou=G, dc=C"), gives("Op", by="group *,OU=g,DC=c")),
    ("{group: 'CN=ops-*,OU=g', roles: [Op]}", groups("CN=ops-1,OU=h"), NOBODY),
    ("{group: 'CN=*,OU=g,DC=c', roles: [Op]}", groups("CN=x\\,OU=g,DC=c"), NOBODY),
    ("{group: 'CN=*,OU=g,DC=c', roles: [Op]}", groups("CN=x\\,y,OU=g,DC=c"), gives("Op", by="group CN=*,OU=g,DC=c")),
    # A pattern stays within a value of one line, of up to one kilobyte.
    ("{group: 'a*', roles: [Op]}", groups("a\nb"), NOBODY),
    ("{group: 'a*', roles: [Op]}", groups("x\na"), NOBODY),
    ("{group: '*b', roles: [Op]}", groups("a", "b"), gives("Op", by="group *b")),
    ("{group: 'a*b', roles: [Op]}", groups("a", "b"), NOBODY),
    ("{group: 'a*', roles: [Op]}", groups("a" * 1024), gives("Op", by="group a*")),
    ("{group: 'a*', roles: [Op]}", groups("a" * 1025), NOBODY),
    ("{group: 'ä*', roles: [Op]}", groups("ä" * 512), gives("Op", by="group ä*")),
    ("{group: 'ä*', roles: [Op]}", groups("ä" * 513), NOBODY),
    ("{group: 'a*', roles: [Op]}", groups("a\ud800"), NOBODY),
    ("{group: 'a*', roles: [Op]}", groups("a\ud800", "ab"), gives("Op", by="group a*")),
    ("{group: 'a*', roles: [Op]}", groups("a\x00b"), gives("Op", by="group a*")),
]  # fmt: skip

EXPRESSIONS: list[Case] = [
    ("{group: {matches: 'ops'}, roles: [Op]}", groups("ops"), gives("Op", by="group /ops/")),
    ("{group: {matches: 'ops'}, roles: [Op]}", groups("devops"), NOBODY),
    ("{group: {matches: 'ops'}, roles: [Op]}", groups("ops-1"), NOBODY),
    ("{group: {matches: 'a|b'}, roles: [Op]}", groups("b"), gives("Op", by="group /a|b/")),
    ("{group: {matches: 'a|b'}, roles: [Op]}", groups("ax", "xb"), NOBODY),
    ("{group: {matches: 'ops-[0-9]+'}, roles: [Op]}", groups("ops-12"), gives("Op", by="group /ops-[0-9]+/")),
    ("{group: {matches: 'ops-\\d+'}, roles: [Op]}", groups("ops-x"), NOBODY),
    ("{group: {matches: '(?i)ops'}, roles: [Op]}", groups("OPS"), gives("Op", by="group /(?i)ops/")),
    ("{group: {matches: 'ops'}, roles: [Op]}", groups("OPS"), NOBODY),
    ("{group: {matches: '\\p{L}+'}, roles: [Op]}", groups("größe"), gives("Op", by="group /\\p{L}+/")),
    ("{group: {matches: 'gr.ße'}, roles: [Op]}", groups("größe"), gives("Op", by="group /gr.ße/")),
    ("{group: {matches: '^ops$'}, roles: [Op]}", groups("ops"), gives("Op", by="group /^ops$/")),
    ("{group: {matches: 'CORP\\\\Admins'}, roles: [Op]}", groups("CORP\\Admins"), gives("Op", by="group /CORP\\\\Admins/")),
    ("{group: {matches: '\\(?mail\\)?'}, roles: [Op]}", groups("(mail)"), gives("Op", by="group /\\(?mail\\)?/")),
    ("{group: {matches: '[^x]+'}, roles: [Op]}", groups("a", "x"), gives("Op", by="group /[^x]+/")),
    ("{group: {matches: 'a[^x]b|b[^x]a'}, roles: [Op]}", groups("a", "b"), NOBODY),
    ("{group: {matches: 'a\\sb|b\\sa'}, roles: [Op]}", groups("a\nb", "a", "b"), NOBODY),
    ("{group: {matches: 'a\\x0ab'}, roles: [Op]}", groups("a\nb"), NOBODY),
    ("{group: {matches: '.*'}, roles: [Op]}", groups(), NOBODY),
    ("{app_role: {matches: 'A\\..*'}, roles: [Op]}", app_roles("A.Op"), gives("Op", by="app_role /A\\..*/")),
]  # fmt: skip

JOINTS: list[Case] = [
    ("{all: [{group: a}, {group: b}], roles: [Op]}", groups("a", "b"), gives("Op", by="group a and group b")),
    ("{all: [{group: a}, {group: b}], roles: [Op]}", groups("a"), NOBODY),
    ("{any: [{group: a}, {group: b}], roles: [Op]}", groups("b"), gives("Op", by="group a or group b")),
    ("{any: [{group: a}, {group: b}], roles: [Op]}", groups("c"), NOBODY),
    ("{not: {group: a}, roles: [Op]}", groups("b"), gives("Op", by="not group a")),
    ("{not: {group: a}, roles: [Op]}", groups(), gives("Op", by="not group a")),
    ("{not: {group: a}, roles: [Op]}", groups("a"), NOBODY),
    ("{not: {not: {group: a}}, roles: [Op]}", groups("a"), gives("Op", by="not not group a")),
    ("{not: {group: 'a*'}, roles: [Op]}", groups("ab"), NOBODY),
    ("{not: {all: [{group: a}, {group: b}]}, roles: [Op]}", groups("a"), gives("Op", by="not (group a and group b)")),
    ("{not: {any: [{group: a}, {group: b}]}, roles: [Op]}", groups("a"), NOBODY),
    ("{all: [{group: a}, {not: {group: b}}], roles: [Op]}", groups("a"), gives("Op", by="group a and not group b")),
    ("{all: [{group: a}, {not: {group: b}}], roles: [Op]}", groups("a", "b"), NOBODY),
    ("{all: [{group: a}, {any: [{group: b}, {app_role: r}]}], roles: [Op]}", groups("a", "b"),
     gives("Op", by="group a and (group b or app_role r)")),
    ("{all: [{group: a}, {any: [{group: b}, {app_role: r}]}], roles: [Op]}", groups("a"), NOBODY),
    ("{any: [{all: [{group: a}, {group: b}]}, {group: c}], roles: [Op]}", groups("c"),
     gives("Op", by="(group a and group b) or group c")),
    ("{all: [{group: a}], roles: [Op]}", groups("a"), gives("Op", by="group a")),
    ("{all: [{group: 'a-*'}, {protocol: oidc}], roles: [Op]}", groups("a-1"), gives("Op", by="group a-* and protocol oidc")),
]  # fmt: skip

#: What is unknown gives nothing, and takes nothing that a person holds (305) where groups are.
UNKNOWNS: list[Case] = [
    ("{group: a, roles: [Op]}", identity(groups=None), UNKNOWN),
    ("{app_role: r, roles: [Op]}", identity(app_roles=None), NOBODY),
    ("{claim: d, equals: x, roles: [Op]}", claims(), NOBODY),
    ("{app_role: r, roles: [Op]}\n{group: a, roles: [User]}", identity(groups=None, app_roles=frozenset({"r"})),
     gives("Op", by="app_role r")),
    ("{not: {group: a}, roles: [Op]}", identity(groups=None), UNKNOWN),
    ("{not: {claim: d, equals: x}, roles: [Op]}", claims(), NOBODY),
    ("{not: {claim: d, equals: x}, roles: [Op]}", claims(d="y"), gives("Op", by="not claim d equals x")),
    # All: what is known not to hold decides; any: what is known to hold.
    ("{all: [{group: a}, {app_role: r}], roles: [Op]}", identity(groups=None), NOBODY),
    ("{all: [{group: a}, {app_role: r}], roles: [Op]}", identity(groups=None, app_roles=frozenset({"r"})), UNKNOWN),
    ("{any: [{group: a}, {app_role: r}], roles: [Op]}", identity(groups=None, app_roles=frozenset({"r"})),
     gives("Op", by="group a or app_role r")),
    ("{any: [{group: a}, {app_role: r}], roles: [Op]}", identity(groups=None), UNKNOWN),
    ("{not: {all: [{group: a}, {app_role: r}]}, roles: [Op]}", identity(groups=None), gives("Op", by="not (group a and app_role r)")),
    ("{not: {any: [{group: a}, {app_role: r}]}, roles: [Op]}", identity(groups=None, app_roles=frozenset({"r"})), NOBODY),
    # A refusal that may apply refuses.
    ("{app_role: r, roles: [Op]}\n{group: a, deny: true}", identity(groups=None, app_roles=frozenset({"r"})), refuses(305, by="app_role r")),
    ("{group: a, roles: [Op]}\n{claim: d, equals: x, deny: true}", groups("a"), refuses(305, by="group a")),
    ("{group: a, roles: [Op]}\n{claim: d, equals: x, deny: true}", groups("a", claims={"d": "y"}), gives("Op", by="group a")),
    ("{group: a, roles: [Op]}\n{not: {claim: d, equals: x}, deny: true}", groups("a"), refuses(305, by="group a")),
    ("{group: a, roles: [Op]}\n{all: [{group: b}, {claim: d, equals: x}], deny: true}", groups("a"), gives("Op", by="group a")),
    ("{group: a, deny: true}\n{app_role: r, deny: true}", identity(groups=None, app_roles=frozenset({"r"})),
     refuses(307, by="app_role r")),
    # More groups than the provider tells: no rule decides without them, unless none reads them.
    ("{app_role: r, roles: [Op]}\n{group: a, roles: [User]}",
     identity(groups=None, group_overage=True, app_roles=frozenset({"r"})), refuses(305, by="app_role r")),
    ("{app_role: r, roles: [Op]}", identity(groups=None, group_overage=True, app_roles=frozenset({"r"})), gives("Op", by="app_role r")),
    ("{group: a, for: machines, roles: [User]}\n{app_role: r, roles: [Op]}",
     identity(groups=None, group_overage=True, app_roles=frozenset({"r"})), gives("Op", by="app_role r")),
    # Groups of which nobody told, while of others somebody did.
    ("{group: a, roles: [Op]}\n{group: b, roles: [User]}", groups("b", groups_untold=frozenset({"a"})), gives("User", by="group b")),
    ("{group: a, roles: [Op]}\n{group: b, roles: [User]}", groups(groups_untold=frozenset({"a"})), UNKNOWN),
    ("{group: a, deny: true}\n{group: b, roles: [User]}", groups("b", groups_untold=frozenset({"a"})), refuses(305, by="group b")),
    ("{not: {group: a}, roles: [Op]}\n{group: b, roles: [User]}", groups(groups_untold=frozenset({"a"})), UNKNOWN),
    ("{group: 'a*', deny: true}\n{group: b, roles: [User]}", groups("b", groups_untold=frozenset({"a*"})), refuses(305, by="group b")),
    ("{group: 'a*', deny: true}\n{group: b, roles: [User]}", groups("b", "ax", groups_untold=frozenset({"a*"})),
     refuses(307, by="group a* | group b")),
    ("{group: 'a*', deny: true}\n{group: b, roles: [User]}", groups("b", groups_untold=frozenset({"c"})), gives("User", by="group b")),
]  # fmt: skip

NO_MATCH: list[Case] = [
    ("no_match: [Viewer]", identity(), gives("Viewer")),
    ("no_match: deny", identity(), NOBODY),
    ("", groups("a"), NOBODY),
    ("{group: a, roles: [Op]}\nno_match: [Viewer, User]", groups(), gives("Viewer", "User")),
    ("{group: a, roles: [Op]}\nno_match: [Viewer]", groups("a"), gives("Op", by="group a")),
    ("{group: a, roles: [Op]}\nno_match: [Viewer]", identity(groups=None), UNKNOWN),
    ("{claim: d, equals: x, roles: [Op]}\nno_match: [Viewer]", claims(), UNKNOWN),
    ("{claim: d, equals: x, roles: [Op]}\nno_match: [Viewer]", claims(d="y"), gives("Viewer")),
    ("{group: a, roles: [Op]}\nno_match: [Viewer]", groups(groups_untold=frozenset({"a"})), UNKNOWN),
    ("{group: a, deny: true}\nno_match: [Viewer]", groups(), gives("Viewer")),
    ("{group: a, deny: true}\nno_match: [Viewer]", groups("a"), refuses(307, by="group a")),
    ("{group: a, deny: true}\nno_match: [Viewer]", identity(groups=None), UNKNOWN),
    ("{group: a, roles: [Op], until: 2026-06-30}\nno_match: [Viewer]", groups("a"), gives("Viewer")),
    ("{group: a, roles: [Op], until: 2026-06-30}\nno_match: [Viewer]", identity(groups=None), gives("Viewer")),
    ("{group: a, for: machines, roles: [Op]}\nno_match: [Viewer]", groups("a"), gives("Viewer")),
]  # fmt: skip

SEVERAL_RULES: list[Case] = [
    ("{group: a, roles: [Op]}\n{group: b, roles: [User, Viewer]}", groups("a", "b"),
     gives("Op", "User", "Viewer", by="group a | group b")),
    ("{group: a, roles: [Op]}\n{group: a, roles: [User]}", groups("a"), gives("Op", "User", by="group a | group a")),
    ("{group: b, roles: [Op]}\n{group: a, roles: [Op]}", groups("a", "b"), gives("Op", by="group b | group a")),
    ("{group: a, roles: Op}", groups("a"), gives("Op", by="group a")),
    ("{group: a, roles: [Op, Op]}", groups("a"), gives("Op", by="group a")),
    ("{group: a, name: admins of a, roles: [Op]}", groups("a"), gives("Op", by="admins of a")),
    # Deny wins, wherever it stands.
    ("{group: a, roles: [Admin]}\n{group: b, deny: true}", groups("a", "b"), refuses(307, by="group a | group b")),
    ("{group: b, deny: true}\n{group: a, roles: [Admin]}", groups("a", "b"), refuses(307, by="group b | group a")),
    ("{group: b, deny: true}\n{group: a, roles: [Admin]}", groups("a"), gives("Admin", by="group a")),
    ("{group: 'x-*', deny: true}\n{group: a, roles: [Op]}", groups("a", "x-1"), refuses(307, by="group x-* | group a")),
    ("{not: {group: staff}, deny: true}\n{group: a, roles: [Op]}", groups("a"), refuses(307, by="not group staff | group a")),
    # Until: to the end of its day.
    ("{group: a, roles: [Op], until: 2026-07-01}", groups("a"), gives("Op", by="group a")),
    ("{group: a, roles: [Op], until: 2026-06-30}", groups("a"), NOBODY),
    ("{group: a, roles: [Op], until: 2026-06-30}", identity(groups=None), NOBODY),
    ("{group: a, roles: [Op]}\n{group: b, deny: true, until: 2026-07-01}", groups("a", "b"), refuses(307, by="group a | group b")),
    ("{group: a, roles: [Op]}\n{group: b, deny: true, until: 2026-06-30}", groups("a", "b"), gives("Op", by="group a")),
    ("{group: a, roles: [Op]}\n{claim: d, equals: x, deny: true, until: 2026-06-30}", groups("a"), gives("Op", by="group a")),
]  # fmt: skip

_OWN = "a pattern never gives a role of Airflow's own"
_PROTECTED = "it is one of protected_roles"
_STRANGE = "it is not under roles:, and begins with no prefix that is"
_WHOLE = "{group: 'air-*', roles: ['{1}']}\n"

CAPTURES: list[Case] = [
    ("{group: 'g-*', roles: ['team-{1}']}\n" + TEAMS, groups("g-a"), gives("team-a", by="group g-*")),
    ("{group: 'g-*', roles: ['team-{1}']}\n" + TEAMS, groups("g-a", "g-b", "x"), gives("team-a", "team-b", by="group g-*")),
    ("{group: 'g-*', roles: [Op, 'team-{1}']}\n" + TEAMS, groups("g-a"), gives("Op", "team-a", by="group g-*")),
    ("{group: '*-*', roles: ['team-{2}']}\n" + TEAMS, groups("x-a"), gives("team-a", by="group *-*")),
    ("{group: '*-*', roles: ['team-{2}-{1}']}\n" + TEAMS, groups("x-a"), gives("team-a-x", by="group *-*")),
    ("{group: 'g-*', roles: ['team-{1}-{1}']}\n" + TEAMS, groups("g-a"), gives("team-a-a", by="group g-*")),
    ("{group: {matches: 'g-(a|b)(-x)?'}, roles: ['team-{1}{2}']}\n" + TEAMS, groups("g-a"),
     gives("team-a", by="group /g-(a|b)(-x)?/")),
    ("{group: {matches: 'g-(?:a|b)-(.)'}, roles: ['team-{1}']}\n" + TEAMS, groups("g-a-b"), gives("team-b", by="group /g-(?:a|b)-(.)/")),
    ("{group: {matches: 'g-(?P<team>.)'}, roles: ['team-{1}']}\n" + TEAMS, groups("g-a"), gives("team-a", by="group /g-(?P<team>.)/")),
    ("{app_role: 'g-*', roles: ['team-{1}']}\n" + TEAMS, app_roles("g-a"), gives("team-a", by="app_role g-*")),
    ("{claim: d, equals: 'g-*', roles: ['team-{1}']}\n" + TEAMS, claims(d=["g-a", "g-b"]), gives("team-a", "team-b", by="claim d equals g-*")),
    ("{all: [{group: 'g-*'}, {claim: d, equals: x}], roles: ['team-{1}']}\n" + TEAMS, groups("g-a", claims={"d": "x"}),
     gives("team-a", by="group g-* and claim d equals x")),
    ("{all: [{group: 'g-*'}, {claim: d, equals: x}], roles: ['team-{1}']}\n" + TEAMS, groups("g-a", claims={"d": "y"}), NOBODY),
    ("{all: [{group: 'g-*'}, {not: {group: x}}], roles: ['team-{1}']}\n" + TEAMS, groups("g-a"), gives("team-a", by="group g-* and not group x")),
    ("{group: 'CN=g-*,OU=x', roles: ['team-{1}']}\n" + TEAMS, groups("cn=G-a , ou=X"), gives("team-a", by="group CN=g-*,OU=x")),
    # Roles that the file makes may be caught, too, and those whose beginning it lists.
    ("{group: 'g-*', roles: ['team-{1}']}\nroles: {team-a: {like: Viewer}}", groups("g-a"), gives("team-a", by="group g-*")),
    ("{group: 'g-*', roles: ['team-{1}']}\nroles: {team-a: {like: Viewer}}", groups("g-b"),
     refuses(301, by="group g-*", not_given={"team-b": _STRANGE})),
    ("{group: 'g-*', roles: ['team-{1}']}", groups("g-a"), refuses(301, by="group g-*", not_given={"team-a": _STRANGE})),
    ("{group: 'g-*', roles: ['team-{1}']}\nno_match: [Viewer]", groups("g-a"), gives("Viewer", by="group g-*", not_given={"team-a": _STRANGE})),
    # Never one of Airflow's own, in whatever spelling, and never a protected one.
    (_WHOLE + TEAMS, groups("air-Admin"), refuses(301, by="group air-*", not_given={"Admin": _OWN})),
    (_WHOLE + TEAMS, groups("air-admin"), refuses(301, by="group air-*", not_given={"admin": _OWN})),
    (_WHOLE + TEAMS, groups("air-ADMIN", "air-team-a"), gives("team-a", by="group air-*", not_given={"ADMIN": _OWN})),
    (_WHOLE + "roles: {'Adm*': {}}", groups("air-Admin"), refuses(301, by="group air-*", not_given={"Admin": _OWN})),
    (_WHOLE + TEAMS + "\nprotected_roles: [team-root]", groups("air-team-root"),
     refuses(301, by="group air-*", not_given={"team-root": _PROTECTED})),
    # What was caught is text, whatever it looks like.
    ("{group: 'g-*', roles: ['team-{1}']}\n" + TEAMS, groups("g-"), gives("team-", by="group g-*")),
    ("{group: 'g-*', roles: ['team-{1}']}\n" + TEAMS, groups("g-{1}"), gives("team-{1}", by="group g-*")),
    ("{group: '*-*', roles: ['team-{1}-{2}']}\n" + TEAMS, groups("{2}-x"), gives("team-{2}-x", by="group *-*")),
    ("{group: 'g-*', roles: ['team-{1}']}\n" + TEAMS, groups("g-\\1 *\t'ü"), gives("team-\\1 *\t'ü", by="group g-*")),
    ("{group: 'g-*', roles: ['{1}']}\n" + TEAMS, groups("g- Admin"), refuses(301, by="group g-*", not_given={" Admin": _OWN})),
]  # fmt: skip

THEMES = {
    "groups": GROUPS,
    "other facts": OTHER_FACTS,
    "claims": CLAIMS,
    "patterns": PATTERNS,
    "expressions": EXPRESSIONS,
    "joints": JOINTS,
    "unknown": UNKNOWNS,
    "no_match": NO_MATCH,
    "several rules": SEVERAL_RULES,
    "captures": CAPTURES,
}


@pytest.mark.parametrize(
    ("text", "person", "outcome"),
    [
        pytest.param(*case, id=f"{theme} {number}")
        for theme, cases in THEMES.items()
        for number, case in enumerate(cases, 1)
    ],
)
def test_the_language(text: str, person: Identity, outcome: Outcome) -> None:
    assert told(decide(person, mapping(text), TODAY)) == outcome


# --- machines -----------------------------------------------------------------------------------------

CLIENT = "{client: etl, for: machines, roles: [Op]}"


@pytest.mark.parametrize(
    ("text", "facts", "outcome"),
    [
        (CLIENT, {"client": {"etl"}}, gives("Op", by="client etl")),
        (CLIENT, {"client": {"ETL"}}, NOBODY),
        (CLIENT, {"client": {"other"}}, NOBODY),
        (CLIENT, {}, NOBODY),
        ("{client: 'etl-*', for: machines, roles: [Op]}", {"client": {"etl-1"}}, gives("Op", by="client etl-*")),
        (f"{CLIENT}\n{{app_role: r, for: machines, deny: true}}", {"client": {"etl"}, "app_role": set()},
         gives("Op", by="client etl")),
        (f"{CLIENT}\n{{app_role: r, for: machines, deny: true}}", {"client": {"etl"}}, refuses(305, by="client etl")),
        # Rules for people are not asked about machines, nor is what people have who match no rule.
        ("{group: ops, roles: [Op]}", {"group": {"ops"}}, NOBODY),
        ("{group: ops, for: people, deny: true}\n" + CLIENT, {"group": {"ops"}, "client": {"etl"}},
         gives("Op", by="client etl")),
        (f"{CLIENT}\nno_match: [Viewer]", {"client": {"other"}}, NOBODY),
    ],
)  # fmt: skip
def test_machines(text: str, facts: dict[str, set[str]], outcome: Outcome) -> None:
    known = {fact: frozenset(values) for fact, values in facts.items()}
    assert told(decide_by_facts(known, mapping(text), TODAY, machine=True)) == outcome


# --- faults -------------------------------------------------------------------------------------------

#: What is written, the line that is named, and what is said. The first rule stands in line 3, without rules
#: the rest of the file begins there.
FAULTS: list[tuple[str, int, str]] = [
    # One thing is asked, with keys that are known.
    ("{roles: [Op]}", 3, "rules[0]: must have exactly one of group, app_role, client, provider, protocol, claim, all, any, not"),
    ("{group: , roles: [Op]}", 3, "rules[0]: must have exactly one of group, app_role"),
    ("{group: g, app_role: r, roles: [Op]}", 3, "and has group and app_role; for both write all: [{...}, {...}]"),
    ("{grup: g, roles: [Op]}", 3, "rules[0].grup: is not a key that is known here; did you mean 'group'?"),
    ("{group: g, color: blue, roles: [Op]}", 3, "rules[0].color: is not a key that is known here"),
    ("{group: g, roles: [Op], group: h}", 3, "rules[0].group: is written twice; the second would silently win"),
    ("{group: a, roles: [Op]}\n{group: '', roles: [Op]}", 4, "rules[1].group: must not be empty"),
    ("{group: yes, roles: [Op]}", 3, "rules[0].group: must be text, and YAML reads it as true: put it in quotes"),
    ("{group: 12, roles: [Op]}", 3, "rules[0].group: must be text: put it in quotes, '12'"),
    ("{group: 1.5, roles: [Op]}", 3, "rules[0].group: must be text: put it in quotes, '1.5'"),
    ("{group: [a, b], roles: [Op]}", 3, "rules[0].group: is one value; for several write any: [{...}, {...}]"),
    ("{group: {equals: a}, roles: [Op]}", 3, "rules[0].group: must be text, or {matches: 'a regular expression'}"),
    ("{app_role: {matches: 3}, roles: [Op]}", 3, "rules[0].app_role: must be text, or {matches: 'a regular expression'}"),
    ("{protocol: ldap, roles: [Op]}", 3, "rules[0].protocol: input should be 'oidc' or 'saml'"),
    ("{client: c, roles: [Op]}", 3, "rules[0]: client is about machines; add for: machines"),
    ("{not: {client: c}, roles: [Op]}", 3, "rules[0]: client is about machines; add for: machines"),
    ("{group: g, for: robots, roles: [Op]}", 3, "rules[0].for: input should be 'people' or 'machines'"),
    ("{group: g, name: 3, roles: [Op]}", 3, "rules[0].name: must be text; put a number"),
    # One thing is done.
    ("{group: g}", 3, "rules[0]: must have exactly one of roles and deny: true"),
    ("{group: g, deny: true, roles: [Op]}", 3, "rules[0]: must have exactly one of roles and deny: true"),
    ("{group: g, deny: false}", 3, "rules[0].deny: input should be True"),
    ("{group: g, roles: []}", 3, "rules[0]: roles must name at least one role"),
    ("{group: g, roles: 3}", 3, "rules[0].roles: must be a list"),
    ("{group: g, roles: [Op, 3]}", 3, "rules[0].roles[1]: must be text; put a number"),
    ("{group: g, roles: ''}", 3, "rules[0].roles: string should have at least 1 character"),
    (f"{{group: g, roles: {'x' * 65}}}", 3, "rules[0].roles: string should have at most 64 characters"),
    ("{group: g, roles: [Opp]}", 3, "rules[0].roles[0]: there is no role 'Opp'; did you mean 'Op'?"),
    ("{group: g, roles: [Zebra]}", 3, "rules[0].roles[0]: there is no role 'Zebra'; there are: Admin, Op, Public"),
    ("{group: g, until: tomorrow, roles: [Op]}", 3, "rules[0].until: must be a day that exists, written 2027-06-30"),
    ("{group: g, until: 2027-06-31, roles: [Op]}", 3, "rules[0].until: must be a day that exists"),
    ("{group: g, until: 20270630, roles: [Op]}", 3, "rules[0].until: must be a day that exists"),
    # Claims.
    ("{claim: d, roles: [Op]}", 3, "rules[0]: claim goes with exactly one of equals, in, contains, matches"),
    ("{claim: d, in: [a], equals: b, roles: [Op]}", 3, "rules[0]: claim goes with exactly one of equals, in"),
    ("{claim: d, equals: , roles: [Op]}", 3, "rules[0]: claim goes with exactly one of equals, in"),
    ("{group: g, equals: b, roles: [Op]}", 3, "rules[0]: equals goes with claim: {claim: department, equals: ...}"),
    ("{claim: '', equals: b, roles: [Op]}", 3, "rules[0].claim: string should have at least 1 character"),
    ("{claim: [a], equals: b, roles: [Op]}", 3, "rules[0].claim: must be text"),
    ("{claim: d, equals: 1.5, roles: [Op]}", 3, "rules[0].equals: must be text, a whole number, true or false"),
    ("{claim: d, equals: '', roles: [Op]}", 3, "rules[0].equals: must not be empty"),
    ("{claim: d, in: HR, roles: [Op]}", 3, "rules[0].in: must be a list of values: [Berlin, Paris]"),
    ("{claim: d, in: [], roles: [Op]}", 3, "rules[0].in: must be a list of values: [Berlin, Paris]"),
    ("{claim: d, in: [a, 'b*'], roles: [Op]}", 3, "rules[0].in[1]: a pattern stands alone: write any: [{...}, {...}]"),
    ("{claim: amr, contains: mfa, roles: [Op]}", 3, "rules[0].claim: amr is about one sign-in, not about the person: it stands under require:"),
    ("{all: [{group: g}, {not: {claim: acr, equals: '1'}}], roles: [Op]}", 3, "rules[0].all[1].not.claim: acr is about one sign-in"),
    # Joints.
    ("{all: [], roles: [Op]}", 3, "rules[0].all: must not be empty"),
    ("{all: {group: g}, roles: [Op]}", 3, "rules[0].all: must be a list"),
    ("{not: [{group: g}], roles: [Op]}", 3, "rules[0].not: must have keys and values"),
    ("{any: [{group: g}, {grup: h}], roles: [Op]}", 3, "rules[0].any[1].grup: is not a key that is known here; did you mean 'group'?"),
    ("{any: [{group: g, deny: true}], roles: [Op]}", 3, "rules[0].any[0].deny: is not a key that is known here"),
    ("{any: [{group: g, app_role: r}], roles: [Op]}", 3, "rules[0].any[0]: must have exactly one of group, app_role"),
    # Patterns.
    ("{group: {matches: 'team-('}, roles: [Op]}", 3, "rules[0].group.matches: is no regular expression of RE2's language: missing )"),
    ("{group: {matches: 'a)|(?:b'}, roles: [Op]}", 3, "is no regular expression of RE2's language: unexpected )"),
    ("{group: {matches: '[a'}, roles: [Op]}", 3, "is no regular expression of RE2's language: missing ]"),
    ("{group: {matches: 'a(?=b)'}, roles: [Op]}", 3, "it has neither look-around nor back-references"),
    ("{group: {matches: '(?<!a)b'}, roles: [Op]}", 3, "it has neither look-around nor back-references"),
    ("{group: {matches: '(a)\\1'}, roles: [Op]}", 3, "it has neither look-around nor back-references"),
    ("{group: {matches: '\\Aops'}, roles: [Op]}", 3, "is matched against the whole value, of one line, anyway: leave out \\A, \\z"),
    ("{group: {matches: 'ops\\z'}, roles: [Op]}", 3, "is matched against the whole value, of one line, anyway"),
    ("{group: {matches: '(?s).*'}, roles: [Op]}", 3, "is matched against the whole value, of one line, anyway"),
    ("{group: {matches: '(?im)ops'}, roles: [Op]}", 3, "leave out \\A, \\z, \\C, \\Q and the flags m, s, U"),
    ("{group: {matches: 'a(?s:.)b'}, roles: [Op]}", 3, "is matched against the whole value, of one line, anyway"),
    ("{claim: d, matches: '', roles: [Op]}", 3, "rules[0].matches: string should have at least 1 character"),
    ("{claim: d, matches: 'a{1001}', roles: [Op]}", 3, "rules[0].matches: is no regular expression of RE2's language: invalid repetition size"),
    ("{group: {matches: '.{1000}'}, roles: [Op]}", 3, "rules[0].group.matches: repeats too much: write it shorter"),
    (f"{{group: 'a*{'b' * 500}', roles: [Op]}}", 3, "rules[0].group: is longer than 500 characters"),
    # What a pattern caught.
    ("{group: g, roles: ['t-{1}']}", 3, "rules[0].roles[0]: {1} takes what one pattern of the rule caught"),
    ("{group: 'g-*', roles: 't-{2}'}", 3, "rules[0].roles: {2} is caught by nothing: the pattern catches 1"),
    ("{group: {matches: 'g-.*'}, roles: [Op, 't-{1}']}", 3, "rules[0].roles[1]: {1} is caught by nothing: the pattern catches nothing"),
    ("{any: [{group: 'a-*'}, {group: 'b-*'}], roles: ['t-{1}']}", 3, "alone or under all; it has not one"),
    ("{any: [{group: 'a-*'}, {group: b}], roles: ['t-{1}']}", 3, "alone or under all; it has not one"),
    ("{all: [{group: 'a-*'}, {app_role: 'a-*'}], roles: ['t-{1}']}", 3, "alone or under all; it has not one"),
    ("{not: {group: 'a-*'}, roles: ['t-{1}']}", 3, "alone or under all; it has not one"),
    ("{group: 'a-*', roles: ['t-{0}']}", 3, "rules[0].roles[0]: there is no role 't-{0}'"),
    # The same twice.
    ("{group: g, roles: [Op]}\n{group: h, roles: [Op]}\n{group: g, roles: [Op]}", 5, "rules[2]: says the same as the one in line 3"),
    (f"{{group: {GUID}, roles: [Op]}}\n{{group: {GUID.upper()}, roles: [Op]}}", 4, "rules[1]: says the same as the one in line 3"),
    ("{any: [{group: a}, {group: b}], roles: [Op]}\n{any: [{group: b}, {group: a}], roles: [Op]}", 4, "rules[1]: says the same"),
    # The rest of the file.
    ("no_match: Viewer", 3, "no_match: write deny, or a list of roles: [Viewer]"),
    ("no_match: []", 3, "no_match: write deny, or a list of roles: [Viewer]"),
    ("no_match: [Vewer]", 3, "no_match[0]: there is no role 'Vewer'; did you mean 'Viewer'?"),
    ("manual_roles: drop", 3, "manual_roles: input should be 'remove' or 'keep'"),
    ("protected_roles: Admin", 3, "protected_roles: must be a list"),
    ("protected_roles: [Nope]", 3, "protected_roles[0]: there is no role 'Nope'"),
    ("{group: g, roles: [Admin]}\nprotected_roles: [Admin]", 3, "rules[0].roles[0]: Admin is one of protected_roles, which no rule may give"),
    ("no_match: [Admin]\nprotected_roles: [Admin]", 3, "no_match[0]: Admin is one of protected_roles, which no rule may give"),
    ("rule: []", 3, "rule: is not a key that is known here; did you mean 'rules'?"),
    ("roles: {Admin: {like: Op}}", 3, "roles.Admin: Admin is one of Airflow's own roles, which no file changes"),
    ("roles: {viewer: {}}", 3, "roles.viewer: viewer is one of Airflow's own roles, which no file changes"),
    ("roles: {'*': {}}", 3, "roles.*: a prefix is the beginning of a name and one star: team-*"),
    ("roles: {'t-*': {like: Op}}", 3, "roles.t-*: says which roles a pattern may give, and makes none: write an empty {}"),
    ("roles: {'t*x': {}}", 3, "roles.t*x: the name of a role has neither stars nor {1}"),
    ("roles:\n  a: {like: b}\n  b: {like: a}", 4, "roles.a.like: goes in a circle: a -> b -> a"),
    ("roles: {a: {like: Vier}}", 3, "roles.a.like: there is no role 'Vier'; did you mean 'Viewer'?"),
    ("roles: {a: {dags: {'x*': [run]}}}", 3, "input should be 'read', 'edit', 'delete' or 'trigger'"),
    ("roles: {a: {dogs: {}}}", 3, "roles.a.dogs: is not a key that is known here; did you mean 'dags'?"),
    ("protected_roles: [a]\nroles: {a: {}}", 4, "roles.a: a is one of protected_roles"),
    ("require: [{claim: amr}]", 3, "require[0]: claim goes with exactly one of equals, in, contains, matches"),
    ("require: [{claim: auth_time, equals: 3}]", 3, "require[0]: auth_time goes with within: {claim: auth_time, within: 8h}"),
    ("require: [{claim: amr, within: 8h}]", 3, "require[0]: within goes with claim: auth_time"),
    ("require: [{address: 10.0.0.1/8}]", 3, "require[0].address: must be networks, such as 10.0.0.0/8"),
    ("require: [{address: 10.0.0.0/8, claim: amr, contains: mfa}]", 3, "require[0]: must have exactly one of claim and address"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "says"), FAULTS, ids=[text for text, _, _ in FAULTS])
def test_a_fault_names_its_line_and_its_mend(text: str, line: int, says: str) -> None:
    document = written(text)
    assert understand(document, ROLES) is None
    said = [str(fault) for fault in document.faults if fault.line == line]
    assert any(says in one for one in said), document.faults


# --- what is meant to stall ---------------------------------------------------------------------------

#: Ends in what no pattern below wants, so that one that goes back and tries again does so to the end.
_RUNS = [f"{'a' * 1015}{number:08}!" for number in range(1000)]
_MIXED = [
    "".join("ab"[(number >> bit % 20) & 1 ^ bit % 3 % 2] for bit in range(1023)) + "!"
    for number in range(1000)
]


@pytest.mark.parametrize(
    "expression",
    [
        "(x+x+)+y",
        "(a*)*b",
        "(a|aa)+b",
        "(a|a|a|a)*c",
        "((a+)+)+b",
        "(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)x",
        ".*" * 100 + "x",
        "(a?){300}b",
        ".*a[ab]{400}c",
        ".*(a|b)[ab]{300}(a|c)d",
        "|".join(f"{chr(97 + n % 26)}{n}.*x" for n in range(60)),
        "(?:" + "|".join("a" * n for n in range(1, 29)) + ")*b",
        "(?i:(a|b|ab|ba)*z)",
    ],
)
@pytest.mark.parametrize("values", [_RUNS, _MIXED], ids=["runs", "mixed"])
def test_no_expression_stalls_a_sign_in(expression: str, values: list[str]) -> None:
    rules = mapping(f"{{group: {{matches: '{expression}'}}, roles: [Op]}}")
    person = groups(*values)
    begun = time.process_time()
    assert decide(person, rules, TODAY).refused_because == "SSO-301"
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("values", [[f"CN={' ' * 900}{n}" for n in range(1000)],
                                    [f"CN=a{' ' * 900}{n},OU=g" for n in range(1000)],
                                    [f"CN=a{', ' * 450}{n},OU=g" for n in range(1000)],
                                    [f"CN={'a=' * 450}{n},OU=g" for n in range(1000)],
                                    [f"CN={chr(92) * 900}{n},OU=g" for n in range(1000)]])  # fmt: skip
def test_no_name_of_a_group_stalls_a_sign_in(values: list[str]) -> None:
    rules = mapping("{group: 'CN=x,OU=g', roles: [Op]}\n{group: 'CN=*,OU=x', roles: [Op]}")
    begun = time.process_time()
    assert decide(groups(*values), rules, TODAY).refused_because == "SSO-301"
    assert time.process_time() - begun < 5


def test_a_file_has_no_more_than_500_patterns() -> None:
    rules = [f"{{group: 'g{number}-*', roles: [Op]}}" for number in range(501)]
    assert len(mapping("\n".join(rules[:500])).rules) == 500
    document = written("\n".join(rules))
    assert understand(document, ROLES) is None
    assert [str(fault) for fault in document.faults] == [
        "role_mapping.yaml:2:1: rules: has 501 patterns; 500 are the most that a file may"
    ]


def test_an_expression_of_100_kilobytes_is_refused() -> None:
    document = written(f"{{group: {{matches: '{'(a|b)*' * 17_000}'}}, roles: [Op]}}")
    assert understand(document, ROLES) is None
    assert "is longer than 500 characters" in str(document.faults[0])


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "\n".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "rules: " + "[" * 5000 + "]" * 5000,
        "{" + "not: {" * 200 + "group: g" + "}" * 200 + ", roles: [Op]}",
    ],
    ids=["aliases of aliases", "lists in lists", "not not not"],
)
def test_a_file_that_unfolds_into_too_much_is_refused(text: str) -> None:
    begun = time.process_time()
    document = written(text) if text.startswith("{") else yaml_document.parse(text, "role_mapping.yaml")
    assert understand(document, ROLES) is None
    assert document.faults
    assert time.process_time() - begun < 5


# --- what it costs ------------------------------------------------------------------------------------


def _milliseconds(rules: Mapping, person: Identity) -> float:
    """At best, of the time of this process; ``benchmarks/deciding.py`` measures what is promised."""
    taken = []
    for _ in range(20):
        begun = time.process_time()
        decide(person, rules, TODAY)
        taken.append(time.process_time() - begun)
    return min(taken) * 1000


@pytest.mark.parametrize("spelling", ["corp-airflow-{}", "8f6a0d0e-5d4b-4d0e-9a55-00000000{:04}"])
def test_rules_and_patterns_cost_little(spelling: str) -> None:
    """Bounds five times as wide as what is promised."""
    person = groups(*(spelling.format(number) for number in range(1000)))
    exact = understood([f"{spelling.format(999)}{number}" for number in range(5000)])
    patterns = understood([f"x{number}-*" for number in range(100)])
    taken = _milliseconds(exact, person)
    assert taken < 5
    assert _milliseconds(patterns, person) - taken < 100


def understood(asked: list[str]) -> Mapping:
    rules = [{"group": group, "roles": ["Op"]} for group in asked]
    found = understand(Document("role_mapping.yaml", data={"version": 1, "rules": rules}), ROLES)
    assert found is not None
    return found
