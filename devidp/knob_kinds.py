"""What a knob is, and what its value may be: the words that devidp.knobs and directory_knobs share.

A kind is a check and the words for what it wanted; a value that fails it is refused with those words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a value may be: a check, and the words for what it should have been."""

    words: str
    accepts: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


BOOL = Kind("true or false", lambda v: isinstance(v, bool))
COUNT = Kind("a whole number of 0 or more", lambda v: is_int(v) and v >= 0)
STATUS = Kind("an HTTP status from 200 to 599", lambda v: is_int(v) and 200 <= v <= 599)
NUMBER = Kind("a number of 0 or more", _is_number)
TEXT = Kind("a string", lambda v: isinstance(v, str))
OBJECT = Kind("an object", lambda v: isinstance(v, dict))
NAMES = Kind("a list of strings", lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v))
TEXT_OR_OBJECT = Kind("a string or an object", lambda v: isinstance(v, str | dict))
SHIFTS = Kind(
    "an object of whole seconds for iat, nbf, exp or auth_time",
    lambda v: (
        isinstance(v, dict) and set(v) <= {"iat", "nbf", "exp", "auth_time"} and all(map(is_int, v.values()))
    ),
)
RETRY_AFTER = Kind(
    'a number, or a string; "absent" leaves the header out', lambda v: _is_number(v) or isinstance(v, str)
)
ANY = Kind("any JSON value", lambda _: True)


def _is_attack(value: Any) -> bool:
    # Imported late: an honest provider needs no attack.
    from devidp.saml_attacks import ATTACKS

    return isinstance(value, str) and value in ATTACKS


ATTACK = Kind("the name of an attack in devidp.saml_attacks.ATTACKS", _is_attack)


def choice(*words: str) -> Kind:
    return Kind("one of " + ", ".join(words), lambda v: isinstance(v, str) and v in words)


@dataclass(frozen=True)
class Knob:
    name: str
    kind: Kind
    doc: str
