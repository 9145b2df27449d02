"""Carries a decision out: the one place that makes an account, and the one that gives or takes a role.

What must stay true: account, roles, link and audit row are written in one transaction or not at all,
and a refusal that rests on something unknown changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_sso import audit, database
from airflow_sso.accounts import fab_users, links, matching, names
from airflow_sso.accounts.matching import AccountDecision, Link, UserRow
from airflow_sso.audit import Subject
from airflow_sso.errors import BY_CODE, AccessDenied, NoGroupMapped, NoMappedRole
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import RoleDecision


def admit(identity: Identity, decision: RoleDecision, reference: str, *, adopts: str | None = None) -> int:
    """Make account and roles what identity and mapping say; returns the id of the user to sign in.

    :param reference: names the audit rows.
    :param adopts: the username of an unlinked account that may become this person's.
    :raises AccessDenied: when the person is not let in; roles that must go are gone by then.
    """
    try:
        outcome = _in_one_transaction(identity, decision, reference, adopts)
    except IntegrityError:
        # Two first sign-ins of one person at the same moment, or a name taken between look and
        # write: what was in the way is there now, so the second look sees it.
        outcome = _in_one_transaction(identity, decision, reference, adopts)
    if isinstance(outcome, AccessDenied):
        raise outcome
    return outcome


def _in_one_transaction(
    identity: Identity, decision: RoleDecision, reference: str, adopts: str | None
) -> int | AccessDenied:
    with database.transaction() as connection:
        link = links.find(connection, identity.authority, identity.subject)
        user = fab_users.by_id(connection, link.user_id) if link else None
        adoptable = _adoptable(connection, adopts) if link is None and adopts else None
        account = matching.decide(link, user, adoptable)
        found = adoptable if account.kind == "adopt" else user
        if account.refused_because:
            return _refusal(account.refused_because, account.reason, identity, found)
        if decision.refused_because:
            return _refuse_by_mapping(connection, identity, decision, account, link, user, reference)
        user = _account(connection, identity, account, found, reference)
        subject = Subject.of(identity, user_id=user.user_id, username=user.username)
        given = link.given_roles if link and account.kind == "existing" else frozenset()
        _set_roles(connection, subject, decision, given, reference)
        links.seen(connection, identity, decision.facts, decision.roles)
        rules = [match.rule.name or f"rule {match.rule.number}" for match in decision.matched]
        groups = None if identity.groups is None else len(identity.groups)
        audit.signed_in(connection, subject, reference, rules=rules, groups=groups)
        return user.user_id


def _adoptable(connection: Connection, username: str) -> UserRow | None:
    """The row of this username, if it is linked to nobody."""
    row = fab_users.by_username(connection, username)
    return row if row and not links.is_linked(connection, row) else None


def _account(
    connection: Connection,
    identity: Identity,
    account: AccountDecision,
    found: UserRow | None,
    reference: str,
) -> UserRow:
    """The user row of this person, made, adopted or as it was, showing the names of the day."""
    if account.kind == "create" or found is None:
        return _create(connection, identity, account, reference)
    if account.kind == "adopt":
        _link(connection, identity, found.user_id, found.created_on)
        fab_users.change(connection, found.user_id, {"password": fab_users.UNUSABLE_PASSWORD})
        subject = Subject.of(identity, user_id=found.user_id, username=found.username)
        audit.account_adopted(connection, subject, reference, reason=account.reason)
    return _follow_the_directory(connection, identity, found, reference)


def _create(connection: Connection, identity: Identity, account: AccountDecision, reference: str) -> UserRow:
    # Whole seconds: MySQL's DATETIME keeps no fraction, and the link compares this value for equality.
    created_on = datetime.now().replace(microsecond=0)  # noqa: DTZ005 (ab_user keeps local time)
    shown = names.shown_values(connection, identity, user=None)
    user_id = fab_users.add(connection, created_on=created_on, **shown)
    _link(connection, identity, user_id, created_on)
    names.remember(connection, identity, shown["username"])
    subject = Subject.of(identity, user_id=user_id, username=shown["username"])
    audit.account_created(connection, subject, reference, reason=account.reason)
    return UserRow(user_id=user_id, created_on=created_on, active=True, **shown)


def _link(connection: Connection, identity: Identity, user_id: int, created_on: datetime | None) -> None:
    links.make(
        connection,
        identity.authority,
        identity.subject,
        provider=identity.provider,
        user_id=user_id,
        user_created_on=created_on,
    )


def _follow_the_directory(
    connection: Connection, identity: Identity, user: UserRow, reference: str
) -> UserRow:
    """Names and addresses follow what the provider says now; the account stays the same one."""
    shown = names.shown_values(connection, identity, user=user)
    changed = {name: value for name, value in shown.items() if value != getattr(user, name)}
    if not changed:
        return user
    fab_users.change(connection, user.user_id, changed)
    if "username" in changed:
        names.remember(connection, identity, shown["username"])
    subject = Subject.of(identity, user_id=user.user_id, username=shown["username"])
    audit.account_changed(connection, subject, reference, changed)
    return UserRow(user_id=user.user_id, created_on=user.created_on, active=user.active, **shown)


def _set_roles(
    connection: Connection,
    subject: Subject,
    decision: RoleDecision,
    given: frozenset[str],
    reference: str,
) -> None:
    """Make the account hold what the decision says, and write down what changed and why."""
    assert subject.user_id is not None  # noqa: S101 (every caller has just read or made the row)
    before = fab_users.roles_of(connection, subject.user_id)
    wanted = decision.to_hold(before, given)
    if before == wanted:
        return
    after = fab_users.set_roles(connection, subject.user_id, wanted)
    reason = decision.refused_because or ", ".join(f"rule {m.rule.number}" for m in decision.matched)
    audit.roles_changed(
        connection, subject, reference, before=before, after=after, reason=reason or "no_match"
    )


def _refuse_by_mapping(
    connection: Connection,
    identity: Identity,
    decision: RoleDecision,
    account: AccountDecision,
    link: Link | None,
    user: UserRow | None,
    reference: str,
) -> AccessDenied:
    """An empty result takes all roles away, unless it is empty because something is unknown."""
    if account.kind == "existing" and link and user and not decision.keeps_roles:
        subject = Subject.of(identity, user_id=user.user_id, username=user.username)
        _set_roles(connection, subject, decision, link.given_roles, reference)
        links.seen(connection, identity, decision.facts, decision.roles)
    detail = f"unknown: {', '.join(decision.unknown)}" if decision.unknown else "no rule gives a role"
    if decision.matched:
        detail = "matched: " + ", ".join(f"rule {match.rule.number}" for match in decision.matched)
    return _refusal(decision.refused_because or "", detail, identity, user)


def _refusal(code: str, detail: str, identity: Identity, user: UserRow | None) -> AccessDenied:
    about: dict[str, Any] = {"identity": identity}
    if user is not None:
        about |= {"user_id": user.user_id, "username": user.username}
    if code == NoMappedRole.code and identity.groups:
        return NoGroupMapped(detail, groups=len(identity.groups), **about)
    error_class = BY_CODE[code]
    assert issubclass(error_class, AccessDenied)  # noqa: S101 (decisions name codes of 301 to 308 only)
    return error_class(detail, **about)
