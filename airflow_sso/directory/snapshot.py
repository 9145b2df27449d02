"""What a directory says, as values: about one person, and about everybody who was asked for.

What must stay true: three-valued throughout. ``UNKNOWN`` is never "disabled", a group that could not be
read is never "in none", and a reading says when it began, so that nothing older than an account's last
change is believed over it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

#: Those of some groups, ids or names, that a pattern of the mapping matches.
Like = Callable[[Collection[str]], frozenset[str]]
State = Literal["usable", "unusable", "gone", "unknown"]
Fact = frozenset[str | int | bool]


@dataclass(frozen=True, slots=True)
class Observation:
    """One person, as a directory has them.

    ``state``
        ``usable``; ``unusable`` (``reason`` says why); ``gone``: there is no such person, which counts
        only when it is seen twice; ``unknown``: this person could not be read, which says nothing.
    ``reason``
        in words that an operator and an auditor read: "disabled", "locked", "not found".
    ``valid_from``
        sessions that began before this moment are to end (fact B17); of an unknown person too.
    """

    state: State
    reason: str = ""
    valid_from: datetime | None = None


USABLE = Observation("usable")
GONE = Observation("gone", "not found in the directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be read.

    ``subjects``
        the immutable ids of everybody with an account here.
    ``read_singly``
        those of them who must be asked about by their own id, whatever changed.
    ``groups``
        the groups that the mapping names, each as the mapping writes it; only such as
        :meth:`Reader.names_group` says the directory knows by this spelling.
    ``like``
        what else is wanted of groups, by name or id; ``None`` where no rule has a pattern, and of a reader
        that does not follow them.
    ``app_roles``
        whether app roles are asked for.
    """

    subjects: Collection[str]
    read_singly: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    like: Like | None = None
    app_roles: bool = False

    @property
    def asks_for_groups(self) -> bool:
        return bool(self.groups) or self.like is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One whole answer.

    ``began_at``
        our time just before the first question.
    ``everyone``
        whether ``people`` has everybody who was wanted; if not, whoever is missing is as before.
    ``people``
        by subject.
    ``groups``
        by subject: the wanted groups that each is in, of everybody wanted; those that are wanted by a
        pattern as the directory writes them. Not there: in none of them.
    ``app_roles``
        by subject, likewise; ``None`` when they were not read.
    ``facts``
        by subject: what a reader learnt of single people in any other way; these win.
    ``population``
        how many people the directory holds, where that was told.
    ``cursor``
        where the next reading can go on; opaque.
    """

    began_at: datetime
    everyone: bool
    people: Mapping[str, Observation]
    groups: Mapping[str, Fact] = field(default_factory=dict)
    app_roles: Mapping[str, Fact] | None = None
    facts: Mapping[str, Mapping[str, Fact | None]] = field(default_factory=dict)
    population: int | None = None
    cursor: str | None = None

    def facts_of(self, subject: str, supplies: frozenset[str]) -> dict[str, Fact | None]:
        """What was read of a person, of the facts that the reader supplies."""
        found: dict[str, Fact | None] = {}
        if "group" in supplies:
            found["group"] = self.groups.get(subject, frozenset())
        if "app_role" in supplies and self.app_roles is not None:
            found["app_role"] = self.app_roles.get(subject, frozenset())
        return found | dict(self.facts.get(subject, {}))


@dataclass(frozen=True, slots=True)
class Answer:
    """One person, for a sign-in: who they are now, and which of the wanted groups they are in.

    ``follows_patterns``
        whether ``groups`` has all of theirs that ``like`` wants, and not only those that were named.
    """

    observation: Observation
    groups: Fact = frozenset()
    follows_patterns: bool = False


class Reader(Protocol):
    """One directory.

    ``supplies``
        the facts it can tell of everybody: ``group``, ``app_role``. What it does not supply stays what
        the last sign-in found.
    ``follows_patterns``
        whether what it tells of somebody's groups has those that a pattern of the mapping matches, too.
    """

    supplies: frozenset[str]
    follows_patterns: bool

    def names_group(self, value: str) -> bool:
        """Whether the directory would know a group by what a rule writes."""

    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:
        """Everybody who is wanted; with a cursor only what changed since, and ``read_singly``.

        :param progress: called now and then, before each request at least, with what is being done; may
            raise to stop the reading.
        :raises CursorExpired: when only reading everybody will do.
        :raises DirectoryError: when there is no whole answer, whatever was read until then.
        """

    def read_one(
        self, subject: str, groups: frozenset[str], *, seconds: float, like: Like | None = None
    ) -> Answer:
        """One person and their wanted groups, within so many seconds.

        :param groups, like: see :class:`Wanted`.
        :raises DirectoryError: when that cannot be found out in time.
        """

    def names_of(self, groups: Collection[str]) -> Mapping[str, str | None]:
        """What the directory calls each of these groups, ``None`` where it has no such group.

        :param groups: as rules write them; only such as :meth:`names_group` knows. One that is not in the
            answer could not be found out.
        :raises DirectoryError: when the directory does not tell.
        """


def by_person(members: Mapping[str, Iterable[str]], subjects: Collection[str]) -> dict[str, Fact]:
    """Who is in which group, from who is in each: only people of ``subjects``.

    Equal sets are one object: a hundred thousand people share a few hundred of them.
    """
    lists: dict[str, tuple[str, ...]] = {}
    for group in sorted(members):
        for subject in members[group]:
            if subject in subjects:
                lists[subject] = (*lists.get(subject, ()), group)
    shared: dict[tuple[str, ...], Fact] = {}
    return {subject: shared.setdefault(groups, frozenset(groups)) for subject, groups in lists.items()}
