"""The SAML side of the pretend provider: its honest messages hold by xmlsec alone, its rules refuse, and
every attack is one. Nothing here uses the library of the product under test, but for its XML schemas.
"""

import base64
import hashlib
import threading
import time
import zlib
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree

from devidp import saml_attacks, saml_keys, saml_sign
from devidp import saml_xml as sx
from devidp.saml_attacks import ATTACKS
from devidp.saml_attacks_content import CONTENT
from devidp.saml_faces import GROUPS_LINK, MICROSOFT, ROLE_CLAIMS, SAML_FACES
from devidp.saml_logout_attacks import LOGOUT_ATTACKS
from devidp.saml_logout_recipe import LogoutContext
from devidp.saml_metadata import BOM
from devidp.saml_response import build, good
from devidp.saml_state import Participant
from devidp.server import start
from devidp.settings import CLIENT_ID, TENANT_ID, Settings
from devidp.testing import Driver

SP = "https://airflow.example.com/auth/saml/metadata"
ACS = "https://airflow.example.com/auth/saml/acs"
SLO = "https://airflow.example.com/auth/saml/slo"
KEY = saml_keys.stranger("the service provider")
FACES = tuple(SAML_FACES)
EVERY_FACE = pytest.mark.parametrize("face", FACES)
FULL = {"pingfederate": {"PartnerSpId": SP}, "entra": {"appid": CLIENT_ID}}


def sp_metadata(entity_id=SP, acs=ACS, key=KEY, signed=False, extra="", slo=True, **attributes):
    named = "".join(f' {name}="{value}"' for name, value in attributes.items())
    logout = "".join(
        f'<md:SingleLogoutService Binding="{b}" Location="{SLO}"/>' for b in (sx.REDIRECT, sx.POST) if slo
    )
    return f"""<md:EntityDescriptor xmlns:md="{sx.MD}" xmlns:ds="{sx.DS}" entityID="{entity_id}"{named}>
<md:SPSSODescriptor protocolSupportEnumeration="{sx.SAMLP}" AuthnRequestsSigned="{str(signed).lower()}">
<md:KeyDescriptor><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{key.certificate_text}</ds:X509Certificate>
</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>{logout}
<md:AssertionConsumerService Binding="{sx.POST}" Location="{acs}" index="0" isDefault="true"/>
<md:AssertionConsumerService Binding="{sx.POST}" Location="{acs}/second" index="1"/>{extra}
</md:SPSSODescriptor></md:EntityDescriptor>"""


def authn_request(inside="", *, name="AuthnRequest", issuer=SP, last="", **changes):
    """A change to None leaves the attribute out."""
    attributes = {
        "ID": "id6c1c178c166d486687be4aaf5e482730",
        "Version": "2.0",
        "IssueInstant": sx.instant(time.time()),
        "AssertionConsumerServiceURL": ACS if name == "AuthnRequest" else None,
        **changes,
    }
    named = "".join(f' {key}="{value}"' for key, value in attributes.items() if value is not None)
    said = f"<saml:Issuer>{issuer}</saml:Issuer>"
    return f'<samlp:{name} xmlns:samlp="{sx.SAMLP}" xmlns:saml="{sx.SAML}"{named}>{said}{inside}</samlp:{name}>{last}'


def deflated(text):
    packer = zlib.compressobj(wbits=-15)
    return base64.b64encode(packer.compress(text.encode()) + packer.flush()).decode()


class Idp(Driver):
    state = None

    def sso(self, face, text=None, *, key=None, slo=False, relay_state="rs", **changes):
        """The URL of a redirect to the provider, signed if there is a key."""
        pairs = [("SAMLRequest", deflated(text or authn_request(**changes)))]
        pairs += [("RelayState", relay_state)] if relay_state is not None else []
        query = urlencode(pairs) if key is None else saml_sign.signed_query(pairs, key)
        return f"{self.url}{getattr(SAML_FACES[face], 'slo' if slo else 'sso')}?{query}"

    def response(self, face, person="ada", **changes):
        acs, form = self.saml_post(self.sso(face, **changes), person)
        assert acs.startswith(ACS)
        return base64.b64decode(form["SAMLResponse"])

    def status(self, face, **changes):
        """The innermost status of the answer, or of the page (with a star)."""
        answer = self.http.get(self.sso(face, **changes))
        if answer.status_code == 400:
            assert ACS not in answer.text
            return "*" + self.control("GET", "requests")[-1]["outcome"]
        _, form = self._saml_form(answer, "ada")
        return codes(base64.b64decode(form["SAMLResponse"]))[-1]

    def certificates(self, face, **query):
        tree = sx.parse(self.saml_metadata(face, **(query or FULL.get(face, {}))).removeprefix(BOM))
        role = tree.find(sx.q(sx.MD, "IDPSSODescriptor"))
        return [sx.text(e) for e in role.iter(sx.q(sx.DS, "X509Certificate"))]

    def log(self):
        return self.control("GET", "requests")[-1]


def pem(text):
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n".encode()


def codes(response):
    tree = sx.parse(response)
    return [e.get("Value").rpartition(":")[2] for e in tree.iter(sx.q(sx.SAMLP, "StatusCode"))]


def covers(response, certificate):
    """The local names of what signatures in the document cover, by xmlsec and this certificate only."""
    return [
        name
        for n in range(response.count(b"<ds:SignatureValue"))
        for place in range(len(named(sx.own(response), n)))
        if (name := covered_by(sx.own(response), n, place, certificate))
    ]


def named(tree, number):
    """The elements whose ID the signature of this number refers to; there may be several."""
    node = list(tree.iter(sx.q(sx.DS, "Signature")))[number]
    uris = {reference.get("URI") for reference in node.findall("{*}SignedInfo/{*}Reference")}
    return [e for e in tree.iter(etree.Element) if e.get("ID") and f"#{e.get('ID')}" in uris]


def covered_by(tree, number, place, certificate):
    """A document of its own each time: libxml2 keeps the first owner of an ID."""
    target = named(tree, number)[place]
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(pem(certificate), xmlsec.constants.KeyDataFormatCertPem)
    context.register_id(target, "ID")
    try:
        context.verify(list(tree.iter(sx.q(sx.DS, "Signature")))[number])
    except xmlsec.Error:
        return None
    return target.tag.rpartition("}")[2]


def covers_by_hand(response, certificate):
    """As a library does that looks up the ID, takes out the signature and compares digests.

    libxmlsec takes the whole signature out first, and with it what stands inside it (XSW1, 6 and 8).
    """
    tree, covered = sx.own(response), []
    public = x509.load_pem_x509_certificate(pem(certificate)).public_key()
    for number, node in enumerate(tree.iter(sx.q(sx.DS, "Signature"))):
        info = sx.need(node, "SignedInfo")
        value = base64.b64decode(sx.need(node, "SignatureValue").text)
        public.verify(value, sx.canonical(info), padding.PKCS1v15(), hashes.SHA256())
        for target in named(tree, number):
            alone = sx.own(sx.canonical(target))
            for child in alone.findall(sx.q(sx.DS, "Signature")):
                sx.remove(child)
            digest = base64.b64encode(hashlib.sha256(sx.canonical(alone)).digest()).decode()
            if digest == sx.need(info, "Reference/DigestValue").text:
                covered.append(target.tag.rpartition("}")[2])
    return covered


def claims(response):
    found = {}
    for one in sx.own(response).iter(sx.q(sx.SAML, "Attribute")):
        found[one.get("Name")] = [value.text for value in one]
    return found


@pytest.fixture(scope="module")
def running():
    with start(Settings()) as handle, httpx.Client(trust_env=False) as http:
        driver = Idp(handle.url, http)
        driver.state = handle.state
        yield driver


@pytest.fixture
def idp(running):
    running.reset()
    running.register_sp(sp_metadata())
    return running


def key_of(idp, face):
    return idp.state.saml.rings[face].signing


# -- honest messages ------------------------------------------------------------------------------

SIGNS = {"entra": "Assertion", "pingone": "Assertion", "generic": "Assertion", "pingfederate": "Response"}


@EVERY_FACE
def test_an_honest_response_is_signed_as_the_vendor_does_and_says_what_was_asked(idp, face):
    response = idp.response(face)
    certificate = idp.certificates(face)[0]
    assert covers(response, certificate) == [SIGNS[face]]
    assert covers(response.replace(b"ada", b"eve"), certificate) == [], "the signature covers the person"
    tree = sx.parse(response)
    data = sx.need(tree, "Assertion/Subject/SubjectConfirmation/SubjectConfirmationData")
    assert data.get("Recipient") == tree.get("Destination") == ACS
    assert data.get("InResponseTo") == tree.get("InResponseTo") == "id6c1c178c166d486687be4aaf5e482730"
    assert sx.text(sx.need(tree, "Assertion/Conditions/AudienceRestriction/Audience")) == SP
    assert sx.text(sx.need(tree, "Assertion/Issuer")) == idp.url + SAML_FACES[face].entity_id
    assert codes(response) == ["Success"]


def test_entra_says_what_its_sample_says(idp):
    response = idp.response("entra")
    tree = sx.parse(response)
    assert tree.findtext("{*}Issuer").startswith(" http")
    assert sx.need(tree, "Assertion/AuthnStatement").get("SessionIndex") == sx.need(tree, "Assertion").get(
        "ID"
    )
    assert sx.text(sx.need(tree, "Assertion/Subject/NameID")) == "ada@contoso.example"
    said = claims(response)
    assert said[f"{MICROSOFT}/tenantid"] == [TENANT_ID]
    assert said[f"{MICROSOFT}/objectidentifier"] == ["a0a0a0a0-0001-4000-8000-000000000001"]
    assert len(said[f"{ROLE_CLAIMS}/groups"]) == 2
    assert "sts.windows.net/ffff" in claims(idp.response("entra", "hugo"))[f"{MICROSOFT}/identityprovider"][0]
    over = claims(idp.response("entra", "over"))
    assert f"{ROLE_CLAIMS}/groups" not in over
    assert over[GROUPS_LINK][0].endswith("/getMemberObjects")
    idp.control("PUT", "people/nora", {"groups": [], "app_roles": ["Op"], "claims": {"x": ["1", "2"]}})
    nora = claims(idp.response("entra", "nora"))
    assert (nora[f"{ROLE_CLAIMS}/role"], nora["x"], f"{ROLE_CLAIMS}/groups" in nora) == (
        ["Op"],
        ["1", "2"],
        False,
    )


def test_the_others_name_people_in_their_own_ways(idp):
    known = {}
    for face in ("pingone", "pingfederate", "generic"):
        response = idp.response(face)
        known[face] = (sx.need(sx.parse(response), "Assertion/Subject/NameID"), claims(response))
    assert known["pingone"][0].text != known["generic"][0].text
    assert known["pingone"][0].get("Format") == sx.FORMATS["persistent"]
    assert known["pingfederate"][0].text == "ada"
    assert known["pingfederate"][1]["memberOf"][1].startswith("CN=airflow_prod_admin,OU=")
    assert known["pingone"][1]["groups"] == ["everyone", "airflow_prod_admin"]
    assert set(known["pingfederate"][1]) == {"memberOf", "entryUUID", "mail", "givenName", "sn"}


def test_the_page_posts_by_itself_and_by_hand(idp):
    page = idp.http.get(idp.sso("generic", relay_state='"><b>'))
    assert "Who do you want to be?" in page.text
    action = page.text.partition('action="')[2].partition('"')[0]
    answer = idp.http.post(idp.url + action, data={"person": "ada"})
    nonce = answer.text.partition('nonce="')[2].partition('"')[0]
    assert f"script-src 'nonce-{nonce}'" in answer.headers["content-security-policy"]
    assert 'type="submit"' in answer.text
    assert '"><b>' not in answer.text
    assert idp.saml_post(idp.sso("generic", relay_state='"><b>'), "ada")[1]["RelayState"] == '"><b>'
    assert "RelayState" not in idp.saml_post(idp.sso("generic", relay_state=None), "ada")[1]


@EVERY_FACE
def test_the_provider_can_begin(idp, face):
    acs, form = idp.saml_start(face, "vera", SP, "deep link")
    response = base64.b64decode(form["SAMLResponse"])
    assert (acs, form["RelayState"], b"InResponseTo" in response) == (ACS, "deep link", False)
    assert covers(response, idp.certificates(face)[0]) == [SIGNS[face]]
    assert idp.http.get(idp.url + SAML_FACES[face].start).status_code == 400


def test_a_request_may_come_by_post(idp):
    where = idp.url + SAML_FACES["generic"].sso
    tree = sx.own(authn_request(Destination=where).encode())
    saml_sign.sign(tree, KEY)

    def post(text, **more):
        form = {"SAMLRequest": base64.b64encode(text).decode(), **more}
        return idp._saml_form(idp.http.post(where, data=form), "ada")[1]["SAMLResponse"]

    assert codes(base64.b64decode(post(sx.document(tree)))) == ["Success"]
    assert idp.control("GET", "requests")[-2]["saml"]["signed"] is True
    wrong = sx.document(tree).replace(b"id6c", b"id7c")
    assert codes(base64.b64decode(post(wrong))) == ["Requester", "RequestDenied"]


@pytest.mark.parametrize("block_cipher", saml_sign.BLOCK_CIPHERS)
@pytest.mark.parametrize("prefix", ["saml", "saml2", ""])
def test_what_is_encrypted_holds_when_it_is_decrypted_and_read_by_itself(idp, block_cipher, prefix):
    idp.knobs(saml__encrypt="both", saml__block_cipher=block_cipher)
    recipe = replace(
        good(idp.state, "generic", "ada", SP, "_r"),
        encrypt="both", block_cipher=block_cipher, assertion_prefix=prefix, signed="both",
    )  # fmt: skip
    certificate = key_of(idp, "generic").certificate_text
    for response in (build(recipe, key_of(idp, "generic")), idp.response("generic")):
        tree = sx.parse(response)
        assert sx.find(tree, "Assertion") is None
        plain = saml_sign.decrypted(sx.need(tree, "EncryptedAssertion/EncryptedData"), KEY.private_pem)
        assert covers(plain, certificate) == ["Assertion"]
        name = sx.need(sx.own(plain), "Subject/EncryptedID/EncryptedData")
        assert b"NameID" in saml_sign.decrypted(name, KEY.private_pem)


def test_the_knobs_for_what_administrators_set_up(idp):
    idp.knobs(
        saml__signed="both", saml__name_id_format="emailAddress", saml__attributes={"sn": None, "a": "b"}
    )
    response = idp.response("generic")
    assert covers(response, idp.certificates("generic")[0]) == ["Response", "Assertion"]
    assert b">ada@contoso.example</saml:NameID>" in response
    assert (claims(response)["a"], "sn" in claims(response)) == (["b"], False)
    idp.knobs(saml__prefixes=True, saml__name_id="x", saml__status={"value": "RequestDenied", "times": 1})
    assert idp.status("pingone") == "RequestDenied"
    response = idp.response("pingone")
    assert b"<saml2:Assertion" in response
    assert b">x</saml2:NameID>" in response
    for bad in ({"saml.attack": "no such"}, {"saml.signed": "maybe"}, {"saml.metadata": "blue"}):
        idp.control("PUT", "knobs", bad, status=400)


# -- strictness -----------------------------------------------------------------------------------


def test_requests_that_get_a_page_and_never_a_post(idp):
    assert idp.status("generic") == "Success"
    assert idp.status("generic", issuer="https://evil.example") == "*unknown_sp"
    assert idp.status("generic", AssertionConsumerServiceURL=ACS + "/") == "*unknown_acs"
    assert idp.status("generic", AssertionConsumerServiceIndex="1") == "*unknown_acs"
    index = {"AssertionConsumerServiceURL": None, "AssertionConsumerServiceIndex": "1"}
    assert idp.status("generic", **index) == "Success"
    assert idp.saml_post(idp.sso("generic", **index), "ada")[0] == ACS + "/second"
    assert idp.status("generic", relay_state="x" * 80) == "Success"
    assert idp.status("generic", relay_state="x" * 81) == "*relay_state"
    where = idp.url + SAML_FACES["generic"].sso
    bomb = deflated(" " * 50_000_000)
    doctype = "<!DOCTYPE a>" + authn_request()
    for query, outcome in (
        ("", "missing"),
        ("?SAMLRequest=%20%21", "undecodable"),
        ("?SAMLRequest=" + quote(base64.b64encode(b"plain").decode()), "undecodable"),
        ("?SAMLRequest=" + quote(bomb), "undecodable"),
        ("?SAMLRequest=" + quote(deflated("<a")), "not_xml"),
        ("?SAMLRequest=" + quote(deflated(doctype)), "not_xml"),
        ("?SAMLRequest=" + quote(deflated(authn_request(name="LogoutRequest"))), "not_a_request"),
        ("?SAMLRequest=a&SAMLRequest=b", "repeated"),
        ("?ticket=none", "unknown_ticket"),
    ):
        assert idp.http.get(where + query).status_code == 400
        assert idp.log()["outcome"] == outcome


POLICY = '<samlp:NameIDPolicy Format="{}"/>'
CONTEXT = (
    '<samlp:RequestedAuthnContext Comparison="{}"><saml:AuthnContextClassRef>{}</saml:AuthnContextClassRef>'
    "</samlp:RequestedAuthnContext>"
)


@pytest.mark.parametrize(
    ("face", "changes", "status"),
    [
        ("entra", {"ID": "1abc"}, "RequestUnsupported"),
        ("entra", {"Version": "1.1"}, "VersionMismatch"),
        ("entra", {"IssueInstant": "today"}, "RequestUnsupported"),
        ("entra", {"Colour": "blue"}, "RequestUnsupported"),
        ("entra", {"ProtocolBinding": sx.REDIRECT}, "UnsupportedBinding"),
        ("entra", {"ProtocolBinding": sx.POST, "Destination": "https://elsewhere.example"}, "Success"),
        ("entra", {"inside": "<saml:Subject/>"}, "RequestUnsupported"),
        ("entra", {"inside": POLICY.format(sx.FORMATS["persistent"])}, "Success"),
        ("entra", {"inside": POLICY.format(sx.FORMATS["entity"])}, "InvalidNameIDPolicy"),
        ("entra", {"inside": CONTEXT.format("exact", sx.PASSWORD)}, "Success"),
        ("entra", {"inside": CONTEXT.format("minimum", sx.PASSWORD)}, "NoAuthnContext"),
        ("entra", {"inside": CONTEXT.format("exact", "urn:x509")}, "NoAuthnContext"),
        ("generic", {"inside": POLICY.format(sx.FORMATS["emailAddress"])}, "InvalidNameIDPolicy"),
        ("generic", {"inside": POLICY.format(sx.FORMATS["persistent"])}, "Success"),
        ("generic", {"Destination": "https://elsewhere.example"}, "RequestDenied"),
        ("generic", {"IsPassive": "true"}, "NoPassive"),
        ("generic", {"inside": "<samlp:Scoping/><samlp:NameIDPolicy/>"}, "RequestUnsupported"),
    ],
)
def test_other_refusals_go_to_the_registered_address(idp, face, changes, status):
    assert idp.status(face, **changes) == status
    if status == "Success":
        return
    response = base64.b64decode(idp.saml_post(idp.sso(face, **changes), "ada")[1]["SAMLResponse"])
    assert b"Assertion>" not in response
    assert covers(response, idp.certificates(face)[0]) == ([] if face == "entra" else ["Response"])
    assert (b"AADSTS" in response) == (face == "entra")


def test_a_signature_is_wanted_where_it_was_promised_and_must_hold_where_it_is(idp):
    where = {"Destination": idp.url + SAML_FACES["generic"].sso}
    stranger = saml_keys.stranger("devidp foreign")
    assert idp.status("generic", key=KEY, **where) == "Success"
    assert idp.status("generic", key=KEY) == "RequestDenied", "a signed message names where it goes"
    assert idp.status("generic", key=stranger, **where) == "RequestDenied"
    changed = idp.sso("generic", key=KEY, **where).replace("RelayState=rs", "RelayState=xx")
    assert b"RequestDenied" in base64.b64decode(idp.saml_post(changed, "ada")[1]["SAMLResponse"])
    idp.register_sp(sp_metadata(signed=True))
    assert idp.status("generic") == "RequestDenied"
    assert idp.status("entra") == "RequestDenied"
    assert idp.status("entra", key=KEY) == "Success"


def test_nobody_is_asked_twice_where_the_request_says_so(idp):
    assert idp.status("generic", IsPassive="true") == "NoPassive"
    idp.response("generic", "otto")
    assert b"otto" in idp.response("generic", IsPassive="true")
    assert idp.status("generic", IsPassive="true", ForceAuthn="true") == "NoPassive"
    idp.knobs(saml__silent=True)
    assert b">otto<" in idp.response("generic", "vera")
    assert b">vera<" in idp.response("generic", "vera", ForceAuthn="true")
    idp.control("PUT", "people/nora", {"disabled": True})
    with pytest.raises(ValueError, match="disabled"):
        idp.response("generic", "nora", ForceAuthn="true")
    assert b"AuthnFailed" in idp.response("generic", "", ForceAuthn="true")
    idp.knobs(authorize__person="ada")
    assert b">ada<" in idp.response("generic", "nobody", ForceAuthn="true")


def test_the_log_has_facts_and_no_response(idp):
    idp.response("entra", inside=POLICY.format(sx.FORMATS["persistent"]), ForceAuthn="true")
    entry = idp.control("GET", "requests?endpoint=saml.sso")[0]
    facts = entry["saml"]
    assert (facts["signed"], facts["force_authn"], facts["name_id_policy"]) == (False, True, True)
    assert (facts["requested_authn_context"], facts["acs_url"], facts["id_first"]) == (False, ACS, "i")
    everything = str(idp.control("GET", "requests"))
    assert "PHNhbWxw" not in everything
    assert "ada@" not in everything


# -- registration, keys, metadata -------------------------------------------------------------------


def test_a_service_provider_is_registered_strictly_and_forgotten_on_reset(idp):
    assert idp.control("GET", "saml/service-providers")[SP]["encryption"] == 1
    for wrong in (
        "<a/>",
        "no xml",
        "<!DOCTYPE x>" + sp_metadata(),
        sp_metadata(acs="airflow"),
        sp_metadata(entity_id=" "),
        sp_metadata(validUntil="2020-01-01T00:00:00Z"),
        sp_metadata().replace('index="1"', 'index="0"'),
        sp_metadata().replace(sx.POST, sx.REDIRECT),
        sp_metadata().replace(KEY.certificate_text, "AAAA"),
        sp_metadata().replace("SPSSO", "IDPSSO"),
    ):
        idp.control("POST", "saml/service-providers", {"metadata": wrong}, status=400)
    idp.control("POST", "saml/service-providers", {"meta": ""}, status=400)
    idp.reset()
    assert idp.status("generic") == "*unknown_sp"


def test_metadata_of_a_service_provider_is_fetched_when_it_first_comes():
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(503 if len(asked) == 1 else 200)
            self.end_headers()
            self.wfile.write(sp_metadata().encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        urls = (f"http://127.0.0.1:{server.server_port}/metadata",)
        with (
            start(Settings(service_provider_metadata_urls=urls)) as handle,
            httpx.Client(trust_env=False) as http,
        ):
            driver = Idp(handle.url, http)
            assert asked == []
            assert driver.status("generic") == "*unknown_sp"
            assert driver.status("generic") == "Success"
            assert driver.status("entra") == "Success"
            assert len(asked) == 2
        server.shutdown()


def test_a_rollover_goes_step_by_step(idp):
    def step(**said):
        idp.rotate_saml("generic", **said)
        response, shown = idp.response("generic"), idp.certificates("generic")
        return len(shown), [bool(covers(response, one)) for one in shown]

    assert step() == (1, [True])
    assert step(publish="both") == (2, [True, False])
    assert step(sign_with="new") == (2, [False, True])
    assert step(publish="new") == (1, [True])
    assert step(forget_old=True) == (1, [True])
    assert step(sign_with="new") == (1, [False]), "a key that nobody was told of"
    assert step(publish="new", kind="weak") == (1, [True])
    assert x509.load_pem_x509_certificate(pem(idp.certificates("generic")[0])).public_key().key_size == 1024
    assert step(kind="expired") == (1, [True])
    expired = x509.load_pem_x509_certificate(pem(idp.certificates("generic")[0]))
    assert expired.not_valid_after_utc.timestamp() < time.time()
    idp.control("POST", "saml/keys/rotate", {"publish": "some"}, status=400)
    idp.control("POST", "saml/keys/rotate", {"face": "none"}, status=400)
    idp.reset()
    idp.register_sp(sp_metadata())
    assert step() == (1, [True])


SCHEMAS = Path(find_spec("onelogin.saml2").submodule_search_locations[0]) / "schemas"


@EVERY_FACE
def test_metadata_keeps_to_the_schema(idp, face):
    text = idp.saml_metadata(face, **FULL.get(face, {}))
    assert text.startswith(BOM) == (face == "entra")
    tree = sx.parse(text.removeprefix(BOM))
    if face == "entra":
        saml_sign.verify(tree, [pem(idp.certificates(face)[0])])
    for role in tree.findall(sx.q(sx.MD, "RoleDescriptor")):
        # Its type is of a schema that is not here, as for every SAML party.
        sx.remove(role)
    with (SCHEMAS / "saml-schema-metadata-2.0.xsd").open() as source:
        schema = etree.XMLSchema(etree.parse(source))
    schema.assertValid(tree)


@EVERY_FACE
def test_responses_keep_to_the_schema(idp, face):
    with (SCHEMAS / "saml-schema-protocol-2.0.xsd").open() as source:
        schema = etree.XMLSchema(etree.parse(source))
    schema.assertValid(sx.parse(idp.response(face)))
    schema.assertValid(sx.parse(idp.response(face, person="")))


@pytest.mark.parametrize("face", ["entra", "pingfederate"])
def test_without_a_partner_the_certificate_is_one_that_does_not_sign(idp, face):
    response = idp.response(face)
    assert covers(response, idp.certificates(face)[0])
    assert not covers(response, idp.certificates(face, other="x")[0])


def test_metadata_can_be_wrong(idp):
    def ask(fault):
        idp.knobs(saml__metadata=fault)
        return idp.saml_metadata("entra", appid="x")

    honest = idp.saml_metadata("entra", appid="x")
    texts = {fault: ask(fault) for fault in sorted(_faults())}
    assert honest not in texts.values()
    assert len(texts["huge"]) > 5_000_000
    assert not texts["no_bom"].startswith(BOM)
    assert texts["many_certificates"].count(b"<KeyDescriptor") == 6
    idp.control("DELETE", "knobs")
    idp.knobs(saml__metadata__down=True)
    with pytest.raises(httpx.RemoteProtocolError):
        idp.saml_metadata("entra")
    idp.knobs(saml__metadata__down=False, saml__metadata__status=503)
    assert idp.http.get(idp.url + SAML_FACES["entra"].metadata).status_code == 503


def _faults():
    from devidp.saml_metadata import FAULTS

    return FAULTS


# -- logout ---------------------------------------------------------------------------------------

NAME = "<saml:NameID>{}</saml:NameID><samlp:SessionIndex>{}</samlp:SessionIndex>"


def _logout(idp, face, name, index="", **changes):
    where = idp.url + SAML_FACES[face].slo
    text = authn_request(NAME.format(name, index), name="LogoutRequest", Destination=where)
    return idp.http.get(idp.sso(face, text, slo=True, **changes))


@EVERY_FACE
def test_a_service_provider_can_sign_somebody_out(idp, face):
    response = sx.parse(idp.response(face))
    name = sx.text(sx.need(response, "Assertion/Subject/NameID"))
    index = sx.need(response, "Assertion/AuthnStatement").get("SessionIndex")
    assert _logout(idp, face, name, index).status_code == (302 if face == "entra" else 400)
    answer = _logout(idp, face, name, index, key=KEY)
    if face == "pingone":
        form = answer.text.partition('name="SAMLResponse" value="')[2].partition('"')[0]
        tree = sx.parse(base64.b64decode(form))
        saml_sign.verify(tree, [pem(idp.certificates(face)[0])])
    else:
        assert answer.headers["location"].startswith(SLO)
        raw = urlsplit(answer.headers["location"]).query
        saml_sign.verify_query(raw, "SAMLResponse", [pem(idp.certificates(face)[0])])
        tree = sx.parse(zlib.decompress(base64.b64decode(parse_qs(raw)["SAMLResponse"][0]), -15))
    assert tree.get("InResponseTo") == "id6c1c178c166d486687be4aaf5e482730"
    assert (tree.findtext("{*}Issuer") == idp.url + SAML_FACES[face].entity_id) == (face != "entra")
    assert idp.status(face, IsPassive="true") == "NoPassive"
    assert idp.control("GET", "saml/sessions")[face] == []


@EVERY_FACE
def test_the_provider_can_ask_for_a_logout(idp, face):
    idp.control("POST", "saml/logout", {"face": face, "person": "ada"}, status=400)
    response = sx.parse(idp.response(face))
    index = sx.need(response, "Assertion/AuthnStatement").get("SessionIndex")
    sent = idp.saml_logout(face, "ada", session_index=index, binding="redirect", relay_state="x")
    raw = urlsplit(sent["url"]).query
    saml_sign.verify_query(raw, "SAMLRequest", [pem(idp.certificates(face)[0])])
    text = zlib.decompress(base64.b64decode(parse_qs(raw)["SAMLRequest"][0]), -15)
    assert index.encode() in text
    posted = idp.saml_logout(face, "ada", session_index="", binding="post")
    assert b"SessionIndex" not in base64.b64decode(posted["fields"]["SAMLRequest"])
    idp.knobs(saml__logout="unsigned")
    assert "Signature" not in idp.saml_logout(face, "ada", binding="redirect")["url"]


@pytest.mark.parametrize("name", LOGOUT_ATTACKS)
def test_every_hostile_logout_request_is_one(idp, name):
    """Beside the honest one; those that say something wrong are well signed."""
    people = [
        Participant(
            face="generic", person=one, sp=SP, name_id=one, name_id_format=None, session_index="_" + one
        )
        for one in ("ada", "vera")
    ]
    context = LogoutContext.of(idp.state, "generic", *people, SLO)
    sent = LOGOUT_ATTACKS[name].make(context)
    assert sent["url"].startswith(SLO)
    assert LOGOUT_ATTACKS[name].about.endswith(".")
    if name.endswith("_by_redirect") and not name.startswith(
        ("unsigned", "foreign", "sha1", "envel", "request")
    ):
        saml_sign.verify_query(urlsplit(sent["url"]).query, "SAMLRequest", [context.key.certificate_pem])
    if name.endswith("_by_post") and not name.startswith(("unsigned", "foreign", "sha1", "request")):
        tree = sx.own(base64.b64decode(dict(sent["fields"])["SAMLRequest"]))
        saml_sign.verify(tree, [context.key.certificate_pem])
    if name.startswith("wrapped"):
        tree = sx.own(base64.b64decode(dict(sent["fields"])["SAMLRequest"]))
        assert covers_by_hand(sx.text_of(tree), context.key.certificate_text) == ["LogoutRequest"]
        assert sx.text(sx.need(tree, "NameID")) == "ada"


# -- attacks --------------------------------------------------------------------------------------

WRAPPED = {
    "xsw1": "Response", "xsw2": "Response",
    **dict.fromkeys(("xsw3", "xsw4", "xsw5", "xsw6", "xsw7", "xsw7_other_id", "xsw8", "xsw8_other_id"), "Assertion"),
    **dict.fromkeys(("two_assertions", "two_assertions_one_id", "two_assertions_one_id_evil_first"), "Assertion"),
    "attribute_pollution": "Assertion", "xml_id": "Assertion", "evil_assertion_in_advice": "Assertion",
}  # fmt: skip
# Well signed as a whole; wrong in what they say, or in how they are spelled.
SIGNED_TREES = ("comment_in_name_id", "cdata_in_name_id", "instruction_in_name_id", "element_in_name_id")


def context_of(idp, face="entra", person="vera", **changes):
    recipe = replace(good(idp.state, face, person, SP, "_request"), **changes)
    return saml_attacks.context_for(idp.state, face, recipe, SP)


# One face that signs the assertion and one that signs the response: the others differ in words only.
@pytest.mark.parametrize("face", ["entra", "pingfederate"])
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_can_be_made_and_is_not_the_honest_message(idp, face, name):
    context = context_of(idp, face)
    sent = saml_attacks.hostile(name, context)
    if name not in ("only_response_signed", "only_assertion_signed"):
        assert saml_attacks.posted(name, context) != sx.b64(context.honest())
    assert ATTACKS[name].case.startswith("S")
    assert ATTACKS[name].about.endswith(".")
    if ATTACKS[name] in CONTENT.values():
        assert covers(sent, context.key.certificate_text) or name in ("other_provider", "no_assertion_id")


@EVERY_FACE
@pytest.mark.parametrize("name", WRAPPED)
def test_wrapping_keeps_a_signature_that_holds_and_shows_the_victim(idp, face, name):
    context = context_of(idp, face)
    sent = saml_attacks.hostile(name, context)
    assert covers_by_hand(sent, context.key.certificate_text) == [WRAPPED[name]]
    if name not in ("xsw1", "xsw6", "xsw8", "xsw8_other_id", "xml_id"):
        assert covers(sent, context.key.certificate_text) == [WRAPPED[name]]
    names = {sx.text(one) for one in sx.own(sent).iter(sx.q(sx.SAML, "NameID"))}
    assert names == {context.recipe.name_id, context.victim.name_id}


@pytest.mark.parametrize("name", SIGNED_TREES)
def test_a_name_that_begins_like_the_victims_is_well_signed(idp, name):
    context = context_of(idp)
    sent = saml_attacks.hostile(name, context)
    assert covers(sent, context.key.certificate_text) == ["Assertion"]
    element = sx.need(sx.own(sent), "Assertion/Subject/NameID")
    assert (element.text == context.victim.name_id) == (name != "cdata_in_name_id")
    assert "".join(element.itertext(etree.Element)) == f"{context.victim.name_id}.evil.example"


def test_encrypted_wrapping_decrypts_to_what_it_says(idp):
    context = context_of(idp)
    for name in ("encrypted_xsw4", "encrypted_xsw6"):
        tree = sx.own(saml_attacks.hostile(name, context))
        plain = saml_sign.decrypted(sx.need(tree, "EncryptedAssertion/EncryptedData"), KEY.private_pem)
        assert covers_by_hand(plain, context.key.certificate_text) == ["Assertion"]
        assert sx.text(sx.need(sx.own(plain), "Subject/NameID")) == context.victim.name_id


def test_signatures_that_must_not_count_are_what_they_say(idp):
    context = context_of(idp, "generic")
    published = context.key.certificate_text

    def made(name):
        return saml_attacks.hostile(name, context)

    assert covers(made("sha1_signature"), published) == ["Assertion"]
    assert covers(made("sha1_digest"), published) == ["Assertion"]
    assert b"rsa-sha1" in made("sha1_signature")
    assert covers(made("foreign_key"), published) == []
    assert covers(made("foreign_key"), context.foreign.certificate_text) == ["Response", "Assertion"]
    assert covers(made("xpath_transform"), published) == ["Assertion"], (
        "it holds, and does not cover the Subject"
    )
    for name in (
        "smuggled_digest",
        "digest_in_comment",
        "changed_after_signing",
        "hmac_certificate",
        "no_reference",
    ):
        assert covers(made(name), published) == []
        assert sx.text(sx.need(sx.own(made(name)), "Assertion/Subject/NameID")) == context.victim.name_id
    assert len(made("giant")) > 8_000_000
    assert made("deep").count(b"<x>") == 100_000
    assert (
        zlib.decompressobj(-15).decompress(base64.b64decode(saml_attacks.deflate_bomb(2_000_000)), 10)
        == b" " * 10
    )


def test_an_attack_comes_through_the_browser_in_answer_to_the_true_request(idp):
    idp.knobs(saml__attack={"value": "xsw3", "times": 1})
    tree = sx.parse(idp.response("generic", "vera"))
    assert tree.get("InResponseTo") == "id6c1c178c166d486687be4aaf5e482730"
    assert len(tree.findall("{*}Assertion")) == 2
    assert idp.log()["outcome"] == "attack: xsw3"
    assert len(sx.parse(idp.response("generic", "vera")).findall("{*}Assertion")) == 1
