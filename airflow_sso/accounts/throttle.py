"""How often a client may type a wrong password: counted by its address, in every process alike.

Never by account, so that nobody can lock the rescuer out by guessing. What must stay true: a try is
counted before its password is looked at, so that many at once are no more tries than one after another.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from datetime import datetime, timedelta

from sqlalchemy import and_, case, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ColumnElement, Update

from airflow_sso import database, models
from airflow_sso.errors import TooManyTries
from airflow_sso.models import throttles

_FREE = 3
_FORGOTTEN_AFTER = timedelta(minutes=15)
#: After the third wrong try, the fourth, ... and after every further one.
_WAITS = tuple(timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 32, 60))


def count_try(address: str) -> None:
    """Count a try, as if it were a wrong one; :func:`forget` takes it back.

    :raises TooManyTries: when the last one was too short a time ago; this one is not counted then.
    """
    now, key = models.now(), _key(address)
    with database.transaction() as connection:
        # One statement that asks and counts: of two at once the second sees what the first has written.
        if connection.execute(_counted(key, now)).rowcount == 1:
            return
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(throttles).values(address_hash=key, failures=1, last_failure_at=now)
                )
            return
        except IntegrityError:  # it has a row: it must wait, or somebody else has just made the row
            if connection.execute(_counted(key, now)).rowcount == 1:
                return
        query = select(throttles.c.failures, throttles.c.last_failure_at).where(
            throttles.c.address_hash == key
        )
        row = connection.execute(query).first()
    wait = (row.last_failure_at + _wait(row.failures) - now).total_seconds() if row else 0.0
    raise TooManyTries("wrong tries from this address", seconds=max(2, math.ceil(wait)))


def forget(address: str) -> None:
    """After a success nothing is held against an address."""
    with database.transaction() as connection:
        connection.execute(delete(throttles).where(throttles.c.address_hash == _key(address)))


def _counted(key: str, now: datetime) -> Update:
    """Count one more try, if the last one was long enough ago."""
    may_try: list[ColumnElement[bool]] = [throttles.c.failures < _FREE]
    for number, wait in enumerate(_WAITS, _FREE):
        last = number == _FREE + len(_WAITS) - 1
        so_many = throttles.c.failures >= number if last else throttles.c.failures == number
        may_try.append(and_(so_many, throttles.c.last_failure_at <= now - wait))
    long_ago = throttles.c.last_failure_at < now - _FORGOTTEN_AFTER
    return (
        update(throttles)
        .where(throttles.c.address_hash == key, or_(*may_try))
        .values(failures=case((long_ago, 1), else_=throttles.c.failures + 1), last_failure_at=now)
    )


def _wait(failures: int) -> timedelta:
    return _WAITS[min(failures - _FREE, len(_WAITS) - 1)] if failures >= _FREE else timedelta(0)


def _key(address: str) -> str:
    """Whoever has one address of IPv6 has all of its /64."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        whose = address
    else:
        mapped = getattr(ip, "ipv4_mapped", None)
        if ip.version == 6 and mapped is None:
            whose = str(ipaddress.ip_network((ip, 64), strict=False))
        else:
            whose = str(mapped or ip)
    return hashlib.sha256(whose.encode()).hexdigest()
