"""``doctor``: everything that can be wrong, each with its mend.

A check is a row of the table below. What must stay true: one that fails itself hides no other; what was not
looked at is said; and looking changes nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, config_location
from airflow_sso.cli import doctor_database, doctor_providers, doctor_written, webserver_config
from airflow_sso.cli.doctor_case import Case, Check, Finding, Level
from airflow_sso.cli.outcome import FINDINGS, OK, WRONG_USE
from airflow_sso.config_location import LocationUnclear
from airflow_sso.errors import TablesMissing
from airflow_sso.plain_text import plain

#: In the order in which they are best mended.
CHECKS = (
    Check("libraries", doctor_written.libraries),
    Check("configuration", doctor_written.configuration),
    Check("security manager", doctor_written.security_manager),
    Check("left over", doctor_written.leftovers),
    Check("auth manager", doctor_written.auth_manager),
    Check("other line", doctor_written.other_line),
    Check("address", doctor_written.addresses, "settings"),
    Check("proxy", doctor_written.proxy, "settings"),
    Check("secret keys", doctor_written.airflows_secrets),
    Check("fernet key", doctor_written.fernet_key),
    Check("not signed in", doctor_written.public_role),
    Check("weakened", doctor_written.weakened),
    Check("mounts", doctor_written.mounts, "settings"),
    Check("certificates", doctor_providers.our_certificates, "settings"),
    Check("moving to 3", doctor_written.moving, "settings"),
    Check("tables", doctor_database.tables),
    Check("role mapping", doctor_database.mapping, "both"),
    Check("emergency", doctor_database.emergency, "database"),
    Check("accounts", doctor_database.strangers, "both"),
    Check("providers", doctor_providers.providers, "network"),
    Check("directory", doctor_providers.directory, "network"),
)
_SHOWN: dict[Level, str] = {
    "ok": "ok",
    "advice": "advice",
    "fault": "FAULT",
    "wrong": "WRONG",
    "skipped": "skipped",
}
_NEVER_SHOWN = "the line is in the file; its words could hold a secret"


class _Looked(NamedTuple):
    check: str
    finding: Finding


def doctor(options: argparse.Namespace) -> int:
    """Look at everything, and print what was found."""
    # What is told in the log at start is among the findings.
    logging.getLogger("airflow_sso").setLevel(logging.CRITICAL)
    case = _case(options.config)
    looked = list(_look(case, offline=options.offline))
    code = _code([one.finding for one in looked])
    if options.json:
        found = [
            {"check": one.check, **dict(zip(("level", "what", "mend"), _parts(one), strict=True))}
            for one in looked
        ]
        print(json.dumps({"exit_code": code, "findings": found}, indent=2))
        return code
    width = max(len(check.name) for check in CHECKS)
    for one in looked:
        _level, what, mend = _parts(one)
        print(f"{_SHOWN[one.finding.level]:<7}  {one.check:<{width}}  {plain(what)}")
        if mend:
            print(f"{'':<7}  {'':<{width}}  mend: {plain(mend)}")
    print(_summary([one.finding for one in looked]))
    return code


def _parts(one: _Looked) -> tuple[str, str, str]:
    return one.finding.level, one.finding.what, one.finding.mend


def _code(findings: Sequence[Finding]) -> int:
    levels = {one.level for one in findings}
    if "wrong" in levels:
        return WRONG_USE
    return FINDINGS if "fault" in levels else OK


def _summary(findings: Sequence[Finding]) -> str:
    to_mend = sum(one.level in ("wrong", "fault") for one in findings)
    hints = sum(one.level == "advice" for one in findings)
    more = f", and {hints} that could be better" if hints else ""
    if to_mend == 0:
        return f"Nothing is in the way{more}."
    return f"{to_mend} to mend{more}."


def _look(case: Case, *, offline: bool) -> Iterator[_Looked]:
    """Every row of the table; what a row cannot do without decides whether it is asked."""
    has_tables = True
    for check in CHECKS:
        why_not = _why_not(check, case, offline=offline, has_tables=has_tables)
        if why_not:
            yield _Looked(check.name, Finding("skipped", f"not looked at: {why_not}"))
            continue
        found = list(_findings_of(check, case))
        if check.look is doctor_database.tables:
            has_tables = not any(one.level == "fault" for one in found)
        for finding in found:
            yield _Looked(check.name, finding)


def _why_not(check: Check, case: Case, *, offline: bool, has_tables: bool) -> str | None:
    if check.needs in ("settings", "both", "network") and case.settings is None:
        return "the configuration has faults"
    if check.needs in ("database", "both") and not has_tables:
        return "the tables are not there"
    if check.needs == "network" and offline:
        return "--offline"
    return None


def _findings_of(check: Check, case: Case) -> Iterator[Finding]:
    try:
        yield from check.look(case)
    except (SQLAlchemyError, TablesMissing) as cause:
        yield Finding("fault", f"Airflow's database: {type(cause).__name__}", "airflow db check")
    except Exception as cause:  # one that nobody foresaw must not hide what the others find
        yield Finding("fault", f"this check broke off: {type(cause).__name__}", "please report it")


def _case(given: str | None) -> Case:
    """Everything that is read once; whatever is not as it must be is a finding later."""
    from airflow_sso.cli import doctor_airflow

    set_there: dict[str, object] = {}
    trouble = None
    try:
        set_there = webserver_config.read()
    except Exception as cause:  # whatever that file raises
        trouble = _in_short(cause)
    loaded = config_location.load(set_there, given=given)
    path: Path | None
    path_of_airflow: Path | None
    try:
        path, path_of_airflow = config_location.find(set_there, given=given), config_location.find(set_there)
    except LocationUnclear:
        path, path_of_airflow = None, None
    return Case(
        loaded=loaded,
        path=path,
        path_of_airflow=path_of_airflow,
        webserver_config=airflow_compat.webserver_config_file(),
        set_there=set_there,
        trouble_there=trouble,
        is_security_manager_ours=_is_ours(set_there.get("SECURITY_MANAGER_CLASS")),
        airflow=doctor_airflow.read(),
        prefix=airflow_compat.AUTH_PREFIX,
    )


def _in_short(cause: Exception) -> str:
    """Which kind of trouble, and where; a message may quote what the file holds."""
    if isinstance(cause, SyntaxError):
        return f"line {cause.lineno}: {cause.msg}"
    if isinstance(cause, ImportError):
        return f"{type(cause).__name__}: {cause}"
    return f"{type(cause).__name__}; {_NEVER_SHOWN}"


def _is_ours(found: object) -> bool:
    from airflow_sso import SsoSecurityManager

    return isinstance(found, type) and issubclass(found, SsoSecurityManager)
