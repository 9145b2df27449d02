"""One at a time, everywhere: a row of the metadata database that only one process holds.

Its time is the database's own, so replicas whose clocks differ agree. What must stay true: every
transaction that writes for the holder begins with :meth:`Lease.require`, so that one who was stopped, and
whose turn has passed to another, writes nothing when it goes on.
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from airflow_sso import airflow_compat, database
from airflow_sso.models import leases

#: How long a holder may be silent. Longer than any one question to a directory may take.
LASTS = 120  # seconds


class _Seconds(GenericFunction[int]):
    """Seconds since 1970 by the database's clock, at the moment of the statement."""

    type = Integer()
    name = "sso_seconds"
    inherit_cache = True


@compiles(_Seconds)
def _in_general(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()) AS INTEGER)"


@compiles(_Seconds, "sqlite")
def _on_sqlite(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "CAST(STRFTIME('%s', 'now') AS INTEGER)"


@compiles(_Seconds, "mysql")
def _on_mysql(_element: Any, _compiler: Any, **_options: Any) -> str:
    return "UNIX_TIMESTAMP()"


class LeaseLost(Exception):
    """Somebody else holds it now; whatever was begun goes no further."""


class LeaseTaken(Exception):
    """Somebody else holds it; ``holder`` says who, ``seconds`` for how long at most."""

    def __init__(self, holder: str, seconds: int) -> None:
        super().__init__(f"{holder} is at it, for {seconds} seconds at most")
        self.holder = holder
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Lease:
    """That we hold it. ``fence`` rises with each holder."""

    name: str
    holder: str
    fence: int
    lasts: int = LASTS

    def require(self, connection: Connection) -> None:
        """Hold on to it until this transaction ends, and a while longer.

        :raises LeaseLost: when it is ours no more, so the transaction must not go on.
        """
        mine = (leases.c.name == self.name, leases.c.fence == self.fence)
        held = connection.execute(update(leases).where(*mine).values(expires_at=_Seconds() + self.lasts))
        if held.rowcount != 1:
            raise LeaseLost(f"{self.holder}: somebody else took over after {self.fence}")

    def renew(self) -> None:
        """Say that we are still at it. :raises LeaseLost: likewise."""
        with database.transaction() as connection:
            self.require(connection)

    def give_back(self) -> None:
        """Let the next one take it at once; nothing happens if it is ours no more."""
        with database.transaction() as connection:
            mine = (leases.c.name == self.name, leases.c.fence == self.fence)
            connection.execute(update(leases).where(*mine).values(expires_at=_Seconds() - 1))


def take(name: str, *, who: str = "", lasts: int = LASTS) -> Lease:
    """Become the holder.

    :param who: what kind of process asks, for whoever has to wait.
    :raises LeaseTaken: when somebody else is.
    """
    holder = f"{who or 'airflow-sso'} on {socket.gethostname()}"[:90] + f" {secrets.token_hex(3)}"
    with database.transaction() as connection:
        _make_row(connection, name)
        free = (leases.c.name == name, leases.c.expires_at < _Seconds())
        values = {"holder": holder, "fence": leases.c.fence + 1, "expires_at": _Seconds() + lasts}
        got = connection.execute(update(leases).where(*free).values(**values)).rowcount == 1
        row = connection.execute(
            select(leases.c.holder, leases.c.fence, (leases.c.expires_at - _Seconds()).label("left")).where(
                leases.c.name == name
            )
        ).one()
    if not got:
        raise LeaseTaken(row.holder, max(int(row.left), 0))
    return Lease(name, holder, row.fence, lasts)


def holder_of(name: str) -> str | None:
    """Who holds it now."""
    query = select(leases.c.holder).where(leases.c.name == name, leases.c.expires_at >= _Seconds())
    with airflow_compat.engine().connect() as connection:
        holder: str | None = connection.scalar(query)
    return holder


def _make_row(connection: Connection, name: str) -> None:
    if connection.scalar(select(leases.c.fence).where(leases.c.name == name)) is not None:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(leases).values(name=name, holder="", fence=0, expires_at=0))
    except IntegrityError:  # somebody else has just made it
        return
