"""`make demo`: Airflow with this plugin and a local identity provider, as real processes.

`processes` and `airflow_home` serve the tests' real servers too, so they print nothing and know
nothing of the demo. Never part of the wheel.
"""
