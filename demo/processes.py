"""Processes that run beside us: each with its own log, watched, and never left behind.

Each runs under a guardian (`guardian.py`) that ends it and all its descendants when `stop()` is
called and also when we die without calling it. Used by the demo and by the tests' real servers.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

_GUARDIAN = Path(__file__).with_name("guardian.py")

#: Airflow's components need 1 to 3 seconds to stop in good order.
GRACE = 7.0


class ProcessFailed(Exception):
    """A process ended, or was not ready in time; the message shows the end of its log."""

    def __init__(self, process: Process, what: str) -> None:
        super().__init__(f"{process.name} {what}. The end of {process.log}:\n{process.log_tail()}")
        self.process = process


class Process:
    """A running command. Also a context manager that stops it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        grace: float = GRACE,
    ) -> None:
        """Start it.

        :param name: what people call it.
        :param log: gets everything it prints; what an earlier run left there is replaced.
        :param env: the whole environment; default: ours.
        :param grace: seconds between SIGTERM and SIGKILL.
        """
        self.name = name
        self.log = log
        self._grace = grace
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN), str(grace), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                # Away from the terminal: Ctrl-C is for us, and we stop things in good order.
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; 128 and the signal's number when a signal ended it."""
        return self._guardian.poll()

    def raise_if_ended(self) -> None:
        if self.exit_code is not None:
            raise ProcessFailed(self, f"ended with exit code {self.exit_code}")

    def log_tail(self, lines: int = 30) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 200 * lines))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:]) or "(empty)"

    def wait(self, timeout: float, *, meanwhile: Callable[[], None] | None = None) -> int:
        """Wait for its end; the exit code.

        :param meanwhile: called several times a second.
        """
        wait_until(lambda: self.exit_code is not None, timeout=timeout, late=self, meanwhile=meanwhile)
        code = self.exit_code
        assert code is not None
        return code

    def wait_for_url(
        self, url: str, timeout: float = 120, *, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Wait until `url` answers 200.

        :raises ProcessFailed: when it ends first, or time runs out.
        """

        def ready() -> bool:
            self.raise_if_ended()
            return answers(url)

        wait_until(ready, timeout=timeout, late=self, meanwhile=meanwhile)

    def begin_stop(self) -> None:
        """Ask it to stop and return at once."""
        if self._guardian.stdin and not self._guardian.stdin.closed:
            self._guardian.stdin.close()

    def stop(self) -> None:
        """Stop it and everything it started; returns when they are gone."""
        self.begin_stop()
        try:
            self._guardian.wait(self._grace + 6)
        except subprocess.TimeoutExpired:  # the guardian itself is stuck: suspended, say
            self._guardian.kill()
            self._guardian.wait()
            raise

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def stop_all(processes: Iterable[Process]) -> None:
    """Stop them side by side, so that it takes as long as the slowest."""
    started = list(processes)
    for process in started:
        process.begin_stop()
    for process in started:
        process.stop()


def answers(url: str) -> bool:
    """Whether `url`, on this machine, answers 200; a proxy in the environment is not asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until(
    ready: Callable[[], bool],
    *,
    timeout: float,
    late: Process,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Poll `ready` until it says yes; after `timeout` seconds `late` is to blame."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ProcessFailed(late, f"was not ready within {timeout:g} seconds")
        if meanwhile:
            meanwhile()
        time.sleep(0.1)
