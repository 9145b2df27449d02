"""Alembic's folder: how the tables of :mod:`airflow_sso.models` came to be, one step a file."""
