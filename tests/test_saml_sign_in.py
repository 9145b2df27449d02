"""Signing in with SAML: who somebody is, what they may do, and whose browser it is."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_sso.airflow_compat import IS_AIRFLOW_2
from devidp.people import derived_id
from devidp.saml_response import Attribute
from devidp.server import Handle
from tests.lines import API, both_lines, route
from tests.saml import Conversation, authn_request
from tests.stack import GROUPS, Stack, driver, facts, free_port

Talk = Callable[..., Conversation]

MICROSOFT = "http://schemas.microsoft.com/identity/claims"
GROUPS_LINK = "http://schemas.microsoft.com/claims/groups.link"
FORMATS = {
    "persistent": "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
    "transient": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient",
    "emailAddress": "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
    "unspecified": "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified",
    "none": None,
}


def accounts(stack: Stack, authority: str, subject: str) -> list[int]:
    query = "select user_id from sso_account where authority = ? and subject = ?"
    return [row["user_id"] for row in stack.rows(query, authority, subject)]


# --- who somebody is, and what they may do ------------------------------------------------------------


@both_lines
@pytest.mark.parametrize(
    "provider", ["entra-saml", "pingone-saml", "federate-saml", "lab-saml", "lab-keyless", "lab-named"]
)
@pytest.mark.parametrize(("person", "role"), [("ada", "Admin"), ("vera", "Viewer")])
def test_a_group_becomes_a_role(
    talk: Talk, airflow_saml: Stack, provider: str, person: str, role: str
) -> None:
    conversation = talk(provider)
    page = conversation.sign_in(person, "/dags?tags=mine")
    assert page.url == f"{airflow_saml.url}/dags?tags=mine", facts(page)
    username = conversation.visitor.who()
    assert username
    assert username.startswith(person)
    assert airflow_saml.roles_of(username) == {role}
    connections = conversation.visitor.at(f"{API}/connections")
    assert connections.status_code == (200 if role == "Admin" else 403)


@pytest.mark.parametrize("provider", ["entra-saml", "pingone-saml", "federate-saml", "lab-saml"])
def test_a_person_without_a_mapped_group_is_refused_by_name(talk: Talk, provider: str) -> None:
    conversation = talk(provider)
    page = conversation.sign_in("nora")
    assert facts(page)[0] == "SSO-301"
    assert "nora" in page.text
    assert conversation.visitor.who() is None


def test_a_guest_is_refused_at_the_door(talk: Talk) -> None:
    conversation = talk("entra-saml").ask()
    page = conversation.post(conversation.answer("hugo"))
    assert facts(page)[0] == "SSO-306"
    assert conversation.post(conversation.answer("ada")).status_code == 303


def test_more_groups_than_fit_are_unknown_and_not_none(talk: Talk, airflow_saml: Stack) -> None:
    """Row O17 in SAML's words: a link stands where the groups would (facts A15, C5)."""
    conversation = talk("entra-saml")
    claims = {a.name: a.values for a in conversation.ask().recipe("over").attributes or ()}
    assert GROUPS_LINK in claims
    page = conversation.follow(conversation.post(conversation.answer("over")))
    assert facts(page)[0] == "SSO-305"
    assert conversation.visitor.who() is None


def test_a_link_beside_groups_makes_them_unknown_too(talk: Talk) -> None:
    conversation = talk("entra-saml").ask()
    both = (*(conversation.recipe().attributes or ()), Attribute(name=GROUPS_LINK, values=("https://x",)))
    assert facts(conversation.follow(conversation.post(conversation.answer(attributes=both))))[0] == "SSO-305"


@pytest.mark.parametrize(
    ("one", "other", "authority", "subject"),
    [
        ("entra-saml", "entra", "entra:public:", None),
        ("pingone-saml", "pingone", "pingone:", "pingone"),
        ("lab-saml", "generic", "lab", "generic"),
    ],
)
@pytest.mark.parametrize("saml_first", [True, False])
def test_the_same_person_is_the_same_account_through_both_protocols(
    talk: Talk,
    airflow_saml: Stack,
    idp: Handle,
    one: str,
    other: str,
    authority: str,
    subject: str | None,
    saml_first: bool,
) -> None:
    name = f"twice{one[:3]}{'a' if saml_first else 'b'}"
    driver(idp).control("PUT", f"people/{name}", {"groups": ["airflow_prod_op"]})
    person = idp.state.people.get(name)
    assert person

    def through_saml() -> str | None:
        conversation = talk(one)
        conversation.sign_in(name)
        return conversation.visitor.who()

    def through_oidc() -> str | None:
        visitor = airflow_saml.visitor()
        visitor.sign_in(name, other)
        return visitor.who()

    ways = [through_saml, through_oidc]
    names = [way() for way in (ways if saml_first else reversed(ways))]
    assert all(names)
    rows = airflow_saml.rows(
        "select authority, user_id from sso_account where subject = ?",
        derived_id(person, subject) if subject else person.oid,
    )
    assert len(rows) == 1, "one link"
    assert rows[0]["authority"].startswith(authority)


# --- what names a person ------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("provider", ["lab-saml", "lab-reused", "lab-named"])
def test_only_what_lasts_is_an_accounts_key(talk: Talk, provider: str, format_name: str) -> None:
    """``lab-named`` keys on an attribute: whatever the NameID is, it does not count."""
    conversation = talk(provider).ask()
    changes = {"name_id": f"id-{format_name}", "name_id_format": FORMATS[format_name]}
    page = conversation.post(conversation.answer(**changes))
    lasting = format_name == "persistent"
    reusable = format_name not in ("persistent", "transient")
    if lasting or provider == "lab-named" or (provider == "lab-reused" and reusable):
        assert page.status_code == 303, facts(page)
    else:
        assert facts(page)[0] == "SSO-205"
        assert "persistent NameID" in conversation.why(page)


def test_a_login_name_as_name_id_needs_to_be_asked_for(talk: Talk) -> None:
    """PingFederate's default; the control is the same with the key that says so."""
    refused = talk("lab-login").ask()
    page = refused.post(refused.answer())
    assert facts(page)[0] == "SSO-205"
    assert "name an immutable attribute" in refused.why(page)
    taken = talk("lab-reused").ask()
    assert taken.post(taken.answer()).status_code == 303


def test_a_name_id_of_another_authority_is_no_key(talk: Talk) -> None:
    conversation = talk().ask()
    foreign = conversation.answer(name_qualifier="https://elsewhere.example")
    assert facts(conversation.post(foreign))[0] == "SSO-205"
    assert conversation.post(conversation.answer()).status_code == 303


@pytest.mark.parametrize(
    "tenant", ["ffffeeee-9999-dddd-8888-cccc7777bbbb", None, ""], ids=["another's", "absent", "empty"]
)
def test_entra_must_name_the_configured_tenant(talk: Talk, tenant: str | None) -> None:
    conversation = talk("entra-saml").ask()
    attributes = [a for a in conversation.recipe().attributes or () if a.name != f"{MICROSOFT}/tenantid"]
    if tenant is not None:
        attributes.append(Attribute(name=f"{MICROSOFT}/tenantid", values=(tenant,)))
    page = conversation.post(conversation.answer(attributes=tuple(attributes)))
    assert facts(page)[0] == ("SSO-202" if tenant else "SSO-205")
    assert conversation.post(conversation.answer()).status_code == 303


def test_an_address_of_somebody_else_links_to_nobody(talk: Talk, airflow_saml: Stack) -> None:
    """Row S28: the address and the username of an administrator of another provider."""
    first = talk("entra-saml")
    first.sign_in("ada")
    administrator = first.visitor.who()
    assert administrator
    thief = talk("lab-saml").ask()
    attributes = (
        Attribute(name="uid", values=(administrator,)),
        Attribute(name="mail", values=("ada@contoso.example",)),
        Attribute(name="groups", values=("airflow_prod_viewer",)),
    )
    thief.follow(thief.post(thief.answer(name_id="thief", attributes=attributes)))
    assert thief.visitor.who() == f"{administrator}~2"
    assert airflow_saml.roles_of(administrator) == {"Admin"}
    assert airflow_saml.roles_of(f"{administrator}~2") == {"Viewer"}


def test_a_lost_role_is_lost_at_the_next_sign_in(talk: Talk, airflow_saml: Stack, idp: Handle) -> None:
    """Flask-AppBuilder's own SAML keeps the old roles when the new set is empty."""
    drive = driver(idp)
    drive.control("PUT", "people/lena", {"groups": ["airflow_prod_admin"]})
    conversation = talk()
    conversation.sign_in("lena")
    assert airflow_saml.roles_of("lena") == {"Admin"}
    drive.control("PUT", "people/lena", {"groups": ["everyone"]})
    assert facts(talk().sign_in("lena"))[0] == "SSO-301"
    assert airflow_saml.roles_of("lena") == set()


def test_a_group_that_is_not_text_makes_the_groups_unknown(talk: Talk) -> None:
    conversation = talk().ask()

    def nest(response: Any) -> None:
        groups = response.xpath("//*[local-name()='Attribute'][@Name='groups']/*")
        groups[0].append(groups[0].makeelement("{urn:example}nested"))

    page = conversation.follow(conversation.post(conversation.answer(mutate=nest, typed=False)))
    assert facts(page)[0] == "SSO-305"


# --- whose browser it is ------------------------------------------------------------------------------


@both_lines
def test_the_post_alone_signs_nobody_in(talk: Talk, airflow_saml: Stack) -> None:
    conversation = talk().ask()
    posted = conversation.post(conversation.answer(), RelayState="https://evil.example/")
    assert posted.status_code == 303
    assert posted.headers["Location"].startswith(f"{airflow_saml.auth_url}/saml/finish/lab-saml?handle=")
    assert "set-cookie" not in posted.headers
    assert conversation.visitor.who() is None
    assert conversation.follow(posted).url == airflow_saml.landing_url
    assert conversation.visitor.who()


def test_the_handle_opens_nothing_in_another_browser_and_nothing_twice(
    talk: Talk, airflow_saml: Stack
) -> None:
    conversation = talk().ask()
    address = conversation.post(conversation.answer()).headers["Location"]
    stranger = airflow_saml.visitor()
    assert facts(stranger.get(address, timeout=30))[0] == "SSO-101"
    assert talk(visitor=stranger).ask().visitor.get(address, timeout=30).status_code == 403
    assert stranger.who() is None
    assert conversation.visitor.get(address, timeout=30).ok
    assert conversation.visitor.who()
    assert facts(conversation.visitor.get(address, timeout=30))[0] == "SSO-101"


def test_the_handle_counts_for_a_minute(talk: Talk, airflow_saml: Stack) -> None:
    conversation = talk().ask("/dags")
    address = conversation.post(conversation.answer()).headers["Location"]
    (row,) = airflow_saml.rows(
        "select id, (julianday(expires_at) - julianday('now')) * 86400 as seconds from sso_login_attempt "
        "where handle_hash is not null order by id desc limit 1"
    )
    assert 50 < row["seconds"] <= 60
    airflow_saml.write(
        "update sso_login_attempt set expires_at = datetime('now', '-1 seconds') where id = ?", row["id"]
    )
    page = conversation.visitor.get(address, timeout=30)
    assert facts(page)[0] == "SSO-101"
    assert "next=" in page.text, "the way back to where the person was going"
    assert conversation.visitor.who() is None


def test_a_response_for_one_browser_cannot_be_finished_by_another(talk: Talk) -> None:
    """Login CSRF with a response that the attacker did ask for: the victim's browser lacks the cookie."""
    attacker, victim = talk().ask(), talk()
    posted = attacker.post(attacker.answer("vera"))
    assert facts(victim.visitor.get(posted.headers["Location"], timeout=30))[0] == "SSO-101"
    assert victim.visitor.who() is None


def test_a_sign_in_over_another_persons_session_ends_it(talk: Talk, airflow_saml: Stack) -> None:
    first = talk()
    first.sign_in("ada")
    session, token = (first.visitor.cookies.get(name) for name in ("session", "_token"))
    again = talk("lab-saml", visitor=first.visitor)
    again.sign_in("vera")
    assert (again.visitor.who() or "").startswith("vera")
    assert again.visitor.cookies.get("session") != session
    copy = airflow_saml.visitor()
    copy.cookies.set("session", session or "", domain="localhost.local")
    assert (
        copy.at("/auth/login/", allow_redirects=False).headers.get("Location", "") != f"{airflow_saml.url}/"
    )
    bearer = airflow_saml.visitor()
    bearer.headers["Authorization"] = f"Bearer {token}"
    assert bearer.who() is None


def test_the_post_leaves_a_session_that_did_not_come_along(talk: Talk) -> None:
    """A browser sends no Lax cookie with the POST; what it has must still be there afterwards."""
    signed_in = talk()
    signed_in.sign_in("ada")
    planted = talk()  # as the same browser posts across sites: without cookies
    for answer in (planted.post("nonsense"), planted.ask().post(planted.answer("vera"))):
        cookies = answer.headers.get("set-cookie", "")
        assert "session=" not in cookies
        assert "_token=" not in cookies


# --- tiles on a portal --------------------------------------------------------------------------------


def unasked(conversation: Conversation, **changes: Any) -> bytes:
    nothing = {"in_response_to": None, "confirmation_in_response_to": None}
    return conversation.answer(**{**nothing, **changes})


def test_an_unsolicited_response_starts_a_sign_in_of_its_own(talk: Talk, airflow_saml: Stack) -> None:
    conversation = talk()
    posted = conversation.post(unasked(conversation))
    assert posted.status_code == 303
    assert posted.headers["Location"] == f"{airflow_saml.auth_url}/login/lab-saml?again=1"
    assert conversation.visitor.who() is None
    started = conversation.visitor.get(posted.headers["Location"], allow_redirects=False, timeout=30)
    conversation.request_id = authn_request(started.headers["Location"]).get("ID")
    conversation.follow(conversation.post(conversation.answer()))
    assert conversation.visitor.who()
    again = conversation.visitor.get(posted.headers["Location"], allow_redirects=False, timeout=30)
    assert again.status_code == 302, "after a sign-in the tile may be clicked again"


def test_a_provider_that_never_answers_our_requests_is_not_asked_for_ever(talk: Talk) -> None:
    conversation = talk()
    posted = conversation.post(unasked(conversation))
    assert conversation.visitor.get(posted.headers["Location"], allow_redirects=False, timeout=30).is_redirect
    second = conversation.post(unasked(conversation))
    page = conversation.visitor.get(second.headers["Location"], allow_redirects=False, timeout=30)
    assert facts(page)[0] == "SSO-204"
    assert "no InResponseTo" in conversation.why(page)


def test_refuse_refuses_it(talk: Talk) -> None:
    conversation = talk("lab-refuse")
    page = conversation.post(unasked(conversation))
    assert facts(page)[0] == "SSO-204"
    assert "idp_initiated: refuse" in conversation.why(page)
    conversation.sign_in()
    assert conversation.visitor.who(), "the control: what was asked for"


def test_insecure_idp_initiated_takes_it_once_with_every_other_check(talk: Talk, airflow_saml: Stack) -> None:
    conversation = talk("lab-unasked")
    response = unasked(conversation)
    assert conversation.follow(conversation.post(response)).ok
    assert conversation.visitor.who()
    replayed = talk("lab-unasked")
    page = replayed.post(response)
    assert facts(page)[0] == "SSO-204"
    assert "used before" in replayed.why(page)
    for changes in (
        {"audiences": ("urn:other",)},
        {"not_on_or_after": -120},
        {"recipient": f"{replayed.acs}x"},
        {"confirmation_in_response_to": "_made-up"},
    ):
        assert replayed.post(unasked(replayed, **changes)).status_code == 403, changes
    told = [line for line in airflow_saml.log.splitlines() if "weakens a check" in line]
    assert any(".idp_initiated " in line for line in told), "it is said at start"


# --- the request --------------------------------------------------------------------------------------


def test_the_request_asks_for_what_is_configured_and_no_more(talk: Talk, airflow_saml: Stack) -> None:
    """Facts C3 and C6: no context, no kind of NameID, an ID that begins with no digit."""
    request = authn_request(talk("entra-saml").go("/dags"))
    assert request.get("AssertionConsumerServiceURL") == f"{airflow_saml.auth_url}/saml/acs/entra-saml"
    assert request.get("Destination", "").endswith("/saml2")
    assert not request.get("ID")[0].isdigit()
    assert [child.tag.rpartition("}")[2] for child in request] == ["Issuer"]
    assert request[0].text == f"{airflow_saml.auth_url}/saml/metadata/entra-saml"
    assert request.get("ForceAuthn") is None
    assert authn_request(talk("lab-forced").go()).get("ForceAuthn") == "true"
    assert authn_request(talk("lab-saml").go(switch="1")).get("ForceAuthn") == "true"
    assert authn_request(talk("lab-named").go())[0].text == "urn:example:airflow"


def test_only_with_keys_is_a_request_signed(talk: Talk) -> None:
    assert "&SigAlg=http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256&" in talk().go()
    assert "Sig" not in talk("lab-keyless").go().partition("SAMLRequest")[0]
    assert "SigAlg" not in talk("lab-keyless").go()


def test_a_spoofed_host_changes_no_address(talk: Talk, airflow_saml: Stack) -> None:
    """Row O15: the ACS that we name comes from external_url."""
    visitor = airflow_saml.visitor()
    visitor.headers.update({"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    answer = visitor.at("/auth/login/lab-saml?moved=1", allow_redirects=False)
    assert "evil" not in str(authn_request(answer.headers["Location"]).attrib)
    assert "evil" not in visitor.at("/auth/saml/metadata/lab-saml").text
    moved = visitor.at("/auth/login/lab-saml?again=1", allow_redirects=False).headers["Location"]
    assert moved.startswith(f"{airflow_saml.auth_url}/login/lab-saml?")
    assert moved.endswith("&moved=1&again=1"), "the loop guard goes along"


def test_each_protocol_has_its_own_addresses(airflow_saml: Stack) -> None:
    visitor = airflow_saml.visitor()
    assert visitor.at("/auth/saml/metadata/lab-saml").ok
    for path in (
        "/auth/saml/metadata/entra",
        "/auth/saml/metadata/nobody",
        "/auth/oauth-authorized/lab-saml?state=x&code=y",
    ):
        assert visitor.at(path).status_code == 404, path
    assert visitor.post(f"{airflow_saml.auth_url}/saml/acs/entra", timeout=30).status_code == 404
    assert visitor.at("/auth/saml/acs/lab-saml").status_code == 405


@both_lines
def test_exactly_the_acs_and_slo_take_a_post_without_our_token(airflow_saml: Stack) -> None:
    visitor = airflow_saml.visitor()
    for path in ("/auth/saml/acs/lab-saml", "/auth/saml/slo/lab-saml"):
        assert "CSRF" not in visitor.post(f"{airflow_saml.url}{route(path)}", timeout=30).text
    for path in ("/auth/saml/finish/lab-saml", "/auth/saml/metadata/lab-saml"):
        assert visitor.post(f"{airflow_saml.url}{route(path)}", timeout=30).status_code in (400, 405)
    assert "CSRF" in visitor.post(f"{airflow_saml.auth_url}/users/add", timeout=30).text


def test_a_whole_office_may_sign_in_at_once(talk: Talk) -> None:
    """Flask-AppBuilder's sign-in view takes five POSTs in forty seconds from one address."""
    conversation = talk().ask()
    answers = [conversation.post("nonsense").status_code for _ in range(30)]
    assert answers == [403] * 30


def test_the_other_spelling_of_the_groups_is_entras(talk: Talk, airflow_saml: Stack) -> None:
    conversation = talk("entra-saml").ask()
    claims = {a.name: a.values for a in conversation.recipe("otto").attributes or ()}
    assert (
        GROUPS["airflow_prod_op"] in claims["http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"]
    )


# --- single logout: what a stranger can send; the rest is in test_saml_logout ---------------------------


LOGOUT_REQUEST = (
    b'<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_asked" Version="2.0" '
    b'IssueInstant="2026-01-09T07:10:49.6004822Z"/>'
)


def deflated(message: bytes) -> str:
    squeezer = zlib.compressobj(wbits=-15)
    return base64.b64encode(squeezer.compress(message) + squeezer.flush()).decode()


@pytest.mark.parametrize("binding", ["redirect", "post"])
def test_a_strangers_logout_request_is_not_answered(talk: Talk, airflow_saml: Stack, binding: str) -> None:
    """And nobody is signed out, neither whoever is named nor the browser that brings it."""
    conversation = talk()
    conversation.sign_in()
    url = f"{airflow_saml.auth_url}/saml/slo/lab-saml"
    if binding == "redirect":
        query = {"SAMLRequest": deflated(LOGOUT_REQUEST), "RelayState": "there"}
        answer = conversation.visitor.get(url, params=query, allow_redirects=False, timeout=30)
    else:
        form = {"SAMLRequest": base64.b64encode(LOGOUT_REQUEST).decode(), "RelayState": "there"}
        answer = conversation.visitor.post(url, data=form, allow_redirects=False, timeout=30)
    assert (answer.status_code, facts(answer)[0]) == (403, "SSO-201")
    assert "Location" not in answer.headers
    assert "not signed" in conversation.why(answer)
    assert conversation.visitor.who()


@pytest.mark.parametrize(
    "request_text",
    [
        deflated(b"<x>" + b"a" * 50_000_000 + b"</x>"),
        deflated(LOGOUT_REQUEST.replace(b"_asked", b"1 x")),
        deflated(LOGOUT_REQUEST)[:20],
        "not base64",
        "",
    ],
    ids=["bomb", "no name", "cut off", "no base64", "nothing"],
)
def test_a_logout_request_that_cannot_be_read_is_refused(airflow_saml: Stack, request_text: str) -> None:
    """Row S15: a few kilobytes stand for fifty megabytes."""
    visitor = airflow_saml.visitor()
    page = visitor.at("/auth/saml/slo/lab-saml", params={"SAMLRequest": request_text}, allow_redirects=False)
    if IS_AIRFLOW_2 and len(request_text) > 4094:
        assert page.status_code in (400, 414), "gunicorn, whichever it is, reads no line of that length"
    else:
        assert facts(page)[0] == "SSO-201"


# --- replicas -----------------------------------------------------------------------------------------


def test_what_one_replica_took_the_next_one_refuses(talk: Talk, airflow_saml: Stack, idp: Handle) -> None:
    """Row S23: two api-servers on one database, and a request that one began and the other finishes."""
    port = free_port()
    server = airflow_saml.home.start_api_server(port=port)
    with server:
        server.wait_for_url(airflow_saml.home.health_url(port=port), timeout=180)

        def at_the_other(url: str) -> str:
            return url.replace(f":{airflow_saml.home.port}/", f":{port}/", 1)

        conversation = talk().ask()
        response = base64.b64encode(conversation.answer()).decode()
        posted = conversation.visitor.post(
            at_the_other(conversation.acs),
            data={"SAMLResponse": response},
            allow_redirects=False,
            timeout=30,
        )
        assert posted.status_code == 303, "the second replica knows the first one's request"
        assert facts(conversation.post(response))[0] == "SSO-204"
        assert conversation.follow(posted).ok
        assert conversation.visitor.who()

        unasked_for = talk("lab-unasked")
        planted = base64.b64encode(unasked(unasked_for)).decode()
        assert unasked_for.post(planted).status_code == 303
        again = unasked_for.visitor.post(
            at_the_other(unasked_for.acs), data={"SAMLResponse": planted}, allow_redirects=False, timeout=30
        )
        assert facts(again)[0] == "SSO-204"


def test_one_response_posted_many_times_at_once_counts_once(talk: Talk) -> None:
    conversation = talk().ask()
    response = base64.b64encode(conversation.answer()).decode()

    def post(_: int) -> int:
        return talk().post(response).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(post, range(8)))
    assert answers == [303, *[403] * 7]


def test_an_assertion_is_forgotten_once_it_has_expired(talk: Talk, airflow_saml: Stack) -> None:
    first = talk()
    first.sign_in()
    (row,) = airflow_saml.rows("select id from sso_seen_assertion order by id desc limit 1")
    airflow_saml.write("update sso_seen_assertion set expires_at = datetime('now', '-1 seconds')")
    talk().sign_in()
    left = airflow_saml.rows("select id from sso_seen_assertion")
    assert len(left) == 1
    assert left != [row]
