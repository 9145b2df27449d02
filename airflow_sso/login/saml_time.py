"""Times as SAML writes them (Core, section 1.3.3): xs:dateTime in UTC, and xs:duration."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import isodate

_LONGEST = timedelta(days=36600)
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})")


def moment(written: str) -> datetime:
    """An aware moment. :raises ValueError: when it is not one, or says no zone."""
    match = _MOMENT.fullmatch(written.strip())
    if match is None:
        raise ValueError(f"{written[:40]!r} is not a time in UTC")
    whole, fraction, zone = match.groups()
    # More digits than Python keeps are lawful: Microsoft writes seven (fixture J4).
    text = f"{whole}{(fraction or '.0')[:7]:0<7}{'+00:00' if zone == 'Z' else zone}"
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc)
    except OverflowError:  # the first or the last day of the calendar, in another zone
        raise ValueError(f"{written[:40]!r} is not a time that can be used") from None


def written(at: datetime) -> str:
    """A moment to the second, as we send it."""
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(written: str | None) -> timedelta | None:
    """A length of time. :raises ValueError: when it is not one."""
    if written is None:
        return None
    try:
        read = isodate.parse_duration(written.strip(), as_timedelta_if_possible=True)
        # Months and years differ in length: count from now.
        is_plain = isinstance(read, timedelta)
        length: timedelta = read if is_plain else read.totimedelta(start=datetime.now(timezone.utc))
    except (isodate.ISO8601Error, OverflowError, ValueError):
        raise ValueError(f"{written[:40]!r} is not a duration") from None
    if not timedelta() <= length <= _LONGEST:
        raise ValueError(f"{written[:40]!r} is not a duration that can be used")
    return length
