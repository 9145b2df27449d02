"""The command: `python -m devidp --port 8081`. One line when it listens, gone at once when told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Sequence

from devidp.server import start
from devidp.settings import (
    DEFAULT_CLIENT_SECRET,
    DEFAULT_POST_LOGOUT_REDIRECT_URIS,
    DEFAULT_REDIRECT_URIS,
    Settings,
)


def settings_from(argv: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m devidp", description="A pretend OpenID provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--base-url", help="what the issuers begin with (default: http://localhost:PORT)")
    parser.add_argument(
        "--client-secret",
        default=os.environ.get("DEMO_CLIENT_SECRET") or DEFAULT_CLIENT_SECRET,
        help="default: $DEMO_CLIENT_SECRET, else a word that everybody knows",
    )
    parser.add_argument(
        "--redirect-uri", action="append", help="may be given several times; replaces the defaults"
    )
    parser.add_argument("--post-logout-redirect-uri", action="append", help="likewise")
    parser.add_argument(
        "--sp-metadata",
        action="append",
        metavar="URL",
        help="metadata of a SAML service provider, fetched when it first comes; may be given several times",
    )
    given = parser.parse_args(argv)
    return Settings(
        host=given.host,
        port=given.port,
        base_url=given.base_url,
        client_secret=given.client_secret,
        redirect_uris=tuple(given.redirect_uri or DEFAULT_REDIRECT_URIS),
        post_logout_redirect_uris=tuple(given.post_logout_redirect_uri or DEFAULT_POST_LOGOUT_REDIRECT_URIS),
        service_provider_metadata_urls=tuple(given.sp_metadata or ()),
    )


def main(argv: Sequence[str] | None = None) -> int:
    settings = settings_from(argv)
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    with start(settings) as handle:
        print(f"devidp, the pretend provider, listens on {handle.url}", flush=True)
        told_to_stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
