"""Findings about a file, as people, editors and the checks of a pull request read them.

``text`` makes links in terminals and editors, ``github`` annotations of a workflow's log, ``sarif`` what
code scanning takes (SARIF 2.1.0). What must stay true: all of them name the same places.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from airflow_sso.yaml_document import Fault

Format = Literal["text", "json", "github", "sarif"]
_RULES = {"fault": "it does not take force with this", "advice": "it is most likely not meant"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault keeps a file from taking force; advice does not."""

    kind: Literal["fault", "advice"]
    fault: Fault

    def __str__(self) -> str:
        return (
            str(self.fault) if self.kind == "fault" else f"{self.fault.where}: warning: {self.fault.sentence}"
        )


def printed(findings: Sequence[Finding], shape: Format) -> str:
    """All of them in one of the shapes."""
    if shape == "github":
        return "\n".join(map(_annotation, findings))
    if shape == "sarif":
        return json.dumps(_sarif(findings), indent=2)
    if shape == "json":
        told: dict[str, list[dict[str, Any]]] = {"faults": [], "warnings": []}
        for one in findings:
            told["faults" if one.kind == "fault" else "warnings"].append(_as_json(one.fault))
        return json.dumps(told, indent=2)
    return "\n".join(map(str, findings))


def _as_json(fault: Fault) -> dict[str, Any]:
    return {"file": fault.file, "line": fault.line, "column": fault.column, "message": fault.sentence}


def _annotation(finding: Finding) -> str:
    """A workflow command; its values are escaped as GitHub's own toolkit does."""
    fault = finding.fault
    level = "error" if finding.kind == "fault" else "warning"
    place = {"file": _relative(fault.file), "line": fault.line, "col": fault.column}
    where = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in place.items() if value)
    return f"::{level} {where}::{_escaped(fault.sentence, '')}"


def _escaped(text: str, more: str) -> str:
    for char in f"%\r\n{more}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _sarif(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "airflow-sso lint",
                        "rules": [
                            {"id": kind, "shortDescription": {"text": text}} for kind, text in _RULES.items()
                        ],
                    }
                },
                "results": list(map(_result, findings)),
            }
        ],
    }


def _result(finding: Finding) -> dict[str, Any]:
    fault = finding.fault
    place: dict[str, Any] = {"artifactLocation": {"uri": _relative(fault.file)}}
    if fault.line:
        place["region"] = {"startLine": fault.line, "startColumn": fault.column or 1}
    return {
        "ruleId": finding.kind,
        "level": "error" if finding.kind == "fault" else "warning",
        "message": {"text": fault.sentence},
        "locations": [{"physicalLocation": place}],
    }


def _relative(file: str) -> str:
    """As seen from here, which is where a pull request's checks run."""
    path = Path(file)
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()
