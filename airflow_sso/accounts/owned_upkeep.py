"""Looks now and then whether the roles that the mapping owns are still what it says, and mends them.

What must stay true: only the mapping in force is ever asked, because an empty list of roles releases all.
"""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError, OperationalError

from airflow_sso import airflow_compat, audit, database
from airflow_sso.accounts import owned_roles
from airflow_sso.audit import Journal
from airflow_sso.role_mapping import Mapping

_TRIES = 3


def keep_up(mapping: Mapping) -> bool:
    """Make the roles what the mapping in force says, if they are not; True when something was changed.

    DAGs come and go, and other hands change roles.

    :raises SQLAlchemyError: when the database does not take it, several times.
    """
    with airflow_compat.engine().connect() as connection:
        if not owned_roles.is_out_of_date(connection, mapping.owned_roles, mapping.names):
            return False
    for tries_left in reversed(range(_TRIES)):
        journal = Journal(audit.new_reference())
        try:
            with database.transaction() as connection:
                changed = owned_roles.keep(connection, journal, mapping.owned_roles, mapping.names)
                journal.write(connection)
        except (IntegrityError, OperationalError):  # another replica is at it
            if not tries_left:
                raise
            continue
        journal.say()
        return changed
    raise AssertionError  # the last try returns or raises
