"""Who runs a command: what the audit is told of them."""

from __future__ import annotations

import getpass


def name() -> str:
    """The name of the system's user, as far as it is known."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user number may have no name
        return "an operator"
