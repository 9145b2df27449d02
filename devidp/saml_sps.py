"""The service providers this identity provider knows, read from their metadata, strictly.

One registration serves every face, as the one OIDC client does. What is not in the metadata is not
known: no address is ever taken from a request. A document that a real provider's console would
refuse to import is refused here with a sentence.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from devidp import saml_xml as sx
from devidp.saml_xml import DS, MD, Element, NotXml

_LARGEST = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One address. `index` and `default` are there for assertion consumers only."""

    binding: str
    location: str
    response_location: str | None = None
    index: int | None = None
    default: bool = False


@dataclass(frozen=True, kw_only=True)
class ServiceProvider:
    entity_id: str
    consumers: tuple[Endpoint, ...]
    logouts: tuple[Endpoint, ...] = ()
    signing: tuple[bytes, ...] = ()
    encryption: tuple[bytes, ...] = ()
    requests_signed: bool = False
    wants_assertions_signed: bool = False
    name_id_formats: tuple[str, ...] = ()

    @property
    def acs(self) -> str:
        """Metadata 2.4.4.1: the one marked default, else the first of those not marked false."""
        marked = [one for one in self.consumers if one.default]
        return (marked or list(self.consumers))[0].location

    def acs_at(self, index: str) -> str | None:
        return next((one.location for one in self.consumers if str(one.index) == index), None)

    def logout_at(self, binding: str) -> Endpoint | None:
        return next((one for one in self.logouts if one.binding == binding), None)


def parse(metadata: bytes, now: float) -> ServiceProvider:
    """A ValueError says what is wrong, in words for the person at the console."""
    entity = sx.parse(metadata, largest=_LARGEST)
    if entity.tag != sx.q(MD, "EntityDescriptor"):
        raise ValueError("the metadata must be one EntityDescriptor")
    roles = entity.findall(sx.q(MD, "SPSSODescriptor"))
    if len(roles) != 1:
        raise ValueError("the metadata must have one SPSSODescriptor")
    role = roles[0]
    if sx.SAMLP not in role.get("protocolSupportEnumeration", "").split():
        raise ValueError("protocolSupportEnumeration does not name SAML 2.0")
    for element in (entity, role):
        _still_valid(element, now)
    entity_id = entity.get("entityID", "")
    if not entity_id.strip() or len(entity_id) > 1024:
        raise ValueError("entityID must have 1 to 1024 characters")
    consumers = tuple(_endpoint(e) for e in role.findall(sx.q(MD, "AssertionConsumerService")))
    consumers = tuple(one for one in consumers if one.binding == sx.POST)
    if not consumers or any(one.index is None for one in consumers):
        raise ValueError("there must be an AssertionConsumerService for HTTP-POST, each with an index")
    if len({one.index for one in consumers}) != len(consumers):
        raise ValueError("two assertion consumer services have the same index")
    return ServiceProvider(
        entity_id=entity_id,
        consumers=consumers,
        logouts=tuple(_endpoint(e) for e in role.findall(sx.q(MD, "SingleLogoutService"))),
        signing=_certificates(role, "signing"),
        encryption=_certificates(role, "encryption"),
        requests_signed=_flag(role, "AuthnRequestsSigned"),
        wants_assertions_signed=_flag(role, "WantAssertionsSigned"),
        name_id_formats=tuple(sx.text(e).strip() for e in role.findall(sx.q(MD, "NameIDFormat"))),
    )


def _still_valid(element: Element, now: float) -> None:
    until = element.get("validUntil")
    if until is None:
        return
    try:
        end = datetime.datetime.fromisoformat(until.replace("Z", "+00:00"))
    except ValueError as error:
        raise ValueError(f"validUntil is no time: {until!r}") from error
    if end.tzinfo is None or end.timestamp() <= now:
        raise ValueError("the metadata is no longer valid (validUntil)")


def _flag(element: Element, name: str) -> bool:
    value = element.get(name, "false")
    if value not in ("true", "false", "1", "0"):
        raise ValueError(f"{name} must be true or false")
    return value in ("true", "1")


def _endpoint(element: Element) -> Endpoint:
    index = element.get("index")
    if index is not None and not index.isdecimal():
        raise ValueError("an index must be a number")
    return Endpoint(
        binding=element.get("Binding", ""),
        location=_address(element.get("Location", "")),
        response_location=_address(element.get("ResponseLocation"))
        if element.get("ResponseLocation")
        else None,
        index=None if index is None else int(index),
        default=_flag(element, "isDefault"),
    )


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
        raise ValueError(f"not an absolute http(s) address: {value!r}")
    return value


def _certificates(role: Element, use: str) -> tuple[bytes, ...]:
    """As PEM. A KeyDescriptor without `use` serves both (Metadata 2.4.1.1)."""
    found = []
    for descriptor in role.findall(sx.q(MD, "KeyDescriptor")):
        if descriptor.get("use", use) not in ("signing", "encryption"):
            raise ValueError("use must be signing or encryption")
        if descriptor.get("use", use) != use:
            continue
        for element in descriptor.iter(sx.q(DS, "X509Certificate")):
            try:
                der = base64.b64decode("".join(sx.text(element).split()), validate=True)
                found.append(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
            except (binascii.Error, ValueError) as error:
                raise ValueError("an X509Certificate is no certificate") from error
    return tuple(found)


class ServiceProviders:
    """Those registered by hand, and those whose metadata is fetched when somebody unknown comes.

    Fetched late, because in the demo Airflow starts after this provider.
    """

    def __init__(self, urls: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._urls, self._clock = urls, clock
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self._known: dict[str, ServiceProvider] = {}
        self._waiting = list(self._urls)

    def register(self, metadata: bytes) -> ServiceProvider:
        found = parse(metadata, self._clock())
        self._known[found.entity_id] = found
        return found

    def all(self) -> list[ServiceProvider]:
        return list(self._known.values())

    def get(self, entity_id: str) -> ServiceProvider | None:
        if entity_id not in self._known:
            self.fetch()
        return self._known.get(entity_id)

    def fetch(self) -> None:
        """One that cannot be had now is asked again when the next stranger comes."""
        with self._lock:
            for url in list(self._waiting):
                try:
                    self.register(_fetched(url))
                except (OSError, ValueError, http.client.HTTPException):
                    continue
                self._waiting.remove(url)


def _fetched(url: str) -> bytes:
    """No proxy: what is fetched is on this machine or beside it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(_address(url), timeout=5) as answer:
            data: bytes = answer.read(_LARGEST + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise NotXml(f"{url} answered {error.code}") from error
    return data
