"""The OpenID Connect exchange: send the browser away, and make an Identity of what it brings back.

Authorization code with PKCE S256, state and nonce, always. What must stay true: the ID token is the
only thing that says who somebody is, and it comes from the token endpoint that discovery names; only a
verified logout token says that somebody has signed out there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from cryptography import x509

from airflow_sso.errors import (
    ClaimMissing,
    CodeExchangeRefused,
    ConsentDenied,
    ProviderUnreachable,
    SsoError,
    WrongIssuer,
    first_line,
)
from airflow_sso.http_calls import bound, get_json, json_object
from airflow_sso.identity import Identity
from airflow_sso.login import client_auth, id_token, logout_token
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.claims import missing_claims, to_identity
from airflow_sso.login.discovery import Metadata, ProviderDocuments
from airflow_sso.login.doors import SignOut
from airflow_sso.login.refresh import usable_token
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.role_mapping.require import NOTHING_ASKED, Asked

_LONGEST_SIGN_OUT = 7000  # characters of an address; browsers, proxies and providers take 8 kB
_MAX_ERROR = 120  # of a provider's error text; it may hold names (fact A18), so it is never logged whole


class OidcDoor:
    """One OIDC provider that people may sign in through."""

    def __init__(self, settings: OidcProvider, redirect_uri: str, signed_out_url: str) -> None:
        self.settings = settings
        self._redirect_uri = redirect_uri
        self._signed_out_url = signed_out_url
        self._documents = ProviderDocuments(settings)

    @property
    def issuer(self) -> str:
        """What the provider calls itself, by its configuration."""
        return vendor_of(self.settings).issuer(self.settings)

    def start(self, attempt: Attempt, *, asked: Asked = NOTHING_ASKED, switch_account: bool = False) -> str:
        """The address of the provider's sign-in page for a fresh attempt.

        :param asked: what the answer is to show.
        :param switch_account: ask the provider to offer other accounts (``prompt=select_account``).
        """
        metadata = self._documents.metadata()
        extra = _asking(asked)
        if switch_account:
            extra["prompt"] = vendor_of(self.settings).switch_prompt
        with self._client(client_auth.Credentials("none", self.settings.client_id)) as client:
            url, _state = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.code_verifier,
                **extra,
            )
        return str(url)

    def finish(self, attempt: Attempt, response: Mapping[str, str]) -> Identity:
        """The identity behind an authorization response.

        :param response: the callback's query parameters; none of them is trusted.
        :raises SignInFailed: with the code that says why.
        """
        metadata = self._documents.metadata()
        _check_response_issuer(metadata, response)
        if "error" in response:
            raise _refused_by_provider(response["error"])
        if not response.get("code"):
            raise CodeExchangeRefused("the response has neither code nor error")
        answer = self._exchange(metadata, response["code"], attempt.code_verifier)
        claims = self._verify(metadata, attempt, answer)
        missing = missing_claims(claims, self.settings)
        if missing and metadata.userinfo_endpoint and vendor_of(self.settings).userinfo:
            claims = self._completed(claims, missing, metadata.userinfo_endpoint, answer.get("access_token"))
        identity = to_identity(claims, self.settings)
        if self.settings.is_probed:
            identity = dataclasses.replace(identity, refresh_token=usable_token(answer))
        if not self.settings.provider_sign_out:
            return identity
        return dataclasses.replace(identity, sign_out_hints=self._hints(claims, answer["id_token"]))

    def _hints(self, claims: id_token.VerifiedClaims, token: str) -> dict[str, str]:
        """What :meth:`sign_out` will want; a token that fits into no address is not worth keeping."""
        hints = {"id_token": token if len(token) < _LONGEST_SIGN_OUT else ""}
        name = vendor_of(self.settings).logout_hint_claim
        if name and isinstance(claims.get(name), str):
            hints["login_hint"] = claims[name]
        return hints

    def sign_out(self, hints: Mapping[str, str]) -> SignOut | None:
        """Where the browser signs out at the provider (RP-Initiated Logout 1.0, section 2).

        :param hints: as :meth:`finish` kept them.
        :return: ``None`` where the provider offers no sign-out.
        :raises ProviderUnreachable: when its discovery document cannot be read.
        """
        metadata, older = self._documents.metadata(), vendor_of(self.settings).older_sign_out
        query: dict[str, str] = {}
        if metadata.end_session_endpoint:
            query = {
                "client_id": self.settings.client_id,
                "post_logout_redirect_uri": self._signed_out_url,
                "logout_hint": hints.get("login_hint", ""),
                "id_token_hint": hints.get("id_token", ""),
            }
        endpoint = metadata.end_session_endpoint or metadata.older_end_session_endpoint
        if endpoint is None:
            return None
        if older and endpoint == metadata.older_end_session_endpoint:  # also under the standard's name
            query[older[1]] = self._signed_out_url
        url = _with_query(endpoint, query)
        if len(url) > _LONGEST_SIGN_OUT:
            url = _with_query(endpoint, {**query, "id_token_hint": ""})
        return SignOut(url)

    def verify_logout(self, unverified_token: str) -> logout_token.VerifiedNotice:
        """What a logout token says (Back-Channel Logout 1.0, section 2.6).

        :raises TokenRefused: naming in its ``detail`` the check that failed.
        :raises ProviderUnreachable: when the provider's keys cannot be had; it may send the token again.
        """
        try:
            keys = self._documents.keys()
        except WrongIssuer as cause:  # of its discovery document, which is no fault of the token's
            raise ProviderUnreachable(cause.detail) from None
        expected = logout_token.Expected(
            issuer=self.issuer,
            client_id=self.settings.client_id,
            algorithms=self._algorithms,
            clock_skew=self.settings.clock_skew,
            now=time.time(),
        )
        return logout_token.verify(
            unverified_token, expected, keys, lambda: self._documents.keys_fetched_for_stranger(keys)
        )

    @property
    def _algorithms(self) -> tuple[str, ...]:
        return self.settings.id_token_algorithms or vendor_of(self.settings).algorithms

    def known_certificates(self) -> Sequence[x509.Certificate]:
        """None: a provider's keys (JWKS) say no time at which they end."""
        return ()

    def adopts(self, identity: Identity) -> str | None:
        """The username that Airflow's own Azure sign-in would have given this person, if it counts here."""
        return identity.subject if getattr(self.settings, "adopt_stock_azure", False) else None

    def _completed(
        self, claims: id_token.VerifiedClaims, missing: frozenset[str], userinfo_endpoint: str, token: object
    ) -> id_token.VerifiedClaims:
        """The claims with those that only userinfo has (Core, section 5.3)."""
        if not isinstance(token, str) or not token:
            raise ClaimMissing("userinfo is needed, and the token answer has no access_token")
        what = f"userinfo of {self.settings.name}"
        more = get_json(userinfo_endpoint, self.settings.http, what=what, bearer=token)
        return id_token.completed_by_userinfo(claims, more, missing)

    def _verify(
        self, metadata: Metadata, attempt: Attempt, answer: Mapping[str, Any]
    ) -> id_token.VerifiedClaims:
        vendor = vendor_of(self.settings)
        access_token = answer.get("access_token")
        expected = id_token.Expected(
            issuer=metadata.issuer,
            client_id=self.settings.client_id,
            nonce=attempt.nonce,
            algorithms=self._algorithms,
            clock_skew=self.settings.clock_skew,
            now=time.time(),
            access_token=access_token if isinstance(access_token, str) else None,
            required_claims=vendor.required_claims(self.settings),
        )
        if "id_token" not in answer:
            raise ClaimMissing("the token answer has no id_token")
        keys = self._documents.keys()
        return id_token.verify(
            answer["id_token"], expected, keys, lambda: self._documents.keys_fetched_again(keys)
        )

    def _exchange(self, metadata: Metadata, code: str, code_verifier: str) -> Mapping[str, Any]:
        """Swap the code for tokens (RFC 6749, section 4.1.3), as the registered client."""
        name = self.settings.name
        ours = client_auth.credentials(self.settings, metadata.token_endpoint)
        try:
            with self._client(ours) as client:
                client.register_compliance_hook("access_token_response", _only_usable_answers)
                answer: Mapping[str, Any] = client.fetch_token(
                    metadata.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=code_verifier,
                    allow_redirects=False,
                    **ours.form,
                )
        except OAuthError as cause:
            raise CodeExchangeRefused(
                f"the token endpoint of {name} answered {_clip(cause.error)}: {_clip(cause.description)}"
            ) from None
        except requests.RequestException as cause:
            raise ProviderUnreachable(f"token endpoint of {name}: {type(cause).__name__}: {cause}") from None
        return answer

    def _client(self, credentials: client_auth.Credentials) -> Any:
        session = OAuth2Session(
            credentials.client_id,
            credentials.secret,
            token_endpoint_auth_method=credentials.method,
            scope=" ".join(self.settings.scopes),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )
        return bound(session, self.settings.http)


def _asking(asked: Asked) -> dict[str, str]:
    """What the answer is to show, as parameters (Core, sections 3.1.2.1 and 5.5.1); none is relied on."""
    query: dict[str, str] = {}
    if asked.claims:
        wanted = {
            claim: {"essential": True, **({"values": list(values)} if values else {})}
            for claim, values in asked.claims.items()
        }
        query["claims"] = json.dumps({"id_token": wanted})
    if asked.contexts:
        query["acr_values"] = " ".join(asked.contexts)
    if asked.max_age is not None:
        query["max_age"] = str(int(asked.max_age.total_seconds()))
    if asked.anew:
        query["prompt"] = "login"
    return query


def _with_query(endpoint: str, query: Mapping[str, str]) -> str:
    """An endpoint may have a query of its own (fact A6); what is empty is left out."""
    parts = urlsplit(endpoint)
    own = parse_qsl(parts.query, keep_blank_values=True)
    return parts._replace(query=urlencode([*own, *((k, v) for k, v in query.items() if v)])).geturl()


def _check_response_issuer(metadata: Metadata, response: Mapping[str, str]) -> None:
    """RFC 9207, section 2.4: ``iss`` must be the issuer, and must be there where it was announced."""
    issuer = response.get("iss")
    if issuer is None and metadata.sends_iss:
        raise WrongIssuer("the response has no iss, though the provider announces it")
    if issuer is not None and issuer != metadata.issuer:
        raise WrongIssuer(f"the response is from {_clip(issuer)!r}, not {metadata.issuer!r}")


def _refused_by_provider(error: str) -> SsoError:
    """What an error on the authorization response means (RFC 6749, 4.1.2.1; OpenID Connect Core, 3.1.2.6)."""
    detail = f"the provider answered {_clip(error)}"
    if error in ("server_error", "temporarily_unavailable"):
        return ProviderUnreachable(detail)
    if error.startswith(("invalid_", "unsupported_", "unauthorized_", "request_", "registration_")):
        return CodeExchangeRefused(detail)
    return ConsentDenied(detail)


def _only_usable_answers(answer: requests.Response) -> requests.Response:
    """Tell trouble at the provider (it may pass) from a refusal (it will not)."""
    if answer.status_code == requests.codes.too_many_requests or answer.status_code >= 500:
        raise ProviderUnreachable(f"the token endpoint answered HTTP {answer.status_code}")
    content = json_object(answer, what="token endpoint")
    if answer.status_code != requests.codes.ok and "error" not in content:
        raise ProviderUnreachable(
            f"the token endpoint answered HTTP {answer.status_code} without an error code"
        )
    return answer


def _clip(text: object) -> str:
    return first_line(text, most=_MAX_ERROR)
