"""What a logout token must be to count, one lie at a time; the letters B1 to B3 are the known attacks."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import Key

from airflow_sso.errors import BY_CODE, TokenRefused
from airflow_sso.login import logout_token
from airflow_sso.login.logout_token import EVENT, Expected, VerifiedNotice
from tests import tokens
from tests.lines import both_lines
from tests.tokens import ABSENT, CLIENT_ID, ISSUER, NOW, b64url, public, public_jwk, signed, signing_key

pytestmark = both_lines

SIGNATURE, ISSUER_OR_AUDIENCE, CLOCK, NOT_OURS, MISSING = (
    "SSO-201",
    "SSO-202",
    "SSO-203",
    "SSO-204",
    "SSO-205",
)


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of an honest logout token, with changes."""
    honest: dict[str, Any] = {
        "iss": ISSUER,
        "aud": CLIENT_ID,
        "iat": NOW,
        "exp": NOW + 120,
        "jti": "notice-1",
        "sub": "7d1c6c9e",
        "sid": "session-1",
        "events": {EVENT: {}},
    }
    return {name: value for name, value in {**honest, **changes}.items() if value is not ABSENT}


def token(
    changes: dict[str, Any] | None = None, *, header: dict[str, Any] | None = None, **options: Any
) -> str:
    """A signed logout token with changes to its claims and its header."""
    return signed(claims(**(changes or {})), header={"typ": "logout+jwt", **(header or {})}, **options)


def verify(
    unverified: str,
    *,
    keys: list[Key] | None = None,
    again: Callable[[], list[Key] | None] = tokens.no_more_keys,
    **changes: Any,
) -> VerifiedNotice:
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "client_id": CLIENT_ID,
        "algorithms": ("RS256",),
        "clock_skew": timedelta(seconds=60),
        "now": NOW,
    }
    known = [public(signing_key())] if keys is None else keys
    return logout_token.verify(unverified, Expected(**{**values, **changes}), known, again)


def refused(unverified: str, code: str, why: str, **options: Any) -> None:
    """The token is refused with this code, and the log is told which check failed."""
    with pytest.raises(TokenRefused) as caught:
        verify(unverified, **options)
    assert type(caught.value) is BY_CODE[code], caught.value.detail
    assert why in caught.value.detail


def test_an_honest_token_is_accepted() -> None:
    notice = verify(token())
    assert (notice.jti, notice.sub, notice.sid) == ("notice-1", "7d1c6c9e", "session-1")


def test_nothing_but_the_verifier_makes_a_notice() -> None:
    with pytest.raises(TypeError, match="only logout_token"):
        VerifiedNotice(jti="j", sub="s", sid=None, made_by=object())


@pytest.mark.parametrize("claim", ["iss", "aud", "iat", "jti", "events"])
def test_without_any_one_required_claim_it_is_refused(claim: str) -> None:
    refused(token({claim: ABSENT}), MISSING, f"the claim {claim} is missing")


@pytest.mark.parametrize("claim", ["iss", "aud", "iat", "exp", "jti", "events", "sub", "sid"])
@pytest.mark.parametrize("value", [None, "", [], {}, True, [""]], ids=repr)
def test_a_claim_of_another_type_is_refused(claim: str, value: object) -> None:
    with pytest.raises(TokenRefused) as caught:
        verify(token({claim: value}))
    empty_audience = claim == "aud" and value in ("", [""])  # a lawful type, and nobody's name
    assert caught.value.code == (ISSUER_OR_AUDIENCE if empty_audience else MISSING)


@pytest.mark.parametrize("claim", ["jti", "sub", "sid"])
def test_a_name_may_be_as_long_as_any_providers_and_no_longer(claim: str) -> None:
    assert getattr(verify(token({claim: "x" * 1000})), claim) == "x" * 1000
    refused(token({claim: "x" * 1001}), MISSING, f"the claim {claim} is longer")


# --- B1: signature, issuer, audience, times ------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "None", "nOnE"])
def test_b1_a_token_that_says_it_needs_no_signature_is_refused(alg: str) -> None:
    header = b64url(json.dumps({"alg": alg, "kid": "kid-1", "typ": "logout+jwt"}).encode())
    unsigned = f"{header}.{b64url(json.dumps(claims()).encode())}."
    refused(unsigned, SIGNATURE, f"the algorithm {alg!r} is not one of RS256")


def test_b1_the_public_key_is_never_a_shared_secret() -> None:
    header = b64url(json.dumps({"alg": "HS256", "kid": "kid-1", "typ": "logout+jwt"}).encode())
    forged = f"{header}.{b64url(json.dumps(claims()).encode())}"
    signature = hmac.digest(signing_key().as_pem(private=False), forged.encode(), "sha256")
    refused(f"{forged}.{b64url(signature)}", SIGNATURE, "the algorithm 'HS256'")


def test_b1_the_algorithm_is_one_of_those_for_id_tokens() -> None:
    other, key = token(alg="PS256"), public(signing_key(alg="PS256"))
    assert verify(other, keys=[key], algorithms=("PS256",)).jti
    refused(other, SIGNATURE, "the algorithm 'PS256' is not one of RS256", keys=[key])


def test_b1_another_key_is_refused_and_a_new_one_fetched_once() -> None:
    renewed = signing_key("renewed")
    forged = token(key=renewed)
    asked: list[int] = []

    def again() -> list[Key]:
        asked.append(1)
        return [public(renewed)]

    assert verify(forged, again=again).jti
    assert asked == [1]
    refused(forged, SIGNATURE, "no key of the provider")
    refused(token(header={"kid": "unknown"}), SIGNATURE, "no key of the provider")


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": public_jwk(signing_key("stranger"))},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"crit": ["exp"]},
        {"kid": 7},
    ],
    ids=lambda header: next(iter(header)),
)
def test_b1_a_token_brings_no_key_along(header: dict[str, Any]) -> None:
    refused(token(header=header), SIGNATURE, next(iter(header)))


def test_b1_it_must_be_from_the_issuer_and_for_us() -> None:
    refused(token({"iss": f"{ISSUER}/"}), ISSUER_OR_AUDIENCE, "the issuer is")
    refused(token({"aud": "another"}), ISSUER_OR_AUDIENCE, "for another client")
    refused(token({"aud": ["another"]}), ISSUER_OR_AUDIENCE, "for another client")
    assert verify(token({"aud": [CLIENT_ID]})).jti
    assert verify(token({"aud": [CLIENT_ID, "another"]})).jti, "nothing was issued to anybody: no azp"


@pytest.mark.parametrize(("age", "accepted"), [(660, True), (661, False), (-60, True), (-61, False)])
def test_b1_it_must_be_of_the_last_ten_minutes(age: int, accepted: bool) -> None:
    made = token({"iat": NOW - age, "exp": ABSENT})
    if accepted:
        assert verify(made).jti
    else:
        refused(made, CLOCK, "the token was issued 661 s ago" if age > 0 else "in the future")


def test_b1_exp_may_be_absent_and_may_not_be_past() -> None:
    assert verify(token({"exp": ABSENT})).jti, "older providers leave it out"
    assert verify(token({"exp": NOW - 59})).jti
    refused(token({"exp": NOW - 60}), CLOCK, "expired 60 s ago")


def test_b3_a_long_life_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert verify(token({"exp": NOW + 120})).jti
    assert not caplog.records
    assert verify(token({"exp": NOW + 3600})).jti
    assert "lives for 3600 s" in caplog.text


# --- B2: what kind of token it is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [{}, {"http://schemas.openid.net/event/other": {}}, {EVENT: "yes"}, {EVENT: None}, {EVENT: []}, [EVENT]],
    ids=repr,
)
def test_b2_without_the_event_it_is_refused(events: object) -> None:
    refused(token({"events": events}), MISSING, "events")


def test_b2_more_in_and_beside_the_event_is_lawful() -> None:
    assert verify(token({"events": {EVENT: {"why": "x"}, "urn:example": {}}})).jti


@pytest.mark.parametrize("nonce", ["n", "", None, 0], ids=repr)
def test_b2_with_a_nonce_it_is_refused(nonce: object) -> None:
    refused(token({"nonce": nonce}), NOT_OURS, "must not have a nonce")


def test_b2_it_names_a_session_or_a_person() -> None:
    assert verify(token({"sub": ABSENT})).sub is None
    assert verify(token({"sid": ABSENT})).sid is None
    refused(token({"sub": ABSENT, "sid": ABSENT}), MISSING, "neither sub nor sid")


@pytest.mark.parametrize("typ", ["logout+jwt", "LOGOUT+JWT", "JWT", ABSENT], ids=repr)
def test_every_typ_in_use_is_taken(typ: object) -> None:
    assert verify(token(header={"typ": typ})).jti


@pytest.mark.parametrize("typ", ["at+jwt", "id+jwt", "secevent+jwt", "", None, 7], ids=repr)
def test_another_typ_is_refused(typ: object) -> None:
    refused(token(header={"typ": typ}), SIGNATURE, "is not that of a logout token")


def test_neither_kind_of_token_passes_for_the_other() -> None:
    id_claims = tokens.honest_claims(sid="session-1", jti="j")
    assert tokens.verify(signed(id_claims))["sid"] == "session-1"
    refused(signed(id_claims), MISSING, "events")
    refused(signed({**id_claims, "events": {EVENT: {}}}), NOT_OURS, "nonce")
    for typ in ("JWT", "logout+jwt"):
        with pytest.raises(TokenRefused):
            tokens.verify(token(header={"typ": typ}))


def test_there_must_be_one_and_a_small_one() -> None:
    refused("", MISSING, "there is no logout_token")
    refused("a.b", SIGNATURE, "the logout token is not a signed JWT of three parts")
    refused("x" * 100_001, SIGNATURE, "the logout token is too large")
    twice = json.dumps(claims())[:-1] + ', "sub": "somebody-else"}'
    refused(signed(twice.encode()), SIGNATURE, "payload of the logout token is not a JSON object")
