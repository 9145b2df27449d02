"""What can be chosen at start: where to listen, and how the one client is registered.

The same registration serves every face. The base URL is always taken from here and never from a
request, so that a spoofed Host header cannot change an issuer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

CLIENT_ID = "6731de76-14a6-49ae-97bc-6eba6914391e"
TENANT_ID = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
OTHER_TENANT_ID = "ffffeeee-9999-dddd-8888-cccc7777bbbb"
OTHER_CLIENT_ID = "0f0f0f0f-1e1e-4d2d-8c3c-4b4b4b4b4b4b"
PINGONE_ENVIRONMENT_ID = "bbbbcccc-1111-4ddd-8222-eeee3333ffff"

DEFAULT_CLIENT_SECRET = "not-a-secret"
DEFAULT_REDIRECT_URIS = tuple(
    f"http://localhost:8080/auth/oauth-authorized/{provider}"
    for provider in ("entra", "generic", "pingone", "pingfederate")
)
DEFAULT_POST_LOGOUT_REDIRECT_URIS = ("http://localhost:8080/auth/signed-out/",)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen: what the control API adds later lives in `state.Client` and goes away on reset."""

    host: str = "127.0.0.1"
    port: int = 0
    base_url: str | None = None
    client_id: str = CLIENT_ID
    client_secret: str = DEFAULT_CLIENT_SECRET
    redirect_uris: tuple[str, ...] = DEFAULT_REDIRECT_URIS
    post_logout_redirect_uris: tuple[str, ...] = DEFAULT_POST_LOGOUT_REDIRECT_URIS
    scim_token: str = "scim-token"
    code_lifetime: int = 60
    # Where metadata of SAML service providers can be had; fetched when the first unknown one comes.
    service_provider_metadata_urls: tuple[str, ...] = ()
    clock: Callable[[], float] = time.time

    @property
    def base(self) -> str:
        """Loopback addresses are all shown as `localhost`, the name the demo's pages and docs use."""
        if self.base_url:
            return self.base_url.rstrip("/")
        name = "localhost" if self.host in LOOPBACK_NAMES or self.host == "0.0.0.0" else self.host
        return f"http://{name}:{self.port}" if self.port else f"http://{name}"
