"""Carries a plan out: person by person, a few in a transaction, each as it was planned or not at all.

What must stay true: every transaction begins with the lease, every change looks at the account again
under its lock, and whatever is not as the plan saw it is read again another time, not changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import bindparam, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from airflow_sso import airflow_compat, database
from airflow_sso.accounts import ending, fab_users, links, register, roles, shutting
from airflow_sso.accounts.ending import Endings
from airflow_sso.accounts.fab_users import RoleWriting
from airflow_sso.accounts.links import Followed
from airflow_sso.accounts.matching import UserRow
from airflow_sso.accounts.who_shuts import DIRECTORY
from airflow_sso.audit import Journal, Subject
from airflow_sso.models import accounts
from airflow_sso.sync import population
from airflow_sso.sync.lease import Lease
from airflow_sso.sync.plan import Account, Change, Mark, Plan

log = logging.getLogger(__name__)

_Thing = TypeVar("_Thing")
_IN_ONE_TRANSACTION = 100  # people; short enough for whoever waits to sign in meanwhile
_MARKS_AT_ONCE = 1000


@dataclass(slots=True)
class Done:
    """What was carried out: how many people, and whose turn has to come again."""

    changed: int = 0
    read_again: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Under which lease and which reference everything is written.

    ``last_admin_may_go``
        somebody has allowed that nobody is Admin any more.
    """

    lease: Lease
    reference: str
    provider: str
    progress: Callable[[str], None]
    last_admin_may_go: bool = False


def end_sessions(plan: Plan, work: Work) -> int:
    """Of a plan that waits: whoever the directory said is out, or is to sign in anew, loses their sessions.

    Harmless if that was wrong: they sign in again. So this waits for no approval.
    """
    told = [change for change in plan.changes if change.read_as_out or change.end_before]
    return _in_parts(told, work, _end_sessions).changed


def carry_out(plan: Plan, work: Work) -> Done:
    """Everything that the plan says, in the order of the accounts' numbers; new Admins come first.

    So that there is one at any moment, whatever stops this or keeps one of them from being changed.
    """
    ordered = sorted(plan.changes, key=lambda change: change.account.user_id)
    done = _in_parts([change for change in ordered if change.is_admin_after], work, _change)
    rest = _in_parts([change for change in ordered if not change.is_admin_after], work, _change)
    done = Done(changed=done.changed + rest.changed, read_again=done.read_again | rest.read_again)
    remember([Mark(key, "stale", None) for key in done.read_again], work)
    return done


def remember(marks: Iterable[Mark], work: Work) -> None:
    """Write down whom to ask about again, or no longer."""
    statement = (
        update(accounts)
        .where(accounts.c.identity_key == bindparam("of_key"))
        .values(read_again=bindparam("why"), gone_since=bindparam("since"))
    )
    for part in _parts(list(marks), _MARKS_AT_ONCE):
        with database.transaction() as connection:
            work.lease.require(connection)
            connection.execute(
                statement,
                [{"of_key": one.key, "why": one.read_again, "since": one.gone_since} for one in part],
            )


def _in_parts(changes: Sequence[Change], work: Work, step: _Step) -> Done:
    done = Done()
    for number, part in enumerate(_parts(changes, _IN_ONE_TRANSACTION)):
        work.progress(f"person {number * _IN_ONE_TRANSACTION + 1} of {len(changes)}")
        try:
            _together(part, work, step, done)
        except SQLAlchemyError:
            # One of them is in the way of the others; alone each is taken or left.
            log.exception("airflow_sso: %d changes are tried one by one", len(part))
            for change in part:
                _alone(change, work, step, done)
    return done


def _alone(change: Change, work: Work, step: _Step, done: Done) -> None:
    try:
        _together([change], work, step, done)
    except SQLAlchemyError:
        log.exception("airflow_sso: user %d could not be changed", change.account.user_id)
        done.read_again.add(change.account.key)


def _together(changes: Sequence[Change], work: Work, step: _Step, done: Done) -> None:
    """Some changes in one transaction; each is done wholly, or left because it is stale."""
    journal = Journal(work.reference)
    stale = set()
    with database.transaction() as connection:
        work.lease.require(connection)
        part = _Part(connection, journal, work, changes)
        for change in changes:
            user = part.as_planned(change)
            if user is None or not step(part, change, user):
                stale.add(change.account.key)
        part.write()
        journal.write(connection)
    journal.say()
    for change in changes:
        airflow_compat.forget_cached_user(change.account.user_id)
    done.changed += len(changes) - len(stale)
    done.read_again |= stale


class _Part:
    """Some people in one transaction: their locks are held, and what they are was read after that.

    What is the same for many is written for all of them at once, by :meth:`write`.
    """

    def __init__(
        self, connection: Connection, journal: Journal, work: Work, changes: Sequence[Change]
    ) -> None:
        self.connection, self.journal, self.work = connection, journal, work
        register.lock_all(connection, [change.account.user_id for change in changes])
        self._now = population.some(connection, [change.account.key for change in changes])
        self._users = fab_users.by_ids(connection, [account.user_id for account in self._now.values()])
        self.roles = RoleWriting(connection)
        self.followed: list[Followed] = []

    def as_planned(self, change: Change) -> UserRow | None:
        """The user, if everything is still as the plan saw it; each only once."""
        now = self._now.get(change.account.key)
        if now is None or _seen(now) != _seen(change.account):
            return None
        return self._users.pop(now.user_id, None)

    def leaves_an_admin(self, account: Account) -> bool:
        """The plan was safe when it was made; an operator, say, may have shut the other one since."""
        if self.work.last_admin_may_go:
            return True
        self.roles.write()  # those who have just lost it are none of the others
        return bool(population.admins(self.connection) - {account.user_id})

    def write(self) -> None:
        self.roles.write()
        links.followed(self.connection, self.followed, f"sync:{self.work.provider}")


_Step = Callable[[_Part, Change, UserRow], bool]


def _end_sessions(part: _Part, change: Change, user: UserRow) -> bool:
    if change.read_as_out:
        ended = ending.of_person(part.connection, user.user_id, change.reason)
        _on_record(part, change, ended, change.reason)
    else:
        _end_older(part, change)
    return True


def _end_older(part: _Part, change: Change) -> None:
    """End the sessions that began before the person was to sign in anew."""
    if change.end_before is not None:
        because, user_id = change.end_because, change.account.user_id
        older = ending.of_person_before(part.connection, user_id, change.end_before, because)
        _on_record(part, change, older, because)


def _on_record(part: _Part, change: Change, ended: Endings, because: str) -> None:
    if ended:
        sessions = [one.session_id for one in ended]
        part.journal.access_ended(_about(change, part.work), because=because, sessions=sessions)


def _change(part: _Part, change: Change, user: UserRow) -> bool:
    """One person, whole; ``False`` when they are to be left as they are for now."""
    connection, journal = part.connection, part.journal
    if change.takes_admin and not part.leaves_an_admin(change.account):
        return False
    about = _about(change, part.work)
    account = change.account
    if account.drift or account.in_groups:
        _put_back(connection, journal, about, account)
    if change.shut and change.stays_shut:
        shutting.note(connection, user, source=change.shut, reason=change.reason)
    elif change.shut:
        if change.lift:
            # Opened by another hand: whoever has it shut again is not whose word is taken back.
            shutting.take_back(connection, user, source=change.lift)
        shutting.shut(connection, journal, about, user, source=change.shut, reason=change.reason)
    elif change.lift:
        shutting.lift(connection, journal, about, user, source=change.lift, reason=change.reason)
    elif change.removes:
        shutting.count_removal(connection, user.user_id, DIRECTORY)
        ended = ending.of_person(connection, user.user_id, "no role is left")
        _on_record(part, change, ended, "no role is left")
    else:
        _end_older(part, change)
    roles.hold_later(
        part.roles,
        journal,
        about,
        held=account.held,
        wanted=change.after,
        reason=change.reason,
        rules=change.given_by or {},
    )
    # Who told of no group at the sign-in has not told of one since.
    is_partial = account.is_partial or account.facts.get("group") is None
    part.followed.append(Followed(account.key, change.given_by, change.facts, is_partial))
    return True


def _put_back(connection: Connection, journal: Journal, about: Subject, account: Account) -> None:
    """What another hand changed; a name that is somebody else's now is in the way of nothing but itself."""
    done = []
    for name, value in account.drift.items():
        try:
            with connection.begin_nested():
                fab_users.change(connection, account.user_id, {name: value})
        except IntegrityError:
            log.warning("airflow_sso: the %s of user %d is somebody else's now", name, account.user_id)
        else:
            done.append(name)
    if account.in_groups:
        fab_users.leave_groups(connection, account.user_id)
        done.append("groups")
    if done:
        journal.put_back(about, done)


def _seen(account: Account) -> tuple[object, ...]:
    return (
        account.user_id,
        account.active,
        account.held,
        account.given,
        dict(account.shut_by),
        dict(account.drift),
        account.in_groups,
        account.observed_at,
        account.is_protected,
    )


def _about(change: Change, work: Work) -> Subject:
    account = change.account
    return Subject(
        provider=work.provider,
        identity_key=account.key,
        username=account.username,
        user_id=account.user_id,
    )


def _parts(things: Sequence[_Thing], size: int) -> Iterator[Sequence[_Thing]]:
    return (things[start : start + size] for start in range(0, len(things), size))
