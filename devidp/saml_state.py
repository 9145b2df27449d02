"""What the SAML side remembers while it runs: keys, service providers, requests in hand, who is signed in.

All in memory; `reset` forgets everything but the keys themselves, which are slow to make.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from devidp.saml_faces import SAML_FACES
from devidp.saml_keys import SamlRing
from devidp.saml_sps import ServiceProvider, ServiceProviders
from devidp.settings import Settings

TICKET_LIMIT = 1000


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A sign-in that was asked for and checked; the page is answered with its ticket.

    `request_id` is None when the provider itself began (fact C10).
    """

    sp: ServiceProvider
    acs: str
    request_id: str | None
    relay_state: str | None = None
    name_id_format: str | None = None
    force_authn: bool = False
    is_passive: bool = False


@dataclass(frozen=True, kw_only=True)
class Participant:
    """One service provider that was told about one person: what a logout speaks of."""

    face: str
    person: str
    sp: str
    name_id: str
    name_id_format: str | None
    session_index: str | None


class SamlState:
    def __init__(self, settings: Settings) -> None:
        self.rings = {name: SamlRing(name) for name in SAML_FACES}
        self.service_providers = ServiceProviders(settings.service_provider_metadata_urls, settings.clock)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        for ring in self.rings.values():
            ring.reset()
        self.service_providers.reset()
        self._pending: dict[str, Pending] = {}
        self._participants: list[Participant] = []

    def keep(self, pending: Pending) -> str:
        """A ticket stays good: a person may go back to the page and choose again."""
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._pending[ticket] = pending
            while len(self._pending) > TICKET_LIMIT:
                del self._pending[next(iter(self._pending))]
        return ticket

    def pending(self, ticket: str) -> Pending | None:
        return self._pending.get(ticket)

    def told(self, participant: Participant) -> None:
        with self._lock:
            self._participants.append(participant)
            del self._participants[:-TICKET_LIMIT]

    def participants(self, face: str, person: str | None = None) -> list[Participant]:
        """Newest first."""
        with self._lock:
            found = [one for one in self._participants if one.face == face and person in (None, one.person)]
        return found[::-1]

    def ended(self, face: str, name_id: str, session_indexes: set[str]) -> list[Participant]:
        """Forget who is meant by a LogoutRequest; without an index, every session of that name."""
        with self._lock:
            gone = [
                one
                for one in self._participants
                if one.face == face
                and one.name_id == name_id
                and (not session_indexes or one.session_index in session_indexes)
            ]
            self._participants = [one for one in self._participants if one not in gone]
        return gone
