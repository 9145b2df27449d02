"""What nobody was asked about yet, of people whose facts were found out under another mapping.

Pure. A directory is asked for the groups that the mapping of the day names, and for no others. What must stay
true: a group that nobody was asked about is not taken for one that somebody is not in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from airflow_sso.role_mapping import Facts, comparable
from airflow_sso.role_mapping import Mapping as RoleMapping
from airflow_sso.role_mapping.values import Value

#: Whether a directory knows a group by what a rule writes.
NamesGroup = Callable[[str], bool]


def completed(facts: Facts, provider: str, protocols: Mapping[str, str]) -> Facts:
    """Facts, and the way in that an account has, in case no mapping asked for it yet."""
    way_in: dict[str, frozenset[Value]] = {"provider": frozenset({provider})}
    if provider in protocols:
        way_in["protocol"] = frozenset({protocols[provider]})
    return {**way_in, **facts}


def names_all(_value: str) -> bool:
    """For a directory of which nothing is known: then nobody was asked about what is new."""
    return True


class Untold:
    """Which groups of a mapping nobody told about, of people whose directory answered for another one.

    A token's list counts for what the directory does not know by its spelling, and it tells all or nothing: a
    group of such a spelling among those that a person has shows that it told.
    """

    def __init__(self, old: RoleMapping, new: RoleMapping, names_group: NamesGroup) -> None:
        asked = set(map(comparable, old.group_values))
        added = {value for value in new.group_values if comparable(value) not in asked}
        self._names_group = functools.cache(names_group)
        self._by_directory = frozenset(value for value in added if names_group(value))
        self._by_anybody = frozenset(added) | (new.group_patterns - old.group_patterns)

    def of(self, groups: frozenset[Value] | None) -> frozenset[str]:
        """Of somebody with these groups."""
        told = any(not self._names_group(one) for one in groups or () if isinstance(one, str))
        return self._by_directory if told else self._by_anybody
