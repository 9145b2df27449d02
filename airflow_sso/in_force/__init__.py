"""Which role mapping is in force: one for all replicas, in the database; the file is how a new one comes in.

``generations`` are the rows, ``mapping`` is what a process decides with. What must stay true: there is one
way to get a mapping to decide with, whoever asks: a sign-in, a sync, a command or a page.
"""

from sqlalchemy.engine import Connection

from airflow_sso import database
from airflow_sso.accounts import fab_users, owned_roles
from airflow_sso.audit import Journal
from airflow_sso.config import Settings
from airflow_sso.in_force.generations import FILE, Generation
from airflow_sso.in_force.mapping import MappingInForce, NotAccepted
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping

__all__ = ["FILE", "Generation", "MappingInForce", "NotAccepted", "of"]


def of(settings: Settings) -> MappingInForce:
    """The mapping of a configuration, with Airflow's own roles as those that a new version may name."""
    return MappingInForce(settings.role_mapping_file, _known_roles, _make_roles)


def _make_roles(connection: Connection, journal: Journal, mapping: Mapping) -> None:
    """The roles that a mapping owns are there from the moment on from which it gives them."""
    owned_roles.keep(connection, journal, mapping.owned_roles, mapping.names)


def _known_roles() -> frozenset[str]:
    with database.transaction() as connection:
        return fab_users.role_names(connection) | BUILT_IN_ROLES
