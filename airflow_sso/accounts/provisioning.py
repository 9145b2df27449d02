"""Carries a decision out: the one place that makes an account, and the one that gives or takes a role.

What must stay true: account, roles, link and audit row are written in one transaction or not at all,
and a refusal that rests on something unknown changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_sso import audit, database, models
from airflow_sso.accounts import fab_users, matching
from airflow_sso.accounts.matching import AccountDecision, Link, UserRow
from airflow_sso.audit import Subject
from airflow_sso.errors import BY_CODE, AccessDenied, AccountInTheWay, NoGroupMapped, NoMappedRole
from airflow_sso.identity import Identity
from airflow_sso.models import accounts
from airflow_sso.role_mapping import RoleDecision

_MAX_USERNAME = 250  # ab_user allows 512; indexes on MySQL and the UI do not thank us for more
_MAX_NAME = 256


def admit(identity: Identity, decision: RoleDecision, reference: str) -> int:
    """Make account and roles what identity and mapping say; returns the id of the user to sign in.

    :param reference: names the audit rows.
    :raises AccessDenied: when the person is not let in; roles that must go are gone by then.
    """
    try:
        outcome = _in_one_transaction(identity, decision, reference)
    except IntegrityError:
        # Two first sign-ins of one person at the same moment, or a name taken between look and
        # write: what was in the way is there now, so the second look sees it.
        outcome = _in_one_transaction(identity, decision, reference)
    if isinstance(outcome, AccessDenied):
        raise outcome
    return outcome


def _in_one_transaction(identity: Identity, decision: RoleDecision, reference: str) -> int | AccessDenied:
    with database.transaction() as connection:
        link, user = _linked(connection, identity)
        account = matching.decide(link, user)
        if account.refused_because:
            return _refusal(account.refused_because, account.reason, identity, user)
        if decision.refused_because:
            return _refuse_by_mapping(connection, identity, decision, account, user, reference)
        if account.kind == "create":
            user = _create(connection, identity, account, link, reference)
        else:
            assert user is not None  # noqa: S101 (matching says "existing" of a row it was given)
            user = _follow_the_directory(connection, identity, user, reference)
        subject = Subject.of(identity, user_id=user.user_id, username=user.username)
        _give_roles(connection, subject, decision, reference)
        rules = [match.rule.name or f"rule {match.rule.number}" for match in decision.matched]
        groups = None if identity.groups is None else len(identity.groups)
        audit.signed_in(connection, subject, reference, rules=rules, groups=groups)
        return user.user_id


def _linked(connection: Connection, identity: Identity) -> tuple[Link | None, UserRow | None]:
    key = models.identity_key(identity.authority, identity.subject)
    row = connection.execute(select(accounts).where(accounts.c.identity_key == key)).first()
    if row is None:
        return None, None
    link = Link(user_id=row.user_id, user_created_on=row.user_created_on)
    return link, fab_users.by_id(connection, row.user_id)


def _refuse_by_mapping(
    connection: Connection,
    identity: Identity,
    decision: RoleDecision,
    account: AccountDecision,
    user: UserRow | None,
    reference: str,
) -> AccessDenied:
    """An empty result takes all roles away, unless it is empty because something is unknown."""
    code = decision.refused_because or ""
    if account.kind == "existing" and user is not None and not decision.keeps_roles:
        subject = Subject.of(identity, user_id=user.user_id, username=user.username)
        _set_roles(connection, subject, frozenset(), reference, reason=f"the mapping refuses ({code})")
    detail = f"unknown: {', '.join(decision.unknown)}" if decision.unknown else "no rule gives a role"
    if decision.matched:
        detail = "matched: " + ", ".join(f"rule {match.rule.number}" for match in decision.matched)
    return _refusal(code, detail, identity, user)


def _refusal(code: str, detail: str, identity: Identity, user: UserRow | None) -> AccessDenied:
    about: dict[str, Any] = {"identity": identity}
    if user is not None:
        about |= {"user_id": user.user_id, "username": user.username}
    if code == NoMappedRole.code and identity.groups:
        return NoGroupMapped(detail, groups=len(identity.groups), **about)
    error_class = BY_CODE[code]
    assert issubclass(error_class, AccessDenied)  # noqa: S101 (decisions name codes of 301 to 308 only)
    return error_class(detail, **about)


def _create(
    connection: Connection, identity: Identity, account: AccountDecision, link: Link | None, reference: str
) -> UserRow:
    # Whole seconds: MySQL's DATETIME keeps no fraction, and the link compares this value for equality.
    created_on = datetime.now().replace(microsecond=0)  # noqa: DTZ005 (ab_user keeps local time)
    shown = _shown_values(connection, identity, user=None)
    user_id = fab_users.add(connection, created_on=created_on, **shown)
    values = {
        **_link_values(identity),
        "user_id": user_id,
        "user_created_on": created_on,
        "created_at": models.now(),
    }
    if link is None:
        connection.execute(insert(accounts).values(**values))
    else:
        connection.execute(_this_link(identity).values(**values))
    subject = Subject.of(identity, user_id=user_id, username=shown["username"])
    audit.account_created(connection, subject, reference, reason=account.reason)
    return UserRow(user_id=user_id, created_on=created_on, active=True, **shown)


def _follow_the_directory(
    connection: Connection, identity: Identity, user: UserRow, reference: str
) -> UserRow:
    """Names and addresses follow what the provider says now; the account stays the same one."""
    shown = _shown_values(connection, identity, user=user)
    changed = {name: value for name, value in shown.items() if value != getattr(user, name)}
    connection.execute(_this_link(identity).values(**_link_values(identity)))
    if not changed:
        return user
    fab_users.change(connection, user.user_id, changed)
    subject = Subject.of(identity, user_id=user.user_id, username=shown["username"])
    audit.account_changed(connection, subject, reference, changed)
    return UserRow(user_id=user.user_id, created_on=user.created_on, active=user.active, **shown)


def _this_link(identity: Identity) -> Any:
    key = models.identity_key(identity.authority, identity.subject)
    return update(accounts).where(accounts.c.identity_key == key)


def _link_values(identity: Identity) -> dict[str, Any]:
    return {
        "identity_key": models.identity_key(identity.authority, identity.subject),
        "authority": identity.authority,
        "subject": identity.subject,
        "username": identity.username,
        "email": identity.email,
        "provider": identity.provider,
        "last_sign_in_at": models.now(),
    }


def _shown_values(connection: Connection, identity: Identity, *, user: UserRow | None) -> dict[str, str]:
    """What ``ab_user`` shows: the real names where they are free, else plain stand-ins.

    Both username and e-mail are unique there and not null. Whoever holds a name first must not lock
    another person out, so a taken one gets a suffix and a missing one is made of the account key;
    the real values are in our own table.
    """
    stand_in = models.identity_key(identity.authority, identity.subject)[:16]
    username = (identity.username or stand_in)[:_MAX_USERNAME]
    email = (identity.email or f"{stand_in}@sso.invalid")[:_MAX_USERNAME]
    own_id = user.user_id if user else None
    name_taken, address_taken = fab_users.taken(connection, username=username, email=email, but_not_by=own_id)
    if address_taken:
        email = f"{stand_in}@sso.invalid"
    if name_taken:
        username = _free_variant(connection, identity, username, own_id)
    return {
        "username": username,
        "email": email,
        "first_name": (identity.first_name or "")[:_MAX_NAME],
        "last_name": (identity.last_name or "")[:_MAX_NAME],
    }


def _free_variant(connection: Connection, identity: Identity, username: str, own_id: int | None) -> str:
    """``name~2``, ``name~3``, ...: the first that nobody else holds."""
    for number in range(2, 100):
        variant = f"{username}~{number}"
        if not fab_users.taken(connection, username=variant, email="", but_not_by=own_id)[0]:
            return variant
    raise AccountInTheWay(f"{username} and a hundred variants of it are taken", identity=identity)


def _give_roles(connection: Connection, subject: Subject, decision: RoleDecision, reference: str) -> None:
    rules = ", ".join(f"rule {match.rule.number}" for match in decision.matched) or "no_match"
    _set_roles(connection, subject, decision.roles, reference, reason=rules)


def _set_roles(
    connection: Connection, subject: Subject, wanted: frozenset[str], reference: str, *, reason: str
) -> None:
    assert subject.user_id is not None  # noqa: S101 (every caller has just read or made the row)
    before = fab_users.roles_of(connection, subject.user_id)
    if before == wanted:
        return
    after = fab_users.set_roles(connection, subject.user_id, wanted)
    audit.roles_changed(connection, subject, reference, before=before, after=after, reason=reason)
