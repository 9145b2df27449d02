"""``airflow-sso lint`` on a mapping file: remarks, shapes for pull requests, the schema for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sqlalchemy import update

from airflow_sso import cli, config, role_mapping
from airflow_sso.accounts import fab_users
from airflow_sso.cli import lint, mappings
from airflow_sso.config import LoadedConfig
from airflow_sso.role_mapping import BUILT_IN_ROLES
from airflow_sso.role_mapping.written import schema
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET
from tests import stack as stacks
from tests.lines import both_lines
from tests.review_world import People
from tests.stack import GROUPS

pytestmark = both_lines

REPOSITORY = Path(__file__).parent.parent
NOTHING = LoadedConfig(settings=None, faults=())


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mappings, "roles_there", lambda otherwise: BUILT_IN_ROLES)
    return tmp_path / "role_mapping.yaml"


def linted(file: Path, rules: str, *options: str) -> int:
    file.write_text(f"version: 1\nrules:\n{rules}")
    return lint.lint(cli.parser().parse_args(["lint", file.name, *options]), NOTHING)


@pytest.mark.parametrize(
    ("rules", "remark"),
    [
        (
            "  - {group: a, roles: [Op], until: 2020-01-01}",
            "3:5: warning: rules[0]: counted until 2020-01-01",
        ),
        (
            "  - {group: 'a-*', roles: [Op, User]}\n  - {group: a-b, roles: [Op]}",
            "4:5: warning: rules[1]: adds nothing: the one in line 3 (group a-*) gives the same already",
        ),
        (
            "  - {any: [{group: a}, {group: b}], roles: [Op]}\n  - {group: b, roles: [Op]}",
            "rules[1]: adds nothing",
        ),
        (
            "  - {group: a, roles: [Op]}\n  - {all: [{group: a}, {app_role: r}], roles: [Op]}",
            "rules[1]: adds nothing",
        ),
        (
            "  - {group: a, name: out, deny: true}\n  - {group: a, roles: [Op]}",
            "rules[1]: never gives anything: the one in line 3 (out) refuses everybody whom it holds for",
        ),
        ("  - {group: 'a*', deny: true}\n  - {group: ab, deny: true}", "(group a*) refuses the same already"),
        (
            "  - {group: A1B2C3D4-0000-0000-0000-000000000000, deny: true}\n"
            "  - {group: a1b2c3d4-0000-0000-0000-000000000000, roles: [Op]}",
            "never gives anything",
        ),
        (
            "  - {all: [{group: a}, {not: {group: a}}], roles: [Op]}",
            "rules[0]: can never hold: two of its parts exclude each other",
        ),
        (
            "  - {all: [{provider: entra}, {provider: ping}], roles: [Op]}",
            "rules[0]: can never hold",
        ),
        (
            "  - {group: a, roles: [Op]}\n  - {group: a, roles: [Op], until: 2999-01-01}",
            "rules[1]: adds nothing",
        ),
        (
            "  - {group: a, roles: [Op]}\nno_match: [Admin]",
            "no_match: makes everybody at the provider an Admin",
        ),
        ("  - {group: a, roles: [Op]}\nroles: {'team-*': {}}", "no rule gives a role by a pattern"),
        (
            "  - {group: 'a-*', roles: ['team-{1}']}",
            "3:20: warning: rules[0].roles: gives nobody anything: no role under roles: can be 'team-{1}'; ",
        ),
        (
            "  - {group: 'a-*', roles: ['t-{1}-x']}\nroles: {t-y: {}, x-t-x: {}, 'u-*': {}}",
            "can be 't-{1}-x'",
        ),
        (
            "  - {group: a, roles: [all]}\nroles: {all: {like: Admin}}",
            "roles.all: whoever has it may do everything that an Admin may",
        ),
        (
            "  - {group: a, roles: [all]}\nroles: {all: {permissions: {Roles: [can_read, can_edit]}}}",
            "roles.all: whoever has it can give themselves every role, that of an Admin too",
        ),
        (
            "  - {group: a, roles: [all]}\nprotected_roles: [Op]\nroles: {all: {like: Op}}",
            "roles.all: whoever has it may do what Op may, which is one of protected_roles",
        ),
    ],
)
def test_what_is_most_likely_not_meant_is_remarked(
    file: Path, capsys: pytest.CaptureFixture[str], rules: str, remark: str
) -> None:
    assert linted(file, rules) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if remark in line], told
    assert len(told) == 2
    assert told[-1] == "No fault found."


@pytest.mark.parametrize(
    "rules",
    [
        "  - {group: a, roles: [Op]}\n  - {group: a, roles: [User]}",
        "  - {group: a-b, roles: [Op, User]}\n  - {group: 'a-*', roles: [Op]}",
        "  - {group: a, roles: [Op]}\n  - {group: b, deny: true}",
        "  - {all: [{group: a}, {group: b}], deny: true}\n  - {group: a, roles: [Op]}",
        "  - {group: a, deny: true, until: 2999-01-01}\n  - {group: a, roles: [Op]}",
        "  - {group: a, roles: [Op], until: 2999-01-01}\n  - {all: [{group: a}, {group: b}], roles: [Op]}",
        "  - {all: [{group: a}, {not: {group: b}}], roles: [Op]}",
        "  - {client: c, for: machines, roles: [Op]}\n  - {provider: c, roles: [Op]}",
        "  - {app_role: a, for: machines, roles: [Op]}\n  - {app_role: a, roles: [Op]}",
        "  - {group: a, roles: [Op]}\n  - {app_role: a, roles: [Op]}",
        "  - {claim: c, equals: 1, roles: [Op]}\n  - {claim: c, equals: true, roles: [Op]}",
        "  - {group: 'a-*', roles: ['t-{1}']}\nroles: {'t-*': {}}",
        "  - {group: 'a-*', roles: ['{1}']}\nroles: {team: {like: Viewer}}",
        "  - {group: 'a-*', roles: ['t-{1}-x']}\nroles: {t-y-x: {}}",
        "  - {group: 'a-*', roles: ['t-{1}-x']}\nroles: {'t-y*': {}}",
        "  - {group: a, roles: [t]}\nroles: {t: {like: Op, permissions: {Roles: [can_read]}, dags: {'*': [edit]}}}",
    ],
)
def test_what_may_well_be_meant_is_not(file: Path, capsys: pytest.CaptureFixture[str], rules: str) -> None:
    assert linted(file, rules) == 0
    assert capsys.readouterr().out == "No fault found.\n"


def test_faults_of_every_kind_are_told_at_once_in_the_order_of_the_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "  - {group: a, roles: [Opp]}\n  - {group: a, role: [Op]}\n  - {group: 'a', roles: [Op]}\n"
    assert linted(file, rules + "  - {claim: amr, equals: mfa, roles: [Op]}\nno_match: [Nobody]") == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in told[:-1]] == [
        "rules[0].roles[0]", "rules[1].role", "rules[3].claim", "no_match[0]",
    ]  # fmt: skip
    assert told[-1] == "4 to mend."


def test_a_workflow_shows_them_where_they_are(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "  - {group: a, roles: ['100%']}\n  - {group: a, until: soon, roles: [Op]}"
    assert linted(file, rules, "--format", "github") == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "::error file=role_mapping.yaml,line=3,col=24::rules[0].roles[0]: there is no role '100%25'; "
        "there are: Admin, Op, Public, User, Viewer",
        "::error file=role_mapping.yaml,line=4,col=16::rules[1].until: must be a day that exists, written "
        "2027-06-30; it counts to the end of that day, UTC",
    ]
    assert told.err == "2 to mend.\n"


def test_code_scanning_takes_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = "  - {group: a, roles: [Op], until: 2020-01-01}\n  - {group: b, roles: [Op]}"
    assert linted(file, rules, "--format", "sarif") == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("advice", "warning")
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {"fault", "advice"}
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "role_mapping.yaml"},
        "region": {"startLine": 3, "startColumn": 5},
    }


def test_programs_read_them(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert linted(file, "  - {group: a, roles: [Opp]}", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    (fault,) = told["faults"]
    assert (fault["file"], fault["line"], fault["column"]) == ("role_mapping.yaml", 3, 24)
    assert told["warnings"] == []


def test_a_role_that_only_the_database_knows_can_be_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "  - {group: a, roles: [data-team]}"
    assert linted(file, rules) == 1
    assert "there is no role 'data-team'" in capsys.readouterr().out
    assert linted(file, rules, "--role", "data-team") == 0


# --- beside the providers -----------------------------------------------------------------------------------


@pytest.fixture
def company(file: Path, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    """Entra with Microsoft Graph behind it."""
    monkeypatch.setenv("TEST_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)
    entry = stacks.entra(idp.url, directory={"type": "graph", "insecure_host": idp.url})
    sso = file.with_name("sso.yaml")
    written = {"external_url": "http://localhost", "role_mapping_file": str(file), "providers": [entry]}
    sso.write_text(yaml.safe_dump(written))
    loaded = config.load(sso)
    assert loaded.settings is not None, loaded.faults
    return loaded


def beside(company: LoadedConfig, file: Path, rules: str, *options: str) -> int:
    file.write_text(f"version: 1\nrules:\n{rules}")
    return lint.lint(cli.parser().parse_args(["lint", *options]), company)


def test_groups_that_the_directory_lacks_or_calls_otherwise_are_remarked(
    company: LoadedConfig, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, gone = GROUPS["airflow_prod_op"], "8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c99"
    rules = (
        f"  - {{group: {there}, name: airflow_prod_op, roles: [Op]}}\n"
        f"  - {{group: {there}, name: operators, roles: [User]}}\n"
        f"  - {{group: {gone}, name: gone, roles: [Op]}}\n"
        "  - {provider: ping, roles: [Viewer]}\n"
        "  - {group: 'team-*', roles: [Viewer]}"
    )
    assert beside(company, file, rules) == 0
    told = [line.partition("warning: ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [line for line in told if line.startswith("rules")] == [
        "rules[1]: the directory of entra calls this group 'airflow_prod_op', not 'operators'",
        f"rules[2]: the directory of entra has no group {gone}",
        "rules[3]: no provider in sso.yaml is called 'ping'",
        "rules[4]: the directory of entra does not tell which groups are like 'team-*'; what the last sign-in "
        "found stands",
    ]
    assert beside(company, file, rules, "--offline") == 0
    assert "has no group" not in capsys.readouterr().out


def test_roles_that_are_as_good_as_an_admins_are_remarked_wherever_they_are_given(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = "  - {group: a, roles: [Op]}\nno_match: [two]\nroles: {two: {like: one}, one: {like: Admin}}"
    assert linted(file, rules) == 0
    told = [line.partition("warning: ")[2] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert sorted(told) == [
        "no_match: gives everybody what only an Admin should have",
        "roles.one: whoever has it may do everything that an Admin may",
        "roles.two: whoever has it may do everything that an Admin may",
    ]


@pytest.mark.parametrize(
    ("claim", "is_remarked"), [("amr", True), ("acrs", True), ("acr", False), ("x", False)]
)
def test_what_no_saml_sign_in_can_show_is_remarked(
    file: Path, capsys: pytest.CaptureFixture[str], claim: str, is_remarked: bool
) -> None:
    metadata = file.with_name("idp.xml")
    metadata.write_text("<EntityDescriptor/>")
    entry = {
        "name": "ping",
        "vendor": "generic",
        "protocol": "saml",
        "metadata_file": str(metadata),
        "claims": {"subject": "entryUUID"},
    }
    sso = file.with_name("sso.yaml")
    written = {"external_url": "http://localhost", "role_mapping_file": str(file), "providers": [entry]}
    sso.write_text(yaml.safe_dump(written))
    loaded = config.load(sso)
    assert loaded.settings is not None, loaded.faults
    require = f"[{{claim: {claim}, contains: mfa}}, {{claim: auth_time, within: 8h}}]"
    rules = f"  - {{group: a, roles: [Op]}}\nrequire: {require}"
    assert beside(loaded, file, rules, "--offline") == 0
    assert ("nobody can sign in through ping" in capsys.readouterr().out) is is_remarked


def test_a_directory_that_does_not_answer_is_no_finding(
    company: LoadedConfig, file: Path, idp: Handle, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks.driver(idp).directory("PUT", "permissions", {"graph": ["User.Read.All"]})
    rules = f"  - {{group: {GROUPS['airflow_prod_op']}, name: x, roles: [Op]}}"
    assert beside(company, file, rules) == 0
    told = capsys.readouterr()
    assert "rules[" not in told.out
    assert "note: entra: groups were not looked up: " in told.err
    assert "GroupMember.Read.All" in told.err


# --- beside Airflow's database -------------------------------------------------------------------------------


def test_a_resource_that_airflow_does_not_have_is_remarked(
    file: Path, people: People, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = (
        "  - {group: a, roles: [x]}\n"
        "roles: {x: {permissions: {Audit Log: [can_read], Audit Logs: [can_read], Zebras: [can_read]}}}"
    )
    roles = fab_users.role_table()
    renamed = update(roles).where(roles.c.name == "Viewer").values(name="nobody")
    with people.world.engine.begin() as connection:
        fab_users.add_absent(connection, fab_users.permission_tables().resources, [{"name": "Audit Logs"}])
        connection.execute(renamed)
    assert linted(file, rules) == 0
    assert capsys.readouterr().out == "No fault found.\n", "before its first server Airflow has none at all"
    with people.world.engine.begin() as connection:
        connection.execute(update(roles).where(roles.c.name == "nobody").values(name="Viewer"))
    assert linted(file, rules) == 0
    assert capsys.readouterr().out.splitlines() == [
        "role_mapping.yaml:4:27: warning: roles.x.permissions.Audit Log: Airflow has no resource of this name; "
        "did you mean 'Audit Logs'?",
        "role_mapping.yaml:4:74: warning: roles.x.permissions.Zebras: Airflow has no resource of this name; "
        "Security > List Roles shows its names",
        "No fault found.",
    ]


# --- the schema ---------------------------------------------------------------------------------------------


def test_the_published_schema_is_what_the_code_takes() -> None:
    published = Path(role_mapping.__file__).with_name("role_mapping.schema.json")
    assert json.loads(published.read_text()) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())


def test_lint_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint.lint(cli.parser().parse_args(["lint", "--schema"]), NOTHING) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_an_editor_takes_the_example_and_everything_that_may_be_written() -> None:
    example = REPOSITORY / "role_mapping.example.yaml"
    assert "$schema=airflow_sso/role_mapping/role_mapping.schema.json" in example.read_text()
    check(yaml.safe_load(example.read_text()))
    check(yaml.load(EVERYTHING, yaml.BaseLoader) | {"version": 1})


@pytest.mark.parametrize(
    "rule",
    [
        {"group": "a"},
        {"roles": ["Op"]},
        {"group": "a", "app_role": "b", "roles": ["Op"]},
        {"group": "a", "roles": ["Op"], "deny": True},
        {"group": 5, "roles": ["Op"]},
        {"group": {"matches": "a", "x": 1}, "roles": ["Op"]},
        {"group": "a", "role": ["Op"]},
        {"all": [], "roles": ["Op"]},
        {"group": "a", "deny": False},
        {"group": "a", "roles": []},
    ],
)
def test_an_editor_underlines_what_lint_would(file: Path, rule: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check({"version": 1, "rules": [rule]})
    assert linted(file, yaml.safe_dump([rule])) == 1


def check(data: object) -> None:
    jsonschema.validate(data, schema(), jsonschema.Draft202012Validator)


EVERYTHING = """
rules:
  - {group: a, name: x, roles: Op, until: 2999-01-01, for: machines}
  - {group: {matches: 'a.*'}, roles: [Op, Viewer]}
  - {all: [{any: [{app_role: a}, {client: c}]}, {not: {claim: c, in: [a, b]}}], roles: [Op]}
  - {claim: c, matches: 'x', roles: [Op]}
  - {claim: c, contains: x, roles: [Op]}
  - {provider: entra, roles: [Op]}
  - {protocol: saml, roles: [Op]}
require:
  - {claim: amr, contains: mfa}
  - {claim: auth_time, within: 8h}
  - {address: 10.0.0.0/8}
no_match: [Viewer]
manual_roles: keep
protected_roles: [Admin]
roles:
  team-a: {like: Viewer, permissions: {DAG Runs: [can_create]}, dags: {"a_*": [read, trigger]}}
  "team-*": {}
"""
