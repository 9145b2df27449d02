"""SAML without a browser: entries for ``sso.yaml``, and both ends of a conversation with the ACS.

The responses come from the local provider's own generator and are signed with its keys of the run;
what a test changes, it changes before or after the signature, and nothing is ever patched here.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from lxml import etree

from airflow_sso.airflow_compat import AUTH_PREFIX
from devidp import saml_response
from devidp.saml_response import Recipe
from devidp.server import Handle
from devidp.settings import CLIENT_ID, PINGONE_ENVIRONMENT_ID, TENANT_ID
from devidp.state import State
from tests.certificates import new_certificate
from tests.stack import Stack, Visitor, facts

#: Where each face of the local provider has its metadata.
METADATA = {
    "entra": f"/{TENANT_ID}/federationmetadata/2007-06/federationmetadata.xml?appid={CLIENT_ID}",
    "pingone": f"/pingone/{PINGONE_ENVIRONMENT_ID}/saml20/metadata/{CLIENT_ID}",
    "pingfederate": "/pf/pf/federation_metadata.ping?PartnerSpId={entity_id}",
    "generic": "/generic/saml/metadata",
}
_VENDOR_KEYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "entra": lambda url: {"tenant_id": TENANT_ID, "insecure_authority_host": url},
    "pingone": lambda _url: {"environment_id": PINGONE_ENVIRONMENT_ID},
    "pingfederate": lambda _url: {"claims": {"subject": "entryUUID"}},
    "generic": lambda _url: {},
}


def our_keys(folder: Path) -> dict[str, dict[str, str]]:
    """A key pair of the run for this Airflow, as ``keys:`` names it."""
    made = new_certificate(folder, "service-provider")
    return {"certificate": {"file": str(made.certificate_file)}, "private_key": {"file": str(made.key_file)}}


def entry(
    idp_url: str, airflow_url: str, face: str, name: str | None = None, **changes: Any
) -> dict[str, Any]:
    """An entry of ``sso.yaml`` with ``protocol: saml`` that points at a face of the local provider."""
    name = name or f"{face}-saml"
    place = METADATA[face].format(entity_id=entity_id(airflow_url, name))
    made: dict[str, Any] = {
        "name": name,
        "vendor": face,
        "protocol": "saml",
        "metadata_url": f"{idp_url}{place}",
        "http": {"timeout": "3s"},
        **_VENDOR_KEYS[face](idp_url),
    }
    return {**made, **changes}


def entity_id(airflow_url: str, name: str) -> str:
    """What a provider of that name calls this Airflow."""
    return f"{airflow_url}{AUTH_PREFIX}/saml/metadata/{name}"


@dataclass
class Conversation:
    """One visitor, one provider; the pending request, and what is answered to it."""

    stack: Stack
    state: State
    provider: str
    face: str
    visitor: Visitor
    request_id: str | None = None

    @property
    def acs(self) -> str:
        return f"{self.stack.auth_url}/saml/acs/{self.provider}"

    @property
    def entity_id(self) -> str:
        """What this Airflow is called there: by what it publishes itself."""
        return str(etree.fromstring(self.stack.metadata[self.provider]).get("entityID"))

    def ask(self, next_url: str | None = None, **query: str) -> Conversation:
        """Start a sign-in, up to the provider's door."""
        request = authn_request(self.go(next_url, **query))
        self.request_id = request.get("ID")
        return self

    def go(self, next_url: str | None = None, **query: str) -> str:
        """Start a sign-in; the address at the provider that the browser is sent to."""
        asked = {**query, **({"next": next_url} if next_url else {})}
        answer = self.visitor.at(f"/auth/login/{self.provider}", params=asked, allow_redirects=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def recipe(self, person: str = "ada", **changes: Any) -> Recipe:
        """What the provider would say, with changes."""
        good = saml_response.good(self.state, self.face, person, self.entity_id, self.request_id)
        return replace(good, **changes)

    def answer(self, person: str = "ada", **changes: Any) -> bytes:
        """A response, signed by the provider."""
        return saml_response.build(self.recipe(person, **changes), self.state.saml.rings[self.face].signing)

    def post(self, response: bytes | str, **fields: str) -> requests.Response:
        """Post a response to the ACS, as the provider's page would, and stay there."""
        encoded = response if isinstance(response, str) else base64.b64encode(response).decode()
        form = {"SAMLResponse": encoded, **fields}
        return self.visitor.post(self.acs, data=form, allow_redirects=False, timeout=60)

    def follow(self, posted: requests.Response) -> requests.Response:
        """Go where the ACS sends the browser."""
        assert posted.status_code == 303, (posted.status_code, facts(posted), posted.text[:500])
        return self.visitor.get(posted.headers["Location"], timeout=30)

    def sign_in(self, person: str = "ada", next_url: str | None = None, **changes: Any) -> requests.Response:
        """The whole way."""
        return self.follow(self.ask(next_url).post(self.answer(person, **changes)))

    def why(self, page: requests.Response) -> str:
        """The reason that was logged under the reference on a page; there is exactly one such line."""
        _, reference = facts(page)
        lines = [line for line in self.stack.log.splitlines() if reference and f'"{reference}"' in line]
        assert len(lines) == 1, (reference, lines)
        return lines[0]


def authn_request(url: str) -> Any:
    """The AuthnRequest in an address that a browser is sent to."""
    (encoded,) = parse_qs(urlsplit(url).query)["SAMLRequest"]
    return etree.fromstring(zlib.decompress(base64.b64decode(encoded), wbits=-15))


def register(idp: Handle, stack: Stack, names: list[str]) -> None:
    """Let the local provider import our metadata."""
    for name in names:
        if name not in stack.metadata:
            answer = stack.visitor().at(f"/auth/saml/metadata/{name}")
            assert answer.ok, answer.text
            stack.metadata[name] = answer.content
        idp.state.saml.service_providers.register(stack.metadata[name])
