"""What a rule asks about somebody, and the answer: it holds, it does not, or that is not known.

What must stay true: unknown stays unknown under ``all``, ``any`` and ``not``, so that it never becomes a
yes; and an answer carries the values that led to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from functools import cached_property

from airflow_sso.role_mapping.values import Haystack, Hit, Pattern, Value, key_of

#: What is known of a person: the values of each fact, ``None`` when it is unknown.
Facts = MappingOf[str, frozenset[Value] | None]


@dataclass(frozen=True, slots=True)
class Test:
    """One fact against values, any of which will do, or against a pattern.

    ``fact``
        ``group``, ``app_role``, ``client``, ``provider``, ``protocol``, or ``claim:`` and a path.
    ``word``
        how a claim is compared, as it is written; empty for the others.
    """

    __test__ = False  # pytest takes the name for a case of its own

    fact: str
    values: tuple[Value, ...] = ()
    pattern: Pattern | None = None
    word: str = ""

    def __str__(self) -> str:
        what = self.fact.replace(":", " ", 1)
        asked = self.pattern.text if self.pattern else " or ".join(map(_spelled, self.values))
        return " ".join(filter(None, (what, self.word, asked)))


@dataclass(frozen=True, slots=True)
class All:
    """Every part must hold."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " and ".join(map(_bracketed, self.parts))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One part that holds is enough."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " or ".join(map(_bracketed, self.parts))


@dataclass(frozen=True, slots=True)
class Not:
    """The part must not hold, and that must be known."""

    part: Condition

    def __str__(self) -> str:
        return f"not {_bracketed(self.part)}"


Condition = Test | All | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a condition holds (``None``: unknown), the values that it holds by, and what is unknown."""

    holds: bool | None
    hits: tuple[tuple[Test, Hit], ...] = ()
    unknown: tuple[str, ...] = ()


class Evidence:
    """Facts about one person, arranged for answering.

    :param untold: values of rules about ``group``, exact ones or patterns as they are written, of which
        nobody said whether the person is in such a group, while of all others somebody did.
    """

    def __init__(self, facts: Facts, untold: frozenset[str] = frozenset()) -> None:
        self.facts = facts
        self.untold = untold
        self._haystacks: dict[str, Haystack] = {}
        self._hits: dict[tuple[str, Pattern], tuple[Hit, ...]] = {}

    @cached_property
    def values(self) -> dict[str, dict[tuple[type, Value], Value]]:
        """The values of each fact, by what they are compared by."""
        return {fact: {key_of(one): one for one in known} for fact, known in self.facts.items() if known}

    def hits(self, test: Test) -> tuple[Hit, ...]:
        """The known values that a test asks for."""
        if test.pattern is None:
            known = self.values.get(test.fact, {})
            found = (known.get(key_of(value)) for value in test.values)
            return tuple(Hit(one) for one in found if one is not None)
        at = (test.fact, test.pattern)
        if at not in self._hits:
            if test.fact not in self._haystacks:
                self._haystacks[test.fact] = Haystack(self.facts.get(test.fact) or ())
            self._hits[at] = test.pattern.hits(self._haystacks[test.fact])
        return self._hits[at]

    def is_unknown(self, test: Test) -> bool:
        """Whether there may be values that a test asks for, beyond those that are known."""
        if self.facts.get(test.fact) is None:
            return True
        if test.fact != "group" or not self.untold:
            return False
        asked = {test.pattern.text} if test.pattern else set(test.values)
        return not self.untold.isdisjoint(asked)


def answer(condition: Condition, evidence: Evidence) -> Answer:
    """Whether a condition holds, by Kleene's logic of three values."""
    if isinstance(condition, Test):
        hits = evidence.hits(condition)
        if hits:
            return Answer(holds=True, hits=tuple((condition, hit) for hit in hits))
        if evidence.is_unknown(condition):
            return Answer(holds=None, unknown=(condition.fact,))
        return Answer(holds=False)
    if isinstance(condition, Not):
        inner = answer(condition.part, evidence)
        return Answer(holds=None if inner.holds is None else not inner.holds, unknown=inner.unknown)
    decisive = isinstance(condition, AnyOf)
    parts = [answer(part, evidence) for part in condition.parts]
    led = tuple(pair for part in parts if part.holds for pair in part.hits)
    if any(part.holds is decisive for part in parts):
        return Answer(holds=decisive, hits=led if decisive else ())
    if any(part.holds is None for part in parts):
        unknown = dict.fromkeys(fact for part in parts if part.holds is None for fact in part.unknown)
        return Answer(holds=None, unknown=tuple(unknown))
    return Answer(holds=not decisive, hits=() if decisive else led)


def tests(condition: Condition) -> Iterator[Test]:
    """Every test in a condition, in the order in which they are written."""
    if isinstance(condition, Test):
        yield condition
    elif isinstance(condition, Not):
        yield from tests(condition.part)
    else:
        for part in condition.parts:
            yield from tests(part)


def needs_a_hit(condition: Condition) -> bool:
    """Whether it can hold only if one of its tests outside of ``not`` does."""
    if isinstance(condition, Test):
        return True
    if isinstance(condition, Not):
        return False
    enough = any if isinstance(condition, All) else all
    return enough(needs_a_hit(part) for part in condition.parts)


def sameness(condition: Condition) -> Hashable:
    """Equal for two conditions that ask the same, in whatever order and spelling."""
    if isinstance(condition, Test):
        return condition.fact, condition.pattern or frozenset(map(key_of, condition.values))
    if isinstance(condition, Not):
        return "not", sameness(condition.part)
    return type(condition), frozenset(map(sameness, condition.parts))


def _spelled(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bracketed(condition: Condition) -> str:
    return f"({condition})" if isinstance(condition, All | AnyOf) else str(condition)
