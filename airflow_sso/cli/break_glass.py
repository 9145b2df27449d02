"""``break-glass``: a one-use link to a local account, for whoever has the shell and no way to sign in.

What must stay true: it works while the rest of ``sso.yaml`` does not, opens only what is named there,
and prints the link once; the database keeps its hash.
"""

from __future__ import annotations

import argparse
import json
import sys

from airflow_sso import airflow_compat, audit, database
from airflow_sso.accounts import break_glass
from airflow_sso.accounts.break_glass import NoSuchAccount, NotAllowed
from airflow_sso.audit import Journal, Subject
from airflow_sso.cli import operator
from airflow_sso.cli.outcome import FINDINGS, NOT_FOUND, OK, WRONG_USE
from airflow_sso.config import LoadedConfig
from airflow_sso.urls import Urls

_MINUTES = int(break_glass.LINK_LASTS.total_seconds() // 60)


def make_link(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print a link that signs in as a break-glass account, once."""
    name = _chosen(options.name, loaded)
    if name is None:
        return WRONG_USE
    journal = Journal(audit.new_reference())
    try:
        database.require_tables()
        with database.transaction() as connection:
            if options.pin:
                user, pinned = break_glass.pin_anew(
                    connection, journal, loaded.break_glass, name, operator.name()
                )
            else:
                user, pinned = break_glass.account(connection, journal, loaded.break_glass, name), False
            ticket, expires_at = break_glass.make_link(connection, user)
            about = Subject(user_id=user.user_id, username=user.username)
            journal.break_glass_link_made(about, operator=operator.name())
            journal.write(connection)
    except NotAllowed as refusal:
        print(f"{name}: {refusal}.", file=sys.stderr)
        return NOT_FOUND if isinstance(refusal, NoSuchAccount) else FINDINGS
    journal.say()
    url = _urls(loaded).local_login(ticket=ticket)
    if options.json:
        found = {"username": name, "url": url, "expires_at": expires_at.isoformat(), "pinned": pinned}
        print(json.dumps(found))
        return OK
    if pinned:
        print(f"{name} now stands for the account that bears this name today, number {user.user_id}.")
    print(f"This link signs in as {name}, once, within {_MINUTES} minutes. Give it to nobody else:")
    print(url)
    return OK


def _chosen(given: str | None, loaded: LoadedConfig) -> str | None:
    """Which account is meant; ``None`` when that cannot be told, which has been said then."""
    names = loaded.break_glass
    if not names:
        print(*loaded.faults, sep="\n", file=sys.stderr)
        print("sso.yaml names no break-glass account: write break_glass: [NAME].", file=sys.stderr)
        return None
    if given is None and len(names) == 1:
        return names[0]
    if given not in names:
        said = "Say which one" if given is None else f"{given!r} is not under break_glass"
        print(f"{said}; sso.yaml names: {', '.join(names)}.", file=sys.stderr)
        return None
    return given


def _urls(loaded: LoadedConfig) -> Urls:
    """Where Airflow is; with a faulty configuration where its own ``[api] base_url`` says."""
    settings = loaded.settings
    external_url = settings.external_url if settings else (airflow_compat.base_url() or "").rstrip("/")
    return Urls(external_url, airflow_compat.AUTH_PREFIX)
