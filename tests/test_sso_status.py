"""The page *SSO status*: what administrators see on it, who may approve, and what comes of approving."""

from __future__ import annotations

import html
import json
import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from airflow_sso.pages.status import relative
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET, TENANT_ID
from tests import stack as stacks
from tests.databases import Database
from tests.lines import route
from tests.operator_process import beside
from tests.stack import Stack, Visitor
from tests.test_leavers import soon

server = pytest.mark.server
PAGE = route("/auth/sso-status/")
AUTHORITY = f"entra:public:{TENANT_ID}"
#: Of no directory that is configured, so that nothing is ever carried out of it.
ELSEWHERE = "scim:elsewhere"
QUARANTINED = 5
HOSTILE = '<script>alert("1")</script>'


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (-4, "now"),
        (7, "in 7 seconds"),
        (-100, "100 seconds ago"),
        (-180, "3 minutes ago"),
        (7199, "in 119 minutes"),
        (7200, "in 2 hours"),
        (-172800, "2 days ago"),
    ],
)
def test_a_time_span_in_words(seconds: int, words: str) -> None:
    assert relative(timedelta(seconds=seconds)) == words


# --- an Airflow that reads a directory ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Nobody's access may go unasked; a second provider is configured wrongly."""
    path = tmp_path_factory.mktemp("status") / "home"
    url = identity_provider.url
    entra = stacks.entra(url, directory={"type": "graph", "insecure_host": url})
    broken = stacks.entra(url, name="broken", label="Broken one", tenant_id="not-a-guid")
    with stacks.migrated_home(
        migrated_database, path, extra={"TEST_CLIENT_SECRET": DEFAULT_CLIENT_SECRET}
    ) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure([entra, broken], sync={"every": "1d", "max_deactivations": {"count": 0}})
        try:
            yield stack.start()
        finally:
            stack.stop()


@pytest.fixture
def stack(shared: Stack, idp: Handle) -> Stack:
    """No plan waits, and the directory was read a moment ago."""
    stacks.welcome(shared, idp)
    shared.generation()  # its row is not of the test
    soon(lambda: bool(shared.rows("select * from sso_directory")))
    shared.write("delete from sso_quarantine")
    shared.write("delete from sso_decision")
    read(shared, "nothing")
    return shared


@pytest.fixture
def ada(stack: Stack) -> Visitor:
    return admin(stack)


def admin(stack: Stack) -> Visitor:
    visitor = stack.visitor()
    visitor.sign_in("ada")
    assert visitor.who() == "ada@contoso.example"
    return visitor


def sql_time(**ahead: float) -> str:
    at = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(**ahead)
    return at.isoformat(sep=" ", timespec="microseconds")


def read(stack: Stack, outcome: str, detail: str | None = None) -> None:
    """The last reading of the directory went so, a minute ago."""
    stack.write(
        "update sso_directory set outcome = ?, detail = ?, tried_at = ?, read_at = ?, whole_read_at = ?, "
        "population = 1234 where authority = ?",
        *(outcome, detail, sql_time(minutes=-3), sql_time(hours=-3), sql_time(days=-3), AUTHORITY),
    )


def waits(
    stack: Stack,
    people: list[tuple[str, str]] | None = None,
    *,
    state: str = "waiting",
    hours: float = 20,
    reason: str = "2 people would lose their access within 24 hours; sync.max_deactivations allows 1 of 9",
) -> str:
    """A plan that waits; its id."""
    plan_id = secrets.token_hex(4)
    taken = people if people is not None else [("otto@contoso.example", "disabled"), ("vera", "not found")]
    removals = [[number, *one] for number, one in enumerate(taken, 1000)]
    stack.write(
        "insert into sso_quarantine (plan_id, authority, state, reasons, removals, made_at, expires_at) "
        "values (?, ?, ?, ?, ?, ?, ?)",
        *(plan_id, ELSEWHERE, state, json.dumps({"limit": reason}), json.dumps(removals)),
        *(sql_time(hours=-4), sql_time(hours=hours)),
    )
    return plan_id


def decided(stack: Stack, event: str, **columns: Any) -> None:
    row = {"reason": None, "username": None, "detail": {}, **columns}
    stack.write(
        "insert into sso_decision (at, event, reference, reason, username, detail) values (?, ?, ?, ?, ?, ?)",
        *(sql_time(), event, "ABCD-2345", row["reason"], row["username"], json.dumps(row["detail"])),
    )


def text(page: requests.Response) -> str:
    """What somebody reads on it."""
    inner = re.sub(r"</(p|h\d|li|d[tdl]|div|t[drh]|caption|label|button)>", " ", page.text)
    inner = re.sub(r"<[^>]+>", "", inner[inner.index("<main") :])
    return " ".join(html.unescape(inner).split())


def token(page: requests.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found, text(page)
    return found.group(1)


def post(visitor: Visitor, plan: str, csrf: str, **fields: str) -> requests.Response:
    return visitor.post(
        f"{visitor.stack.url}{PAGE}approve",
        data={"csrf_token": csrf, "plan": plan, "looked": "yes", **fields},
        allow_redirects=False,
        timeout=30,
    )


def state_of(stack: Stack, plan: str) -> tuple[str, str | None]:
    (row,) = stack.rows("select state, approved_by from sso_quarantine where plan_id = ?", plan)
    return row["state"], row["approved_by"]


# --- what is on it -----------------------------------------------------------------------------------------


@server
def test_an_administrator_sees_providers_and_the_faults_as_lint_tells_them(
    stack: Stack, ada: Visitor
) -> None:
    page = ada.at(PAGE)
    assert page.status_code == 200
    told = text(page)
    assert "Contoso entra · OIDC Open" in told
    assert "Broken one Shut" in told
    with stack.command("lint") as lint:
        assert lint.wait(timeout=120) == 1
    printed = (stack.home.logs / "airflow-sso.log").read_text()
    (fault,) = [line for line in printed.splitlines() if "providers[1].tenant_id" in line]
    assert fault in told


@server
@pytest.mark.parametrize(
    ("outcome", "detail", "words"),
    [
        ("nothing", None, "Contoso Read Read; there was nothing to change"),
        ("applied", None, "Contoso Read Read, and carried out"),
        ("quarantined", "too many", "Contoso Waits Read; the plan that follows waits: too many"),
        (
            "failed",
            "CredentialsRefused: the token endpoint says invalid_client",
            "Contoso Failed It could not be read: CredentialsRefused: the token endpoint says invalid_client "
            "What to do: Renew the credentials under directory: in sso.yaml; nothing was changed.",
        ),
    ],
)
def test_a_directory_and_how_it_was_read_last(
    stack: Stack, ada: Visitor, outcome: str, detail: str | None, words: str
) -> None:
    read(stack, outcome, detail)
    told = text(ada.at(PAGE))
    assert words in told
    assert "Read through Microsoft Graph" in told
    assert "People in it 1234" in told
    assert re.search(r"Next run about .{19} UTC \(in 23 hours\)", told)
    for what, ago in {
        "Last tried": "3 minutes ago",
        "Last read and carried out": "3 hours ago",
        "Last read as a whole": "3 days ago",
    }.items():
        assert re.search(rf"{what} \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC \({ago}\)", told)


def mapping_card(visitor: Visitor) -> str:
    told = text(visitor.at(PAGE))
    return told[told.index("Role mapping ") : told.index(" Providers ")]


@server
def test_which_mapping_is_in_force_and_why_that_is_not_the_file(stack: Stack, ada: Visitor) -> None:
    former = stack.mapping_yaml.read_text()
    number = stack.generation()
    card = mapping_card(ada)
    assert re.fullmatch(
        rf"Role mapping In force Generation {number} sha [0-9a-f]{{12}} Rules 9 "
        r"In force since .{19} UTC \(.*\) Accepted from the file",
        card,
    ), card

    stack.map(f"version: 1\nrules: [{{group: g, roles: ['{HOSTILE}']}}]\n")
    page = ada.at(PAGE)
    assert "<script" not in page.text
    card = mapping_card(ada)
    assert f"Role mapping File not taken Generation {number} " in card
    assert (
        f"The file on this server is not taken: it has 1 fault; generation {number} stays in force." in card
    )
    assert f"there is no role '{HOSTILE}'" in card
    assert "role_mapping.yaml:2:28: rules[0].roles[0]" in card

    stack.map(stacks.default_mapping())
    assert stack.generation() == number + 1
    assert "In force" in mapping_card(ada)
    stack.mapping_yaml.write_text(former)
    card = mapping_card(ada)
    assert f"it was in force before, as generation {number}, and generation {number + 1} has taken" in card
    assert "airflow-sso mapping activate brings it back" in card
    with stack.command("mapping", "activate") as activate:
        assert activate.wait(timeout=120) == 0
    card = mapping_card(ada)
    assert f"Role mapping In force Generation {number + 2} " in card
    assert "Accepted by " in card
    told = text(ada.at(PAGE))
    assert (
        f"Another role mapping is in force Generation {number + 2} in place of {number + 1}, 9 rules" in told
    )
    stack.map(stacks.default_mapping())


@server
def test_who_reads_at_this_moment(stack: Stack, ada: Visitor) -> None:
    assert "at this moment" not in text(ada.at(PAGE))
    until = int(datetime.now(timezone.utc).timestamp()) + 60
    stack.write("update sso_lease set holder = 'cron on <b>', expires_at = ? where name = 'sync'", until)
    assert "Being read at this moment, by cron on <b>." in text(ada.at(PAGE))
    stack.write("update sso_lease set expires_at = 0 where name = 'sync'")


@server
def test_a_plan_says_why_it_waits_and_whose_access_it_takes(stack: Stack, ada: Visitor) -> None:
    plan = waits(stack)
    told = text(ada.at(PAGE))
    assert f"Plan {plan} waits for approval" in told
    assert "sync.max_deactivations allows 1 of 9" in told
    assert "It takes the access of 2 people" in told
    assert "otto@contoso.example disabled vera not found" in told
    assert re.search(r"Waits until .{19} UTC \(in (19|20) hours\)", told)


@server
def test_of_many_people_the_first_two_hundred_are_listed(stack: Stack, ada: Visitor) -> None:
    waits(stack, [(f"person{number:03}", "disabled") for number in range(255)])
    told = text(ada.at(PAGE))
    assert "It takes the access of 255 people" in told
    assert "person199 disabled and 55 more;" in told
    assert "person200" not in told


@server
def test_recent_decisions_newest_first_and_twenty_at_most(stack: Stack, ada: Visitor) -> None:
    for number in range(19):
        decided(stack, "deactivated", username=f"old{number}", reason="disabled")
    decided(stack, "sign_in", username="somebody")
    decided(stack, "roles_changed", username="vera", detail={"before": ["Viewer"], "after": []}, reason="r1")
    decided(stack, "directory_failed", reason="no answer", detail={"authority": AUTHORITY})
    decided(stack, "plan_approved", detail={"plan": "abcd", "operator": "ada"})
    told = text(ada.at(PAGE))
    assert "A plan was approved: plan abcd By ada" in told
    assert "A directory could not be read: Contoso no answer" in told
    assert "Roles changed: vera Viewer → none. r1" in told
    assert told.index("A plan was approved") < told.index("Roles changed") < told.index("old18")
    assert "somebody" not in told
    assert "Account shut: old2 disabled" in told
    assert "old1 " not in told


@server
def test_nothing_that_a_directory_or_a_person_chose_becomes_markup(stack: Stack, ada: Visitor) -> None:
    waits(stack, [(HOSTILE, HOSTILE)], reason=HOSTILE)
    decided(stack, "deactivated", username=HOSTILE, reason=HOSTILE)
    decided(stack, "plan_approved", detail={"plan": HOSTILE, "operator": HOSTILE})
    read(stack, "failed", HOSTILE)
    page = ada.at(PAGE, params={"plan": "<script>"})
    assert "<script" not in page.text
    assert text(page).count(HOSTILE) == 8


@server
def test_where_no_directory_is_named_that_is_said(airflow: Stack) -> None:
    told = text(admin(airflow).at(PAGE))
    assert "No provider has a directory" in told
    assert "docs/deprovisioning.md" in told
    assert "Plan" not in told


@server
def test_only_airflow_itself_may_show_it_in_a_frame(stack: Stack, ada: Visitor) -> None:
    page = ada.at(PAGE)
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    signed_out = stack.visitor().at("/auth/signed-out/")
    assert signed_out.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in signed_out.headers["Content-Security-Policy"]


# --- approving ---------------------------------------------------------------------------------------------


@server
def test_approving_is_told_and_on_record(stack: Stack, ada: Visitor) -> None:
    plan, other = waits(stack), waits(stack, [("wolf", "disabled")])
    answer = post(ada, plan, token(ada.at(PAGE)))
    assert answer.status_code == 303
    page = ada.get(f"{stack.url}{answer.headers['Location']}", timeout=30)
    told = text(page)
    after = "Approved by ada@contoso.example; it is read afresh and carried out within a few seconds."
    assert told.count(after) == 2, "at the top, and in its place"
    assert f"Plan {plan} is approved" in told
    assert f"Plan {other} waits for approval" in told
    assert state_of(stack, plan) == ("approved", "ada@contoso.example")
    assert state_of(stack, other) == ("waiting", None)
    (row,) = stack.rows("select * from sso_decision where event = 'plan_approved'")
    assert json.loads(row["detail"]) == {"plan": plan, "operator": "ada@contoso.example"}
    (logged,) = stack.rows("select * from log where event = 'sso.plan_approved' order by id desc limit 1")
    assert plan in logged["extra"]


@server
def test_an_approved_plan_is_carried_out_within_seconds(stack: Stack, idp: Handle) -> None:
    """All of it: a directory that changes, a run, a plan, somebody who looks at it, and the end of access."""
    ada, otto = admin(stack), stack.visitor()
    otto.sign_in("otto")
    assert otto.who()
    stacks.driver(idp).control("PUT", "directory/people/otto", {"disabled": True})
    with beside(stack) as operator:
        assert operator.run("sync", "--apply") == QUARANTINED
    page = ada.at(PAGE)
    assert "otto@contoso.example disabled" in text(page)
    (plan,) = [row["plan_id"] for row in stack.rows("select plan_id from sso_quarantine")]
    assert is_active(stack, "otto@contoso.example")
    assert post(ada, plan, token(page)).status_code == 303
    soon(lambda: not is_active(stack, "otto@contoso.example"))
    soon(lambda: state_of(stack, plan)[0] == "carried_out")
    told = text(ada.at(PAGE, params={"plan": plan}))
    assert f"The plan {plan}, approved by ada@contoso.example, was carried out." in told
    assert "Account shut: otto@contoso.example disabled in Microsoft Entra ID" in told
    assert "Plan " + plan + " waits" not in told
    stacks.driver(idp).control("PUT", "directory/people/otto", {"disabled": False})
    with beside(stack) as operator:
        operator.run("sync", "--apply")
    assert is_active(stack, "otto@contoso.example")


def is_active(stack: Stack, username: str) -> bool:
    return bool(stack.rows("select active from ab_user where username = ?", username)[0]["active"])


@server
def test_without_the_ticked_box_nothing_is_approved(stack: Stack, ada: Visitor) -> None:
    plan = waits(stack)
    answer = post(ada, plan, token(ada.at(PAGE)), looked="")
    assert answer.status_code == 303
    told = text(ada.get(f"{stack.url}{answer.headers['Location']}", timeout=30))
    assert f"Nothing was approved: the plan {plan} waits." in told
    assert state_of(stack, plan) == ("waiting", None)


@server
@pytest.mark.parametrize("how", ["expired", "superseded", "never was"])
def test_a_plan_that_is_gone_is_answered_calmly(stack: Stack, ada: Visitor, how: str) -> None:
    waits(stack)
    csrf = token(ada.at(PAGE))
    plan = {
        "expired": lambda: waits(stack, hours=-1),
        "superseded": lambda: waits(stack, state="superseded"),
        "never was": lambda: "00000000",
    }[how]()
    page = ada.get(f"{stack.url}{post(ada, plan, csrf).headers['Location']}", timeout=30)
    assert page.status_code == 200
    assert ("There is no plan" if how == "never was" else f"The plan {plan} waits no more") in text(page)
    assert stack.rows("select * from sso_decision where event = 'plan_approved'") == []


@server
@pytest.mark.parametrize("csrf", ["", "IjAwIg.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb", "another's"])
def test_a_form_without_this_session_s_token_approves_nothing(stack: Stack, ada: Visitor, csrf: str) -> None:
    plan = waits(stack)
    own = token(ada.at(PAGE))
    answer = post(ada, plan, token(admin(stack).at(PAGE)) if csrf == "another's" else csrf)
    assert answer.status_code == 400
    assert "Nothing was approved" in text(answer)
    assert state_of(stack, plan) == ("waiting", None)
    assert post(ada, plan, own).status_code == 303
    assert state_of(stack, plan)[0] == "approved"


@server
def test_looking_at_an_address_approves_nothing(stack: Stack, ada: Visitor) -> None:
    plan = waits(stack)
    query = {"plan": plan, "looked": "yes", "csrf_token": token(ada.at(PAGE))}
    assert ada.at(PAGE, params=query).status_code == 200
    assert ada.at(f"{PAGE}approve", params=query).status_code == 405
    assert state_of(stack, plan) == ("waiting", None)


# --- who may -----------------------------------------------------------------------------------------------


@server
@pytest.mark.parametrize("person", ["vera", "otto"])
def test_nobody_but_administrators_sees_it(stack: Stack, person: str) -> None:
    plan = waits(stack, [("secret-name", "disabled")])
    visitor = stack.visitor()
    visitor.sign_in(person)
    assert visitor.who()
    page = visitor.at(PAGE)
    assert page.status_code == 403
    assert "This page is for administrators" in text(page)
    assert "secret-name" not in page.text
    assert plan not in page.text


@server
def test_whoever_is_not_administrator_any_more_approves_nothing(stack: Stack, ada: Visitor) -> None:
    """With a form and a token that were right a moment ago; the control is the same post after that."""
    plan = waits(stack)
    csrf = token(ada.at(PAGE))
    admin_role, viewer_role = (role_id(stack, name) for name in ("Admin", "Viewer"))
    become = (
        "update ab_user_role set role_id = ? where role_id = ? "
        "and user_id = (select id from ab_user where username = 'ada@contoso.example')"
    )
    stack.write(become, viewer_role, admin_role)
    refused = post(ada, plan, csrf)
    assert refused.status_code == 403
    assert "can_edit on SSO" in text(refused)
    assert state_of(stack, plan) == ("waiting", None)
    stack.write(become, admin_role, viewer_role)
    assert post(ada, plan, csrf).status_code == 303
    assert state_of(stack, plan) == ("approved", "ada@contoso.example")


@server
def test_whoever_may_only_look_gets_no_button(stack: Stack) -> None:
    plan = waits(stack)
    viewer, may = role_id(stack, "Viewer"), permission_id(stack, "can_read")
    key = 987_654
    stack.write(
        "insert into ab_permission_view_role (id, permission_view_id, role_id) values (?, ?, ?)",
        *(key, may, viewer),
    )
    vera = stack.visitor()
    vera.sign_in("vera")
    page = vera.at(PAGE)
    stack.write("delete from ab_permission_view_role where id = ?", key)
    assert page.status_code == 200
    assert f"Plan {plan} waits for approval" in text(page)
    assert "Approving it takes the permission can_edit on SSO." in text(page)
    assert "<form" not in page.text


def role_id(stack: Stack, name: str) -> int:
    return int(stack.rows("select id from ab_role where name = ?", name)[0]["id"])


def permission_id(stack: Stack, action: str) -> int:
    query = """select pv.id from ab_permission_view pv join ab_permission p on p.id = pv.permission_id
               join ab_view_menu v on v.id = pv.view_menu_id where p.name = ? and v.name = 'SSO'"""
    return int(stack.rows(query, action)[0]["id"])


@server
def test_the_role_admin_has_both_permissions_and_no_other_role_has_one(stack: Stack) -> None:
    query = """select p.name as action, r.name as role from ab_permission_view_role pvr
               join ab_permission_view pv on pv.id = pvr.permission_view_id
               join ab_permission p on p.id = pv.permission_id join ab_view_menu v on v.id = pv.view_menu_id
               join ab_role r on r.id = pvr.role_id where v.name = 'SSO' order by p.name"""
    found = [(row["action"], row["role"]) for row in stack.rows(query)]
    assert found == [("can_edit", "Admin"), ("can_read", "Admin")]


@server
def test_strangers_sign_in_first_and_arrive_there(stack: Stack) -> None:
    plan = waits(stack)
    stranger = stack.visitor()
    sent = stranger.at(PAGE, allow_redirects=False)
    assert sent.headers["Location"].startswith(f"{stack.auth_url}/login/?next=")
    assert post(stranger, plan, "").status_code == 400
    assert state_of(stack, plan) == ("waiting", None)
    arrived = stranger.sign_in("ada", next_url=f"{stack.url}{PAGE}")
    assert arrived.url == f"{stack.url}{PAGE}"
    assert f"Plan {plan} waits for approval" in text(arrived)


@server
def test_it_is_the_same_under_airflow_s_own_auth_manager(airflow_stock: Stack) -> None:
    ada = admin(airflow_stock)
    plan = waits(airflow_stock)
    page = ada.at(PAGE)
    assert f"Plan {plan} waits for approval" in text(page)
    assert post(ada, plan, token(page)).status_code == 303
    assert state_of(airflow_stock, plan) == ("approved", "ada@contoso.example")
    vera = airflow_stock.visitor()
    vera.sign_in("vera")
    assert vera.at(PAGE).status_code == 403
    airflow_stock.write("delete from sso_quarantine")
