"""What every reader of a directory must do, whichever vendor's it is: one class of tests for all of them.

A reader's test module says ``class TestContract(ReaderContract)`` and gives a fixture ``bench``: a
:class:`Bench` on the local provider's directory, as it is at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from airflow_sso.directory.failures import (
    CredentialsRefused,
    DirectoryError,
    DirectoryUnreachable,
    PermissionMissing,
)
from airflow_sso.directory.snapshot import Like, Observation, Reader, Reading, Wanted
from devidp.testing import Driver
from tests.test_role_mapping import mapping

CROWD = 300
STRANGER = "ffffffff-ffff-4fff-8fff-ffffffffffff"
SLOW = 0.6
#: Groups of the generated crowd, as the local provider names them.
CROWD_GROUPS = ("g0001", "g0002")


@dataclass(kw_only=True)
class Bench:
    """A reader, and the local provider's directory that it reads.

    :param make: a new reader; ``make(wait=..., timeout=...)``: what waits in place of ``time.sleep``, and
        how many seconds one answer may take.
    :param side: what the local provider's knobs call this directory: ``graph``, ``pingone``, ``scim``.
    :param subject_of: what sign-in calls a person of this name.
    :param group_of: what the mapping calls a group of this name.
    :param id_of: the directory's own id of a person, where that is not the subject.
    :param state_property: what says that somebody may sign in; without it nobody is usable.
    :param people: the endpoint that a whole reading of many people asks, as knobs call it.
    :param members: the endpoints that tell who is in a group.
    :param foreign_link: whether the directory sends links to the next page.
    :param sees_locked: whether it tells that somebody is locked.
    :param tells_groups: whether this reader supplies groups.
    :param nested_groups: whether members of a group inside a group count.
    :param refuse_credentials: makes our own credentials wrong.
    :param lies: answers of the people endpoint that are JSON and nothing more.
    """

    driver: Driver
    make: Callable[..., Reader]
    side: str
    subject_of: Callable[[str], str]
    group_of: Callable[[str], str]
    state_property: str
    id_of: Callable[[str], str] | None = None
    people: str = "users"
    members: tuple[str, ...] = ()
    foreign_link: bool = True
    sees_locked: bool = True
    tells_groups: bool = True
    nested_groups: bool = True
    refuse_credentials: Callable[[Bench], None] = lambda bench: bench.knob("app_token.error", 7000215)
    lies: tuple[Any, ...] = ({}, {"value": "x"}, {"value": [7]}, {"value": [{"id": 7}]}, {"value": None})
    waited: list[float] = field(default_factory=list)

    def knob(self, name: str, value: Any, **wrapper: Any) -> None:
        """``knob("graph.users.status", 500, times=1, skip=2)``."""
        self.driver.control("PUT", "knobs", {name: {"value": value, **wrapper}})

    def spoil(self, fault: str, value: Any, **wrapper: Any) -> None:
        """Something wrong with the list of people."""
        self.knob(f"{self.side}.{self.people}.{fault}", value, **wrapper)

    def honest(self) -> None:
        self.driver.control("DELETE", "knobs")

    def let_answers_end(self, seconds: float) -> None:
        """Answers that nobody waits for any more are still being made, and would use up knobs of later."""
        time.sleep(seconds)

    def change(self, name: str, **changes: Any) -> None:
        """``change("ada", disabled=True, locked=True, deleted="soft", groups=[...])``."""
        self.driver.control("PUT", f"directory/people/{name}", changes)

    def group(self, name: str, **changes: Any) -> None:
        self.driver.control("PUT", f"directory/groups/{name}", changes)

    def forbid(self) -> None:
        """Take every permission from our application."""
        self.driver.control("PUT", "directory/permissions", {self.side: []})

    def generate(self, people: int = CROWD, groups: int = 2, members: int = 40) -> list[str]:
        """A crowd; what sign-in would call them."""
        body = {"people": people, "groups": groups, "members": members}
        self.driver.control("POST", "directory/generate", body)
        return [self.subject_of(f"p{number:06}") for number in range(1, people + 1)]

    def counts(self) -> Any:
        return self.driver.control("GET", "directory/counts")

    def forget_counts(self) -> None:
        self.driver.control("DELETE", "directory/counts")

    def fast(self, timeout: float = 5.0) -> Reader:
        """A reader that only notes how long it would have waited."""
        return self.make(wait=self.waited.append, timeout=timeout)

    def whole(self, *subjects: str, groups: tuple[str, ...] = (), timeout: float = 5.0) -> Reading:
        """A reading of everybody."""
        wanted = Wanted(subjects=subjects, groups=frozenset(map(self.group_of, groups)))
        return self.fast(timeout).read(wanted, None, lambda _doing: None)

    def like(self, pattern: str, *subjects: str, groups: tuple[str, ...] = ()) -> Reading:
        """A reading of everybody, and of the groups that a pattern wants."""
        named = frozenset(map(self.group_of, groups))
        wanted = Wanted(subjects=subjects, groups=named, like=groups_like(pattern))
        return self.fast().read(wanted, None, lambda _doing: None)

    def states(self, *names: str) -> list[str]:
        subjects = [self.subject_of(name) for name in names]
        people = self.whole(*subjects).people
        return [people[subject].state for subject in subjects]


def groups_like(pattern: str) -> Like:
    """What a mapping with this pattern wants."""
    return mapping(f"rules: [{{group: '{pattern}', roles: [Op]}}]").groups_like


#: Faults of one answer in the middle of a reading, and how the knob of the people endpoint says them.
_FAULTS: dict[str, tuple[str, Any]] = {
    "500": ("status", 500),
    "410": ("status", 410),
    "404": ("status", 404),
    "truncated": ("truncate", True),
    "html": ("html", True),
    "redirect": ("redirect", "http://127.0.0.2/"),
    "down": ("down", True),
    "empty body": ("body", ""),
    "a list": ("body", "[]"),
    "slow": ("delay", SLOW),
}
#: What Retry-After may be (facts B15, D17, F5), and what is waited at least and at most.
_PATIENCE: dict[str, tuple[Callable[[], Any], float, float]] = {
    "whole": (lambda: 7, 7, 7),
    "fraction": (lambda: 2.128, 3, 3),
    "date": (lambda: formatdate(time.time() + 20, usegmt=True), 17, 21),
    "absent": (lambda: "absent", 0.5, 5),
    "nonsense": (lambda: "soon", 0.5, 5),
    "past": (lambda: formatdate(time.time() - 20, usegmt=True), 0, 1),
}


class ReaderContract:
    """The tests; every one has its control: the same reading without what is wrong, or beside it."""

    @pytest.fixture(autouse=True)
    def _honest_again(self, bench: Bench) -> Iterator[None]:
        yield
        bench.driver.reset()

    def test_a_whole_reading_has_everybody_who_is_wanted_and_nobody_else(self, bench: Bench) -> None:
        subjects = bench.generate()
        wanted = [*subjects[: CROWD - 7], bench.subject_of("ada")]
        reading = bench.whole(*wanted)
        assert reading.everyone
        assert set(reading.people) == set(wanted)
        assert {one.state for one in reading.people.values()} == {"usable"}
        assert reading.population in (None, *range(CROWD, CROWD + 50))

    @pytest.mark.parametrize("size", [1, 7, 150])
    def test_pages_are_put_together(self, bench: Bench, size: int) -> None:
        subjects = bench.generate(people=40 if size == 1 else CROWD)
        bench.knob(f"{bench.side}.page_size", size)
        reading = bench.whole(*subjects, groups=CROWD_GROUPS if bench.tells_groups else ())
        assert len(reading.people) == len(subjects)
        assert {one.state for one in reading.people.values()} == {"usable"}
        if bench.tells_groups:
            assert len([s for s in subjects if bench.group_of("g0001") in reading.groups.get(s, ())]) == 40

    def test_disabled_and_enabled_again(self, bench: Bench) -> None:
        bench.change("ada", disabled=True)
        assert bench.states("ada", "otto") == ["unusable", "usable"]
        bench.change("ada", disabled=False)
        assert bench.states("ada", "otto") == ["usable", "usable"]

    def test_disabled_among_many(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.change("p000250", disabled=True)
        people = bench.whole(*subjects).people
        assert [subject for subject in subjects if people[subject].state != "usable"] == [subjects[249]]

    def test_locked(self, bench: Bench) -> None:
        bench.change("ada", locked=True)
        assert bench.states("ada", "otto") == ["unusable" if bench.sees_locked else "usable", "usable"]
        bench.change("ada", locked=False)
        assert bench.states("ada") == ["usable"]

    @pytest.mark.parametrize("how", ["soft", "hard"])
    def test_deleted_is_gone(self, bench: Bench, how: str) -> None:
        assert bench.states("ada", "otto") == ["usable", "usable"]
        ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
        bench.change("ada", deleted=how)
        people = bench.whole(ada, otto).people
        assert [people[ada].state, people[otto].state] == ["gone", "usable"]
        assert people[ada].reason

    def test_deleted_and_unknown_among_many(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.change("p000003", deleted="soft")
        people = bench.whole(*subjects, STRANGER).people
        assert {s for s, one in people.items() if one.state != "usable"} == {subjects[2], STRANGER}
        assert {people[STRANGER].state, people[subjects[2]].state} == {"gone"}

    def test_nobody_is_wanted(self, bench: Bench) -> None:
        reading = bench.whole(groups=("everyone",) if bench.tells_groups else ())
        assert (reading.everyone, dict(reading.people), dict(reading.groups)) == (True, {}, {})

    def test_groups_and_who_is_in_none(self, bench: Bench) -> None:
        if not bench.tells_groups:
            pytest.skip("this directory does not tell groups here")
        names = ("airflow_prod_admin", "airflow_prod_viewer")
        ada, vera, nora = (bench.subject_of(name) for name in ("ada", "vera", "nora"))
        reading = bench.whole(ada, vera, nora, groups=names)
        assert reading.groups.get(ada) == {bench.group_of("airflow_prod_admin")}
        assert reading.groups.get(vera) == {bench.group_of("airflow_prod_viewer")}
        assert reading.groups.get(nora, frozenset()) == frozenset()
        assert reading.people[nora].state == "usable"
        bench.change("nora", groups=["airflow_prod_admin"])
        bench.change("ada", groups=[])
        reading = bench.whole(ada, vera, nora, groups=names)
        assert reading.groups.get(ada, frozenset()) == frozenset()
        assert reading.groups.get(nora) == {bench.group_of("airflow_prod_admin")}

    def test_a_group_inside_a_group_counts(self, bench: Bench) -> None:
        if not (bench.tells_groups and bench.nested_groups):
            pytest.skip("this directory does not tell members of members")
        bench.group("outside", groups=["airflow_prod_viewer"])
        vera, otto = bench.subject_of("vera"), bench.subject_of("otto")
        reading = bench.whole(vera, otto, groups=("outside", "airflow_prod_viewer"))
        both = {bench.group_of("outside"), bench.group_of("airflow_prod_viewer")}
        assert reading.groups.get(vera) == both
        assert reading.groups.get(otto, frozenset()) == frozenset()
        answer = bench.fast().read_one(vera, frozenset(both), seconds=10)
        assert (answer.observation.state, answer.groups) == ("usable", both)

    @pytest.mark.parametrize("size", [1, 7, 150])
    def test_groups_that_a_pattern_wants(self, bench: Bench, size: int) -> None:
        """By the names that the directory has, however many people and pages there are."""
        if not (bench.tells_groups and bench.fast().follows_patterns):
            pytest.skip("this directory knows no names of groups")
        crowd = bench.generate(people=20 if size == 1 else CROWD, members=15)
        bench.knob(f"{bench.side}.page_size", size)
        ada, vera, nora = (bench.subject_of(name) for name in ("ada", "vera", "nora"))
        admin, viewer, of_crowd = "airflow_prod_admin", "airflow_prod_viewer", "g0001"
        for subjects in ([ada, vera, nora], [ada, vera, nora, *crowd]):
            reading = bench.like("airflow_prod_*", *subjects)
            assert {one: reading.groups.get(one, set()) for one in subjects[:4]} == {
                one: {admin} if one == ada else {viewer} if one == vera else set() for one in subjects[:4]
            }
        both = bench.like("airflow_prod_*", ada, nora, *crowd, groups=(admin, of_crowd))
        named = bench.group_of(admin), bench.group_of(of_crowd)
        assert both.groups[ada] == {admin, named[0]}
        assert len([one for one in crowd if named[1] in both.groups.get(one, ())]) == 15
        bench.change("ada", groups=[viewer])
        assert bench.like("airflow_prod_*", ada, *crowd).groups.get(ada) == {viewer}
        assert bench.like("another_*", ada, vera, *crowd).groups == {}

    def test_groups_of_one_person_that_a_pattern_wants(self, bench: Bench) -> None:
        if not (bench.tells_groups and bench.fast().follows_patterns):
            pytest.skip("this directory knows no names of groups")
        ada, nora = bench.subject_of("ada"), bench.subject_of("nora")
        answers = [
            bench.fast().read_one(one, frozenset(), seconds=10, like=groups_like("airflow_prod_*"))
            for one in (ada, nora)
        ]
        assert [answer.groups for answer in answers] == [{"airflow_prod_admin"}, frozenset()]
        assert all(answer.follows_patterns for answer in answers)

    @pytest.mark.parametrize("fault", _FAULTS)
    def test_half_a_reading_is_none(self, bench: Bench, fault: str) -> None:
        subjects = bench.generate()
        bench.knob(f"{bench.side}.page_size", 100)
        bench.spoil(*_FAULTS[fault], skip=1)
        with pytest.raises(DirectoryError):
            bench.whole(*subjects, timeout=0.1 if fault == "slow" else 5)
        bench.honest()
        if fault == "slow":
            bench.let_answers_end(SLOW)
        assert len(bench.whole(*subjects).people) == CROWD

    def test_a_link_to_another_host_is_not_followed(self, bench: Bench) -> None:
        if not bench.foreign_link:
            pytest.skip("this directory sends no links")
        subjects = bench.generate()
        bench.knob(f"{bench.side}.page_size", 100)
        bench.knob(f"{bench.side}.foreign_next_link", "http://127.0.0.2:9")
        with pytest.raises(DirectoryError, match="elsewhere"):
            bench.whole(*subjects)

    @pytest.mark.parametrize("header", _PATIENCE)
    def test_waits_as_long_as_it_is_asked_to(self, bench: Bench, header: str) -> None:
        value, least, most = _PATIENCE[header]
        subjects = bench.generate()
        # On a busy machine an answer may take its time, which must not look like a wait.
        bench.whole(*subjects, timeout=60)
        assert sum(bench.waited) == 0
        bench.spoil("retry_after", value(), times=1)
        assert len(bench.whole(*subjects, timeout=60).people) == CROWD
        assert least <= sum(bench.waited) <= most

    @pytest.mark.parametrize("fault", [("status", 503), ("status", 500), ("down", True)])
    def test_a_hiccup_is_survived(self, bench: Bench, fault: tuple[str, Any]) -> None:
        subjects = bench.generate()
        bench.spoil(*fault, times=2)
        assert len(bench.whole(*subjects).people) == CROWD
        assert bench.waited

    def test_patience_ends(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.spoil("retry_after", 3600)
        with pytest.raises(DirectoryUnreachable):
            bench.whole(*subjects)
        assert sum(bench.waited) < 3600
        bench.spoil("retry_after", 1)
        with pytest.raises(DirectoryUnreachable):
            bench.whole(*subjects)

    @pytest.mark.parametrize("status", [403, 400])
    def test_one_person_who_cannot_be_read_stops_nobody_else(self, bench: Bench, status: int) -> None:
        ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
        bench.knob(f"{bench.side}.member_status", {(bench.id_of or bench.subject_of)("ada"): status})
        wanted = Wanted(subjects=(ada, otto, STRANGER), read_singly=frozenset((ada, otto, STRANGER)))
        people = bench.fast().read(wanted, None, lambda _doing: None).people
        assert [people[one].state for one in (ada, otto, STRANGER)] == ["unknown", "usable", "gone"]

    def test_a_permission_that_was_withdrawn_is_about_nobody(self, bench: Bench) -> None:
        subjects = bench.generate()
        assert len(bench.whole(*subjects).people) == CROWD
        bench.forbid()
        for wanted in (subjects, subjects[:3]):
            with pytest.raises(PermissionMissing):
                bench.whole(*wanted)
        with pytest.raises(PermissionMissing):
            bench.fast().read_one(subjects[0], frozenset(), seconds=10)

    def test_credentials_that_are_refused_are_about_nobody(self, bench: Bench) -> None:
        ada = bench.subject_of("ada")
        assert bench.states("ada") == ["usable"]
        bench.refuse_credentials(bench)
        with pytest.raises(CredentialsRefused):
            bench.whole(ada)
        with pytest.raises(CredentialsRefused):
            bench.fast().read_one(ada, frozenset(), seconds=10)

    def test_nobody_is_usable_without_being_said_to_be(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.knob(f"{bench.side}.omit", [bench.state_property])
        for wanted in (subjects, subjects[:3]):
            try:
                people = bench.whole(*wanted).people
            except DirectoryError:
                continue
            assert {one.state for one in people.values()} <= {"unknown"}
        with pytest.raises(DirectoryError):
            bench.fast().read_one(subjects[0], frozenset(), seconds=10)

    def test_json_that_is_something_else_is_not_believed(self, bench: Bench) -> None:
        subjects = bench.generate()
        for lie in bench.lies:
            bench.spoil("body", lie)
            with pytest.raises(DirectoryError):
                bench.whole(*subjects)
        bench.honest()
        assert len(bench.whole(*subjects).people) == CROWD

    def test_one_person(self, bench: Bench) -> None:
        ada, groups = bench.subject_of("ada"), ("airflow_prod_admin", "airflow_prod_op")
        wanted = frozenset(map(bench.group_of, groups))
        answer = bench.fast().read_one(ada, wanted, seconds=10)
        assert answer.observation.state == "usable"
        if bench.tells_groups:
            assert answer.groups == {bench.group_of("airflow_prod_admin")}
        bench.change("ada", disabled=True)
        assert bench.fast().read_one(ada, wanted, seconds=10).observation.state == "unusable"
        assert bench.fast().read_one(STRANGER, wanted, seconds=10).observation.state == "gone"

    def test_one_person_in_time_or_not_at_all(self, bench: Bench) -> None:
        ada, wanted = bench.subject_of("ada"), frozenset({bench.group_of("airflow_prod_admin")})
        bench.knob("directory.latency", 1800)
        began = time.monotonic()
        with pytest.raises(DirectoryError):
            bench.make().read_one(ada, wanted, seconds=0.4)
        assert time.monotonic() - began < 1.4
        bench.let_answers_end(1.8)
        bench.knob("directory.latency", 50)
        assert bench.make().read_one(ada, wanted, seconds=5).observation.state == "usable"

    def test_a_wait_that_does_not_fit_is_not_begun(self, bench: Bench) -> None:
        ada = bench.subject_of("ada")
        bench.knob(f"{bench.side}.retry_after", 30)
        began = time.monotonic()
        with pytest.raises(DirectoryUnreachable):
            bench.make().read_one(ada, frozenset(), seconds=3)
        assert time.monotonic() - began < 3

    def test_says_what_it_does_before_each_request_and_stops_when_told(self, bench: Bench) -> None:
        said: list[str] = []
        wanted = Wanted(subjects=(bench.subject_of("ada"),))
        bench.fast().read(wanted, None, said.append)
        assert said
        assert all(said)

        def stop(_doing: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            bench.fast().read(wanted, None, stop)

    def test_what_is_seen_is_a_plain_value(self, bench: Bench) -> None:
        ada = bench.subject_of("ada")
        seen = bench.whole(ada).people[ada]
        assert seen == Observation("usable", valid_from=seen.valid_from)
        assert seen.valid_from is None or seen.valid_from.tzinfo is not None

    def test_groups_are_called_as_the_directory_calls_them(self, bench: Bench) -> None:
        there, nowhere = bench.group_of("airflow_prod_op"), bench.group_of("airflow_prod_op")[:-1] + "0"
        names = bench.fast().names_of({there, nowhere})
        assert names == {there: "airflow_prod_op", nowhere: None}

    def test_what_groups_are_called_is_not_made_up(self, bench: Bench) -> None:
        bench.refuse_credentials(bench)
        with pytest.raises(DirectoryError):
            bench.fast().names_of({bench.group_of("airflow_prod_op")})
