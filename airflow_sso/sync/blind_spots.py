"""Which rules no directory can follow between sign-ins.

Pure. What must stay true: a rule is only left out here if every fact that it names is read from the
directory, by the very spelling that it uses.
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_sso.role_mapping import Mapping
from airflow_sso.role_mapping.conditions import Test, tests

#: What every sign-in tells anew, and no directory needs to.
_OF_THE_WAY_IN = frozenset({"provider", "protocol"})


def of(
    mapping: Mapping,
    directory: str,
    supplies: frozenset[str],
    names_group: Callable[[str], bool],
    *,
    follows_patterns: bool = False,
) -> list[tuple[int, str]]:
    """Number and sentence of each rule whose answer the last sign-in gives, whatever the directory says.

    :param supplies, names_group, follows_patterns: see :class:`~airflow_sso.directory.snapshot.Reader`.
    """
    found = []
    for rule in mapping.rules:
        if rule.for_machines:
            continue
        whys = (
            _why(test, directory, supplies, names_group)
            for test in tests(rule.condition)
            if not (follows_patterns and test.pattern and test.fact in supplies & {"group"})
        )
        why = "; ".join(dict.fromkeys(filter(None, whys)))
        if why:
            found.append((rule.number, f"{why}; what the last sign-in found stands"))
    return found


def _why(
    test: Test, directory: str, supplies: frozenset[str], names_group: Callable[[str], bool]
) -> str | None:
    if test.fact in _OF_THE_WAY_IN:
        return None
    if test.fact not in supplies:
        return f"the directory of {directory} does not tell {test.fact.replace(':', ' ', 1)}"
    if test.fact != "group":
        return None
    if test.pattern:
        return f"the directory of {directory} does not tell which groups are like {test.pattern.text!r}"
    unknown = [value for value in test.values if not names_group(str(value))]
    return f"the directory of {directory} does not know a group by {unknown[0]!r}" if unknown else None
