"""What a web server does unasked: looks at the role mapping, and reads the directories every few minutes.

Every worker of every replica has this thread. Each looks at the mapping for itself, so that a saved file
counts without anybody signing in; of the directories the lease decides whose turn it is. What must stay true:
it never keeps a request waiting, and whatever goes wrong in it is logged, once, and tried again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import models
from airflow_sso.accounts import owned_upkeep
from airflow_sso.config import Settings
from airflow_sso.directory.failures import DirectoryError
from airflow_sso.errors import ConfigurationFaulty, SsoError
from airflow_sso.role_mapping import Mapping
from airflow_sso.sync import bookmarks, lease, quarantine, run
from airflow_sso.sync.directories import Directory
from airflow_sso.sync.guard import Limits
from airflow_sso.sync.lease import LeaseLost, LeaseTaken

log = logging.getLogger(__name__)

LEASE = "sync"
#: How often is looked whether a mapping was saved, it is time, or somebody has approved a plan.
_LOOK_EVERY = 5.0  # seconds
_PAUSE = timedelta(seconds=15)


def limits(settings: Settings) -> Limits:
    """The guard's limits, as they are configured."""
    most = settings.sync.max_deactivations
    return Limits(count=most.count, percent=most.percent, window=most.window)


class Schedule:
    """:param settings: whose ``sync.every`` counts.
    :param directories: what is read.
    :param mapping: the role mapping in force, asked for at each turn.
    """

    def __init__(
        self, settings: Settings, directories: tuple[Directory, ...], mapping: Callable[[], Mapping]
    ) -> None:
        self._settings = settings
        self._directories = directories
        self._mapping = mapping
        self._stop = threading.Event()
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None
        self._said: dict[str, str] = {}

    @property
    def directories(self) -> tuple[Directory, ...]:
        """What is read, also where nobody has started this."""
        return self._directories

    def start(self) -> None:
        """Begin, if this process has not begun yet."""
        if self._thread is not None:
            return
        with self._started:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="airflow-sso-watch", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way ends with the process, and is taken up by the next one."""
        self._stop.set()

    def _watch(self) -> None:
        # Replicas that start together do not ask together.
        while not self._stop.wait(_LOOK_EVERY * random.uniform(0.5, 1.0)):  # noqa: S311 (no secret)
            # Leavers do not wait for a role that cannot be made.
            self._try("the mapping is looked at", self._look_at_mapping)
            self._try("the directories are read", self._turn)

    def _try(self, doing: str, step: Callable[[], None]) -> None:
        """One step of a round, whose trouble is told and tried again."""
        try:
            step()
        except LeaseTaken:
            pass
        except (LeaseLost, SsoError, SQLAlchemyError) as cause:
            self._say_once(doing, cause)
            return
        except Exception:  # a fault of ours must not end the watch; it would end unseen
            log.exception("airflow_sso: %s later: a fault of airflow-sso", doing)
            return
        self._said.pop(doing, None)

    def _look_at_mapping(self) -> None:
        try:
            mapping = self._mapping()
        except ConfigurationFaulty:  # it has said so itself; a directory that is due says it once more
            return
        owned_upkeep.keep_up(mapping)

    def _say_once(self, doing: str, cause: Exception) -> None:
        # The driver's own words: around them SQLAlchemy puts the statement, which is another each time.
        said = f"{type(cause).__name__}: {getattr(cause, 'orig', None) or cause}"
        if said != self._said.get(doing):
            log.warning("airflow_sso: %s later: %s", doing, said)
        self._said[doing] = said

    def _turn(self) -> None:
        due = [directory for directory in self._directories if self._is_due(directory)]
        if not due:
            return
        held = lease.take(LEASE, who="web server")
        try:
            for directory in due:
                # Another replica may have been at it between our look and our turn.
                if self._is_due(directory):
                    self._read(directory, held)
        finally:
            held.give_back()

    def _read(self, directory: Directory, held: lease.Lease) -> None:
        try:
            run.carry_out(directory, self._mapping(), limits(self._settings), held, progress=self._may_go_on)
        except DirectoryError:  # on record by now; the other directories are read all the same
            return

    def _may_go_on(self, _doing: str) -> None:
        if self._stop.is_set():
            raise LeaseLost("this server is stopping")

    def _is_due(self, directory: Directory) -> bool:
        every = self._settings.sync.every
        if not isinstance(every, timedelta):
            return False
        tried = bookmarks.of(directory.authority).tried_at
        if tried is None or models.now() - tried >= every:
            return True
        # What somebody has just approved does not wait for its turn; a directory in trouble is not pressed.
        approved = any(one.state == quarantine.APPROVED for one in quarantine.waiting(directory.authority))
        return approved and models.now() - tried >= _PAUSE
