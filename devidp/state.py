"""Everything that changes while the provider runs: keys, codes, tokens, sessions, knobs and the log.

All of it is in memory and goes back to the start on `reset`. The log keeps names of parameters and
the few values a test may assert, never a code, a token, a verifier or a secret.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from devidp import directory_knobs
from devidp.directory_state import DirectoryState
from devidp.faces import FACES, Face, SignIn
from devidp.keys import Keyring
from devidp.knobs import Knobs
from devidp.people import People, Person
from devidp.population import Population
from devidp.saml_state import SamlState
from devidp.settings import Settings

LOG_LIMIT = 5000


@dataclass(kw_only=True)
class Grant:
    """What one authorization allows; everything issued from it points here, and dies with it."""

    face: str
    person: str
    redirect_uri: str
    challenge: str | None
    sign_in: SignIn
    made_at: float
    used: bool = False
    revoked: bool = False


@dataclass
class Client:
    """The one registered client. Certificates (PEM) allow private_key_jwt."""

    client_id: str
    secret: str
    redirect_uris: set[str]
    post_logout_redirect_uris: set[str]
    certificates: list[str] = field(default_factory=list)
    backchannel_logout_uris: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class BrowserSession:
    person: str
    sid: str
    auth_time: int
    began: int = field(default_factory=itertools.count().__next__)
    """Counts up: two sessions may begin within a second."""


class RequestLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[dict[str, Any]] = []

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(entry)
            del self._entries[:-LOG_LIMIT]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def all(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(entry) for entry in self._entries]


class State:
    """One running provider."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.base = settings.base
        self.people = People()
        self.population = Population(self.people)
        self.directory = DirectoryState(settings.scim_token)
        self.knobs = Knobs((*FACES, *directory_knobs.FACES))
        self.log = RequestLog()
        self.keyrings = {name: Keyring() for name in FACES}
        self.saml = SamlState(settings)
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.people.reset()
            self.population.reset()
            self.directory.reset()
            self.knobs.reset()
            self.log.clear()
            for ring in self.keyrings.values():
                ring.reset()
            self.saml.reset()
            settings = self.settings
            self.client = Client(
                settings.client_id,
                settings.client_secret,
                set(settings.redirect_uris),
                set(settings.post_logout_redirect_uris),
            )
            self._codes: dict[str, Grant] = {}
            self._access_tokens: dict[str, Grant] = {}
            self._refresh_tokens: dict[str, Grant] = {}
            self._browsers: dict[str, dict[str, BrowserSession]] = {}

    def now(self) -> float:
        return self.settings.clock()

    def issuer(self, face: Face) -> str:
        return self.base + face.issuer

    # -- what is issued -------------------------------------------------------------------------

    def issue_code(self, grant: Grant, length: int = 66) -> str:
        with self._lock:
            code = ("0." + secrets.token_urlsafe(length))[:length]
            self._codes[code] = grant
            return code

    def redeem_code(self, code: str) -> tuple[Grant | None, bool]:
        """The grant of a code, and whether this is its first use. Looking at it uses it up."""
        with self._lock:
            grant = self._codes.get(code)
            if grant is None:
                return None, False
            first = not grant.used
            grant.used = True
            if not first:
                # RFC 6749 4.1.2: somebody else may hold this code, so nothing made from it stays good.
                grant.revoked = True
            return grant, first

    def forget_use(self, grant: Grant) -> None:
        with self._lock:
            grant.used = grant.revoked = False

    def issue_access_token(self, grant: Grant) -> str:
        with self._lock:
            token = secrets.token_urlsafe(40)
            self._access_tokens[token] = grant
            return token

    def issue_refresh_token(self, grant: Grant) -> str:
        with self._lock:
            token = "1." + secrets.token_urlsafe(48)
            self._refresh_tokens[token] = grant
            return token

    def grant_of_access_token(self, token: str) -> Grant | None:
        with self._lock:
            grant = self._access_tokens.get(token)
            return None if grant is None or grant.revoked else grant

    def grant_of_refresh_token(self, token: str, *, rotate: bool) -> Grant | None:
        with self._lock:
            grant = self._refresh_tokens.pop(token, None) if rotate else self._refresh_tokens.get(token)
            return None if grant is None or grant.revoked else grant

    # -- browsers -------------------------------------------------------------------------------

    def browser_session(self, cookie: str | None, face: Face) -> BrowserSession | None:
        with self._lock:
            return self._browsers.get(cookie or "", {}).get(face.name)

    def sign_in_browser(self, cookie: str | None, face: Face, person: Person) -> tuple[str, BrowserSession]:
        with self._lock:
            if cookie not in self._browsers:
                cookie = secrets.token_urlsafe(24)
                self._browsers[cookie] = {}
            session = BrowserSession(person.name, str(uuid.uuid4()), int(self.now()))
            self._browsers[cookie][face.name] = session
            return cookie, session

    def sids_of(self, face: Face, person: Person) -> list[str]:
        """The sessions that a person has here, oldest first."""
        with self._lock:
            found = [sessions.get(face.name) for sessions in self._browsers.values()]
            mine = [one for one in found if one is not None and one.person == person.name]
            return [one.sid for one in sorted(mine, key=lambda one: one.began)]

    def end_sessions(self, face: Face, person: Person, sid: str | None) -> None:
        """One session of a person, or all of them."""
        with self._lock:
            for sessions in self._browsers.values():
                session = sessions.get(face.name)
                if session is not None and session.person == person.name and sid in (None, session.sid):
                    del sessions[face.name]

    def sign_out_browser(self, cookie: str | None, face: Face) -> None:
        with self._lock:
            self._browsers.get(cookie or "", {}).pop(face.name, None)
