"""Do two replicas on one PostgreSQL hold together while everybody comes at once?

Fifty people sign in at the same moment, a thousand sign in one after another; meanwhile a directory of
10,000 people is read, everybody in it changes roles, and the mapping is saved again. Looked at before and
after: failed sign-ins, deadlocks, connections, the memory of each process, and who holds which role.

    python -m benchmarks.replicas_under_load [people in the directory] [sign-ins in a row]

Ends with 1 and a sentence for each requirement that is not met.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from airflow_sso import models
from airflow_sso.accounts import given_roles, links
from demo.airflow_home import AirflowHome
from demo.guardian import _descendants
from devidp import server
from devidp.people import crowd_oid, group_id
from devidp.settings import TENANT_ID
from tests import postgresql, replicas
from tests import stack as stacks
from tests.databases import Database
from tests.replicas import Replicas, at_once
from tests.stack import Stack, facts

AT_ONCE, IN_A_ROW, PEOPLE = 50, 1_000, 10_000
#: What a process may grow by; measured are a few, for what it keeps of providers, people and statements.
MOST_GROWTH = 60  # megabytes
#: The group in which the directory says that everybody is by now.
CROWD = "crowd"
_GROUPS = tuple(stacks.GROUPS)
_AUTHORITY = f"entra:public:{TENANT_ID}"


@dataclass
class SignIns:
    """How long each took, in seconds, and why some failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        median, most = statistics.median(ordered) * 1000, ordered[-1] * 1000
        late = ordered[int(len(ordered) * 0.95)] * 1000
        took = f"median {median:.0f} ms, 95 % within {late:.0f} ms, at most {most:.0f} ms"
        return f"{len(ordered)}, {len(self.failures)} failed; {took}"


@dataclass(frozen=True)
class State:
    """What may leak, at one moment: megabytes by process, connections, and deadlocks so far."""

    megabytes: dict[int, float]
    connections: int
    deadlocks: int

    def __str__(self) -> str:
        memory = ", ".join(f"{one:.0f}" for one in self.megabytes.values())
        return f"{self.connections} connections, {self.deadlocks} deadlocks, processes of {memory} MB"


def state_of(both: Replicas) -> State:
    processes = [pid for one in both.servers for pid in _descendants(one._guardian.pid)]
    database = "from pg_stat_activity where datname = current_database() and application_name <> ''"
    deadlocks = "select deadlocks as n from pg_stat_database where datname = current_database()"
    return State(
        {pid: _megabytes(pid) for pid in processes},
        int(both.stack.rows(f"select count(*) as n {database}")[0]["n"]),
        int(both.stack.rows(deadlocks)[0]["n"]),
    )


def _megabytes(pid: int) -> float:
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def mapping() -> dict[str, Any]:
    default = stacks.default_mapping()
    return {**default, "rules": [*default["rules"], {"group": group_id(CROWD), "roles": ["Op"]}]}


# Everybody ----------------------------------------------------------------------------------------------


def hire(idp: server.Handle) -> dict[str, str]:
    """The people who sign in, by name; the group of each."""
    people = {f"load{number:03}": _GROUPS[number % len(_GROUPS)] for number in range(AT_ONCE)}
    for name, group in people.items():
        stacks.driver(idp).control("PUT", f"people/{name}", {"groups": [group]})
    return people


def fill(stack: Stack, size: int) -> None:
    """Accounts of everybody in the directory as sign-ins left them, each with the role of a group of old."""
    names = [f"p{number:06}" for number in range(1, size + 1)]
    with stack.engine.begin() as connection:
        connection.execute(
            text(
                """insert into ab_user
                   (id, first_name, last_name, username, password, active, email, created_on) values
                   (nextval('ab_user_id_seq'), 'Person', :name, :name, '!', true, :mail, '2026-01-01')"""
            ),
            [{"name": name, "mail": f"{name}@contoso.example"} for name in names],
        )
        connection.execute(
            text(
                """insert into ab_user_role (id, user_id, role_id)
                   select nextval('ab_user_role_id_seq'), u.id, r.id from ab_user u, ab_role r
                   where u.username ~ '^p[0-9]+$' and r.name = 'Viewer'"""
            )
        )
        found = connection.execute(text("select username, id, created_on from ab_user")).all()
        numbers = {row.username: row for row in found}
        connection.execute(insert(models.accounts), [_account(name, numbers[name]) for name in names])


def _account(name: str, row: object) -> dict[str, object]:
    subject, now = crowd_oid(int(name[1:])), models.now()
    group = stacks.GROUPS["airflow_prod_viewer"]
    mail = f"{name}@contoso.example"
    shown = {"username": name, "email": mail, "first_name": "Person", "last_name": name}
    return {
        "identity_key": models.identity_key(_AUTHORITY, subject), "authority": _AUTHORITY, "subject": subject,
        "user_id": row.id, "user_created_on": row.created_on, "username": name, "email": mail,  # type: ignore[attr-defined]
        "provider": "entra", "created_at": now, "last_sign_in_at": now,
        "given_roles": given_roles.written({}, {"Viewer": ["airflow_prod_viewer"]}, now),
        "facts": links.written({"group": frozenset({group})}, "sign_in:entra"), "shown": json.dumps(shown),
        "observed_at": now, "read_again": "new",
    }  # fmt: skip


def wrong_roles(stack: Stack, people: dict[str, str]) -> list[str]:
    """Who holds something else than the mapping gives."""
    rows = stack.rows(
        """select u.username, string_agg(r.name, ',' order by r.name) as roles from ab_user u
           left join ab_user_role ur on ur.user_id = u.id left join ab_role r on r.id = ur.role_id
           where u.username like 'load%' or u.username ~ '^p[0-9]+$' group by u.username"""
    )
    expected = {name: stacks.ROLES[group] for name, group in people.items()}
    return [
        f"{row['username']}: {row['roles']}"
        for row in rows
        if row["roles"] != expected.get(row["username"], "Op")
    ]


# What they do -------------------------------------------------------------------------------------------


def sign_in(stack: Stack, name: str, told: SignIns) -> None:
    began = time.monotonic()
    visitor = stack.visitor()
    page = visitor.sign_in(name, "generic")
    who = visitor.who()
    told.seconds.append(time.monotonic() - began)
    if who != name:
        told.failures.append(f"{name}: {page.status_code} {facts(page)}")


def run(both: Replicas, idp: server.Handle, size: int, in_a_row: int) -> list[str]:
    """:returns: a sentence for each requirement that is not met."""
    stack, drive = both.stack, stacks.driver(idp)
    replicas.known_to(idp, stack)
    people = hire(idp)
    for name in people:  # every process has seen every provider, and everybody has an account
        sign_in(stack, name, SignIns())
    stack.map(mapping())
    stack.generation()
    before = state_of(both)
    print(f"before: {before}")
    together, one_by_one = SignIns(), SignIns()
    at_once(*((lambda name=name: sign_in(stack, name, together)) for name in people))  # type: ignore[misc]
    print(f"{AT_ONCE} at once: {together}")
    drive.directory("POST", "generate", {"people": size, "groups": 0, "members": 0})
    members = [f"p{number:06}" for number in range(1, size + 1)]
    drive.put_group(CROWD, members=members)
    fill(stack, size)
    for number in range(in_a_row):
        if number == in_a_row // 2:
            stack.map(mapping())
        sign_in(stack, list(people)[number % len(people)], one_by_one)
    print(f"one after another, a directory of {size:,} being read: {one_by_one}")
    done = "select count(*) as n from sso_account where read_again is not null and authority = ?"
    until = time.monotonic() + 300
    while stack.rows(done, _AUTHORITY)[0]["n"] and time.monotonic() < until:
        time.sleep(1)
    generation = stack.generation()
    after = state_of(both)
    print(f"after: {after}; generation {generation} of the mapping is in force")
    return unmet(before, after, [*together.failures, *one_by_one.failures], wrong_roles(stack, people))


def unmet(before: State, after: State, failures: Sequence[str], wrong: Sequence[str]) -> list[str]:
    found = [f"{len(failures)} sign-ins failed: {failures[:5]}"] if failures else []
    if after.deadlocks > before.deadlocks:
        found.append(f"{after.deadlocks - before.deadlocks} deadlocks")
    # Five stay open in each pool, of which a process has two, and the sync is one more user of them.
    if after.connections > max(before.connections, 4 * (5 + 5)):
        found.append(f"{after.connections} connections stay open, {before.connections} were before")
    if set(after.megabytes) != set(before.megabytes):
        found.append("a process ended, and another one came")
    grown = [after.megabytes[pid] - was for pid, was in before.megabytes.items() if pid in after.megabytes]
    if max(grown) > MOST_GROWTH:
        found.append(f"a process grew by {max(grown):.0f} MB")
    if wrong:
        found.append(f"{len(wrong)} hold other roles than the mapping gives: {wrong[:5]}")
    return found


def main() -> int:
    given = [int(one) for one in sys.argv[1:]]
    size, in_a_row = given[0] if given else PEOPLE, given[1] if len(given) > 1 else IN_A_ROW
    folder = Path(tempfile.mkdtemp())
    with postgresql.running() as cluster, server.start() as idp:
        home = AirflowHome(
            path=folder / "template", port=stacks.free_port(), database_url=cluster.create("template")
        )
        home.migrate()
        template = Database(home.database_url, cluster)
        with replicas.running(template, folder / "home", idp) as both:
            found = run(both, idp, size, in_a_row)
    for sentence in found:
        print(f"not met: {sentence}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
