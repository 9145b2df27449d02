from airflow_sso import SsoSecurityManager

SECURITY_MANAGER_CLASS = SsoSecurityManager
