"""People in Microsoft Graph: everybody in the cheaper of two ways, what changed since, and one by one.

What must stay true: only ``accountEnabled: true`` makes anybody usable, only a 404 about their own id
makes anybody gone (facts B2, B3), and no more people are kept in memory than are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from airflow_sso.directory.calls import error_code
from airflow_sso.directory.failures import CursorExpired, DirectoryUnreadable
from airflow_sso.directory.graph_batch import (
    MOST_MEMBERS,
    READ_USERS,
    Ask,
    GraphApi,
    Part,
    chunks,
    entries,
    is_guid,
    missing,
    moment,
    next_link,
    text,
)
from airflow_sso.directory.snapshot import GONE, USABLE, Observation, Wanted

T = TypeVar("T")
_SELECT = "$select=id,accountEnabled,signInSessionsValidFromDateTime"
PAGE = 999  # the most that a page of users holds (fact B14)
#: What a forgotten cursor may be answered with; the word for it is not always the same (fact B8).
_FORGOTTEN = frozenset({400, 404, 410})
_DISABLED = "disabled in Microsoft Entra ID"
NOT_AN_ID = Observation("unknown", "not an object id of Microsoft Entra ID")


class People:
    """Who is wanted, found by the id that Graph says; ids are compared in lower case."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self.named: dict[str, str] = {}
        """By id in lower case: the subject, as the caller's own string."""
        self.strangers: list[str] = []
        """Subjects that are no object id; Graph would take them for a principal name."""
        self._twins: list[tuple[str, str]] = []
        for subject in subjects:
            if not is_guid(subject):
                self.strangers.append(subject)
                continue
            lowered = subject.lower()
            key = subject if lowered == subject else lowered
            if self.named.setdefault(key, subject) != subject:
                self._twins.append((subject, key))

    def shared(self, found: dict[str, T]) -> dict[str, T]:
        """The same dictionary, with those who are wanted in two spellings under both."""
        for subject, key in self._twins:
            if self.named[key] in found:
                found[subject] = found[self.named[key]]
        return found


def everybody(api: GraphApi, wanted: Wanted, people: People) -> tuple[dict[str, Observation], int, str]:
    """Everybody who is wanted, how many people there are, and the cursor for the next time."""
    cursor = _cursor_of_now(api)  # first: what changes while we read is read again, not missed
    population = _population(api)
    observed: dict[str, Observation] = {}
    by_one = -(-len(people.named) // MOST_MEMBERS)
    if by_one < -(-population // PAGE):
        observed.update(_singly(api, people, people.named, permitted=False))
    else:
        population = _paged(api, people, observed)
        again = {key.lower() for key in wanted.read_singly}
        left = [key for key, subject in people.named.items() if key in again or subject not in observed]
        observed.update(_singly(api, people, left, permitted=True))
    observed.update(dict.fromkeys(people.strangers, NOT_AN_ID))
    return people.shared(observed), population, cursor


def changes(api: GraphApi, wanted: Wanted, people: People, cursor: str) -> tuple[dict[str, Observation], str]:
    """Whoever changed since the cursor was given, those who are to be read singly, and the next cursor."""
    if not api.is_ours(cursor):
        raise CursorExpired("the cursor is another directory's")
    last: dict[str, dict[str, Any]] = {}
    body: Any = None
    for reply in api.pages(cursor, grant=READ_USERS, known=_FORGOTTEN):
        if reply.status in _FORGOTTEN:
            raise CursorExpired(f"users/delta: HTTP {reply.status} {error_code(reply.body)}")
        body = reply.body
        for entry in entries(body):
            key = text(entry, "id").lower()
            if key in people.named:
                last[key] = entry  # replays and repetitions: the last one wins (fact B7)
    observed: dict[str, Observation] = {}
    again = {key.lower() for key in wanted.read_singly} & people.named.keys()
    for key, entry in last.items():
        # An annotation may be a replay's, and other properties come without this one: ask.
        if "@removed" in entry or entry.get("accountEnabled") is None:
            again.add(key)
        elif key not in again:
            observed[people.named[key]] = state_of(entry)
    observed.update(_singly(api, people, sorted(again), permitted=True))
    observed.update(dict.fromkeys(wanted.read_singly.intersection(people.strangers), NOT_AN_ID))
    return people.shared(observed), _delta_link(body)


def state_of(entry: Mapping[str, Any]) -> Observation:
    """What an entry says of a person.

    :raises DirectoryUnreadable: when it does not say whether they are enabled: absent is not enabled.
    """
    enabled = entry.get("accountEnabled")
    if not isinstance(enabled, bool):
        raise DirectoryUnreadable("a user without accountEnabled")
    valid_from = moment(entry, "signInSessionsValidFromDateTime")
    if not enabled:
        return Observation("unusable", _DISABLED, valid_from)
    return USABLE if valid_from is None else Observation("usable", "", valid_from)


def user_address(subject: str) -> str:
    """One person, as a member of a batch names them."""
    return f"/users/{subject}?{_SELECT}"


def single(subject: str, part: Part) -> Observation:
    """What the answer about one person says: never that they are gone, unless it says just that."""
    if part.status == 404 and "resourcenotfound" in part.word.lower():
        return GONE
    if part.status == 200 and isinstance(part.body, dict):
        try:
            if text(part.body, "id").lower() != subject.lower():
                return Observation("unknown", "the directory answered with somebody else")
            return state_of(part.body)
        except DirectoryUnreadable as cause:
            return Observation("unknown", cause.detail)
    return Observation("unknown", f"HTTP {part.status} {part.word}".strip())


def _singly(
    api: GraphApi, people: People, keys: Iterable[str], *, permitted: bool
) -> Iterator[tuple[str, Observation]]:
    """People by their own ids, twenty a request.

    :param permitted: whether a list could be read: then a 403 is about one person, however many have it.
    """
    asked = False
    for chunk in chunks(keys):
        asked = True
        parts = api.batch([Ask(user_address(key)) for key in chunk])
        permitted = permitted or any(part.status != 403 for part in parts)
        for key, part in zip(chunk, parts, strict=True):
            yield people.named[key], single(key, part)
    if asked and not permitted:
        raise missing(READ_USERS, "GET /users/{id}")


def _paged(api: GraphApi, people: People, observed: dict[str, Observation]) -> int:
    """Fill in whoever is in the pages of the whole tenant; how many people were in them."""
    count = 0
    for reply in api.pages(f"/users?{_SELECT}&$top={PAGE}", grant=READ_USERS):
        for entry in entries(reply.body):
            count += 1
            subject = people.named.get(text(entry, "id").lower())
            if subject is not None:
                observed[subject] = state_of(entry)
    return count


def _population(api: GraphApi) -> int:
    """How many people there are; the answer is a bare number."""
    reply = api.get("/users/$count", grant=READ_USERS, known=frozenset({200}), eventual=True)
    if type(reply.body) is not int or reply.body < 0:
        raise DirectoryUnreadable("users/$count is not a number")
    return reply.body


def _cursor_of_now(api: GraphApi) -> str:
    body: Any = None
    for reply in api.pages(f"/users/delta?{_SELECT}&$deltatoken=latest", grant=READ_USERS):
        body = reply.body
        entries(body)
    cursor = _delta_link(body)
    if not api.is_ours(cursor):
        raise DirectoryUnreadable("the delta link leads elsewhere")
    return cursor


def _delta_link(body: Any) -> str:
    link = next_link(body, "@odata.deltaLink")
    if link is None:
        raise DirectoryUnreadable("the last page of changes has no link for later")
    return link
