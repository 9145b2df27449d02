"""Put on an api-server's import path by the tests: writes every SQL statement that any engine of the
process executes to the file that ``SQL_LOG`` names, one a line."""

import os

if os.environ.get("SQL_LOG"):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, *_rest):
        with open(os.environ["SQL_LOG"], "a") as log:
            log.write(" ".join(statement.split()) + "\n")
