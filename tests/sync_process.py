"""Runs over a scripted directory in processes of their own, which can be stopped, killed and set against others.

They are forked from one that has loaded Airflow, so that each is there at once.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection

from airflow import settings

from airflow_sso import database
from airflow_sso.accounts import fab_users
from airflow_sso.sync import apply, lease, run
from airflow_sso.sync.guard import Limits
from airflow_sso.sync.lease import LeaseLost, LeaseTaken
from tests.databases import engine_of
from tests.sync_world import Entry, World

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.sync_process"])
_LONGEST = 60.0  # seconds, for anything
fab_users.table()  # loads the rest of what a run needs


class Running:
    """One run in a process of its own.

    :param people: what the directory says.
    :param hold_at: where the run waits until :meth:`go_on`; what the progress begins with there,
    :param time: for which time.
    :param lasts: for how long its lease counts.
    :param at_once: how many people are changed in one transaction.
    """

    def __init__(
        self,
        url: str,
        people: Mapping[str, Entry],
        *,
        hold_at: str = "",
        time: int = 1,
        lasts: int = lease.LASTS,
        at_once: int = apply._IN_ONE_TRANSACTION,
    ) -> None:
        self._pipe, theirs = PROCESSES.Pipe()
        arguments = (theirs, url, dict(people), hold_at, time, lasts, at_once)
        self._process = PROCESSES.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def is_held(self) -> bool:
        """Wait until it has come to where it waits; ``False`` when it ends without."""
        return self._told() == "held"

    def result(self) -> str:
        """What became of it: the outcome's result, or the name of what was raised."""
        told = self._told()
        self._process.join(_LONGEST)
        return told

    def go_on(self) -> None:
        self._pipe.send("go on")

    def stop(self) -> None:
        os.kill(self._id, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self._id, signal.SIGCONT)

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        with contextlib.suppress(ProcessLookupError):  # it has just finished
            os.kill(self._id, signal.SIGKILL)
        self._process.join(_LONGEST)

    @property
    def _id(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def _told(self) -> str:
        assert self._pipe.poll(_LONGEST), "nothing is heard of it"
        return str(self._pipe.recv())


def _run(
    pipe: Connection,
    url: str,
    people: dict[str, Entry],
    hold_at: str,
    time: int,
    lasts: int,
    at_once: int,
) -> None:
    settings.engine = engine_of(url)
    database._found.clear()
    apply._IN_ONE_TRANSACTION = at_once
    world = World(settings.engine)
    world.limits = Limits(count=1000, percent=100)
    world.reader.people = people
    times = itertools.count(1)

    def progress(doing: str) -> None:
        if hold_at and doing.startswith(hold_at) and next(times) == time:
            pipe.send("held")
            pipe.recv()

    try:
        held = lease.take("sync", who="a process", lasts=lasts)
        outcome = run.carry_out(world.directory, world.mapping, world.limits, held, progress=progress)
        held.give_back()
        pipe.send(outcome.result)
    except (LeaseLost, LeaseTaken) as refused:
        pipe.send(type(refused).__name__)
