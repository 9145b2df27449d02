"""Microsoft Graph as a directory, against the local provider: the contract of all readers, and its own.

Request counts are the local provider's own; a batch is one request.
"""

from __future__ import annotations

import copy
import http.server
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from airflow_sso.directory import graph_batch, graph_groups
from airflow_sso.directory.calls import Caller, Reply
from airflow_sso.directory.failures import (
    CredentialsRefused,
    CursorExpired,
    DirectoryError,
    DirectoryUnreachable,
    DirectoryUnreadable,
    PermissionMissing,
)
from airflow_sso.directory.graph_batch import GraphApi
from airflow_sso.directory.graph_token import CLOUDS, graph_base
from airflow_sso.directory.microsoft_graph import GraphReader
from airflow_sso.directory.snapshot import Reading, Wanted
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings
from devidp.people import group_id
from devidp.server import Handle
from devidp.settings import CLIENT_ID, DEFAULT_CLIENT_SECRET, TENANT_ID
from devidp.testing import Driver
from tests import stack as stacks
from tests.certificates import new_certificate
from tests.directory_contract import CROWD, STRANGER, Bench, ReaderContract

SECRET = {"secret": {"env": "TEST_GRAPH_SECRET"}}
ADMIN, VIEWER = group_id("airflow_prod_admin"), group_id("airflow_prod_viewer")


def settings(idp: Handle, **changes: Any) -> DirectorySettings:
    given = {
        "type": "graph",
        "tenant_id": TENANT_ID,
        "client_id": CLIENT_ID,
        "client_auth": SECRET,
        "insecure_host": idp.url,
        **changes,
    }
    return DirectorySettings.model_validate({k: v for k, v in given.items() if v is not None})


def silent(_doing: str) -> None:
    """Nobody listens."""


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_GRAPH_SECRET", DEFAULT_CLIENT_SECRET)


@pytest.fixture(scope="module")
def drive(identity_provider: Handle) -> Driver:
    """One for all tests: making one takes longer than most of them."""
    return stacks.driver(identity_provider)


@pytest.fixture
def idp(identity_provider: Handle, drive: Driver) -> Handle:
    """The local provider as it was at first; none of these tests signs anybody in."""
    drive.reset()
    return identity_provider


@pytest.fixture
def bench(idp: Handle, drive: Driver) -> Bench:
    def make(wait: Callable[[float], None] = time.sleep, timeout: float = 5.0) -> GraphReader:
        http = HttpSettings().model_copy(update={"timeout": timedelta(seconds=timeout)})
        return GraphReader(settings(idp), http, wait=wait, roles_of=CLIENT_ID)

    def subject_of(name: str) -> str:
        entry = idp.state.population.named(name)
        assert entry is not None
        return entry.oid

    return Bench(
        driver=drive,
        make=make,
        side="graph",
        subject_of=subject_of,
        group_of=group_id,
        state_property="accountEnabled",
        members=("transitive_members",),
        sees_locked=False,
    )


class TestContract(ReaderContract):
    """What every reader must do."""


def read(bench: Bench, wanted: Wanted, cursor: str | None = None) -> Reading:
    return bench.fast().read(wanted, cursor, silent)


def asked(bench: Bench) -> dict[str, int]:
    counts = bench.counts()
    return {name.removeprefix("graph."): number for name, number in counts.items() if "members" not in name}


# How many requests ----------------------------------------------------------------------------------


def test_few_of_many_are_asked_singly(bench: Bench) -> None:
    subjects = bench.generate(people=20_000, groups=0)
    bench.forget_counts()
    reading = bench.whole(*subjects[:200])
    assert asked(bench) == {"token": 1, "users_delta": 1, "users_count": 1, "batch": 10}
    assert len(reading.people) == 200
    assert reading.population == 20_006


def test_many_are_read_in_pages(bench: Bench) -> None:
    subjects = bench.generate(people=20_000, groups=0)
    bench.forget_counts()
    reading = bench.whole(*subjects[:5000])
    assert asked(bench) == {"token": 1, "users_delta": 1, "users_count": 1, "users": 21}
    assert len(reading.people) == 5000
    assert next(iter(reading.people)) is subjects[0]


def test_the_place_to_go_on_is_taken_before_anything_is_read(bench: Bench) -> None:
    bench.whole(bench.subject_of("ada"))
    endpoints = [entry["endpoint"] for entry in bench.driver.control("GET", "requests?face=graph")]
    assert endpoints[0] == "graph.users_delta"
    assert len(endpoints) > 1


@pytest.mark.parametrize(("groups", "batches"), [(0, 0), (1, 1), (20, 1), (21, 2)])
def test_nothing_new_costs_one_request_and_one_for_twenty_groups(
    bench: Bench, groups: int, batches: int
) -> None:
    subjects = bench.generate(people=300, groups=30, members=20)
    mapped = frozenset(group_id(f"g{number + 1:04}") for number in range(groups))
    reader = bench.fast()
    reading = reader.read(Wanted(subjects=subjects, groups=mapped), None, silent)
    bench.forget_counts()
    again = reader.read(Wanted(subjects=subjects, groups=mapped), reading.cursor, silent)
    assert asked(bench) == {"users_delta": 1, **({"batch": batches} if batches else {})}
    assert (again.everyone, dict(again.people), again.population) == (False, {}, None)
    assert again.groups == reading.groups
    assert (len(again.groups) > 0) == (groups > 0)


def test_following_pages_of_groups_are_batched_in_rounds(bench: Bench) -> None:
    subjects = bench.generate(people=300, groups=3, members=100)
    bench.knob("graph.page_size", 40)
    names = ("g0001", "g0002", "g0003")
    mapped = frozenset(map(group_id, names))
    reader = bench.fast()
    reading = reader.read(Wanted(subjects=subjects, groups=mapped), None, silent)
    bench.forget_counts()
    reader.read(Wanted(subjects=subjects, groups=mapped), reading.cursor, silent)
    assert asked(bench) == {"users_delta": 1, "batch": 3}
    assert sum(len(groups) for groups in reading.groups.values()) == 300


def test_few_people_are_asked_rather_than_a_huge_group(bench: Bench) -> None:
    subjects = bench.generate(people=300, groups=2, members=250)
    bench.knob("graph.page_size", 10)
    mapped = frozenset(map(group_id, ("g0001", "g0002")))
    wanted = Wanted(subjects=subjects[:10], groups=mapped)
    reader = bench.fast()
    reading = reader.read(wanted, None, silent)
    bench.forget_counts()
    reader.read(wanted, reading.cursor, silent)
    assert asked(bench) == {"users_delta": 1, "batch": 3}  # two pages, then ten people at once
    bench.knob("graph.page_size", 999)
    assert bench.fast().read(wanted, None, silent).groups == reading.groups
    assert 0 < len(reading.groups) <= 10


def test_whose_groups_cannot_be_read_is_told_apart_from_who_is_in_none(bench: Bench) -> None:
    bench.generate(people=300, groups=1, members=250)
    bench.knob("graph.page_size", 10)
    ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
    wanted = Wanted(subjects=(ada, otto), groups=frozenset({group_id("g0001")}))
    cursor = read(bench, wanted).cursor
    bench.knob("graph.batch_member_status", {ada: 403})
    reading = read(bench, wanted, cursor)
    assert reading.facts_of(ada, frozenset({"group"})) == {"group": None}
    assert reading.facts_of(otto, frozenset({"group"})) == {"group": frozenset()}


@pytest.mark.parametrize(("used", "rests"), [("0.79", 0), ("0.8", 1), ("1.7", 1), ("much", 0)])
def test_rests_a_little_when_the_limit_is_near(used: str, rests: int) -> None:
    rested: list[float] = []
    headers = {"X-Ms-Throttle-Limit-Percentage": used}
    caller = Caller(base="http://x/v1.0", http=HttpSettings(), token=lambda _renew: "t", wait=rested.append)
    caller.ask = lambda *_args, **_options: Reply(200, {"value": []}, headers)  # type: ignore[method-assign]
    api = GraphApi(caller)
    api.get("/users", grant="x")
    assert rested == []
    api.get("/users", grant="x")
    assert rested == [1.0] * rests
    caller.deadline = time.monotonic() + 10  # a sign-in waits for this
    api.get("/users", grant="x")
    assert rested == [1.0] * rests


# What changed ---------------------------------------------------------------------------------------


def test_changes_of_those_who_are_wanted(bench: Bench) -> None:
    subjects = bench.generate(people=50, groups=0)
    ada, otto, vera = map(bench.subject_of, ("ada", "otto", "vera"))
    wanted = Wanted(subjects=(ada, otto, vera, *subjects[:10]))
    reader = bench.fast()
    cursor = reader.read(wanted, None, silent).cursor
    bench.change("ada", disabled=True)
    bench.change("otto", deleted="soft")
    bench.change("vera", deleted="hard")
    bench.change("p000040", disabled=True)
    reading = reader.read(wanted, cursor, silent)
    assert {s: one.state for s, one in reading.people.items()} == {
        ada: "unusable",
        otto: "gone",
        vera: "gone",
    }
    bench.change("ada", disabled=False)
    bench.change("otto", deleted=None)
    reading = reader.read(wanted, reading.cursor, silent)
    assert {s: one.state for s, one in reading.people.items()} == {ada: "usable", otto: "usable"}
    assert reader.read(wanted, reading.cursor, silent).people == {}


def test_changes_in_pages_and_whoever_is_to_be_read_singly(bench: Bench) -> None:
    subjects = bench.generate(people=60, groups=0)
    wanted = Wanted(subjects=(*subjects, STRANGER), read_singly=frozenset({subjects[50], STRANGER}))
    reader = bench.fast()
    cursor = reader.read(wanted, None, silent).cursor
    bench.knob("graph.page_size", 7)
    for number in range(1, 31):
        bench.change(f"p{number:06}", disabled=True)
    people = reader.read(wanted, cursor, silent).people
    assert {people[one].state for one in subjects[:30]} == {"unusable"}
    assert (people[subjects[50]].state, people[STRANGER].state, len(people)) == ("usable", "gone", 32)


def test_the_last_of_several_changes_wins_and_a_missing_state_is_asked_for(bench: Bench) -> None:
    ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
    wanted = Wanted(subjects=(ada, otto))
    reader = bench.fast()
    cursor = reader.read(wanted, None, silent).cursor
    bench.change("otto", disabled=True)
    value = [
        {"id": ada.upper(), "accountEnabled": True},
        {"id": ada, "accountEnabled": False},
        {"id": STRANGER, "accountEnabled": "who cares"},
        {"id": otto, "displayName": "New name"},
    ]
    body = {"value": value, "@odata.deltaLink": cursor}
    bench.knob("graph.users_delta.body", body)
    people = reader.read(wanted, cursor, silent).people
    assert {s: one.state for s, one in people.items()} == {ada: "unusable", otto: "unusable"}
    value[3] = {"id": otto, "@removed": {"reason": "changed"}}  # a replay: they are there
    bench.knob("graph.users_delta.body", body)
    bench.change("otto", disabled=False)
    assert reader.read(wanted, cursor, silent).people[otto].state == "usable"


@pytest.mark.parametrize("how", ["410", "syncStateNotFound"])
def test_a_forgotten_cursor_is_told_from_every_other_fault(bench: Bench, how: str) -> None:
    wanted = Wanted(subjects=(bench.subject_of("ada"),))
    cursor = read(bench, wanted).cursor
    bench.knob("graph.delta_expired", how)
    with pytest.raises(CursorExpired):
        read(bench, wanted, cursor)
    assert read(bench, wanted).everyone
    bench.honest()
    read(bench, wanted, cursor)


def test_a_cursor_of_elsewhere_is_not_followed(bench: Bench) -> None:
    with pytest.raises(CursorExpired):
        read(bench, Wanted(subjects=()), "http://127.0.0.2:9/graph/v1.0/users/delta?$deltatoken=x")
    bench.knob("graph.foreign_next_link", "http://127.0.0.2:9")
    with pytest.raises(DirectoryUnreadable, match="elsewhere"):
        read(bench, Wanted(subjects=()))


@pytest.mark.parametrize(
    "body",
    [{"value": []}, {"value": [], "@odata.deltaLink": 7}, {"value": [], "@odata.nextLink": []}, {"value": 7}],
)
def test_changes_without_a_link_for_later_are_none(bench: Bench, body: dict[str, Any]) -> None:
    wanted = Wanted(subjects=(bench.subject_of("ada"),))
    cursor = read(bench, wanted).cursor
    bench.knob("graph.users_delta.body", body)
    for begin in (None, cursor):
        with pytest.raises(DirectoryUnreadable):
            read(bench, wanted, begin)


# Who people are -------------------------------------------------------------------------------------


def test_when_sessions_became_invalid_is_told(bench: Bench) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=2)
    bench.change("ada", signed_out_everywhere=True)
    ada = bench.subject_of("ada")
    for wanted in (Wanted(subjects=(ada,)), Wanted(subjects=(ada,), read_singly=frozenset({ada}))):
        valid_from = read(bench, wanted).people[ada].valid_from
        assert valid_from is not None
        assert before < valid_from < before + timedelta(seconds=30)


@pytest.mark.parametrize("when", ["2024-07-31T08:00:26.4486159Z", "2024-07-31T08:00:26Z", None])
def test_how_a_moment_is_written(when: str | None) -> None:
    found = graph_batch.moment({"at": when}, "at")
    assert found == (when and datetime(2024, 7, 31, 8, 0, 26, tzinfo=timezone.utc))


@pytest.mark.parametrize("when", [7, "yesterday", "2024-13-31T08:00:26Z", "2024-07-31T08:00:26", ""])
def test_what_is_no_moment(when: Any) -> None:
    with pytest.raises(DirectoryUnreadable):
        graph_batch.moment({"at": when}, "at")


def test_ids_are_compared_in_any_case_and_answered_as_they_were_asked(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    mapped = frozenset({ADMIN.upper()})
    reading = read(bench, Wanted(subjects=(ada.upper(), ada), groups=mapped))
    assert {one.state for one in reading.people.values()} == {"usable"}
    assert set(reading.people) == {ada, ada.upper()} == set(reading.groups)
    assert reading.groups[ada] == mapped
    assert bench.fast().read_one(ada.upper(), mapped, seconds=10).groups == mapped


@pytest.mark.parametrize("subject", ["ada@contoso.example", "ada", "../groups", ""])
def test_whoever_has_no_object_id_is_not_asked_for(bench: Bench, subject: str) -> None:
    ada = bench.subject_of("ada")
    wanted = Wanted(subjects=(subject, ada), read_singly=frozenset({subject}))
    people = read(bench, wanted).people
    assert (people[subject].state, people[ada].state) == ("unknown", "usable")
    with pytest.raises(DirectoryUnreadable):
        bench.fast().read_one(subject, frozenset(), seconds=10)


def test_everybody_refused_one_by_one_is_a_permission(bench: Bench) -> None:
    subjects = bench.generate(people=3000, groups=0)[:45]
    bench.knob("graph.member_status", {"*": 403})
    with pytest.raises(PermissionMissing, match=r"User\.Read\.All"):
        bench.whole(*subjects)
    bench.knob("graph.member_status", dict.fromkeys(subjects[1:], 403))
    states = [bench.whole(*subjects).people[subject].state for subject in subjects]
    assert states == ["usable", *["unknown"] * 44]


def test_one_who_is_refused_beside_pages_is_one_person(bench: Bench) -> None:
    ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
    bench.knob("graph.member_status", {ada: 403})
    people = read(bench, Wanted(subjects=(ada, otto), read_singly=frozenset({ada}))).people
    assert (people[ada].state, people[otto].state) == ("unknown", "usable")


def test_a_directory_that_lost_people_is_asked_for_each(bench: Bench) -> None:
    subjects = bench.generate()
    bench.knob("graph.loses_people", 0.5)  # of the lists only
    assert {one.state for one in bench.whole(*subjects).people.values()} == {"usable"}
    bench.knob("graph.loses_people", {"keep": 0.5, "reads": True})
    states = [one.state for one in bench.whole(*subjects).people.values()]
    assert 140 < states.count("gone") < 160
    assert states.count("gone") + states.count("usable") == CROWD


# Members of batches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503, 500, 424])
def test_members_that_fail_for_now_are_asked_again(bench: Bench, status: int) -> None:
    ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
    bench.knob("graph.batch_member_status", {ada: status}, times=2)
    wanted = Wanted(subjects=(ada, otto), read_singly=frozenset({ada, otto}))
    bench.forget_counts()
    assert [one.state for one in read(bench, wanted).people.values()] == ["usable", "usable"]
    assert bench.counts()["graph.batch_members"] == 2 + 1 + 1  # the other one is not asked again
    assert sum(bench.waited) == (20 if status in (429, 503) else 3)


def test_patience_with_members_ends(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    bench.knob("graph.batch_member_status", {"*": 429})
    with pytest.raises(DirectoryUnreachable):
        read(bench, Wanted(subjects=(ada,), read_singly=frozenset({ada})))
    began = time.monotonic()
    with pytest.raises(DirectoryUnreachable):
        bench.make().read_one(ada, frozenset(), seconds=2)
    assert time.monotonic() - began < 2


def test_a_batch_that_is_throttled_as_a_whole(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    wanted = Wanted(subjects=(ada,), read_singly=frozenset({ada}))
    bench.knob("graph.batch.status", 424, times=1)
    assert read(bench, wanted).people[ada].state == "usable"
    assert bench.waited


def test_a_member_whose_token_expired_on_the_way(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    bench.knob("graph.batch_member_status", {ada: 401}, times=1)
    bench.forget_counts()
    assert bench.fast().read_one(ada, frozenset(), seconds=10).observation.state == "usable"
    assert asked(bench) == {"token": 2, "batch": 2}
    bench.knob("graph.batch_member_status", {ada: 401})
    with pytest.raises(CredentialsRefused):
        bench.fast().read_one(ada, frozenset(), seconds=10)


_ADA = {"id": "a0a0a0a0-0001-4000-8000-000000000001", "accountEnabled": True}
_ADA_THERE = {"id": "1", "status": 200, "body": _ADA}
_ADA_GONE = {"id": "1", "status": 404, "body": {"error": {"code": "Request_ResourceNotFound"}}}


def test_the_control_of_strange_answers(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    for said, state in ((_ADA_THERE, "usable"), (_ADA_GONE, "gone")):
        bench.knob("graph.batch.body", {"responses": [said]})
        assert bench.fast().read_one(ada, frozenset(), seconds=10).observation.state == state


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"responses": {}},
        {"responses": []},
        {"responses": [7]},
        {"responses": [{"id": 1, "status": 200}]},
        {"responses": [{"id": "1", "status": "200"}]},
        {"responses": [{"id": "7", "status": 200, "body": {}}]},
        {"responses": [{"id": "1", "status": 200, "body": {}}, {"id": "1", "status": 404, "body": {}}]},
        {"responses": [_ADA_GONE, _ADA_THERE]},
        {"responses": [_ADA_THERE, _ADA_GONE]},
        {"responses": [{"id": "1", "status": 200, "headers": 7, "body": "aGVsbG8="}]},
        {"responses": [{"id": "1", "status": 200, "body": {"id": STRANGER, "accountEnabled": True}}]},
        {"responses": [{"id": "1", "status": 200, "body": {"accountEnabled": True}}]},
        {"responses": [{"id": "1", "status": 404, "body": {"error": {"code": "BadRequest"}}}]},
        {"responses": [{"id": "1", "status": 404, "body": None}]},
    ],
)
def test_strange_answers_to_a_batch_make_nobody_usable_or_gone(bench: Bench, body: dict[str, Any]) -> None:
    ada = bench.subject_of("ada")
    bench.knob("graph.batch.body", body)
    with pytest.raises(DirectoryUnreadable):
        bench.fast().read_one(ada, frozenset(), seconds=10)
    assert bench.waited == []
    try:
        people = read(bench, Wanted(subjects=(ada,), read_singly=frozenset({ada}))).people
    except DirectoryError:
        return
    assert people[ada].state == "unknown"


def test_pages_that_never_end(bench: Bench, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = bench.generate()
    circle = {"value": [], "@odata.nextLink": f"{idp.url}/graph/v1.0/users?$skiptoken=x"}
    bench.knob("graph.users.body", circle)
    with pytest.raises(DirectoryUnreadable, match="do not end"):
        bench.whole(*subjects)
    bench.honest()
    bench.knob("graph.page_size", 1)
    monkeypatch.setattr(graph_batch, "MOST_PAGES", 50)
    with pytest.raises(DirectoryUnreadable, match="do not end"):
        bench.whole(*subjects)


# Groups and app roles -------------------------------------------------------------------------------


def test_a_group_that_is_not_there_has_no_members_and_is_told_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_groups, "_warned", set())
    ada = bench.subject_of("ada")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            reading = read(bench, Wanted(subjects=(ada,), groups=frozenset({ADMIN, STRANGER})))
            assert reading.groups == {ada: {ADMIN}}
    assert [STRANGER in record.getMessage() for record in caplog.records].count(True) == 1


def test_the_permission_for_groups_is_named(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    wanted = Wanted(subjects=(ada,), groups=frozenset({ADMIN}))
    bench.driver.control("PUT", "directory/permissions", {"graph": ["User.Read.All"]})
    assert read(bench, Wanted(subjects=(ada,))).people[ada].state == "usable"
    with pytest.raises(PermissionMissing, match=r"GroupMember\.Read\.All"):
        read(bench, wanted)
    with pytest.raises(PermissionMissing, match=r"GroupMember\.Read\.All"):
        bench.fast().read_one(ada, wanted.groups, seconds=10)
    bench.driver.control("PUT", "directory/permissions", {"graph": ["GroupMember.Read.All"]})
    with pytest.raises(PermissionMissing, match=r"User\.Read\.All"):
        read(bench, wanted)


def test_members_who_may_not_be_read_are_members(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    bench.knob("graph.null_members", value=True)
    assert read(bench, Wanted(subjects=(ada,), groups=frozenset({ADMIN}))).groups == {ada: {ADMIN}}


def test_members_without_an_id_fail_the_reading(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    cursor = read(bench, Wanted(subjects=(ada,))).cursor
    for part in ({"value": [{"id": None}]}, {"value": "x"}, {}, {"value": [], "@odata.nextLink": 7}):
        bench.knob("graph.batch.body", {"responses": [{"id": "1", "status": 200, "body": part}]})
        with pytest.raises(DirectoryUnreadable):
            read(bench, Wanted(subjects=(ada,), groups=frozenset({ADMIN})), cursor)


def test_only_ids_name_groups(bench: Bench) -> None:
    reader = bench.fast()
    assert reader.names_group(ADMIN)
    assert reader.names_group(ADMIN.upper())
    assert not reader.names_group("airflow_prod_admin")
    assert not reader.names_group(f"{ADMIN}\n")


def test_somebody_with_too_many_groups_for_a_token(bench: Bench) -> None:
    over, vera = bench.subject_of("over"), bench.subject_of("vera")
    many = frozenset({VIEWER, ADMIN, *(group_id(f"project_{number:03}") for number in range(1, 300))})
    bench.forget_counts()
    answer = bench.fast().read_one(over, frozenset({ADMIN, VIEWER}), seconds=10)
    assert (answer.observation.state, answer.groups) == ("usable", {ADMIN})
    assert asked(bench) == {"token": 1, "batch": 1}
    assert len(bench.fast().read_one(over, many, seconds=10).groups) == 200
    more = many | {group_id(f"none_{number}") for number in range(200)}
    assert bench.fast().read_one(vera, more, seconds=10).groups == {VIEWER}
    priorities = {
        entry["headers"].get("x-ms-throttle-priority")
        for entry in bench.driver.control("GET", "requests?face=graph")
    }
    assert priorities == {"normal"}


def test_app_roles_of_people_and_of_groups_without_nesting(bench: Bench) -> None:
    bench.driver.control("PUT", "people/ada", {"app_roles": ["Airflow.Admin"]})
    bench.group("airflow_prod_viewer", app_roles=["Airflow.Viewer", "Airflow.Op"])
    bench.group("outside", groups=["airflow_prod_op"], app_roles=["Airflow.Auditor"])
    ada, otto, vera = map(bench.subject_of, ("ada", "otto", "vera"))
    reading = read(bench, Wanted(subjects=(ada, otto, vera), app_roles=True))
    assert reading.app_roles == {ada: {"Airflow.Admin"}, vera: {"Airflow.Viewer", "Airflow.Op"}}
    assert read(bench, Wanted(subjects=(ada,))).app_roles is None


def test_app_roles_that_may_not_be_read(bench: Bench, idp: Handle) -> None:
    wanted = Wanted(subjects=(bench.subject_of("ada"),), app_roles=True)
    granted = ["User.Read.All", "GroupMember.Read.All"]
    bench.driver.control("PUT", "directory/permissions", {"graph": granted})
    with pytest.raises(PermissionMissing, match=r"Application\.Read\.All.*app_roles: false"):
        read(bench, wanted)
    without = GraphReader(settings(idp, app_roles=False), HttpSettings(), roles_of=CLIENT_ID)
    assert without.supplies == {"group"}
    assert without.read(wanted, None, silent).app_roles is None
    assert bench.fast().supplies == {"group", "app_role"}


def test_default_access_is_no_role(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    zero = "00000000-0000-0000-0000-000000000000"
    item = {"appRoleId": zero, "principalId": ada, "principalType": "User"}
    bench.knob("graph.app_role_assignments.body", {"value": [item]})
    wanted = Wanted(subjects=(ada,), app_roles=True)
    assert read(bench, wanted).app_roles == {}
    bench.knob("graph.app_role_assignments.body", {"value": [{**item, "principalId": None}]})
    with pytest.raises(DirectoryUnreadable):
        read(bench, wanted)


_JUNK: tuple[Any, ...] = (
    None, 7, -1, "", "x", "http://[", "\ud800", [], {}, [None], True, 1e300, "/x", [[]], {"value": []},
)  # fmt: skip


def _spoilt(body: Any, dice: random.Random) -> Any:
    """A copy with one value, somewhere, that is something else or is not there."""
    copied = json.loads(json.dumps(body))
    at = copied
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return dice.choice(_JUNK)
        key = dice.choice(keys)
        if isinstance(at[key], dict | list) and dice.random() < 0.8:
            at = at[key]
            continue
        if dice.random() < 0.3:
            del at[key]
        else:
            at[key] = dice.choice(_JUNK)
        return copied


@pytest.mark.parametrize("seed", range(4))
def test_no_answer_however_strange_is_more_than_a_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Every answer of a reading with pages, groups and app roles, each time with one thing wrong."""
    subjects = [*bench.generate(people=60, groups=2, members=30), STRANGER]
    bench.group("g0002", app_roles=["Airflow.Op"])
    bench.knob("graph.page_size", 20)
    mapped = frozenset(map(group_id, ("g0001", "g0002")))
    wanted = Wanted(subjects=subjects, groups=mapped, read_singly=frozenset(subjects[:3]), app_roles=True)
    cursor = read(bench, wanted).cursor
    bench.change("p000001", disabled=True)
    bench.change("p000009", deleted="soft")
    ways: tuple[Callable[[GraphReader], Any], ...] = (
        lambda reader: reader.read(wanted, None, silent),
        lambda reader: reader.read(wanted, cursor, silent),
        lambda reader: reader.read_one(subjects[0], mapped, seconds=10),
    )
    dice = random.Random(seed)
    send = Caller._send
    kept: dict[str, requests.Response] = {}
    turn, wrong = 0, -1

    def sent(
        self: Caller, method: str, url: str, options: Any, *, new_token: bool
    ) -> requests.Response | None:
        nonlocal turn
        question = f"{method} {url} {json.dumps(options)}"
        if question not in kept:
            answer = send(self, method, url, options, new_token=new_token)
            assert answer is not None
            kept[question] = answer
        response, turn = copy.copy(kept[question]), turn + 1
        if turn == wrong:
            body = _spoilt(response.json(), dice) if response.text[:1] == "{" else dice.choice(_JUNK)
            response._content = json.dumps(body).encode()
        return response

    monkeypatch.setattr(Caller, "_send", sent)
    outcomes = set()
    for way in ways:
        turn = 0
        way(bench.fast())
        for number in [turn_number for turn_number in range(1, turn + 1) for _ in range(8)]:
            turn, wrong = 0, number
            try:
                way(bench.fast())
                outcomes.add("read")
            except DirectoryError as failure:
                outcomes.add(type(failure).__name__)
            wrong = -1
    assert {"read", "DirectoryUnreadable"} <= outcomes <= {
        "read", "DirectoryUnreadable", "CursorExpired", "DirectoryUnreachable", "PermissionMissing",
    }  # fmt: skip


# Our own credentials --------------------------------------------------------------------------------


class Machine:
    """The App Service's endpoint for managed identities (fact A26)."""

    def __init__(self) -> None:
        self.answer: Callable[[], Any] = dict
        self.asked: list[tuple[str, str]] = []
        machine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                machine.asked.append((query["resource"][0], query["client_id"][0]))
                said = machine.answer()
                status, body = (said, {}) if isinstance(said, int) else (200, said)
                if isinstance(body, dict) and "access_token" in body:
                    body = {**body, "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
                self.send_response(status if self.headers["X-IDENTITY-HEADER"] == "h" else 401)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    one = Machine()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{one.server.server_port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    yield one
    one.server.shutdown()
    one.server.server_close()


def state_of_ada(bench: Bench, idp: Handle, **changes: Any) -> str:
    reader = GraphReader(settings(idp, **changes), HttpSettings(), wait=bench.waited.append)
    return reader.read_one(bench.subject_of("ada"), frozenset(), seconds=20).observation.state


def test_a_secret_that_is_rotated_counts_at_once(
    bench: Bench, idp: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = bench.fast()
    ada = bench.subject_of("ada")
    assert reader.read_one(ada, frozenset(), seconds=10).observation.state == "usable"
    bench.driver.control("POST", "clients", {"client_secret": "rotated"})
    assert reader.read_one(ada, frozenset(), seconds=10).observation.state == "usable"  # the old token
    bench.driver.control("DELETE", "directory/tokens")
    with pytest.raises(CredentialsRefused, match="invalid_client AADSTS7000215") as refused:
        reader.read_one(ada, frozenset(), seconds=10)
    assert "Trace" not in str(refused.value)
    monkeypatch.setenv("TEST_GRAPH_SECRET", "rotated")
    assert reader.read_one(ada, frozenset(), seconds=10).observation.state == "usable"
    monkeypatch.delenv("TEST_GRAPH_SECRET")
    with pytest.raises(CredentialsRefused, match="TEST_GRAPH_SECRET"):
        bench.fast().read_one(ada, frozenset(), seconds=10)


def test_a_token_is_used_until_shortly_before_its_end(bench: Bench) -> None:
    reader, ada = bench.fast(), bench.subject_of("ada")
    for _ in range(3):
        reader.read_one(ada, frozenset(), seconds=10)
    assert asked(bench)["token"] == 1
    bench.knob("app_token.lifetime", 1)
    other = bench.fast()
    other.read_one(ada, frozenset(), seconds=10)
    time.sleep(0.8)
    other.read_one(ada, frozenset(), seconds=10)
    assert asked(bench)["token"] == 3


@pytest.mark.parametrize("error", [7000215, 7000222, 7000112])
def test_refusals_of_the_application(bench: Bench, error: int) -> None:
    bench.knob("app_token.error", error)
    with pytest.raises(CredentialsRefused, match=str(error)):
        bench.states("ada")
    assert bench.waited == []


def test_a_sign_in_service_that_is_overloaded(bench: Bench) -> None:
    bench.knob("app_token.error", 90033, times=2)
    assert bench.states("ada") == ["usable"]
    assert sum(bench.waited) == 3
    bench.knob("app_token.error", 90033)
    with pytest.raises(DirectoryUnreachable):
        bench.states("ada")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"token.html": True}, DirectoryUnreadable),
        ({"token.body": "[]"}, DirectoryUnreadable),
        ({"token.body": {}}, DirectoryUnreadable),
        ({"token.body": {"access_token": 7, "expires_in": "x"}}, DirectoryError),
        ({"token.body": {"access_token": "a\nb", "expires_in": 3599}}, DirectoryError),
        ({"token.status": 400, "token.body": {"error": "x", "error_codes": [90055]}}, DirectoryUnreachable),
        ({"token.status": 400, "token.body": {"error": "x", "error_codes": [90002]}}, CredentialsRefused),
        ({"token.truncate": True}, DirectoryUnreadable),
        ({"token.redirect": "http://127.0.0.2:9/"}, DirectoryUnreadable),
        ({"token.down": True}, DirectoryUnreachable),
        ({"token.retry_after": 1}, DirectoryUnreachable),
    ],
    ids=str,
)
def test_a_token_endpoint_that_answers_something_else(
    bench: Bench, fault: dict[str, Any], expected: type[DirectoryError]
) -> None:
    bench.driver.control("PUT", "knobs", fault)
    with pytest.raises(expected):
        bench.states("ada")
    bench.honest()
    assert bench.states("ada") == ["usable"]


def test_a_slow_token_endpoint_does_not_outlive_the_time_for_one_person(bench: Bench) -> None:
    bench.knob("token.delay", 1.8)
    began = time.monotonic()
    with pytest.raises(DirectoryUnreachable):
        bench.make().read_one(bench.subject_of("ada"), frozenset(), seconds=0.4)
    assert time.monotonic() - began < 1.4
    bench.let_answers_end(1.8)


def test_a_certificate(bench: Bench, idp: Handle, tmp_path: Path) -> None:
    ours = new_certificate(tmp_path, "ours")
    pair = {"certificate": ours.certificate_file, "private_key": ours.key_file}
    auth = {"certificate": {half: {"file": str(path)} for half, path in pair.items()}}
    with pytest.raises(CredentialsRefused, match="AADSTS"):
        state_of_ada(bench, idp, client_auth=auth)
    bench.driver.control("POST", "clients", {"certificates": [ours.pem]})
    assert state_of_ada(bench, idp, client_auth=auth) == "usable"
    ours.key_file.write_text("not a key")
    with pytest.raises(CredentialsRefused, match="not PEM"):
        state_of_ada(bench, idp, client_auth=auth)


@pytest.fixture
def assertion(bench: Bench, idp: Handle, tmp_path: Path) -> Callable[[], str]:
    """Makes what an issuer that Entra trusts says for us."""
    issuer = new_certificate(tmp_path, "issuer")
    bench.driver.control("POST", "clients", {"certificates": [issuer.pem]})
    return lambda: issuer.assertion(f"{idp.url}/{TENANT_ID}/oauth2/v2.0/token")


def test_a_federated_token_file_is_read_each_time(
    bench: Bench, idp: Handle, tmp_path: Path, assertion: Callable[[], str]
) -> None:
    file = tmp_path / "token"
    auth = {"federated_token_file": str(file)}
    with pytest.raises(CredentialsRefused, match="cannot be read"):
        state_of_ada(bench, idp, client_auth=auth)
    file.write_text(assertion() + "\n")
    reader = GraphReader(settings(idp, client_auth=auth), HttpSettings())
    ada = bench.subject_of("ada")
    assert reader.read_one(ada, frozenset(), seconds=10).observation.state == "usable"
    bench.driver.control("DELETE", "directory/tokens")
    file.write_text("e30.e30.")
    with pytest.raises(CredentialsRefused):
        reader.read_one(ada, frozenset(), seconds=10)
    file.write_text(assertion())
    assert reader.read_one(ada, frozenset(), seconds=10).observation.state == "usable"


def test_a_managed_identity_with_and_without_an_application(
    bench: Bench, idp: Handle, machine: Machine, assertion: Callable[[], str]
) -> None:
    identity = {"managed_identity": "11111111-2222-4333-8444-555555555555"}
    machine.answer = lambda: {"access_token": assertion()}
    assert state_of_ada(bench, idp, client_auth=identity) == "usable"
    assert machine.asked == [("api://AzureADTokenExchange", identity["managed_identity"])]

    machine.asked.clear()
    ours = idp.state.directory.issue_token("graph", time.time() + 3600)
    machine.answer = lambda: {"access_token": ours}
    assert state_of_ada(bench, idp, client_auth=identity, client_id=None) == "usable"
    assert machine.asked == [("https://graph.microsoft.com", identity["managed_identity"])]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda: {"statusCode": 400, "message": "no"}, CredentialsRefused),
        (lambda: 429, DirectoryUnreachable),
        (lambda: 500, DirectoryUnreachable),
        (lambda: [], DirectoryUnreadable),
    ],
)
def test_a_managed_identity_without_a_token(
    bench: Bench, idp: Handle, machine: Machine, answer: Callable[[], Any], expected: type[DirectoryError]
) -> None:
    machine.answer = answer
    for client_id in (CLIENT_ID, None):
        identity = {"managed_identity": "11111111-2222-4333-8444-555555555555"}
        with pytest.raises(expected):
            state_of_ada(bench, idp, client_auth=identity, client_id=client_id)


@pytest.mark.parametrize(
    ("cloud", "host"),
    [
        (None, "https://graph.microsoft.com/v1.0"),
        ("usgov", "https://graph.microsoft.us/v1.0"),
        ("usgov_dod", "https://dod-graph.microsoft.us/v1.0"),
        ("china", "https://microsoftgraph.chinacloudapi.cn/v1.0"),
    ],
)
def test_every_cloud_has_its_own_host(idp: Handle, cloud: str | None, host: str) -> None:
    assert graph_base(settings(idp, cloud=cloud, insecure_host=None)) == host
    assert set(CLOUDS) == {"public", "usgov", "usgov_dod", "china"}


def test_no_secret_is_shown(bench: Bench, idp: Handle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        reader = bench.fast()
        reader.read_one(bench.subject_of("ada"), frozenset(), seconds=10)
    kept = reader._token._kept.value  # type: ignore[attr-defined]
    for shown in (caplog.text, repr(reader), repr(vars(reader)), repr(vars(reader._token))):  # type: ignore[attr-defined]
        assert DEFAULT_CLIENT_SECRET not in shown
        assert kept not in shown
