"""Which rules no directory can follow between sign-ins.

Pure. What must stay true: a rule is only left out here if every fact that it names is read from the
directory, by the very spelling that it uses.
"""

from __future__ import annotations

from collections.abc import Callable

from airflow_sso.role_mapping import Mapping


def of(
    mapping: Mapping, directory: str, supplies: frozenset[str], names_group: Callable[[str], bool]
) -> list[str]:
    """A sentence for each rule whose answer the last sign-in gives, whatever the directory says."""
    found = []
    for rule in mapping.rules:
        why = _why(rule.key, rule.value, directory, supplies, names_group)
        if why:
            line = f" (line {rule.line})" if rule.line else ""
            found.append(f"rule {rule.number}{line}: {why}; what the last sign-in found stands")
    return found


def _why(
    key: str,
    value: object,
    directory: str,
    supplies: frozenset[str],
    names_group: Callable[[str], bool],
) -> str | None:
    if key not in supplies:
        return f"the directory of {directory} does not tell {key.replace(':', ' ')}"
    if key == "group" and not names_group(str(value)):
        return f"the directory of {directory} does not know a group by {value!r}"
    return None
