"""From what is written in the mapping file to a mapping that can decide, or to every fault in it.

What must stay true: a mapping with a fault yields no mapping at all, and every fault says where it is
and what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from airflow_sso import yaml_document
from airflow_sso.plain_text import plain
from airflow_sso.role_mapping.conditions import All, AnyOf, Condition, Not, Test, sameness, tests
from airflow_sso.role_mapping.require import SESSION_CLAIMS, Requirement
from airflow_sso.role_mapping.rules import (
    PLACEHOLDER,
    Mapping,
    OwnedRole,
    Rule,
    compile_rules,
    is_airflows_own,
)
from airflow_sso.role_mapping.values import (
    MOST_PATTERNS,
    BadPattern,
    Pattern,
    Value,
    expression,
    glob,
    is_glob,
    unescaped,
)
from airflow_sso.role_mapping.written import (
    Expression,
    WrittenCondition,
    WrittenMapping,
    WrittenRequirement,
    WrittenRole,
    WrittenRule,
)
from airflow_sso.yaml_document import Document, Place

_Model = TypeVar("_Model", bound=BaseModel)
_Key = TypeVar("_Key", int, str)


def understand(document: Document, known_roles: Collection[str] | None) -> Mapping | None:
    """The mapping that a document says, or ``None`` after noting every fault in it.

    :param known_roles: names of the roles that exist; ``None`` when the document was accepted before, and
        roles may have gone since.
    """
    if document.faults:
        return None
    if not isinstance(document.data, dict):
        document.add((), "must start with version: 1 and rules:")
        return None
    written = _read(document, document.data)
    if written is None:
        return None
    mapping = _Compiler(document, written).mapping()
    _Names(document, written, known_roles).check()
    _report_repeated_rules(document, mapping.rules)
    return None if document.faults else mapping


@dataclass(frozen=True, slots=True)
class _Written:
    """What is in order of a file; with faults elsewhere it still tells of its own."""

    head: WrittenMapping
    rules: MappingOf[int, WrittenRule]
    require: MappingOf[int, WrittenRequirement]
    roles: MappingOf[str, WrittenRole | None]


def _read(document: Document, data: dict[str, Any]) -> _Written | None:
    """Entry by entry, so that a fault in one hides none in the others."""
    entries = {"rules": data.get("rules"), "require": data.get("require", [])}
    roles = data.get("roles", {})
    if not all(isinstance(one, list) for one in entries.values()) or not isinstance(roles, dict):
        yaml_document.validate(document, WrittenMapping, data)
        return None
    rules = _each(document, WrittenRule, "rules", dict(enumerate(entries["rules"] or ())))
    require = _each(document, WrittenRequirement, "require", dict(enumerate(entries["require"] or ())))
    given = {name: {} if role is None else role for name, role in roles.items()}
    owned = _each(document, WrittenRole, "roles", given)
    head = {**data, "rules": [], "require": [], "roles": dict.fromkeys(roles)}
    checked = yaml_document.validate(document, WrittenMapping, head)
    return None if checked is None else _Written(checked, rules, require, owned)


def _each(
    document: Document, model: type[_Model], key: str, entries: MappingOf[_Key, Any]
) -> dict[_Key, _Model]:
    """The entries that are in order; the faults of the others are noted."""
    found = {}
    for at, entry in entries.items():
        checked = yaml_document.validate(document, model, entry, (key, at))
        if checked is not None:
            found[at] = checked
    return found


class _Compiler:
    """Makes rules of what is written, noting the faults that only show now."""

    def __init__(self, document: Document, written: _Written) -> None:
        self._document = document
        self._written = written
        self._patterns: dict[tuple[bool, str], Pattern] = {}

    def mapping(self) -> Mapping:
        written, head = self._written, self._written.head
        rules = [self._rule(position, rule) for position, rule in written.rules.items()]
        require = [self._requirement(position, one) for position, one in written.require.items()]
        if len(self._patterns) > MOST_PATTERNS:
            self._document.add(
                ("rules",),
                f"has {len(self._patterns)} patterns; {MOST_PATTERNS} are the most that a file may",
            )
        return compile_rules(
            rules,
            () if head.no_match == "deny" else head.no_match,
            keeps_manual_roles=head.manual_roles == "keep",
            protected_roles=head.protected_roles,
            owned_roles=[
                _owned(name, role) for name, role in written.roles.items() if not name.endswith("*")
            ],
            role_prefixes=[name[:-1] for name in written.roles if name.endswith("*")],
            require=require,
        )

    def _rule(self, position: int, written: WrittenRule) -> Rule:
        place: Place = ("rules", position)
        condition = self._condition(place, written)
        templates = tuple(role for role in written.roles or () if PLACEHOLDER.search(role))
        rule = Rule(
            number=position + 1,
            condition=condition,
            roles=frozenset(written.roles or ()) - frozenset(templates),
            templates=templates,
            deny=bool(written.deny),
            name=written.name,
            line=self._document.lines.get(place),
            until=written.until,
            for_machines=written.for_ == "machines",
        )
        self._check_captures(place, written, rule)
        if not rule.for_machines and any(test.fact == "client" for test in tests(condition)):
            self._document.add(place, "client is about machines; add for: machines")
        return rule

    def _check_captures(self, place: Place, written: WrittenRule, rule: Rule) -> None:
        if not rule.templates:
            return
        catching = {(test.fact, test.pattern) for test in tests(rule.condition) if test.pattern}
        asked = max(int(found) for role in rule.templates for found in PLACEHOLDER.findall(role))
        first = next(i for i, role in enumerate(written.roles or ()) if PLACEHOLDER.search(role))
        at = (*place, "roles", first) if isinstance(self._data(place, "roles"), list) else (*place, "roles")
        if len(catching) != 1 or _is_under_not_or_any(rule.condition):
            self._document.add(
                at,
                f"{{{asked}}} stands for what a pattern catches: the rule must ask for exactly one, such as "
                "team-*, by itself or under all",
            )
            return
        caught = next(iter(catching))[1].groups
        if asked > caught:
            self._document.add(
                at,
                f"{{{asked}}} is caught by nothing: the pattern catches "
                + (f"{{1}}{f' to {{{caught}}}' if caught > 1 else ' alone'}" if caught else "nothing"),
            )

    def _data(self, place: Place, key: str) -> object:
        data: object = self._document.data
        for step in (*place, key):
            data = data[step]  # type: ignore[index]  # a place that was validated
        return data

    def _condition(self, place: Place, written: WrittenCondition) -> Condition:
        asks = written.asks
        if asks in ("all", "any"):
            parts = written.all_ if asks == "all" else written.any_
            made = tuple(self._condition((*place, asks, i), part) for i, part in enumerate(parts or ()))
            return (All if asks == "all" else AnyOf)(made)
        if asks == "not":
            assert written.not_ is not None  # noqa: S101 (it is what is asked)
            return Not(self._condition((*place, "not"), written.not_))
        if asks == "claim":
            return self._claim_test(place, written)
        value: str | Expression = getattr(written, asks)
        return self._test((*place, asks), asks, value)

    def _test(self, place: Place, fact: str, value: Value | Expression, word: str = "") -> Test:
        if isinstance(value, Expression):
            return Test(fact, pattern=self._pattern((*place, "matches"), value.text, is_expression=True))
        if isinstance(value, str) and is_glob(value):
            return Test(fact, pattern=self._pattern(place, value, is_expression=False), word=word)
        plain = unescaped(value) if isinstance(value, str) else value
        return Test(fact, (plain,), word=word)

    def _claim_test(self, place: Place, written: WrittenCondition | WrittenRequirement) -> Test:
        fact, word = f"claim:{written.claim}", written.operator or ""
        is_condition = isinstance(written, WrittenCondition)
        if is_condition and written.claim in SESSION_CLAIMS:
            self._document.add(
                (*place, "claim"),
                f"{written.claim} is about one sign-in, not about the person: it stands under require:",
            )
        if word == "matches":
            pattern = self._pattern((*place, "matches"), str(written.matches), is_expression=True)
            return Test(fact, pattern=pattern, word=word)
        if word != "in":
            value = written.equals if word == "equals" else written.contains
            assert value is not None  # noqa: S101 (it is the operator that is written)
            return self._test((*place, word), fact, value, word)
        values = []
        for position, one in enumerate(written.in_ or ()):
            if isinstance(one, str) and is_glob(one):
                self._document.add(
                    (*place, "in", position), "a pattern stands alone: write any: [{...}, {...}]"
                )
            values.append(unescaped(one) if isinstance(one, str) else one)
        return Test(fact, tuple(values), word=word)

    def _requirement(self, position: int, written: WrittenRequirement) -> Requirement:
        place: Place = ("require", position)
        line = self._document.lines.get(place)
        if written.address is not None:
            return Requirement(networks=written.address, line=line)
        if written.within is not None:
            return Requirement(within=written.within, line=line)
        return Requirement(test=self._claim_test(place, written), line=line)

    def _pattern(self, place: Place, text: str, *, is_expression: bool) -> Pattern:
        """Each pattern is made once, however many rules have it."""
        at = (is_expression, text)
        if at not in self._patterns:
            try:
                self._patterns[at] = expression(text) if is_expression else glob(text)
            except BadPattern as cause:
                self._document.add(place, str(cause))
                self._patterns[at] = glob("*")  # there is a fault; it will never decide
        return self._patterns[at]


def _is_under_not_or_any(condition: Condition) -> bool:
    """Whether what a pattern caught may be missing although the condition holds."""
    if isinstance(condition, Test):
        return False
    if isinstance(condition, All):
        return any(_is_under_not_or_any(part) for part in condition.parts)
    return any(test.pattern for test in tests(condition))


def _owned(name: str, written: WrittenRole | None) -> OwnedRole:
    written = written or WrittenRole()
    return OwnedRole(
        name=name,
        like=written.like,
        permissions=frozenset(
            (action, resource) for resource, actions in written.permissions.items() for action in actions
        ),
        dags=tuple((pattern, frozenset(verbs)) for pattern, verbs in written.dags.items()),
    )


class _Names:
    """Whether every role that is named may be named there."""

    def __init__(self, document: Document, written: _Written, known_roles: Collection[str] | None) -> None:
        self._document = document
        self._written = written
        self._head = written.head
        owned = [name for name in written.head.roles if not name.endswith("*")]
        self._known = None if known_roles is None else {*known_roles, *owned}

    def check(self) -> None:
        for place, role in self._named():
            if role in self._head.protected_roles and place[0] != "protected_roles":
                self._document.add(place, f"{role} is one of protected_roles, which no rule may give")
            else:
                self._check_exists(place, role)
        self._check_owned()

    def _named(self) -> Iterator[tuple[Place, str]]:
        for i, rule in self._written.rules.items():
            for j, role in enumerate(rule.roles or ()):
                if not PLACEHOLDER.search(role):
                    yield ("rules", i, "roles", j), role
        if self._head.no_match != "deny":
            for j, role in enumerate(self._head.no_match):
                yield ("no_match", j), role
        for j, role in enumerate(self._head.protected_roles):
            yield ("protected_roles", j), role

    def _check_exists(self, place: Place, role: str) -> None:
        if self._known is None or role in self._known:
            return
        close = difflib.get_close_matches(role, sorted(self._known), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(self._known))}"
        self._document.add(place, f"there is no role {role!r}; {hint}")

    def _check_owned(self) -> None:
        for name, role in self._written.roles.items():
            place: Place = ("roles", name)
            if name.endswith("*"):
                if role is not None and role != WrittenRole():
                    self._document.add(
                        place, "says which roles a pattern may give, and makes none: write an empty {}"
                    )
                if not name[:-1] or "*" in name[:-1]:
                    self._document.add(place, "a prefix is the beginning of a name and one star: team-*")
                continue
            if "*" in name or PLACEHOLDER.search(name):
                self._document.add(place, "the name of a role has neither stars nor {1}")
            if name != name.strip() or plain(name) != name:
                self._document.add(place, "the name of a role has no blanks around it, and no hidden signs")
            if is_airflows_own(name):
                self._document.add(place, f"{name} is one of Airflow's own roles, which no file changes")
            elif name in self._head.protected_roles:
                self._document.add(place, f"{name} is one of protected_roles")
            if role is not None and role.like is not None:
                self._check_like(place, name, role.like)

    def _check_like(self, place: Place, name: str, like: str) -> None:
        self._check_exists((*place, "like"), like)
        seen = [name]
        step: str | None = like
        while step is not None and step not in seen:
            seen.append(step)
            role = self._written.roles.get(step)
            step = role.like if role else None
        if step == name:
            self._document.add((*place, "like"), f"goes in a circle: {' -> '.join([*seen, name])}")


def _report_repeated_rules(document: Document, rules: Collection[Rule]) -> None:
    seen: dict[object, Rule] = {}
    for rule in rules:
        does = (rule.roles, rule.templates, rule.deny, rule.until, rule.for_machines)
        what = (sameness(rule.condition), does)
        if what in seen:
            first = seen[what]
            at = f"line {first.line}" if first.line else f"rule {first.number}"
            document.add(("rules", rule.number - 1), f"says the same as the one in {at}")
        seen.setdefault(what, rule)
