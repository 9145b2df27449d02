"""``airflow-sso db upgrade``: our tables, made or migrated once however often and by how many it is run.

What must stay true: it arrives at the same tables from every revision and from a first run that broke off, keeps
the rows, and leaves alone what it does not understand.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import settings
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from airflow_sso import cli, database, migrating, models
from airflow_sso.cli import main
from tests.lines import both_lines, only_on_3
from tests.postgresql import Cluster
from tests.review_world import Review, quiet

pytestmark = both_lines

VERSIONS = Path(migrating.__file__).parent / "migrations" / "versions"
REVISIONS = sorted(step.name[:4] for step in VERSIONS.glob("[0-9]*.py"))
NEWEST = REVISIONS[-1]
OURS = {*models.metadata.tables, migrating.VERSION_TABLE}
A_DECISION = text(
    "insert into sso_decision (at, event, reference, detail)"
    " values ('2026-01-01 00:00:00', 'sign_in', 'AAAA-AAAA', '{}')"
)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An empty database that Airflow takes for its own."""
    made = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}", connect_args={"timeout": 1}, future=True)
    monkeypatch.setattr(settings, "engine", made)
    return made


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def at(engine: Engine, revision: str) -> None:
    """The tables as the version left them that ended with this revision."""
    with engine.begin() as connection:
        command.upgrade(migrating._config(connection), revision)


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"sqlite_sequence"}


def definitions(engine: Engine) -> list[tuple[str, str]]:
    query = "select name, sql from sqlite_master where sql is not null order by name"
    with engine.connect() as connection:
        return [(name, " ".join(sql.split())) for name, sql in connection.execute(text(query))]


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return connection.execute(text("select version_num from alembic_version_sso")).scalar()


def differences(engine: Engine) -> list[object]:
    """Between the tables that are there and those that the code uses, as Alembic sees them."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": lambda _o, name, kind, *_: kind != "table" or name in OURS}
        )
        return [one for one in compare_metadata(context, models.metadata) if "alembic" not in str(one)]


def upgraded(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Its exit code and what it says."""
    capsys.readouterr()
    code = main(["db", "upgrade", *options])
    printed = capsys.readouterr()
    return code, (printed.out + printed.err).strip()


def test_an_empty_database_gets_the_tables_once(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert upgraded(capsys, "--check") == (1, "There are no tables yet. Run airflow-sso db upgrade.")
    assert tables(engine) == set()
    assert upgraded(capsys) == (0, f"The tables were made, at revision {NEWEST}.")
    assert tables(engine) == OURS
    assert differences(engine) == []
    before = definitions(engine)
    as_it_is = f"The tables are at revision {NEWEST}, the newest."
    assert upgraded(capsys) == (0, f"{as_it_is} Nothing was done.")
    assert upgraded(capsys, "--check") == (0, as_it_is)
    assert definitions(engine) == before


@pytest.mark.parametrize("older", REVISIONS[:-1])
def test_every_older_revision_arrives_at_the_same_tables(
    engine: Engine, capsys: pytest.CaptureFixture[str], older: str
) -> None:
    at(engine, older)
    with engine.begin() as connection:
        connection.execute(A_DECISION)
    assert differences(engine) != []
    before = definitions(engine)
    said = f"The tables are at revision {older}, and this version needs {NEWEST}. Run airflow-sso db upgrade."
    assert upgraded(capsys, "--check") == (1, said)
    assert definitions(engine) == before
    code, printed = upgraded(capsys, "--json")
    assert code == 0
    assert json.loads(printed) == {
        "from": older,
        "to": NEWEST,
        "newest": NEWEST,
        "what": "migrate",
        "changed": True,
        "to_do": False,
    }
    assert differences(engine) == []
    assert revision(engine) == NEWEST
    with engine.connect() as connection:
        assert connection.execute(text("select reference from sso_decision")).all() == [("AAAA-AAAA",)]


def test_a_first_run_that_broke_off_is_completed(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    upgraded(capsys)
    whole = definitions(engine)
    run(engine, f"drop table {migrating.VERSION_TABLE}", "drop table sso_mapping")
    run(engine, "drop index ix_sso_account_user_id")
    code, said = upgraded(capsys, "--check")
    assert (code, said) == (1, "There are tables without a revision. Run airflow-sso db upgrade.")
    code, said = upgraded(capsys)
    assert (code, said) == (0, f"Tables were there without a revision; they are complete now, at {NEWEST}.")
    assert definitions(engine) == whole
    assert revision(engine) == NEWEST


def test_old_tables_whose_revision_is_lost_are_left_alone(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    at(engine, "0001")
    run(engine, f"drop table {migrating.VERSION_TABLE}")
    before = definitions(engine)
    code, said = upgraded(capsys)
    assert code == 2
    assert said.startswith("Nothing was changed: ")
    assert "sso_login_attempt.handle_hash" in said
    assert definitions(engine) == before


def test_tables_of_a_newer_version_are_left_alone(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    upgraded(capsys)
    run(engine, f"update {migrating.VERSION_TABLE} set version_num = '9999'")
    before = definitions(engine)
    newer = "The tables are at revision 9999, which a newer version of airflow-sso made"
    for options in ([], ["--check"]):
        code, said = upgraded(capsys, *options)
        assert code == 0
        assert said.startswith(newer)
    assert definitions(engine) == before
    assert revision(engine) == "9999"


def test_what_breaks_off_leaves_nothing_behind(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    at(engine, "0001")
    run(engine, "create table sso_mapping (id integer)")  # the step that makes it fails, after others
    before = definitions(engine)
    code, said = upgraded(capsys)
    assert (code, "table sso_mapping already exists" in said) == (4, True), said
    assert definitions(engine) == before
    assert revision(engine) == "0001"
    run(engine, "drop table sso_mapping")
    assert upgraded(capsys)[0] == 0
    assert differences(engine) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nowhere/airflow.db", "unable to open"),
        ("postgresql+psycopg2://airflow:s3cr3t-word@127.0.0.1:1/airflow", "refused"),
    ],
    ids=["sqlite", "postgresql"],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg2")
    monkeypatch.setattr(settings, "engine", create_engine(url, future=True))
    for options in ([], ["--check"]):
        code, said = upgraded(capsys, *options)
        assert code == 4
        assert said.startswith("Airflow's database cannot be used: ")
        assert says in said
        assert "s3cr3t-word" not in said


def test_a_database_that_says_nothing_is_not_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg2")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "")  # so that it is as before in the end
    monkeypatch.delenv("PGCONNECT_TIMEOUT")
    monkeypatch.setattr(cli, "_LONGEST_SILENCE", ("PGCONNECT_TIMEOUT", "2"))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        address = f"postgresql+psycopg2://airflow:s3cr3t-word@127.0.0.1:{silent.getsockname()[1]}/airflow"
        monkeypatch.setattr(settings, "engine", create_engine(address))
        code, said = upgraded(capsys, "--check")
    assert code == 4
    assert "timeout expired" in said
    assert "s3cr3t-word" not in said


@pytest.mark.parametrize("command", ["users revoke ada", "users deactivate ada", "break-glass admin"])
def test_every_command_says_that_the_database_cannot_be_used(
    review: Review, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    capsys.readouterr()
    monkeypatch.setattr(settings, "engine", create_engine("sqlite:////nowhere/airflow.db"))
    monkeypatch.setattr(database, "_found", threading.Event())
    review.config.write_text(f"{review.config.read_text()}break_glass: [admin]\n")
    with quiet():
        assert main([*command.split(), "--config", str(review.config)]) == 4
    said = capsys.readouterr().err
    assert "Not done: the database cannot be read: unable to open database file" in said
    assert "db upgrade" not in said
    assert "Traceback" not in said


@pytest.fixture
def on_postgresql(postgresql: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    made = create_engine(postgresql.create("migrating"))
    monkeypatch.setattr(settings, "engine", made)
    yield made
    made.dispose()


@pytest.mark.parametrize("older", REVISIONS[:-1])
def test_on_postgresql_every_older_revision_arrives_too(
    on_postgresql: Engine, capsys: pytest.CaptureFixture[str], older: str
) -> None:
    at(on_postgresql, older)
    with on_postgresql.begin() as connection:
        connection.execute(A_DECISION)
    assert upgraded(capsys)[0] == 0
    assert differences(on_postgresql) == []
    with on_postgresql.connect() as connection:
        assert connection.execute(text("select reference from sso_decision")).all() == [("AAAA-AAAA",)]


def test_a_table_that_is_being_read_holds_sign_ins_up_for_a_moment_only(
    on_postgresql: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup reads every table, for hours; whatever changes one waits for it, and all others behind that."""
    monkeypatch.setattr(migrating, "_LONGEST_WAIT_FOR_A_TABLE", 1)
    at(on_postgresql, "0003")
    look = text("select count(*) from sso_account")
    with on_postgresql.begin() as backup:
        backup.execute(look)
        code, said = upgraded(capsys)
        assert code == 4
        assert "lock timeout" in said
        with on_postgresql.connect() as connection:
            assert connection.scalar(look) == 0
    assert revision(on_postgresql) == "0003"
    assert upgraded(capsys)[0] == 0, "the control: the backup is over"
    assert differences(on_postgresql) == []


@only_on_3("Airflow has no hook for tables beside its own")
def test_airflows_own_command_goes_the_same_way(engine: Engine) -> None:
    from airflow_sso.db_manager import SsoDBManager

    assert list(SsoDBManager.revision_heads_map.values())[-1] == NEWEST
    at(engine, "0001")
    with Session(bind=engine) as session:
        manager = SsoDBManager(session)
        assert not manager.check_migration()
        manager.upgradedb()
        assert manager.check_migration()
        manager.upgradedb()
    assert differences(engine) == []


@only_on_3("it goes on with the sessions that it wrote itself")
def test_browsers_that_2_11_signed_in_are_forgotten_and_no_others(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    from flask import Flask
    from flask_session.base import MsgSpecSerializer

    run(engine, "create table session (id integer primary key, session_id varchar(255), data blob)")
    someone = {"_permanent": True, "_fresh": True, "_user_id": "1", "locale": "en"}
    with engine.begin() as connection:
        for notation in ("msgpack", "json"):
            data = MsgSpecSerializer(Flask("airflow"), notation).encode(someone)
            row = {"session_id": f"session:{notation}", "data": data}
            connection.execute(
                text("insert into session (session_id, data) values (:session_id, :data)"), row
            )
    for _ in range(2):
        assert upgraded(capsys)[0] == 0
        with engine.connect() as connection:
            assert connection.scalars(text("select session_id from session")).all() == ["session:msgpack"]


def test_several_at_once_do_it_once(tmp_path: Path) -> None:
    path = tmp_path / "airflow.db"
    environment = {**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{path}"}
    at(create_engine(f"sqlite:///{path}", future=True), "0002")
    line = [sys.executable, "-m", "airflow_sso.cli", "db", "upgrade", "--json"]
    started = [
        subprocess.Popen(line, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [json.loads(one.communicate(timeout=120)[0]) for one in started]
    assert [one.returncode for one in started] == [0, 0, 0]
    assert sorted(one["what"] for one in said) == ["migrate", "nothing", "nothing"]
    assert {one["to"] for one in said} == {NEWEST}
    assert differences(create_engine(f"sqlite:///{path}", future=True)) == []
