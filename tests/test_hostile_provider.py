"""A provider, or somebody who can speak for it, does what it must not: the running app refuses, with
the code and the cause, and an honest sign-in right after it works.

The letters O1 to O26 are the rows of the list of attacks on OpenID Connect sign-in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from devidp.server import Handle
from tests import stack as stacks
from tests.databases import Database
from tests.lines import PROCESSES
from tests.stack import Stack, Visitor, facts


def cause(stack: Stack, reference: str | None) -> str:
    """The reason that was written down under a reference, in the log: rows of strangers are limited.

    Other events may bear the reference too: ada, if she has been in before, loses her roles and sessions.
    """
    lines = [line for line in stack.log.splitlines() if f'"reference": "{reference}"' in line]
    records = [json.loads(line[line.index('{"') : line.rindex("}") + 1]) for line in lines]
    (refusal,) = [record for record in records if record["event"] == "sign_in_refused"]
    return str(refusal["reason"])


def refused(stack: Stack, provider: str) -> tuple[str | None, str, Visitor]:
    """The code and the cause that a sign-in as ada is refused with; nobody is signed in after it."""
    visitor = stack.visitor()
    page = visitor.sign_in("ada", provider)
    code, reference = facts(page)
    assert page.status_code in (403, 503), (page.status_code, page.url)
    assert visitor.who() is None
    assert "_token" not in visitor.cookies
    return code, cause(stack, reference), visitor


def get_in(stack: Stack, provider: str) -> Visitor:
    """A sign-in as ada that works."""
    visitor = stack.visitor()
    page = visitor.sign_in("ada", provider)
    assert visitor.who(), facts(page)
    return visitor


IDENTITY_TOKEN = [
    # O7: algorithm
    ("O7", {"id_token__alg": "none"}, "SSO-201", "algorithm 'none'"),
    ("O7", {"id_token__alg": "HS256"}, "SSO-201", "algorithm 'HS256'"),
    # O8: keys
    ("O8", {"id_token__key": "foreign"}, "SSO-201", "no key of the provider"),
    ("O8", {"id_token__key": "unknown_kid"}, "SSO-201", "no key of the provider"),
    ("O8", {"id_token__header_set": {"kid": "../../etc/passwd"}}, "SSO-201", "no key of the provider"),
    ("O8", {"id_token__header_set": {"kid": 7}}, "SSO-201", "kid is not a string"),
    ("O8", {"id_token__header_set": {"jku": "http://127.0.0.1:9/keys"}}, "SSO-201", "'jku'"),
    ("O8", {"id_token__header_set": {"x5u": "http://127.0.0.1:9/cert"}}, "SSO-201", "'x5u'"),
    ("O8", {"id_token__header_set": {"jwk": {"kty": "oct", "k": "AA"}}}, "SSO-201", "'jwk'"),
    ("O8", {"id_token__header_set": {"crit": ["exp"]}}, "SSO-201", "'crit'"),
    # O4: nonce
    ("O4", {"id_token__nonce": "wrong"}, "SSO-204", "nonce"),
    ("O4", {"id_token__nonce": "missing"}, "SSO-205", "nonce"),
    ("O4", {"id_token__nonce": "unsupported"}, "SSO-205", "nonce"),
    # O6: audience
    ("O6", {"id_token__aud": "other"}, "SSO-202", "another client"),
    ("O6", {"id_token__aud": "two_without_azp"}, "SSO-202", "azp"),
    ("O6", {"id_token__aud": "two_wrong_azp"}, "SSO-202", "azp"),
    ("O6", {"id_token__aud": "other_with_azp"}, "SSO-202", "another client"),
    ("O6", {"id_token__aud": "empty_list"}, "SSO-205", "aud"),
    ("O6", {"id_token__aud": "missing"}, "SSO-205", "aud"),
    # O9: issuer
    ("O9", {"id_token__iss": "other_tenant"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "common"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "template"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "v1"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "trailing_slash"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "other_host"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "other_face"}, "SSO-202", "issuer"),
    ("O9", {"id_token__iss": "missing"}, "SSO-205", "iss"),
    # times
    ("exp", {"id_token__shift": {"exp": -7200}}, "SSO-203", "expired"),
    ("iat", {"id_token__shift": {"iat": 7200}}, "SSO-203", "future"),
    ("nbf", {"id_token__set": {"nbf": 99999999999}}, "SSO-203", "not valid yet"),
    ("exp", {"id_token__remove": ["exp"]}, "SSO-205", "exp"),
    ("iat", {"id_token__remove": ["iat"]}, "SSO-205", "iat"),
    ("exp", {"id_token__set": {"exp": "9999999999"}}, "SSO-205", "exp"),
    ("exp", {"id_token__set": {"exp": True}}, "SSO-205", "exp"),
    # O16: another kind of token, or none
    ("O16", {"id_token__type": "access_token"}, None, ""),
    ("O16", {"id_token__type": "logout_token"}, None, ""),
    ("O16", {"id_token__omit": True}, "SSO-205", "no id_token"),
    ("O16", {"id_token__raw": None}, "SSO-205", "no id_token"),
    ("O16", {"id_token__raw": 17}, "SSO-205", "no id_token"),
    ("O16", {"id_token__raw": "a.b.c"}, "SSO-201", "header"),
    # two parsers must not read two things
    ("dup", {"id_token__duplicate_keys": {"sub": "someone-else"}}, "SSO-201", "stands twice"),
    ("dup", {"id_token__duplicate_header_keys": {"alg": "none"}}, "SSO-201", "stands twice"),
    ("sub", {"id_token__remove": ["sub"]}, "SSO-205", "sub"),
    ("sub", {"id_token__set": {"sub": ""}}, "SSO-205", "sub"),
    ("sub", {"id_token__set": {"sub": 12}}, "SSO-205", "sub"),
    ("at_hash", {"id_token__at_hash": "wrong"}, "SSO-204", "at_hash"),
    # O17: more groups than were sent
    ("O17", {"groups__overage": "claim_sources"}, "SSO-305", "group"),
    ("O17", {"groups__overage": "names_only"}, "SSO-305", "group"),
    ("O17", {"groups__overage": "hasgroups"}, "SSO-305", "group"),
    ("O17", {"groups__overage": "hasgroups_string"}, "SSO-305", "group"),
    ("O17", {"groups__overage": "partial"}, "SSO-305", "group"),
    ("O17", {"groups__overage": "evil_url"}, "SSO-305", "group"),
    # O26: groups of every shape never give more
    ("O26", {"groups__shape": "absent"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "null"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "number"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "true"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "object"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "mixed"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "nested"}, "SSO-305", "group"),
    ("O26", {"groups__shape": "empty"}, "SSO-301", "no rule"),
    ("O26", {"groups__shape": "numbers"}, "SSO-301", "no rule"),
    ("O26", {"groups__shape": "lookalike"}, "SSO-301", "no rule"),
    # trouble at the token endpoint
    ("J13", {"token__down": True}, "SSO-103", "token endpoint"),
    ("J13", {"token__html": True}, "SSO-103", "not JSON"),
    ("J13", {"token__truncate": True}, "SSO-103", "not JSON"),
    ("J13", {"token__status": 500}, "SSO-103", "HTTP 500"),
    ("J13", {"token__retry_after": 1.5}, "SSO-103", "HTTP 429"),
    ("J13", {"token__oversize": 2_000_000}, "SSO-103", "larger than"),
    ("J13", {"token__delay": 5}, "SSO-103", "Timeout"),
    ("J13", {"token__redirect": "http://127.0.0.1:9/"}, "SSO-103", ""),
    ("J13", {"token__body": "[]"}, "SSO-103", "not a JSON object"),
    ("J13", {"token__error": "invalid_grant"}, "SSO-102", "invalid_grant"),
    ("J13", {"token__error": "invalid_client"}, "SSO-102", "token endpoint"),
]


@pytest.mark.parametrize("provider", ["entra", "generic"])
@pytest.mark.parametrize(
    ("knobs", "code", "says"),
    [row[1:] for row in IDENTITY_TOKEN],
    ids=[f"{r[0]}-{r[1]}" for r in IDENTITY_TOKEN],
)
def test_it_is_refused_with_its_code_and_its_cause(
    airflow_two: Stack, idp: Handle, provider: str, knobs: dict[str, Any], code: str | None, says: str
) -> None:
    stacks.driver(idp).knobs(**knobs)
    seen, reason, visitor = refused(airflow_two, provider)
    if code is not None:
        assert (seen, says in reason) == (code, True), (seen, reason)
    else:
        assert seen in ("SSO-201", "SSO-202", "SSO-204", "SSO-205"), (seen, reason)
    assert visitor.who() is None


@pytest.mark.parametrize("provider", ["entra", "generic"])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"id_token__aud": "list"},
        {"id_token__aud": "two_with_azp"},
        {"id_token__x5c_header": True},
        {"id_token__min_bytes": 6144},
        {"id_token__sub_length": 700},
        {"id_token__at_hash": "right"},
        {"id_token__at_hash": "missing"},
        {"id_token__c_hash": "right"},
        {"id_token__set": {"auth_time": 0.5}},
        {"id_token__shift": {"iat": 30}},
        {"id_token__nonce": "unsupported_with_nonce"},
        {"authorize__code": "long"},
        {"groups__shape": "duplicates"},
        {"groups__shape": "string"},
        {"groups__shape": "json_string"},
        {"authorize__extra": {"session_state": "x", "next": "https://evil.example"}},
    ],
    ids=str,
)
def test_what_is_lawful_gets_in(
    airflow_two: Stack, idp: Handle, provider: str, knobs: dict[str, Any]
) -> None:
    stacks.driver(idp).knobs(**knobs)
    if knobs.get("groups__shape") == "string":  # what a provider sends of somebody in one group
        stacks.driver(idp).control("PUT", "people/ada", {"groups": ["airflow_prod_admin"]})
    visitor = get_in(airflow_two, provider)
    assert airflow_two.roles_of(str(visitor.who())) == {"Admin"}
    assert max(len(cookie.value or "") for cookie in visitor.cookies) < 4000


@pytest.mark.parametrize(
    ("knobs", "code"),
    [
        ({"id_token__remove": ["tid"]}, "SSO-205"),
        ({"id_token__set": {"tid": "ffffeeee-9999-dddd-8888-cccc7777bbbb"}}, "SSO-202"),
        ({"id_token__remove": ["oid"]}, "SSO-205"),
        ({"id_token__key": "foreign_tenant"}, "SSO-201"),
        ({"id_token__alg": "RS512"}, "SSO-201"),
        ({"guest": "idp"}, "SSO-306"),
        ({"guest": "acct"}, "SSO-306"),
        ({"guest": "both"}, "SSO-306"),
        ({"guest": "live"}, "SSO-306"),
    ],
    ids=str,
)
def test_what_only_entra_can_do_wrong(
    airflow_two: Stack, idp: Handle, knobs: dict[str, Any], code: str
) -> None:
    stacks.driver(idp).knobs(**knobs)
    assert refused(airflow_two, "entra")[0] == code


@pytest.mark.parametrize(
    ("knobs", "code"),
    [
        ({"authorize__iss": "wrong"}, "SSO-202"),
        ({"authorize__iss": "other_face"}, "SSO-202"),
        ({"authorize__iss": "missing"}, "SSO-202"),  # it announces that it sends one
        ({"authorize__state": "wrong"}, "SSO-101"),
        ({"authorize__state": "missing"}, "SSO-101"),
        ({"authorize__state": "twice"}, "SSO-101"),
        ({"authorize__code": "twice"}, "SSO-101"),
        ({"authorize__iss": "twice"}, "SSO-101"),
        ({"authorize__code": "missing"}, "SSO-102"),
        ({"authorize__code": "unknown"}, "SSO-102"),
    ],
    ids=str,
)
def test_an_answer_to_the_browser_that_is_not_right(
    airflow_two: Stack, idp: Handle, knobs: dict[str, Any], code: str
) -> None:
    stacks.driver(idp).knobs(**knobs)
    assert refused(airflow_two, "generic")[0] == code


def test_a_provider_that_ignores_pkce_still_gets_challenge_and_verifier(
    airflow_two: Stack, idp: Handle
) -> None:
    stacks.driver(idp).knobs(ignore_pkce=True)
    page = airflow_two.visitor().go_to_provider("generic")
    query = parse_qs(urlsplit(page.url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["response_type"] == ["code"]
    assert {"state", "nonce", "code_challenge"} <= set(query)


@pytest.mark.server
def test_rotated_keys_are_fetched_but_not_without_limit(
    migrated_database: Database, idp: Handle, tmp_path: Path
) -> None:
    with stacks.migrated_home(migrated_database, tmp_path / "home") as home:
        stack = Stack(home, idp=idp)
        stack.configure([stacks.generic(idp.url)])
        drive = stacks.driver(idp)
        drive.control("POST", "clients", {"redirect_uris": [f"{stack.auth_url}/oauth-authorized/generic"]})
        try:
            stack.start()
            get_in(stack, "generic")
            for same_kid in (False, True, False):
                drive.control("POST", "keys/rotate", {"publish": True, "same_kid": same_kid})
                get_in(stack, "generic")
            codes = []
            for _ in range(1 if PROCESSES == 1 else 6):  # until one of them has nothing left
                drive.control("POST", "keys/rotate", {"publish": True})
                codes.append(facts(stack.visitor().sign_in("vera", "generic"))[0])
            assert "SSO-201" in codes
        finally:
            stack.stop()
