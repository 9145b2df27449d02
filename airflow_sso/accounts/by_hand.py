"""What is changed by hand on Airflow's pages and its API, and why a linked account refuses it.

A linked account's roles, names, password, active flag and existence follow the directory and the role
mapping, so a change by hand would last until the next sign-in and deceive whoever made it. What must stay
true: accounts of nobody stay as editable as Airflow makes them, and only a web server refuses. Airflow's
commands, and our own statements, which are no objects in a session, pass.
"""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from airflow_sso import airflow_compat
from airflow_sso.accounts import fab_users, links
from airflow_sso.accounts.matching import UserRow

if TYPE_CHECKING:
    _ApiRefusal = Exception
else:
    _ApiRefusal = airflow_compat.api_refusal()

log = logging.getLogger(__name__)

#: Of a user, what follows the directory. What is not here is Flask-AppBuilder's own bookkeeping, such as
#: ``login_count`` and ``changed_on``. Groups are those of Flask-AppBuilder, which give roles as well;
#: a link names its account by ``id`` and ``created_on``.
_FOLLOWS = (
    "roles",
    "groups",
    "active",
    "username",
    "first_name",
    "last_name",
    "email",
    "password",
    "id",
    "created_on",
)


class FollowsDirectory(_ApiRefusal):
    """A linked account was to be changed by hand. On the API it is its own answer: 403 with these words.

    :param username: whose account.
    """

    def __init__(self, username: str) -> None:
        self.words = (
            "This account follows the company directory: its roles come from the role mapping, the rest "
            "from the identity provider. Nothing was changed. To shut it at once: "
            f"airflow-sso users deactivate {shlex.quote(username)}"
        )
        super().__init__(403, self.words)

    def __str__(self) -> str:
        """The words alone: Flask-AppBuilder shows this on its pages."""
        return self.words


def refuse_from_now_on() -> None:
    """Every session of this process refuses changes of linked accounts. For web servers."""
    if not _is_refusing():
        event.listen(Session, "before_flush", _before_flush)


def _is_refusing() -> bool:
    return bool(event.contains(Session, "before_flush", _before_flush))


def _before_flush(session: Session, _context: Any, _instances: Any) -> None:
    refuse_changes(session)


def refuse_changes(session: Session) -> None:
    """Return when nothing that this session is about to write changes a linked account.

    Before every flush of a web server, and where the refusal of a flush would not be told as one.

    :raises FollowsDirectory: otherwise; nothing that was to be written is in the session then, because the
        next commit there is one of Airflow's own, such as that of the browser's session.
    """
    if not _is_refusing():
        return
    for user in [*session.deleted, *session.dirty]:
        if _is_user(user) and (user in session.deleted or _is_changed(user)):
            _refuse_if_linked(session, user)


def refuse_deletion(session: Session, user: Any) -> None:
    """Return when this user may be deleted, before that is tried.

    Flask-AppBuilder 4 calls whatever the flush of a deletion says a database error.

    :raises FollowsDirectory: when the account is a linked one.
    """
    if _is_refusing():
        _refuse_if_linked(session, user)


def _refuse_if_linked(session: Session, user: Any) -> None:
    row = _linked_row(session, inspect(user).identity[0])
    if row is None:
        return
    _forget_everything(session)
    log.info("airflow_sso: refused a change by hand of the linked account %r", row.username)
    raise FollowsDirectory(row.username)


def _forget_everything(session: Session) -> None:
    """What a rollback does to the objects, which a session does not allow in the middle of a commit."""
    for made in session.new:
        session.expunge(made)
    for deleted in session.deleted:
        session.add(deleted)
    session.expire_all()


def _is_user(instance: Any) -> bool:
    return inspect(instance).mapper.local_table is fab_users.table()


def _is_changed(user: Any) -> bool:
    """Whether anything has another value than before; setting the same one again is no change."""
    attributes = inspect(user).attrs
    has_groups = fab_users.group_tables() is not None
    follows = [name for name in _FOLLOWS if has_groups or name != "groups"]
    return any(attributes[name].history.has_changes() for name in follows)


def _linked_row(session: Session, user_id: int) -> UserRow | None:
    """The row as the database has it, if it is somebody's."""
    connection = session.connection()
    row = fab_users.by_id(connection, user_id)
    return row if row and links.is_linked(connection, row) else None
