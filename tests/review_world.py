"""A company whose access admin looks before merging: people with stored facts, files, and the command line.

The database is a real one, migrated by Airflow; commands run in this process, through ``cli.main``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import insert, select, update

from airflow_sso import cli, models
from airflow_sso.accounts import fab_users, links
from tests import stack as stacks
from tests.sync_world import World

TENANT = stacks.TENANT_ID
AUTHORITY = f"entra:public:{TENANT}"
#: When everybody's facts were found out.
AT = "2026-07-01T08:00:00+00:00"


@dataclass
class Review:
    """The files in a folder, and what the commands say."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    @property
    def config(self) -> Path:
        return self.folder / "sso.yaml"

    def configure(self, *providers: dict[str, Any]) -> None:
        entry = {"providers": list(providers) or [entra()]}
        files = {"role_mapping_file": str(self.folder / "role_mapping.yaml")}
        self.config.write_text(
            yaml.safe_dump({"external_url": "https://airflow.example.com", **files, **entry})
        )

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def map(self, *rules: str, name: str = "role_mapping.yaml", more: str = "") -> str:
        """A mapping file of these rules."""
        lines = "".join(f"  - {{{one}}}\n" for one in rules)
        return self.write(name, f"version: 1\nrules:\n{lines}{more}")

    def run(self, *arguments: str, shortened: bool = True) -> tuple[int, str, str]:
        """The exit code, what was printed, and what was said beside it.

        :param shortened: files are named as they are seen from their folder.
        """
        self.capture.readouterr()
        with quiet():
            code = cli.main([arguments[0], "--config", str(self.config), *arguments[1:]])
        out, err = self.capture.readouterr()
        hidden = f"{self.folder}/" if shortened else ""
        return (code, out.replace(hidden, ""), err.replace(hidden, "")) if hidden else (code, out, err)

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert code in (0, 1), err
        return json.loads(out)


@contextmanager
def quiet() -> Iterator[None]:
    """The command line sets up logging as its own process would; other tests find theirs as it was."""
    log = logging.getLogger("airflow_sso")
    before = log.handlers, log.level, log.propagate
    try:
        yield
    finally:
        log.handlers, log.level, log.propagate = before


def entra(**changes: Any) -> dict[str, Any]:
    return {
        "name": "entra",
        "label": "Contoso",
        "vendor": "entra",
        "protocol": "oidc",
        "tenant_id": TENANT,
        "client_id": "11111111-1111-1111-1111-111111111111",
        "client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}},
        **changes,
    }


def federate(**changes: Any) -> dict[str, Any]:
    return {
        "name": "ping",
        "vendor": "pingfederate",
        "protocol": "oidc",
        "issuer": "https://sso.example.com/pf",
        "client_id": "airflow",
        "client_auth": {"secret": {"env": "TEST_CLIENT_SECRET"}},
        "insecure_subject_may_be_reused": True,
        **changes,
    }


@dataclass
class People:
    """Who has an account, with what was found out about them."""

    world: World

    def add(
        self,
        name: str,
        facts: Mapping[str, list[Any] | None],
        *,
        holds: tuple[str, ...] = (),
        given: tuple[str, ...] | None = None,
        source: str = "sign_in:entra",
        name_there: str | None = None,
    ) -> int:
        """Somebody who has signed in once. ``given``: what the mapping gave; default: all they hold."""
        world = self.world
        world.directory = type(world.directory)(name="entra", authority=AUTHORITY, reader=world.reader)
        user_id = world.sign_up(name)
        self.make_roles(*holds)
        with world.engine.begin() as connection:
            roles = fab_users.role_table()
            for role in holds:
                number = connection.scalar(select(roles.c.id).where(roles.c.name == role))
                held = {"user_id": user_id, "role_id": number}
                connection.execute(insert(fab_users.holds_table()).values(**held))
            told = json.loads(
                links.written({f: frozenset(v) if v is not None else None for f, v in facts.items()}, source)
            )
            for one in told.values():
                one["at"] = AT
            connection.execute(
                update(models.accounts)
                .where(models.accounts.c.user_id == user_id)
                .values(
                    facts=json.dumps(told),
                    given_roles=json.dumps(sorted(holds if given is None else given)),
                    username=name_there or name,
                    email=f"{name}@example.com",
                )
            )
        return user_id

    def make_roles(self, *names: str) -> None:
        with self.world.engine.begin() as connection:
            missing = set(names) - fab_users.role_names(connection)
            for name in sorted(missing):
                connection.execute(insert(fab_users.role_table()).values(name=name))
