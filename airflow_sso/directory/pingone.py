"""PingOne's directory: who is in an environment, and in which of the mapped groups.

There is no feed of changes (fact D15), so every reading is a whole one, by pages or person by person,
whichever asks less. What must stay true: somebody who is locked is neither disabled nor gone (fact
D12), and a property that was not told is never a "no".
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from urllib.parse import quote

from airflow_sso.directory.calls import Caller, error_code
from airflow_sso.directory.failures import DirectoryUnreadable, PermissionMissing
from airflow_sso.directory.pingone_answers import Json, a_text, an_object, observed, pages, texts
from airflow_sso.directory.snapshot import (
    GONE,
    Answer,
    Fact,
    Like,
    Observation,
    Reading,
    Wanted,
    by_person,
)
from airflow_sso.directory.worker_token import WorkerToken
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings
from airflow_sso.role_mapping import comparable

_MEMBERSHIPS = 100  # fact D14
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_READS_USERS = "the worker application needs the role Identity Data Read Only"
_READS_GROUPS = "the worker application needs the role Identity Data Admin to read groups (fact D10)"
_NAMING = 60.0  # seconds for all of them


_NO_GROUPS = Wanted(subjects=())


class PingOneReader:
    """One environment.

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
        if not (settings.environment_id and settings.client_id and settings.client_auth):
            raise ValueError("the settings are not completed")
        self._http, self._wait = http, wait
        region, environment = settings.region or "com", settings.environment_id
        if settings.insecure_host:
            host = f"{settings.insecure_host.rstrip('/')}/pingone"
            sign_in, api = host, host
        else:  # facts D1, D2, D10, D11
            sign_in, api = f"https://auth.pingone.{region}", f"https://api.pingone.{region}"
        self._base = f"{api}/v1/environments/{environment}"
        self._worker = WorkerToken(
            f"{sign_in}/{environment}/as/token", settings.client_id, settings.client_auth, http
        )

    def names_group(self, value: str) -> bool:
        """Any name or id: which of them sign-in tells is the administrator's choice (fact D6)."""
        return bool(value)

    # Nothing here lists changes: every reading is whole, and the cursor always none.
    def read(self, wanted: Wanted, cursor: str | None, progress: Callable[[str], None]) -> Reading:  # noqa: ARG002
        """See :class:`~airflow_sso.directory.snapshot.Reader`; there is never a cursor."""
        caller = self._caller(math.inf)
        caller.progress = progress
        return _WholeReading(caller, wanted).made()

    def read_one(
        self, subject: str, groups: frozenset[str], *, seconds: float, like: Like | None = None
    ) -> Answer:
        """See :class:`~airflow_sso.directory.snapshot.Reader`."""
        wanted = Wanted(subjects=(subject,), groups=groups, like=like)
        person = _Person(self._caller(time.monotonic() + seconds), subject, wanted)
        try:
            observation = person.read()
        except PermissionMissing as cause:
            raise _naming(cause, _READS_GROUPS if wanted.asks_for_groups else _READS_USERS) from None
        return Answer(observation, person.groups, follows_patterns=True)

    def names_of(self, groups: Collection[str]) -> Mapping[str, str | None]:
        """By their ids, or by their names, which several groups may have."""
        asked = _Groups(self._caller(time.monotonic() + _NAMING), _NO_GROUPS, {})
        return {value: asked.name_of(value) for value in sorted(groups)}

    def _caller(self, deadline: float) -> Caller:
        """One for each reading: sign-ins come in many threads at once."""

        def token(renew: bool) -> str:
            left = deadline - time.monotonic()
            return self._worker.token(renew, seconds=left if math.isfinite(left) else None)

        caller = Caller(base=self._base, http=self._http, token=token, wait=self._wait)
        caller.deadline = deadline
        return caller


class _WholeReading:
    """Everybody who is wanted, once."""

    def __init__(self, caller: Caller, wanted: Wanted) -> None:
        self._caller = caller
        self._singly = wanted.read_singly
        # The strings of whoever asks are kept, and none of the directory's.
        self._subjects = {subject: subject for subject in wanted.subjects}
        self._wanted = wanted if self._subjects else _NO_GROUPS
        self._missing = self._subjects.keys() - self._singly
        self._people: dict[str, Observation] = {}
        self._groups: dict[str, Fact] = {}
        self._facts: dict[str, dict[str, Fact | None]] = {}
        self._population: int | None = None

    def made(self) -> Reading:
        began_at = datetime.now(timezone.utc)
        groups_are_told_singly = self._read_pages()
        if self._wanted.asks_for_groups and not groups_are_told_singly:
            groups = _Groups(self._caller, self._wanted, self._subjects)
            self._groups = by_person(groups.members(), self._subjects)
        asked_singly = self._wanted if groups_are_told_singly else _NO_GROUPS
        for subject in self._subjects:
            if groups_are_told_singly or subject not in self._people or subject in self._singly:
                self._read_singly(subject, asked_singly)
        return Reading(
            began_at=began_at,
            everyone=True,
            people={subject: self._people[subject] for subject in self._subjects},
            groups=self._groups,
            facts=self._facts,
            population=self._population,
        )

    def _read_pages(self) -> bool:
        """Read pages for as long as each tells more than asking for whoever is missing would.

        The first is read in any case: it tells how many people there are, and whether our application
        may read them at all.

        :returns: whether it takes fewer requests to ask for each person than for the groups' members.
        """
        try:
            for number, page in enumerate(pages(self._caller, "/users", "users")):
                self._take(page.entries)
                if number == 0:
                    self._population = page.count
                    if page.count == 0 and self._subjects:
                        raise DirectoryUnreadable("users: nobody is there, not even who has signed in")
                    for_groups = sum(1 if _GUID.fullmatch(group) else 2 for group in self._wanted.groups)
                    for_groups += self._wanted.like is not None
                    if for_groups and len(self._subjects) <= page.left + for_groups:
                        return True
                if len(self._missing) <= page.left:
                    break
        except PermissionMissing as cause:
            raise _naming(cause, _READS_USERS) from None
        return False

    def _take(self, users: Iterable[Json]) -> None:
        for user in users:
            subject = self._subjects.get(a_text(user, "id", "a user"))
            if subject is not None:
                self._people[subject] = observed(user)
                self._missing.discard(subject)

    def _read_singly(self, subject: str, wanted: Wanted) -> None:
        person = _Person(self._caller, subject, wanted)
        try:
            self._people[subject] = person.read()
        except PermissionMissing as cause:
            # The list was readable. So either this one person is not for us, or groups are for nobody.
            if wanted.asks_for_groups:
                self._raise_if_groups_are_the_matter(subject, cause)
            self._leave_open(subject, cause.detail, wanted)
        except DirectoryUnreadable as cause:
            self._leave_open(subject, cause.detail, wanted)
        if person.groups:
            self._groups[subject] = person.groups

    def _leave_open(self, subject: str, why: str, wanted: Wanted) -> None:
        self._people[subject] = Observation("unknown", why)
        if wanted.asks_for_groups:
            self._facts[subject] = {"group": None}

    def _raise_if_groups_are_the_matter(self, subject: str, cause: PermissionMissing) -> None:
        try:
            _Person(self._caller, subject, _NO_GROUPS).read()
        except DirectoryUnreadable:
            pass
        except PermissionMissing:
            return
        raise _naming(cause, _READS_GROUPS) from None


class _Person:
    """One user by their own id (fact D11)."""

    def __init__(self, caller: Caller, subject: str, wanted: Wanted) -> None:
        self._caller = caller
        self._subject = subject
        self._path = f"/users/{quote(subject, safe='')}"
        self._wanted = wanted
        self._ids_only = wanted.like is None and all(_GUID.fullmatch(group) for group in wanted.groups)
        self.groups: Fact = frozenset()

    def read(self) -> Observation:
        """Who they are now; ``groups`` afterwards has those of the wanted ones that they are in.

        :raises PermissionMissing: for 403, which may be about this person alone.
        :raises DirectoryUnreadable: for whatever says nothing about them.
        """
        names = "" if self._ids_only else ",memberOfGroupNames"
        query = f"?include=memberOfGroupIDs{names}" if self._wanted.asks_for_groups else ""
        reply = self._caller.get(self._path + query, known=frozenset({400, 404}))
        if reply.status == 404 and error_code(reply.body) == "NOT_FOUND":  # fact D16; a proxy says it not
            return GONE
        if reply.status != 200:
            raise DirectoryUnreadable(f"GET {self._path}: HTTP {reply.status} {error_code(reply.body)}")
        user = reply.body
        if a_text(user, "id", "a user").lower() != self._subject.lower():
            raise DirectoryUnreadable(f"GET {self._path}: the answer is about somebody else")
        observation = observed(user)
        if self._wanted.asks_for_groups:
            self.groups = self._matching(user)
        return observation

    def _matching(self, user: Json) -> Fact:
        ids, names = texts(user, "memberOfGroupIDs"), texts(user, "memberOfGroupNames")
        if ids is None or (names is None and not self._ids_only):
            # Not told is not "in none": ask where having none is an answer (fact D14).
            ids, names = self._memberships()
        known = frozenset(map(comparable, ids)), frozenset(map(comparable, names or ()))
        named = (
            group for group in self._wanted.groups if comparable(group) in known[not _GUID.fullmatch(group)]
        )
        like = self._wanted.like((*ids, *(names or ()))) if self._wanted.like else frozenset()
        return like.union(named)

    def _memberships(self) -> tuple[list[str], list[str]]:
        address = f"{self._path}/memberOfGroups?expand=group"
        ids, names = [], []
        for page in pages(self._caller, address, "groupMemberships", limit=_MEMBERSHIPS):
            for entry in page.entries:
                ids.append(a_text(entry, "id", "a membership"))
                # Expanding may put the name one level down.
                named = entry if "name" in entry else an_object(entry.get("group"))
                names.append(a_text(named, "name", "a membership"))
        return ids, names


class _Groups:
    """Who is in each of the wanted groups, members of groups inside them included.

    Which of them a pattern wants shows in the list of all.

    A value that looks like an id is one; anything else is a name, and several groups may have it, one in
    each population (fact D6): all of them count. Being a member includes being one INDIRECTly, unless
    the filter asks for ``type`` (fact D14).
    """

    def __init__(self, caller: Caller, wanted: Wanted, subjects: Mapping[str, str]) -> None:
        self._caller = caller
        self._wanted = wanted
        self._subjects = subjects
        self._members: dict[str, list[str]] = {}

    def members(self) -> dict[str, Iterable[str]]:
        """By what the mapping writes, or a pattern of it wants: those of the subjects who are in it."""
        try:
            ids = self._wanted_by_pattern()
            ids |= {value: self._ids(value) for value in self._wanted.groups}
            return {value: list(self._of_any(ids[value])) for value in sorted(ids)}
        except PermissionMissing as cause:
            raise _naming(cause, _READS_GROUPS) from None

    def name_of(self, value: str) -> str | None:
        """What a group is called; ``None`` where there is none."""
        if not _GUID.fullmatch(value):
            return value if self._ids(value) else None
        reply = self._read_group(value)
        return None if reply is None else a_text(reply, "name", "a group")

    def _read_group(self, group: str) -> Json | None:
        """A group by its id; ``None`` where there is none (fact D16)."""
        reply = self._caller.get(f"/groups/{quote(group, safe='')}", known=frozenset({404}))
        if reply.status == 404 and error_code(reply.body) == "NOT_FOUND":
            return None
        if reply.status != 200:
            raise DirectoryUnreadable(f"GET /groups: HTTP {reply.status} {error_code(reply.body)}")
        body: Json = reply.body
        return body

    def _wanted_by_pattern(self) -> dict[str, list[str]]:
        """The ids of each group by its name, or its id, whichever a pattern wants."""
        if self._wanted.like is None:
            return {}
        ids: dict[str, list[str]] = {}
        for page in pages(self._caller, "/groups", "groups"):
            for group in page.entries:
                own = a_text(group, "id", "a group")
                ids.setdefault(a_text(group, "name", "a group"), []).append(own)
                ids.setdefault(own, []).append(own)
        return {value: ids[value] for value in self._wanted.like(list(ids))}

    def _ids(self, value: str) -> list[str]:
        if _GUID.fullmatch(value):
            return [value.lower()]
        address = f"/groups?filter={_filter('name eq ', value)}"
        return [
            a_text(group, "id", "a group")
            for page in pages(self._caller, address, "groups")
            for group in page.entries
            if comparable(a_text(group, "name", "a group")) == comparable(value)
        ]

    def _of_any(self, ids: list[str]) -> Iterator[str]:
        for group in ids:
            if group not in self._members:
                self._members[group] = self._of(group)
            yield from self._members[group]

    def _of(self, group: str) -> list[str]:
        address = f"/users?filter={_filter('memberOfGroups[id eq ', group, ']')}"
        try:
            return [
                self._subjects[member]
                for page in pages(self._caller, address, "users")
                for member in (a_text(user, "id", "a user") for user in page.entries)
                if member in self._subjects
            ]
        except DirectoryUnreadable:
            # What a filter by a group that was deleted answers is written nowhere; what its own read
            # answers is (fact D16).
            if self._read_group(group) is None:
                return []
            raise


def _naming(cause: PermissionMissing, role: str) -> PermissionMissing:
    return PermissionMissing(f"{cause.detail}: {role}")


def _filter(before: str, value: str, after: str = "") -> str:
    """A filter with a value as JSON writes it (RFC 7644, section 3.4.2.2), for a query."""
    return quote(f"{before}{json.dumps(value, ensure_ascii=False)}{after}", safe="")
