"""How identity providers are called: bounded in time and size, following no redirect.

What must stay true: an answer that is slow, endless or not what was asked for ends as
:class:`~airflow_sso.errors.ProviderUnreachable`, and never ties up a worker.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_sso.errors import ProviderUnreachable
from airflow_sso.provider_settings import HttpSettings

MAX_BYTES = 1_000_000  # sign-in: Entra's key set is about 20 kB; a token answer with 200 groups about 15 kB


_in_use = threading.local()


class _WatchedHTTP(HTTPConnection):
    """A connection that its own thread can find, to shut it when time is up."""

    def connect(self) -> None:
        super().connect()
        _in_use.socket = self.sock


class _WatchedHTTPS(HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        super().connect()
        _in_use.socket = self.sock


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _WatchedHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedHTTPS


class _Deadline:
    """Shuts the connection of this thread after so many seconds, whatever drips in on it.

    Socket timeouts alone begin anew with every byte.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self.passed = False
        _in_use.socket = None
        self._holder = _in_use.__dict__

    def _shut(self) -> None:
        self.passed = True
        connected = self._holder.get("socket")
        if connected is not None:
            with contextlib.suppress(OSError):
                # The plain socket's method: a TLS socket's own would pull the rug from under its reader.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class _BoundedAdapter(HTTPAdapter):
    """Reads a whole answer within its limits, whatever the client that asks does with it."""

    def __init__(self, settings: HttpSettings, max_bytes: int) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        seconds = self._settings.timeout.total_seconds()
        if isinstance(asked := kwargs.get("timeout"), int | float):
            seconds = min(seconds, asked)  # who asks may have less time than the settings allow
        kwargs.update(timeout=seconds, stream=True)
        if self._settings.ca_bundle:
            # Set here because REQUESTS_CA_BUNDLE in the environment would win over the session's.
            kwargs["verify"] = str(self._settings.ca_bundle)
        with _Deadline(seconds) as deadline:
            try:
                response = super().send(request, *args, **kwargs)
                response._content = self._body(response)
            except requests.RequestException as cause:
                if deadline.passed:
                    raise requests.Timeout("the answer took too long as a whole") from cause
                raise
        return response

    def _body(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(16_384):
            body += chunk
            if len(body) > self._max_bytes:
                response.close()
                raise requests.ConnectionError(f"the answer is larger than {self._max_bytes} bytes")
        return bytes(body)


def bound(
    session: requests.Session, settings: HttpSettings, *, max_bytes: int = MAX_BYTES
) -> requests.Session:
    """Put the limits, the proxy and the CA bundle of a provider on a session (Authlib's is one too).

    Without ``http: {proxy: ...}`` the environment's proxy settings count, as elsewhere in Airflow.
    """
    session.mount("https://", _BoundedAdapter(settings, max_bytes))
    session.mount("http://", _BoundedAdapter(settings, max_bytes))
    session.headers["Accept"] = "application/json"
    if settings.proxy:
        session.trust_env = False
        session.proxies = {"http": settings.proxy, "https": settings.proxy}
    return session


class Bearer(requests.auth.AuthBase):
    """An access token as RFC 6750 wants it; set as `auth`, so that no ~/.netrc can take its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def get_json(url: str, settings: HttpSettings, *, what: str, bearer: str | None = None) -> dict[str, Any]:
    """The JSON object at ``url``.

    :param bearer: an access token to show there.
    :raises ProviderUnreachable: for anything else, saying what was asked for and what came.
    """
    return json_object(_get(url, settings, what, auth=Bearer(bearer) if bearer else None), what=what)


def get_xml(url: str, settings: HttpSettings, *, what: str) -> bytes:
    """What is at ``url``, unparsed.

    :raises ProviderUnreachable: when there is no such answer.
    """
    accepted = {"Accept": "application/samlmetadata+xml, application/xml, text/xml, */*;q=0.1"}
    return _get(url, settings, what, headers=accepted).content


def _get(url: str, settings: HttpSettings, what: str, **options: Any) -> requests.Response:
    try:
        with bound(requests.Session(), settings) as session:
            response = session.get(url, allow_redirects=False, **options)
    except requests.RequestException as cause:
        raise ProviderUnreachable(f"{what}: {type(cause).__name__}: {cause}") from cause
    if response.status_code != requests.codes.ok:
        raise ProviderUnreachable(f"{what}: HTTP {response.status_code} from {url}")
    return response


def json_object(response: requests.Response, *, what: str) -> dict[str, Any]:
    """The JSON object that a response carries."""
    try:
        data = json.loads(response.content)
    except (ValueError, RecursionError) as cause:
        raise ProviderUnreachable(f"{what}: the answer is not JSON (HTTP {response.status_code})") from cause
    if not isinstance(data, dict):
        raise ProviderUnreachable(f"{what}: the answer is not a JSON object")
    return data
