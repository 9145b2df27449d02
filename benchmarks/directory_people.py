"""The people of ``reading_directories``: who is in which group, and their accounts as sign-ins left them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow_sso import models
from airflow_sso.accounts import fab_users, given_roles, links
from devidp.people import crowd_oid, group_id

#: So many that each fits into a page of 999, among 100,000 people too.
GROUPS = 140
SECRET = "BENCHMARK_SECRET"
AUTHORITY = "entra:public:benchmark"
GROUP_NAMES = [f"mapped-{number:03}" for number in range(1, GROUPS + 1)]
ROLES = ("Viewer", "User", "Op")
_LONG_AGO = "2026-01-01 00:00:00.000000"


def role_of(group: int, turned: int) -> str:
    """The role of the group of a number; turned once, everybody has another one."""
    return ROLES[(group + turned) % len(ROLES)]


def groups_of_all(size: int) -> list[int]:
    """By person, the number of their group."""
    return [number % GROUPS for number in range(size)]


def fill(database: Path, size: int) -> None:
    """Accounts as sign-ins left them; the directory has never been asked about any."""
    groups = groups_of_all(size)
    facts = [links.written({"group": frozenset({group_id(name)})}, "sign_in:entra") for name in GROUP_NAMES]
    with closing(sqlite3.connect(database)) as connection, connection:
        there = {name for (name,) in connection.execute("select name from ab_role")}
        connection.executemany(
            "insert into ab_role (name) values (?)", [(name,) for name in ROLES if name not in there]
        )
        role_ids = dict(connection.execute("select name, id from ab_role").fetchall())
        connection.executemany(
            f"""insert into ab_user (id, first_name, last_name, username, password, active, email,
               login_count, fail_login_count, created_on, changed_on)
               values (?, 'Person', ?, ?, ?, 1, ?, 0, 0, '{_LONG_AGO}', '{_LONG_AGO}')""",
            (
                (number, f"{number:06}", name(number), fab_users.UNUSABLE_PASSWORD, mail(number))
                for number in range(1, size + 1)
            ),
        )
        connection.executemany(
            "insert into ab_user_role (user_id, role_id) values (?, ?)",
            ((number + 1, role_ids[role_of(group, 0)]) for number, group in enumerate(groups)),
        )
        connection.executemany(
            """insert into sso_account (identity_key, authority, subject, user_id, user_created_on,
               username, email, provider, created_at, last_sign_in_at, given_roles, facts, shown, observed_at,
               read_again) values (?, ?, ?, ?, ?, ?, ?, 'entra', ?, ?, ?, ?, ?, ?, 'new')""",
            (account(number + 1, group, facts[group]) for number, group in enumerate(groups)),
        )
        connection.executemany(
            "insert into sso_epoch (user_id, epoch) values (?, 0)", ((n,) for n in range(1, size + 1))
        )


def name(number: int) -> str:
    return f"p{number:06}"


def mail(number: int) -> str:
    return f"{name(number)}@contoso.example"


def given(number: int, group: int) -> str:
    """What the mapping gave, each at a second of one's own: no two texts are the same."""
    since = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=number)
    return given_roles.written({}, {role_of(group, 0): [GROUP_NAMES[group]]}, since)


def account(number: int, group: int, facts: str) -> tuple[Any, ...]:
    subject = crowd_oid(number)
    shown = {
        "username": name(number), "email": mail(number), "first_name": "Person", "last_name": f"{number:06}",
    }  # fmt: skip
    return (
        models.identity_key(AUTHORITY, subject), AUTHORITY, subject, number, _LONG_AGO,
        name(number), mail(number), _LONG_AGO, _LONG_AGO,
        given(number, group), facts, json.dumps(shown), _LONG_AGO,
    )  # fmt: skip
