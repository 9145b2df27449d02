"""Two Airflows of two processes each on one PostgreSQL, behind a proxy that takes turns: as in production.

Nothing that a request needs may lie in one process, so every test here says which replica serves what. What
must stay true: the replicas share the database, the configuration and Airflow's secrets, and nothing else.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text

from demo.guardian import _descendants
from demo.processes import Process, stop_all
from devidp.server import Handle
from tests import saml
from tests import stack as stacks
from tests.databases import Database
from tests.round_robin import RoundRobin
from tests.stack import REPOSITORY, Stack

Result = TypeVar("Result")

WORKERS = 2
OIDC = ("entra", "generic", "rotating")
SAML = {"entra-saml": "entra", "lab-unasked": "generic"}

#: Who has written what, in the order of the database; ``who`` is ``<replica>-<process>``.
_RECORD = """
create table test_record (id serial primary key, who text not null, what text not null);
create function test_note() returns trigger language plpgsql as $$ begin
    insert into test_record (who, what) values (current_setting('application_name'), tg_argv[0]);
    return null;
end $$;
create trigger test_note after update on sso_lease for each row
    when (new.fence <> old.fence) execute function test_note('lease');
"""
_WATCHED = ("ab_user", "ab_user_role", "sso_account", "sso_decision", "sso_directory", "sso_shut_account")


@dataclass(frozen=True)
class Holder:
    """A process that has taken the lease of the sync; ``row`` is when, in the order of the record."""

    row: int
    replica: int
    process: int


@dataclass
class Replicas:
    """The servers, and what stands before them. ``stack`` is both of them, as people see them."""

    stack: Stack
    proxy: RoundRobin
    ports: list[int] = field(default_factory=list)
    servers: list[Process] = field(default_factory=list)

    @property
    def idp(self) -> Handle:
        """The provider that nobody else has."""
        assert self.stack.idp
        return self.stack.idp

    def start(self, workers: int = WORKERS, **environment: str) -> int:
        """One more replica, which nobody is sent to yet, with more in its environment; its number."""
        number = len(self.servers)
        port = self.stack.home.port if number == 0 else stacks.free_port()
        paths = [environment.pop("PYTHONPATH", ""), str(REPOSITORY / "tests" / "sql_log")]
        more = {"SQL_PROCESS": str(number), "PYTHONPATH": ":".join(filter(None, paths)), **environment}
        home = replace(self.stack.home, extra={**self.stack.home.extra, **more})
        self.ports.append(port)
        self.servers.append(home.start_api_server(port=port, workers=workers))
        return number

    def wait_for(self, *numbers: int) -> None:
        """Until these replicas can be used."""
        for number in numbers:
            url = self.stack.home.health_url(port=self.ports[number])
            self.servers[number].wait_for_url(url, timeout=240)

    def send_to(self, *numbers: int) -> None:
        """From now on these take turns; the first one is next."""
        self.proxy.forward_to(*(self.ports[number] for number in numbers))

    def log(self, number: int) -> str:
        return self.servers[number].log.read_text(errors="replace")

    # Who writes

    def holder(self) -> Holder | None:
        """Whoever took the lease last."""
        query = "select id, who from test_record where what = 'lease' order by id desc limit 1"
        for row in self.stack.rows(query):
            replica, process = row["who"].split("-")
            return Holder(row["id"], int(replica), int(process))
        return None

    def next_holder(self, after: Holder | None) -> Holder:
        """Wait until somebody takes the lease."""
        until = time.monotonic() + 90
        while (now := self.holder()) is None or (after is not None and now.row == after.row):
            assert time.monotonic() < until, "nobody has taken the lease"
            time.sleep(0.05)
        return now

    def written_by(self, process: int, after: int) -> list[dict[str, Any]]:
        """What one process has written since a row of the record."""
        query = "select id, what from test_record where id > ? and who like ? order by id"
        return self.stack.rows(query, after, f"%-{process}")

    # Trouble

    def freeze(self, number: int) -> None:
        """As a machine that is suspended: nothing of this replica moves, and its connections stay."""
        for process in _descendants(self.servers[number]._guardian.pid):
            os.kill(process, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        # The workers first: whoever watches over them finds them answering.
        for process in reversed(_descendants(self.servers[number]._guardian.pid)):
            os.kill(process, signal.SIGCONT)


def at_once(*steps: Callable[[], Result]) -> list[Result]:
    """Take all steps at the same moment; what came of each."""
    start = threading.Barrier(len(steps))

    def take(step: Callable[[], Result]) -> Result:
        start.wait(30)
        return step()

    with ThreadPoolExecutor(len(steps)) as threads:
        return list(threads.map(take, steps))


@contextmanager
def running(template: Database, path: Path, idp: Handle) -> Iterator[Replicas]:
    """Two replicas that have one provider's directory to read, every few seconds."""
    with RoundRobin() as proxy, stacks.migrated_home(template, path, base_url=proxy.url) as home:
        made = Replicas(Stack(home, idp=idp), proxy)
        _configure(made.stack, idp.url)
        with home.start("sync-perm", "sync-perm") as process:  # as the README says, before several servers do
            assert process.wait(180) == 0, process.log_tail()
        _keep_record(made.stack)
        try:
            both = made.start(), made.start()
            made.wait_for(*both)
            made.send_to(*both)
            yield made
        finally:
            stop_all(made.servers)


def _configure(stack: Stack, url: str) -> None:
    entries = [saml.entry(url, stack.url, face, name) for name, face in SAML.items()]
    entries[-1] |= {"idp_initiated": "insecure_idp_initiated", "authority": "lab"}
    directory = {"type": "graph", "insecure_host": url}
    # Keys that are rotated there, and fetched again here, are none of the other tests'.
    rotating = stacks.generic(url, name="rotating", authority="lab")
    oidc = [stacks.entra(url, directory=directory), stacks.generic(url, authority="lab"), rotating]
    most = {"count": 100_000, "percent": 100}
    stack.configure([*oidc, *entries], sync={"every": f"{stacks.EVERY}s", "max_deactivations": most})


def _keep_record(stack: Stack) -> None:
    with stack.engine.begin() as connection:
        connection.execute(text(_RECORD))
        for table in _WATCHED:
            trigger = f"create trigger test_note after insert or update or delete on {table} for each row"
            connection.execute(text(f"{trigger} execute function test_note('{table}')"))


def known_to(idp: Handle, stack: Stack) -> None:
    """The provider knows the replicas as one service."""
    uris = [f"{stack.auth_url}/oauth-authorized/{name}" for name in OIDC]
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": uris})
    saml.register(idp, stack, list(SAML))
