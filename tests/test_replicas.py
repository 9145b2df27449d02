"""Two replicas are one service: whatever a person does, each step of it may be served by another process.

Two Airflows of two workers each on one PostgreSQL, behind a proxy that takes turns. Beside each proof is
what would go wrong, and does not because of what is checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from devidp import saml_response
from tests import saml
from tests import stack as stacks
from tests.lines import both_lines, route
from tests.replicas import SAML, WORKERS, Replicas, at_once
from tests.stack import Visitor, facts
from tests.test_leavers import put, soon
from tests.test_revocation import assert_out, client, copy_of, is_in, is_in_fab

pytestmark = [pytest.mark.server, both_lines]

ROUNDS = 6
THERE_AND_BACK = pytest.mark.parametrize("first", [0, 1])


def deadlocks(replicas: Replicas) -> int:
    query = "select deadlocks from pg_stat_database where datname = current_database()"
    return int(replicas.stack.rows(query)[0]["deadlocks"])


def hire(replicas: Replicas, name: str, group: str = "airflow_prod_viewer") -> str:
    stacks.driver(replicas.idp).control("PUT", f"people/{name}", {"groups": [group]})
    return name


# --- the two legs of a sign-in ------------------------------------------------------------------------


@THERE_AND_BACK
def test_a_sign_in_begins_at_one_replica_and_ends_at_the_other(replicas: Replicas, first: int) -> None:
    visitor, stranger = replicas.stack.visitor(), replicas.stack.visitor()
    replicas.proxy.next_goes_to(first)
    callback = visitor.press_only(visitor.go_to_provider("entra"), "ada")
    assert replicas.proxy.served() == [first]
    replicas.proxy.next_goes_to(1 - first)
    assert facts(stranger.get(callback, timeout=30))[0] == "SSO-101", "another browser comes back with it"
    replicas.proxy.next_goes_to(1 - first)
    page = visitor.get(callback, timeout=30)
    assert facts(page) == (None, None)
    assert replicas.proxy.served(route("/auth/login/entra")) == [first]
    assert replicas.proxy.served(route("/auth/oauth-authorized/entra")) == [1 - first, 1 - first]
    assert [visitor.who() for _ in range(4)] == ["ada@contoso.example"] * 4, "each knows who it is"
    assert stranger.who() is None


@THERE_AND_BACK
def test_so_it_is_with_saml_whose_answer_comes_by_two_requests(replicas: Replicas, first: int) -> None:
    visitor, stranger = replicas.stack.visitor(), replicas.stack.visitor()
    replicas.proxy.next_goes_to(first)
    talk = begun(replicas, "entra-saml", visitor).ask()
    replicas.proxy.next_goes_to(1 - first)
    posted = talk.post(talk.answer())
    replicas.proxy.next_goes_to(first)
    assert facts(stranger.get(posted.headers["Location"], timeout=30))[0] == "SSO-101"
    replicas.proxy.next_goes_to(first)
    talk.follow(posted)
    assert replicas.proxy.served(route("/auth/saml/acs")) == [1 - first]
    assert replicas.proxy.served(route("/auth/saml/finish")) == [first, first]
    assert [visitor.who() for _ in range(4)] == ["ada@contoso.example"] * 4
    assert stranger.who() is None


def begun(replicas: Replicas, provider: str, visitor: Visitor | None = None) -> saml.Conversation:
    stack, face = replicas.stack, SAML[provider]
    return saml.Conversation(stack, replicas.idp.state, provider, face, visitor or stack.visitor())


@THERE_AND_BACK
def test_an_answer_that_was_used_at_one_replica_is_refused_at_the_other(
    replicas: Replicas, first: int
) -> None:
    talk = begun(replicas, "entra-saml").ask()
    response = talk.answer()
    replicas.proxy.next_goes_to(first)
    talk.follow(talk.post(response))
    assert talk.visitor.who()
    again = begun(replicas, "entra-saml").ask()
    replicas.proxy.next_goes_to(1 - first)
    page = again.post(response)
    assert (page.status_code, facts(page)[0]) == (403, "SSO-101")
    replicas.proxy.next_goes_to(1 - first)
    again.follow(again.post(again.answer()))
    assert again.visitor.who(), "the control: a fresh one opens"


@THERE_AND_BACK
def test_and_so_is_one_that_nobody_asked_for(replicas: Replicas, first: int) -> None:
    """Where only the assertion's own ID tells that it was used."""
    talk, again = begun(replicas, "lab-unasked"), begun(replicas, "lab-unasked")
    response = unasked(talk)
    replicas.proxy.next_goes_to(first)
    talk.follow(talk.post(response))
    assert talk.visitor.who()
    replicas.proxy.next_goes_to(1 - first)
    page = again.post(response)
    assert (page.status_code, facts(page)[0]) == (403, "SSO-204")
    replicas.proxy.next_goes_to(1 - first)
    again.follow(again.post(unasked(again)))
    assert again.visitor.who(), "the control: a fresh one opens"


def unasked(talk: saml.Conversation) -> bytes:
    assert talk.request_id is None
    return saml_response.build(talk.recipe(), talk.state.saml.rings[talk.face].signing)


# --- access that ends, or changes -----------------------------------------------------------------------


def signed_in_at(replicas: Replicas, person: str, replica: int) -> Visitor:
    visitor = replicas.stack.visitor()
    replicas.send_to(replica)
    page = visitor.sign_in(person)
    assert page.ok, facts(page)
    replicas.send_to(0, 1)
    return visitor


@THERE_AND_BACK
def test_a_sign_out_at_one_replica_counts_at_the_other(replicas: Replicas, first: int) -> None:
    visitor, bystander = signed_in_at(replicas, "ada", 1 - first), signed_in_at(replicas, "ada", first)
    before, script = copy_of(visitor), client(visitor)
    assert is_in(before)
    assert is_in(script)
    replicas.send_to(first)
    visitor.sign_out()
    replicas.send_to(0, 1)
    assert_out(before)
    assert not is_in(script)
    assert is_in(bystander), "the control: another session of the same person"


def test_leavers_are_out_and_movers_have_their_new_role_at_both(replicas: Replicas) -> None:
    ottos = [signed_in_at(replicas, "otto", replica) for replica in (0, 1)]
    veras = [signed_in_at(replicas, "vera", replica) for replica in (0, 1)]
    scripts = [client(otto) for otto in ottos]
    assert all(map(is_in, [*ottos, *veras, *scripts]))
    put(replicas.idp, "otto", disabled=True)
    put(replicas.idp, "vera", groups=["everyone", "airflow_prod_op"])
    soon(lambda: replicas.stack.roles_of("otto@contoso.example") == set())
    soon(lambda: replicas.stack.roles_of("vera@contoso.example") == {"Op"})
    for otto, script in zip(ottos, scripts, strict=True):
        assert_out(otto)
        assert not is_in(script)
    for vera in veras:
        assert is_in(vera)
        assert is_in_fab(vera)
    put(replicas.idp, "otto", disabled=False)
    soon(lambda: replicas.stack.roles_of("otto@contoso.example") == {"Op"})
    assert is_in(signed_in_at(replicas, "otto", 0))


# --- at the same moment -------------------------------------------------------------------------------


def come_back_at_once(replicas: Replicas, *people: str) -> list[Visitor]:
    """Sign-ins that end at the same moment, by turns at either replica; who then has a browser that is in."""
    visitors = [replicas.stack.visitor() for _ in people]
    callbacks = [
        visitor.press_only(visitor.go_to_provider("generic"), person)
        for visitor, person in zip(visitors, people, strict=True)
    ]

    def coming_back(visitor: Visitor, callback: str) -> Callable[[], requests.Response]:
        return lambda: visitor.get(callback, allow_redirects=False, timeout=60)

    replicas.proxy.forget()
    pages = at_once(*map(coming_back, visitors, callbacks))
    assert [(page.status_code, facts(page)[0]) for page in pages] == [(302, None)] * len(people)
    assert set(replicas.proxy.served(route("/auth/oauth-authorized/generic"))) == {0, 1}
    return visitors


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_first_sign_ins_of_one_person_make_one_account(replicas: Replicas, number: int) -> None:
    stack, before = replicas.stack, deadlocks(replicas)
    twin = hire(replicas, f"twin{number}")
    for visitor in come_back_at_once(replicas, twin, twin):
        assert [visitor.who() for _ in range(2)] == [twin, twin]
    (one,) = stack.rows("select id from ab_user where username like ?", f"{twin}%")
    (link,) = stack.rows("select user_id from sso_account where username = ?", twin)
    assert link["user_id"] == one["id"]
    written = stack.rows("select event from sso_decision where user_id = ? order by event", one["id"])
    events = [row["event"] for row in written]
    assert events == ["account_created", "roles_changed", "sign_in", "sign_in"]
    assert stack.roles_of(twin) == {"Viewer"}
    assert deadlocks(replicas) == before


def test_a_role_that_changes_between_two_sign_ins_changes_once(replicas: Replicas) -> None:
    stack, before = replicas.stack, deadlocks(replicas)
    mover = hire(replicas, "mover")
    come_back_at_once(replicas, mover, mover)
    (one,) = stack.rows("select id from ab_user where username = ?", mover)
    query = "select count(*) as n from sso_decision where user_id = ? and event = 'roles_changed'"
    for number, group in enumerate(["airflow_prod_op", "airflow_prod_viewer"] * (ROUNDS // 2), 1):
        hire(replicas, mover, group)
        for visitor in come_back_at_once(replicas, mover, mover, mover, mover):
            assert visitor.who() == mover
        assert stack.roles_of(mover) == {stacks.ROLES[group]}
        assert stack.rows(query, one["id"])[0]["n"] == 1 + number
    assert deadlocks(replicas) == before


def test_fifty_people_at_once(replicas: Replicas) -> None:
    """Half of them are new; each gets what the mapping gives, and nothing waits for itself."""
    stack, before = replicas.stack, deadlocks(replicas)
    groups = list(stacks.GROUPS)
    people = {f"one.of.{number:02}": groups[number % len(groups)] for number in range(50)}
    for name, group in people.items():
        hire(replicas, name, group)
    come_back_at_once(replicas, *list(people)[:25])
    for name, visitor in zip(people, come_back_at_once(replicas, *people), strict=True):
        assert visitor.who() == name
    assert {name: stack.roles_of(name) for name in people} == {
        name: {stacks.ROLES[group]} for name, group in people.items()
    }
    assert deadlocks(replicas) == before


# --- what each process keeps for itself ---------------------------------------------------------------


def test_a_saved_mapping_counts_in_every_process_of_both(replicas: Replicas) -> None:
    stack = replicas.stack

    def roles_after_signing_in(replica: int) -> set[str]:
        visitor = stack.visitor()
        callback = visitor.press_only(visitor.go_to_provider("entra"), "vera")
        replicas.proxy.next_goes_to(replica)
        assert visitor.get(callback, timeout=30).ok
        return stack.roles_of("vera@contoso.example")

    def in_force_everywhere() -> None:
        line = f"role mapping in force: generation {stack.generation()} "
        for replica in (0, 1):
            soon(lambda at=replica: replicas.log(at).count(line) == WORKERS)  # type: ignore[misc]

    in_force_everywhere()
    assert [roles_after_signing_in(replica) for replica in (0, 1, 0, 1)] == [{"Viewer"}] * 4
    rule = {"group": stacks.GROUPS["airflow_prod_viewer"], "roles": ["Op"]}
    stack.map({"version": 1, "rules": [rule]})
    in_force_everywhere()
    assert [roles_after_signing_in(replica) for replica in (0, 1, 0, 1)] == [{"Op"}] * 4


def test_keys_are_rotated_while_people_sign_in(replicas: Replicas) -> None:
    """Each process learns of a new key from the first token that it signed."""
    drive, done = stacks.driver(replicas.idp), threading.Semaphore(0)

    def signs_in(person: str) -> list[Any]:
        found = []
        for _ in range(8):
            visitor = replicas.stack.visitor()
            page = visitor.sign_in(person, "rotating")
            found.append((facts(page)[0], visitor.who()))
            done.release()
        return found

    people = ["ada", "otto", "vera", "ada"]
    with ThreadPoolExecutor(len(people)) as pool:
        asked = [pool.submit(signs_in, person) for person in people]
        for _ in range(2):
            for _ in range(8):
                assert done.acquire(timeout=120)
            drive.control("POST", "keys/rotate", {"face": "generic"})
        found = [one.result() for one in asked]
    names = {name for each in found for _code, name in each}
    assert [code for each in found for code, _name in each] == [None] * 32
    assert None not in names
    assert len(names) == 3
    drive.control("POST", "keys/rotate", {"face": "generic", "publish": False})
    page = replicas.stack.visitor().sign_in("ada", "rotating")
    assert (page.status_code, facts(page)[0]) == (403, "SSO-201"), "the control: a key that is not published"
