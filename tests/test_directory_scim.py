"""A SCIM server by its reader: the shared contract against the local one, and servers that are peculiar."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from airflow_sso.directory import readers
from airflow_sso.directory.failures import (
    CredentialsRefused,
    DirectoryUnreadable,
    PermissionMissing,
)
from airflow_sso.directory.scim_pull import ScimReader
from airflow_sso.directory.snapshot import Reading, Wanted
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.oidc_settings import GenericOidc
from airflow_sso.provider_settings import HttpSettings
from devidp.people import group_id
from devidp.server import Handle
from devidp.settings import CLIENT_ID, DEFAULT_CLIENT_SECRET
from tests import stack as stacks
from tests.directory_contract import Bench, ReaderContract, groups_like

PING = "urn:pingidentity:schemas:User:1.0"
TOKEN = {"token": {"env": "SCIM_TOKEN"}}
_HEADS = {"scim": "c0de0003", "external_id": "c0de0004"}


def settings(url: str, **more: Any) -> DirectorySettings:
    """The directory at ``url``."""
    auth = {} if "token_url" in more else TOKEN
    return DirectorySettings.model_validate({"type": "scim", "url": url, **auth, **more})


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIM_TOKEN", "scim-token")
    monkeypatch.setenv("WORKER_SECRET", DEFAULT_CLIENT_SECRET)


def make_bench(idp: Handle, monkeypatch: pytest.MonkeyPatch, ident: str, **more: Any) -> Bench:
    """:param ident: which of somebody's ids is the subject."""
    driver = stacks.driver(idp)
    known: dict[str, Any] = {}

    def ids(name: str) -> Any:
        if name not in known:
            known[name] = driver.control("GET", f"directory/people/{name}")["ids"]
        return known[name]

    def subject_of(name: str) -> str:
        if name[1:].isdecimal():  # the crowd's ids count
            return f"{_HEADS[ident]}-0000-4000-8000-{int(name[1:]):012x}"
        return str(ids(name)[ident])

    def make(timeout: float = 5.0, **options: Any) -> ScimReader:
        http = HttpSettings.model_construct(timeout=timedelta(seconds=timeout))
        return ScimReader(settings(f"{idp.url}/scim/v2", **more), http, **options)

    return Bench(
        driver=driver,
        make=make,
        side="scim",
        subject_of=subject_of,
        group_of=lambda name: name,
        id_of=lambda name: str(ids(name)["scim"]),
        state_property="active",
        foreign_link=False,
        sees_locked=False,
        nested_groups=False,
        refuse_credentials=lambda _bench: monkeypatch.setenv("SCIM_TOKEN", "another"),
        lies=(
            {},
            {"totalResults": 306},
            {"totalResults": "306", "Resources": []},
            {"totalResults": 0, "Resources": []},
            {"totalResults": 0},
            {"totalResults": 306, "Resources": []},
            {"totalResults": 306, "Resources": None},
            {"totalResults": 1, "Resources": "x"},
            {"totalResults": 1, "Resources": [7]},
            {"totalResults": 1, "Resources": [{"id": 7}]},
            {"totalResults": 1, "Resources": [{"id": "a", "externalId": 7}]},
            {"totalResults": 1, "Resources": [{"id": "a"}, {"id": "b"}]},
            {"totalResults": 2, "Resources": [{"id": "a"}, {"id": "a"}]},
            {"totalResults": -1, "Resources": []},
        ),
    )


class TestContract(ReaderContract):
    """The subject is ``externalId``, and rules hold the names of groups."""

    @pytest.fixture
    def bench(self, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> Bench:
        return make_bench(idp, monkeypatch, "external_id")


class Places:
    """What of the contract depends on where things are."""

    test_everybody = ReaderContract.test_a_whole_reading_has_everybody_who_is_wanted_and_nobody_else
    test_pages = ReaderContract.test_pages_are_put_together
    test_disabled = ReaderContract.test_disabled_and_enabled_again
    test_disabled_among_many = ReaderContract.test_disabled_among_many
    test_gone = ReaderContract.test_deleted_is_gone
    test_gone_among_many = ReaderContract.test_deleted_and_unknown_among_many
    test_groups = ReaderContract.test_groups_and_who_is_in_none
    test_one_person = ReaderContract.test_one_person
    test_one_who_cannot_be_read = ReaderContract.test_one_person_who_cannot_be_read_stops_nobody_else
    test_permission = ReaderContract.test_a_permission_that_was_withdrawn_is_about_nobody
    test_strange_json = ReaderContract.test_json_that_is_something_else_is_not_believed


class TestById(Places):
    """The subject is ``id``, and rules hold the ids of groups."""

    test_unsaid = ReaderContract.test_nobody_is_usable_without_being_said_to_be

    @pytest.fixture
    def bench(self, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> Bench:
        bench = make_bench(idp, monkeypatch, "scim", subject="id")
        bench.group_of = group_id
        bench.lies = tuple(lie for lie in bench.lies if "externalId" not in str(lie))  # nobody asks for it
        return bench


class TestPingDirectory(Places):
    """Everything is in an extension, and who is disabled is marked as such (facts E9, E10)."""

    @pytest.fixture
    def bench(self, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> Bench:
        places = {"subject": f"{PING}:entryUUID", "disabled": f"{PING}:accountDisabled"}
        return make_bench(idp, monkeypatch, "scim", **places)

    def test_only_who_is_disabled_is_said_to_be(self, bench: Bench) -> None:
        ada = bench.subject_of("ada")
        bench.knob("scim.omit", ["active"])
        assert bench.states("ada") == ["usable"]
        bench.change("ada", disabled=True)
        assert bench.fast().read_one(ada, frozenset(), seconds=5).observation.state == "unusable"


# -- servers that are peculiar ------------------------------------------------------------------------


class Server:
    """Answers what it is told to; ``asked`` has every request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], Any] = lambda _path, _query: (404, {})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                path = unquote(parts.path).removeprefix("/scim/v2")
                outer.asked.append((path, query))
                told = outer.answer(path, query)
                status, body = told if isinstance(told, tuple) else (200, told)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/scim+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/scim/v2"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def serve(self, users: list[dict[str, Any]], groups: list[dict[str, Any]] | None = None) -> None:
        """These users and groups, as RFC 7644 has it; without groups there is no such endpoint."""
        self.answer = lambda path, query: _served(users, groups, path, query)

    def reader(self, **more: Any) -> ScimReader:
        return ScimReader(settings(self.url, **more), HttpSettings(), wait=lambda _seconds: None)

    def read(self, *subjects: str, groups: tuple[str, ...] = (), **more: Any) -> Reading:
        wanted = Wanted(subjects=subjects, groups=frozenset(groups))
        return self.reader(**more).read(wanted, None, lambda _doing: None)

    def state(self, user: dict[str, Any], **more: Any) -> str:
        """What is made of one user in a list."""
        self.serve([{"id": "1", "externalId": "a", **user}])
        return self.read("a", **more).people["a"].state


def _served(users: list[Any], groups: list[Any] | None, path: str, query: dict[str, str]) -> Any:
    kind, _, own = path.strip("/").partition("/")
    rows = {"Users": users, "Groups": groups}.get(kind)
    if rows is None:
        return 404, {"status": "404"}
    if own:
        found = [one for one in rows if one["id"] == own]
        return found[0] if found else (404, {"status": "404"})
    if "filter" in query:
        name, _, value = query["filter"].partition(" eq ")
        rows = [one for one in rows if one.get(name) == json.loads(value)]
    start = int(query.get("startIndex", "1"))
    shown = rows[start - 1 : start - 1 + int(query.get("count", "200"))]
    return {"totalResults": len(rows), "startIndex": start, "itemsPerPage": len(shown), "Resources": shown}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def person(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"id{number}", "externalId": f"s{number}", "active": True, **more}


@pytest.mark.parametrize(
    ("disabled", "user", "state"),
    [
        (None, {"active": True}, "usable"),
        (None, {"active": False}, "unusable"),
        (None, {"active": "False"}, "unusable"),
        (None, {"Active": True}, "usable"),
        (None, {"urn:x": {"active": True}}, "unknown"),
        (None, {}, "unknown"),
        (None, {"active": None}, "unknown"),
        # `active` alone never means the contrary of what it says.
        ("active", {"active": True}, "usable"),
        ("active", {"active": False}, "unusable"),
        (["active", "false"], {"active": False}, "unusable"),
        (["active", "false"], {"active": True}, "usable"),
        (["active", "false"], {}, "unknown"),
        ("ds-pwp-account-disabled", {"ds-pwp-account-disabled": True}, "unusable"),
        ("ds-pwp-account-disabled", {"ds-pwp-account-disabled": "true"}, "unusable"),
        ("ds-pwp-account-disabled", {"ds-pwp-account-disabled": ["true"]}, "unusable"),
        ("ds-pwp-account-disabled", {"ds-pwp-account-disabled": False}, "usable"),
        ("ds-pwp-account-disabled", {}, "usable"),
        (f"{PING}:accountDisabled", {PING: {"accountDisabled": True}}, "unusable"),
        (f"{PING.lower()}:ACCOUNTDISABLED", {PING: {"accountDisabled": True}}, "unusable"),
        (f"{PING}:accountDisabled", {"schemas": [PING], "accountDisabled": True}, "unusable"),
        (f"{PING}:accountDisabled", {PING: {}}, "usable"),
        (["status", "Terminated"], {"status": "TERMINATED"}, "unusable"),
        (["status", "Terminated"], {"status": "hired"}, "usable"),
        (["status.code", "9"], {"status": {"code": 9}}, "unusable"),
        (["flags", "gone"], {"flags": ["new", "gone"]}, "unusable"),
    ],
    ids=str,
)
def test_what_means_disabled(server: Server, disabled: Any, user: dict[str, Any], state: str) -> None:
    assert server.state(user, **({"disabled": disabled} if disabled else {})) == state


@pytest.mark.parametrize(
    ("disabled", "user"),
    [
        (None, {"active": "yes"}),
        (None, {"active": 1}),
        (None, {"active": {}}),
        (None, {"active": [True, False]}),
        ("locked", {"locked": "since Monday"}),
        (f"{PING}:accountDisabled", {PING: "x"}),
        (["status.code", "9"], {"status": "9"}),
        (["status", "9"], {"status": {}}),
    ],
    ids=str,
)
def test_what_means_nothing_is_unreadable(server: Server, disabled: Any, user: dict[str, Any]) -> None:
    more = {"disabled": disabled} if disabled else {}
    with pytest.raises(DirectoryUnreadable):
        server.state(user, **more)
    with pytest.raises(DirectoryUnreadable):
        server.reader(**more).read_one("a", frozenset(), seconds=5)


class TestSubject:
    """Whom sign-in means."""

    @pytest.mark.parametrize(
        ("subject", "user"),
        [
            ("externalId", {"externalId": "x"}),
            ("EXTERNALID", {"externalId": "x"}),
            ("userName", {"userName": "x"}),
            ("urn:ietf:params:scim:schemas:core:2.0:User:userName", {"userName": "x"}),
            (f"{PING}:entryUUID", {PING: {"entryUUID": "x"}}),
            (f"{PING}:entryUUID", {"schemas": [PING], "entryUUID": "x"}),
            ("name.formatted", {"name": {"formatted": "x"}}),
        ],
    )
    def test_paths(self, server: Server, subject: str, user: dict[str, Any]) -> None:
        server.serve([{"id": "other", "active": True}, {"id": "1", "active": True, **user}])
        assert server.read("x", subject=subject).people["x"].state == "usable"

    @pytest.mark.parametrize("subject", ['a"b', "a\\b", '\\"', 'x" or active eq "true', "é ☃", "a&b=c#d%20+"])
    def test_a_filter_holds_any_value(self, server: Server, subject: str) -> None:
        server.serve([person(1), {"id": "2", "externalId": subject, "active": True}])
        answer = server.reader().read_one(subject, frozenset(), seconds=5)
        assert answer.observation.state == "usable"
        assert server.asked[-1][1]["filter"] == f"externalId eq {json.dumps(subject, ensure_ascii=False)}"
        assert server.reader().read_one(f"{subject}?", frozenset(), seconds=5).observation.state == "gone"

    @pytest.mark.parametrize("subject", ["a/b", "..", "a?b", "a#b", "é"])
    def test_so_does_a_path(self, server: Server, subject: str) -> None:
        server.serve([{"id": subject, "active": False}])
        if subject != "..":  # which is no name but a direction; see below
            answer = server.reader(subject="id").read_one(subject, frozenset(), seconds=5)
            assert answer.observation.state == "unusable"
        else:
            with pytest.raises(DirectoryUnreadable):
                server.reader(subject="id").read_one(subject, frozenset(), seconds=5)

    def test_nobody_shows_it(self, server: Server) -> None:
        server.serve([{"id": "1", "active": True}, {"id": "2", "active": True}])
        with pytest.raises(DirectoryUnreadable, match="directory: subject"):
            server.read("s1")

    def test_two_entries_of_one_subject_are_neither(self, server: Server) -> None:
        server.serve([person(1), {**person(2), "externalId": "s1", "active": False}, person(3)])
        people = server.read("s1", "s3").people
        assert [people[one].state for one in ("s1", "s3")] == ["unknown", "usable"]
        with pytest.raises(DirectoryUnreadable, match="several"):
            server.reader().read_one("s1", frozenset(), seconds=5)

    def test_whose_entry_is_not_known_is_not_in_no_group(self, server: Server) -> None:
        groups = [{"value": "admins"}]
        server.serve([person(1, groups=groups), {**person(2, groups=[]), "externalId": "s1"}, user_in(3)])
        reading = server.read("s1", "s3", groups=("admins",))
        facts = [reading.facts_of(one, frozenset({"group"})) for one in ("s1", "s3")]
        assert facts == [{"group": None}, {"group": frozenset()}]

    def test_a_filter_that_is_not_heeded(self, server: Server) -> None:
        everybody = {"totalResults": 2, "Resources": [person(1), person(2)]}
        server.answer = lambda _path, _query: everybody
        with pytest.raises(DirectoryUnreadable, match="somebody else"):
            server.reader().read_one("s3", frozenset(), seconds=5)
        assert server.read("s1", "s3").people["s3"].state == "unknown"

    def test_a_404_that_is_not_the_servers_own_word(self, server: Server) -> None:
        server.answer = lambda _path, _query: (404, "no such page")
        for subject in ("id", "externalId"):
            with pytest.raises(DirectoryUnreadable):
                server.reader(subject=subject).read_one("s1", frozenset(), seconds=5)


class TestPages:
    """What does not fit together is no reading."""

    USERS = tuple(person(number) for number in range(1, 501))
    WANTED = tuple(f"s{number}" for number in range(1, 501))

    def paging(self, server: Server, change: Callable[[int, dict[str, Any]], Any]) -> None:
        """The honest pages, each as ``change(how many were asked for before, page)`` makes it."""
        asked = [0]

        def answer(path: str, query: dict[str, str]) -> Any:
            page = _served(list(self.USERS), None, path, query)
            if "startIndex" in query:
                page = change(asked[0], page)
                asked[0] += 1
            return page

        server.answer = answer

    def test_honest(self, server: Server) -> None:
        server.serve(list(self.USERS))
        reading = server.read(*self.WANTED)
        assert (len(reading.people), reading.population) == (500, 500)
        assert [query["startIndex"] for _, query in server.asked] == ["1", "201", "401"]

    def test_a_server_may_show_fewer_or_all_at_once(self, server: Server) -> None:
        for most in (150, 1000):
            server.answer = lambda path, query, most=most: _served(  # type: ignore[misc]
                list(self.USERS), None, path, {**query, "count": str(most)}
            )
            assert len(server.read(*self.WANTED).people) == 500

    @pytest.mark.parametrize(
        "change",
        [
            lambda _n, page: {**page, "totalResults": 600},
            lambda _n, page: {**page, "totalResults": 100},
            lambda n, page: {**page, "Resources": [] if n else page["Resources"]},
            lambda n, page: {**page, "Resources": page["Resources"][: (200, 200, 99, 0)[n]]},
            lambda _n, page: {**page, "startIndex": 1},
            lambda n, page: {**page, "totalResults": 500 + n},
            lambda n, page: {**page, "Resources": [person(1), *page["Resources"][1:]]},
        ],
        ids=["more", "fewer", "empty", "one short", "always the first", "ever changing", "repeated"],
    )
    def test_lies(self, server: Server, change: Any) -> None:
        self.paging(server, change)
        # Who is missing from few pages is asked for; so many people make it read the pages to their end.
        with pytest.raises(DirectoryUnreadable):
            server.read(*self.WANTED, *(f"stranger {number}" for number in range(9)))

    def test_whoever_is_missing_is_asked_for(self, server: Server) -> None:
        self.paging(server, lambda n, page: {**page, "Resources": page["Resources"][: (200, 200, 99)[n]]})
        assert {one.state for one in server.read(*self.WANTED).people.values()} == {"usable"}
        assert server.asked[-1][1]["filter"] == 'externalId eq "s500"'

    def test_somebody_came_meanwhile_so_it_begins_again(self, server: Server) -> None:
        self.paging(server, lambda n, page: {**page, "totalResults": 501 if n == 0 else 500})
        assert len(server.read(*self.WANTED).people) == 500
        assert [query["startIndex"] for _, query in server.asked] == ["1", "201", "1", "201", "401"]

    def test_a_server_that_ignores_paging(self, server: Server) -> None:
        first = {"totalResults": 500, "Resources": list(self.USERS[:200])}
        server.answer = lambda _path, _query: first
        with pytest.raises(DirectoryUnreadable, match="same entry"):
            server.read(*self.WANTED)

    def test_few_people_are_asked_for_singly(self, server: Server) -> None:
        server.serve(list(self.USERS))
        people = server.read("s499", "s500", "nobody").people
        assert [one.state for one in people.values()] == ["usable", "usable", "gone"]
        assert [query.get("startIndex") for _, query in server.asked] == ["1", "201", "401", None]
        del server.asked[:]
        server.read("s499", "s500")
        assert [query.get("startIndex") for _, query in server.asked] == ["1", None, None]


def user_in(number: int, *groups: Any) -> dict[str, Any]:
    return person(number, groups=list(groups))


class TestGroups:
    """Who is in which of the mapped groups, and when that is not known."""

    DN = "CN=Airflow-Admins, OU=Groups,DC=corp"

    def test_ids_names_and_dns(self, server: Server) -> None:
        id_ = "8F6A0D0E-5D4B-4D0E-9A55-0D3B3F3F9C11"
        server.serve([user_in(1, {"value": id_.lower(), "display": self.DN.lower()}), user_in(2)])
        reading = server.read("s1", "s2", groups=(id_, self.DN, "Other"))
        assert reading.groups == {"s1": {id_, self.DN}}
        answer = server.reader().read_one("s1", frozenset({id_, "Other"}), seconds=5)
        assert answer.groups == {id_}

    @pytest.mark.parametrize("told", ["admins", ["admins", "ops"]])
    def test_another_attribute(self, server: Server, told: Any) -> None:
        server.serve([person(1, isMemberOf=told), person(2)])
        wanted = Wanted(subjects=("s1", "s2"), groups=frozenset({"admins"}))
        reading = server.reader(groups="isMemberOf").read(wanted, None, lambda _doing: None)
        assert reading.groups == {"s1": {"admins"}}

    @pytest.mark.parametrize("told", ["admins", ["admins"], 7, [{"value": 7}]])
    def test_something_else_is_not_none(self, server: Server, told: Any) -> None:
        server.serve([person(1, groups=told)])
        with pytest.raises(DirectoryUnreadable, match="groups"):
            server.read("s1", groups=("admins",))

    def test_not_served_by_users_but_by_groups(self, server: Server) -> None:
        users = [person(number) for number in range(1, 6)]
        inner = {"id": "g3", "displayName": "inner", "members": [{"value": "id4", "$ref": "../Users/id4"}]}
        groups = [
            {"id": "g1", "displayName": "admins", "members": [{"value": "id1"}, {"value": "stranger"}]},
            {
                "id": "g2",
                "displayName": "ops",
                "members": [{"value": "id2", "type": "User"}, {"value": "g3", "type": "Group"}],
            },
            {**inner, "members": [*inner["members"], {"value": "g2", "type": "Group"}]},  # type: ignore[misc]
            {"id": "g4", "displayName": "empty"},
        ]
        server.serve(users, groups)
        named = ("admins", "g2", "empty", "missing")
        reading = server.read(*(f"s{n}" for n in range(1, 6)), groups=named)
        assert reading.groups == {"s1": {"admins"}, "s2": {"g2"}, "s4": {"g2"}}
        for subject, expected in (("s1", {"admins"}), ("s4", {"g2"}), ("s5", set())):
            answer = server.reader().read_one(subject, frozenset(named), seconds=5)
            assert answer.groups == expected

    def test_those_that_a_pattern_wants(self, server: Server) -> None:
        like = groups_like("team-*")
        told = [{"value": "7", "display": "team-a"}, {"value": "8", "display": "other"}]
        server.serve([user_in(1, *told), user_in(2), person(3)])
        wanted = Wanted(subjects=("s1", "s2", "s3"), groups=frozenset({"8"}), like=like)
        assert server.reader().read(wanted, None, lambda _doing: None).groups == {"s1": {"team-a", "8"}}
        assert [path for path, _ in server.asked if path.startswith("/Groups")] == []
        answer = server.reader().read_one("s1", frozenset(), seconds=5, like=like)
        assert (answer.groups, answer.follows_patterns) == ({"team-a"}, True)

    def test_those_that_a_pattern_wants_where_groups_alone_tell(self, server: Server) -> None:
        like = groups_like("team-*")
        groups = [{"id": f"g{n}", "displayName": f"other-{n}", "members": []} for n in range(450)]
        groups[444] = {"id": "g444", "displayName": "team-b", "members": [{"value": "id2"}]}
        groups[7] = {"id": "g7", "displayName": "team-a", "members": [{"value": "id1"}, {"value": "id2"}]}
        server.serve([person(1), person(2), person(3)], groups)
        wanted = Wanted(subjects=("s1", "s2", "s3"), like=like)
        reading = server.reader().read(wanted, None, lambda _doing: None)
        assert reading.groups == {"s1": {"team-a"}, "s2": {"team-a", "team-b"}}
        # Nobody waits for the list at a sign-in: the token's own list says which to ask about.
        answer = server.reader().read_one("s2", frozenset({"team-b"}), seconds=5, like=like)
        assert (answer.groups, answer.follows_patterns) == ({"team-b"}, False)
        answer = server.reader().read_one("s2", frozenset(), seconds=5, like=like)
        assert (answer.groups, answer.follows_patterns) == (frozenset(), False)

    @pytest.mark.parametrize("change", ["one more", "again", "fewer shown"])
    def test_a_list_of_groups_that_does_not_add_up(self, server: Server, change: str) -> None:
        groups = [{"id": f"g{n}", "displayName": f"team-{n}", "members": []} for n in range(250)]

        def answer(path: str, query: dict[str, str]) -> Any:
            told = _served([person(1)], groups, path, query)
            if path == "/Groups" and query.get("startIndex") == "201":
                if change == "one more":
                    told["totalResults"] += 1
                elif change == "again":
                    told["Resources"] = groups[:50]
                else:
                    told["Resources"] = []
            return told

        wanted = Wanted(subjects=("s1",), like=groups_like("team-*"))
        server.serve([person(1)], groups)
        assert server.reader().read(wanted, None, lambda _doing: None).groups == {}
        server.answer = answer
        with pytest.raises(DirectoryUnreadable):
            server.reader().read(wanted, None, lambda _doing: None)

    @pytest.mark.parametrize("groups", [None, []], ids=["no endpoint", "none"])
    def test_a_pattern_where_no_group_is_shown(self, server: Server, groups: Any) -> None:
        server.serve([person(1)], groups)
        wanted = Wanted(subjects=("s1",), like=groups_like("team-*"))
        with pytest.raises(DirectoryUnreadable, match="directory: groups"):
            server.reader().read(wanted, None, lambda _doing: None)

    @pytest.mark.parametrize(
        "groups",
        [None, [], [{"id": "g1", "displayName": "admins"}]],
        ids=["no endpoint", "none", "no members"],
    )
    def test_not_served_at_all_is_not_none(self, server: Server, groups: Any) -> None:
        server.serve([person(1), person(2)], groups)
        with pytest.raises(DirectoryUnreadable, match="directory: groups"):
            server.read("s1", "s2", groups=("admins",))
        with pytest.raises(DirectoryUnreadable, match="directory: groups"):
            server.reader().read_one("s1", frozenset({"admins"}), seconds=5)
        assert server.read("s1", "s2").groups == {}

    def test_one_person_without_the_attribute_among_others_who_have_it(self, server: Server) -> None:
        server.serve([person(1), user_in(2, {"value": "admins"})])
        reader = server.reader()
        assert reader.read_one("s1", frozenset({"admins"}), seconds=5).groups == frozenset()
        before = len(server.asked)
        assert reader.read_one("s1", frozenset({"admins"}), seconds=5).groups == frozenset()
        assert len(server.asked) == before + 1  # which the reader remembers
        assert server.read("s1", "s2", groups=("admins",)).groups == {"s2": {"admins"}}

    def test_groups_that_we_may_not_read(self, server: Server) -> None:
        def answer(path: str, query: dict[str, str]) -> Any:
            return (403, {"status": "403"}) if path.startswith("/Groups") else served(path, query)

        served = lambda path, query: _served([person(1)], None, path, query)  # noqa: E731
        server.answer = answer
        with pytest.raises(PermissionMissing):
            server.read("s1", groups=("admins",))


def test_what_is_asked_for_is_asked_by_name(server: Server) -> None:
    server.serve([{"id": "1", "active": True, PING: {"entryUUID": "x"}}])
    server.read("x", subject=f"{PING}:entryUUID")
    assert server.asked[0][1]["attributes"] == f"{PING}:entryUUID,active,groups"


class TestCredentials:
    """A token that stays, or one that is fetched."""

    def test_the_token_is_read_at_each_use(self, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
        bench = make_bench(idp, monkeypatch, "external_id")
        reader, ada = bench.fast(), bench.subject_of("ada")
        monkeypatch.setenv("SCIM_TOKEN", "another")
        with pytest.raises(CredentialsRefused):
            reader.read_one(ada, frozenset(), seconds=5)
        monkeypatch.setenv("SCIM_TOKEN", "scim-token")
        assert reader.read_one(ada, frozenset(), seconds=5).observation.state == "usable"
        monkeypatch.delenv("SCIM_TOKEN")
        with pytest.raises(CredentialsRefused, match="SCIM_TOKEN"):
            reader.read_one(ada, frozenset(), seconds=5)

    def test_client_credentials(self, idp: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
        auth = {
            "token_url": f"{idp.url}/scim/token",
            "client_id": CLIENT_ID,
            "client_auth": {"secret": {"env": "WORKER_SECRET"}},
        }
        bench = make_bench(idp, monkeypatch, "external_id", **auth)
        assert bench.states("ada", "otto") == ["usable", "usable"]
        monkeypatch.setenv("WORKER_SECRET", "wrong")
        with pytest.raises(CredentialsRefused, match="invalid_client"):
            bench.states("ada")


def test_the_table_makes_one() -> None:
    provider = GenericOidc.model_validate(
        {
            "name": "corp",
            "vendor": "generic",
            "protocol": "oidc",
            "client_id": "c",
            "client_auth": {"secret": {"env": "X"}},
            "issuer": "https://idp.example",
            "directory": {"type": "scim", "url": "https://ds.example/scim/v2/", **TOKEN},
        }
    )
    assert isinstance(readers.make(provider), ScimReader)
