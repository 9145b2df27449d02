"""What the page *SSO status* says of the role mapping: which one is in force, and what the file is.

What must stay true: looking accepts nothing, and what is said of the file is so on the server that answers;
another one may hold another file, and decides with the same generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.in_force import FILE, MappingInForce

_MOST_FAULTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingShown:
    """``number`` and what follows it are ``None`` where none was ever in force.

    ``trouble``
        why nobody can sign in, where that is so.
    ``file``
        what the file on this server is: ``in force``, ``waiting`` until it is accepted, or ``not taken``.
    """

    number: int | None = None
    short_hash: str | None = None
    rules: int | None = None
    since: datetime | None = None
    by: str | None = None
    trouble: str | None = None
    file: Literal["in force", "waiting", "not taken"] = "in force"
    why_not_taken: str | None = None
    faults: tuple[str, ...] = ()
    more_faults: int = 0


def gather(mapping: MappingInForce | None) -> MappingShown | None:
    """What is to be shown; ``None`` where the configuration does not say which file."""
    if mapping is None:
        return None
    trouble = None
    try:
        mapping.look()
    except ConfigurationFaulty as fault:
        trouble = fault.detail if mapping.generation else "None was ever in force: nobody can sign in"
    now = mapping.generation
    return MappingShown(
        number=now.number if now else None,
        short_hash=now.short_hash if now else None,
        rules=len(mapping.mapping.rules) if mapping.mapping else None,
        since=now.accepted_at if now else None,
        by=now.accepted_by if now and now.accepted_by != FILE else None,
        trouble=trouble,
        file="not taken" if mapping.why_not_taken else "waiting" if mapping.waits else "in force",
        why_not_taken=mapping.why_not_taken,
        faults=tuple(str(fault) for fault in mapping.faults[:_MOST_FAULTS]),
        more_faults=max(0, len(mapping.faults) - _MOST_FAULTS),
    )


def changed(detail: Mapping[str, Any]) -> str:
    """A row of the record, in words."""
    place = f" in place of {detail['instead_of']}" if detail.get("instead_of") else ""
    who = "from the file" if detail.get("by") == FILE else f"by {detail.get('by')}"
    return f"Generation {detail.get('generation')}{place}, {detail.get('rules')} rules, {who}"
