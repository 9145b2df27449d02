"""What an expression in a ``webserver_config.py`` is, as far as the file alone says it.

Nothing is run: constants, names that were given a value before, text put together from known parts, and
the environment's variables by their names. What must stay true: a value is known only if the file alone
determines it, everything else is :class:`Unknown` with its line; and no template, sum or nesting of a
hostile file makes anything large.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

MOST_ENTRIES = 20_000
DEEPEST = 60
_LONGEST_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that only running the file would tell."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Named:
    """A constant of Flask-AppBuilder's: ``AUTH_OAUTH``."""

    name: str


@dataclass(frozen=True, slots=True)
class FromFile:
    """The content of a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text with environment variables in it; ``parts`` alternate: plain, name, plain, name, plain."""

    parts: tuple[str, ...]
    defaults: tuple[tuple[str, str | None], ...] = ()
    """The names, and what the file uses where one is not set."""

    @property
    def only_variable(self) -> str | None:
        """The variable's name, if it is the whole text."""
        return self.parts[1] if len(self.parts) == 3 and not self.parts[0] and not self.parts[2] else None

    @property
    def in_yaml(self) -> str:
        """As ``sso.yaml`` spells it."""
        return "".join(
            f"${{{part}}}" if number % 2 else part.replace("$", "$$")
            for number, part in enumerate(self.parts)
        )


class Evaluator:
    """Evaluates expressions against ``values``, what names stand for, and ``modules``, what was imported."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.modules: dict[str, str] = {}
        self._depth = 0

    def value(self, node: ast.expr) -> Any:
        """What an expression is, as far as the file alone says."""
        evaluate: Callable[[Any], Any] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if evaluate is None or self._depth > DEEPEST:
            return not_here(node.lineno)
        self._depth += 1
        try:
            return evaluate(node)
        finally:
            self._depth -= 1

    def _constant(self, node: ast.Constant) -> Any:
        plain = isinstance(node.value, str | int | float | bool) or node.value is None
        return node.value if plain else not_here(node.lineno)

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.values:
            return self.values[node.id]
        if node.id.startswith("AUTH_"):
            return Named(node.id)  # from flask_appbuilder.const, wherever the file says it is from
        return Unknown(
            node.lineno, "it comes from another module" if node.id in self.modules else "it is not set"
        )

    def _attribute(self, node: ast.Attribute) -> Any:
        return Named(node.attr) if node.attr.startswith("AUTH_") else not_here(node.lineno)

    def _list(self, node: ast.List | ast.Tuple | ast.Set) -> Any:
        found: list[Any] = []
        for one in node.elts:
            if isinstance(one, ast.Starred):
                inner = self.value(one.value)
                found.extend(inner if isinstance(inner, list) else [not_here(one.lineno)])
            else:
                found.append(self.value(one))
        return found

    _tuple = _set = _list

    def _dict(self, node: ast.Dict) -> Any:
        found: dict[Any, Any] = {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            if key_node is None:
                inner = self.value(value_node)
                if not isinstance(inner, dict):
                    return not_here(value_node.lineno)
                found.update(inner)
                continue
            key = self.value(key_node)
            if isinstance(key, list | dict):
                return not_here(key_node.lineno)
            found[key] = self.value(value_node)
        return found

    def _joinedstr(self, node: ast.JoinedStr) -> Any:
        parts: list[Any] = []
        for one in node.values:
            if isinstance(one, ast.FormattedValue):
                plain = one.conversion == -1 and one.format_spec is None
                parts.append(self.value(one.value) if plain else not_here(one.value.lineno))
            else:
                parts.append(self.value(one))
        return _text(parts, node.lineno)

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Add | ast.BitOr):
            return total(left, right, node.lineno)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return _percent(left, right, node.lineno)
        numbers = all(isinstance(one, int | float) and abs(one) < 1e12 for one in (left, right))
        if numbers and isinstance(node.op, ast.Mult):
            return left * right
        return _first_unknown([left, right], node.lineno)

    def _boolop(self, node: ast.BoolOp) -> Any:
        """``os.environ.get("X") or "default"``, and what is known on both sides."""
        first, second = self.value(node.values[0]), self.value(node.values[-1])
        if len(node.values) > 2 or isinstance(first, Unknown | Named | FromFile):
            return _first_unknown([first], node.lineno)
        is_or = isinstance(node.op, ast.Or)
        if isinstance(first, Text):
            plain = is_or and first.only_variable and isinstance(second, str | None)
            return (
                Text(first.parts, ((str(first.only_variable), second),)) if plain else not_here(node.lineno)
            )
        return (first or second) if is_or else (first and second)

    def _compare(self, node: ast.Compare) -> Any:
        left, right = self.value(node.left), self.value(node.comparators[0])
        known = not any(isinstance(one, Unknown | Text | FromFile) for one in (left, right))
        if len(node.ops) > 1 or not known:
            return not_here(node.lineno)
        if isinstance(node.ops[0], ast.Eq | ast.Is):
            return bool(left == right)
        return (
            bool(left != right) if isinstance(node.ops[0], ast.NotEq | ast.IsNot) else not_here(node.lineno)
        )

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not) and isinstance(value, bool | int | str | list | dict | None):
            return not value
        if isinstance(node.op, ast.USub) and isinstance(value, int | float):
            return -value
        return not_here(node.lineno)

    def _ifexp(self, node: ast.IfExp) -> Any:
        condition = self.value(node.test)
        if isinstance(condition, bool | int | str | list | dict | None):
            return self.value(node.body if condition else node.orelse)
        return Unknown(node.lineno, "it depends on a condition that only running it tells")

    def _subscript(self, node: ast.Subscript) -> Any:
        if self._is_environment(node.value):
            return _variable(self.value(node.slice), [], node.lineno)
        holder, key = self.value(node.value), self.value(node.slice)
        if isinstance(holder, dict) and isinstance(key, str | int) and key in holder:
            return holder[key]
        if isinstance(holder, list) and isinstance(key, int) and -len(holder) <= key < len(holder):
            return holder[key]
        return _first_unknown([holder], node.lineno)

    def _is_environment(self, node: ast.expr) -> bool:
        return self._whole_name(node) in ("os.environ", "environ")

    def _whole_name(self, node: ast.expr) -> str:
        """``from datetime import timedelta as td``: ``td`` is ``datetime.timedelta``."""
        first, _, rest = dotted(node).partition(".")
        return f"{self.modules.get(first, first)}.{rest}".rstrip(".")

    def _call(self, node: ast.Call) -> Any:
        name, arguments = self._whole_name(node.func), [self.value(one) for one in node.args]
        named = {word.arg: self.value(word.value) for word in node.keywords if word.arg}
        if name in ("os.environ.get", "os.getenv", "environ.get", "getenv"):
            default = [named["default"]] if "default" in named else arguments[1:]
            return _variable(arguments[0] if arguments else named.get("key"), default, node.lineno)
        if name in ("datetime.timedelta", "timedelta"):
            return _timedelta(arguments, named, node.lineno)
        if name == "dict" and not arguments and len(named) == len(node.keywords):
            return named
        if name in ("str", "list", "dict") and len(arguments) == 1 and not named:
            fits = {"str": str | Text | FromFile, "list": list, "dict": dict}[name]
            return arguments[0] if isinstance(arguments[0], fits) else not_here(node.lineno)
        if isinstance(node.func, ast.Attribute):
            return self._method(node.func, arguments, named, node.lineno)
        return not_here(node.lineno)

    def _method(self, at: ast.Attribute, arguments: list[Any], named: dict[str, Any], line: int) -> Any:
        if at.attr in ("read", "read_text") and isinstance(at.value, ast.Call):
            opened = self._whole_name(at.value.func)
            path = self.value(at.value.args[0]) if at.value.args else None
            if opened in ("open", "Path", "pathlib.Path") and isinstance(path, str):
                return FromFile(path)
        holder = self.value(at.value)
        if at.attr in ("strip", "rstrip", "lstrip") and isinstance(holder, Text | FromFile):
            return holder  # what surrounds the value in the environment is not ours to know
        if isinstance(holder, str) and all(isinstance(one, str) for one in arguments) and not named:
            if at.attr in ("strip", "rstrip", "lstrip") and len(arguments) < 2:
                return str(getattr(holder, at.attr)(*arguments))
            if at.attr in ("lower", "upper") and not arguments:
                return str(getattr(holder, at.attr)())
            if at.attr == "split" and len(arguments) < 2 and arguments != [""]:
                return list(holder.split(*arguments))
        if isinstance(holder, str) and at.attr == "format":
            return _format(holder, arguments, named, line)
        if isinstance(holder, dict) and at.attr == "get" and arguments and isinstance(arguments[0], str):
            return holder.get(arguments[0], arguments[1] if len(arguments) > 1 else None)
        return _first_unknown([holder], line)


def not_here(line: int) -> Unknown:
    """What only running the file would tell."""
    return Unknown(line, "only running the file would tell what it is")


def _first_unknown(values: list[Any], line: int) -> Unknown:
    """What was not known to begin with, else that this is not."""
    return next((one for one in values if isinstance(one, Unknown)), not_here(line))


def dotted(node: ast.expr) -> str:
    """``os.environ.get`` of its syntax tree; empty when it is anything else."""
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(steps)]) if isinstance(node, ast.Name) else ""


def _variable(name: Any, default: list[Any], line: int) -> Any:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return not_here(line)
    if not default or default[0] is None:
        return Text(("", name, ""))
    return Text(("", name, ""), ((name, default[0] if isinstance(default[0], str) else None),))


def _timedelta(arguments: list[Any], named: dict[str, Any], line: int) -> Any:
    order = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")
    whole = {**dict(zip(order, arguments, strict=False)), **named}
    if set(whole) <= set(order) and all(isinstance(one, int | float) for one in whole.values()):
        try:
            return timedelta(**whole)
        except (OverflowError, ValueError):
            pass
    return _first_unknown(list(whole.values()), line)


def total(left: Any, right: Any, line: int) -> Any:
    """``left + right`` of texts, numbers and lists, and ``left | right`` of dictionaries."""
    if isinstance(left, str | Text) and isinstance(right, str | Text):
        return _text([left, right], line)
    if isinstance(left, list) and isinstance(right, list) and len(left) + len(right) < MOST_ENTRIES:
        return [*left, *right]
    if isinstance(left, dict) and isinstance(right, dict) and len(left) + len(right) < MOST_ENTRIES:
        return {**left, **right}
    if all(isinstance(one, int | float) and abs(one) < 1e12 for one in (left, right)):
        return left + right
    return _first_unknown([left, right], line)


def _text(pieces: list[Any], line: int) -> Any:
    """Pieces of text put together, environment variables among them."""
    parts = [""]
    defaults: list[tuple[str, str | None]] = []
    for piece in pieces:
        if isinstance(piece, bool | int | str):
            parts[-1] += str(piece)[:_LONGEST_TEXT]
        elif isinstance(piece, Text):
            parts[-1] += piece.parts[0]
            parts += piece.parts[1:]
            defaults += piece.defaults
        else:
            return _first_unknown([piece], line)
        if sum(map(len, parts)) > _LONGEST_TEXT or len(parts) > DEEPEST:
            return not_here(line)
    return Text(tuple(parts), tuple(defaults)) if len(parts) > 1 else parts[0]


def _percent(template: str, values: Any, line: int) -> Any:
    """``"https://%s/%s" % (host, tenant)``; only ``%s``, ``%d`` and ``%(name)s``."""
    several = list(values) if isinstance(values, list) else [values]

    def pick(name: str | None) -> Any:
        if name is not None:
            return values.get(name) if isinstance(values, dict) else None
        return several.pop(0) if several else None

    return _filled(re.split(r"%(?:\((\w+)\))?[sd]", template), pick, line, literal=("%%", "%"))


def _format(template: str, arguments: list[Any], named: dict[str, Any], line: int) -> Any:
    """``"https://{}/{tenant}".format(host, tenant=...)``; no conversions, no attributes."""
    left = list(arguments)

    def pick(name: str | None) -> Any:
        if not name:
            return left.pop(0) if left else None
        return arguments[int(name)] if name.isdecimal() and int(name) < len(arguments) else named.get(name)

    return _filled(re.split(r"\{(\w*)\}", template), pick, line, literal=("{", None))


def _filled(
    pieces: list[str], pick: Callable[[str | None], Any], line: int, *, literal: tuple[str, str | None]
) -> Any:
    """A template, split at its places (text, name, text, ...), with values in them."""
    mark, instead = literal
    found: list[Any] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            found.append(pick(piece))
            continue
        plain = piece.replace(mark, instead) if instead is not None else piece
        if mark[0] in (piece.replace(mark, "") if instead is not None else piece):
            return not_here(line)
        found.append(plain)
    return _text(found, line)
