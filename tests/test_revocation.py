"""Access that is ended: by commands, by SQL, by signing out; on the UI's API, the public API and
Flask-AppBuilder's pages; at the next request, and for good.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database, refusing
from tests.lines import API, both_lines, only_on_2, only_on_3, route
from tests.local_door import give_role
from tests.stack import Stack, Visitor, facts

pytestmark = [pytest.mark.server, pytest.mark.database, both_lines]

LAYOUT = "%Y-%m-%d %H:%M:%S.%f"


@pytest.fixture(scope="module")
def shared_two_workers(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow of two workers, so that nothing can count on one process's memory."""
    folder = tmp_path_factory.mktemp("two-workers") / "home"
    with stacks.running(migrated_database, folder, identity_provider, workers=2) as stack:
        yield stack


@pytest.fixture
def two(shared_two_workers: Stack, idp: Handle) -> Stack:
    return stacks.welcome(shared_two_workers, idp)


class Client:
    """Somebody with a bearer token and nothing else; a new connection each time, so any worker may answer.

    On 2.11 there are no tokens: whatever calls the API has a copy of the session cookie.
    """

    def __init__(self, stack: Stack, token: str) -> None:
        self.stack, self.token = stack, token

    def at(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        carried = (
            {"Cookie": f"session={self.token}"} if IS_AIRFLOW_2 else {"Authorization": f"Bearer {self.token}"}
        )
        return requests.request(
            method,
            f"{self.stack.url}{path}",
            headers={**carried, "Connection": "close"},
            timeout=30,
            **options,
        )


def signed_in(stack: Stack, person: str = "ada") -> Visitor:
    visitor = stack.visitor()
    page = visitor.sign_in(person)
    assert page.ok, facts(page)
    return visitor


def token_of(visitor: Visitor) -> str:
    return str(visitor.cookies["_token"])


def client(visitor: Visitor) -> Client:
    """A client with a token of its own, made by the visitor's."""
    if IS_AIRFLOW_2:
        return Client(visitor.stack, str(visitor.cookies["session"]))
    answer = visitor.post(f"{visitor.stack.url}/ui/auth/token", json={"token_type": "api"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return Client(visitor.stack, answer.json()["access_token"])


def copy_of(visitor: Visitor) -> Visitor:
    """The same cookies in other hands."""
    copied = visitor.stack.visitor()
    copied.cookies.update(visitor.cookies)
    return copied


def session_of(visitor: Visitor) -> str:
    """The session that the visitor's cookie belongs to."""
    query = "select session_id from sso_session where airflow_session_id = ?"
    (row,) = visitor.stack.rows(query, str(visitor.cookies["session"]).partition(".")[0])
    return str(row["session_id"])


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def is_in(who: Visitor | Client) -> bool:
    """In by a token: the UI's own API, and the public one, several times, so that both workers are asked."""
    answers = set()
    for path in ("/ui/auth/me" if not IS_AIRFLOW_2 else "/api/v1/pools", f"{API}/dags") * 3:
        # A refusal takes the cookie from a browser; whoever copied it sends it again.
        asks = copy_of(who) if isinstance(who, Visitor) else who
        answers.add(asks.at(path).status_code)
    assert answers in ({200}, {403}, {401}), answers
    return answers == {200}


def is_in_fab(visitor: Visitor) -> bool:
    """In by the session cookie, on a page of Flask-AppBuilder's that everybody signed in may see."""
    answers = {
        copy_of(visitor).at("/auth/users/userinfo/", allow_redirects=False).status_code for _ in range(4)
    }
    assert answers in ({200}, {302}), answers
    return answers == {200}


def mints(visitor: Visitor) -> bool:
    """Whether the session cookie alone still gets a token."""
    alone = copy_of(visitor)
    alone.cookies.pop("_token", None)
    answer = alone.at("/auth/login/", allow_redirects=False)
    if IS_AIRFLOW_2:  # there is nothing to mint: whoever is signed in is sent on
        return answer.is_redirect and "/login/" not in answer.headers["Location"]
    return "_token=" in answer.headers.get("Set-Cookie", "").replace('_token=""', "").replace("_token=;", "")


def assert_out(visitor: Visitor) -> None:
    assert not is_in(copy_of(visitor))
    assert not is_in_fab(copy_of(visitor))
    assert not mints(visitor)


def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    with stack.command(*arguments) as process:
        return process.wait(timeout=120), process.log.read_text()


# --- commands ---------------------------------------------------------------------------------------


def test_a_person_is_out_everywhere_at_once_and_may_come_back(two: Stack) -> None:
    browser, another, bystander = signed_in(two), signed_in(two), signed_in(two, "vera")
    script = client(browser)
    assert is_in(browser)
    assert is_in(another)
    assert is_in(script)
    assert is_in_fab(browser)
    code, text = run(two, "users", "revoke", "ada@contoso.example")
    assert code == 0
    assert "2 sessions of ada@contoso.example ended" in text
    for visitor in (browser, another):
        assert_out(visitor)
    assert not is_in(script)
    assert is_in(bystander), "the control: somebody else goes on"
    assert is_in_fab(bystander)
    assert is_in(signed_in(two)), "revoking is not shutting the account"
    (row,) = two.rows("select * from sso_decision where event = 'access_ended' order by id desc limit 1")
    assert row["username"] == "ada@contoso.example"
    assert set(json.loads(row["detail"])["sessions"]) == {session_of(browser), session_of(another)}
    (mirrored,) = two.rows("select * from log where extra like ?", f"%{row['reference']}%")
    assert mirrored["event"] == "sso.access_ended"


def test_one_session_ends_and_the_persons_other_goes_on(two: Stack) -> None:
    lost, kept = signed_in(two), signed_in(two)
    script = client(lost)
    code, text = run(two, "users", "revoke", "ada@contoso.example", "--session", session_of(lost), "--json")
    assert code == 0
    assert json.loads(text.splitlines()[-1])["ended_sessions"] == [session_of(lost)]
    assert_out(lost)
    assert not is_in(script)
    assert is_in(kept)
    assert is_in_fab(kept)
    assert run(two, "users", "revoke", "ada@contoso.example", "--session", session_of(lost))[0] == 3
    other = signed_in(two, "vera")
    assert run(two, "users", "revoke", "ada@contoso.example", "--session", session_of(other))[0] == 3
    assert is_in(other), "a session of somebody else is not ended in this person's name"


def test_the_register_is_the_truth_and_airflows_own_rows_are_not(two: Stack) -> None:
    """A request in flight writes a deleted session row back, and a token may be on no list."""
    visitor = signed_in(two)
    script = client(visitor)
    (kept,) = two.rows(
        "select s.* from session s join sso_session o on o.airflow_session_id = s.session_id where o.session_id = ?",
        session_of(visitor),
    )
    assert run(two, "users", "revoke", "ada@contoso.example", "--session", session_of(visitor))[0] == 0
    assert not two.rows("select * from session where session_id = ?", kept["session_id"])

    def put_back() -> None:
        two.write("delete from session where session_id = ?", kept["session_id"])
        two.add("session", **{name: kept[name] for name in ("session_id", "data", "expiry")})
        if not IS_AIRFLOW_2:
            two.write("delete from revoked_token")

    put_back()
    assert not is_in_fab(visitor)
    put_back()
    assert_out(visitor)
    assert not is_in(script)
    put_back()
    two.write("update sso_session set ended_at = null where session_id = ?", session_of(visitor))
    assert is_in(script), "the control: with the register's word alone all of it counts"
    assert is_in_fab(visitor)


def test_a_deactivated_person_stays_out_until_reactivated(two: Stack) -> None:
    visitor = signed_in(two, "otto")
    assert run(two, "users", "deactivate", "otto@contoso.example")[0] == 0
    assert_out(visitor)
    assert facts(two.visitor().sign_in("otto"))[0] == "SSO-302"
    assert run(two, "users", "reactivate", "otto@contoso.example")[0] == 0
    assert_out(visitor)
    assert is_in(signed_in(two, "otto"))
    events = [row["event"] for row in two.rows("select event from sso_decision order by id desc limit 4")]
    assert {"deactivated", "reactivated", "sign_in"} <= set(events)


def test_a_name_that_nobody_has_is_said(two: Stack) -> None:
    for command in ("revoke", "deactivate", "reactivate"):
        code, text = run(two, "users", command, "nobody@contoso.example")
        assert code == 3
        assert "no account 'nobody@contoso.example'" in text


def test_access_ends_while_the_configuration_is_faulty(two: Stack) -> None:
    visitor = signed_in(two)
    whole = two.sso_yaml.read_text()
    two.sso_yaml.write_text("providers: nonsense\n")
    try:
        assert run(two, "users", "revoke", "ada@contoso.example")[0] == 0
    finally:
        two.sso_yaml.write_text(whole)
    assert_out(visitor)


# --- changes by any other hand ------------------------------------------------------------------------


def test_an_account_shut_by_sql_is_out_at_the_next_request(two: Stack) -> None:
    visitor, bystander = signed_in(two), signed_in(two, "vera")
    script = client(visitor)
    assert is_in(visitor)
    assert is_in(script)
    two.write("update ab_user set active = false where username = 'ada@contoso.example'")
    try:
        assert not is_in(copy_of(visitor))
        assert not is_in(script)
        assert not is_in_fab(visitor)
        assert not mints(visitor)
        assert is_in(bystander)
    finally:
        two.write("update ab_user set active = true where username = 'ada@contoso.example'")
    assert_out(visitor)  # opening the account again brings nothing of before back
    assert not is_in(script)
    assert is_in(signed_in(two))


def test_roles_given_and_taken_count_at_the_next_request(two: Stack) -> None:
    visitor = signed_in(two, "vera")
    script = client(visitor)
    admin = f"{API}/connections"
    assert {script.at(admin).status_code for _ in range(6)} == {403}
    vera = "(select id from ab_user where username = 'vera@contoso.example')"
    give_role(two, "vera@contoso.example", "Admin")
    assert {script.at(admin).status_code for _ in range(6)} == {200}
    assert {visitor.at(admin).status_code for _ in range(6)} == {200}
    two.write(
        f"delete from ab_user_role where user_id = {vera} and role_id = "
        "(select id from ab_role where name = 'Admin')"
    )
    assert {script.at(admin).status_code for _ in range(6)} == {403}
    assert is_in(visitor), "the control: what the person has otherwise still counts"


def test_a_user_who_is_deleted_and_whose_number_is_given_again(two: Stack) -> None:
    visitor = signed_in(two, "otto")
    (user,) = two.rows("select * from ab_user where username = 'otto@contoso.example'")
    assert is_in(visitor)
    two.write("update ab_user set created_on = '2001-01-01 00:00:00' where id = ?", user["id"])
    try:
        assert_out(visitor)
    finally:
        two.write("update ab_user set created_on = ? where id = ?", user["created_on"], user["id"])
    # On 2.11 the browser had nothing but the cookie, which was refused for good.
    assert is_in(signed_in(two, "otto") if IS_AIRFLOW_2 else visitor)


def test_whoever_s_row_is_deleted_meets_the_sign_in_page(two: Stack) -> None:
    """Airflow 2.11 by itself answers every page with an error, the one for signing in included."""
    visitor = signed_in(two, "otto")
    script = client(visitor)
    pages = ["/auth/users/userinfo/", "/auth/login/", *(["/home", "/dagrun/list/"] if IS_AIRFLOW_2 else [])]
    assert is_in(visitor)
    (user,) = two.rows("select * from ab_user where username = 'otto@contoso.example'")
    two.write("delete from ab_user_role where user_id = ?", user["id"])
    two.write("delete from ab_user where id = ?", user["id"])
    for path in pages * 2:
        answer = copy_of(visitor).at(path, allow_redirects=False)
        assert answer.status_code == 302, path
        assert "/login/" in answer.headers["Location"], path
    assert {script.at(f"{API}/dags").status_code for _ in range(4)} <= {401, 403}
    assert_out(visitor)
    again = signed_in(two, "otto")
    assert is_in(again)
    assert not is_in(copy_of(visitor)), "the new account is not the old session's"


# --- credentials that name no session -----------------------------------------------------------------


@only_on_3("every request passes the security manager, whatever the auth manager")
def test_what_the_stock_manager_made_opens_nothing_after_the_switch(
    migrated_database: Database, identity_provider: Handle, idp: Handle, tmp_path: Path
) -> None:
    with stacks.migrated_home(
        migrated_database, tmp_path / "home", auth_manager=stacks.STOCK_AUTH_MANAGER
    ) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure([stacks.entra(identity_provider.url)])
        uri = f"{stack.auth_url}/oauth-authorized/entra"
        stacks.driver(idp).control("POST", "clients", {"redirect_uris": [uri]})
        stack.start()
        try:
            visitor = signed_in(stack)
            assert is_in(visitor)
            assert is_in_fab(visitor)
            stack.stop()
            stack.home = replace(home, auth_manager=stacks.SSO_AUTH_MANAGER)
            stack.start()
            assert "sso_session" not in claims(token_of(visitor))
            assert not is_in(copy_of(visitor)), "its token names no session"
            assert is_in_fab(visitor), "its session cookie does: our security manager made it"
            # One of a stock Airflow altogether names none either.
            stack.write("delete from sso_session")
            assert_out(visitor)
            assert is_in(signed_in(stack))
        finally:
            stack.stop()


@only_on_3("no tokens")
def test_a_token_without_session_or_epoch_is_refused(two: Stack) -> None:
    visitor, somebody_else = signed_in(two), signed_in(two, "vera")
    whole = claims(token_of(visitor))
    secret = two.home.environment()["AIRFLOW__API_AUTH__JWT_SECRET"]

    def signed(**changes: Any) -> Client:
        changed = {name: value for name, value in {**whole, **changes}.items() if value is not None}
        return Client(two, jwt.encode({**changed, "jti": "0" * 32}, secret, algorithm="HS512"))

    assert is_in(signed()), "the control: a token of the same claims"
    for changes in (
        {"sso_session": None},
        {"sso_epoch": None},
        {"sso_epoch": whole["sso_epoch"] + 1},
        {"sso_epoch": whole["sso_epoch"] - 1},
        {"sso_epoch": str(whole["sso_epoch"])},
        {"sso_epoch": True},
        {"sso_session": "0" * 32},
        {"sso_session": ["0" * 32]},
        {"sub": claims(token_of(somebody_else))["sub"]},
    ):
        assert not is_in(signed(**changes)), changes


# --- minting -----------------------------------------------------------------------------------------


@only_on_3("no tokens")
def test_a_minted_token_belongs_to_its_session_and_never_outlives_it(two: Stack) -> None:
    visitor, other = signed_in(two), signed_in(two)
    end = datetime.now(timezone.utc) + timedelta(minutes=10)
    two.write(
        "update sso_session set ends_at = ? where session_id = ?", end.strftime(LAYOUT), session_of(visitor)
    )
    for _ in range(3):  # renewing one with another, both kinds
        for kind in ("api", "cli"):
            script = client(visitor)
            answer = script.at("/ui/auth/token", "POST", json={"token_type": kind})
            minted = answer.json()["access_token"]
            assert claims(minted)["sso_session"] == session_of(visitor) != session_of(other)
            assert claims(minted)["exp"] <= end.timestamp()
    last = Client(two, minted)
    assert is_in(last)
    visitor.at("/auth/logout/")
    assert not is_in(last)
    assert is_in(other)


@only_on_3("no tokens")
def test_a_bearer_token_decides_beside_a_cookie_of_another_session(two: Stack) -> None:
    cookie, bearer = signed_in(two, "vera"), signed_in(two)
    answer = cookie.post(
        f"{two.url}/ui/auth/token",
        json={"token_type": "api"},
        headers={"Authorization": f"Bearer {token_of(bearer)}"},
        timeout=30,
    )
    assert claims(answer.json()["access_token"])["sso_session"] == session_of(bearer)


# --- signing out -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way_out", ["/auth/logout/", "Airflow's button"])
def test_nothing_of_a_session_counts_after_signing_out(two: Stack, way_out: str) -> None:
    visitor, other = signed_in(two), signed_in(two)
    before, script = copy_of(visitor), client(visitor)
    session = session_of(visitor)
    page = visitor.sign_out() if IS_AIRFLOW_2 or way_out == "Airflow's button" else visitor.at(way_out)
    assert page.url == f"{two.auth_url}/signed-out/"
    assert "_token" not in visitor.cookies
    assert "session" not in visitor.cookies
    assert_out(before)
    assert not is_in(script)
    assert is_in(other)
    assert is_in_fab(other)
    (row,) = two.rows("select * from sso_session where session_id = ?", session)
    assert row["ended_because"] == "signed out"
    assert not two.rows("select * from session where session_id = ?", row["airflow_session_id"])
    assert not two.rows("select * from sso_token where session_id = ?", session)
    (said,) = two.rows("select * from sso_decision where event = 'sign_out' order by id desc limit 1")
    assert json.loads(said["detail"])["sessions"] == [session]


@only_on_3("no tokens")
def test_signing_out_with_the_token_alone_or_the_session_alone_ends_both(two: Stack) -> None:
    for kept in ("_token", "session"):
        visitor = signed_in(two)
        before, alone = copy_of(visitor), two.visitor()
        alone.cookies.set(kept, visitor.cookies[kept])
        alone.at("/auth/logout/")
        assert_out(before)


def test_signing_in_again_in_the_same_browser_ends_the_session_before(two: Stack) -> None:
    visitor = signed_in(two)
    before, other = copy_of(visitor), signed_in(two)
    visitor.sign_in("vera")
    assert_out(before)
    assert is_in(visitor)
    assert is_in(other)
    assert visitor.cookies["session"] != before.cookies["session"]


# --- on record, or not at all ---------------------------------------------------------------------


def unwritable(stack: Stack, event: str) -> AbstractContextManager[None]:
    """The decisions table takes no row of this event."""
    return refusing(stack.engine, "sso_decision", f"new.event = '{event}'")


def test_a_session_that_cannot_be_put_on_record_does_not_begin(two: Stack) -> None:
    signed_in(two)
    (before,) = two.rows("select count(*) as n from sso_session")
    visitor = two.visitor()
    with unwritable(two, "sign_in"):
        assert visitor.sign_in("ada").status_code == 403
    assert two.rows("select count(*) as n from sso_session") == [before]
    assert_out(visitor)
    assert is_in(signed_in(two))


def test_a_revocation_that_cannot_be_put_on_record_does_not_happen(two: Stack) -> None:
    visitor = signed_in(two)
    for command, event in (("revoke", "access_ended"), ("deactivate", "deactivated")):
        with unwritable(two, event):
            assert run(two, "users", command, "ada@contoso.example")[0] != 0
        assert is_in(visitor)
        assert is_in_fab(visitor)
    assert run(two, "users", "revoke", "ada@contoso.example")[0] == 0
    assert_out(visitor)


# --- limits ------------------------------------------------------------------------------------------


def moment(written: str) -> datetime:
    return datetime.strptime(written, LAYOUT).replace(tzinfo=timezone.utc)


def moved(stack: Stack, visitor: Visitor, column: str, by: timedelta) -> None:
    at = (datetime.now(timezone.utc) + by).strftime(LAYOUT)
    stack.write(f"update sso_session set {column} = ? where session_id = ?", at, session_of(visitor))


def seen(stack: Stack, visitor: Visitor) -> datetime:
    (row,) = stack.rows("select last_seen_at from sso_session where session_id = ?", session_of(visitor))
    return moment(row["last_seen_at"])


def test_a_session_lasts_as_long_as_the_configuration_says(two: Stack) -> None:
    visitor = signed_in(two)
    (row,) = two.rows("select * from sso_session where session_id = ?", session_of(visitor))
    lasts = moment(row["ends_at"]) - moment(row["started_at"])
    assert (lasts, row["idle_seconds"]) == (timedelta(hours=12), 3600)
    if not IS_AIRFLOW_2:
        assert claims(token_of(visitor))["exp"] <= time.time() + 12 * 3600
    moved(two, visitor, "ends_at", timedelta(seconds=-1))
    assert_out(visitor)


def test_polling_does_not_keep_an_idle_session_alive(two: Stack) -> None:
    visitor = signed_in(two)
    for _ in range(6):  # both workers have heard it
        visitor.at(f"{API}/dags")
    moved(two, visitor, "last_seen_at", timedelta(minutes=-30))
    before = seen(two, visitor)
    for _ in range(8):
        assert visitor.at(f"{API}/dags").status_code == 200
    known = seen(two, visitor)
    assert known == before
    moved(two, visitor, "last_seen_at", timedelta(minutes=-62))
    assert_out(visitor)


@pytest.mark.parametrize(
    ("what", "request_"),
    [
        ("a path that was not asked for", {"path": f"{API}/pools"}),
        (
            "something else than GET",
            {"path": f"{API}/dags/~/dagRuns/list", "method": "POST", "json": {}},
        ),
        ("a document", {"path": f"{API}/dags", "headers": {"Sec-Fetch-Dest": "document"}}),
        ("a page of Flask-AppBuilder's", {"path": route("/auth/users/userinfo/")}),
    ],
)
def test_activity_keeps_a_session_alive(two: Stack, what: str, request_: dict[str, Any]) -> None:
    visitor = signed_in(two)
    for _ in range(6):
        visitor.at(f"{API}/dags")
    moved(two, visitor, "last_seen_at", timedelta(minutes=-59))
    before = seen(two, visitor)
    assert visitor.at(f"{API}/dags").status_code == 200
    assert seen(two, visitor) == before, "the control: polling is none"
    method, path = request_.pop("method", "GET"), request_.pop("path")
    answer = visitor.request(method, f"{two.url}{path}", timeout=30, **request_)
    assert answer.status_code == 200, what
    assert datetime.now(timezone.utc) - seen(two, visitor) < timedelta(seconds=30), what
    moved(two, visitor, "last_seen_at", timedelta(seconds=-20))
    lately = seen(two, visitor)
    visitor.at(f"{API}/variables")
    assert seen(two, visitor) == lately, "written once a minute at most"


@only_on_2("its pages ask by GET")
def test_what_a_page_polls_by_post_is_no_activity(two: Stack) -> None:
    visitor = signed_in(two)
    page = visitor.at("/home")
    token = re.search(r"csrfToken = '([^']+)'", page.text)
    assert token
    for _ in range(4):
        visitor.post(f"{two.url}/dag_stats", headers={"X-CSRFToken": token[1]}, timeout=30)
    moved(two, visitor, "last_seen_at", timedelta(minutes=-30))
    before = seen(two, visitor)
    answer = visitor.post(f"{two.url}/dag_stats", headers={"X-CSRFToken": token[1]}, timeout=30)
    assert answer.status_code == 200
    assert seen(two, visitor) == before


def test_the_parts_of_a_page_are_no_activity(two: Stack) -> None:
    visitor = signed_in(two)
    moved(two, visitor, "last_seen_at", timedelta(minutes=-30))
    before = seen(two, visitor)
    visitor.at("/static/nothing.js", headers={"Sec-Fetch-Dest": "script"})
    visitor.at("/auth/sso/static/airflow_sso.css", headers={"Sec-Fetch-Dest": "style"})
    assert seen(two, visitor) == before
