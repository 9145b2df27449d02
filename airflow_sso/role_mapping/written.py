"""What may be written in ``role_mapping.yaml``, key by key; also the source of its JSON Schema.

What must stay true: a key or a value that this version does not know is a fault, never something that
quietly does less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from airflow_sso.role_mapping.values import Value
from airflow_sso.setting_types import Duration

FACTS = ("group", "app_role", "client", "provider", "protocol")
OPERATORS = ("equals", "in", "contains", "matches")
_JOINTS = ("all", "any", "not")
_LONGEST_ROLE = 64  # characters; as long as Airflow's column is
_EXPRESSION_SCHEMA = {"type": "string", "minLength": 1, "description": "a regular expression (RE2)"}
_TEXT_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1, "description": "the whole value; * stands for any text"},
        {
            "type": "object",
            "properties": {"matches": _EXPRESSION_SCHEMA},
            "required": ["matches"],
            "additionalProperties": False,
        },
    ]
}
_ACTION = r"^(can_[a-z_]+|menu_access)$"
_SCALAR_SCHEMA = {"type": ["string", "integer", "boolean"]}


@dataclass(frozen=True, slots=True)
class Expression:
    """``{matches: ...}`` in place of a plain value."""

    text: str


def _text(value: object) -> object:
    if isinstance(value, str):
        if not value:
            raise ValueError("must not be empty")
        return value
    if isinstance(value, dict) and set(value) == {"matches"} and isinstance(value["matches"], str):
        return Expression(value["matches"])
    if isinstance(value, bool):
        raise ValueError(f"must be text, and YAML reads it as {str(value).lower()}: put it in quotes")
    if isinstance(value, int | float):
        raise ValueError(f"must be text: put it in quotes, '{value}'")
    if isinstance(value, list):
        raise ValueError("is one value; for several write any: [{...}, {...}]")
    raise ValueError("must be text, or {matches: 'a regular expression'}")


def _scalar(value: object) -> object:
    if isinstance(value, str) and not value:
        raise ValueError("must not be empty")
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, list):
        raise ValueError("is one value; for one of several write in: [Berlin, Paris]")
    raise ValueError("must be text, a whole number, true or false")


def _scalars(value: object) -> object:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of values: [Berlin, Paris]")
    return tuple(_scalar(one) for one in value)


def _names(value: object) -> object:
    """One role is a list, too."""
    return (value,) if isinstance(value, str) else value


def _roles_or_deny(value: object) -> object:
    if value != "deny" and not (isinstance(value, list) and value):
        raise ValueError("write deny, or a list of roles: [Viewer]")
    return value


def _day(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("must be a day that exists, written 2027-06-30; it counts to the end of that day, UTC")


def _networks(value: object) -> object:
    written = [value] if isinstance(value, str) else value
    if not isinstance(written, list) or not written:
        raise ValueError("must be networks: [10.0.0.0/8, 2001:db8::/32]")
    try:
        return tuple(ip_network(one) for one in written)
    except (ValueError, TypeError) as cause:
        raise ValueError(f"must be networks, such as 10.0.0.0/8: {cause}") from None


def _action(value: str) -> str:
    if not re.fullmatch(_ACTION, value):
        raise ValueError(
            "must be an action as Airflow names it: can_read, can_create, can_edit, can_delete or menu_access"
        )
    return value


Text = Annotated[str | Expression, BeforeValidator(_text), WithJsonSchema(_TEXT_SCHEMA)]
Scalar = Annotated[Value, BeforeValidator(_scalar), WithJsonSchema(_SCALAR_SCHEMA)]
Scalars = Annotated[
    tuple[Value, ...],
    BeforeValidator(_scalars),
    WithJsonSchema({"type": "array", "minItems": 1, "items": _SCALAR_SCHEMA}),
]
Action = Annotated[str, AfterValidator(_action), WithJsonSchema({"type": "string", "pattern": _ACTION})]
RoleName = Annotated[str, Field(min_length=1, max_length=_LONGEST_ROLE)]
RoleNames = Annotated[
    tuple[RoleName, ...],
    BeforeValidator(_names),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]
#: Two spellings in one field: without the discriminator a wrong role would be reported as a wrong "deny".
NoMatch = Annotated[
    Annotated[Literal["deny"], Tag("deny")] | Annotated[tuple[RoleName, ...], Tag("roles")],
    Discriminator(lambda value: "deny" if value == "deny" else "roles"),
    BeforeValidator(_roles_or_deny),
]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    BeforeValidator(_networks),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Within = Annotated[Duration, WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,6} *[smhd]$"})]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


class _ClaimTest(_Strict):
    claim: Annotated[str, Field(min_length=1)] | None = None
    """A claim's name, or a path with dots: address.country."""
    equals: Scalar | None = None
    """The claim's whole value; a star stands for any text. Of a list any entry may be it."""
    in_: Scalars | None = Field(None, alias="in")
    """Whole values, of which one will do."""
    contains: Scalar | None = None
    """Of a claim that is a list: one of its entries."""
    matches: Annotated[str, Field(min_length=1)] | None = None
    """A regular expression over the whole value (RE2)."""

    @property
    def operator(self) -> str | None:
        """Which of :data:`OPERATORS` is written, ``None`` unless it is one."""
        written = [name for name in OPERATORS if getattr(self, _attribute(name)) is not None]
        return written[0] if len(written) == 1 else None

    def _check_operator(self) -> None:
        written = [name for name in OPERATORS if getattr(self, _attribute(name)) is not None]
        if self.claim is None and written:
            raise ValueError(f"{written[0]} goes with claim: {{claim: department, {written[0]}: ...}}")
        if self.claim is not None and len(written) != 1:
            raise ValueError(
                "claim goes with exactly one of equals, in, contains, matches: "
                "{claim: department, equals: Finance}"
            )


class WrittenCondition(_ClaimTest):
    """What is asked of somebody: exactly one fact, or ``all``, ``any``, ``not``."""

    group: Text | None = None
    """A group's id or name, as the provider sends it; a star stands for any text."""
    app_role: Text | None = None
    """An app role's value (Entra)."""
    client: Text | None = None
    """Of a machine: the application that calls."""
    provider: Text | None = None
    """The name in ``sso.yaml`` of the provider that somebody signed in through."""
    protocol: Literal["oidc", "saml"] | None = None
    """How they signed in."""
    all_: Annotated[tuple[WrittenCondition, ...], Field(min_length=1)] | None = Field(None, alias="all")
    """Every part must hold."""
    any_: Annotated[tuple[WrittenCondition, ...], Field(min_length=1)] | None = Field(None, alias="any")
    """One part that holds is enough."""
    not_: WrittenCondition | None = Field(None, alias="not")
    """It must not hold, and that must be known."""

    @property
    def asks(self) -> str:
        """The one key that says what is asked."""
        return self._asked()[0]

    def _asked(self) -> list[str]:
        return [name for name in (*FACTS, "claim", *_JOINTS) if getattr(self, _attribute(name)) is not None]

    @model_validator(mode="after")
    def _asks_one_thing(self) -> WrittenCondition:
        asked = self._asked()
        if len(asked) != 1:
            raise ValueError(
                f"must have exactly one of {', '.join((*FACTS, 'claim', *_JOINTS))}"
                + (
                    f", and has {' and '.join(asked)}; for both write all: [{{...}}, {{...}}]"
                    if asked
                    else ""
                )
            )
        self._check_operator()
        return self


class WrittenRule(WrittenCondition):
    """A condition, and what becomes of whom it holds for."""

    name: str | None = None
    """For people; it decides nothing."""
    roles: RoleNames | None = None
    """What they get; {1} stands for what the first star caught."""
    deny: Literal[True] | None = None
    """Refuses, whatever else holds."""
    until: Day | None = None
    """The last day on which the rule counts, UTC."""
    for_: Literal["people", "machines"] = Field("people", alias="for")
    """Whom the rule is about."""

    @model_validator(mode="after")
    def _does_one_thing(self) -> WrittenRule:
        if (self.roles is None) == (self.deny is None):
            raise ValueError("must have exactly one of roles and deny: true")
        if self.roles == ():
            raise ValueError("roles must name at least one role")
        return self


class WrittenRequirement(_ClaimTest):
    """What must hold of a sign-in itself: ``claim``, or ``address``."""

    within: Within | None = None
    """With ``claim: auth_time``: how long ago the person may have proved who they are."""
    address: Networks | None = None
    """Where the browser's address may be: 10.0.0.0/8."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> WrittenRequirement:
        if (self.claim is None) == (self.address is None):
            raise ValueError("must have exactly one of claim and address")
        if self.claim == "auth_time":
            if self.within is None or self.operator is not None:
                raise ValueError("auth_time goes with within: {claim: auth_time, within: 8h}")
        elif self.within is not None:
            raise ValueError("within goes with claim: auth_time")
        else:
            self._check_operator()
        return self


class WrittenRole(_Strict):
    """A role that the file makes."""

    like: RoleName | None = None
    """The role whose permissions it has too."""
    permissions: Mapping[str, tuple[Action, ...]] = {}
    """What it may do, by Airflow's names: resource, and the actions on it."""
    dags: Mapping[str, tuple[Literal["read", "edit", "delete", "trigger"], ...]] = {}
    """What it may do with DAGs, by a pattern of their ids."""


class WrittenMapping(_Strict):
    """The file."""

    version: Literal[1]
    """Of the language."""
    rules: tuple[WrittenRule, ...]
    """Who gets what. They add up; deny wins; the order means nothing."""
    require: tuple[WrittenRequirement, ...] = ()
    """What must hold of a sign-in, such as a second factor; it gives no role."""
    no_match: NoMatch = "deny"
    """What becomes of whom no rule gives a role: deny, or a list of roles."""
    manual_roles: Literal["remove", "keep"] = "remove"
    """What becomes of roles that were given by hand."""
    protected_roles: tuple[RoleName, ...] = ()
    """Roles that no rule gives and no sign-in takes."""
    roles: Mapping[RoleName, WrittenRole | None] = {}
    """Roles that this file makes; a name with a star at its end lists what a pattern may give."""


def _attribute(key: str) -> str:
    """The attribute of a key; three of them are Python's own words, one a function's name."""
    return f"{key}_" if key in ("in", "all", "any", "not") else key


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors; what only shows between two values is for ``lint``."""
    made = _tidied(WrittenMapping.model_json_schema(by_alias=True))
    parts = made["$defs"]
    one_fact = [{"required": [name]} for name in (*FACTS, "claim", *_JOINTS)]
    parts["WrittenCondition"]["oneOf"] = one_fact
    parts["WrittenRule"]["allOf"] = [
        {"oneOf": one_fact},
        {"oneOf": [{"required": ["roles"]}, {"required": ["deny"]}]},
    ]
    parts["WrittenRequirement"]["oneOf"] = [{"required": ["claim"]}, {"required": ["address"]}]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "role_mapping.yaml of airflow-sso",
    }


def _tidied(part: Any) -> Any:
    """Without what editors would show as noise: a key that is left out is simply not there."""
    if isinstance(part, list):
        return [_tidied(one) for one in part]
    if not isinstance(part, dict):
        return part
    kept = {
        key: _tidied(value)
        for key, value in part.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    choices = kept.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        choices.remove({"type": "null"})
        if len(choices) == 1:
            del kept["anyOf"]
            kept |= choices[0]
    return kept
