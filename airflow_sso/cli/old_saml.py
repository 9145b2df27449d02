"""What an entry of ``SAML_PROVIDERS`` (Flask-AppBuilder 5.1 and later) is in ``sso.yaml``.

Flask-AppBuilder is given the identity provider's certificate, we read its metadata, where the next one
is announced too. What must stay true: the metadata's address is asked for, never made up.
"""

from __future__ import annotations

from typing import Any

from airflow_sso.cli.drafts import Reading
from airflow_sso.cli.old_oauth import CLOUDS, begin, host_and_path


def carry_over(at: Reading, service_provider: Any) -> bool:
    """Fill in the new entry.

    :param service_provider: what ``SAML_CONFIG`` says under ``sp``.
    """
    idp = at.old.get("idp")
    idp = idp if isinstance(idp, dict) else {}
    entity = at.text(idp.get("entityId")) or ""
    host, path = host_and_path(entity)
    at.block.put("name", at.name)
    if host in CLOUDS and path:
        begin(at, "entra", "saml")
        at.block.put("tenant_id", path[0])
        at.open_line("metadata_url", "the App Federation Metadata Url, with its ?appid=")
    elif host.startswith("auth.pingone.") and path:
        begin(at, "pingone", "saml")
        at.block.put("environment_id", path[0])
        at.open_line("metadata_url", "the IdP metadata URL of the application")
    else:
        begin(at, "generic", "saml")
        if entity:
            at.block.put("issuer", entity)
        at.open_line("metadata_url", "where the identity provider publishes its metadata (or metadata_file)")
        at.block.say("The account follows a persistent NameID, or what claims: {subject: ...} names.")
    if isinstance(service_provider, dict):
        named = at.text(service_provider.get("entityId"))
        if named:
            at.block.put("entity_id", named)
        if service_provider.get("privateKey"):
            at.know("SAML_CONFIG has a key pair; keys: {certificate: REF, private_key: REF} goes on using it")
    _attributes(at)
    at.know(f"register the new ACS address, .../saml/acs/{at.name}: airflow-sso urls prints it whole")
    return True


_FIELDS = {"username": "username", "email": "email", "first_name": "first_name", "last_name": "last_name"}


def _attributes(at: Reading) -> None:
    written = at.old.get("attribute_mapping")
    if not isinstance(written, dict):
        return
    claims: dict[str, str] = {}
    for attribute, meaning in written.items():
        ours = {**_FIELDS, "role_keys": "groups"}.get(meaning) if isinstance(meaning, str) else None
        if ours and isinstance(attribute, str) and attribute:
            claims[ours] = attribute.replace("$", "$$")
        else:
            at.mend("a line of attribute_mapping cannot be carried over; claims: knows other fields")
    if claims:
        at.block.put("claims", claims)
