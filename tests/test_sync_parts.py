"""Many people in one transaction: each wholly or not at all, whatever becomes of the others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, event, insert, update

from airflow_sso import database, models
from airflow_sso.accounts import fab_users, links, register
from airflow_sso.directory.snapshot import USABLE, Reading
from airflow_sso.role_mapping import compile_rules
from airflow_sso.sync import apply, plan, population
from tests.databases import refusing
from tests.lines import both_lines
from tests.sync_world import ADMINS, AUTHORITY, OPS, VIEWERS, World, rule

pytestmark = [both_lines, pytest.mark.database]

PEOPLE = [f"person-{number:02}" for number in range(30)]


@pytest.fixture
def world(shared_world: World) -> World:
    """Thirty people look, and the directory has been asked about them."""
    shared_world.forget_everything()
    fresh = World(shared_world.engine)
    for name in PEOPLE:
        fresh.sign_up(name, VIEWERS)
    fresh.sync()
    return fresh


def all_operate(world: World) -> None:
    for name in PEOPLE:
        world.reader.touch(name).groups = {OPS}


def roles(world: World) -> dict[str, set[str]]:
    return {name: world.roles_of(name) for name in PEOPLE}


def test_whoever_changed_meanwhile_is_left_and_the_others_are_not(world: World) -> None:
    all_operate(world)
    key = models.identity_key(AUTHORITY, PEOPLE[7])
    later = update(models.accounts).where(models.accounts.c.identity_key == key)
    look = population.linked

    def linked(authority: str) -> Any:
        yield from look(authority)
        world.write(later.values(observed_at=models.now()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "linked", linked)
        assert world.sync().changed == len(PEOPLE) - 1
    assert roles(world) == {name: {"Op"} for name in PEOPLE} | {PEOPLE[7]: {"Viewer"}}
    assert world.sync().changed == 1
    assert world.roles_of(PEOPLE[7]) == {"Op"}


def test_who_is_in_the_way_of_the_others_is_left_alone(world: World) -> None:
    all_operate(world)
    with world.engine.connect() as connection:
        user = fab_users.by_username(connection, PEOPLE[3])
    assert user is not None
    with refusing(world.engine, "ab_user_role", f"new.user_id = {user.user_id}"):
        assert world.sync().changed == len(PEOPLE) - 1
    assert roles(world) == {name: {"Op"} for name in PEOPLE} | {PEOPLE[3]: {"Viewer"}}
    assert sorted(world.events("roles_changed")) == sorted(set(PEOPLE) - {PEOPLE[3]})
    assert world.sync().changed == 1


def test_who_was_never_locked_is_locked_with_the_others(world: World) -> None:
    epochs = models.epochs
    with world.engine.connect() as connection:
        users = [fab_users.by_username(connection, name) for name in PEOPLE[:3]]
    first, second, third = (user.user_id for user in users if user)
    world.write(delete(epochs))
    world.write(insert(epochs).values(user_id=second, epoch=4))
    with database.transaction() as connection:
        register.lock_all(connection, [third, first, second, first])
        assert register.lock(connection, second).number == 4
        assert register.lock(connection, third).number == 0


def test_statements_are_those_of_a_part_not_of_a_person(world: World) -> None:
    all_operate(world)
    world.sync()  # from now on everybody has a row to lock
    for name in PEOPLE:
        world.reader.touch(name).groups = {VIEWERS}
    executed: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    event.listen(world.engine, "before_cursor_execute", note)
    try:
        assert world.sync().changed == len(PEOPLE)
    finally:
        event.remove(world.engine, "before_cursor_execute", note)
    assert len(executed) < 2 * len(PEOPLE)


def test_accounts_of_others_and_gaps_hide_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "_AT_ONCE", 3)
    key = models.identity_key(AUTHORITY, PEOPLE[4])
    other = update(models.accounts).where(models.accounts.c.identity_key == key)
    world.write(other.values(authority="another"))
    users = fab_users.table()
    with world.engine.connect() as connection:
        gone = [user.user_id for name in PEOPLE[10:20] if (user := fab_users.by_username(connection, name))]
    world.write(delete(models.accounts).where(models.accounts.c.user_id.in_(gone)))
    world.write(delete(users).where(users.c.id.in_(gone)))
    left = [name for name in PEOPLE if name != PEOPLE[4] and name not in PEOPLE[10:20]]
    assert [account.username for account in population.linked(AUTHORITY)] == left
    assert [account.username for account in population.linked("another")] == [PEOPLE[4]]


def test_one_and_true_are_two_things_whoever_came_first() -> None:
    yes = True
    mapping = compile_rules([rule(1, "claim:level", 1, "Op"), rule(2, "claim:level", yes, "Viewer")])
    accounts = [
        plan.Account(
            key=str(number), subject=str(number), user_id=number, username=str(number), active=True,
            held=frozenset({"Admin"}),
            facts=links.read_back(links.written({"claim:level": frozenset({value})}, "sign_in:entra")),
        )
        for number, value in enumerate([1, True, 1, True])
    ]  # fmt: skip
    people = {account.subject: USABLE for account in accounts}
    made = plan.make(Reading(began_at=models.now(), everyone=True, people=people), accounts, mapping)
    assert [set(change.after) for change in made.changes] == [{"Op"}, {"Viewer"}, {"Op"}, {"Viewer"}]


def test_of_two_admins_in_one_transaction_one_stays(world: World) -> None:
    """The plan knew of a third, whom an operator shuts before it is carried out."""
    for name in PEOPLE[:2]:
        world.reader.touch(name).groups = {ADMINS}
    world.sign_up("by-hand", ADMINS, linked=False)
    world.sync()
    for name in PEOPLE[:2]:
        world.reader.touch(name).groups = {VIEWERS}
    carry_out = apply.carry_out

    def shut_first(*arguments: Any) -> Any:
        world.operator_shuts("by-hand")
        return carry_out(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "carry_out", shut_first)
        world.sync()
    assert sorted(map(sorted, (world.roles_of(name) for name in PEOPLE[:2]))) == [["Admin"], ["Viewer"]]
