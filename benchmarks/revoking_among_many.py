"""Does ending one person's access take longer among 200,000 sessions than among 200? In one run, in turns."""

from __future__ import annotations

import sqlite3
import statistics
import time
from contextlib import closing

from benchmarks import airflows
from devidp import server
from tests import operator_process
from tests.operator_process import Operator
from tests.stack import Stack

FEW, MANY, ROUNDS, IN_A_ROUND = 200, 200_000, 3, 8


def revoking(stack: Stack, operator: Operator) -> float:
    """Milliseconds that one revocation takes: two sessions of one person, each with its token."""
    visitors = [stack.visitor() for _ in range(2)]
    for visitor in visitors:
        visitor.sign_in("ada")
    began = time.perf_counter()
    code = operator.run("users", "revoke", "ada@contoso.example")
    milliseconds = (time.perf_counter() - began) * 1000
    assert code == 0
    assert not any(visitor.who() for visitor in visitors)
    return milliseconds


def fill(stack: Stack, number: int) -> None:
    """Sessions of other people, in Airflow's table and in ours, with a token each."""
    with closing(sqlite3.connect(stack.home.database, timeout=120)) as connection, connection:
        for table in ("session", "sso_session", "sso_token"):
            connection.execute(f"delete from {table}")
        ids = [f"{n:032x}" for n in range(number)]
        connection.executemany(
            "insert into session (session_id, data, expiry) values (?, x'80', '2099-01-01 00:00:00')",
            ((one,) for one in ids),
        )
        connection.executemany(
            """insert into sso_session (session_id, user_id, epoch, provider, airflow_session_id, started_at,
               last_seen_at, ends_at, idle_seconds)
               values (?, ?, 0, 'entra', ?, '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000',
               '2099-01-01 00:00:00.000000', 3600)""",
            ((one, 1000 + n % 5000, one) for n, one in enumerate(ids)),
        )
        connection.executemany(
            "insert into sso_token (jti, session_id, expires_at) values (?, ?, '2099-01-01 00:00:00.000000')",
            ((one, one) for one in ids),
        )


def main() -> None:
    template = airflows.migrated_template()
    took: dict[int, list[float]] = {FEW: [], MANY: []}
    with (
        server.start() as idp,
        airflows.running(template, "ours", idp) as stack,
        operator_process.beside(stack) as operator,
    ):
        revoking(stack, operator)
        for _ in range(ROUNDS):
            for number in (FEW, MANY):
                fill(stack, number)
                revoking(stack, operator)
                took[number] += [revoking(stack, operator) for _ in range(IN_A_ROUND)]
    few, many = statistics.median(took[FEW]), statistics.median(took[MANY])
    print(f"among {FEW:,} sessions: {few:.1f} ms; among {MANY:,}: {many:.1f} ms; ratio {many / few:.2f}")


if __name__ == "__main__":
    main()
