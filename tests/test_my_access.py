"""The page *My access*: everybody sees who they are here and which rules gave them their roles, nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from devidp.people import group_id
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.lines import both_lines, only_on_3, route
from tests.local_door import PASSWORD, Rescuer, add_account, give_role
from tests.stack import GROUPS, Stack, Visitor
from tests.test_sso_status import HOSTILE, sql_time, text

pytestmark = [pytest.mark.server, both_lines]
PAGE = route("/auth/my-access/")
VERA = "vera@contoso.example"


@pytest.fixture(scope="module")
def with_local(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with a provider, a local account beside it, and somebody to ask."""
    path = tmp_path_factory.mktemp("my-access") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        stack = Stack(home, idp=identity_provider)
        entra = stacks.entra(identity_provider.url)
        stack.configure([entra], break_glass=["rescue"], support_contact="data-platform@contoso.example")
        add_account(stack, "rescue")
        try:
            stack.start()
            give_role(stack, "rescue", "Admin")
            yield stack
        finally:
            stack.stop()


def signed_in(stack: Stack, person: str) -> Visitor:
    visitor = stack.visitor()
    visitor.sign_in(person)
    assert visitor.who()
    return visitor


def seen(stack: Stack, person: str) -> str:
    return text(signed_in(stack, person).at(PAGE))


def rewrite(stack: Stack, username: str, column: str, value: Any) -> None:
    """What is kept of a linked account, as another version or another time left it."""
    stack.write(
        f"update sso_account set {column} = ? where user_id = (select id from ab_user where username = ?)",
        value,
        username,
    )


# --- who and why -------------------------------------------------------------------------------------------


def test_somebody_sees_who_they_are_and_which_rule_gave_them_their_role(airflow: Stack) -> None:
    page = signed_in(airflow, "vera").at(PAGE)
    assert page.status_code == 200
    told = text(page)
    (row,) = airflow.rows("select email from ab_user where username = ?", VERA)
    assert f"Username {VERA} Name Vera Rubin Email {row['email']} You sign in through Contoso" in told
    assert "Your roles (1) Viewer By a rule Rule that gives it airflow_prod_viewer Since 20" in told
    assert "Op " not in told
    assert "Admin" not in told
    assert f"airflow-sso explain {VERA}" in told


def test_the_groups_that_were_told_come_with_the_names_that_rules_have_for_them(airflow: Stack) -> None:
    told = seen(airflow, "vera")
    viewer, everyone = GROUPS["airflow_prod_viewer"], group_id("everyone")
    assert "Your groups (2) As Contoso told them at your sign-in (" in told
    assert f"Named by a rule of the role mapping airflow_prod_viewer {viewer} Named by no rule" in told
    assert f"they give no role {everyone} When" in told


def test_several_rules_that_give_one_role_are_all_named(airflow: Stack, idp: Handle) -> None:
    stacks.driver(idp).control("PUT", "people/vera", {"app_roles": ["Reader"]})
    rules = [
        *stacks.default_mapping()["rules"],
        {"app_role": "Reader", "name": "readers", "roles": ["Viewer", "User"]},
        {"group": group_id("everyone"), "roles": ["Viewer"]},
    ]
    airflow.map({"version": 1, "rules": rules})
    told = seen(airflow, "vera")
    everyone = f"group {group_id('everyone')}"
    assert f"Rules that give it airflow_prod_viewer, readers and {everyone} Since" in told
    assert "User By a rule Rule that gives it readers Since" in told


def test_a_role_for_whoever_no_rule_names_says_so(airflow: Stack, idp: Handle) -> None:
    stacks.driver(idp).control("PUT", "people/vera", {"groups": ["everyone"]})
    airflow.map({**stacks.default_mapping(), "no_match": ["Public"]})
    assert "Public By a rule Rule that gives it no_match, which is for everybody" in seen(airflow, "vera")


def test_a_role_that_was_given_by_hand_is_told_from_ours(airflow: Stack) -> None:
    signed_in(airflow, "vera")
    airflow.map({**stacks.default_mapping(), "manual_roles": "keep"})
    give_role(airflow, VERA, "Op")
    told = seen(airflow, "vera")
    assert "Op Given by hand No rule of the role mapping gives it" in told
    assert "Viewer By a rule Rule that gives it airflow_prod_viewer" in told


def test_a_protected_role_is_called_protected(airflow: Stack) -> None:
    signed_in(airflow, "vera")
    rules = [one for one in stacks.default_mapping()["rules"] if one["roles"] != ["Op"]]
    airflow.map({"version": 1, "rules": rules, "protected_roles": ["Op"]})
    give_role(airflow, VERA, "Op")
    assert "Op Protected The role mapping protects this role" in seen(airflow, "vera")


@only_on_3("no groups")
def test_a_role_through_a_group_of_airflow_s_own_is_there_too(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    airflow.write("insert into ab_group (name, label, description) values ('crew', 'c', 'c')")
    airflow.write(
        "insert into ab_group_role (group_id, role_id) select g.id, r.id from ab_group g, ab_role r "
        "where g.name = 'crew' and r.name = 'Op'"
    )
    airflow.write(
        "insert into ab_user_group (user_id, group_id) select u.id, g.id from ab_user u, ab_group g "
        "where u.username = ? and g.name = 'crew'",
        VERA,
    )
    try:
        assert "Op By a group of Airflow's A group of Airflow's own gives it" in text(visitor.at(PAGE))
    finally:
        for table in ("ab_user_group", "ab_group_role", "ab_group"):
            airflow.write(f"delete from {table}")
    assert "Op " not in text(visitor.at(PAGE))


def test_a_role_that_somebody_took_away_by_hand_is_missed(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    airflow.write(
        "delete from ab_user_role where user_id = (select id from ab_user where username = ?)", VERA
    )
    told = text(visitor.at(PAGE))
    assert "You hold no role in Airflow. Viewer Not held" in told
    assert "gives you this role by airflow_prod_viewer, but your account lacks it" in told


def test_what_an_older_version_wrote_down_is_shown_as_far_as_it_goes(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    rewrite(airflow, VERA, "given_roles", json.dumps(["Viewer"]))
    told = text(visitor.at(PAGE))
    assert "Rule that gives it not written down yet; it will be at your next sign-in" in told
    assert "Since before times were written down" in told


def test_a_local_account_is_told_calmly_what_it_is(with_local: Stack) -> None:
    visitor = Rescuer(with_local)
    visitor.try_password("rescue", PASSWORD)
    assert visitor.who() == "rescue"
    told = text(visitor.at(PAGE))
    assert "Username rescue Name Local Person Email rescue@local.example" in told
    assert "You sign in through this Airflow itself This is a local account." in told
    assert "Your roles (1) Admin Given by hand If something is missing" in told
    assert "Whom to ask: data-platform@contoso.example" in told
    assert "airflow-sso explain rescue" in told


# --- the way there -----------------------------------------------------------------------------------------


def menus(visitor: Visitor) -> dict[str, str]:
    """What Airflow's interface shows under *Security*."""
    answer = visitor.at("/ui/auth/menus")
    assert answer.ok
    return {one["text"]: one["href"] for one in answer.json()["extra_menu_items"]}


@only_on_3("its menu shows My access to everybody")
def test_whoever_sees_no_entries_of_plugins_has_a_way_under_security(airflow: Stack) -> None:
    vera = signed_in(airflow, "vera")
    assert vera.at("/api/v2/plugins").status_code == 403
    assert menus(vera) == {"Roles": "/auth/my-access/"}
    otto = signed_in(airflow, "otto")
    assert otto.at("/api/v2/plugins").ok
    assert "/auth/my-access/" not in menus(otto).values()
    ada = menus(signed_in(airflow, "ada"))
    assert ada["Roles"] == "/auth/roles/list/", "Airflow's own, for whoever may see it"


# --- what was told -----------------------------------------------------------------------------------------


def test_groups_that_are_unknown_are_called_unknown_and_why_it_matters(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    unknown = {"group": {"value": None, "at": "2026-11-21T10:00:00+00:00", "source": "sign_in:entra"}}
    rewrite(airflow, VERA, "facts", json.dumps(unknown))
    told = text(visitor.at(PAGE))
    assert "Your groups Unknown Airflow was not told which groups you are in" in told
    assert "What is unknown gives nothing" in told
    assert "(0)" not in told


def test_where_no_rule_asks_for_groups_none_were_kept(airflow: Stack, idp: Handle) -> None:
    stacks.driver(idp).control("PUT", "people/vera", {"app_roles": ["Reader"]})
    airflow.map({"version": 1, "rules": [{"app_role": "Reader", "roles": ["Viewer"]}]})
    told = seen(airflow, "vera")
    assert "Your groups No rule of the role mapping asks for groups, so none were kept." in told
    assert "Rule that gives it app_role Reader" in told


def test_somebody_in_no_group_is_told_so(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    nothing = {"group": {"value": [], "at": "2026-11-21T10:00:00+00:00", "source": "sync:entra"}}
    rewrite(airflow, VERA, "facts", json.dumps(nothing))
    assert "Your groups (0) As the directory told them" in text(visitor.at(PAGE))


def test_groups_by_the_hundred_are_folded(airflow: Stack, idp: Handle) -> None:
    names = ["airflow_prod_viewer", *(f"project_{n:03}" for n in range(119))]
    stacks.driver(idp).control("PUT", "people/vera", {"groups": names})
    page = signed_in(airflow, "vera").at(PAGE)
    assert "Your groups (120)" in text(page)
    assert "70 more" in text(page)
    open_part, folded = page.text.split("<details>")
    assert GROUPS["airflow_prod_viewer"] in open_part, "what rules name stands first"
    assert open_part.count("<li>") == 50
    assert folded.count("<li>") == 70


def test_a_directory_s_last_reading_is_told(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    assert "The directory was last read never; a change counts from your next sign-in" in text(
        visitor.at(PAGE)
    )
    (row,) = airflow.rows("select authority from sso_account where username = ?", VERA)
    airflow.write(
        "insert into sso_directory (authority, read_at) values (?, ?)", row["authority"], sql_time(hours=-3)
    )
    try:
        assert "UTC (3 hours ago) If" in text(visitor.at(PAGE))
    finally:
        airflow.write("delete from sso_directory")


def test_no_claim_but_groups_and_no_session_is_on_it(airflow: Stack, idp: Handle) -> None:
    stacks.driver(idp).control("PUT", "people/vera", {"claims": {"department": "Secret Projects"}})
    rules = [*stacks.default_mapping()["rules"], {"claim": "department", "equals": "X", "roles": ["Op"]}]
    airflow.map({"version": 1, "rules": rules})
    visitor = signed_in(airflow, "vera")
    page = visitor.at(PAGE)
    (row,) = airflow.rows("select * from sso_account where username = ?", VERA)
    assert "Secret Projects" in row["facts"], "it was kept"
    assert "Secret Projects" not in page.text
    assert row["subject"] not in page.text
    assert row["identity_key"] not in page.text
    for session in airflow.rows("select session_id from sso_session"):
        assert session["session_id"] not in page.text


def test_a_mapping_that_cannot_be_read_is_said_and_the_rest_stands(with_local: Stack, idp: Handle) -> None:
    stacks.welcome(with_local, idp)
    visitor = signed_in(with_local, "vera")
    assert "cannot be read" not in text(visitor.at(PAGE))
    with_local.stop()
    with_local.map("version: 1\nrules: [{group: x, roles: [Nobody]}]\n")
    with_local.write("delete from sso_mapping")  # else the version before would go on counting
    with_local.start()
    page = visitor.at(PAGE)
    assert page.status_code == 200
    told = text(page)
    assert "The role mapping cannot be read at this moment, so this page cannot name your groups." in told
    assert "Rule that gives it airflow_prod_viewer" in told
    assert f"{GROUPS['airflow_prod_viewer']} {group_id('everyone')}" in told
    assert "Named by" not in told
    assert "Nobody" not in told, "what is wrong with it is for administrators"


def test_nothing_that_a_person_or_a_rule_says_becomes_markup(airflow: Stack, idp: Handle) -> None:
    stacks.driver(idp).control(
        "PUT", "people/vera", {"given_name": HOSTILE, "groups": ["airflow_prod_viewer", HOSTILE]}
    )
    rules = [{"group": GROUPS["airflow_prod_viewer"], "name": HOSTILE, "roles": ["Viewer"]}]
    airflow.map({"version": 1, "rules": rules})
    visitor = signed_in(airflow, "vera")
    told = {"value": [HOSTILE], "at": "2026-11-21T10:00:00+00:00", "source": "sign_in:entra"}
    rewrite(airflow, VERA, "facts", json.dumps({"group": told}))
    page = visitor.at(PAGE)
    assert "<script" not in page.text
    assert text(page).count(HOSTILE) == 3


# --- whose -------------------------------------------------------------------------------------------------


def test_whoever_has_not_signed_in_does_so_first_and_comes_back(airflow: Stack) -> None:
    visitor = airflow.visitor()
    page = visitor.at(PAGE)
    assert airflow.idp
    assert page.url.startswith(f"{airflow.idp.url}/")
    arrived = visitor.press(page, "vera")
    assert arrived.url == f"{airflow.url}{PAGE}"
    assert f"Username {VERA}" in text(arrived)


def test_a_person_sees_only_themselves_whatever_the_address_says(airflow: Stack) -> None:
    signed_in(airflow, "ada")
    otto = signed_in(airflow, "otto")
    (ada,) = airflow.rows("select id from ab_user where username = 'ada@contoso.example'")
    for query in ({"username": "ada@contoso.example"}, {"user_id": ada["id"]}, {"pk": ada["id"]}):
        page = otto.at(PAGE, params=query)
        assert "Username otto@contoso.example" in text(page)
        assert "ada" not in page.text.lower().replace("metadata", "")
    assert otto.at(f"{PAGE}{ada['id']}").status_code == 404


def test_whoever_has_no_role_that_reads_anything_sees_it_all_the_same(airflow: Stack) -> None:
    airflow.map(
        {"version": 1, "rules": [{"group": group_id("everyone"), "name": "all", "roles": ["Public"]}]}
    )
    visitor = signed_in(airflow, "vera")
    page = visitor.at(PAGE)
    assert page.status_code == 200
    assert "Public By a rule Rule that gives it all" in text(page)
    assert visitor.at("/auth/sso-status/").status_code == 403


def test_an_ended_session_sees_nothing(airflow: Stack) -> None:
    visitor = signed_in(airflow, "vera")
    airflow.write("update sso_session set ended_at = ? where ended_at is null", sql_time())
    page = visitor.at(PAGE)
    assert VERA not in page.text
    assert not page.url.startswith(f"{airflow.url}{PAGE}")


def test_only_airflow_itself_may_show_it_in_a_frame(airflow: Stack) -> None:
    page = signed_in(airflow, "vera").at(PAGE)
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"


def test_a_link_to_an_account_that_was_there_before_tells_nothing_of_the_one_that_is_there_now(
    airflow: Stack,
) -> None:
    visitor = signed_in(airflow, "vera")
    (row,) = airflow.rows("select user_created_on from sso_account where username = ?", VERA)
    rewrite(airflow, VERA, "user_created_on", "2001-01-01 00:00:00.000000")
    told = text(visitor.at(PAGE))
    rewrite(airflow, VERA, "user_created_on", row["user_created_on"])
    assert "This is a local account." in told
    assert "Viewer Given by hand" in told
    assert GROUPS["airflow_prod_viewer"] not in told
    assert "Viewer By a rule" in text(visitor.at(PAGE))
