"""Signing out with OpenID Connect, through the running server: what the provider says ends sessions here,
and signing out here leads to the provider where that is wished for.

The letters B1 to B6 are the rows of the list of attacks on back-channel logout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from airflow_sso.login.oidc import OidcDoor
from airflow_sso.oidc_settings import GenericOidc
from devidp.backchannel import RECIPES
from devidp.server import Handle
from devidp.settings import PINGONE_ENVIRONMENT_ID
from devidp.testing import Driver
from tests import stack as stacks
from tests.databases import Database
from tests.lines import API, PROCESSES, both_lines, route
from tests.stack import Stack, Visitor, facts
from tests.test_leavers import soon

#: Provider here, and face of the local provider.
FACES = {
    "entra": "entra",
    "pingone": "pingone",
    "federate": "pingfederate",
    "federate-old": "pingfederate",
    "generic": "generic",
    "quiet": "generic",
    "endless": "generic",
    "late": "generic",
}
#: Their discovery document is read while it names no ``end_session_endpoint``.
WITHOUT_END_SESSION = ("federate-old", "endless")
LAWFUL = ("no_exp", "long_exp", "typ_jwt", "no_typ", "several_aud")
UNLAWFUL = sorted(set(RECIPES) - set(LAWFUL))
NO_STORE = "no-store"


def entries(idp_url: str) -> list[dict[str, Any]]:
    """The providers, all but one of which are signed out of as well."""

    def lab(name: str, **changes: Any) -> dict[str, Any]:
        return stacks.generic(idp_url, **{"name": name, "provider_sign_out": True, **changes})

    federate = {"vendor": "pingfederate", "issuer": f"{idp_url}/pf", "insecure_subject_may_be_reused": True}
    return [
        stacks.entra(idp_url, provider_sign_out=True),
        lab(
            "pingone",
            vendor="pingone",
            environment_id=PINGONE_ENVIRONMENT_ID,
            issuer=f"{idp_url}/pingone/{PINGONE_ENVIRONMENT_ID}/as",
        ),
        lab("federate", **federate),
        lab("federate-old", **federate),
        lab("generic", id_token_algorithms=["RS256"]),
        lab("quiet", provider_sign_out=False),
        lab("endless"),
        lab("late"),
        stacks.entra(idp_url, name="broken", tenant_id="not-a-guid"),
    ]


@pytest.fixture(scope="module")
def shared_airflow_out(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An Airflow of this module's own."""
    with stacks.migrated_home(migrated_database, tmp_path_factory.mktemp("logout") / "home") as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure(entries(identity_provider.url))
        try:
            stack.start()
            drive = stacks.driver(identity_provider)
            drive.knobs(discovery__remove=["end_session_endpoint"])
            for name in WITHOUT_END_SESSION:
                _read_by_each_process(stack, drive, name)
            drive.reset()
            yield stack
        finally:
            stack.stop()


def _read_by_each_process(stack: Stack, drive: Driver, name: str) -> None:
    drive.control("DELETE", "requests")

    def is_read() -> bool:
        stack.visitor().at(f"/auth/login/{name}", allow_redirects=False)
        return len(drive.control("GET", f"requests?endpoint=discovery&face={FACES[name]}")) == PROCESSES

    soon(is_read)


@pytest.fixture
def airflow_out(shared_airflow_out: Stack, idp: Handle) -> Stack:
    """The same, registered with the honest local provider."""
    register(shared_airflow_out, idp)
    return shared_airflow_out


def register(stack: Stack, idp: Handle) -> None:
    signed_out = f"{stack.auth_url}/signed-out/"
    stacks.driver(idp).control(
        "POST",
        "clients",
        {
            "redirect_uris": [
                signed_out,  # which is where Entra looks for it
                *(f"{stack.auth_url}/oauth-authorized/{name}" for name in FACES),
            ],
            "post_logout_redirect_uris": [signed_out],
            "backchannel_logout_uris": [backchannel(stack, name) for name in (*FACES, "broken", "nobody")],
        },
    )


@pytest.fixture
def drive(idp: Handle) -> Driver:
    return stacks.driver(idp)


def backchannel(stack: Stack, provider: str) -> str:
    return f"{stack.auth_url}/logout/backchannel/{provider}"


def tell(stack: Stack, drive: Driver, provider: str = "generic", **more: Any) -> dict[str, Any]:
    """Have the provider say that ada has signed out; its token, and what it was answered."""
    about = {"face": FACES.get(provider, "generic"), "person": "ada", "uri": backchannel(stack, provider)}
    told: dict[str, Any] = drive.control("POST", "logout", {**about, **more})
    return told


def signed_in(stack: Stack, provider: str = "generic", person: str = "ada") -> Visitor:
    visitor = stack.visitor()
    page = visitor.sign_in(person, provider)
    assert visitor.who(), facts(page)
    return visitor


def sids(drive: Driver, provider: str = "generic", person: str = "ada") -> list[str]:
    """The provider's names of a person's sessions, oldest first."""
    found: list[str] = drive.control("GET", "sessions")[FACES[provider]].get(person, [])
    return found


def carried(visitor: Visitor) -> str | None:
    """What a program of this person's would carry: the token, or on 2.11 the session cookie."""
    return visitor.cookies.get("session" if IS_AIRFLOW_2 else "_token")


def bearer(stack: Stack, token: str | None) -> int:
    """How the API answers a program that has this."""
    headers = {"Cookie": f"session={token}"} if IS_AIRFLOW_2 else {"Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{stack.url}{API}/dags", headers=headers, timeout=30).status_code


def has_ended(stack: Stack, visitor: Visitor, token: str | None) -> bool:
    """In the browser, in a program, and for whoever has the session cookie alone: all three or none."""
    cookie_alone = {"session": str(visitor.cookies.get("session"))}
    found = {
        visitor.who() is None,
        bearer(stack, token) in (401, 403),
        not stack.visitor().at("/auth/login/", cookies=cookie_alone, allow_redirects=False).is_redirect,
    }
    (answer,) = found
    return answer


def refusals(stack: Stack) -> list[dict[str, Any]]:
    """What the log says of notices that were not obeyed."""
    lines = [line for line in stack.log.splitlines() if '"logout_notice_refused"' in line]
    return [json.loads(line[line.index('{"') : line.rindex("}") + 1]) for line in lines]


def latest_session(stack: Stack) -> dict[str, Any]:
    return stack.rows("select * from sso_session order by id desc limit 1")[0]


# --- back-channel --------------------------------------------------------------------------------------


@both_lines
@pytest.mark.parametrize("names", ["sid", "both"])
def test_b4_a_sid_ends_that_session_and_no_other(airflow_out: Stack, drive: Driver, names: str) -> None:
    laptop = signed_in(airflow_out)
    phone = signed_in(airflow_out)
    otto = signed_in(airflow_out, person="otto")
    first, second = sids(drive)[-2:]
    tokens = [carried(one) for one in (laptop, phone, otto)]
    assert [bearer(airflow_out, token) for token in tokens] == [200, 200, 200]

    told = tell(airflow_out, drive, sid=first, names=names)
    assert (told["status"], told["body"], told["headers"]["cache-control"]) == (200, "", NO_STORE)
    assert "set-cookie" not in told["headers"]
    assert has_ended(airflow_out, laptop, tokens[0])
    assert not has_ended(airflow_out, phone, tokens[1])
    assert not has_ended(airflow_out, otto, tokens[2])

    row = airflow_out.rows("select * from sso_decision where event = 'access_ended' order by id desc limit 1")
    assert (row[0]["reason"], row[0]["provider"]) == ("the provider ended it", "generic")
    assert first != second


def test_b4_a_sub_alone_ends_every_session_of_the_person_through_that_provider(
    airflow_out: Stack, drive: Driver
) -> None:
    here = [signed_in(airflow_out), signed_in(airflow_out)]
    elsewhere = signed_in(airflow_out, "entra")
    otto = signed_in(airflow_out, person="otto")
    tokens = [carried(one) for one in here]
    assert tell(airflow_out, drive, names="sub")["status"] == 200
    assert [has_ended(airflow_out, *one) for one in zip(here, tokens, strict=True)] == [True, True]
    assert elsewhere.who()
    assert otto.who()
    assert signed_in(airflow_out).who(), "whoever signs in afterwards is in"


def test_b4_a_sid_of_somebody_else_ends_nothing(airflow_out: Stack, drive: Driver) -> None:
    otto = signed_in(airflow_out, person="otto")
    (theirs,) = sids(drive, person="otto")
    assert tell(airflow_out, drive, sid=theirs, names="both")["status"] == 200
    assert otto.who(), "sid and sub name a session of ada's, and there is none"
    assert tell(airflow_out, drive, sid=theirs, names="both", person="otto")["status"] == 200
    assert otto.who() is None


def test_b4_what_nobody_here_knows_of_has_ended(airflow_out: Stack, drive: Driver) -> None:
    vera = signed_in(airflow_out, person="vera")
    told = tell(airflow_out, drive, sid="00000000-0000-4000-8000-000000000000")
    assert (told["status"], told["headers"]["cache-control"]) == (200, NO_STORE)
    assert tell(airflow_out, drive, person="otto", names="sub")["status"] == 200
    assert vera.who()


@pytest.mark.parametrize("recipe", UNLAWFUL)
def test_b1_b2_a_token_that_is_not_right_ends_nothing(airflow_out: Stack, drive: Driver, recipe: str) -> None:
    visitor = signed_in(airflow_out)
    before = len(refusals(airflow_out))
    told = tell(airflow_out, drive, recipe=recipe, keep=True)
    assert (told["status"], told["headers"]["cache-control"]) == (400, NO_STORE)
    assert json.loads(told["body"]) == {
        "error": "invalid_request",
        "error_description": "The logout notice was not accepted.",
    }
    assert visitor.who()
    (said,) = refusals(airflow_out)[before:]
    assert said["provider"] == "generic"
    assert said["code"].startswith("SSO-2")
    assert told["token"][:20] not in airflow_out.log
    # The control: the same notice as it ought to be.
    assert tell(airflow_out, drive)["status"] == 200
    assert visitor.who() is None


@pytest.mark.parametrize("recipe", LAWFUL)
def test_what_older_providers_send_is_obeyed(airflow_out: Stack, drive: Driver, recipe: str) -> None:
    visitor = signed_in(airflow_out)
    assert tell(airflow_out, drive, recipe=recipe)["status"] == 200
    assert visitor.who() is None
    if recipe == "long_exp":
        assert "a logout token of http" in airflow_out.log


@pytest.mark.parametrize("provider", ["entra", "pingone", "federate"])
def test_every_vendor_is_obeyed(airflow_out: Stack, drive: Driver, provider: str) -> None:
    visitor = signed_in(airflow_out, provider)
    assert tell(airflow_out, drive, "generic", names="sub")["status"] == 200
    assert visitor.who(), "another provider's word"
    assert tell(airflow_out, drive, provider)["status"] == 200
    assert visitor.who() is None


def test_b3_a_notice_counts_once(airflow_out: Stack, drive: Driver) -> None:
    signed_in(airflow_out)
    told = tell(airflow_out, drive, names="sub")
    assert told["status"] == 200
    visitor = signed_in(airflow_out)
    again = tell(airflow_out, drive, token=told["token"])
    assert (again["status"], again["headers"]["cache-control"]) == (400, NO_STORE)
    assert visitor.who()
    assert "carried out before" in refusals(airflow_out)[-1]["reason"]
    assert tell(airflow_out, drive, names="sub")["status"] == 200, "a new one about the same person"
    assert visitor.who() is None


@pytest.mark.parametrize("names", ["sid", "both", "sub"])
def test_a_notice_that_overtakes_the_sign_in_ends_it(airflow_out: Stack, drive: Driver, names: str) -> None:
    visitor, bystander = airflow_out.visitor(), airflow_out.visitor()
    way_back = visitor.press_only(visitor.go_to_provider("generic"), "ada")
    others = bystander.press_only(bystander.go_to_provider("generic"), "otto")
    assert tell(airflow_out, drive, names=names)["status"] == 200
    page = visitor.get(way_back, timeout=30)
    assert (facts(page)[0], visitor.who()) == ("SSO-101", None)
    assert latest_session(airflow_out)["ended_because"] == "the provider ended it before it began"
    bystander.get(others, timeout=30)
    assert bystander.who(), "it was about ada"
    assert signed_in(airflow_out).who(), "and about what had begun before it"


def test_the_form_is_read_as_it_must_be(airflow_out: Stack, drive: Driver) -> None:
    visitor, url = signed_in(airflow_out), backchannel(airflow_out, "generic")
    (sid,) = sids(drive)[-1:]
    token = tell(airflow_out, drive, sid=sid, send=False)["token"]
    rows = "select count(*) as n from session"
    before = airflow_out.rows(rows)
    stranger = airflow_out.visitor()
    for wrong in (
        {"data": {"logout_token": [token, token]}},
        {"data": {"logout_token": "x" * 200_000}},
        {"data": {"logout_token": token, "padding": "x" * 200_000}},
        {"data": {"token": token}},
        {"params": {"logout_token": token}},
        {"json": {"logout_token": token}},
        {},
    ):
        answer = stranger.post(url, timeout=30, **wrong)  # type: ignore[arg-type]
        assert (answer.status_code, answer.headers["Cache-Control"]) == (400, NO_STORE), wrong.keys()
        assert not answer.cookies
    assert stranger.get(url, params={"logout_token": token}, timeout=30).status_code == 405
    assert airflow_out.rows(rows) == before
    assert visitor.who()
    assert stranger.post(url, data={"logout_token": token}, timeout=30).status_code == 200
    assert visitor.who() is None


def test_only_providers_of_this_protocol_have_the_address(airflow_out: Stack, drive: Driver) -> None:
    signed_in(airflow_out)
    assert tell(airflow_out, drive, "nobody", keep=True)["status"] == 404
    told = tell(airflow_out, drive, "broken", keep=True)
    assert (told["status"], told["headers"]["retry-after"]) == (503, "5")


def test_b6_while_the_database_cannot_be_written_the_provider_is_told_to_come_again(
    airflow_out: Stack, drive: Driver
) -> None:
    visitor = signed_in(airflow_out)
    # The first fails before anything is written down, the second half-way: remembered, and not done.
    for table in ("sso_logout_notice", "sso_session_path"):
        token = tell(airflow_out, drive, sid=sids(drive)[-1], send=False, keep=True)["token"]
        airflow_out.write(f"alter table {table} rename to mislaid")
        try:
            told = tell(airflow_out, drive, token=token)
        finally:
            airflow_out.write(f"alter table mislaid rename to {table}")
        assert told["status"] == 503
        assert (told["headers"]["retry-after"], told["headers"]["cache-control"]) == ("5", NO_STORE)
        assert json.loads(told["body"])["error"] == "temporarily_unavailable"
        assert visitor.who(), "nothing is half done"
    assert tell(airflow_out, drive, token=token)["status"] == 200, "the very same notice"
    assert visitor.who() is None


def test_b6_a_notice_that_cannot_be_verified_yet_may_come_again(airflow_out: Stack, drive: Driver) -> None:
    """Nobody has used this provider yet, so nothing of it is known."""
    token = tell(airflow_out, drive, "late", names="sub", send=False)["token"]
    for knobs in (
        {"discovery__down": True},
        {"discovery__set": {"issuer": "https://evil.example"}},
        {"jwks__down": True},
    ):
        drive.knobs(**knobs)
        told = tell(airflow_out, drive, "late", token=token)
        assert (told["status"], told["headers"]["retry-after"]) == (503, "5"), knobs
        drive.control("DELETE", "knobs")
    assert tell(airflow_out, drive, "late", token=token)["status"] == 200


def test_strangers_cannot_use_up_the_fetches_that_sign_ins_need(airflow_out: Stack, drive: Driver) -> None:
    signed_in(airflow_out, "pingone")
    drive.control("DELETE", "requests")
    for _ in range(12):
        told = tell(airflow_out, drive, "pingone", recipe="unknown_kid", names="sub", keep=True)
        assert told["status"] == 400
    assert len(drive.control("GET", "requests?endpoint=jwks&face=pingone")) <= 3 * PROCESSES
    drive.control("POST", "keys/rotate", {"face": "pingone"})
    assert signed_in(airflow_out, "pingone").who()


def test_the_addresses_are_printed_for_whoever_registers_us(airflow_out: Stack) -> None:
    with airflow_out.command("urls", "--json") as process:
        process.wait(timeout=60)  # a provider of this file is configured wrongly, which it says too
        text = process.log.read_text()
    printed = json.loads(text[text.index("{\n") : text.rindex("}") + 1])["generic"]
    assert printed["backchannel_logout_uri"] == backchannel(airflow_out, "generic")
    assert printed["frontchannel_logout_uri"] == f"{airflow_out.auth_url}/logout/frontchannel/generic"


# --- front-channel -------------------------------------------------------------------------------------


def frontchannel(stack: Stack, query: dict[str, Any], provider: str = "generic") -> requests.Response:
    """What a hidden frame gets, which has none of our cookies."""
    return stack.visitor().at(f"/auth/logout/frontchannel/{provider}", params=query)


@both_lines
@pytest.mark.parametrize("with_issuer", [True, False])
def test_a_front_channel_call_ends_the_session_that_it_names(
    airflow_out: Stack, drive: Driver, with_issuer: bool
) -> None:
    laptop, phone = signed_in(airflow_out), signed_in(airflow_out)
    tokens = [carried(one) for one in (laptop, phone)]
    first, _second = sids(drive)[-2:]
    assert airflow_out.idp is not None
    issuer = {"iss": f"{airflow_out.idp.url}/generic"} if with_issuer else {}
    answer = frontchannel(airflow_out, {"sid": first, **issuer})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, NO_STORE)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "X-Frame-Options" not in answer.headers
    assert "frame-ancestors" not in answer.headers.get("Content-Security-Policy", "")
    assert not answer.cookies
    assert has_ended(airflow_out, laptop, tokens[0])
    assert not has_ended(airflow_out, phone, tokens[1])


def test_a_front_channel_call_that_is_not_right_ends_nothing(airflow_out: Stack, drive: Driver) -> None:
    visitor = signed_in(airflow_out)
    (sid,) = sids(drive)[-1:]
    for query in (
        {},
        {"sid": ""},
        {"sid": [sid, "another"]},
        {"sid": "x" * 1001},
        {"sid": sid, "iss": "https://evil.example"},
        {"sid": sid, "iss": ""},
    ):
        assert frontchannel(airflow_out, query).status_code == 400, query
    assert frontchannel(airflow_out, {"sid": sid}, "entra").status_code == 200, "a session of another's"
    assert frontchannel(airflow_out, {"sid": "unknown"}).status_code == 200
    assert frontchannel(airflow_out, {"sid": sid}, "nobody").status_code == 404
    assert visitor.who()
    assert frontchannel(airflow_out, {"sid": sid}).status_code == 200
    assert visitor.who() is None


# --- signing out here, and there -----------------------------------------------------------------------


def silent(stack: Stack, visitor: Visitor, provider: str) -> dict[str, list[str]]:
    """What the provider says when it may not show a page: a code where it knows the browser."""
    away = visitor.at(f"/auth/login/{provider}", allow_redirects=False).headers["Location"]
    answer = visitor.get(f"{away}&prompt=none", allow_redirects=False, timeout=30)
    return parse_qs(urlsplit(answer.headers["Location"]).query)


SIGN_OUTS = {
    "entra": ("logout", {"client_id", "post_logout_redirect_uri", "id_token_hint", "logout_hint"}),
    "pingone": ("logout", {"client_id", "post_logout_redirect_uri", "id_token_hint"}),
    "federate": ("logout", {"client_id", "post_logout_redirect_uri", "id_token_hint"}),
    "federate-old": ("older_logout", {"TargetResource"}),
    "generic": ("logout", {"client_id", "post_logout_redirect_uri", "id_token_hint"}),
}


@both_lines
@pytest.mark.parametrize("provider", SIGN_OUTS)
def test_signing_out_leads_to_the_provider_and_back(airflow_out: Stack, drive: Driver, provider: str) -> None:
    endpoint, parameters = SIGN_OUTS[provider]
    drive.control("PUT", "people/ada", {"claims": {"login_hint": "O.CiRhZGE"}})
    visitor = signed_in(airflow_out, provider)
    token = carried(visitor)
    assert "code" in silent(airflow_out, visitor, provider), "the provider knows this browser"
    kept = latest_session(airflow_out)["sign_out_hints"]
    assert kept.startswith("gAAAA")
    assert "." not in kept, "every token in the clear has two"

    page = visitor.leave()
    assert (page.url, page.status_code) == (f"{airflow_out.auth_url}/signed-out/", 200)
    assert bearer(airflow_out, token) in (401, 403)
    assert visitor.who() is None
    assert silent(airflow_out, visitor, provider)["error"] == ["interaction_required"]

    (seen,) = drive.control("GET", f"requests?endpoint={endpoint}&face={FACES[provider]}")
    assert (seen["outcome"], set(seen["query"])) == ("redirect", parameters)
    if "logout_hint" in parameters:
        assert seen["values"]["logout_hint"] == "O.CiRhZGE"
    ended = latest_session(airflow_out)
    assert (ended["ended_because"], ended["sign_out_hints"]) == ("signed out", None)


def test_without_any_claim_for_it_entra_gets_no_logout_hint(airflow_out: Stack, drive: Driver) -> None:
    visitor = signed_in(airflow_out, "entra")
    assert visitor.leave().url == f"{airflow_out.auth_url}/signed-out/"
    (seen,) = drive.control("GET", "requests?endpoint=logout")
    assert set(seen["query"]) == SIGN_OUTS["pingone"][1]


def test_a_hint_that_fits_into_no_address_is_left_out(airflow_out: Stack, drive: Driver) -> None:
    drive.knobs(id_token__min_bytes=9000)
    visitor = signed_in(airflow_out)
    assert visitor.leave().url == f"{airflow_out.auth_url}/signed-out/"
    (seen,) = drive.control("GET", "requests?endpoint=logout")
    assert set(seen["query"]) == {"client_id", "post_logout_redirect_uri"}


def test_no_address_is_longer_than_what_is_on_its_way_takes(idp: Handle) -> None:
    door = OidcDoor(GenericOidc.model_validate(stacks.generic(idp.url)), "", "http://localhost/signed-out/")
    for length, fits in ((6500, True), (6990, False)):
        way = door.sign_out({"id_token": "x" * length})
        assert way is not None
        assert ("id_token_hint" in way.url, len(way.url) <= 7000) == (fits, True)
        assert "post_logout_redirect_uri" in way.url


@pytest.mark.parametrize("provider", ["quiet", "endless"])
def test_where_it_is_not_wished_for_or_not_offered_it_ends_here(
    airflow_out: Stack, drive: Driver, provider: str
) -> None:
    visitor = signed_in(airflow_out, provider)
    assert (latest_session(airflow_out)["sign_out_hints"] is None) == (provider == "quiet")
    page = visitor.leave()
    assert page.url == f"{airflow_out.auth_url}/signed-out/"
    assert [urlsplit(one.url).path for one in page.history] == [route("/auth/logout/")]
    assert visitor.who() is None
    assert "code" in silent(airflow_out, visitor, provider)
    assert drive.control("GET", "requests?endpoint=logout") == []


def test_with_the_provider_down_one_is_signed_out_here_all_the_same(
    airflow_out: Stack, drive: Driver
) -> None:
    visitor = signed_in(airflow_out)
    token = carried(visitor)
    drive.knobs(down=True)
    answer = visitor.leave(allow_redirects=False)
    assert answer.is_redirect
    assert answer.headers["Cache-Control"] == NO_STORE
    assert visitor.who() is None
    assert bearer(airflow_out, token) in (401, 403)


def test_an_address_that_is_not_registered_leaves_one_at_the_provider(
    airflow_out: Stack, drive: Driver
) -> None:
    """The control of the above: the local provider goes to registered addresses only."""
    visitor = signed_in(airflow_out)
    drive.reset()
    page = visitor.leave()
    assert page.url.startswith(f"{drive.url}/generic/logout")
    assert visitor.who() is None


@pytest.mark.server
def test_without_a_key_to_encrypt_with_nothing_is_kept(
    migrated_database: Database, idp: Handle, drive: Driver, tmp_path: Path
) -> None:
    keyless = {"AIRFLOW__CORE__FERNET_KEY": ""}
    with stacks.migrated_home(migrated_database, tmp_path / "home", extra=keyless) as home:
        stack = Stack(home, idp=idp)
        stack.configure([stacks.generic(idp.url, provider_sign_out=True)])
        register(stack, idp)
        try:
            stack.start()
            visitor = signed_in(stack)
            assert latest_session(stack)["sign_out_hints"] is None
            assert "[core] fernet_key is not set" in stack.log
            assert visitor.leave().url == f"{stack.auth_url}/signed-out/"
            assert visitor.who() is None
            assert drive.control("GET", "requests?endpoint=logout") == []
        finally:
            stack.stop()
