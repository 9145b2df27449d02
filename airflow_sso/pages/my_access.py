"""What the page *My access* shows, as values: who Airflow takes somebody for, what it was told, what follows.

What must stay true: it only reads the database, and of one person: the one who asks. Of what a provider said
it shows groups, and no other claim.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.engine import Connection

from airflow_sso import airflow_compat, models
from airflow_sso.accounts import fab_users, given_roles, links
from airflow_sso.accounts.given_roles import GivenRole
from airflow_sso.accounts.matching import UserRow
from airflow_sso.errors import ConfigurationFaulty
from airflow_sso.login.doors import Doors
from airflow_sso.models import accounts
from airflow_sso.pages.status import relative
from airflow_sso.role_mapping import Mapping as RoleMapping
from airflow_sso.role_mapping.values import key_of
from airflow_sso.sync import bookmarks

#: More groups than these are folded away.
_UNFOLDED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleShown:
    """A role, and where it comes from: ``rules`` are those of the mapping that give it.

    ``how``
        ``mapping``; ``protected``, which no sign-in gives or takes; ``group``, one of Airflow's own;
        or by ``hand``.
    """

    name: str
    how: Literal["mapping", "protected", "group", "hand"]
    rules: tuple[str, ...] = ()
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShown:
    """A group as the provider names it. ``names`` are those that rules of the mapping have for it."""

    value: str
    names: tuple[str, ...] = ()
    is_in_a_rule: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Groups of one kind: those that stand open on the page, and those that are folded away."""

    shown: tuple[GroupShown, ...]
    folded: tuple[GroupShown, ...]

    def __bool__(self) -> bool:
        return bool(self.shown or self.folded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The groups that were told, and by whom when; ``groups`` is ``None`` where that is unknown."""

    groups: tuple[GroupShown, ...] | None
    at: datetime
    by_directory: bool

    @property
    def in_rules(self) -> Part:
        """Those that rules name."""
        return _folded([one for one in self.groups or () if one.is_in_a_rule], _UNFOLDED)

    @property
    def others(self) -> Part:
        """Those that no rule names."""
        room = max(0, _UNFOLDED - len(self.in_rules.shown))
        return _folded([one for one in self.groups or () if not one.is_in_a_rule], room)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkShown:
    """What is known through the provider that somebody signs in with.

    ``told`` is ``None`` where no rule asks for groups, so that none were kept; ``not_held`` are roles that
    the mapping gives and that the account lacks all the same.
    """

    provider: str
    told: Told | None
    not_held: tuple[RoleShown, ...]
    signed_in_at: datetime | None
    directory_read_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MyAccess:
    """Everything on the page, as of ``now``.

    ``link`` is ``None`` where no provider stands behind the account.
    """

    now: datetime
    username: str
    name: str
    email: str
    roles: tuple[RoleShown, ...]
    link: LinkShown | None
    is_mapping_readable: bool

    @property
    def explain(self) -> str:
        """The command with which an administrator sees the same."""
        return f"airflow-sso explain {shlex.quote(self.username)}"

    def relative(self, at: datetime) -> str:
        """How far from now: ``3 minutes ago``."""
        return relative(at - self.now)


def gather(doors: Doors, user_id: int) -> MyAccess | None:
    """What is known of one account; ``None`` when it is there no more."""
    mapping = _mapping(doors)
    with airflow_compat.engine().connect() as connection:
        user = fab_users.by_id(connection, user_id)
        if user is None:
            return None
        row = _link(connection, user)
        held = fab_users.roles_of(connection, user_id)
        by_groups = _roles_by_groups(connection, user_id) - held
    given = given_roles.read(row.given_roles) if row else {}
    protected = mapping.protected_roles if mapping else frozenset[str]()
    return MyAccess(
        now=models.now(),
        username=user.username,
        name=f"{user.first_name} {user.last_name}".strip(),
        email=user.email,
        roles=tuple(
            _role(name, given, held=name in held, protected=protected) for name in sorted(held | by_groups)
        ),
        link=_linked(doors, row, mapping, given, held | by_groups) if row else None,
        is_mapping_readable=mapping is not None,
    )


def _mapping(doors: Doors) -> RoleMapping | None:
    """``None`` when there is none in force: this page is for such moments too."""
    try:
        return doors.mapping.look() if doors.mapping else None
    except ConfigurationFaulty:
        return None


def _link(connection: Connection, user: UserRow) -> Any:
    """The link that follows this very row of ``ab_user``, or ``None``."""
    query = (
        select(
            accounts.c.authority,
            accounts.c.provider,
            accounts.c.given_roles,
            accounts.c.facts,
            accounts.c.last_sign_in_at,
            accounts.c.user_created_on,
        )
        .where(accounts.c.user_id == user.user_id)
        .order_by(accounts.c.last_sign_in_at.desc())
    )
    rows = connection.execute(query).all()
    return next((row for row in rows if row.user_created_on == user.created_on), None)


def _roles_by_groups(connection: Connection, user_id: int) -> frozenset[str]:
    """What Flask-AppBuilder's own groups give, beside the roles that an account holds itself."""
    roles, groups = fab_users.role_table(), fab_users.group_tables()
    if groups is None:
        return frozenset()
    query = (
        select(roles.c.name)
        .join(groups.gives, groups.gives.c.role_id == roles.c.id)
        .join(groups.members, groups.members.c.group_id == groups.gives.c.group_id)
        .where(groups.members.c.user_id == user_id)
    )
    return frozenset(connection.scalars(query))


def _role(name: str, given: Mapping[str, GivenRole], *, held: bool, protected: frozenset[str]) -> RoleShown:
    if not held:
        return RoleShown(name=name, how="group")
    if name in given:
        return RoleShown(name=name, how="mapping", rules=given[name].rules, since=given[name].since)
    return RoleShown(name=name, how="protected" if name in protected else "hand")


def _linked(
    doors: Doors,
    row: Any,
    mapping: RoleMapping | None,
    given: Mapping[str, GivenRole],
    held: frozenset[str],
) -> LinkShown:
    provider = doors.settings.providers.get(row.provider) if doors.settings else None
    lacking = {name: one for name, one in given.items() if name not in held}
    return LinkShown(
        provider=provider.shown_as if provider else row.provider,
        told=_told(row.facts, mapping),
        not_held=tuple(_role(name, lacking, held=True, protected=frozenset()) for name in sorted(lacking)),
        signed_in_at=row.last_sign_in_at,
        directory_read_at=bookmarks.of(row.authority).read_at,
    )


def _told(kept: str, mapping: RoleMapping | None) -> Told | None:
    about = json.loads(kept).get("group")
    if about is None:
        return None
    values = links.read_back(kept)["group"]
    shown = None if values is None else [_group(str(value), mapping) for value in values]
    return Told(
        groups=tuple(sorted(shown, key=lambda one: (one.names, one.value))) if shown is not None else None,
        at=datetime.fromisoformat(about["at"]),
        by_directory=str(about["source"]).startswith("sync:"),
    )


def _group(value: str, mapping: RoleMapping | None) -> GroupShown:
    rules = mapping.people.by_value.get(("group", key_of(value)), ()) if mapping else ()
    names = dict.fromkeys(rule.name for rule in rules if rule.name and rule.name != value)
    return GroupShown(value=value, names=tuple(names), is_in_a_rule=bool(rules))


def _folded(groups: Sequence[GroupShown], room: int) -> Part:
    return Part(tuple(groups[:room]), tuple(groups[room:]))
