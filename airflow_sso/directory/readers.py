"""Which reader reads which kind of directory.

Adding a directory is one module here, one row in this table, one row in
:mod:`airflow_sso.directory_settings`, and one line in the contract tests. What must stay true: nowhere
else is a reader chosen, and what only one kind needs is imported with it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from airflow_sso.directory.snapshot import Reader
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import Provider


def _graph(settings: DirectorySettings, provider: Provider) -> Reader:
    from airflow_sso.directory.microsoft_graph import GraphReader

    return GraphReader(settings, provider.http, roles_of=_application(provider))


def _application(provider: Provider) -> str | None:
    """The application that people sign in to, which need not be the one that asks.

    With SAML it stands in the address of its metadata (fact C1).
    """
    client_id: str | None = getattr(provider, "client_id", None)
    metadata = parse_qs(urlsplit(getattr(provider, "metadata_url", None) or "").query)
    return client_id or next(iter(metadata.get("appid", [])), None)


def _pingone(settings: DirectorySettings, provider: Provider) -> Reader:
    from airflow_sso.directory.pingone import PingOneReader

    return PingOneReader(settings, provider.http)


def _scim(settings: DirectorySettings, provider: Provider) -> Reader:
    from airflow_sso.directory.scim_pull import ScimReader

    return ScimReader(settings, provider.http)


#: By ``type`` under ``directory:``. A directory that is not here cannot be read as a whole.
READERS: Mapping[str, Callable[[DirectorySettings, Provider], Reader]] = {
    "graph": _graph,
    "pingone": _pingone,
    "scim": _scim,
}


def make(provider: Provider) -> Reader | None:
    """The reader of a provider's directory; ``None`` where it has none that can be read."""
    if provider.directory is None or provider.directory.type not in READERS:
        return None
    return READERS[provider.directory.type](provider.directory.completed(provider), provider)
