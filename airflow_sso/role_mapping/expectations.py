"""What people expect of a mapping, kept beside it: who is to get exactly which roles, or be refused.

Pure. What must stay true: a key that is not known here is a fault, an expectation says what came and why, and
a file without one proves nothing and is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from airflow_sso import yaml_document
from airflow_sso.role_mapping.conditions import Facts
from airflow_sso.role_mapping.decide import RoleDecision, decide_by_facts
from airflow_sso.role_mapping.explain import CODES, Explanation, explain
from airflow_sso.role_mapping.rules import Mapping as RoleMapping
from airflow_sso.role_mapping.values import Value
from airflow_sso.role_mapping.written import Day, RoleName, Scalar
from airflow_sso.yaml_document import Document


def _values(value: object) -> object:
    """One value is a list, too; ``unknown`` is a word of ours."""
    if value == "unknown":
        return None
    return value if isinstance(value, list) else [value]


def _code(value: object) -> object:
    if value not in CODES:
        raise ValueError(f"a mapping refuses with {', '.join(CODES)}")
    return value


_Text = Annotated[str, Field(min_length=1, strict=True)]
_Texts = Annotated[frozenset[_Text] | None, BeforeValidator(_values)]
_Scalars = Annotated[frozenset[Scalar] | None, BeforeValidator(_values)]


class Expectation(BaseModel):
    """One entry of the file: what is known of a made-up person, and what they are to get.

    ``groups`` and ``app_roles`` are empty unless they are written, and unknown where that word is written; a
    claim that is not written is unknown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: _Text
    groups: _Texts = frozenset()
    app_roles: _Texts = frozenset()
    claims: Mapping[str, _Scalars] = {}
    """By name, or path with dots."""
    provider: _Text | None = None
    """The name in ``sso.yaml`` of the provider that they sign in through."""
    protocol: Literal["oidc", "saml"] | None = None
    on: Day | None = None
    """The day to decide on; default: today."""
    machine: bool = False
    client: _Text | None = None
    """Of a machine: the application that calls."""
    roles: tuple[RoleName, ...] | None = None
    """Exactly these."""
    refused: Annotated[str, BeforeValidator(_code)] | None = None
    """With this code."""

    @model_validator(mode="after")
    def _expects_one_thing(self) -> Expectation:
        if (self.roles is None) == (self.refused is None):
            raise ValueError("must have exactly one of roles and refused")
        if self.roles == ():
            raise ValueError("roles must name at least one role; whoever gets none is refused: SSO-301")
        if self.client is not None and not self.machine:
            raise ValueError("client is about machines; add machine: true")
        return self

    def facts(self, protocols: Mapping[str, str]) -> Facts:
        """What is known of the person.

        :param protocols: what each provider speaks.
        """
        protocol = self.protocol or protocols.get(self.provider or "")
        known: dict[str, frozenset[Value] | None] = {
            "group": self.groups,
            "app_role": self.app_roles,
            "provider": frozenset({self.provider}) if self.provider else None,
            "protocol": frozenset({protocol}) if protocol else None,
            "client": frozenset({self.client}) if self.client else None,
        }
        return {**known, **{f"claim:{path}": values for path, values in self.claims.items()}}


@dataclass(frozen=True, slots=True)
class Judged:
    """An expectation, what the mapping says to it, and why."""

    expectation: Expectation
    line: int | None
    decision: RoleDecision
    why: tuple[Explanation, ...]
    """The rules that hold or are open."""

    @property
    def holds(self) -> bool:
        """Whether it came as expected."""
        expected = self.expectation
        if self.decision.refused_because or expected.refused:
            return self.decision.refused_because == expected.refused
        return self.decision.roles == frozenset(expected.roles or ())


def read(document: Document) -> list[Expectation] | None:
    """Every expectation of a document, or ``None`` after noting every fault in it."""
    if document.faults:
        return None
    if not isinstance(document.data, list) or not document.data:
        document.add((), "must be a list of expectations: - {name: ..., groups: [...], roles: [...]}")
        return None
    found: dict[str, Expectation] = {}
    for position, entry in enumerate(document.data):
        read_one = yaml_document.validate(document, Expectation, entry, (position,))
        if read_one is None:
            continue
        if read_one.name in found:
            document.add((position, "name"), f"another expectation is called {read_one.name!r}, too")
        found[read_one.name] = read_one
    return None if document.faults else list(found.values())


def judge(
    expectations: list[Expectation],
    document: Document,
    mapping: RoleMapping,
    today: date,
    protocols: Mapping[str, str],
) -> list[Judged]:
    """What the mapping says to each; ``document`` is where they were read from."""
    found = []
    for position, one in enumerate(expectations):
        facts, on = one.facts(protocols), one.on or today
        decision = decide_by_facts(facts, mapping, on, machine=one.machine)
        told = explain(facts, mapping, on, machine=one.machine)
        why = tuple(rule for rule in told if rule.counts)
        found.append(Judged(one, document.lines.get((position,)), decision, why))
    return found
