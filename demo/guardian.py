"""Runs one command, and ends it together with everything it has started.

A script of its own: `guardian.py GRACE COMMAND...`. Whoever starts it holds the other end of its
standard input, the lifeline. When that end closes, because the owner says so or because the owner
died (of SIGKILL, even), the command gets SIGTERM, GRACE seconds, and SIGKILL. Airflow puts tasks
into process groups of their own; so on Linux orphans are adopted and nothing can slip away.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_LIFELINE = 0


class Guardian:
    def __init__(self, command: list[str]) -> None:
        self._told_to_stop = False
        self.exit_code: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop_on_signal)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # Only its pid is used: Popen.poll() and the reaping of adopted orphans would steal
        # each other's exit codes.
        # Python 3.10, on which Airflow 2.11 runs, has no `process_group`; there are no threads here.
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=os.setpgrp)

    def _stop_on_signal(self, *_: object) -> None:
        self._told_to_stop = True

    def watch(self) -> None:
        """Return when the command has ended or is to be ended."""
        while not self._told_to_stop:
            self._reap()
            if self.exit_code is not None:
                return
            readable, _, _ = select.select([_LIFELINE], [], [], 0.1)
            if readable and not os.read(_LIFELINE, 4096):
                return

    def end(self, grace: float) -> None:
        self._signal(signal.SIGTERM)
        self._wait_for_all(grace)
        # Again and again: a process may fork between being listed and being killed.
        for _ in range(20):
            if not self._signal(signal.SIGKILL):
                return
            self._wait_for_all(0.2)

    def _wait_for_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._signal(0):
            time.sleep(0.05)

    def _signal(self, number: int) -> bool:
        """Send to the command's group and to all that left it; whether anyone was there."""
        self._reap()
        found = _send(os.killpg, self._child.pid, number)
        # A polite signal goes to the group only: what left it belongs to a task, and is asked to
        # stop by its supervisor.
        for pid in _descendants(os.getpid()):
            found = _send(os.kill, pid, 0 if number == signal.SIGTERM else number) or found
        return found

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child.pid:
                self.exit_code = self._child.returncode = os.waitstatus_to_exitcode(status)


def _send(how, target: int, number: int) -> bool:  # type: ignore[no-untyped-def]
    try:
        how(target, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers "permission denied" for a group of which only zombies are left.
        return False
    return True


def _descendants(root: int) -> list[int]:
    """All living descendants, from /proc; without one, the group has to do."""
    children: dict[int, list[int]] = {}
    try:
        entries = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    except FileNotFoundError:
        return []
    for entry in entries:
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                # The name in parentheses may hold anything, so the fields are counted after it.
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(entry))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def main(argv: list[str]) -> int:
    guardian = Guardian(argv[1:])
    guardian.watch()
    guardian.end(grace=float(argv[0]))
    code = guardian.exit_code
    if code is None:
        return 1
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
