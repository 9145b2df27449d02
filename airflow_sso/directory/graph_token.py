"""Microsoft Graph's app-only tokens: where they come from in each cloud, and how we prove who asks.

msal speaks the protocol (facts A20 to A22, A25 to A27) through a bounded session. What must stay true:
secrets, keys and token files are read at each fetch and never kept, no words of Entra's reach a
message, and a refusal of our application is never anything else.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from airflow_sso.directory.calls import Caller, error_code, seconds_to_wait
from airflow_sso.directory.failures import CredentialsRefused, DirectoryUnreadable
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.http_calls import bound
from airflow_sso.provider_settings import HttpSettings
from airflow_sso.secret import SecretUnavailable
from airflow_sso.setting_types import ClientAuth, KeyPair

_WHAT = "the token for Microsoft Graph"
#: Entra asks us to come back later (fact A19, the row of transient codes).
_LATER = frozenset({90033, 90055, 50196})
_MARGIN = 300  # seconds before its end that a token is no longer used


@dataclass(frozen=True, slots=True)
class Cloud:
    """A row of fact A9."""

    authority: str
    graph: str
    exchange: str
    """The audience of a managed identity's token that stands for us (fact A27)."""


CLOUDS: Mapping[str, Cloud] = {
    "public": Cloud(
        "https://login.microsoftonline.com", "https://graph.microsoft.com", "api://AzureADTokenExchange"
    ),
    "usgov": Cloud(
        "https://login.microsoftonline.us", "https://graph.microsoft.us", "api://AzureADTokenExchangeUSGov"
    ),
    "usgov_dod": Cloud(
        "https://login.microsoftonline.us",
        "https://dod-graph.microsoft.us",
        "api://AzureADTokenExchangeUSGov",
    ),
    "china": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://microsoftgraph.chinacloudapi.cn",
        "api://AzureADTokenExchangeChina",
    ),
}


def graph_base(settings: DirectorySettings) -> str:
    """What every address of Graph begins with; a stand-in serves it beside its sign-in."""
    stand_in = settings.insecure_host
    host = f"{stand_in.rstrip('/')}/graph" if stand_in else _cloud(settings).graph
    return f"{host}/v1.0"


def _cloud(settings: DirectorySettings) -> Cloud:
    return CLOUDS[settings.cloud or "public"]


class _Later(Exception):
    """No token now; perhaps after so many seconds."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class _Kept:
    value: str = field(repr=False)
    until: float


class AppToken:
    """Our token for Graph; one object may serve several threads, which at worst fetch one each."""

    def __init__(self, settings: DirectorySettings, http: HttpSettings) -> None:
        self._settings, self._http = settings, http
        self._kept: _Kept | None = None

    def current(self, caller: Caller, *, renew: bool) -> str:
        """The token of now.

        :param caller: who needs it: its patience, its deadline and its progress count here as well.
        :param renew: the one we had was refused.
        :raises CredentialsRefused: when it is our credentials that are wrong.
        :raises DirectoryUnreachable: when there is none to be had in time.
        """
        kept = self._kept
        if kept and not renew and time.monotonic() < kept.until:
            return kept.value
        for tried in itertools.count():
            caller.progress(f"asking for {_WHAT}")
            try:
                self._kept = kept = self._fetched(caller.deadline - time.monotonic())
            except _Later as later:
                caller.pause(later.seconds, tried, f"{_WHAT}: {later}")
            else:
                return kept.value
        raise AssertionError("unreachable")

    def _fetched(self, left: float) -> _Kept:
        if left <= 0:
            raise _Later("no time left", math.inf)
        try:
            answer = self._answer(left)
        except SecretUnavailable as cause:
            raise CredentialsRefused(f"client_auth: {cause}") from None
        except requests.RequestException as cause:
            raise _Later(type(cause).__name__) from None
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as cause:
            # What msal makes of an answer that nobody foresaw; its words may quote the answer.
            raise DirectoryUnreadable(f"{_WHAT}: {type(cause).__name__}") from None
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or not token or re.search(r"\s", token):
            raise _refusal(answer)
        seconds = seconds if isinstance(seconds, int | float) else 0
        return _Kept(token, time.monotonic() + seconds - min(_MARGIN, seconds / 4))

    def _answer(self, left: float) -> Mapping[str, Any]:
        """What OAuth answers, wherever it came from."""
        settings, cloud = self._settings, _cloud(self._settings)
        auth = settings.client_auth
        if auth is None:  # DirectorySettings.completed() saw to it
            raise CredentialsRefused("client_auth is not set")
        if auth.managed_identity and not settings.client_id:
            return self._of_managed_identity(auth.managed_identity, cloud.graph, left)
        import msal

        authority = f"{(settings.insecure_host or cloud.authority).rstrip('/')}/{settings.tenant_id}"
        endpoint = f"{authority}/oauth2/v2.0/token"
        with bound(requests.Session(), self._http) as session:
            client = msal.ConfidentialClientApplication(
                settings.client_id,
                client_credential=self._credential(auth, left),
                authority=_as_https(authority),
                client_claims={"aud": endpoint},
                http_client=_TokenEndpoint(session, endpoint, left),
                instance_discovery=False,
                azure_region=msal.ConfidentialClientApplication.DISABLE_MSAL_FORCE_REGION,
            )
            answer = client.acquire_token_for_client(scopes=[f"{cloud.graph}/.default"])
        return answer if isinstance(answer, dict) else {}

    def _credential(self, auth: ClientAuth, left: float) -> Any:
        """What msal takes for one."""
        if auth.secret:
            return auth.secret.reveal()
        if auth.certificate:
            return _key_pair(auth.certificate)
        if auth.federated_token_file:
            assertion = _from_file(auth.federated_token_file)
        else:
            answer = self._of_managed_identity(
                auth.managed_identity or "", _cloud(self._settings).exchange, left
            )
            if not isinstance(answer.get("access_token"), str):
                raise _refusal(answer)
            assertion = answer["access_token"]
        return {"client_assertion": lambda: assertion}

    def _of_managed_identity(self, identity: str, resource: str, left: float) -> Mapping[str, Any]:
        """The token that this machine gets for a resource (fact A26)."""
        import msal

        # That endpoint is this machine's own: no proxy leads there.
        seconds = min(self._http.timeout.total_seconds(), left)
        direct = self._http.model_copy(
            update={
                "proxy": None,
                "timeout": self._http.timeout * (seconds / self._http.timeout.total_seconds()),
            }
        )
        with bound(requests.Session(), direct) as session:
            session.trust_env = False
            session.hooks["response"].append(_is_an_answer)
            client = msal.ManagedIdentityClient(
                msal.UserAssignedManagedIdentity(client_id=identity), http_client=session
            )
            answer = client.acquire_token_for_client(resource=resource)
        return answer if isinstance(answer, dict) else {}


class _TokenEndpoint:
    """What msal takes for an HTTP client: it posts to one address and looks nothing up.

    msal wants https everywhere and reads the addresses from a document; both are known here (facts A2,
    A22), so that a stand-in on this machine needs no certificate, and nobody else names the address.
    """

    def __init__(self, session: requests.Session, endpoint: str, left: float) -> None:
        self._session, self._endpoint, self._left = session, endpoint, left

    def get(self, _url: str, **_options: Any) -> _Said:
        address = _as_https(self._endpoint)
        return _Said(json.dumps({"token_endpoint": address, "authorization_endpoint": address}))

    def post(self, _url: str, **options: Any) -> requests.Response:
        if math.isfinite(self._left):
            options["timeout"] = self._left
        response = self._session.post(self._endpoint, allow_redirects=False, **options)
        _is_an_answer(response)
        return response

    def close(self) -> None:
        """The session is closed by whoever opened it."""


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    status_code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def _is_an_answer(response: requests.Response, **_options: Any) -> None:
    """Before msal sees it: whether this is an answer to us at all."""
    if response.status_code == 429 or response.status_code >= 500:
        seconds = seconds_to_wait(response.headers.get("Retry-After"))
        raise _Later(f"HTTP {response.status_code}", seconds)
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise DirectoryUnreadable(f"{_WHAT}: HTTP {response.status_code}, and no JSON object")


def _refusal(answer: Mapping[str, Any]) -> Exception:
    """What an answer without a token is: its numbers and its one word, nothing that may hold a name."""
    codes = answer.get("error_codes")
    numbers = [code for code in codes if isinstance(code, int)] if isinstance(codes, list) else []
    if not numbers:
        numbers = [
            int(code) for code in re.findall(r"AADSTS(\d{4,8})\b", str(answer.get("error_description")))
        ]
    word = error_code(answer)
    said = " ".join([word, *(f"AADSTS{number}" for number in numbers[:3])]).strip()
    if word == "temporarily_unavailable" or _LATER.intersection(numbers):
        return _Later(said)
    if not said:
        return DirectoryUnreadable(f"{_WHAT}: the answer holds neither a token nor an error")
    return CredentialsRefused(f"{_WHAT}: {said}")


def _key_pair(pair: KeyPair) -> dict[str, str]:
    """Both halves in PEM; msal makes PS256 and the SHA-256 thumbprint of them (facts A20, A21)."""
    certificate, private_key = pair.certificate.reveal(), pair.private_key.reveal()
    try:
        x509.load_pem_x509_certificate(certificate.encode())
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError) as cause:
        # The library's words may quote what it could not read; its class is enough.
        raise CredentialsRefused(f"client_auth.certificate is not PEM: {type(cause).__name__}") from None
    if not isinstance(key, RSAPrivateKey):
        raise CredentialsRefused("client_auth.certificate: Microsoft Entra ID takes RSA keys only")
    return {"private_key": private_key, "public_certificate": certificate}


def _from_file(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise CredentialsRefused(f"{path} cannot be read: {type(cause).__name__}") from None
    if not token:
        raise CredentialsRefused(f"{path} is empty")
    return token


def _as_https(url: str) -> str:
    return urlsplit(url)._replace(scheme="https").geturl()
