"""The local door, over HTTP: who gets in when no provider can be asked, who does not, and what is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from airflow_sso import models
from airflow_sso.accounts import break_glass
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.lines import API, both_lines, route
from tests.local_door import (
    PASSWORD,
    SAME_WORDS,
    Rescuer,
    add_account,
    give_role,
    hidden,
    link,
    made_link,
    run,
)
from tests.stack import Stack, facts

pytestmark = [pytest.mark.server, both_lines]

LOCAL = route("/auth/login/local")

#: Who may, as ``sso.yaml`` says; each for tests of its own.
NAMES = [
    "admin",
    "guarded",
    "viewer",
    "ghost",
    "asleep",
    "theirs",
    "renamed",
    "ended",
    "throttled",
    "linked.only",
]


def made(stack: Stack) -> Stack:
    for name in ("admin", "theirs", "renamed", "ended", "throttled", "old.local"):
        add_account(stack, name)
    add_account(stack, "viewer")
    add_account(stack, "asleep", active=0)
    linked = add_account(stack, "linked.only")
    stack.write(
        """insert into sso_account (identity_key, authority, subject, user_id, user_created_on, provider,
           created_at, given_roles, facts)
           values ('k', 'a', 's', ?, '2020-02-02 02:02:02.020202', 'entra', '2020-02-02 02:02:02', '[]', '{}')
        """,
        linked,
    )
    return stack


@pytest.fixture(scope="module")
def shared_two(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow of two processes, with one provider that answers and one that is down."""
    path = tmp_path_factory.mktemp("break-glass") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        stack = Stack(home, idp=identity_provider)
        down = stacks.generic(f"http://localhost:{stacks.free_port()}", name="down")
        adopting = stacks.entra(identity_provider.url, adopt_stock_azure=True)
        stack.configure([adopting, down], break_glass=NAMES)
        made(stack)
        try:
            stack.start(workers=2)
            give_role(stack, "admin", "Admin")
            give_role(stack, "viewer", "Viewer")
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def two(shared_two: Stack, idp: Handle) -> Stack:
    shared_two.write("delete from sso_throttle")
    uri = f"{shared_two.auth_url}/oauth-authorized/entra"
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": [uri]})
    return shared_two


@pytest.fixture(scope="module")
def faulty(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow whose configuration is faulty everywhere else, and in two of the names."""
    path = tmp_path_factory.mktemp("faulty") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        stack = Stack(home, idp=identity_provider)
        entra = stacks.entra(identity_provider.url, tenant_id="not-a-guid")
        stack.configure([entra], sesion={"absolute": "1h"}, break_glass=["admin", 5, "ADMIN"])
        add_account(stack, "admin")
        try:
            stack.start()
            give_role(stack, "admin", "Admin")
            yield stack
        finally:
            stack.stop()


def decision(stack: Stack, page: requests.Response) -> dict[str, Any]:
    """The audit row under the reference that a page shows."""
    (row,) = stack.rows("select * from sso_decision where reference = ?", facts(page)[1])
    return row


# --- who gets in ------------------------------------------------------------------------------------


def test_a_break_glass_account_gets_in_with_the_roles_it_has(two: Stack) -> None:
    visitor = Rescuer(two)
    page = visitor.try_password("viewer", next="/dags")
    assert page.url == f"{two.url}/dags"
    assert visitor.who() == "viewer"
    assert visitor.at(f"{API}/dags").ok
    assert visitor.at(f"{API}/connections").status_code == 403, "a Viewer may not"
    assert two.roles_of("viewer") == {"Viewer"}
    admin = Rescuer(two)
    admin.try_password("admin")
    assert admin.at(f"{API}/connections").ok


def test_its_use_is_on_record_loudly_and_without_secrets(two: Stack) -> None:
    visitor = Rescuer(two)
    form = visitor.form()
    visitor.submit({**form, "username": "admin", "password": PASSWORD})
    (row,) = two.rows(
        "select * from sso_decision where event = 'break_glass_sign_in' order by id desc limit 1"
    )
    assert (row["username"], row["provider"]) == ("admin", "local")
    (session,) = two.rows(
        "select * from sso_session where session_id = ?", json.loads(row["detail"])["session"]
    )
    assert (session["provider"], session["idle_seconds"]) == ("local", 3600)
    (logged,) = two.rows("select * from log where extra like ?", f"%{row['reference']}%")
    assert (logged["event"], logged["owner"]) == ("sso.break_glass_sign_in", "admin")
    (line,) = [line for line in two.log.splitlines() if row["reference"] in line]
    assert "warning" in line.lower()
    for secret in (PASSWORD, form["state"], "scrypt:"):
        assert secret not in two.log
        assert not two.rows("select 1 from sso_decision where detail like ?", f"%{secret}%")


def test_a_session_lasts_one_hour(two: Stack) -> None:
    visitor = Rescuer(two)
    visitor.try_password("ended")
    (row,) = two.rows(
        """select (julianday(ends_at) - julianday(started_at)) * 86400 as seconds, s.id from sso_session s
           join ab_user u on u.id = s.user_id where u.username = 'ended' order by s.id desc limit 1"""
    )
    assert abs(row["seconds"] - 3600) < 1
    assert visitor.who() == "ended"
    two.write("update sso_session set ends_at = '2020-01-01 00:00:00.000000' where id = ?", row["id"])
    assert visitor.who() is None
    visitor.at("/auth/login/", allow_redirects=False)
    assert visitor.who() is None, "the cookie makes no new token either"


def test_a_session_ends_when_it_is_ended(two: Stack) -> None:
    visitor = Rescuer(two)
    visitor.try_password("ended")
    assert visitor.who() == "ended"
    two.write("update sso_session set ended_at = '2020-01-01 00:00:00', ended_because = 'test'")
    assert visitor.who() is None


def test_a_session_that_was_there_before_is_worthless(two: Stack) -> None:
    visitor = Rescuer(two)
    visitor.at("/auth/signed-out/")
    planted = visitor.cookies.get("session")
    visitor.try_password("admin")
    assert visitor.cookies.get("session") not in (None, planted)


def test_a_rescuer_gets_in_while_the_provider_is_down(two: Stack) -> None:
    page = two.visitor().at("/auth/login/down?next=/dags")
    assert (page.status_code, facts(page)[0]) == (503, "SSO-103")
    assert f"{LOCAL}?next=" in page.text
    visitor = Rescuer(two)
    visitor.try_password("admin")
    assert visitor.who() == "admin"


def test_the_way_is_shown_where_people_look_for_one(two: Stack) -> None:
    for path in ("/auth/login/", "/auth/signed-out/"):
        assert LOCAL in two.visitor().at(path).text, path
    refused = two.visitor().sign_in("nora")
    assert facts(refused)[0] == "SSO-301"
    assert LOCAL not in refused.text, "this is no emergency"


def test_without_such_accounts_there_is_no_way_and_none_is_shown(airflow: Stack, airflow_two: Stack) -> None:
    page = airflow.visitor().at("/auth/login/local")
    assert (page.status_code, facts(page)[0]) == (403, "SSO-401")
    assert "<input" not in page.text
    posted = Rescuer(airflow).submit({"username": "admin", "password": PASSWORD})
    assert (posted.status_code, facts(posted)[0]) == (403, "SSO-401")
    assert LOCAL not in airflow_two.visitor().at("/auth/login/").text
    assert LOCAL not in airflow.visitor().at("/auth/signed-out/").text
    assert run(airflow, "break-glass")[0] == 2


# --- a configuration that is faulty elsewhere ---------------------------------------------------------


def test_a_faulty_configuration_keeps_everybody_else_out(faulty: Stack) -> None:
    page = faulty.visitor().at("/auth/login/")
    assert (page.status_code, facts(page)[0]) == (503, "SSO-501")
    assert LOCAL in page.text
    assert faulty.visitor().at("/auth/login/entra").status_code == 503
    code, text = run(faulty, "lint")
    assert code == 1
    for fault in ("sesion", "tenant_id", "break_glass[1]"):
        assert fault in text


def test_a_faulty_configuration_lets_break_glass_in(faulty: Stack) -> None:
    visitor = Rescuer(faulty)
    visitor.try_password("admin")
    assert visitor.who() == "admin"
    assert visitor.at(f"{API}/connections").ok
    by_link = Rescuer(faulty)
    code, text = run(faulty, "break-glass")
    assert code == 0, text
    by_link.submit(hidden(by_link.at(made_link(text))))
    assert by_link.who() == "admin"


# --- who does not ---------------------------------------------------------------------------------------

REFUSED = {
    "a wrong password": ("admin", "wrong", "the password is wrong"),
    "no password": ("admin", "", "the password is wrong"),
    "no name": ("", PASSWORD, "the name is not under break_glass"),
    "somebody unknown": ("nobody", PASSWORD, "the name is not under break_glass"),
    "a local account that is not named": ("old.local", PASSWORD, "the name is not under break_glass"),
    "another spelling": ("ADMIN", PASSWORD, "the name is not under break_glass"),
    "a name without an account": ("ghost", PASSWORD, "Airflow has no account of this name"),
    "a deactivated account": ("asleep", PASSWORD, "the account is deactivated"),
    "an account of the directory": ("linked.only", PASSWORD, "linked to a person"),
    "what no database takes": ("admin\0", PASSWORD, "the name is not under break_glass"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_whatever_is_wrong_the_words_are_the_same(two: Stack, what: str) -> None:
    username, password, reason = REFUSED[what]
    visitor = Rescuer(two)
    page = visitor.try_password(username, password)
    assert (page.status_code, facts(page)[0]) == (403, "SSO-401")
    assert SAME_WORDS in page.text
    assert hidden(page)["state"], "with a form to try again"
    assert visitor.who() is None
    assert "_token" not in visitor.cookies
    row = decision(two, page)
    assert (row["event"], row["code"]) == ("break_glass_refused", "SSO-401")
    assert reason in row["reason"]
    assert json.loads(row["detail"]) == {"address": "127.0.0.1"}
    assert row["username"] in (None, username)
    if "not under" in reason:
        assert row["username"] is None, "it may be a password in the wrong field"


def test_the_form_that_a_wrong_try_leaves_works(two: Stack) -> None:
    visitor = Rescuer(two)
    page = visitor.try_password("admin", "wrong", next="/dags")
    good = visitor.submit({**hidden(page), "username": "admin", "password": PASSWORD})
    assert good.url == f"{two.url}/dags"


def test_nothing_that_was_typed_is_shown_or_logged(two: Stack) -> None:
    typed = {"username": "typed-name-9431", "password": "typed-password-9431"}
    page = Rescuer(two).try_password(**typed)
    everything = page.text + two.log + json.dumps(two.rows("select * from sso_decision"))
    for value in typed.values():
        assert value not in everything


def test_a_name_opens_only_the_account_that_it_stood_for(two: Stack) -> None:
    (pin,) = two.rows("select * from sso_break_glass where name_key = ?", models.name_key("renamed"))
    (user,) = two.rows("select id from ab_user where username = 'renamed'")
    assert pin["user_id"] == user["id"], "pinned when the server started"
    two.write("update ab_user set username = 'was.renamed' where username = 'renamed'")
    other = add_account(two, "renamed", created_on="2021-01-01 00:00:00", email="other@local.example")
    page = Rescuer(two).try_password("renamed")
    assert facts(page)[0] == "SSO-401"
    assert "another account before" in decision(two, page)["reason"]
    assert "--pin" in decision(two, page)["reason"]
    code, text = run(two, "break-glass", "renamed", "--pin")
    assert code == 0
    assert f"number {other}" in text
    visitor = Rescuer(two)
    visitor.try_password("renamed")
    assert visitor.who() == "renamed"
    assert two.rows("select 1 from sso_decision where event = 'break_glass_pinned' and user_id = ?", other)


def test_a_name_whose_account_was_deleted_does_not_open_the_next_one_with_its_number(two: Stack) -> None:
    visitor = Rescuer(two)
    visitor.try_password("theirs")
    assert visitor.who() == "theirs"
    two.write("update ab_user set created_on = '2022-02-02 00:00:00' where username = 'theirs'")
    page = Rescuer(two).try_password("theirs")
    assert "another account before" in decision(two, page)["reason"]
    assert visitor.who() is None, "nor does its session go on"


def test_a_password_costs_one_hash_whatever_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = break_glass.generate_password_hash("right")
    computed: list[str] = []
    real = break_glass.check_password_hash

    def counting(stored: str, password: str) -> bool:
        computed.append(stored)
        return real(stored, password)

    monkeypatch.setattr(break_glass, "check_password_hash", counting)
    assert break_glass._matches(right, "right")
    stored_ones = (right, None, "", "!airflow-sso: this account has no password", "md5$a$b")
    for stored in stored_ones:
        computed.clear()
        assert not break_glass._matches(stored, "wrong")
        assert [one for one in computed if one.startswith("scrypt:")], stored
    empty = break_glass.generate_password_hash("")
    assert real(empty, "")
    assert not break_glass._matches(empty, ""), "Flask-AppBuilder gives some accounts this hash"


# --- names are reserved ---------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", ["admin", "ADMIN", "ghost", "Ghost", "pinned.once"])
def test_nobody_of_a_provider_is_called_like_a_break_glass_account(
    two: Stack, idp: Handle, claimed: str
) -> None:
    key = models.name_key("pinned.once")
    two.write("delete from sso_break_glass where name_key = ?", key)
    two.write(
        "insert into sso_break_glass (name_key, user_id, pinned_at) values (?, 4711, '2020-01-01 00:00:00')",
        key,
    )
    before = two.rows("select * from ab_user where username = 'admin'")
    stacks.driver(idp).control("PUT", "people/otto", {"claims": {"preferred_username": claimed}})
    visitor = two.visitor()
    visitor.sign_in("otto")
    assert str(visitor.who()).startswith(f"{claimed}~")
    after = two.rows("select * from ab_user where username = 'admin'")
    assert [row["password"] for row in after] == [row["password"] for row in before]
    assert two.roles_of("admin") == {"Admin"}


def test_any_other_name_may_be_claimed(two: Stack, idp: Handle) -> None:
    """The control of the test above."""
    stacks.driver(idp).control("PUT", "people/otto", {"claims": {"preferred_username": "administrator"}})
    visitor = two.visitor()
    visitor.sign_in("otto")
    assert visitor.who() == "administrator"


def test_a_break_glass_account_is_adopted_by_nobody(two: Stack, idp: Handle) -> None:
    oids = {}
    for name in ("vera", "ada"):
        answer = stacks.driver(idp).control("PUT", f"people/{name}", {})
        oids[name] = answer["oid"]
        two.write("delete from ab_user where username = ?", oids[name])
        add_account(two, oids[name])
    two.write("delete from sso_account where subject in (?, ?)", *oids.values())
    two.write(
        "insert into sso_break_glass (name_key, user_id, pinned_at) values (?, 4712, '2020-01-01 00:00:00')",
        models.name_key(oids["vera"]),
    )
    two.visitor().sign_in("vera")
    assert two.rows("select 1 from ab_user where username = ?", oids["vera"]), "left as it was"
    two.visitor().sign_in("ada")
    assert not two.rows("select 1 from ab_user where username = ?", oids["ada"]), "the control was adopted"


def test_an_operator_cannot_adopt_one_either(two: Stack) -> None:
    adopt = ["users", "adopt", "--provider", "entra", "--subject", "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"]
    code, text = run(two, *adopt, "admin")
    assert code == 1
    assert "break-glass" in text
    assert run(two, *adopt, "old.local")[0] == 0, "the control"
    two.write("delete from sso_account where subject = ?", adopt[-1])


# --- the throttle -----------------------------------------------------------------------------------------


def last_failure(stack: Stack) -> dict[str, Any]:
    (row,) = stack.rows("select failures, last_failure_at from sso_throttle")
    return row


def test_after_three_wrong_tries_one_waits_and_other_addresses_do_not(two: Stack) -> None:
    visitor = Rescuer(two, "127.0.0.11")
    for _ in range(3):
        assert visitor.try_password("throttled", "wrong").status_code == 403
    counted = last_failure(two)
    assert counted["failures"] == 3
    # Even the right password is not looked at.
    page = visitor.try_password("throttled")
    assert (page.status_code, facts(page)[0]) == (429, "SSO-401")
    assert f"Wait {page.headers['Retry-After']} seconds" in page.text
    assert decision(two, page)["reason"] == "wrong tries from this address"
    assert visitor.who() is None
    assert last_failure(two) == counted, "waiting does not lengthen the wait"
    elsewhere = Rescuer(two, "127.0.0.12")
    elsewhere.try_password("throttled")
    assert elsewhere.who() == "throttled", "the account itself is never shut"


@pytest.mark.parametrize(("failures", "seconds"), [(3, 2), (4, 4), (6, 16), (7, 32), (8, 60), (40, 60)])
def test_the_wait_doubles_up_to_a_minute(two: Stack, failures: int, seconds: int) -> None:
    visitor = Rescuer(two, "127.0.0.13")
    visitor.try_password("throttled", "wrong")

    def fail(ago: float) -> int:
        two.write(
            """update sso_throttle set failures = ?,
               last_failure_at = strftime('%Y-%m-%d %H:%M:%f000', 'now', ?)""",
            failures,
            f"-{ago} seconds",
        )
        return visitor.try_password("throttled", "wrong").status_code

    assert fail(seconds / 2) == 429
    assert fail(seconds + 1) == 403
    assert last_failure(two)["failures"] == failures + 1


def test_failures_are_forgotten_at_success_and_after_a_while(two: Stack) -> None:
    visitor = Rescuer(two, "127.0.0.14")
    visitor.try_password("throttled", "wrong")
    visitor.try_password("throttled")
    assert visitor.who() == "throttled"
    assert two.rows("select * from sso_throttle") == []
    visitor.try_password("throttled", "wrong")
    two.write("update sso_throttle set failures = 9, last_failure_at = datetime('now', '-16 minutes')")
    visitor.try_password("throttled", "wrong")
    assert last_failure(two)["failures"] == 1


def test_many_tries_at_once_are_counted_in_every_process(two: Stack) -> None:
    together = threading.Barrier(12)

    def one(_: int) -> int:
        visitor = Rescuer(two, "127.0.0.15")
        fields = {**visitor.form(), "username": "throttled", "password": "wrong"}
        together.wait()
        return visitor.submit(fields).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = sorted(pool.map(one, range(12)))
    assert answers[:3] == [403] * 3
    assert set(answers) == {403, 429}
    assert answers.count(403) <= 4, "a fourth only if the first three took two seconds"
    assert last_failure(two)["failures"] == answers.count(403)


# --- whose form it is -------------------------------------------------------------------------------------

GOOD = {"username": "admin", "password": PASSWORD}


def another_browser(two: Stack) -> requests.Response:
    state = Rescuer(two).form()
    other = Rescuer(two)
    other.form()
    return other.submit({**state, **GOOD})


def no_cookie(two: Stack) -> requests.Response:
    return Rescuer(two).submit({**Rescuer(two).form(), **GOOD})


def no_state(two: Stack) -> requests.Response:
    visitor = Rescuer(two)
    visitor.form()
    return visitor.submit(GOOD)


def used_state(two: Stack) -> requests.Response:
    visitor = Rescuer(two)
    fields = {**visitor.form(), **GOOD}
    visitor.submit({**fields, "password": "wrong"})
    return visitor.submit(fields)


def old_state(two: Stack) -> requests.Response:
    visitor = Rescuer(two)
    fields = {**visitor.form(), **GOOD}
    two.write(
        "update sso_login_attempt set expires_at = '2020-01-01 00:00:00.000000' where provider = 'local'"
    )
    return visitor.submit(fields)


def twice(two: Stack) -> requests.Response:
    visitor = Rescuer(two)
    fields = [*visitor.form().items(), *GOOD.items(), ("state", "another")]
    return visitor.post(f"{two.auth_url}/login/local", data=fields, timeout=30)


def huge(two: Stack) -> requests.Response:
    visitor = Rescuer(two)
    return visitor.submit({**visitor.form(), **GOOD, "more": "x" * 30_000})


@pytest.mark.parametrize(
    "forged",
    [another_browser, no_cookie, no_state, used_state, old_state, twice, huge],
    ids=lambda f: f.__name__,
)
def test_a_form_counts_in_its_own_browser_and_once(
    two: Stack, forged: Callable[[Stack], requests.Response]
) -> None:
    page = forged(two)
    assert (page.status_code, facts(page)[0]) == (403, "SSO-101")
    assert LOCAL in page.text, "from where one starts again"
    assert "_token" not in page.cookies
    assert not any("_token" in answer.cookies for answer in page.history)


def test_a_form_leads_only_to_our_own_pages(two: Stack) -> None:
    for wanted in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        visitor = Rescuer(two)
        fields = {**visitor.form(next=wanted), **GOOD}
        answer = visitor.submit(fields, allow_redirects=False)
        assert answer.headers["Location"] == "/"


def test_the_page_leaves_strangers_no_session(two: Stack) -> None:
    (before,) = two.rows("select count(*) as n from session")
    for _ in range(5):
        Rescuer(two).form()
        Rescuer(two).try_password("nobody-there")
    (after,) = two.rows("select count(*) as n from session")
    assert after == before


# --- one-use links ----------------------------------------------------------------------------------------


def test_a_link_signs_in_once_and_looking_does_not_use_it_up(two: Stack) -> None:
    code, text = run(two, "break-glass", "admin")
    assert code == 0, text
    path = made_link(text)
    for _ in range(3):  # what scans mail looks at links, too
        assert requests.get(f"{two.url}{path}", timeout=30).ok
    visitor = Rescuer(two)
    page = visitor.at(path)
    assert "Sign in as" in page.text
    assert page.headers["Referrer-Policy"] == "strict-origin", "which names no address of a page"
    assert visitor.who() is None
    fields = hidden(page)
    visitor.submit(fields)
    assert visitor.who() == "admin"
    assert fields["secret"] not in two.log, "nor in the access log"
    assert "secret=%2A" in two.log
    (row,) = two.rows(
        "select * from sso_decision where event = 'break_glass_sign_in' order by id desc limit 1"
    )
    assert json.loads(row["detail"])["by"] == "link"
    again = visitor.at(path)
    assert (again.status_code, facts(again)[0]) == (403, "SSO-401")
    assert "no such link" in decision(two, again)["reason"]
    late = Rescuer(two)
    posted = late.submit({**late.form(), "secret": fields["secret"]})
    assert facts(posted)[0] == "SSO-401"
    assert late.who() is None


def test_a_link_is_kept_as_a_hash_and_said_nowhere(two: Stack) -> None:
    code, text = run(two, "break-glass", "admin", "--json")
    assert code == 0
    (line,) = [line for line in text.splitlines() if line.startswith("{")]
    told = json.loads(line)
    assert (told["username"], told["pinned"]) == ("admin", False)
    assert told["url"].startswith(f"{two.auth_url}/login/local?secret=")
    ticket = told["url"].partition("=")[2]
    assert text.count(ticket) == 1, "and what the command logs does not have it"
    everything = json.dumps(
        [two.rows("select * from sso_break_glass_link"), two.rows("select * from sso_decision")]
    )
    assert ticket not in everything
    assert "link_made" in everything


def test_a_link_needs_the_browser_that_looked_at_it(two: Stack) -> None:
    visitor = Rescuer(two)
    fields = hidden(visitor.at(link(two, "admin")))
    stranger = Rescuer(two)
    assert facts(stranger.submit(fields))[0] == "SSO-101"
    visitor.submit(hidden(visitor.at(f"/auth/login/local?secret={fields['secret']}")))
    assert visitor.who() == "admin"


def test_a_link_opens_for_one_of_many_at_once(two: Stack) -> None:
    path = link(two, "admin")
    visitors = [Rescuer(two) for _ in range(6)]
    forms = [hidden(visitor.at(path)) for visitor in visitors]
    together = threading.Barrier(6)

    def one(number: int) -> bool:
        together.wait()
        visitors[number].submit(forms[number])
        return visitors[number].who() == "admin"

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(one, range(6))) == 1


def test_an_old_link_opens_nothing(two: Stack) -> None:
    path = link(two, "admin")
    visitor = Rescuer(two)
    fields = hidden(visitor.at(path))
    two.write("update sso_break_glass_link set expires_at = '2020-01-01 00:00:00.000000'")
    assert facts(visitor.at(path))[0] == "SSO-401"
    assert facts(visitor.submit(fields))[0] == "SSO-401"
    assert visitor.who() is None


def test_a_link_opens_no_account_that_may_not_be_used_any_more(two: Stack) -> None:
    visitor = Rescuer(two)
    fields = hidden(visitor.at(link(two, "viewer")))
    two.write("update ab_user set active = 0 where username = 'viewer'")
    try:
        assert facts(visitor.submit(fields))[0] == "SSO-401"
        assert visitor.who() is None
    finally:
        two.write("update ab_user set active = 1 where username = 'viewer'")


def test_revoking_the_account_takes_its_links_too(two: Stack) -> None:
    path = made_link(run(two, "break-glass", "admin")[1])
    waiting = Rescuer(two)
    fields = hidden(waiting.at(path))
    assert run(two, "users", "revoke", "admin")[0] == 0
    assert facts(waiting.submit(fields))[0] == "SSO-401"
    assert waiting.who() is None
    assert Rescuer(two).at(path).status_code == 403


def test_a_password_that_somebody_else_sets_opens_nothing(two: Stack, idp: Handle) -> None:
    """An administrator who leaves must not leave with a password of the rescuer's account."""
    number = add_account(two, "guarded")
    first = Rescuer(two)
    first.try_password("guarded")
    assert first.who() == "guarded"
    admin = two.visitor()
    admin.sign_in("ada")
    (user,) = two.rows("select * from ab_user where id = ?", number)
    changed = {name: user[name] for name in ("username", "email", "first_name", "last_name")}
    answer = admin.patch(
        f"{two.url}/auth/fab/v1/users/guarded",
        params={"update_mask": "password"},
        json={**changed, "password": "another one"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    page = Rescuer(two).try_password("guarded", "another one")
    assert facts(page)[0] == "SSO-401"
    assert "password was changed" in decision(two, page)["reason"]
    assert facts(Rescuer(two).try_password("guarded"))[0] == "SSO-401", "nor does the old one"
    two.write("delete from sso_throttle")
    code, text = run(two, "break-glass", "guarded", "--pin")
    assert code == 0, text
    later = Rescuer(two)
    later.try_password("guarded", "another one")
    assert later.who() == "guarded", "whoever has the shell says that it is meant"


def test_a_link_goes_past_the_throttle(two: Stack) -> None:
    visitor = Rescuer(two, "127.0.0.16")
    for _ in range(4):
        page = visitor.try_password("admin", "wrong")
    assert page.status_code == 429
    visitor.submit(hidden(visitor.at(link(two, "admin"))))
    assert visitor.who() == "admin"


SAID = [
    ((), 2, "Say which one"),
    (("old.local",), 2, "not under break_glass"),
    (("ADMIN",), 2, "not under break_glass"),
    (("ghost",), 3, "no account"),
    (("asleep",), 1, "deactivated"),
    (("linked.only",), 1, "linked"),
    (("linked.only", "--pin"), 1, "linked"),
]


@pytest.fixture(scope="module")
def said(shared_two: Stack) -> list[tuple[int, str]]:
    """What the command says to each of these: in one process, because starting it takes seconds."""
    script = "import json, sys; from airflow_sso.cli import main; "
    script += "[print('EXIT', main(['break-glass', *one])) or sys.stdout.flush() for one in json.loads(sys.argv[1])]"
    home = shared_two.home
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([arguments for arguments, _, _ in SAID])],
        env=home.environment(),
        cwd=home.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=True,
    )
    parts = re.split(r"EXIT (\d)\n", done.stdout)
    return [(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]


@pytest.mark.parametrize("number", range(len(SAID)))
def test_the_command_says_why_there_is_no_link(said: list[tuple[int, str]], number: int) -> None:
    arguments, code, words = SAID[number]
    found, text = said[number]
    assert (found, words in text) == (code, True), (arguments, text)
    assert "secret=" not in text
