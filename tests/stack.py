"""Real Airflow servers and the local identity provider, for tests that go in through the front door.

A :class:`Stack` is one AIRFLOW_HOME with its api-server; a :class:`Visitor` is one browser's worth
of cookies, without the browser.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import requests
import yaml
from sqlalchemy import column, func, insert, select, table, text
from sqlalchemy.engine import Engine
from sqlalchemy.sql.elements import TextClause

from airflow_sso import models
from demo.airflow_home import SSO_AUTH_MANAGER, AirflowHome
from demo.processes import Process
from devidp.groups import DN_SUFFIX
from devidp.server import Handle
from devidp.settings import CLIENT_ID, DEFAULT_CLIENT_SECRET, PINGONE_ENVIRONMENT_ID, TENANT_ID
from devidp.testing import Driver
from tests.databases import Database, engine_of
from tests.ports import free_port as free_port

#: Of mapping files.
_VERSIONS = itertools.count(1)
REPOSITORY = Path(__file__).resolve().parent.parent
STOCK_AUTH_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
GROUPS = {
    "airflow_prod_admin": "8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c11",
    "airflow_prod_op": "5c1d7a52-0b7e-4c0f-8a44-6f0a8f5c2b22",
    "airflow_prod_viewer": "2b9e4f77-3c2a-4f1d-b5d3-9a7c1e6d3d33",
}
#: How often an Airflow with directories reads them, in seconds.
EVERY = 5
ROLES = {"airflow_prod_admin": "Admin", "airflow_prod_op": "Op", "airflow_prod_viewer": "Viewer"}


def driver(idp: Handle) -> Driver:
    """The control API of the local provider."""
    return Driver(idp.url, httpx.Client(trust_env=False))


def entra(idp_url: str, **changes: Any) -> dict[str, Any]:
    """An ``entra`` entry of ``sso.yaml`` that points at the local provider."""
    entry: dict[str, Any] = {
        "name": "entra",
        "label": "Contoso",
        "vendor": "entra",
        "protocol": "oidc",
        "tenant_id": TENANT_ID,
        "client_id": CLIENT_ID,
        "client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}},
        "insecure_authority_host": idp_url,
        "http": {"timeout": "3s"},
    }
    return {**entry, **changes}


def generic(idp_url: str, **changes: Any) -> dict[str, Any]:
    """A ``generic`` entry of ``sso.yaml`` that points at the local provider."""
    entry: dict[str, Any] = {
        "name": "generic",
        "label": "Lab accounts",
        "vendor": "generic",
        "protocol": "oidc",
        "issuer": f"{idp_url}/generic",
        "client_id": CLIENT_ID,
        "client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}},
        "http": {"timeout": "3s"},
    }
    return {**entry, **changes}


def with_directories(url: str, saml_entry: dict[str, Any]) -> list[dict[str, Any]]:
    """One provider of each vendor with its directory, and a way through SAML into one of them."""
    auth = {"client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}}}
    scim = {"type": "scim", "url": f"{url}/scim/v2", "token": {"env": "TEST_SCIM_TOKEN"}}
    pingone = {
        "name": "pingone",
        "vendor": "pingone",
        "protocol": "oidc",
        "environment_id": PINGONE_ENVIRONMENT_ID,
        "issuer": f"{url}/pingone/{PINGONE_ENVIRONMENT_ID}/as",
        "client_id": CLIENT_ID,
        "directory": {"type": "pingone", "insecure_host": url},
        **auth,
    }
    federate = {
        "name": "pingfederate",
        "vendor": "pingfederate",
        "protocol": "oidc",
        "issuer": f"{url}/pf",
        "client_id": CLIENT_ID,
        "insecure_subject_may_be_reused": True,
        "directory": {**scim, "subject": "userName", "groups": ["groups.display"]},
        **auth,
    }
    return [
        entra(url, directory={"type": "graph", "insecure_host": url}),
        saml_entry,
        pingone,
        generic(url, directory={**scim, "groups": ["groups.display"]}),
        federate,
    ]


def default_mapping() -> dict[str, Any]:
    """Every spelling of the three groups: Entra's ids, plain names, and PingFederate's DNs."""
    rules = [{"group": GROUPS[name], "name": name, "roles": [role]} for name, role in ROLES.items()]
    rules += [{"group": name, "roles": [role]} for name, role in ROLES.items()]
    rules += [{"group": f"CN={name},{DN_SUFFIX}", "roles": [role]} for name, role in ROLES.items()]
    return {"version": 1, "rules": rules}


@dataclass
class Stack:
    """One Airflow. ``configure`` writes both YAML files; ``start`` runs the api-server."""

    home: AirflowHome
    idp: Handle | None = None
    processes: list[Process] = field(default_factory=list)
    metadata: dict[str, bytes] = field(default_factory=dict)
    """Our SAML metadata by provider, once it has been fetched."""

    @property
    def url(self) -> str:
        return self.home.url

    @property
    def auth_url(self) -> str:
        """What our routes follow."""
        return f"{self.url}{self.route('/auth/')}".rstrip("/")

    def route(self, path: str) -> str:
        """A path as 3.x has it, on the line of this Airflow: 2.11 puts nothing before our routes."""
        is_ours = path.startswith("/auth/") and not path.startswith("/auth/fab/")
        return path.removeprefix("/auth") if self.home.is_airflow_2 and is_ours else path

    @property
    def landing_url(self) -> str:
        """Where a sign-in ends whose person was going nowhere in particular."""
        return f"{self.url}/home" if self.home.is_airflow_2 else f"{self.url}/"

    @property
    def sso_yaml(self) -> Path:
        return self.home.path / "sso.yaml"

    @property
    def mapping_yaml(self) -> Path:
        return self.home.path / "role_mapping.yaml"

    def configure(self, providers: list[dict[str, Any]], **changes: Any) -> None:
        settings = {
            "external_url": self.url,
            "providers": providers,
            "role_mapping_file": str(self.mapping_yaml),
            "support_contact": "data-platform@contoso.example",
        }
        self.sso_yaml.write_text(yaml.safe_dump({**settings, **changes}, sort_keys=False))
        self.map(default_mapping())

    def map(self, mapping: Mapping[str, Any] | str) -> None:
        """Write the role mapping; it counts from the next sign-in on.

        Each is a version of its own: one that was in force before would not come back.
        """
        text = mapping if isinstance(mapping, str) else yaml.safe_dump(dict(mapping), sort_keys=False)
        text = f"{text.rstrip()}\n# version {next(_VERSIONS)} of this run\n"
        replacement = self.mapping_yaml.with_suffix(".new")
        replacement.write_text(text)
        replacement.rename(self.mapping_yaml)

    def generation(self) -> int:
        """Which mapping is in force, once it is the one that was written last."""
        query = "select generation, text from sso_mapping order by generation desc limit 1"
        until = time.monotonic() + 40
        while [row["text"] for row in self.rows(query)] != [self.mapping_yaml.read_text()]:
            assert time.monotonic() < until, "nobody has accepted the mapping"
            time.sleep(0.2)
        return int(self.rows(query)[0]["generation"])

    def start(self, *, workers: int = 1) -> Stack:
        server = self.home.start_api_server(workers=workers)
        self.processes.append(server)
        server.wait_for_url(self.home.health_url(), timeout=180)
        return self

    def command(self, *arguments: str) -> Process:
        """Run ``airflow-sso <arguments>`` beside this Airflow."""
        return self.home.start_ours("airflow-sso", *arguments)

    def stop(self) -> None:
        while self.processes:
            self.processes.pop().stop()

    @property
    def log(self) -> str:
        """Everything that the api-server has printed."""
        return (self.home.logs / "api-server.log").read_text(errors="replace")

    @functools.cached_property
    def engine(self) -> Engine:
        """The metadata database."""
        return engine_of(self.home.sql_alchemy_conn)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Read the metadata database; each ``?`` of the query is the next parameter.

        Values are as SQLite gives them, whichever database it is.
        """
        with self.engine.connect() as connection:
            found = connection.execute(*_bound(query, parameters)).mappings().all()
        return [{name: _plain(value) for name, value in row.items()} for row in found]

    def write(self, statement: str, *parameters: Any) -> None:
        """Write to the metadata database, as an administrator with a SQL prompt would."""
        with self.engine.begin() as connection:
            connection.execute(*_bound(statement, parameters))

    def add(self, name: str, /, **values: Any) -> int:
        """Insert a row into a table of Airflow's, as another program would; its number."""
        with self.engine.begin() as connection:
            if "id" not in values and self.engine.dialect.name == "postgresql":
                # The column has no default in the database: Airflow's models ask the sequence themselves.
                values["id"] = connection.scalar(select(func.nextval(f"{name}_id_seq")))
            row = connection.execute(insert(table(name, *map(column, values))).values(values))
            return int(values.get("id", row.lastrowid))

    def abandon_attempts(self, number: int) -> None:
        """Put attempts of other browsers into the table, as if they had been started and left."""
        attempt = {
            "browser_hash": "b",
            "provider": "entra",
            "nonce": "n",
            "code_verifier": "v",
            "next_url": "/",
            "expires_at": datetime(2099, 1, 1, tzinfo=timezone.utc),
        }
        with self.engine.begin() as connection:
            rows = [{**attempt, "state_hash": f"{n:064x}"} for n in range(number)]
            connection.execute(insert(models.login_attempts), rows)

    def roles_of(self, username: str) -> set[str]:
        query = """select r.name from ab_role r join ab_user_role ur on ur.role_id = r.id
                   join ab_user u on u.id = ur.user_id where u.username = ?"""
        return {row["name"] for row in self.rows(query, username)}

    def visitor(self) -> Visitor:
        return Visitor(self)


class Visitor(requests.Session):
    """Somebody at a browser: keeps cookies, follows redirects, presses buttons."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.trust_env = False
        self.stack = stack

    def at(self, path: str, **options: Any) -> requests.Response:
        return self.get(f"{self.stack.url}{self.stack.route(path)}", timeout=30, **options)

    def go_to_provider(self, provider: str = "entra", next_url: str | None = None) -> requests.Response:
        """Start a sign-in; returns the provider's page."""
        query = {"next": next_url} if next_url else {}
        return self.at(f"/auth/login/{provider}", params=query)

    def press_only(self, page: requests.Response, person: str) -> str:
        """Press a person's button on the provider's page; returns where it sends the browser."""
        action = re.search(r'<form[^>]*action="([^"]*)"', page.text)
        assert action, f"no form on {page.url}: {page.text[:500]}"
        target = urljoin(page.url, html.unescape(action.group(1)))
        answer = self.post(target, data={"person": person}, allow_redirects=False, timeout=30)
        assert answer.is_redirect, answer.text[:500]
        return answer.headers["Location"]

    def press(self, page: requests.Response, person: str, *, follow: bool = True) -> requests.Response:
        """Press a person's button, and go where it leads; an empty name is *Cancel*."""
        return self.get(self.press_only(page, person), allow_redirects=follow, timeout=30)

    def sign_in(self, person: str, provider: str = "entra", next_url: str | None = None) -> requests.Response:
        """The whole way; returns the page at its end, which may be a refusal."""
        return self.press(self.go_to_provider(provider, next_url), person)

    def sign_out(self, **options: Any) -> requests.Response:
        """Airflow's own button: a link on 3.x, a form with its token against forgery on 2.11."""
        if not self.stack.home.is_airflow_2:
            return self.at("/api/v2/auth/logout", **options)
        return self.leave(**options)

    def leave(self, **options: Any) -> requests.Response:
        """Our own sign-out, where Airflow's button leads in the end."""
        if not self.stack.home.is_airflow_2:
            return self.at("/auth/logout/", **options)
        page = self.at("/users/userinfo/")
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
        fields = {"csrf_token": token[1] if token else ""}
        # Over https Airflow looks where the form was.
        sent_from = {"Referer": page.url}
        return self.post(f"{self.stack.url}/logout/", data=fields, headers=sent_from, timeout=30, **options)

    def who(self) -> str | None:
        """Who Airflow's API thinks this is."""
        if not self.stack.home.is_airflow_2:
            answer = self.at("/ui/auth/me")
            return str(answer.json()["username"]) if answer.ok else None
        # Whoever has no role may see none of Airflow's pages, and still our own.
        for path, shown in (
            ("/users/userinfo/", r"<th[^>]*>User Name</th>\s*<td>(?:<span[^>]*>)?([^<]*)<"),
            ("/my-access/", r"<dt>Username</dt><dd[^>]*><bdi>([^<]*)<"),
        ):
            found = re.search(shown, self.at(path, allow_redirects=False).text)
            if found:
                return html.unescape(found[1])
        return None


@contextmanager
def migrated_home(template: Database, path: Path, **options: Any) -> Iterator[AirflowHome]:
    """A home with a copy of a migrated database: migrating once a run is enough."""
    path.mkdir(parents=True)
    home = AirflowHome(
        path=path,
        port=free_port(),
        database_url=template.copy(path / "airflow.db").url,
        sso_config=path / "sso.yaml",
        extra={"TEST_CLIENT_SECRET": DEFAULT_CLIENT_SECRET, **options.pop("extra", {})},
        **{"auth_manager": SSO_AUTH_MANAGER, **options},
    )
    yield home


@contextmanager
def running(
    template: Database, path: Path, idp: Handle, *, workers: int = 1, **options: Any
) -> Iterator[Stack]:
    """An Airflow of the caller's own with the provider ``entra``; `options` are of :func:`migrated_home`."""
    with migrated_home(template, path, **options) as home:
        stack = Stack(home, idp=idp)
        stack.configure([entra(idp.url)])
        try:
            yield stack.start(workers=workers)
        finally:
            stack.stop()


def welcome(stack: Stack, idp: Handle) -> Stack:
    """The honest provider knows this Airflow, and the mapping is the default one again."""
    known = {
        "redirect_uris": [f"{stack.auth_url}/oauth-authorized/entra"],
        "backchannel_logout_uris": [f"{stack.auth_url}/logout/backchannel/entra"],
    }
    driver(idp).control("POST", "clients", known)
    stack.map(default_mapping())
    return stack


def _bound(statement: str, parameters: Sequence[Any]) -> tuple[TextClause, dict[str, Any]]:
    """With parameters by name, which every database's driver is given in its own spelling."""
    names = (f":p{number}" for number in itertools.count())
    named = re.sub(r"\?", lambda _: next(names), statement)
    return text(named), {f"p{number}": value for number, value in enumerate(parameters)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc) if value.tzinfo else value).strftime("%Y-%m-%d %H:%M:%S.%f")
    return bytes(value) if isinstance(value, memoryview) else value


def facts(page: requests.Response) -> tuple[str | None, str | None]:
    """The code and the reference that a page of ours shows."""
    found = [html.unescape(one) for one in re.findall(r'<code class="fact"[^>]*>([^<]+)</code>', page.text)]
    return (found[0], found[1]) if len(found) > 1 else (None, None)
