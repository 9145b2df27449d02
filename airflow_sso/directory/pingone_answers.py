"""What PingOne's answers say: pages of a collection, and the state of one person.

Typed accessors throughout, for an answer can be anything. What must stay true: whatever is not what the
documentation shows is unreadable, and neither "no" nor a bug of ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_sso.directory.calls import Caller
from airflow_sso.directory.failures import DirectoryUnreadable
from airflow_sso.directory.snapshot import USABLE, Observation

PAGE = 200  # fact D15

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    entries: list[Json]
    count: int | None
    left: int
    """About how many pages of this size are still to come; 0 where the directory does not tell."""


def pages(caller: Caller, address: str, name: str, *, limit: int = PAGE) -> Iterator[Page]:
    """Page after page of a collection, by the directory's own links (fact D15).

    A page may be smaller than was asked for, or even empty; only one without a link is the last.

    :raises DirectoryUnreadable: for links in a circle, and for an end before everything was told.
    """
    seen: set[str] = set()
    told, count = 0, None
    link: str | None = f"{address}{'&' if '?' in address else '?'}limit={limit}"
    while link is not None:
        if caller.whole(link) in seen:
            raise DirectoryUnreadable(f"{name}: a link leads to a page that was read already")
        seen.add(caller.whole(link))
        body = caller.get(link).body
        count = _count(body, name)
        entries = _entries(body, name, may_lack=count == 0)
        told += len(entries)
        yield Page(entries, count, math.ceil(max((count or 0) - told, 0) / (len(entries) or limit)))
        link = _next(body, name)
    # Somebody may be deleted while pages are read; whole pages do not vanish.
    if count is not None and told + limit < count:
        raise DirectoryUnreadable(f"{name}: the pages end after {told} of {count}")


def observed(user: Json) -> Observation:
    """What an entry says of its person (fact D12).

    :raises DirectoryUnreadable: when it does not say it.
    """
    enabled = user.get("enabled")
    lifecycle = an_object(user.get("lifecycle")).get("status")
    status = an_object(user["account"]).get("status") if "account" in user else None
    if not isinstance(enabled, bool) or not isinstance(lifecycle, str):
        raise DirectoryUnreadable("a user: enabled or lifecycle.status is missing")
    if not enabled:
        return Observation("unusable", "disabled in PingOne")
    if lifecycle != "ACCOUNT_OK":
        return Observation("unusable", f"lifecycle is {lifecycle[:60]}")
    if status == "LOCKED":
        # It ends by itself, and PingOne lets nobody sign in meanwhile: sessions and roles stay.
        return Observation("unknown", "locked at PingOne (temporary)")
    return USABLE


def an_object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def a_text(entry: Json, name: str, what: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise DirectoryUnreadable(f"{what}: {name} is missing")
    return value


def texts(entry: Json, name: str) -> list[str] | None:
    """``None`` where nothing is told."""
    value = entry.get(name)
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


def _count(body: Json, name: str) -> int | None:
    count = body.get("count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise DirectoryUnreadable(f"{name}: count is not a number")
    return count


def _entries(body: Json, name: str, *, may_lack: bool) -> list[Json]:
    entries = an_object(body.get("_embedded")).get(name, [] if may_lack else None)
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise DirectoryUnreadable(f"{name}: the answer holds no list of them")
    return entries


def _next(body: Json, name: str) -> str | None:
    link = an_object(body.get("_links")).get("next")
    if link is None:
        return None
    href = an_object(link).get("href")
    if not isinstance(href, str) or not href:
        raise DirectoryUnreadable(f"{name}: a link that is none")
    return href
