"""The two ports of the demo: which they are, and whether they are free."""

from __future__ import annotations

import os
import socket

_PORTS = {"DEMO_PORT": 8080, "DEMO_IDP_PORT": 8081}


class CannotStart(Exception):
    """Something outside the demo is in the way; the message says what to do."""


def chosen_and_free() -> tuple[int, int]:
    """Airflow's and the identity provider's.

    :raises CannotStart: naming the variable to change.
    """
    airflow, provider = (_from_environment(name, default) for name, default in _PORTS.items())
    if airflow == provider:
        raise CannotStart(f"DEMO_PORT and DEMO_IDP_PORT are both {airflow}.")
    _must_be_free("DEMO_PORT", airflow)
    _must_be_free("DEMO_IDP_PORT", provider)
    return airflow, provider


def _from_environment(variable: str, default: int) -> int:
    given = os.environ.get(variable) or str(default)
    if not given.isdecimal() or not 1 <= int(given) <= 65535:
        raise CannotStart(f"{variable} is '{given}', which is no port number.")
    return int(given)


def _must_be_free(variable: str, port: int) -> None:
    """Also on IPv6: browsers may take `localhost` for ::1, and would then meet somebody else."""
    other = port + 10 if port < 65000 else port - 10
    taken = CannotStart(
        f"port {port} is in use. Stop what uses it, or choose another: make demo {variable}={other}"
    )
    for address in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            continue
        raise taken
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise CannotStart(f"this user may not use port {port}. Choose another: {variable}") from None
        except OSError:
            raise taken from None
