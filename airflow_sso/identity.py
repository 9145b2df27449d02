"""The one value that crosses from protocol to Airflow: who a provider says somebody is.

Everything before it is protocol, everything after it is ours. What must stay true: ``None`` means
*unknown* and is never the same as the empty set, and the account key is ``(authority, subject)``,
never a name or an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A verified person, as one provider described them at one moment.

    ``authority``
        our canonical name of who vouches (``entra:public:<tid>``), the same for every protocol.
    ``subject``
        the person's immutable id within the authority (Entra: the lower-cased ``oid``).
    ``groups``, ``app_roles``
        ``None`` when unknown. An empty set means that the provider said "none".
    ``group_overage``
        the provider said that there are more groups than it sent (fact A16); ``groups`` is then ``None``.
    ``groups_untold``
        groups that the mapping names and of which nobody told, while of all others somebody did.
    ``groups_partial``
        no token told any group: ``groups`` are those alone that a directory was asked about.
    ``claims``
        everything that was verified, read-only; for rules about claims.
    ``session_ref``
        the provider's session id (``sid``), where it sent one.
    ``authenticated_at``
        when the provider says that the person proved who they are; ``None`` when it does not say.
    ``context``
        how they proved it, where the protocol says that apart from the claims (``AuthnContextClassRef``).
    ``provider_subject``
        how the provider's own notices name the person (``sub``, NameID), which need not be ``subject``.
    ``session_ends_at``
        until when the provider lets a session go on, at most (``SessionNotOnOrAfter``).
    ``refresh_token``
        to be kept for the probe; ``None`` unless that is on.
    ``sign_out_hints``
        what signing out at the provider asks for; empty unless ``provider_sign_out`` is on.
    """

    authority: str
    subject: str
    username: str | None
    email: str | None
    email_verified: bool
    first_name: str | None
    last_name: str | None
    groups: frozenset[str] | None
    app_roles: frozenset[str] | None
    provider: str
    protocol: str
    group_overage: bool = False
    groups_untold: frozenset[str] = frozenset()
    groups_partial: bool = False
    is_guest: bool = False
    claims: Mapping[str, Any] = field(default_factory=dict)
    session_ref: str | None = None
    authenticated_at: datetime | None = None
    context: str | None = None
    provider_subject: str | None = None
    session_ends_at: datetime | None = None
    sign_out_hints: Mapping[str, str] = field(default_factory=dict)
    refresh_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.authority or not self.subject:
            raise ValueError("an identity needs an authority and a subject")
        if self.group_overage and self.groups is not None:
            raise ValueError("groups that overflowed are unknown, not a set")
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))

    def __repr__(self) -> str:
        """Who, without what the provider said about them: claims do not belong in logs."""
        return f"<Identity {self.authority} {self.subject} through {self.provider}>"
