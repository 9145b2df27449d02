"""Where a group becomes a role.

Three-valued: a rule holds, does not hold, or is open because something is unknown. What must stay true:
what is open gives no role, a ``deny`` that is open refuses, and every role comes with the rules that
gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date

from airflow_sso.identity import Identity
from airflow_sso.role_mapping.conditions import Answer, Evidence, Facts, Test, answer
from airflow_sso.role_mapping.rules import Mapping, Rule, RuleSet, captured
from airflow_sso.role_mapping.values import Hit, Value, claim_values, comparable

#: Why a decision refuses; the codes of the catalogue.
NO_MATCH = "SSO-301"
UNKNOWN_FACTS = "SSO-305"
DENIED = "SSO-307"

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that holds, the values that it holds by, and the roles that it gives."""

    rule: Rule
    hits: tuple[tuple[Test, Hit], ...]
    roles: frozenset[str]


@dataclass(frozen=True, slots=True)
class NotGiven:
    """A role that a rule would give, and why nobody gets it."""

    role: str
    rule: Rule
    why: str


@dataclass(frozen=True, slots=True)
class RoleDecision:
    """What the mapping says about one person.

    ``roles`` is empty whenever ``refused_because`` is a code. ``keeps_roles`` says that the refusal
    rests on something unknown, so that the roles which the person holds stay as they are.
    """

    roles: frozenset[str]
    matched: tuple[Match, ...]
    refused_because: str | None = None
    facts: Facts = field(default_factory=dict, repr=False)
    """What was read about the person: each fact that a rule names, ``None`` when unknown."""
    keeps_manual_roles: bool = False
    protected_roles: frozenset[str] = frozenset()
    not_given: tuple[NotGiven, ...] = ()
    unasked: tuple[Rule, ...] = ()
    """Rules that are open because nobody was ever asked for what they name."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """The facts that were not known."""
        return tuple(sorted(fact for fact, values in self.facts.items() if values is None))

    @property
    def keeps_roles(self) -> bool:
        return self.refused_because == UNKNOWN_FACTS

    def taking_all(self) -> RoleDecision:
        """The same mapping's word about somebody who is to have nothing from it."""
        return replace(self, roles=_NOTHING)

    def without_roles_but(self, existing: frozenset[str]) -> RoleDecision:
        """The same without roles that do not exist; whom that leaves without any is refused."""
        if self.roles <= existing:
            return self
        lost = tuple(
            NotGiven(role, match.rule, "there is no such role in Airflow")
            for match in self.matched
            for role in sorted(match.roles - existing)
        )
        left = self.roles & existing
        refused = self.refused_because if left else NO_MATCH
        return replace(self, roles=left, refused_because=refused, not_given=(*self.not_given, *lost))

    @property
    def why(self) -> str:
        """In a few words, for the audit: the code, or the rules."""
        matched = ", ".join(f"rule {match.rule.number}" for match in self.matched)
        return self.refused_because or matched or "no_match"

    def given_by(self) -> dict[str, tuple[str, ...]]:
        """Each role, and what people call the rules that give it."""
        found: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(self.roles), ())
        for match in self.matched:
            for role in match.roles & self.roles:
                found[role] = tuple(dict.fromkeys((*found[role], match.rule.label)))
        return {role: labels or ("no_match",) for role, labels in found.items()}

    def to_hold(self, held: frozenset[str], given: frozenset[str]) -> frozenset[str]:
        """What the person's roles are to be.

        :param held: the roles that the account holds now.
        :param given: those of them that the mapping gave before.
        """
        by_hand = held - given if self.keeps_manual_roles else _NOTHING
        return self.roles | by_hand | (held & self.protected_roles)

    def open_of(self, given: frozenset[str]) -> frozenset[str]:
        """Those of the roles that the mapping gave before of which the next sign-in has to tell.

        A rule names something for the first time, and gives one of them if it holds: until somebody has been
        asked, that is unknown, and takes nothing.
        """
        if not self.unasked or self.refused_because == DENIED:
            return _NOTHING
        return frozenset(role for role in given if any(rule.may_give(role) for rule in self.unasked))


def facts_of(identity: Identity, names: frozenset[str]) -> Facts:
    """What an identity says about each of these facts, ``None`` where it says nothing."""
    return {name: _values(identity, name) for name in names}


def decide(identity: Identity, mapping: Mapping, on: date) -> RoleDecision:
    """The roles of ``identity`` under ``mapping``. Pure: no I/O, no clock.

    :param on: the day (UTC), for rules that count ``until`` one.
    """
    return decide_by_facts(
        facts_of(identity, mapping.facts),
        mapping,
        on,
        untold=identity.groups_untold,
        group_overage=identity.group_overage,
    )


def decide_by_facts(
    facts: Facts,
    mapping: Mapping,
    on: date,
    *,
    untold: frozenset[str] = frozenset(),
    group_overage: bool = False,
    machine: bool = False,
) -> RoleDecision:
    """The same from facts alone; one that the mapping names and that is not there is unknown.

    :param untold: see :class:`~airflow_sso.role_mapping.conditions.Evidence`.
    :param group_overage: the groups are unknown because there are too many to be told.
    :param machine: whether rules for machines apply, and those for people do not.

    Cost grows with the values that there are, and with the patterns, not with the rules that do not match.
    """
    rules = mapping.machines if machine else mapping.people
    unasked = rules.facts - facts.keys()
    facts = {fact: facts.get(fact) for fact in rules.facts}
    evidence = Evidence(facts, untold)
    decision = RoleDecision(
        _NOTHING,
        (),
        facts=facts,
        keeps_manual_roles=mapping.keeps_manual_roles,
        protected_roles=mapping.protected_roles,
    )
    answers = [(rule, answer(rule.condition, evidence)) for rule in _candidates(rules, evidence, on)]
    found = [_match(rule, told, mapping) for rule, told in answers if told.holds]
    found.sort(key=lambda pair: pair[0].rule.number)
    matched = tuple(match for match, _ in found)
    decision = replace(decision, matched=matched, not_given=tuple(one for _, lost in found for one in lost))
    open_rules = [rule for rule, told in answers if told.holds is None]
    no_match = _NOTHING if machine else mapping.no_match
    roles, refused = _weigh(
        matched,
        open_rules,
        no_match,
        groups_open="group" in rules.facts and (facts["group"] is None or bool(untold)),
        group_overage=group_overage and "group" in rules.facts and facts["group"] is None,
    )
    return replace(
        decision,
        roles=roles,
        refused_because=refused,
        unasked=tuple(
            rule for rule, told in answers if told.holds is None and not unasked.isdisjoint(told.unknown)
        )
        if unasked
        else (),
    )


def _candidates(rules: RuleSet, evidence: Evidence, on: date) -> Iterator[Rule]:
    """The rules that can hold, or be open."""
    found: dict[int, Rule] = {rule.number: rule for rule in rules.always}
    for fact, values in evidence.values.items():
        for key in values:
            for rule in rules.by_value.get((fact, key), ()):
                found[rule.number] = rule
    for test, waiting in rules.by_pattern.items():
        if evidence.hits(test):
            found.update((rule.number, rule) for rule in waiting)
    unknown = [fact for fact, values in evidence.facts.items() if values is None]
    for fact in [*unknown, "group"] if evidence.untold else unknown:
        found.update((rule.number, rule) for rule in rules.by_fact.get(fact, ()))
    return (rule for rule in found.values() if rule.counts_on(on))


def _match(rule: Rule, told: Answer, mapping: Mapping) -> tuple[Match, list[NotGiven]]:
    """A rule that holds, with the roles that it gives, and those that it must not."""
    if not rule.templates:
        return Match(rule, told.hits, rule.roles), []
    made = {name for _, hit in told.hits if hit.captures for name in captured(rule.templates, hit.captures)}
    why_not = {name: mapping.why_not_captured(name) for name in sorted(made)}
    roles = rule.roles | {name for name, why in why_not.items() if why is None}
    return Match(rule, told.hits, roles), [NotGiven(name, rule, why) for name, why in why_not.items() if why]


def _weigh(
    matched: tuple[Match, ...],
    open_rules: list[Rule],
    no_match: frozenset[str],
    *,
    groups_open: bool,
    group_overage: bool,
) -> tuple[frozenset[str], str | None]:
    """The roles, or the code of a refusal."""
    if any(match.rule.deny for match in matched):
        return _NOTHING, DENIED
    if group_overage or any(rule.deny for rule in open_rules):
        return _NOTHING, UNKNOWN_FACTS
    roles = _NOTHING.union(*(match.roles for match in matched))
    if roles:
        return roles, None
    if no_match and not open_rules:
        return no_match, None
    # What `no_match` gives is for people of whom everything is known: otherwise a fact that turns
    # unknown would add a role.
    rests_on_unknown = open_rules and (no_match or groups_open)
    return _NOTHING, UNKNOWN_FACTS if rests_on_unknown else NO_MATCH


@dataclass(frozen=True, slots=True)
class Joined:
    """What is known of a person from two sources; ``untold``: see :func:`decide_by_facts`."""

    facts: Facts
    untold: frozenset[str] = frozenset()


def joined(
    stored: Facts,
    read: Facts,
    mapping: Mapping,
    names_group: Callable[[str], bool],
    *,
    follows_patterns: bool = False,
    is_partial: bool = False,
) -> Joined:
    """What is known of a person from two sources, of which each fact has one.

    :param stored: what the person's own sign-in told.
    :param read: what their directory tells now; it wins, of groups for those that it was asked about: those
        that rules name whole, by a spelling that it knows.
    :param follows_patterns: whether it told of all groups that a pattern of a rule matches, too.
    :param is_partial: the stored groups are what a directory told once, and no sign-in told any: of what it
        was not asked for nobody knows.
    """
    facts = {**stored, **read}
    groups, told = read.get("group"), None if is_partial else stored.get("group")
    if groups is None:
        unasked = is_partial and "group" not in read
        return Joined(facts, mapping.group_values | mapping.group_patterns if unasked else _NOTHING)
    asked = {one for one in mapping.group_values if names_group(one)}
    if told is None:
        untold = mapping.group_values - asked
        return Joined(facts, untold if follows_patterns else untold | mapping.group_patterns)
    known = set(map(comparable, asked))
    names = [one for one in told if isinstance(one, str)]
    like = mapping.groups_like(names) if follows_patterns else _NOTHING
    replaced = {one for one in names if one in like or comparable(one) in known}
    facts["group"] = groups | (told - replaced)
    return Joined(facts)


def _values(identity: Identity, fact: str) -> frozenset[Value] | None:
    """What is known of one fact: its values, or ``None`` when it is unknown."""
    if fact == "group":
        return identity.groups
    if fact == "app_role":
        return identity.app_roles
    if fact in ("provider", "protocol"):
        return frozenset({getattr(identity, fact)})
    if fact.startswith("claim:"):
        return claim_values(identity.claims, fact.removeprefix("claim:"))
    return None
