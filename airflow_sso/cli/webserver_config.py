"""What ``webserver_config.py`` sets, read as Airflow reads it: the file is run.

What must stay true: a file that is not there sets nothing, as with Airflow, which says nothing of it either.
"""

from __future__ import annotations

from airflow_sso import airflow_compat


def read() -> dict[str, object]:
    """Its names in capitals and their values.

    :raises Exception: whatever the file itself raises.
    """
    from flask import Config

    config = Config(str(airflow_compat.airflow_home()))
    config.from_pyfile(str(airflow_compat.webserver_config_file()), silent=True)
    return dict(config)
