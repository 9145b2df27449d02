"""PingOne's directory by its reader, against the local one: the shared contract, and what is PingOne's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_sso.directory import readers
from airflow_sso.directory.failures import (
    CredentialsRefused,
    DirectoryError,
    DirectoryUnreachable,
    DirectoryUnreadable,
    PermissionMissing,
)
from airflow_sso.directory.pingone import PingOneReader
from airflow_sso.directory.snapshot import Wanted
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.oidc_settings import PingOneOidc
from airflow_sso.provider_settings import HttpSettings
from devidp.people import group_id
from devidp.server import Handle
from devidp.settings import CLIENT_ID, DEFAULT_CLIENT_SECRET, PINGONE_ENVIRONMENT_ID
from tests import stack as stacks
from tests.directory_contract import CROWD, CROWD_GROUPS, STRANGER, Bench, ReaderContract, groups_like

_EMBEDDED = "_embedded"


def settings(host: str, **more: Any) -> DirectorySettings:
    """The directory of this environment at ``host``."""
    return DirectorySettings.model_validate(
        {
            "type": "pingone",
            "environment_id": PINGONE_ENVIRONMENT_ID,
            "client_id": CLIENT_ID,
            "client_auth": {"secret": {"env": "WORKER_SECRET"}},
            "insecure_host": host,
            **more,
        }
    )


@pytest.fixture
def bench(idp: Handle, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("WORKER_SECRET", DEFAULT_CLIENT_SECRET)

    def make(timeout: float = 5.0, **options: Any) -> PingOneReader:
        http = HttpSettings.model_construct(timeout=timedelta(seconds=timeout))
        return PingOneReader(settings(idp.url), http, **options)

    driver = stacks.driver(idp)
    known: dict[str, str] = {}

    def subject_of(name: str) -> str:
        if name[1:].isdecimal():  # the crowd's ids count
            return f"c0de0002-0000-4000-8000-{int(name[1:]):012x}"
        if name not in known:
            known[name] = driver.control("GET", f"directory/people/{name}")["ids"]["pingone"]
        return known[name]

    return Bench(
        driver=driver,
        make=make,
        side="pingone",
        subject_of=subject_of,
        group_of=lambda name: name,
        state_property="enabled",
        members=("group_members",),
        refuse_credentials=lambda bench: bench.knob("app_token.error", "invalid_client"),
        lies=(
            {},
            {_EMBEDDED: None},
            {_EMBEDDED: {"users": "x"}, "count": 1},
            {_EMBEDDED: {"users": [7]}, "count": 1},
            {_EMBEDDED: {"users": [{"id": 7}]}, "count": 1},
            {_EMBEDDED: {"users": []}, "count": "many"},
            {_EMBEDDED: {"users": []}, "count": 306},
            {_EMBEDDED: {"users": []}, "count": 0},
            {_EMBEDDED: {"users": []}, "count": 1, "_links": {"next": "x"}},
            {_EMBEDDED: {"users": []}, "count": 1, "_links": {"next": {"href": 7}}},
        ),
    )


class TestContract(ReaderContract):
    """Rules hold the names of groups here."""

    def test_locked(self, bench: Bench) -> None:
        """A lock ends by itself, so it is neither: sessions and roles stay as they are."""
        bench.change("ada", locked=True)
        assert bench.states("ada", "otto") == ["unknown", "usable"]
        ada = bench.subject_of("ada")
        assert "locked" in bench.whole(ada).people[ada].reason
        assert bench.fast().read_one(ada, frozenset(), seconds=5).observation.state == "unknown"
        bench.change("ada", disabled=True)
        assert bench.states("ada") == ["unusable"]
        bench.change("ada", disabled=False, locked=False)
        assert bench.states("ada") == ["usable"]


class TestIdsOfGroups:
    """And their ids here: what of the contract is about groups."""

    test_pages = ReaderContract.test_pages_are_put_together
    test_groups = ReaderContract.test_groups_and_who_is_in_none
    test_nested = ReaderContract.test_a_group_inside_a_group_counts
    test_one_person = ReaderContract.test_one_person

    @pytest.fixture
    def bench(self, bench: Bench) -> Bench:
        bench.group_of = group_id
        return bench


def read(bench: Bench, subjects: list[str], *groups: str) -> Any:
    wanted = Wanted(subjects=subjects, groups=frozenset(groups))
    return bench.fast().read(wanted, None, lambda _doing: None)


def test_locked_among_many_is_not_lost(bench: Bench) -> None:
    subjects = bench.generate()
    bench.change("p000250", locked=True)
    people = read(bench, subjects).people
    assert {s: one.state for s, one in people.items() if one.state != "usable"} == {subjects[249]: "unknown"}


def test_a_lifecycle_that_is_not_ok(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    body = {
        "id": ada,
        "enabled": True,
        "account": {"canAuthenticate": True, "status": "OK"},
        "lifecycle": {"status": "VERIFICATION_REQUIRED"},
    }
    bench.knob("pingone.user.body", body)
    seen = bench.fast().read_one(ada, frozenset(), seconds=5).observation
    assert (seen.state, seen.reason) == ("unusable", "lifecycle is VERIFICATION_REQUIRED")
    for strange in (
        {**body, "lifecycle": {}},
        {**body, "lifecycle": "ACCOUNT_OK"},
        {**body, "enabled": "true"},
        {**body, "id": STRANGER},
        {"id": ada},
    ):
        bench.knob("pingone.user.body", strange)
        with pytest.raises(DirectoryUnreadable):
            bench.fast().read_one(ada, frozenset(), seconds=5)
        wanted = Wanted(subjects=(ada,), read_singly=frozenset({ada}))
        assert bench.fast().read(wanted, None, lambda _doing: None).people[ada].state == "unknown"


def test_names_and_ids_stand_side_by_side(bench: Bench) -> None:
    subjects = bench.generate()
    by_id = group_id("g0001").upper()
    few = [bench.subject_of("ada"), bench.subject_of("vera")]
    for people in (subjects, subjects[:1]):
        reading = read(bench, [*people, *few], by_id, "g0001", "g0002", "airflow_prod_admin", "no such group")
        assert reading.groups[few[0]] == {"airflow_prod_admin"}
        assert few[1] not in reading.groups
        assert reading.groups[subjects[0]] >= {by_id, "g0001"}
        for groups in reading.groups.values():
            assert (by_id in groups) == ("g0001" in groups)
    assert bench.fast().names_group("any name")
    assert bench.fast().names_group(by_id)
    assert not bench.fast().names_group("")


def test_ids_that_a_pattern_wants(bench: Bench) -> None:
    """Which of names and ids a sign-in tells is the administrator's choice, and so is what patterns are of."""
    subjects = bench.generate()
    ada, by_id = bench.subject_of("ada"), group_id("airflow_prod_admin")
    pattern = f"{by_id[:13]}*"
    for people in ([ada], [ada, *subjects]):
        assert bench.like(pattern, *people).groups == {ada: {by_id}}
    answer = bench.fast().read_one(ada, frozenset(), seconds=5, like=groups_like(pattern))
    assert answer.groups == {by_id}


@pytest.mark.parametrize("fault", [("status", 500), ("truncate", True), ("html", True), ("body", {})])
def test_half_a_list_of_groups_is_none(bench: Bench, fault: tuple[str, Any]) -> None:
    subjects = bench.generate()
    bench.knob("pingone.page_size", 3)
    assert len(bench.like("g000*", *subjects).groups) > 40
    bench.knob(f"pingone.groups.{fault[0]}", fault[1], skip=1)
    with pytest.raises(DirectoryError):
        bench.like("g000*", *subjects)


def test_several_groups_of_one_name_all_count(bench: Bench) -> None:
    subjects = bench.generate()
    twins = [{"id": group_id(name), "name": "Twins"} for name in CROWD_GROUPS]
    other = {"id": group_id("everyone"), "name": "twins of another name"}
    bench.knob("pingone.groups.body", {_EMBEDDED: {"groups": [*twins, other]}, "count": 3})
    both = read(bench, subjects, "Twins").groups
    bench.honest()
    apart = read(bench, subjects, *CROWD_GROUPS).groups
    assert set(both) == set(apart)
    assert set(both.values()) == {frozenset({"Twins"})}


def test_a_group_that_was_deleted_has_nobody(bench: Bench) -> None:
    subjects = bench.generate()
    bench.group("g0001", deleted=True)
    assert read(bench, subjects, group_id("g0001"), "g0001").groups == {}
    bench.knob("pingone.group_members.status", 400)  # whatever a filter by it may answer
    assert read(bench, subjects, group_id("g0001")).groups == {}
    with pytest.raises(DirectoryUnreadable):
        read(bench, subjects, group_id("g0002"))


def test_memberships_that_are_not_told_are_asked_for(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    groups = ("airflow_prod_admin", "airflow_prod_op", group_id("everyone"))
    expected = {"airflow_prod_admin", group_id("everyone")}
    for omitted in (["memberOfGroupIDs"], ["memberOfGroupNames"], ["memberOfGroupIDs", "memberOfGroupNames"]):
        bench.knob("pingone.omit", omitted)
        assert bench.fast().read_one(ada, frozenset(groups), seconds=5).groups == expected
        assert read(bench, [ada], *groups).groups == {ada: expected}


class TestRequests:
    """The cheaper way is taken."""

    def counted(self, bench: Bench, subjects: list[str], *groups: str) -> dict[str, int]:
        bench.forget_counts()
        read(bench, subjects, *groups)
        counts: dict[str, int] = bench.counts()
        return {name: number for name, number in counts.items() if name != "pingone.token"}

    def test_many_people_by_pages(self, bench: Bench) -> None:
        subjects = bench.generate()
        assert self.counted(bench, subjects) == {"pingone.users": 2}
        assert self.counted(bench, subjects, group_id("g0001"), "g0002") == {
            "pingone.users": 2,
            "pingone.group_members": 2,
            "pingone.groups": 1,
        }

    def test_few_people_one_by_one(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.knob("pingone.page_size", 20)
        assert self.counted(bench, subjects[-3:]) == {"pingone.users": 1, "pingone.user": 3}
        assert self.counted(bench, subjects[-3:], *CROWD_GROUPS) == {"pingone.users": 1, "pingone.user": 3}

    def test_whoever_is_still_missing_is_asked_for_singly(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.knob("pingone.page_size", 20)
        wanted = [*subjects[:200], subjects[-1]]
        counts = self.counted(bench, wanted)
        assert counts["pingone.user"] == 1
        assert counts["pingone.users"] < 13

    def test_one_token_for_all_of_them(self, bench: Bench) -> None:
        reader, ada = bench.fast(), bench.subject_of("ada")
        bench.forget_counts()
        for _ in range(3):
            reader.read_one(ada, frozenset({"everyone"}), seconds=5)
        assert bench.counts() == {"pingone.token": 1, "pingone.user": 3}


def test_a_page_may_be_smaller_than_was_asked_for_and_even_empty(bench: Bench) -> None:
    subjects = bench.generate()
    base = f"{bench.driver.url}/pingone/v1/environments/{PINGONE_ENVIRONMENT_ID}"
    empty = {
        _EMBEDDED: {"users": []},
        "count": CROWD + 6,
        "_links": {"next": {"href": f"{base}/users?limit=150"}},
    }
    bench.spoil("body", empty, times=1)
    assert {one.state for one in read(bench, subjects).people.values()} == {"usable"}


def test_links_in_a_circle_end(bench: Bench) -> None:
    subjects = bench.generate()
    base = f"{bench.driver.url}/pingone/v1/environments/{PINGONE_ENVIRONMENT_ID}"
    circle = {_EMBEDDED: {"users": []}, "count": 999, "_links": {"next": {"href": f"{base}/users?limit=7"}}}
    bench.spoil("body", circle)
    with pytest.raises(DirectoryUnreadable, match="read already"):
        read(bench, subjects)


def test_the_next_page_is_asked_for_exactly_as_the_directory_wrote_it(bench: Bench) -> None:
    subjects = bench.generate()
    bench.driver.control("DELETE", "requests")
    read(bench, subjects)
    asked = bench.driver.control("GET", "requests?endpoint=pingone.users")
    assert [entry["query"] for entry in asked] == [["limit"], ["cursor", "limit"]]


class TestPermissions:
    """A role that is missing is named, and is about nobody."""

    def test_groups_take_the_administrators_role(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.driver.control("PUT", "directory/permissions", {"pingone": ["Identity Data Read Only"]})
        assert {one.state for one in read(bench, subjects).people.values()} == {"usable"}
        assert bench.fast().read_one(subjects[0], frozenset(), seconds=5).observation.state == "usable"
        for people, groups in ((subjects, CROWD_GROUPS), (subjects[:2], CROWD_GROUPS)):
            with pytest.raises(PermissionMissing, match="Identity Data Admin"):
                read(bench, people, *groups)
        with pytest.raises(PermissionMissing, match="Identity Data Admin"):
            bench.fast().read_one(subjects[0], frozenset(CROWD_GROUPS), seconds=5)

    def test_people_take_one_as_well(self, bench: Bench) -> None:
        subjects = bench.generate()
        bench.driver.control("PUT", "directory/permissions", {"pingone": []})
        with pytest.raises(PermissionMissing, match="Identity Data Read Only"):
            read(bench, subjects)

    def test_one_person_with_groups_who_cannot_be_read(self, bench: Bench) -> None:
        ada, otto = bench.subject_of("ada"), bench.subject_of("otto")
        bench.knob("pingone.member_status", {ada: 403})
        reading = read(bench, [ada, otto], "airflow_prod_admin", "airflow_prod_op")
        assert [reading.people[one].state for one in (ada, otto)] == ["unknown", "usable"]
        assert reading.groups == {otto: {"airflow_prod_op"}}
        facts = [reading.facts_of(one, frozenset({"group"})) for one in (ada, otto)]
        assert facts == [{"group": None}, {"group": {"airflow_prod_op"}}]


def test_a_404_that_is_not_the_directorys_own_word_says_nothing(bench: Bench) -> None:
    ada = bench.subject_of("ada")
    bench.driver.knobs(pingone__user__html=True, pingone__user__status=404)
    with pytest.raises(DirectoryUnreadable):
        bench.fast().read_one(ada, frozenset(), seconds=5)


def test_a_subject_leads_nowhere_else(bench: Bench) -> None:
    for strange in ("../groups", "..", ".", "a/b", "?x=1", "#", " ", "é"):
        try:
            state = bench.fast().read_one(strange, frozenset(), seconds=5).observation.state
        except DirectoryError:
            continue
        assert state == "gone"


class TestToken:
    """Our own credentials."""

    def test_refusals_are_told_by_their_word(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORKER_SECRET", "not-the-secret")
        with pytest.raises(CredentialsRefused) as refused:
            read(bench, [STRANGER])
        assert refused.value.detail == "the token endpoint: HTTP 401 invalid_client"

    def test_the_secret_is_read_at_each_fetch(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, ada = bench.fast(), bench.subject_of("ada")
        monkeypatch.setenv("WORKER_SECRET", "not-the-secret")
        with pytest.raises(CredentialsRefused):
            reader.read_one(ada, frozenset(), seconds=5)
        monkeypatch.setenv("WORKER_SECRET", DEFAULT_CLIENT_SECRET)
        assert reader.read_one(ada, frozenset(), seconds=5).observation.state == "usable"
        monkeypatch.delenv("WORKER_SECRET")
        assert reader.read_one(ada, frozenset(), seconds=5).observation.state == "usable"
        with pytest.raises(CredentialsRefused, match="WORKER_SECRET"):
            bench.fast().read_one(ada, frozenset(), seconds=5)

    @pytest.mark.parametrize("method", ["basic", "post"])
    def test_both_ways_to_show_it(self, bench: Bench, method: str) -> None:
        auth = {"secret": {"env": "WORKER_SECRET"}, "method": method}
        reader = PingOneReader(settings(bench.driver.url, client_auth=auth), HttpSettings())
        assert reader.read_one(bench.subject_of("ada"), frozenset(), seconds=5).observation.state == "usable"

    def test_one_that_ended_is_renewed_once(self, bench: Bench) -> None:
        reader, ada = bench.fast(), bench.subject_of("ada")
        bench.knob("app_token.lifetime", 0)
        with pytest.raises(CredentialsRefused):  # it is refused each time
            reader.read_one(ada, frozenset(), seconds=5)
        bench.honest()
        assert reader.read_one(ada, frozenset(), seconds=5).observation.state == "usable"

    @pytest.mark.parametrize(
        ("fault", "failure"),
        [
            ({"token.status": 503}, DirectoryUnreachable),
            ({"token.down": True}, DirectoryUnreachable),
            ({"token.retry_after": 1}, DirectoryUnreachable),
            ({"token.html": True}, DirectoryUnreadable),
            ({"token.status": 404, "token.html": True}, DirectoryUnreadable),
            ({"token.body": {"access_token": 7}}, DirectoryUnreadable),
            ({"token.body": {"access_token": "a\nb"}}, DirectoryUnreadable),
            ({"token.redirect": "http://127.0.0.2/"}, DirectoryUnreadable),
        ],
        ids=str,
    )
    def test_trouble_at_the_token_endpoint(self, bench: Bench, fault: dict[str, Any], failure: Any) -> None:
        bench.driver.control("PUT", "knobs", fault)
        with pytest.raises(failure):
            bench.fast().read_one(bench.subject_of("ada"), frozenset(), seconds=5)


def test_what_is_kept_are_the_strings_of_whoever_asks(bench: Bench) -> None:
    subjects = bench.generate()
    mine = {id(subject) for subject in subjects}
    reading = read(bench, subjects, *CROWD_GROUPS)
    assert {id(subject) for subject in (*reading.people, *reading.groups)} <= mine
    assert len({id(groups) for groups in reading.groups.values()}) <= 3


@pytest.mark.parametrize("region", ["com", "eu", "com.au"])
def test_hosts_by_region(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = PingOneOidc.model_validate(
        {
            "name": "ping",
            "vendor": "pingone",
            "protocol": "oidc",
            "client_id": "c",
            "client_auth": {"secret": {"env": "X"}},
            "environment_id": PINGONE_ENVIRONMENT_ID,
            "region": region,
            "directory": "pingone",
        }
    )
    reader = readers.make(provider)
    assert isinstance(reader, PingOneReader)
    assert reader._base == f"https://api.pingone.{region}/v1/environments/{PINGONE_ENVIRONMENT_ID}"
    assert reader._worker.url == f"https://auth.pingone.{region}/{PINGONE_ENVIRONMENT_ID}/as/token"
    assert readers.make(provider.model_copy(update={"directory": None})) is None
