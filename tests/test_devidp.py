"""The pretend provider itself: an honest sign-in works on every face, each strict rule refuses, and a
knob does what its name says. Other tests lean on this: a provider that forgot a rule would let a
relying party pass for the wrong reason.
"""

import base64
import hashlib
import json
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError
from joserfc.jwk import KeySet, RSAKey
from joserfc.jws import JWSRegistry

from devidp import knobs
from devidp.faces import FACES
from devidp.people import GROUP_IDS
from devidp.server import start
from devidp.settings import CLIENT_ID, OTHER_TENANT_ID, TENANT_ID, Settings
from devidp.testing import Driver

SECRET = "s+x/%y z:=&"
REDIRECT = "https://airflow.example.com/auth/oauth-authorized/any?kept=1"
EVERY_FACE = pytest.mark.parametrize("face", FACES)


class Clock:
    ahead = 0

    def __call__(self):
        return time.time() + self.ahead


class Idp(Driver):
    """A relying party as small as can be, beside the control API."""

    def request_url(self, face, verifier="v" * 43, **changes):
        """An authorization request; a change to None leaves the parameter out."""
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid profile email",
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changes,
        }
        query = {name: value for name, value in query.items() if value is not None}
        return f"{self.url}{FACES[face].authorize}?{urlencode(query, doseq=True)}"

    def ask(self, face, **changes):
        return self.http.get(self.request_url(face, **changes))

    def answer(self, face, person="ada", **changes):
        """The query of the redirect back, after choosing a person on the page if there is one."""
        location = self.choose(self.request_url(face, **changes), person)
        assert location.startswith(REDIRECT)
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    def redeem(self, face, code, *, auth=None, **changes):
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": "v" * 43,
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            **changes,
        }
        form = {name: value for name, value in form.items() if value is not None}
        return self.http.post(self.url + FACES[face].token, data=form, headers=auth)

    def sign_in(self, face, person="ada", **changes):
        return self.redeem(face, self.answer(face, person, **changes)["code"]).json()

    def verify(self, face, token, algorithms=("RS256",)):
        registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
        registry.max_header_length = 16_384
        keys = KeySet.import_key_set(self.http.get(self.url + FACES[face].jwks).json())
        return jwt.decode(token, keys, registry=registry)

    def claims(self, face="entra", person="ada", **changes):
        return decoded(self.sign_in(face, person, **changes)["id_token"])[1]


def decoded(token):
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def basic(client_id, secret):
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@pytest.fixture(scope="module")
def running():
    clock = Clock()
    settings = Settings(
        client_secret=SECRET,
        redirect_uris=(REDIRECT,),
        post_logout_redirect_uris=("https://a.example/out",),
        clock=clock,
    )
    with start(settings) as handle, httpx.Client(trust_env=False) as http:
        yield Idp(handle.url, http), clock


@pytest.fixture
def idp(running):
    running[0].reset()
    running[1].ahead = 0
    return running[0]


# -- the honest flow ------------------------------------------------------------------------------


@EVERY_FACE
@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_an_honest_sign_in_works_on_every_face(idp, face, method):
    verifier = secrets.token_urlsafe(40)
    document = idp.discovery(face)
    answer = idp.answer(face, verifier=verifier)
    assert answer["kept"] == "1"
    assert answer["state"] == "the-state"
    assert answer.get("iss") == (document["issuer"] if face == "generic" else None)
    by = (
        {"auth": basic(CLIENT_ID, SECRET), "client_id": None, "client_secret": None}
        if "basic" in method
        else {}
    )
    response = idp.redeem(face, answer["code"], code_verifier=verifier, **by)
    assert response.headers["Cache-Control"] == "no-store"
    token = idp.verify(face, response.json()["id_token"])
    assert token.header["typ"] == "JWT"
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": document["issuer"]},
        aud={"essential": True, "value": CLIENT_ID},
        nonce={"essential": True, "value": "the-nonce"},
        exp={"essential": True},
        iat={"essential": True},
    ).validate(token.claims)
    bearer = {"Authorization": f"Bearer {response.json()['access_token']}"}
    userinfo = idp.http.get(document["userinfo_endpoint"], headers=bearer).json()
    assert userinfo["sub"] == token.claims["sub"]
    assert idp.control("GET", "requests?endpoint=token")[0]["client_auth"] == method


def test_the_entra_face_has_the_recorded_shape(idp):
    document = idp.discovery("entra")
    assert document["issuer"] == f"{idp.url}/{TENANT_ID}/v2.0"
    assert "code_challenge_methods_supported" not in document
    assert all(v.startswith(idp.url) for k, v in document.items() if k.endswith(("_endpoint", "_uri")))
    own, foreign = idp.http.get(document["jwks_uri"]).json()["keys"]
    assert set(own) == {"kty", "use", "kid", "x5t", "n", "e", "x5c", "issuer"}
    assert own["issuer"] == document["issuer"]
    assert foreign["issuer"] == f"{idp.url}/{OTHER_TENANT_ID}/v2.0"
    claims = idp.claims("entra")
    assert claims["groups"] == [GROUP_IDS["everyone"], GROUP_IDS["airflow_prod_admin"]]
    assert claims["tid"] == TENANT_ID
    assert claims["ver"] == "2.0"
    assert claims["preferred_username"] == "ada@contoso.example"
    assert not {"roles", "at_hash", "email_verified"} & set(claims)
    assert not {"oid", "name", "preferred_username"} & set(idp.claims("entra", scope="openid"))


def test_the_generic_face_announces_what_it_does(idp):
    document = idp.discovery("generic")
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True
    claims = idp.claims("generic")
    assert claims["groups"] == ["everyone", "airflow_prod_admin"]
    assert claims["email_verified"] is True
    assert claims["at_hash"]


def test_people_differ_as_their_rows_say(idp):
    assert idp.claims("pingfederate", "nora")["memberOf"] == "CN=everyone,OU=Groups,DC=contoso,DC=example"
    hugo = idp.claims("entra", "hugo")
    assert hugo["idp"] == f"https://sts.windows.net/{OTHER_TENANT_ID}/"
    assert (hugo["acct"], hugo["preferred_username"]) == (1, "hugo@fabrikam.example")
    over = idp.claims("entra", "over")
    assert over["_claim_names"] == {"groups": "src1"}
    assert over["_claim_sources"]["src1"]["endpoint"].endswith(f"{over['oid']}/getMemberObjects")
    assert "groups" not in over
    assert len(idp.claims("generic", "over")["groups"]) == 201


def test_people_can_be_changed_and_made(idp):
    idp.control("PUT", "people/ada", {"app_roles": ["Airflow.Admin"], "groups": [], "claims": {"dept": 7}})
    claims = idp.claims("entra")
    assert (claims["roles"], claims["dept"], "groups" in claims) == (["Airflow.Admin"], 7, False)
    idp.control("PUT", "people/zoe", {"groups": ["airflow_prod_op"]})
    assert idp.claims("generic", "zoe")["groups"] == ["airflow_prod_op"]
    idp.control("PUT", "people/zoe", {"groups": "airflow_prod_op"}, status=400)
    idp.control("PUT", "people/zoe", {"nonsense": 1}, status=400)
    idp.control("POST", "reset")
    idp.control("GET", "people/zoe", status=404)


def test_the_page_is_one_plain_form(idp):
    page = idp.ask("entra", login_hint="ada").text
    assert page == idp.ask("entra", login_hint="ada").text
    assert page.count("<form") == 1
    assert "<script" not in page
    for name in ("ada", "otto", "vera", "nora", "hugo", "over", ""):
        assert f'name="person" value="{name}"' in page
    assert "pretend provider" in page


# -- strict by default ----------------------------------------------------------------------------


@EVERY_FACE
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "11111111-2222-3333-4444-555555555555"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECT + "/"},
        {"redirect_uri": REDIRECT.replace("?kept=1", "")},
        {"redirect_uri": REDIRECT.upper()},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": [REDIRECT, "https://evil.example/"]},
    ],
)
def test_a_wrong_client_or_redirect_uri_gets_a_page_and_no_redirect(idp, face, changes):
    response = idp.ask(face, **changes)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert response.headers["content-type"].startswith("text/html")
    if face == "entra" and changes.get("redirect_uri"):
        assert "AADSTS50011" in response.text or "AADSTS90014" in response.text


@EVERY_FACE
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": None}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"nonce": ["one", "two"]}, "invalid_request"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"request": "e30.e30."}, "request_not_supported"),
        ({"prompt": "none"}, "interaction_required"),
    ],
)
def test_a_bad_request_goes_back_with_an_error_and_the_state(idp, face, changes, error):
    answer = idp.answer(face, **changes)
    assert answer["error"] == error
    assert answer["state"] == "the-state"
    assert "code" not in answer


def test_cancel_is_access_denied(idp):
    answer = idp.answer("entra", person="")
    assert answer["error"] == "access_denied"
    assert answer["error_description"].startswith("AADSTS65004")
    assert idp.answer("generic", person="")["iss"] == f"{idp.url}/generic"
    assert idp.answer("generic", person="mallory")["error"] == "access_denied"


def test_a_silent_sign_in_needs_a_session_of_this_face(idp):
    first = idp.claims("generic", "vera")
    again = decoded(idp.redeem("generic", idp.answer("generic", prompt="none")["code"]).json()["id_token"])[1]
    assert (again["sub"], again["sid"]) == (first["sub"], first["sid"])
    assert idp.answer("entra", prompt="none")["error"] == "interaction_required"
    idp.http.get(idp.url + FACES["generic"].logout)
    assert idp.answer("generic", prompt="none")["error"] == "interaction_required"


TOKEN_REFUSALS = [
    ({"client_secret": "wrong"}, "invalid_client", 7000215),
    ({"client_secret": None}, "invalid_client", 7000218),
    ({"client_id": "11111111-2222-3333-4444-555555555555"}, None, 700016),
    ({"auth": basic(CLIENT_ID, SECRET)}, "invalid_request", 900144),
    ({"auth": basic(CLIENT_ID, "wrong"), "client_secret": None}, "invalid_client", 7000215),
    ({"grant_type": "password"}, "unsupported_grant_type", 70003),
    ({"grant_type": None}, "invalid_request", 900144),
    ({"code": "made-up"}, "invalid_grant", 70000),
    ({"code": None}, "invalid_request", 900144),
    ({"redirect_uri": REDIRECT + "2"}, "invalid_grant", 500112),
    ({"redirect_uri": None}, "invalid_request", 900144),
    ({"code_verifier": "w" * 43}, "invalid_grant", 501481),
    ({"code_verifier": None}, "invalid_grant", 501481),
    ({"code_verifier": "short"}, "invalid_grant", 501481),
]


@EVERY_FACE
@pytest.mark.parametrize(("changes", "error", "aadsts"), TOKEN_REFUSALS)
def test_the_token_endpoint_refuses(idp, face, changes, error, aadsts):
    response = idp.redeem(face, **{"code": idp.answer(face)["code"], **changes})
    body = response.json()
    error = error or ("unauthorized_client" if face == "entra" else "invalid_client")
    assert body["error"] == error
    assert response.status_code == (401 if error == "invalid_client" else 400)
    assert response.headers["Cache-Control"] == "no-store"
    if face == "entra":
        assert body["error_codes"] == [aadsts]
        assert body["error_description"].startswith(f"AADSTS{aadsts}: ")


@EVERY_FACE
def test_a_code_works_once_for_a_minute_at_its_own_face(idp, running, face):
    code = idp.answer(face)["code"]
    tokens = idp.redeem(face, code).json()
    assert idp.redeem(face, code).json()["error"] == "invalid_grant"
    assert idp.outcomes() == ["tokens", "reused_code"]
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert idp.http.get(idp.url + FACES[face].userinfo, headers=bearer).status_code == 401
    late = idp.answer(face)["code"]
    running[1].ahead = 61
    assert idp.redeem(face, late).json()["error"] == "invalid_grant"
    elsewhere = next(name for name in FACES if name != face)
    assert idp.redeem(elsewhere, idp.answer(face)["code"]).json()["error"] == "invalid_grant"
    assert idp.outcomes()[2:] == ["expired_code", "unknown_code"]


def test_the_token_endpoint_takes_posted_forms_only(idp):
    url = idp.url + FACES["generic"].token
    form = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "client_secret": SECRET}
    assert idp.http.get(url, params=form).status_code == 405
    assert idp.http.post(url, json=form).json()["error"] == "invalid_request"
    assert idp.http.post(url, params=form, data={}).json()["error"] == "invalid_request"
    twice = {**form, "grant_type": ["authorization_code", "authorization_code"]}
    assert idp.http.post(url, data=twice).json()["error"] == "invalid_request"
    assert idp.outcomes() == ["not_post", "not_form", "not_form", "repeated"]


def test_a_disabled_person_is_turned_away_everywhere(idp):
    tokens = idp.sign_in("entra", scope="openid offline_access")
    idp.control("PUT", "people/ada", {"disabled": True})
    page = idp.http.post(str(idp.ask("entra").url), data={"person": "ada"})
    assert (page.status_code, "AADSTS50057" in page.text) == (400, True)
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "code": None}
    assert idp.redeem("entra", **refresh).json()["error_codes"] == [50057]


def test_a_refresh_token_gives_the_same_person_once(idp):
    first = idp.sign_in("generic", scope="openid offline_access")
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "code": None}
    again = idp.redeem("generic", **refresh).json()
    old, new = decoded(first["id_token"])[1], decoded(again["id_token"])[1]
    assert (new["sub"], new["sid"], "nonce" in new) == (old["sub"], old["sid"], False)
    assert idp.redeem("generic", **refresh).json()["error"] == "invalid_grant"


def test_a_certificate_can_stand_for_the_secret(idp):
    key = RSAKey.generate_key(2048)
    public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    idp.control("POST", "clients", {"certificates": [key.public_key.public_bytes(*public).decode()]})
    claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": idp.discovery("entra")["token_endpoint"], "jti": "j"}

    def redeem(**changes):
        whole = {**claims, "exp": int(time.time()) + 500, **changes}
        form = {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "PS256"}, whole, key, algorithms=["PS256"]),
            "client_secret": None,
        }
        return idp.redeem("entra", idp.answer("entra")["code"], **form).status_code

    assert redeem() == 200
    for wrong in (
        {"aud": "https://elsewhere.example"},
        {"sub": "other"},
        {"exp": 1},
        {"exp": int(time.time()) + 9999},
    ):
        assert redeem(**wrong) == 401


def test_sign_out_goes_to_registered_addresses_only(idp):
    url = idp.url + FACES["generic"].logout
    good = idp.http.get(url, params={"post_logout_redirect_uri": "https://a.example/out", "state": "s"})
    assert good.headers["location"] == "https://a.example/out?state=s"
    bad = idp.http.get(url, params={"post_logout_redirect_uri": "https://evil.example/"})
    assert (bad.status_code, "location" in bad.headers) == (200, False)


def test_the_log_holds_names_and_no_secrets(idp):
    code = idp.answer("generic")["code"]
    tokens = idp.redeem("generic", code).json()
    log = idp.control("GET", "requests")
    text = json.dumps(log)
    for secret in (code, SECRET, "v" * 43, "the-state", "the-nonce", tokens["access_token"]):
        assert secret not in text
    assert [entry["endpoint"] for entry in log] == ["authorize", "authorize", "token"]
    assert log[0]["values"]["code_challenge_method"] == "S256"
    assert {"code", "code_verifier", "client_secret"} <= set(log[2]["form"])
    assert idp.control("DELETE", "requests") == []


def test_the_control_api_answers_local_programs_only(idp):
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        response = idp.http.post(f"{idp.url}/_control/reset", headers=headers)
        assert response.status_code == 403


# -- knobs ----------------------------------------------------------------------------------------


def test_a_knob_that_does_not_exist_or_fit_is_refused_whole(idp):
    good = {"id_token.omit": True}
    bad = [
        {"id_token.ommit": True},
        {"id_token.alg": "RS257"},
        {"token.status": "500"},
        {"id_token.remove": "nonce"},
        {"down": {"value": True, "times": 0}},
        {"down": {"value": True, "face": "okta"}},
    ]
    for wrong in bad:
        assert "error" in idp.control("PUT", "knobs", {**good, **wrong}, status=400)
    assert idp.control("GET", "knobs") == {}
    known = idp.control("GET", "knobs/known")
    assert set(known) == set(knobs.TABLE)
    assert all(len(sentence) > 20 for sentence in known.values())


def test_a_knob_can_apply_a_number_of_times_and_to_one_face(idp):
    idp.knobs(id_token__omit={"value": True, "times": 1, "face": "entra"})
    assert "id_token" in idp.sign_in("generic")
    assert "id_token" not in idp.sign_in("entra")
    assert "id_token" in idp.sign_in("entra")
    idp.knobs(id_token__raw=None, token__delay=0)
    assert idp.sign_in("entra")["id_token"] is None
    assert idp.control("DELETE", "knobs/id_token.raw") == {"token.delay": 0}


CLAIM_KNOBS = [
    ("id_token.set", {"oid": 7, "new": [None]}, lambda c: (c["oid"], c["new"]) == (7, [None])),
    ("id_token.remove", ["sub", "exp"], lambda c: not {"sub", "exp"} & set(c)),
    ("id_token.nonce", "wrong", lambda c: c["nonce"] != "the-nonce"),
    ("id_token.nonce", "unsupported", lambda c: c["nonce_supported"] is False and "nonce" not in c),
    ("id_token.aud", "other", lambda c: c["aud"] != CLIENT_ID),
    ("id_token.aud", "two_without_azp", lambda c: len(c["aud"]) == 2 and "azp" not in c),
    ("id_token.aud", "two_wrong_azp", lambda c: c["azp"] != CLIENT_ID),
    ("id_token.aud", "empty_list", lambda c: c["aud"] == []),
    ("id_token.iss", "other_tenant", lambda c: OTHER_TENANT_ID in c["iss"] and c["tid"] == OTHER_TENANT_ID),
    ("id_token.iss", "template", lambda c: "{tenantid}" in c["iss"]),
    ("id_token.shift", {"exp": -7200, "iat": 60}, lambda c: c["exp"] < time.time() < c["iat"] + 300),
    ("id_token.at_hash", "wrong", lambda c: len(c["at_hash"]) == 22),
    ("id_token.c_hash", "right", lambda c: len(c["c_hash"]) == 22),
    ("id_token.sub_length", 700, lambda c: len(c["sub"]) == 700),
    ("id_token.type", "logout_token", lambda c: "events" in c and "nonce" not in c),
    ("guest", "ext_upn", lambda c: "#EXT#" in c["preferred_username"]),
    ("groups.shape", "string", lambda c: isinstance(c["groups"], str)),
    ("groups.shape", "json_string", lambda c: c["groups"].startswith("[")),
    ("groups.shape", "numbers", lambda c: c["groups"] == [1, 2, 3]),
    ("groups.shape", "nested", lambda c: isinstance(c["groups"][0], list)),
    ("groups.shape", "null", lambda c: c["groups"] is None),
    ("groups.shape", "absent", lambda c: "groups" not in c),
    ("groups.shape", "ten_thousand", lambda c: len(c["groups"]) == 10_000),
    ("groups.overage", "hasgroups", lambda c: c["hasgroups"] is True and "groups" not in c),
    ("groups.overage", "names_only", lambda c: "_claim_sources" not in c and "groups" not in c),
    ("groups.format", "emit_as_roles", lambda c: "airflow_prod_admin" in c["roles"] and "groups" not in c),
    ("groups.format", "netbios", lambda c: c["groups"][0] == "CONTOSO\\everyone"),
    ("groups.place", "none", lambda c: "groups" not in c),
]


@pytest.mark.parametrize(("knob", "value", "holds"), CLAIM_KNOBS)
def test_claim_knobs_change_a_token_that_is_still_well_signed(idp, knob, value, holds):
    idp.control("PUT", "knobs", {knob: value})
    token = idp.sign_in("entra")["id_token"]
    idp.http.get(idp.url + FACES["entra"].jwks)
    assert holds(decoded(token)[1])
    if knob != "groups.shape" or value != "ten_thousand":
        idp.verify("entra", token)


@pytest.mark.parametrize("value", knobs.SHAPES)
def test_every_group_shape_can_be_asked_for(idp, value):
    idp.knobs(groups__shape=value)
    assert idp.claims("generic", "nora")["sub"]


@pytest.mark.parametrize("alg", ["RS512", "PS256", "ES256"])
def test_another_algorithm_verifies_with_the_key_set(idp, alg):
    idp.knobs(id_token__alg=alg)
    token = idp.sign_in("generic")["id_token"]
    assert idp.verify("generic", token, [alg]).header["alg"] == alg


def test_forged_signatures_are_what_they_claim(idp):
    idp.knobs(id_token__alg="none")
    assert idp.sign_in("entra")["id_token"].endswith(".")
    idp.knobs(id_token__alg="HS256")
    assert decoded(idp.sign_in("entra")["id_token"])[0]["alg"] == "HS256"
    idp.control("DELETE", "knobs")
    for variant, shown in (("foreign", True), ("unknown_kid", False), ("foreign_tenant", True)):
        idp.knobs(id_token__key=variant)
        token = idp.sign_in("entra")["id_token"]
        kids = [key["kid"] for key in idp.http.get(idp.url + FACES["entra"].jwks).json()["keys"]]
        assert (decoded(token)[0]["kid"] in kids) is shown
        if variant == "foreign":
            with pytest.raises(BadSignatureError):
                idp.verify("entra", token)


def test_headers_and_duplicates_and_sizes(idp):
    idp.knobs(
        id_token__header_set={"crit": ["x"], "jku": "https://evil.example"}, id_token__header_remove=["kid"]
    )
    header = decoded(idp.sign_in("entra")["id_token"])[0]
    assert (header["crit"], header["jku"], "kid" in header) == (["x"], "https://evil.example", False)
    idp.control("DELETE", "knobs")
    idp.knobs(id_token__duplicate_keys={"oid": "evil"}, id_token__min_bytes=6144)
    token = idp.sign_in("entra")["id_token"]
    assert base64.urlsafe_b64decode(token.split(".")[1] + "==").count(b'"oid":') == 2
    assert len(token) >= 6144


def test_groups_can_be_in_userinfo_alone(idp):
    idp.knobs(groups__place="userinfo", userinfo__set={"sub": "another"})
    tokens = idp.sign_in("generic")
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    userinfo = idp.http.get(idp.url + FACES["generic"].userinfo, headers=bearer).json()
    assert "groups" not in decoded(tokens["id_token"])[1]
    assert (userinfo["groups"], userinfo["sub"]) == (["everyone", "airflow_prod_admin"], "another")


def test_the_authorization_answer_can_be_wrong(idp):
    idp.knobs(authorize__iss="other_face", authorize__state="wrong", authorize__person="vera")
    answer = idp.answer("entra", person="ada")
    assert (answer["iss"], answer["state"] != "the-state") == (f"{idp.url}/generic", True)
    assert decoded(idp.redeem("entra", answer["code"]).json()["id_token"])[1]["oid"].endswith("0003")
    idp.knobs(authorize__iss="missing", authorize__state="missing", authorize__code="long")
    answer = idp.answer("generic")
    assert (set(answer), len(answer["code"])) == ({"kept", "code"}, 700)
    idp.knobs(authorize__error="temporarily_unavailable")
    assert idp.answer("generic")["error"] == "temporarily_unavailable"


def test_a_provider_without_pkce_can_be_played(idp):
    idp.knobs(ignore_pkce=True)
    code = idp.answer("generic", code_challenge=None, code_challenge_method=None)["code"]
    assert "id_token" in idp.redeem("generic", code, code_verifier=None).json()


@pytest.mark.parametrize("endpoint", ["discovery", "jwks", "token", "userinfo"])
def test_every_endpoint_can_fail(idp, endpoint):
    path = {"discovery": f"{FACES['entra'].issuer}/.well-known/openid-configuration"}
    url = idp.url + path.get(endpoint, getattr(FACES["entra"], endpoint, ""))

    def ask(**faults):
        idp.control("DELETE", "knobs")
        idp.knobs(**{f"{endpoint}__{name}": value for name, value in faults.items()})
        return idp.http.post(url) if endpoint == "token" else idp.http.get(url)

    assert ask(status=503).status_code == 503
    assert ask(html=True).headers["content-type"].startswith("text/html")
    assert ask(redirect="https://evil.example/").headers["location"] == "https://evil.example/"
    assert ask(body="{").text == "{"
    for value, header in ((7, "7"), (1.5, "1.5"), ("absent", None)):
        response = ask(retry_after=value)
        assert (response.status_code, response.headers.get("Retry-After")) == (429, header)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(down=True)
    started = time.monotonic()
    ask(delay=0.2)
    assert time.monotonic() - started >= 0.2


def test_json_answers_can_be_spoiled(idp):
    idp.knobs(
        discovery__set={"issuer": "https://evil.example", "id_token_signing_alg_values_supported": ["none"]},
        discovery__remove=["jwks_uri"],
        jwks__oversize=3_000_000,
    )
    document = idp.discovery("entra")
    assert (document["issuer"], "jwks_uri" in document) == ("https://evil.example", False)
    assert len(idp.http.get(idp.url + FACES["entra"].jwks).content) > 3_000_000
    idp.knobs(jwks__set={"keys": []}, token__truncate=True)
    assert idp.http.get(idp.url + FACES["entra"].jwks).json()["keys"] == []
    code = idp.answer("entra")["code"]
    with pytest.raises(json.JSONDecodeError):
        idp.redeem("entra", code).json()


def test_token_errors_come_in_the_shape_of_the_face(idp):
    idp.knobs(token__error={"error": "invalid_grant", "code": 50057, "description": "Disabled."})
    code = idp.answer("entra")["code"]
    assert idp.redeem("entra", code).json()["error_codes"] == [50057]
    assert set(idp.redeem("generic", code).json()) == {"error", "error_description"}
    idp.knobs(token__error="invalid_client")
    assert idp.redeem("pingfederate", code).status_code == 401
    idp.control("DELETE", "knobs")
    assert "id_token" in idp.redeem("entra", code).json(), "a fault in its place does not use up a code"


# -- keys and hand-made tokens --------------------------------------------------------------------


def test_keys_can_roll_over_in_the_ways_that_hurt(idp):
    old = idp.sign_in("generic")["id_token"]
    idp.control("POST", "keys/rotate", {"publish": False})
    unknown = idp.sign_in("generic")["id_token"]
    with pytest.raises(InvalidKeyIdError):
        idp.verify("generic", unknown)
    idp.control("POST", "keys/publish")
    idp.verify("generic", unknown)
    idp.verify("generic", old)
    idp.control("POST", "keys/rotate", {"same_kid": True, "face": "generic"})
    replaced = idp.sign_in("generic")["id_token"]
    assert decoded(replaced)[0]["kid"] == decoded(unknown)[0]["kid"]
    idp.verify("generic", replaced)
    with pytest.raises(BadSignatureError):
        idp.verify("generic", unknown)
    idp.control("POST", "reset")
    idp.verify("generic", old)


def test_tokens_can_be_made_by_hand(idp):
    def sign(**body):
        return idp.control("POST", "sign", body)["token"]

    token = sign(claims={"a": 1}, header={"typ": "logout+jwt", "kid": None})
    assert decoded(token) == [{"typ": "logout+jwt", "alg": "RS256"}, {"a": 1}]
    honest = sign(face="generic", person="vera", claims={"aud": "api"}, remove=["auth_time"])
    claims = idp.verify("generic", honest).claims
    assert (claims["aud"], claims["iss"], "auth_time" in claims) == ("api", f"{idp.url}/generic", False)
    with pytest.raises(BadSignatureError):
        idp.verify("entra", sign(claims={}, key="foreign"))
    assert sign(claims={}, key="none").endswith(".")
    assert decoded(sign(claims={}, key="hs256-with-public-key"))[0]["alg"] == "HS256"
    for wrong in ({"key": "mine"}, {"alg": "XX"}, {"claims": []}, {"clams": {}}, {"person": "nobody"}):
        idp.control("POST", "sign", wrong, status=400)


# -- the process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_one_line_and_leaves_at_once(number):
    command = [sys.executable, "-m", "devidp", "--port", "0", "--client-secret", "x"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        url = line.rsplit(maxsplit=1)[1]
        assert httpx.get(url, trust_env=False).json()["discovery"]["generic"].startswith(url)
        process.send_signal(number)
        out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (0, "", "")


# -- signing out -----------------------------------------------------------------------------------------


def logout_url(idp, face, **query):
    return idp.http.get(idp.url + FACES[face].logout, params=query)


def test_sign_out_takes_only_hints_of_its_own(idp):
    target = {"post_logout_redirect_uri": "https://a.example/out"}
    answer = idp.redeem("generic", idp.answer("generic", person="vera")["code"]).json()
    foreign = idp.control("POST", "sign", {"face": "generic", "person": "vera", "key": "foreign"})["token"]
    other = idp.control("POST", "sign", {"face": "entra", "person": "vera"})["token"]
    for hint in ("a.b.c", foreign, other):
        refused = logout_url(idp, "generic", id_token_hint=hint, **target)
        assert (refused.status_code, "location" in refused.headers) == (400, False)
    assert logout_url(idp, "generic", client_id="other", **target).status_code == 400
    assert "code" in idp.answer("generic", prompt="none"), "nothing of it ended the session"
    good = logout_url(idp, "generic", id_token_hint=answer["id_token"], client_id=CLIENT_ID, **target)
    assert good.headers["location"] == "https://a.example/out"
    assert idp.answer("generic", prompt="none")["error"] == "interaction_required"


def test_entra_asks_whom_to_sign_out_and_looks_among_its_redirect_uris(idp):
    idp.control("PUT", "people/vera", {"claims": {"login_hint": "O.vera"}})
    idp.control("POST", "clients", {"redirect_uris": ["https://a.example/signed-out"]})
    target = {"post_logout_redirect_uri": "https://a.example/signed-out"}
    for hint in ({}, {"logout_hint": "O.ada"}):
        idp.claims("entra", "vera")
        assert logout_url(idp, "entra", **target, **hint).status_code == 400
        assert "code" in idp.answer("entra", prompt="none")
    left = logout_url(idp, "entra", logout_hint="O.vera", post_logout_redirect_uri="https://a.example/out")
    assert (left.status_code, "location" in left.headers) == (200, False)
    idp.claims("entra", "vera")
    assert logout_url(idp, "entra", logout_hint="O.vera", **target).status_code == 302


def test_pingfederates_older_sign_out_goes_to_its_target_resource(idp):
    idp.claims("pingfederate", "vera")
    older = idp.url + FACES["pingfederate"].older_logout
    assert idp.http.get(older, params={"TargetResource": "https://evil.example/"}).status_code == 200
    idp.claims("pingfederate", "vera")
    gone = idp.http.get(older, params={"TargetResource": "https://a.example/out"})
    assert gone.headers["location"] == "https://a.example/out"
    assert idp.answer("pingfederate", prompt="none")["error"] == "interaction_required"


def test_a_logout_token_is_as_the_standard_has_it(idp):
    sid = idp.claims("generic", "vera")["sid"]
    told = {"face": "generic", "person": "vera", "send": False}
    header, claims = decoded(idp.control("POST", "logout", told)["token"])
    assert header["typ"] == "logout+jwt"
    assert (claims["sid"], claims["aud"], "nonce" in claims) == (sid, CLIENT_ID, False)
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert idp.answer("generic", prompt="none")["error"] == "interaction_required"
    about_all = decoded(idp.control("POST", "logout", {**told, "names": "sub"})["token"])[1]
    assert (about_all["sub"], "sid" in about_all) == (claims["sub"], False)
    for wrong in ({"recipe": "no-such"}, {"names": "none"}, {"person": "mallory"}, {"names": "sid"}):
        assert "error" in idp.control("POST", "logout", {**told, **wrong}, status=400)
    unregistered = {**told, "names": "sub", "send": True, "uri": "http://localhost:9/"}
    assert "error" in idp.control("POST", "logout", unregistered, status=400)
