"""Which reader reads which kind of directory.

Adding a directory is one module here, one row in this table, one row in
:mod:`airflow_sso.directory_settings`, and one line in the contract tests. What must stay true: nowhere
else is a reader chosen, and what only one kind needs is imported with it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airflow_sso.directory.snapshot import Reader
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings, Provider


def _graph(settings: DirectorySettings, http: HttpSettings) -> Reader:
    from airflow_sso.directory.microsoft_graph import GraphReader

    return GraphReader(settings, http)


def _pingone(settings: DirectorySettings, http: HttpSettings) -> Reader:
    from airflow_sso.directory.pingone import PingOneReader

    return PingOneReader(settings, http)


def _scim(settings: DirectorySettings, http: HttpSettings) -> Reader:
    from airflow_sso.directory.scim_pull import ScimReader

    return ScimReader(settings, http)


#: By ``type`` under ``directory:``. A directory that is not here cannot be read as a whole.
READERS: Mapping[str, Callable[[DirectorySettings, HttpSettings], Reader]] = {
    "graph": _graph,
    "pingone": _pingone,
    "scim": _scim,
}


def make(provider: Provider) -> Reader | None:
    """The reader of a provider's directory; ``None`` where it has none that can be read."""
    if provider.directory is None or provider.directory.type not in READERS:
        return None
    return READERS[provider.directory.type](provider.directory.completed(provider), provider.http)
