"""``users``: what is done to people's accounts by hand, each with an audit row."""

from __future__ import annotations

import argparse
import json
import sys

from airflow_sso import audit, database, models
from airflow_sso.accounts import fab_users, links, names
from airflow_sso.audit import Subject
from airflow_sso.cli.outcome import FINDINGS, NOT_FOUND, OK
from airflow_sso.config import LoadedConfig
from airflow_sso.login.vendors import vendor_of


def adopt(options: argparse.Namespace, loaded: LoadedConfig) -> int:
    """Link an existing account to a person of the directory, so that their next sign-in opens it."""
    assert loaded.settings is not None  # noqa: S101 (main has seen to it)
    provider = loaded.settings.providers.get(options.provider)
    if provider is None:
        print(f"There is no provider {options.provider!r} in order in sso.yaml.", file=sys.stderr)
        return NOT_FOUND
    vendor = vendor_of(provider)
    authority = vendor.authority(provider)
    subject = options.subject.lower() if vendor.case_insensitive_subject else options.subject
    database.require_tables()
    journal = audit.Journal(audit.new_reference())
    with database.transaction() as connection:
        user = fab_users.by_username(connection, options.username)
        if user is None:
            print(f"Airflow has no account {options.username!r}.", file=sys.stderr)
            return NOT_FOUND
        if links.is_linked(connection, user) or links.find(connection, authority, subject)[0]:
            print(f"{options.username} or {subject} is linked already; nothing was changed.", file=sys.stderr)
            return FINDINGS
        if names.is_reserved(connection, user.username, loaded.break_glass):
            print(f"{options.username} is a break-glass account; nothing was changed.", file=sys.stderr)
            return FINDINGS
        links.make(
            connection,
            authority,
            subject,
            provider=provider.name,
            user=user,
            instead_of=None,
        )
        fab_users.change(connection, user.user_id, {"password": fab_users.UNUSABLE_PASSWORD})
        about = Subject(
            provider=provider.name,
            identity_key=models.identity_key(authority, subject),
            username=user.username,
            user_id=user.user_id,
        )
        journal.account_adopted(about, reason="by an operator")
        journal.write(connection)
    journal.say()
    if options.json:
        print(json.dumps({"username": user.username, "authority": authority, "subject": subject}))
    else:
        print(f"{user.username} is now {subject} of {provider.shown_as}. Their local password is gone.")
    return OK
