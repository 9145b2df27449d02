"""A PostgreSQL of the run's own: a throw-away cluster from the system's packages, on loopback only.

It keeps nothing: what is written need not survive a crash, and the cluster ends with the tests, also when
they are killed. What must stay true: no cluster of the machine's is ever touched, and nobody else is let in.
"""

from __future__ import annotations

import functools
import itertools
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from demo.processes import Process, wait_until
from tests.ports import free_port

_USER = "airflow"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    # Nothing has to outlive a crash of the machine.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Far from UTC, as a server of a company may be: a time that is stored as local time is seen.
    "timezone": "America/New_York",
}


class Cluster:
    """One server; :meth:`create` makes databases in it."""

    def __init__(self, folder: Path, port: int, process: Process) -> None:
        self.folder = folder
        self._port = port
        self.process = process
        self._numbers = itertools.count(1)
        self._admin = create_engine(self._url("postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")

    @property
    def server_id(self) -> int:
        """The number of the server's process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def create(self, name: str, template: str | None = None) -> str:
        """Make a database.

        :param name: what it is for; a number is added, so that every call makes another one.
        :param template: the URL of one of ours, which is copied; whoever is connected to it is cut off.
        :returns: its SQLAlchemy URL.
        """
        made = f"{re.sub(r'[^a-z0-9]+', '_', name.lower())[:40]}_{next(self._numbers)}"
        statement = f'CREATE DATABASE "{made}"'
        if template is not None:
            self._cut_off(template)
            statement += f' TEMPLATE "{make_url(template).database}"'
        self._run(statement)
        return str(self._url(made))

    def drop(self, url: str) -> None:
        """Remove a database, and cut off whoever is still connected."""
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def _cut_off(self, url: str) -> None:
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"
        with self._admin.connect() as connection:
            connection.execute(text(query), {"name": make_url(url).database})

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)

    def _url(self, database: str) -> URL:
        return URL.create(
            "postgresql+psycopg2", username=_USER, host="127.0.0.1", port=self._port, database=database
        )

    def _answers(self) -> bool:
        self.process.raise_if_ended()
        try:
            self._run("SELECT 1")
        except OperationalError:
            return False
        return True

    def _stop(self) -> None:
        """At once: asked politely, it would wait for everybody who is connected, and then write to the disk."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.server_id, signal.SIGQUIT)
        self.process.stop()


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that is there until the ``with`` block ends.

    :raises RuntimeError: where there is no PostgreSQL; ask :func:`why_not` first.
    """
    reason = why_not()
    if reason:
        raise RuntimeError(reason)
    # The path of a socket has about a hundred characters at most, so pytest's own folders will not do.
    folder = Path(tempfile.mkdtemp(prefix="airflow-sso-pg-"))
    try:
        shutil.chown(folder, _owner())
        _initialise(folder)
        port = free_port()
        settings = {**_SETTINGS, "port": str(port), "unix_socket_directories": str(folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*_command("postgres"), "-D", str(folder / "data"), *options]
        process = Process("postgresql", command, log=folder / "log", env=_environment(), cwd=folder)
        cluster = Cluster(folder, port, process)
        try:
            wait_until(cluster._answers, timeout=60, late=process)
            yield cluster
        finally:
            cluster._stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def why_not() -> str:
    """What is missing for a cluster; empty where one can be started."""
    if _programs() is None:
        return "there is no PostgreSQL server on this machine"
    if os.getuid() == 0 and (_owner() is None or shutil.which("setpriv") is None):
        return "PostgreSQL does not run as root, and there is no user postgres or no setpriv"
    return ""


def _initialise(folder: Path) -> None:
    """Everybody on this machine may come in, and nobody else: the run's accounts are all made up."""
    options = ["--auth=trust", f"--username={_USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    done = subprocess.run(
        [*_command("initdb"), "-D", str(folder / "data"), *options],
        env=_environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed:\n{done.stdout}")


@functools.cache
def _programs() -> Path | None:
    """Where ``initdb`` and ``postgres`` are: Debian's newest, else where ``pg_config`` or the path says."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    places = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    if shutil.which("pg_config"):
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
        places += [Path(said.stdout.strip())] if said.returncode == 0 else []
    on_path = shutil.which("postgres")
    places += [Path(on_path).parent] if on_path else []
    return next((one for one in places if (one / "initdb").exists() and (one / "postgres").exists()), None)


@functools.cache
def _owner() -> str | None:
    """Whose the server is: ourselves, except that it refuses to be root's."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    return next((user.pw_name for user in pwd.getpwall() if user.pw_name == "postgres"), None)


def _command(program: str) -> list[str]:
    folder = _programs()
    assert folder is not None
    command = [str(folder / program)]
    if os.getuid() != 0:
        return command
    group = pwd.getpwnam(str(_owner())).pw_gid
    return ["setpriv", f"--reuid={_owner()}", f"--regid={group}", "--clear-groups", *command]


def _environment() -> dict[str, str]:
    """Ours without what would lead the server, or its tools, to another cluster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
