"""Our files before they are written: values in their order, comments between them, notes beside them.

What must stay true: a comment is one line whatever stands in it, and no secret is ever put in here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from airflow_sso.cli.old_values import Text, Unknown


class Block:
    """Keys and values of YAML in their order, with whole lines of comment between them."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self._lines: list[tuple[str, Any]] = []

    def put(self, key: str, value: Any) -> None:
        self.data[key] = value
        self._lines.append((key, value))

    def say(self, comment: str) -> None:
        """A comment; it is one line, whatever stands in it."""
        self._lines.append(("#", " ".join(comment.split())))

    def lines(self) -> Iterator[str]:
        """The text, line by line."""
        for key, value in self._lines:
            if key == "#":
                yield f"# {value}"
            elif isinstance(value, list) and any(isinstance(one, Block) for one in value):
                yield f"{key}:"
                for one in value:
                    # What is said before the first key stays inside of the entry.
                    for number, line in enumerate(one.lines()):
                        yield f"    {line}" if number else f"  - {line}"
            else:
                yield dumped({key: value})[1:-1]


class OneLine(Block):
    """The same as one line: ``{group: a, roles: [Op]}``."""

    def lines(self) -> Iterator[str]:
        yield dumped(self.data)


class _Dumper(yaml.SafeDumper):
    """Keeps to one line."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _quoted(dumper: _Dumper, text: str) -> yaml.Node:
    broken = len(text.splitlines()) > 1 or text.endswith(("\n", "\r"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if broken else None)


_Dumper.add_representer(str, _quoted)


def dumped(value: Any) -> str:
    """YAML of a list or a mapping, in one line."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=True, allow_unicode=True, width=10**9
    )
    return str(text).rstrip("\n")


@dataclass(slots=True)
class Notes:
    """What people must hear: ``mend`` is what they have to write themselves, ``know`` the rest."""

    mend: list[str] = field(default_factory=list)
    know: list[str] = field(default_factory=list)
    variables: dict[str, None] = field(default_factory=dict)
    """Environment variables that the new files read."""
    renamed: set[str] = field(default_factory=set)
    """New names of providers, where the old one could not stay."""


@dataclass(slots=True)
class Reading:
    """One entry as it is carried over: what the old one says, and where its parts go."""

    old: dict[str, Any]
    name: str
    line: int
    notes: Notes
    block: Block = field(default_factory=Block)
    urls: dict[str, str] = field(default_factory=dict)
    own_code: bool = False
    """Whether the old file works out by itself who somebody is."""

    def mend(self, text: str, line: int | None = None) -> None:
        self.notes.mend.append(f"line {line or self.line}: provider {self.name}: {text}")

    def know(self, text: str) -> None:
        self.notes.know.append(f"line {self.line}: provider {self.name}: {text}")

    def open_line(self, key: str, what: str) -> None:
        """A key that people must write themselves: a comment where it goes."""
        self.block.say(f"{key}: write {what} here")
        self.mend(f"{key} is not in the file: write {what}")

    def text(self, value: Any) -> str | None:
        """A text as ``sso.yaml`` spells it; its environment variables are noted."""
        if isinstance(value, Text):
            for part in value.parts[1::2]:
                self.notes.variables[part] = None
            for variable, default in value.defaults:
                said = (
                    f"without {variable} the old file took {default!r}"
                    if default
                    else f"{variable} had a default"
                )
                self.know(f"{said}; sso.yaml has no such default, so set {variable} everywhere")
            return value.in_yaml
        return value.replace("$", "$$") if isinstance(value, str) and value else None


def why(value: Any) -> str:
    """Why a value that should be a list or a dictionary cannot be read."""
    return value.why if isinstance(value, Unknown) else "it is not written as a list of dictionaries"
