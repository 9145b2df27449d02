"""Asks the token endpoint with a refresh token: is there still a person behind it, and what is said of them.

RFC 6749, section 6; OpenID Connect Core, section 12. What must stay true: a rotated token is handed over
to be kept before anything else is done with the answer, no word of the provider's but its error code gets
any further, and an ID token counts only if it is verified and about the same person.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from airflow_sso.errors import NotOurAttempt, ProviderUnreachable, WrongIssuer
from airflow_sso.http_calls import bound, json_object
from airflow_sso.identity import Identity
from airflow_sso.login import client_auth, id_token
from airflow_sso.login.claims import to_identity
from airflow_sso.login.client_auth import Credentials
from airflow_sso.login.discovery import Metadata, ProviderDocuments
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.refresh import Facts, Granted, Refused

#: Longer than any provider's; what is longer, or no plain text, is not worth keeping.
_LONGEST_TOKEN = 16_000  # characters


class Refresher:
    """One provider's token endpoint."""

    def __init__(self, settings: OidcProvider) -> None:
        self._settings = settings
        self._documents = ProviderDocuments(settings)

    def ask(self, token: str, subject: str, keep: Callable[[str], object]) -> Granted | Refused:
        """What the provider says to a refresh token.

        :param subject: whose it is.
        :param keep: called with the token that takes its place, at once.
        :raises ProviderUnreachable: when there is no usable answer.
        :raises ConfigurationFaulty: when our own credentials cannot be had.
        :raises TokenRefused: when the new ID token does not pass, or is about somebody else.
        :raises GuestRefused: when it says that the person is a guest, where those are not let in.
        """
        metadata = self._metadata()
        response = self._posted(metadata, token)
        if response.status_code == requests.codes.too_many_requests or response.status_code >= 500:
            raise ProviderUnreachable(f"{self._what}: HTTP {response.status_code}")
        answer = json_object(response, what=self._what)
        if response.status_code != requests.codes.ok:
            return self._refused(response.status_code, answer)
        rotated = usable_token(answer)
        if rotated and rotated != token:
            keep(rotated)
        if "id_token" not in answer:
            if not isinstance(answer.get("access_token"), str):
                raise ProviderUnreachable(f"{self._what}: an answer without tokens")
            return Granted()
        identity = to_identity(self._verified(metadata, answer), self._settings)
        if identity.subject != subject:
            raise NotOurAttempt("the refreshed ID token is about somebody else (Core, section 12.2)")
        return Granted(facts=_facts(identity))

    @property
    def _what(self) -> str:
        return f"token endpoint of {self._settings.name}"

    def _metadata(self) -> Metadata:
        try:
            return self._documents.metadata()
        except WrongIssuer as cause:  # of its discovery document, which is nobody's ID token
            raise ProviderUnreachable(cause.detail) from None

    def _posted(self, metadata: Metadata, token: str) -> requests.Response:
        ours = client_auth.credentials(self._settings, metadata.token_endpoint)
        auth, form = _shown(ours)
        form |= {
            "grant_type": "refresh_token",
            "refresh_token": token,
            "scope": " ".join(self._settings.scopes),
        }
        try:
            with bound(requests.Session(), self._settings.http) as session:
                return session.post(metadata.token_endpoint, data=form, auth=auth, allow_redirects=False)
        except requests.RequestException as cause:
            raise ProviderUnreachable(f"{self._what}: {type(cause).__name__}") from None

    def _refused(self, status: int, answer: Mapping[str, Any]) -> Refused:
        word = answer.get("error")
        if not isinstance(word, str) or not re.fullmatch(r"[a-z_]{1,60}", word):
            raise ProviderUnreachable(f"{self._what}: HTTP {status} without an error code")
        return Refused(word=word, codes=_codes(answer) if vendor_of(self._settings).tells_codes else ())

    def _verified(self, metadata: Metadata, answer: Mapping[str, Any]) -> id_token.VerifiedClaims:
        vendor = vendor_of(self._settings)
        access_token = answer.get("access_token")
        expected = id_token.Expected(
            issuer=metadata.issuer,
            client_id=self._settings.client_id,
            nonce=None,
            algorithms=self._settings.id_token_algorithms or vendor.algorithms,
            clock_skew=self._settings.clock_skew,
            now=time.time(),
            access_token=access_token if isinstance(access_token, str) else None,
            required_claims=vendor.required_claims(self._settings),
        )
        keys = self._documents.keys()
        return id_token.verify(
            answer["id_token"], expected, keys, lambda: self._documents.keys_fetched_again(keys)
        )


def usable_token(answer: Mapping[str, Any]) -> str | None:
    """The refresh token of a token answer, if there is one that can be sent back."""
    token = answer.get("refresh_token")
    if not isinstance(token, str) or len(token) > _LONGEST_TOKEN:
        return None
    return token if re.fullmatch(r"[\x20-\x7e]+", token) else None  # RFC 6749, appendix A.17


class _NothingElse(AuthBase):
    """Credentials are in the form, so no ~/.netrc may add others."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _shown(ours: Credentials) -> tuple[AuthBase, dict[str, str]]:
    """Our credentials, as a header and as form fields."""
    if ours.method == "client_secret_basic":
        return HTTPBasicAuth(ours.client_id, ours.secret or ""), {}
    form = {"client_id": ours.client_id, **ours.form}
    return _NothingElse(), form | ({"client_secret": ours.secret} if ours.secret else {})


def _codes(answer: Mapping[str, Any]) -> tuple[int, ...]:
    """Entra's numbers; its description may hold names, so only how it begins is looked at (fact A18)."""
    codes = answer.get("error_codes")
    numbers = [code for code in codes if type(code) is int] if isinstance(codes, list) else []
    if not numbers:
        begins = re.match(r"AADSTS(\d{4,8})\b", str(answer.get("error_description", "")))
        numbers = [int(begins.group(1))] if begins else []
    return tuple(numbers[:5])


def _facts(identity: Identity) -> Facts:
    """What the token says; what it leaves out stands as the last sign-in found it.

    Too many groups is not left out: those of the last sign-in are not to be trusted any more.
    """
    facts: dict[str, frozenset[str | int | bool] | None] = {}
    if identity.groups is not None or identity.group_overage:
        facts["group"] = identity.groups
    if identity.app_roles is not None:
        facts["app_role"] = identity.app_roles
    return facts
