"""The SAML exchange: send the browser away, and make an Identity of the response that comes back.

Web browser SSO profile, AuthnRequest by HTTP-Redirect, response by HTTP-POST. What must stay true: a
response is verified when it arrives and again when the browser's own cookie has fetched it, so that
neither the database nor the way between is trusted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from cryptography import x509

from airflow_sso import certificates, models
from airflow_sso.certificates import OurKeys
from airflow_sso.errors import ConfigurationFaulty, SignatureInvalid
from airflow_sso.identity import Identity
from airflow_sso.login import assertion, saml_messages, saml_response
from airflow_sso.login.assertion import VerifiedAssertion
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.claims import to_identity
from airflow_sso.login.doors import SignOut
from airflow_sso.login.idp_metadata import IdpDocument, IdpMetadata
from airflow_sso.login.saml_messages import ServiceProvider
from airflow_sso.login.saml_response import UnverifiedResponse
from airflow_sso.login.vendors import claim_paths, vendor_of
from airflow_sso.saml_settings import NAME_ID, SamlProvider
from airflow_sso.secret import SecretUnavailable
from airflow_sso.urls import Urls

log = logging.getLogger(__name__)

_MAX_RELAY_STATE = 80  # bytes; Bindings, section 3.4.3


class SamlDoor:
    """One SAML identity provider that people may sign in through."""

    def __init__(self, settings: SamlProvider, urls: Urls) -> None:
        self.settings = settings
        self._document = IdpDocument(settings)
        self._entity_id = settings.entity_id or urls.saml_metadata(settings.name)
        self._acs_url = urls.acs(settings.name)
        self._slo_url = urls.slo(settings.name)

    def start(self, attempt: Attempt, *, switch_account: bool = False) -> str:
        """The address of the provider's sign-in page for a fresh attempt.

        :param switch_account: ask for a fresh proof of identity, so that another account can be chosen.
        """
        provider, ours = self._document.current(), self._ours()
        if provider.wants_signed_requests and not ours.signs_requests:
            log.warning("%s wants signed requests, and we have no keys to sign with", self.settings.name)
        return saml_messages.sign_on_request(
            ours,
            provider.sign_on_url,
            attempt.state,
            force_authn=switch_account or self.settings.force_authn,
        )

    def finish(self, attempt: Attempt, response: Mapping[str, str]) -> Identity:
        """The identity behind a parked response.

        :param response: holds ``SAMLResponse`` as it was posted; nothing in it is trusted.
        :raises SignInFailed: with the code that says why.
        """
        unverified = self.read(response.get("SAMLResponse"))
        return to_identity(self._verify(unverified, attempt), self.settings)

    def read(self, posted: str | None) -> UnverifiedResponse:
        """A posted ``SAMLResponse``, parsed and not believed."""
        return saml_response.read(posted)

    def accept(self, response: UnverifiedResponse, attempt: Attempt) -> VerifiedAssertion:
        """Verify a response on its arrival, to the end, so that what is refused is refused at once.

        :raises SsoError: with the code that says why.
        """
        verified = self._verify(response, attempt)
        to_identity(verified, self.settings)
        return verified

    def takes_unsolicited(self, response: UnverifiedResponse) -> bool:
        """Whether this response answers nothing, and the configuration takes such ones all the same."""
        return response.is_unsolicited and self.settings.idp_initiated == "insecure_idp_initiated"

    def assertion_key(self, verified: VerifiedAssertion) -> str:
        """What is remembered of an assertion, so that it never counts again."""
        return models.assertion_key(self._document.current().entity_id, verified.id)

    def answer_logout(self, query: Mapping[str, str], form: Mapping[str, str]) -> str | None:
        """Where to send the browser with our answer to a LogoutRequest; ``None``: the provider takes none.

        :raises SignatureInvalid: when the request cannot be read.
        """
        request_id = saml_response.logout_request_id(query, form)
        logout_url = self._document.current().logout_url
        relay_state = (form if "SAMLRequest" in form else query).get("RelayState", "")[:_MAX_RELAY_STATE]
        if logout_url is None:
            return None
        return saml_messages.logout_not_supported(self._ours(), logout_url, request_id, relay_state)

    def metadata(self) -> bytes:
        """Our metadata for this provider."""
        return saml_messages.metadata(self._ours())

    def sign_out(self, _hints: Mapping[str, str]) -> SignOut | None:
        """Not yet."""
        return None

    def adopts(self, _identity: Identity) -> str | None:
        """No stock sign-in of Airflow's speaks SAML, so there are no accounts of one to take over."""
        return None

    def _verify(self, response: UnverifiedResponse, attempt: Attempt) -> VerifiedAssertion:
        provider = self._document.current()
        keys = self._keys()
        expected = assertion.Expected(
            issuer=provider.entity_id,
            audience=self._entity_id,
            acs_url=self._acs_url,
            answers=None if self.takes_unsolicited(response) else attempt.is_answered_by,
            now=datetime.now(timezone.utc),
            clock_skew=self.settings.clock_skew,
            want_signed=self.settings.want_signed,
            required_claims=vendor_of(self.settings).required_claims(self.settings),
            private_key=keys.private_key if keys else None,
        )
        return assertion.verify(
            response,
            expected,
            self._certificates(provider),
            lambda: self._certificates_fetched_again(provider),
        )

    def _certificates(self, provider: IdpMetadata) -> Sequence[x509.Certificate]:
        return [one for one, why_not in self._document.judged_certificates(provider) if why_not is None]

    def _certificates_fetched_again(self, seen: IdpMetadata) -> Sequence[x509.Certificate] | None:
        """Also where none may be used: an expired one may have been replaced since (fact C9)."""
        newer = self._document.fetched_again(seen)
        usable = self._certificates(newer or seen)
        if not usable:
            ((_, why_not), *_others) = self._document.judged_certificates(newer or seen)
            raise SignatureInvalid(f"no signing certificate of the metadata can be used: it {why_not}")
        return usable if newer else None

    def _ours(self) -> ServiceProvider:
        return ServiceProvider(
            entity_id=self._entity_id,
            acs_url=self._acs_url,
            slo_url=self._slo_url,
            keys=self._keys(),
            signs_requests=self.settings.signs_requests,
            wants_assertions_signed=self.settings.want_signed in ("assertion", "both"),
            names_by_name_id=claim_paths(self.settings, "subject") == (NAME_ID,),
        )

    def _keys(self) -> OurKeys | None:
        """Read at each use, so that renewed ones count at once.

        :raises ConfigurationFaulty: when they cannot be read.
        """
        pair = self.settings.keys
        if pair is None:
            return None
        try:
            return certificates.our_keys(pair.certificate.reveal(), pair.private_key.reveal())
        except (SecretUnavailable, ValueError) as cause:
            raise ConfigurationFaulty(f"keys of {self.settings.name}: {cause}") from None
