"""``lint`` and ``urls``: is what was written right, and what must be registered for it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import airflow_compat, database, yaml_document
from airflow_sso.accounts import fab_users
from airflow_sso.cli.outcome import FINDINGS, OK
from airflow_sso.config import LoadedConfig, Settings
from airflow_sso.provider_settings import Provider
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping, understand
from airflow_sso.saml_settings import SamlProvider
from airflow_sso.sync import blind_spots, directories
from airflow_sso.urls import Urls


def lint(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """List every fault of ``sso.yaml`` and the role mapping."""
    faults = [str(fault) for fault in loaded.faults]
    warnings = list(loaded.warnings)
    if loaded.settings:
        document = yaml_document.read(loaded.settings.role_mapping_file)
        mapping = understand(document, _known_roles())
        faults += [str(fault) for fault in document.faults]
        if mapping:
            warnings += _between_sign_ins(loaded.settings, mapping)
    if options.json:
        print(json.dumps({"faults": faults, "warnings": warnings}, indent=2))
        return FINDINGS if faults else OK
    for line in [*faults, *(f"warning: {one}" for one in warnings)]:
        print(line)
    print(f"{len(faults)} to mend." if faults else "No fault found.")
    return FINDINGS if faults else OK


def _between_sign_ins(settings: Settings, mapping: Mapping) -> list[str]:
    """Which rules a directory cannot follow."""
    return [
        sentence
        for one in directories.of(settings)
        for sentence in blind_spots.of(
            mapping,
            one.name,
            one.reader.supplies,
            one.reader.names_group,
            follows_patterns=one.reader.follows_patterns,
        )
    ]


def _known_roles() -> frozenset[str]:
    """The roles in Airflow's database; its built-in ones alone when it cannot be read."""
    try:
        with database.transaction() as connection:
            return fab_users.role_names(connection) | BUILT_IN_ROLES
    except SQLAlchemyError:
        print("note: Airflow's database cannot be read; only its built-in roles are known", file=sys.stderr)
        return BUILT_IN_ROLES


def urls(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print the addresses to register, whole."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    ours = Urls(loaded.settings.external_url, airflow_compat.AUTH_PREFIX)
    providers = {name: _addresses(one, ours) for name, one in loaded.settings.providers.items()}
    if options.json:
        print(json.dumps({n: {a.key: a.url for a in found} for n, found in providers.items()}, indent=2))
        return OK
    for name, addresses in providers.items():
        print(f"Register with {loaded.settings.providers[name].shown_as}:")
        for address in addresses:
            print(f"  {address.words:<28}  {address.url}")
    return OK


class _Address(NamedTuple):
    key: str
    words: str
    url: str


def _addresses(provider: Provider, ours: Urls) -> list[_Address]:
    """What a provider has to be told about us."""
    name = provider.name
    if isinstance(provider, SamlProvider):
        metadata = ours.saml_metadata(name)
        return [
            _Address("entity_id", "entity ID (identifier)", provider.entity_id or metadata),
            _Address("acs_url", "ACS (reply URL, POST)", ours.acs(name)),
            _Address("slo_url", "single logout", ours.slo(name)),
            _Address("metadata_url", "or all of it from", metadata),
        ]
    return [
        _Address("redirect_uri", "redirect URI (platform: Web)", ours.callback(name)),
        _Address("post_logout_redirect_uri", "after signing out", ours.signed_out),
        _Address("backchannel_logout_uri", "back-channel logout", ours.backchannel_logout(name)),
        _Address(
            "frontchannel_logout_uri",
            "front-channel logout (if the provider has no back-channel one)",
            ours.frontchannel_logout(name),
        ),
    ]
