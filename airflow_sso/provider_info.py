"""What Airflow's provider discovery reads. It imports nothing: an import of Airflow here would run
while Airflow's own configuration is still being initialised, and kill every ``airflow`` command."""

from __future__ import annotations


def get_provider_info() -> dict[str, object]:
    """The provider's description, in the form that Airflow's ``provider_info.schema.json`` asks for."""
    return {
        # Must equal the distribution's name, else discovery refuses the provider on both lines.
        "package-name": "airflow-sso",
        "name": "Airflow SSO",
        "description": "Enterprise sign-in for Apache Airflow.",
        "auth-managers": ["airflow_sso.auth_manager.SsoFabAuthManager"],
        # Airflow 3.3 dies with CliConflictError when auth managers are declared without this key.
        "cli": ["airflow_sso.provider_info.get_cli_commands"],
        "db-managers": ["airflow_sso.db_manager.SsoDBManager"],
    }


def get_cli_commands() -> list[object]:
    """No command under ``airflow``: ours are ``airflow-sso ...``, the same on every Airflow line."""
    return []
