"""From ``OAUTH_PROVIDERS``, ``AUTH_ROLES_MAPPING`` and their like to our two files, as values with comments.

What must stay true: what the old file does not say for certain is left out, and said, never guessed;
no secret goes from it into anything that is made here; and nobody gets a role that they had not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from airflow_sso.airflow_compat import LINE
from airflow_sso.cli import old_oauth, old_saml
from airflow_sso.cli.drafts import Block, Notes, OneLine, Reading, dumped, why
from airflow_sso.cli.old_config import OldConfig
from airflow_sso.cli.old_values import Named, Text, Unknown
from airflow_sso.role_mapping import rules

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class CarriedOver:
    """Our two files, and what has to be said about them."""

    sso: Block
    mapping: Block
    notes: Notes
    names: tuple[str, ...]
    """The providers, as they are called now."""


def carry_over(old: OldConfig, mapping_file: str) -> CarriedOver:
    """Our two files of what was read.

    :param mapping_file: where the role mapping will lie.
    """
    notes = Notes()
    sso = Block()
    default = f"Airflow's [{LINE.web_section}] base_url"
    sso.say(f"external_url: where people reach Airflow, without /auth. Default: {default}.")
    providers = _providers(old, notes)
    if providers:
        sso.put("providers", providers)
    sso.put("role_mapping_file", mapping_file.replace("$", "$$"))
    _session(old, sso, notes)
    _public_role(old, sso, notes)
    mapping = _mapping(old, [str(one.data["name"]) for one in providers], notes)
    _own_code(old, notes)
    return CarriedOver(sso, mapping, notes, tuple(str(one.data["name"]) for one in providers))


# --- the providers ---


def _providers(old: OldConfig, notes: Notes) -> list[Block]:
    """The entries of ``providers:``, in the old order; what they lack is noted."""
    found: list[Block] = []
    taken: set[str] = set()
    own_code = any(name in _SIGN_IN for one in old.classes for name, _ in one.methods)
    config = old.get("SAML_CONFIG")
    in_saml = partial(
        old_saml.carry_over, service_provider=config.get("sp") if isinstance(config, dict) else None
    )
    for key, convert in (("OAUTH_PROVIDERS", old_oauth.carry_over), ("SAML_PROVIDERS", in_saml)):
        entries, line = old.get(key), old.line(key)
        if entries is None:
            continue
        if not isinstance(entries, list):
            at = entries.line if isinstance(entries, Unknown) else line
            notes.mend.append(f"line {at}: {key} cannot be read here: {why(entries)}")
            continue
        for entry in entries:
            if not isinstance(entry, dict):
                at = entry.line if isinstance(entry, Unknown) else line
                notes.mend.append(f"line {at}: an entry of {key} cannot be read here: {why(entry)}")
                continue
            name = _name(entry.get("name"), taken, line, notes)
            if convert(reading := Reading(entry, name, line, notes, own_code=own_code)):
                taken.add(name)
                found.append(reading.block)
    return found


def _name(written: Any, taken: set[str], line: int, notes: Notes) -> str:
    """The old name where it may stay, because it is part of the redirect URI; else one like it."""
    old = written if isinstance(written, str) else ""
    name = old
    if not _NAME.fullmatch(name) or name == "local" or name in taken:
        plain = re.sub(r"[^a-z0-9_-]+", "-", old.lower()).strip("-_")[:28]
        name = plain if re.match("[a-z]", plain) and plain != "local" else f"sso-{plain}".rstrip("-")[:28]
        number = 2
        while name in taken:
            name, number = f"{re.sub(r'-[0-9]+$', '', name)}-{number}", number + 1
        notes.renamed.add(name)
        shown = repr(old) if old else "with a name that cannot be read here"
        notes.know.append(
            f"line {line}: the provider {shown} is called {name} now, and so is its redirect URI: register it"
        )
    return name


# --- everything else in sso.yaml ---


def _session(old: OldConfig, sso: Block, notes: Notes) -> None:
    """``PERMANENT_SESSION_LIFETIME``, in seconds or as a ``timedelta``."""
    key = "PERMANENT_SESSION_LIFETIME"
    lifetime = old.get(key)
    if lifetime is None:
        return
    if isinstance(lifetime, timedelta):
        lifetime = int(lifetime.total_seconds())
    if not isinstance(lifetime, int) or isinstance(lifetime, bool):
        line = lifetime.line if isinstance(lifetime, Unknown) else old.line(key)
        notes.mend.append(f"line {line}: {key} is not a number that can be read here")
        sso.say(f"session: write how long people stay signed in here, {{absolute: 12h}} ({key}, line {line})")
        return
    seconds = min(max(lifetime, 300), 30 * 86_400)
    if seconds != lifetime:
        notes.know.append(f"line {old.line(key)}: {key} was {lifetime} seconds; a session may last 5m to 30d")
    limits = {"absolute": _spelled(seconds)}
    if seconds < 3600:
        limits["idle"] = limits["absolute"]  # its default would be longer
    sso.say(f"{key}, line {old.line(key)}. It is counted from the sign-in; idle ends a session sooner (1h).")
    sso.put("session", limits)


def _spelled(seconds: int) -> str:
    """A duration as our file spells it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _public_role(old: OldConfig, sso: Block, notes: Notes) -> None:
    role = old.get("AUTH_ROLE_PUBLIC")
    if role is None or role == "Public" or isinstance(role, Named):
        return
    line = old.line("AUTH_ROLE_PUBLIC")
    shown = repr(role) if isinstance(role, str) else "a role"
    sso.say(f"public_role: line {line} gave {shown} to everybody who reached Airflow, without signing in.")
    sso.say("If that is still meant, write public_role here; if not, take AUTH_ROLE_PUBLIC away.")
    notes.mend.append(
        f"line {line}: AUTH_ROLE_PUBLIC lets in who has not signed in; it must be said anew or go"
    )


# --- the role mapping ---


def _mapping(old: OldConfig, names: list[str], notes: Notes) -> Block:
    mapping = Block()
    mapping.put("version", 1)
    found = [*_rules(old, names, notes)]
    mapping.put("rules", found)
    _no_match(old, mapping, notes)
    synced = old.get("AUTH_ROLES_SYNC_AT_LOGIN", False)
    if isinstance(synced, Unknown | Text):
        line = synced.line if isinstance(synced, Unknown) else old.line("AUTH_ROLES_SYNC_AT_LOGIN")
        mapping.say("manual_roles: write keep here, if roles that were given by hand stay; default: remove")
        notes.mend.append(f"line {line}: whether AUTH_ROLES_SYNC_AT_LOGIN is on cannot be read here")
    elif not synced:
        mapping.say("AUTH_ROLES_SYNC_AT_LOGIN was not on: roles that people were given by hand stay.")
        mapping.say("What the rules give counts at every sign-in all the same. remove takes the others away.")
        mapping.put("manual_roles", "keep")
    if not found:
        example = "{group: ID-OR-NAME, roles: [Admin]}"
        notes.mend.append(
            f"role_mapping.yaml has no rule yet, so nobody gets in: write one, such as {example}"
        )
    return mapping


def _rules(old: OldConfig, names: list[str], notes: Notes) -> Iterator[Block]:
    key = "AUTH_ROLES_MAPPING"
    written, line = old.get(key), old.line(key)
    if written is None:
        return
    if not isinstance(written, dict):
        where = written.line if isinstance(written, Unknown) else line
        notes.mend.append(f"line {where}: {key} cannot be read here; write its rules into role_mapping.yaml")
        return
    facts = _facts(old, names)
    for value, given in written.items():
        roles = _role_names(given)
        if not isinstance(value, str) or not value or roles is None:
            at = next((one.line for one in (value, given) if isinstance(one, Unknown)), line)
            notes.mend.append(f"line {at}: one entry of {key} cannot be read here; its rule is not written")
            continue
        if "*" in value:
            notes.mend.append(f"line {line}: {value!r} in {key} has a *, which our file reads as any text")
            continue
        if not roles:
            notes.know.append(f"line {line}: {value!r} in {key} gave no role; it is left out")
            continue
        if isinstance(given, str):
            notes.know.append(f"line {line}: {key} gave {value!r} a string instead of a list; it is one now")
        _note_roles(roles, line, notes)
        for fact in ["group"] if _GUID.fullmatch(value) else facts:
            rule = OneLine()
            plain = fact in ("group", "app_role")
            rule.data.update({fact: value} if plain else {"claim": fact, "equals": value})
            rule.data["roles"] = roles
            yield rule


def _facts(old: OldConfig, names: list[str]) -> list[str]:
    """What the keys of the mapping were compared with: ``group``, ``app_role`` or a claim's name."""
    written = old.get("AUTH_OAUTH_ROLE_KEYS")
    keys = written if isinstance(written, dict) else {}
    found: dict[str, None] = {}
    for name in names or ["azure"]:
        claim = keys.get(name, "roles" if name == "azure" else "groups")
        claim = claim if isinstance(claim, str) and claim else "groups"
        found[{"groups": "group", "roles": "app_role"}.get(claim, claim)] = None
    return [*found]


def _role_names(given: Any) -> list[str] | None:
    several = [given] if isinstance(given, str) else given
    if not isinstance(several, list) or not all(isinstance(one, str) and one for one in several):
        return None
    return list(dict.fromkeys(several))


def _note_roles(roles: list[str], line: int, notes: Notes) -> None:
    for role in roles:
        if role in rules.BUILT_IN_ROLES:
            continue
        near = next((one for one in rules.BUILT_IN_ROLES if one.casefold() == role.casefold()), None)
        hint = f"; Airflow's own is spelled {near}" if near else ""
        said = (
            f"line {line}: the role {role!r} must exist in Airflow; airflow-sso lint looks for it there{hint}"
        )
        if said not in notes.know:
            notes.know.append(said)


def _no_match(old: OldConfig, mapping: Block, notes: Notes) -> None:
    """The registration role went to everybody, at each sign-in; with us nobody is let in by default."""
    role, line = old.get("AUTH_USER_REGISTRATION_ROLE"), old.line("AUTH_USER_REGISTRATION_ROLE")
    if not old.get("AUTH_USER_REGISTRATION", False):
        notes.know.append(
            "AUTH_USER_REGISTRATION was not on: people had an account beforehand, or were not let in; now "
            "whoever matches a rule gets one"
        )
    elif isinstance(role, str) and role and role != "Public":
        mapping.say(f"AUTH_USER_REGISTRATION_ROLE, line {line}, gave {role!r} to everybody who signed in.")
        mapping.say(f"no_match: {dumped([role])} would keep that for those whom no rule names.")
        notes.know.append(f"line {line}: everybody got {role!r}; now whoever matches no rule is not let in")
    elif role is not None and not isinstance(role, str):
        mapping.say(f"AUTH_USER_REGISTRATION_ROLE, line {line}, gave a role to everybody who could sign in;")
        mapping.say("no_match: [that role] would keep it for those whom no rule names.")
        notes.mend.append(f"line {line}: AUTH_USER_REGISTRATION_ROLE cannot be read here")
    if old.get("AUTH_USER_REGISTRATION_ROLE_JMESPATH") is not None:
        at = old.line("AUTH_USER_REGISTRATION_ROLE_JMESPATH")
        notes.mend.append(
            f"line {at}: what AUTH_USER_REGISTRATION_ROLE_JMESPATH works out is said by rules: "
            "{claim: department, equals: Finance, roles: [Viewer]}"
        )
    mapping.put("no_match", "deny")


# --- code of their own ---

_SIGN_IN = ("get_oauth_user_info", "oauth_user_info", "_get_oauth_user_info")


def _own_code(old: OldConfig, notes: Notes) -> None:
    """What people programmed; where the same is said now."""
    for key in ("SECURITY_MANAGER_CLASS", "FAB_SECURITY_MANAGER_CLASS"):
        manager = old.get(key)
        if manager is not None and getattr(manager, "name", "") != "SsoSecurityManager":
            notes.know.append(f"line {old.line(key)}: {key} becomes airflow_sso.SsoSecurityManager")
    for found in old.classes:
        managers = any(base.endswith(("SecurityManager", "SecurityManagerOverride")) for base in found.bases)
        for name, line in found.methods:
            if name in _SIGN_IN:
                notes.mend.append(_claims_live(f"{found.name}.{name}", line))
            elif managers and not name.startswith("__"):
                notes.mend.append(
                    f"line {line}: {found.name}.{name} is code of your own and not carried over"
                )
    notes.mend.extend(_claims_live(name, line) for name, line in old.functions if name in _SIGN_IN)


def _claims_live(name: str, line: int) -> str:
    return (
        f"line {line}: {name} is your own code and not carried over; where user name, address, names and "
        "groups are found is said under claims: of the provider now, {username: upn, groups: realm.groups}"
    )
