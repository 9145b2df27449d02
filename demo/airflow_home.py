"""An AIRFLOW_HOME of our own: its settings, secrets and database, and the components that use it.

Everything is set through the environment, which wins over every file; the caller's own AIRFLOW_*
variables are dropped, so neither a developer's Airflow nor this one can disturb the other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from demo.processes import Process, ProcessFailed

REPOSITORY = Path(__file__).resolve().parent.parent
SSO_AUTH_MANAGER = "airflow_sso.auth_manager.SsoFabAuthManager"
WEBSERVER_CONFIG = REPOSITORY / "demo" / "webserver_config.py"

#: Airflow 2.11 serves its UI and API by the command `webserver`, 3.x by `api-server`.
try:
    IS_AIRFLOW_2 = version("apache-airflow").startswith("2.")
except PackageNotFoundError:  # `make demo` looks at its ports before anything is installed
    IS_AIRFLOW_2 = False

_MIGRATED_BY = ("apache-airflow", "apache-airflow-providers-fab", "airflow-sso")


@dataclass(frozen=True, kw_only=True)
class AirflowHome:
    """One Airflow on this machine: LocalExecutor, loopback only, SQLite where nothing else is said."""

    path: Path
    port: int
    """Where the (first) api-server listens."""
    database_url: str = ""
    """The metadata database, as SQLAlchemy names it; default: an SQLite file in the home."""
    base_url: str = ""
    """What browsers use; default: ``http://localhost:<port>``."""
    auth_manager: str = SSO_AUTH_MANAGER
    webserver_config: Path | None = WEBSERVER_CONFIG
    sso_config: Path | None = None
    dags_folder: Path | None = None
    """Default: an empty folder in the home."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """More environment variables; these win."""
    python: str = sys.executable
    """The interpreter of the environment that Airflow is installed in."""
    is_airflow_2: bool = IS_AIRFLOW_2
    """Which line that is."""

    @property
    def database(self) -> Path:
        """The SQLite file, which is not there where ``database_url`` names another one."""
        return self.path / "airflow.db"

    @property
    def sql_alchemy_conn(self) -> str:
        """Where the database is, whichever it is."""
        return self.database_url or f"sqlite:///{self.database}"

    @property
    def logs(self) -> Path:
        """One file for each component; the tasks' own logs lie elsewhere, in ``logs`` of the home."""
        return self.path / "processes"

    @property
    def url(self) -> str:
        return (self.base_url or f"http://localhost:{self.port}").rstrip("/")

    def local_url(self, path: str, *, port: int | None = None) -> str:
        """Of `path` on the api-server itself, whatever stands between it and the browsers."""
        return f"http://127.0.0.1:{port or self.port}{urlsplit(self.url).path}{path}"

    def health_url(self, *, port: int | None = None) -> str:
        """Answers 200 as soon as the api-server can be used."""
        return self.local_url("/health" if self.is_airflow_2 else "/api/v2/monitor/health", port=port)

    def environment(self) -> dict[str, str]:
        """The whole environment of every Airflow process of this home; makes what it names."""
        # The database holds sessions, so the folder is its owner's alone.
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        dags = self.dags_folder or self.path / "dags"
        dags.mkdir(exist_ok=True)
        settings = {
            **(self._of_airflow_2() if self.is_airflow_2 else self._of_airflow_3()),
            "CORE__AUTH_MANAGER": self.auth_manager,
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__DAGS_FOLDER": str(dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__PARALLELISM": "4",
            "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "DATABASE__SQL_ALCHEMY_CONN": self.sql_alchemy_conn,
            "LOGGING__BASE_LOG_FOLDER": str(self.path / "logs"),
            "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        if self.sso_config:
            settings["SSO__CONFIG_FILE"] = str(self.sso_config)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            "AIRFLOW_HOME": str(self.path),
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **_without_proxy_for_this_machine(),
            **self.extra,
            **self._import_path(),
        }

    def _import_path(self) -> dict[str, str]:
        """What this home adds to it comes before what its parent has been told, and in place of nothing."""
        parts = [part for part in (self.extra.get("PYTHONPATH"), os.environ.get("PYTHONPATH")) if part]
        return {"PYTHONPATH": os.pathsep.join(parts)} if parts else {}

    def _of_airflow_3(self) -> dict[str, str]:
        secret = self._secrets()
        settings = {
            "API__BASE_URL": self.url,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.port),
            "API__SECRET_KEY": secret["API__SECRET_KEY"],
            "API_AUTH__JWT_SECRET": secret["API_AUTH__JWT_SECRET"],
            "CORE__EXECUTION_API_SERVER_URL": self.local_url("/execution/"),
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__FERNET_KEY": secret["CORE__FERNET_KEY"],
            "DAG_PROCESSOR__REFRESH_INTERVAL": "20",
        }
        if self.webserver_config:
            settings["FAB__CONFIG_FILE"] = str(self.webserver_config)
        return settings

    def _of_airflow_2(self) -> dict[str, str]:
        secret = self._secrets()
        settings = {
            # Its LocalExecutor wants another database than SQLite.
            "CORE__EXECUTOR": "SequentialExecutor",
            "CORE__FERNET_KEY": secret["CORE__FERNET_KEY"],
            "SCHEDULER__DAG_DIR_LIST_INTERVAL": "20",
            "WEBSERVER__BASE_URL": self.url,
            "WEBSERVER__SECRET_KEY": secret["API__SECRET_KEY"],
            "WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
            "WEBSERVER__WEB_SERVER_PORT": str(self.port),
            # A machine that is busy starts nothing within the usual two minutes.
            "WEBSERVER__WEB_SERVER_MASTER_TIMEOUT": "600",
        }
        if self.webserver_config:
            settings["WEBSERVER__CONFIG_FILE"] = str(self.webserver_config)
        return settings

    def _secrets(self) -> dict[str, str]:
        """Made once and kept, readable by their owner only; sessions and connections outlive a restart."""
        kept = self.path / "secrets.json"
        if not kept.exists():
            made = {
                "API__SECRET_KEY": secrets.token_urlsafe(48),
                "API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
                "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            }
            # Whole or not at all: an interrupted start must not leave half a file.
            partial = kept.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(made, file)
            partial.rename(kept)
        read: dict[str, str] = json.loads(kept.read_text(encoding="utf-8"))
        return read

    # The database

    @property
    def is_migrated(self) -> bool:
        """Whether the database was last migrated by exactly what is installed now."""
        stamp = self._migration_stamp
        there = bool(self.database_url) or self.database.exists()
        return there and stamp.exists() and stamp.read_text() == _migration_state()

    @property
    def _migration_stamp(self) -> Path:
        return self.path / "migrated.txt"

    def migrate(self, *, meanwhile: Callable[[], None] | None = None) -> None:
        """Create or upgrade the database.

        :param meanwhile: called several times a second.
        :raises ProcessFailed: with the end of the log.
        """
        with self.start("db-migrate", "db", "migrate") as process:
            if process.wait(timeout=600, meanwhile=meanwhile) != 0:
                raise ProcessFailed(process, "failed")
        if self.is_airflow_2:  # which knows no tables but its own
            self._make_our_tables()
        self._migration_stamp.write_text(_migration_state())

    def _make_our_tables(self) -> None:
        with self.start_ours("sso-db-upgrade", "db", "upgrade") as process:
            if process.wait(timeout=120) != 0:
                raise ProcessFailed(process, "failed")

    # The components

    def start_ours(self, name: str, *arguments: str) -> Process:
        """Start ``airflow-sso <arguments>``."""
        return Process(
            name,
            [self.python, "-m", "airflow_sso.cli", *arguments],
            log=self.logs / f"{name}.log",
            env=self.environment(),
            cwd=self.path,
        )

    def start(self, name: str, *arguments: str, grace: float | None = None) -> Process:
        """Start ``airflow <arguments>``; `name` is also its log's name."""
        environment = self.environment()
        return Process(
            name,
            # Not the `airflow` script: its first line holds a path that a moved checkout invalidates.
            [self.python, "-m", "airflow", *arguments],
            log=self.logs / f"{name}.log",
            env=environment,
            # `-m` puts the working directory on the import path, and there is nothing to import here.
            cwd=self.path,
            **({} if grace is None else {"grace": grace}),
        )

    def start_api_server(self, *, port: int | None = None, workers: int = 1) -> Process:
        """Another `port` makes a second replica on the same database."""
        return self.start(self._server_name(port), *self.api_server_arguments(port=port, workers=workers))

    def api_server_arguments(self, *, port: int | None = None, workers: int = 1) -> list[str]:
        """What :meth:`start_api_server` tells ``airflow``."""
        if self.is_airflow_2:
            # Its watch over a single worker takes a child of the loading master for it, and stops the master.
            workers = max(workers, 2)
        chosen = ["--host", "127.0.0.1", "--port", str(port or self.port), "--workers", str(workers)]
        if self.is_airflow_2:
            pid_file = str(self.path / f"{self._server_name(port)}.pid")
            return ["webserver", *map(_of_webserver, chosen), "--pid", pid_file]
        return ["api-server", *chosen]

    def _server_name(self, port: int | None) -> str:
        return "api-server" if port in (None, self.port) else f"api-server-{port}"

    def start_scheduler(self) -> Process:
        # It would serve task logs on a fixed port; the api-server reads them from the disk.
        return self.start("scheduler", "scheduler", "--skip-serve-logs")

    def start_dag_processor(self) -> Process:
        return self.start("dag-processor", "dag-processor")


def _of_webserver(option: str) -> str:
    return "--hostname" if option == "--host" else option


def _without_proxy_for_this_machine() -> dict[str, str]:
    """Tasks and sign-in call this machine; a proxy from the environment must not stand between."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    value = ",".join(filter(None, [given, "localhost", "127.0.0.1", "::1"]))
    return {"no_proxy": value, "NO_PROXY": value}


def _migration_state() -> str:
    """Versions, and our own migrations by content: in a checkout they change without a new version."""
    lines = [f"{name} {version(name)}" for name in _MIGRATED_BY]
    for file in sorted((REPOSITORY / "airflow_sso" / "migrations").rglob("*.py")):
        lines.append(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}")
    return "\n".join(lines) + "\n"
