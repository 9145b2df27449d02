"""``db upgrade``: our tables in Airflow's database, made or migrated; on Airflow 2.11 nothing else does it.

It needs neither ``sso.yaml`` nor ``webserver_config.py``, so that the job that migrates the database can run
it before either is there. What must stay true: it can be run again, and by several at once.
"""

from __future__ import annotations

import argparse
import json
import sys

from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import database, migrating
from airflow_sso.cli.outcome import FINDINGS, OK, UNREACHABLE, WRONG_USE
from airflow_sso.errors import TablesMissing
from airflow_sso.migrating import RevisionUnknown, State


def upgrade(options: argparse.Namespace) -> int:
    """Make or migrate the tables, or with ``--check`` say whether that is to be done."""
    try:
        found = migrating.state() if options.check else migrating.upgrade()
    except RevisionUnknown as cause:
        print(f"Nothing was changed: {cause}.", file=sys.stderr)
        return WRONG_USE
    except (SQLAlchemyError, TablesMissing, TimeoutError) as cause:
        print(
            f"Airflow's database cannot be used: {database.told_by(cause)}. It is the one of [database] "
            "sql_alchemy_conn.",
            file=sys.stderr,
        )
        return UNREACHABLE
    if options.json:
        print(json.dumps(_as_json(found, checked=options.check), indent=2))
    else:
        print(_to_do(found) if options.check else _done(found))
    return FINDINGS if options.check and not found.is_done else OK


def _done(found: State) -> str:
    match found.kind:
        case "make":
            return f"The tables were made, at revision {found.newest}."
        case "complete":
            return f"Tables were there without a revision; they are complete now, at {found.newest}."
        case "migrate":
            return f"The tables were migrated from revision {found.revision} to {found.newest}."
    return f"{_as_it_is(found)} Nothing was done."


def _to_do(found: State) -> str:
    match found.kind:
        case "make":
            return f"There are no tables yet. Run {database.MIGRATE_COMMAND}."
        case "complete":
            return f"There are tables without a revision. Run {database.MIGRATE_COMMAND}."
        case "migrate":
            return (
                f"The tables are at revision {found.revision}, and this version needs {found.newest}. "
                f"Run {database.MIGRATE_COMMAND}."
            )
    return _as_it_is(found)


def _as_it_is(found: State) -> str:
    if found.kind == "newer":
        return (
            f"The tables are at revision {found.revision}, which a newer version of airflow-sso made; "
            f"this one knows them up to {found.newest}."
        )
    return f"The tables are at revision {found.revision}, the newest."


def _as_json(found: State, *, checked: bool) -> dict[str, object]:
    after = found.revision if checked or found.kind == "newer" else found.newest
    changed = not checked and not found.is_done
    return {
        "from": found.revision,
        "to": after,
        "newest": found.newest,
        "what": found.kind,
        "changed": changed,
        "to_do": checked and not found.is_done,
    }
