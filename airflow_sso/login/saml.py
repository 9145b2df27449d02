"""The SAML exchange: send the browser away, and make an Identity of the response that comes back.

Web browser SSO profile, AuthnRequest by HTTP-Redirect, response by HTTP-POST; single logout both ways.
What must stay true: a response is verified when it arrives and again when the browser's own cookie has
fetched it, so that neither the database nor the way between is trusted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from cryptography import x509

from airflow_sso import certificates, models
from airflow_sso.certificates import OurKeys
from airflow_sso.errors import ConfigurationFaulty, SignatureInvalid
from airflow_sso.identity import Identity
from airflow_sso.login import (
    assertion,
    saml_bindings,
    saml_logout,
    saml_logout_messages,
    saml_messages,
    saml_response,
)
from airflow_sso.login.assertion import VerifiedAssertion
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.claims import to_identity
from airflow_sso.login.doors import SignOut
from airflow_sso.login.idp_metadata import IdpDocument, IdpMetadata
from airflow_sso.login.saml_bindings import UnverifiedMessage
from airflow_sso.login.saml_logout import VerifiedLogout
from airflow_sso.login.saml_messages import ServiceProvider
from airflow_sso.login.saml_response import UnverifiedResponse
from airflow_sso.login.vendors import claim_paths, vendor_of
from airflow_sso.role_mapping.require import NOTHING_ASKED, Asked
from airflow_sso.saml_settings import NAME_ID, SamlProvider
from airflow_sso.secret import SecretUnavailable
from airflow_sso.urls import Urls

log = logging.getLogger(__name__)


class SamlDoor:
    """One SAML identity provider that people may sign in through."""

    def __init__(self, settings: SamlProvider, urls: Urls) -> None:
        self.settings = settings
        self._document = IdpDocument(settings)
        self._entity_id = settings.entity_id or urls.saml_metadata(settings.name)
        self._acs_url = urls.acs(settings.name)
        self._slo_url = urls.slo(settings.name)

    def start(self, attempt: Attempt, *, asked: Asked = NOTHING_ASKED, switch_account: bool = False) -> str:
        """The address of the provider's sign-in page for a fresh attempt.

        :param asked: what the answer is to show.
        :param switch_account: ask for a fresh proof of identity, so that another account can be chosen.
        """
        provider, ours = self._document.current(), self._ours()
        if provider.wants_signed_requests and not ours.signs_requests:
            log.warning("%s wants signed requests, and we have no keys to sign with", self.settings.name)
        return saml_messages.sign_on_request(
            ours,
            provider.sign_on_url,
            attempt.state,
            force_authn=switch_account or asked.anew or self.settings.force_authn,
            contexts=asked.contexts,
        )

    def finish(self, attempt: Attempt, response: Mapping[str, str]) -> Identity:
        """The identity behind a parked response.

        :param response: holds ``SAMLResponse`` as it was posted; nothing in it is trusted.
        :raises SignInFailed: with the code that says why.
        """
        verified = self._verify(self.read(response.get("SAMLResponse")), attempt)
        identity = to_identity(verified, self.settings)
        if not self.settings.provider_sign_out:
            return identity
        hints = saml_logout_messages.hints(verified.name_id, verified.session_ref)
        return replace(identity, sign_out_hints=hints)

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

    def read_logout(self, query: bytes, form: Mapping[str, str] | None) -> UnverifiedMessage:
        """A logout message, parsed and not believed.

        :param query: as it came.
        :param form: what was posted; then the query does not count.
        :raises SignatureInvalid: when there is none that may be parsed.
        """
        return saml_bindings.by_redirect(query) if form is None else saml_bindings.by_post(form)

    def verify_logout(self, message: UnverifiedMessage) -> VerifiedLogout:
        """A LogoutRequest of the provider's that may be obeyed.

        :raises SsoError: with the code that says why not.
        """
        provider = self._document.current()
        expected = self._expected_of_logout(provider)
        return saml_logout.verify(message, expected, *self._certificates_of(provider, for_stranger=True))

    def answer_logout(self, request: VerifiedLogout, relay_state: str, *, obeyed: bool) -> SignOut | None:
        """Where the browser goes with our answer; ``None``: the provider takes none."""
        service = self._document.current().logout
        if service is None:
            return None
        status = saml_logout_messages.SUCCESS if obeyed else saml_logout_messages.DENIED
        return saml_logout_messages.answer(self._ours(), service, request.id, status, relay_state)

    def why_sign_out_not_confirmed(self, message: UnverifiedMessage) -> str | None:
        """Why a LogoutResponse does not confirm the sign-out at the provider, if so; for the log.

        :raises SsoError: when the provider's metadata cannot be had.
        """
        provider = self._document.current()
        expected = self._expected_of_logout(provider)
        certificates = self._certificates_of(provider, for_stranger=True)
        return saml_logout.why_not_confirmed(message, expected, *certificates)

    def metadata(self) -> bytes:
        """Our metadata for this provider."""
        return saml_messages.metadata(self._ours())

    def sign_out(self, hints: Mapping[str, str]) -> SignOut | None:
        """A LogoutRequest for the session that ``finish`` noted; ``None``: the provider takes none.

        :raises SsoError: when the provider's metadata, or our keys, cannot be had.
        """
        service = self._document.current().logout
        if service is None or not hints:
            return None
        return saml_logout_messages.request(self._ours(), service, hints)

    def known_certificates(self) -> Sequence[x509.Certificate]:
        """The provider's signing certificates, as far as this process has read its metadata."""
        known = self._document.known
        return known.signing_certificates if known else ()

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
        return assertion.verify(response, expected, *self._certificates_of(provider))

    def _expected_of_logout(self, provider: IdpMetadata) -> saml_logout.Expected:
        keys = self._keys()
        # Entra's logout messages may bear the other of its names (fact C8).
        others = vendor_of(self.settings).entity_ids(self.settings) or ()
        return saml_logout.Expected(
            issuers=tuple(dict.fromkeys((provider.entity_id, *others))),
            audience=self._entity_id,
            slo_url=self._slo_url,
            now=datetime.now(timezone.utc),
            clock_skew=self.settings.clock_skew,
            takes_unsigned=self.settings.insecure_unsigned_logout,
            private_key=keys.private_key if keys else None,
        )

    def _certificates_of(
        self, provider: IdpMetadata, *, for_stranger: bool = False
    ) -> tuple[Sequence[x509.Certificate], Callable[[], Sequence[x509.Certificate] | None]]:
        """Those known now, and how to ask once more.

        :param for_stranger: a logout message takes no attempt to be sent, as a response does.
        """
        return (
            self._certificates(provider),
            lambda: self._certificates_fetched_again(provider, for_stranger=for_stranger),
        )

    def _certificates(self, provider: IdpMetadata) -> Sequence[x509.Certificate]:
        return [one for one, why_not in self._document.judged_certificates(provider) if why_not is None]

    def _certificates_fetched_again(
        self, seen: IdpMetadata, *, for_stranger: bool
    ) -> Sequence[x509.Certificate] | None:
        """Also where none may be used: an expired one may have been replaced since (fact C9)."""
        newer = self._document.fetched_again(seen, for_stranger=for_stranger)
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
