"""What a provider says about itself: read within limits, believed only where it must be, kept in an outage.

The provider is a server of this file that answers exactly what a test tells it to, broken or not; the
last tests read the documents of the local identity provider, in the shape that vendors send.
"""

from __future__ import annotations

import gzip
import ipaddress
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey, OctKey

from airflow_sso.errors import ProviderUnreachable, SignatureInvalid, WrongIssuer
from airflow_sso.login import id_token
from airflow_sso.login.discovery import ProviderDocuments
from airflow_sso.oidc_settings import EntraOidc, GenericOidc, OidcProvider
from devidp.faces import FACES
from devidp.server import Handle
from devidp.settings import OTHER_TENANT_ID, TENANT_ID
from tests import clock as clocks
from tests.tokens import ABSENT, expected, honest_claims, public_jwk, signed, signing_key

clock, Clock = clocks.clock, clocks.Clock

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
#: What a route does: writes an answer, by hand where it is to be a broken one.
Route = Callable[[BaseHTTPRequestHandler], None]


def json_answer(value: object, **headers: str) -> Route:
    return answer(json.dumps(value).encode(), **headers)


def answer(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Route:
    def write(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return write


class Provider(ThreadingHTTPServer):
    """An identity provider of two documents; ``routes`` may be changed at any time."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.routes: dict[str, Route] = {}
        self.hits: Counter[str] = Counter()
        self.closing = threading.Event()
        self.describes_itself()
        self.shows([public_jwk(signing_key())])

    def document(self, **changes: Any) -> dict[str, Any]:
        honest = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}{KEYS}",
        }
        return {name: value for name, value in {**honest, **changes}.items() if value is not ABSENT}

    def describes_itself(self, **changes: Any) -> None:
        self.routes[DISCOVERY] = json_answer(self.document(**changes))

    def shows(self, keys: object) -> None:
        self.routes[KEYS] = json_answer({"keys": keys})

    def goes_down(self) -> None:
        for path in self.routes:
            self.routes[path] = answer(b"", 503)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.hits[self.path] += 1
        route = self.server.routes.get(self.path, answer(b"not found", 404))
        route(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "localhost,127.0.0.1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


_COMMON = {"protocol": "oidc", "client_id": "airflow", "client_auth": {"secret": {"env": "NOT_READ_HERE"}}}


def generic(issuer: str, **changes: Any) -> OidcProvider:
    entry = {"name": "lab", "vendor": "generic", "issuer": issuer, "http": {"timeout": "1s"}, **_COMMON}
    return GenericOidc.model_validate({**entry, **changes})


def entra(host: str, **changes: Any) -> OidcProvider:
    entry = {"name": "entra", "vendor": "entra", "tenant_id": TENANT_ID, "insecure_authority_host": host}
    return EntraOidc.model_validate({**entry, "http": {"timeout": "1s"}, **_COMMON, **changes})


def documents_of(provider: Provider, **changes: Any) -> ProviderDocuments:
    return ProviderDocuments(generic(provider.url, **changes))


def kids(documents: ProviderDocuments) -> list[str | None]:
    known = documents.keys()
    return [key.kid for key in known]


# --- the discovery document -----------------------------------------------------------------------------


def test_an_honest_document_is_read(provider: Provider) -> None:
    metadata = documents_of(provider).metadata()
    assert metadata.issuer == provider.url
    assert metadata.authorization_endpoint == f"{provider.url}/authorize"
    assert metadata.token_endpoint == f"{provider.url}/token"
    assert metadata.jwks_uri == f"{provider.url}{KEYS}"
    assert not metadata.sends_iss


@pytest.mark.parametrize(("value", "sends"), [(True, True), (False, False), ("true", False), (1, False)])
def test_only_a_provider_that_announces_iss_must_send_it(
    provider: Provider, value: object, sends: bool
) -> None:
    provider.describes_itself(authorization_response_iss_parameter_supported=value)
    assert documents_of(provider).metadata().sends_iss is sends


def test_endpoints_may_carry_a_query_and_lie_on_another_https_host(provider: Provider) -> None:
    elsewhere = {
        "authorization_endpoint": "https://login.contoso.example/authorize?appid=1",
        "token_endpoint": "https://login.contoso.example:8443/token?appid=1&x=http://y",
    }
    provider.describes_itself(**elsewhere)
    metadata = documents_of(provider).metadata()
    assert metadata.authorization_endpoint == elsewhere["authorization_endpoint"]
    assert metadata.token_endpoint == elsewhere["token_endpoint"]


@pytest.mark.parametrize(
    "issuer", [ABSENT, None, "", "https://evil.example", "{url}/", "{url}/other", "HTTP{rest}", 5, ["{url}"]]
)
def test_a_document_of_another_issuer_is_refused(provider: Provider, issuer: object) -> None:
    if isinstance(issuer, str):
        issuer = issuer.format(url=provider.url, rest=provider.url.removeprefix("http"))
    provider.describes_itself(issuer=issuer)
    with pytest.raises(WrongIssuer) as caught:
        documents_of(provider).metadata()
    assert "discovery of lab: its issuer is" in caught.value.detail


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ABSENT, "is missing"),
        (None, "is missing"),
        (5, "is missing"),
        (["https://id.example/x"], "is missing"),
        ("", "must be an absolute URL"),
        ("/token", "must be an absolute URL"),
        ("//evil.example/token", "must be an absolute URL"),
        ("ftp://evil.example/token", "must be an absolute URL"),
        ("file:///etc/passwd", "must be an absolute URL"),
        ("javascript:alert(1)", "must be an absolute URL"),
        ("https://id.example/x#fragment", "must be an absolute URL"),
        ("http://evil.example/token", "must start with https://"),
        ("http://evil.example/token?https://id.example", "must start with https://"),
        ("http://127.0.0.1.evil.example/token", "must start with https://"),
        ("https://user:pass@evil.example/token", "must not contain a user name"),
        ("https://evil.example\\@id.example/", "must not contain a user name, spaces or backslashes"),
        ("https://id.example/to ken", "must not contain a user name, spaces or backslashes"),
        ("https://[evil", "Invalid IPv6 URL"),
    ],
    ids=str,
)
def test_an_endpoint_that_is_missing_or_unsafe_is_refused(
    provider: Provider, name: str, value: object, why: str
) -> None:
    provider.describes_itself(**{name: value})
    with pytest.raises(ProviderUnreachable) as caught:
        documents_of(provider).metadata()
    assert caught.value.detail.startswith("discovery of lab: ")
    assert why in caught.value.detail


def test_plain_http_elsewhere_takes_the_insecure_key(provider: Provider) -> None:
    provider.describes_itself(token_endpoint="http://id.contoso.example/token")
    with pytest.raises(ProviderUnreachable, match="insecure_http: true"):
        documents_of(provider).metadata()
    assert documents_of(provider, insecure_http=True).metadata().token_endpoint.startswith("http://id")


# --- answers that are none --------------------------------------------------------------------------------


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


def not_http(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def shorter_than_announced(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"{}")


def redirect(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", "/elsewhere")
    request.send_header("Content-Length", "0")
    request.end_headers()


NO_ANSWERS: dict[str, tuple[Route, str]] = {
    "html with 200": (answer(b"<html>Sign in to the proxy</html>", content_type="text/html"), "not JSON"),
    "nothing with 200": (answer(b""), "not JSON"),
    "half a document": (answer(b'{"issuer": "http'), "not JSON"),
    "another encoding": (answer("é".encode("latin-1")), "not JSON"),
    "endless nesting": (answer(b"[" * 100_000), "not JSON"),
    "an array": (answer(b"[]"), "not a JSON object"),
    "text": (answer(b'"issuer"'), "not a JSON object"),
    "null": (answer(b"null"), "not a JSON object"),
    "204": (answer(b"", 204), "HTTP 204"),
    "401": (answer(b"{}", 401), "HTTP 401"),
    "404": (answer(b"{}", 404), "HTTP 404"),
    "429": (answer(b"{}", 429, Retry_After="3600"), "HTTP 429"),
    "500": (answer(b"{}", 500), "HTTP 500"),
    "a redirect": (redirect, "HTTP 302"),
    "more than a megabyte": (answer(b'{"x": "' + b"x" * 1_100_000 + b'"}'), "larger than 1000000 bytes"),
    "a megabyte when unpacked": (
        answer(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip"),
        "larger than 1000000 bytes",
    ),
    "broken compression": (answer(b"not gzip", Content_Encoding="gzip"), "ContentDecodingError"),
    "no answer": (hang_up, "ConnectionError"),
    "another protocol": (not_http, "ConnectionError"),
    "less than announced": (shorter_than_announced, "discovery of lab"),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_an_answer_that_is_none_is_an_outage_and_heals_by_itself(provider: Provider, name: str) -> None:
    documents = documents_of(provider)
    route, why = NO_ANSWERS[name]
    provider.routes |= {DISCOVERY: route, "/elsewhere": json_answer(provider.document())}
    with pytest.raises(ProviderUnreachable) as caught:
        documents.metadata()
    assert "discovery of lab" in caught.value.detail
    assert why in caught.value.detail
    assert provider.hits["/elsewhere"] == 0
    provider.describes_itself()
    assert documents.metadata().issuer == provider.url


def test_nobody_at_the_address_is_an_outage() -> None:
    server = Provider()
    server.server_close()
    with pytest.raises(ProviderUnreachable, match="discovery of lab: ConnectionError"):
        documents_of(server).metadata()


def never(request: BaseHTTPRequestHandler) -> None:
    request.server.closing.wait(20)


def drip(*, headers: bool) -> Route:
    """A byte at a time, each within the timeout, for eight seconds."""

    def write(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if not headers:
            request.wfile.write(b"Content-Length: 1000\r\n\r\n")
        for _ in range(40):
            if request.server.closing.wait(0.2):
                return
            request.wfile.write(b"x")
            request.wfile.flush()

    return write


@pytest.mark.parametrize(
    "route",
    [never, drip(headers=False), drip(headers=True)],
    ids=["silent", "dripping body", "dripping headers"],
)
def test_a_slow_answer_costs_no_more_than_its_timeout(provider: Provider, route: Route) -> None:
    provider.routes[DISCOVERY] = route
    started = time.monotonic()
    with pytest.raises(ProviderUnreachable, match="discovery of lab"):
        documents_of(provider).metadata()
    assert time.monotonic() - started < 3


def test_a_slow_answer_costs_those_who_wait_together_one_timeout(provider: Provider) -> None:
    provider.routes[DISCOVERY] = never
    documents = documents_of(provider)

    def wait() -> float:
        started = time.monotonic()
        with pytest.raises(ProviderUnreachable):
            documents.metadata()
        return time.monotonic() - started

    with ThreadPoolExecutor(6) as people:
        waited = [done.result() for done in [people.submit(wait) for _ in range(6)]]
    assert max(waited) < 3


# --- keys -----------------------------------------------------------------------------------------------------


def test_signing_keys_are_read_as_public_keys(provider: Provider) -> None:
    private = signing_key().as_dict(private=True)
    entra_s_extras = {"x5t": "x", "x5c": ["x"], "x5u": "http://127.0.0.1:1/", "key_ops": ["verify"]}
    provider.shows([{**private, **entra_s_extras, "use": "sig"}])
    (key,) = documents_of(provider).keys()
    assert key.kid == "kid-1"
    assert not key.is_private


def test_every_kind_of_asymmetric_key_is_read(provider: Provider) -> None:
    kinds = [signing_key(alg=alg, kid=alg) for alg in ("RS256", "ES256", "ES384", "ES512", "EdDSA")]
    provider.shows([public_jwk(key) for key in kinds])
    assert kids(documents_of(provider)) == ["RS256", "ES256", "ES384", "ES512", "EdDSA"]


def not_for_signatures() -> dict[str, Any]:
    rsa, ec, okp = (public_jwk(signing_key("wrong", alg, "wrong")) for alg in ("RS256", "ES256", "EdDSA"))
    secret = OctKey.generate_key(256).as_dict(private=True)
    return {
        "a shared secret": {**secret, "kid": "wrong", "use": "sig", "alg": "HS256"},
        "a shared secret that is the public key": {"kty": "oct", "k": rsa["n"], "kid": "wrong"},
        "for encryption": {**rsa, "use": "enc"},
        "for nothing known": {**rsa, "use": "tls"},
        "use is a list": {**rsa, "use": ["sig"]},
        "no kind": {name: value for name, value in rsa.items() if name != "kty"},
        "an unknown kind": {**rsa, "kty": "AKP"},
        "a kind that is no text": {**rsa, "kty": ["RSA"]},
        "a kid that is no text": {**rsa, "kid": 5},
        "an alg that is no text": {**rsa, "alg": 5},
        "no modulus": {name: value for name, value in rsa.items() if name != "n"},
        "a modulus that is no text": {**rsa, "n": 5},
        "a modulus that is nothing": {**rsa, "n": ""},
        "a modulus that is not base64url": {**rsa, "n": "é"},
        "a point off the curve": {**ec, "y": ec["x"]},
        "half a point": {**ec, "x": None},
        "a point of another curve": {**ec, "crv": "P-521"},
        "a curve that nobody here knows": {**ec, "crv": "brainpoolP256r1"},
        "an Edwards curve that nobody here knows": {**okp, "crv": "Ed25519ph"},
        "a curve that is no text": {**okp, "crv": {}},
        "a key that is too short": {**okp, "x": "AQ"},
        "a number": 5,
        "text": "kid-1",
        "null": None,
        "a list": [rsa],
        "nothing": {},
    }


@pytest.mark.parametrize("name", not_for_signatures())
def test_what_is_no_signing_key_is_left_out_and_spoils_no_other(provider: Provider, name: str) -> None:
    wrong = not_for_signatures()[name]
    provider.shows([wrong, public_jwk(signing_key())])
    assert kids(documents_of(provider)) == ["kid-1"]
    provider.shows([wrong])
    with pytest.raises(ProviderUnreachable, match="none of them can verify a signature"):
        documents_of(provider).keys()


def test_a_key_for_encryption_verifies_no_token(provider: Provider) -> None:
    token = signed(key=signing_key("encryption", kid="kid-2"))
    for use, verifies in (("sig", True), ("enc", False)):
        provider.shows(
            [public_jwk(signing_key()), public_jwk(signing_key("encryption", kid="kid-2"), use=use)]
        )
        documents = documents_of(provider)
        arguments = (token, expected(), documents.keys(), documents.keys_fetched_again)
        if verifies:
            assert id_token.verify(*arguments)["sub"] == honest_claims()["sub"]
        else:
            with pytest.raises(SignatureInvalid, match="kid-2"):
                id_token.verify(*arguments)


@pytest.mark.parametrize("keys", [None, {}, "kid-1", 5, ABSENT], ids=repr)
def test_a_key_set_without_a_list_of_keys_is_an_outage(provider: Provider, keys: object) -> None:
    provider.routes[KEYS] = json_answer({} if keys is ABSENT else {"keys": keys})
    with pytest.raises(ProviderUnreachable, match="keys of lab: there is no list of keys"):
        documents_of(provider).keys()


def test_an_endless_key_set_is_cut(provider: Provider) -> None:
    provider.shows([public_jwk(signing_key(alg="ES256"), kid=f"kid-{number}") for number in range(500)])
    assert len(kids(documents_of(provider))) == 100


@pytest.mark.parametrize(
    ("issuer", "counts"),
    [
        (ABSENT, True),
        ("{host}/{tenantid}/v2.0", True),
        (f"{{host}}/{TENANT_ID}/v2.0", True),
        (f"{{host}}/{OTHER_TENANT_ID}/v2.0", False),
        (f"https://login.microsoftonline.com/{TENANT_ID}/v2.0", False),
        (f"{{host}}/{TENANT_ID}/v2.0/", False),
        ("{host}/{tenantid}/v2.0/{tenantid}", False),
        ("{host}/.*/v2.0", False),
        ("", False),
        (5, False),
    ],
    ids=str,
)
def test_a_key_that_entra_shows_for_another_tenant_is_not_used(
    provider: Provider, issuer: object, counts: bool
) -> None:
    settings = entra(provider.url)
    ours = f"{provider.url}/{TENANT_ID}/v2.0"
    provider.routes[f"/{TENANT_ID}/v2.0{DISCOVERY}"] = json_answer(provider.document(issuer=ours))
    other = public_jwk(signing_key("other", kid="kid-2"))
    if issuer is not ABSENT:
        other["issuer"] = issuer.replace("{host}", provider.url) if isinstance(issuer, str) else issuer
    provider.shows([public_jwk(signing_key(), issuer=ours), other])
    assert kids(ProviderDocuments(settings)) == (["kid-1", "kid-2"] if counts else ["kid-1"])


# --- how long, and how often ------------------------------------------------------------------------------------


def test_documents_are_fetched_once_an_hour(provider: Provider, clock: Clock) -> None:
    documents = documents_of(provider)
    for _ in range(5):
        documents.metadata()
        documents.keys()
    assert provider.hits == {DISCOVERY: 1, KEYS: 1}
    clock.seconds += 3599
    documents.keys()
    assert provider.hits == {DISCOVERY: 1, KEYS: 1}
    clock.seconds += 2
    documents.keys()
    assert provider.hits == {DISCOVERY: 2, KEYS: 2}


@pytest.mark.parametrize("outage", ["down", "html", "another issuer"])
def test_the_last_good_answer_is_kept_through_an_outage(
    provider: Provider, clock: Clock, outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    documents = documents_of(provider)
    before = (documents.metadata(), kids(documents))
    clock.seconds += 3601
    provider.goes_down()
    if outage == "html":
        provider.routes |= dict.fromkeys((DISCOVERY, KEYS), NO_ANSWERS["html with 200"][0])
    if outage == "another issuer":
        provider.describes_itself(issuer="https://evil.example", jwks_uri=f"{provider.url}/evil")
    for _ in range(5):
        assert (documents.metadata(), kids(documents)) == before
    assert "discovery of lab: the last good answer is kept" in caplog.text
    assert "keys of lab: the last good answer is kept" in caplog.text
    assert provider.hits == {DISCOVERY: 2, KEYS: 2}, "an outage is not made worse by asking all the time"
    clock.seconds += 61
    provider.describes_itself()
    provider.shows([public_jwk(signing_key("new", kid="kid-2"))])
    assert kids(documents) == ["kid-2"]


def test_unknown_kids_cost_three_refetches_and_one_more_every_five_minutes(
    provider: Provider, clock: Clock
) -> None:
    documents = documents_of(provider)
    documents.keys()
    for _ in range(3):
        assert documents.keys_fetched_again()
    assert provider.hits[KEYS] == 4
    for _ in range(10):
        assert documents.keys_fetched_again() is None
    assert provider.hits[KEYS] == 4
    clock.seconds += 299
    assert documents.keys_fetched_again() is None
    clock.seconds += 2
    assert documents.keys_fetched_again()
    assert documents.keys_fetched_again() is None
    assert provider.hits[KEYS] == 5
    clock.seconds += 86400
    for _ in range(3):
        assert documents.keys_fetched_again()
    assert documents.keys_fetched_again() is None
    assert provider.hits[KEYS] == 8


def test_a_flood_of_unknown_kids_stays_within_the_bucket(provider: Provider) -> None:
    documents = documents_of(provider)
    documents.keys()
    with ThreadPoolExecutor(16) as flood:
        answers = [done.result() for done in [flood.submit(documents.keys_fetched_again) for _ in range(64)]]
    assert sum(keys is not None for keys in answers) == 3
    assert provider.hits[KEYS] <= 4
    assert kids(documents) == ["kid-1"]


def test_a_rotated_key_is_found_and_an_outage_then_loses_none(provider: Provider) -> None:
    documents = documents_of(provider)
    assert kids(documents) == ["kid-1"]
    provider.shows([public_jwk(signing_key("new", kid="kid-2"))])
    assert kids(documents) == ["kid-1"]
    assert [key.kid for key in documents.keys_fetched_again() or []] == ["kid-2"]
    provider.goes_down()
    assert [key.kid for key in documents.keys_fetched_again() or []] == ["kid-2"]
    assert kids(documents) == ["kid-2"]


def test_a_rotation_is_noticed_by_the_token_that_needs_it(provider: Provider) -> None:
    documents = documents_of(provider)
    documents.keys()
    for kid in ("kid-2", "kid-2"):  # a new kid, then a new key under the same one
        newer = signing_key(f"after {provider.hits[KEYS]} fetches", kid=kid)
        provider.shows([public_jwk(newer)])
        token = signed(key=newer)
        assert id_token.verify(token, expected(), documents.keys(), documents.keys_fetched_again)
    assert provider.hits[KEYS] == 3


# --- the way there ------------------------------------------------------------------------------------------------


def test_a_configured_proxy_is_used_and_the_environment_s_is_not(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = "http://id.contoso.example"
    provider.routes[f"{issuer}{DISCOVERY}"] = json_answer(provider.document(issuer=issuer))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    through = generic(issuer, insecure_http=True, http={"timeout": "1s", "proxy": provider.url})
    assert ProviderDocuments(through).metadata().issuer == issuer
    straight = generic(issuer, insecure_http=True)
    with pytest.raises(ProviderUnreachable, match="ProxyError"):
        ProviderDocuments(straight).metadata()


def certificate(folder: Path, name: str) -> Path:
    """A certificate of 127.0.0.1 with its key, in one PEM file."""
    key = ECKey.generate_key("P-256").private_key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def speak_tls(provider: Provider, pem: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    provider.socket = context.wrap_socket(provider.socket, server_side=True)
    provider.url = provider.url.replace("http:", "https:")
    provider.describes_itself()


@pytest.mark.parametrize("headers", [False, True], ids=["dripping body", "dripping headers"])
def test_a_slow_answer_over_tls_costs_no_more_either(
    provider: Provider, tmp_path: Path, headers: bool
) -> None:
    pem = certificate(tmp_path, "ours")
    speak_tls(provider, pem)
    documents = documents_of(provider, http={"timeout": "1s", "ca_bundle": str(pem)})
    provider.routes[DISCOVERY] = drip(headers=headers)
    started = time.monotonic()
    with pytest.raises(ProviderUnreachable, match="discovery of lab"):
        documents.metadata()
    assert time.monotonic() - started < 3
    provider.describes_itself()
    assert documents.metadata().issuer == provider.url


def test_only_a_trusted_certificate_is_talked_to(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = certificate(tmp_path, "ours"), certificate(tmp_path, "other")
    speak_tls(provider, ours)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))  # it would win over a session's own setting
    with_bundle = {"timeout": "1s", "ca_bundle": str(ours)}
    assert documents_of(provider, http=with_bundle).metadata().issuer == provider.url
    for settings in ({"timeout": "1s"}, {"timeout": "1s", "ca_bundle": str(other)}):
        with pytest.raises(ProviderUnreachable, match="SSLError"):
            documents_of(provider, http=settings).metadata()


# --- as vendors send it -----------------------------------------------------------------------------------------------


def test_the_documents_of_entra_are_read_as_they_are(idp: Handle) -> None:
    documents = ProviderDocuments(entra(idp.url))
    assert documents.metadata().issuer == f"{idp.url}/{TENANT_ID}/v2.0"
    assert not documents.metadata().sends_iss
    # The set holds a second key, which counts for another tenant only.
    assert len(documents.keys()) == 1


@pytest.mark.parametrize("face", [name for name in FACES if name != "entra"])
def test_the_documents_of_others_are_read_as_they_are(idp: Handle, face: str) -> None:
    issuer = f"{idp.url}{FACES[face].issuer}"
    documents = ProviderDocuments(generic(issuer))
    assert documents.metadata().issuer == issuer
    assert len(documents.keys()) == 1
