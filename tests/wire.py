"""What a tab really sent and got, by Chromium's own record: the cookies of every request, sent or withheld.

Playwright tells of one request's headers; which cookies a browser has and *keeps back*, and why, only
the DevTools protocol tells (``Network.requestWillBeSentExtraInfo``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page


@dataclass
class Exchange:
    """One request and its answer; a redirect is one, and what it leads to is another."""

    method: str
    url: str
    sent: set[str] = field(default_factory=set)
    """Names of the cookies that went along."""
    withheld: dict[str, list[str]] = field(default_factory=dict)
    """Names of the cookies that are for this address and stayed behind, with Chromium's reasons."""
    cookie_header: str = ""
    status: int = 0
    set_cookies: list[str] = field(default_factory=list)
    """Each ``Set-Cookie`` of the answer, as it was written."""


class Wire:
    """Listens to a tab, from now on."""

    def __init__(self, page: Page) -> None:
        self._requests: dict[str, list[dict[str, Any]]] = {}
        self._sent: dict[str, list[dict[str, Any]]] = {}
        self._answered: dict[str, list[dict[str, Any]]] = {}
        self._session = page.context.new_cdp_session(page)
        for name, record in (
            ("requestWillBeSent", self._requests),
            ("requestWillBeSentExtraInfo", self._sent),
            ("responseReceivedExtraInfo", self._answered),
        ):
            self._session.on(f"Network.{name}", lambda told, record=record: self._note(record, told))
        self._session.send("Network.enable")

    @staticmethod
    def _note(record: dict[str, list[dict[str, Any]]], told: dict[str, Any]) -> None:
        record.setdefault(told["requestId"], []).append(told)

    def cookies(self) -> dict[str, dict[str, Any]]:
        """Every cookie of this browser by its name, as it is kept; ``sameSite`` only if it was written."""
        return {one["name"]: one for one in self._session.send("Network.getAllCookies")["cookies"]}

    def exchanges(self, method: str, address: str) -> list[Exchange]:
        """Those with this method whose address, without its query, begins so."""
        self._session.send("Network.getAllCookies")  # what was told before the answer has been heard by then
        return [
            self._exchange(request, *told)
            for number, requests in self._requests.items()
            for request, *told in zip(
                requests, self._sent.get(number, []), self._answered.get(number, []), strict=False
            )
            if request["request"]["method"] == method
            and urlsplit(request["request"]["url"])._replace(query="").geturl().startswith(address)
        ]

    @staticmethod
    def _exchange(request: dict[str, Any], sent: dict[str, Any], answered: dict[str, Any]) -> Exchange:
        made = Exchange(
            request["request"]["method"], request["request"]["url"], status=answered["statusCode"]
        )
        for one in sent["associatedCookies"]:
            if one["blockedReasons"]:
                made.withheld[one["cookie"]["name"]] = one["blockedReasons"]
            else:
                made.sent.add(one["cookie"]["name"])
        lowered = {name.lower(): value for name, value in sent["headers"].items()}
        made.cookie_header = lowered.get("cookie", "")
        written = {name.lower(): value for name, value in answered["headers"].items()}.get("set-cookie", "")
        made.set_cookies = written.split("\n") if written else []
        return made
