"""A mapping that can decide: its rules, arranged so that those which do not match cost nothing.

What must stay true: a rule is found by every value that can make it hold, and by every fact whose being
unknown can leave it open.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from datetime import date

from airflow_sso.role_mapping.conditions import All, Condition, Not, Test, needs_a_hit, tests
from airflow_sso.role_mapping.require import Requirement
from airflow_sso.role_mapping.values import Haystack, Pattern, Value, key_of

#: Roles that every Airflow has, before its database says more.
BUILT_IN_ROLES = frozenset({"Admin", "Op", "User", "Viewer", "Public"})
#: Where the name of a role takes what a pattern caught: ``{1}``.
PLACEHOLDER = re.compile(r"\{([1-9])\}")
_BUILT_IN = frozenset(name.casefold() for name in BUILT_IN_ROLES)


def is_airflows_own(name: str) -> bool:
    """Whether a name is that of one of Airflow's roles, or one that a database or a person takes for it.

    MySQL tells neither case nor width apart, and some of its collations no blanks at the end.
    """
    return unicodedata.normalize("NFKC", name).strip().casefold() in _BUILT_IN


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One compiled rule.

    ``number``
        counts from 1, as people do.
    ``templates``
        names of roles into which what a pattern caught is put: ``team-{1}``.
    ``until``
        the last day (UTC) on which it counts.
    ``line``
        where it is written.
    """

    number: int
    condition: Condition
    roles: frozenset[str] = frozenset()
    templates: tuple[str, ...] = ()
    deny: bool = False
    name: str | None = None
    line: int | None = None
    until: date | None = None
    for_machines: bool = False

    @property
    def label(self) -> str:
        """What people call it: its name, else what it asks for."""
        return self.name or str(self.condition)

    def may_give(self, role: str) -> bool:
        """Whether it gives this role, or a pattern of it may."""
        if role in self.roles:
            return True
        return not is_airflows_own(role) and any(_could_become(one, role) for one in self.templates)

    def counts_on(self, day: date) -> bool:
        """Whether its time has not run out."""
        return self.until is None or day <= self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedRole:
    """A role that the mapping file makes, whole.

    ``like``
        the role whose permissions it has too.
    ``permissions``
        (action, resource) as Airflow names them: ``("can_read", "DAG Runs")``.
    ``dags``
        a pattern of DAG ids, in which ``*`` stands for any text, and what may be done with those:
        ``read``, ``edit``, ``delete``, ``trigger``.
    """

    name: str
    like: str | None = None
    permissions: frozenset[tuple[str, str]] = frozenset()
    dags: tuple[tuple[str, frozenset[str]], ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules for people, or those for machines.

    ``by_value``, ``by_pattern``
        the rules that a value, or a match of a pattern, can make hold.
    ``always``
        those that can hold without any.
    ``by_fact``
        the rules that read a fact, which are open while it is unknown.
    """

    by_value: MappingOf[tuple[str, tuple[type, Value]], tuple[Rule, ...]] = field(repr=False)
    by_pattern: MappingOf[Test, tuple[Rule, ...]] = field(repr=False)
    always: tuple[Rule, ...] = field(repr=False)
    by_fact: MappingOf[str, tuple[Rule, ...]] = field(repr=False)
    group_values: frozenset[str] = field(repr=False)
    group_patterns: frozenset[Pattern] = field(repr=False)

    @property
    def facts(self) -> frozenset[str]:
        """What the rules read: ``group``, ``app_role``, ``claim:department`` ..."""
        return frozenset(self.by_fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A mapping that may be in force.

    ``no_match``
        the roles of whoever matches no rule; none where that refuses.
    ``keeps_manual_roles``
        whether roles that people were given by hand stay (``manual_roles: keep``).
    ``protected_roles``
        roles that no rule gives, and that no sign-in takes.
    ``owned_roles``
        the roles that the file makes, under ``roles:``.
    ``role_prefixes``
        what names of roles that a pattern caught may begin with, beside those of ``owned_roles``.
    ``require``
        what must hold of a sign-in itself.
    """

    rules: tuple[Rule, ...]
    no_match: frozenset[str] = frozenset()
    keeps_manual_roles: bool = False
    protected_roles: frozenset[str] = frozenset()
    owned_roles: tuple[OwnedRole, ...] = ()
    role_prefixes: tuple[str, ...] = ()
    require: tuple[Requirement, ...] = ()
    people: RuleSet = field(repr=False)
    machines: RuleSet = field(repr=False)

    @property
    def facts(self) -> frozenset[str]:
        """What the rules for people read."""
        return self.people.facts

    @property
    def group_values(self) -> frozenset[str]:
        """Every group that a rule for people names whole, as it writes it."""
        return self.people.group_values

    @property
    def group_patterns(self) -> frozenset[str]:
        """Every pattern of groups in a rule for people, as it is written."""
        return frozenset(pattern.text for pattern in self.people.group_patterns)

    def groups_like(self, names: Collection[str]) -> frozenset[str]:
        """Those of these groups that a pattern in a rule for people matches."""
        patterns = self.people.group_patterns
        if not patterns:
            return frozenset()
        values = Haystack(names)
        hits = (hit.value for pattern in patterns for hit in pattern.hits(values))
        return frozenset(one for one in hits if isinstance(one, str))

    @property
    def role_names(self) -> frozenset[str]:
        """Every role that it names whole."""
        return self.no_match.union(*(rule.roles for rule in self.rules))

    def names(self, role: str) -> bool:
        """Whether it says anything of a role, and so needs it: a rule may give it, or it is protected."""
        if role in self.protected_roles or role in self.role_names:
            return True
        return self.why_not_captured(role) is None and any(rule.may_give(role) for rule in self.rules)

    def why_not_captured(self, name: str) -> str | None:
        """Why a role whose name was caught from a group is not given; ``None``: it may be.

        A group that somebody made and called ``airflow-Admin`` must not make an Admin.
        """
        if is_airflows_own(name):
            return "a pattern never gives a role of Airflow's own"
        if name in self.protected_roles:
            return "it is one of protected_roles"
        if name in (role.name for role in self.owned_roles) or name.startswith(self.role_prefixes):
            return None
        return "it is not under roles:, and begins with no prefix that is"


def compile_rules(
    rules: Iterable[Rule],
    no_match: Collection[str] = (),
    *,
    keeps_manual_roles: bool = False,
    protected_roles: Collection[str] = (),
    owned_roles: Iterable[OwnedRole] = (),
    role_prefixes: Iterable[str] = (),
    require: Iterable[Requirement] = (),
) -> Mapping:
    """Arrange rules for deciding."""
    rules = tuple(rules)
    return Mapping(
        rules=rules,
        no_match=frozenset(no_match),
        keeps_manual_roles=keeps_manual_roles,
        protected_roles=frozenset(protected_roles),
        owned_roles=tuple(owned_roles),
        role_prefixes=tuple(role_prefixes),
        require=tuple(require),
        people=_arranged([rule for rule in rules if not rule.for_machines]),
        machines=_arranged([rule for rule in rules if rule.for_machines]),
    )


def _arranged(rules: Collection[Rule]) -> RuleSet:
    by_value: dict[tuple[str, tuple[type, Value]], list[Rule]] = defaultdict(list)
    by_pattern: dict[Test, list[Rule]] = defaultdict(list)
    by_fact: dict[str, list[Rule]] = defaultdict(list)
    asked: set[str] = set()
    patterns: set[Pattern] = set()
    for rule in rules:
        anchors = _anchors(rule.condition)
        for test in dict.fromkeys(anchor for anchor in anchors if anchor.pattern):
            by_pattern[test].append(rule)
        # By what they are compared by: to Python, 1 and True are equal.
        keys = ((anchor.fact, key_of(value)) for anchor in anchors for value in anchor.values)
        for key in dict.fromkeys(keys):
            by_value[key].append(rule)
        for test in tests(rule.condition):
            if rule not in by_fact[test.fact][-1:]:
                by_fact[test.fact].append(rule)
            if test.fact == "group":
                asked |= {value for value in test.values if isinstance(value, str)}
                patterns |= {test.pattern} if test.pattern else set()
    return RuleSet(
        by_value={at: tuple(found) for at, found in by_value.items()},
        by_pattern={at: tuple(found) for at, found in by_pattern.items()},
        always=tuple(rule for rule in rules if not needs_a_hit(rule.condition)),
        by_fact={fact: tuple(found) for fact, found in by_fact.items()},
        group_values=frozenset(asked),
        group_patterns=frozenset(patterns),
    )


def _anchors(condition: Condition) -> list[Test]:
    """The tests of which one must have a hit for the condition to hold, if it needs any."""
    if isinstance(condition, Test):
        return [condition]
    if isinstance(condition, Not):
        return []
    if isinstance(condition, All):
        # One part that must hold is enough to find the rule by: the one with the fewest ways.
        needed = [_anchors(part) for part in condition.parts if needs_a_hit(part)]
        return min(needed, key=len) if needed else []
    return [test for part in condition.parts for test in _anchors(part)]


def _could_become(template: str, role: str) -> bool:
    parts = map(re.escape, PLACEHOLDER.sub("\0", template).split("\0"))
    return re.fullmatch(".+".join(parts), role) is not None


def captured(templates: Iterable[str], captures: tuple[str, ...]) -> list[str]:
    """The names of roles that templates make of what was caught."""

    def caught(match: re.Match[str]) -> str:
        return captures[int(match.group(1)) - 1]

    return [PLACEHOLDER.sub(caught, template) for template in templates]
