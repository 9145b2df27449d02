"""Copy to $AIRFLOW_HOME/webserver_config.py (or wherever [fab] config_file points).

Nothing else belongs here: the providers are in sso.yaml, who may do what is in role_mapping.yaml.
In airflow.cfg, or the environment, set also

    [core] auth_manager = airflow_sso.auth_manager.SsoFabAuthManager
    [api]  base_url     = https://airflow.example.com
"""

from airflow_sso import SsoSecurityManager

SECURITY_MANAGER_CLASS = SsoSecurityManager
SSO_CONFIG_FILE = "/opt/airflow/config/sso.yaml"  # or AIRFLOW__SSO__CONFIG_FILE; not both
