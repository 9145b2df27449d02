"""The sync as a whole over a scripted directory: who is out, who is back, what is left alone."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import pytest
from sqlalchemy import delete, insert, select, update

from airflow_sso import database, models
from airflow_sso.accounts import fab_users, given_roles, links, shutting
from airflow_sso.audit import Journal, Subject
from airflow_sso.directory.failures import DirectoryUnreachable
from airflow_sso.directory.snapshot import Observation
from airflow_sso.sync import apply, lease, population, quarantine, run
from airflow_sso.sync.guard import Limits
from tests.sync_world import ADMINS, OPS, VIEWERS, Entry, World
from tests.test_role_mapping import mapping

pytestmark = pytest.mark.database


@pytest.fixture
def world(shared_world: World) -> World:
    """Ada runs it, Otto operates, Vera looks."""
    shared_world.forget_everything()
    fresh = World(shared_world.engine)
    fresh.sign_up("ada", ADMINS)
    fresh.sign_up("otto", OPS)
    fresh.sign_up("vera", VIEWERS)
    return fresh


def test_nothing_new_changes_nothing(world: World) -> None:
    before = world.state()
    assert world.sync().result == "nothing"
    assert world.sync().result == "nothing"
    assert world.state() == before


def test_whoever_is_disabled_is_out_and_comes_back_with_what_the_mapping_gives(world: World) -> None:
    session, other = world.open_session("otto"), world.open_session("vera")
    world.sync()
    world.reader.touch("otto").state = "unusable"
    assert world.sync().result == "applied"
    assert world.active() == {"ada", "vera"}
    assert world.roles_of("otto") == set()
    assert world.open_sessions() == {other} != {session}
    assert world.sync().result == "nothing"
    entry = world.reader.touch("otto")
    entry.state, entry.groups = "usable", {VIEWERS}
    world.sync()
    assert world.active() == {"ada", "otto", "vera"}
    assert world.roles_of("otto") == {"Viewer"}
    assert world.open_sessions() == {other}


def test_a_moved_person_has_the_new_role(world: World) -> None:
    world.sync()
    world.reader.people["vera"].groups = {OPS}
    world.sync()
    assert world.roles_of("vera") == {"Op"}
    assert world.events("roles_changed") == ["vera"]


def test_who_moves_within_what_patterns_want_has_the_new_role(world: World) -> None:
    world.mapping = mapping(
        "rules: [{group: 'op-*', roles: [Op]}, {group: 'view-*', roles: [Viewer]}, {group: admins, roles: [Admin]}]"
    )
    world.sign_up("paul", "view-berlin", "something else")
    world.sync()
    assert world.roles_of("paul") == {"Viewer"}
    world.reader.people["paul"].groups = {"op-berlin", "view-paris"}
    world.sync()
    assert world.roles_of("paul") == {"Op", "Viewer"}
    world.reader.people["paul"].groups = {"op-paris"}
    world.sync()
    assert world.roles_of("paul") == {"Op"}
    world.reader.people["paul"].groups = {"something else"}
    world.sync()
    assert world.roles_of("paul") == set()


def test_what_patterns_want_stays_as_told_where_the_directory_does_not_follow_them(world: World) -> None:
    world.mapping = mapping(
        "rules: [{group: 'view-*', roles: [Viewer]}, {group: ops, roles: [Op]}, {group: admins, roles: [Admin]}]"
    )
    world.reader.follows_patterns = False
    world.sign_up("paul", "view-berlin", OPS)
    world.reader.people["paul"].groups = {"view-berlin", OPS}
    world.sync()
    assert world.roles_of("paul") == {"Viewer", "Op"}
    world.reader.people["paul"].groups = set()
    world.sync()
    assert world.roles_of("paul") == {"Viewer"}


def test_no_role_left_signs_out_and_shuts_nothing(world: World) -> None:
    session = world.open_session("vera")
    world.sync()
    world.reader.people["vera"].groups = set()
    world.sync()
    assert world.roles_of("vera") == set()
    assert "vera" in world.active()
    assert session not in world.open_sessions()


def test_gone_counts_when_it_is_seen_twice(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "gone"
    world.sync()
    assert "otto" in world.active()
    world.reader.changed.clear()  # no directory says it again by itself
    world.sync()
    assert "otto" not in world.active()


def test_gone_once_and_back_is_nothing(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "gone"
    world.sync()
    world.reader.people["otto"].state = "usable"
    world.sync()
    world.reader.touch("otto").state = "gone"
    world.sync()
    assert "otto" in world.active()


def test_unknown_is_left_alone_and_read_again(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unknown"
    outcome = world.sync()
    assert outcome.plan.unknown
    world.reader.changed.clear()
    world.reader.people["otto"].state = "unusable"
    world.sync()
    assert "otto" not in world.active()


def test_a_failed_reading_changes_nothing_and_the_next_completes(world: World) -> None:
    world.sync()
    before = world.state()
    world.reader.touch("otto").state = "unusable"
    world.reader.fails = DirectoryUnreachable("down")
    assert isinstance(world.try_sync(), DirectoryUnreachable)
    assert world.state() == before
    assert world.events("directory_failed") == [None]
    world.try_sync()
    assert world.events("directory_failed") == [None]
    world.reader.fails = None
    world.sync()
    assert "otto" not in world.active()


def test_too_many_wait_and_those_called_disabled_are_signed_out(world: World) -> None:
    world.limits = Limits(count=1, percent=100)
    sessions = {name: world.open_session(name) for name in ("ada", "otto", "vera")}
    world.sync()
    world.reader.touch("otto").state = "unusable"
    world.reader.people["vera"].groups = set()
    outcome = world.sync()
    assert outcome.result == "quarantined"
    assert world.active() == {"ada", "otto", "vera"}
    assert world.roles_of("otto") == {"Op"}
    assert world.roles_of("vera") == {"Viewer"}
    assert world.open_sessions() == {sessions["ada"], sessions["vera"]}
    again = world.sync()
    assert again.quarantined is not None
    assert outcome.quarantined is not None
    assert again.quarantined.plan_id == outcome.quarantined.plan_id
    quarantine.approve(outcome.quarantined.plan_id, "ada")
    assert world.sync().result == "applied"
    assert world.active() == {"ada", "vera"}
    assert world.roles_of("vera") == set()
    assert not quarantine.waiting()


def test_an_approval_covers_whom_it_named(world: World) -> None:
    world.limits = Limits(count=0)
    world.sync()
    world.reader.touch("otto").state = "unusable"
    outcome = world.sync()
    assert outcome.quarantined is not None
    quarantine.approve(outcome.quarantined.plan_id, "ada")
    world.reader.touch("vera").state = "unusable"
    second = world.sync()
    assert second.result == "quarantined"
    assert world.active() == {"ada", "otto", "vera"}


def test_small_steps_are_counted_together(world: World) -> None:
    world.limits = Limits(count=1, percent=100)
    world.sync()
    world.operator_shuts("vera")
    world.reader.touch("otto").state = "unusable"
    assert world.sync().result == "quarantined"
    assert "otto" in world.active()


def test_the_last_admin_stays(world: World) -> None:
    world.sync()
    world.reader.touch("ada").state = "unusable"
    outcome = world.sync()
    assert "admin" in outcome.unsafe
    assert "ada" in world.active()
    world.sign_up("grace", ADMINS)
    assert world.sync().result == "applied"
    assert "ada" not in world.active()


def test_an_admin_made_by_hand_counts_and_is_left_alone(world: World) -> None:
    world.sign_up("root", ADMINS, linked=False)
    del world.reader.people["root"]
    world.sync()
    world.reader.touch("ada").state = "unusable"
    assert world.sync().result == "applied"
    assert "root" in world.active()
    assert world.roles_of("root") == {"Admin"}


def test_an_empty_directory_takes_nobody(world: World) -> None:
    world.reader.always_whole = True
    world.sync()
    world.reader.people = {}
    world.sync()
    outcome = world.sync()
    assert outcome.result == "quarantined"
    assert "empty" in outcome.unsafe
    assert world.active() == {"ada", "otto", "vera"}


def test_the_operators_word_is_the_operators(world: World) -> None:
    world.operator_shuts("otto")
    world.sync()
    assert "otto" not in world.active()
    assert world.roles_of("otto") == set()
    world.reader.touch("otto").state = "unusable"
    world.sync()
    world.operator_opens("otto")
    assert "otto" not in world.active()
    world.reader.touch("otto").state = "usable"
    world.sync()
    assert "otto" in world.active()
    assert world.roles_of("otto") == {"Op"}


def test_usable_again_without_a_role_stays_shut(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"
    world.sync()
    entry = world.reader.touch("otto")
    entry.state, entry.groups = "usable", set()
    world.sync()
    assert "otto" not in world.active()
    entry.groups = {OPS}
    world.reader.changed.clear()
    world.sync()
    assert "otto" in world.active()


def test_another_hands_changes_are_put_back(world: World) -> None:
    world.sync()
    users, roles, holds = fab_users.table(), fab_users.role_table(), fab_users.holds_table()
    with world.engine.connect() as connection:
        vera = connection.scalar(select(users.c.id).where(users.c.username == "vera"))
        admin = connection.scalar(select(roles.c.id).where(roles.c.name == "Admin"))
    world.write(insert(holds).values(user_id=vera, role_id=admin))
    world.write(update(users).where(users.c.id == vera).values(last_name="Changed", password="pbkdf2:x"))
    assert world.sync().result == "applied"
    assert world.roles_of("vera") == {"Viewer"}
    with world.engine.connect() as connection:
        row = connection.execute(select(users).where(users.c.id == vera)).one()
    assert (row.last_name, row.password) == ("T", fab_users.UNUSABLE_PASSWORD)
    assert world.events("put_back") == ["vera"]
    world.write(delete(holds).where(holds.c.user_id == vera))
    world.sync()
    assert world.roles_of("vera") == {"Viewer"}


def test_opened_by_another_hand_is_shut_again_and_shut_stays(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"
    world.sync()
    users = fab_users.table()
    world.write(update(users).where(users.c.username == "otto").values(active=True))
    world.write(update(users).where(users.c.username == "vera").values(active=False))
    world.reader.changed.clear()
    world.sync()
    assert world.active() == {"ada"}
    world.sync()
    assert world.active() == {"ada"}
    world.operator_opens("vera")
    assert "vera" in world.active()


def test_nothing_older_than_the_last_change_is_believed(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"
    world.sync()
    world.reader.touch("otto").state = "usable"

    def shut_meanwhile() -> None:
        world.reader.while_reading = lambda: None
        world.operator_shuts("vera")
        world.operator_opens("vera")

    world.reader.people["vera"].groups = {ADMINS}
    world.reader.while_reading = shut_meanwhile
    world.sync()
    assert world.roles_of("vera") == {"Viewer"}
    world.reader.changed.clear()
    world.sync()
    assert world.roles_of("vera") == {"Admin"}


def test_signed_out_everywhere_ends_what_began_before(world: World) -> None:
    old = world.open_session("otto")
    world.sync()
    world.reader.touch("otto").valid_from = models.now()
    world.sync()
    assert old not in world.open_sessions()
    new = world.open_session("otto")
    world.sync()
    assert new in world.open_sessions()
    assert world.events("access_ended") == ["otto"]


def test_a_reason_longer_than_what_is_kept_is_written_down_once(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"
    seen = Observation("unusable", "disabled by " + "a very long policy " * 20)
    world.reader.people["otto"].seen = lambda: seen  # type: ignore[method-assign]
    assert world.sync().result == "applied"
    assert world.sync().result == "nothing"


def test_whoever_is_left_aside_is_read_again_though_they_were_new(world: World) -> None:
    world.reader.touch("otto").state = "unusable"

    def meanwhile() -> None:
        world.reader.while_reading = lambda: None
        world.operator_shuts("otto")
        world.operator_opens("otto")

    world.reader.while_reading = meanwhile
    world.sync()
    assert "otto" in world.active()
    world.reader.changed.clear()  # no directory says it again by itself
    world.sync()
    assert "otto" not in world.active()


def test_whoever_changes_while_others_are_changed_is_read_again(world: World) -> None:
    world.reader.touch("otto").state = "unusable"

    def meanwhile(doing: str) -> None:
        if doing.startswith("person") and not done:
            done.append(doing)
            world.operator_shuts("otto")
            world.operator_opens("otto")

    done: list[str] = []
    world.sync(progress=meanwhile)
    assert done
    assert "otto" in world.active()
    world.reader.changed.clear()
    world.sync()
    assert "otto" not in world.active()


def test_taken_back_while_the_operator_still_says_so_is_not_forgotten(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"
    world.sync()
    world.operator_shuts("otto")
    users = fab_users.table()
    world.write(update(users).where(users.c.username == "otto").values(active=True))
    world.reader.touch("otto").state = "usable"
    world.sync()
    assert "otto" not in world.active()
    world.reader.changed.clear()  # no directory says it again by itself
    world.sync()
    world.operator_opens("otto")
    assert "otto" in world.active()


def test_what_another_hand_shut_stays_shut_whoever_takes_their_own_word_back(world: World) -> None:
    world.sync()
    users = fab_users.table()
    world.write(update(users).where(users.c.username.in_(("otto", "vera"))).values(active=False))
    world.reader.touch("otto").state = "unusable"
    world.sync()
    world.reader.touch("otto").state = "usable"
    world.sync()
    assert world.active() == {"ada"}
    world.operator_opens("otto")
    world.sync()
    assert world.active() == {"ada", "otto"}
    assert world.roles_of("otto") == {"Op"}


def test_a_push_opens_nothing_that_it_did_not_shut(world: World) -> None:
    users = fab_users.table()
    world.write(update(users).where(users.c.username == "otto").values(active=False))
    for _ in range(2):
        with database.transaction() as connection:
            otto = fab_users.by_username(connection, "otto")
            assert otto is not None
            told = (connection, Journal("x"), Subject(user_id=otto.user_id), otto)
            assert shutting.lift(*told, source="push", reason="active") == {"operator": ANY}
            shutting.shut(*told, source="push", reason="not active")
    assert "otto" not in world.active()


def test_gone_once_takes_no_role_and_gives_none(world: World) -> None:
    session = world.open_session("otto")
    world.sync()
    # A deleted person is in no list of members either.
    otto, vera = world.reader.touch("otto"), world.reader.touch("vera")
    otto.state, otto.groups = "gone", set()
    vera.state, vera.groups = "gone", {ADMINS}
    world.sync()
    assert world.roles_of("otto") == {"Op"}
    assert world.roles_of("vera") == {"Viewer"}
    assert session in world.open_sessions()
    world.sync()
    assert world.active() == {"ada"}
    assert world.roles_of("otto") == world.roles_of("vera") == set()


@pytest.mark.parametrize("whole", [True, False])
def test_a_directory_that_lost_most_people_is_not_believed_the_second_time(
    world: World, *, whole: bool
) -> None:
    world.limits = Limits(count=1000, percent=90)
    world.reader.people |= {f"visitor {number}": Entry() for number in range(20)}
    world.sync()
    kept = world.reader.people
    world.reader.people = {"ada": kept["ada"]}
    world.reader.always_whole = whole
    world.write(update(models.directories).values(whole_read_at=None))
    assert world.sync().result == "nothing"
    outcome = world.sync()
    assert outcome.result == "quarantined"
    assert "shrunken" in outcome.unsafe
    assert world.active() == {"ada", "otto", "vera"}
    world.reader.people = kept
    assert world.sync().result == "nothing"
    assert world.sync().result == "nothing"
    assert world.active() == {"ada", "otto", "vera"}


def test_the_last_admin_stays_though_the_plan_knew_of_another(world: World) -> None:
    world.sync()
    world.sign_up("grace", VIEWERS)
    world.sync()
    world.reader.touch("ada").state = "unusable"
    world.reader.people["grace"].groups = {ADMINS}

    def meanwhile(doing: str) -> None:
        if doing.startswith("person") and "grace" in world.active():
            world.operator_shuts("grace")

    world.sync(progress=meanwhile)
    assert "ada" in world.active()
    assert world.roles_of("ada") == {"Admin"}
    world.reader.changed.clear()
    assert "admin" in world.sync().unsafe
    world.operator_opens("grace")
    world.sync()
    assert world.roles_of("grace") == {"Admin"}
    assert "ada" not in world.active()


def test_the_new_admin_comes_before_the_old_one_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_IN_ONE_TRANSACTION", 1)
    world.sync()
    world.reader.touch("ada").state = "unusable"
    world.reader.people["vera"].groups = {ADMINS}
    admins = []

    def count(_doing: str) -> None:
        with world.engine.connect() as connection:
            admins.append(len(population.admins(connection)))

    world.sync(progress=count)
    assert "ada" not in world.active()
    assert 0 not in admins


def test_a_name_that_cannot_be_put_back_keeps_nobody_in(world: World) -> None:
    world.sync()
    users = fab_users.table()
    world.write(update(users).where(users.c.username == "otto").values(username="otto2", last_name="Other"))
    world.write(update(users).where(users.c.username == "vera").values(username="otto"))
    world.reader.touch("otto").state = "unusable"
    world.sync()
    assert "otto2" not in world.active()
    assert world.roles_of("otto2") == set()
    world.sync()
    assert world.roles_of("otto") == set()
    assert world.roles_of("vera") == {"Viewer"}
    assert world.sync().result == "nothing"


def test_an_account_that_becomes_break_glass_meanwhile_is_left_alone(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"

    def meanwhile(doing: str) -> None:
        if doing.startswith("person"):
            users = fab_users.table()
            whose = select(users.c.id).where(users.c.username == "otto").scalar_subquery()
            pins = models.break_glass_pins
            world.write(delete(pins))
            world.write(insert(pins).values(name_key="otto", user_id=whose, pinned_at=models.now()))

    world.sync(progress=meanwhile)
    assert "otto" in world.active()


def test_a_role_that_was_deleted_since_gives_nothing_and_is_counted(world: World) -> None:
    session = world.open_session("otto")
    world.sync()
    roles = fab_users.role_table()
    world.write(update(roles).where(roles.c.name == "Viewer").values(name="Renamed"))
    try:
        world.limits = Limits(count=0)
        world.reader.people["otto"].groups = {VIEWERS}
        assert world.sync().result == "quarantined"
        assert world.roles_of("otto") == {"Op"}
        world.limits = Limits(count=1000, percent=100)
        assert world.sync().result == "applied"
        assert session not in world.open_sessions()
        assert world.sync().result == "nothing"
    finally:
        world.write(update(roles).where(roles.c.name == "Renamed").values(name="Viewer"))


def test_an_account_that_is_break_glass_now_is_in_no_plan(world: World) -> None:
    otto = world.number_of("otto")
    pin = insert(models.break_glass_pins)
    world.write(pin.values(name_key="k", user_id=otto, user_created_on=None, pinned_at=models.now()))
    world.reader.touch("otto").state = "unusable"
    outcome = world.sync()
    assert outcome.plan.protected == ["otto"]
    assert not outcome.plan.changes
    assert "otto" in world.active()


def test_without_the_lease_not_one_is_changed(world: World) -> None:
    world.sync()
    world.reader.touch("otto").state = "unusable"
    plan = run.look(world.directory, world.mapping, world.limits).plan
    held = lease.take("sync")
    work = apply.Work(lease=held, reference="R", provider="entra", progress=lambda _doing: None)
    held.give_back()
    lease.take("sync").give_back()
    before = world.state()
    with pytest.raises(lease.LeaseLost):
        apply.carry_out(plan, work)
    assert world.state() == before
    with pytest.raises(lease.LeaseLost):
        apply.end_sessions(plan, work)
    held = lease.take("sync")
    apply.carry_out(plan, replace(work, lease=held))
    held.give_back()
    assert "otto" not in world.active()


# --- what nobody was asked about yet ------------------------------------------------------------------------

FINANCE = "{claim: department, equals: Finance, roles: [Viewer]}"


@pytest.mark.parametrize(
    ("rules", "then"),
    [
        (FINANCE, {"Viewer"}),  # only the next sign-in tells
        (f"{FINANCE}, {{group: ops, roles: [Op]}}", {"Viewer", "Op"}),
        ("{claim: department, equals: Finance, roles: [User]}", set()),
        ("{group: nobody, roles: [Viewer]}", set()),
        (f"{FINANCE}, {{group: viewers, deny: true}}", set()),
    ],
)
def test_a_rule_about_what_nobody_was_asked_yet_takes_nothing_before_the_next_sign_in(
    world: World, rules: str, then: set[str]
) -> None:
    world.forget_everything()
    world.mapping = mapping(f"rules: [{rules}]")
    world.sign_up("fred", VIEWERS, OPS)
    world.sync()
    assert world.roles_of("fred") == then
    world.reader.touch("fred")
    world.sync()
    assert world.roles_of("fred") == then, "and is not taken for one that was given by hand"
    # The sign-in has told: they are not in the department.
    facts = links.written(
        {"group": frozenset((VIEWERS, OPS)), "claim:department": frozenset()}, "sign_in:entra"
    )
    world.write(update(models.accounts).where(models.accounts.c.username == "fred").values(facts=facts))
    world.reader.touch("fred")
    world.sync()
    assert world.roles_of("fred") == then - {"Viewer"}


def test_what_gave_a_role_of_which_nothing_is_known_yet_stands(world: World) -> None:
    world.forget_everything()
    world.sign_up("fred", VIEWERS, OPS)
    mine = models.accounts.c.username == "fred"
    before = {"Viewer": ("readers",), "Op": ("operators",)}
    text = given_roles.written({}, before, models.now())
    world.write(update(models.accounts).where(mine).values(given_roles=text))
    world.mapping = mapping(f"rules: [{FINANCE}]")
    world.sync()
    with world.engine.connect() as connection:
        after = given_roles.read(str(connection.scalar(select(models.accounts.c.given_roles).where(mine))))
    assert dict(after) == {"Viewer": given_roles.read(text)["Viewer"]}
