"""What must hold of a sign-in itself: asked for at the provider, verified in its answer, no role from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_sso import yaml_document
from airflow_sso.role_mapping import BUILT_IN_ROLES, understand
from airflow_sso.role_mapping.require import SignIn, asked, unmet
from devidp.server import Handle
from tests import stack as stacks
from tests.saml import Conversation, authn_request
from tests.stack import Stack, default_mapping, facts

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
CARD = "urn:oasis:names:tc:SAML:2.0:ac:classes:Smartcard"


def requirements(text: str) -> Any:
    document = yaml_document.parse(f"version: 1\nrules: []\nrequire: [{text}]", "m")
    mapping = understand(document, BUILT_IN_ROLES)
    assert mapping is not None, document.faults
    return mapping.require


def sign_in(**changes: Any) -> SignIn:
    known = {"claims": {}, "authenticated_at": None, "address": None, "now": NOW}
    return SignIn(**{**known, **changes})


MET = [
    ("{claim: amr, contains: mfa}", {"claims": {"amr": ["pwd", "mfa"]}}),
    ("{claim: amr, contains: mfa}", {"claims": {"amr": "mfa"}}),
    ("{claim: acr, in: [a, b]}", {"claims": {"acr": "b"}}),
    ("{claim: acr, matches: 'urn:.*'}", {"claims": {"acr": "urn:x"}}),
    ("{claim: acrs, contains: c1}", {"claims": {"acrs": ["c1"]}}),
    ("{claim: auth_time, within: 1h}", {"authenticated_at": NOW - timedelta(minutes=59)}),
    ("{claim: auth_time, within: 1h}", {"authenticated_at": NOW + timedelta(seconds=30)}),
    ("{address: 10.0.0.0/8}", {"address": "10.1.2.3"}),
    ("{address: [10.0.0.0/8, '2001:db8::/32']}", {"address": "2001:db8::5"}),
    ("{address: 10.0.0.0/8}", {"address": "::ffff:10.1.2.3"}),
    ("{claim: level, equals: 2}", {"claims": {"level": 2}}),
]
UNMET = [
    ("{claim: amr, contains: mfa}", {"claims": {"amr": ["pwd"]}}),
    ("{claim: amr, contains: mfa}", {"claims": {"amr": []}}),
    ("{claim: amr, contains: mfa}", {"claims": {}}),
    ("{claim: amr, contains: mfa}", {"claims": {"amr": {"mfa": True}}}),
    ("{claim: acr, in: [a, b]}", {"claims": {"acr": "c"}}),
    ("{claim: acr, matches: 'urn:.*'}", {"claims": {"acr": "x urn:x"}}),
    ("{claim: auth_time, within: 1h}", {"authenticated_at": NOW - timedelta(minutes=62)}),
    ("{claim: auth_time, within: 1h}", {"authenticated_at": NOW + timedelta(minutes=5)}),
    ("{claim: auth_time, within: 1h}", {"claims": {"auth_time": NOW.timestamp()}}),
    ("{address: 10.0.0.0/8}", {"address": "11.1.2.3"}),
    ("{address: 10.0.0.0/8}", {"address": None}),
    ("{address: 10.0.0.0/8}", {"address": "unix:"}),
    ("{address: 10.0.0.0/8}", {"address": "2001:db8::5"}),
    ("{claim: level, equals: 1}", {"claims": {"level": True}}),
]


@pytest.mark.parametrize(("text", "known"), MET)
def test_what_the_answer_shows_meets_it(text: str, known: dict[str, Any]) -> None:
    assert unmet(requirements(text), sign_in(**known)) == ()


@pytest.mark.parametrize(("text", "known"), UNMET)
def test_what_it_does_not_show_does_not(text: str, known: dict[str, Any]) -> None:
    wanted = requirements(text)
    assert unmet(wanted, sign_in(**known)) == wanted


def test_every_entry_must_be_met() -> None:
    both = requirements("{claim: amr, contains: mfa}, {address: 10.0.0.0/8}")
    assert unmet(both, sign_in(claims={"amr": ["mfa"]}, address="11.0.0.1")) == both[1:]


def test_the_provider_is_asked_for_what_would_do() -> None:
    wanted = asked(
        requirements(
            "{claim: amr, contains: mfa}, {claim: acr, in: [a, b]}, {claim: x, matches: 'y.*'}, "
            "{claim: auth_time, within: 2h}, {claim: auth_time, within: 1h}, {address: 10.0.0.0/8}"
        )
    )
    assert wanted.claims == {"amr": ("mfa",), "acr": ("a", "b"), "x": ()}
    assert wanted.contexts == ("a", "b")
    assert wanted.max_age == timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{claim: auth_time, equals: 1}", "auth_time goes with within: {claim: auth_time, within: 8h}"),
        ("{claim: amr, within: 1h}", "within goes with claim: auth_time"),
        ("{claim: amr}", "claim goes with exactly one of equals, in, contains, matches"),
        ("{address: somewhere}", "must be networks, such as 10.0.0.0/8"),
        ("{address: 10.0.0.1/8}", "must be networks, such as 10.0.0.0/8"),
        ("{claim: auth_time, within: 60}", "a number with a unit"),
        ("{claim: amr, contains: mfa, address: 10.0.0.0/8}", "exactly one of claim and address"),
        ("{group: a}", "is not a key that is known here"),
        ("{claim: amr, contains: mfa, roles: [Op]}", "is not a key that is known here"),
    ],
)
def test_a_faulty_entry_says_what_to_write(text: str, says: str) -> None:
    document = yaml_document.parse(f"version: 1\nrules: []\nrequire: [{text}]", "m")
    assert understand(document, BUILT_IN_ROLES) is None
    assert [fault for fault in document.faults if says in fault.message], document.faults


@pytest.mark.parametrize("claim", ["amr", "acr", "acrs", "auth_time", "sid", "ipaddr"])
def test_no_role_rests_on_a_session(claim: str) -> None:
    rule = f"{{all: [{{group: g}}, {{claim: {claim}, equals: x}}], roles: [Op]}}"
    document = yaml_document.parse(f"version: 1\nrules: [{rule}]", "m")
    assert understand(document, BUILT_IN_ROLES) is None
    (fault,) = document.faults
    assert fault.sentence == (
        f"rules[0].all[1].claim: {claim} is about one sign-in, not about the person: it stands under require:"
    )


# --- through a real sign-in ---------------------------------------------------------------------------------


@pytest.fixture
def demanding(airflow: Stack) -> Iterator[Callable[..., Stack]]:
    def use(*entries: dict[str, Any]) -> Stack:
        airflow.map({**default_mapping(), "require": list(entries)})
        return airflow

    yield use
    airflow.map(default_mapping())


MFA = {"claim": "amr", "contains": "mfa"}


def test_a_second_factor_is_asked_for_and_lets_in(demanding: Callable[..., Stack], idp: Handle) -> None:
    airflow = demanding(MFA, {"claim": "acr", "equals": "c1"}, {"claim": "auth_time", "within": "8h"})
    visitor = airflow.visitor()
    sent = visitor.get(f"{airflow.auth_url}/login/entra", allow_redirects=False, timeout=30)
    query = parse_qs(urlsplit(sent.headers["Location"]).query)
    assert json.loads(query["claims"][0]) == {
        "id_token": {
            "amr": {"essential": True, "values": ["mfa"]},
            "acr": {"essential": True, "values": ["c1"]},
        }
    }
    assert (query["acr_values"], query["max_age"]) == (["c1"], ["28800"])
    stacks.driver(idp).knobs(**{"id_token.set": {"amr": ["pwd", "mfa"], "acr": "c1"}})
    assert visitor.sign_in("otto").ok
    username = visitor.who()
    assert username
    assert airflow.roles_of(username) == {"Op"}


def test_without_it_nobody_gets_in_and_nothing_changes(
    demanding: Callable[..., Stack], airflow: Stack, idp: Handle
) -> None:
    demanding()
    before = airflow.visitor()
    before.sign_in("otto")
    username = before.who()
    assert username
    demanding(MFA)
    stacks.driver(idp).knobs(**{"id_token.set": {"amr": ["pwd"], "groups": []}})
    visitor = airflow.visitor()
    page = visitor.sign_in("otto", next_url="/dags")
    shown, reference = facts(page)
    assert (page.status_code, shown) == (403, "SSO-308")
    assert "does not meet what this Airflow asks for" in page.text
    assert re.search(r'href="[^"]*/login/entra\?next=[^"]*%2Fdags&amp;anew=1">Try again<', page.text)
    assert "Use another account" not in page.text
    (row,) = airflow.rows("select * from sso_decision where reference = ?", reference)
    assert (row["code"], row["reason"]) == ("SSO-308", "not met: claim amr contains mfa")
    assert airflow.roles_of(username) == {"Op"}, "a sign-in that is not good enough takes no role"
    assert before.who() == username


def test_trying_again_asks_for_a_fresh_proof(demanding: Callable[..., Stack]) -> None:
    airflow = demanding(MFA)
    sent = airflow.visitor().get(f"{airflow.auth_url}/login/entra?anew=1", allow_redirects=False, timeout=30)
    assert parse_qs(urlsplit(sent.headers["Location"]).query)["prompt"] == ["login"]


def test_nothing_is_asked_for_where_nothing_is_required(airflow: Stack) -> None:
    sent = airflow.visitor().get(f"{airflow.auth_url}/login/entra", allow_redirects=False, timeout=30)
    query = parse_qs(urlsplit(sent.headers["Location"]).query)
    assert not {"claims", "acr_values", "max_age", "prompt"} & set(query)


def test_an_address_is_the_one_the_server_sees(demanding: Callable[..., Stack]) -> None:
    airflow = demanding({"address": ["10.0.0.0/8"]})
    visitor = airflow.visitor()
    visitor.headers["X-Forwarded-For"] = "10.1.2.3"
    assert facts(visitor.sign_in("otto"))[0] == "SSO-308"
    demanding({"address": ["127.0.0.0/8", "::1/128"]})
    assert airflow.visitor().sign_in("otto").ok


@pytest.fixture
def demanding_saml(airflow_saml: Stack) -> Iterator[Callable[..., Stack]]:
    def use(*entries: dict[str, Any]) -> Stack:
        airflow_saml.map({**default_mapping(), "require": list(entries)})
        return airflow_saml

    yield use
    airflow_saml.map(default_mapping())


def test_saml_is_asked_for_a_context_and_must_show_it(
    demanding_saml: Callable[..., Stack], talk: Callable[..., Conversation]
) -> None:
    demanding_saml({"claim": "acr", "in": [PASSWORD, CARD]})
    conversation = talk("lab-saml")
    request = authn_request(conversation.go())
    contexts = [one.text for one in request.iter("{*}AuthnContextClassRef")]
    assert contexts == [PASSWORD, CARD]
    assert conversation.sign_in("ada", authn_context=CARD).ok
    assert conversation.visitor.who()
    other = talk("lab-saml")
    page = other.sign_in("ada", authn_context="urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified")
    assert facts(page)[0] == "SSO-308"
    assert other.visitor.who() is None


def test_saml_proofs_grow_old_and_a_fresh_one_is_asked_for(
    demanding_saml: Callable[..., Stack], talk: Callable[..., Conversation]
) -> None:
    demanding_saml({"claim": "auth_time", "within": "1h"})
    conversation = talk("lab-saml")
    page = conversation.sign_in("ada", authn_instant=-7200)
    assert facts(page)[0] == "SSO-308"
    assert re.search(r'href="[^"]*/login/lab-saml\?[^"]*anew=1">Try again<', page.text)
    assert authn_request(conversation.go(anew="1")).get("ForceAuthn") == "true"
    assert talk("lab-saml").sign_in("ada", authn_instant=-60).ok
