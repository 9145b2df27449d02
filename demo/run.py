"""The demo as a person sees it: what happens, when it is ready, who one can be, how it ends."""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo import ports
from demo.airflow_home import REPOSITORY, AirflowHome
from demo.processes import Process, ProcessFailed, answers, stop_all

DATA = REPOSITORY / ".demo"
HERE = REPOSITORY / "demo"
MAPPING = HERE / "role_mapping.yaml"

PEOPLE = """\
  ada    Admin: may do everything
  otto   Op: runs pipelines, edits connections and variables
  vera   Viewer: looks, changes nothing
  nora   in no group that the mapping knows        refused, SSO-301
  hugo   a guest from another tenant               refused, SSO-306
  over   Admin, by one of 201 groups: more than a token holds, so the directory is asked"""


class Told(Exception):
    """Somebody asked us to stop; the message says how."""


class Story:
    """Prints what happens with the seconds since the start, and never stays silent for long."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._doing = ""

    def say(self, text: str, *, doing: str = "") -> None:
        """`doing` is repeated now and then until the next word."""
        self._last = time.monotonic()
        self._doing = doing
        self.tell(f"[{self._last - self._start:4.0f} s] {text}")

    def tell(self, text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:
            # Nobody reads any more. Stopping is not for a print to decide.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def heartbeat(self) -> None:
        if self._doing and time.monotonic() - self._last >= 5:
            self.say(f"  still {self._doing}", doing=self._doing)


class Demo:
    """The identity provider and the three components of one Airflow."""

    def __init__(self, story: Story, *, port: int, idp_port: int) -> None:
        self._story = story
        self._idp_url = f"http://localhost:{idp_port}"
        self._idp_port = idp_port
        self._secret = secrets.token_urlsafe(32)
        self._processes: list[Process] = []
        self.home = AirflowHome(
            path=DATA / "airflow",
            port=port,
            sso_config=HERE / "sso.yaml",
            dags_folder=HERE / "dags",
            extra={
                "DEMO_PORT": str(port),
                "DEMO_IDP_PORT": str(idp_port),
                "DEMO_ROLE_MAPPING": str(MAPPING),
                "DEMO_CLIENT_SECRET": self._secret,
            },
        )

    def start(self) -> None:
        """Returns when Airflow can be used."""
        story = self._story
        story.say(f"Starting a local identity provider on port {self._idp_port}")
        provider = self._keep(self._start_provider())
        if self.home.is_migrated:
            story.say("The database of last time is up to date")
        else:
            story.say("Making the database", doing="making the database")
            self.home.migrate(meanwhile=self._check)
        story.say(
            f"Starting Airflow on port {self.home.port}: api-server, scheduler and dag-processor",
            doing="waiting for Airflow's api-server",
        )
        api_server = self._keep(self.home.start_api_server())
        self._keep(self.home.start_scheduler())
        self._keep(self.home.start_dag_processor())
        provider.wait_for_url(self._provider_discovery, timeout=60, meanwhile=self._check)
        api_server.wait_for_url(self.home.health_url(), timeout=300, meanwhile=self._check)
        # Airflow runs on when the plugin shuts its doors, so its health alone says too little.
        if answers(f"{self.home.url}/auth/login/"):
            story.say("Ready.")
        else:
            story.say(f"Airflow is up, but nobody can sign in: see {api_server.log}")

    def watch(self) -> None:
        """Returns never: it ends by `Told` or, when a process died, by `ProcessFailed`."""
        while True:
            self._check()
            time.sleep(0.5)

    def stop(self) -> None:
        stop_all(self._processes)

    def _check(self) -> None:
        for process in self._processes:
            process.raise_if_ended()
        self._story.heartbeat()

    def _keep(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    @property
    def _provider_discovery(self) -> str:
        return f"http://127.0.0.1:{self._idp_port}/"

    def _start_provider(self) -> Process:
        where = ["--host", "127.0.0.1", "--port", str(self._idp_port)]
        back = ["--redirect-uri", f"{self.home.url}/auth/oauth-authorized/entra"]
        out = ["--post-logout-redirect-uri", f"{self.home.url}/auth/signed-out/"]
        saml = ["--sp-metadata", f"{self.home.url}/auth/saml/metadata/entra-saml"]
        return Process(
            "identity-provider",
            [sys.executable, "-m", "devidp", *where, *back, *out, *saml],
            log=self.home.logs / "identity-provider.log",
            env={**os.environ, "DEMO_CLIENT_SECRET": self._secret},
            cwd=REPOSITORY,
        )

    def describe(self) -> str:
        def short(path: Path) -> Path:
            return path.relative_to(REPOSITORY)

        return f"""
  Open  {self.home.url}  and sign in, through OpenID Connect or SAML, as

{PEOPLE}

  Who gets which role      {short(MAPPING)} (edit it, then sign in again)
  How people sign in       {short(HERE / "sso.yaml")}
  Who works here           {self._idp_url}/people (disable otto, and watch his browser)
  Logs                     {short(self.home.logs)}/
  The identity provider    {self._idp_url}

  Ctrl-C stops it. The data stays in {short(DATA)}/ until `make demo-reset`.
"""


def main(argv: Sequence[str]) -> int:
    """`--check` only looks whether the demo could start; it works before anything is installed."""
    story = Story()
    try:
        port, idp_port = ports.chosen_and_free()
        if list(argv) == ["--check"]:
            return 0
        _stop_on_signals()
        with _only_one():
            return _run(story, Demo(story, port=port, idp_port=idp_port))
    except ports.CannotStart as reason:
        story.say(f"Cannot start: {reason}")
        return 2
    except Told:
        return 0


def _run(story: Story, demo: Demo) -> int:
    code = 0
    try:
        demo.start()
        story.tell(demo.describe())
        demo.watch()
    except Told as how:
        story.say(f"{how}: stopping everything")
    except ProcessFailed as failure:
        story.say(str(failure))
        story.say("Stopping the rest")
        code = 1
    finally:
        # A second Ctrl-C changes nothing: this takes seconds, and cut short it would leave no more behind.
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)
        demo.stop()
        story.say("Everything is stopped.")
    return code


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def _stop_on_signals() -> None:
    def stop(number: int, _frame: object) -> None:
        raise Told("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    for number in _STOPPING:
        # Under nohup a closed terminal is meant to be survived.
        if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, stop)
    if sys.platform == "linux":
        # When make is killed outright, nobody would be left to press Ctrl-C.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@contextmanager
def _only_one() -> Iterator[None]:
    DATA.mkdir(mode=0o700, exist_ok=True)
    with (DATA / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ports.CannotStart("the demo already runs from this folder, on other ports.") from None
        yield
