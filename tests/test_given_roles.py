"""Which rules gave a role, and since when: kept at a sign-in and by a sync, read from older texts too."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import func, select, update

from airflow_sso import audit, database, models
from airflow_sso.accounts import fab_users, given_roles, provisioning
from airflow_sso.accounts.given_roles import GivenRole
from airflow_sso.accounts.register import Opening
from airflow_sso.errors import AccessDenied
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import Mapping, compile_rules, decide
from tests import sync_world
from tests.lines import both_lines
from tests.sync_world import ADMINS, AUTHORITY, OPS, VIEWERS, World, rule

pytestmark = [both_lines, pytest.mark.database]

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
EARLIER = NOON - timedelta(days=30)


# --- the text itself ---------------------------------------------------------------------------------------


def test_what_is_written_is_read_back() -> None:
    text = given_roles.written({}, {"Op": ("ops", "deputies"), "Viewer": ("everyone",)}, NOON)
    assert json.loads(text)["Op"] == {"rules": ["ops", "deputies"], "since": "2026-11-21T12:00:00+00:00"}
    assert given_roles.read(text) == {
        "Op": GivenRole(("ops", "deputies"), NOON),
        "Viewer": GivenRole(("everyone",), NOON),
    }
    assert given_roles.names(text) == {"Op", "Viewer"}


def test_a_role_that_was_given_before_keeps_its_time_and_gets_the_rules_of_now() -> None:
    before = {"Op": GivenRole(("old name",), EARLIER), "Admin": GivenRole(("admins",), EARLIER)}
    after = given_roles.read(given_roles.written(before, {"Op": ["new name"], "Viewer": ["all"]}, NOON))
    assert after == {"Op": GivenRole(("new name",), EARLIER), "Viewer": GivenRole(("all",), NOON)}


def test_a_role_that_was_lost_meanwhile_begins_anew() -> None:
    lost = given_roles.read(given_roles.written({"Op": GivenRole((), EARLIER)}, {}, NOON))
    assert lost == {}
    assert given_roles.read(given_roles.written(lost, {"Op": ["ops"]}, NOON))["Op"].since == NOON


@pytest.mark.parametrize(("text", "roles"), [('["Op", "Admin"]', ["Admin", "Op"]), ("[]", []), ("{}", [])])
def test_an_older_text_tells_the_roles_and_nothing_else(text: str, roles: list[str]) -> None:
    old = given_roles.read(text)
    assert list(old) == roles
    assert given_roles.names(text) == set(roles)
    assert set(old.values()) <= {GivenRole(rules=(), since=None)}
    after = given_roles.read(given_roles.written(old, {"Op": ["ops"]}, NOON))
    assert after["Op"].since == (None if roles else NOON), "what is not known is not made up later"


def test_a_thousand_rules_for_one_role_fit_into_a_column() -> None:
    many = {"Viewer": [f"CN=Group {number},OU=Ä,DC=contoso" for number in range(3000)], "Op": ["ops"]}
    text = given_roles.written({}, many, NOON)
    assert len(text) < 65_535
    assert given_roles.read(text)["Viewer"].rules == tuple(many["Viewer"][:3])
    assert given_roles.read(text)["Op"].rules == ("ops",)
    roles = {f"Role {number}": ["a" * 300] for number in range(400)}
    text = given_roles.written({}, roles, NOON)
    assert len(text) < 65_535
    assert given_roles.names(text) == set(roles)


@pytest.mark.parametrize("role", ["Op", 'say "Op"', "Leitung Ä", "back\\slash", "50%_off"])
def test_the_mark_of_a_role_stands_in_a_text_that_gives_it_and_in_no_other(role: str) -> None:
    in_object, in_list = (given_roles.mark_of(json.dumps(role), is_list=is_list) for is_list in (False, True))
    assert in_object in given_roles.written({}, {"Viewer": [], role: ["x"]}, NOON)
    assert in_list in json.dumps(["Viewer", role])
    others = {"Viewer": [role, f'"{role}": {{', in_object], f"{role}s": [], f"x{role}": []}
    assert in_object not in given_roles.written({}, others, NOON)


# --- accounts ----------------------------------------------------------------------------------------------


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.forget_everything()
    return World(shared_world.engine)


def named(*rules: tuple[str, str, str], **changes: Any) -> Mapping:
    """Rules of (name, group, role)."""
    made = [
        rule(number, "group", group, role, name=name) for number, (name, group, role) in enumerate(rules, 1)
    ]
    return compile_rules(made, **changes)


HOUSE = named(("operators", OPS, "Op"), ("readers", VIEWERS, "Viewer"))


def sign_in(person: str, *groups: str, mapping: Mapping = HOUSE) -> None:
    identity = Identity(
        authority=AUTHORITY,
        subject=person,
        username=person,
        email=f"{person}@example.com",
        email_verified=True,
        first_name=person,
        last_name="T",
        groups=frozenset(groups),
        app_roles=None,
        claims={},
        provider="entra",
        protocol="oidc",
    )
    opening = Opening(
        provider="entra",
        began_at=models.now(),
        absolute=timedelta(hours=12),
        idle=timedelta(hours=1),
        airflow_session_id=None,
    )
    provisioning.admit(
        identity, decide(identity, mapping, models.now().date()), opening, audit.new_reference()
    )


def text_of(world: World, person: str) -> str:
    with world.engine.connect() as connection:
        query = select(models.accounts.c.given_roles).where(models.accounts.c.username == person)
        return str(connection.scalar(query))


def given_to(world: World, person: str) -> dict[str, GivenRole]:
    return dict(given_roles.read(text_of(world, person)))


def age(world: World, person: str, *, as_list: bool = False) -> None:
    """What this person was given, they were given a month ago, or by an older version."""
    given = given_to(world, person)
    text = given_roles.written({}, {role: one.rules for role, one in given.items()}, EARLIER)
    text = json.dumps(sorted(given)) if as_list else text
    where = models.accounts.c.username == person
    world.write(update(models.accounts).where(where).values(given_roles=text))


def give(world: World, person: str, role: str) -> None:
    """By hand, as Airflow's own page of users does."""
    with database.transaction() as connection:
        user = fab_users.by_username(connection, person)
        assert user is not None
        held = fab_users.RoleWriting(connection)
        held.set_roles(user.user_id, (), {role})
        held.write()


def last_change(world: World) -> dict[str, Any]:
    decisions = models.decisions
    query = select(decisions.c.detail, decisions.c.reason).where(decisions.c.event == "roles_changed")
    with world.engine.connect() as connection:
        row = connection.execute(query.order_by(decisions.c.id.desc())).first()
    assert row is not None
    return {**json.loads(row.detail), "reason": row.reason}


def just_now(moment: datetime | None) -> bool:
    return moment is not None and abs(models.now() - moment) < timedelta(minutes=1)


def test_a_sign_in_keeps_which_rule_gave_a_role_and_since_when(world: World) -> None:
    sign_in("otto", OPS)
    (role, given), *others = given_to(world, "otto").items()
    assert (role, given.rules, others) == ("Op", ("operators",), [])
    assert just_now(given.since)
    told = last_change(world)
    assert told == {"before": [], "after": ["Op"], "rules": {"Op": ["operators"]}, "reason": "rule 1"}


def test_at_the_next_sign_in_the_time_stays_and_the_labels_are_those_of_now(world: World) -> None:
    sign_in("otto", OPS)
    age(world, "otto")
    renamed = named(("runs production", OPS, "Op"), ("readers", VIEWERS, "Viewer"))
    sign_in("otto", OPS, VIEWERS, mapping=renamed)
    given = given_to(world, "otto")
    assert given["Op"] == GivenRole(("runs production",), EARLIER)
    assert given["Viewer"].rules == ("readers",)
    assert just_now(given["Viewer"].since)
    assert last_change(world)["rules"] == {"Viewer": ["readers"]}, "of what was gained, and of nothing else"


def test_roles_that_no_match_gives_say_so(world: World) -> None:
    sign_in("nora", mapping=named(("operators", OPS, "Op"), no_match=["Viewer"]))
    assert given_to(world, "nora")["Viewer"].rules == ("no_match",)


def test_whoever_is_refused_is_given_nothing_any_more(world: World) -> None:
    sign_in("otto", OPS)
    with pytest.raises(AccessDenied):
        sign_in("otto", "elsewhere")
    assert given_to(world, "otto") == {}
    assert world.roles_of("otto") == set()
    assert last_change(world)["rules"] == {}


def test_a_list_of_an_older_version_still_tells_roles_given_by_hand_from_ours(world: World) -> None:
    keeping = replace(HOUSE, keeps_manual_roles=True)
    sign_in("otto", OPS, mapping=keeping)
    age(world, "otto", as_list=True)
    give(world, "otto", "Admin")
    sign_in("otto", VIEWERS, mapping=keeping)
    assert world.roles_of("otto") == {"Admin", "Viewer"}, "Op was ours, Admin was not"
    sign_in("otto", OPS, VIEWERS, mapping=keeping)
    assert set(given_to(world, "otto")) == {"Op", "Viewer"}


# --- the sync ----------------------------------------------------------------------------------------------


def test_a_sync_keeps_the_rules_too_and_the_time_of_what_stays(world: World) -> None:
    world.mapping = HOUSE
    world.sign_up("otto", OPS)
    sign_in("otto", OPS)
    age(world, "otto")
    world.reader.touch("otto").groups = {OPS, VIEWERS}
    world.sync()
    given = given_to(world, "otto")
    assert given["Op"] == GivenRole(("operators",), EARLIER)
    assert given["Viewer"].rules == ("readers",)
    assert just_now(given["Viewer"].since)
    assert last_change(world)["rules"] == {"Viewer": ["readers"]}


def test_a_sync_that_shuts_an_account_leaves_nothing_given(world: World) -> None:
    world.mapping = HOUSE
    world.sign_up("otto", OPS)
    world.sign_up("vera", VIEWERS)
    world.reader.touch("otto").state = "unusable"
    world.sync()
    assert text_of(world, "otto") == "{}"
    assert given_to(world, "vera") == {"Viewer": GivenRole()}
    world.reader.touch("otto").state = "usable"
    world.sync()
    assert given_to(world, "otto")["Op"].rules == ("operators",)
    assert just_now(given_to(world, "otto")["Op"].since)


def test_what_another_hand_did_to_a_name_changes_nothing_that_was_given(world: World) -> None:
    world.mapping = HOUSE
    world.sign_up("otto", OPS)
    sign_in("otto", OPS)
    age(world, "otto")
    users = fab_users.table()
    world.write(update(users).where(users.c.username == "otto").values(first_name="Someone"))
    world.sync()
    assert world.events("put_back") == ["otto"]
    assert given_to(world, "otto") == {"Op": GivenRole(("operators",), EARLIER)}


@pytest.mark.parametrize("told", ["usable", "unknown"])
def test_no_account_is_written_because_its_text_is_an_old_one_or_a_rule_has_another_name(
    world: World, told: str
) -> None:
    for name, group in {"otto": OPS, "vera": VIEWERS, "ada": ADMINS}.items():
        world.sign_up(name, group)
    world.mapping = sync_world.mapping()
    for entry in world.reader.people.values():
        entry.state = told
    before = {name: text_of(world, name) for name in ("otto", "vera", "ada")}
    outcome = world.sync()
    assert outcome.plan.changes == []
    assert {name: text_of(world, name) for name in before} == before
    assert json.loads(before["otto"]) == ["Op"]
    age(world, "otto")
    kept = text_of(world, "otto")
    world.mapping = named(("another", OPS, "Op"), ("readers", VIEWERS, "Viewer"), ("admins", ADMINS, "Admin"))
    assert world.sync().plan.changes == []
    assert text_of(world, "otto") == kept
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(models.decisions)) == 0


def test_texts_of_different_times_share_one_set_of_names() -> None:
    texts = [given_roles.written({}, {"Op": ["ops"]}, NOON + timedelta(seconds=n)) for n in range(50)]
    assert len({id(given_roles.names(text)) for text in texts}) == 1
