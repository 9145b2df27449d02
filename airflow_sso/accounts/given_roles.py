"""Which roles of a person we gave, by which rules and since when: the text in ``sso_account.given_roles``.

``{"Op": {"rules": ["airflow_prod_op"], "since": "2026-11-21T10:00:00+00:00"}}``; an older version wrote a
list of names. What must stay true: both are read, and what is not known of a role is not made up for it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

#: What :meth:`RoleDecision.given_by <airflow_sso.role_mapping.RoleDecision.given_by>` says: role, and labels.
GivenBy = Mapping[str, Collection[str]]

#: MySQL's TEXT holds 65,535 bytes, what is written here is ASCII, and a record says more beside it.
_LONGEST = 40_000
_FEW = 3


@dataclass(frozen=True, slots=True)
class GivenRole:
    """By which rules a role was given, by their labels, and since when without a break.

    No rules and ``since=None``: an older version gave it, and wrote down neither.
    """

    rules: tuple[str, ...] = ()
    since: datetime | None = None


def read(text: str) -> Mapping[str, GivenRole]:
    """What stands in the column, by role, in the order of their names."""
    kept = json.loads(text)
    if isinstance(kept, list):
        return MappingProxyType({role: GivenRole() for role in sorted(kept)})
    return MappingProxyType({role: _given(kept[role]) for role in sorted(kept)})


@functools.lru_cache(maxsize=1000)
def names(text: str) -> frozenset[str]:
    """The roles alone, for whoever reads a hundred thousand accounts: they share a few hundred sets."""
    return _shared(frozenset(json.loads(text)))


def written(before: Mapping[str, GivenRole], given_by: GivenBy, at: datetime) -> str:
    """The text for the roles that the mapping gives now, and for no others.

    :param before: what was given until now; a role that is among it keeps the time since when.
    :param given_by: each role, and the labels of the rules that give it; none where those of before stand.
    :param at: since when the others are given.
    """
    since = {role: before[role].since if role in before else at for role in given_by}
    fitting = within(given_by)
    kept = {
        role: {
            "rules": list(fitting[role] or (before[role].rules if role in before else ())),
            "since": moment.isoformat(timespec="seconds") if moment else None,
        }
        for role, moment in sorted(since.items())
    }
    return json.dumps(kept)


def within(given_by: GivenBy) -> dict[str, list[str]]:
    """The labels as a column of text can keep them: all of them, or the first few of each role, or none.

    A person may be in a thousand groups, each with a rule that gives the same role.
    """
    for most in (None, _FEW):
        some = {role: list(labels)[:most] for role, labels in sorted(given_by.items())}
        if len(json.dumps(some)) + 60 * len(some) <= _LONGEST:  # a time and braces for each
            return some
    return {role: [] for role in sorted(given_by)}


def mark_of(quoted: Any, *, is_list: bool = False) -> Any:
    """What stands in a text that gives a role, and in no other; for statements that look for it there.

    A label is never taken for it: in a label the quotes would be escaped.

    :param quoted: the role's name as JSON writes it: a text, or an expression of SQLAlchemy's.
    :param is_list: for the texts of an older version.
    """
    return quoted if is_list else quoted + ": {"


def _given(kept: Mapping[str, Any]) -> GivenRole:
    since = kept["since"]
    return GivenRole(tuple(kept["rules"]), datetime.fromisoformat(since) if since else None)


@functools.lru_cache(maxsize=1000)
def _shared(roles: frozenset[str]) -> frozenset[str]:
    """One object for all who have the same roles; their texts differ by the times in them."""
    return roles
