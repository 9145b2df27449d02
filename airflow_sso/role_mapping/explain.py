"""Why the mapping says what it says: every rule that could be about somebody, and what became of it.

Pure. :mod:`~airflow_sso.role_mapping.decide` looks only at rules that can hold; here each one gets its
sentence. What must stay true: nothing here decides, and what is said of a rule is what the decision rests on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from airflow_sso.role_mapping.conditions import Evidence, Facts, Test, answer
from airflow_sso.role_mapping.decide import DENIED, NO_MATCH, UNKNOWN_FACTS, RoleDecision
from airflow_sso.role_mapping.rules import Mapping as RoleMapping
from airflow_sso.role_mapping.rules import Rule, captured
from airflow_sso.role_mapping.values import Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What one rule says of a person.

    ``holds``
        ``None`` when that cannot be told, because ``unknown`` is not known.
    ``hits``
        the tests that found something, and the values they found.
    ``expired``
        its time has run out, so that it does nothing whether or not it holds.
    """

    rule: Rule
    holds: bool | None
    hits: tuple[tuple[Test, Hit], ...] = ()
    unknown: tuple[str, ...] = ()
    expired: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """What it gives, with what its pattern caught put in; what it would give while it does not hold."""
        if not (self.holds and self.rule.templates):
            return (*sorted(self.rule.roles), *self.rule.templates)
        caught = {
            role
            for _, hit in self.hits
            if hit.captures
            for role in captured(self.rule.templates, hit.captures)
        }
        return tuple(sorted(self.rule.roles | caught))

    @property
    def counts(self) -> bool:
        """Whether the decision rests on it: it holds or is open, and its time has not run out."""
        return self.holds is not False and not self.expired

    @property
    def by(self) -> tuple[str, ...]:
        """The values that it holds by, in order: ``group airflow-admins``."""
        return tuple(sorted({f"{spoken(test.fact)} {said(hit.value)}" for test, hit in self.hits}))


def explain(
    facts: Facts,
    mapping: RoleMapping,
    on: date,
    *,
    untold: frozenset[str] = frozenset(),
    machine: bool = False,
) -> tuple[Explanation, ...]:
    """Every rule for people, or for machines, in the order of the file.

    The parameters are those of :func:`~airflow_sso.role_mapping.decide.decide_by_facts`. Cost grows with all
    rules: this is for one person, whom somebody asks about.
    """
    rules = [rule for rule in mapping.rules if rule.for_machines == machine]
    return of_rules(rules, facts, on, untold=untold)


def of_rules(
    rules: Sequence[Rule], facts: Facts, on: date, *, untold: frozenset[str] = frozenset()
) -> tuple[Explanation, ...]:
    """The same of some rules."""
    evidence = Evidence(facts, untold)
    found = []
    for rule in rules:
        told = answer(rule.condition, evidence)
        found.append(
            Explanation(
                rule=rule,
                holds=told.holds,
                hits=told.hits,
                unknown=told.unknown,
                expired=not rule.counts_on(on),
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a code of the mapping means, and what whoever looks after access can do about it."""

    meaning: str
    remedy: str


_REFUSALS: Mapping[str, Refusal] = {
    NO_MATCH: Refusal(
        "no rule gives a role that exists",
        "Put the person into a group that a rule names, or write a rule for something they have.",
    ),
    UNKNOWN_FACTS: Refusal(
        "something that the decision rests on is not known, so nothing is given and nothing is taken",
        "Have the provider send it, or set up a directory that tells it: docs/deprovisioning.md.",
    ),
    DENIED: Refusal(
        "a rule with deny: true matches, and that wins over every role",
        "Take the person out of what the rule names, or change the rule.",
    ),
}
#: The codes that a mapping can refuse with.
CODES: Collection[str] = tuple(_REFUSALS)


def refusal(decision: RoleDecision) -> Refusal | None:
    """What the code of a decision means; ``None`` when nobody is refused."""
    return _REFUSALS[decision.refused_because] if decision.refused_because else None


def spoken(fact: str) -> str:
    """A fact as people say it: ``claim department``."""
    return fact.replace(":", " ", 1).replace("app_role", "app role", 1)


def said(value: object) -> str:
    """A value as the mapping file writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
