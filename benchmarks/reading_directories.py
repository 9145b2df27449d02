"""What does it take to read a directory of 1,000, 10,000 and 100,000 people, and to do what it says?

Microsoft Graph is the local provider's, in a process of its own, 50 ms a request; 140 groups are mapped, and
everybody is in one of them. Each size has its database, and a process that does every run of that
size, so that its peak of memory is its own. Beside it: asking person by person, as a script would.

    python -m benchmarks.reading_directories [sizes]

Ends with 1 and a sentence for each requirement that is not met; those of size are looked at where 10,000 and
100,000 are among the sizes.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from benchmarks import airflows
from benchmarks import directory_people as people
from benchmarks.directory_people import GROUP_NAMES, GROUPS, groups_of_all, name
from demo.airflow_home import AirflowHome
from demo.processes import Process
from devidp.people import crowd_oid
from devidp.settings import CLIENT_ID, DEFAULT_CLIENT_SECRET, TENANT_ID
from devidp.testing import Driver
from tests import stack as stacks
from tests.stack import REPOSITORY

SIZES = (1_000, 10_000, 100_000)
LATENCY, ASKED_SINGLY = 50, 200
MOST_FOR_PEOPLE, MOST_MEGABYTES, MOST_GROWTH = 130, 150, 1.3
#: Groups of one $batch, as long as each fits into a page (docs/deprovisioning.md).
A_BATCH = 20


# One run after another ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as its process and the directory saw it."""

    seconds: float
    working: float
    reading: float
    changed: int
    unchanged: int
    statements: int
    megabytes: float
    for_people: int
    for_groups: int

    def say(self, what: str, size: int) -> None:
        changes = ""
        if self.changed:
            writing = self.seconds - self.reading
            changes = f", {self.changed:,} changed ({self.changed / writing:,.0f} a second beside reading)"
        print(
            f"  {what:<22}{self.for_people:>4} requests for people, {self.for_groups:>4} for groups; "
            f"{self.seconds:.2f} s ({self.reading:.2f} reading; {self.working:.2f} of a processor), "
            f"{self.seconds / size * 1000:.3f} s for 1,000 people; "
            f"{self.statements:,} statements, {self.statements / size:.2f} a person; "
            f"+{self.megabytes:.0f} MB{changes}",
            flush=True,
        )


@dataclass
class Bench:
    """The directory, the database, and the process in between."""

    size: int
    driver: Driver
    database: Path
    process: subprocess.Popen[str]

    def run(self, *, turned: int = 0) -> Run:
        self.driver.directory("DELETE", "counts")
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"turned": turned}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process of this size ended; what it said is in runs.log")
        counts = self.driver.counts()
        # Nobody is asked about singly here, so every batch is about groups.
        for_people = sum(counts.get(f"graph.{name}", 0) for name in ("users", "users_count", "users_delta"))
        return Run(**json.loads(line), for_people=for_people, for_groups=counts.get("graph.batch", 0))

    def forget_readings(self) -> None:
        with closing(sqlite3.connect(self.database, timeout=60)) as connection, connection:
            connection.execute("delete from sso_directory")


@contextmanager
def directory(folder: Path, size: int) -> Iterator[Driver]:
    """The local provider in a process of its own, with so many people in the groups."""
    port = stacks.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "devidp", "--port", str(port), "--base-url", url]
    with Process("devidp", command, log=folder / "devidp.log", cwd=REPOSITORY) as process:
        process.wait_for_url(f"{url}/_control/knobs")
        driver = Driver(url, stacks.httpx.Client(trust_env=False, timeout=600))
        driver.directory("POST", "generate", {"people": size, "groups": 0, "members": 0})
        inside: list[list[str]] = [[] for _ in GROUP_NAMES]
        for number, group in enumerate(groups_of_all(size), 1):
            inside[group].append(name(number))
        for group_name, members in zip(GROUP_NAMES, inside, strict=True):
            driver.put_group(group_name, members=members)
        driver.knobs(directory__latency=LATENCY)
        yield driver


@contextmanager
def bench_of(template: Path, size: int) -> Iterator[Bench]:
    home = AirflowHome(path=template.parent.parent / f"of-{size}", port=stacks.free_port())
    environment = {**home.environment(), people.SECRET: DEFAULT_CLIENT_SECRET}
    shutil.copy(template, home.database)
    people.fill(home.database, size)
    with directory(home.path, size) as driver, (home.path / "runs.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.directory_runs", driver.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=REPOSITORY,
            text=True,
        )
        assert process.stdout
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"no process of runs: see {log.name}")
            yield Bench(size, driver, home.database, process)
        finally:
            process.terminate()
            process.communicate()


def of_size(template: Path, size: int) -> dict[str, Run]:
    print(f"{size:,} people, {LATENCY} ms a request:", flush=True)
    found: dict[str, Run] = {}
    with bench_of(template, size) as bench:

        def note(what: str, run: Run, changed: int) -> None:
            run.say(what, size)
            assert run.changed == changed, f"{what}: {run.changed} changed instead of {changed}"
            assert run.changed + run.unchanged == size, f"{what}: somebody was left out"
            found[what] = run

        note("whole, nothing to do", bench.run(), 0)
        note("nothing new", bench.run(), 0)
        note("1 % moved", move(bench, size // 100), size // 100)
        bench.forget_readings()
        note("whole, all roles", bench.run(turned=1), size)
        singly(bench)
    return found


def move(bench: Bench, number: int) -> Run:
    """So many go from their group to the next, in which another role is."""
    groups, left = groups_of_all(bench.size), number
    for group in range(0, GROUPS, 2):
        first, second = (
            [name(one) for one, of in enumerate(groups, 1) if of == at] for at in (group, group + 1)
        )
        going, staying = first[:left], first[left:]
        bench.driver.put_group(GROUP_NAMES[group], members=staying)
        bench.driver.put_group(GROUP_NAMES[group + 1], members=[*second, *going])
        left -= len(going)
        if not left:
            break
    return bench.run()


def singly(bench: Bench) -> None:
    """What a script would do that asks about one person after another; about their groups it asks nothing."""
    url = bench.driver.url
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "scope": "https://graph.microsoft.com/.default",
    }
    with requests.Session() as session:
        token = session.post(f"{url}/{TENANT_ID}/oauth2/v2.0/token", data=form, timeout=30).json()
        session.headers["Authorization"] = f"Bearer {token['access_token']}"
        asked = min(ASKED_SINGLY, bench.size)
        began = time.perf_counter()
        for number in range(1, asked + 1):
            address = f"{url}/graph/v1.0/users/{crowd_oid(number)}?$select=id,accountEnabled"
            session.get(address, timeout=30).raise_for_status()
        seconds = time.perf_counter() - began
    print(
        f"  person by person, {asked} of them asked: {seconds:.2f} s; {bench.size:,} would take "
        f"{seconds / asked * bench.size:,.0f} s ({seconds / asked * bench.size / 60:.1f} min), extrapolated; "
        "groups not asked",
        flush=True,
    )


# What must be so --------------------------------------------------------------------------------------


def not_met(found: Mapping[int, Mapping[str, Run]]) -> list[str]:
    """A sentence for each requirement that these figures do not meet."""
    largest = found.get(SIZES[-1])
    if largest is None:
        return []
    said = []
    whole, again = largest["whole, nothing to do"], largest["nothing new"]
    if whole.for_people > MOST_FOR_PEOPLE:
        said.append(f"reading everybody took {whole.for_people} requests for people, not {MOST_FOR_PEOPLE}")
    batches = math.ceil(GROUPS / A_BATCH)
    if (again.for_people, again.for_groups) != (1, batches):
        said.append(
            f"nothing new took {again.for_people} request for people and {again.for_groups} for groups, not "
            f"1 and {batches}"
        )
    most = max(largest.values(), key=lambda run: run.megabytes)
    if most.megabytes >= MOST_MEGABYTES:
        said.append(f"memory grew by {most.megabytes:.0f} MB, not by less than {MOST_MEGABYTES}")
    smaller = found.get(SIZES[-2], {})
    for what in ("whole, nothing to do", "whole, all roles"):
        if what in smaller:
            growth = (largest[what].seconds / SIZES[-1]) / (smaller[what].seconds / SIZES[-2])
            if growth > MOST_GROWTH:
                said.append(f"{what}: a person took {growth:.2f} times as long as among {SIZES[-2]:,}")
    return said


def main(sizes: list[int]) -> int:
    template = airflows.migrated_template()
    found = {size: of_size(template, size) for size in sizes}
    for sentence in (sentences := not_met(found)):
        print(f"NOT MET: {sentence}")
    return 1 if sentences else 0


if __name__ == "__main__":
    raise SystemExit(main([int(size) for size in sys.argv[1:]] or list(SIZES)))
