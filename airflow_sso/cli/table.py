"""Tables and numbers as every command prints them: plain text in columns that reads aloud well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from airflow_sso.plain_text import plain

#: Rows that a command prints; ``--json`` has them all.
MOST_ROWS = 200


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table, columns aligned."""
    lines = [head, *(tuple(map(plain, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*cells, line[-1]])


def people(number: int) -> str:
    """``1 person``, ``12 people``."""
    return f"{number:,} {'person' if number == 1 else 'people'}"


def listed(names: Collection[str], *, without: str = "none") -> str:
    """Names in order, or the word for there being none."""
    return ", ".join(sorted(names)) or without
