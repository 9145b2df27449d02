"""A secret is a reference: where it lies, never what it is.

It is looked up each time it is used, so that a rotated file counts at once. What must stay true:
neither ``repr``, nor a validation message, nor a log line ever shows the value.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

#: The spelling that every message about a secret ends with.
SPELLINGS = "{env: NAME}, {file: /path} or {airflow_secret: key}"


class SecretUnavailable(Exception):
    """The place that a secret reference names holds nothing; the message names the place.

    :param message: with ``{}`` where the name stands.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message.format(name))
        self._message = message

    def naming(self, name: str) -> str:
        """The message with another name: as it is written, where it came out of a variable."""
        return self._message.format(name)


def _from_env(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise SecretUnavailable("the environment variable {} is not set, or is empty", name)
    return value


def _from_file(path: str) -> str:
    try:
        value = Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "it is not UTF-8 text"
        raise SecretUnavailable(f"the file {{}} cannot be read: {reason}", path) from None
    if not value:
        raise SecretUnavailable("the file {} is empty", path)
    return value


def _from_airflow(key: str) -> str:
    from airflow_sso import airflow_compat

    value = airflow_compat.secrets_backend_config(key)
    if not value:
        raise SecretUnavailable("Airflow's secrets backend has no configuration value '{}'", key)
    return value


_LOOKUPS: dict[str, Callable[[str], str]] = {
    "env": _from_env,
    "file": _from_file,
    "airflow_secret": _from_airflow,
}


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret: ``kind`` is one of ``env``, ``file``, ``airflow_secret``."""

    kind: str
    name: str

    def reveal(self) -> str:
        """The value, looked up now.

        :raises SecretUnavailable: when there is none; the message names the place, not the value.
        """
        return _LOOKUPS[self.kind](self.name)

    def __repr__(self) -> str:
        return f"<secret from {self.kind}: {self.name}>"

    @classmethod
    def _parse(cls, value: Any) -> Secret:
        if isinstance(value, cls):
            return value
        if isinstance(value, dict) and len(value) == 1:
            ((kind, name),) = value.items()
            if kind in _LOOKUPS and isinstance(name, str) and name:
                return cls(kind, name)
        raise PydanticCustomError("secret_reference", "a secret is never written here: write " + SPELLINGS)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_plain_validator_function(cls._parse)
