"""The language of ``role_mapping.yaml``: what may be written, and what it compiles to.

What must stay true: a rule that this version does not understand is a fault, never a rule that
quietly does less; and a mapping with a fault yields no mapping at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from airflow_sso import yaml_document
from airflow_sso.yaml_document import Document, Place

#: Roles that every Airflow has, before its database says more.
BUILT_IN_ROLES = frozenset({"Admin", "Op", "User", "Viewer", "Public"})

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: A distinguished name of two or more parts (RFC 4514); a comma may be escaped.
_DN = re.compile(r"\s*[A-Za-z][\w.-]*\s*=(?:[^,\\]|\\.)*(?:,\s*[A-Za-z][\w.-]*\s*=(?:[^,\\]|\\.)*)+")
_DN_SPACE = re.compile(r"\s*(?<!\\)([,=+])\s*")


def comparable(value: str) -> str:
    """``value`` as it is compared: exactly, but GUIDs and DNs without regard to case (RFC 4517)."""
    if "=" in value and len(value) <= 1000:
        return _DN_SPACE.sub(r"\1", value.strip()).casefold() if _DN.fullmatch(value) else value
    return value.lower() if _GUID.fullmatch(value) else value


class _WrittenRule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    group: str | None = None
    app_role: str | None = None
    claim: str | None = None
    equals: str | int | bool | None = None
    name: str | None = None
    roles: tuple[str, ...] | None = None
    deny: Literal[True] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_role_is_a_list(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("roles"), str):
            return {**data, "roles": [data["roles"]]}
        return data

    @model_validator(mode="after")
    def _says_one_thing(self) -> _WrittenRule:
        facts = [key for key in ("group", "app_role", "claim") if getattr(self, key) is not None]
        if len(facts) != 1:
            raise ValueError("must have exactly one of group, app_role, claim")
        if (self.claim is None) != (self.equals is None):
            raise ValueError("claim goes with equals: {claim: department, equals: Finance, roles: [...]}")
        if (self.roles is None) == (self.deny is None):
            raise ValueError("must have exactly one of roles and deny: true")
        if self.roles == ():
            raise ValueError("roles must name at least one role")
        value = str(getattr(self, facts[0])) if not self.claim else str(self.equals)
        if not value or not getattr(self, facts[0]):
            raise ValueError(f"{facts[0]} must not be empty")
        if "*" in value and not self.claim:
            raise ValueError("patterns with * are not part of this version; write the whole name or id")
        return self


class _WrittenMapping(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    version: Literal[1]
    rules: tuple[_WrittenRule, ...]
    no_match: Literal["deny"] | tuple[str, ...] = "deny"
    manual_roles: Literal["remove", "keep"] = "remove"
    protected_roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule. ``number`` counts from 1, as people do; ``line`` is where it is written."""

    number: int
    kind: Literal["group", "app_role", "claim"]
    key: str
    """The claim's path; for group and app role the kind itself."""
    value: str | int | bool
    roles: frozenset[str]
    deny: bool
    name: str | None
    line: int | None

    @property
    def label(self) -> str:
        """What people call it: its name, else what it asks for."""
        return self.name or f"{self.key.replace(':', ' ')} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedRole:
    """A role that the mapping file makes, whole.

    ``like``
        the role whose permissions it has too.
    ``permissions``
        (action, resource) as Airflow names them: ``("can_read", "DAG Runs")``.
    ``dags``
        a pattern of DAG ids, in which ``*`` stands for any text, and what may be done with those:
        ``read``, ``edit``, ``delete``, ``trigger``.
    """

    name: str
    like: str | None = None
    permissions: frozenset[tuple[str, str]] = frozenset()
    dags: tuple[tuple[str, frozenset[str]], ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping in force. ``index`` finds the rules of one fact's value without reading the others."""

    rules: tuple[Rule, ...]
    no_match: frozenset[str]
    keeps_manual_roles: bool
    """Whether roles that people were given by hand stay (``manual_roles: keep``)."""
    protected_roles: frozenset[str]
    """Roles that no rule gives, and that no sign-in takes."""
    index: MappingOf[tuple[str, str | int | bool], tuple[Rule, ...]] = field(repr=False)
    facts: frozenset[str] = field(repr=False)
    """What the rules read: ``group``, ``app_role``, or a claim path."""
    denying_facts: frozenset[str] = field(repr=False)
    owned_roles: tuple[OwnedRole, ...] = ()
    """The roles that the file makes, under ``roles:``."""

    @property
    def group_values(self) -> frozenset[str]:
        """Every group that a rule names, as it writes it."""
        return frozenset(
            rule.value for rule in self.rules if isinstance(rule.value, str) and rule.key == "group"
        )

    @property
    def role_names(self) -> frozenset[str]:
        return self.no_match.union(*(rule.roles for rule in self.rules))


def compile_rules(
    rules: Collection[Rule],
    no_match: Collection[str] = (),
    *,
    keeps_manual_roles: bool = False,
    protected_roles: Collection[str] = (),
) -> Mapping:
    """Arrange rules for deciding: by fact and value, so that rules which do not match cost nothing."""
    index: dict[tuple[str, str | int | bool], tuple[Rule, ...]] = {}
    for rule in rules:
        at = (rule.key, comparable(rule.value) if isinstance(rule.value, str) else rule.value)
        index[at] = (*index.get(at, ()), rule)
    return Mapping(
        rules=tuple(rules),
        no_match=frozenset(no_match),
        keeps_manual_roles=keeps_manual_roles,
        protected_roles=frozenset(protected_roles),
        index=index,
        facts=frozenset(rule.key for rule in rules),
        denying_facts=frozenset(rule.key for rule in rules if rule.deny),
    )


def understand(document: Document, known_roles: Collection[str] | None) -> Mapping | None:
    """The mapping that a document says, or ``None`` after noting every fault in it.

    :param known_roles: names of the roles that exist; ``None`` when the document was accepted before, and
        roles may have gone since.
    """
    data = document.data
    if document.faults:
        return None
    if not isinstance(data, dict):
        document.add((), "must start with version: 1 and rules:")
        return None
    written = yaml_document.validate(document, _WrittenMapping, data)
    if written is None:
        return None
    rules = [_compile(document, number, rule) for number, rule in enumerate(written.rules)]
    no_match = () if written.no_match == "deny" else written.no_match
    if written.no_match == ():
        document.add(("no_match",), "write deny, or a list of roles")
    if known_roles is not None:
        _report_unknown_roles(document, written, no_match, known_roles)
    _report_repeated_rules(document, rules)
    if document.faults:
        return None
    return compile_rules(
        rules,
        no_match,
        keeps_manual_roles=written.manual_roles == "keep",
        protected_roles=written.protected_roles,
    )


def _compile(document: Document, position: int, written: _WrittenRule) -> Rule:
    kind: Literal["group", "app_role", "claim"]
    if written.group is not None:
        kind, key, value = "group", "group", written.group
    elif written.app_role is not None:
        kind, key, value = "app_role", "app_role", written.app_role
    else:
        kind, key, value = "claim", f"claim:{written.claim}", written.equals  # type: ignore[assignment]
    return Rule(
        number=position + 1,
        kind=kind,
        key=key,
        value=value,
        roles=frozenset(written.roles or ()),
        deny=bool(written.deny),
        name=written.name,
        line=document.lines.get(("rules", position)),
    )


def _report_unknown_roles(
    document: Document, written: _WrittenMapping, no_match: Collection[str], known_roles: Collection[str]
) -> None:
    places: list[tuple[Place, str]] = [
        (("rules", i, "roles", j), role)
        for i, rule in enumerate(written.rules)
        for j, role in enumerate(rule.roles or ())
    ]
    places += [(("no_match", j), role) for j, role in enumerate(no_match)]
    places += [(("protected_roles", j), role) for j, role in enumerate(written.protected_roles)]
    for place, role in places:
        if role in written.protected_roles and place[0] != "protected_roles":
            document.add(place, f"{role} is one of protected_roles, which no rule may give")
        elif role not in known_roles:
            close = difflib.get_close_matches(role, sorted(known_roles), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known_roles))}"
            document.add(place, f"there is no role {role!r}; {hint}")


def _report_repeated_rules(document: Document, rules: Collection[Rule]) -> None:
    seen: dict[object, Rule] = {}
    for rule in rules:
        value = comparable(rule.value) if isinstance(rule.value, str) else rule.value
        what = (rule.key, type(value), value, rule.roles, rule.deny)
        if what in seen:
            first = seen[what]
            at = f"line {first.line}" if first.line else f"rule {first.number}"
            document.add(("rules", rule.number - 1), f"says the same as the one in {at}")
        seen.setdefault(what, rule)
