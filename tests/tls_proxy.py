"""What stands before Airflow in production: a reverse proxy that speaks TLS, for as many hosts as wanted.

It is started first and told later where its server is, because servers want to know their own
address. What must stay true: it forwards one request as one request, keeps ``Host``, and what a
client wrote into ``X-Forwarded-*`` never arrives.
"""

from __future__ import annotations

import http.client
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.certificates import Certificate

#: RFC 9110, section 7.6.1, and what is written anew.
_OF_ONE_CONNECTION = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)


class TlsProxy:
    """``https`` on a port of its own, in threads of this process, until the ``with`` block ends."""

    def __init__(self, certificate: Certificate) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate_file, certificate.key_file)
        self._server = Server(("127.0.0.1", 0), Handler)
        # Hands are shaken in each connection's own thread, else a silent client would keep out the others.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def url(self, host: str) -> str:
        """Where `host`, which leads to this machine, is reached."""
        return f"https://{host}:{self._server.server_port}"

    def forward_to(self, port: int) -> None:
        """Name the server behind it, which is on this machine."""
        self._server.behind = port

    def __enter__(self) -> TlsProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server(ThreadingHTTPServer):
    """What listens: each connection in a thread, forwarded to ``behind``."""

    daemon_threads = True
    block_on_close = False
    scheme = "https"
    behind = 0

    def choose(self, path: str) -> int:
        """Which port the next request, for this path, goes to."""
        del path
        return self.behind

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser opens connections in advance, and closes them as it likes.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Server

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = http.client.HTTPConnection("127.0.0.1", self.server.choose(self.path), timeout=60)
        try:
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers_for_the_server(len(body)):
                behind.putheader(name, value)
            behind.endheaders(body or None)
            answer = behind.getresponse()
            self._answer(answer, answer.read())
        finally:
            behind.close()

    def _headers_for_the_server(self, length: int) -> list[tuple[str, str]]:
        kept = [
            (name, value)
            for name, value in self.headers.items()
            if name.lower() not in _OF_ONE_CONNECTION and not name.lower().startswith("x-forwarded")
        ]
        host = self.headers.get("Host", "")
        forwarded = {"For": self.client_address[0], "Proto": self.server.scheme, "Host": host}
        written = [(f"X-Forwarded-{name}", value) for name, value in forwarded.items()]
        return [*kept, *written, *([("Content-Length", str(length))] if length else [])]

    def _answer(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_DELETE = do_GET = do_PATCH = do_POST = do_PUT = _pass_on  # noqa: N815 (the base class's names)

    def log_message(self, *_: Any) -> None:
        """Nothing: request lines hold codes and handles."""
