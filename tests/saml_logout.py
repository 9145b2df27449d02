"""Single logout without a browser: people signed in by a provider that can then speak of them, and both
ends of a conversation with our single logout service.

The provider's messages come from the local provider's own generator and are signed with its keys.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from lxml import etree

from devidp import saml_logout, saml_response, saml_sign
from devidp import saml_xml as sx
from devidp.saml_logout_recipe import LogoutContext, LogoutRecipe
from devidp.saml_state import Participant
from devidp.server import Handle
from devidp.testing import _Form
from tests.saml import Conversation
from tests.stack import Stack, Visitor, driver, facts


@dataclass
class Guest:
    """Somebody who is signed in through a SAML provider, and what the provider knows of that."""

    stack: Stack
    idp: Handle
    provider: str
    visitor: Visitor
    participant: Participant

    @property
    def slo(self) -> str:
        return f"{self.stack.auth_url}/saml/slo/{self.provider}"

    @property
    def face(self) -> str:
        return self.participant.face

    def request(self, binding: str = sx.REDIRECT, **changes: Any) -> dict[str, Any]:
        """The LogoutRequest that the provider would send; :func:`saml_logout.logout_request`."""
        return saml_logout.logout_request(
            self.idp.state, self.face, self.participant, binding=binding, **changes
        )

    def context(self, attacker: Guest | None = None) -> LogoutContext:
        """For requests that the provider would not send, all about this person."""
        own = (attacker or self).participant
        return LogoutContext.of(self.idp.state, self.face, self.participant, own, self.slo)

    @property
    def recipe(self) -> LogoutRecipe:
        return self.context().honest

    def session(self) -> dict[str, Any]:
        """The register's newest row of this provider."""
        query = "select * from sso_session where provider = ? order by id desc limit 1"
        (row,) = self.stack.rows(query, self.provider)
        return row


def arriving(
    stack: Stack, idp: Handle, provider: str, face: str, person: str = "ada", **changes: Any
) -> tuple[Guest, Conversation, requests.Response]:
    """A sign-in as far as the ACS has taken the response; ``Conversation.follow`` finishes it."""
    talk = Conversation(stack, idp.state, provider, face, stack.visitor()).ask()
    recipe = talk.recipe(person, **changes)
    participant = Participant(
        face=face,
        person=person,
        sp=talk.entity_id,
        name_id=recipe.name_id or "",
        name_id_format=recipe.name_id_format,
        session_index=recipe.session_index,
    )
    idp.state.saml.told(participant)
    posted = talk.post(saml_response.build(recipe, idp.state.saml.rings[face].signing))
    return Guest(stack, idp, provider, talk.visitor, participant), talk, posted


def send(visitor: Visitor, sent: dict[str, Any]) -> requests.Response:
    """Carry a message as a browser would, and stay where that leads."""
    if sent["binding"] == sx.REDIRECT:
        return visitor.get(sent["url"], allow_redirects=False, timeout=60)
    return visitor.post(sent["url"], data=sent["fields"], allow_redirects=False, timeout=60)


@dataclass(frozen=True)
class Answer:
    """A LogoutResponse of ours on its way to the provider."""

    tree: Any
    address: str
    relay_state: str | None
    codes: list[str]

    @classmethod
    def of(cls, response: requests.Response, certificate: bytes | None) -> Answer:
        """Read it off a redirect or off the form of a page; its signature is verified if there are keys."""
        if response.is_redirect:
            address, _, query = response.headers["Location"].partition("?")
            fields = {name: values[0] for name, values in parse_qs(query).items()}
            tree = etree.fromstring(zlib.decompress(base64.b64decode(fields["SAMLResponse"]), wbits=-15))
            if certificate:
                saml_sign.verify_query(query, "SAMLResponse", [certificate])
        else:
            form = _Form(response.text)
            address, fields = form.action, form.fields
            tree = sx.own(base64.b64decode(fields["SAMLResponse"]))
            if certificate:
                saml_sign.verify(tree, [certificate])
        codes = [code.get("Value", "").rpartition(":")[2] for code in tree.iter("{*}StatusCode")]
        return cls(tree, address, fields.get("RelayState"), codes)


def press_form(visitor: Visitor, page: requests.Response, **options: Any) -> requests.Response:
    """Send the form of a page, as its button or its script does."""
    form = _Form(page.text)
    assert form.action, page.text[:500]
    return visitor.post(urljoin(page.url, form.action), data=form.fields, timeout=60, **options)


def heard(idp: Handle, face: str) -> dict[str, Any]:
    """The newest logout message that the provider got, as its log has it."""
    entries = driver(idp).control("GET", "requests")
    about = [
        one for one in entries if one["face"] == face and "Logout" in one.get("saml", {}).get("message", "")
    ]
    assert about, entries[-3:]
    return dict(about[-1])


def told(stack: Stack, page: requests.Response) -> dict[str, Any]:
    """The record of a logout notice that was refused, which is one line under the page's reference."""
    _, reference = facts(page)
    assert reference, page.text[:500]
    lines = [line for line in stack.log.splitlines() if f'"{reference}"' in line]
    assert len(lines) == 1, lines
    found: dict[str, Any] = json.JSONDecoder().raw_decode(lines[0], lines[0].index('{"'))[0]
    return found


def host_of(url: str) -> str:
    return urlsplit(url).netloc
