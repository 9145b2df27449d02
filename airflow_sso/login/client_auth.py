"""How we prove to a token endpoint that we are the registered client, each time anew.

A secret is sent as it is; everything else becomes a client assertion (RFC 7523, section 2.2). What
must stay true: secrets, keys and token files are read at each use, so that a rotated one counts at
once, and none of them is kept.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from airflow_sso.errors import ConfigurationFaulty, ProviderUnreachable
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.secret import SecretUnavailable
from airflow_sso.setting_types import KeyPair

_LIFETIME = 300  # seconds; fact A20 allows five to ten minutes
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: The audience of a managed identity's token, by cloud (fact A9).
_EXCHANGE_AUDIENCES = {
    "public": "api://AzureADTokenExchange",
    "usgov": "api://AzureADTokenExchangeUSGov",
    "usgov_dod": "api://AzureADTokenExchangeUSGov",
    "china": "api://AzureADTokenExchangeChina",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What goes to the token endpoint: OAuth's name of the method, and what it takes."""

    method: str
    client_id: str
    secret: str | None = field(default=None, repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Form fields to send along."""


def credentials(settings: OidcProvider, token_endpoint: str) -> Credentials:
    """Our credentials of this moment.

    :raises ConfigurationFaulty: when a secret, key or token file cannot be read.
    """
    auth, client_id = settings.client_auth, settings.client_id
    try:
        if auth.secret:
            secret = auth.secret.reveal()
            method = auth.method or vendor_of(settings).client_auth_method
            if method == "basic":  # both halves are form-encoded first (RFC 6749, section 2.3.1)
                return Credentials("client_secret_basic", quote_plus(client_id), quote_plus(secret))
            return Credentials("client_secret_post", client_id, secret)
        assertion = _assertion(settings, token_endpoint)
    except SecretUnavailable as cause:
        raise ConfigurationFaulty(f"client_auth of {settings.name}: {cause}") from None
    form = {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
    return Credentials("none", client_id, form=form)


def _assertion(settings: OidcProvider, token_endpoint: str) -> str:
    auth = settings.client_auth
    if auth.certificate:
        return _signed_by_certificate(settings, auth.certificate, token_endpoint)
    if auth.federated_token_file:
        return _from_file(settings)
    return _from_managed_identity(settings)


def _signed_by_certificate(settings: OidcProvider, pair: KeyPair, token_endpoint: str) -> str:
    """``private_key_jwt`` with the certificate's thumbprint, as facts A20 and D4 describe it."""
    now = int(time.time())
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.reveal().encode())
        private_pem = pair.private_key.reveal()
        key = _private_key(private_pem)
    except (ValueError, JoseError) as cause:
        # The library's words may quote what it could not read; its class is enough.
        raise ConfigurationFaulty(
            f"client_auth.certificate of {settings.name} is not PEM: {type(cause).__name__}"
        ) from None
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(SHA256())).rstrip(b"=").decode()
    header = {
        "alg": "ES256" if isinstance(key, ECKey) else vendor_of(settings).assertion_algorithm,
        "typ": "JWT",
        "x5t#S256": thumbprint,
    }
    claims = {
        "iss": settings.client_id,
        "sub": settings.client_id,
        "aud": token_endpoint,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now,
        "exp": now + _LIFETIME,
    }
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


def _private_key(pem: str) -> RSAKey | ECKey:
    try:
        return RSAKey.import_key(pem)
    except (ValueError, JoseError):
        return ECKey.import_key(pem)


def _from_file(settings: OidcProvider) -> str:
    path = settings.client_auth.federated_token_file
    try:
        token = path.read_text(encoding="ascii").strip() if path else ""
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigurationFaulty(
            f"{path} of {settings.name} cannot be read: {type(cause).__name__}"
        ) from None
    if not token:
        raise ConfigurationFaulty(f"{path} of {settings.name} is empty")
    return token


def _from_managed_identity(settings: OidcProvider) -> str:
    """The managed identity's own token, presented as our assertion (facts A26, A27)."""
    import msal
    import requests

    identity = msal.UserAssignedManagedIdentity(client_id=settings.client_auth.managed_identity)
    client = msal.ManagedIdentityClient(identity, http_client=requests.Session())
    audience = _EXCHANGE_AUDIENCES[getattr(settings, "cloud", "public")]
    try:
        answer = client.acquire_token_for_client(resource=audience)
    except (requests.RequestException, ValueError) as cause:
        raise ProviderUnreachable(f"the managed identity's endpoint: {type(cause).__name__}") from None
    if "access_token" not in answer:
        raise ConfigurationFaulty(f"the managed identity gave no token: {answer.get('error')}")
    return str(answer["access_token"])
