"""What the directory side remembers beside the people: app tokens, what the app was granted, counts.

An app token belongs to one side and ends; every directory request is checked against it. All of it
goes back to the start on reset.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from typing import Any

GRANTABLE: dict[str, tuple[str, ...]] = {
    "graph": ("User.Read.All", "GroupMember.Read.All", "Application.Read.All"),  # fact B1
    "pingone": ("Identity Data Read Only", "Identity Data Admin"),  # fact D10
    "scim": ("users", "groups"),
}


class DirectoryState:
    def __init__(self, scim_token: str) -> None:
        self._lock = threading.Lock()
        self._scim_token_at_start = scim_token
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.granted = {side: frozenset(names) for side, names in GRANTABLE.items()}
            self.scim_token = self._scim_token_at_start
            self.counts: Counter[str] = Counter()
            self._tokens: dict[str, tuple[str, float]] = {}

    def grant(self, wanted: dict[str, Any]) -> None:
        """Replaces the lists that are named; the others stay."""
        for side, names in wanted.items():
            known = GRANTABLE[side]
            if not isinstance(names, list) or not set(names) <= set(known):
                raise ValueError(f"{side} must be a list of some of: {', '.join(known)}")
        self.granted.update({side: frozenset(names) for side, names in wanted.items()})

    def count(self, endpoint: str, number: int = 1) -> None:
        with self._lock:
            self.counts[endpoint] += number

    def clear_counts(self) -> None:
        with self._lock:
            self.counts.clear()

    def issue_token(self, side: str, ends_at: float) -> str:
        with self._lock:
            token = "app." + secrets.token_urlsafe(48)
            self._tokens[token] = (side, ends_at)
            return token

    def token_state(self, side: str, token: str, now: float) -> str:
        """`good`, `expired` or `unknown`; a token of another side is unknown here."""
        if side == "scim" and secrets.compare_digest(token.encode(), self.scim_token.encode()):
            return "good"
        owner, ends_at = self._tokens.get(token, ("", 0.0))
        if owner != side:
            return "unknown"
        return "good" if now < ends_at else "expired"

    def revoke_tokens(self) -> None:
        with self._lock:
            self._tokens.clear()
