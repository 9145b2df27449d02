"""Where a group becomes a role.

Three-valued: a fact can be known to hold, known not to hold, or unknown. What must stay true:
unknown never gives a role, an unknown under ``deny`` refuses, and every role comes with the rule
that gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_sso.identity import Identity
from airflow_sso.role_mapping.rules import Mapping, Rule, comparable

#: Why a decision refuses; the codes of the catalogue.
NO_MATCH = "SSO-301"
UNKNOWN_FACTS = "SSO-305"
DENIED = "SSO-307"


#: What is known of a person: the values of each fact, ``None`` when it is unknown.
Facts = MappingOf[str, frozenset[str | int | bool] | None]


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matched, and the value that made it match."""

    rule: Rule
    value: str | int | bool


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

    @property
    def unknown(self) -> tuple[str, ...]:
        """The facts that were not known."""
        return tuple(sorted(fact for fact, values in self.facts.items() if values is None))

    @property
    def keeps_roles(self) -> bool:
        return self.refused_because == UNKNOWN_FACTS

    def taking_all(self) -> RoleDecision:
        """The same mapping's word about somebody who is to have nothing from it."""
        return replace(self, roles=frozenset())

    def without_roles_but(self, existing: frozenset[str]) -> RoleDecision:
        """The same without roles that do not exist."""
        return self if self.roles <= existing else replace(self, roles=self.roles & existing)

    @property
    def why(self) -> str:
        """In a few words, for the audit: the code, or the rules."""
        matched = ", ".join(f"rule {match.rule.number}" for match in self.matched)
        return self.refused_because or matched or "no_match"

    def given_by(self) -> dict[str, tuple[str, ...]]:
        """Each role, and what people call the rules that give it."""
        found: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(self.roles), ())
        for match in self.matched:
            for role in match.rule.roles & self.roles:
                found[role] = tuple(dict.fromkeys((*found[role], match.rule.label)))
        return {role: labels or ("no_match",) for role, labels in found.items()}

    def to_hold(self, held: frozenset[str], given: frozenset[str]) -> frozenset[str]:
        """What the person's roles are to be.

        :param held: the roles that the account holds now.
        :param given: those of them that the mapping gave before.
        """
        by_hand = held - given if self.keeps_manual_roles else frozenset()
        return self.roles | by_hand | (held & self.protected_roles)


def decide(identity: Identity, mapping: Mapping) -> RoleDecision:
    """The roles of ``identity`` under ``mapping``. Pure: no I/O, no clock."""
    facts = {fact: _values(identity, fact) for fact in mapping.facts}
    return decide_by_facts(
        facts, mapping, untold=identity.groups_untold, group_overage=identity.group_overage
    )


def decide_by_facts(
    facts: Facts,
    mapping: Mapping,
    *,
    untold: frozenset[str] = frozenset(),
    group_overage: bool = False,
) -> RoleDecision:
    """The same from facts alone; one that the mapping names and that is not there is unknown.

    :param untold: groups that rules name and of which nobody said whether the person is in them, while
        of all others somebody did.

    Cost grows with the values that the person has, not with the rules that do not match.
    """
    facts = {fact: facts.get(fact) for fact in mapping.facts}
    matched = tuple(sorted(_matches(mapping, facts), key=lambda match: match.rule.number))
    roles, refused_because = _weigh(mapping, matched, facts, untold, group_overage=group_overage)
    return RoleDecision(
        roles,
        matched,
        refused_because,
        facts=facts,
        keeps_manual_roles=mapping.keeps_manual_roles,
        protected_roles=mapping.protected_roles,
    )


@dataclass(frozen=True, slots=True)
class Joined:
    """What is known of a person from two sources; ``untold``: see :func:`decide_by_facts`."""

    facts: Facts
    untold: frozenset[str] = frozenset()


def joined(stored: Facts, read: Facts, mapping: Mapping, names_group: Callable[[str], bool]) -> Joined:
    """What is known of a person from two sources, of which each fact has one.

    :param stored: what the person's own sign-in told.
    :param read: what their directory tells now; it wins, of groups for those that it knows by the
        spelling of the rules.
    """
    facts = {**stored, **read}
    groups, told = read.get("group"), stored.get("group")
    if groups is None:
        return Joined(facts)
    if told is None:
        facts["group"] = groups
        return Joined(facts, frozenset(one for one in mapping.group_values if not names_group(one)))
    facts["group"] = groups | {one for one in told if not (isinstance(one, str) and names_group(one))}
    return Joined(facts)


def _weigh(
    mapping: Mapping,
    matched: tuple[Match, ...],
    facts: Facts,
    untold: frozenset[str],
    *,
    group_overage: bool,
) -> tuple[frozenset[str], str | None]:
    unknown = {fact for fact, values in facts.items() if values is None}
    nothing: frozenset[str] = frozenset()
    if any(match.rule.deny for match in matched):
        return nothing, DENIED
    if mapping.denying_facts & unknown or (group_overage and "group" in unknown):
        return nothing, UNKNOWN_FACTS
    if any(rule.deny and rule.key == "group" and rule.value in untold for rule in mapping.rules):
        return nothing, UNKNOWN_FACTS
    if matched:
        return nothing.union(*(match.rule.roles for match in matched)), None
    if mapping.no_match and not unknown and not untold:
        return mapping.no_match, None
    # What `no_match` gives is for people of whom everything is known: otherwise a fact that turns
    # unknown would add a role.
    open_ = "group" in unknown or untold or mapping.no_match
    return nothing, UNKNOWN_FACTS if open_ else NO_MATCH


def _matches(mapping: Mapping, facts: MappingOf[str, frozenset[str | int | bool] | None]) -> Iterator[Match]:
    for fact, values in facts.items():
        for value in values or ():
            at = comparable(value) if isinstance(value, str) else value
            for rule in mapping.index.get((fact, at), ()):
                # 1 == True in Python; in a mapping file they are different things.
                if type(rule.value) is type(value):
                    yield Match(rule, value)


def _values(identity: Identity, fact: str) -> frozenset[str | int | bool] | None:
    """What is known of one fact: its values, or ``None`` when it is unknown."""
    if fact == "group":
        return identity.groups
    if fact == "app_role":
        return identity.app_roles
    return _claim_values(identity.claims, fact.removeprefix("claim:"))


def _claim_values(claims: MappingOf[str, Any], path: str) -> frozenset[str | int | bool] | None:
    """The scalars at a claim path, dots leading into nested objects; absent is unknown."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, MappingOf) else None
    if value is None:
        return None
    several = value if isinstance(value, list) else [value]
    return frozenset(one for one in several if isinstance(one, str | int | bool))
