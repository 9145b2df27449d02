"""What asking the register costs a request, beside Airflow's own manager in the same run.

Two Airflows on copies of one database, ours and one with the stock manager, answer the same request in
turns; printed are the medians, their difference, and the SQL statements of one request.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import requests

from benchmarks import airflows
from devidp import server
from tests import stack as stacks
from tests.stack import REPOSITORY, Visitor

ROUNDS, IN_A_ROUND = 20, 50
PATHS = ("/ui/auth/me", "/api/v2/dags?limit=1", "/auth/users/userinfo/")


def one(session: requests.Session, url: str) -> float:
    began = time.perf_counter()
    answer = session.get(url, timeout=30)
    seconds = time.perf_counter() - began
    assert answer.status_code == 200, (url, answer.status_code)
    return seconds


def statements(log: Path, visitor: Visitor, path: str) -> int:
    """How many statements one request executes, in the median of several."""
    counts = []
    for _ in range(9):
        time.sleep(0.1)
        log.write_text("")
        visitor.at(path)
        time.sleep(0.1)
        counts.append(len(log.read_text().splitlines()))
    return int(statistics.median(counts))


def main() -> None:
    template = airflows.migrated_template()
    with server.start() as idp:
        visitors: dict[str, Visitor] = {}
        seconds: dict[tuple[str, str], list[float]] = {}
        managers = {"ours": stacks.SSO_AUTH_MANAGER, "stock": stacks.STOCK_AUTH_MANAGER}
        with (
            airflows.running(template, "ours", idp, auth_manager=managers["ours"]) as ours,
            airflows.running(template, "stock", idp, auth_manager=managers["stock"]) as stock,
        ):
            for name, stack in (("ours", ours), ("stock", stock)):
                visitors[name] = stack.visitor()
                visitors[name].sign_in("ada")
            for _ in range(ROUNDS):
                for path in PATHS:
                    for name, visitor in visitors.items():
                        url = f"{visitor.stack.url}{path}"
                        seconds.setdefault((name, path), []).extend(
                            one(visitor, url) for _ in range(IN_A_ROUND)
                        )
        for path in PATHS:
            medians = {name: statistics.median(seconds[name, path]) * 1000 for name in managers}
            print(
                f"{path:<24} ours {medians['ours']:.2f} ms, stock {medians['stock']:.2f} ms: "
                f"{medians['ours'] - medians['stock']:+.2f} ms"
            )
        for name, manager in managers.items():
            counted(template, name, manager, idp)


def counted(template: Path, name: str, manager: str, idp: server.Handle) -> None:
    log = template.parent / f"{name}.sql"
    extra = {"SQL_LOG": str(log), "PYTHONPATH": str(REPOSITORY / "tests" / "sql_log")}
    with airflows.running(template, f"{name}-counted", idp, auth_manager=manager, extra=extra) as stack:
        visitor = stack.visitor()
        visitor.sign_in("ada")
        each = {path: statements(log, visitor, path) for path in PATHS}
    print(f"statements a request, {name}: {', '.join(f'{path} {n}' for path, n in each.items())}")


if __name__ == "__main__":
    main()
