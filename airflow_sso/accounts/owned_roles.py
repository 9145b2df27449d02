"""Roles that the mapping file owns: made, kept as it says, given back when it names them no longer.

The file is the whole truth about such a role. What another hand gave it goes, a DAG's ``access_control`` and
the roles page included; what another hand took comes back. What must stay true: no role is touched that the
file neither names nor has named, and none of Airflow's own five.

A change counts for whoever is signed in after ``[fab] cache_ttl`` seconds (30), for which each server
process remembers a person with their permissions.

A DAG with an ``access_control`` of its own loses, each time that its file is parsed, what a role has on it
that it does not name. :func:`keep` gives it back, and it goes again: whoever writes ``access_control`` into a
DAG names the owned role there too, or leaves the DAG to the file.
"""

from __future__ import annotations

import logging
import threading
import time
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from airflow_sso import airflow_compat, models
from airflow_sso.accounts import fab_users, role_permissions
from airflow_sso.accounts.dag_access import DagAccess, Permission, in_general
from airflow_sso.accounts.role_permissions import Permissions, Seen
from airflow_sso.audit import Journal
from airflow_sso.models import owned_roles
from airflow_sso.role_mapping import BUILT_IN_ROLES, OwnedRole

log = logging.getLogger(__name__)

#: For how long a look that found everything in order is believed, whatever it could not see.
_BELIEVED = 600.0  # seconds
#: For how long the same loss, made good again, is not written down another time.
_SAME_AGAIN = 3600.0  # seconds


#: Whether the mapping needs a role of this name though it does not own it.
IsNamed = Callable[[str], bool]


def _never(_name: str) -> bool:
    return False


def keep(
    connection: Connection, journal: Journal, owned: Collection[OwnedRole], is_named: IsNamed = _never
) -> bool:
    """Make the roles in Airflow's tables what the mapping file says; True when something was changed.

    In the caller's transaction, as the first thing in it: what it reads must be what others have committed.

    :param owned: every role under ``roles:`` of the mapping in force. A role of that name that somebody made
        by hand is taken over; one that was owned and is not among them is released, and goes when nobody
        holds it.
    :param is_named: of a released role, whether rules go on giving it: then it stays, as if made by hand.
    :raises IntegrityError: another replica has just made the same roles; do it again, with a new journal.
        MySQL says ``OperationalError`` (a deadlock) where neither had made any before.
    """
    by_name = _by_name(owned)
    _lock(connection)
    look = _look(connection, by_name, is_named)
    plan = _plan(connection, by_name, look)
    if not plan.carry_out(connection, journal):
        _remember(connection, by_name, look)
        return False
    return True


def is_out_of_date(connection: Connection, owned: Collection[OwnedRole], is_named: IsNamed = _never) -> bool:
    """Whether :func:`keep` has something to do. Cheap enough for every few seconds.

    A few small statements while nothing happens: what they see is compared with what was seen when
    everything was in order. Only where it differs, all permissions are read.
    """
    by_name = _by_name(owned)
    look = _look(connection, by_name, is_named)
    if not by_name and not look.registry:
        return False
    if _is_remembered(connection, by_name, look):
        return False
    plan = _plan(connection, by_name, look)
    if plan.is_empty():
        _remember(connection, by_name, look)
        return False
    return True


def _by_name(owned: Collection[OwnedRole]) -> dict[str, OwnedRole]:
    built_in = sorted(role.name for role in owned if role.name in BUILT_IN_ROLES)
    if built_in:  # the mapping's reader refuses them; nothing here should depend on that
        log.error("airflow_sso: %s cannot be owned by a mapping file; left alone", ", ".join(built_in))
    return {role.name: role for role in owned if role.name not in BUILT_IN_ROLES}


def _lock(connection: Connection) -> None:
    """Take the locks of all that is owned, in order, until the transaction ends.

    The write is for the database that has no locks on rows.
    """
    connection.execute(select(owned_roles.c.id).order_by(owned_roles.c.id).with_for_update())
    connection.execute(update(owned_roles).values(name=owned_roles.c.name))


@dataclass(frozen=True, slots=True)
class _Look:
    """Everything that what there is to do follows from, in short."""

    registry: Mapping[str, datetime | None]
    """The roles that are or were owned, and since when they are not."""
    roles: Mapping[str, Seen]
    """Those that exist of the owned ones and those that they are like."""
    held: frozenset[int]
    """Those of the released ones that somebody holds."""
    dag_ids: frozenset[str]
    named: frozenset[str]
    """Those of the released ones that the mapping needs all the same."""


def _look(connection: Connection, owned: Mapping[str, OwnedRole], is_named: IsNamed = _never) -> _Look:
    rows = connection.execute(select(owned_roles.c.name, owned_roles.c.released_at))
    registry = {row.name: row.released_at for row in rows}
    if not registry and not owned:
        return _Look({}, {}, frozenset(), frozenset(), frozenset())
    names = {*registry, *owned, *_likes(owned)}
    roles = role_permissions.seen(connection, names)
    released = [roles[name].role_id for name in registry if name not in owned and name in roles]
    return _Look(
        registry,
        roles,
        role_permissions.held_roles(connection, released),
        fab_users.dag_ids(connection),
        frozenset(name for name in registry if name not in owned and is_named(name)),
    )


def _likes(owned: Mapping[str, OwnedRole]) -> frozenset[str]:
    return frozenset(role.like for role in owned.values() if role.like is not None)


@dataclass
class _Plan:
    """What is to be done, by name; ids are looked up when roles that were missing are there."""

    permissions: Permissions
    look: _Look
    make: list[str] = field(default_factory=list)
    take_over: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    gained: dict[str, frozenset[Permission]] = field(default_factory=dict)
    lost: dict[str, frozenset[Permission]] = field(default_factory=dict)

    def is_empty(self) -> bool:
        return not (self.make or self.take_over or self.release or self.delete or self.gained or self.lost)

    def carry_out(self, connection: Connection, journal: Journal) -> bool:
        """Write it; True when anything was written that a role or its owner can tell."""
        if self.is_empty():
            return False
        self._register(connection)
        self.permissions.add(one for gained in self.gained.values() for one in gained)
        gained = {name: self.permissions.there(wanted) for name, wanted in self.gained.items()}
        self.gained = {name: some for name, some in gained.items() if some}
        ids = {name: role.role_id for name, role in self.look.roles.items()}
        if self.make:
            made = role_permissions.seen(connection, self.make)
            ids.update({name: role.role_id for name, role in made.items()})
        self.permissions.give({ids[name]: some for name, some in self.gained.items() if name in ids})
        self.permissions.take({ids[name]: some for name, some in self.lost.items()})
        role_permissions.delete_roles(connection, [ids[name] for name in self.delete if name in ids])
        if self.delete:
            connection.execute(delete(owned_roles).where(owned_roles.c.name.in_(self.delete)))
        self._tell(journal)
        return not self.is_empty()

    def _register(self, connection: Connection) -> None:
        new = [name for name in sorted({*self.make, *self.take_over}) if name not in self.look.registry]
        if new:
            connection.execute(insert(owned_roles), [{"name": name, "released_at": None} for name in new])
        for names, since in (({*self.make, *self.take_over}, None), (self.release, models.now())):
            if names:
                these = owned_roles.c.name.in_(sorted(names))
                connection.execute(update(owned_roles).where(these).values(released_at=since))
        if self.make:
            rows = [{"name": name} for name in sorted(self.make)]
            connection.execute(insert(fab_users.role_table()), rows)

    def _tell(self, journal: Journal) -> None:
        for name in sorted({*self.make, *self.take_over, *self.gained, *self.lost}):
            gained, lost = self.gained.get(name, frozenset()), self.lost.get(name, frozenset())
            changes = {"gained": _written(gained), "lost": _written(lost)}
            if name in self.make:
                why = "the mapping file names it"
                journal.owned_role_changed(name, became="made", reason=why, **changes)
            elif name in self.take_over:
                why = "the mapping file names a role that was there: it owns it from now on"
                journal.owned_role_changed(name, became="taken over", reason=why, **changes)
            elif lost or not _told_lately(name, gained):
                why = "what the mapping file says of the DAGs and roles that there are"
                journal.owned_role_changed(name, became="permissions changed", reason=why, **changes)
        for name in sorted(self.release):
            why = "the mapping file names it no longer; it goes when nobody holds it"
            journal.owned_role_changed(name, became="released", reason=why)
        for name in sorted(self.delete):
            why = "the mapping file named it no longer, and nobody holds it"
            journal.owned_role_changed(name, became="deleted", reason=why)


def _written(permissions: Iterable[Permission]) -> list[str]:
    return [f"{action} on {resource}" for action, resource in permissions]


def _plan(connection: Connection, owned: Mapping[str, OwnedRole], look: _Look) -> _Plan:
    role_ids = [look.roles[name].role_id for name in {*owned, *_likes(owned)} if name in look.roles]
    permissions = Permissions(connection, role_ids)
    plan = _Plan(permissions, look)
    likes, public = _likes(owned), airflow_compat.public_role()
    for name, released_at in look.registry.items():
        if name in owned:
            continue
        if released_at is None:
            plan.release.append(name)
        role = look.roles.get(name)
        needed = name in likes or name in look.named or name == public
        if role is None or not (role.role_id in look.held or needed):
            plan.delete.append(name)
    wanted = _Wanted(owned, look, permissions)
    for name in owned:
        if name not in look.roles:
            if _is_in_the_way(connection, name, plan.make):
                continue
            plan.make.append(name)
        elif name not in look.registry or look.registry[name] is not None:
            plan.take_over.append(name)
        should, has = wanted.of(name), permissions.of(_number(look, name))
        if should - has:
            plan.gained[name] = should - has
        if has - should:
            plan.lost[name] = has - should
    return plan


def _is_in_the_way(connection: Connection, name: str, to_be_made: Collection[str]) -> bool:
    """Whether the database takes the name for that of another role; MySQL does, by its collation."""
    roles = fab_users.role_table()
    other = connection.scalar(select(roles.c.name).where(roles.c.name == name))
    if other is None and connection.dialect.name == "mysql":
        other = next((one for one in to_be_made if _folded(one) == _folded(name)), None)
    if other is not None:
        log.error("airflow_sso: the role %s cannot be made: %s is in its way", name, other)
    return other is not None


def _folded(name: str) -> str:
    """A name as MySQL's usual collations compare it: without case, accents and width."""
    parts = unicodedata.normalize("NFKD", name)
    return "".join(char for char in parts if not unicodedata.combining(char)).casefold()


def _number(look: _Look, name: str) -> int | None:
    role = look.roles.get(name)
    return role.role_id if role else None


class _Wanted:
    """What each owned role should have: its own, and all of the role that it is like."""

    def __init__(self, owned: Mapping[str, OwnedRole], look: _Look, permissions: Permissions) -> None:
        self._owned = owned
        self._look = look
        self._permissions = permissions
        self._access = DagAccess(look.dag_ids, airflow_compat.dag_resource_name())
        self._own: dict[str, frozenset[Permission]] = {}

    def of(self, name: str) -> frozenset[Permission]:
        found: set[Permission] = set()
        chain: set[str] = set()  # a circle gives what its roles say, and ends
        at: str | None = name
        while at is not None and at not in chain:
            chain.add(at)
            role = self._owned.get(at)
            if role is None:
                found |= self._of_another(at, asked_by=name)
                break
            found |= self._own_of(role)
            at = role.like
        return frozenset(found)

    def _own_of(self, role: OwnedRole) -> frozenset[Permission]:
        if role.name not in self._own:
            said = {*in_general(role), *self._access.of(role)}
            self._own[role.name] = frozenset(filter(role_permissions.fits, said))
        return self._own[role.name]

    def _of_another(self, name: str, *, asked_by: str) -> frozenset[Permission]:
        there = name in self._look.roles
        _say_missing(asked_by, name, there=there)
        return self._permissions.of(_number(self._look, name)) if there else frozenset()


_memory = threading.Lock()
_missing: set[tuple[str, str]] = set()
_told: dict[tuple[str, frozenset[Permission]], float] = {}
_in_order: dict[str, tuple[dict[str, OwnedRole], _Look, float]] = {}


def _say_missing(role: str, like: str, *, there: bool) -> None:
    with _memory:
        new = not there and (role, like) not in _missing
        (_missing.discard if there else _missing.add)((role, like))
    if new:
        log.warning(
            "airflow_sso: the mapping file says that the role %s is like %s, and there is no role %s: that "
            "gives nothing until there is one",
            role,
            like,
            like,
        )


def _told_lately(name: str, gained: frozenset[Permission]) -> bool:
    """Whether exactly this was given back a while ago: a DAG's ``access_control`` takes it at every parse."""
    now = time.monotonic()
    with _memory:
        for key in [key for key, at in _told.items() if now - at > _SAME_AGAIN]:
            del _told[key]
        told = (name, gained) in _told
        _told.setdefault((name, gained), now)
    if told:
        log.warning(
            "airflow_sso: the role %s lost the same permissions again, %s among them, and has them back. If "
            "it is a DAG's access_control that takes them, name the role there as well",
            name,
            _written(sorted(gained)[:1])[0],
        )
    return told


def _is_remembered(connection: Connection, owned: dict[str, OwnedRole], look: _Look) -> bool:
    with _memory:
        known = _in_order.get(str(connection.engine.url))
    if known is None:
        return False
    known_owned, known_look, at = known
    return time.monotonic() - at < _BELIEVED and known_owned == owned and known_look == look


def _remember(connection: Connection, owned: dict[str, OwnedRole], look: _Look) -> None:
    with _memory:
        _in_order[str(connection.engine.url)] = (owned, look, time.monotonic())
