"""``mapping show`` and ``mapping activate``: which role mapping is in force, and putting this file there.

They need Airflow's database and no web application. What must stay true: looking changes nothing, and what is
printed as in force is so in every replica by then.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from airflow_sso import in_force
from airflow_sso.cli import operator
from airflow_sso.cli.outcome import FINDINGS, OK, WRONG_USE
from airflow_sso.config import LoadedConfig
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.in_force import Generation, MappingInForce, NotAccepted


def activate(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Put the file in force, also one that another has taken the place of."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    path = loaded.settings.role_mapping_file
    mapping = in_force.of(loaded.settings)
    try:
        changed = mapping.activate(operator.name())
        mapping.look()
    except NotAccepted as refused:
        faults = [str(fault) for fault in refused.faults]
        if options.json:
            print(json.dumps({"changed": False, "faults": faults}, indent=2))
        else:
            print(*faults, f"{path} was not put in force; nothing has changed.", sep="\n", file=sys.stderr)
        return WRONG_USE
    except ConfigurationFaulty as fault:  # it is in force, by a newer version of ours than this one
        print(fault.detail, file=sys.stderr)
        return WRONG_USE
    now = changed[0] if changed else mapping.generation
    assert now is not None  # noqa: S101 (it was put there, or was there)
    before = changed[1] if changed else None
    if options.json:
        instead_of = {"instead_of": before.number if before else None}
        print(json.dumps({"changed": bool(changed), **_as_json(mapping, now), **instead_of}, indent=2))
    elif changed is None:
        print(f"{path} is in force already, as generation {now.number} ({_in_brief(mapping, now)}).")
    else:
        print(f"Generation {now.number} is in force now ({_in_brief(mapping, now)}){_instead_of(before)}.")
    return OK


def show(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Say which generation is in force, and what the file on this machine is beside it."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    path = loaded.settings.role_mapping_file
    mapping = in_force.of(loaded.settings)
    shut = None
    try:
        mapping.look()
    except ConfigurationFaulty as fault:
        shut = fault.detail
    now = mapping.generation
    code = FINDINGS if mapping.why_not_taken or shut else OK
    if options.json:
        told: dict[str, Any] = _as_json(mapping, now) if now else {"generation": None}
        told |= {
            "not_understood": shut if now else None,
            "file": {
                "path": str(path),
                "is_in_force": now is not None and not mapping.waits and not mapping.why_not_taken,
                "waits": mapping.waits,
                "why_not_taken": mapping.why_not_taken,
                "faults": [str(fault) for fault in mapping.faults],
            },
        }
        print(json.dumps(told, indent=2))
        return code
    if now is None:
        print("No role mapping was ever in force.")
    else:
        print(f"Generation {now.number} is in force ({_in_brief(mapping, now)}), {_since(now)}.")
        if shut:
            print(shut)
    print(_about_the_file(mapping, str(path)))
    for one in mapping.faults:
        print(f"  {one}")
    return code


def _about_the_file(mapping: MappingInForce, path: str) -> str:
    if mapping.why_not_taken:
        return f"{path} is not it: {mapping.why_not_taken}."
    if mapping.waits:
        return f"{path} is a new version without a fault: a web server or a sync that reads it accepts it."
    return f"{path} is that one."


def _in_brief(mapping: MappingInForce, now: Generation) -> str:
    if mapping.mapping is None:
        return f"sha {now.short_hash}"
    count = len(mapping.mapping.rules)
    return f"{count} {'rule' if count == 1 else 'rules'}, sha {now.short_hash}"


def _since(now: Generation) -> str:
    who = "the file" if now.accepted_by == in_force.FILE else now.accepted_by
    return f"since {now.accepted_at:%Y-%m-%d %H:%M:%S} UTC, by {who}"


def _instead_of(before: Generation | None) -> str:
    if before is None:
        return ", the first one"
    return f", in place of generation {before.number}. Replicas that hold another file follow it all the same"


def _as_json(mapping: MappingInForce, now: Generation) -> dict[str, Any]:
    return {
        "generation": now.number,
        "hash": now.hash,
        "rules": len(mapping.mapping.rules) if mapping.mapping else None,
        "accepted_at": now.accepted_at.isoformat(),
        "accepted_by": now.accepted_by,
    }
