"""The same provider that others wrote, asked for more: a client that signs assertions, and keys that are
rotated while people sign in."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from demo.processes import Process
from tests import stack
from tests.browser import PEER
from tests.certificates import Certificate, new_certificate
from tests.databases import Database
from tests.stack import Stack, Visitor, facts
from tests.test_peer_oidc_provider import entry, node

__all__ = ["node"]  # the fixture of the other file about this peer


@dataclass
class SigningPeer:
    """An Airflow whose only provider is a peer that takes no secret."""

    airflow: Stack
    certificate: Certificate
    start: Callable[[], Process]
    running: list[Process] = field(default_factory=list)

    def restart(self) -> None:
        """Start the peer anew on its port: it makes new signing keys each time."""
        while self.running:
            self.running.pop().stop()
        self.running.append(self.start())

    def sign_in(self, login: str) -> tuple[str | None, str | None]:
        """Who Airflow says it is, and the code of the refusal: one of them is ``None``."""
        visitor = self.airflow.visitor()
        page = visitor.at("/auth/login/signing?next=/dags")
        page = submit(visitor, page, login=login, password="any")
        page = submit(visitor, page)  # consent
        return visitor.who(), facts(page)[0]


def submit(visitor: Visitor, page: requests.Response, **fields: str) -> requests.Response:
    """Fill in the form of one of the peer's pages and send it off."""
    action = re.search(r'<form[^>]*action="([^"]+)"', page.text)
    assert action, f"no form on {page.url}: {page.text[:300]}"
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    target = urljoin(page.url, html.unescape(action.group(1)))
    return visitor.post(target, data={**hidden, **fields}, timeout=30)


@pytest.fixture(scope="module")
def signing(
    node: str, migrated_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SigningPeer]:
    folder = tmp_path_factory.mktemp("signing")
    certificate = new_certificate(folder, "client")
    pair = {
        "certificate": {"file": str(certificate.certificate_file)},
        "private_key": {"file": str(certificate.key_file)},
    }
    with stack.migrated_home(migrated_database, folder / "home") as home:
        airflow = Stack(home)
        port = stack.free_port()
        issuer = f"http://localhost:{port}"
        airflow.configure([{**entry("signing", issuer), "client_auth": {"certificate": pair}}])

        def start() -> Process:
            peer = Process(
                "peer-signing",
                [
                    node,
                    str(PEER / "server.mjs"),
                    str(port),
                    f"{airflow.auth_url}/oauth-authorized/signing",
                    "id_token",
                ],
                log=home.logs / "peer-signing.log",
                env={**home.environment(), "CLIENT_CERTIFICATE": certificate.pem},
            )
            peer.wait_for_url(f"{issuer}/.well-known/openid-configuration")
            return peer

        made = SigningPeer(airflow, certificate, start)
        try:
            made.restart()
            airflow.start()
            yield made
        finally:
            airflow.stop()
            for peer in made.running:
                peer.stop()


def test_the_peer_takes_our_assertion_and_no_strangers(signing: SigningPeer, tmp_path: Path) -> None:
    assert signing.sign_in("grace") == ("grace", None)
    good = signing.certificate.key_file.read_bytes()
    try:
        stranger = new_certificate(tmp_path, "stranger")
        signing.certificate.key_file.write_bytes(stranger.key_file.read_bytes())
        assert signing.sign_in("grace") == (None, "SSO-102")
    finally:
        signing.certificate.key_file.write_bytes(good)


def test_keys_are_rotated_while_many_sign_in(signing: SigningPeer) -> None:
    assert signing.sign_in("edsger")[1] is None
    for _ in range(2):
        signing.restart()
        with ThreadPoolExecutor(6) as people:
            outcomes = list(people.map(signing.sign_in, ["grace", "edsger"] * 6))
        assert {code for _, code in outcomes} == {None}, outcomes
        assert {who for who, _ in outcomes} == {"grace", "edsger"}
