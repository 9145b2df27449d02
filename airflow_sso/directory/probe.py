"""Where there is no permission to read a directory: each person's own refresh token, tried now and then.

Section H of the facts. It can tell that an account is disabled, or that somebody has to sign in anew; it
lists nobody. What must stay true: what a token told stays on record until it has been carried out, a
token is tried by one process at a time, and when many are refused alike nobody is touched.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Protocol

from airflow_sso.directory.failures import (
    ConfigurationAlarm,
    CredentialsRefused,
    DirectoryUnreachable,
    DirectoryUnreadable,
)
from airflow_sso.directory.refusals import Verdict, judge
from airflow_sso.directory.snapshot import USABLE, Answer, Fact, Like, Observation, Reading, Wanted
from airflow_sso.errors import ConfigurationFaulty, GuestRefused, ProviderUnreachable, SsoError
from airflow_sso.refresh import Granted, Kept, Refused, Told
from airflow_sso.secret import SecretUnavailable

log = logging.getLogger(__name__)

#: What asks: a token, whose it is, and what is called with the token that takes its place.
Ask = Callable[[str, str, Callable[[str], object]], Granted | Refused]

MOST = 200  # people a run
_IDLE_EVERY = timedelta(days=1)
_SPREAD = 0.1  # of the interval, either way
_ALARM_FROM = 5  # people
_GIVE_UP_AFTER = 5  # failures in a row
_GUEST = Verdict("again", "guest", "a guest now, by the claims of the provider")


class Tokens(Protocol):
    """Where tokens are kept (:class:`airflow_sso.accounts.refresh_tokens.RefreshTokens`)."""

    def all(self) -> list[Kept]:
        """Everybody of whom something is kept."""

    def claim(self, kept: Kept) -> Kept | None:
        """Say that this one is asked about now; ``None`` when it is not as it was seen."""

    def renew(self, kept: Kept, token: str) -> Kept | None:
        """Put a new token in its place, likewise."""

    def note(self, kept: Kept, told: Told) -> Kept | None:
        """Write down what asking told, likewise; the token goes unless the person is usable."""


class ProbeReader:
    """:param every: how often each person is asked about; whoever has no open session, once a day.
    :param spread: a random factor about 1, so that people who came together are not asked together.
    """

    supplies: frozenset[str] = frozenset()
    follows_patterns = True  # what it tells of groups is the token's whole list

    def __init__(
        self,
        ask: Ask,
        tokens: Tokens,
        every: timedelta,
        *,
        spread: Callable[[], float] = lambda: random.uniform(1 - _SPREAD, 1 + _SPREAD),  # noqa: S311
    ) -> None:
        self._ask = ask
        self._tokens = tokens
        self._every = every
        self._spread = spread

    def names_group(self, value: str) -> bool:  # noqa: ARG002 (the token's own list is all there is)
        """Groups are those of the new ID token, as at sign-in."""
        return True

    # Every reading goes on where the tokens are: there is no cursor to go by.
    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:  # noqa: ARG002
        """Ask about whoever's turn it is, and tell what is known of everybody who was asked."""
        began = _now()
        try:
            due = self._due(self._of(wanted), began)
            tries = _Tries(self._ask, self._tokens)
            for number, one in enumerate(due, 1):
                progress(f"asking about person {number} of {len(due)}")
                tries.one(one)
                if tries.is_over:
                    break
            tries.settle()
            people, facts = _told(self._of(wanted))
        except SecretUnavailable as cause:
            raise CredentialsRefused(f"directory: keys: {cause}") from None
        # Whoever could not be asked now is unknown, whatever was told before.
        people |= tries.unknown
        facts = {subject: found for subject, found in facts.items() if subject not in tries.unknown}
        return Reading(began_at=began, everyone=False, people=people, facts=facts, cursor="probe")

    # It has the protocol's arguments, and uses none.
    def read_one(
        self,
        subject: str,  # noqa: ARG002
        groups: frozenset[str],  # noqa: ARG002
        *,
        seconds: float,  # noqa: ARG002
        like: Like | None = None,  # noqa: ARG002
    ) -> Answer:
        """Nobody asks this: at sign-in the provider itself has just told."""
        raise DirectoryUnreadable("the probe is not asked at sign-in")

    def names_of(self, groups: Collection[str]) -> Mapping[str, str | None]:  # noqa: ARG002 (see above)
        """A token names the groups of its own person only."""
        return {}

    def _of(self, wanted: Wanted) -> list[Kept]:
        return [one for one in self._tokens.all() if one.subject in wanted.subjects]

    def _due(self, kept: Sequence[Kept], now: datetime) -> list[Kept]:
        due = [one for one in kept if one.token is not None and self._is_due(one, now)]
        return sorted(due, key=lambda one: one.asked_at)[:MOST]

    def _is_due(self, one: Kept, now: datetime) -> bool:
        every = self._every if one.oldest_session else max(self._every, _IDLE_EVERY)
        return now - one.asked_at >= every * self._spread()


class _Tries:
    """The questions of one run, and what they came to."""

    def __init__(self, ask: Ask, tokens: Tokens) -> None:
        self._ask = ask
        self._tokens = tokens
        self._asked = 0
        self._failed_in_a_row = 0
        self._unreadable = 0
        self._ours = ""
        self._verdicts: list[tuple[Kept, Verdict, datetime]] = []
        self.unknown: dict[str, Observation] = {}

    @property
    def is_over(self) -> bool:
        """Whether asking on is of no use."""
        return bool(self._ours) or self._failed_in_a_row >= _GIVE_UP_AFTER

    def one(self, kept: Kept) -> None:
        """Ask about one person, unless somebody else does, or they have just signed in."""
        claimed = self._tokens.claim(kept)
        if claimed is None or claimed.token is None:
            return
        self._asked += 1
        latest: Kept | None = claimed

        def keep(token: str) -> None:
            nonlocal latest
            latest = self._tokens.renew(latest, token) if latest else None

        try:
            answer = self._ask(claimed.token, claimed.subject, keep)
        except ProviderUnreachable as cause:
            self._failed(claimed, f"not read: {cause.detail}")
        except ConfigurationFaulty as cause:
            self._ours = cause.detail
        except GuestRefused:
            self._refused(latest, _GUEST)
        except SsoError as cause:  # a token that does not pass; it may be about somebody else
            log.error(
                "airflow_sso: a refreshed ID token was refused (%s): %s", type(cause).__name__, cause.detail
            )
            self._unreadable += 1
            self._failed(claimed, f"the new ID token was refused: {type(cause).__name__}", in_a_row=False)
        else:
            self._failed_in_a_row = 0
            if isinstance(answer, Refused):
                self._refused(latest, judge(answer))
            elif latest:
                self._tokens.note(latest, Told(state="usable", at=_now(), facts=answer.facts))

    def settle(self) -> None:
        """Write the refusals down, if they can be believed.

        :raises DirectoryError: when they cannot, or nothing came of any question.
        """
        alarm = self._alarm()
        if not alarm:
            for kept, verdict, at in self._verdicts:
                self._tokens.note(kept, _verdict_told(verdict, at))
        if self._ours:
            raise CredentialsRefused(self._ours)
        if alarm:
            raise ConfigurationAlarm(alarm)
        if self.unknown and len(self.unknown) == self._asked:
            kind = DirectoryUnreadable if self._unreadable else DirectoryUnreachable
            raise kind(f"none of {self._asked} people: {next(iter(self.unknown.values())).reason}")

    def _refused(self, kept: Kept | None, verdict: Verdict) -> None:
        if kept is None:  # they have signed in meanwhile: it was the token of before
            self._asked -= 1
        elif verdict.kind == "ours":
            self._ours = f"the token endpoint refused us: {verdict.said}"
        elif verdict.kind == "transient":
            self._failed(kept, verdict.reason)
        else:
            self._verdicts.append((kept, verdict, _now()))

    def _failed(self, kept: Kept, why: str, *, in_a_row: bool = True) -> None:
        self._failed_in_a_row += in_a_row
        self.unknown[kept.subject] = Observation("unknown", why)

    def _alarm(self) -> str:
        """Fact H7: many who are refused alike are a change of configuration there, not leavers.

        Whoever has no session and is only to sign in anew loses nothing, and does not count: grants that
        nobody uses end by themselves.
        """
        harmless = [one for one in self._verdicts if one[1].kind == "again" and not one[0].oldest_session]
        alike = Counter(one[1].said for one in self._verdicts if one not in harmless)
        asked = self._asked - len(harmless)
        for said, count in alike.most_common(1):
            if count >= _ALARM_FROM and 2 * count >= asked:
                return f"{count} of {asked} people were refused with the same answer: {said}"
        return ""


def _verdict_told(verdict: Verdict, at: datetime) -> Told:
    if verdict.kind == "unusable":
        return Told(state="unusable", at=at, reason=verdict.reason)
    return Told(state="unknown", at=at, reason=verdict.reason, valid_from=at)


def _told(kept: Sequence[Kept]) -> tuple[dict[str, Observation], dict[str, dict[str, Fact | None]]]:
    """What is on record, person by person."""
    people: dict[str, Observation] = {}
    facts: dict[str, dict[str, Fact | None]] = {}
    for one in kept:
        told = one.told
        if told is None:
            continue
        if told.state == "usable":
            people[one.subject], facts[one.subject] = USABLE, dict(told.facts)
        elif told.state == "unusable":
            people[one.subject] = Observation("unusable", told.reason)
        elif told.valid_from and one.oldest_session and one.oldest_session < told.valid_from:
            people[one.subject] = Observation("unknown", told.reason, told.valid_from)
    return people, facts


def _now() -> datetime:
    return datetime.now(timezone.utc)
