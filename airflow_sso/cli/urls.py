"""``urls``: what must be registered with the identity providers, whole."""

from __future__ import annotations

import argparse
import json
from typing import NamedTuple

from airflow_sso import airflow_compat
from airflow_sso.cli.outcome import OK
from airflow_sso.config import LoadedConfig
from airflow_sso.provider_settings import Provider
from airflow_sso.saml_settings import SamlProvider
from airflow_sso.urls import Urls

#: What each line of Airflow puts before the routes of sign-in.
_PREFIXES = {"2": airflow_compat.AIRFLOW_2.auth_prefix, "3": airflow_compat.AIRFLOW_3.auth_prefix}


def urls(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Print the addresses to register, whole; with ``--line`` those of that line of Airflow."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    prefix = _PREFIXES[options.line] if options.line else airflow_compat.AUTH_PREFIX
    ours = Urls(loaded.settings.external_url, prefix)
    providers = {name: _addresses(one, ours) for name, one in loaded.settings.providers.items()}
    if options.json:
        print(json.dumps({n: {a.key: a.url for a in found} for n, found in providers.items()}, indent=2))
        return OK
    for name, addresses in providers.items():
        line = f" for Airflow {options.line}" if options.line else ""
        print(f"Register with {loaded.settings.providers[name].shown_as}{line}:")
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
