"""From an Identity and its roles to an Airflow user and a session, and back out again.

``matching`` decides (pure), ``fab_users`` reads and writes Flask-AppBuilder's tables, ``provisioning``
carries a decision out, ``sessions`` starts and ends browser sessions. There is one place that gives
a role, and it is ``provisioning``.
"""
