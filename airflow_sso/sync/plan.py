"""What is to be done about a reading: pure, from what a directory says, who has an account, the mapping.

A plan is computed, printed and guarded before anything of it is carried out. What must stay true: only a
usable person gains anything, unknown changes nothing, and nothing older than an account's last change is
believed over it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from airflow_sso.accounts.who_shuts import BY_ANOTHER_HAND, DIRECTORY, LONGEST_REASON, OPERATOR
from airflow_sso.directory.snapshot import Observation, Reading
from airflow_sso.role_mapping import Facts, Joined, Match, RoleDecision, decide_by_facts, joined
from airflow_sso.role_mapping import Mapping as RoleMapping

ADMIN = "Admin"
_SIGNED_OUT = "signed out everywhere at the provider"
_DECISIONS = 1000  # kept while a plan is made
#: Facts as they are told apart: 1 and True are equal in Python, and different things in a mapping.
FactsKey = frozenset[tuple[str, frozenset[tuple[type, str | int | bool]] | None]]
_NO_ROLE = "usable in the directory, but no rule gives a role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A linked account as it is now.

    ``is_partial``
        the groups in ``facts`` are those alone that a directory was asked about.
    ``shut_by``
        who says that it is shut, and why.
    ``in_groups``
        whether another hand put it into groups of Flask-AppBuilder's, which give roles as well.
    ``drift``
        what another hand made of columns of ``ab_user`` that are ours to say: column, and our value.
    """

    key: str
    subject: str
    user_id: int
    username: str
    active: bool
    held: frozenset[str]
    given: frozenset[str] = frozenset()
    facts: Facts = field(default_factory=dict)
    is_partial: bool = False
    shut_by: Mapping[str, str] = field(default_factory=dict)
    gone_since: datetime | None = None
    read_again: str | None = None
    observed_at: datetime | None = None
    oldest_session: datetime | None = None
    is_protected: bool = False
    in_groups: bool = False
    drift: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one account, whole: it happens in one transaction or not at all.

    ``shut``, ``lift``
        the source that says so, or takes its word back; ``None`` when nobody does.
    ``stays_shut``
        it is shut already, and ``shut`` is only to be written down.
    ``after``
        the roles it is to hold; those it holds are in ``account``.
    ``removes``
        whether somebody who had access loses all of it, by this change.
    ``read_as_out``
        the directory said so of this very person: their sessions end whatever becomes of the rest.
    ``given_by``
        the roles that the mapping gives from now on, each with the labels of the rules that give it, without
        any where those of before still stand; ``None`` where all do.
    ``end_before``
        sessions that began before this are to end, because of ``end_because``.
    """

    account: Account
    reason: str
    after: frozenset[str]
    given_by: Mapping[str, tuple[str, ...]] | None = None
    facts: Facts | None = None
    shut: str | None = None
    stays_shut: bool = False
    lift: str | None = None
    removes: bool = False
    read_as_out: bool = False
    end_before: datetime | None = None
    end_because: str = _SIGNED_OUT

    @property
    def is_admin_after(self) -> bool:
        """Whether this account can do everything, once it is changed."""
        shut = self.shut is not None or (not self.account.active and self.lift is None)
        return not shut and ADMIN in self.after

    @property
    def takes_admin(self) -> bool:
        """Whether it could before, and cannot then."""
        return self.account.active and ADMIN in self.account.held and not self.is_admin_after

    @property
    def kind(self) -> Literal["deactivate", "reactivate", "roles", "sessions", "put back", "note"]:
        """In a word, for tables."""
        if self.shut and not self.stays_shut:
            return "deactivate"
        if self.lift and not self.account.active:
            return "reactivate"
        if self.after != self.account.held:
            return "roles"
        if self.account.drift or self.account.in_groups:
            return "put back"
        return "sessions" if self.end_before or self.read_as_out else "note"


@dataclass(frozen=True, slots=True)
class Mark:
    """What is only to be remembered of an account: why to read it again, since when it is gone."""

    key: str
    read_again: str | None
    gone_since: datetime | None


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be done, and how many need nothing.

    ``marks``
        one an account at most.
    ``missing``
        how many open accounts' people are seen gone for the first time, which does not count yet.
    """

    began_at: datetime
    changes: list[Change] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    missing: int = 0

    @property
    def removals(self) -> tuple[Change, ...]:
        """Whose access is taken."""
        return tuple(change for change in self.changes if change.removes)


def make(
    reading: Reading,
    accounts: Iterable[Account],
    mapping: RoleMapping,
    *,
    supplies: frozenset[str] = frozenset(),
    names_group: Callable[[str], bool] = lambda _value: True,
    follows_patterns: bool = False,
    roles_there: frozenset[str] | None = None,
) -> Plan:
    """The plan that follows from a reading.

    :param supplies: the facts that the directory tells; of all others the last sign-in's stand.
    :param names_group: whether the directory knows a group by what a rule writes.
    :param follows_patterns: whether it tells of groups that a pattern matches, too.
    :param roles_there: the roles that exist; one that was deleted since the mapping was read gives nothing.
    """
    plan = Plan(began_at=reading.began_at)
    join = functools.partial(joined, names_group=names_group, follows_patterns=follows_patterns)
    maker = _Maker(reading, mapping, supplies, join, roles_there)
    for account in accounts:
        if account.is_protected:
            plan.protected.append(account.username)
            continue
        seen = maker.observed(account)
        mark = maker.mark(account, seen)
        plan.missing += account.active and mark.gone_since == reading.began_at
        if seen is not None and seen.state == "unknown":
            plan.unknown.append(f"{account.username}: {seen.reason or 'could not be read'}")
            change = maker.signing_out(account, seen)
            if change is not None:
                plan.changes.append(change)
        elif (change := maker.change(account, seen)) is None:
            plan.unchanged += 1
        elif account.observed_at is not None and account.observed_at > reading.began_at:
            mark = Mark(account.key, "stale", mark.gone_since)
        else:
            plan.changes.append(change)
        if mark != Mark(account.key, account.read_again, account.gone_since):
            plan.marks.append(mark)
    return plan


class _Maker:
    """One reading and one mapping, applied to account after account."""

    def __init__(
        self,
        reading: Reading,
        mapping: RoleMapping,
        supplies: frozenset[str],
        join: Callable[..., Joined],
        roles_there: frozenset[str] | None,
    ) -> None:
        self._reading = reading
        self._mapping = mapping
        self._supplies = supplies
        self._join = join
        self._roles_there = roles_there
        # A hundred thousand people share a few hundred decisions.
        self._decided = functools.lru_cache(maxsize=_DECISIONS)(self._decide)
        self._equal = functools.lru_cache(maxsize=_DECISIONS)(lambda roles: roles)
        self._given_by = functools.lru_cache(maxsize=_DECISIONS)(_labels)

    def observed(self, account: Account) -> Observation | None:
        """What was read of the person; ``None`` when nothing has changed since the last reading."""
        seen = self._reading.people.get(account.subject)
        if seen is None and self._reading.everyone:
            return Observation("unknown", "the directory's answer does not mention them")
        return seen

    def mark(self, account: Account, seen: Observation | None) -> Mark:
        """A person who is gone or unknown is asked about again; whoever was read is not."""
        if seen is None:
            return Mark(account.key, account.read_again, account.gone_since)
        if seen.state == "gone":
            return Mark(account.key, "gone", account.gone_since or self._reading.began_at)
        return Mark(account.key, "unknown" if seen.state == "unknown" else None, None)

    def change(self, account: Account, seen: Observation | None) -> Change | None:
        """What is to become of an account; ``None`` when it is as it must be."""
        decision = self._decision(account)
        out = self._why_out(account, seen)
        lifts = out is None and DIRECTORY in account.shut_by
        if lifts and not decision.roles:
            lifts, out = False, _NO_ROLE
        others = {source: why for source, why in account.shut_by.items() if source != DIRECTORY}
        shut, reason = self._who_shuts(account, out, others)
        is_out = bool(shut or out or others)
        # Seen without them once, a directory leaves them out of its groups as well; it counts no more.
        keeps = decision.keeps_roles or (seen is not None and seen.state == "gone")
        after = self._equal(self._roles(account, decision, is_out=is_out, keeps=keeps))
        loses = account.active and (is_out or (bool(account.held) and not after))
        end_before = self._end_before(account, seen)
        drifted = bool(account.drift) or account.in_groups
        if not (shut or lifts or end_before or drifted or after != account.held):
            return None
        return Change(
            account=account,
            reason=reason or (f"{DIRECTORY}: usable again" if lifts else decision.why),
            after=after,
            given_by={} if is_out else (None if keeps else self._given(account, decision)),
            # What could not be read takes the place of nothing that was.
            facts=decision.facts if after != account.held and not decision.unknown else None,
            shut=shut,
            stays_shut=bool(shut) and not account.active,
            lift=DIRECTORY if lifts else None,
            removes=loses,
            read_as_out=account.active and seen is not None and seen.state == "unusable",
            end_before=end_before,
        )

    def signing_out(self, account: Account, seen: Observation) -> Change | None:
        """Of somebody of whom nothing else is known: that they are to sign in anew."""
        end_before = self._end_before(account, seen)
        if end_before is None:
            return None
        return Change(
            account=account,
            reason=seen.reason,
            after=account.held,
            end_before=end_before,
            end_because=seen.reason or _SIGNED_OUT,
        )

    def _decision(self, account: Account) -> RoleDecision:
        read = self._reading.facts_of(account.subject, self._supplies)
        known = self._join(account.facts, read, self._mapping, is_partial=account.is_partial)
        # Groups that are read as unknown are too many to be told: then no rule but deny decides.
        overage = "group" in read and read["group"] is None
        return self._decided(as_key(known.facts), known.untold, overage)

    def _decide(self, facts: FactsKey, untold: frozenset[str], overage: bool) -> RoleDecision:
        values = facts_of_key(facts)
        day = self._reading.began_at.date()
        decision = decide_by_facts(values, self._mapping, day, untold=untold, group_overage=overage)
        return decision if self._roles_there is None else decision.without_roles_but(self._roles_there)

    def _why_out(self, account: Account, seen: Observation | None) -> str | None:
        """What the directory says against the person; ``None`` when it says nothing."""
        before = account.shut_by.get(DIRECTORY)
        if seen is None:
            # That one is ours, and not for ever: a role may have come since.
            return None if before == _NO_ROLE else before
        if seen.state == "gone":
            twice = account.gone_since is not None and account.gone_since < self._reading.began_at
            return seen.reason[:LONGEST_REASON] if twice else before
        return (seen.reason or "not usable")[:LONGEST_REASON] if seen.state == "unusable" else None

    def _who_shuts(
        self, account: Account, out: str | None, others: Mapping[str, str]
    ) -> tuple[str | None, str]:
        """Who is to be written down as shutting the account now, and why."""
        if out is not None and (account.active or account.shut_by.get(DIRECTORY) != out):
            return DIRECTORY, out
        if account.active and others:
            source, why = next(iter(others.items()))
            return source, f"{why} (opened meanwhile by another hand)"
        if not account.active and not account.shut_by:
            return OPERATOR, BY_ANOTHER_HAND
        return None, ""

    def _roles(
        self, account: Account, decision: RoleDecision, *, is_out: bool, keeps: bool
    ) -> frozenset[str]:
        """What the account is to hold."""
        if is_out:
            return decision.taking_all().to_hold(account.held, account.given)
        if keeps:
            return account.held
        return decision.to_hold(account.held, account.given) | self._open(account, decision)

    @staticmethod
    def _open(account: Account, decision: RoleDecision) -> frozenset[str]:
        """Roles of theirs of which only their next sign-in tells whether the mapping gives them."""
        return decision.open_of(account.held & account.given)

    def _given(self, account: Account, decision: RoleDecision) -> Mapping[str, tuple[str, ...]]:
        """The roles that the mapping gives from now on; of those that are open what gave them stands."""
        given_by = self._given_by(decision.roles, decision.matched)
        still_open = self._open(account, decision) - decision.roles
        return {**given_by, **dict.fromkeys(still_open, ())} if still_open else given_by

    def _end_before(self, account: Account, seen: Observation | None) -> datetime | None:
        """Fact B17: what began before the directory signed the person out everywhere is over."""
        if seen is None or seen.valid_from is None or account.oldest_session is None:
            return None
        return seen.valid_from if account.oldest_session < seen.valid_from else None


def _labels(roles: frozenset[str], matched: tuple[Match, ...]) -> Mapping[str, tuple[str, ...]]:
    return RoleDecision(roles, matched).given_by()


def as_key(facts: Facts) -> FactsKey:
    """What two people have in common of whom the same is known."""
    return frozenset(
        (fact, None if values is None else frozenset((type(value), value) for value in values))
        for fact, values in facts.items()
    )


def facts_of_key(key: FactsKey) -> Facts:
    """What :func:`as_key` was given."""
    return {fact: None if told is None else frozenset(value for _, value in told) for fact, told in key}
