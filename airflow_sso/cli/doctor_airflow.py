"""What Airflow's own configuration says, read for ``doctor``.

The names of its sections differ between the lines of Airflow. What must stay true: of a secret nothing leaves
this module but whether there is one, whether it could be guessed, and a mark to compare it by.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from configparser import ConfigParser
from importlib import import_module
from typing import Literal

from airflow.configuration import conf
from cryptography.fernet import Fernet

from airflow_sso import airflow_compat
from airflow_sso.cli.doctor_case import AirflowSettings, SecretKey

_IS_LINE_2 = airflow_compat.IS_AIRFLOW_2
_WEB, _FAB = airflow_compat.LINE.web_section, airflow_compat.LINE.fab_section
_FAB_MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
#: What Airflow and many examples on the web once had.
_WELL_KNOWN = frozenset(
    {"temporary_key", "airflow", "secret", "secret_key", "changeme", "a_secret_key", "your_secret_key"}
)
_OF_FAB = ("config_file", "enable_proxy_fix", "cookie_secure", "session_backend")
_SHORTEST = 16  # characters; Airflow's own have 24


def read() -> AirflowSettings:
    """Everything that matters for signing in."""
    name = conf.get("core", "auth_manager", fallback="")
    certificate = "web_server_ssl_cert" if _IS_LINE_2 else "ssl_cert"
    return AirflowSettings(
        is_line_2=_IS_LINE_2,
        auth_manager=name,
        auth_manager_kind=_kind(name),
        base_url=airflow_compat.base_url() if _is_given(_WEB, "base_url") else None,
        session_backend=conf.get(_FAB, "session_backend", fallback="database"),
        is_behind_proxy=conf.getboolean(_FAB, "enable_proxy_fix", fallback=False),
        has_secure_cookie=conf.getboolean(_FAB, "cookie_secure", fallback=False),
        ends_tls=bool(conf.get(_WEB, certificate, fallback="")),
        secret_keys=tuple(_secret_keys()),
        fernet=_fernet(),
        fernet_mark=_mark("[core] fernet_key", conf.get("core", "fernet_key", fallback="")),
        public_role=airflow_compat.public_role(),
        names_of_the_other_line=tuple(_names_of_the_other_line()),
    )


def _kind(name: str) -> Literal["ours", "fab", "other", "broken"]:
    """Which auth manager it is, or one that was made from it."""
    try:
        module, _, attribute = name.rpartition(".")  # Airflow's own way logs what it does not find
        manager = getattr(import_module(module), attribute)
        from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager

        if isinstance(manager, type) and issubclass(manager, FabAuthManager):
            from airflow_sso.auth_manager import SsoFabAuthManager

            return "ours" if issubclass(manager, SsoFabAuthManager) else "fab"
    except Exception:  # whatever an import of somebody's own class raises
        return "fab" if name == _FAB_MANAGER else "broken"
    return "other"


def _secret_keys() -> list[SecretKey]:
    found = [_secret_key(_WEB, "secret_key")]
    if not _IS_LINE_2 and not conf.get("api_auth", "jwt_private_key_path", fallback=""):
        found.append(_secret_key("api_auth", "jwt_secret"))
    return found


def _secret_key(section: str, key: str) -> SecretKey:
    is_given = _is_given(section, key)
    value = conf.get(section, key, fallback="") if is_given else ""
    is_weak = is_given and (len(value) < _SHORTEST or value.lower() in _WELL_KNOWN)
    name = f"[{section}] {key}"
    return SecretKey(name=name, is_given=is_given, is_weak=is_weak, mark=_mark(name, value))


def _mark(name: str, secret: str) -> str:
    """Eight digits that are alike where the secret is, and too few and too dear to find it by."""
    salt = f"airflow-sso doctor {name}".encode()
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1, dklen=4).hex()


def _names_of_the_other_line() -> Iterator[tuple[str, str]]:
    if _IS_LINE_2:
        moved = [(airflow_compat.AIRFLOW_3.web_section, _WEB, key) for key in ("base_url", "secret_key")]
    else:  # which still takes those two by their older names
        moved = []
    other = (airflow_compat.AIRFLOW_3 if _IS_LINE_2 else airflow_compat.AIRFLOW_2).fab_section
    for there, here, key in [*moved, *((other, _FAB, key) for key in _OF_FAB)]:
        # A new airflow.cfg names every option of its own line, so it takes an environment to answer one.
        if _in_environment(there, key):
            is_lost = not _in_environment(here, key)
        else:
            is_lost = _in_file(there, key) and not _is_written(here, key)
        if is_lost:
            yield f"[{there}] {key}", f"[{here}] {key}"


def _is_given(section: str, key: str) -> bool:
    """Whether somebody set it, also by its older name: else Airflow makes one up, for itself alone."""
    older = getattr(conf, "deprecated_options", {}).get((section, key))
    if older and _is_written(older[0], older[1]):
        return True
    return _is_written(section, key)


def _is_written(section: str, key: str) -> bool:
    return _in_environment(section, key) or _in_file(section, key)


def _in_environment(section: str, key: str) -> bool:
    variable = f"AIRFLOW__{section.upper()}__{key.upper()}"
    return any(os.environ.get(f"{variable}{suffix}") for suffix in ("", "_CMD", "_SECRET"))


def _in_file(section: str, key: str) -> bool:
    return any(ConfigParser.has_option(conf, section, f"{key}{suffix}") for suffix in ("", "_cmd", "_secret"))


def _fernet() -> Literal["none", "faulty", "good"]:
    written = conf.get("core", "fernet_key", fallback="")
    try:
        keys = [Fernet(one.strip()) for one in written.split(",")] if written else []
    except ValueError:
        return "faulty"
    return "good" if keys else "none"
