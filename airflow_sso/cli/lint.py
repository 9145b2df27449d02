"""``lint``: is what was written right; every fault at once, and what is most likely not meant.

What must stay true: what it finds in a mapping file is what a web server would find, and it needs neither
Airflow's database nor ``sso.yaml`` to look at a mapping file alone.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from airflow_sso import database, in_force, models, yaml_document
from airflow_sso.accounts import fab_users
from airflow_sso.cli import findings, mappings
from airflow_sso.cli.findings import Finding, Format
from airflow_sso.cli.outcome import FINDINGS, OK
from airflow_sso.config import LoadedConfig, Settings
from airflow_sso.directory.failures import DirectoryError
from airflow_sso.errors import SsoError
from airflow_sso.role_mapping import BUILT_IN_ROLES, Mapping, Rule, understand
from airflow_sso.role_mapping.advice import advice
from airflow_sso.role_mapping.conditions import Test, tests
from airflow_sso.role_mapping.rules import PLACEHOLDER
from airflow_sso.role_mapping.written import schema
from airflow_sso.sync import blind_spots, directories
from airflow_sso.sync.directories import Directory
from airflow_sso.yaml_document import Document, Fault

#: Claims about a sign-in that OpenID Connect alone has; SAML tells of its context (acr) and its time.
_NEVER_IN_SAML = frozenset({"amr", "acrs"})


def lint(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """List every fault of ``sso.yaml`` and the role mapping, or of one mapping file."""
    if options.schema:
        print(json.dumps(schema(), indent=2))
        return OK
    found = list(_found(options, loaded))
    shape: Format = "json" if options.json else options.format
    text = findings.printed(found, shape)
    if text:
        print(text)
    faults = sum(one.kind == "fault" for one in found)
    if shape in ("text", "github"):
        # A workflow's log takes commands only; the rest is for whoever reads it.
        beside = sys.stdout if shape == "text" else sys.stderr
        print(f"{faults} to mend." if faults else "No fault found.", file=beside)
    return FINDINGS if faults else OK


def _found(options: argparse.Namespace, loaded: LoadedConfig) -> Iterator[Finding]:
    if options.file is None:
        for fault in loaded.faults:
            yield Finding("fault", fault)
        for warning in loaded.warnings:
            yield Finding("advice", Fault("sso.yaml", (), warning))
    path = options.file or (loaded.settings.role_mapping_file if loaded.settings else None)
    if path is None:
        return
    document = yaml_document.read(Path(path))
    there = mappings.roles_there(otherwise="only its built-in roles are known")
    mapping = understand(document, (there or BUILT_IN_ROLES) | frozenset(options.role))
    for fault in sorted(document.faults, key=lambda one: (one.line or 0, one.column or 0)):
        yield Finding("fault", fault)
    if mapping is None:
        return
    remarks = advice(mapping, document, models.now().date())
    remarks += _about_owned_roles(mapping, document)
    if loaded.settings and options.file is None:
        remarks += _not_taken(loaded.settings, document)
    if loaded.settings:
        remarks += _about_the_company(loaded.settings, mapping, document, offline=options.offline)
    for remark in sorted(remarks, key=lambda one: (one.line or 0, one.column or 0, one.message)):
        yield Finding("advice", remark)


def _about_owned_roles(mapping: Mapping, document: Document) -> list[Fault]:
    """Patterns that can give none of them, and permissions on what Airflow does not have."""
    remarks = []
    for rule in mapping.rules:
        for template in rule.templates:
            if not _may_be_made(template, mapping):
                message = (
                    f"gives nobody anything: no role under roles: can be {template!r}; write them there, or, "
                    'for roles that were made by hand, how their names begin: "team-*": {}'
                )
                remarks.append(document.fault(("rules", rule.number - 1, "roles"), message))
    there = _resources_there() if any(role.permissions for role in mapping.owned_roles) else None
    if there is None:
        return remarks
    for role in mapping.owned_roles:
        for resource in sorted({resource for _action, resource in role.permissions} - there):
            # Those of single DAGs have a colon; they are many, and never what was meant.
            close = difflib.get_close_matches(resource, [one for one in there if ":" not in one], n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "; Security > List Roles shows its names"
            place = ("roles", role.name, "permissions", resource)
            remarks.append(document.fault(place, f"Airflow has no resource of this name{hint}"))
    return remarks


def _may_be_made(template: str, mapping: Mapping) -> bool:
    """Whether some name that a pattern catches makes a role that may be given."""
    start = PLACEHOLDER.split(template)[0]
    if any(start.startswith(one) or one.startswith(start) for one in mapping.role_prefixes):
        return True
    parts = (re.escape(part) for part in PLACEHOLDER.sub("\0", template).split("\0"))
    name = re.compile(".*".join(parts))
    return any(name.fullmatch(role.name) for role in mapping.owned_roles)


def _resources_there() -> frozenset[str] | None:
    """What Airflow asks permissions on, if its database tells."""
    try:
        with database.transaction() as connection:
            return fab_users.resource_names(connection)
    except SQLAlchemyError:
        return None


def _not_taken(settings: Settings, document: Document) -> list[Fault]:
    """Why a role mapping without a fault is not in force all the same, as far as the database tells."""
    decides = in_force.of(settings)
    try:
        decides.look()
    except (SQLAlchemyError, SsoError):  # before the first migration, say, or where there is no database
        return []
    why = decides.why_not_taken
    return [document.fault((), f"is not taken: {why}")] if why else []


def _about_the_company(
    settings: Settings, mapping: Mapping, document: Document, *, offline: bool
) -> list[Fault]:
    """What only shows beside the providers: names of none of them, facts that their directories lack."""
    remarks = _about_requirements(settings, mapping, document)
    for rule in mapping.rules:
        for test in tests(rule.condition):
            strangers = [value for value in test.values if value not in settings.providers]
            if test.fact == "provider" and strangers:
                message = f"no provider in sso.yaml is called {strangers[0]!r}"
                remarks.append(document.fault(("rules", rule.number - 1), message))
    for one in directories.of(settings):
        if not offline:
            remarks += _about_groups(one, mapping, document)
        for number, sentence in blind_spots.of(
            mapping,
            one.name,
            one.reader.supplies,
            one.reader.names_group,
            follows_patterns=one.reader.follows_patterns,
        ):
            remarks.append(document.fault(("rules", number - 1), sentence))
    return remarks


def _about_requirements(settings: Settings, mapping: Mapping, document: Document) -> list[Fault]:
    """What must hold of every sign-in, and what nobody of a provider could ever show."""
    remarks = []
    for number, one in enumerate(mapping.require):
        claim = one.test.fact.removeprefix("claim:") if one.test else None
        for name, provider in settings.providers.items():
            if provider.protocol == "saml" and claim in _NEVER_IN_SAML:
                message = (
                    f"nobody can sign in through {name}, unless it sends an attribute called {claim}: "
                    "what SAML tells of how somebody signed in is acr"
                )
                remarks.append(document.fault(("require", number), message))
    return remarks


def _about_groups(directory: Directory, mapping: Mapping, document: Document) -> list[Fault]:
    """Groups that a directory does not have, or calls by another name than the rule does."""
    reader = directory.reader
    if "group" not in reader.supplies:
        return []
    asked = frozenset(value for value in mapping.group_values if reader.names_group(value))
    try:
        names = reader.names_of(asked) if asked else {}
    except DirectoryError as failure:
        print(f"note: {directory.name}: groups were not looked up: {failure.detail}", file=sys.stderr)
        return []
    remarks = []
    for rule in mapping.rules:
        for value in _groups_named(rule):
            called = names.get(value, value)
            if called is None:
                message = f"the directory of {directory.name} has no group {value}"
            elif called not in (value, rule.name) and rule.name and _is_one_group(rule):
                message = f"the directory of {directory.name} calls this group {called!r}, not {rule.name!r}"
            else:
                continue
            remarks.append(document.fault(("rules", rule.number - 1), message))
    return remarks


def _groups_named(rule: Rule) -> list[str]:
    return [str(value) for test in tests(rule.condition) if test.fact == "group" for value in test.values]


def _is_one_group(rule: Rule) -> bool:
    """Whether the rule's name is most likely meant to be the group's."""
    return isinstance(rule.condition, Test)
