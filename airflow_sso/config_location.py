"""Where ``sso.yaml`` is: the first place that names it, and never two that disagree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_sso import airflow_compat, config
from airflow_sso.config import LoadedConfig
from airflow_sso.yaml_document import Fault

#: The key of ``webserver_config.py``.
FLASK_KEY = "SSO_CONFIG_FILE"
#: Flask-AppBuilder's name for the role of whoever has not signed in.
PUBLIC_ROLE_KEY = "AUTH_ROLE_PUBLIC"


class LocationUnclear(Exception):
    """Two places name different files; the message names both."""


def find(flask_config: Mapping[str, Any], *, given: str | None = None) -> Path:
    """The path of ``sso.yaml``: ``--config``, ``[sso] config_file``, ``SSO_CONFIG_FILE``, Airflow's home.

    :param flask_config: what ``webserver_config.py`` set.
    :param given: the value of ``--config``.
    :raises LocationUnclear: when ``[sso] config_file`` and ``SSO_CONFIG_FILE`` name different files.
    """
    if given:
        return Path(given)
    from_option = airflow_compat.sso_option("config_file")
    from_flask = flask_config.get(FLASK_KEY)
    if from_option and from_flask and Path(from_option) != Path(str(from_flask)):
        raise LocationUnclear(
            f"[sso] config_file says {from_option}, but {FLASK_KEY} in webserver_config.py "
            f"says {from_flask}: keep one of them"
        )
    named = from_option or from_flask
    return Path(str(named)) if named else airflow_compat.airflow_home() / "sso.yaml"


def load(flask_config: Mapping[str, Any], *, given: str | None = None) -> LoadedConfig:
    """Find and read the configuration; a location that is unclear is a fault like any other."""
    try:
        path = find(flask_config, given=given)
    except LocationUnclear as cause:
        return LoadedConfig(settings=None, faults=(Fault("sso.yaml", (), str(cause)),))
    return config.load(
        path,
        default_external_url=airflow_compat.base_url(),
        airflows_public_role=airflow_compat.public_role() or str(flask_config.get(PUBLIC_ROLE_KEY) or ""),
    )
