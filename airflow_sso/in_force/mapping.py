"""The role mapping that this process decides with: the database's newest generation, never the file itself.

The file is looked at when a decision is needed; a version that is new and has no fault is put into the
database, and from then on counts in every replica. What must stay true: a file with a fault changes nothing;
one that was superseded never comes back by itself, however late a replica still holds it; and where the
generation in force cannot be understood, nobody is let in by guess.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from airflow_sso import airflow_compat, audit, database, metrics, yaml_document
from airflow_sso.audit import Journal
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.in_force import file as files
from airflow_sso.in_force import generations
from airflow_sso.in_force.file import File, Fingerprint
from airflow_sso.in_force.generations import FILE, Generation, Key
from airflow_sso.role_mapping import Mapping, understand
from airflow_sso.yaml_document import Fault

log = logging.getLogger(__name__)

#: Called in the transaction that accepts a version, after its row: what must come to be with it.
OnAccept = Callable[[Connection, Journal, Mapping], None]

_TRIES = 5
_NOBODY = "none is in force, so nobody can sign in"
#: How long a decision waits for whoever is busy with a new file before it takes what is in force meanwhile.
_PATIENCE = 5.0  # seconds


class NotAccepted(ValueError):
    """What was to be put in force has ``faults``."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one look found: what is in force, and what the file is beside it.

    ``mapping``
        the generation, compiled; ``None`` when there is none, or for the reason in ``unreadable``.
    ``waiting``
        the file, where it is to be accepted and nobody has done that yet.
    ``superseded``
        the number under which the file was in force once.
    ``roles``
        which ones there were when ``faults`` were found.
    ``failure``
        why accepting the file did not succeed.
    """

    fingerprint: Fingerprint
    file_hash: str | None
    generation: Generation | None
    mapping: Mapping | None
    unreadable: str | None = None
    waiting: Mapping | None = None
    superseded: int | None = None
    faults: tuple[Fault, ...] = ()
    roles: frozenset[str] = frozenset()
    failure: str | None = None

    @property
    def key(self) -> Key | None:
        return self.generation.key if self.generation else None

    def still_holds(self, fingerprint: Fingerprint, key: Key | None, *, accepts: bool) -> bool:
        # A file with faults is judged again each time: a missing role may exist by now.
        if self.faults or (accepts and self.waiting):
            return False
        return (fingerprint, key) == (self.fingerprint, self.key)

    @property
    def why_not_taken(self) -> str | None:
        number = self.generation.number if self.generation else 0
        if self.superseded:
            return (
                f"it was in force before, as generation {self.superseded}, and generation {number} has taken "
                "its place; airflow-sso mapping activate brings it back"
            )
        if self.faults:
            count = f"{len(self.faults)} fault{'' if len(self.faults) == 1 else 's'}"
            stays = f"generation {number} stays in force" if number else _NOBODY
            return f"it has {count}; {stays}"
        return self.failure


class MappingInForce:
    """What to decide with, and why that is not the file, where it is not. May be used by many threads.

    It must not be asked inside a transaction that has written: accepting a version is one of its own.

    :param path: the YAML file.
    :param known_roles: the names of the roles that exist now; called when a version is judged.
    :param on_accept: called in the accepting transaction; what it raises undoes the acceptance.
    """

    def __init__(
        self,
        path: Path,
        known_roles: Callable[[], Collection[str]],
        on_accept: OnAccept | None = None,
    ) -> None:
        self._path = path
        self._known_roles = known_roles
        self._on_accept = on_accept
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._speaking = threading.Lock()
        self._told: _Seen | None = None

    # To decide with

    def current(self) -> Mapping:
        """The mapping in force; a new version of the file is accepted first.

        :raises ConfigurationFaulty: when none was ever accepted and the file has faults, or the one in force
            is not understood here.
        :raises TablesMissing: when there is nowhere to look.
        """
        seen = self._look(accepts=True)
        if seen is not self._told:
            self._say(seen)
        return _in_force(seen)

    def look(self) -> Mapping:
        """The mapping that :meth:`current` would give, storing nothing and saying nothing in the log.

        :raises ConfigurationFaulty, TablesMissing: likewise.
        """
        seen = self._look(accepts=False)
        return seen.waiting or _in_force(seen)

    def require(self) -> None:
        """Return if there is anything to decide with; costs no statement once there was.

        :raises ConfigurationFaulty, TablesMissing: as :meth:`current`.
        """
        if self.mapping is None:
            self.current()

    def activate(self, by: str) -> tuple[Generation, Generation | None] | None:
        """Put the file in force, also where it was superseded.

        :param by: the operator who says so.
        :returns: the new generation and the one before it; ``None`` when the file is in force already.
        :raises NotAccepted: when it has faults; nothing has changed then.
        :raises TablesMissing: when there is nowhere to put it.
        """
        database.require_tables()
        with self._lock:
            for tries_left in reversed(range(_TRIES)):
                file = files.read(self._path)
                with airflow_compat.engine().connect() as connection:
                    before = generations.latest(connection)
                if before and before.hash == file.hash:
                    return None
                document = file.document
                mapping = understand(document, self._known_roles())
                if mapping is None:
                    raise NotAccepted(tuple(document.faults))
                try:
                    return self._accept(file, mapping, by, before), before
                except IntegrityError:  # another one was accepted at the same moment
                    if not tries_left:
                        raise
        raise AssertionError("unreachable")

    # What the last look saw

    @property
    def generation(self) -> Generation | None:
        """The one in force, as last seen; ``None`` when there is none, or nobody has looked yet."""
        return self._seen.generation if self._seen else None

    @property
    def mapping(self) -> Mapping | None:
        """That generation, compiled; ``None`` also when it is not understood here."""
        return self._seen.mapping if self._seen else None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those of the file as it is now."""
        return self._seen.faults if self._seen else ()

    @property
    def why_not_taken(self) -> str | None:
        """A sentence without its subject, the file on this machine, where that is not what is in force."""
        return self._seen.why_not_taken if self._seen else None

    @property
    def waits(self) -> bool:
        """Whether the file is a version that the next :meth:`current` puts in force."""
        return self._seen is not None and self._seen.waiting is not None

    # How it is looked at

    def _look(self, *, accepts: bool) -> _Seen:
        database.require_tables()
        seen, fingerprint = self._seen, files.fingerprint(self._path)
        with airflow_compat.engine().connect() as connection:
            key = generations.latest_key(connection)
        if seen is None or seen.mapping is None or seen.key != key:
            patience = -1.0
        elif seen.still_holds(fingerprint, key, accepts=accepts):
            return seen
        else:
            patience = _PATIENCE
        if not self._lock.acquire(timeout=patience):
            assert seen is not None  # noqa: S101 (else it had waited)
            return seen  # until the new one is accepted, this one is in force
        try:
            return self._look_again(accepts=accepts)
        finally:
            self._lock.release()

    def _look_again(self, *, accepts: bool) -> _Seen:
        file, seen = self._judged(self._seen)
        for tries_left in reversed(range(_TRIES)):
            if not accepts or seen.waiting is None:
                break
            failed: Exception | None = None
            try:
                self._accept(file, seen.waiting, FILE, seen.generation)
            except Exception as cause:  # whatever it is, what is in force decides on
                if not isinstance(cause, SQLAlchemyError):
                    log.exception("airflow_sso: a new role mapping could not be put in force")
                failed = cause
            # Of two who accept at the same moment one fails, and sees here what the other has accepted.
            file, seen = self._judged(seen)
            if failed and seen.waiting and not (isinstance(failed, IntegrityError) and tries_left):
                if seen.mapping is None:
                    raise failed
                seen = replace(seen, failure=_failed(failed))
                break
        self._seen = seen
        return seen

    def _judged(self, before: _Seen | None) -> tuple[File, _Seen]:
        """The file, and what it is beside what is in force now."""
        file = files.read(self._path)
        with airflow_compat.engine().connect() as connection:
            known = before if before and before.key == generations.latest_key(connection) else None
            generation = known.generation if known else generations.latest(connection)
            superseded = None
            if generation and file.hash and file.hash != generation.hash:
                superseded = generations.by_hash(connection, file.hash, before=generation.number)
        mapping, unreadable = (known.mapping, known.unreadable) if known else _compiled(generation)
        seen = _Seen(
            fingerprint=file.fingerprint,
            file_hash=file.hash,
            generation=generation,
            mapping=mapping,
            unreadable=unreadable,
            superseded=superseded,
        )
        if superseded or (generation and file.hash == generation.hash):
            return file, seen
        roles = frozenset(self._known_roles())
        if before and before.faults and file.hash and (before.file_hash, before.roles) == (file.hash, roles):
            return file, replace(seen, faults=before.faults, roles=roles)
        document = file.document
        waiting = understand(document, roles)
        faults = () if waiting else tuple(document.faults)
        return file, replace(seen, waiting=waiting, faults=faults, roles=roles)

    def _accept(self, file: File, mapping: Mapping, by: str, instead_of: Generation | None) -> Generation:
        """:raises IntegrityError: when another one was accepted since ``instead_of`` was read."""
        assert file.hash is not None  # noqa: S101 (it was understood)
        journal = Journal(audit.new_reference())
        with database.transaction() as connection:
            made = generations.add(
                connection,
                journal,
                file_hash=file.hash,
                text=file.text,
                rules=len(mapping.rules),
                by=by,
                instead_of=instead_of,
            )
            if self._on_accept:
                self._on_accept(connection, journal, mapping)
            journal.write(connection)
        journal.say()
        return made

    def _say(self, seen: _Seen) -> None:
        """In the log, once for each version."""
        with self._speaking:
            before, self._told = self._told, seen
        if seen.generation and (before is None or before.key != seen.key):
            number, short = seen.generation.number, seen.generation.short_hash
            if seen.mapping:
                count = len(seen.mapping.rules)
                log.info("role mapping in force: generation %d (sha %s), rules: %d", number, short, count)
            else:
                log.error("airflow_sso: every door is shut: %s", seen.unreadable)
        told = (seen.file_hash, seen.superseded, seen.faults, seen.failure)
        if before and told == (before.file_hash, before.superseded, before.faults, before.failure):
            return
        if seen.faults:
            metrics.count("mapping_refused")
            faults = "; ".join(map(str, seen.faults))
            log.error("role mapping not accepted: %s: %s", seen.why_not_taken, faults)
        elif seen.why_not_taken:
            metrics.count("mapping_superseded" if seen.superseded else "mapping_refused")
            log.warning("role mapping not accepted: %s: %s", self._path, seen.why_not_taken)


def _in_force(seen: _Seen) -> Mapping:
    if seen.mapping is None:
        raise ConfigurationFaulty(seen.unreadable or "; ".join(map(str, seen.faults)))
    return seen.mapping


def _compiled(generation: Generation | None) -> tuple[Mapping | None, str | None]:
    """What is in force, or why it is not understood here. Its roles may have gone since it was accepted."""
    if generation is None:
        return None, None
    document = yaml_document.parse(generation.text, f"generation {generation.number}")
    mapping = understand(document, None)
    if mapping is not None:
        return mapping, None
    return None, (
        f"generation {generation.number} of the role mapping, which another version of airflow-sso accepted "
        f"{generation.accepted_at:%Y-%m-%d %H:%M} UTC, is in force, and this version does not understand it. "
        "Update airflow-sso here, or activate a file that every version understands. "
        + "; ".join(map(str, document.faults))
    )


def _failed(cause: Exception) -> str:
    why = str(getattr(cause, "orig", None) or cause).splitlines()[:1]
    what = f"{type(cause).__name__}: {' '.join(why)}"
    return f"it could not be put into the database ({what}); that is tried again"
