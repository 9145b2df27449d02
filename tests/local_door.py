"""The local door as somebody at a browser uses it, and the accounts that a test makes for it by SQL."""

from __future__ import annotations

import hashlib
import html
import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from werkzeug.security import generate_password_hash

from tests.lines import route
from tests.stack import Stack, Visitor

PASSWORD = "correct horse battery staple"
_HASH = generate_password_hash(PASSWORD)
SAME_WORDS = "That name and password do not open this Airflow."


def add_account(stack: Stack, username: str, **values: Any) -> int:
    """An account as ``airflow users create`` leaves it, without its role; its number."""
    row = {
        "first_name": "Local",
        "last_name": "Person",
        "username": username,
        "password": _HASH,
        "active": True,
        "email": f"{username}@local.example",
        "created_on": "2020-02-02 02:02:02.020202",
        **values,
    }
    return stack.add("ab_user", **row)


def give_role(stack: Stack, username: str, role: str) -> None:
    """As Airflow's own pages would; the roles are there once a server has been started."""
    (one,) = stack.rows("select id from ab_role where name = ?", role)
    (user,) = stack.rows("select id from ab_user where username = ?", username)
    stack.add("ab_user_role", user_id=user["id"], role_id=one["id"])


class _From(HTTPAdapter):
    """Connects from an address of one's own: all of 127.0.0.0/8 is this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


class Rescuer(Visitor):
    """Somebody at the local door.

    :param address: where they come from.
    """

    def __init__(self, stack: Stack, address: str = "127.0.0.1") -> None:
        super().__init__(stack)
        self.mount("http://", _From(address))

    def form(self, **query: str) -> dict[str, str]:
        """Open the page; the hidden fields of its form."""
        return hidden(self.at("/auth/login/local", params=query))

    def submit(self, fields: dict[str, str], **options: Any) -> requests.Response:
        return self.post(f"{self.stack.auth_url}/login/local", data=fields, timeout=30, **options)

    def try_password(self, username: str, password: str = PASSWORD, **query: str) -> requests.Response:
        """The whole way, to the page at its end."""
        return self.submit({**self.form(**query), "username": username, "password": password})


def hidden(page: requests.Response) -> dict[str, str]:
    """The hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: html.unescape(value) for name, value in found}


def run(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Run ``airflow-sso <arguments>``: its exit code and what it printed."""
    with stack.command(*arguments) as process:
        return process.wait(timeout=120), process.log.read_text()


def made_link(text: str) -> str:
    """The path and query of the one-use link that the command printed."""
    path = re.escape(route("/auth/login/local"))
    (found,) = re.findall(rf"^http://[^/]+({path}\?secret=\S+)$", text, re.MULTILINE)
    return str(found)


def link(stack: Stack, username: str) -> str:
    """The same of a link that is put into the table, which is quicker than the command."""
    ticket = secrets.token_urlsafe(32)
    stack.write(
        """insert into sso_break_glass_link (link_hash, user_id, expires_at)
           values (?, (select id from ab_user where username = ?), ?)""",
        hashlib.sha256(ticket.encode()).hexdigest(),
        username,
        (datetime.now(timezone.utc) + timedelta(minutes=10)).strftime("%Y-%m-%d %H:%M:%S.%f"),
    )
    return route(f"/auth/login/local?secret={ticket}")
