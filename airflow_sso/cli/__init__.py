"""``airflow-sso``: what the platform admin and the access admin run in a terminal.

Exit codes: 0 ok, 1 findings, 2 wrong use or configuration. What must stay true: commands print plain
text that reads aloud well, ``--json`` for machines, and never a secret.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_sso import airflow_compat, config_location, yaml_document
from airflow_sso.config import LoadedConfig
from airflow_sso.role_mapping import rules
from airflow_sso.urls import Urls

OK, FINDINGS, WRONG_USE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    loaded = config_location.load(_flask_config(), given=options.config)
    command = {"lint": _lint, "urls": _urls}[options.command]
    return command(loaded, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airflow-sso", description="Enterprise sign-in for Apache Airflow, from the command line."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, example in (
        ("lint", "check sso.yaml and the role mapping; lists every fault", "airflow-sso lint"),
        ("urls", "print what to register with the identity provider", "airflow-sso urls --json"),
    ):
        command = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
        command.add_argument("--config", metavar="FILE", help="sso.yaml (default: where Airflow finds it)")
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _flask_config() -> dict[str, object]:
    """What ``webserver_config.py`` sets, read as Airflow reads it."""
    from flask import Config

    config = Config(str(airflow_compat.airflow_home()))
    config.from_pyfile(str(airflow_compat.webserver_config_file()), silent=True)
    return dict(config)


def _lint(loaded: LoadedConfig, *, as_json: bool) -> int:
    faults = [str(fault) for fault in loaded.faults]
    if loaded.settings:
        faults += _mapping_faults(loaded.settings.role_mapping_file)
    if as_json:
        print(json.dumps({"faults": faults, "warnings": list(loaded.warnings)}, indent=2))
    else:
        print(*faults, sep="\n" if faults else "")
        print(*(f"warning: {one}" for one in loaded.warnings), sep="\n" if loaded.warnings else "")
        print(f"{len(faults)} to mend." if faults else "No fault found.")
    return FINDINGS if faults else OK


def _mapping_faults(path: Path) -> list[str]:
    """Faults of the mapping file. Roles are checked against Airflow's database when it can be read."""
    document = yaml_document.read(path)
    rules.understand(document, _known_roles())
    return [str(fault) for fault in document.faults]


def _known_roles() -> frozenset[str]:
    from sqlalchemy.exc import SQLAlchemyError

    from airflow_sso import database
    from airflow_sso.accounts import fab_users

    try:
        with database.transaction() as connection:
            return fab_users.role_names(connection) | rules.BUILT_IN_ROLES
    except SQLAlchemyError:
        print("note: Airflow's database cannot be read; only its built-in roles are known", file=sys.stderr)
        return rules.BUILT_IN_ROLES


def _urls(loaded: LoadedConfig, *, as_json: bool) -> int:
    if loaded.settings is None:
        print(*loaded.faults, sep="\n", file=sys.stderr)
        print("Mend these first; airflow-sso lint checks again.", file=sys.stderr)
        return WRONG_USE
    urls = Urls(loaded.settings.external_url, airflow_compat.AUTH_PREFIX)
    providers = {
        name: {"redirect_uri": urls.callback(name), "post_logout_redirect_uri": urls.signed_out}
        for name in loaded.settings.providers
    }
    if as_json:
        print(json.dumps(providers, indent=2))
        return OK
    for name, addresses in providers.items():
        print(f"Register with {loaded.settings.providers[name].shown_as}:")
        print(f"  redirect URI (platform: Web)  {addresses['redirect_uri']}")
        print(f"  after signing out             {addresses['post_logout_redirect_uri']}")
    return OK
