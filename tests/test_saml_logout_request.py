"""The verifier of logout messages by itself: what it takes, to the second and to the octet, and what not.

``test_saml_logout`` sends the same hostile requests to a running Airflow; here they meet the verifier
alone, so that switching off one check is noticed within seconds.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest
from cryptography import x509

from airflow_sso.accounts.notices import Target
from airflow_sso.errors import SignatureInvalid, SsoError
from airflow_sso.login import saml_bindings, saml_logout
from airflow_sso.login.saml_bindings import UnverifiedMessage
from airflow_sso.login.saml_logout import Expected, VerifiedLogout
from devidp import saml_sign
from devidp import saml_xml as sx
from devidp.saml_keys import make, stranger
from devidp.saml_logout import deflated
from devidp.saml_logout_attacks import LOGOUT_ATTACKS, comment_in_name
from devidp.saml_logout_recipe import LogoutContext, Sent, escaped
from devidp.saml_state import Participant
from devidp.settings import Settings
from devidp.state import State
from tests.lines import both_lines

pytestmark = both_lines

SLO = "https://airflow.example.com/auth/saml/slo/lab"
OURS = "https://airflow.example.com/auth/saml/metadata/lab"
#: The form holds a field twice, which is refused before a form is made of it.
IN_THE_VIEW = {"request_twice_by_post"}


@functools.cache
def our_key() -> Any:
    return make("service provider")


@pytest.fixture(scope="module")
def state() -> State:
    return State(Settings(base_url="https://idp.example.com"))


@pytest.fixture
def context(state: State) -> LogoutContext:
    def participant(name: str) -> Participant:
        return Participant(
            face="generic",
            person=name,
            sp=OURS,
            name_id=f"id-of-{name}",
            name_id_format=sx.FORMATS["persistent"],
            session_index=f"_session-of-{name}",
        )

    return LogoutContext.of(state, "generic", participant("ada"), participant("vera"), SLO)


def read(sent: Sent) -> UnverifiedMessage:
    if sent["binding"] == sx.POST:
        return saml_bindings.by_post(dict(sent["fields"]))
    return saml_bindings.by_redirect(sent["url"].partition("?")[2].encode())


def verify(
    context: LogoutContext,
    sent: Sent,
    known: Sequence[x509.Certificate] | None = None,
    again: Callable[[], Sequence[x509.Certificate] | None] = lambda: None,
    **changes: Any,
) -> VerifiedLogout:
    expected = Expected(
        issuers=(context.honest.issuer or "",),
        audience=OURS,
        slo_url=SLO,
        now=datetime.fromtimestamp(context.honest.now, timezone.utc),
        clock_skew=timedelta(seconds=60),
        private_key=our_key().private_pem.decode(),
    )
    certificates = [context.key.certificate] if known is None else known
    return saml_logout.verify(read(sent), replace(expected, **changes), certificates, again)


def assert_taken(context: LogoutContext, sent: Sent, **changes: Any) -> None:
    assert verify(context, sent, **changes).name_id == "id-of-ada"


def assert_refused(context: LogoutContext, sent: Sent, **changes: Any) -> None:
    with pytest.raises(SsoError) as refused:
        verify(context, sent, **changes)
    assert refused.value.code.startswith("SSO-20")
    assert "id-of-ada" not in refused.value.detail


# --- hostile ones -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(LOGOUT_ATTACKS) - IN_THE_VIEW))
def test_a_hostile_request_is_refused(context: LogoutContext, name: str) -> None:
    assert_refused(context, LOGOUT_ATTACKS[name].make(context))
    assert_taken(context, context.redirect(context.changed()))
    assert_taken(context, context.post(context.changed()))


def test_every_kind_of_attack_is_there() -> None:
    assert {attack.case for attack in LOGOUT_ATTACKS.values()} >= {
        "S1",
        "S2",
        "S14",
        "S15",
        "S17",
        "S18",
        "S29",
    }
    assert all(attack.about.endswith(".") for attack in LOGOUT_ATTACKS.values())


def test_a_name_with_a_comment_is_read_whole(context: LogoutContext) -> None:
    assert verify(context, comment_in_name(context)).name_id == "id-of-ada.evil.example"


def test_what_takes_unsigned_ones_takes_no_bad_signature(context: LogoutContext) -> None:
    for name in ("unsigned_by_redirect", "unsigned_by_post"):
        found = verify(context, LOGOUT_ATTACKS[name].make(context), takes_unsigned=True)
        assert not found.is_signed
    for name in ("foreign_key_by_redirect", "foreign_key_by_post", "sha1_by_redirect", "sha1_by_post"):
        assert_refused(context, LOGOUT_ATTACKS[name].make(context), takes_unsigned=True)
    assert verify(context, context.redirect(context.changed()), takes_unsigned=True).is_signed


# --- to the octet -------------------------------------------------------------------------------------


def in_other_words(context: LogoutContext, write: Callable[[str], str], relay_state: str | None) -> str:
    """A query as another library escapes it, signed as it is written."""
    pairs = [("SAMLRequest", deflated(sx.text_of(context.changed())))]
    pairs += [] if relay_state is None else [("RelayState", relay_state)]
    pairs.append(("SigAlg", saml_sign.SIGNATURES["rsa-sha256"]))
    text = "&".join(f"{name}={write(value)}" for name, value in pairs)
    signature = saml_sign.rsa_signer(context.key)(text.encode())
    return f"{text}&Signature={write(sx.b64(signature))}"


def lower(value: str) -> str:
    """Microsoft's way: ``%2b``."""
    return re.sub("%..", lambda escape: escape.group().lower(), quote(value, safe=""))


@pytest.mark.parametrize("relay_state", [None, "", "a b/ä", "x" * 200], ids=["none", "empty", "odd", "long"])
@pytest.mark.parametrize(
    "write", [escaped, lower, lambda value: quote(value, safe="/")], ids=["python", "net", "php"]
)
def test_the_query_is_verified_as_it_is_written(
    context: LogoutContext, write: Callable[[str], str], relay_state: str | None
) -> None:
    query = in_other_words(context, write, relay_state)
    assert_taken(context, context.query(query))
    # What is signed has one order, whatever that of the parameters is.
    assert_taken(context, context.query("&".join(reversed(query.split("&")))))
    again = "&".join(
        f"{name}={escaped(unquote_plus(value))}"
        for name, _, value in (one.partition("=") for one in query.split("&"))
    )
    if again != query and write is not escaped:
        assert_refused(context, context.query(again))


@pytest.mark.parametrize("name", ["RelayState", "SigAlg", "Signature", "SAMLRequest"])
def test_no_parameter_may_be_changed_taken_away_or_said_twice(context: LogoutContext, name: str) -> None:
    query = in_other_words(context, escaped, "theirs")
    assert_taken(context, context.query(query))
    parts = query.split("&")
    at = next(place for place, one in enumerate(parts) if one.startswith(f"{name}="))
    for changed in ([], [parts[at], parts[at]], [f"{parts[at][:-2]}A"], [f"{name}="]):
        assert_refused(context, context.query("&".join([*parts[:at], *changed, *parts[at + 1 :]])))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_sha2_is_taken(context: LogoutContext, digest: str) -> None:
    signature = f"rsa-{digest}"
    assert_taken(context, context.redirect(context.changed(), signature=signature, digest=digest))
    assert_taken(context, context.post(context.changed(), signature=signature, digest=digest))


def test_a_response_is_no_request_however_it_is_signed(context: LogoutContext) -> None:
    pairs = [("SAMLResponse", deflated(sx.text_of(context.changed())))]
    assert_refused(context, context.query(saml_sign.signed_query(pairs, context.key)))


def test_only_deflate_and_bounded(context: LogoutContext) -> None:
    query = in_other_words(context, escaped, None)
    encoding = escaped(f"{sx.BINDING}URL-Encoding:DEFLATE")
    assert_taken(context, context.query(f"{query}&SAMLEncoding={encoding}"))
    with pytest.raises(SignatureInvalid, match="too large"):
        saml_bindings.document("A" * (saml_bindings.MAX_ENCODED + 1), "SAMLRequest")
    for odd in (b"\xff", b"SAMLRequest=%ff", b"SAMLRequest=AAAA", b"=", b"&&", b"SAMLRequest"):
        with pytest.raises(SignatureInvalid):
            saml_bindings.by_redirect(odd)


# --- to the second ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"issue_instant": 60}, True),
        ({"issue_instant": 61}, False),
        ({"issue_instant": -359}, True),
        ({"issue_instant": -360}, False),
        ({"not_on_or_after": -59}, True),
        ({"not_on_or_after": -60}, False),
        ({"not_on_or_after": None}, True),
    ],
    ids=str,
)
def test_time(context: LogoutContext, changes: dict[str, Any], taken: bool) -> None:
    now = datetime.fromtimestamp(context.honest.now, timezone.utc)
    whole = replace(context, honest=replace(context.honest, now=now.replace(microsecond=0).timestamp()))
    sent = whole.redirect(whole.changed(**changes))
    (assert_taken if taken else assert_refused)(whole, sent)


# --- whom it is about ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("indexes", "targets"),
    [
        ((), [Target(subject="id-of-ada")]),
        (("a",), [Target(session_ref="a", subject="id-of-ada")]),
        (("a", "b", "a"), [Target(session_ref=one, subject="id-of-ada") for one in "ab"]),
    ],
    ids=["nobody's", "one", "several"],
)
def test_targets(context: LogoutContext, indexes: tuple[str, ...], targets: list[Target]) -> None:
    assert list(verify(context, context.post(context.changed(session_indexes=indexes))).targets) == targets


def test_a_hundred_indexes_are_taken_and_no_more(context: LogoutContext) -> None:
    for number, judge in ((100, assert_taken), (101, assert_refused)):
        judge(context, context.post(context.changed(session_indexes=tuple(map(str, range(number))))))


@pytest.mark.parametrize("way", ["redirect", "post"])
def test_an_encrypted_name_is_read_after_the_signature(context: LogoutContext, way: str) -> None:
    def sent(**how: Any) -> Sent:
        tree = context.changed(encrypted_for=our_key().certificate_pem)
        made: Sent = getattr(context, way)(tree, **how)
        return made

    for _ in range(10):  # an honest one is never tried too often
        assert_taken(context, sent())
    assert_refused(context, sent(), private_key=None)
    assert_refused(context, sent(key=None), takes_unsigned=True)
    assert_refused(context, sent(), private_key=stranger("another").private_pem.decode())
    assert_refused(context, sent(key=stranger("devidp foreign")))


# --- keys, and what may be made -----------------------------------------------------------------------


def test_a_newer_key_is_asked_for_once(context: LogoutContext) -> None:
    asked: list[int] = []
    old = [stranger("the one before").certificate]

    def again() -> list[x509.Certificate]:
        asked.append(1)
        return [context.key.certificate]

    for sent in (context.redirect(context.changed()), context.post(context.changed())):
        assert_taken(context, sent, known=old, again=again)
        assert_refused(context, sent, known=old)
    assert len(asked) == 2
    assert_refused(context, LOGOUT_ATTACKS["sha1_by_redirect"].make(context), known=old, again=again)
    assert len(asked) == 2, "no key makes that good"


def test_nobody_else_makes_one_and_it_shows_nobody(context: LogoutContext) -> None:
    with pytest.raises(TypeError, match=r"only saml_logout\.verify"):
        VerifiedLogout("_1", "ada", (), True, object())  # noqa: FBT003
    sent = context.redirect(context.changed())
    shown = repr(verify(context, sent)) + repr(read(sent))
    assert "ada" not in shown


def test_a_response_confirms_only_what_it_says(context: LogoutContext) -> None:
    expected = Expected(
        issuers=(context.honest.issuer or "",),
        audience=OURS,
        slo_url=SLO,
        now=datetime.now(timezone.utc),
        clock_skew=timedelta(),
    )

    def why_not(codes: tuple[str, ...], key: Any = context.key, **changes: Any) -> str | None:
        changes = {"name_ids": (), "session_indexes": (), "not_on_or_after": None, **changes}
        tree = replace(context.honest, **changes).tree("LogoutResponse")
        around = sx.add(tree, sx.SAMLP, "Status")
        for code in codes:
            around = sx.add(around, sx.SAMLP, "StatusCode", None, {"Value": sx.STATUS + code})
        pairs = [("SAMLResponse", deflated(sx.text_of(tree)))]
        query = saml_sign.signed_query(pairs, key) if key else f"SAMLResponse={escaped(pairs[0][1])}"
        message = saml_bindings.by_redirect(query.encode())
        return saml_logout.why_not_confirmed(message, expected, [context.key.certificate], lambda: None)

    assert why_not(("Success",)) is None
    assert why_not(("Success",), key=None) is None
    assert why_not(("Success",), key=None, destination=None) is None
    assert "PartialLogout" in (why_not(("Success", "PartialLogout")) or "")
    assert "Responder" in (why_not(("Responder",)) or "")
    assert "missing" in (why_not(()) or "")
    assert why_not(("Success",), key=stranger("devidp foreign"))
    assert why_not(("Success",), issuer="https://another.example/")
    assert why_not(("Success",), destination="https://another.example/")
    assert why_not(("Success",), destination=None)
