"""What is installed: a wheel, an sdist and an editable install hold the same, and no ``airflow`` command dies of it."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pytest
import tomllib

from airflow_sso import provider_info
from airflow_sso.airflow_compat import IS_AIRFLOW_2
from demo.airflow_home import AirflowHome
from tests.lines import only_on_3
from tests.stack import free_port

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = ("base.html", "not_ready.html", "refused.html", "sign_in.html", "signed_out.html")
OTHERS = ("tests", "devidp", "demo", "docs", "benchmarks", "scripts")
_LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "node_modules", "test-artifacts"
)


def run(*arguments: object, **options: Any) -> str:
    """Run a command that must succeed; what it prints."""
    done = subprocess.run(
        [str(one) for one in arguments], check=False, capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, f"{arguments[1:4]} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


# --- building ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with the build backend that pyproject.toml asks for, as pip fetches it for a build.

    What happens to be installed does not do: Python 3.11 brings a setuptools of its own, too old.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    tools = tmp_path_factory.mktemp("tools")
    run(sys.executable, "-m", "pip", "install", "-q", "--target", tools, *project["build-system"]["requires"])
    return {**os.environ, "PYTHONPATH": str(tools)}


def build(hook: str, source: Path, into: Path, environment: dict[str, str]) -> Path:
    """What pip and build do (PEP 517, PEP 660): call a hook of the backend in the source folder."""
    into.mkdir()
    call = f"from setuptools import build_meta; build_meta.{hook}({str(into)!r})"
    run(sys.executable, "-c", call, cwd=source, env=environment)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the checkout: nothing that an earlier build left can help, and nothing is left here."""
    copy = tmp_path_factory.mktemp("source") / "airflow-sso"
    shutil.copytree(REPOSITORY, copy, ignore=_LEFT_BEHIND)
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, builder: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel") / "dist", builder)


@pytest.fixture(scope="session")
def sdist(source: Path, builder: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_sdist", source, tmp_path_factory.mktemp("sdist") / "dist", builder)


@pytest.fixture(scope="session")
def wheel_of_sdist(sdist: Path, builder: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("from-sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return build("build_wheel", unpacked, folder / "dist", builder)


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip installs it, in a folder of its own."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def contents(wheel: Path) -> set[str]:
    names = zipfile.ZipFile(wheel).namelist()
    return {name for name in names if ".dist-info/" not in name}


def expected_contents() -> set[str]:
    """Every file of the package and of the pages, found by looking and not by asking setup.cfg."""
    package = {
        path
        for path in (REPOSITORY / "airflow_sso").rglob("*")
        if path.suffix in (".py", ".typed", ".ini", ".json")
    }
    pages = {
        path for path in (REPOSITORY / "templates").rglob("*") if path.suffix in (".py", ".html", ".css")
    }
    return {str(path.relative_to(REPOSITORY)) for path in package} | {
        f"airflow_sso/{path.relative_to(REPOSITORY)}" for path in pages
    }


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    assert contents(wheel) == expected_contents()
    assert {f"airflow_sso/templates/airflow_sso/{page}" for page in PAGES} <= contents(wheel)
    assert "airflow_sso/migrations/versions/0001_first_tables.py" in contents(wheel)
    assert not [name for name in contents(wheel) if name.split("/")[0] in OTHERS]


def test_the_sdist_builds_the_same_wheel(wheel: Path, wheel_of_sdist: Path) -> None:
    assert contents(wheel_of_sdist) == contents(wheel)
    for name in contents(wheel):
        assert zipfile.ZipFile(wheel_of_sdist).read(name) == zipfile.ZipFile(wheel).read(name)


def test_the_wheel_says_who_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    told = {
        name.rsplit("/", 1)[1]: archive.read(name).decode()
        for name in archive.namelist()
        if ".dist-info/" in name
    }
    assert "\nName: airflow-sso\n" in told["METADATA"]
    assert "\nRequires-Dist: apache-airflow" in told["METADATA"]
    assert (REPOSITORY / "README.md").read_text().splitlines()[2] in told["METADATA"]
    points = configparser.ConfigParser()
    points.read_string(told["entry_points.txt"])
    assert dict(points["console_scripts"]) == {"airflow-sso": "airflow_sso.cli:main"}
    assert dict(points["apache_airflow_provider"]) == {
        "provider_info": "airflow_sso.provider_info:get_provider_info"
    }


def test_setup_cfg_names_every_package(source: Path) -> None:
    written = configparser.ConfigParser()
    written.read(source / "setup.cfg")
    named = set(written["options"]["packages"].split())
    there = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for path in (REPOSITORY / "airflow_sso").rglob("*.py")
    }
    assert named == there | {"airflow_sso.templates"}
    assert all((REPOSITORY / name.replace(".", "/") / "__init__.py").exists() for name in there)


# --- where the pages are -------------------------------------------------------------------------------------

WHERE = """
from importlib import resources
page = resources.files("airflow_sso.templates").joinpath("airflow_sso", "base.html")
assert page.is_file() and "<html" in page.read_text(), page
style = resources.files("airflow_sso.templates").joinpath("airflow_sso", "static", "airflow_sso.css")
assert style.is_file(), style
print(page)
"""


def unpacked(wheel: Path, folder: Path) -> Path:
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_pages_are_found_in_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    found = run(sys.executable, "-c", WHERE, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)})
    assert found.strip() == str(installed / "airflow_sso/templates/airflow_sso/base.html")


def test_pages_are_found_in_a_wheel_that_was_built_from_the_sdist(
    wheel_of_sdist: Path, tmp_path: Path
) -> None:
    target = unpacked(wheel_of_sdist, tmp_path / "target")
    found = run(sys.executable, "-c", WHERE, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)})
    assert found.strip() == str(target / "airflow_sso/templates/airflow_sso/base.html")


def test_pages_are_found_in_an_editable_install(
    source: Path, builder: dict[str, str], tmp_path: Path
) -> None:
    made = build("build_editable", source, tmp_path / "dist", builder)
    target = unpacked(made, tmp_path / "target")
    # Without the site packages of this environment, which hold an installation of their own.
    as_site = f"import site; site.addsitedir({str(target)!r})\n"
    found = run(sys.executable, "-I", "-S", "-c", as_site + WHERE, cwd=tmp_path)
    assert found.strip() == str(source / "templates/airflow_sso/base.html")


def test_this_environment_s_own_install_finds_its_pages(tmp_path: Path) -> None:
    found = run(sys.executable, "-P", "-c", WHERE, cwd=tmp_path)
    assert found.strip() == str(resources.files("airflow_sso.templates") / "airflow_sso" / "base.html")


# --- what an import costs ----------------------------------------------------------------------------------------

HEAVY = (
    "airflow",
    "flask",
    "flask_appbuilder",
    "sqlalchemy",
    "requests",
    "joserfc",
    "authlib",
    "pydantic",
    "yaml",
)
LOADED = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"


def test_importing_the_package_and_its_provider_info_imports_nothing_heavy(tmp_path: Path) -> None:
    light = "import airflow_sso\nfrom airflow_sso import provider_info\nprovider_info.get_provider_info()\n"
    assert run(sys.executable, "-P", "-c", light + LOADED, cwd=tmp_path).strip() == "[]"


def test_everything_that_is_named_to_airflow_can_be_imported(tmp_path: Path) -> None:
    info = provider_info.get_provider_info()
    # 2.11 has no managers of tables, and looks at none.
    keys = ("auth-managers", "cli") if IS_AIRFLOW_2 else ("auth-managers", "db-managers", "cli")
    named = [name for key in keys for name in cast("list[str]", info[key])]
    assert len(named) >= len(keys)
    imports = [f"from {one.rpartition('.')[0]} import {one.rpartition('.')[2]}\n" for one in named]
    everything = "".join(["from airflow_sso import *\nSsoSecurityManager\n", *imports])
    printed = run(sys.executable, "-P", "-c", everything + LOADED, cwd=tmp_path)
    assert "'airflow', 'flask', 'flask_appbuilder', 'sqlalchemy'" in printed.splitlines()[-1]


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    import airflow_sso

    assert airflow_sso.__all__ == ["SsoSecurityManager"]
    with pytest.raises(AttributeError, match="has no attribute 'SsoSecurityManger'"):
        _ = airflow_sso.SsoSecurityManger


# --- the airflow command -------------------------------------------------------------------------------------------

CONFIG = "from airflow_sso import SsoSecurityManager\n\nSECURITY_MANAGER_CLASS = SsoSecurityManager\n"


@pytest.fixture(scope="module")
def home(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """An Airflow that sees the installed wheel, with our managers and an empty database."""
    folder = tmp_path_factory.mktemp("command") / "home"
    folder.mkdir()
    config = folder / "webserver_config.py"
    config.write_text(CONFIG)
    return AirflowHome(
        path=folder,
        port=free_port(),
        webserver_config=config,
        sso_config=folder / "sso.yaml",
        extra={"PYTHONPATH": str(installed)},
    )


def airflow(home: AirflowHome, *arguments: str) -> str:
    return run(sys.executable, "-m", "airflow", *arguments, cwd=home.path, env=home.environment())


def listed(printed: str) -> list[dict[str, Any]]:
    """The JSON that a command ends with; Airflow prints its log before it."""
    rows: list[dict[str, Any]] = json.loads(printed[printed.index("[{") :])
    return rows


@pytest.mark.server
def test_airflow_sees_the_wheel_and_not_this_checkout(home: AirflowHome, installed: Path) -> None:
    where = "import airflow_sso.security_manager as module; print(module.__file__)"
    printed = run(sys.executable, "-c", where, cwd=home.path, env=home.environment())
    assert printed.splitlines()[-1] == str(installed / "airflow_sso/security_manager.py")


@pytest.mark.server
def test_airflow_version_works(home: AirflowHome) -> None:
    assert airflow(home, "version").strip()[:2] in ("2.", "3.")


@pytest.mark.server
def test_airflow_lists_us_among_its_providers(home: AirflowHome) -> None:
    rows = listed(airflow(home, "providers", "list", "--output", "json"))
    (ours,) = [row for row in rows if row["package_name"] == "airflow-sso"]
    assert "sign-in" in ours["description"]


@pytest.mark.server
def test_airflow_finds_our_menu_entry_and_no_flask_plugin(home: AirflowHome) -> None:
    rows = listed(airflow(home, "plugins", "--output", "json"))
    (ours,) = [row for row in rows if row["name"] == "airflow_sso"]
    if not IS_AIRFLOW_2:  # where the security manager registers it
        assert "auth/sso-status/" in str(ours["external_views"])
    for old in ("flask_blueprints", "appbuilder_views", "appbuilder_menu_items"):
        assert not ours.get(old), "Airflow would serve sign-in a second time, under /pluginsv2"


@pytest.fixture(scope="module")
def migrated(home: AirflowHome) -> AirflowHome:
    home.migrate()
    return home


@pytest.mark.server
def test_airflow_db_migrate_makes_our_tables_too(migrated: AirflowHome) -> None:
    from airflow_sso import models

    with closing(sqlite3.connect(migrated.database)) as connection:
        tables = {
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        }
        (revision,) = connection.execute("select version_num from alembic_version_sso").fetchone()
    assert set(models.metadata.tables) <= tables
    assert "ab_user" in tables
    assert revision == heads()[0]


@pytest.mark.server
def test_airflow_users_works_with_our_security_manager_even_without_sso_yaml(migrated: AirflowHome) -> None:
    made = ("--username", "ada", "--role", "Admin", "--email", "ada@contoso.example")
    airflow(
        migrated, "users", "create", *made, "--firstname", "A", "--lastname", "L", "--use-random-password"
    )
    (row,) = listed(airflow(migrated, "users", "list", "--output", "json"))
    assert row["username"] == "ada"


@pytest.mark.server
def test_our_own_command_works_from_the_wheel(migrated: AirflowHome) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "airflow_sso.cli", "lint"],
        check=False,
        capture_output=True,
        text=True,
        cwd=migrated.path,
        env=migrated.environment(),
        timeout=120,
    )
    assert told.returncode == 1
    assert f"{migrated.path / 'sso.yaml'}: cannot be read: No such file or directory" in told.stdout


# --- the tables ------------------------------------------------------------------------------------------------------

MIGRATE = """
import json
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from airflow_sso import airflow_compat, models
from airflow_sso.db_manager import SsoDBManager
from airflow.utils.session import create_session


def tables(engine):
    with engine.connect() as connection:
        rows = connection.execute(text(
            "select name, sql from sqlite_master where tbl_name like 'sso_%' and sql is not null"))
        return {name: " ".join(sql.split()) for name, sql in rows}


engine = airflow_compat.engine()
with create_session() as session:
    config = SsoDBManager(session).get_alembic_config()
before = tables(engine)
command.upgrade(config, "head")
with engine.connect() as connection:
    context = MigrationContext.configure(connection, opts={
        "compare_type": True,
        "include_object": lambda _o, name, kind, *_rest: kind != "table" or name in models.metadata.tables,
    })
    differences = [str(one) for one in compare_metadata(context, models.metadata)]
migrated = tables(engine)
with create_session() as session:
    manager = SsoDBManager(session)
    up_to_date = manager.check_migration()
    listed = manager.revision_heads_map
scratch = create_engine("sqlite://")
models.metadata.create_all(scratch)
declared = tables(scratch)
command.downgrade(config, "base")
after = tables(engine)
print("RESULT " + json.dumps(dict(before=before, migrated=migrated, declared=declared, after=after,
    differences=differences, up_to_date=up_to_date, listed=listed)))
"""


UPGRADE = """
from alembic import command
from sqlalchemy import text
from airflow_sso import airflow_compat
from airflow_sso.db_manager import SsoDBManager
from airflow.utils.session import create_session

INSERT = text("insert into sso_login_attempt (state_hash, browser_hash, provider, nonce, code_verifier, "
              "next_url, expires_at) values ('s', 'b', 'entra', 'n', 'v', '/', '2099-01-01')")
with create_session() as session:
    config = SsoDBManager(session).get_alembic_config()
engine = airflow_compat.engine()
for first, then in (("0001", "head"), ("head", "0001")):
    command.upgrade(config, first) if first != "head" else None
    with engine.begin() as connection:
        connection.execute(text("delete from sso_login_attempt"))
        connection.execute(INSERT)
    (command.upgrade if then == "head" else command.downgrade)(config, then)
    with engine.begin() as connection:
        print("KEPT", connection.execute(text("select state_hash, provider from sso_login_attempt")).all())
"""


_WITH_A_MANAGER = only_on_3("no managers of tables; test_migrating.py has our command")


@_WITH_A_MANAGER
def test_rows_of_the_first_version_outlive_an_upgrade_and_a_downgrade(tmp_path: Path) -> None:
    home = AirflowHome(path=tmp_path / "home", port=free_port())
    home.path.mkdir()
    printed = run(sys.executable, "-c", UPGRADE, cwd=home.path, env=home.environment())
    assert printed.count("KEPT [('s', 'entra')]") == 2


def heads() -> list[str]:
    """The last steps of our migrations, read from the files."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(REPOSITORY / "airflow_sso" / "migrations"))
    config.set_main_option("path_separator", "os")
    return list(ScriptDirectory.from_config(config).get_heads())


@pytest.fixture(scope="module")
def migration(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What our migration files make of an empty database, beside what the models declare."""
    folder = tmp_path_factory.mktemp("migration") / "home"
    folder.mkdir()
    home = AirflowHome(path=folder, port=free_port())
    printed = run(sys.executable, "-c", MIGRATE, cwd=folder, env=home.environment())
    (line,) = [line for line in printed.splitlines() if line.startswith("RESULT ")]
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return result


@_WITH_A_MANAGER
def test_migrations_make_exactly_the_tables_of_the_models(migration: dict[str, Any]) -> None:
    assert migration["before"] == {}
    assert migration["differences"] == []
    assert {name for name in migration["declared"] if name.startswith("sso_")}
    assert migration["migrated"] == migration["declared"]


@_WITH_A_MANAGER
def test_migrations_can_be_taken_back(migration: dict[str, Any]) -> None:
    assert migration["migrated"]
    assert migration["after"] == {}


@_WITH_A_MANAGER
def test_the_manager_knows_the_last_migration(migration: dict[str, Any]) -> None:
    (head,) = heads()
    assert migration["up_to_date"] is True
    assert list(migration["listed"].values())[-1] == head
