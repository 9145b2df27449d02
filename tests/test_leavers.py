"""Leavers are out: what changes in a directory changes in Airflow, without anybody signing in.

A real Airflow of two workers reads the local provider's directories every five seconds, and people with
browsers and bearer tokens find out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devidp.server import Handle
from tests import saml
from tests import stack as stacks
from tests.lines import both_lines
from tests.stack import Stack, Visitor, facts
from tests.test_revocation import assert_out, client, is_in

pytestmark = pytest.mark.server

EVERY = stacks.EVERY
#: The interval, a run, and the watch's own five seconds come to a quarter of it; the rest is for a machine
#: that does other things as well. A wait ends when what it waits for is there.
IN_TIME = 90.0


OIDC = ("entra", "pingone", "generic", "pingfederate")
AUTHORITIES = 4  # both ways into Entra lead to one


@pytest.fixture
def airflow(airflow_leavers: Stack) -> Stack:
    return airflow_leavers


@pytest.fixture
def idp(leavers_idp: Handle) -> Handle:
    return leavers_idp


def soon(what: Callable[[], bool], *, within: float = IN_TIME) -> float:
    """Wait for something to become true; how long that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < within, "it did not happen in time"
        time.sleep(0.2)
    return time.monotonic() - began


def signed_in(stack: Stack, person: str, provider: str = "entra") -> Visitor:
    visitor = stack.visitor()
    page = visitor.sign_in(person, provider)
    assert visitor.who() is not None, page.text[:500]
    return visitor


def put(idp: Handle, person: str, **changes: Any) -> None:
    stacks.driver(idp).control("PUT", f"directory/people/{person}", changes)


def has_run(stack: Stack, runs: int = 1) -> None:
    """Wait until every directory has been read, that many times from now."""
    before = {row["authority"]: row["tried_at"] for row in stack.rows("select * from sso_directory")}
    for _ in range(runs):

        def all_moved(before: dict[str, str] = before) -> bool:
            rows = stack.rows("select authority, tried_at from sso_directory")
            return len(rows) == AUTHORITIES and all(
                before.get(row["authority"]) != row["tried_at"] for row in rows
            )

        soon(all_moved)
        before = {row["authority"]: row["tried_at"] for row in stack.rows("select * from sso_directory")}


@both_lines
def test_a_leaver_is_out_everywhere_and_a_mover_has_the_new_role(airflow: Stack, idp: Handle) -> None:
    ottos = {provider: signed_in(airflow, "otto", provider) for provider in OIDC}
    veras = {provider: signed_in(airflow, "vera", provider) for provider in OIDC}
    leaving = [client(otto) for otto in ottos.values()]
    moving = [client(vera) for vera in veras.values()]
    otto_is = [otto.who() or "" for otto in ottos.values()]
    vera_is = [vera.who() or "" for vera in veras.values()]
    put(idp, "otto", disabled=True)
    put(idp, "vera", groups=["everyone", "airflow_prod_op"])
    soon(lambda: all(otto.who() is None for otto in ottos.values()))
    soon(lambda: all(airflow.roles_of(name) == {"Op"} for name in vera_is))
    for otto, bearer in zip(ottos.values(), leaving, strict=True):
        assert_out(otto)
        assert not is_in(bearer)
    assert all(airflow.roles_of(name) == set() for name in otto_is)
    for vera, bearer in zip(veras.values(), moving, strict=True):
        assert is_in(vera)
        assert is_in(bearer)
    put(idp, "otto", disabled=False)
    soon(lambda: all(airflow.roles_of(name) == {"Op"} for name in otto_is))
    for provider, otto in ottos.items():
        assert not is_in(otto), "what was ended stays so"
        assert is_in(signed_in(airflow, "otto", provider))


def test_a_person_who_is_hired_again_gets_a_new_account(airflow: Stack, idp: Handle) -> None:
    signed_in(airflow, "vera")  # a directory that knows nobody any more would make the plan wait
    before = signed_in(airflow, "otto")
    old = before.who() or ""
    stacks.driver(idp).control("PUT", "people/otto", {"oid": "a0a0a0a0-0002-4000-8000-00000000ffff"})
    put(idp, "otto", groups=["everyone", "airflow_prod_viewer"])
    soon(lambda: before.who() is None)
    again = signed_in(airflow, "otto")
    new = again.who() or ""
    assert new != old
    assert new.startswith("otto@contoso.example~")
    assert airflow.roles_of(new) == {"Viewer"}
    assert airflow.roles_of(old) == set()
    assert facts(airflow.visitor().sign_in("otto"))[0] is None


def test_two_workers_ask_once_an_interval(airflow: Stack, idp: Handle) -> None:
    has_run(airflow)
    drive = stacks.driver(idp)
    drive.control("DELETE", "directory/counts")
    began = time.monotonic()
    has_run(airflow, 3)
    most = (time.monotonic() - began) / EVERY + 1
    assert 3 <= drive.counts()["graph.users_delta"] <= most


def signs_in(stack: Stack, idp: Handle, person: str, provider: str) -> Visitor:
    """Through OpenID Connect or SAML, whichever it is."""
    if not provider.endswith("-saml"):
        return signed_in(stack, person, provider)
    visitor = stack.visitor()
    saml.Conversation(stack, idp.state, provider, "entra", visitor).sign_in(person)
    assert visitor.who() is not None
    return visitor


def accounts(stack: Stack) -> list[dict[str, Any]]:
    """Every linked account: open or not, the roles it holds, how often that changed."""
    rows = stack.rows(
        """select u.username, u.active, (select count(*) from sso_decision d
                   where d.user_id = u.id and d.event = 'roles_changed') as changes
           from sso_account a join ab_user u on u.id = a.user_id order by u.id"""
    )
    return [{**row, "roles": stack.roles_of(row["username"])} for row in rows]


SHAPES = {
    "as the vendor sends them": {},
    "one as a string": {"groups.shape": "string"},
    "no groups at all": {"groups.shape": "absent"},
    "names of on-premises groups": {"groups.format": "netbios"},
    "distinguished names": {"groups.format": "dn"},
    "empty": {"groups.shape": "empty"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_sign_in_sync_sign_in_changes_nothing(airflow: Stack, idp: Handle, shape: str) -> None:
    if SHAPES[shape]:
        stacks.driver(idp).control("PUT", "knobs", SHAPES[shape])
    everybody = [(person, provider) for person in ("ada", "otto", "vera") for provider in OIDC]
    names = {one: signed_in(airflow, *one).who() or "" for one in everybody}
    before = accounts(airflow)
    has_run(airflow)
    assert accounts(airflow) == before
    for one in everybody:
        signed_in(airflow, *one)
    assert accounts(airflow) == before
    roles = {"ada": {"Admin"}, "otto": {"Op"}, "vera": {"Viewer"}}
    assert all(airflow.roles_of(name) == roles[person] for (person, _), name in names.items())


@both_lines
@pytest.mark.parametrize("provider", ["entra", "entra-saml"])
def test_more_groups_than_a_token_holds_are_read_from_the_directory(
    airflow: Stack, idp: Handle, provider: str
) -> None:
    has_run(airflow)  # what another test moved is back
    stacks.driver(idp).control("DELETE", "directory/counts")
    visitor = signs_in(airflow, idp, "over", provider)
    assert airflow.roles_of(visitor.who() or "") == {"Admin"}
    counts = stacks.driver(idp).control("GET", "directory/counts")
    assert counts.get("graph.get_member_groups", 0) == 0, "two hundred groups to find three"
    before = accounts(airflow)
    has_run(airflow)
    assert accounts(airflow) == before


def test_a_nested_group_counts_at_sign_in_and_after(airflow: Stack, idp: Handle) -> None:
    drive = stacks.driver(idp)
    drive.control("PUT", "directory/groups/platform", {"members": ["nora"]})
    drive.control("PUT", "directory/groups/airflow_prod_op", {"groups": ["platform"]})
    nora = signed_in(airflow, "nora")
    assert airflow.roles_of(nora.who() or "") == {"Op"}
    has_run(airflow)
    assert airflow.roles_of(nora.who() or "") == {"Op"}
    drive.control("PUT", "directory/groups/airflow_prod_op", {"groups": []})
    soon(lambda: nora.who() is None)
    assert facts(airflow.visitor().sign_in("nora"))[0] == "SSO-301"


@pytest.mark.parametrize(
    "fault",
    [
        {"graph.down": True},
        {"graph.status": 500},
        {"graph.html": True},
        {"graph.truncate": True},
        {"graph.delay": 20},
        {"app_token.error": 7000222},
        {"graph.batch_member_status": {"*": 503}},
        {"graph.omit": ["accountEnabled"]},
    ],
    ids=str,
)
def test_a_directory_that_does_not_tell_lets_nobody_in_on_a_guess(
    airflow: Stack, idp: Handle, fault: dict[str, Any]
) -> None:
    signed = signed_in(airflow, "otto")
    who = signed.who() or ""
    before = airflow.roles_of(who)
    stacks.driver(idp).control("PUT", "knobs", fault)
    if "app_token.error" in fault:
        stacks.driver(idp).control("DELETE", "directory/tokens")
    began = time.monotonic()
    page = airflow.visitor().sign_in("otto")
    assert time.monotonic() - began < 14
    assert facts(page)[0] == "SSO-305"
    assert page.status_code == 403
    assert airflow.roles_of(who) == before
    assert is_in(signed), "whoever is signed in stays so"
    stacks.driver(idp).control("DELETE", "knobs")
    assert is_in(signed_in(airflow, "otto"))


def test_whoever_the_directory_called_out_is_told_so_at_the_door(airflow: Stack) -> None:
    otto = signed_in(airflow, "otto").who()
    with nobody_reads(airflow):
        airflow.write(
            "insert into sso_shut_account (user_id, user_created_on, source, reason, since) select id, "
            "created_on, 'directory', 'disabled', '2026-01-01 00:00:00' from ab_user where username = ?",
            otto,
        )
        airflow.write("update ab_user set active = false where username = ?", otto)
        assert facts(airflow.visitor().sign_in("otto"))[0] == "SSO-303"
    soon(lambda: airflow.rows("select active from ab_user where username = ?", otto)[0]["active"] == 1)
    assert is_in(signed_in(airflow, "otto"))


@contextmanager
def nobody_reads(stack: Stack) -> Iterator[None]:
    """Meanwhile another process seems to have the turn."""
    stack.write("update sso_lease set fence = fence + 1, expires_at = ?", int(time.time()) + 600)
    yield
    stack.write("update sso_lease set expires_at = 0")
