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
_PART = r"\s*[A-Za-z][\w.-]*\s*=[^,\\]*(?:\\.[^,\\]*)*"
_DN = re.compile(f"{_PART}(?:,{_PART})+")
#: Blanks that make no difference: around the sign between two parts and around the ``=`` after a part's type,
#: at the ends; never one that is escaped. Text comes first, so that each blank is looked at once.
_DN_BLANKS = re.compile(
    r"(\\.|[^\s,+\\]+)|\s*([,+])\s*([A-Za-z][\w.-]*)\s*(=)\s*|\A\s+|\s+\Z|(\s+|[,+\\])", re.DOTALL
)
_HAS_SUCH_BLANKS = re.compile(r"\s(?:[,+=]|\Z)|[,+=]\s|\A\s")
_DN_START = re.compile(r"\s*([A-Za-z][\w.-]*)\s*=\s*")
#: What would tell the middle of a text of several values from its ends, where it is not escaped.
_ENDS = re.compile(r"(?:[^\\]|\\[^AzZCQ])*?(?:\\[AzZCQ]|\(\?[A-Za-z]*[msU-])", re.DOTALL)
#: What people miss in RE2's language.
_NOT_LINEAR = re.compile(r"\(\?<?[=!]|\\[1-9]|\(\?P=")


def comparable(value: str) -> str:
    """``value`` as it is compared: exactly, but GUIDs and DNs without regard to case (RFC 4517)."""
    if "=" in value and len(value) <= 1000:
        return _without_blanks(value).casefold() if _DN.fullmatch(value) else value
    return value.lower() if len(value) == 36 and _GUID.fullmatch(value) else value


def _without_blanks(name: str) -> str:
    """A distinguished name without the blanks that make no difference."""
    if not _HAS_SUCH_BLANKS.search(name):
        return name
    start = _DN_START.match(name)
    rest = _DN_BLANKS.sub(r"\1\2\3\4\5", name[start.end() :] if start else name)
    return f"{start[1]}={rest}" if start else rest


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
    expression: str = field(repr=False)
    """The same in RE2's language."""
    ignores_form: bool
    """Whether it is about distinguished names, whose case and blanks make no difference."""
    in_lines: Any = field(repr=False, compare=False)
    """It, compiled to find the lines of a text that match."""

    @property
    def groups(self) -> int:
        """How many parts of a value it catches."""
        return int(self.in_lines.groups)

    def hits(self, values: Haystack) -> tuple[Hit, ...]:
        """Every value that matches.

        All values are searched in one go, as lines of one text.
        """
        lines = values.as_names if self.ignores_form else values.plain
        if not lines.text:
            return ()
        found = []
        for match in self.in_lines.finditer(lines.text):
            captures = tuple((caught or b"").decode() for caught in match.groups())
            found += [Hit(value, captures) for value in lines.values_at(match.group(0))]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Lines:
    """``text`` is what RE2 reads, UTF-8; ``values`` those whose line is another text than they are."""

    text: bytes
    values: dict[bytes, list[str]] = field(default_factory=dict)

    def values_at(self, line: bytes) -> list[str]:
        return self.values.get(line) or [line.decode()]


class Haystack:
    """The values of one fact, arranged for patterns.

    Empty ones, those of more than one line, those longer than :data:`LONGEST_VALUE` and those that are no
    text (half of a surrogate pair) match none.
    """

    def __init__(self, values: Collection[Value]) -> None:
        self._values = [value for value in values if isinstance(value, str) and value]

    @cached_property
    def plain(self) -> _Lines:
        """The values as they are."""
        values = self._values
        text = "\n".join(values)
        # Asked of all at once first: as a rule each will do, and a person may be in a thousand groups.
        longest = max(map(len, values), default=0)
        if not text.isascii() or text.count("\n") >= len(values) or longest > LONGEST_VALUE:
            text = "\n".join(filter(_is_one_line, values))
        return _Lines(text.encode())

    @cached_property
    def as_names(self) -> _Lines:
        """The values, distinguished names without blanks around their signs."""
        lines: dict[bytes, list[str]] = {}
        for value in filter(_is_one_line, self._values):
            is_name = "=" in value and _DN.fullmatch(value)
            lines.setdefault((_without_blanks(value) if is_name else value).encode(), []).append(value)
        return _Lines(b"\n".join(lines), lines)


def _is_one_line(value: str) -> bool:
    if "\n" in value or len(value) > LONGEST_VALUE:
        return False
    if value.isascii():
        return True
    try:
        return len(value.encode()) <= LONGEST_VALUE
    except UnicodeEncodeError:
        return False


def glob(text: str) -> Pattern:
    """A plain value with stars, each of which stands for any text and catches it.

    :raises BadPattern: when it cannot be used.
    """
    # A star may stand for the beginning of a name, too.
    is_name = _DN.fullmatch(f"CN={text}" if text.startswith("*") else text) is not None
    parts = re.split(r"(\\\*|\*)", _without_blanks(text) if is_name else text)
    # In a name it ends at no sign that is escaped: what follows the star is a sign, then.
    star = r"((?:[^\\]|\\.)*)" if is_name else "(.*)"
    expression = "".join(
        star if part == "*" else re2.escape("*" if part == "\\*" else part) for part in parts
    )
    return _compiled(text, f"(?i:{expression})" if is_name else expression, ignores_form=is_name)


def expression(text: str) -> Pattern:
    """A regular expression in RE2's language, over the whole value.

    :raises BadPattern: when it cannot be used.
    """
    if _ENDS.match(text):
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
        re2.compile(expression.encode(), options)  # by itself: no bracket of it closes one of ours
        in_lines = re2.compile(f"(?m)^(?:{expression})$".encode(), options)
    except re2.error as cause:
        said = cause.args[0] if cause.args else ""
        words = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        hint = "; it has neither look-around nor back-references" if _NOT_LINEAR.search(text) else ""
        raise BadPattern(f"is no regular expression of RE2's language: {words}{hint}") from None
    if in_lines.programsize > _MOST_INSTRUCTIONS:
        raise BadPattern("repeats too much: write it shorter")
    return Pattern(text, expression, ignores_form, in_lines)


def claim_values(claims: Mapping[str, Any], path: str) -> frozenset[Value] | None:
    """The scalars at a claim path, dots leading into nested objects; absent is unknown.

    So is what holds anything else: an entry that cannot be read may be the very one that a rule names under
    ``not``.
    """
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return None
    several = value if isinstance(value, list) else [value]
    return frozenset(several) if all(isinstance(one, str | int | bool) for one in several) else None
