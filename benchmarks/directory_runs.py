"""The process that does the runs of ``reading_directories``: one for each line that comes on its input.

Everything that a web server has loaded before its first run is loaded first, so that the growth of its
memory is that of the runs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import airflow.models.log
import msal  # noqa: F401 (so that it is loaded)
from sqlalchemy import event, inspect

from airflow_sso import airflow_compat, database
from airflow_sso.accounts import fab_users
from airflow_sso.directory.microsoft_graph import GraphReader
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings
from airflow_sso.role_mapping import Mapping, Rule, compile_rules
from airflow_sso.role_mapping.conditions import Test
from airflow_sso.sync import lease, run
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.guard import Limits
from benchmarks import directory_people as people
from devidp.people import group_id
from devidp.settings import CLIENT_ID, TENANT_ID


class TimedReader(GraphReader):
    """A reader of Graph that says how long it was at it."""

    seconds = 0.0

    def read(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return super().read(*arguments)
        finally:
            self.seconds = time.perf_counter() - began


def reader_of(url: str) -> TimedReader:
    given = {
        "type": "graph",
        "tenant_id": TENANT_ID,
        "client_id": CLIENT_ID,
        "client_auth": {"secret": {"env": people.SECRET}},
        "insecure_host": url,
    }
    return TimedReader(DirectorySettings.model_validate(given), HttpSettings())


def mapping(turned: int) -> Mapping:
    """A rule a group."""
    return compile_rules(
        [
            Rule(
                number=number + 1,
                condition=Test("group", (group_id(name),)),
                roles=frozenset({people.role_of(number, turned)}),
            )
            for number, name in enumerate(people.GROUP_NAMES)
        ]
    )


def memory(name: str) -> float:
    """A line of this process's status, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))) / 1024


def main(url: str) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Airflow logs goes into the log
    database.require_tables()
    inspect(airflow.models.log.Log).column_attrs.keys()
    fab_users.table()
    executed = 0

    @event.listens_for(airflow_compat.engine(), "before_cursor_execute")
    def _count(*_: Any) -> None:
        nonlocal executed
        executed += 1

    reader = reader_of(url)
    directory = Directory(name="entra", authority=people.AUTHORITY, reader=reader)
    limits, before = Limits(count=10**9, percent=100), memory("VmRSS")
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        executed = 0
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        began, worked = time.perf_counter(), time.process_time()
        held = lease.take("sync", who="benchmark")
        outcome = run.carry_out(directory, mapping(json.loads(line)["turned"]), limits, held)
        held.give_back()
        found = {
            "seconds": time.perf_counter() - began,
            "working": time.process_time() - worked,
            "reading": reader.seconds,
            "changed": outcome.changed,
            "unchanged": outcome.plan.unchanged,
            "statements": executed,
            "megabytes": memory("VmHWM") - before,
        }
        print(json.dumps(found), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # what Airflow would still tidy up is nobody's time
