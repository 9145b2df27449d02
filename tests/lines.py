"""What tests need to know of the Airflow line they run on: 3.x, or 2.11 (``make test-2.11``).

A module, or a test, that is marked ``both_lines`` also runs on 2.11, on a real Airflow of that line.
"""

from __future__ import annotations

import pytest

from airflow_sso.airflow_compat import AUTH_PREFIX, IS_AIRFLOW_2

#: What stands before every path of the REST API.
API = "/api/v1" if IS_AIRFLOW_2 else "/api/v2"

#: Of how many processes a server is that was started with one worker. Each has read a provider's documents
#: for itself, has its own allowance of fetching them anew, and its own of writing down what strangers do.
PROCESSES = 2 if IS_AIRFLOW_2 else 1


def route(path: str) -> str:
    """A path of ours as 3.x has it, on the line that is tested; :meth:`Stack.route` is of one Airflow."""
    return AUTH_PREFIX + path.removeprefix("/auth")


both_lines = pytest.mark.both_lines


def only_on_3(reason: str) -> pytest.MarkDecorator:
    """For what 2.11 does not have.

    :param reason: what that is.
    """
    return pytest.mark.skipif(IS_AIRFLOW_2, reason=f"Airflow 2.11: {reason}")


def only_on_2(reason: str) -> pytest.MarkDecorator:
    """For what only 2.11 has.

    :param reason: what that is.
    """
    return pytest.mark.skipif(not IS_AIRFLOW_2, reason=f"Airflow 3: {reason}")
