"""The mapping that is in force: the last version of the file that had no fault.

The file is looked at when a decision is needed and read again when it has changed. What must stay
true: a broken file never takes force and never takes the last good one out of force; before there
is a good one, nobody is let in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from airflow_sso import yaml_document
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.role_mapping.rules import Mapping
from airflow_sso.role_mapping.understanding import understand
from airflow_sso.yaml_document import Fault

log = logging.getLogger(__name__)


class MappingFile:
    """:param path: the YAML file.
    :param known_roles: called at each (re)load; the names of the roles that exist now.
    """

    def __init__(self, path: Path, known_roles: Callable[[], Collection[str]]) -> None:
        self._path = path
        self._known_roles = known_roles
        self._lock = threading.Lock()
        self._in_force: Mapping | None = None
        self._seen: tuple[object, ...] | None = None
        self.faults: tuple[Fault, ...] = ()

    def current(self) -> Mapping:
        """The mapping in force.

        :raises ConfigurationFaulty: when no version without a fault has been seen yet.
        """
        with self._lock:
            seen = self._fingerprint()
            # A file with faults is read again each time: a missing role may exist by now.
            if seen != self._seen or self.faults:
                self._reload(seen)
            if self._in_force is None:
                raise ConfigurationFaulty("; ".join(map(str, self.faults)))
            return self._in_force

    def _fingerprint(self) -> tuple[object, ...]:
        try:
            stat = self._path.stat()
        except OSError as cause:
            return (type(cause).__name__,)
        # The inode too: a Kubernetes ConfigMap swaps a symlink, and its files share one second.
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _reload(self, seen: tuple[object, ...]) -> None:
        document = yaml_document.read(self._path)
        mapping = understand(document, self._known_roles())
        changed = seen != self._seen
        self._seen = seen
        self.faults = tuple(document.faults)
        if mapping is not None:
            self._in_force = mapping
            log.info("role mapping in force: %s, %d rules", self._path, len(mapping.rules))
        elif changed:
            kept = "the last good version stays in force" if self._in_force else "nobody can sign in"
            log.error(
                "role mapping not accepted, %s: %s", kept, "; ".join(str(fault) for fault in self.faults)
            )
