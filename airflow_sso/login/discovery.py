"""What a provider says about itself: its endpoints (discovery) and its signing keys (JWKS).

Both are cached. What must stay true: nothing is fetched from an address that a token names, and keys
come from the configured issuer's own document alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from airflow_sso.errors import ProviderUnreachable, WrongIssuer
from airflow_sso.http_calls import get_json
from airflow_sso.login.cached import Cached
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import OidcProvider
from airflow_sso.setting_types import check_url

_SHORTEST_RSA = 2048  # bits; RFC 7518, section 3.3
_KEY_TYPES: dict[str, type[Key]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}  # never `oct`


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of a discovery document that we use (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    sends_iss: bool
    """RFC 9207: the authorization response carries ``iss``."""
    end_session_endpoint: str | None
    """RP-Initiated Logout 1.0, section 2.1."""
    older_end_session_endpoint: str | None
    """The vendor's own, from before there was the standard's."""


class ProviderDocuments:
    """One provider's discovery document and keys, shared by all requests of this process."""

    def __init__(self, settings: OidcProvider) -> None:
        self._settings = settings
        self._metadata = Cached(self._fetch_metadata, f"discovery of {settings.name}")
        self._keys = Cached(self._fetch_keys, f"keys of {settings.name}")

    def metadata(self) -> Metadata:
        """The endpoints. :raises ProviderUnreachable: when they have never been read."""
        return self._metadata.get()

    def keys(self) -> list[Key]:
        """The signing keys that are known now."""
        return self._keys.get()

    def keys_fetched_again(self, seen: list[Key] | None = None) -> list[Key] | None:
        """The keys, fetched anew because a token did not fit; ``None`` when that was asked too often.

        :param seen: the keys that did not fit.
        """
        return self._keys.fetched_again(seen)

    def keys_fetched_for_stranger(self, seen: list[Key]) -> list[Key] | None:
        """The same for a token that anybody may have sent; it uses up nothing that sign-ins need."""
        return self._keys.fetched_again(seen, for_stranger=True)

    def _fetch_metadata(self) -> Metadata:
        vendor = vendor_of(self._settings)
        what = f"discovery of {self._settings.name}"
        document = get_json(vendor.discovery_url(self._settings), self._settings.http, what=what)
        expected = vendor.issuer(self._settings)
        if document.get("issuer") != expected:
            # Discovery 1.0, section 4.3: must be identical, or keys of another issuer would count.
            raise WrongIssuer(f"{what}: its issuer is {document.get('issuer')!r}, not {expected!r}")
        older = vendor.older_sign_out[0] if vendor.older_sign_out else ""
        return Metadata(
            issuer=expected,
            authorization_endpoint=self._endpoint(document, "authorization_endpoint"),
            token_endpoint=self._endpoint(document, "token_endpoint"),
            jwks_uri=self._endpoint(document, "jwks_uri"),
            userinfo_endpoint=self._optional_endpoint(document, "userinfo_endpoint"),
            sends_iss=document.get("authorization_response_iss_parameter_supported") is True,
            end_session_endpoint=self._optional_endpoint(document, "end_session_endpoint"),
            older_end_session_endpoint=self._optional_endpoint(document, older),
        )

    def _optional_endpoint(self, document: dict[str, Any], name: str) -> str | None:
        return self._endpoint(document, name) if document.get(name) else None

    def _endpoint(self, document: dict[str, Any], name: str) -> str:
        url = document.get(name)
        try:
            if not isinstance(url, str):
                raise ValueError(f"{name} is missing")
            # An endpoint may carry a query (RFC 6749, section 3.1; Entra's ?appid=, fact A6).
            check_url(url.partition("?")[0], what=name, insecure_http=self._settings.insecure_http)
        except ValueError as cause:
            raise ProviderUnreachable(f"discovery of {self._settings.name}: {cause}") from None
        return url

    def _fetch_keys(self) -> list[Key]:
        what = f"keys of {self._settings.name}"
        entries = get_json(self.metadata().jwks_uri, self._settings.http, what=what).get("keys")
        if not isinstance(entries, list):
            raise ProviderUnreachable(f"{what}: there is no list of keys")
        issuer = self.metadata().issuer
        fitting = (entry for entry in entries[:100] if _is_of_issuer(entry, issuer))
        keys = [key for key in map(_signing_key, fitting) if key is not None]
        if not keys:
            raise ProviderUnreachable(f"{what}: none of them can verify a signature")
        return keys


def _is_of_issuer(entry: Any, issuer: str) -> bool:
    """Entra's key sets say for which tenant's tokens a key counts (facts A4, A5)."""
    declared = entry.get("issuer") if isinstance(entry, dict) else None
    if declared is None:
        return True
    pattern = re.escape(str(declared)).replace(re.escape("{tenantid}"), "[0-9a-f-]{36}")
    return re.fullmatch(pattern, issuer) is not None


def _signing_key(entry: Any) -> Key | None:
    """One JWKS entry as a public key, or ``None`` when it is not one for signatures (RFC 7517, 4.2, 4.3)."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if "key_ops" in entry and "verify" not in (entry["key_ops"] or ()):
        return None
    kind = _KEY_TYPES.get(str(entry.get("kty")))
    public = {name: value for name, value in entry.items() if name in _PUBLIC_MEMBERS}
    try:
        key = kind.import_key(public) if kind else None
    except (JoseError, ValueError, TypeError, KeyError):  # KeyError: a curve that nobody here knows
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < _SHORTEST_RSA:
        return None
    return key


#: What is read of a JWKS entry; a private member or a URL in it is not.
_PUBLIC_MEMBERS = frozenset({"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"})
