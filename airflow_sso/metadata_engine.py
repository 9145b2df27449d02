"""How Airflow's engine is used by us: faces of it, on the same pool of connections.

Airflow and its operators set it up for themselves; our decisions stand on locks. What must stay true: under
whatever isolation, whoever holds a lock of ours reads what others have committed; and no request keeps one
connection of the pool while it waits for another.
"""

from __future__ import annotations

import sys
from typing import Any

from sqlalchemy.exc import SQLAlchemyError


def read_committed(engine: Any) -> Any:
    """PostgreSQL at READ COMMITTED, whatever the configuration, the role or the server says.

    Above that, what a transaction reads once it has our lock is of the time before it, and PostgreSQL
    refuses it instead. Of MySQL Airflow asks the same by itself; SQLite has one writer at a time.
    """
    if engine.dialect.name != "postgresql":
        return engine
    face = getattr(engine, "_airflow_sso_read_committed", None)
    if face is None:
        face = engine.execution_options(isolation_level="READ COMMITTED")
        engine._airflow_sso_read_committed = face
    return face


def give_back_shared_connection(shared: Any) -> None:
    """Within a request to a page, the session that its code shares gives its connection back.

    It keeps one from the reading of the browser's session until the request ends. Of as many requests at once
    as the pool has connections, each would then wait for one of the others, and the API with them. What was
    read stays as it was read; where something is still to be written, the connection is kept.

    :param shared: Airflow's ``scoped_session``, the one of this thread.
    """
    flask = sys.modules.get("flask")
    if flask is None or not flask.has_request_context() or not shared.registry.has():
        return
    session = shared()
    if session.new or session.dirty or session.deleted:
        return
    try:
        session.commit()
    except SQLAlchemyError:  # its connection was lost, which is no reason to go without another
        session.rollback()
