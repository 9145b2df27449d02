"""Who gains and who loses what when one mapping takes another's place: pure, on what is known of people.

Both mappings decide on the same facts, and what counts is what an account would hold. What must stay true:
nobody of whom something is not known is called unchanged by it, and equal people are decided once.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType

from airflow_sso.role_mapping import Facts, RoleDecision, decide_by_facts
from airflow_sso.role_mapping import Mapping as RoleMapping
from airflow_sso.role_mapping.conditions import tests
from airflow_sso.role_mapping.decide import DENIED
from airflow_sso.role_mapping.explain import of_rules
from airflow_sso.role_mapping.rules import Rule
from airflow_sso.role_mapping.values import Value, key_of
from airflow_sso.sync.plan import FactsKey, as_key, facts_of_key
from airflow_sso.sync.untold import NamesGroup, Untold, completed, names_all

_VERDICTS, _REASONS = 50_000, 5000  # kept; a hundred thousand people share a few hundred
_NOTHING: frozenset[str] = frozenset()
_NO_FACTS: Facts = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account; ``given`` are those of the roles ``held`` that the mapping gave."""

    user_id: int
    username: str
    provider: str
    authority: str
    held: frozenset[str]
    given: frozenset[str]
    facts: Facts


@dataclass(frozen=True, slots=True)
class Side:
    """A mapping, and the roles that exist once it is in force (``None``: that is not known)."""

    mapping: RoleMapping
    roles_there: frozenset[str] | None = None

    def decide(self, facts: Facts, on: date, untold: frozenset[str] = _NOTHING) -> RoleDecision:
        decision = decide_by_facts(facts, self.mapping, on, untold=untold)
        if self.roles_there is None:
            return decision
        return decision.without_roles_but(self.roles_there | self._owned)

    @property
    def _owned(self) -> frozenset[str]:
        return frozenset(role.name for role in self.mapping.owned_roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What lies behind a difference, the same for everybody of whom the same is known.

    ``old_rules``, ``new_rules``
        each role, and what people call the rules that give it.
    ``old_code``, ``new_code``
        with which a mapping refuses, if it does.
    ``open_rules``
        rules that rest on what nobody was asked about, and could change the answer.
    ``unknown``
        what that is: ``claim:department``, ``group``.
    ``may_deny``
        whether one of those rules refuses.
    """

    old_rules: Mapping[str, tuple[str, ...]]
    new_rules: Mapping[str, tuple[str, ...]]
    old_code: str | None
    new_code: str | None
    open_rules: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    may_deny: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What becomes of one person: the roles ``before`` under the old mapping, ``after`` under the new one.

    Where ``why.unknown`` names something, ``after`` is what is certain.
    """

    user_id: int
    username: str
    before: frozenset[str]
    after: frozenset[str]
    why: Why

    @property
    def gains(self) -> frozenset[str]:
        return self.after - self.before

    @property
    def loses(self) -> frozenset[str]:
        return self.before - self.after

    @property
    def loses_everything(self) -> bool:
        """Whether somebody who has roles has none then, or may have none."""
        return bool(self.before) and (not self.after or self.why.may_deny)

    @property
    def refused(self) -> str | None:
        """The code with which the new mapping refuses whom the old one lets in."""
        return self.why.new_code if self.why.old_code is None else None

    @property
    def let_in(self) -> bool:
        """Whether the new mapping lets in whom the old one refuses."""
        return self.why.old_code is not None and self.why.new_code is None


@dataclass(slots=True)
class Comparison:
    """Everybody, sorted into those who change, those of whom that is not known, and the others."""

    changed: list[Difference] = field(default_factory=list)
    unknown: list[Difference] = field(default_factory=list)
    unchanged: int = 0

    @property
    def lose_everything(self) -> int:
        """How many have roles and have none then, or may have none because something is not known."""
        return sum(one.loses_everything for one in (*self.changed, *self.unknown))

    def kinds(self, called: Callable[[str], str] = str) -> list[tuple[int, str]]:
        """How many people each kind of change is about, in words, the gravest first.

        :param called: how the name of a role is written.
        """
        gone = sum(one.loses_everything for one in self.changed)
        loses = Counter(
            role for one in self.changed if not one.loses_everything for role in sorted(one.loses)
        )
        gains = Counter(role for one in self.changed for role in sorted(one.gains))
        same = [one for one in self.changed if one.before == one.after]
        refused = Counter(one.refused for one in same if one.refused)
        let_in = sum(one.let_in for one in same)
        kinds = [
            (gone, _does(gone, "loses everything", "lose everything")),
            *(
                (number, _does(number, f"loses {called(role)}", f"lose {called(role)}"))
                for role, number in _most(loses)
            ),
            *(
                (number, _does(number, f"gains {called(role)}", f"gain {called(role)}"))
                for role, number in _most(gains)
            ),
            *(
                (number, f"cannot sign in then ({code}), with the same roles")
                for code, number in _most(refused)
            ),
            (let_in, "can sign in then, with the same roles"),
        ]
        return [(number, words) for number, words in kinds if number]


def _does(number: int, one: str, several: str) -> str:
    return one if number == 1 else several


def _most(counted: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def compare(
    people: Iterable[Person],
    old: Side,
    new: Side,
    on: date,
    *,
    directories: Mapping[str, NamesGroup] = MappingProxyType({}),
    protocols: Mapping[str, str] = MappingProxyType({}),
    unclear: Callable[[str], bool] = lambda _provider: False,
) -> Comparison:
    """What ``new`` changes for people who live under ``old``.

    :param directories: by authority, of directories that tell groups: of those only the ones that the mapping
        of the day names, here ``old``.
    :param protocols: what each provider speaks.
    :param unclear: whether it cannot be told if a provider has such a directory; then it counts as one.
    """
    comparer = _Comparer(old, new, on, directories, protocols)
    doubtful = Untold(old.mapping, new.mapping, names_all)
    found = Comparison()
    for person in people:
        difference = comparer.difference(person, doubtful if unclear(person.provider) else None)
        if difference is None:
            found.unchanged += 1
        elif difference.why.unknown:
            found.unknown.append(difference)
        else:
            found.changed.append(difference)
    return found


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What both mappings say, without what it rests on.

    ``is_open``: it could be otherwise, by what nobody was asked about.
    """

    old: RoleDecision
    new: RoleDecision
    is_open: bool


#: A rule that is open, and the facts that nobody was asked about.
_Open = tuple[Rule, tuple[str, ...]]


def _bare(decision: RoleDecision) -> RoleDecision:
    """What a decision does, which many people share."""
    return replace(decision, matched=(), not_given=(), unasked=(), facts=_NO_FACTS)


class _Comparer:
    """Two mappings, applied to person after person."""

    def __init__(
        self,
        old: Side,
        new: Side,
        on: date,
        directories: Mapping[str, NamesGroup],
        protocols: Mapping[str, str],
    ) -> None:
        self._old, self._new, self._on, self._protocols = old, new, on, protocols
        self._untold = {
            authority: Untold(old.mapping, new.mapping, names) for authority, names in directories.items()
        }
        self._sieve = _Sieve((old.mapping, new.mapping))
        self._verdict = functools.lru_cache(maxsize=_VERDICTS)(self._judge)
        self._shared: dict[object, _Verdict] = {}
        self._why = functools.lru_cache(maxsize=_REASONS)(self._reason)
        self._equal = functools.lru_cache(maxsize=_REASONS)(lambda roles: roles)

    def difference(self, person: Person, otherwise: Untold | None = None) -> Difference | None:
        """``None`` for somebody who stays as they are.

        :param otherwise: what was not told, where no directory of theirs is known.
        """
        facts = completed(person.facts, person.provider, self._protocols)
        untold = self._untold.get(person.authority, otherwise)
        groups = untold.of(facts.get("group")) if untold else _NOTHING
        key = as_key(self._sieve.kept(facts))
        verdict = self._verdict(key, groups)
        before, given = person.held, person.given
        if not verdict.old.keeps_roles:
            before, given = verdict.old.to_hold(person.held, person.given), verdict.old.roles
        after = before if verdict.new.keeps_roles else verdict.new.to_hold(before, given)
        lets_in = verdict.old.refused_because is None, verdict.new.refused_because is None
        if before == after and lets_in[0] == lets_in[1] and not verdict.is_open:
            return None
        return Difference(
            user_id=person.user_id,
            username=person.username,
            before=self._equal(before),
            after=self._equal(after),
            why=self._why(key, groups),
        )

    def _judge(self, key: FactsKey, untold: frozenset[str]) -> _Verdict:
        old, new, open_rules = self._decide(key, untold)
        answer = (old.roles, old.refused_because, new.roles, new.refused_because, bool(open_rules))
        if answer not in self._shared:
            self._shared[answer] = _Verdict(_bare(old), _bare(new), bool(open_rules))
        return self._shared[answer]

    def _reason(self, key: FactsKey, untold: frozenset[str]) -> Why:
        old, new, open_rules = self._decide(key, untold)
        return Why(
            old_rules=old.given_by(),
            new_rules=new.given_by(),
            old_code=old.refused_because,
            new_code=new.refused_because,
            open_rules=tuple(dict.fromkeys(rule.label for rule, _ in open_rules)),
            unknown=tuple(sorted({fact for _, unknown in open_rules for fact in unknown})),
            may_deny=any(rule.deny for rule, _ in open_rules),
        )

    def _decide(
        self, key: FactsKey, untold: frozenset[str]
    ) -> tuple[RoleDecision, RoleDecision, list[_Open]]:
        facts = facts_of_key(key)
        old = self._old.decide(facts, self._on)
        new = self._new.decide(facts, self._on, untold)
        open_rules = [
            *self._open(self._old, old, facts, _NOTHING),
            *self._open(self._new, new, facts, untold),
        ]
        return old, new, open_rules

    def _open(self, side: Side, decision: RoleDecision, facts: Facts, untold: frozenset[str]) -> list[_Open]:
        """The rules that rest on what nobody was asked about, and could change the decision."""
        rules = side.mapping.people
        unasked = rules.facts - facts.keys()
        if decision.refused_because == DENIED or not (unasked or untold):
            return []
        asking = {rule.number: rule for fact in unasked for rule in rules.by_fact[fact]}
        if untold:
            asking |= {r.number: r for r in rules.by_fact.get("group", ()) if _asks_for(r, untold)}
        return [
            (one.rule, tuple(fact for fact in one.unknown if fact in unasked or (untold and fact == "group")))
            for one in of_rules(list(asking.values()), facts, self._on, untold=untold)
            if one.holds is None and one.counts and _could_change(one.rule, decision)
        ]


def _asks_for(rule: Rule, untold: frozenset[str]) -> bool:
    """Whether a rule asks for one of these groups."""
    return any(
        test.fact == "group" and not untold.isdisjoint({test.pattern.text} if test.pattern else test.values)
        for test in tests(rule.condition)
    )


def _could_change(rule: Rule, decision: RoleDecision) -> bool:
    """Whether the decision would be another one if the rule held."""
    return rule.deny or bool(rule.templates) or not rule.roles <= decision.roles


class _Sieve:
    """Of everything that is known of people what these mappings ask for, so that more of them are equal."""

    def __init__(self, mappings: Iterable[RoleMapping]) -> None:
        asked: dict[str, set[tuple[type, Value]]] = {}
        self._whole: set[str] = set()
        for mapping in mappings:
            for rule in mapping.rules:
                if rule.for_machines:
                    continue
                for test in tests(rule.condition):
                    asked.setdefault(test.fact, set()).update(map(key_of, test.values))
                    if test.pattern:
                        self._whole.add(test.fact)
        self._asked = asked
        self._seen: dict[str, dict[tuple[type, Value], bool]] = {fact: {} for fact in asked}

    def kept(self, facts: Facts) -> Facts:
        """The facts, and the values of each, that some rule asks for."""
        found: dict[str, frozenset[Value] | None] = {}
        for fact in self._asked:
            if fact in facts:
                values = facts[fact]
                found[fact] = values if values is None or fact in self._whole else self._of(fact, values)
        return found

    def _of(self, fact: str, values: frozenset[Value]) -> frozenset[Value]:
        seen, asked = self._seen[fact], self._asked[fact]
        kept = []
        for value in values:
            at = (type(value), value)  # 1 and True are equal, and different things in a mapping
            if at not in seen:
                seen[at] = key_of(value) in asked
            if seen[at]:
                kept.append(value)
        return frozenset(kept)
