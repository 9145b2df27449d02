"""``airflow-sso``: what the platform admin and the access admin run in a terminal.

Exit codes: 0 ok, 1 findings or changes pending, 2 wrong use or configuration, 3 not found, 4 a directory
or the database cannot be used, 5 an unsafe plan waits. What must stay true: commands print plain text that
reads aloud well, ``--json`` for machines, and never a secret.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from airflow_sso import config_location, database
from airflow_sso.cli import (
    access,
    break_glass,
    db,
    diff,
    doctor,
    expectations,
    explain,
    import_config,
    lint,
    mapping,
    sync,
    urls,
    users,
    webserver_config,
)
from airflow_sso.cli.outcome import UNREACHABLE, WRONG_USE
from airflow_sso.config import LoadedConfig
from airflow_sso.errors import DatabaseUnusable, TablesMissing

Command = Callable[[argparse.Namespace, LoadedConfig], int]


#: What must work, in an emergency most of all, while ``sso.yaml`` has faults.
_WITHOUT_SETTINGS: tuple[Command, ...] = (
    lint.lint,
    break_glass.make_link,
    access.revoke,
    access.deactivate,
    access.reactivate,
    expectations.test,
)


#: PostgreSQL's driver would wait for ever for a database that takes a connection and says nothing; an address
#: with ``connect_timeout`` in it, and this variable where it is set, count before ours.
_LONGEST_SILENCE = ("PGCONNECT_TIMEOUT", "10")  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(arguments)
    _log_beside_the_output()
    os.environ.setdefault(*_LONGEST_SILENCE)
    if options.before_there_is_any:
        # A webserver_config.py is not even read as Airflow reads it: that would run it.
        alone: Callable[[argparse.Namespace], int] = options.run
        return alone(options)
    loaded = config_location.load(webserver_config.read(), given=options.config)
    run: Command = options.run
    if loaded.settings is None and options.needs_settings:
        print(*loaded.faults, sep="\n", file=sys.stderr)
        print("Mend these first; airflow-sso lint checks again.", file=sys.stderr)
        return WRONG_USE
    return _run(run, options, loaded)


def _run(run: Command, options: argparse.Namespace, loaded: LoadedConfig) -> int:
    try:
        return run(options, loaded)
    except DatabaseUnusable as cause:
        words = cause.detail
    except TablesMissing as missing:
        print(f"{missing.detail}. Run {database.MIGRATE_COMMAND} first.", file=sys.stderr)
        return WRONG_USE
    except (OperationalError, InterfaceError, InternalError, NoConnection) as cause:
        words = f"the database cannot be used: {database.told_by(cause)}"
    print(f"Not done: {words}. It is the one of [database] sql_alchemy_conn.", file=sys.stderr)
    return UNREACHABLE


def _log_beside_the_output() -> None:
    """Airflow logs to standard output, where a command's own words and its JSON belong.

    It logs Python's warnings there, too: about its own libraries, and about options by their older names, of
    no use to whoever runs a command.
    """
    if not sys.warnoptions:
        # As python -W ignore does it: otherwise Airflow, which is imported later, asks for its own again.
        sys.warnoptions.append("ignore")
    if sys.warnoptions == ["ignore"]:
        warnings.simplefilter("ignore")
    for name, level in (("airflow_sso", logging.INFO), ("alembic", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers = [logging.StreamHandler(sys.stderr)]
        log.setLevel(level)
        log.propagate = False


def parser() -> argparse.ArgumentParser:
    """What may be typed."""
    made = argparse.ArgumentParser(
        prog="airflow-sso", description="Enterprise sign-in for Apache Airflow, from the command line."
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    _add_doctor(commands)
    _add_lint(commands)
    addresses = _add(
        commands,
        "urls",
        urls.urls,
        "print what to register with the identity provider",
        "airflow-sso urls --json; before moving to Airflow 3: airflow-sso urls --line 3",
    )
    addresses.add_argument(
        "--line", choices=("2", "3"), help="as it is on this line of Airflow (default: the installed one)"
    )
    link = _add(
        commands,
        "break-glass",
        break_glass.make_link,
        "print a link that signs in as a local account, once, without password and provider",
        "airflow-sso break-glass admin",
    )
    link.add_argument(
        "name", metavar="NAME", nargs="?", help="which one, where break_glass in sso.yaml names several"
    )
    link.add_argument(
        "--pin", action="store_true", help="let the name stand for the account that bears it now"
    )
    _add_reviewing(commands)
    _add_sync(commands)
    _add_mapping_commands(commands)
    _add_import_config(commands)
    _add_db(commands)
    about_users = commands.add_parser("users", help="people's accounts", description="people's accounts")
    user_commands = about_users.add_subparsers(required=True, metavar="COMMAND")
    adopt = _add(
        user_commands,
        "adopt",
        users.adopt,
        "link an account that Airflow has already to a person of the directory",
        "airflow-sso users adopt ada --provider entra --subject 00aa00aa-bb11-cc22-dd33-44ee44ee44ee",
    )
    adopt.add_argument("username", metavar="USERNAME", help="the account, as Airflow names it")
    adopt.add_argument("--provider", required=True, help="the provider's name in sso.yaml")
    _add_access_commands(user_commands)
    adopt.add_argument("--subject", required=True, help="the person's immutable id there (Entra: Object ID)")
    return made


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "look at everything that can be wrong, and say what mends it"
    example = (
        "airflow-sso doctor --offline. Exit codes: 0 nothing is in the way, 1 something does not work, "
        "2 the configuration is wrong"
    )
    command = commands.add_parser("doctor", help=text, description=text, epilog=f"example: {example}")
    command.add_argument("--config", metavar="FILE", help="sso.yaml (default: where Airflow finds it)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--offline", action="store_true", help="ask no provider and no directory")
    command.set_defaults(run=doctor.doctor, before_there_is_any=True)


def _add_lint(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = _add(
        commands,
        "lint",
        lint.lint,
        "check sso.yaml and the role mapping; lists every fault",
        "airflow-sso lint role_mapping.yaml --format github",
    )
    check.add_argument(
        "file", metavar="MAPPING", nargs="?", help="only this mapping file (default: all that sso.yaml names)"
    )
    check.add_argument("--format", choices=("text", "github", "sarif"), default="text", help="for whom")
    check.add_argument(
        "--role",
        metavar="NAME",
        action="append",
        default=[],
        help="a role that exists, where Airflow's database cannot be read; may be repeated",
    )
    check.add_argument(
        "--offline", action="store_true", help="do not ask the directory whether it has the groups"
    )
    check.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of the mapping file, for editors"
    )


def _add_reviewing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What is asked before a change of the role mapping is merged."""
    explain.options(
        _add(
            commands,
            "explain",
            explain.explain,
            "print which rules match somebody, by what, and which roles follow",
            "airflow-sso explain ada; airflow-sso explain --groups team-a,team-b --claim department=Finance; "
            "airflow-sso explain --token-file token.jwt. Exit codes: 0 explained, 2 wrong use or a fault, "
            "3 no such account or provider",
        )
    )
    diff.options(
        _add(
            commands,
            "diff",
            diff.diff,
            "print who gains and who loses which roles when one mapping takes another's place",
            "airflow-sso diff current new.yaml --format markdown. Exit codes: 0 compared, 1 with --fail-on "
            "lost-all: somebody would lose everything, 2 wrong use or a fault",
        )
    )
    expectations.options(
        _add(
            commands,
            "test",
            expectations.test,
            "check the role mapping against the expectations that are written beside it",
            "airflow-sso test --mapping new.yaml role_mapping.test.yaml. Exit codes: 0 all hold, "
            "1 some fail, 2 wrong use or a fault",
        )
    )


def _add_sync(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    read = _add(
        commands,
        "sync",
        sync.sync,
        "read the directories, and print what would change for whom",
        "airflow-sso sync --apply",
    )
    read.add_argument("--apply", action="store_true", help="carry it out")
    read.add_argument(
        "--approve", metavar="ID", help="carry out a plan that waits, as far as it is still right"
    )
    read.add_argument("--provider", metavar="NAME", help="only the directory of this provider")


def _add_mapping_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "which role mapping is in force"
    mapping_commands = commands.add_parser("mapping", help=about, description=about).add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add(
        mapping_commands,
        "show",
        mapping.show,
        "say which generation is in force, and whether the file on this machine is that one",
        "airflow-sso mapping show --json",
    )
    _add(
        mapping_commands,
        "activate",
        mapping.activate,
        "put the file on this machine in force everywhere, also one that was in force before",
        "airflow-sso mapping activate",
    )


def _add_import_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "turn a webserver_config.py with AUTH_OAUTH into sso.yaml and a role mapping; it is not run"
    example = "airflow-sso import-config webserver_config.py --to /opt/airflow/config"
    command = commands.add_parser("import-config", help=text, description=text, epilog=f"example: {example}")
    command.add_argument("file", metavar="FILE", help="the old webserver_config.py")
    command.add_argument(
        "--to", metavar="DIR", help="write both files there, over none that is there already"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=import_config.import_config, before_there_is_any=True)


def _add_db(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "our tables in Airflow's database"
    made = commands.add_parser("db", help=about, description=about).add_subparsers(
        required=True, metavar="COMMAND"
    )
    text = "make our tables, or bring them to the newest revision; may be run again, and by several at once"
    example = (
        "airflow-sso db upgrade; in an init container that waits: airflow-sso db upgrade --check. "
        "Exit codes: 0 done or nothing to do, 1 with --check: something is to do, 2 the tables cannot be "
        "understood, 4 the database cannot be used"
    )
    command = made.add_parser("upgrade", help=text, description=text, epilog=f"example: {example}")
    command.add_argument("--check", action="store_true", help="only say whether something is to do")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=db.upgrade, before_there_is_any=True)


def _add_access_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    revoke = _add(
        commands,
        "revoke",
        access.revoke,
        "end a person's sessions and tokens at once; they may sign in again",
        "airflow-sso users revoke ada@example.com",
    )
    revoke.add_argument(
        "--session", metavar="ID", help="only this one, as the audit names it; the person's others go on"
    )
    deactivate = _add(
        commands,
        "deactivate",
        access.deactivate,
        "shut an account and end its sessions and tokens at once",
        "airflow-sso users deactivate ada@example.com",
    )
    reactivate = _add(
        commands,
        "reactivate",
        access.reactivate,
        "open an account again; its sessions from before stay ended",
        "airflow-sso users reactivate ada@example.com",
    )
    for command in (revoke, deactivate, reactivate):
        command.add_argument("username", metavar="USERNAME", help="the account, as Airflow names it")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Command,
    text: str,
    example: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
    command.add_argument("--config", metavar="FILE", help="sso.yaml (default: where Airflow finds it)")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run, needs_settings=run not in _WITHOUT_SETTINGS, before_there_is_any=False)
    return command
