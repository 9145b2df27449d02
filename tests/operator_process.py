"""Somebody with a shell beside an Airflow: runs our commands in one long-lived process.

A command takes seconds to start, far longer than what the tests want to hit in the middle of.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.stack import Stack

_CODE = """
import json, sys, traceback
from airflow_sso.accounts import notices
from airflow_sso.accounts.notices import NoticeRepeated, Target
from airflow_sso.cli import main
from airflow_sso import audit, database
database.require_tables()
out = sys.stdout
sys.stdout = sys.stderr
main(["lint"])  # loads Airflow
print("ready", file=out, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if "command" in asked:
            answer = main(asked["command"])
        else:
            targets = [Target(**target) for target in asked["targets"]]
            ended = notices.obey(asked["provider"], asked["notice_id"], targets,
                                 because="a test", reference=audit.new_reference())
            answer = len(ended)
    except NoticeRepeated:
        answer = "repeated"
    except BaseException:
        answer = traceback.format_exc()
    print("answer", json.dumps(answer), file=out, flush=True)
"""


class Operator:
    """Runs one command or notice after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, *command: str) -> Any:
        """``airflow-sso <command>``; returns its exit code."""
        return self._ask({"command": list(command)})

    def notice(self, provider: str, notice_id: str, *targets: dict[str, str]) -> Any:
        """What a verified notice of a provider sets off; returns how many sessions ended."""
        return self._ask({"provider": provider, "notice_id": notice_id, "targets": list(targets)})

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line.startswith("answer "), line
        return json.loads(line.removeprefix("answer "))


@contextmanager
def beside(stack: Stack) -> Iterator[Operator]:
    """An operator of this Airflow."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=stack.home.environment(),
        cwd=stack.home.path,
        text=True,
    )
    assert process.stdout
    try:
        while "ready" not in (line := process.stdout.readline()):
            assert line, "the operator's process ended"
        yield Operator(process)
    finally:
        process.kill()
        process.communicate()
