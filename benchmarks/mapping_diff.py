"""What does comparing two mappings of 500 rules over 100,000 people take, beside deciding person by person?

The people are those of ``reading_directories``, each in one of 140 groups, and in a second run with one of
360 cost centres as well, so that two of them are seldom alike. They are compared as ``airflow-sso diff`` does
it, from the files and the database to the text, and then naively, both mappings decided for one person after
the other, in the same process.

    python -m benchmarks.mapping_diff [people]

Ends with 1 and a sentence for each requirement that is not met; they are looked at with 100,000 people.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from airflow_sso.accounts import links
from benchmarks import airflows
from benchmarks import directory_people as people
from demo.airflow_home import AirflowHome
from devidp.people import group_id
from tests import stack as stacks
from tests.stack import REPOSITORY

PEOPLE, RULES, NAIVELY = 100_000, 500, 2_000
MOST_SECONDS, MOST_MEGABYTES = 10, 300


def rules(turned: int) -> str:
    """The groups that people are in, and cost centres; turned, 14 of the groups give another role."""
    lines = []
    for number, name in enumerate(people.GROUP_NAMES):
        moved = turned if number % 10 == 0 else 0
        lines.append(f"  - {{group: {group_id(name)}, roles: [{people.role_of(number, moved)}]}}")
    for number in range(RULES - len(lines)):
        lines.append(f"  - {{claim: cost_centre, equals: C{number}, roles: [{people.ROLES[number % 3]}]}}")
    return "version: 1\nrules:\n" + "\n".join(lines) + "\n"


def tell_apart(database: Path) -> None:
    """Everybody gets a cost centre that a rule names, which makes tens of thousands of kinds of people."""
    with closing(sqlite3.connect(database)) as connection, connection:
        groups = people.groups_of_all(
            connection.execute("select max(user_id) from sso_account").fetchone()[0]
        )
        connection.executemany(
            "update sso_account set facts = ? where user_id = ?",
            (
                (
                    links.written(
                        {
                            "group": frozenset({group_id(people.GROUP_NAMES[group])}),
                            "claim:cost_centre": frozenset({f"C{number * 7919 % 100_003 % 360}"}),
                        },
                        "sign_in:entra",
                    ),
                    number,
                )
                for number, group in enumerate(groups, 1)
            ),
        )


def of_kind(template: Path, size: int, *, alike: bool) -> dict[str, float]:
    """One process, so that its peak of memory is its own."""
    home = AirflowHome(
        path=template.parent.parent / f"diff-{'alike' if alike else 'apart'}", port=stacks.free_port()
    )
    environment = home.environment()
    shutil.copy(template, home.database)
    people.fill(home.database, size)
    if alike:
        with closing(sqlite3.connect(home.database)) as connection, connection:
            told = links.written({"claim:cost_centre": frozenset()}, "sign_in:entra")[1:]
            connection.execute(
                "update sso_account set facts = substr(facts, 1, length(facts) - 1) || ', ' || ?", (told,)
            )
    else:
        tell_apart(home.database)
    for name, turned in (("old.yaml", 0), ("new.yaml", 1)):
        (home.path / name).write_text(rules(turned))
    command = [sys.executable, "-m", "benchmarks.mapping_diff", "--in", str(home.path), str(size)]
    answer = subprocess.run(
        command, env=environment, cwd=REPOSITORY, text=True, capture_output=True, check=False
    )
    if answer.returncode:
        raise RuntimeError(answer.stderr[-2000:])
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    kinds = "alike in 140 ways" if alike else "alike in tens of thousands of ways"
    naively = found["naively"] * size
    print(
        f"{size:,} people, {kinds}, {RULES} rules, {found['changed']:,.0f} change: {found['seconds']:.1f} s "
        f"({found['working']:.1f} of a processor, {found['deciding']:.1f} of them deciding), "
        f"+{found['megabytes']:.0f} MB; person by person deciding would take {naively:.1f} of a processor, "
        f"from {NAIVELY:,} of them: {naively / found['deciding']:.1f} times as long",
        flush=True,
    )
    return found


def inside(folder: Path, size: int) -> None:
    """The measuring process."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Airflow logs goes into the log
    from airflow_sso import database, models
    from airflow_sso.cli import diff, mappings
    from airflow_sso.sync import compare, population
    from airflow_sso.sync.compare import Side
    from benchmarks.directory_runs import memory

    database.require_tables()
    there, day = population.role_names(), models.now().date()
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    began, worked = time.perf_counter(), time.process_time()
    sides = [Side(mappings.of_file(folder / name, there), there) for name in ("old.yaml", "new.yaml")]
    found = compare.compare(population.everybody(), *sides, day)
    printed = "\n".join(diff.as_text(found))
    seconds, working = time.perf_counter() - began, time.process_time() - worked
    megabytes = memory("VmHWM") - before
    assert len(found.changed) + found.unchanged == size, "somebody was left out"
    assert "people gain" in printed
    everybody = list(population.everybody())
    worked = time.process_time()
    compare.compare(everybody, *sides, day)
    deciding = time.process_time() - worked
    step = max(1, size // NAIVELY)
    some = everybody[::step]
    expected = {one.user_id: one.after for one in found.changed}
    worked = time.process_time()
    for person in some:
        old, new = (side.decide(person.facts, day) for side in sides)
        first = old.to_hold(person.held, person.given)
        after = new.to_hold(first, old.roles)
        assert after == expected.get(person.user_id, first), person.username
    naively = (time.process_time() - worked) / len(some)
    answer = {
        "seconds": seconds,
        "working": working,
        "megabytes": megabytes,
        "changed": len(found.changed),
        "deciding": deciding,
        "naively": naively,
    }
    print(json.dumps(answer), file=out, flush=True)
    os._exit(0)  # what Airflow would still tidy up is nobody's time


def main(size: int) -> int:
    template = airflows.migrated_template()
    met = True
    for alike in (True, False):
        found = of_kind(template, size, alike=alike)
        for what, most in (("working", MOST_SECONDS), ("megabytes", MOST_MEGABYTES)):
            if size >= PEOPLE and found[what] >= most:
                print(f"NOT MET: {what} {found[what]:.1f}, not less than {most}")
                met = False
    return 0 if met else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in"]:
        inside(Path(sys.argv[2]), int(sys.argv[3]))
    raise SystemExit(main(int(sys.argv[1]) if sys.argv[1:] else PEOPLE))
