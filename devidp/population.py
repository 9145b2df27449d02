"""Everybody in the directory: the table of people, a generated crowd, and the groups they are in.

For people of the table, devidp.people stays the truth and this follows it; the crowd lives here alone.
What must stay true: an id never changes hands (a new oid is a new entry, and the old one is gone for
good), every change of a person is in the change log, and 100,000 people stay small.
"""

from __future__ import annotations

import gc
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import gcd
from typing import Any, TypeVar

from devidp.people import MAIL_DOMAIN, People, Person, crowd_number, crowd_oid, derived_id, group_id

T = TypeVar("T")
PURPOSES = ("pingone", "scim", "generic")
MOST_PEOPLE, MOST_GROUPS = 1_000_000, 100_000


class Group:
    """`members` are positions of people, `nested` the groups inside it, `parents` those it is inside."""

    __slots__ = ("app_roles", "deleted", "id", "members", "name", "nested", "parents")

    def __init__(self, name: str) -> None:
        self.name, self.id = name, group_id(name)
        self.members = array("I")
        self.nested: list[Group] = []
        self.parents: list[Group] = []
        self.app_roles: tuple[str, ...] = ()
        self.deleted = False


class Entry:
    """One person as a directory knows them. `row` is None for the crowd, whose names follow a number."""

    __slots__ = ("deleted", "disabled", "groups", "locked", "number", "position", "row", "valid_from")

    def __init__(self, position: int, number: int, row: Person | None) -> None:
        self.position, self.number, self.row = position, number, row
        self.groups: tuple[Group, ...] = ()
        self.disabled = self.locked = False
        self.deleted: str | None = None
        self.valid_from = 0.0

    @property
    def name(self) -> str:
        return self.row.name if self.row else f"p{self.number:06}"

    @property
    def oid(self) -> str:
        return self.row.oid if self.row else crowd_oid(self.number)

    @property
    def given_name(self) -> str:
        return self.row.given_name if self.row else "Person"

    @property
    def family_name(self) -> str:
        return self.row.family_name if self.row else f"{self.number:06}"

    @property
    def display_name(self) -> str:
        return self.row.display_name if self.row else f"Person {self.number:06}"

    @property
    def email(self) -> str:
        return self.row.email if self.row else f"p{self.number:06}@{MAIL_DOMAIN}"

    @property
    def guest(self) -> bool:
        return self.row is not None and self.row.guest

    def id_for(self, purpose: str) -> str:
        return derived_id(self.row, purpose) if self.row else crowd_oid(self.number, purpose)

    def as_person(self) -> Person:
        """As the sign-in side knows them; somebody deleted is refused as a disabled person is."""
        row = self.row or Person(
            name=self.name,
            oid=self.oid,
            given_name=self.given_name,
            family_name=self.family_name,
            about="One of the generated crowd.",
            groups=tuple(group.name for group in self.groups),
            disabled=self.disabled,
        )
        return replace(row, disabled=True) if self.deleted else row


class Population:
    """Positions count up from 0 in the order people came; the position of somebody deleted stays empty."""

    def __init__(self, people: People) -> None:
        self._lock = threading.RLock()
        self._people = people
        self.epoch = 0
        self.reset()
        people.population = self

    def reset(self) -> None:
        with self._lock:
            self.epoch += 1
            self.entries: list[Entry] = []
            self.groups: dict[str, Group] = {}
            self._groups_by_id: dict[str, Group] = {}
            self._by_name: dict[str, Entry] = {}
            self._by_id: dict[str, dict[str, Entry]] = {name: {} for name in ("entra", *PURPOSES)}
            self._crowd: range = range(0)
            self._changes = array("I")
            self._cache: dict[Any, Any] = {}
            for row in self._people.rows():
                self.follow(row)

    # -- reading ----------------------------------------------------------------------------------

    def named(self, name: str) -> Entry | None:
        """By login name, whatever became of them."""
        entry = self._by_name.get(name)
        if entry is None and name[:1] == "p" and name[1:].isdecimal():
            entry = self._of_crowd(int(name[1:]))
            entry = entry if entry is not None and entry.name == name else None
        return entry

    def by_id(self, purpose: str, wanted: str) -> Entry | None:
        """Somebody who is there (not deleted), by the id that `purpose` has for them."""
        wanted = wanted.lower()
        entry = self._by_id[purpose].get(wanted)
        if entry is None and (number := crowd_number(wanted, purpose)) is not None:
            entry = self._of_crowd(number)
        return entry if entry is not None and entry.deleted is None else None

    def _of_crowd(self, number: int) -> Entry | None:
        return self.entries[self._crowd[number - 1]] if 1 <= number <= len(self._crowd) else None

    def group_by_id(self, wanted: str) -> Group | None:
        group = self._groups_by_id.get(wanted.lower())
        return group if group is not None and not group.deleted else None

    def all_groups(self) -> list[Group]:
        return self._cached("groups", lambda: [one for one in self.groups.values() if not one.deleted])

    def live(self) -> array[int]:
        """The positions of everybody who is not deleted."""
        return self._cached(
            "live", lambda: array("I", (e.position for e in self.entries if e.deleted is None))
        )

    def disabled(self) -> array[int]:
        def build() -> array[int]:
            return array("I", (e.position for e in self.entries if e.disabled and e.deleted is None))

        return self._cached("disabled", build)

    def direct_members(self, group: Group) -> array[int]:
        return self._cached(("direct", group.name), lambda: self._present(group.members))

    def transitive_members(self, group: Group) -> array[int]:
        def build() -> array[int]:
            inside = _closure([group], lambda one: one.nested)
            return self._present({position for one in inside for position in one.members})

        return self._cached(("transitive", group.name), build)

    def direct_groups(self, entry: Entry) -> list[Group]:
        return [group for group in entry.groups if not group.deleted]

    def effective_groups(self, entry: Entry) -> list[Group]:
        """Direct groups first, then those around them (fact A14: nested groups count)."""
        return _closure(entry.groups, lambda one: one.parents)

    def as_told_by(self, face: str, person: Person) -> Person:
        """The person with the groups and app roles that this face tells: Entra (A14) and PingOne (D14)
        unfold nesting, and app roles are those of direct groups (A17)."""
        entry = self.named(person.name)
        if entry is None or entry.oid != person.oid:
            return person
        told = self.effective_groups(entry) if face in ("entra", "pingone") else self.direct_groups(entry)
        roles = dict.fromkeys(person.app_roles)
        for group in self.direct_groups(entry):
            roles |= dict.fromkeys(group.app_roles)
        return replace(person, groups=tuple(one.name for one in told), app_roles=tuple(roles))

    def limit_of(self, kept: float) -> int:
        """The first position that a directory which lost people no longer shows."""
        live = self.live()
        count = int(len(live) * kept)
        return live[count] if count < len(live) else len(self.entries)

    def sequence(self) -> int:
        return len(self._changes)

    def changed_since(self, sequence: int, until: int) -> list[int]:
        """Positions, oldest change first, each once."""
        return list(dict.fromkeys(self._changes[sequence:until]))

    def _present(self, positions: Iterable[int]) -> array[int]:
        return array("I", sorted(p for p in set(positions) if self.entries[p].deleted is None))

    def _cached(self, key: Any, build: Callable[[], T]) -> T:
        cache = self._cache
        if key not in cache:
            with self._lock:
                cache[key] = build()
        found: T = cache[key]
        return found

    # -- changing ---------------------------------------------------------------------------------

    def follow(self, row: Person) -> None:
        """A row of the table is new or changed. Another oid under a known name is another person: the
        old one is gone for good (fact F18, a rehire)."""
        with self._lock:
            entry = self.named(row.name)
            if entry is not None and entry.oid != row.oid:
                entry.deleted = "hard"
                self._note(entry)
                entry = None
            before = None if entry is None else entry.row
            if entry is None:
                entry = Entry(len(self.entries), 0, row)
                self.entries.append(entry)
            entry.row = row
            self._by_name[row.name] = entry
            self._by_id["entra"][row.oid.lower()] = entry
            for purpose in PURPOSES:
                self._by_id[purpose][derived_id(row, purpose)] = entry
            entry.disabled = row.disabled
            self._join(entry, row.groups)
            if before is None or replace(before, groups=row.groups) != row:
                self._note(entry)

    def set_groups(self, entry: Entry, names: Iterable[str]) -> None:
        with self._lock:
            if entry.row is not None:
                self._people.put(entry.name, {"groups": list(names)})
            else:
                self._join(entry, names)

    def set_disabled(self, entry: Entry, disabled: bool) -> None:
        with self._lock:
            if entry.row is not None:
                self._people.put(entry.name, {"disabled": disabled})
            else:
                entry.disabled = disabled
                self._note(entry)

    def set_deleted(self, entry: Entry, deleted: str | None) -> None:
        with self._lock:
            if entry.deleted == "hard" and deleted != "hard":
                raise ValueError(
                    f"{entry.name} was deleted for good and cannot come back; a new person of that name "
                    "needs a new oid (PUT /_control/people)"
                )
            entry.deleted = deleted
            self._note(entry)

    def set_locked(self, entry: Entry, locked: bool) -> None:
        entry.locked = locked

    def sign_out_everywhere(self, entry: Entry, now: float) -> None:
        with self._lock:
            entry.valid_from = now
            self._note(entry)

    def set_members(self, group: Group, members: list[Entry]) -> None:
        with self._lock:
            wanted = {entry.position for entry in members}
            for position in set(group.members) - wanted:
                entry = self.entries[position]
                self.set_groups(entry, [one.name for one in entry.groups if one is not group])
            for entry in members:
                if group not in entry.groups:
                    self.set_groups(entry, [*(one.name for one in entry.groups), group.name])

    def nest(self, group: Group, inside: list[Group]) -> None:
        with self._lock:
            for child in group.nested:
                child.parents.remove(group)
            group.nested = inside
            for child in inside:
                child.parents.append(group)
            self._cache = {}

    def set_group(self, group: Group, *, deleted: bool, app_roles: tuple[str, ...]) -> None:
        with self._lock:
            group.deleted, group.app_roles = deleted, app_roles
            self._cache = {}

    def group(self, name: str) -> Group:
        """The group of that name, made if there is none."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name)
            self._groups_by_id[group.id] = group
            self._cache = {}
        return group

    def generate(self, people: int, groups: int, members: int) -> None:
        """p000001 and so on in g0001 and so on, the same in every run. Group after group takes the next
        `members` people of a fixed shuffle, so that everybody is in about as many groups."""
        if self._crowd:
            raise ValueError("the crowd is there already; POST /_control/reset sends it home")
        if not (0 < people <= MOST_PEOPLE and 0 <= groups <= MOST_GROUPS and members >= 0):
            raise ValueError(
                f"people must be 1 to {MOST_PEOPLE}, groups 0 to {MOST_GROUPS}, members 0 or more"
            )
        with self._lock:
            # Nothing made here is garbage; looking for some would take most of the time.
            gc.disable()
            try:
                self._generate(people, groups, min(members, people))
            finally:
                gc.enable()
            self._cache = {}

    def _generate(self, people: int, groups: int, members: int) -> None:
        first = len(self.entries)
        self.entries.extend(Entry(first + n, n + 1, None) for n in range(people))
        self._crowd = range(first, first + people)
        self._changes.extend(self._crowd)
        stride = next(n for n in range(max(1, people * 5 // 8), people + 2) if gcd(n, people) == 1)
        for j in range(groups):
            group = self.group(f"g{j + 1:04}")
            places = [first + ((j * members + n) * stride) % people for n in range(members)]
            for place in places:
                entry = self.entries[place]
                entry.groups = (*entry.groups, group)
            group.members.extend(places)

    def _join(self, entry: Entry, names: Iterable[str]) -> None:
        wanted = tuple(self.group(name) for name in dict.fromkeys(names))
        for group in entry.groups:
            if group not in wanted:
                group.members.remove(entry.position)
        for group in wanted:
            if group not in entry.groups:
                group.members.append(entry.position)
        entry.groups = wanted
        self._cache = {}

    def _note(self, entry: Entry) -> None:
        self._changes.append(entry.position)
        self._cache = {}


def page_of(positions: array[int], start: int, size: int, limit: int) -> tuple[array[int], int | None]:
    """At most `size` positions from `start` on and below `limit`, and where the next page begins."""
    low, high = bisect_left(positions, start), bisect_left(positions, limit)
    page = positions[low : min(low + size, high)]
    return page, page[-1] + 1 if page and low + size < high else None


def _closure(start: Iterable[Group], onward: Callable[[Group], list[Group]]) -> list[Group]:
    """These groups and all that follow; groups inside each other do no harm, deleted ones lead nowhere."""
    found: dict[str, Group] = {}
    waiting = list(start)
    for group in waiting:
        if not group.deleted and group.name not in found:
            found[group.name] = group
            waiting.extend(onward(group))
    return list(found.values())
