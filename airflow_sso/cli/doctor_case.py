"""What ``doctor`` looks at and what it says of it: the case, the findings, and the shape of a check.

What must stay true: a finding names the place and the mend, and holds no value of a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from airflow_sso.airflow_compat import AIRFLOW_2, AIRFLOW_3, Line
from airflow_sso.config import LoadedConfig, Settings
from airflow_sso.urls import Urls

#: ``wrong``: people cannot sign in because of what is written; ``fault``: something does not work, or a
#: promise does not hold; ``advice``: it works, and could be better; ``skipped``: it was not looked at.
Level = Literal["ok", "advice", "fault", "wrong", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was seen. ``mend`` is empty where nothing is to be done."""

    level: Level
    what: str
    mend: str = ""


def ok(what: str) -> Finding:
    return Finding("ok", what)


def advice(what: str, mend: str) -> Finding:
    return Finding("advice", what, mend)


def fault(what: str, mend: str) -> Finding:
    return Finding("fault", what, mend)


def wrong(what: str, mend: str) -> Finding:
    return Finding("wrong", what, mend)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One of Airflow's own secrets: whether somebody gave it, whether it could be guessed, and its mark.

    Replicas compare it by the mark.
    """

    name: str
    is_given: bool
    is_weak: bool
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowSettings:
    """What Airflow's configuration says that matters for signing in; no secret is kept."""

    is_line_2: bool
    auth_manager: str
    auth_manager_kind: Literal["ours", "fab", "other", "broken"]
    base_url: str | None
    session_backend: str
    is_behind_proxy: bool
    """``enable_proxy_fix``."""
    has_secure_cookie: bool
    ends_tls: bool
    """The server has a certificate of its own."""
    secret_keys: tuple[SecretKey, ...]
    fernet: Literal["none", "faulty", "good"]
    fernet_mark: str
    public_role: str | None
    names_of_the_other_line: tuple[tuple[str, str], ...] = ()
    """Options that are set as the other line spells them and not as this one does: how, and its name here."""

    @property
    def web_section(self) -> str:
        return self._line.web_section

    @property
    def fab_section(self) -> str:
        return self._line.fab_section

    @property
    def _line(self) -> Line:
        return AIRFLOW_2 if self.is_line_2 else AIRFLOW_3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that the checks look at, read once."""

    loaded: LoadedConfig
    path: Path | None
    """Where ``sso.yaml`` is, or should be; ``None`` where two places disagree."""
    path_of_airflow: Path | None
    """The same as a web server finds it, which has no ``--config``."""
    webserver_config: Path
    set_there: Mapping[str, object]
    """What ``webserver_config.py`` sets."""
    trouble_there: str | None
    """What it raised instead."""
    is_security_manager_ours: bool
    airflow: AirflowSettings
    prefix: str
    """What stands before the routes of sign-in on this line."""

    @property
    def settings(self) -> Settings | None:
        return self.loaded.settings

    def urls(self, settings: Settings) -> Urls:
        return Urls(settings.external_url, self.prefix)


Needs = Literal["nothing", "settings", "database", "both", "network"]


class Check(NamedTuple):
    """``name`` is what people and machines call it; ``look`` finds; ``needs`` says what it cannot do without.

    ``network`` needs the settings as well.
    """

    name: str
    look: Callable[[Case], Iterator[Finding]]
    needs: Needs = "nothing"
