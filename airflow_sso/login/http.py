"""How identity providers are called: bounded in time and size, following no redirect.

What must stay true: an answer that is slow, endless or not what was asked for ends as
:class:`~airflow_sso.errors.ProviderUnreachable`, and never ties up a worker.
"""

from __future__ import annotations

import json
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from airflow_sso.errors import ProviderUnreachable
from airflow_sso.provider_settings import HttpSettings

MAX_BYTES = 1_000_000  # Entra's key set is about 20 kB; a token answer with 200 groups about 15 kB


class _BoundedAdapter(HTTPAdapter):
    """Reads a whole answer within its limits, whatever the client that asks does with it."""

    def __init__(self, settings: HttpSettings) -> None:
        super().__init__()
        self._settings = settings

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        seconds = self._settings.timeout.total_seconds()
        deadline = time.monotonic() + seconds
        kwargs.update(timeout=seconds, stream=True)
        if self._settings.ca_bundle:
            # Set here because REQUESTS_CA_BUNDLE in the environment would win over the session's.
            kwargs["verify"] = str(self._settings.ca_bundle)
        response = super().send(request, *args, **kwargs)
        body = bytearray()
        for chunk in response.iter_content(16_384):
            body += chunk
            if len(body) > MAX_BYTES:
                response.close()
                raise requests.ConnectionError(f"the answer is larger than {MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                response.close()
                raise requests.Timeout("the answer took too long as a whole")
        response._content = bytes(body)
        return response


def bound(session: requests.Session, settings: HttpSettings) -> requests.Session:
    """Put the limits, the proxy and the CA bundle of a provider on a session (Authlib's is one too).

    Without ``http: {proxy: ...}`` the environment's proxy settings count, as elsewhere in Airflow.
    """
    session.mount("https://", _BoundedAdapter(settings))
    session.mount("http://", _BoundedAdapter(settings))
    session.headers["Accept"] = "application/json"
    if settings.proxy:
        session.trust_env = False
        session.proxies = {"http": settings.proxy, "https": settings.proxy}
    return session


class _Bearer(requests.auth.AuthBase):
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
    try:
        with bound(requests.Session(), settings) as session:
            response = session.get(url, allow_redirects=False, auth=_Bearer(bearer) if bearer else None)
    except requests.RequestException as cause:
        raise ProviderUnreachable(f"{what}: {type(cause).__name__}: {cause}") from cause
    if response.status_code != requests.codes.ok:
        raise ProviderUnreachable(f"{what}: HTTP {response.status_code} from {url}")
    return json_object(response, what=what)


def json_object(response: requests.Response, *, what: str) -> dict[str, Any]:
    """The JSON object that a response carries."""
    try:
        data = json.loads(response.content)
    except (ValueError, RecursionError) as cause:
        raise ProviderUnreachable(f"{what}: the answer is not JSON (HTTP {response.status_code})") from cause
    if not isinstance(data, dict):
        raise ProviderUnreachable(f"{what}: the answer is not a JSON object")
    return data
