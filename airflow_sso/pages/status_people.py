"""Who holds a role that the mapping would not give: by hand, or protected. For the page *SSO status*.

What must stay true: the database compares, in two statements; a hundred thousand accounts are not read for a
page that somebody waits for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import and_, case, func, literal, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from airflow_sso import airflow_compat
from airflow_sso.accounts import fab_users, given_roles, links
from airflow_sso.models import accounts

#: People who are listed.
MOST = 50
_MOST_ROWS = 20 * MOST  # a row a role


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherRoles:
    """How many people there are, and of the first of them each name with the roles in question."""

    number: int
    people: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def more(self) -> int:
        """How many people are not listed."""
        return self.number - len(self.people)


def gather() -> OtherRoles:
    """Of the linked accounts; a local one holds nothing else."""
    users, roles, holds = fab_users.table(), fab_users.role_table(), fab_users.holds_table()
    with airflow_compat.engine().connect() as connection:
        theirs = (
            accounts.join(users, links.follows(users))
            .join(holds, holds.c.user_id == users.c.id)
            .join(roles, roles.c.id == holds.c.role_id)
        )
        others = _not_given(connection, roles)
        counted = select(func.count(users.c.id.distinct())).select_from(theirs).where(others)
        number = int(connection.scalar(counted) or 0)
        if not number:
            return OtherRoles(number=0, people=())
        query = (
            select(users.c.username, roles.c.name)
            .select_from(theirs)
            .where(others)
            .order_by(users.c.username, roles.c.name)
            .limit(_MOST_ROWS)
        )
        rows = connection.execute(query).all()
    by_person = [
        (username, tuple(row.name for row in of_one))
        for username, of_one in groupby(rows, lambda row: row.username)
    ]
    return OtherRoles(number=number, people=tuple(by_person[:MOST]))


def _not_given(connection: Connection, roles: Any) -> ColumnElement[bool]:
    """Whether the text of ``given_roles`` lacks the role of the row.

    ``replace`` tells capital letters from small ones in every database, which ``like`` does not.
    """
    text = accounts.c.given_roles
    quoted = _quoted(connection, roles)
    in_object, in_list = (given_roles.mark_of(quoted, is_list=is_list) for is_list in (False, True))
    return and_(
        func.replace(text, in_object, "") == text,
        or_(func.substr(text, 1, 1) != "[", func.replace(text, in_list, "") == text),
    )


def _quoted(connection: Connection, roles: Any) -> ColumnElement[str]:
    """The name of the row's role as JSON has it; only what is written otherwise there is told one by one."""
    plain: ColumnElement[str] = literal('"') + roles.c.name + literal('"')
    names = connection.execute(select(roles.c.id, roles.c.name)).all()
    odd = [(row.id, json.dumps(row.name)) for row in names if json.dumps(row.name) != f'"{row.name}"']
    if not odd:
        return plain  # a CASE takes at least one
    return case(*[(roles.c.id == number, literal(name)) for number, name in odd], else_=plain)
