"""What a SCIM resource says: attributes by their paths, who it is, whether they may sign in, their groups.

Paths are those of RFC 7644, section 3.10, and names are compared as RFC 7643, section 2.1, says. What
must stay true: an attribute that is not served is told apart from one that is empty, and a value of a
strange type is unreadable rather than a "no".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_sso.directory.failures import DirectoryUnreadable
from airflow_sso.directory.snapshot import USABLE, Observation
from airflow_sso.directory_settings import DirectorySettings

Json = dict[str, Any]
_CORE = "urn:ietf:params:scim:schemas:core:2.0:user"
_ACTIVE = "active"
DISABLED = Observation("unusable", "disabled in the directory")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A path: ``externalId``, ``groups.value``, or ``urn:pingidentity:schemas:User:1.0:entryUUID``."""

    written: str
    schema: str
    names: tuple[str, ...]

    @classmethod
    def at(cls, written: str) -> Attribute:
        """A schema's own dots and colons end at the last colon (fact E10)."""
        schema, _, path = written.rpartition(":")
        return cls(written, schema.lower(), tuple(name.lower() for name in path.split(".")))

    @property
    def asked_by(self) -> str:
        """What asks for it, with all that is below it."""
        schema, colon, path = self.written.rpartition(":")
        return f"{schema}{colon}{path.split('.')[0]}"

    def values(self, resource: Json) -> list[Any] | None:
        """Everything at this path; ``None`` where the resource does not have the attribute.

        :raises DirectoryUnreadable: where it has something else there.
        """
        found: list[Any] = [self._holder(resource)]
        for depth, name in enumerate(self.names):
            below = [_member(one, name, self.written) for one in found]
            if depth == 0 and below == [None]:
                return None
            found = [one for value in below for one in (value if isinstance(value, list) else [value])]
            found = [one for one in found if one is not None]
        return found

    def _holder(self, resource: Json) -> Json:
        """An extension's attributes are under its name, those of the resource's own schema are not."""
        if self.schema and self.schema != _CORE:
            holder = _member(resource, self.schema, self.written)
            if holder is not None:
                if not isinstance(holder, dict):
                    raise DirectoryUnreadable(f"{self.written}: its schema is not an object")
                return holder
            schemas = resource.get("schemas")
            own = schemas[0] if isinstance(schemas, list) and schemas else None
            return resource if isinstance(own, str) and own.lower() == self.schema else {}
        return resource


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a server's users have what is asked about."""

    subject: Attribute
    disabled: Attribute
    disabled_value: str | None
    """The value that means "disabled"; ``None``: true, or of ``active`` false."""
    groups: tuple[Attribute, ...]

    @classmethod
    def of(cls, settings: DirectorySettings) -> Shape:
        disabled = settings.disabled or (_ACTIVE,)
        return cls(
            subject=Attribute.at(settings.subject or "externalId"),
            disabled=Attribute.at(disabled[0]),
            disabled_value=disabled[1].casefold() if len(disabled) > 1 else None,
            groups=tuple(map(Attribute.at, settings.groups or ("groups.value", "groups.display"))),
        )

    @property
    def attributes(self) -> str:
        """All of them, asked for by name: operational ones are not shown otherwise (fact E9)."""
        asked = [self.subject, self.disabled, *self.groups]
        return ",".join(dict.fromkeys(one.asked_by for one in asked))

    def subject_of(self, user: Json) -> str | None:
        """``None`` for an entry without one: nobody who signs in."""
        values = self.subject.values(user)
        if values is None or values == []:
            return None
        if len(values) > 1 or not isinstance(values[0], str):
            raise DirectoryUnreadable(f"a user: {self.subject.written} is not one text")
        return values[0] or None

    def groups_of(self, user: Json) -> set[str] | None:
        """``None`` where the user has no such attribute, which may be an empty one, or one not served."""
        told = [attribute.values(user) for attribute in self.groups]
        texts = [one for values in told for one in values or ()]
        if not all(isinstance(one, str) for one in texts):
            raise DirectoryUnreadable("a user: groups are not texts; see groups under directory:")
        return None if all(values is None for values in told) else set(texts)

    def observed(self, user: Json) -> Observation:
        """What an entry says of its person.

        ``active`` must be told. Another attribute that says "disabled" is an exception to the rule, and
        PingDirectory shows it of nobody else (fact E9).
        """
        values = self.disabled.values(user)
        is_active = self.disabled.names == (_ACTIVE,) and self.disabled.schema in ("", _CORE)
        if not values:
            return Observation("unknown", "active is not told") if is_active else USABLE
        words = [_word(value, self.disabled.written) for value in values]
        if self.disabled_value is not None:
            return DISABLED if self.disabled_value in words else USABLE
        if len(words) > 1 or words[0] not in ("true", "false"):
            raise DirectoryUnreadable(f"a user: {self.disabled.written} is neither true nor false")
        return DISABLED if (words[0] == "true") != is_active else USABLE


def _word(value: Any, written: str) -> str:
    if isinstance(value, bool | int | str):
        return str(value).casefold()
    raise DirectoryUnreadable(f"a user: {written} is neither a text nor true or false")


def _member(holder: Any, name: str, written: str) -> Any:
    """By a name in lower case; ``None`` where there is none, which null means too (RFC 7643, 2.5)."""
    if not isinstance(holder, Mapping):
        raise DirectoryUnreadable(f"{written}: there is something else at this path")
    for key, value in holder.items():
        if key.lower() == name:
            return value
    return None


def text(resource: Json, name: str, what: str) -> str:
    value = _member(resource, name.lower(), what)
    if not isinstance(value, str) or not value:
        raise DirectoryUnreadable(f"{what}: {name} is missing")
    return value


def number(body: Json, name: str) -> int | None:
    value = _member(body, name.lower(), name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise DirectoryUnreadable(f"{name} is not a number")
    return value


def listed(body: Json) -> tuple[int, list[Json]]:
    """``totalResults`` and the resources of a ListResponse (RFC 7644, section 3.4.2)."""
    total = number(body, "totalResults")
    resources = _member(body, "resources", "Resources")
    if resources is None and total == 0:
        resources = []
    if (
        total is None
        or not isinstance(resources, list)
        or not all(isinstance(one, dict) for one in resources)
    ):
        raise DirectoryUnreadable("the answer is not a list of resources")
    if len(resources) > total:
        raise DirectoryUnreadable(f"totalResults is {total}, and {len(resources)} are shown")
    return total, resources
