"""What an ID token must be to count, one lie at a time; the letters O1 to O26 are the known attacks."""

from __future__ import annotations

import base64
import datetime
import hmac
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from joserfc.jwk import Key

from airflow_sso.errors import BY_CODE, TokenRefused
from airflow_sso.login.id_token import VerifiedClaims
from airflow_sso.login.vendors import vendor_of
from airflow_sso.oidc_settings import ALGORITHMS, EntraOidc
from tests.lines import both_lines
from tests.tokens import (
    ABSENT,
    ACCESS_TOKEN,
    CLIENT_ID,
    ISSUER,
    NONCE,
    NOW,
    b64url,
    expected,
    half_hash,
    honest_claims,
    public,
    public_jwk,
    signed,
    signing_key,
    verify,
)

pytestmark = both_lines

SIGNATURE, ISSUER_OR_AUDIENCE, CLOCK, NOT_OURS, MISSING = (
    "SSO-201",
    "SSO-202",
    "SSO-203",
    "SSO-204",
    "SSO-205",
)
TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
# joserfc points to the newer name of EdDSA (RFC 9864); providers still send the old one.
old_name_of_eddsa = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def refused(token: object, code: str, why: str, **options: Any) -> None:
    """The token is refused with this code, and the log is told which check failed."""
    with pytest.raises(TokenRefused) as caught:
        verify(token, **options)
    assert type(caught.value) is BY_CODE[code], caught.value.detail
    assert why in caught.value.detail


class Refetch:
    """What the provider shows when it is asked for its keys again; counts how often it is."""

    def __init__(self, *answers: list[Key] | None) -> None:
        self.answers = list(answers)
        self.times = 0

    def __call__(self) -> list[Key] | None:
        self.times += 1
        return self.answers.pop(0)


def test_an_honest_token_is_accepted() -> None:
    claims = verify(signed())
    assert dict(claims) == honest_claims()


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat", "nonce"])
def test_without_any_one_required_claim_it_is_refused(claim: str) -> None:
    refused(signed(honest_claims(**{claim: ABSENT})), MISSING, f"the claim {claim} is missing")


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat", "nonce"])
@pytest.mark.parametrize("value", [None, "", [], {}, True, [""]], ids=repr)
def test_a_required_claim_of_another_type_is_refused(claim: str, value: object) -> None:
    with pytest.raises(TokenRefused) as caught:
        verify(signed(honest_claims(**{claim: value})))
    empty_audience = claim == "aud" and value in ("", [""])  # a lawful type, and nobody's name
    assert caught.value.code == (ISSUER_OR_AUDIENCE if empty_audience else MISSING)


# --- signature, algorithm and key ---------------------------------------------------------------------


def unsigned(alg: str, signature: str = "") -> str:
    header = b64url(json.dumps({"alg": alg, "kid": "kid-1", "typ": "JWT"}).encode())
    return f"{header}.{b64url(json.dumps(honest_claims()).encode())}.{signature}"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE"])
def test_a_token_that_says_it_needs_no_signature_is_refused(alg: str) -> None:
    refused(unsigned(alg), SIGNATURE, f"the algorithm {alg!r} is not one of RS256")
    refused(unsigned(alg, "c2ln"), SIGNATURE, f"the algorithm {alg!r}")


@pytest.mark.parametrize("bits", [256, 384, 512])
def test_the_public_key_is_never_a_shared_secret(bits: int) -> None:
    known = signing_key()
    for secret in (known.as_pem(private=False), json.dumps(known.as_dict(private=False)).encode()):
        forged = unsigned(f"HS{bits}").rstrip(".")
        signature = hmac.digest(secret, forged.encode(), f"sha{bits}")
        refused(f"{forged}.{b64url(signature)}", SIGNATURE, f"the algorithm 'HS{bits}'")


@pytest.mark.parametrize("alg", [alg for alg in ALGORITHMS if alg != "EdDSA"])
def test_each_configurable_algorithm_counts_when_it_is_listed_and_only_then(alg: str) -> None:
    token, keys = signed(alg=alg), [public(signing_key(alg=alg))]
    assert verify(token, keys=keys, algorithms=(alg,))["sub"]
    others = tuple(one for one in ALGORITHMS if one != alg)
    refused(token, SIGNATURE, f"the algorithm {alg!r} is not one of", keys=keys, algorithms=others)


@old_name_of_eddsa
def test_eddsa_counts_when_it_is_listed_and_only_then() -> None:
    token, keys = signed(alg="EdDSA"), [public(signing_key(alg="EdDSA"))]
    assert verify(token, keys=keys, algorithms=ALGORITHMS)["sub"]
    refused(token, SIGNATURE, "the algorithm 'EdDSA'", keys=keys, algorithms=("RS256", "ES256"))


@pytest.mark.parametrize("alg", [None, 5, ["RS256"], {"RS256": 1}, "", "rs256", "RS256 ", ABSENT], ids=repr)
def test_an_algorithm_that_is_no_listed_name_is_refused(alg: object) -> None:
    refused(signed(header={"alg": alg}, sign_with="RS256"), SIGNATURE, "the algorithm")


def test_the_signature_must_be_of_the_algorithm_that_the_header_names() -> None:
    token = signed(header={"alg": "RS256"}, sign_with="PS256")
    refused(token, SIGNATURE, "no key of the provider verifies", algorithms=("RS256", "PS256"))


def test_a_stranger_s_key_verifies_nothing() -> None:
    assert verify(signed(key=signing_key("provider")))
    refused(signed(key=signing_key("stranger")), SIGNATURE, "no key of the provider verifies")


def test_a_changed_header_payload_or_signature_is_noticed() -> None:
    header, payload, signature = signed().split(".")
    other = b64url(json.dumps(honest_claims(sub="somebody-else")).encode())
    same_but_spaced = b64url(b'{"alg": "RS256",  "kid": "kid-1", "typ": "JWT"}')
    first = "A" if signature[0] != "A" else "B"
    for forged in (
        f"{header}.{other}.{signature}",
        f"{same_but_spaced}.{payload}.{signature}",
        f"{header}.{payload}.{first}{signature[1:]}",
        f"{header}.{payload}.{signature[:-8]}",
        f"{header}.{payload}.{signature * 5}",
        f"{header}.{payload}.",
    ):
        refused(forged, SIGNATURE, "no key of the provider verifies")


@pytest.mark.parametrize(
    "kid", ["kid-2", "KID-1", "kid-1 ", "../../../../dev/null", "x' OR '1'='1", "https://evil.example/k"]
)
def test_a_kid_only_chooses_among_the_keys_we_know(kid: str) -> None:
    assert verify(signed(header={"kid": "kid-1"}))
    refused(signed(header={"kid": kid}), SIGNATURE, f"(kid {kid!r})")


@pytest.mark.parametrize("kid", [5, None, ["kid-1"], {"kid": "kid-1"}, True], ids=repr)
def test_a_kid_that_is_no_text_is_refused(kid: object) -> None:
    refused(signed(header={"kid": kid}), SIGNATURE, "the kid is not a string")


def test_without_a_kid_the_single_fitting_key_counts() -> None:
    nameless = signed(header={"kid": ABSENT})
    assert verify(nameless)
    of_another_kind = public(signing_key(alg="ES256"))
    for_another_algorithm = public(signing_key("other"), alg="RS512")
    assert verify(nameless, keys=[of_another_kind, for_another_algorithm, public(signing_key())])


def test_without_a_kid_two_fitting_keys_are_one_too_many() -> None:
    two = [public(signing_key()), public(signing_key("other", kid="kid-2"))]
    assert verify(signed(), keys=two)
    refused(signed(header={"kid": ABSENT}), SIGNATURE, "(kid None)", keys=two)
    refused(signed(header={"kid": ""}), SIGNATURE, "(kid '')", keys=two)


def test_a_key_without_a_kid_does_not_serve_a_token_with_one() -> None:
    key = signing_key("nameless", kid=None)
    assert verify(signed(key=key), keys=[public(key)])
    refused(signed(key=key, header={"kid": "kid-1"}), SIGNATURE, "(kid 'kid-1')", keys=[public(key)])


def test_of_two_keys_under_one_kid_either_may_sign() -> None:
    old, new = signing_key(), signing_key("new")
    assert old.kid == new.kid
    for key in (old, new):
        assert verify(signed(key=key), keys=[public(old), public(new)])


def test_a_key_declared_for_another_algorithm_is_not_used() -> None:
    assert verify(signed(), keys=[public(signing_key(), alg="RS256")])
    refused(signed(), SIGNATURE, "no key of the provider", keys=[public(signing_key(), alg="RS512")])


def test_a_key_on_another_curve_verifies_nothing() -> None:
    token = signed(key=signing_key(alg="ES256"), alg="ES256")
    assert verify(token, keys=[public(signing_key(alg="ES256"))], algorithms=ALGORITHMS)
    other_curve = public(signing_key(alg="ES384"))
    refused(token, SIGNATURE, "no key of the provider", keys=[other_curve], algorithms=ALGORITHMS)


@pytest.mark.parametrize("newer_kid", ["kid-1", "kid-2"])
def test_a_rotated_key_is_fetched_once_and_counts_under_a_new_kid_or_the_same(newer_kid: str) -> None:
    newer = signing_key("rotated", kid=newer_kid)
    refetch = Refetch([public(newer)])
    assert verify(signed(key=newer), fetch_keys_again=refetch)["sub"]
    assert refetch.times == 1


def test_keys_are_fetched_again_at_most_once_a_token() -> None:
    refetch = Refetch([public(signing_key())], [public(signing_key("stranger", kid="kid-9"))])
    refused(
        signed(key=signing_key("stranger", kid="kid-9")), SIGNATURE, "(kid 'kid-9')", fetch_keys_again=refetch
    )
    assert refetch.times == 1


@pytest.mark.parametrize("answer", [None, []])
def test_when_no_refetch_is_left_an_unknown_key_is_refused(answer: list[Key] | None) -> None:
    newer = signing_key("rotated", kid="kid-2")
    refetch = Refetch(answer)
    refused(signed(key=newer), SIGNATURE, "(kid 'kid-2')", fetch_keys_again=refetch)
    assert refetch.times == 1


def test_a_token_that_is_refused_or_accepted_at_sight_costs_no_refetch() -> None:
    refetch = Refetch()
    assert verify(signed(), fetch_keys_again=refetch)
    refused(unsigned("none"), SIGNATURE, "the algorithm", fetch_keys_again=refetch)
    refused(signed(header={"jku": "https://evil.example"}), SIGNATURE, "'jku'", fetch_keys_again=refetch)
    refused(signed(honest_claims(aud="other")), ISSUER_OR_AUDIENCE, "client", fetch_keys_again=refetch)
    assert refetch.times == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwk", public_jwk(signing_key())),
        ("jku", "https://evil.example/keys"),
        ("x5u", "https://evil.example/certificate"),
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("zip", "DEF"),
        ("jwk", None),
    ],
)
def test_a_header_that_brings_its_own_key_or_rules_is_refused(name: str, value: object) -> None:
    assert verify(signed(header={"x-other": value}))
    refused(signed(header={name: value}), SIGNATURE, f"the header has {name!r}")


def test_a_key_in_the_header_never_verifies_the_token_that_carries_it() -> None:
    stranger = signing_key("stranger")
    token = signed(key=stranger, header={"jwk": public_jwk(stranger)})
    refused(token, SIGNATURE, "the header has 'jwk'")


def certificate_of(key: Key) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signing key of the provider")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key)
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=365))
        .sign(key.private_key, hashes.SHA256())
    )
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def test_a_certificate_in_the_header_makes_it_long_and_is_never_used() -> None:
    chain = [certificate_of(signing_key())]
    assert len(chain[0]) > 512
    assert verify(signed(header={"x5c": chain, "x5t": "c2hhMQ"}))
    stranger = signing_key("stranger")
    token = signed(key=stranger, header={"x5c": [certificate_of(stranger)]})
    refused(token, SIGNATURE, "no key of the provider")


@pytest.mark.parametrize("typ", ["JWT", "jwt", ABSENT], ids=repr)
def test_the_typ_of_an_id_token_is_accepted(typ: object) -> None:
    assert verify(signed(header={"typ": typ}))


@pytest.mark.parametrize(
    "typ",
    ["at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", "AT+JWT", "JOSE", "", None, 5, ["JWT"]],
    ids=repr,
)
def test_a_token_of_another_kind_is_no_id_token(typ: object) -> None:
    refused(signed(header={"typ": typ}), SIGNATURE, f"the typ {typ!r}")


def test_an_access_token_and_a_logout_token_are_refused_even_without_a_typ() -> None:
    access = {"iss": ISSUER, "sub": "7d1c6c9e", "aud": CLIENT_ID, "exp": NOW + 3600, "iat": NOW, "scp": "x"}
    refused(signed(access), MISSING, "the claim nonce")
    event = {"http://schemas.openid.net/event/backchannel-logout": {}}
    logout = {"iss": ISSUER, "sub": "7d1c6c9e", "aud": CLIENT_ID, "iat": NOW, "jti": "1", "events": event}
    refused(signed(logout), MISSING, "the claim nonce")


# --- what is not a token at all -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", [None, "", 5, True, [], {}, signed().encode(), [signed()]], ids=lambda one: repr(one)[:8]
)
def test_an_id_token_that_is_no_text_is_no_id_token(token: object) -> None:
    refused(token, MISSING, "no id_token")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("x", "not a signed JWT of three parts"),
        (".", "not a signed JWT of three parts"),
        ("..", "the header of the ID token is not a JSON object"),
        ("a.b.c.d.e", "not a signed JWT of three parts"),
        (f"{signed()}.", "not a signed JWT of three parts"),
        (f" {signed()}", "the header is not base64url"),
        (f"\n{signed()}", "the header is not base64url"),
        ("é.é.é", "the header is not base64url"),
        ("\ud800.a.a", "the header is not base64url"),
        ("a.a.a", "the header is not base64url"),
        (f"{b64url(b'[]')}.e30.c2ln", "the header of the ID token is not a JSON object"),
        (f"{b64url(b'not json')}.e30.c2ln", "the header of the ID token is not a JSON object"),
        (f"{b64url(b'[' * 50_000)}.e30.c2ln", "the header of the ID token is not a JSON object"),
        (signed().rsplit(".", 1)[0] + ".é", "no key of the provider verifies"),
        (signed().rsplit(".", 1)[0] + ".\ud800", "no key of the provider verifies"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_what_cannot_be_read_is_refused(token: str, why: str) -> None:
    refused(token, SIGNATURE, why)


def test_a_large_token_is_accepted_and_a_huge_one_is_not() -> None:
    groups = [f"8f6a0d0e-5d4b-4d0e-9a55-{number:012}" for number in range(1600)]
    assert len(verify(signed(honest_claims(groups=groups)))["groups"]) == 1600
    too_many = [f"8f6a0d0e-5d4b-4d0e-9a55-{number:012}" for number in range(2000)]
    refused(signed(honest_claims(groups=too_many)), SIGNATURE, "too large")


JSON = json.dumps(honest_claims())


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"[" * 70_000, "not a JSON object"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "not a JSON object"),
        (b"\xff\xfe\xfd", "not a JSON object"),
        (JSON[:-1].encode() + b', "sub": "somebody-else"}', "a name stands twice"),
        (JSON[:-1].encode() + b', "s\\u0075b": "somebody-else"}', "a name stands twice"),
        (JSON[:-1].encode() + b', "address": {"x": 1, "x": 2}}', "a name stands twice"),
        (JSON[:-1].encode() + b', "x": NaN}', "NaN is not JSON"),
        (JSON[:-1].encode() + b', "x": Infinity}', "Infinity is not JSON"),
        (JSON[:-1].encode() + b', "x": -Infinity}', "-Infinity is not JSON"),
        (JSON[:-1].encode() + b', "x": "\\ud800"}', "not a JSON object"),
        (JSON[:-1].encode() + b', "groups": ["\\udfff"]}', "not a JSON object"),
        (JSON[:-1].encode() + b', "\\ud800": "x"}', "not a JSON object"),
        (JSON[:-1].encode() + b', "x": ' + b"9" * 5000 + b"}", "not a JSON object"),
    ],
    ids=lambda value: ascii(value)[-24:],
)
def test_a_payload_that_two_parsers_could_read_differently_is_refused(payload: bytes, why: str) -> None:
    assert verify(signed(JSON.encode()))
    refused(signed(payload), SIGNATURE, why)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_a_payload_in_another_encoding_than_utf_8_is_refused(encoding: str) -> None:
    # RFC 8725, section 3.7, and RFC 8259, section 8.1: a peer that reads UTF-8 would see something else.
    refused(signed(JSON.encode(encoding)), SIGNATURE, "not a JSON object")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b'{"alg": "RS256", "kid": "kid-1", "alg": "RS256"}', "a name stands twice"),
        (b'{"alg": "none", "kid": "kid-1", "alg": "RS256"}', "a name stands twice"),
        (b'{"alg": "RS256", "kid": "x", "kid": "kid-1"}', "a name stands twice"),
        (b'{"alg": "RS256", "kid": "kid-1", "x": NaN}', "NaN is not JSON"),
        (b'{"alg": "RS256", "kid": "\\ud800"}', "not a JSON object"),
        (b'{"alg": "RS256", "kid": "kid-1"} {}', "not a JSON object"),
    ],
)
def test_a_header_that_two_parsers_could_read_differently_is_refused(header: bytes, why: str) -> None:
    assert verify(signed(header=b'{"alg": "RS256", "kid": "kid-1"}'))
    refused(signed(header=header), SIGNATURE, why)


# --- issuer, audience, tenant ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "issuer",
    [
        f"{ISSUER}/",
        ISSUER.upper(),
        ISSUER.replace("https", "http"),
        f"{ISSUER} ",
        "https://id.contoso.example/other-tenant/v2.0",
        "https://id.contoso.example/common/v2.0",
        "https://id.contoso.example/{tenantid}/v2.0",
        "https://id.contoso.example/tenant/",
        "https://id.contoso.example.evil.example/tenant/v2.0",
        "https://evil.example/tenant/v2.0",
    ],
)
def test_the_issuer_is_exactly_the_configured_one(issuer: str) -> None:
    refused(signed(honest_claims(iss=issuer)), ISSUER_OR_AUDIENCE, f"the issuer is {issuer!r}")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": CLIENT_ID},
        {"aud": [CLIENT_ID]},
        {"aud": CLIENT_ID, "azp": CLIENT_ID},
        {"aud": [CLIENT_ID], "azp": CLIENT_ID},
        {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID},
        {"aud": ["other", CLIENT_ID], "azp": CLIENT_ID},
    ],
    ids=str,
)
def test_a_token_that_was_made_for_us_is_accepted(changes: dict[str, Any]) -> None:
    assert verify(signed(honest_claims(**changes)))


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"aud": "other"}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": ["other"]}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": "other", "azp": CLIENT_ID}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": CLIENT_ID.upper()}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": f"{CLIENT_ID} "}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": f"x{CLIENT_ID}x"}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": f"other {CLIENT_ID}"}, ISSUER_OR_AUDIENCE, "for another client"),
        ({"aud": [CLIENT_ID, "other"]}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": [CLIENT_ID, CLIENT_ID]}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": [CLIENT_ID, "other"], "azp": "other"}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": CLIENT_ID, "azp": "other"}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": CLIENT_ID, "azp": None}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": CLIENT_ID, "azp": ""}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": CLIENT_ID, "azp": [CLIENT_ID]}, ISSUER_OR_AUDIENCE, "(azp)"),
        ({"aud": []}, MISSING, "the claim aud"),
        ({"aud": [CLIENT_ID, 5]}, MISSING, "the claim aud"),
        ({"aud": [[CLIENT_ID]]}, MISSING, "the claim aud"),
        ({"aud": {CLIENT_ID: 1}}, MISSING, "the claim aud"),
        ({"aud": 5}, MISSING, "the claim aud"),
    ],
    ids=str,
)
def test_a_token_that_was_made_for_somebody_else_is_refused(
    changes: dict[str, Any], code: str, why: str
) -> None:
    refused(signed(honest_claims(**changes)), code, why)


ENTRA = EntraOidc.model_validate(
    {
        "name": "entra",
        "vendor": "entra",
        "protocol": "oidc",
        "tenant_id": TENANT,
        "client_id": CLIENT_ID,
        "client_auth": {"secret": {"env": "NOT_READ_HERE"}},
    }
)


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"tid": "ffffeeee-9999-dddd-8888-cccc7777bbbb"}, ISSUER_OR_AUDIENCE, "the claim tid is not"),
        ({"tid": f"{TENANT} "}, ISSUER_OR_AUDIENCE, "the claim tid is not"),
        ({"tid": ABSENT}, MISSING, "the claim tid"),
        ({"tid": ""}, MISSING, "the claim tid"),
        ({"tid": [TENANT]}, MISSING, "the claim tid"),
        ({"oid": ABSENT}, MISSING, "the claim oid"),
        ({"oid": ""}, MISSING, "the claim oid"),
        ({"oid": 5}, MISSING, "the claim oid"),
        ({"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0/"}, ISSUER_OR_AUDIENCE, "the issuer"),
        ({"iss": f"https://sts.windows.net/{TENANT}/"}, ISSUER_OR_AUDIENCE, "the issuer"),
        ({"iss": f"https://login.microsoftonline.us/{TENANT}/v2.0"}, ISSUER_OR_AUDIENCE, "the issuer"),
        ({"iss": "https://login.microsoftonline.com/common/v2.0"}, ISSUER_OR_AUDIENCE, "the issuer"),
    ],
    ids=str,
)
def test_entra_tokens_must_be_of_our_tenant(changes: dict[str, Any], code: str, why: str) -> None:
    vendor = vendor_of(ENTRA)
    ours = {"iss": vendor.issuer(ENTRA), "tid": TENANT, "oid": "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"}
    options = {"issuer": vendor.issuer(ENTRA), "required_claims": vendor.required_claims(ENTRA)}
    assert verify(signed(honest_claims(**ours)), **options)
    refused(signed(honest_claims(**{**ours, **changes})), code, why, **options)


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 59},
        {"exp": int(NOW) + 1, "iat": int(NOW) - 300, "nbf": int(NOW) - 300},  # Entra backdates
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
        {"iat": NOW - 86400 * 30},
        {"exp": NOW + 0.5, "iat": NOW - 0.5},
        {"iat": 0},
        {"nbf": 0},
    ],
    ids=str,
)
def test_a_token_within_the_clock_skew_is_accepted(changes: dict[str, Any]) -> None:
    assert verify(signed(honest_claims(**changes)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": NOW - 60}, "expired 60 s ago"),
        ({"exp": NOW - 3600}, "expired 3600 s ago"),
        ({"exp": 0}, "expired"),
        ({"exp": -1}, "expired"),
        ({"iat": NOW + 61}, "issued 61 s in the future"),
        ({"iat": NOW * 1000}, "in the future"),
        ({"nbf": NOW + 61}, "not valid yet"),
    ],
    ids=str,
)
def test_a_token_outside_the_clock_skew_is_refused(changes: dict[str, Any], why: str) -> None:
    refused(signed(honest_claims(**changes)), CLOCK, why)


def test_without_clock_skew_the_edges_are_exact() -> None:
    none = {"clock_skew": datetime.timedelta(0)}
    assert verify(signed(honest_claims(exp=NOW + 1, iat=NOW, nbf=NOW)), **none)
    refused(signed(honest_claims(exp=NOW)), CLOCK, "expired", **none)
    refused(signed(honest_claims(iat=NOW + 1)), CLOCK, "in the future", **none)
    refused(signed(honest_claims(nbf=NOW + 1)), CLOCK, "not valid yet", **none)


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "written",
    ["true", "false", '"1800003600"', "null", "[1800003600]", "{}", '""', "1e999", "-1e999", "1" + "0" * 400],
    ids=lambda value: value[:12],
)
def test_a_time_that_is_no_number_is_refused(claim: str, written: str) -> None:
    rest = json.dumps(honest_claims(**{claim: ABSENT}))
    payload = f'{rest[:-1]}, "{claim}": {written}}}'.encode()
    refused(signed(payload), MISSING, f"the claim {claim} is missing or not a number")


# --- nonce and at_hash --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"nonce": "nonce-of-another-attempt"}, NOT_OURS, "the nonce"),
        ({"nonce": NONCE.upper()}, NOT_OURS, "the nonce"),
        ({"nonce": f"{NONCE} "}, NOT_OURS, "the nonce"),
        ({"nonce": "nön̈ce"}, NOT_OURS, "the nonce"),
        ({"nonce": "wrong", "nonce_supported": False}, NOT_OURS, "the nonce"),
        ({"nonce": ABSENT, "nonce_supported": False}, MISSING, "the claim nonce"),
        ({"nonce": "", "nonce_supported": False}, MISSING, "the claim nonce"),
        ({"nonce": [NONCE]}, MISSING, "the claim nonce"),
    ],
    ids=str,
)
def test_a_token_of_another_attempt_is_refused(changes: dict[str, Any], code: str, why: str) -> None:
    refused(signed(honest_claims(**changes)), code, why)


HASHES = [
    ("RS256", 256),
    ("PS256", 256),
    ("ES256", 256),
    ("RS384", 384),
    ("ES384", 384),
    ("RS512", 512),
    ("PS512", 512),
    ("ES512", 512),
    pytest.param("EdDSA", 512, marks=old_name_of_eddsa),
]


@pytest.mark.parametrize(("alg", "bits"), HASHES)
def test_an_at_hash_is_made_with_the_hash_of_the_token_s_own_algorithm(alg: str, bits: int) -> None:
    options = {"keys": [public(signing_key(alg=alg))], "algorithms": ALGORITHMS}
    for size in (256, 384, 512):
        token = signed(honest_claims(at_hash=half_hash(ACCESS_TOKEN, size)), alg=alg)
        if size == bits:
            assert verify(token, **options)
        else:
            refused(token, NOT_OURS, "at_hash", **options)


@pytest.mark.parametrize(
    "at_hash",
    [
        half_hash("another-access-token", 256),
        half_hash(ACCESS_TOKEN, 256)[:-1],
        half_hash(ACCESS_TOKEN, 256) + "=",
        half_hash("", 256),
        "",
        None,
        5,
        True,
        [half_hash(ACCESS_TOKEN, 256)],
        {},
    ],
    ids=repr,
)
def test_an_at_hash_of_another_access_token_is_refused(at_hash: object) -> None:
    refused(signed(honest_claims(at_hash=at_hash)), NOT_OURS, "at_hash")


@pytest.mark.parametrize("access_token", [None, ""])
def test_an_at_hash_without_an_access_token_is_refused(access_token: str | None) -> None:
    assert verify(signed(), access_token=access_token)
    for hashed in (ACCESS_TOKEN, ""):
        token = signed(honest_claims(at_hash=half_hash(hashed, 256)))
        refused(token, NOT_OURS, "at_hash", access_token=access_token)


# --- what comes out ------------------------------------------------------------------------------------------


def test_a_long_subject_is_accepted_and_an_endless_one_is_not() -> None:
    assert verify(signed(honest_claims(sub="s" * 700, sid="s" * 700, c_hash="unread")))
    refused(signed(honest_claims(sub="s" * 1001)), MISSING, "the claim sub is longer")


def test_verified_claims_are_made_by_the_verifier_alone_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="only id_token"):
        VerifiedClaims(honest_claims(), made_by=object())
    claims: Any = verify(signed())
    with pytest.raises(TypeError):
        claims["sub"] = "somebody-else"
    with pytest.raises(TypeError):
        claims._claims["sub"] = "somebody-else"
    assert claims["sub"] == "7d1c6c9e"


def test_neither_claims_nor_tokens_show_in_a_repr() -> None:
    claims = verify(signed(honest_claims(email="ada@contoso.example")))
    assert "email" in repr(claims)
    assert "ada@contoso.example" not in repr(claims)
    assert ACCESS_TOKEN not in repr(expected())
