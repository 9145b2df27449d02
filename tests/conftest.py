"""What every test stands on: an Airflow home of the run's own, real servers started once, the local
identity provider reset before each test."""

from __future__ import annotations

import functools
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before anything imports Airflow: it reads its home once, and would make one in the user's folder.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-sso-tests-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

from airflow_sso.airflow_compat import AUTH_PREFIX, IS_AIRFLOW_2
from demo.airflow_home import AirflowHome
from devidp import server as devidp_server
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET, PINGONE_ENVIRONMENT_ID
from tests import postgresql as postgresql_server
from tests import replicas as replica_servers
from tests import saml, sync_world
from tests import stack as stacks
from tests.databases import Database
from tests.replicas import Replicas
from tests.review_world import People, Review
from tests.stack import Stack, Visitor
from tests.sync_world import World

# Its assertions are told of in full, like those of a test module.
pytest.register_assert_rewrite("tests.directory_contract")


#: What a module says that uses one of the shared Airflows, and the group that it is in where several
#: processes share the tests (``make test``): every process that needs one starts its own.
_TOGETHER = (
    (re.compile(r"\bairflow_leavers\b"), "leavers"),
    (re.compile(r"\breplicas: Replicas\b"), "replicas"),
    (re.compile(r"\bairflow_saml\b|\btalk: "), "saml"),
    (re.compile(r"\bairflow(_two)?: Stack\b"), "airflow"),
)
_SHARED = (
    "shared_airflow",
    "shared_airflow_two",
    "shared_airflow_stock",
    "shared_airflow_leavers",
    "shared_airflow_saml",
    "shared_replicas",
)
#: Groups and modules that take minutes begin first, so that none of them is alone at the end.
_LONGEST = (
    "airflow",
    "tests/test_faults.py",
    "replicas",
    "saml",
    "leavers",
    "tests/test_revocation.py",
    "tests/test_doors.py",
    "tests/test_move_to_airflow_3.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "what Airflow's metadata database is in the tests; meant to go with -m database"
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite", help=text)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For ``--dist loadgroup``: the tests of one module, and of one group of modules, stay together."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False  # by number of tests, of which the longest have the fewest

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    return Together(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Airflow 2.11 stands on libraries of its time, which say so at each import; we only make sure of ours."""
    if IS_AIRFLOW_2:
        config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is about SQLite itself needs one; and the order in which those processes take the rest."""
    if config.getoption("--database") != "sqlite":
        for item in items:
            if item.get_closest_marker("sqlite"):
                item.add_marker(pytest.mark.skip(reason="it is about SQLite itself"))
    if getattr(config.option, "loadgroup", False):
        items.sort(key=lambda item: _rank(_group(item.nodeid.partition("::")[0])))


def _rank(group: str) -> int:
    return _LONGEST.index(group) if group in _LONGEST else len(_LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """With the last test of a group its servers end, rather than work beside everything that follows."""
    groups = {_group(one.nodeid.partition("::")[0]) for one in (item, nextitem) if one is not None}
    if len(groups) == 2:
        for name in _SHARED:
            for fixture in item.session._fixturemanager.getfixturedefs(name, item) or ():
                fixture.finish(item._request)  # type: ignore[attr-defined]


@functools.cache
def _group(module: str) -> str:
    text = (Path(__file__).parent.parent / module).read_text()
    return next((name for pattern, name in _TOGETHER if pattern.search(text)), module)


@pytest.fixture(scope="session")
def migrated_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database as ``airflow db migrate`` leaves it, and as the first start of a server fills it.

    In which kind of database, ``--database`` says.
    """
    if request.config.getoption("--database") == "postgresql":
        made: Database = request.getfixturevalue("migrated_postgresql")
        return made
    return _migrated(tmp_path_factory)


def _migrated(folders: pytest.TempPathFactory, cluster: postgresql_server.Cluster | None = None) -> Database:
    url = cluster.create("template") if cluster else ""
    home = AirflowHome(path=folders.mktemp("template") / "home", port=stacks.free_port(), database_url=url)
    home.path.mkdir()
    home.migrate()
    return Database(home.sql_alchemy_conn, cluster)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgresql_server.Cluster]:
    """A PostgreSQL of this run's own, without any database yet."""
    reason = postgresql_server.why_not()
    if reason:
        pytest.skip(reason)
    with postgresql_server.running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_postgresql(
    postgresql: postgresql_server.Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Database:
    """Like :func:`migrated_database`, in PostgreSQL whatever ``--database`` says."""
    return _migrated(tmp_path_factory, postgresql)


@pytest.fixture(scope="session")
def identity_provider() -> Iterator[Handle]:
    """The local identity provider, shared by all servers; :func:`idp` resets it."""
    with devidp_server.start() as handle:
        yield handle


@pytest.fixture
def idp(identity_provider: Handle) -> Iterator[Handle]:
    """The local identity provider, honest at the start and at the end of each test."""
    honest(identity_provider)
    yield identity_provider
    honest(identity_provider)


def honest(identity_provider: Handle) -> None:
    drive = stacks.driver(identity_provider)
    drive.reset()
    for port in _PORTS:
        uris = [
            f"http://localhost:{port}{AUTH_PREFIX}/oauth-authorized/{name}"
            for name in ("entra", "generic", "pingone")
        ]
        drive.control("POST", "clients", {"redirect_uris": uris})


_PORTS: list[int] = []


def _running(
    home: AirflowHome, identity_provider: Handle, providers: list[dict[str, object]]
) -> Iterator[Stack]:
    stack = Stack(home, idp=identity_provider)
    _PORTS.append(home.port)
    stack.configure(providers)
    try:
        yield stack.start()
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def shared_airflow(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with our auth manager and one provider, ``entra``."""
    path = tmp_path_factory.mktemp("one-provider") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        yield from _running(home, identity_provider, [stacks.entra(identity_provider.url)])


@pytest.fixture
def airflow(shared_airflow: Stack, idp: Handle) -> Stack:
    """The shared Airflow with the default mapping and an honest provider."""
    shared_airflow.map(stacks.default_mapping())
    return shared_airflow


@pytest.fixture(scope="session")
def shared_airflow_two(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with two providers that work and a third that is configured wrongly."""
    path = tmp_path_factory.mktemp("two-providers") / "home"
    broken = stacks.entra(identity_provider.url, name="broken", label="Broken one", tenant_id="not-a-guid")
    with stacks.migrated_home(migrated_database, path) as home:
        yield from _running(
            home,
            identity_provider,
            [stacks.entra(identity_provider.url), stacks.generic(identity_provider.url), broken],
        )


@pytest.fixture
def airflow_two(shared_airflow_two: Stack, idp: Handle) -> Stack:
    """The Airflow with two providers, the default mapping and an honest provider."""
    shared_airflow_two.map(stacks.default_mapping())
    return shared_airflow_two


@pytest.fixture(scope="session")
def shared_airflow_stock(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with its own FabAuthManager and our security manager, one provider."""
    path = tmp_path_factory.mktemp("stock-manager") / "home"
    with stacks.migrated_home(migrated_database, path, auth_manager=stacks.STOCK_AUTH_MANAGER) as home:
        yield from _running(home, identity_provider, [stacks.entra(identity_provider.url)])


@pytest.fixture
def airflow_stock(shared_airflow_stock: Stack, idp: Handle) -> Stack:
    """The Airflow with the stock manager, the default mapping and an honest provider."""
    shared_airflow_stock.map(stacks.default_mapping())
    return shared_airflow_stock


@pytest.fixture(scope="session")
def shared_airflow_leavers(
    migrated_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow of two workers that reads the directories of four providers every few seconds.

    They are its own, as those of the replicas are: what it asks by itself is none of the questions that other
    tests count, and whom they disable is not out here.
    """
    path = tmp_path_factory.mktemp("leavers") / "home"
    secrets = {"TEST_SCIM_TOKEN": "scim-token", "TEST_CLIENT_SECRET": DEFAULT_CLIENT_SECRET}
    with (
        devidp_server.start() as provider,
        stacks.migrated_home(migrated_database, path, extra=secrets) as home,
    ):
        stack = Stack(home, idp=provider)
        also = saml.entry(provider.url, home.url, "entra", "entra-saml")
        most = {"count": 20, "percent": 100}
        stack.configure(
            stacks.with_directories(provider.url, also),
            sync={"every": f"{stacks.EVERY}s", "max_deactivations": most},
        )
        try:
            yield stack.start(workers=2)
        finally:
            stack.stop()


@pytest.fixture
def leavers_idp(shared_airflow_leavers: Stack) -> Iterator[Handle]:
    """The provider of the Airflow with directories, honest at the start and at the end of each test."""
    provider = shared_airflow_leavers.idp
    assert provider is not None
    honest(provider)
    yield provider
    honest(provider)


@pytest.fixture
def airflow_leavers(shared_airflow_leavers: Stack, leavers_idp: Handle) -> Stack:
    """The Airflow with directories, the default mapping, and a provider that knows it."""
    stack = shared_airflow_leavers
    names = ("entra", "generic", "pingone", "pingfederate")
    uris = [f"{stack.auth_url}/oauth-authorized/{name}" for name in names]
    stacks.driver(leavers_idp).control("POST", "clients", {"redirect_uris": uris})
    saml.register(leavers_idp, stack, ["entra-saml"])
    stack.map(stacks.default_mapping())
    # Who was out in another test would count against the limits of this one.
    stack.write("delete from sso_removal")
    _wait_until_nobody_is_out(stack)
    return stack


def _wait_until_nobody_is_out(stack: Stack) -> None:
    """The provider has just enabled everybody again; the next readings of its directory tell."""
    shut = """select reason from sso_shut_account s join sso_account a on a.user_id = s.user_id
              where s.source = 'directory' and s.reason not like 'not found%'"""
    until = time.monotonic() + 90
    while stack.rows(shut):
        assert time.monotonic() < until, stack.rows(shut)
        time.sleep(0.5)


#: The SAML providers of one Airflow: name, face of the local provider, and what its entry says besides.
SAML_PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "entra-saml": ("entra", {}),
    "pingone-saml": ("pingone", {}),
    "federate-saml": ("pingfederate", {}),
    "lab-saml": ("generic", {"authority": "lab"}),
    "lab-login": ("pingfederate", {"claims": {}}),
    "lab-reused": ("pingfederate", {"claims": {}, "insecure_subject_may_be_reused": True}),
    "lab-assertion": ("generic", {"want_signed": "assertion"}),
    "lab-response": ("generic", {"want_signed": "response"}),
    "lab-both": ("generic", {"want_signed": "both"}),
    "lab-refuse": ("generic", {"idp_initiated": "refuse"}),
    "lab-unasked": ("generic", {"idp_initiated": "insecure_idp_initiated"}),
    "lab-rollover": ("generic", {}),
    "lab-late": ("generic", {}),
    "lab-expired": ("generic", {}),
    "lab-renewed": ("generic", {}),
    "lab-weak": ("generic", {}),
    "lab-forced": ("generic", {"force_authn": True}),
    "lab-keyless": ("generic", {"keys": None}),
    "lab-named": ("generic", {"entity_id": "urn:example:airflow", "claims": {"subject": "uid"}}),
}


@pytest.fixture(scope="session")
def shared_airflow_saml(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow with many SAML providers, and Entra and the generic one through OIDC as well."""
    folder = tmp_path_factory.mktemp("saml")
    keys = saml.our_keys(folder)
    with stacks.migrated_home(migrated_database, folder / "home") as home:
        entries = [
            {
                name: value
                for name, value in saml.entry(
                    identity_provider.url, home.url, face, name, **{"keys": keys, **more}
                ).items()
                if value is not None
            }
            for name, (face, more) in SAML_PROVIDERS.items()
        ]
        oidc = [
            stacks.entra(identity_provider.url),
            stacks.generic(identity_provider.url, authority="lab"),
            {
                **stacks.generic(identity_provider.url, name="pingone"),
                "vendor": "pingone",
                "environment_id": PINGONE_ENVIRONMENT_ID,
                "issuer": f"{identity_provider.url}/pingone/{PINGONE_ENVIRONMENT_ID}/as",
            },
        ]
        yield from _running(home, identity_provider, [*entries, *oidc])


@pytest.fixture
def airflow_saml(shared_airflow_saml: Stack, idp: Handle) -> Stack:
    """The Airflow with SAML providers, known to the honest local provider."""
    shared_airflow_saml.map(stacks.default_mapping())
    saml.register(idp, shared_airflow_saml, list(SAML_PROVIDERS))
    return shared_airflow_saml


@pytest.fixture
def talk(airflow_saml: Stack, idp: Handle) -> Callable[..., saml.Conversation]:
    """Begins a conversation of a new visitor with the ACS of a provider."""

    def begin(provider: str = "lab-saml", visitor: Visitor | None = None) -> saml.Conversation:
        face = SAML_PROVIDERS[provider][0]
        who = visitor or airflow_saml.visitor()
        return saml.Conversation(airflow_saml, idp.state, provider, face, who)

    return begin


@pytest.fixture(scope="session")
def shared_replicas(
    migrated_postgresql: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """Two replicas on one PostgreSQL, whatever ``--database`` says.

    They read a directory by themselves, so it is one of their own: an Airflow of other tests that reads one
    would otherwise be asked about their people, and count their questions among its own.
    """
    path = tmp_path_factory.mktemp("replicas") / "home"
    with (
        devidp_server.start() as provider,
        replica_servers.running(migrated_postgresql, path, provider) as made,
    ):
        yield made


@pytest.fixture
def replicas(shared_replicas: Replicas) -> Iterator[Replicas]:
    """The replicas with the default mapping, both of them serving, known to an honest provider."""
    honest(shared_replicas.idp)
    shared_replicas.send_to(0, 1)
    replica_servers.known_to(shared_replicas.idp, shared_replicas.stack)
    shared_replicas.stack.map(stacks.default_mapping())
    shared_replicas.proxy.forget()
    yield shared_replicas
    honest(shared_replicas.idp)


@pytest.fixture
def command_log() -> Iterator[None]:
    """Undoes what a command of ours that runs in this process does to our log."""
    log = logging.getLogger("airflow_sso")
    before = (log.handlers, log.level, log.propagate)
    yield
    log.handlers, log.level, log.propagate = before


@pytest.fixture(scope="module")
def shared_world(migrated_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A company of the module's own: a real database, a scripted directory."""
    with sync_world.world(migrated_database, tmp_path_factory.mktemp("world") / "airflow.db") as made:
        yield made


@pytest.fixture
def review(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Review:
    """The files of an access admin, and the command line in this process."""
    monkeypatch.setenv("TEST_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)
    made = Review(tmp_path, capsys)
    made.configure()
    made.map("group: admins, roles: [Admin]")
    return made


@pytest.fixture
def people(shared_world: World) -> Iterator[People]:
    """An Airflow database in which nobody has an account yet."""
    shared_world.forget_everything()
    yield People(shared_world)
    shared_world.forget_everything()
