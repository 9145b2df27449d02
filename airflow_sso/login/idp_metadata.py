"""What a SAML identity provider says about itself: who it is, where it signs people in, with which keys.

Read from the configured URL or file, and from nowhere else. What must stay true: every signing
certificate that the metadata lists counts at once and none that it does not, none counts past its
end, and what cannot be read changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509

from airflow_sso import certificates
from airflow_sso.certificates import fingerprint
from airflow_sso.errors import ProviderUnreachable, WrongIssuer
from airflow_sso.http_calls import get_xml
from airflow_sso.login import saml_time, saml_xml
from airflow_sso.login.cached import Cached
from airflow_sso.login.saml_xml import Element, UnreadableXml, find, tag, text_of
from airflow_sso.login.vendors import vendor_of
from airflow_sso.saml_settings import SamlProvider
from airflow_sso.setting_types import check_url

REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_PROTOCOL = saml_xml.SAMLP
_MOST_CERTIFICATES = 20
_SHORTEST_CACHE = 60.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutService:
    """A ``SingleLogoutService`` (SAML Metadata, section 2.2.2): where logout messages go, and how."""

    binding: str
    location: str
    response_location: str | None
    """Where answers go, if elsewhere than requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdpMetadata:
    """The parts of an ``IDPSSODescriptor`` that we use (SAML Metadata, section 2.4.3)."""

    entity_id: str
    sign_on_url: str
    """Takes AuthnRequests by HTTP-Redirect."""
    logout: LogoutService | None
    """Takes logout messages, if it takes any: by HTTP-Redirect if it can, else by HTTP-POST."""
    signing_certificates: tuple[x509.Certificate, ...]
    wants_signed_requests: bool
    valid_until: datetime | None
    cache_duration: timedelta | None


class IdpDocument:
    """One identity provider's metadata, shared by all requests of this process."""

    def __init__(self, settings: SamlProvider) -> None:
        self._settings = settings
        self._what = f"metadata of {settings.name}"
        self._cached = Cached(self._fetch, self._what, _fresh_for)
        self._file_stamp: tuple[int, int] | None = None

    @property
    def known(self) -> IdpMetadata | None:
        """The metadata that this process read last, for who only wants to look; nothing is fetched."""
        return self._cached.known

    def current(self) -> IdpMetadata:
        """The metadata as it is known now.

        :raises ProviderUnreachable: when it has never been read, or is past its ``validUntil``.
        """
        changed = self._settings.metadata_file is not None and self._stamp() != self._file_stamp
        return self._valid(self._cached.get(force=changed))

    def fetched_again(self, seen: IdpMetadata, *, for_stranger: bool = False) -> IdpMetadata | None:
        """The metadata, read anew because no key fitted; ``None`` when that was asked too often.

        :param for_stranger: for a message that anybody may have sent; it uses up nothing that sign-ins need.
        """
        newer = self._cached.fetched_again(seen, for_stranger=for_stranger)
        return self._valid(newer) if newer else None

    def judged_certificates(self, metadata: IdpMetadata) -> list[tuple[x509.Certificate, str | None]]:
        """Each signing certificate, and why no signature may be verified with it at this moment, if so."""
        now, skew = datetime.now(timezone.utc), self._settings.clock_skew
        return [(one, certificates.why_not_usable(one, now, skew)) for one in metadata.signing_certificates]

    def _valid(self, metadata: IdpMetadata) -> IdpMetadata:
        if metadata.valid_until and metadata.valid_until <= datetime.now(timezone.utc):
            # Metadata 2.3.2: past it, nothing of it may be used.
            raise ProviderUnreachable(
                f"{self._what}: it was valid until {metadata.valid_until:%Y-%m-%d %H:%M}"
            )
        return metadata

    def _fetch(self) -> IdpMetadata:
        if self._settings.metadata_url:
            data = get_xml(self._settings.metadata_url, self._settings.http, what=self._what)
        else:
            data = self._file()
        try:
            return read(data, self._settings)
        except (UnreadableXml, ValueError) as cause:
            raise ProviderUnreachable(f"{self._what}: {cause}") from None

    def _file(self) -> bytes:
        path = self._settings.metadata_file
        assert path is not None  # noqa: S101 (the settings have one or the other)
        self._file_stamp = self._stamp()
        try:
            return path.read_bytes()
        except OSError as cause:
            raise ProviderUnreachable(f"{self._what}: {path} cannot be read: {cause.strerror}") from None

    def _stamp(self) -> tuple[int, int] | None:
        """What tells one version of the file from the next, without reading it."""
        path = self._settings.metadata_file
        try:
            found = path.stat() if path else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size) if found else None


def read(data: bytes, settings: SamlProvider) -> IdpMetadata:
    """The identity provider that a metadata document describes.

    Everything else in it, such as Entra's ``fed:`` roles (fact C1), is passed over.

    :raises ValueError: when it describes none that can be used.
    :raises WrongIssuer: when it is of another one than the settings name.
    """
    descriptor = _entity(saml_xml.parse(data), settings)
    roles = [role for role in find(descriptor, "md:IDPSSODescriptor") if _speaks_saml2(role)]
    if len(roles) != 1:
        raise ValueError("it does not describe one SAML 2.0 identity provider (IDPSSODescriptor)")
    role = roles[0]
    entity_id = str(descriptor.get("entityID") or "").strip()
    if not entity_id:
        raise ValueError("its EntityDescriptor has no entityID")
    return IdpMetadata(
        entity_id=entity_id,
        sign_on_url=_sign_on_url(role, settings),
        logout=_logout_service(role, settings),
        signing_certificates=_signing_certificates(role, settings),
        wants_signed_requests=role.get("WantAuthnRequestsSigned") in ("true", "1"),
        valid_until=_earliest(descriptor, role),
        cache_duration=saml_time.duration(role.get("cacheDuration") or descriptor.get("cacheDuration")),
    )


def _entity(root: Element, settings: SamlProvider) -> Element:
    if root.tag not in (tag("md", "EntityDescriptor"), tag("md", "EntitiesDescriptor")):
        raise ValueError("it is not SAML metadata (EntityDescriptor)")
    found = list(root.iter(tag("md", "EntityDescriptor")))
    expected = vendor_of(settings).entity_ids(settings)
    if expected is None:
        with_role = [one for one in found if find(one, "md:IDPSSODescriptor")]
        if not with_role:
            raise ValueError("it describes no identity provider (IDPSSODescriptor)")
        if len(with_role) > 1:
            raise ValueError("it describes several identity providers: name one with issuer:")
        return with_role[0]
    named = [one for one in found if str(one.get("entityID")).strip() in expected]
    if len(named) != 1:
        seen = ", ".join(str(one.get("entityID"))[:200] for one in found[:3])
        raise WrongIssuer(f"its entityID is {seen or 'missing'}, not {' or '.join(expected)}")
    return named[0]


def _speaks_saml2(role: Element) -> bool:
    return _PROTOCOL in str(role.get("protocolSupportEnumeration")).split()


def _sign_on_url(role: Element, settings: SamlProvider) -> str:
    for element in find(role, "md:SingleSignOnService"):
        if element.get("Binding") == REDIRECT:
            return _address(element, "Location", settings)
    raise ValueError("it has no SingleSignOnService for HTTP-Redirect")


def _logout_service(role: Element, settings: SamlProvider) -> LogoutService | None:
    services = find(role, "md:SingleLogoutService")
    for binding in (REDIRECT, POST):
        for element in services:
            if element.get("Binding") == binding:
                elsewhere = bool(element.get("ResponseLocation"))
                return LogoutService(
                    binding=binding,
                    location=_address(element, "Location", settings),
                    response_location=_address(element, "ResponseLocation", settings) if elsewhere else None,
                )
    return None


def _address(service: Element, attribute: str, settings: SamlProvider) -> str:
    """Where browsers may be sent to."""
    url = str(service.get(attribute)).strip()
    name = service.tag.rpartition("}")[2]
    if "#" in url:
        raise ValueError(f"the address of its {name} has a fragment")
    check_url(url.partition("?")[0], what=name, insecure_http=settings.insecure_http)
    return url


def _signing_certificates(role: Element, settings: SamlProvider) -> tuple[x509.Certificate, ...]:
    """Of every key for signatures, or for anything (Metadata, section 2.4.1.1), in the document's order."""
    found: list[x509.Certificate] = []
    for descriptor in find(role, "md:KeyDescriptor"):
        if descriptor.get("use") in (None, "signing"):
            found += map(_certificate, find(descriptor, "ds:KeyInfo/ds:X509Data/ds:X509Certificate"))
    unique = list({fingerprint(one): one for one in found}.values())
    pinned = settings.metadata_fingerprint
    kept = [one for one in unique if pinned is None or fingerprint(one) in pinned]
    if not kept:
        raise ValueError(
            "it lists no signing certificate" + (" with a pinned fingerprint" if unique and pinned else "")
        )
    if len(kept) > _MOST_CERTIFICATES:
        raise ValueError(f"it lists more than {_MOST_CERTIFICATES} signing certificates")
    return tuple(kept)


def _certificate(element: Element) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(
            base64.b64decode(re.sub(r"\s", "", text_of(element) or ""), validate=True)
        )
    except (binascii.Error, ValueError, x509.InvalidVersion):
        raise ValueError("one of its X509Certificates cannot be read") from None


def _earliest(*elements: Element) -> datetime | None:
    written: Sequence[str] = [value for one in elements if (value := one.get("validUntil"))]
    return min(map(saml_time.moment, written), default=None)


def _fresh_for(metadata: IdpMetadata) -> float:
    """Seconds: refreshed within its cacheDuration and well before its validUntil."""
    limits = [float("inf")]
    if metadata.cache_duration is not None:
        limits.append(metadata.cache_duration.total_seconds())
    if metadata.valid_until is not None:
        limits.append((metadata.valid_until - datetime.now(timezone.utc)).total_seconds() / 2)
    return max(_SHORTEST_CACHE, min(limits))
