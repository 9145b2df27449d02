"""``test``: does the role mapping do what is written beside it that it should?

For a pull request, and for whoever edits the file. What must stay true: it only reads, and needs no database.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_sso import models, yaml_document
from airflow_sso.cli import mappings
from airflow_sso.cli.mappings import MappingFaulty
from airflow_sso.cli.outcome import FINDINGS, OK, WRONG_USE
from airflow_sso.cli.said import why
from airflow_sso.cli.table import listed
from airflow_sso.config import LoadedConfig
from airflow_sso.plain_text import plain
from airflow_sso.role_mapping import Mapping, expectations
from airflow_sso.role_mapping.expectations import Judged
from airflow_sso.yaml_document import Document


def options(command: argparse.ArgumentParser) -> None:
    """What can be written behind ``airflow-sso test``."""
    command.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="the expectations (default: role_mapping.test.yaml beside role_mapping.yaml)",
    )
    command.add_argument("--mapping", metavar="FILE", help="try this mapping instead of the one in force")


def test(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print which expectations do not hold."""
    if loaded.settings is None and not options.mapping:
        print(*loaded.faults, sep="\n", file=sys.stderr)
        print("Mend these first, or name a mapping: --mapping FILE.", file=sys.stderr)
        return WRONG_USE
    tried = Path(options.mapping) if options.mapping else None
    document = yaml_document.read(Path(options.file) if options.file else _beside(tried, loaded))
    expected = expectations.read(document)
    faults = list(document.faults)
    mapping: Mapping | None = None
    try:
        mapping = _mapping(tried, loaded)
    except MappingFaulty as faulty:
        faults += faulty.faults
    if expected is None or mapping is None:
        print(*faults, sep="\n", file=sys.stderr)
        return WRONG_USE
    providers = loaded.settings.providers if loaded.settings else {}
    protocols = {name: one.protocol for name, one in providers.items()}
    judged = expectations.judge(expected, document, mapping, models.now().date(), protocols)
    failed = [one for one in judged if not one.holds]
    if options.json:
        print(json.dumps(_as_json(judged, document), indent=2))
    else:
        print(*map(plain, _as_text(judged, failed, document)), sep="\n")
    return FINDINGS if failed else OK


def _beside(tried: Path | None, loaded: LoadedConfig) -> Path:
    """The file of expectations that goes with a mapping."""
    assert tried or loaded.settings  # noqa: S101 (test has looked)
    mapping = tried or loaded.settings.role_mapping_file  # type: ignore[union-attr]
    return mapping.with_suffix(".test.yaml")


def _mapping(tried: Path | None, loaded: LoadedConfig) -> Mapping:
    there = mappings.roles_there(otherwise="whether roles exist is not checked")
    if tried:
        return mappings.of_file(tried, there)
    assert loaded.settings is not None  # noqa: S101 (test has looked)
    return mappings.in_force_now(loaded.settings).mapping


def _as_text(judged: list[Judged], failed: list[Judged], document: Document) -> Iterator[str]:
    for one in failed:
        yield f"{document.file}:{one.line}: {one.expectation.name}"
        yield f"  expected: {_expected(one)}"
        yield f"  came: {_came(one)}"
        reasons = [why(rule) for rule in one.why] or ["no rule matches"]
        yield from (f"  because {reason}" for reason in reasons)
        yield from (f"  not given: {lost.role}, because {lost.why}" for lost in one.decision.not_given)
    number, all_of_them = len(failed), len(judged)
    expectations_ = f"{all_of_them} expectation{'' if all_of_them == 1 else 's'}"
    if number:
        yield f"{number} of {expectations_} {'fails' if number == 1 else 'fail'}."
    else:
        yield f"{expectations_} {'holds' if all_of_them == 1 else 'hold'}."


def _expected(one: Judged) -> str:
    if one.expectation.refused:
        return f"refused with {one.expectation.refused}"
    return f"exactly {listed(one.expectation.roles or ())}"


def _came(one: Judged) -> str:
    if one.decision.refused_because:
        return f"refused with {one.decision.refused_because}"
    return listed(one.decision.roles)


def _as_json(judged: list[Judged], document: Document) -> dict[str, Any]:
    return {
        "file": document.file,
        "failed": sum(not one.holds for one in judged),
        "expectations": [
            {
                "name": one.expectation.name,
                "line": one.line,
                "holds": one.holds,
                "expected": {
                    "roles": sorted(one.expectation.roles) if one.expectation.roles else None,
                    "refused": one.expectation.refused,
                },
                "came": {
                    "roles": sorted(one.decision.roles),
                    "refused": one.decision.refused_because,
                },
                "because": [why(rule) for rule in one.why],
            }
            for one in judged
        ],
    }
