"""Accounts of the directory are not changed by hand: every page and every request that could, with its control.

The control is the same request for an account that somebody made by hand, which is changed by it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.lines import both_lines, route
from tests.local_door import add_account, give_role
from tests.stack import Stack, Visitor
from tests.test_doors import an_airflow, credential

pytestmark = [both_lines, pytest.mark.server, pytest.mark.database]

USERS = route("/auth/users/list/")
OTTO, LOCAL = "otto@contoso.example", "by.hand"
REFUSED = "refused a change by hand of the linked account"
WORDS = "This account follows the company directory"
#: What somebody changes, field by field; the roles and groups by name.
CHANGES: dict[str, Any] = {
    "first_name": "Changed",
    "last_name": "Changed",
    "username": "changed.name",
    "email": "changed@local.example",
    "active": False,
    "roles": ["Op", "Viewer", "User"],
    "groups": ["everyone"],
}
#: What gives somebody permissions; 2.11 has no groups.
KINDS = ("role",) if IS_AIRFLOW_2 else ("role", "group")
if IS_AIRFLOW_2:
    del CHANGES["groups"]
ON_THE_API = ("first_name", "last_name", "username", "email", "roles", "password")


class Admin:
    """Ada, an administrator by her group: in a browser, and by what it shows to the API.

    :param stack: the Airflow that she signs in to.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.browser: Visitor = stack.visitor()
        self.browser.sign_in("ada")
        assert self.browser.who() == "ada@contoso.example"
        self._credential = credential(self.browser)

    def edit(self, number: int, **changes: Any) -> requests.Response:
        """From the list to the page that edits an account, change something, press *Save*; the list again."""
        self.browser.at(USERS)
        before = account(self.stack, number)
        path = f"/auth/users/edit/{number}"
        wanted: dict[str, Any] = {
            **{name: before[name] for name in ("first_name", "last_name", "username", "email")},
            **{f"{kind}s": changes.get(f"{kind}s", before[f"{kind}s"]) for kind in KINDS},
            **{name: value for name, value in changes.items() if name not in ("active", "roles", "groups")},
        }
        for kind in KINDS:
            kept = {row["name"]: row["id"] for row in self.stack.rows(f"select id, name from ab_{kind}")}
            wanted[f"{kind}s"] = [kept[one] for one in wanted[f"{kind}s"]]
        if changes.get("active", before["active"]):
            wanted["active"] = "y"
        return self.submit(path, **wanted)

    def submit(self, path: str, form_path: str | None = None, **fields: Any) -> requests.Response:
        """Post to a page with the token against cross-site posts of `form_path`, and go where it leads."""
        token = csrf_token(self.browser.at(form_path or path))
        data = {"csrf_token": token, **fields}
        return self.browser.post(f"{self.stack.url}{self.stack.route(path)}", data=data, timeout=30)

    def delete(self, number: int) -> requests.Response:
        return self.submit(f"/auth/users/delete/{number}", form_path=USERS)

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """By the token (on 2.11: the cookie) alone, as a script would."""
        url = f"{self.stack.url}/auth/fab/v1/{path}"
        return requests.request(method, url, timeout=30, **self._credential, **options)


def csrf_token(page: requests.Response) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, f"no form on {page.url}: {page.status_code} {page.text[:300]}"
    return found.group(1)


def shown(page: requests.Response) -> str:
    """What a page says in its messages."""
    assert page.status_code == 200, page.text[:500]
    return " ".join(
        html.unescape(re.sub(r"<[^>]*>", "", one)).strip()
        for one in re.findall(r'class="alert[^"]*"(.*?)</div>', page.text, re.DOTALL)
    )


def account(stack: Stack, number: int) -> dict[str, Any]:
    """Everything of an account that Flask-AppBuilder does not write by itself; nothing when it is gone."""
    rows = stack.rows("select * from ab_user where id = ?", number)
    if not rows:
        return {}
    (row,) = rows
    for bookkeeping in ("changed_on", "changed_by_fk", "last_login", "login_count", "fail_login_count"):
        del row[bookkeeping]
    for kind in KINDS:
        query = f"""select one.name from ab_{kind} one join ab_user_{kind} held on held.{kind}_id = one.id
                    where held.user_id = ? order by one.name"""
        row[f"{kind}s"] = [held["name"] for held in stack.rows(query, number)]
    return row


def number_of(stack: Stack, username: str) -> int:
    (row,) = stack.rows("select id from ab_user where username = ?", username)
    return int(row["id"])


def assert_refused(text: str) -> None:
    assert WORDS in text
    assert "role mapping" in text
    assert f"airflow-sso users deactivate {OTTO}" in text
    assert "Database Error" not in text


def make_local(stack: Stack, username: str = LOCAL) -> int:
    number = add_account(stack, username)
    give_role(stack, username, "Viewer")
    return number


def delete_local(stack: Stack, number: int) -> None:
    for kind in KINDS:
        stack.write(f"delete from ab_user_{kind} where user_id = ?", number)
    stack.write("delete from ab_user where id = ?", number)


@pytest.fixture
def admin(airflow: Stack) -> Admin:
    return Admin(airflow)


@pytest.fixture
def otto(airflow: Stack) -> Iterator[int]:
    """The number of a linked account; it is as it was at the end, and its person still signs in."""
    sign_in_otto(airflow)
    number = number_of(airflow, OTTO)
    before = account(airflow, number)
    assert before["roles"] == ["Op"]
    yield number
    assert account(airflow, number) == before
    sign_in_otto(airflow)


def sign_in_otto(stack: Stack) -> None:
    visitor = stack.visitor()
    visitor.sign_in("otto")
    assert visitor.who() == OTTO


@pytest.fixture
def local(airflow: Stack) -> Iterator[int]:
    """The number of an account that is nobody's."""
    if "group" in KINDS and not airflow.rows("select id from ab_group"):
        airflow.add("ab_group", name="everyone")
    number = make_local(airflow)
    yield number
    delete_local(airflow, number)


# --- the pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", CHANGES)
def test_the_page_that_edits(airflow: Stack, admin: Admin, otto: int, local: int, field: str) -> None:
    before = account(airflow, otto)
    value = CHANGES[field]
    assert_refused(shown(admin.edit(otto, **{field: value})))
    assert account(airflow, otto) == before
    assert WORDS not in shown(admin.edit(local, **{field: value}))
    assert account(airflow, local)[field] == (sorted(value) if isinstance(value, list) else value)


def test_the_page_that_deletes(airflow: Stack, admin: Admin, otto: int, local: int) -> None:
    assert_refused(shown(admin.delete(otto)))
    assert account(airflow, otto)
    assert WORDS not in shown(admin.delete(local))
    assert not account(airflow, local)


def test_saving_the_page_unchanged_changes_nothing(airflow: Stack, admin: Admin, otto: int) -> None:
    assert "Changed Row" in shown(admin.edit(otto))


def test_ones_own_names(airflow: Stack, admin: Admin) -> None:
    """The page where people change their own first and last name."""
    number, path = number_of(airflow, "ada@contoso.example"), "/auth/userinfoeditview/form"
    before = account(airflow, number)
    page = admin.submit(path, first_name="Augusta", last_name="King")
    assert WORDS in shown(page)
    assert "changed" not in shown(page).replace("Nothing was changed", "")
    assert account(airflow, number) == before
    airflow.write("update sso_account set user_id = -user_id where user_id = ?", number)
    try:
        admin.submit(path, first_name="Augusta", last_name="King")
        assert account(airflow, number)["first_name"] == "Augusta", "the control: nobody's account"
    finally:
        airflow.write("update sso_account set user_id = -user_id where user_id = ?", -number)
        names = before["first_name"], before["last_name"], number
        airflow.write("update ab_user set first_name = ?, last_name = ? where id = ?", *names)


def test_a_link_to_an_account_of_another_time_is_none(
    airflow: Stack, admin: Admin, otto: int, local: int
) -> None:
    """The number was given again; the account that bears it now is nobody's."""
    query = "update sso_account set user_id = ? where user_id = ?"
    airflow.write(query, local, otto)
    try:
        admin.edit(local, first_name="Changed")
        assert account(airflow, local)["first_name"] == "Changed"
    finally:
        airflow.write(query, otto, local)


BULK = """\
from airflow_sso import SsoSecurityManager
from airflow_sso.security_manager import SsoUserView
from flask import redirect
from flask_appbuilder.actions import action


class UserView(SsoUserView):
    @action("muldelete", "Delete", "Really?", "fa-rocket", single=False)
    def muldelete(self, items):
        self.datamodel.delete_all(items)
        return redirect(self.get_redirect())


class SecurityManager(SsoSecurityManager):
    useroauthmodelview = UserView


SECURITY_MANAGER_CLASS = SecurityManager
"""


def test_deleting_many_at_once(migrated_database: Database, idp: Handle, tmp_path: Path) -> None:
    """Airflow's list of users has no such button; a webserver_config.py may add one."""
    with an_airflow(migrated_database, tmp_path / "home", idp, BULK) as stack:
        uri = f"{stack.auth_url}/oauth-authorized/entra"
        stacks.driver(idp).control("POST", "clients", {"redirect_uris": [uri]})
        sign_in_otto(stack)
        admin = Admin(stack)
        (made,) = stack.rows("select id from ab_permission where name = 'muldelete'")
        give_permission(stack, made["id"])
        otto, ada = number_of(stack, OTTO), number_of(stack, "ada@contoso.example")
        first, second = make_local(stack, "first.local"), make_local(stack, "second.local")

        def deleted(*numbers: int) -> requests.Response:
            where = {"path": "/auth/users/action_post", "form_path": USERS}
            return admin.submit(**where, action="muldelete", rowid=[str(number) for number in numbers])

        assert deleted(first, otto, ada).status_code == 200
        if not IS_AIRFLOW_2:  # its Flask-AppBuilder tells an action only that there was an error
            assert WORDS in shown(admin.browser.at(USERS))
        assert all(account(stack, number) for number in (first, otto, ada)), "all or nothing"
        deleted(first, second)
        assert not account(stack, first)
        assert not account(stack, second)


def give_permission(stack: Stack, action: int) -> None:
    """As a new action's permission is given to Admin by ``airflow sync-perm``."""
    (view,) = stack.rows("select id from ab_view_menu where name = 'Users'")
    pair = (action, view["id"])
    query = "select id from ab_permission_view where permission_id = ? and view_menu_id = ?"
    if not stack.rows(query, *pair):
        stack.add("ab_permission_view", permission_id=action, view_menu_id=view["id"])
    (made,) = stack.rows(query, *pair)
    (role,) = stack.rows("select id from ab_role where name = 'Admin'")
    held = "select id from ab_permission_view_role where permission_view_id = ? and role_id = ?"
    if not stack.rows(held, made["id"], role["id"]):
        stack.add("ab_permission_view_role", permission_view_id=made["id"], role_id=role["id"])


# --- the API ---------------------------------------------------------------------------------------------


def told(admin: Admin, username: str) -> dict[str, Any]:
    """What a change repeats of an account that it does not change: 2.11 wants all of it."""
    if not IS_AIRFLOW_2:
        return {}
    now = account(admin.stack, number_of(admin.stack, username))
    return {name: now[name] for name in ("username", "email", "first_name", "last_name")}


def patched(admin: Admin, username: str, field: str, masked: bool) -> requests.Response:
    value = CHANGES.get(field, "a new password")
    body = {field: [{"name": name} for name in value] if field == "roles" else value}
    body = {**told(admin, username), **body}
    return admin.api("PATCH", f"users/{username}", json=body, params={"update_mask": field} if masked else {})


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("field", ON_THE_API)
def test_the_api_that_changes(
    airflow: Stack, admin: Admin, otto: int, local: int, field: str, masked: bool
) -> None:
    before = account(airflow, otto)
    answer = patched(admin, OTTO, field, masked)
    assert answer.status_code == 403, answer.text
    assert_refused(answer.json()["detail"])
    assert account(airflow, otto) == before
    was = account(airflow, local)
    answer = patched(admin, LOCAL, field, masked)
    assert answer.status_code == 200, answer.text
    now = account(airflow, local)
    assert [name for name in now if now[name] != was[name]] == [field]


def test_the_api_that_deletes(airflow: Stack, admin: Admin, otto: int, local: int) -> None:
    for name in (OTTO, OTTO.upper()):
        answer = admin.api("DELETE", f"users/{name}")
        assert answer.status_code == 403, answer.text
        assert_refused(answer.json()["detail"])
    assert account(airflow, otto)["roles"] == ["Op"]
    assert admin.api("DELETE", f"users/{LOCAL}").status_code == 204
    assert not account(airflow, local)


def test_a_patch_that_changes_nothing_is_let_through(airflow: Stack, admin: Admin, otto: int) -> None:
    now = account(airflow, otto)
    same = {name: now[name] for name in ("username", "email", "first_name", "last_name")}
    answer = admin.api("PATCH", f"users/{OTTO}", json={**same, "roles": [{"name": "Op"}]})
    assert answer.status_code == 200, answer.text


def test_a_refusal_leaves_nothing_behind_in_the_server(airflow: Stack, admin: Admin, otto: int) -> None:
    """The threads that refused go on to serve others, whose commits must not carry the change along."""
    logged = airflow.log.count(REFUSED)
    for _ in range(20):
        assert patched(admin, OTTO, "first_name", masked=False).status_code == 403
        admin.edit(otto, first_name="Changed")
        admin.delete(otto)
    assert airflow.log.count(REFUSED) == logged + 60, "the commit of the browser's session tries none again"
    for _ in range(20):
        assert admin.browser.at(USERS).status_code == 200
        assert admin.api("GET", f"users/{OTTO}").json()["first_name"] == "Otto"


def test_an_account_of_nobody_cannot_take_a_persons_name(
    airflow: Stack, admin: Admin, otto: int, local: int
) -> None:
    def status(**body: str) -> int:
        return admin.api("PATCH", f"users/{LOCAL}", json={**told(admin, LOCAL), **body}).status_code

    assert status(username=OTTO) == status(username=OTTO.upper()) == status(email=OTTO) == 409
    for field in ("username", "email"):
        for value in (OTTO, OTTO.upper()):
            page = admin.edit(local, **{field: value})
            assert page.status_code == 200
    assert account(airflow, local)["username"] == LOCAL
    assert account(airflow, local)["email"] != OTTO
    body = {"username": OTTO, "email": "x@y.example", "first_name": "x", "last_name": "y", "password": "x"}
    assert admin.api("POST", "users", json=body).status_code in (403, 409)


def test_roles_themselves_stay_airflows(airflow: Stack, admin: Admin, otto: int) -> None:
    """A role's name and permissions are about the role, not about whoever holds it."""
    airflow.map({**stacks.default_mapping(), "rules": [{"group": "airflow_prod_op", "roles": ["Passing"]}]})
    assert admin.api("POST", "roles", json={"name": "Passing", "actions": []}).status_code in (200, 201)
    (role,) = airflow.rows("select id from ab_role where name = 'Passing'")
    airflow.add("ab_user_role", user_id=otto, role_id=role["id"])
    answer = admin.api("PATCH", "roles/Passing", json={"name": "Passed", "actions": []})
    assert answer.status_code == 200, answer.text
    assert account(airflow, otto)["roles"] == ["Op", "Passed"]
    assert admin.api("DELETE", "roles/Passed").status_code in (200, 204)
    assert account(airflow, otto)["roles"] == ["Op"]
    airflow.map(stacks.default_mapping())


# --- what else there is ----------------------------------------------------------------------------------


def test_with_airflows_own_auth_manager(airflow_stock: Stack) -> None:
    sign_in_otto(airflow_stock)
    admin, otto = Admin(airflow_stock), number_of(airflow_stock, OTTO)
    before = account(airflow_stock, otto)
    assert_refused(shown(admin.edit(otto, first_name="Changed")))
    assert_refused(patched(admin, OTTO, "roles", masked=False).json()["detail"])
    assert_refused(admin.api("DELETE", f"users/{OTTO}").json()["detail"])
    assert account(airflow_stock, otto) == before


def test_airflows_commands_are_not_refused(airflow: Stack, otto: int) -> None:
    """Whoever has the shell has the database; the next sign-in puts their change back."""
    arguments = ("users", "add-role", "--username", OTTO, "--role", "Viewer")
    with airflow.home.start("users-add-role", *arguments) as process:
        assert process.wait(timeout=180) == 0, process.log.read_text()
    assert account(airflow, otto)["roles"] == ["Op", "Viewer"]
    sign_in_otto(airflow)
