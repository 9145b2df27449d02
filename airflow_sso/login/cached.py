"""Something that a provider publishes, fetched once for all requests of this process.

It is refreshed as fact A7 says, and the last good answer is kept through an outage. What must stay
true: nobody who sends us something that does not fit can make us fetch without limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from airflow_sso.errors import ProviderUnreachable, SsoError, WrongIssuer

log = logging.getLogger(__name__)

_REFRESH_AFTER = 3600.0  # seconds; fact A7: refresh about hourly
_RETRY_AFTER = 60.0  # seconds between tries while the provider does not answer
_FORCED_REFETCHES = 3  # a bucket of three, one refilled every five minutes
_REFILL_AFTER = 300.0
#: What strangers can ask for has a bucket of its own: they can keep it empty, but each refill is a fetch.
_STRANGERS_REFILL_AFTER = 60.0

Value = TypeVar("Value")


class _Bucket:
    """So many at once, and then one in so many seconds."""

    def __init__(self, refill_after: float) -> None:
        self._refill_after = refill_after
        self._refetches = float(_FORCED_REFETCHES)
        self._refilled_at = time.monotonic()

    def take(self) -> bool:
        """Whether there was one left."""
        now = time.monotonic()
        gained = (now - self._refilled_at) / self._refill_after
        self._refetches = min(_FORCED_REFETCHES, self._refetches + gained)
        self._refilled_at = now
        if self._refetches < 1:
            return False
        self._refetches -= 1
        return True


class Cached(Generic[Value]):
    """A fetched value, its age, and the one lock under which it is fetched again.

    :param fetch: gets the value; raises ``ProviderUnreachable`` or ``WrongIssuer`` when it cannot.
    :param what: what it is, for the log.
    :param fresh_for: seconds for which a value is fresh, an hour at most.
    """

    def __init__(
        self,
        fetch: Callable[[], Value],
        what: str,
        fresh_for: Callable[[Value], float] = lambda _value: _REFRESH_AFTER,
    ) -> None:
        self._fetch = fetch
        self._what = what
        self._fresh_for = fresh_for
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._failure: SsoError | None = None
        self._fresh_until = float("-inf")
        self._tried_at = float("-inf")
        self._bucket = _Bucket(_REFILL_AFTER)
        self._strangers = _Bucket(_STRANGERS_REFILL_AFTER)
        self._taking = threading.Lock()

    @property
    def known(self) -> Value | None:
        """The value that was fetched last, whatever its age; nothing is fetched."""
        return self._value

    def get(self, *, force: bool = False) -> Value:
        """The value, fetched anew when it is not fresh. Its own errors are raised when there is none."""
        asked_at = time.monotonic()
        fresh = asked_at < self._fresh_until
        if self._value is not None and not force and (fresh or asked_at - self._tried_at < _RETRY_AFTER):
            return self._value
        with self._lock:
            # Those who waited for another's try share its outcome, and do not try in turn.
            if self._tried_at < asked_at:
                self._try()
        if self._value is None:
            assert self._failure is not None  # noqa: S101 (a try leaves one or the other)
            raise self._failure
        return self._value

    def fetched_again(self, seen: Value | None = None, *, for_stranger: bool = False) -> Value | None:
        """The value, fetched anew because it did not fit; ``None`` when that was asked too often.

        :param seen: what did not fit. If another has been fetched since, that is the answer: many
            people at once, right after a rotation, cost one fetch.
        :param for_stranger: anybody can send what did not fit.
        """
        with self._taking:
            if seen is not None and self.get() is not seen:
                return self.get()
            if not (self._strangers if for_stranger else self._bucket).take():
                return None
            return self.get(force=True)

    def _try(self) -> None:
        try:
            self._value, self._failure = self._fetch(), None
            self._fresh_until = time.monotonic() + min(_REFRESH_AFTER, self._fresh_for(self._value))
        except (ProviderUnreachable, WrongIssuer) as cause:
            self._failure = cause
            if self._value is not None:
                log.warning("%s: the last good answer is kept: %s", self._what, cause.detail)
        finally:
            self._tried_at = time.monotonic()
