"""Signing in through OIDC, over HTTP, on a real Airflow: who gets in as what, and who is told why not."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from devidp.server import Handle
from tests import stack as stacks
from tests.lines import both_lines, only_on_3, route
from tests.local_door import give_role
from tests.stack import Stack, facts

pytestmark = both_lines


@pytest.mark.parametrize(("person", "role"), [("ada", "Admin"), ("otto", "Op"), ("vera", "Viewer")])
@pytest.mark.parametrize("through", ["entra", "generic"])
def test_the_mapping_decides_what_a_person_is(
    airflow_two: Stack, through: str, person: str, role: str
) -> None:
    visitor = airflow_two.visitor()
    page = visitor.sign_in(person, through)
    assert page.ok
    assert page.url == airflow_two.landing_url
    username = visitor.who()
    assert username
    assert username.startswith(person)
    assert airflow_two.roles_of(username) == {role}


@pytest.mark.parametrize(
    ("person", "code", "words"),
    [
        ("nora", "SSO-301", "your one group there does not open Airflow"),
        ("hugo", "SSO-306", "guests are not let into this Airflow"),
        ("over", "SSO-305", "could not find out which groups you are in"),
    ],
)
def test_the_refused_are_told_why_under_one_reference(
    airflow: Stack, person: str, code: str, words: str
) -> None:
    visitor = airflow.visitor()
    page = visitor.sign_in(person)
    shown, reference = facts(page)
    assert (page.status_code, shown) == (403, code)
    assert words in page.text
    assert "data-platform@contoso.example" in page.text
    assert visitor.who() is None
    (row,) = airflow.rows("select * from sso_decision where reference = ?", reference)
    assert (row["event"], row["code"], row["provider"]) == ("sign_in_refused", code, "entra")
    (logged,) = airflow.rows("select * from log where extra like ?", f"%{reference}%")
    assert logged["event"] == "sso.sign_in_refused"
    assert f'"reference": "{reference}"' in airflow.log
    accounts = airflow.rows("select * from ab_user where username like ?", f"{person}%")
    assert accounts == [], "whoever is refused at the first sign-in gets no account"


def test_a_sign_in_is_on_record_with_its_rules(airflow: Stack) -> None:
    airflow.visitor().sign_in("otto")
    rows = airflow.rows("select * from sso_decision where username like 'otto%' order by id desc limit 1")
    assert rows[0]["event"] == "sign_in"
    detail = json.loads(rows[0]["detail"])
    session = detail.pop("session")
    assert detail == {"rules": ["airflow_prod_op"], "groups": 2}
    assert len(airflow.rows("select * from sso_session where session_id = ?", session)) == 1
    assert rows[0]["reference"]


def test_the_account_is_the_same_one_under_a_new_name(airflow: Stack, idp: Handle) -> None:
    def account() -> dict[str, object]:
        (row,) = airflow.rows(
            """select u.id, u.username, u.email from ab_user u join sso_account a on a.user_id = u.id
               where a.subject = (select subject from sso_account where username like 'vera%' or username like 'v.rubin%')"""
        )
        return row

    airflow.visitor().sign_in("vera")
    before = account()
    new_name = {"preferred_username": "v.rubin@contoso.example", "email": "v.rubin@contoso.example"}
    stacks.driver(idp).control("PUT", "people/vera", {"claims": new_name})
    visitor = airflow.visitor()
    visitor.sign_in("vera")
    assert account() == {
        "id": before["id"],
        "username": "v.rubin@contoso.example",
        "email": "v.rubin@contoso.example",
    }
    assert visitor.who() == "v.rubin@contoso.example"


def test_losing_the_last_group_takes_every_role_and_refuses(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("otto")
    username = str(visitor.who())
    assert airflow.roles_of(username) == {"Op"}
    airflow.map({"version": 1, "rules": [{"group": stacks.GROUPS["airflow_prod_admin"], "roles": ["Admin"]}]})
    page = airflow.visitor().sign_in("otto")
    assert facts(page)[0] == "SSO-301"
    assert airflow.roles_of(username) == set()


def test_an_unknown_group_list_leaves_the_roles_as_they_were(airflow: Stack, idp: Handle) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("otto")
    stacks.driver(idp).knobs(groups__overage="claim_sources")
    assert facts(airflow.visitor().sign_in("otto"))[0] == "SSO-305"
    assert airflow.roles_of(str(visitor.who())) == {"Op"}


def test_a_new_mapping_counts_at_the_next_sign_in_and_a_broken_one_never(airflow: Stack) -> None:
    airflow.map({"version": 1, "rules": [{"group": stacks.GROUPS["airflow_prod_op"], "roles": ["Viewer"]}]})
    visitor = airflow.visitor()
    visitor.sign_in("otto")
    assert airflow.roles_of(str(visitor.who())) == {"Viewer"}
    airflow.map("version: 1\nrules: [{group: everyone, roles: [Admn]}]")
    visitor = airflow.visitor()
    visitor.sign_in("otto")
    assert airflow.roles_of(str(visitor.who())) == {"Viewer"}
    assert "there is no role 'Admn'; did you mean 'Admin'?" in airflow.log


def test_a_role_given_by_hand_goes_at_the_next_sign_in(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("vera")
    username = str(visitor.who())
    give_role(airflow, username, "Admin")
    assert airflow.roles_of(username) == {"Viewer", "Admin"}
    airflow.visitor().sign_in("vera")
    assert airflow.roles_of(username) == {"Viewer"}


def test_the_account_keeps_what_the_mapping_read_and_no_more(airflow: Stack) -> None:
    mapping = stacks.default_mapping()
    mapping["rules"].append({"claim": "department", "equals": "Finance", "roles": ["User"]})
    airflow.map(mapping)
    visitor = airflow.visitor()
    visitor.sign_in("ada")
    (link,) = airflow.rows(
        "select a.* from sso_account a join ab_user u on u.id = a.user_id where u.username = ?", visitor.who()
    )
    facts_kept = json.loads(link["facts"])
    assert set(facts_kept) == {"group", "claim:department"}
    assert stacks.GROUPS["airflow_prod_admin"] in facts_kept["group"]["value"]
    assert facts_kept["group"]["source"] == "sign_in:entra"
    assert facts_kept["claim:department"]["value"] is None, "absent is unknown"
    (role, given), *others = json.loads(link["given_roles"]).items()
    assert (role, given["rules"], others) == ("Admin", ["airflow_prod_admin"], [])


def test_a_role_given_by_hand_stays_where_that_is_configured(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("vera")
    username = str(visitor.who())
    airflow.map({**stacks.default_mapping(), "manual_roles": "keep"})
    give_role(airflow, username, "User")
    airflow.visitor().sign_in("vera")
    assert airflow.roles_of(username) == {"Viewer", "User"}
    airflow.map(stacks.default_mapping())
    airflow.visitor().sign_in("vera")
    assert airflow.roles_of(username) == {"Viewer"}


@pytest.mark.parametrize(
    "name", ["n" * 300, "Ærøskøbing Ünïcode", "名前", "'; drop table ab_user; --", "<b>x</b>"]
)
def test_no_name_is_too_strange(airflow: Stack, idp: Handle, name: str) -> None:
    claims = {"preferred_username": name, "given_name": name, "family_name": name, "email": name}
    stacks.driver(idp).control("PUT", "people/vera", {"claims": claims})
    visitor = airflow.visitor()
    visitor.sign_in("vera")
    assert visitor.who() == name[:250]


def test_a_name_that_is_missing_gets_a_stand_in(airflow: Stack, idp: Handle) -> None:
    gone = ["preferred_username", "email", "given_name", "family_name", "name", "upn"]
    stacks.driver(idp).knobs(id_token__remove=gone)
    visitor = airflow.visitor()
    visitor.sign_in("vera")
    (row,) = airflow.rows("select username, email from ab_user where username = ?", visitor.who())
    assert row["email"] == f"{row['username']}@sso.invalid"


def test_two_people_may_swap_their_addresses(airflow: Stack, idp: Handle) -> None:
    drive = stacks.driver(idp)
    for person in ("otto", "vera"):
        airflow.visitor().sign_in(person)
    ids = {
        p: airflow.rows("select id from ab_user where username like ?", f"{p}@%") for p in ("otto", "vera")
    }
    drive.control("PUT", "people/otto", {"claims": {"email": "vera@contoso.example"}})
    drive.control("PUT", "people/vera", {"claims": {"email": "otto@contoso.example"}})
    for person in ("otto", "vera", "otto"):
        visitor = airflow.visitor()
        visitor.sign_in(person)
        assert str(visitor.who()).startswith(person)
    for person, other in (("otto", "vera"), ("vera", "otto")):
        (row,) = airflow.rows("select email from ab_user where id = ?", ids[person][0]["id"])
        assert row["email"] == f"{other}@contoso.example"


# --- the attempt ------------------------------------------------------------------------------------


def test_an_answer_opens_nothing_in_another_browser(airflow: Stack) -> None:
    victim, attacker = airflow.visitor(), airflow.visitor()
    callback = attacker.press(attacker.go_to_provider(), "ada", follow=False)
    address = callback.url
    victim.go_to_provider()  # the victim has a binding cookie of their own
    page = victim.get(address, timeout=30)
    assert facts(page)[0] == "SSO-101"
    assert victim.who() is None


def test_the_other_browser_cannot_use_it_up_either(airflow: Stack) -> None:
    person, stranger = airflow.visitor(), airflow.visitor()
    page = person.go_to_provider()
    state = parse_qs(urlsplit(page.url).query)["state"][0]
    stranger.go_to_provider()
    assert (
        facts(stranger.at("/auth/oauth-authorized/entra", params={"state": state, "code": "x"}))[0]
        == "SSO-101"
    )
    person.press(page, "ada")
    assert person.who()


def test_an_answer_works_once(airflow: Stack) -> None:
    visitor = airflow.visitor()
    callback = visitor.press(visitor.go_to_provider(), "ada", follow=False)
    assert visitor.who()
    page = visitor.get(callback.url, timeout=30)
    assert facts(page)[0] == "SSO-101"
    assert visitor.who(), "a replay does not end the session that is there"


def test_an_attempt_belongs_to_its_provider(airflow_two: Stack) -> None:
    visitor = airflow_two.visitor()
    page = visitor.go_to_provider("generic")
    query = parse_qs(urlsplit(page.url).query)
    answer = {"state": query["state"][0], "code": "x"}
    assert facts(visitor.at("/auth/oauth-authorized/entra", params=answer))[0] == "SSO-101"


def test_an_attempt_older_than_ten_minutes_is_over(airflow: Stack) -> None:
    visitor = airflow.visitor()
    page = visitor.go_to_provider()
    airflow.write("update sso_login_attempt set expires_at = '2026-01-01 00:00:00'")
    assert facts(visitor.press(page, "ada"))[0] == "SSO-101"
    visitor.sign_in("ada")
    assert visitor.who()
    assert airflow.rows("select * from sso_login_attempt where expires_at < '2026-06-01'") == []


def test_two_tabs_do_not_disturb_each_other(airflow: Stack) -> None:
    visitor = airflow.visitor()
    first = visitor.go_to_provider(next_url="/dags?tab=1")
    second = visitor.go_to_provider(next_url="/dags?tab=2")
    assert visitor.press(first, "ada").url == f"{airflow.url}/dags?tab=1"
    assert visitor.press(second, "ada").url == f"{airflow.url}/dags?tab=2"


def test_cancelling_is_a_calm_refusal(airflow: Stack) -> None:
    visitor = airflow.visitor()
    page = visitor.press(visitor.go_to_provider(next_url="/dags"), "")
    assert facts(page)[0] == "SSO-104"
    assert "next=http" in page.text, "trying again leads to where the person was going"


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example/", "\\\\evil.example", "https:evil", "javascript:alert(1)"],
)
def test_a_sign_in_only_ever_leads_to_our_own_pages(airflow: Stack, wanted: str) -> None:
    visitor = airflow.visitor()
    assert visitor.sign_in("ada", next_url=wanted).url == airflow.landing_url
    # And whoever is signed in already is not sent away either.
    answer = visitor.at("/auth/login/", params={"next": wanted}, allow_redirects=False)
    assert answer.headers["Location"] == f"{airflow.url}/"


LIES = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}


def test_a_request_for_another_host_is_sent_to_ours_before_anything_starts(airflow: Stack) -> None:
    before = airflow.rows("select count(*) as n from sso_login_attempt")
    answer = airflow.visitor().at("/auth/login/entra?next=/dags", headers=LIES, allow_redirects=False)
    target = urlsplit(answer.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == f"{airflow.auth_url}/login/entra"
    assert parse_qs(target.query) == {"next": [f"{airflow.url}/dags"], "moved": ["1"]}
    assert airflow.rows("select count(*) as n from sso_login_attempt") == before


def test_addresses_come_from_the_configuration_whatever_the_request_says(airflow: Stack) -> None:
    # Behind a proxy that rewrites Host it goes on after one move, and still names our own address.
    answer = airflow.visitor().at("/auth/login/entra?moved=1", headers=LIES, allow_redirects=False)
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["redirect_uri"] == [f"{airflow.auth_url}/oauth-authorized/entra"]


# --- sessions and doors -----------------------------------------------------------------------------


def test_a_session_id_from_before_the_sign_in_is_worthless_after_it(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.at("/auth/signed-out/")
    planted = visitor.cookies.get("session")
    visitor.sign_in("ada")
    assert visitor.cookies.get("session") != planted
    thief = airflow.visitor()
    if planted:
        thief.cookies.set("session", planted)
    thief.at("/auth/login/", allow_redirects=False)
    assert thief.who() is None


def test_signing_in_over_another_session_ends_it(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("ada")
    first = visitor.cookies.get("session")
    visitor.sign_in("vera")
    assert str(visitor.who()).startswith("vera")
    thief = airflow.visitor()
    thief.cookies.set("session", first or "")
    thief.at("/auth/login/", allow_redirects=False)
    assert thief.who() is None


def test_signing_out_leaves_neither_of_the_two_credentials(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("ada")
    old = {cookie.name: cookie.value for cookie in visitor.cookies}
    page = visitor.sign_out()
    assert page.url == f"{airflow.auth_url}/signed-out/"
    assert page.ok
    assert "_token" not in visitor.cookies
    assert visitor.who() is None
    thief = airflow.visitor()
    for name in ("session",) if IS_AIRFLOW_2 else ("session", "_token"):
        thief.cookies.set(name, old[name] or "")
    assert thief.who() is None, "the old token"
    thief.at("/auth/login/", allow_redirects=False)
    assert thief.who() is None, "a new token from the old session"


def test_signing_out_forgets_the_session_at_once_wherever_the_browser_goes_then(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("ada")
    row = str(visitor.cookies.get("session")).partition(".")[0]
    assert airflow.rows("select 1 from session where session_id = ?", row)
    visitor.leave(allow_redirects=False)
    assert not airflow.rows("select 1 from session where session_id = ?", row)


def test_a_whole_office_may_sign_out_at_once(airflow: Stack) -> None:
    for _ in range(8):
        visitor = airflow.visitor()
        visitor.sign_in("ada")
        assert visitor.sign_out().url == f"{airflow.auth_url}/signed-out/"


def test_with_airflows_own_manager_signing_out_is_calm_too(airflow_stock: Stack) -> None:
    visitor = airflow_stock.visitor()
    visitor.sign_in("ada")
    page = visitor.sign_out()
    assert page.url.startswith(airflow_stock.url)
    assert "You are signed out" in page.text
    again = visitor.at("/auth/login/", allow_redirects=False)
    assert route("/auth/login/entra") in again.headers["Location"], "the next visit goes straight on"


def test_our_cookies_hold_nothing_and_are_well_kept(airflow: Stack) -> None:
    visitor = airflow.visitor()
    answer = visitor.at("/auth/login/entra", allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"):
        assert part in cookie, cookie
    visitor.sign_in("ada")
    assert max(len(cookie.value or "") for cookie in visitor.cookies) < 4000


@only_on_3("passwords open its API only if [api] auth_backends says so; test_doors.py tries that")
def test_local_passwords_open_nothing(airflow: Stack) -> None:
    visitor = airflow.visitor()
    visitor.sign_in("ada")
    (row,) = airflow.rows("select password from ab_user where username like 'ada%'")
    assert not row["password"].startswith(("scrypt:", "pbkdf2:"))
    for password in ("", "ada", row["password"]):
        body = {"username": "ada@contoso.example", "password": password}
        answer = requests.post(f"{airflow.auth_url}/token", json=body, timeout=30)
        assert answer.status_code in (400, 401), answer.text


def test_pages_are_never_cached_and_run_no_script(airflow: Stack) -> None:
    page = airflow.visitor().sign_in("nora")
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "<script" not in page.text


def test_one_provider_is_gone_to_at_once_and_several_are_offered(airflow: Stack, airflow_two: Stack) -> None:
    straight = airflow.visitor().at("/auth/login/?next=/dags", allow_redirects=False)
    assert straight.headers["Location"].startswith(f"{airflow.auth_url}/login/entra?next=")
    page = airflow_two.visitor().at("/auth/login/?next=/dags")
    assert "Contoso" in page.text
    assert "Lab accounts" in page.text
    assert route("/auth/login/generic?next=") in page.text
    assert "Broken one" in page.text
    assert route("/auth/login/broken") not in page.text
    assert "SSO-501" in page.text


def test_a_shut_door_says_so_and_an_unknown_one_is_not_there(airflow_two: Stack) -> None:
    shut = airflow_two.visitor().at("/auth/login/broken")
    assert (shut.status_code, facts(shut)[0]) == (503, "SSO-501")
    assert airflow_two.visitor().at("/auth/login/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["resetmypassword", "resetpassword"])
def test_nobody_can_choose_a_password_that_would_open_nothing(airflow: Stack, path: str) -> None:
    visitor = airflow.visitor()
    assert facts(visitor.at(f"/auth/{path}/form?pk=1"))[0] == "SSO-401"
    visitor.sign_in("ada")
    page = visitor.at(f"/auth/{path}/form?pk=1")
    assert facts(page)[0] == "SSO-401"
    assert "<input" not in page.text
    assert visitor.who(), "and the session goes on"
