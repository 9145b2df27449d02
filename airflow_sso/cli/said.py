"""How commands say what a rule did: one sentence a rule, and the same as JSON.

What must stay true: what could not be told is said with the name of what is not known.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

from airflow_sso.role_mapping.explain import Explanation, said, spoken

_MOST_VALUES = 20


def why(one: Explanation) -> str:
    """What a rule did: ``rule 2 (viewers) matches, by group airflow-viewers``."""
    rule = one.rule
    named = f"rule {rule.number} ({rule.label})"
    if one.expired:
        return f"{named} does nothing: it counted until {rule.until}"
    if one.holds is None:
        return f"{named} is open: {' and '.join(map(spoken, one.unknown))} {_is(one)} not known"
    if not one.holds:
        return f"{named} does not match"
    by = ", ".join(one.by[:_MOST_VALUES])
    return f"{named} matches" + (f", by {by}" if by else "")


def does(one: Explanation, lost: Collection[str] = ()) -> str:
    """What follows from it: ``it gives Viewer``.

    :param lost: roles that it names and that nobody gets.
    """
    if not one.counts:
        return ""
    if one.rule.deny:
        return "it refuses" if one.holds else "it would refuse"
    roles = [role for role in one.roles if role not in lost]
    return f"it {'gives' if one.holds else 'would give'} {', '.join(roles) or 'nothing'}"


def source(told_by: str, at: str) -> str:
    """Who told a fact, and when: ``a sign-in through entra, 2027-01-31 08:00 UTC``."""
    who, _, name = told_by.partition(":")
    through = {"sign_in": "a sign-in through", "sync": "the directory of"}.get(who)
    when = datetime.fromisoformat(at).astimezone(timezone.utc)
    return f"{f'{through} {name}' if through and name else told_by}, {when:%Y-%m-%d %H:%M} UTC"


def as_json(one: Explanation) -> dict[str, Any]:
    """A rule, and what became of it."""
    rule = one.rule
    return {
        "rule": rule.number,
        "line": rule.line,
        "label": rule.label,
        "asks": str(rule.condition),
        "deny": rule.deny,
        "roles": list(one.roles),
        "until": rule.until.isoformat() if rule.until else None,
        "matches": one.holds,
        "expired": one.expired,
        "by": [
            {"fact": test.fact, "value": hit.value, "caught": list(hit.captures)}
            for test, hit in sorted(one.hits, key=lambda pair: (pair[0].fact, str(pair[1].value)))
        ],
        "not_known": list(one.unknown),
    }


def values(found: frozenset[str | int | bool] | None) -> str:
    """The values of a fact, or that they are not known."""
    if found is None:
        return "not known"
    if not found:
        return "none"
    ordered = sorted(map(said, found))
    more = f" and {len(ordered) - _MOST_VALUES:,} more" if len(ordered) > _MOST_VALUES else ""
    return ", ".join(ordered[:_MOST_VALUES]) + more


def _is(one: Explanation) -> str:
    return "is" if len(one.unknown) == 1 else "are"
