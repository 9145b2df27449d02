"""Put on an api-server's import path by the tests, to watch its database work and to stop it in the middle.

Every SQL statement that any engine of the process executes, but those of the watch, is written to the file that ``SQL_LOG`` names,
one a line. In the folder that ``SQL_HOLD`` names, a file ``hold`` with a number stops whoever executes the
statement that comes after so many others: it makes a file ``reached``, and waits for one called ``release``.
PostgreSQL is told who asks: the name that ``SQL_PROCESS`` says, and the number of the process.
"""

import os
import threading
import time
from pathlib import Path

_LONGEST = 20  # seconds; a test that died must not leave a server hanging
_counting = threading.Lock()


def _is_held(folder):
    """Whether this is the statement to stop at."""
    hold = folder / "hold"
    with _counting:
        try:
            left = int(hold.read_text())
        except FileNotFoundError:
            return False
        if left:
            (folder / "next").write_text(str(left - 1))
            (folder / "next").rename(hold)
            return False
        hold.unlink()
        return True


def _wait(folder):
    (folder / "reached").touch()
    until = time.monotonic() + _LONGEST
    while not (folder / "release").exists() and time.monotonic() < until:
        time.sleep(0.005)


def _tell_postgresql():
    os.environ["PGAPPNAME"] = f"{os.environ['SQL_PROCESS']}-{os.getpid()}"


if os.environ.get("SQL_PROCESS"):
    _tell_postgresql()
    os.register_at_fork(after_in_child=_tell_postgresql)  # as gunicorn makes its workers

if os.environ.get("SQL_LOG") or os.environ.get("SQL_HOLD"):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, *_rest):
        if threading.current_thread().name == "airflow-sso-watch":  # comes when it likes
            return
        if os.environ.get("SQL_LOG"):
            with open(os.environ["SQL_LOG"], "a") as log:
                log.write(" ".join(statement.split()) + "\n")
        if os.environ.get("SQL_HOLD"):
            folder = Path(os.environ["SQL_HOLD"])
            if _is_held(folder):
                _wait(folder)
