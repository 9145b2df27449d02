"""Roles that the mapping file owns: what they have, whom they leave alone, and what a person can do then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from airflow_sso import models
from airflow_sso.accounts import dag_access, fab_users, owned_roles
from airflow_sso.accounts.dag_access import Permission, matches
from airflow_sso.accounts.role_permissions import Permissions
from airflow_sso.airflow_compat import IS_AIRFLOW_2
from airflow_sso.audit import Journal
from airflow_sso.role_mapping import OwnedRole
from tests import sync_world
from tests.databases import Database
from tests.lines import API, both_lines, only_on_2, only_on_3
from tests.stack import GROUPS, Stack, Visitor
from tests.test_role_mapping import mapping as mapped

#: Airflow's own security manager is loaded here, and with it what it loads.
pytestmark = [
    both_lines,
    pytest.mark.database,
    pytest.mark.filterwarnings("ignore:Using `httpx` with"),
]

HOME = ("can_read", "Website")
ROLE = "team-payments"


def role(name: str = ROLE, **says: Any) -> OwnedRole:
    """As the mapping file says it: ``role("a", dags={"payments_*": ["read"]})``."""
    dags = tuple((pattern, frozenset(words)) for pattern, words in says.pop("dags", {}).items())
    return OwnedRole(
        name=name, permissions=frozenset(says.pop("permissions", ())), dags=dags, like=says.pop("like", None)
    )


def on(dag_id: str, *words: str) -> set[Permission]:
    """What words give on one DAG, spelled out."""
    of = {
        "read": {("can_read", f"DAG:{dag_id}")},
        "edit": {("can_read", f"DAG:{dag_id}"), ("can_edit", f"DAG:{dag_id}")},
        "delete": {
            ("can_read", f"DAG:{dag_id}"), ("can_delete", f"DAG:{dag_id}"), ("can_delete", f"DAG Run:{dag_id}")
        },
        "trigger": {
            ("can_read", f"DAG:{dag_id}"), ("can_edit", f"DAG:{dag_id}"), ("can_create", f"DAG Run:{dag_id}")
        },
    }  # fmt: skip
    return set().union(*(of[word] for word in words))


class Airflow:
    """A real database, and the hands that write to it beside ours."""

    def __init__(self, world: sync_world.World) -> None:
        self.world = world
        self.engine = world.engine

    def dags(self, *dag_ids: str) -> None:
        """The DAGs that there are from now on."""
        from airflow.models import DagModel

        with Session(self.engine) as session:
            session.execute(delete(DagModel))
            of_a_bundle = _from_a_bundle(session)
            session.add_all(DagModel(dag_id=dag_id, **of_a_bundle) for dag_id in dag_ids)
            session.commit()

    def keep(self, *owned: OwnedRole) -> bool:
        journal = Journal("TEST-KEEP")
        with self.engine.begin() as connection:
            changed = owned_roles.keep(connection, journal, owned)
            journal.write(connection)
        return changed

    def is_out_of_date(self, *owned: OwnedRole) -> bool:
        with self.engine.connect() as connection:
            return owned_roles.is_out_of_date(connection, owned)

    def settle(self, *owned: OwnedRole) -> None:
        """Keep, and look: from here on, nothing is out of date."""
        self.keep(*owned)
        assert not self.is_out_of_date(*owned)
        assert not self.keep(*owned)

    def of(self, name: str) -> set[Permission] | None:
        """The permissions of a role; ``None`` where there is no such role."""
        with self.engine.connect() as connection:
            number = self._number(connection, name)
            return None if number is None else set(Permissions(connection, [number]).of(number))

    def give(self, name: str, *permissions: Permission) -> None:
        """Another hand gives a role permissions, and makes it where it is missing."""
        with self.engine.begin() as connection:
            if self._number(connection, name) is None:
                connection.execute(insert(fab_users.role_table()).values(name=name))
            number = self._number(connection, name)
            assert number is not None
            there = Permissions(connection, [])
            there.add(permissions)
            there.give({number: permissions})

    def take(self, name: str, *permissions: Permission) -> None:
        with self.engine.begin() as connection:
            number = self._number(connection, name)
            assert number is not None
            Permissions(connection, []).take({number: permissions})

    def delete_role(self, name: str) -> None:
        self.world.write(delete(fab_users.role_table()).where(fab_users.role_table().c.name == name))

    @staticmethod
    def _number(connection: Connection, name: str) -> int | None:
        roles = fab_users.role_table()
        number: int | None = connection.scalar(select(roles.c.id).where(roles.c.name == name))
        return number

    def registry(self) -> dict[str, bool]:
        """Our rows: name, and whether it is owned (or released)."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(models.owned_roles)).all()
        return {row.name: row.released_at is None for row in rows}

    def events(self) -> list[tuple[str, str, int, int]]:
        query = select(models.decisions.c.detail).where(models.decisions.c.event == "owned_role_changed")
        with self.engine.connect() as connection:
            found = [
                json.loads(detail) for detail in connection.scalars(query.order_by(models.decisions.c.id))
            ]
        return [(one["role"], one["became"], one["gained"], one["lost"]) for one in found]


def _from_a_bundle(session: Session) -> dict[str, str]:
    """What a DAG of Airflow 3 says of itself; 2.11 has no bundles."""
    if IS_AIRFLOW_2:
        return {}
    from airflow.models.dagbundle import DagBundleModel

    if session.get(DagBundleModel, "tests") is None:
        session.add(DagBundleModel(name="tests"))
        session.flush()
    return {"bundle_name": "tests"}


@pytest.fixture
def airflow_db(migrated_database: Database, tmp_path: Path) -> Iterator[Airflow]:
    with sync_world.world(migrated_database, tmp_path / "airflow.db") as world:
        owned_roles._told.clear()
        owned_roles._missing.clear()
        yield Airflow(world)


# What a role has


def test_a_role_has_what_the_file_says_and_nothing_else(airflow_db: Airflow) -> None:
    airflow_db.dags("payments_daily", "payments_weekly", "growth_daily", "the_payments_x")
    wanted = role(dags={"payments_*": ["read"]}, permissions=[("can_read", "Pools")])
    assert airflow_db.is_out_of_date(wanted)
    assert airflow_db.keep(wanted)
    has = airflow_db.of(ROLE)
    assert has == {
        HOME,
        ("can_read", "Pools"),
        *dag_access._SEEING,
        *on("payments_daily", "read"),
        *on("payments_weekly", "read"),
    }
    assert airflow_db.registry() == {ROLE: True}
    assert airflow_db.events() == [(ROLE, "made", len(has), 0)]
    assert not airflow_db.keep(wanted)
    assert not airflow_db.is_out_of_date(wanted)
    assert len(airflow_db.events()) == 1


@pytest.mark.parametrize("words", [["read"], ["edit"], ["delete"], ["trigger"], ["edit", "delete"]])
def test_each_word_gives_what_it_says_on_the_dag(airflow_db: Airflow, words: list[str]) -> None:
    airflow_db.dags("payments", "growth")
    airflow_db.keep(role(dags={"payments": words}))
    has = airflow_db.of(ROLE)
    assert has is not None
    assert {one for one in has if ":" in one[1]} == on("payments", *words)
    assert not [one for one in has if one[1] == "DAGs" and one[0] != "menu_access"], "that is every DAG"


def test_what_is_not_known_gives_nothing(airflow_db: Airflow) -> None:
    airflow_db.dags("payments")
    airflow_db.keep(role(dags={"payments": ["own", "READ"]}))
    assert airflow_db.of(ROLE) == {HOME}


def test_names_are_airflows_own(airflow_db: Airflow) -> None:
    """Each action that is given on a DAG is one that Airflow knows for it, under the same name."""
    from airflow.providers.fab.auth_manager.security_manager.override import (
        FabAirflowSecurityManagerOverride as Manager,
    )

    airflow_db.dags("payments")
    with Session(airflow_db.engine) as session:
        _appless(session).sync_perm_for_dag("payments", None)
        session.commit()
    with airflow_db.engine.connect() as connection:
        airflows = set(Permissions(connection, [])._ids)
    airflow_db.keep(role(dags={"*": ["read", "edit", "delete", "trigger"]}))
    has = airflow_db.of(ROLE)
    assert has is not None
    assert {one for one in has if ":" in one[1]} <= airflows
    in_general = {one for one in has if ":" not in one[1]}
    assert in_general <= {*Manager.VIEWER_PERMISSIONS, *Manager.USER_PERMISSIONS}
    assert ("can_read", "DAGs") not in has


@pytest.mark.parametrize(
    ("pattern", "dag_id", "expected"),
    [
        ("*", "anything", True),
        ("payments_*", "payments_", True),
        ("payments_*", "Payments_daily", False),
        ("payments_*", "my_payments_daily", False),
        ("*_daily", "payments_daily", True),
        ("*_daily", "payments_daily_2", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "ac", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a.b", "axb", False),
        ("[ab]", "a", False),
        ("a?", "ab", False),
        ("payments", "payments", True),
        ("payments", "payments2", False),
        ("", "payments", False),
        ("a*", "a\nb", True),
        ("*a" * 40 + "*b", "a" * 240, False),
    ],
)
def test_a_pattern_is_the_whole_id(pattern: str, dag_id: str, expected: bool) -> None:
    assert matches(pattern, dag_id) is expected


def test_a_name_that_airflow_has_no_room_for_is_left_out(
    airflow_db: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    airflow_db.dags("p" * 245, "p" * 20)
    wanted = role(dags={"p*": ["trigger"]})
    airflow_db.keep(wanted)
    has = airflow_db.of(ROLE)
    assert has is not None
    assert ("can_create", "DAG Run:" + "p" * 20) in has
    assert all(len(resource) <= 250 for _action, resource in has)
    assert "shorter id" in caplog.text
    assert not airflow_db.is_out_of_date(wanted)


# Like another


def test_like_follows_a_role_by_hand(airflow_db: Airflow) -> None:
    airflow_db.give("analysts", ("can_read", "Jobs"))
    wanted = role(like="analysts")
    airflow_db.settle(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Jobs")}
    airflow_db.give("analysts", ("can_read", "Pools"))
    airflow_db.take("analysts", ("can_read", "Jobs"))
    assert airflow_db.is_out_of_date(wanted)
    airflow_db.settle(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Pools")}
    assert airflow_db.of("analysts") == {("can_read", "Pools")}


def test_like_goes_through_owned_roles(airflow_db: Airflow) -> None:
    airflow_db.dags("base_1", "payments_1")
    airflow_db.give("analysts", ("can_read", "Jobs"))
    base = role("base", like="analysts", dags={"base_*": ["read"]})
    wanted = role(like="base", dags={"payments_*": ["edit"]})
    airflow_db.settle(wanted, base)
    has = airflow_db.of(ROLE)
    assert has is not None
    assert has >= {("can_read", "Jobs"), *on("base_1", "read"), *on("payments_1", "edit")}
    assert ("can_edit", "DAG:base_1") not in has
    assert not on("payments_1", "edit") & (airflow_db.of("base") or set())


def test_a_circle_ends(airflow_db: Airflow) -> None:
    one = role("one", like="two", permissions=[("can_read", "Jobs")])
    two = role("two", like="one", permissions=[("can_read", "Pools")])
    airflow_db.settle(one, two)
    assert airflow_db.of("one") == airflow_db.of("two") == {HOME, ("can_read", "Jobs"), ("can_read", "Pools")}


def test_like_nobody_gives_nothing_and_is_said_once(
    airflow_db: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    airflow_db.give("analysts", ("can_read", "Jobs"))
    wanted = role(like="analysts", permissions=[("can_read", "Pools")])
    airflow_db.settle(wanted)
    airflow_db.delete_role("analysts")
    assert airflow_db.is_out_of_date(wanted)
    airflow_db.settle(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Pools")}
    assert caplog.text.count("is like analysts") == 1
    airflow_db.give("analysts", ("can_read", "Jobs"))
    assert airflow_db.is_out_of_date(wanted)
    airflow_db.settle(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Jobs"), ("can_read", "Pools")}


# What changes meanwhile


def _dag_appears(airflow_db: Airflow) -> None:
    airflow_db.dags("payments_1", "payments_2", "growth_1", "payments_3")


def _dag_goes(airflow_db: Airflow) -> None:
    airflow_db.dags("payments_1", "growth_1")


def _dag_is_renamed(airflow_db: Airflow) -> None:
    airflow_db.dags("payments_1", "payments_X", "growth_1")


def _is_given(airflow_db: Airflow) -> None:
    airflow_db.give(ROLE, ("can_read", "DAG:growth_1"))


def _is_taken(airflow_db: Airflow) -> None:
    airflow_db.take(ROLE, ("can_read", "DAG:payments_2"))


def _is_exchanged(airflow_db: Airflow) -> None:
    """As many as before, under the numbers of those before where a database uses them again."""
    has = airflow_db.of(ROLE)
    assert has is not None
    airflow_db.take(ROLE, *has)
    airflow_db.give(ROLE, *(has - {("can_read", "DAG:payments_2")}), ("can_read", "DAG:growth_1"))


def _role_is_deleted(airflow_db: Airflow) -> None:
    airflow_db.delete_role(ROLE)


@pytest.mark.parametrize(
    "happens",
    [_dag_appears, _dag_goes, _dag_is_renamed, _is_given, _is_taken, _is_exchanged, _role_is_deleted],
    ids=lambda one: one.__name__,
)
def test_what_happens_is_seen_and_put_right(airflow_db: Airflow, happens: Callable[[Airflow], None]) -> None:
    airflow_db.dags("payments_1", "payments_2", "growth_1")
    wanted = role(dags={"payments_*": ["read"]})
    airflow_db.settle(wanted)
    happens(airflow_db)
    assert airflow_db.is_out_of_date(wanted)
    assert airflow_db.keep(wanted)
    with airflow_db.engine.connect() as connection:
        there = {dag_id for dag_id in fab_users.dag_ids(connection) if dag_id.startswith("payments_")}
    expected = set().union(*(on(dag_id, "read") for dag_id in there))
    assert {one for one in airflow_db.of(ROLE) or () if ":" in one[1]} == expected
    assert not airflow_db.is_out_of_date(wanted)


def test_a_dag_that_is_stale_keeps_its_permissions(airflow_db: Airflow) -> None:
    from airflow.models import DagModel

    airflow_db.dags("payments_1")
    wanted = role(dags={"payments_*": ["read"]})
    airflow_db.settle(wanted)
    gone = {"is_active": False} if IS_AIRFLOW_2 else {"is_stale": True}
    airflow_db.world.write(update(DagModel).values(gone))
    assert not airflow_db.is_out_of_date(wanted)
    assert on("payments_1", "read") <= (airflow_db.of(ROLE) or set())


def test_the_file_changes(airflow_db: Airflow) -> None:
    airflow_db.settle(role(permissions=[("can_read", "Jobs")]))
    changed = role(permissions=[("can_read", "Pools")])
    assert airflow_db.is_out_of_date(changed)
    airflow_db.settle(changed)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Pools")}
    assert airflow_db.events()[-1] == (ROLE, "permissions changed", 1, 1)


def test_other_roles_are_never_touched(airflow_db: Airflow) -> None:
    """Neither those by hand, nor Airflow's own; not even when a file gets through that names one."""
    airflow_db.dags("payments_1")
    airflow_db.give("by-hand", ("can_read", "DAG:payments_1"), ("can_read", "Jobs"))
    airflow_db.give("Viewer", ("can_read", "Jobs"))
    before = airflow_db.of("by-hand"), airflow_db.of("Viewer"), airflow_db.of("Admin")
    airflow_db.settle(role(dags={"*": ["read"]}), role("Viewer"), role("Admin", like="Viewer"))
    airflow_db.settle()
    assert (airflow_db.of("by-hand"), airflow_db.of("Viewer"), airflow_db.of("Admin")) == before


def test_nothing_owned_is_nothing_to_do(airflow_db: Airflow) -> None:
    assert not airflow_db.is_out_of_date()
    assert not airflow_db.keep()
    assert airflow_db.events() == []


# Taken over, released, deleted


def test_a_role_by_hand_is_taken_over(airflow_db: Airflow) -> None:
    airflow_db.give(ROLE, ("can_read", "Jobs"), ("can_edit", "Pools"))
    wanted = role(permissions=[("can_read", "Jobs")])
    assert airflow_db.is_out_of_date(wanted)
    airflow_db.settle(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Jobs")}
    assert airflow_db.events() == [(ROLE, "taken over", 1, 1)]


def test_a_role_that_the_file_drops_stays_while_somebody_holds_it(airflow_db: Airflow) -> None:
    wanted = role(permissions=[("can_read", "Jobs")])
    airflow_db.settle(wanted)
    has = airflow_db.of(ROLE)
    _holds(airflow_db, "vera", ROLE)
    assert airflow_db.is_out_of_date()
    airflow_db.settle()
    assert airflow_db.registry() == {ROLE: False}
    assert airflow_db.of(ROLE) == has
    airflow_db.take(ROLE, ("can_read", "Jobs"))
    assert not airflow_db.is_out_of_date(), "a released role is left as it is"

    airflow_db.world.write(delete(fab_users.holds_table()))
    assert airflow_db.is_out_of_date()
    airflow_db.settle()
    assert airflow_db.of(ROLE) is None
    assert airflow_db.registry() == {}
    assert [became for _name, became, *_ in airflow_db.events()] == ["made", "released", "deleted"]


@only_on_3("Flask-AppBuilder has no groups")
def test_a_group_of_airflows_holds_a_role_as_well(airflow_db: Airflow) -> None:
    airflow_db.settle(role())
    held = fab_users.group_tables().gives
    assert held is not None
    number = (
        select(fab_users.role_table().c.id).where(fab_users.role_table().c.name == ROLE).scalar_subquery()
    )
    groups = held.metadata.tables["ab_group"]
    airflow_db.world.write(insert(groups).values(id=1, name="everyone"))
    airflow_db.world.write(insert(held).values(group_id=1, role_id=number))
    airflow_db.settle()
    assert airflow_db.registry() == {ROLE: False}
    airflow_db.world.write(delete(held))
    airflow_db.world.write(delete(groups))
    airflow_db.settle()
    assert airflow_db.registry() == {}


def test_a_released_role_comes_back(airflow_db: Airflow) -> None:
    wanted = role(permissions=[("can_read", "Jobs")])
    airflow_db.settle(wanted)
    _holds(airflow_db, "vera", ROLE)
    airflow_db.settle()
    assert airflow_db.is_out_of_date(wanted)
    airflow_db.settle(wanted)
    assert airflow_db.registry() == {ROLE: True}
    assert [became for _name, became, *_ in airflow_db.events()] == ["made", "released", "taken over"]


def test_a_released_role_that_an_owned_one_is_like_stays(airflow_db: Airflow) -> None:
    base, wanted = role("base", permissions=[("can_read", "Jobs")]), role(like="base")
    airflow_db.settle(base, wanted)
    airflow_db.settle(wanted)
    assert ("can_read", "Jobs") in (airflow_db.of(ROLE) or ())
    airflow_db.settle(role())
    assert airflow_db.of("base") is None
    assert airflow_db.of(ROLE) == {HOME}


def test_what_two_roles_share_stays_with_the_other(airflow_db: Airflow) -> None:
    airflow_db.dags("shared")
    one, two = role("one", dags={"*": ["read"]}), role("two", dags={"*": ["read"]})
    airflow_db.settle(one, two)
    airflow_db.settle(two)
    assert airflow_db.of("one") is None
    assert on("shared", "read") <= (airflow_db.of("two") or set())


def _holds(airflow_db: Airflow, name: str, role_name: str) -> None:
    user_id = airflow_db.world.sign_up(name)
    with airflow_db.engine.begin() as connection:
        writing = fab_users.RoleWriting(connection)
        writing.set_roles(user_id, (), {role_name})
        writing.write()


# Two at once, and Airflow's own hands


def test_two_at_once_make_a_role_once(airflow_db: Airflow) -> None:
    """Both look before either has written: one of them is told, and finds it done when it looks again."""
    wanted = role(permissions=[("can_read", "Jobs")])
    by_name = {wanted.name: wanted}
    with airflow_db.engine.connect() as connection:
        late = owned_roles._plan(connection, by_name, owned_roles._look(connection, by_name))
        airflow_db.keep(wanted)
        with pytest.raises(IntegrityError):
            late.carry_out(connection, Journal("TEST-LATE"))
    assert not airflow_db.keep(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Jobs")}


def test_two_at_once_give_the_same_permission_once(airflow_db: Airflow) -> None:
    airflow_db.settle(role())
    wanted = role(permissions=[("can_read", "Jobs")])
    by_name = {wanted.name: wanted}
    with airflow_db.engine.begin() as connection:
        late = owned_roles._plan(connection, by_name, owned_roles._look(connection, by_name))
        airflow_db.keep(wanted)
        late.carry_out(connection, Journal("TEST-LATE"))
    assert not airflow_db.keep(wanted)
    assert airflow_db.of(ROLE) == {HOME, ("can_read", "Jobs")}


def _appless(session: Session) -> Any:
    """Airflow's own writer, as its DAG processor uses it."""
    if IS_AIRFLOW_2:
        from airflow.www.security_appless import ApplessAirflowSecurityManager
    else:
        from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager

    return ApplessAirflowSecurityManager(session=session)


def _parsed(airflow_db: Airflow, dag_id: str, access_control: dict[str, Any] | None) -> None:
    """Airflow's DAG processor reads the file of a DAG."""
    with Session(airflow_db.engine) as session:
        _appless(session).sync_perm_for_dag(dag_id, access_control)
        session.commit()


def test_a_dag_without_access_control_leaves_ours_alone(airflow_db: Airflow) -> None:
    airflow_db.dags("payments")
    wanted = role(dags={"payments": ["read", "trigger"]})
    airflow_db.settle(wanted)
    _parsed(airflow_db, "payments", None)
    assert not airflow_db.is_out_of_date(wanted)


def test_access_control_works_beside_ours(airflow_db: Airflow, caplog: pytest.LogCaptureFixture) -> None:
    """What a DAG gives to a role by hand stays; what it takes from ours is back at the next look."""
    airflow_db.dags("payments")
    airflow_db.give("by-hand", ("can_read", "Jobs"))
    wanted = role(dags={"payments": ["read", "trigger"]})
    airflow_db.settle(wanted)
    for _time in range(3):
        _parsed(airflow_db, "payments", {"by-hand": {"DAGs": {"can_read"}}})
        assert not on("payments", "trigger") & (airflow_db.of(ROLE) or set()), "Airflow takes it"
        assert airflow_db.is_out_of_date(wanted)
        assert airflow_db.keep(wanted)
        assert on("payments", "read", "trigger") <= (airflow_db.of(ROLE) or set())
        assert airflow_db.of("by-hand") == {("can_read", "Jobs"), ("can_read", "DAG:payments")}
    told = [became for _name, became, *_ in airflow_db.events()]
    assert told == ["made", "permissions changed"], "the same again is not written down again"
    assert "name the role there" in caplog.text


def test_access_control_that_names_ours_is_at_peace_with_the_file(airflow_db: Airflow) -> None:
    airflow_db.dags("payments")
    wanted = role(dags={"payments": ["read", "trigger"]})
    airflow_db.settle(wanted)
    same = {ROLE: {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_create"}}}
    _parsed(airflow_db, "payments", same)
    assert not airflow_db.is_out_of_date(wanted)
    _parsed(airflow_db, "payments", {ROLE: {"DAGs": {"can_read", "can_edit", "can_delete"}}})
    assert airflow_db.is_out_of_date(wanted)
    airflow_db.keep(wanted)
    assert {one for one in airflow_db.of(ROLE) or () if ":" in one[1]} == on("payments", "read", "trigger")


# What it costs


def test_a_look_is_a_few_statements_however_many_dags_there_are(airflow_db: Airflow) -> None:
    airflow_db.dags(*(f"team{n % 4}_{n}" for n in range(400)))
    owned = [role(f"team-{n}", dags={f"team{n}_*": ["read", "edit", "trigger"]}) for n in range(4)]
    statements: list[str] = []
    event.listen(airflow_db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    airflow_db.keep(*owned)
    assert len(statements) <= 30
    airflow_db.settle(*owned)
    statements.clear()
    assert not airflow_db.is_out_of_date(*owned)
    assert len(statements) <= 3


# For real: what a person sees and may do

_FROM = (
    "from airflow import DAG; from airflow.operators.empty import EmptyOperator"
    if IS_AIRFLOW_2
    else "from airflow.sdk import DAG; from airflow.providers.standard.operators.empty import EmptyOperator"
)
DAG_FILE = f"""
{_FROM}

for name, rule in DAGS.items():
    with DAG(name, schedule=None, access_control=rule):
        EmptyOperator(task_id="only")
"""
#: By file: 2.11 shows a file only to whoever may see every DAG in it.
DAGS = {
    "payments.py": {"payments_daily": None, "payments_weekly": {"by-hand": {"DAGs": {"can_read"}}}},
    "growth.py": {"growth_daily": None},
}
TEAM = role(dags={"payments_*": ["read", "edit", "trigger"]})
READERS = role("payments-readers", dags={"payments_*": ["read"]})
VIEWERS = role("payments-viewers", like="Viewer", dags={"payments_*": ["trigger"]})
STARTERS = role("payments-starters", like="payments-readers", dags={"payments_d*": ["trigger"]})
OWNED = (TEAM, READERS, VIEWERS, STARTERS)


class Company:
    """A running Airflow with three DAGs, and the roles that the mapping file would own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.engine = stack.engine

    def keep(self, *owned: OwnedRole) -> bool:
        with self.engine.begin() as connection:
            return owned_roles.keep(connection, Journal("TEST-REAL"), owned)

    def is_out_of_date(self, *owned: OwnedRole) -> bool:
        with self.engine.connect() as connection:
            return owned_roles.is_out_of_date(connection, owned)

    def of(self, name: str) -> set[Permission]:
        query = """select p.name action, v.name resource from ab_permission_view_role pvr
                   join ab_role r on r.id = pvr.role_id
                   join ab_permission_view pv on pv.id = pvr.permission_view_id
                   join ab_permission p on p.id = pv.permission_id
                   join ab_view_menu v on v.id = pv.view_menu_id where r.name = ?"""
        return {(row["action"], row["resource"]) for row in self.stack.rows(query, name)}

    def airflow(self, *arguments: str, **environment: str) -> None:
        """Run ``airflow <arguments>``, with settings of its own."""
        home = replace(self.stack.home, extra={**self.stack.home.extra, **environment})
        with home.start("command", *arguments) as command:
            assert command.wait(180) == 0, command.log_tail()

    def map(self, *rules: dict[str, Any]) -> None:
        """The running servers keep the roles as well, so that they have to be told of them."""
        owned = {
            one.name: {"like": one.like, "dags": {pattern: sorted(words) for pattern, words in one.dags}}
            for one in OWNED
        }
        self.stack.map({"version": 1, "rules": list(rules), "roles": owned})
        self.stack.generation()

    def person(self, name: str, role_name: str) -> Visitor:
        """Somebody signed in, whom the mapping gives one role."""
        group = {"vera": "airflow_prod_viewer", "otto": "airflow_prod_op", "ada": "airflow_prod_admin"}[name]
        self.map({"group": GROUPS[group], "roles": [role_name]})
        visitor = self.stack.visitor()
        visitor.sign_in(name)
        assert self.stack.roles_of(f"{name}@contoso.example") == {role_name}
        return visitor


@pytest.fixture(scope="module")
def three_dags(shared_airflow: Stack) -> Iterator[Company]:
    """Their file is read once."""
    made = Company(shared_airflow)
    folder = shared_airflow.home.path / "dags"
    for file, its in DAGS.items():
        (folder / file).write_text(f"DAGS = {its}\n{DAG_FILE}")
    shared_airflow.add("ab_role", name="by-hand")
    made.airflow("dags", "reserialize")
    yield made
    for file in DAGS:
        (folder / file).unlink()
    shared_airflow.write("delete from ab_user_role")
    made.keep()
    shared_airflow.write("delete from ab_role where name in ('by-hand', 'auditors')")
    shared_airflow.write("delete from dag_run")
    shared_airflow.write("delete from dag where dag_id like 'payments%' or dag_id like 'growth%'")
    made.engine.dispose()


@pytest.fixture
def company(airflow: Stack, three_dags: Company) -> Company:
    """The roles are as the file says."""
    del airflow
    three_dags.map()
    three_dags.keep(*OWNED)
    return three_dags


def dags(visitor: Visitor, path: str = f"{API}/dags") -> set[str]:
    answer = visitor.at(path)
    assert answer.ok, answer.text
    return {one["dag_id"] for one in answer.json()["dags"]}


def trigger(visitor: Visitor, dag_id: str) -> int:
    url = f"{visitor.stack.url}{API}/dags/{dag_id}/dagRuns"
    wanted = {} if IS_AIRFLOW_2 else {"logical_date": None}
    return visitor.post(url, json=wanted, timeout=30).status_code


def pause(visitor: Visitor, dag_id: str) -> int:
    url = f"{visitor.stack.url}{API}/dags/{dag_id}"
    return visitor.patch(url, json={"is_paused": False}, timeout=30).status_code


ALL = ("payments_daily", "payments_weekly", "growth_daily")
OF_ONE_DAG = (
    f"{API}/dags/{{}}",
    f"{API}/dags/{{}}/details",
    f"{API}/dags/{{}}/tasks",
    f"{API}/dags/{{}}/dagRuns",
    f"{API}/dags/{{}}/dagRuns/~/taskInstances",
)
if not IS_AIRFLOW_2:
    OF_ONE_DAG += (
        "/api/v2/dags/{}/dagVersions",
        "/api/v2/dagSources/{}",
        "/ui/structure/structure_data?dag_id={}",
        "/ui/grid/structure/{}",
        "/ui/grid/runs/{}",
        "/ui/dags/{}/latest_run",
    )
OF_ALL = (
    f"{API}/dags",
    f"{API}/dags/~/dagRuns",
    f"{API}/dags/~/dagRuns/~/taskInstances",
    f"{API}/dags/~/dagRuns/~/taskInstances/~/xcomEntries",
    f"{API}/dagWarnings",
)
if IS_AIRFLOW_2:
    OF_ALL += (
        f"{API}/dagStats?dag_ids=payments_daily,growth_daily",
        "/home",
        "/dagrun/list/",
        "/taskinstance/list/",
        "/slamiss/list/",
        "/dagmodel/autocomplete?query=daily",
    )
else:
    OF_ALL += (
        "/ui/auth/menus",
        "/ui/config",
        "/ui/dags",
        "/ui/dashboard/dag_stats",
        "/ui/dashboard/historical_metrics_data?start_date=2026-01-01T00:00:00Z",
        "/ui/dependencies",
        "/api/v2/dags/~/dagRuns/~/hitlDetails",
        "/api/v2/dagTags",
    )
#: What a person has no part in who has nothing but some DAGs.
OF_OTHERS = (
    "connections",
    "variables",
    "pools",
    "eventLogs",
    "config",
    "jobs" if not IS_AIRFLOW_2 else "plugins",
)
OF_OTHERS += ("datasets", "importErrors", "users", "roles") if IS_AIRFLOW_2 else ("assets",)


def clear(visitor: Visitor, dag_id: str) -> int:
    """Clear a run of a DAG."""
    runs = visitor.at(f"{API}/dags/{dag_id}/dagRuns").json()["dag_runs"]
    url = f"{visitor.stack.url}{API}/dags/{dag_id}/dagRuns/{runs[0]['dag_run_id']}/clear"
    return visitor.post(url, json={"dry_run": False}, timeout=30).status_code


def test_a_person_sees_and_starts_the_dags_of_the_pattern(company: Company) -> None:
    ada = company.person("ada", "Admin")
    assert trigger(ada, "growth_daily") == trigger(ada, "payments_weekly") == 200
    assert dags(ada) >= {"payments_daily", "payments_weekly", "growth_daily"}

    vera = company.person("vera", TEAM.name)
    assert dags(vera) == {"payments_daily", "payments_weekly"}
    assert IS_AIRFLOW_2 or dags(vera, "/ui/dags") == dags(vera)
    assert trigger(vera, "payments_daily") == 200
    assert pause(vera, "payments_daily") == 200
    assert trigger(vera, "growth_daily") == 403
    assert pause(vera, "growth_daily") == 403
    for path in OF_ONE_DAG:
        assert vera.at(path.format("payments_daily")).status_code == 200, path
        assert vera.at(path.format("growth_daily")).status_code == 403, path
        assert ada.at(path.format("growth_daily")).status_code == 200, path
    for path in OF_ALL:
        answer = vera.at(path)
        assert answer.status_code == 200, path
        assert "growth_daily" not in answer.text, path
    assert "growth_daily" in ada.at(f"{API}/dags/~/dagRuns").text
    assert "payments_weekly" in vera.at(f"{API}/dags/~/dagRuns").text
    for path in OF_OTHERS:
        assert vera.at(f"{API}/{path}").status_code == 403, path
    if not IS_AIRFLOW_2:
        assert vera.at("/ui/auth/menus").json()["authorized_menu_items"] == ["Dags"]
    assert clear(vera, "payments_daily") == 200


@only_on_2("its interface asks the API, and nothing else")
def test_the_pages_show_and_do_the_same(company: Company) -> None:
    ada = company.person("ada", "Admin")
    for dag_id in ("growth_daily", "payments_daily"):
        assert trigger(ada, dag_id) == 200
    otto = company.person("otto", STARTERS.name)
    for page in ("/dags/{}/grid", "/object/grid_data?dag_id={}", "/object/graph_data?dag_id={}"):
        for dag_id, seen in (("payments_daily", True), ("payments_weekly", True), ("growth_daily", False)):
            answer = otto.at(page.format(dag_id), allow_redirects=False)
            assert (answer.status_code == 200) is seen, (page, dag_id)
            assert ada.at(page.format(dag_id), allow_redirects=False).status_code == 200
    for dag_id, may in (("payments_daily", True), ("payments_weekly", False), ("growth_daily", False)):
        answer = otto.at(f"/dags/{dag_id}/trigger", allow_redirects=False)
        assert (answer.headers.get("Location") != "/home") is may, dag_id

    token = {dag_id: ada.at(f"{API}/dags/{dag_id}").json()["file_token"] for dag_id in ALL}
    assert otto.at(f"{API}/dagSources/{token['payments_daily']}").status_code == 200
    assert otto.at(f"{API}/dagSources/{token['growth_daily']}").status_code == 403
    for path in ("/dag-dependencies", "/object/dataset_dependencies"):
        assert ada.at(path, allow_redirects=False).status_code == 200
        assert otto.at(path, allow_redirects=False).is_redirect, "it would name every DAG"


def test_whoever_only_reads_changes_nothing(company: Company) -> None:
    otto = company.person("otto", READERS.name)
    assert dags(otto) == {"payments_daily", "payments_weekly"}
    for path in OF_ONE_DAG:
        assert otto.at(path.format("payments_daily")).status_code == 200, path
    assert trigger(otto, "payments_daily") == 403
    assert pause(otto, "payments_daily") == 403


def test_whoever_starts_one_and_reads_another(company: Company) -> None:
    otto = company.person("otto", STARTERS.name)
    assert dags(otto) == {"payments_daily", "payments_weekly"}
    assert trigger(otto, "payments_daily") == 200
    assert trigger(otto, "payments_weekly") == 403
    assert clear(otto, "payments_daily") == 403


def test_whoever_is_like_viewer_sees_all_and_starts_some(company: Company) -> None:
    vera = company.person("vera", VIEWERS.name)
    assert dags(vera) >= {"payments_daily", "payments_weekly", "growth_daily"}
    assert trigger(vera, "payments_daily") == 200
    assert trigger(vera, "growth_daily") == 403
    assert pause(vera, "growth_daily") == 403
    for path in OF_ONE_DAG:
        assert vera.at(path.format("growth_daily")).status_code == 200, path


def test_airflows_own_synchronisation_and_ours_live_together(company: Company) -> None:
    """``airflow sync-perm --include-dags`` with ``custom_roles``, and a DAG with ``access_control``."""
    before = company.of(TEAM.name)
    custom = {"auditors": [{"action": "can_read", "resource": "DAGs"}]}
    company.airflow("sync-perm", "--include-dags", AIRFLOW__FAB__CUSTOM_ROLES=json.dumps(custom))
    theirs = {"by-hand": {("can_read", "DAG:payments_weekly"), HOME}}
    if not IS_AIRFLOW_2:  # which has no such setting
        theirs["auditors"] = {("can_read", "DAGs"), HOME}
    assert {name: company.of(name) for name in theirs} == theirs
    # The DAG names it not; the server that runs beside may have given it back by now.
    assert before - company.of(TEAM.name) in (on("payments_weekly", "edit", "trigger"), set())

    viewer, admin = company.of("Viewer"), company.of("Admin")
    company.keep(*OWNED)
    assert company.of(TEAM.name) == before
    assert {name: company.of(name) for name in theirs} == theirs
    assert (company.of("Viewer"), company.of("Admin")) == (viewer, admin)

    company.airflow("sync-perm")
    assert not company.is_out_of_date(*OWNED), "what a start of Airflow does"


# --- taken out of roles:, and named by a rule ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "stays"),
    [
        ("rules: [{group: g, roles: [team-payments]}]", True),
        ("rules: []\nno_match: [team-payments]", True),
        ("rules: []\nprotected_roles: [team-payments]", True),
        ("rules: [{group: 'g-*', roles: ['team-{1}']}]\nroles: {'team-*': {}}", True),
        ("rules: [{group: 'g-*', roles: ['team-{1}']}]", False),
        ("rules: [{group: g, roles: [Viewer]}]", False),
    ],
)
def test_a_role_that_rules_go_on_giving_stays_though_nobody_holds_it_yet(
    airflow_db: Airflow, rest: str, stays: bool
) -> None:
    """Whoever hands a role over to the page of roles keeps the rule; lint has said that the role is there."""
    airflow_db.settle(role(dags={"*": ["read"]}))
    rules = mapped(rest, ROLE)
    for _ in range(2):
        with airflow_db.engine.begin() as connection:
            owned_roles.keep(connection, Journal("TEST-KEEP"), rules.owned_roles, rules.names)
        assert (airflow_db.of(ROLE) is not None) is stays
    with airflow_db.engine.connect() as connection:
        assert not owned_roles.is_out_of_date(connection, rules.owned_roles, rules.names)
        # With the last rule it goes.
        assert owned_roles.is_out_of_date(connection, ()) is stays


# --- names that a database takes for one ------------------------------------------------------------------


@pytest.mark.sqlite
def test_a_name_that_the_database_takes_for_another_is_not_made(
    airflow_db: Airflow, caplog: pytest.LogCaptureFixture
) -> None:
    """As on MySQL: to insist would fail each time, and no new mapping could ever take force."""
    with airflow_db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ab_role RENAME TO exact")
        connection.exec_driver_sql(
            "CREATE TABLE ab_role (id INTEGER PRIMARY KEY, name VARCHAR(64) COLLATE NOCASE UNIQUE)"
        )
        connection.exec_driver_sql("INSERT INTO ab_role SELECT id, name FROM exact")
        connection.exec_driver_sql("INSERT INTO ab_role (name) VALUES ('By-Hand')")
        journal = Journal("TEST-KEEP")
        assert owned_roles.keep(connection, journal, [role("by-hand"), role("other")])
        there = fab_users.role_names(connection)
    assert "By-Hand" in there
    assert "by-hand" not in there
    assert "other" in there
    assert "the role by-hand cannot be made: By-Hand is in its way" in caplog.text
