"""``diff``: who gains and who loses what when one mapping takes another's place, over the people there are.

For a pull request, before it is merged. What must stay true: it only reads, and whoever has to be asked
before anything can be said is listed as unknown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from airflow_sso import database, models
from airflow_sso.cli import mappings
from airflow_sso.cli.mappings import MappingFaulty
from airflow_sso.cli.outcome import FINDINGS, OK, WRONG_USE
from airflow_sso.cli.table import MOST_ROWS, listed, people, table
from airflow_sso.config import LoadedConfig, Settings
from airflow_sso.plain_text import plain
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping
from airflow_sso.role_mapping.explain import spoken
from airflow_sso.sync import compare, directories, population
from airflow_sso.sync.compare import Comparison, Difference, Side

#: In place of a file: the mapping in force.
CURRENT = "current"


def options(command: argparse.ArgumentParser) -> None:
    """What can be written behind ``airflow-sso diff``."""
    command.add_argument("old", metavar="OLD", help=f"a mapping file, or {CURRENT}: the mapping in force")
    command.add_argument("new", metavar="NEW", help="the mapping file that is to take its place")
    command.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text", help="markdown: for a pull request"
    )
    command.add_argument(
        "--fail-on",
        choices=("lost-all",),
        help="end with 1 when somebody who has roles would have none, or might",
    )


def diff(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print what changes for whom."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    database.require_tables()
    sides = _sides((options.old, options.new), loaded.settings)
    if sides is None:
        return WRONG_USE
    providers = loaded.settings.providers
    for name in loaded.shut:
        print(
            f"note: {name} has faults in sso.yaml (airflow-sso lint lists them); of its people every group "
            "that NEW names first counts as not asked about",
            file=sys.stderr,
        )
    found = compare.compare(
        population.everybody(),
        *sides,
        models.now().date(),
        directories={
            one.authority: one.reader.names_group
            for one in directories.of(loaded.settings)
            if "group" in one.reader.supplies
        },
        protocols={name: one.protocol for name, one in providers.items()},
        unclear=lambda name: name not in providers,
    )
    if options.json or options.format == "json":
        print(json.dumps(as_json(found), indent=2))
    else:
        lines = as_markdown(found) if options.format == "markdown" else map(plain, as_text(found))
        print(*lines, sep="\n")
    return FINDINGS if options.fail_on and found.lose_everything else OK


def _sides(names: tuple[str, str], settings: Settings) -> tuple[Side, Side] | None:
    """Both mappings; ``None`` when one has faults, all of which have been printed then."""
    there = population.role_names() | BUILT_IN_ROLES
    sides, faults = [], []
    for name in names:
        try:
            sides.append(Side(_mapping(name, settings, there), there))
        except MappingFaulty as faulty:
            faults += [one for one in faulty.faults if one not in faults]
    if faults:
        mappings.say(MappingFaulty(faults))
        return None
    return sides[0], sides[1]


def _mapping(name: str, settings: Settings, there: frozenset[str]) -> Mapping:
    if name == CURRENT:
        return mappings.in_force_now(settings).mapping
    return mappings.of_file(Path(name), there)


# --- as text ----------------------------------------------------------------------------------------------


def as_text(found: Comparison) -> Iterator[str]:
    """The kinds of changes, then the people."""
    yield from _summary(found)
    if found.changed:
        yield ""
        rows = [(one.username, listed(one.gains), listed(one.loses), _because(one)) for one in _first(found)]
        yield from table(("WHO", "GAINS", "LOSES", "WHY"), rows)
        yield from _and_more(len(found.changed))
    if found.unknown:
        yield ""
        unknown = found.unknown[:MOST_ROWS]
        rows = [(one.username, _unknown(one), _rules(one.why.open_rules), _certain(one)) for one in unknown]
        yield from table(("WHO", "NOT KNOWN", "ASKED BY", "CERTAIN SO FAR"), rows)
        yield from _and_more(len(found.unknown))


def _summary(found: Comparison, called: Callable[[str], str] = str) -> Iterator[str]:
    """:param called: how the name of a role is written."""
    for number, words in found.kinds(called):
        yield f"{people(number)} {words}."
    if found.unknown:
        number = len(found.unknown)
        yield (
            f"Of {people(number)} it is not known: the new mapping asks for something that nobody has been "
            "asked yet. Their next sign-in tells, and so may a reading of the directory."
        )
        gone = sum(one.loses_everything for one in found.unknown)
        if gone:
            yield f"{gone:,} of these may lose everything."
    everybody = len(found.changed) + len(found.unknown) + found.unchanged
    if not everybody:
        yield "Nobody has signed in through a provider yet, so there is nobody to compare for."
        return
    who = people(found.unchanged) if found.unchanged else "Nobody"
    stay = f"{who} {'stays' if found.unchanged < 2 else 'stay'} as they are."
    yield stay if found.changed or found.unknown else f"Nobody gains or loses anything; {stay}"


def _first(found: Comparison) -> list[Difference]:
    """Those to list, the gravest first."""
    return sorted(found.changed, key=lambda one: (not one.loses_everything, not one.loses))[:MOST_ROWS]


def _and_more(number: int) -> Iterator[str]:
    if number > MOST_ROWS:
        yield f"... and {number - MOST_ROWS:,} more; --format json lists them all."


def _because(one: Difference) -> str:
    """The rules that give now, those that gave before, or the code that refuses."""
    parts = []
    gained_by = [label for role in sorted(one.gains) for label in one.why.new_rules.get(role, ())]
    lost_from = [label for role in sorted(one.loses) for label in one.why.old_rules.get(role, ())]
    if gained_by:
        parts.append(f"given by {_rules(gained_by)}")
    if lost_from:
        parts.append(f"was given by {_rules(lost_from)}")
    if one.refused:
        parts.append(f"refused with {one.refused}")
    return "; ".join(parts) or ("let in again" if one.let_in else "")


def _rules(labels: tuple[str, ...] | list[str]) -> str:
    return ", ".join(dict.fromkeys(labels))


def _unknown(one: Difference) -> str:
    return ", ".join(map(spoken, one.why.unknown))


def _certain(one: Difference) -> str:
    gains = f"gains {listed(one.gains)}" if one.gains else ""
    # What is not known may give these roles still.
    loses = f"may lose {listed(one.loses)}" if one.loses and not one.loses_everything else ""
    gone = "may lose everything" if one.loses_everything else ""
    return "; ".join(filter(None, (gone, gains, loses))) or "nothing"


# --- for a pull request -----------------------------------------------------------------------------------


def as_markdown(found: Comparison) -> Iterator[str]:
    """The same as Markdown. Names are put where no sign in them means anything, and notify nobody."""
    yield "### What this role mapping changes"
    yield ""
    for line in _summary(found, _quoted):
        yield f"- {line}"
    if found.changed:
        yield ""
        yield "| who | gains | loses | why |"
        yield "|---|---|---|---|"
        for one in _first(found):
            cells = (
                one.username,
                listed(one.gains, without=""),
                listed(one.loses, without=""),
                _because(one),
            )
            yield f"| {' | '.join(map(_code, cells))} |"
        yield from map(_paragraph, _and_more(len(found.changed)))
    if found.unknown:
        yield ""
        yield "| who | not known | asked by | certain so far |"
        yield "|---|---|---|---|"
        for one in found.unknown[:MOST_ROWS]:
            cells = (one.username, _unknown(one), _rules(one.why.open_rules), _certain(one))
            yield f"| {' | '.join(map(_code, cells))} |"
        yield from map(_paragraph, _and_more(len(found.unknown)))


def _paragraph(line: str) -> str:
    return f"\n{line}"


def _quoted(text: str) -> str:
    """Text that nobody reads as Markdown. As code alone: an ``@`` that is escaped still calls somebody."""
    one_line = plain(" ".join(text.split())).replace("`", "'")
    return f"`{one_line}`" if one_line else ""


def _code(text: str) -> str:
    """The same in a cell."""
    return _quoted(text).replace("|", "\\|")


# --- for machines -----------------------------------------------------------------------------------------


def as_json(found: Comparison) -> dict[str, Any]:
    """Everybody who changes, and everybody of whom that is not known."""
    return {
        "summary": [{"people": number, "change": words} for number, words in found.kinds()],
        "lose_everything": found.lose_everything,
        "unchanged": found.unchanged,
        "changed": [_as_json(one) for one in found.changed],
        "unknown": [
            {
                **_as_json(one),
                "not_known": list(one.why.unknown),
                "asked_by": list(one.why.open_rules),
                "may_lose_everything": one.loses_everything,
            }
            for one in found.unknown
        ],
        "unknown_facts": dict(Counter(fact for one in found.unknown for fact in one.why.unknown)),
    }


def _as_json(one: Difference) -> dict[str, Any]:
    return {
        "username": one.username,
        "user_id": one.user_id,
        "before": sorted(one.before),
        "after": sorted(one.after),
        "gains": sorted(one.gains),
        "loses": sorted(one.loses),
        "refused": one.refused,
        "given_by": {role: list(rules) for role, rules in one.why.new_rules.items()},
        "was_given_by": {role: list(rules) for role, rules in one.why.old_rules.items()},
    }
