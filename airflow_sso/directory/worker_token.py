"""Access tokens of our own application by its id and secret: OAuth's client credentials.

For readers whose directory takes such tokens (fact D10; RFC 6749, section 4.4). What must stay true:
the secret is read at each fetch and kept nowhere, and a refusal is told by its error word alone.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import requests
from requests.auth import HTTPBasicAuth

from airflow_sso.directory.calls import error_code
from airflow_sso.directory.failures import CredentialsRefused, DirectoryUnreachable, DirectoryUnreadable
from airflow_sso.http_calls import bound
from airflow_sso.provider_settings import HttpSettings
from airflow_sso.secret import Secret, SecretUnavailable
from airflow_sso.setting_types import ClientAuth

_MARGIN = 60.0  # seconds before its end from which a token is not used any more
_LIFETIME = 300.0  # where the answer does not tell; RFC 6749 only recommends that it does


@dataclass
class WorkerToken:
    """The token of one application at one token endpoint; one for all threads."""

    url: str
    client_id: str
    auth: ClientAuth
    http: HttpSettings
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _value: str | None = field(default=None, init=False, repr=False)
    _good_until: float = field(default=0.0, init=False)

    def token(self, renew: bool, *, seconds: float | None = None) -> str:
        """A token that is good for a while yet.

        :param renew: the last one was refused.
        :param seconds: how long fetching one may take at most, where the settings allow more.
        :raises DirectoryError: when there is none.
        """
        if not self._lock.acquire(timeout=-1 if seconds is None else max(seconds, 0)):
            raise DirectoryUnreachable("the token endpoint: no time left")
        try:
            if renew or self._value is None or time.monotonic() >= self._good_until:
                self._value = None
                asked_at = time.monotonic()
                self._value, lifetime = self._fetch(seconds)
                # Of a short life, half: the token must not end on its way.
                self._good_until = asked_at + max(lifetime - _MARGIN, lifetime / 2)
            return self._value
        finally:
            self._lock.release()

    def _fetch(self, seconds: float | None) -> tuple[str, float]:
        form = {"grant_type": "client_credentials"}
        auth: HTTPBasicAuth | _AsItIs = _AsItIs()
        if self.auth.secret is None:
            raise CredentialsRefused("client_auth: a worker application takes a secret")
        secret = revealed(self.auth.secret, "client_auth")
        if self.auth.method == "post":
            form |= {"client_id": self.client_id, "client_secret": secret}
        else:  # both halves are form-encoded first (RFC 6749, section 2.3.1)
            auth = HTTPBasicAuth(quote_plus(self.client_id), quote_plus(secret))
        try:
            with bound(requests.Session(), self.http) as session:
                response = session.post(
                    self.url, data=form, auth=auth, allow_redirects=False, timeout=seconds
                )
        except requests.RequestException as cause:
            raise DirectoryUnreachable(f"the token endpoint: {type(cause).__name__}") from None
        return _understood(response)


class _AsItIs(requests.auth.AuthBase):
    """Sends no Authorization header, and lets no ``~/.netrc`` do so either."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _understood(response: requests.Response) -> tuple[str, float]:
    """The token and how many seconds it lives."""
    status = response.status_code
    body = _json_object(response)
    if status == requests.codes.too_many_requests or status >= 500:
        raise DirectoryUnreachable(f"the token endpoint: HTTP {status}")
    if status != requests.codes.ok:
        # OAuth's refusals are 400 and 401 with a word (RFC 6749, section 5.2; fact D16).
        word = error_code(body)
        if word or status == requests.codes.unauthorized:
            raise CredentialsRefused(f"the token endpoint: HTTP {status} {word}")
        raise DirectoryUnreadable(f"the token endpoint: HTTP {status}")
    token, lifetime = body.get("access_token"), body.get("expires_in", _LIFETIME)
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise DirectoryUnreadable("the token endpoint: the answer has no access_token")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
        lifetime = _LIFETIME
    return token, float(lifetime)


def _json_object(response: requests.Response) -> dict[str, Any]:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def revealed(secret: Secret, what: str) -> str:
    """A secret's value of this moment.

    :raises CredentialsRefused: when its place holds none; the message names the place.
    """
    try:
        return secret.reveal()
    except SecretUnavailable as cause:
        raise CredentialsRefused(f"{what}: {cause}") from None
