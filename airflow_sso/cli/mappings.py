"""The mappings that commands read: the one in force, and files that are named on the command line.

What must stay true: every command means the same by "in force", and a mapping with a fault is never used,
whatever it is for.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import database, in_force, yaml_document
from airflow_sso.accounts import fab_users
from airflow_sso.config import Settings
from airflow_sso.errors import ConfigurationFaulty, TablesMissing
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping, understand
from airflow_sso.yaml_document import Fault


class MappingFaulty(Exception):
    """A mapping cannot be used; ``faults`` has everything that is wrong with it."""

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


class InForce(NamedTuple):
    """A mapping, and ``where`` it is written: the file, unless another version is in force."""

    mapping: Mapping
    where: str


def in_force_now(settings: Settings) -> InForce:
    """The mapping that sign-ins and readings of the directory go by.

    A file that the next of them would accept counts; where there is no database, the file alone.

    :raises MappingFaulty: when there is none.
    """
    decides, path = in_force.of(settings), str(settings.role_mapping_file)
    try:
        mapping = decides.look()
    except ConfigurationFaulty as cause:
        raise MappingFaulty(decides.faults or [Fault(path, (), cause.detail)]) from None
    except (SQLAlchemyError, TablesMissing):
        return InForce(of_file(settings.role_mapping_file, None), path)
    if decides.generation is None or not decides.why_not_taken:
        return InForce(mapping, path)
    return InForce(mapping, f"generation {decides.generation.number}, which is in force instead of {path},")


def of_file(path: Path, known_roles: Collection[str] | None) -> Mapping:
    """The mapping of a file.

    :raises MappingFaulty: when it has faults.
    """
    document = yaml_document.read(path)
    mapping = understand(document, known_roles)
    if mapping is None:
        raise MappingFaulty(document.faults)
    return mapping


def say(faulty: MappingFaulty) -> None:
    """Every fault, as ``lint`` prints it."""
    print(*faulty.faults, sep="\n", file=sys.stderr)
    print("Mend these first; airflow-sso lint FILE checks again.", file=sys.stderr)


def roles_there(*, otherwise: str) -> frozenset[str] | None:
    """The roles in Airflow's database, its built-in ones among them; ``None`` when it cannot be read.

    :param otherwise: what follows from that, for the note about it.
    """
    try:
        with database.transaction() as connection:
            return fab_users.role_names(connection) | BUILT_IN_ROLES
    except SQLAlchemyError:
        print(f"note: Airflow's database cannot be read; {otherwise}", file=sys.stderr)
        return None
