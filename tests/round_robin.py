"""What stands before several replicas in production: a proxy that sends each request to the next one.

What must stay true: they take turns strictly, whoever asks, so that nothing is remembered for a browser;
and a test may say whose turn it is.
"""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

from tests.tls_proxy import Handler, Server


class RoundRobin:
    """``http`` on a port of its own, in threads of this process, until the ``with`` block ends."""

    def __init__(self) -> None:
        self._server = _Turns(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://localhost:{self._server.server_port}"

    def forward_to(self, *ports: int) -> None:
        """Name the servers behind it, which are on this machine; the first one is next."""
        self._server.take_turns(ports)

    def next_goes_to(self, replica: int) -> None:
        """The next request goes to this one of them, and those after it in turn."""
        self._server.turn = replica

    def served(self, path: str = "") -> list[int]:
        """Which replicas got the requests for paths that begin so, in their order since :meth:`forget`."""
        return [replica for asked, replica in self._server.served if asked.startswith(path)]

    def forget(self) -> None:
        self._server.served.clear()

    def __enter__(self) -> RoundRobin:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Turns(Server):
    scheme = "http"
    request_queue_size = 200
    ports: tuple[int, ...] = ()
    turn = 0

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._choosing = threading.Lock()
        self.served: list[tuple[str, int]] = []

    def take_turns(self, ports: tuple[int, ...]) -> None:
        with self._choosing:
            self.ports, self.turn = ports, 0

    def choose(self, path: str) -> int:
        with self._choosing:
            replica = self.turn % len(self.ports)
            self.turn = replica + 1
            self.served.append((urlsplit(path).path, replica))
            return self.ports[replica]
