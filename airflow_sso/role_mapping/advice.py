"""What is allowed in a mapping file and still most likely not meant: rules that never count, or add nothing.

Only a file without faults is looked at. What must stay true: advice is never a fault, because it may come
true by the calendar alone, and a file that was in force must stay so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping as MappingOf
from datetime import date

from airflow_sso.role_mapping.conditions import All, AnyOf, Condition, Not, Test, sameness, tests
from airflow_sso.role_mapping.rules import Mapping, OwnedRole, Rule
from airflow_sso.role_mapping.values import Haystack, Pattern, Value, key_of
from airflow_sso.yaml_document import Document, Fault

#: What lets somebody change who may do what, by Airflow's names.
_GIVES_ROLES = frozenset({"Users", "Roles", "Permissions", "Permission Views"})
_CHANGES = frozenset({"can_create", "can_edit"})
_SINGLE_VALUED = frozenset({"provider", "protocol"})


def advice(mapping: Mapping, document: Document, on: date) -> list[Fault]:
    """A remark for each thing that is most likely not meant, in the order of the file.

    :param document: what the mapping was understood from.
    :param on: the day (UTC) from which on rules are to count.
    """
    found = list(_about_rules(mapping, document, on))
    grave = {name: why for name, why in _grave(mapping).items() if why}
    if "Admin" in mapping.no_match:
        found.append(document.fault(("no_match",), "makes everybody at the provider an Admin"))
    elif mapping.no_match & grave.keys():
        found.append(document.fault(("no_match",), "gives everybody what only an Admin should have"))
    found += [document.fault(("roles", name), why) for name, why in grave.items()]
    for name in mapping.role_prefixes:
        if not any(rule.templates for rule in mapping.rules):
            found.append(document.fault(("roles", f"{name}*"), "no rule gives a role by a pattern"))
    return found


def _grave(mapping: Mapping) -> dict[str, str | None]:
    """Of each role that the file makes, why whoever has it may do as much as an Admin."""
    owned = {role.name: role for role in mapping.owned_roles}
    return {name: _why_grave(role, owned, mapping.protected_roles) for name, role in owned.items()}


def _why_grave(role: OwnedRole, owned: MappingOf[str, OwnedRole], protected: frozenset[str]) -> str | None:
    at: OwnedRole | None = role
    while at is not None:  # no file without faults has a circle
        if any(resource in _GIVES_ROLES and action in _CHANGES for action, resource in at.permissions):
            return "whoever has it can give themselves every role, that of an Admin too"
        if at.like == "Admin":
            return "whoever has it may do everything that an Admin may"
        if at.like in protected:
            return f"whoever has it may do what {at.like} may, which is one of protected_roles"
        at = owned.get(at.like or "")
    return None


def _about_rules(mapping: Mapping, document: Document, on: date) -> Iterator[Fault]:
    neighbours = _Neighbours([rule for rule in mapping.rules if rule.counts_on(on)])
    for rule in mapping.rules:
        why = _why_useless(rule, neighbours, on)
        if why:
            yield document.fault(("rules", rule.number - 1), why)


def _why_useless(rule: Rule, neighbours: _Neighbours, on: date) -> str | None:
    if not rule.counts_on(on):
        return f"counted until {rule.until}; take it out, or give it a later day"
    if _contradicts_itself(rule.condition):
        return "can never hold: two of its parts exclude each other"
    for other in neighbours.of(rule):
        if not implies(rule.condition, other.condition):
            continue
        if other.deny and not rule.deny and _outlives(other, rule):
            return f"never gives anything: {_called(other)} refuses everybody whom it holds for"
        if _covers(other, rule):
            return f"adds nothing: {_called(other)} {'refuses' if rule.deny else 'gives'} the same already"
    return None


def _covers(wide: Rule, rule: Rule) -> bool:
    """Whether a rule whose condition is implied does all that the other does, and longer."""
    if wide.deny != rule.deny or rule.templates or not rule.roles <= wide.roles or not _outlives(wide, rule):
        return False
    # Of two that hold for the same people the smaller one is the useless one.
    is_same = implies(wide.condition, rule.condition)
    return not is_same or rule.roles != wide.roles or rule.until != wide.until or wide.number < rule.number


def _outlives(other: Rule, rule: Rule) -> bool:
    return other.until is None or (rule.until is not None and other.until >= rule.until)


def _called(rule: Rule) -> str:
    at = f"line {rule.line}" if rule.line else f"rule {rule.number}"
    return f"the one in {at} ({rule.label})"


def implies(one: Condition, other: Condition) -> bool:
    """Whether ``other`` holds whenever ``one`` does, as far as that can be told."""
    if sameness(one) == sameness(other):
        return True
    if isinstance(one, AnyOf):
        return all(implies(part, other) for part in one.parts)
    if isinstance(other, All):
        return all(implies(one, part) for part in other.parts)
    if isinstance(one, All) and any(implies(part, other) for part in one.parts):
        return True
    if isinstance(other, AnyOf):
        return any(implies(one, part) for part in other.parts)
    if isinstance(one, Not) and isinstance(other, Not):
        return implies(other.part, one.part)
    if isinstance(one, Test) and isinstance(other, Test) and one.fact == other.fact and one.values:
        return _within(one.values, other)
    return False


def _within(values: tuple[Value, ...], other: Test) -> bool:
    """Whether each of the values would do for the other test."""
    if other.pattern is None:
        return set(map(key_of, values)) <= set(map(key_of, other.values))
    return {hit.value for hit in other.pattern.hits(Haystack(values))} == set(values)


def _contradicts_itself(condition: Condition) -> bool:
    if isinstance(condition, AnyOf):
        return all(map(_contradicts_itself, condition.parts))
    if not isinstance(condition, All):
        return False
    if any(map(_contradicts_itself, condition.parts)):
        return True
    for part in condition.parts:
        for another in condition.parts:
            if isinstance(another, Not) and implies(part, another.part):
                return True
            if isinstance(part, Test) and isinstance(another, Test) and _exclude(part, another):
                return True
    return False


def _exclude(one: Test, other: Test) -> bool:
    """Of what a sign-in has one value of, two cannot hold."""
    if one.fact != other.fact or one.fact not in _SINGLE_VALUED or not one.values:
        return False
    return not any(_within((value,), other) for value in one.values)


class _Neighbours:
    """Which rules may have to do with which, found without comparing each with each."""

    def __init__(self, rules: list[Rule]) -> None:
        self._by_value: dict[tuple[str, tuple[type, Value]], list[Rule]] = defaultdict(list)
        self._by_pattern: dict[tuple[str, Pattern], list[Rule]] = defaultdict(list)
        values: dict[str, set[Value]] = defaultdict(set)
        for rule in rules:
            for test in tests(rule.condition):
                values[test.fact].update(test.values)
                for value in test.values:
                    self._by_value[test.fact, key_of(value)].append(rule)
                if test.pattern:
                    self._by_pattern[test.fact, test.pattern].append(rule)
        haystacks = {fact: Haystack(known) for fact, known in values.items()}
        for (fact, pattern), theirs in list(self._by_pattern.items()):
            for hit in pattern.hits(haystacks[fact]) if fact in haystacks else ():
                self._by_value[fact, key_of(hit.value)] += theirs

    def of(self, rule: Rule) -> Iterator[Rule]:
        """Others for the same audience that ask about something that this one asks about."""
        found: dict[int, Rule] = {}
        for test in tests(rule.condition):
            for value in test.values:
                found.update((one.number, one) for one in self._by_value[test.fact, key_of(value)])
            if test.pattern:
                found.update((one.number, one) for one in self._by_pattern[test.fact, test.pattern])
        for one in found.values():
            if one.number != rule.number and one.for_machines == rule.for_machines:
                yield one
