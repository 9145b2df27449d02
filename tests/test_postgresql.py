"""The PostgreSQL of the tests themselves: made for one run, copied for each use, and gone with the run."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.postgresql import Cluster, why_not
from tests.stack import REPOSITORY


def ask(url: str, statement: str) -> object:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        answer = connection.execute(text(statement))
        return answer.scalar() if answer.returns_rows else None


def test_a_copy_has_what_its_template_had_and_is_another_database(postgresql: Cluster) -> None:
    template = postgresql.create("a template")
    busy = create_engine(template).connect()
    ask(template, "create table t as select 1 as n")
    copy = postgresql.create("a template", template=template)
    ask(template, "update t set n = 2")
    assert ask(copy, "select n from t") == 1
    busy.invalidate()
    postgresql.drop(copy)
    with pytest.raises(OperationalError, match="does not exist"):
        ask(copy, "select 1")
    assert ask(template, "select n from t") == 2


_KILLED = """
import os, signal
from tests import postgresql
with postgresql.running() as cluster:
    print(cluster.folder, cluster.server_id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_tests_that_are_killed() -> None:
    if why_not():
        pytest.skip(why_not())
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert killed.returncode == -signal.SIGKILL
    folder, server = killed.stdout.split()
    until = time.monotonic() + 30
    while Path(f"/proc/{server}").exists():
        assert time.monotonic() < until, "the server is still there"
        time.sleep(0.1)
    shutil.rmtree(folder)
