"""What a test needs to drive a running provider: the control API, and a person at the browser.

Works against any provider by its URL, in this process or another. It checks nothing itself; a
control call that is refused raises, so that a misspelt knob cannot go unnoticed.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx

from devidp.faces import FACES
from devidp.saml_faces import SAML_FACES

_ACTION = re.compile(r'<form method="post" action="([^"]+)"')


class _Form(HTMLParser):
    """The page's form: where it goes and its hidden fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.fields = "", dict[str, str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given.get("action", "")
        elif tag == "input" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")


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

    # -- the directory --------------------------------------------------------------------------------

    def directory(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The control API of the directory: directory("POST", "generate", {"people": 1000})."""
        return self.control(method, f"directory/{path}", body, status=status)

    def put_person(self, name: str, **changes: Any) -> Any:
        """disabled, locked, deleted ("soft", "hard" or None), signed_out_everywhere, groups."""
        return self.directory("PUT", f"people/{name}", changes)

    def put_group(self, name: str, **changes: Any) -> Any:
        """groups (those nested in it), members, app_roles, deleted."""
        return self.directory("PUT", f"groups/{name}", changes)

    def disable(self, name: str) -> Any:
        return self.put_person(name, disabled=True)

    def enable(self, name: str) -> Any:
        return self.put_person(name, disabled=False)

    def counts(self) -> dict[str, int]:
        """How often each directory endpoint was asked since the last reset or DELETE of the counts."""
        counts: dict[str, int] = self.directory("GET", "counts")
        return counts

    # -- SAML -----------------------------------------------------------------------------------------

    def register_sp(self, metadata: str | bytes) -> Any:
        """Make a service provider known to every face, by its metadata."""
        text = metadata.decode() if isinstance(metadata, bytes) else metadata
        return self.control("POST", "saml/service-providers", {"metadata": text})

    def saml_metadata(self, face: str, **query: str) -> bytes:
        """As the address answers; entra and pingfederate want appid= or PartnerSpId= (facts C1, E7)."""
        path = SAML_FACES[face].metadata.replace("<application>", "any")
        return self.http.get(self.url + path, params=query).content

    def saml_post(self, url: str, person: str) -> tuple[str, dict[str, str]]:
        """Follow a service provider's redirect URL to the provider, choose a person ("" cancels), and
        give back the form that a browser would now send: its address, and SAMLResponse (and RelayState)."""
        return self._saml_form(self.http.get(url), person)

    def saml_start(
        self, face: str, person: str, sp_entity_id: str, relay_state: str | None = None
    ) -> tuple[str, dict[str, str]]:
        """The same where the provider begins by itself."""
        saml = SAML_FACES[face]
        query = {saml.start_parameter: sp_entity_id}
        if relay_state is not None:
            query["RelayState"] = relay_state
        return self._saml_form(self.http.get(self.url + saml.start, params=query), person)

    def rotate_saml(self, face: str | None = None, **step: Any) -> Any:
        """publish=old|new|both|none, sign_with=old|new, kind=good|expired|weak, forget_old=True."""
        return self.control("POST", "saml/keys/rotate", step if face is None else {"face": face, **step})

    def saml_logout(self, face: str, person: str, **details: Any) -> dict[str, Any]:
        """The LogoutRequest that the provider would send now: {"binding", "url", "fields"}."""
        sent: dict[str, Any] = self.control(
            "POST", "saml/logout", {"face": face, "person": person, **details}
        )
        return sent

    def _saml_form(self, response: httpx.Response, person: str) -> tuple[str, dict[str, str]]:
        form = _Form(response.text)
        if response.status_code == 200 and form.action and not form.fields:
            form = _Form(
                self.http.post(urljoin(str(response.url), form.action), data={"person": person}).text
            )
        if "SAMLResponse" not in form.fields:
            raise ValueError(f"the provider sent no SAMLResponse: {response.status_code} {response.text}")
        return form.action, form.fields
