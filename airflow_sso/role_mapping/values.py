"""How a value that a provider sends is compared with a value that a rule writes.

What must stay true: a value is compared whole and exactly, GUIDs and distinguished names without regard
to case; a pattern matches whole values only and takes time in proportion to their length, whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import re2

Value = str | int | bool

#: Patterns that one file may have, and the longest value that any of them matches, in bytes.
MOST_PATTERNS = 500
LONGEST_VALUE = 1024
_LONGEST_PATTERN = 500  # characters
_MOST_INSTRUCTIONS = 2000

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: A distinguished name of two or more parts (RFC 4514); a comma may be escaped.
_DN = re.compile(r"\s*[A-Za-z][\w.-]*\s*=(?:[^,\\]|\\.)*(?:,\s*[A-Za-z][\w.-]*\s*=(?:[^,\\]|\\.)*)+")
_DN_SPACE = re.compile(r"\s*(?<!\\)([,=+])\s*")
#: What would tell the middle of a text of several values from its ends.
_ENDS = re.compile(r"\\[AzZCQ]|\(\?[A-Za-z]*[msU-]")


def comparable(value: str) -> str:
    """``value`` as it is compared: exactly, but GUIDs and DNs without regard to case (RFC 4517)."""
    if "=" in value and len(value) <= 1000:
        return _DN_SPACE.sub(r"\1", value.strip()).casefold() if _DN.fullmatch(value) else value
    return value.lower() if len(value) == 36 and _GUID.fullmatch(value) else value


def key_of(value: Value) -> tuple[type, Value]:
    """What two values have in common when they count as the same: 1 and True do not."""
    return type(value), comparable(value) if isinstance(value, str) else value


def is_glob(text: str) -> bool:
    """Whether a plain value has a star that stands for other text."""
    return "*" in text.replace("\\*", "")


def unescaped(text: str) -> str:
    """A plain value without stars, as it is meant: ``\\*`` is a star."""
    return text.replace("\\*", "*")


class BadPattern(ValueError):
    """A pattern that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A value that a rule asks for, and what the groups of its pattern caught."""

    value: Value
    captures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """A glob or a regular expression over a whole value.

    Made by :func:`glob` and :func:`expression`.
    """

    text: str
    """As it is written, with the slashes that tell an expression from a glob."""
    groups: int
    ignores_form: bool
    """Whether it is about distinguished names, whose case and blanks make no difference."""
    whole: Any = field(repr=False, compare=False)
    in_lines: Any = field(repr=False, compare=False)

    def hits(self, values: Haystack) -> tuple[Hit, ...]:
        """Every value that matches.

        All values are searched in one go, as lines of one text; only those that matched there are looked
        at again, for what was caught.
        """
        found = []
        lines = values.as_names if self.ignores_form else values.plain
        for match in self.in_lines.finditer(lines.text):
            line = match.group(0)
            exact = self.whole.fullmatch(line)
            if exact is not None:
                captures = tuple(caught or "" for caught in exact.groups())
                found += [Hit(value, captures) for value in lines.values[line]]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Lines:
    text: str
    values: dict[str, list[str]]


class Haystack:
    """The values of one fact, arranged for patterns.

    Empty ones, those of more than one line and those longer than :data:`LONGEST_VALUE` match none.
    """

    def __init__(self, values: Collection[Value]) -> None:
        self._values = [
            value
            for value in values
            if isinstance(value, str) and value and "\n" not in value and len(value) <= LONGEST_VALUE
            if value.isascii() or len(value.encode(errors="replace")) <= LONGEST_VALUE
        ]

    @cached_property
    def plain(self) -> _Lines:
        """The values as they are."""
        return _Lines("\n".join(self._values), {value: [value] for value in self._values})

    @cached_property
    def as_names(self) -> _Lines:
        """The values, distinguished names without blanks around their signs."""
        lines: dict[str, list[str]] = {}
        for value in self._values:
            is_name = "=" in value and _DN.fullmatch(value)
            lines.setdefault(_DN_SPACE.sub(r"\1", value.strip()) if is_name else value, []).append(value)
        return _Lines("\n".join(lines), lines)


def glob(text: str) -> Pattern:
    """A plain value with stars, each of which stands for any text and catches it.

    :raises BadPattern: when it cannot be used.
    """
    is_name = _DN.fullmatch(text) is not None
    parts = re.split(r"(\\\*|\*)", _DN_SPACE.sub(r"\1", text.strip()) if is_name else text)
    expression = "".join(
        "(.*)" if part == "*" else re2.escape("*" if part == "\\*" else part) for part in parts
    )
    return _compiled(text, f"(?i:{expression})" if is_name else expression, ignores_form=is_name)


def expression(text: str) -> Pattern:
    """A regular expression in RE2's language, over the whole value.

    :raises BadPattern: when it cannot be used.
    """
    if _ENDS.search(text):
        raise BadPattern(
            "is matched against the whole value, of one line, anyway: leave out \\A, \\z, \\C, \\Q and the "
            "flags m, s, U"
        )
    return _compiled(f"/{text}/", text, ignores_form=False)


def _compiled(text: str, expression: str, *, ignores_form: bool) -> Pattern:
    if len(text) > _LONGEST_PATTERN:
        raise BadPattern(f"is longer than {_LONGEST_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_nl = True
    try:
        whole = re2.compile(expression, options)
        in_lines = re2.compile(f"(?m)^(?:{expression})$", options)
    except re2.error as cause:
        said = cause.args[0] if cause.args else ""
        words = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise BadPattern(f"is no regular expression of RE2's language: {words}") from None
    if in_lines.programsize > _MOST_INSTRUCTIONS:
        raise BadPattern("repeats too much: write it shorter")
    return Pattern(text, whole.groups, ignores_form, whole, in_lines)


def claim_values(claims: Mapping[str, Any], path: str) -> frozenset[Value] | None:
    """The scalars at a claim path, dots leading into nested objects; absent is unknown."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return None
    several = value if isinstance(value, list) else [value]
    return frozenset(one for one in several if isinstance(one, str | int | bool))
