"""What deciding about one person costs, by rules, patterns and groups.

In one process, without an Airflow: the person is in 1,000 groups, by name or by id, and each figure is the
best of many rounds. Promised: 5,000 rules that name groups whole take less than 1 ms, and each pattern less
than 0.2 ms more.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import date
from typing import Any

from airflow_sso.role_mapping import BUILT_IN_ROLES, Facts, Mapping, decide_by_facts, understand
from airflow_sso.yaml_document import Document

GROUPS = 1000
TODAY = date(2026, 7, 1)
NAMES = [f"corp-application-airflow-{number}" for number in range(GROUPS)]
IDS = [str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in NAMES]
DISTINGUISHED = [f"CN={name},OU=Groups,OU=Berlin,DC=corp,DC=example" for name in NAMES]
#: One kilobyte each, and nothing that the pattern below wants.
LONG = [f"{'ab' * 508}{number:08}" for number in range(GROUPS)]
HOSTILE = "(a|b|ab|ba)*(a*b*)*z"


def best(action: Callable[[], object], rounds: int = 50) -> float:
    """In milliseconds of this process, whatever else the machine does."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        action()
        seconds.append(time.process_time() - began)
    return min(seconds) * 1000


def understood(rules: list[dict[str, Any]]) -> Mapping:
    document = Document("role_mapping.yaml", data={"version": 1, "rules": rules})
    mapping = understand(document, BUILT_IN_ROLES)
    assert mapping is not None, document.faults
    return mapping


def exact(groups: list[str], count: int) -> Mapping:
    """Rules of which one matches."""
    others = [{"group": f"another-{number}", "roles": ["Viewer"]} for number in range(count - 1)]
    return understood([{"group": groups[0], "roles": ["Op"]}, *others])


def with_patterns(groups: list[str], count: int) -> Mapping:
    """One rule that matches, and patterns that do not."""
    patterns = [{"group": f"another-{number}-*", "roles": ["Viewer"]} for number in range(count)]
    return understood([{"group": groups[0], "roles": ["Op"]}, *patterns])


def milliseconds(mapping: Mapping, groups: list[str]) -> float:
    facts: Facts = {"group": frozenset(groups)}
    assert decide_by_facts(facts, mapping, TODAY).roles == {"Op"}
    return best(lambda: decide_by_facts(facts, mapping, TODAY))


def main() -> None:
    kinds = {"names": NAMES, "ids": IDS, "distinguished names": DISTINGUISHED}
    for kind, groups in kinds.items():
        print(f"1,000 groups, {kind}:")
        for count in (10, 500, 5000):
            taken = milliseconds(exact(groups, count), groups)
            print(f"  {count:>5} rules that name a group whole    {taken:8.2f} ms")
        without = milliseconds(exact(groups, 1), groups)
        for count in (1, 10, 100, 490):
            more = milliseconds(with_patterns(groups, count), groups) - without
            print(f"  {count:>5} patterns more                      {more:+8.2f} ms, {more / count:.3f} each")
    plain = understood([{"group": "x*", "roles": ["Op"]}])
    hostile = understood([{"group": {"matches": HOSTILE}, "roles": ["Op"]}])
    for what, mapping in (("a plain pattern", plain), ("one that is meant to stall", hostile)):
        facts: Facts = {"group": frozenset(LONG)}
        taken = best(lambda mapping=mapping, facts=facts: decide_by_facts(facts, mapping, TODAY), 10)
        print(f"1,000 values of 1 kB, {what:<28} {taken:8.2f} ms")
    rules: list[dict[str, Any]] = [{"group": f"g{number}", "roles": ["Op"]} for number in range(5000)]
    print(f"understanding 5,000 rules, once a file           {best(lambda: understood(rules), 3):8.0f} ms")


if __name__ == "__main__":
    main()
