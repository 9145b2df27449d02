"""Carries a decision out: the one place that makes an account, and the one that gives or takes a role.

What must stay true: account, roles, link, session and audit row are written in one transaction or not at all,
and a refusal that rests on something unknown changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from airflow_sso import airflow_compat, database
from airflow_sso.accounts import fab_users, links, matching, names, register, roles, shutting
from airflow_sso.accounts.matching import Link, UserRow
from airflow_sso.accounts.register import Credential, Opening
from airflow_sso.accounts.who_shuts import DIRECTORY
from airflow_sso.audit import Journal, Subject
from airflow_sso.errors import (
    BY_CODE,
    AccessDenied,
    AccountInTheWay,
    NoGroupMapped,
    NoMappedRole,
    OnlyGroupNotMapped,
)
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import RoleDecision


def admit(
    identity: Identity,
    decision: RoleDecision,
    opening: Opening,
    reference: str,
    *,
    adopts: str | None = None,
    reserved: Collection[str] = (),
) -> Credential:
    """Make account and roles what identity and mapping say, and record the session.

    :param opening: the session that the person is about to have.
    :param reference: names the audit rows.
    :param adopts: the username of an unlinked account that may become this person's.
    :param reserved: the names of break-glass accounts, which nobody of a provider is given or adopts.
    :raises AccessDenied: when the person is not let in; roles that must go are gone by then.
    :raises AccessEnded: when somebody ended the person's access since the sign-in began.
    """
    asked = _Asked(identity, decision, opening, adopts, reserved)
    try:
        outcome = _in_one_transaction(asked, reference)
    except IntegrityError:
        # Two first sign-ins of one person at the same moment, or a name taken between look and
        # write: what was in the way is there now, so the second look sees it.
        outcome = _at_the_second_try(asked, reference)
    user_id = outcome.user_id
    if user_id is not None:
        # A role given or taken counts at the next request of this process, in older sessions too.
        airflow_compat.forget_cached_user(user_id)
    if isinstance(outcome, AccessDenied):
        raise outcome
    return outcome


@dataclass(frozen=True, slots=True)
class _Asked:
    """Everything that an admission rests on."""

    identity: Identity
    decision: RoleDecision
    opening: Opening
    adopts: str | None
    reserved: Collection[str]


def _at_the_second_try(asked: _Asked, reference: str) -> Credential | AccessDenied:
    try:
        return _in_one_transaction(asked, reference)
    except IntegrityError as cause:
        # A collation that takes two names for one, say; the statement would show the names.
        return AccountInTheWay(f"{type(cause.orig).__name__} at the second try", identity=asked.identity)


def _in_one_transaction(asked: _Asked, reference: str) -> Credential | AccessDenied:
    journal = Journal(reference)
    with database.transaction() as connection:
        outcome = _Admission(connection, journal, asked).carry_out()
        journal.write(connection)
    journal.say()
    return outcome


class _Admission:
    """One person's way in, inside one transaction."""

    def __init__(self, connection: Connection, journal: Journal, asked: _Asked) -> None:
        self._connection = connection
        self._journal = journal
        self._identity = asked.identity
        self._decision = asked.decision
        self._opening = asked.opening
        self._adopts = asked.adopts
        self._reserved = asked.reserved

    def carry_out(self) -> Credential | AccessDenied:
        connection, identity = self._connection, self._identity
        # A role may have gone since the mapping was accepted, or a pattern may have caught the name of none.
        decision = self._decision = self._decision.without_roles_but(fab_users.role_names(connection))
        link, user = links.find(connection, identity.authority, identity.subject)
        if user is not None:
            # First of all, as everybody does who ends access: what is read after it stays so.
            register.lock(connection, user.user_id)
            link, user = links.find(connection, identity.authority, identity.subject)
        adoptable = self._adoptable(self._adopts) if link is None and self._adopts else None
        shut_by = shutting.shut_by(connection, user) if user and not user.active else {}
        account = matching.decide(link, user, adoptable, by_directory=DIRECTORY in shut_by)
        if account.refused_because:
            return self._refusal(account.refused_because, account.reason, adoptable or user)
        if decision.refused_because:
            known = user if account.kind == "existing" else None
            return self._refuse_by_mapping(decision.refused_because, known, link)
        if account.kind == "create":
            user, held = self._create(account.reason, link), frozenset[str]()
        else:
            if account.kind == "adopt" and adoptable:
                user = self._adopt(adoptable, account.reason)
            assert user is not None  # noqa: S101 (matching says "existing" of a row it was given)
            user, held = self._follow_the_directory(user), fab_users.roles_of(connection, user.user_id)
        before = link.given_roles if link and account.kind == "existing" else {}
        self._set_roles(user, held, frozenset(before))
        shown = names.as_shown(user)
        links.seen(connection, identity, decision.facts, decision.given_by(), before=before, shown=shown)
        rules = [match.rule.name or f"rule {match.rule.number}" for match in decision.matched]
        groups = None if identity.groups is None else len(identity.groups)
        epoch = register.lock(connection, user.user_id)
        credential = register.record(connection, user, epoch, self._opening)
        self._journal.signed_in(self._about(user), rules=rules, groups=groups, session=credential.session_id)
        return credential

    def _about(self, user: UserRow) -> Subject:
        return Subject.of(self._identity, user_id=user.user_id, username=user.username)

    def _adoptable(self, username: str) -> UserRow | None:
        """The row of this username, if it is linked to nobody and no break-glass account."""
        row = fab_users.by_username(self._connection, username)
        if row is None or links.is_linked(self._connection, row):
            return None
        return None if names.is_reserved(self._connection, row.username, self._reserved) else row

    def _adopt(self, user: UserRow, reason: str) -> UserRow:
        self._link(user, None)
        # Whatever password it had is worth nothing from now on.
        fab_users.change(self._connection, user.user_id, {"password": fab_users.UNUSABLE_PASSWORD})
        self._journal.account_adopted(self._about(user), reason=reason)
        return user

    def _create(self, reason: str, link: Link | None) -> UserRow:
        # Whole seconds: MySQL's DATETIME keeps no fraction, and a link compares this for equality.
        created_on = datetime.now().replace(microsecond=0)  # noqa: DTZ005 (ab_user keeps local time)
        shown = self._shown(None)
        user_id = fab_users.add(self._connection, created_on=created_on, **shown.values)
        user = UserRow(user_id=user_id, created_on=created_on, active=True, **shown.values)
        self._link(user, link)
        if shown.first_time:
            names.remember(self._connection, self._identity, user.username)
        self._journal.account_created(self._about(user), reason=reason)
        return user

    def _shown(self, user: UserRow | None) -> names.Shown:
        return names.shown(self._connection, self._identity, user=user, reserved=self._reserved)

    def _link(self, user: UserRow, link: Link | None) -> None:
        whose = self._identity
        links.make(
            self._connection,
            whose.authority,
            whose.subject,
            provider=whose.provider,
            user=user,
            instead_of=link,
        )

    def _follow_the_directory(self, user: UserRow) -> UserRow:
        """Names and addresses follow what the provider says now; the account stays the same one."""
        shown = self._shown(user)
        if shown.first_time:
            names.remember(self._connection, self._identity, shown.values["username"])
        changed = {name: value for name, value in shown.values.items() if value != getattr(user, name)}
        if not changed:
            return user
        fab_users.change(self._connection, user.user_id, changed)
        followed = UserRow(
            user_id=user.user_id, created_on=user.created_on, active=user.active, **shown.values
        )
        self._journal.account_changed(self._about(followed), changed)
        return followed

    def _set_roles(self, user: UserRow, held: frozenset[str], given: frozenset[str]) -> None:
        decision = self._decision
        roles.hold(
            self._connection,
            self._journal,
            self._about(user),
            held=held,
            wanted=decision.to_hold(held, given),
            reason=decision.why,
            rules=decision.given_by(),
        )

    def _refuse_by_mapping(self, code: str, user: UserRow | None, link: Link | None) -> AccessDenied:
        """An empty result takes all roles away, unless it is empty because something is unknown."""
        decision = self._decision
        if user and link and not decision.keeps_roles:
            before, held = link.given_roles, fab_users.roles_of(self._connection, user.user_id)
            self._set_roles(user, held, frozenset(before))
            given_by = decision.given_by()
            links.seen(self._connection, self._identity, decision.facts, given_by, before=before)
        detail = self._what_is_unknown() or "no rule gives a role"
        if decision.matched:
            detail = "matched: " + ", ".join(f"rule {match.rule.number}" for match in decision.matched)
        return self._refusal(code, detail, user)

    def _what_is_unknown(self) -> str:
        """For the log: which facts were not known, and what to do about groups."""
        unknown = self._decision.unknown
        if not unknown:
            return ""
        why = ""
        if "group" in unknown and self._identity.group_overage:
            why = "; the person is in more groups than fit into a token"
        elif "group" in unknown:
            why = "; the provider sent no readable groups claim (claims: {groups: ...} names another)"
        return f"unknown: {', '.join(unknown)}{why}"

    def _refusal(self, code: str, detail: str, user: UserRow | None) -> AccessDenied:
        about: dict[str, Any] = {"identity": self._identity}
        if user is not None:
            about |= {"user_id": user.user_id, "username": user.username}
        if code == NoMappedRole.code and self._identity.groups:
            if len(self._identity.groups) == 1:
                return OnlyGroupNotMapped(detail, **about)
            return NoGroupMapped(detail, groups=len(self._identity.groups), **about)
        error_class = BY_CODE[code]
        assert issubclass(error_class, AccessDenied)  # noqa: S101 (decisions name codes of 301 to 308)
        return error_class(detail, **about)
