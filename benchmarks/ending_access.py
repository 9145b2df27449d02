"""How long after access is ended, given or taken is the last request answered as before?

Four api-server workers; a browser with its session cookie, its token, and a client with a bearer token of
its own each ask ten times a second, over a new connection each time. Counted from the moment the change is
*begun*, to the end of the last answer that was wrong by then; stock Airflow runs the same beside it.

    python -m benchmarks.ending_access [a person's revocations] [of each other action] [of stock]
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests
from werkzeug.security import generate_password_hash

from benchmarks import airflows
from devidp import server
from tests import operator_process
from tests import stack as stacks
from tests.databases import Database
from tests.operator_process import Operator
from tests.stack import Stack, Visitor
from tests.test_revocation import session_of, signed_in, token_of

WORKERS = 4
EVERY = 0.1  # seconds
ADMINS_ONLY = "/api/v2/connections?limit=1"


@dataclass
class Poller:
    """Asks for one address ten times a second, and keeps when each answer came, what it was, from whom."""

    url: str
    headers: dict[str, str]
    answers: list[tuple[float, int, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Poller:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            answer = requests.get(
                self.url, headers={**self.headers, "Connection": "close"}, allow_redirects=False, timeout=30
            )
            self.answers.append((time.perf_counter(), answer.status_code, answer.headers.get("x-worker", "")))
            self._stop.wait(max(0.0, EVERY - (time.perf_counter() - began)))

    def last_at(self, statuses: set[int], since: float) -> float:
        """Seconds from ``since`` to the last answer of these; 0 when there was none after it."""
        return max([0.0, *(at - since for at, status, _ in self.answers if status in statuses)])

    def workers(self, statuses: set[int], since: float) -> set[str]:
        return {worker for at, status, worker in self.answers if at > since and status in statuses}


@dataclass
class Run:
    """What one run measured."""

    last_wrong: float
    refusing: set[str]


def pollers_of(stack: Stack, visitor: Visitor, path: str = "/ui/auth/me") -> list[Poller]:
    """The browser's token, the browser's session, and a client's own token."""
    minted = requests.post(
        f"{stack.url}/ui/auth/token",
        json={"token_type": "api"},
        headers={"Authorization": f"Bearer {token_of(visitor)}"},
        timeout=30,
    ).json()["access_token"]
    cookies = {name: f"{name}={value}" for name, value in visitor.cookies.items()}
    return [
        Poller(f"{stack.url}{path}", {"Cookie": cookies["_token"]}),
        Poller(f"{stack.url}{path}", {"Authorization": f"Bearer {minted}"}),
        Poller(f"{stack.url}/auth/users/userinfo/", {"Cookie": cookies["session"]}),
    ]


def measure(
    pollers: list[Poller],
    change: Callable[[], object],
    *,
    wrong: set[int],
    right: set[int],
    bystanders: list[Poller] | None = None,
    watch: float = 1.3,
    until: Callable[[list[Poller], float], bool] | None = None,
) -> Run:
    """Poll, change, poll on; what was answered as before, and which workers answered as they must."""
    everybody = [*pollers, *(bystanders or [])]
    for poller in everybody:
        poller.__enter__()
    while any(len(poller.answers) < 4 for poller in everybody):
        time.sleep(0.01)
    began = time.perf_counter()
    change()
    deadline = began + watch
    while time.perf_counter() < deadline or (
        until and not until(pollers, began) and time.perf_counter() < began + 60
    ):
        time.sleep(0.05)
    for poller in everybody:
        poller.__exit__()
    for poller in pollers:
        before = {status for at, status, _ in poller.answers if at < began}
        assert before <= wrong, before
    for poller in bystanders or []:
        assert {status for _, status, _ in poller.answers} == {200}, "somebody else was thrown out"
    last = max(poller.last_at(wrong, began) for poller in pollers)
    return Run(last, set().union(*(poller.workers(right, began) for poller in pollers)))


def say(what: str, runs: list[Run]) -> None:
    waits = sorted(run.last_wrong for run in runs)
    refusing = set().union(*(run.refusing for run in runs))
    print(
        f"{what:<28} {len(runs):>3} runs: last wrong answer after at most {waits[-1] * 1000:.0f} ms, "
        f"median {statistics.median(waits) * 1000:.0f} ms; refused by {len(refusing)} workers",
        flush=True,
    )


OUT = {302, 401, 403}


def ours(template: Path, persons: int, others: int) -> None:
    with (
        server.start() as idp,
        airflows.running(template, "ours", idp, workers=WORKERS) as stack,
        operator_process.beside(stack) as operator,
    ):
        ada, vera = "ada@contoso.example", "vera@contoso.example"
        say("a person is revoked", [of_person(stack, operator, ada) for _ in range(persons)])
        say("one session is revoked", [of_session(stack, operator, ada) for _ in range(others)])
        say("signing out", [signing_out(stack) for _ in range(others)])
        say("the provider's notice", [notice(stack, idp) for _ in range(others)])
        signed_in(stack, "vera")
        vera_id = stack.rows("select id from ab_user where username = ?", vera)[0]["id"]
        gained, lost = [], []
        for _ in range(others):
            visitor = signed_in(stack, "vera")
            gained.append(role(stack, visitor, vera_id, given=True))
            lost.append(role(stack, visitor, vera_id, given=False))
        say("a role is gained", gained)
        say("a role is lost", lost)


def of_person(stack: Stack, operator: Operator, username: str) -> Run:
    visitor, somebody = signed_in(stack), signed_in(stack, "vera")
    change = lambda: operator.run("users", "revoke", username)  # noqa: E731 (read beside its use)
    return measure(
        pollers_of(stack, visitor),
        change,
        wrong={200},
        right=OUT,
        bystanders=pollers_of(stack, somebody)[:1],
    )


def of_session(stack: Stack, operator: Operator, username: str) -> Run:
    visitor, another = signed_in(stack), signed_in(stack)
    session = session_of(visitor)
    return measure(
        pollers_of(stack, visitor),
        lambda: operator.run("users", "revoke", username, "--session", session),
        wrong={200},
        right=OUT,
        bystanders=pollers_of(stack, another),
    )


def signing_out(stack: Stack) -> Run:
    visitor, another = signed_in(stack), signed_in(stack)
    return measure(
        pollers_of(stack, visitor),
        lambda: visitor.at("/auth/logout/", allow_redirects=False),
        wrong={200},
        right=OUT,
        bystanders=pollers_of(stack, another)[:1],
    )


def notice(stack: Stack, idp: server.Handle) -> Run:
    """A logout token by back-channel, signed, posted and verified within the time that is measured."""
    visitor, drive = signed_in(stack), stacks.driver(idp)
    told = {
        "face": "entra",
        "person": "ada",
        "sid": drive.control("GET", "sessions")["entra"]["ada"][-1],
        "names": "sid",
        "uri": f"{stack.url}/auth/logout/backchannel/entra",
    }
    return measure(
        pollers_of(stack, visitor), lambda: drive.control("POST", "logout", told), wrong={200}, right=OUT
    )


def role(stack: Stack, visitor: Visitor, user_id: int, *, given: bool) -> Run:
    """Written by SQL, as any other tool would: nothing of ours is told."""
    admin = "(select id from ab_role where name = 'Admin')"
    give = f"insert into ab_user_role (user_id, role_id) values (?, {admin})"
    take = f"delete from ab_user_role where user_id = ? and role_id = {admin}"
    return measure(
        pollers_of(stack, visitor, ADMINS_ONLY)[:2],
        lambda: stack.write(give if given else take, user_id),
        wrong={403} if given else {200},
        right={200} if given else {403},
    )


def stock(template: Path, runs: int) -> None:
    """Airflow without any of ours: its own manager, its own security manager, a local account."""
    folder = template.parent / "stock"
    with stacks.migrated_home(
        Database.file(template), folder, auth_manager=stacks.STOCK_AUTH_MANAGER, webserver_config=None
    ) as home:
        stack = Stack(replace(home, sso_config=None))
        plugins = home.path / "plugins"
        plugins.mkdir()
        (plugins / "says_worker.py").write_text(airflows.WORKER_HEADER)
        try:
            stack.start(workers=WORKERS)
            say("stock: account shut by SQL", [of_stock(stack, number) for number in range(runs)])
        finally:
            stack.stop()


def of_stock(stack: Stack, number: int) -> Run:
    name = f"local{number}"
    stack.write(
        """insert into ab_user (first_name, last_name, username, password, active, email, created_on)
           values ('a', 'b', ?, ?, 1, ?, '2026-01-01 00:00:00')""",
        name,
        generate_password_hash("a right password"),
        f"{name}@example.com",
    )
    answer = requests.post(
        f"{stack.url}/auth/token", json={"username": name, "password": "a right password"}, timeout=30
    )
    token = answer.json()["access_token"]
    poller = Poller(f"{stack.url}/ui/auth/me", {"Authorization": f"Bearer {token}"})

    def is_over(pollers: list[Poller], since: float) -> bool:
        """Nobody was let in for three seconds."""
        now = time.perf_counter()
        return all(now - (since + one.last_at({200}, since)) > 3 for one in pollers)

    shut = "update ab_user set active = 0 where username = ?"
    return measure([poller], lambda: stack.write(shut, name), wrong={200}, right=OUT, until=is_over)


def main() -> None:
    persons, others, stocks = (int(one) for one in ([*sys.argv[1:], "100", "20", "5"])[:3])
    template = airflows.migrated_template()
    ours(template, persons, others)
    stock(template, stocks)


if __name__ == "__main__":
    main()
