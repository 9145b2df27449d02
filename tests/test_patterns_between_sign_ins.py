"""Who says which groups that a pattern wants somebody is in: their last sign-in, or the directory since."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_sso import models
from airflow_sso.accounts import provisioning
from airflow_sso.accounts.register import Opening
from airflow_sso.directory.failures import DirectoryUnreachable
from airflow_sso.directory.snapshot import Answer, Like, Observation
from airflow_sso.errors import GroupsUnknown
from airflow_sso.identity import Identity
from airflow_sso.role_mapping import decide, joined
from airflow_sso.sync import at_sign_in, blind_spots
from airflow_sso.sync.directories import Directory
from tests.lines import both_lines
from tests.sync_world import AUTHORITY, Entry, ScriptedReader, World
from tests.test_role_mapping import TODAY, identity, mapping

pytestmark = [both_lines, pytest.mark.database]

TEAMS = mapping("rules: [{group: 'team-*', roles: [Op]}, {group: viewers, roles: [Viewer]}]")


def names(*groups: str) -> frozenset[str]:
    return frozenset(groups)


# --- two sources become one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "read", "follows", "groups", "untold"),
    [
        # What the directory was asked for counts as it tells; of all else the sign-in's word stands.
        (names("viewers", "x"), names(), False, names("x"), names()),
        (names("team-a", "x"), names(), False, names("team-a", "x"), names()),
        (names("team-a", "x"), names(), True, names("x"), names()),
        (names("team-a", "viewers"), names("team-b"), True, names("team-b"), names()),
        (names("team-a", "viewers"), names("team-b"), False, names("team-a", "team-b"), names()),
        (names(), names("team-a", "viewers"), True, names("team-a", "viewers"), names()),
        # Of somebody whose sign-in told no groups, nobody has told of what the directory was not asked for.
        (None, names("viewers"), False, names("viewers"), names("team-*")),
        (None, names("viewers"), True, names("viewers"), names()),
        # Groups that are read as unknown are unknown.
        (names("team-a"), None, True, None, names()),
    ],
)
def test_two_sources(told: Any, read: Any, follows: bool, groups: Any, untold: frozenset[str]) -> None:
    known = joined({"group": told}, {"group": read}, TEAMS, bool, follows_patterns=follows)
    assert (known.facts["group"], known.untold) == (groups, untold)


def test_patterns_under_all_and_not_are_followed_and_those_for_machines_are_not() -> None:
    rules = mapping(
        "rules: [{all: [{group: viewers}, {not: {group: 'ext-*'}}], roles: [Viewer]},"
        " {group: 'bot-*', for: machines, roles: [Op]}, {app_role: 'app-*', roles: [User]}]"
    )
    assert rules.groups_like(["ext-1", "bot-1", "app-1", "viewers"]) == {"ext-1"}
    assert rules.group_patterns == {"ext-*"}


# --- at sign-in -----------------------------------------------------------------------------------------


class ListsNobody(ScriptedReader):
    """Tells of the groups that it is asked for by name, as a SCIM server whose users show none."""

    def read_one(
        self, subject: str, groups: frozenset[str], *, seconds: float, like: Like | None = None
    ) -> Answer:
        del like
        answer = super().read_one(subject, groups, seconds=seconds)
        return Answer(answer.observation, answer.groups)


def asked(reader: ScriptedReader, person: Identity) -> Identity:
    directory = Directory(name="ping", authority=AUTHORITY, reader=reader)
    return at_sign_in.asker({AUTHORITY: directory})(person, TEAMS)


def person(*groups: str, **changes: Any) -> Identity:
    return identity(authority=AUTHORITY, subject="ada", groups=frozenset(groups), **changes)


def roles(reader: ScriptedReader, who: Identity) -> frozenset[str] | str | None:
    decision = decide(asked(reader, who), TEAMS, TODAY)
    return decision.refused_because or decision.roles


@pytest.mark.parametrize("kind", [ScriptedReader, ListsNobody])
@pytest.mark.parametrize(
    ("told", "there", "outcome"),
    [
        (("team-a",), {"team-a"}, {"Op"}),
        (("team-a", "viewers"), {"viewers"}, {"Viewer"}),  # the directory's word, not the token's
        (("team-a",), set(), "SSO-301"),
        ((), {"viewers"}, {"Viewer"}),
    ],
)
def test_a_sign_in_asks_for_what_the_token_told(
    kind: type[ScriptedReader], told: tuple[str, ...], there: set[str], outcome: Any
) -> None:
    reader = kind()
    reader.people["ada"] = Entry(there)
    assert roles(reader, person(*told)) == outcome


def test_a_directory_that_tells_everything_of_a_person_tells_what_the_token_did_not() -> None:
    reader = ScriptedReader()
    reader.people["ada"] = Entry({"team-a"})
    assert roles(reader, person("some id")) == {"Op"}
    nothing_told = identity(authority=AUTHORITY, subject="ada", groups=None, group_overage=True)
    assert roles(reader, nothing_told) == {"Op"}


@pytest.mark.parametrize("follows", [True, False])
def test_without_a_list_in_the_token_patterns_are_untold_where_nobody_lists(follows: bool) -> None:
    reader = ListsNobody()
    reader.follows_patterns = follows
    reader.people["ada"] = Entry({"team-a"})
    nothing_told = identity(authority=AUTHORITY, subject="ada", groups=None, group_overage=True)
    assert asked(reader, nothing_told).groups_untold == {"team-*"}
    assert roles(reader, nothing_told) == "SSO-305"
    reader.people["ada"] = Entry({"viewers"})
    assert roles(reader, nothing_told) == {"Viewer"}


def test_a_directory_that_does_not_follow_patterns_leaves_them_to_the_token() -> None:
    reader = ScriptedReader()
    reader.follows_patterns = False
    reader.people["ada"] = Entry({"viewers"})
    assert roles(reader, person("team-a")) == {"Op", "Viewer"}


def test_a_directory_that_does_not_answer_lets_nobody_in_by_a_pattern() -> None:
    reader = ScriptedReader()
    reader.people["ada"] = Entry({"team-a"})
    assert roles(reader, person("team-a")) == {"Op"}
    reader.fails = DirectoryUnreachable("down")
    with pytest.raises(GroupsUnknown):
        asked(reader, person("team-a"))
    reader.fails = None
    reader.people["ada"] = Entry({"team-a"}, "unknown")
    assert reader.people["ada"].seen() == Observation("unknown", "could not be read")
    with pytest.raises(GroupsUnknown):
        asked(reader, person("team-a"))


# --- what lint says ---------------------------------------------------------------------------------------

GROUP = frozenset({"group"})


@pytest.mark.parametrize(
    ("supplies", "follows", "said"),
    [
        (GROUP, True, []),
        (GROUP, False, ["the directory of ping does not tell which groups are like 'team-*'"]),
        (
            frozenset(),
            True,
            [
                "the directory of ping does not tell group",
                "the directory of ping does not tell group",
            ],
        ),
    ],
)  # fmt: skip
def test_blind_spots(supplies: frozenset[str], follows: bool, said: list[str]) -> None:
    found = blind_spots.of(TEAMS, "ping", supplies, bool, follows_patterns=follows)
    assert found == [
        (number, f"{one}; what the last sign-in found stands") for number, one in enumerate(said, 1)
    ]


# --- whom no token ever told of ---------------------------------------------------------------------------

#: ``token:contractors`` is a spelling that only tokens have; the directory is never asked about it.
NOT_CONTRACTORS = mapping(
    "rules: [{group: viewers, roles: [Viewer]}, {group: admins, roles: [Admin]},"
    " {all: [{group: viewers}, {not: {group: 'token:contractors'}}], roles: [Op]}]"
)


@pytest.mark.parametrize(
    ("in_token", "has"), [(None, {"Viewer"}), (names("viewers"), {"Viewer", "Op"})], ids=["overage", "told"]
)
def test_what_no_token_told_stays_unknown_when_the_directory_is_read_later(
    shared_world: World, in_token: frozenset[str] | None, has: set[str]
) -> None:
    """Of whom the token said nothing, ``not`` gives nothing: at the sign-in, and at no reading after it."""
    world = shared_world
    world.forget_everything()
    world.mapping = NOT_CONTRACTORS
    world.sign_up("ada", "viewers")
    arrived = at_sign_in.asker({AUTHORITY: world.directory})(
        identity(authority=AUTHORITY, subject="ada", username="ada", groups=in_token),
        NOT_CONTRACTORS,
    )
    opening = Opening(
        provider="entra",
        began_at=models.now(),
        absolute=timedelta(hours=12),
        idle=timedelta(hours=1),
        airflow_session_id=None,
    )
    provisioning.admit(arrived, decide(arrived, NOT_CONTRACTORS, TODAY), opening, "TEST-UNTOLD")
    assert world.roles_of("ada") == has
    world.sync()
    assert world.roles_of("ada") == has
    # Another group of theirs changes, what was told is written anew, and it is still so.
    world.reader.people["ada"].groups.add("admins")
    world.sync()
    assert world.roles_of("ada") == has | {"Admin"}
    world.sync()
    assert world.roles_of("ada") == has | {"Admin"}


def test_a_list_that_was_never_a_tokens_tells_of_nothing_else_when_nobody_reads_it_any_more() -> None:
    """Somebody takes ``directory:`` out of sso.yaml: what it had told still holds, all else is unknown."""
    stored = {"group": names("viewers")}
    known = joined(stored, {}, NOT_CONTRACTORS, bool, is_partial=True)
    assert known.untold == {"viewers", "admins", "token:contractors"}
    assert joined(stored, {}, NOT_CONTRACTORS, bool).untold == names()
