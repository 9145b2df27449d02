"""``airflow-sso test``: what is written beside the mapping, against what the mapping does."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta

import pytest

from airflow_sso import models
from tests.lines import both_lines
from tests.review_world import Review, entra, federate

pytestmark = both_lines

RULES = (
    "group: airflow-admins, name: admins, roles: [Admin]",
    "group: airflow-ops, roles: [Op]",
    "claim: department, equals: Finance, roles: [Viewer]",
    "group: suspended, deny: true",
    "app_role: Airflow.User, until: 2027-06-30, roles: [User]",
    "client: nightly, for: machines, roles: [Op]",
    "provider: ping, roles: [Public]",
)
GOOD = """
- name: an admin
  groups: [airflow-admins]
  claims: {department: Sales}
  provider: entra
  roles: [Admin]
- name: suspended
  groups: [airflow-admins, suspended]
  refused: SSO-307
- {name: somebody else, claims: {department: Sales}, provider: entra, refused: SSO-301}
- {name: groups that nobody told, groups: unknown, refused: SSO-305}
- {name: in time, app_roles: [Airflow.User], on: 2027-06-30, roles: [User]}
- {name: too late, app_roles: [Airflow.User], on: 2027-07-01, refused: SSO-301}
- {name: a machine, machine: true, client: nightly, roles: [Op]}
- {name: a stranger, machine: true, client: other, refused: SSO-301}
- {name: of two departments, claims: {department: [Sales, Finance]}, roles: [Viewer]}
- {name: through Ping, provider: ping, roles: [Public]}
"""


@pytest.fixture
def written(review: Review) -> Review:
    review.configure(entra(), federate())
    review.map(*RULES)
    review.write("role_mapping.test.yaml", GOOD)
    return review


def test_what_holds_is_counted(written: Review) -> None:
    code, out, err = written.run("test")
    assert (code, out) == (0, "10 expectations hold.\n"), out + err
    told = written.json("test")
    assert told["failed"] == 0
    assert all(one["holds"] for one in told["expectations"])


def test_in_a_process_of_its_own_nothing_else_is_on_its_output(written: Review) -> None:
    command = [sys.executable, "-m", "airflow_sso.cli", "test", "--config", str(written.config), "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["failed"] == 0
    assert "note: Airflow's database cannot be read" in answer.stderr


def test_what_fails_says_what_was_expected_what_came_and_why(written: Review) -> None:
    written.write(
        "role_mapping.test.yaml",
        """
- name: an admin
  groups: [airflow-admins, airflow-ops]
  roles: [Admin]
- name: an operator
  groups: [airflow-ops]
  roles: [Op]
- name: nobody
  roles: [Viewer]
- name: suspended
  groups: [suspended]
  refused: SSO-301
""",
    )
    code, out, _ = written.run("test")
    assert code == 1
    assert out == (
        "role_mapping.test.yaml:2: an admin\n"
        "  expected: exactly Admin\n"
        "  came: Admin, Op\n"
        "  because rule 1 (admins) matches, by group airflow-admins\n"
        "  because rule 2 (group airflow-ops) matches, by group airflow-ops\n"
        "  because rule 3 (claim department equals Finance) is open: claim department is not known\n"
        "  because rule 7 (provider ping) is open: provider is not known\n"
        "role_mapping.test.yaml:8: nobody\n"
        "  expected: exactly Viewer\n"
        "  came: refused with SSO-301\n"
        "  because rule 3 (claim department equals Finance) is open: claim department is not known\n"
        "  because rule 7 (provider ping) is open: provider is not known\n"
        "role_mapping.test.yaml:10: suspended\n"
        "  expected: refused with SSO-301\n"
        "  came: refused with SSO-307\n"
        "  because rule 3 (claim department equals Finance) is open: claim department is not known\n"
        "  because rule 4 (group suspended) matches, by group suspended\n"
        "  because rule 7 (provider ping) is open: provider is not known\n"
        "3 of 4 expectations fail.\n"
    )
    told = written.json("test")
    assert [one["holds"] for one in told["expectations"]] == [False, True, False, False]
    assert told["expectations"][0]["came"] == {"roles": ["Admin", "Op"], "refused": None}


def test_one_role_less_fails_as_one_more_does(written: Review) -> None:
    written.write("role_mapping.test.yaml", "- {name: x, groups: [airflow-admins], roles: [Admin, Op]}\n")
    assert written.run("test")[0] == 1
    written.write("role_mapping.test.yaml", "- {name: x, groups: [airflow-admins], roles: [Admin]}\n")
    assert written.run("test")[0] == 0


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("- {name: x, group: [a], roles: [Op]}", "2:13: [1].group: is not a key that is known here"),
        ("- {groups: [a], roles: [Op]}", "2:3: [1].name: is required"),
        ("- {name: x, groups: [a]}", "2:3: [1]: must have exactly one of roles and refused"),
        ("- {name: x, roles: [Op], refused: SSO-301}", "exactly one of roles and refused"),
        ("- {name: x, roles: []}", "roles must name at least one role"),
        ("- {name: x, refused: SSO-304}", "[1].refused: a mapping refuses with SSO-301, SSO-305, SSO-307"),
        ("- {name: x, client: c, roles: [Op]}", "client is about machines; add machine: true"),
        ("- {name: x, groups: [5], roles: [Op]}", "[1].groups"),
        ("- {name: x, groups: , roles: [Op]}", "[1].groups"),
        ("- {name: x, claims: {level: 1.5}, roles: [Op]}", "[1].claims.level"),
        ("- {name: x, on: tomorrow, roles: [Op]}", "[1].on: must be a day that exists"),
        ("- {name: first, roles: [Op]}", "[1].name: another expectation is called 'first', too"),
        ("- just text", "[1]"),
    ],
)
def test_a_fault_is_told_with_its_line(written: Review, entry: str, fault: str) -> None:
    written.write(
        "role_mapping.test.yaml", f"- {{name: first, groups: [airflow-ops], roles: [Op]}}\n{entry}\n"
    )
    code, out, err = written.run("test")
    assert (code, out) == (2, "")
    assert fault in err
    assert err.startswith("role_mapping.test.yaml:2: ") or "note:" in err


def test_all_faults_are_told_at_once_those_of_the_mapping_too(written: Review) -> None:
    written.map("group: a, rolls: [Admin]", "group: b, roles: [Admin]", "grup: c, roles: [Op]")
    written.write("role_mapping.test.yaml", "- {name: x, rolls: [Op]}\n- {roles: [Op]}\n")
    code, _, err = written.run("test")
    assert code == 2
    for part in ("test.yaml:1", "test.yaml:2", "role_mapping.yaml:3", "role_mapping.yaml:5", "did you mean"):
        assert part in err, err


@pytest.mark.parametrize("text", ["", "[]\n", "a: b\n", "- [\n"])
def test_a_file_that_expects_nothing_proves_nothing(written: Review, text: str) -> None:
    written.write("role_mapping.test.yaml", text)
    assert written.run("test")[0] == 2


def test_a_file_that_is_not_there(written: Review) -> None:
    code, _, err = written.run("test", "nowhere.yaml")
    assert (code, "nowhere.yaml: cannot be read" in err) == (2, True)


def test_another_mapping_and_another_file_need_no_configuration(written: Review) -> None:
    new = written.map("group: airflow-ops, roles: [Viewer]", name="new.yaml")
    expected = written.write("new.test.yaml", "- {name: x, groups: [airflow-ops], roles: [Viewer]}\n")
    assert written.run("test", expected)[0] == 1
    assert written.run("test", "--mapping", new, expected)[0] == 0
    assert written.run("test", "--mapping", new)[0] == 0  # beside the mapping that is tried
    written.config.write_text("providers: nonsense\n")
    assert written.run("test", "--mapping", new, expected)[0] == 0
    code, _, err = written.run("test", expected)
    assert (code, "--mapping FILE" in err) == (2, True)


def test_today_is_meant_where_no_day_is_written(written: Review) -> None:
    today = models.now().date()
    for until, expected in ((today, "roles: [Op]"), (today - timedelta(days=1), "refused: SSO-301")):
        written.map(f"group: a, until: {until}, roles: [Op]")
        written.write("role_mapping.test.yaml", f"- {{name: x, groups: [a], {expected}}}\n")
        assert written.run("test")[0] == 0
