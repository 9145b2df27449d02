"""What a ``webserver_config.py`` says, statement by statement, read from its syntax tree.

People's files import what no longer exists, ask vaults and start threads, so nothing in them is ever
run. What must stay true: whatever a loop, a condition or a call may have changed is unknown after it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_sso.cli.old_values import (
    DEEPEST,
    MOST_ENTRIES,
    Evaluator,
    Named,
    Unknown,
    dotted,
    not_here,
    total,
)

_READS = {"get", "keys", "values", "items", "copy", "index", "count"}


class NotReadable(Exception):
    """The file is no Python that can be read; the message says where, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Class:
    """A class in the file: the names of its bases, and its methods with their lines."""

    name: str
    line: int
    bases: tuple[str, ...]
    methods: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class OldConfig:
    """What was read: each name's value, and the line where it was given last."""

    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)
    classes: list[Class] = field(default_factory=list)
    functions: list[tuple[str, int]] = field(default_factory=list)

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def line(self, name: str) -> int:
        return self.lines.get(name, 0)


def read(path: Path) -> OldConfig:
    """Read a ``webserver_config.py``; runs nothing of it.

    :raises NotReadable: when it is not there, or no Python.
    """
    try:
        source = path.read_bytes()
    except OSError as cause:
        raise NotReadable(f"{path} cannot be read: {cause.strerror}") from None
    return understand(source, str(path))


def understand(source: bytes, name: str) -> OldConfig:
    """The same of a file's content; `name` is what messages call it."""
    try:
        tree = ast.parse(source, name)
    except SyntaxError as cause:
        where = f"{name}:{cause.lineno}" if cause.lineno else name
        raise NotReadable(f"{where}: this is not Python ({type(cause).__name__})") from None
    except (ValueError, RecursionError, MemoryError) as cause:
        raise NotReadable(f"{name}: this is not Python ({type(cause).__name__})") from None
    reader = _Reader()
    reader.statements(tree.body)
    return reader.found


class _Reader(Evaluator):
    """Goes through the statements in their order, as running them would."""

    def __init__(self) -> None:
        super().__init__()
        self.found = OldConfig(self.values)

    # Statements

    def statements(self, body: list[ast.stmt], depth: int = 0) -> None:
        for statement in body:
            if depth > DEEPEST:
                return
            self._statement(statement, depth)

    def _statement(self, node: ast.stmt, depth: int) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            self._assignment(node)
        elif isinstance(node, ast.If):
            self._if(node, depth)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._call_alone(node.value)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self.found.functions.append((node.name, node.lineno))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.Try):
            self._try(node, depth)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                if item.optional_vars is not None:
                    self._assign(item.optional_vars, Unknown(node.lineno, "it comes out of a with"))
            self.statements(node.body, depth + 1)
        else:
            self._forget(node, "it is set by a loop, or deleted")

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        if node.value is None:
            return
        value = self.value(node.value)
        if isinstance(node, ast.AugAssign):
            before = self.value(node.target) if isinstance(node.op, ast.Add | ast.BitOr) else None
            value = total(before, value, node.lineno)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._assign(target, value)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.values[target.id] = value
            self.found.lines[target.id] = target.lineno
        elif isinstance(target, ast.Subscript):
            holder, key = self.value(target.value), self.value(target.slice)
            in_dict = isinstance(holder, dict) and isinstance(key, str) and len(holder) < MOST_ENTRIES
            if in_dict or (isinstance(holder, list) and isinstance(key, int) and abs(key) < len(holder)):
                holder[key] = value
            else:
                self._spoil(target)
        elif isinstance(target, ast.Tuple | ast.List):
            several = isinstance(value, list) and len(value) == len(target.elts)
            for number, one in enumerate(target.elts):
                self._assign(one, value[number] if several else not_here(target.lineno))

    def _spoil(
        self, target: ast.expr, why: str = "it is changed in a way that only running it tells"
    ) -> None:
        """Something inside of a name's value is changed, and nobody can say to what."""
        line = target.lineno
        while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
            target = target.value
        if isinstance(target, ast.Name) and target.id in self.values:
            self.values[target.id] = Unknown(line, why)
            self.found.lines[target.id] = line

    def _forget(self, node: ast.stmt, why: str) -> None:
        """Whatever a statement may set or change, by whatever way, is not known after it."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store | ast.Del):
                self.values[inner.id] = Unknown(inner.lineno, why)
                self.found.lines[inner.id] = inner.lineno
            elif isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Store | ast.Del):
                self._spoil(inner, why)
            elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
                self._spoil(inner.func, why)
            elif isinstance(inner, ast.For | ast.AsyncFor) and isinstance(inner.iter, ast.Name):
                self._spoil(inner.iter, why)
            elif isinstance(inner, ast.ClassDef):
                self._class(inner)

    def _if(self, node: ast.If, depth: int) -> None:
        condition = self.value(node.test)
        if isinstance(condition, bool | int | str | list | dict) or condition is None:
            self.statements(node.body if condition else node.orelse, depth + 1)
            return
        why = "it depends on a condition that only running it tells"
        for statement in [*node.body, *node.orelse]:
            self._forget(statement, why)

    def _try(self, node: ast.Try, depth: int) -> None:
        self.statements([*node.body, *node.orelse], depth + 1)
        for handler in node.handlers:
            for statement in handler.body:
                if not isinstance(statement, ast.Pass | ast.Raise):
                    self._forget(statement, "it depends on whether something fails")
        self.statements(node.finalbody, depth + 1)

    def _call_alone(self, node: ast.Call) -> None:
        """``OAUTH_PROVIDERS.append(...)``, ``AUTH_ROLES_MAPPING.update(...)``, and what may do anything."""
        holder = self.value(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if isinstance(holder, list | dict) and isinstance(node.func, ast.Attribute):
            if not self._changed(holder, node.func.attr, node) and node.func.attr not in _READS:
                self._spoil(node.func)
            return
        for one in [*node.args, *(word.value for word in node.keywords)]:
            if isinstance(one, ast.Name) and isinstance(self.value(one), list | dict):
                self._spoil(one, "it is given to a function, which may change it")

    def _changed(self, holder: list[Any] | dict[str, Any], how: str, node: ast.Call) -> bool:
        """Carry out a change of a list or a dictionary; ``False`` when it is none that is known here."""
        arguments = [self.value(one) for one in node.args]
        if isinstance(holder, list):
            if how == "append" and len(arguments) == 1 and len(holder) < MOST_ENTRIES:
                holder.append(arguments[0])
                return True
            more = arguments[0] if len(arguments) == 1 else None
            if how == "extend" and isinstance(more, list) and len(holder) + len(more) < MOST_ENTRIES:
                holder.extend(more)
                return True
            return False
        named = {word.arg: self.value(word.value) for word in node.keywords if word.arg}
        whole = len(named) == len(node.keywords) and all(isinstance(one, dict) for one in arguments)
        if how != "update" or not whole:
            return False
        for one in [*arguments, named]:
            holder.update(one)
        return len(holder) < MOST_ENTRIES

    def _class(self, node: ast.ClassDef) -> None:
        methods = tuple(
            (one.name, one.lineno)
            for one in node.body
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        bases = tuple(dotted(one) for one in node.bases)
        self.found.classes.append(Class(node.name, node.lineno, bases, methods))
        self.values[node.name] = Named(node.name)
        self.found.lines[node.name] = node.lineno

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            whole = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            self.modules[name] = whole if isinstance(node, ast.ImportFrom) or alias.asname else name
            self.values.pop(name, None)
