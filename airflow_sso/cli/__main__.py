"""``python -m airflow_sso.cli``: the same as ``airflow-sso``."""

import sys

from airflow_sso.cli import main

sys.exit(main())
