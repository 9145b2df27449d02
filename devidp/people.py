"""The people who can sign in, and the groups they are in; the same on every face.

Identifiers are fixed or derived from names, never random: a test may write them down, and an
account made yesterday still belongs to the same person after a restart.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from devidp.settings import OTHER_TENANT_ID

if TYPE_CHECKING:
    from devidp.population import Population

MAIL_DOMAIN = "contoso.example"
_NAMESPACE = UUID("d3f1d0ee-2f0b-4a7b-9d55-6a5b7c8d9e0f")

GROUP_IDS = {
    "airflow_prod_admin": "8f6a0d0e-5d4b-4d0e-9a55-0d3b3f3f9c11",
    "airflow_prod_op": "5c1d7a52-0b7e-4c0f-8a44-6f0a8f5c2b22",
    "airflow_prod_viewer": "2b9e4f77-3c2a-4f1d-b5d3-9a7c1e6d3d33",
    "everyone": "e0000000-1111-4222-8333-444444444444",
}


def group_id(name: str) -> str:
    """The fixed id of a known group; any other name gets an id that is the same in every run."""
    return GROUP_IDS.get(name) or str(uuid5(_NAMESPACE, f"group:{name}"))


@dataclass(frozen=True, kw_only=True)
class Person:
    """One row. `claims` is laid over whatever a face would say, `app_roles` is Entra's `roles`."""

    name: str
    oid: str
    given_name: str
    family_name: str
    about: str
    groups: tuple[str, ...] = ("everyone",)
    app_roles: tuple[str, ...] = ()
    guest: bool = False
    mail_domain: str = MAIL_DOMAIN
    disabled: bool = False
    claims: dict[str, Any] = field(default_factory=dict)

    @property
    def display_name(self) -> str:
        return f"{self.given_name} {self.family_name}".strip()

    @property
    def email(self) -> str:
        return f"{self.name}@{self.mail_domain}"


GUEST_IDP = f"https://sts.windows.net/{OTHER_TENANT_ID}/"

# 201 groups: one more than the 200 that Entra puts into a token (fact A15).
_MANY = ("everyone", "airflow_prod_admin", *(f"project_{n:03}" for n in range(1, 200)))

TABLE = (
    Person(
        name="ada",
        oid="a0a0a0a0-0001-4000-8000-000000000001",
        given_name="Ada",
        family_name="Lovelace",
        about="Runs production: her group airflow_prod_admin makes her an administrator.",
        groups=("everyone", "airflow_prod_admin"),
    ),
    Person(
        name="otto",
        oid="a0a0a0a0-0002-4000-8000-000000000002",
        given_name="Otto",
        family_name="Lilienthal",
        about="Operates pipelines, by the group airflow_prod_op.",
        groups=("everyone", "airflow_prod_op"),
    ),
    Person(
        name="vera",
        oid="a0a0a0a0-0003-4000-8000-000000000003",
        given_name="Vera",
        family_name="Rubin",
        about="Only looks, by the group airflow_prod_viewer.",
        groups=("everyone", "airflow_prod_viewer"),
    ),
    Person(
        name="nora",
        oid="a0a0a0a0-0004-4000-8000-000000000004",
        given_name="Nora",
        family_name="Stone",
        about="Works here, but no rule knows her only group, everyone.",
    ),
    Person(
        name="hugo",
        oid="a0a0a0a0-0005-4000-8000-000000000005",
        given_name="Hugo",
        family_name="Rivera",
        about="A guest of another company, invited into airflow_prod_viewer.",
        groups=("everyone", "airflow_prod_viewer"),
        guest=True,
        mail_domain="fabrikam.example",
    ),
    Person(
        name="over",
        oid="a0a0a0a0-0006-4000-8000-000000000006",
        given_name="Olga",
        family_name="Overton",
        about="In 201 groups, too many for an Entra token; one is airflow_prod_admin.",
        groups=_MANY,
    ),
)

_MERGEABLE: dict[str, type] = {
    "given_name": str,
    "family_name": str,
    "about": str,
    "groups": list,
    "app_roles": list,
    "guest": bool,
    "mail_domain": str,
    "oid": str,
    "disabled": bool,
    "claims": dict,
}


class People:
    """The table as it is now; `put` merges, `reset` forgets every change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.population: Population | None = None
        """The directory, which follows every change here and knows who was deleted there."""
        self.reset()

    def reset(self) -> None:
        self._rows = {person.name: person for person in TABLE}

    def get(self, name: str) -> Person | None:
        """A person of the table or of the crowd; one who was deleted comes as a disabled one."""
        if self.population is None:
            return self._rows.get(name)
        entry = self.population.named(name)
        return None if entry is None else entry.as_person()

    def rows(self) -> list[Person]:
        return list(self._rows.values())

    def all(self) -> list[Person]:
        """The table, without those who were deleted: who is offered at sign-in."""
        known = (self.population.named(row.name) if self.population else None for row in self.rows())
        return [
            row
            for row, entry in zip(self.rows(), known, strict=True)
            if entry is None or entry.deleted is None
        ]

    def put(self, name: str, changes: dict[str, Any]) -> Person:
        """Merge `changes` into a person, making one if there is none; a bad field is a ValueError."""
        checked = {key: _checked(key, value) for key, value in changes.items()}
        with self._lock:
            person = (
                self._rows.get(name)
                or self._of_crowd(name)
                or Person(
                    name=name,
                    oid=str(uuid5(_NAMESPACE, f"person:{name}")),
                    given_name=name.capitalize(),
                    family_name="Newcomer",
                    about="Made by the control API.",
                )
            )
            if "claims" in checked:
                checked["claims"] = {**person.claims, **checked["claims"]}
            self._rows[name] = replace(person, **checked)
        if self.population is not None:
            self.population.follow(self._rows[name])
        return self._rows[name]

    def _of_crowd(self, name: str) -> Person | None:
        """Somebody generated whom a change makes one of the table, with the oid they had."""
        entry = self.population.named(name) if self.population else None
        return None if entry is None else replace(entry.as_person(), disabled=entry.disabled)


def _checked(key: str, value: Any) -> Any:
    kind = _MERGEABLE.get(key)
    if kind is None:
        raise ValueError(f"a person has no field {key!r}; known fields: {', '.join(sorted(_MERGEABLE))}")
    if not isinstance(value, kind):
        raise ValueError(f"{key!r} must be a {kind.__name__}")
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ValueError(f"{key!r} must be a list of strings")
        return tuple(value)
    return value


def derived_id(person: Person, purpose: str) -> str:
    """A second identifier of the same person, stable and unrelated to the first one."""
    number = crowd_number(person.oid, "entra")
    if number is not None and purpose in _CROWD_HEADS:
        return crowd_oid(number, purpose)
    return str(uuid5(UUID(person.oid), purpose))


# The crowd's ids are counted, not hashed: 100,000 people need no table to be found by any of them.
_CROWD_HEADS = {"entra": "c0de0001", "pingone": "c0de0002", "scim": "c0de0003", "generic": "c0de0004"}


def crowd_oid(number: int, purpose: str = "entra") -> str:
    return f"{_CROWD_HEADS[purpose]}-0000-4000-8000-{number:012x}"


def crowd_number(wanted: str, purpose: str) -> int | None:
    """Whose id it is, if it is one of the crowd's."""
    head = f"{_CROWD_HEADS[purpose]}-0000-4000-8000-"
    if len(wanted) != 36 or not wanted.startswith(head):
        return None
    try:
        return int(wanted[len(head) :], 16)
    except ValueError:
        return None
