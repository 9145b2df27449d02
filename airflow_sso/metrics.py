"""Counters through Airflow's own metrics client; a metrics fault never touches a sign-in."""

from __future__ import annotations

import logging

from airflow_sso import airflow_compat

log = logging.getLogger(__name__)


def count(name: str, **tags: str) -> None:
    """Add one to ``airflow_sso.<name>``.

    Metrics leave over UDP or a local exporter and are nobody's reason to refuse a sign-in, so
    whatever the client raises is logged and dropped here, in this one place.
    """
    try:
        airflow_compat.stats().incr(f"airflow_sso.{name}", tags=tags)
    except Exception:  # the client may raise anything its configured backend raises
        log.debug("the metric %s could not be sent", name, exc_info=True)
