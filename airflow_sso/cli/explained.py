"""What ``explain`` found out, and how it is printed.

What must stay true: what is printed is what the decision says; nothing is decided a second time here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from airflow_sso.cli import said
from airflow_sso.cli.table import listed
from airflow_sso.role_mapping import Facts, RoleDecision, decide_by_facts
from airflow_sso.role_mapping import Mapping as RoleMapping
from airflow_sso.role_mapping.explain import Explanation, explain, refusal, spoken
from airflow_sso.sync.plan import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who is to be explained, and what is known of them.

    ``untold``, ``group_overage``, ``machine``
        see :func:`~airflow_sso.role_mapping.decide.decide_by_facts`.
    ``sources``
        of each fact when it was found out, and by whom.
    ``account``
        their account as it is now, if they have one.
    ``why_unknown``
        in words, of facts that are not there.
    ``unread``
        facts that were given and that no rule asks for.
    ``warning``
        to be said before everything else.
    ``identified``
        who it is, for machines.
    """

    who: str
    facts: Facts
    why_unknown: str
    untold: frozenset[str] = frozenset()
    group_overage: bool = False
    machine: bool = False
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    account: Account | None = None
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warning: str = ""
    identified: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a mapping says about somebody; ``mapping_file`` is where it is written."""

    known: Known
    mapping: RoleMapping
    mapping_file: str
    on: date
    decision: RoleDecision
    rules: tuple[Explanation, ...]

    @property
    def held(self) -> frozenset[str]:
        """The roles that the account holds now."""
        return self.known.account.held if self.known.account else frozenset()

    @property
    def after(self) -> frozenset[str]:
        """The roles that an open account is to hold."""
        account = self.known.account
        if account is None or self.decision.keeps_roles:
            return self.held
        return self.decision.to_hold(account.held, account.given)

    @property
    def by_hand(self) -> frozenset[str]:
        """Roles that the mapping does not give and that stay, because ``manual_roles: keep`` says so."""
        return self.after - self.decision.roles - self.protected if self.mapping.keeps_manual_roles else _NONE

    @property
    def protected(self) -> frozenset[str]:
        """Roles that they hold and that no sign-in takes."""
        return self.held & self.mapping.protected_roles


_NONE: frozenset[str] = frozenset()


def told(
    known: Known, mapping: RoleMapping, mapping_file: str, on: date, roles_there: frozenset[str] | None
) -> Told:
    """What ``mapping`` says about somebody.

    :param roles_there: the roles that exist; ``None`` when that is not known.
    """
    decision = decide_by_facts(
        known.facts,
        mapping,
        on,
        untold=known.untold,
        group_overage=known.group_overage,
        machine=known.machine,
    )
    if roles_there is not None:
        decision = decision.without_roles_but(roles_there | {role.name for role in mapping.owned_roles})
    rules = explain(known.facts, mapping, on, untold=known.untold, machine=known.machine)
    return Told(
        known=known, mapping=mapping, mapping_file=mapping_file, on=on, decision=decision, rules=rules
    )


# --- as text ----------------------------------------------------------------------------------------------


def as_text(told: Told, *, everything: bool) -> Iterator[str]:
    """:param everything: whether rules that do not match are listed, too."""
    known = told.known
    if known.warning:
        yield known.warning
    yield f"About {known.who}, by {told.mapping_file} on {told.on}."
    yield from known.notes
    yield ""
    yield "What is known:"
    yield from (f"  {line}" for line in _facts(told))
    yield from (f"  No rule asks for {spoken(fact)}." for fact in known.unread)
    yield ""
    yield from _rules(told, everything=everything)
    yield ""
    yield from _decision(told)
    if known.account is not None:
        yield ""
        yield from _account(told, known.account)
    if told.mapping.require and not known.machine:
        asked = "; ".join(map(str, told.mapping.require))
        yield ""
        yield f"Whatever the rules give, each sign-in has to show: {asked} (SSO-308)."


def _facts(told: Told) -> Iterator[str]:
    known = told.known
    if not told.decision.facts:
        yield "The rules ask for nothing."
    for fact, values in sorted(told.decision.facts.items()):
        line = f"{spoken(fact)}: {said.values(values)}"
        if fact in known.sources:
            at, source = known.sources[fact]
            line += f" (told by {said.source(source, at)})"
        elif values is None:
            line += f" ({_why_unknown(told, fact)})"
        yield line
    if known.untold:
        yield f"nobody has been asked yet about {', '.join(sorted(known.untold))}"


def _why_unknown(told: Told, fact: str) -> str:
    if fact == "group" and told.known.group_overage:
        return "there are too many to be told"
    return told.known.why_unknown


def _rules(told: Told, *, everything: bool) -> Iterator[str]:
    shown = [one for one in told.rules if everything or one.holds is not False]
    if shown:
        yield "Rules:"
    for one in shown:
        lost = [missed.role for missed in told.decision.not_given if missed.rule is one.rule]
        sentence = "; ".join(filter(None, (said.why(one), said.does(one, lost))))
        yield f"  {sentence[:1].upper()}{sentence[1:]}."
    left = len(told.rules) - len(shown)
    if left:
        yield (
            f"{left} {'rule does' if left == 1 else 'rules do'} not match; "
            f"--all lists {'it' if left == 1 else 'them'}."
        )


def _decision(told: Told) -> Iterator[str]:
    decision = told.decision
    why = refusal(decision)
    if why is not None:
        yield f"The mapping refuses with {decision.refused_because}: {why.meaning}."
        yield why.remedy
    else:
        yield "The mapping gives:"
        yield from (f"  {role}, by {', '.join(rules)}" for role, rules in _given_by(decision).items())
    for lost in decision.not_given:
        rule = f"rule {lost.rule.number} ({lost.rule.label})"
        yield f"Not given: {lost.role}, which {rule} names; {lost.why}."


def _given_by(decision: RoleDecision) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {role: [] for role in sorted(decision.roles)}
    for match in decision.matched:
        for role in match.roles & decision.roles:
            found[role].append(f"rule {match.rule.number} ({match.rule.label})")
    return {role: rules or ["no_match, because no rule gives one"] for role, rules in found.items()}


def _account(told: Told, account: Account) -> Iterator[str]:
    yield f"They hold {listed(told.held, without='no role')} now."
    if not account.active:
        why = "; ".join(f"{source}: {reason}" for source, reason in account.shut_by.items())
        yield f"The account is shut ({why or 'by another hand'}), whatever the mapping gives."
        yield f"Once it is open again they hold {listed(told.after, without='no role')}."
        return
    if told.decision.keeps_roles:
        yield "They cannot sign in now, and keep these roles until more is known."
        return
    if told.decision.refused_because:
        yield "They cannot sign in now."
    gains, loses = told.after - told.held, told.held - told.after
    gained, lost = [f"gain {listed(gains)}"] if gains else [], [f"lose {listed(loses)}"] if loses else []
    changes = " and ".join(gained + lost)
    yield (
        f"At the next sign-in or reading of the directory they {changes}."
        if changes
        else "Nothing changes at the next sign-in or reading of the directory."
    )
    open_rules = [one for one in told.rules if one.holds is None and one.counts]
    missing = sorted({fact for one in open_rules for fact in one.unknown})
    if missing:
        yield f"What is not known yet can change that: {', '.join(map(spoken, missing))}."
    if told.by_hand:
        yield f"Given by hand, and kept by manual_roles: keep: {listed(told.by_hand)}."
    if told.protected:
        yield f"Protected, so that no sign-in takes it: {listed(told.protected)}."


# --- for machines -----------------------------------------------------------------------------------------


def as_json(told: Told) -> dict[str, Any]:
    """Everything, rules that do not match among it."""
    known, decision = told.known, told.decision
    why = refusal(decision)
    found: dict[str, Any] = {
        "who": dict(known.identified) or None,
        "verified": not known.warning,
        "mapping": told.mapping_file,
        "on": told.on.isoformat(),
        "facts": {
            fact: {
                "values": None if values is None else sorted(values, key=str),
                "at": known.sources.get(fact, (None, None))[0],
                "source": known.sources.get(fact, (None, None))[1],
            }
            for fact, values in sorted(decision.facts.items())
        },
        "not_asked_yet": sorted(known.untold),
        "group_overage": known.group_overage,
        "notes": list(known.notes),
        "rules": [said.as_json(one) for one in told.rules],
        "roles": sorted(decision.roles),
        "given_by": _given_by(decision),
        "not_given": [
            {"role": lost.role, "rule": lost.rule.number, "why": lost.why} for lost in decision.not_given
        ],
        "refused": decision.refused_because,
        "meaning": why.meaning if why else None,
        "remedy": why.remedy if why else None,
        "each_sign_in_has_to_show": list(map(str, told.mapping.require)),
    }
    if known.account is not None:
        account = known.account
        found["account"] = {
            "active": account.active,
            "shut_by": dict(account.shut_by),
            "holds": sorted(told.held),
            "to_hold": sorted(told.after),
            "gains": sorted(told.after - told.held),
            "loses": sorted(told.held - told.after),
            "kept_by_hand": sorted(told.by_hand),
            "protected": sorted(told.protected),
        }
    return found
