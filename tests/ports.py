"""Ports of this machine for servers that are started later.

What must stay true: no two of them are given the same one, also where several processes share the tests.
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A port for a server that is started later: nobody listens on it, and nobody is given it meanwhile.

    It is below those that systems hand out by themselves, and of processes that share the tests
    (pytest-xdist) each has its own.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 20_000 + secrets.randbelow(12_000 // processes) * processes + number
        with socket.socket() as probe, suppress(OSError):
            # As servers do: a port whose last connection has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
