"""What claims say, field by field, whoever wrote them: groups, app roles, names; and that there are too many.

Pure, and without a word on whether the claims are to be believed: :mod:`~airflow_sso.login.claims` reads
verified ones, :mod:`~airflow_sso.login.captured` those of a file. What must stay true: absent is unknown
unless the vendor defines absence as "none", and what cannot be read is unknown whatever the vendor says.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from airflow_sso.login.vendors import claim_paths, vendor_of
from airflow_sso.provider_settings import Provider

#: What Entra sends in place of the groups when an assertion would hold more than 150 (facts A15, C5).
_GROUPS_LINK = "http://schemas.microsoft.com/claims/groups.link"
_MAX_NAME = 500
_LONGEST_DN = 1000


def text(claims: Mapping[str, Any], settings: Provider, field: str) -> str | None:
    """A name to show: the first claim that holds text, without characters that no name has."""
    for path in claim_paths(settings, field):
        value = at(claims, path)
        if isinstance(value, str):
            kept = "".join(char for char in value if unicodedata.category(char) not in ("Cc", "Cf"))
            if kept.strip():
                return kept.strip()[:_MAX_NAME]
    return None


def values(claims: Mapping[str, Any], settings: Provider, field: str) -> frozenset[str] | None:
    """A set-valued field: an array, a single string, or an array written into a string.

    Where the vendor defines absence as "none", only absence is: what cannot be read is unknown.
    """
    unreadable = False
    for path in claim_paths(settings, field):
        value = at(claims, path)
        if isinstance(value, str) and value.startswith("[") and settings.protocol == "oidc":
            value = _array_in_a_string(value)  # SAML has attributes of several values
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            entries = [str(one) if type(one) is int else one for one in value]
            # An entry that cannot be read may be the very one that a deny rule names.
            if all(isinstance(one, str) and _is_text(one) for one in entries):
                return frozenset(one for one in entries if one)
        unreadable = unreadable or path in claims
    return frozenset() if field in vendor_of(settings).empty_when_absent and not unreadable else None


def _is_text(value: str) -> bool:
    """Whether a database can keep it: no lone surrogate, which JSON can write."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def groups(claims: Mapping[str, Any], settings: Provider) -> frozenset[str] | None:
    """The groups, and with ``group_dn: cn`` those that are distinguished names by their CN alone."""
    found = values(claims, settings, "groups")
    if found is None or settings.group_dn == "whole":
        return found
    return frozenset(_common_name(value) or value for value in found)


def _common_name(value: str) -> str | None:
    """The CN of a distinguished name whose first part it is (RFC 4514, section 2.4)."""
    if len(value) > _LONGEST_DN:
        return None
    match = re.match(r"\s*cn\s*=\s*((?:[^,+\\]|\\.)*)(?:,|$)", value, re.IGNORECASE)
    if match is None:
        return None

    def unescaped(escape: re.Match[bytes]) -> bytes:
        written = escape.group(1)
        return bytes.fromhex(written.decode()) if len(written) == 2 else written

    raw = re.sub(rb"\\([0-9a-fA-F]{2}|.)", unescaped, match.group(1).strip(" ").encode())
    try:
        return raw.decode() or None
    except UnicodeDecodeError:
        return None


def _array_in_a_string(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def has_overage(claims: Mapping[str, Any]) -> bool:
    """Facts A15, A16 and C5. The URL that the marker holds is never called: it comes from the token."""
    names = claims.get("_claim_names")
    elsewhere = isinstance(names, Mapping) and "groups" in names
    return elsewhere or _GROUPS_LINK in claims or str(claims.get("hasgroups", "")).lower() in ("true", "1")


def at(claims: Mapping[str, Any], path: str) -> Any:
    """The value at a path: a claim of that whole name, else dots leading into nested objects."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value
