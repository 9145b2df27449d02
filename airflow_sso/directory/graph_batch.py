"""How Microsoft Graph is asked: single requests, pages, and twenty requests in one.

What a member of a batch says is kept apart from what the batch says (facts B4, B6). What must stay
true: a member is answered, retried within limits, or the whole reading fails; none is lost silently.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar
from urllib.parse import urlsplit

from airflow_sso.directory.calls import Caller, Reply, error_code, seconds_to_wait
from airflow_sso.directory.failures import CredentialsRefused, DirectoryUnreadable, PermissionMissing

T = TypeVar("T")
READ_USERS, READ_MEMBERS, READ_APPS = "User.Read.All", "GroupMember.Read.All", "Application.Read.All"
MOST_MEMBERS = 20  # of one batch (fact B6)
MOST_PAGES = 10_000  # a million people in pages of a hundred; more is a directory that walks in circles
_TRANSIENT = frozenset({408, 424, 429, 500, 502, 503, 504})
_SOON_TOO_FAST = 0.8  # part of the limit that is used up (fact B16)
_RESPITE = 1.0
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Ask:
    """One member of a batch: an address below the base, and what is posted there."""

    address: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one member of a batch was answered."""

    status: int
    body: Any

    @property
    def word(self) -> str:
        return error_code(self.body)


class GraphApi:
    """Graph, through a caller that has its token and its patience."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._near_the_limit = False

    def get(
        self, address: str, *, grant: str, known: frozenset[int] = frozenset(), eventual: bool = False
    ) -> Reply:
        """What is at an address.

        :param grant: the permission that it takes.
        :param eventual: whether it takes the header of advanced queries (fact B14).
        """
        headers = {"ConsistencyLevel": "eventual"} if eventual else {}
        self._slow_down()
        reply = self._caller.get(address, known=known | {403}, headers=headers)
        self._notice(reply.headers)
        if reply.status == 403:
            raise missing(grant, f"GET {urlsplit(address).path}", error_code(reply.body))
        return reply

    def pages(
        self, address: str, *, grant: str, known: frozenset[int] = frozenset(), eventual: bool = False
    ) -> Iterator[Reply]:
        """Every page; the last may hold a link for later. One with a known status is the last."""
        seen: set[int] = set()
        following: str | None = address
        while following is not None:
            walked(following, seen)
            reply = self.get(following, grant=grant, known=known, eventual=eventual)
            yield reply
            following = None if reply.status in known else next_link(reply.body)

    def batch(self, asks: Sequence[Ask]) -> list[Part]:
        """The answers to at most twenty questions, in their order."""
        parts: dict[int, Part] = {}
        renewed = False
        for tried in itertools.count():
            waiting = [number for number in range(len(asks)) if number not in parts]
            answered, seconds = self._posted({number: asks[number] for number in waiting})
            refused = [number for number in waiting if number in answered and answered[number].status == 401]
            if refused and renewed:
                raise CredentialsRefused(f"$batch: HTTP 401 {answered[refused[0]].word}")
            parts |= {
                number: part for number, part in answered.items() if part.status not in _TRANSIENT | {401}
            }
            if len(parts) == len(asks):
                break
            if refused:  # it expired on the way (fact B4)
                renewed = True
                self._caller.token(True)  # noqa: FBT003 -- Caller's own words
            if len(parts) + len(refused) < len(asks):
                again = sorted({part.status for part in answered.values() if part.status in _TRANSIENT})
                self._caller.pause(seconds, tried, f"members of $batch: HTTP {again or 424}")
        return [parts[number] for number in range(len(asks))]

    def _posted(self, asks: Mapping[int, Ask]) -> tuple[dict[int, Part], float | None]:
        """What came for each, and the longest wait that any of them asks for."""
        self._slow_down()
        reply = self._caller.ask(
            "POST",
            "/$batch",
            known=frozenset({424}),
            json={"requests": [_member(number, ask) for number, ask in asks.items()]},
        )
        self._notice(reply.headers)
        if reply.status == 424:  # an older text says that for a batch with throttled members (fact B6)
            return {}, seconds_to_wait(reply.headers.get("Retry-After"))
        parts, waits = dict[int, Part](), list[float]()
        for response in entries(reply.body, "responses"):
            number, part, headers = _member_answer(response)
            if number not in asks or number in parts:
                raise DirectoryUnreadable("$batch: an answer to nothing that was asked")
            self._notice(headers)
            waits.extend(wait for wait in [_wait(headers)] if wait is not None and part.status != 200)
            parts[number] = part
        if len(parts) != len(asks):
            raise DirectoryUnreadable("$batch: a question was not answered")
        return parts, max(waits, default=None)

    def below(self, link: str) -> str:
        """A link of Graph's as a member of a batch names it.

        :raises DirectoryUnreadable: when it leads elsewhere.
        """
        whole, base = self._caller.whole(link), urlsplit(self._caller.base).path
        parts = urlsplit(whole)
        return parts._replace(scheme="", netloc="", path=parts.path.removeprefix(base)).geturl()

    def is_ours(self, link: str) -> bool:
        try:
            return bool(self._caller.whole(link))
        except DirectoryUnreadable:
            return False

    def _notice(self, headers: Mapping[str, Any]) -> None:
        for name, value in headers.items():
            if name.lower() == "x-ms-throttle-limit-percentage" and _number(value) >= _SOON_TOO_FAST:
                self._near_the_limit = True

    def _slow_down(self) -> None:
        """A little rest before the limit is reached is shorter than what comes after it (fact B16)."""
        if self._near_the_limit and not math.isfinite(self._caller.deadline):
            self._caller.rest(_RESPITE, "near the directory's limit")
        self._near_the_limit = False


def missing(grant: str, what: str, word: str = "") -> PermissionMissing:
    """A refusal of our application: which permission it takes."""
    return PermissionMissing(f"{what}: HTTP 403 {word}: the application needs {grant}".replace(" :", ":"))


def is_guid(value: str) -> bool:
    """Whether this may be the id of an object."""
    return _GUID.fullmatch(value) is not None


def chunks(values: Iterable[T], size: int = MOST_MEMBERS) -> Iterator[list[T]]:
    """So many at a time."""
    iterator = iter(values)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def walked(link: str, seen: set[int]) -> None:
    """Note that a link is followed.

    :raises DirectoryUnreadable: when it was followed before, or after far too many.
    """
    mark = hash(link)
    if mark in seen or len(seen) >= MOST_PAGES:
        raise DirectoryUnreadable(f"{urlsplit(link).path}: the pages do not end")
    seen.add(mark)


# What may stand in an answer, each looked at before it is believed. -----------------------------------


def entries(body: Any, name: str = "value") -> list[dict[str, Any]]:
    """A list of objects."""
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DirectoryUnreadable(f"an answer without a list of objects called {name}")
    return found


def words(body: Any) -> list[str]:
    """A list of strings called ``value``."""
    found = body.get("value") if isinstance(body, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise DirectoryUnreadable("an answer without a list of strings called value")
    return found


def text(entry: Mapping[str, Any], name: str) -> str:
    """A string that is not empty."""
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise DirectoryUnreadable(f"an entry without {name}")
    return value


def object_id(entry: Mapping[str, Any], name: str) -> str:
    """An id that an address may be made of."""
    value = text(entry, name)
    if not is_guid(value):
        raise DirectoryUnreadable(f"{name} is not an id")
    return value.lower()


def next_link(body: Any, name: str = "@odata.nextLink") -> str | None:
    """Where it goes on, if it does."""
    link = body.get(name) if isinstance(body, dict) else None
    if link is not None and (not isinstance(link, str) or not link):
        raise DirectoryUnreadable(f"{name} is not a link")
    return link


def moment(entry: Mapping[str, Any], name: str) -> datetime | None:
    """A time, if there is one; its fraction may have seven digits."""
    value = entry.get(name)
    if value is None:
        return None
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)", str(value))
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=timezone.utc) if found else _no_moment(name)
    except ValueError:
        return _no_moment(name)


def _no_moment(name: str) -> datetime:
    raise DirectoryUnreadable(f"{name} is not a time")


def _member(number: int, ask: Ask) -> dict[str, Any]:
    member: dict[str, Any] = {"id": str(number + 1), "method": "GET", "url": ask.address}
    if ask.body is not None:
        content = {"headers": {"Content-Type": "application/json"}, "body": dict(ask.body)}
        member |= {"method": "POST", **content}
    return member


def _member_answer(response: Mapping[str, Any]) -> tuple[int, Part, Mapping[str, Any]]:
    name, status, headers = response.get("id"), response.get("status"), response.get("headers")
    if not isinstance(name, str) or not re.fullmatch(r"\d{1,3}", name) or type(status) is not int:
        raise DirectoryUnreadable("$batch: an answer without id or status")
    return int(name) - 1, Part(status, response.get("body")), headers if isinstance(headers, dict) else {}


def _wait(headers: Mapping[str, Any]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after":
            return seconds_to_wait(str(value))
    return None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
