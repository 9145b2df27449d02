"""How a directory's API is called: bounded, patient within limits, and never led to another host.

Every reader asks through a :class:`Caller`. What must stay true: a refusal of our application is never
taken for something about a person, and whatever is not a whole JSON answer is a
:class:`~airflow_sso.directory.failures.DirectoryError`.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_sso.directory.failures import (
    CredentialsRefused,
    DirectoryUnreachable,
    DirectoryUnreadable,
    PermissionMissing,
)
from airflow_sso.http_calls import Bearer, bound
from airflow_sso.provider_settings import HttpSettings

MAX_BYTES = 32_000_000  # twenty pages of 999 members in one batch are about two
#: Worth another try: overload and what stands between (facts B15, B16, D17).
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_TRIES = 6
_LONGEST_WAIT = 120.0  # seconds that one answer may ask us to wait
_FIRST_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came, with one of the statuses that the caller knows how to read."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(kw_only=True)
class Caller:
    """One directory's API.

    :param base: scheme, host and path that every address begins with.
    :param token: a bearer token; called with ``True`` when the last one was refused.
    :param headers: sent with every request.
    """

    base: str
    http: HttpSettings
    token: Callable[[bool], str]
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: Callable[[float], None] = time.sleep
    requests_made: int = 0

    def __post_init__(self) -> None:
        self._session = bound(requests.Session(), self.http, max_bytes=MAX_BYTES)
        self._session.headers.update(self.headers)
        self.progress: Callable[[str], None] = lambda _doing: None
        self.deadline = math.inf
        """``time.monotonic()`` after which no further request begins."""

    def get(self, address: str, *, known: frozenset[int] = frozenset(), **options: Any) -> Reply:
        """The JSON at a path under ``base``, or at a whole address that the directory gave us.

        :param known: statuses other than 200 that the caller reads itself.
        """
        return self.ask("GET", address, known=known, **options)

    def ask(self, method: str, address: str, *, known: frozenset[int] = frozenset(), **options: Any) -> Reply:
        """The same with any method; ``options`` are those of requests."""
        url = self.whole(address)
        what = f"{method} {urlsplit(url).path}"
        renewed = new_token = False
        for tried in range(_TRIES):
            self.progress(what)
            response = self._send(method, url, options, new_token=new_token)
            new_token = False
            status = None if response is None else response.status_code
            if response is not None and status not in _TRANSIENT:
                if status == requests.codes.unauthorized and not renewed:
                    renewed = new_token = True  # it may have expired on the way
                    continue
                return self._read(response, what, known)
            self.pause(retry_after(response), tried, what if response is None else f"{what}: HTTP {status}")
        raise DirectoryUnreachable(f"{what}: no answer in {_TRIES} tries")

    def whole(self, address: str) -> str:
        """The whole address, if it is this directory's.

        :raises DirectoryUnreadable: for a link to anywhere else: our token goes nowhere but here.
        """
        if address.startswith("/"):
            return self.base + address
        try:
            address.encode()
            host, path = urlsplit(address).netloc, urlsplit(address).path
        except ValueError:  # half a bracket, half a character
            raise DirectoryUnreadable("a link is no address") from None
        if _origin(address) != _origin(self.base) or not path.startswith(urlsplit(self.base).path):
            raise DirectoryUnreadable(f"a link leads elsewhere: {host or address[:80]}")
        return address

    def pause(self, asked: float | None, tried: int, what: str) -> None:
        """Wait before another try, as long as was asked, else longer each time.

        :raises DirectoryUnreachable: when there is no time left for it.
        """
        seconds = asked if asked is not None else _FIRST_WAIT * 2**tried
        if tried + 1 >= _TRIES or seconds > _LONGEST_WAIT or time.monotonic() + seconds >= self.deadline:
            raise DirectoryUnreachable(f"{what} after {tried + 1} tries")
        self.rest(seconds, what)

    def rest(self, seconds: float, what: str) -> None:
        """Wait in small parts, so that whoever wants to stop us can."""
        left = seconds
        while left > 0:
            self.progress(f"waiting: {what}")
            self.wait(min(left, 5.0))
            left -= 5.0

    def _send(
        self, method: str, url: str, options: Mapping[str, Any], *, new_token: bool
    ) -> requests.Response | None:
        """``None`` when nothing whole came back."""
        auth = Bearer(self.token(new_token))
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DirectoryUnreachable(f"{method} {urlsplit(url).path}: no time left")
        if math.isfinite(left):
            options = {**options, "timeout": left}  # no request outlives the time that is given
        self.requests_made += 1
        try:
            return self._session.request(method, url, auth=auth, allow_redirects=False, **options)
        except requests.RequestException:
            return None

    def _read(self, response: requests.Response, what: str, known: frozenset[int]) -> Reply:
        status = response.status_code
        if status in known:
            return Reply(status, _json_or_none(response), response.headers)
        said = error_code(_json_or_none(response))
        if status == requests.codes.unauthorized:
            raise CredentialsRefused(f"{what}: HTTP 401 {said}")
        if status == requests.codes.forbidden:
            raise PermissionMissing(f"{what}: HTTP 403 {said}")
        if status != requests.codes.ok:
            raise DirectoryUnreadable(f"{what}: HTTP {status} {said}")
        body = _json_or_none(response)
        if not isinstance(body, dict):
            raise DirectoryUnreadable(f"{what}: the answer is not a JSON object")
        return Reply(status, body, response.headers)


def retry_after(response: requests.Response | None) -> float | None:
    """The seconds that an answer asks us to wait; a fraction is allowed (fact B15)."""
    return None if response is None else seconds_to_wait(response.headers.get("Retry-After"))


def seconds_to_wait(header: str | None) -> float | None:
    """``Retry-After`` in seconds, rounded up; ``None`` where it says nothing usable."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header)
    return float(math.ceil(max(seconds, 0.0))) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    try:
        at = email.utils.parsedate_tz(date)
        return email.utils.mktime_tz(at) - time.time() if at else math.nan
    except (ValueError, OverflowError, TypeError, IndexError):  # a date that is none
        return math.nan


def error_code(body: Any) -> str:
    """The directory's own word for a refusal, as far as it is a plain word (facts B4, D16, F5)."""
    inner = body.get("error") if isinstance(body, dict) else None
    error = inner if isinstance(inner, dict) else body  # OAuth's `error` is the word itself
    for name in ("code", "error", "scimType"):
        word = error.get(name) if isinstance(error, dict) else None
        if isinstance(word, str) and word.replace("_", "").replace(".", "").isalnum():
            return word[:60]
    return ""


def _json_or_none(response: requests.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()
