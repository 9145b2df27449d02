"""Beside our own doors there is none: every place of Airflow's that takes a password, asked with a right one.

The control of each is a stock Airflow, where the same request with the same password opens it. And
whoever has not signed in is nobody, unless ``sso.yaml`` itself says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from werkzeug.security import check_password_hash, generate_password_hash

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.lines import API, both_lines, only_on_3, route
from tests.local_door import PASSWORD, Rescuer, add_account, give_role
from tests.stack import Stack, Visitor, facts

pytestmark = [pytest.mark.server, both_lines]

STOCK_CONFIG = """\
from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
WTF_CSRF_ENABLED = False
FAB_API_SWAGGER_UI = False
"""
OURS_CONFIG = "from airflow_sso import SsoSecurityManager\n\nSECURITY_MANAGER_CLASS = SsoSecurityManager\n"
PERSON, OLD, NAMED = "ada@contoso.example", "old.local", "admin"
WHO = (PERSON, OLD, NAMED)
_BACKENDS = "airflow.providers.fab.auth_manager.api.auth.backend"
#: 2.11 makes no tokens of passwords: it takes them in a header, if it is told to.
TAKES_PASSWORDS = (
    {"AIRFLOW__API__AUTH_BACKENDS": f"{_BACKENDS}.basic_auth,{_BACKENDS}.session"} if IS_AIRFLOW_2 else {}
)


@contextmanager
def an_airflow(
    template: Database, path: Path, idp: Handle, webserver_config: str, /, extra: Any = None, **settings: Any
) -> Iterator[Stack]:
    """An Airflow with this ``webserver_config.py``; ours, unless another auth manager is named."""
    manager = settings.pop("auth_manager", stacks.SSO_AUTH_MANAGER)
    file = path.parent / "webserver_config.py"
    file.write_text(webserver_config)
    extra = {**TAKES_PASSWORDS, **(extra or {})}
    options = {"auth_manager": manager, "webserver_config": file, "extra": extra}
    with stacks.migrated_home(template, path, **options) as home:
        stack = Stack(home, idp=idp)
        stack.configure([stacks.entra(idp.url)], **settings)
        for name in (OLD, NAMED):
            add_account(stack, name)
        try:
            stack.start()
            for name in (OLD, NAMED):
                give_role(stack, name, "Admin")
            yield stack
        finally:
            stack.stop()


@pytest.fixture(scope="module")
def shared_ours(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("doors") / "home"
    with an_airflow(
        migrated_database, path, identity_provider, OURS_CONFIG, break_glass=[NAMED, "known"]
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def stock(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Airflow without us; the person of the directory is an account like any other there."""
    path = tmp_path_factory.mktemp("stock") / "home"
    manager = stacks.STOCK_AUTH_MANAGER
    with an_airflow(migrated_database, path, identity_provider, STOCK_CONFIG, auth_manager=manager) as stack:
        add_account(stack, PERSON)
        give_role(stack, PERSON, "Admin")
        yield stack


@pytest.fixture
def ours(shared_ours: Stack, idp: Handle) -> Stack:
    """Ours, with a person of the directory who was given a password by SQL."""
    register(shared_ours, idp)
    signed_in(shared_ours)
    shared_ours.write(
        "update ab_user set password = ? where username = ?", generate_password_hash(PASSWORD), PERSON
    )
    return shared_ours


def register(stack: Stack, idp: Handle) -> None:
    uri = f"{stack.auth_url}/oauth-authorized/entra"
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": [uri]})


def signed_in(stack: Stack) -> Visitor:
    visitor = stack.visitor()
    visitor.sign_in("ada")
    assert visitor.who() == PERSON
    return visitor


def post(stack: Stack, path: str, **options: Any) -> requests.Response:
    return requests.post(f"{stack.url}{path}", timeout=30, allow_redirects=False, **options)


def fab_login(stack: Stack, username: str, **more: Any) -> requests.Response:
    body = {"username": username, "password": PASSWORD, "provider": "db", **more}
    return post(stack, "/auth/api/v1/security/login", json=body)


def forged(stack: Stack, user_id: int, kind: str) -> str:
    """A token of Flask-AppBuilder's own kind, signed with the server's own secret."""
    secret = json.loads((stack.home.path / "secrets.json").read_text())["API__SECRET_KEY"]
    claims = {"sub": str(user_id), "jti": "x", "type": kind, "fresh": True, "iat": 1, "nbf": 1, "exp": 2**32}
    return str(jwt.encode(claims, secret, algorithm="HS256"))


def opens(stack: Stack, username: str, password: str = PASSWORD) -> bool:
    """Whether Airflow's own API takes a password anywhere."""
    if IS_AIRFLOW_2:
        answer = get(stack, f"{API}/pools", auth=(username, password))
        assert answer.status_code in (200, 401)
        return answer.ok
    body = {"username": username, "password": password}
    answers = {post(stack, path, json=body).status_code for path in ("/auth/token", "/auth/token/cli")}
    assert answers == {201} or answers <= {400, 401, 422}
    return answers == {201}


def get(stack: Stack, path: str, **options: Any) -> requests.Response:
    return requests.get(f"{stack.url}{path}", timeout=30, allow_redirects=False, **options)


def credential(visitor: Visitor) -> dict[str, Any]:
    """What a browser shows to the API: its token, or, on 2.11, its cookie."""
    if IS_AIRFLOW_2:
        return {"cookies": {"session": visitor.cookies["session"]}}
    return {"headers": {"Authorization": f"Bearer {visitor.cookies['_token']}"}}


def user_id(stack: Stack, username: str) -> int:
    (row,) = stack.rows("select id from ab_user where username = ?", username)
    return int(row["id"])


# --- doors for passwords ---------------------------------------------------------------------------------


@only_on_3("passwords make no tokens")
@pytest.mark.parametrize("path", ["/auth/token", "/auth/token/cli"])
@pytest.mark.parametrize("username", WHO)
def test_no_password_makes_a_token(ours: Stack, stock: Stack, username: str, path: str) -> None:
    body = {"username": username, "password": PASSWORD}
    answer = post(ours, path, json=body)
    assert (answer.status_code, "access_token" in answer.text) == (401, False)
    assert post(stock, path, json=body).status_code == 201


@only_on_3("Flask-AppBuilder's own API is not there")
@pytest.mark.parametrize("username", WHO)
def test_flask_appbuilders_own_api_gives_no_token(ours: Stack, stock: Stack, username: str) -> None:
    for provider in ("db", "ldap"):
        answer = fab_login(ours, username, provider=provider, refresh=True)
        assert (answer.status_code in (400, 401), "_token" in answer.text) == (True, False)
    answer = fab_login(stock, username, refresh=True)
    assert answer.status_code == 200, answer.text
    assert {"access_token", "refresh_token"} <= set(answer.json())


def test_flask_appbuilders_own_tokens_open_nothing(ours: Stack, stock: Stack) -> None:
    def refreshed(stack: Stack) -> int:
        bearer = {"Authorization": f"Bearer {forged(stack, user_id(stack, NAMED), 'refresh')}"}
        return post(stack, "/auth/api/v1/security/refresh", headers=bearer).status_code

    def reads_users(stack: Stack) -> int:
        bearer = {"Authorization": f"Bearer {forged(stack, user_id(stack, NAMED), 'access')}"}
        return get(stack, route("/auth/users/list/"), headers=bearer).status_code

    assert refreshed(stock) == (404 if IS_AIRFLOW_2 else 200)
    assert refreshed(ours) == (404 if IS_AIRFLOW_2 else 401)
    assert reads_users(ours) in (302, 401, 403)


@pytest.mark.parametrize("username", WHO)
def test_the_sign_in_page_takes_no_form(ours: Stack, stock: Stack, username: str) -> None:
    fields = {"username": username, "password": PASSWORD}
    visitor = ours.visitor()
    answer = visitor.post(f"{ours.auth_url}/login/", data=fields, timeout=30)
    assert answer.status_code == 405
    assert visitor.who() is None
    control = stock.visitor()
    control.post(f"{stock.auth_url}/login/", data=fields, timeout=30)
    assert control.who() == username


@pytest.mark.parametrize("username", WHO)
@pytest.mark.parametrize(
    "path",
    [
        f"{API}/dags",
        "/home" if IS_AIRFLOW_2 else "/ui/auth/me",
        "/auth/fab/v1/users",
        route("/auth/users/list/"),
    ],
)
def test_a_basic_header_opens_nothing(ours: Stack, stock: Stack, username: str, path: str) -> None:
    without = get(ours, path).status_code
    assert without in (302, 401, 403)
    answer = get(ours, path, auth=(username, PASSWORD))
    assert answer.status_code == without
    assert "session" not in answer.cookies or get(ours, path, cookies=answer.cookies).status_code == without
    if IS_AIRFLOW_2 and not path.startswith(("/home", "/users")):
        assert get(stock, path, auth=(username, PASSWORD)).status_code == 200, "the control"
    if not path.startswith("/auth/users"):  # a page for browsers takes no token
        assert get(ours, path, **credential(signed_in(ours))).status_code == 200, "the control"


@only_on_3("the test above has told it")
def test_a_basic_header_opens_nothing_where_airflow_was_told_to_take_it(
    migrated_database: Database, identity_provider: Handle, tmp_path: Path
) -> None:
    backend = "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth"
    extra = {"AIRFLOW__FAB__AUTH_BACKENDS": backend}
    with an_airflow(
        migrated_database, tmp_path / "home", identity_provider, OURS_CONFIG, extra=extra, break_glass=[NAMED]
    ) as stack:
        for path in ("/api/v2/dags", "/auth/fab/v1/users", "/auth/users/list/"):
            for username in (OLD, NAMED):
                answer = requests.get(
                    f"{stack.url}{path}", auth=(username, PASSWORD), timeout=30, allow_redirects=False
                )
                assert answer.status_code in (302, 401, 403), path
                assert "_token" not in answer.cookies


@pytest.mark.parametrize("page", ["resetmypassword", "resetpassword"])
def test_the_pages_for_choosing_a_password_are_shut(ours: Stack, stock: Stack, page: str) -> None:
    chosen = {"password": "chosen", "conf_password": "chosen"}

    def choose(stack: Stack, visitor: Visitor) -> requests.Response:
        address = f"{stack.auth_url}/{page}/form?pk={user_id(stack, PERSON)}"
        return visitor.post(address, data=chosen, timeout=30)

    def password(stack: Stack) -> str:
        (row,) = stack.rows("select password from ab_user where username = ?", PERSON)
        return str(row["password"])

    before = password(ours)
    answer = choose(ours, signed_in(ours))
    # 400: the form does not even have Airflow's token against cross-site posts.
    assert answer.status_code in (400, 403)
    assert password(ours) == before
    assert facts(signed_in(ours).at(f"/auth/{page}/form?pk=1"))[0] == "SSO-401"
    control = stock.visitor()
    control.post(f"{stock.auth_url}/login/", data={"username": PERSON, "password": PASSWORD}, timeout=30)
    choose(stock, control)
    assert check_password_hash(password(stock), "chosen")
    stock.write(
        "update ab_user set password = ? where username = ?", generate_password_hash(PASSWORD), PERSON
    )


@pytest.mark.parametrize("username", [OLD, NAMED])
def test_a_password_that_an_administrator_sets_opens_nothing_new(
    ours: Stack, stock: Stack, username: str
) -> None:
    (before,) = ours.rows("select password from ab_user where username = ?", username)
    address = f"{ours.url}/auth/fab/v1/users/{username}?update_mask=password"
    body = {"username": username, "password": "set by an admin", "email": "x@y.example"}
    body |= {"first_name": "x", "last_name": "y"}
    answer = requests.patch(address, json=body, timeout=30, **credential(signed_in(ours)))
    assert answer.status_code == 200, answer.text
    (row,) = ours.rows("select password from ab_user where username = ?", username)
    assert check_password_hash(row["password"], "set by an admin"), "it is set ..."
    assert not opens(ours, username, "set by an admin"), "... and opens nothing"
    local = Rescuer(ours)
    local.try_password(username, "set by an admin")
    assert local.who() is None
    ours.write("update ab_user set password = ? where username = ?", before["password"], username)
    ours.write("delete from sso_throttle")
    again = Rescuer(ours)
    again.try_password(username)
    assert again.who() == (NAMED if username == NAMED else None), "the control: the password that it had"


def test_an_administrator_makes_no_account_with_a_password(ours: Stack, stock: Stack) -> None:
    body = {
        "username": "made.here",
        "password": PASSWORD,
        "email": "made@here.example",
        "first_name": "x",
        "last_name": "y",
        "roles": [{"name": "Admin"}],
    }
    if IS_AIRFLOW_2:
        stocks: dict[str, Any] = {"auth": (NAMED, PASSWORD)}
    else:
        made = post(stock, "/auth/token", json={"username": NAMED, "password": PASSWORD}).json()
        stocks = {"headers": {"Authorization": f"Bearer {made['access_token']}"}}
    assert post(stock, "/auth/fab/v1/users", json=body, **stocks).status_code in (200, 201)
    assert opens(stock, "made.here")
    admin = credential(signed_in(ours))
    assert post(ours, "/auth/fab/v1/users", json=body, **admin).status_code == 403
    add_account(ours, "made.here")
    assert not opens(ours, "made.here")
    local = Rescuer(ours)
    local.try_password("made.here")
    assert local.who() is None


# --- what a break-glass session may not ------------------------------------------------------------------


@only_on_3("nothing makes tokens")
def test_a_break_glass_session_makes_no_token_for_the_api(ours: Stack) -> None:
    local = Rescuer(ours)
    local.try_password(NAMED)
    assert local.at(f"{API}/dags").ok
    for kind in ("api", "cli"):
        body = {"token_type": kind}
        assert local.post(f"{ours.url}/ui/auth/token", json=body, timeout=30).status_code == 403
        person = signed_in(ours)
        assert person.post(f"{ours.url}/ui/auth/token", json=body, timeout=30).ok, "the control"


@only_on_3("no tokens")
def test_its_browser_token_lives_no_longer_than_its_session(ours: Stack) -> None:
    local = Rescuer(ours)
    local.try_password(NAMED)
    claims = jwt.decode(local.cookies["_token"], options={"verify_signature": False})
    assert 3500 < claims["exp"] - claims["iat"] <= 3600


def test_signing_out_ends_it(ours: Stack) -> None:
    local = Rescuer(ours)
    local.try_password(NAMED)
    kept = dict(local.cookies)
    page = local.sign_out()
    assert page.url == f"{ours.auth_url}/signed-out/"
    thief = ours.visitor()
    thief.cookies.update(kept)
    assert thief.who() is None
    thief.at("/auth/login/", allow_redirects=False)
    assert thief.who() is None


# --- whoever has not signed in ---------------------------------------------------------------------------


def anonymous(stack: Stack, path: str = f"{API}/dags", method: str = "GET") -> int:
    return requests.request(method, f"{stack.url}{path}", timeout=30, allow_redirects=False).status_code


def test_without_a_public_role_nobody_reads_anything(ours: Stack) -> None:
    assert anonymous(ours) == 401
    assert anonymous(ours, "/home" if IS_AIRFLOW_2 else "/ui/auth/me") == (302 if IS_AIRFLOW_2 else 401)
    assert anonymous(ours, route("/auth/users/list/")) == 302


@pytest.fixture(scope="module")
def public(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("public") / "home"
    with an_airflow(
        migrated_database, path, identity_provider, OURS_CONFIG, public_role="Viewer", break_glass=[NAMED]
    ) as stack:
        yield stack


def test_a_public_role_that_is_spelled_out_lets_everybody_read(public: Stack, idp: Handle) -> None:
    pages = ("/home", "/dagrun/list/") if IS_AIRFLOW_2 else ("/ui/auth/me", "/ui/auth/menus")
    for path in (f"{API}/dags", f"{API}/dags", *pages):
        assert anonymous(public, path) == 200, path
    assert anonymous(public, f"{API}/connections") == 403
    assert anonymous(public, "/auth/fab/v1/users") == 403
    assert anonymous(public, route("/auth/users/list/")) in (302, 403)
    if not IS_AIRFLOW_2:
        token = requests.post(f"{public.url}/ui/auth/token", json={"token_type": "api"}, timeout=30)
        assert token.status_code == 403, "no token for nobody"
    assert "has not signed in is Viewer" in public.log
    register(public, idp)
    visitor = signed_in(public)
    assert visitor.at(f"{API}/connections").ok, "and people sign in as ever"


@only_on_3("its API looks at no such header")
def test_a_credential_that_does_not_count_is_not_read_as_nobody(public: Stack) -> None:
    answer = requests.get(
        f"{public.url}/api/v2/dags", headers={"Authorization": "Bearer no-such-token"}, timeout=30
    )
    assert answer.status_code in (401, 403)


@pytest.mark.parametrize(
    "where",
    [pytest.param("airflow.cfg", marks=only_on_3("it has no such setting there")), "webserver_config.py"],
)
def test_airflows_own_public_role_is_a_fault_and_counts_for_nothing(
    migrated_database: Database, identity_provider: Handle, tmp_path: Path, where: str
) -> None:
    in_airflow = where == "airflow.cfg"
    config = OURS_CONFIG if in_airflow else f'{OURS_CONFIG}AUTH_ROLE_PUBLIC = "Viewer"\n'
    extra = {"AIRFLOW__FAB__AUTH_ROLE_PUBLIC": "Viewer"} if in_airflow else {}
    settings = {"break_glass": [NAMED]} | ({"public_role": "Op"} if in_airflow else {})
    with an_airflow(
        migrated_database, tmp_path / "home", identity_provider, config, extra=extra, **settings
    ) as stack:
        assert anonymous(stack) == 401
        assert anonymous(stack, route("/auth/users/list/")) == 302
        page = stack.visitor().at("/auth/login/")
        assert (page.status_code, facts(page)[0]) == (503, "SSO-501")
        said = ["AUTH_ROLE_PUBLIC in webserver_config.py", "public_role: Viewer"]
        for words in said if IS_AIRFLOW_2 else ["[fab] auth_role_public", *said]:
            assert words in stack.log
        local = Rescuer(stack)
        local.try_password(NAMED)
        assert local.who() == NAMED


def test_the_same_setting_would_let_everybody_in_without_us(
    migrated_database: Database, identity_provider: Handle, tmp_path: Path
) -> None:
    """The control of the test above."""
    said = 'AUTH_ROLE_PUBLIC = "Viewer"\n' if IS_AIRFLOW_2 else ""
    extra = {"AIRFLOW__FAB__AUTH_ROLE_PUBLIC": "Viewer"}
    manager = stacks.STOCK_AUTH_MANAGER
    with an_airflow(
        migrated_database,
        tmp_path / "home",
        identity_provider,
        STOCK_CONFIG + said,
        extra=extra,
        auth_manager=manager,
    ) as stack:
        assert anonymous(stack) == 200
