"""A YAML file that remembers on which line each value stands, and turns every fault into a sentence.

Both files that people write (``sso.yaml`` and the role mapping) are read here, so that a fault looks
the same in both: file, line, path, what is wrong, what to write instead. What must stay true: all
faults of a file are reported at once, and no fault message contains a value that was substituted.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from airflow_sso.plain_text import plain
from airflow_sso.secret import SPELLINGS

#: Where a value stands in a document: keys and list positions from the top.
Place = tuple[str | int, ...]

_MAX_NODES = 200_000  # aliases can make a small file huge; the largest real mapping is far below
_MAX_DEPTH = 50
#: In bytes; no more of a file is ever read. A log that lies where the file should be stops no server.
_LARGEST = 5_000_000
#: What pydantic says in Python's words, in those of whoever writes the file.
_PLAIN_WORDS = {
    "tuple_type": "must be a list: [one, another]",
    "list_type": "must be a list: [one, another]",
    "too_short": "must not be empty",
    "string_type": "must be text; put a number, a date, yes and no in quotes",
    "string_too_short": "must not be empty",
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"),
        "must have keys and values: {key: value}",
    ),
}
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)\})")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, where it is, and how to mend it."""

    file: str
    place: Place
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"

    @property
    def where(self) -> str:
        """File, line and column, as editors and terminals make a link of them."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)

    @property
    def sentence(self) -> str:
        """What is wrong, and at which path; one line, whatever the file says."""
        path = spell(self.place)
        return plain(f"{path}: {self.message}" if path else self.message)


def spell(place: Place) -> str:
    """``("providers", 0, "name")`` as ``providers[0].name``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


@dataclass(slots=True)
class Document:
    """What a YAML file says (``data``), where (``lines``, ``columns``), and what is wrong with it."""

    file: str
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    columns: dict[Place, int] = field(default_factory=dict)
    written: dict[Place, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, place: Place, message: str) -> Fault:
        """A fault at ``place``, on the line of the nearest enclosing value that has one."""
        for depth in range(len(place), -1, -1):
            line = self.lines.get(place[:depth])
            if line:
                return Fault(self.file, place, message, line, self.columns.get(place[:depth]))
        return Fault(self.file, place, message)

    def as_written(self, place: Place, value: object) -> str:
        """``value`` as a message may show it: what the file says, never what a variable held."""
        return self.written.get(place, str(value))

    def add(self, place: Place, message: str) -> None:
        """Note a fault."""
        self.faults.append(self.fault(place, message))


def read(path: Path, *, variables: Mapping[str, str] | None = None) -> Document:
    """Read and parse ``path``; see :func:`parse`. A file that cannot be read is one fault."""
    try:
        content = content_of(path)
    except OSError as cause:
        return unreadable(path, cause)
    return decode(content, str(path), variables=variables)


def content_of(path: Path) -> bytes:
    """The bytes of a file; of one that :func:`decode` does not take, the beginning.

    :raises OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(_LARGEST + 1)


def unreadable(path: Path, cause: OSError) -> Document:
    """The document of a file that cannot be read."""
    return Document(str(path), faults=[Fault(str(path), (), f"cannot be read: {cause.strerror}")])


def decode(content: bytes, file: str, *, variables: Mapping[str, str] | None = None) -> Document:
    """Parse the bytes of a file that has been read; see :func:`parse`."""
    if len(content) > _LARGEST:
        most = f"{_LARGEST // 1_000_000} MB"
        return Document(file, faults=[Fault(file, (), f"is larger than {most}, which nobody writes")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Document(file, faults=[Fault(file, (), "is not UTF-8 text")])
    return parse(text, file, variables=variables)


def parse(text: str, file: str, *, variables: Mapping[str, str] | None = None) -> Document:
    """Parse YAML text.

    :param variables: when given, ``${NAME}`` in every string is replaced from it (``$$`` is a dollar).
    """
    document = Document(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (None, None)
        document.faults.append(Fault(file, (), f"is not valid YAML: {cause.problem}{_mend(cause)}", *at))
        return document
    except (yaml.YAMLError, RecursionError):
        document.faults.append(Fault(file, (), "is not valid YAML"))
        return document
    if node is None:
        document.add((), "is empty")
        return document
    try:
        document.data = _Builder(document, variables).build(node, ())
    except (_TooMuch, RecursionError):
        document.faults[:] = [Fault(file, (), "is too large or too deeply nested")]
    return document


def _mend(cause: yaml.MarkedYAMLError) -> str:
    """Most likely meant: spaces, a pattern or ``{1}`` in quotes, or a bracket that is missing above."""
    if "'\\t'" in str(cause.problem):
        return "; that is a tab, and YAML takes spaces"
    if "alias" in f"{cause.context}{cause.problem}":
        return "; text that begins with a star stands in quotes: '*-admins'"
    if str(cause.problem).endswith("but got '{'"):
        return "; text with brackets in it stands in quotes: 'team-{1}', '${NAME}'"
    began, noticed = cause.context_mark, cause.problem_mark
    if began and noticed and "flow" in str(cause.context) and began.line != noticed.line:
        return f"; the bracket in line {began.line + 1} is not closed"
    return ""


class _TooMuch(Exception):
    """The file has more values, or deeper ones, than any that people write."""


class _Builder:
    """Turns composed nodes into plain values, noting lines, duplicate keys and missing variables."""

    def __init__(self, document: Document, variables: Mapping[str, str] | None) -> None:
        self._document = document
        self._variables = variables
        self._count = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node, place: Place) -> Any:
        self._count += 1
        if self._count > _MAX_NODES or len(place) > _MAX_DEPTH:
            raise _TooMuch
        self._note(place, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*place, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                self._note(place, key_node)
                self._document.add(place, "keys must be plain words")
                continue
            if not _is_text(str(key_node.value)):
                self._note(place, key_node)
                self._document.add(place, "has a key with a character that is no text")
                continue
            key = str(key_node.value)
            here = (*place, key)
            if key in result:
                self._note(here, key_node)
                self._document.add(here, "is written twice; the second would silently win")
                continue
            result[key] = self.build(value_node, here)
            self._note(here, key_node)
        return result

    def _note(self, place: Place, node: yaml.Node) -> None:
        """Where a value stands; of one with a key, where the key does."""
        self._document.lines[place] = node.start_mark.line + 1
        self._document.columns[place] = node.start_mark.column + 1

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        if node.tag == "tag:yaml.org,2002:str" or node.tag == "tag:yaml.org,2002:timestamp":
            return self._text(self._substitute(str(node.value), place), place)
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, OverflowError):  # `!!bool perhaps` and its like
            self._document.add(place, "is not a value that can be read here")
            return None

    def _text(self, value: str, place: Place) -> str:
        """``value``, noting what no file name, environment or database takes."""
        if not _is_text(value):
            self._document.add(place, "holds a character that is no text")
            return ""
        return value

    def _substitute(self, text: str, place: Place) -> str:
        if self._variables is None or "$" not in text:
            return text
        self._document.written[place] = text
        variables = self._variables

        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if name is None:
                return "$"
            if name not in variables:
                self._document.add(place, f"${{{name}}}: the environment variable {name} is not set")
                return ""
            return variables[name]

        return _VARIABLE.sub(replace, text)


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def validate(document: Document, model: type[BaseModel], data: Any, place: Place = ()) -> Any:
    """``data`` as a ``model``, or ``None`` after noting every fault in ``document``."""
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        errors = cause.errors(include_url=False, include_input=False, include_context=True)
        for error in errors:
            if error["type"] == "too_short" and _has_more_inside(error["loc"], errors):
                continue  # it is empty only because of what is wrong with its entries
            at = (*place, *_real_steps(error["loc"], data))
            document.add(at, _sentence(document, error, at, model))
        return None


def _has_more_inside(place: Place, errors: Iterable[Any]) -> bool:
    return any(len(one["loc"]) > len(place) and one["loc"][: len(place)] == place for one in errors)


def _real_steps(location: Iterable[str | int], data: Any) -> Place:
    """The steps of a pydantic location that exist in the data or name a missing key of it."""
    steps: list[str | int] = []
    current = data
    for step in location:
        if isinstance(current, dict) and isinstance(step, str):
            steps.append(step)
            current = current.get(step)
        elif isinstance(current, list) and isinstance(step, int):
            steps.append(step)
            current = current[step] if step < len(current) else None
    return tuple(steps)


def _sentence(document: Document, error: Any, at: Place, model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _unknown_key(str(at[-1]), _keys_beside(model, error["loc"]))
    if kind == "secret_reference":
        written = _VARIABLE.fullmatch(document.written.get(at, ""))
        if written and written.group(1):
            return f"a secret is never written here: write {{env: {written.group(1)}}}"
        return f"a secret is never written here: write {SPELLINGS}"
    if kind in ("value_error", "assertion_error"):
        return str(error["ctx"]["error"])
    if kind in _PLAIN_WORDS:
        return _PLAIN_WORDS[kind]
    if kind == "literal_error":
        expected = str(error["ctx"]["expected"])
        return f"must be {expected.lower() if expected in ('True', 'False') else expected}"
    if kind == "string_too_long":
        return f"must have at most {error['ctx']['max_length']} characters"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]


def _keys_beside(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the model knows at the level of an unknown one."""
    current: Any = model
    for step in location[:-1]:
        fields = getattr(current, "model_fields", {})
        field_info = next((one for name, one in fields.items() if step in (name, one.alias)), None)
        if field_info is not None:
            nested = _models_in(field_info.annotation)
            current = nested[0] if nested else current
    return [f.alias or name for name, f in getattr(current, "model_fields", {}).items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]


def _unknown_key(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(sorted(known))}"
    return "is not a key that is known here" + hint


def environment() -> Mapping[str, str]:
    """What ``${NAME}`` is looked up in."""
    return os.environ
