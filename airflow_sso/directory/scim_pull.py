"""A directory that serves SCIM 2.0: PingDirectory, PingFederate, and whatever else has ``/Users``.

Pages of everybody, or a filter for one person, whichever asks less. What must stay true: pages that do
not fit together are no reading at all, and groups that the server does not serve are not "in none".
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from urllib.parse import quote

from airflow_sso.directory.calls import Caller, Reply, error_code
from airflow_sso.directory.failures import DirectoryUnreadable
from airflow_sso.directory.scim_groups import GroupMembers
from airflow_sso.directory.scim_resources import Json, Shape, listed, number, text
from airflow_sso.directory.snapshot import GONE, Answer, Fact, Like, Observation, Reading, Wanted, by_person
from airflow_sso.directory.worker_token import WorkerToken, revealed
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings
from airflow_sso.role_mapping import comparable

_PAGE = 200
_SAMPLE = 50  # users among whom one with groups is looked for
_NAMING = 60.0  # seconds for all of them


class ScimReader:
    """One server.

    :param settings: completed ones.
    """

    supplies = frozenset({"group"})
    follows_patterns = True

    def __init__(
        self,
        settings: DirectorySettings,
        http: HttpSettings,
        *,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        if not settings.url:
            raise ValueError("the settings are not completed")
        self._settings, self._http, self._wait = settings, http, wait
        self._base = settings.url.rstrip("/")
        self._shape = Shape.of(settings)
        self._shows_groups = False  # whether anybody was seen to have the attribute
        self._worker: WorkerToken | None = None
        if settings.token_url and settings.client_id and settings.client_auth:
            self._worker = WorkerToken(settings.token_url, settings.client_id, settings.client_auth, http)

    def names_group(self, value: str) -> bool:
        """Whatever the server's groups are called: an id, a name, a DN."""
        return bool(value)

    # Nothing here lists changes: every reading is whole, and the cursor always none.
    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:  # noqa: ARG002
        """See :class:`~airflow_sso.directory.snapshot.Reader`; there is never a cursor."""
        caller = self._caller(math.inf)
        caller.progress = progress
        for last in (False, True):
            try:
                return _WholeReading(caller, self._shape, wanted).made()
            except _Moved as cause:
                if last:
                    raise DirectoryUnreadable(f"/Users: {cause}, twice") from None
        raise AssertionError  # the second try returns or raises

    def read_one(
        self, subject: str, groups: frozenset[str], *, seconds: float, like: Like | None = None
    ) -> Answer:
        """See :class:`~airflow_sso.directory.snapshot.Reader`.

        Where users do not show their groups, all groups would have to be listed for what a pattern wants;
        nobody waits for that.
        """
        wanted = Wanted(subjects=(subject,), groups=groups, like=like)
        caller = self._caller(time.monotonic() + seconds)
        user = _found(caller, self._shape, subject, known=frozenset())
        if user is None:
            return Answer(GONE)
        observation = self._shape.observed(user)
        if observation.state == "unknown":
            raise DirectoryUnreadable(f"a user: {observation.reason}")
        if not wanted.asks_for_groups:
            return Answer(observation)
        told = self._shape.groups_of(user)
        self._shows_groups = self._shows_groups or told is not None
        if told is None and not self._groups_are_shown(caller):
            if not groups:
                return Answer(observation)
            own = {text(user, "id", "a user"): subject}
            named = replace(wanted, like=None)
            members = GroupMembers(caller, named, own, self._shape.groups).members()
            return Answer(observation, by_person(members, [subject]).get(subject, frozenset()))
        return Answer(observation, _Matching(wanted).of(told or ()), follows_patterns=True)

    def names_of(self, groups: Collection[str]) -> Mapping[str, str | None]:
        """By their names; of one that is there by its id nothing is said."""
        caller = self._caller(time.monotonic() + _NAMING)
        asked = GroupMembers(caller, Wanted(subjects=()), {}, self._shape.groups)
        there = {value: asked.is_there(value) for value in sorted(groups)}
        return {value: None if how is None else value for value, how in there.items() if how != "by id"}

    def _groups_are_shown(self, caller: Caller) -> bool:
        """Whether somebody else has the attribute, so that who lacks it is in no group."""
        if not self._shows_groups:
            asked = f"/Users?startIndex=1&count={_SAMPLE}&attributes={quote(self._shape.attributes)}"
            _, users = listed(caller.get(asked).body)
            self._shows_groups = any(self._shape.groups_of(user) is not None for user in users)
        return self._shows_groups

    def _caller(self, deadline: float) -> Caller:
        """One for each reading: sign-ins come in many threads at once."""

        def token(renew: bool) -> str:
            if self._worker is not None:
                left = deadline - time.monotonic()
                return self._worker.token(renew, seconds=left if math.isfinite(left) else None)
            if self._settings.token is None:
                raise ValueError("the settings are not completed")
            return revealed(self._settings.token, "token")  # at each use: it may have been rotated

        accepts = {"Accept": "application/scim+json, application/json"}
        caller = Caller(base=self._base, http=self._http, token=token, headers=accepts, wait=self._wait)
        caller.deadline = deadline
        return caller


class _Moved(Exception):
    """The number of people changed between two pages, so that one may have slipped through."""


class _WholeReading:
    """Everybody who is wanted, once."""

    def __init__(self, caller: Caller, shape: Shape, wanted: Wanted) -> None:
        self._caller = caller
        self._shape = shape
        self._singly = wanted.read_singly
        # The strings of whoever asks are kept, and none of the directory's.
        self._subjects = {subject: subject for subject in wanted.subjects}
        self._wanted = wanted if self._subjects else Wanted(subjects=())
        self._matching = _Matching(self._wanted)
        self._missing = self._subjects.keys() - self._singly
        self._people: dict[str, Observation] = {}
        self._groups: dict[str, Fact] = {}
        self._facts: dict[str, dict[str, Fact | None]] = {}
        self._shared: dict[Fact, Fact] = {}
        self._ids: dict[str, str] = {}
        self._population = 0
        self._shows_subject = self._shows_groups = False

    def made(self) -> Reading:
        began_at = datetime.now(timezone.utc)
        self._read_pages()
        for subject in self._subjects:
            if subject not in self._people or subject in self._singly:
                self._read_singly(subject)
        if self._wanted.asks_for_groups and not self._shows_groups:
            # Nobody has the attribute: it is not served, or nobody is in any group. Groups know which.
            groups = GroupMembers(self._caller, self._wanted, self._ids, self._shape.groups)
            self._groups = by_person(groups.members(), self._subjects)
        return Reading(
            began_at=began_at,
            everyone=True,
            people={subject: self._people[subject] for subject in self._subjects},
            groups=self._groups,
            facts=self._facts,
            population=self._population,
        )

    def _read_pages(self) -> None:
        """Read pages for as long as each tells more than asking for whoever is missing would.

        The first is read in any case: it tells how many people there are, and whether our application
        may read them at all.

        :raises DirectoryUnreadable: when they do not add up to what the server says there is.
        """
        seen: set[str] = set()
        while True:
            body = self._page(len(seen) + 1)
            total, users = listed(body)
            if seen and total != self._population:
                raise _Moved(f"there were {self._population} people, and now there are {total}")
            self._population = total
            if number(body, "startIndex") not in (None, len(seen) + 1) and users:
                raise DirectoryUnreadable("/Users: the page begins elsewhere than was asked for")
            for user in users:
                own = text(user, "id", "a user")
                if own in seen:
                    raise DirectoryUnreadable("/Users: two pages show the same entry")
                seen.add(own)
                self._take(user, own)
            left = math.ceil((total - len(seen)) / (len(users) or _PAGE))
            if len(self._missing) <= left and (self._shows_subject or not self._subjects):
                return
            if left <= 0 or not users:
                break
        self._check(len(seen))

    def _check(self, seen: int) -> None:
        if seen != self._population:
            raise DirectoryUnreadable(f"/Users: {seen} of {self._population} entries were shown")
        if self._subjects and not seen:
            raise DirectoryUnreadable("/Users: nobody is there, not even who has signed in")
        if self._subjects and not self._shows_subject:
            raise DirectoryUnreadable(
                f"/Users: nobody has {self._shape.subject.written}; name the attribute that sign-in calls "
                "the subject under directory: subject"
            )

    def _page(self, start: int) -> Json:
        asked = f"startIndex={start}&count={_PAGE}&attributes={quote(self._shape.attributes)}"
        body: Json = self._caller.get(f"/Users?{asked}").body
        return body

    def _take(self, user: Json, own: str) -> None:
        told = self._shape.groups_of(user)
        self._shows_groups = self._shows_groups or told is not None
        subject = self._shape.subject_of(user)
        self._shows_subject = self._shows_subject or subject is not None
        known = self._subjects.get(subject or "")
        if known is None:
            return
        if known in self._people:
            # Which of the two signs in here? Nothing is better than the wrong one.
            self._leave_open(known, f"several entries have this {self._shape.subject.written}")
            return
        self._note(known, self._shape.observed(user), told)
        self._ids[own] = known
        self._missing.discard(known)

    def _note(self, subject: str, observation: Observation, told: Iterable[str] | None = None) -> None:
        self._people[subject] = observation
        groups = self._matching.of(told or ())
        if groups:
            self._groups[subject] = self._shared.setdefault(groups, groups)
        else:
            self._groups.pop(subject, None)

    def _read_singly(self, subject: str) -> None:
        try:
            self._facts.pop(subject, None)
            user = _found(self._caller, self._shape, subject, known=frozenset({400, 403}))
            if user is None:
                self._note(subject, GONE)
                return
            told = self._shape.groups_of(user)
            self._note(subject, self._shape.observed(user), told)
            self._ids[text(user, "id", "a user")] = subject
            self._shows_groups = self._shows_groups or told is not None
        except DirectoryUnreadable as cause:
            self._leave_open(subject, cause.detail)

    def _leave_open(self, subject: str, why: str) -> None:
        self._note(subject, Observation("unknown", why))
        if self._wanted.asks_for_groups:
            self._facts[subject] = {"group": None}


def _found(caller: Caller, shape: Shape, subject: str, *, known: frozenset[int]) -> Json | None:
    """The one entry of a person; ``None`` where the server says that there is none.

    :param known: refusals that may be about this person alone, and are then unreadable.
    """
    if shape.subject.written.lower() == "id":
        if subject in (".", ".."):
            raise DirectoryUnreadable("dots are a direction in an address, not an id")
        address = f"/Users/{quote(subject, safe='')}?attributes={quote(shape.attributes)}"
        reply = caller.get(address, known=known | {404})
        if reply.status == 404 and _is_scim_error(reply):
            return None
        users = [_whole(reply, subject)]
    else:
        # Values of filters are JSON strings (RFC 7644, section 3.4.2.2).
        asked = f"{shape.subject.written} eq {json.dumps(subject, ensure_ascii=False)}"
        address = f"/Users?filter={quote(asked, safe='')}&attributes={quote(shape.attributes)}"
        _, users = listed(_whole(caller.get(address, known=known), subject))
    theirs = [user for user in users if shape.subject_of(user) == subject]
    if len(theirs) > 1:
        raise DirectoryUnreadable(f"several entries have this {shape.subject.written}")
    if users and not theirs:
        raise DirectoryUnreadable(f"the answer to {shape.subject.written} eq ... is about somebody else")
    return theirs[0] if theirs else None


def _whole(reply: Reply, subject: str) -> Json:
    if reply.status != 200:
        raise DirectoryUnreadable(f"asked for {subject[:60]}: HTTP {reply.status} {error_code(reply.body)}")
    body: Json = reply.body
    return body


def _is_scim_error(reply: Reply) -> bool:
    """Whether it is the server's own word (fact F5), rather than that of something in its way."""
    return isinstance(reply.body, dict) and str(reply.body.get("status")) == str(reply.status)


class _Matching:
    """Which of the groups that are told of people are wanted."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._like: dict[str, bool] = {}  # by a group's name: many people are in each

    def of(self, told: Iterable[str]) -> Fact:
        """Those that the mapping names, as it writes them; those that a pattern wants, as they are told."""
        told = list(told)
        known = {comparable(one) for one in told}
        named = frozenset(group for group in self._wanted.groups if comparable(group) in known)
        if self._wanted.like is None:
            return named
        new = [one for one in told if one not in self._like]
        if new:
            like = self._wanted.like(new)
            self._like |= {one: one in like for one in new}
        return named.union(one for one in told if self._like[one])
