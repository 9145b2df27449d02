"""What a test needs to drive a running provider: the control API, and a person at the browser.

Works against any provider by its URL, in this process or another. It checks nothing itself; a
control call that is refused raises, so that a misspelt knob cannot go unnoticed.
"""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urljoin

import httpx

from devidp.faces import FACES

_ACTION = re.compile(r'<form method="post" action="([^"]+)"')


class Driver:
    """`http` is a browser as far as the provider can tell: it keeps cookies and follows no redirect."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url, self.http = url, http

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = self.http.request(method, f"{self.url}/_control/{path}", json=body)
        if answer.status_code != status:
            raise ValueError(f"{method} {path} gave {answer.status_code}: {answer.text}")
        return answer.json()

    def reset(self) -> None:
        self.control("POST", "reset")
        self.http.cookies.clear()

    def knobs(self, **values: Any) -> Any:
        """Set knobs; two underscores stand for the dot: `id_token__alg="none"`."""
        return self.control("PUT", "knobs", {name.replace("__", "."): v for name, v in values.items()})

    def outcomes(self, endpoint: str = "token") -> list[str]:
        return [entry["outcome"] for entry in self.control("GET", f"requests?endpoint={endpoint}")]

    def discovery(self, face: str) -> Any:
        return self.http.get(f"{self.url}{FACES[face].issuer}/.well-known/openid-configuration").json()

    def choose(self, authorization_url: str, person: str) -> str:
        """Go to the provider, choose a person ("" cancels), and give back where the browser is sent."""
        response = self.http.get(authorization_url)
        action = _ACTION.search(response.text)
        if response.status_code == 200 and action:
            response = self.http.post(
                urljoin(str(response.url), html.unescape(action[1])), data={"person": person}
            )
        if "location" not in response.headers:
            raise ValueError(f"the provider did not send the browser back: {response.text}")
        return response.headers["location"]
