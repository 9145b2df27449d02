"""No fault of ours stops the process: on Airflow 3 the api-server also serves the workers, so whatever
is broken, tasks go on, every door of ours is shut, and no other door opens.

Each fault meets a server of one process, and one of every kind a server of two: an exception at start-up ends
the first and leaves the second starting its workers anew for ever.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest
import requests

from airflow_sso import models
from airflow_sso.airflow_compat import IS_AIRFLOW_2, LINE
from demo.processes import Process, stop_all, wait_until
from devidp import tokens
from devidp.server import Handle
from devidp.settings import CLIENT_ID
from tests import stack as stacks
from tests.databases import Database
from tests.lines import API, both_lines, only_on_3, route
from tests.stack import Stack, Visitor, facts
from tests.test_doors import TAKES_PASSWORDS

pytestmark = pytest.mark.server

ADMIN = {"username": "local.admin", "password": "a-password-that-is-right"}
DOORS = tuple(
    route(path)
    for path in (
        "/auth/login/",
        "/auth/login/?next=%2Fdags",
        "/auth/login/entra",
        "/auth/login/local",
        "/auth/oauth-authorized/entra?code=c&state=s",
    )
)
#: The first thing that a process says that serves.
SERVES = "Booting worker with pid" if IS_AIRFLOW_2 else "Application startup complete"
FAILED_TO_BUILD = "airflow_sso: every door is shut (SSO-501); tasks are not affected"

#: Breaks a home whose configuration is right, and says what its people must be told.
Fault = Callable[[Stack], str]


def with_environment(stack: Stack, **variables: str) -> None:
    stack.home = replace(stack.home, extra={**stack.home.extra, **variables})


def shadowed(stack: Stack, package: str) -> str:
    """Put a package that cannot be imported before the real one."""
    folder = stack.home.path / "broken-libraries"
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(f"raise ImportError('{package} is of the wrong version')\n")
    with_environment(stack, PYTHONPATH=str(folder))
    return f"ImportError: {package} is of the wrong version"


def line_of(path: Path, text: str) -> str:
    """File, line and column of the key in the first line that holds a text."""
    lines = enumerate(path.read_text().splitlines(), 1)
    number, line = next((number, line) for number, line in lines if text in line)
    return f"{path}:{number}:{len(line) - len(line.lstrip()) + 1}"


# The faults


def the_configuration_is_missing(stack: Stack) -> str:
    stack.sso_yaml.unlink()
    return f"{stack.sso_yaml}: cannot be read: No such file or directory"


def the_configuration_is_no_yaml(stack: Stack) -> str:
    stack.sso_yaml.write_text("external_url: https://airflow.example.com\nproviders: [}\n")
    return f"{stack.sso_yaml}:2:13: is not valid YAML"


def a_key_is_misspelt(stack: Stack) -> str:
    text = stack.sso_yaml.read_text().replace("support_contact:", "suport_contact:")
    stack.sso_yaml.write_text(text)
    return (
        f"{line_of(stack.sso_yaml, 'suport_contact')}: suport_contact: is not a key that is known here; "
        "did you mean 'support_contact'?"
    )


def a_value_is_not_allowed(stack: Stack) -> str:
    text = stack.sso_yaml.read_text().replace(f"external_url: {stack.url}", "external_url: ftp://airflow")
    stack.sso_yaml.write_text(text)
    return f"{line_of(stack.sso_yaml, 'ftp:')}: external_url: it must be an absolute URL"


def the_mapping_is_missing(stack: Stack) -> str:
    stack.mapping_yaml.unlink()
    return f"{stack.mapping_yaml}: cannot be read: No such file or directory"


def the_mapping_names_a_role_that_does_not_exist(stack: Stack) -> str:
    stack.map("version: 1\nrules:\n  - {group: g, roles: [Viewer]}\n  - {group: h, roles: [Admiral]}\n")
    return f"{stack.mapping_yaml}:4:24: rules[1].roles[0]: there is no role 'Admiral'; did you mean 'Admin'?"


def the_client_secret_is_not_set(stack: Stack) -> str:
    with_environment(stack, TEST_CLIENT_SECRET="")
    return (
        f"{line_of(stack.sso_yaml, 'secret:')}: providers[0].client_auth.secret: "
        "the environment variable TEST_CLIENT_SECRET is not set, or is empty"
    )


def joserfc_cannot_be_imported(stack: Stack) -> str:
    return shadowed(stack, "joserfc")


def authlib_cannot_be_imported(stack: Stack) -> str:
    return shadowed(stack, "authlib")


def the_tables_are_missing(stack: Stack) -> str:
    for table in (*models.metadata.tables, "alembic_version_sso"):
        stack.write(f"drop table {table}")
    return f"missing in the database: {', '.join(models.metadata.tables)}"


def two_places_name_different_configurations(stack: Stack) -> str:
    file = stack.home.path / "webserver_config.py"
    theirs = stack.home.webserver_config.read_text() if stack.home.webserver_config else ""
    file.write_text(f'{theirs}SSO_CONFIG_FILE = "/opt/another/sso.yaml"\n')
    stack.home = replace(stack.home, webserver_config=file)
    return (
        f"[sso] config_file says {stack.sso_yaml}, but SSO_CONFIG_FILE in webserver_config.py "
        "says /opt/another/sso.yaml: keep one of them"
    )


def nothing_says_where_people_reach_airflow(stack: Stack) -> str:
    text = re.sub(r"(?m)^external_url: .*\n", "", stack.sso_yaml.read_text())
    stack.sso_yaml.write_text(text)
    section = LINE.web_section
    with_environment(stack, **{f"AIRFLOW__{section.upper()}__BASE_URL": ""})
    return f"external_url: is required, because Airflow's [{section}] base_url is not set"


FAULTS: tuple[Fault, ...] = (
    the_configuration_is_missing,
    the_configuration_is_no_yaml,
    a_key_is_misspelt,
    a_value_is_not_allowed,
    the_mapping_is_missing,
    the_mapping_names_a_role_that_does_not_exist,
    the_client_secret_is_not_set,
    joserfc_cannot_be_imported,
    authlib_cannot_be_imported,
    two_places_name_different_configurations,
    nothing_says_where_people_reach_airflow,
    the_tables_are_missing,
)


# Servers that are no faults: controls, and companions of the plugin


def only_one_of_two_providers_has_its_secret(stack: Stack) -> str:
    assert stack.idp
    unset = {"secret": {"env": "ANOTHER_CLIENT_SECRET"}}
    entra = stacks.entra(stack.idp.url, client_auth=unset)
    stack.configure([entra, stacks.generic(stack.idp.url)])
    return (
        f"{line_of(stack.sso_yaml, 'secret:')}: providers[0].client_auth.secret: "
        "the environment variable ANOTHER_CLIENT_SECRET is not set, or is empty"
    )


def a_stock_airflow(stack: Stack) -> str:
    """Without our plugin: no security manager of ours, Airflow's own auth manager."""
    stack.home = replace(stack.home, auth_manager=stacks.STOCK_AUTH_MANAGER, webserver_config=None)
    return ""


def an_old_style_plugin_is_installed(stack: Stack) -> str:
    folder = stack.home.path / "plugins"
    folder.mkdir()
    (folder / "old_style.py").write_text(OLD_STYLE_PLUGIN)
    with_environment(stack, AIRFLOW__CORE__PLUGINS_FOLDER=str(folder))
    return ""


OLD_STYLE_PLUGIN = """
from airflow.plugins_manager import AirflowPlugin
from flask import Blueprint
from flask_appbuilder import BaseView, expose, has_access

hello = Blueprint("hello", __name__, url_prefix="/hello")
hello.add_url_rule("/", "page", lambda: "hello from the old style")

class Guarded(BaseView):
    route_base = "/guarded"
    default_view = "show"

    @expose("/")
    @has_access
    def show(self):
        return "for those who may"

class OldStyle(AirflowPlugin):
    name = "old_style"
    flask_blueprints = [hello]
    appbuilder_views = [{"name": "Guarded", "view": Guarded()}]
"""


def everything_is_logged(stack: Stack) -> str:
    assert stack.idp
    stack.configure([stacks.entra(stack.idp.url), stacks.generic(stack.idp.url)])
    with_environment(stack, AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG", TEST_CLIENT_SECRET=LOGGED_SECRET)
    return ""


LOGGED_SECRET = "the client's secret: ä+/=&% 8d1f"


# Servers, started a little ahead of the tests that ask for them


@dataclass(frozen=True)
class Scene:
    """One api-server: what was done to its home, and with how many processes it serves."""

    what: Fault
    workers: int = 1

    def __str__(self) -> str:
        return f"{self.what.__name__}-{self.workers}"


@dataclass
class Act:
    """A scene that is being played."""

    stack: Stack
    says: str

    @property
    def server(self) -> Process:
        return self.stack.processes[-1]

    @property
    def code(self) -> str:
        return "SSO-502" if self.says.startswith("missing in the database") else "SSO-501"


class Company:
    """Plays scenes. The next one is set up while one is still being looked at: two cores, two starts."""

    def __init__(self, play: Callable[[Scene], Act], programme: list[Scene]) -> None:
        self._play = play
        self._programme = programme
        self._acts: dict[Scene, Act] = {}
        self._leaving: list[Process] = []

    def take(self, scene: Scene) -> Act:
        at = self._programme.index(scene)
        for coming in self._programme[at : at + 2]:
            if coming not in self._acts:
                self._acts[coming] = self._play(coming)
        act = self._acts[scene]
        act.server.wait_for_url(act.stack.home.health_url(), timeout=180)
        # Health answers with the first worker; a second that dies must not go unnoticed.
        wait_until(lambda: is_complete(act.stack, scene.workers), timeout=60, late=act.server)
        return act

    def dismiss(self, scene: Scene) -> None:
        processes = self._acts.pop(scene).stack.processes
        for process in processes:
            process.begin_stop()
        self._leaving += processes

    def close(self) -> None:
        stop_all([*self._leaving, *(one for act in self._acts.values() for one in act.stack.processes)])


def is_complete(stack: Stack, workers: int) -> bool:
    return stack.log.count(SERVES) >= workers


@pytest.fixture(scope="module")
def database_with_an_admin(migrated_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The migrated database with a local administrator, made as Airflow's manual says.

    The command also leaves the permissions as our security manager wants them, in one process. Where
    several do that at once on a database of Flask-AppBuilder's password sign-in, one may fail: it
    adds a permission to a role that another is just removing.
    """
    path = tmp_path_factory.mktemp("local-admin") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        person = ["--firstname", "Local", "--lastname", "Admin", "--email", "local@example.com"]
        secret = ["--username", ADMIN["username"], "--password", ADMIN["password"]]
        with home.start("users-create", "users", "create", "--role", "Admin", *person, *secret) as process:
            assert process.wait(120) == 0, process.log_tail()
    return Database(home.sql_alchemy_conn, migrated_database.cluster)


@pytest.fixture(scope="module")
def company(
    request: pytest.FixtureRequest,
    database_with_an_admin: Database,
    identity_provider: Handle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Company]:
    def play(scene: Scene) -> Act:
        path = tmp_path_factory.mktemp("scene") / "home"
        with stacks.migrated_home(database_with_an_admin, path, extra=TAKES_PASSWORDS) as home:
            stack = Stack(home, idp=identity_provider)
            stack.configure([stacks.entra(identity_provider.url)])
            says = scene.what(stack)
            stack.processes.append(stack.home.start_api_server(workers=scene.workers))
            return Act(stack, says)

    asked_for = [
        item.callspec.params["act"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec") and "act" in item.callspec.params
    ]
    actors = Company(play, list(dict.fromkeys(asked_for)))
    try:
        yield actors
    finally:
        actors.close()


@pytest.fixture(scope="module")
def act(request: pytest.FixtureRequest, company: Company) -> Iterator[Act]:
    """The running server of the scene that a test is given by :func:`on`."""
    yield company.take(request.param)
    company.dismiss(request.param)


def on(*scenes: Any) -> pytest.MarkDecorator:
    """Gives a test the server of each scene; a scene may be a ``pytest.param``."""
    return pytest.mark.parametrize("act", scenes, indirect=True, ids=str)


#: In a file, in a library, in a name that only the database knows, and in the database itself.
_ONE_OF_EVERY_KIND = (
    the_configuration_is_no_yaml,
    joserfc_cannot_be_imported,
    the_mapping_names_a_role_that_does_not_exist,
    the_tables_are_missing,
)
#: What is tried on Airflow 2.11 as well: its processes are children of one that has built everything.
_ON_BOTH_LINES = (
    Scene(the_configuration_is_no_yaml, 2),
    Scene(authlib_cannot_be_imported, 1),
    Scene(the_tables_are_missing, 2),
)
with_each_fault = on(
    *(
        pytest.param(scene, marks=both_lines) if scene in _ON_BOTH_LINES else scene
        for fault in FAULTS
        for scene in (Scene(fault, workers) for workers in ((1, 2) if fault in _ONE_OF_EVERY_KIND else (1,)))
    )
)


def may_come_back(idp: Handle, stack: Stack) -> None:
    """Register our redirect URIs; the provider forgets them whenever it is reset."""
    uris = [f"{stack.auth_url}/oauth-authorized/{name}" for name in ("entra", "generic")]
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": uris})


def asked_anew(stack: Stack, method: str, path: str, **options: Any) -> requests.Response:
    """A request on a connection of its own, so that each worker gets its share."""
    with stack.visitor() as visitor:
        return visitor.request(method, f"{stack.url}{path}", timeout=30, allow_redirects=False, **options)


def told(stack: Stack, reference: str | None) -> Mapping[str, Any]:
    """What the log says under a reference."""
    (line,) = [line for line in stack.log.splitlines() if f'"reference": "{reference}"' in line]
    found: dict[str, Any] = json.loads(line[line.index('{"') : line.rindex("}") + 1])
    return found


# Every fault


@with_each_fault
def test_the_server_goes_on_serving_the_workers(act: Act) -> None:
    for _ in range(4):
        assert asked_anew(act.stack, "GET", urlsplit(act.stack.home.health_url()).path).ok
    if not IS_AIRFLOW_2:
        assert asked_anew(act.stack, "GET", "/execution/health").json() == {"status": "healthy"}
        # A route that tasks use: it asks for the task's token, so it is there and works.
        assert asked_anew(act.stack, "GET", "/execution/variables/x").status_code in (401, 403)
    assert act.server.exit_code is None
    assert "died" not in act.stack.log


@with_each_fault
def test_every_door_is_shut_and_says_why_to_those_who_can_mend_it(act: Act) -> None:
    for path in DOORS * 2:
        page = asked_anew(act.stack, "GET", path)
        code, reference = facts(page)
        assert (page.status_code, code) == (503, act.code), path
        assert "Sign-in is not ready" in page.text
        assert "<form" not in page.text
        assert "password" not in page.text.lower()
        assert "_token" not in page.cookies
        record = told(act.stack, reference)
        assert record["code"] == act.code
        assert act.says in record["reason"]
        assert act.says not in page.text
        assert ("airflow-sso db upgrade" in page.text) == (act.code == "SSO-502")


@with_each_fault
def test_the_cause_is_in_the_log_before_anybody_asks(act: Act) -> None:
    seen_at_start = act.stack.log.partition(SERVES)[0]
    if act.code == "SSO-502" or str(act.stack.mapping_yaml) in act.says:
        # Tables and mapping are looked at when they are needed, and mend without a restart.
        assert "SSO-501" not in seen_at_start
        return
    assert act.says in seen_at_start
    assert FAILED_TO_BUILD in seen_at_start or "open: ; shut: entra" in seen_at_start


@with_each_fault
def test_a_local_password_opens_nothing_else(act: Act) -> None:
    for path in () if IS_AIRFLOW_2 else ("/auth/token", "/auth/token/cli"):
        answer = asked_anew(act.stack, "POST", path, json=ADMIN)
        assert answer.status_code == 401, answer.text
        assert "access_token" not in answer.text
        assert not answer.cookies
    path = route("/auth/api/v1/security/login")
    fab = asked_anew(act.stack, "POST", path, json={**ADMIN, "provider": "db"})
    assert fab.status_code in ((404,) if IS_AIRFLOW_2 else (400, 401))
    assert "access_token" not in fab.text
    visitor = act.stack.visitor()
    form = visitor.post(f"{act.stack.auth_url}/login/", data=ADMIN, timeout=30)
    assert form.status_code == 405
    assert visitor.who() is None
    asked = "/api/v1/pools" if IS_AIRFLOW_2 else "/ui/auth/me"
    assert not asked_anew(act.stack, "GET", asked, auth=tuple(ADMIN.values())).ok


@pytest.fixture
def manager() -> Any:
    """Airflow's log is set up by the import, in place of whoever has begun to listen to it."""
    from airflow_sso.auth_manager import SsoFabAuthManager

    return SsoFabAuthManager()


@only_on_3("there our auth manager is Airflow's own")
@pytest.mark.filterwarnings("ignore")  # about what the auth manager of Airflow imports
def test_an_auth_manager_beside_another_sign_in_says_so_at_start(
    manager: Any, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []
    manager._watch()
    assert "does not name SsoSecurityManager, so nobody can sign in" in caplog.text
    caplog.clear()
    ours = SimpleNamespace(start_watching=lambda: begun.append("watching"))
    manager.flask_app = SimpleNamespace(appbuilder=SimpleNamespace(sm=ours))
    manager._watch()
    assert (caplog.text, begun) == ("", ["watching"])


@on(Scene(a_stock_airflow))
def test_the_same_password_is_right_where_our_plugin_is_not_used(act: Act) -> None:
    assert 'type="password"' in asked_anew(act.stack, "GET", route("/auth/login/")).text
    if IS_AIRFLOW_2:
        assert asked_anew(act.stack, "GET", "/api/v1/pools", auth=tuple(ADMIN.values())).ok
        return
    answer = asked_anew(act.stack, "POST", "/auth/token", json=ADMIN)
    assert answer.status_code == 201, answer.text
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    me = asked_anew(act.stack, "GET", "/ui/auth/me", headers=bearer)
    assert me.json()["username"] == ADMIN["username"]


# Faults that mend, or that shut only some doors


@on(
    Scene(the_tables_are_missing, 1),
    pytest.param(Scene(the_tables_are_missing, 2), marks=both_lines),
)
def test_once_the_tables_are_made_sign_in_works_without_a_restart(act: Act, idp: Handle) -> None:
    may_come_back(idp, act.stack)
    visitor = act.stack.visitor()
    assert facts(visitor.at("/auth/login/"))[0] == "SSO-502"
    assert facts(visitor.at("/auth/sso-status/"))[0] == "SSO-502"
    act.stack.home.migrate()
    visitor.sign_in("ada")
    assert visitor.who() == "ada@contoso.example"
    assert act.server.exit_code is None


@on(
    Scene(the_mapping_is_missing, 1),
    Scene(the_mapping_names_a_role_that_does_not_exist, 2),
)
def test_once_the_mapping_is_mended_sign_in_works_without_a_restart(act: Act, idp: Handle) -> None:
    may_come_back(idp, act.stack)
    visitor = act.stack.visitor()
    assert facts(visitor.at("/auth/login/"))[0] == "SSO-501"
    act.stack.map(stacks.default_mapping())
    visitor.sign_in("ada")
    assert visitor.who() == "ada@contoso.example"


@on(Scene(only_one_of_two_providers_has_its_secret, 2))
def test_a_provider_without_its_secret_shuts_only_its_own_door(act: Act, idp: Handle) -> None:
    may_come_back(idp, act.stack)
    for path in ("/auth/login/entra", "/auth/oauth-authorized/entra?code=c&state=s"):
        page = asked_anew(act.stack, "GET", route(path))
        code, reference = facts(page)
        assert (page.status_code, code) == (503, "SSO-501")
        assert act.says in told(act.stack, reference)["reason"]
    choice = asked_anew(act.stack, "GET", route("/auth/login/"))
    assert choice.status_code == 200
    assert "/login/generic" in choice.text
    assert "/login/entra" not in choice.text
    if not IS_AIRFLOW_2:
        assert asked_anew(act.stack, "POST", "/auth/token", json=ADMIN).status_code == 401
    visitor = act.stack.visitor()
    visitor.sign_in("ada", "generic")
    assert visitor.who() == "ada"


# Companions; the second web application is one of Airflow 3

_ONE_APPLICATION = only_on_3("old-style plugins are served by the one web application")


@_ONE_APPLICATION
@on(Scene(an_old_style_plugin_is_installed))
def test_an_old_style_plugin_gets_no_second_way_in(act: Act, idp: Handle) -> None:
    may_come_back(idp, act.stack)
    pages = ("/auth/logout/", "/auth/signed-out/", "/auth/sso/static/airflow_sso.css")
    for path in {*DOORS, *pages} - {"/auth/login/local"}:
        assert asked_anew(act.stack, "GET", path).status_code != 404, path
        there = asked_anew(act.stack, "GET", path.replace("/auth/", "/pluginsv2/"))
        assert there.status_code in (403, 404), path
    for path in ("/pluginsv2/login/", "/pluginsv2/api/v1/security/login"):
        answer = asked_anew(act.stack, "POST", path, json={**ADMIN, "provider": "db"})
        assert answer.status_code in (400, 401, 404, 405), answer.text
        assert "access_token" not in answer.text
    visitor = act.stack.visitor()
    visitor.sign_in("ada")
    assert visitor.who() == "ada@contoso.example"


@_ONE_APPLICATION
@on(Scene(an_old_style_plugin_is_installed))
def test_an_old_style_plugin_keeps_its_pages_and_people_their_sessions(act: Act, idp: Handle) -> None:
    may_come_back(idp, act.stack)
    visitor = act.stack.visitor()
    visitor.sign_in("ada")
    assert visitor.at("/pluginsv2/hello/").text == "hello from the old style"
    assert visitor.who() == "ada@contoso.example"
    del visitor.cookies["_token"]
    visitor.at("/auth/login/", allow_redirects=False)
    assert visitor.who() == "ada@contoso.example"


@_ONE_APPLICATION
@on(Scene(an_old_style_plugin_is_installed))
def test_a_guarded_page_of_an_old_style_plugin_refuses_without_failing(act: Act, idp: Handle) -> None:
    """Flask-AppBuilder's own guard sends strangers to the sign-in view, and there is none there."""
    may_come_back(idp, act.stack)
    signed_in = act.stack.visitor()
    signed_in.sign_in("ada")
    for visitor in (act.stack.visitor(), signed_in):
        page = visitor.at("/pluginsv2/guarded/")
        assert page.status_code < 500
        assert "for those who may" not in page.text


@both_lines
@on(Scene(an_old_style_plugin_is_installed))
def test_sessions_outlive_a_configuration_that_breaks(act: Act, idp: Handle) -> None:
    """The last test of its scene: it stops the server and starts it with a broken file."""
    stack = act.stack
    may_come_back(idp, stack)
    visitor, stranger = stack.visitor(), stack.visitor()
    visitor.sign_in("ada")
    assert visitor.who() == "ada@contoso.example"
    stack.stop()
    the_configuration_is_no_yaml(stack)
    stack.start()
    assert facts(stranger.at("/auth/login/"))[0] == "SSO-501"
    assert visitor.who() == "ada@contoso.example"
    assert visitor.at(f"{API}/dags").status_code == 200
    if IS_AIRFLOW_2:
        return
    # The UI comes here for a fresh token when its own has run out.
    del visitor.cookies["_token"]
    assert visitor.who() is None
    assert visitor.at("/auth/login/", allow_redirects=False).status_code == 302
    assert visitor.who() == "ada@contoso.example"


# What the log must not hold


def parameters(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def remembered(stack: Stack) -> dict[str, str]:
    """What the server keeps for the newest attempt."""
    (row,) = stack.rows("select nonce, code_verifier from sso_login_attempt order by id desc limit 1")
    return row


def secrets_of_a_sign_in(visitor: Visitor, person: str, provider: str) -> dict[str, str]:
    """Everything secret that passes between browser, server and provider while somebody signs in."""
    page = visitor.go_to_provider(provider)
    sent = parameters(page.url)
    kept = remembered(visitor.stack)
    assert sent["nonce"] == kept["nonce"]
    end = visitor.press(page, person)
    (callback,) = [one.url for one in (*end.history, end) if "/oauth-authorized/" in one.url]
    received = parameters(callback)
    assert received["state"] == sent["state"]
    ours = ("session", "airflow_sso_attempt", "_token")
    cookies = {name: value for name, value in visitor.cookies.items() if name in ours and value}
    return {
        "code": received["code"],
        "state": sent["state"],
        "nonce": sent["nonce"],
        "code_verifier": kept["code_verifier"],
        **{f"cookie {name}": value for name, value in cookies.items()},
    }


def spellings(value: str) -> set[str]:
    """A value as it is, and as URLs, JSON and ``repr`` would show it."""
    return {value, quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}


@pytest.fixture(scope="module")
def secrets_and_log(act: Act, identity_provider: Handle) -> tuple[dict[str, str], str]:
    """One sign-in and one refusal at each provider: every secret by name, and all that was logged."""
    made: list[str] = []
    honest = tokens.id_token

    def noting(*arguments: Any, **options: Any) -> Any:
        made.append(honest(*arguments, **options))
        return made[-1]

    stacks.driver(identity_provider).reset()
    stacks.driver(identity_provider).control("POST", "clients", {"client_secret": LOGGED_SECRET})
    may_come_back(identity_provider, act.stack)
    found: dict[str, str] = {"client secret": LOGGED_SECRET}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "id_token", noting)
        for provider in ("entra", "generic"):
            for person in ("ada", "nora"):
                visitor = act.stack.visitor()
                secrets = secrets_of_a_sign_in(visitor, person, provider)
                assert (visitor.who() is not None) == (person == "ada")
                found |= {f"{name} of {person} at {provider}": value for name, value in secrets.items()}
    basic = f"{CLIENT_ID}:{quote_plus(LOGGED_SECRET)}".encode()
    found["client secret as Basic"] = base64.b64encode(basic).decode()
    found |= {f"id_token {number}": one for number, one in enumerate(made)}
    issued = list(identity_provider.state._access_tokens)
    found |= {f"access_token {number}": one for number, one in enumerate(issued)}
    assert len(made) == len(issued) == 4
    stacks.driver(identity_provider).reset()
    return found, act.stack.log


@on(Scene(everything_is_logged))
def test_the_log_of_a_sign_in_is_whole_and_its_detail_is_on(
    act: Act, secrets_and_log: tuple[dict[str, str], str]
) -> None:
    """The control of the next tests: the log they search is the one that such values would be in."""
    _, log = secrets_and_log
    assert re.search(r"DEBUG" if IS_AIRFLOW_2 else r"\[debug +\]", log)
    assert log.count('"event": "sign_in"') == 2
    assert log.count('"code": "SSO-301"') == 2
    assert f"{'GET ' if IS_AIRFLOW_2 else 'path='}{route('/auth/oauth-authorized/entra')}" in log


@on(Scene(everything_is_logged))
@pytest.mark.parametrize(
    "kind",
    [
        "client secret",
        "code_verifier",
        "nonce",
        "id_token",
        "access_token",
        "cookie session",
        "cookie airflow_sso_attempt",
        pytest.param("cookie _token", marks=only_on_3("no tokens")),
        "state",
        "code",
    ],
)
def test_no_secret_of_a_sign_in_is_in_the_log(
    act: Act, kind: str, secrets_and_log: tuple[dict[str, str], str]
) -> None:
    found, log = secrets_and_log
    values = {name: value for name, value in found.items() if name == kind or name.startswith(f"{kind} ")}
    assert values
    assert all(len(value) > 20 for value in values.values()), values
    if kind in ("code", "state"):
        # Airflow's own access log keeps the query of every request (docs/security.md, known limits).
        access = '"GET ' if IS_AIRFLOW_2 else "[http.access]"
        own_log = "\n".join(line for line in log.splitlines() if access not in line)
        assert own_log != log
        log = own_log
    leaked = [name for name, value in values.items() if any(one in log for one in spellings(value))]
    assert not leaked
