"""What every test stands on: an Airflow home of the run's own, and no proxy or CA of the machine's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Before anything imports Airflow: it reads its home once, and would make one in the user's folder.
_HOME = tempfile.mkdtemp(prefix="airflow-sso-tests-")
os.environ["AIRFLOW_HOME"] = _HOME
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")

REPOSITORY = Path(__file__).resolve().parent.parent
