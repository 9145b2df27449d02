"""The pretend provider's directory side: Graph, the PingOne API and SCIM tell of the same people, refuse
what the real ones refuse, and misbehave only when a knob says so. The clients' tests lean on this.
"""

import json
import time

import httpx
import msal
import pytest
import requests

from devidp.faces import FACES
from devidp.people import GROUP_IDS
from devidp.server import start
from devidp.settings import CLIENT_ID, PINGONE_ENVIRONMENT_ID, TENANT_ID, Settings
from tests.certificates import new_certificate
from tests.test_devidp import REDIRECT, Clock, Idp, basic
from tests.tls_proxy import TlsProxy

SECRET = "s+x/%y z:=&"
SIDES = pytest.mark.parametrize("side", ["graph", "pingone", "scim"])
OP = GROUP_IDS["airflow_prod_op"]
STATE = "$select=id,accountEnabled,userType,signInSessionsValidFromDateTime"


class Directory(Idp):
    """The calls that a client of a directory makes, with a token of its own for each side."""

    tokens: dict

    def fresh(self):
        self.reset()
        self.tokens = {"scim": "scim-token"}
        return self

    def app_token(self, side, **changes):
        path = {"graph": FACES["entra"].token, "pingone": FACES["pingone"].token, "scim": "/scim/token"}[side]
        form = {"grant_type": "client_credentials", **changes}
        if side == "graph":
            secret = {"client_id": CLIENT_ID, "client_secret": SECRET, "client_info": "1"}
            form = {"scope": "https://graph.microsoft.com/.default", **secret, **form}
            return self.http.post(self.url + path, data={k: v for k, v in form.items() if v is not None})
        return self.http.post(self.url + path, data=form, headers=basic(CLIENT_ID, SECRET))

    def base(self, side):
        environment = f"/pingone/v1/environments/{PINGONE_ENVIRONMENT_ID}"
        return self.url + {"graph": "/graph/v1.0", "pingone": environment, "scim": "/scim/v2"}[side]

    def call(self, side, path, *, method="GET", token=None, body=None, **headers):
        if token is None and side not in self.tokens:
            self.tokens[side] = self.app_token(side).json()["access_token"]
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers["Authorization"] = f"Bearer {token or self.tokens[side]}"
        url = path if path.startswith("http") else self.base(side) + path
        return self.http.request(method, url, headers=headers, json=body)

    def graph(self, path, **more):
        return self.call("graph", path, **more)

    def ids(self, name):
        return self.directory("GET", f"people/{name}")["ids"]

    def read(self, side, name, query=""):
        path = "/Users/" if side == "scim" else "/users/"
        return self.call(side, path + self.ids(name)[side] + query)

    def list_path(self, side):
        return {"graph": "/users?$select=id,accountEnabled", "pingone": "/users", "scim": "/Users"}[side]

    def enabled(self, side, name):
        if side == "graph":
            return self.read(side, name, "?" + STATE).json()["accountEnabled"]
        return self.read(side, name).json()["enabled" if side == "pingone" else "active"]

    def walk(self, side, path):
        """Every entry of a list, page by page, and how many pages there were."""
        entries, pages = [], 0
        while path:
            page = self.call(side, path).json()
            pages += 1
            if side == "graph":
                entries += page["value"]
                path = page.get("@odata.nextLink")
            else:
                entries += next(iter(page["_embedded"].values()))
                path = page["_links"].get("next", {}).get("href")
        return entries, pages

    def delta(self, link="/users/delta?$select=id,accountEnabled"):
        changes = []
        while True:
            page = self.graph(link).json()
            changes += page["value"]
            if "@odata.deltaLink" in page:
                return changes, page["@odata.deltaLink"]
            link = page["@odata.nextLink"]


@pytest.fixture(scope="module")
def running():
    clock = Clock()
    settings = Settings(client_secret=SECRET, redirect_uris=(REDIRECT,), clock=clock)
    with start(settings) as handle, httpx.Client(trust_env=False) as http:
        yield Directory(handle.url, http), clock


@pytest.fixture
def idp(running):
    running[1].ahead = 0
    return running[0].fresh()


def code_of(response):
    body = response.json()
    return body["error"]["code"] if "error" in body else body.get("code") or body["status"]


# -- app-only tokens --------------------------------------------------------------------------------


@SIDES
def test_a_token_opens_its_own_side_until_it_ends(idp, running, side):
    answer = idp.app_token(side)
    token = answer.json()["access_token"]
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == (3599 if side == "graph" else 3600)
    assert idp.call(side, idp.list_path(side), token=token).status_code == 200
    for other in {"graph", "pingone", "scim"} - {side}:
        assert idp.call(other, idp.list_path(other), token=token).status_code == 401
    running[1].ahead = 3700
    assert idp.call(side, idp.list_path(side), token=token).status_code == 401


def test_a_token_is_refused_for_a_wrong_secret_a_wrong_scope_and_by_a_face_without_directory(idp):
    wrong = idp.app_token("graph", client_secret="other")
    assert (wrong.status_code, wrong.json()["error_codes"]) == (401, [7000215])
    assert idp.app_token("graph", scope="openid").json()["error"] == "invalid_scope"
    assert idp.app_token("graph", scope=None).json()["error"] == "invalid_request"
    assert idp.app_token("graph", scope=f"{idp.url}/graph/.default").status_code == 200
    form = {"grant_type": "client_credentials"}
    refused = idp.http.post(
        idp.url + FACES["pingfederate"].token, data=form, headers=basic(CLIENT_ID, SECRET)
    )
    assert refused.json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        (7000215, "invalid_client", 401),
        (7000222, "invalid_client", 401),
        (7000112, "unauthorized_client", 400),
        (90033, "temporarily_unavailable", 503),
    ],
)
def test_an_app_token_fails_by_its_code_while_people_still_sign_in(idp, code, error, status):
    idp.knobs(app_token__error=code)
    answer = idp.app_token("graph")
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (
        status,
        error,
        [code],
    )
    assert "id_token" in idp.sign_in("entra")


@pytest.mark.parametrize("by", ["secret", "certificate"])
def test_msal_gets_a_token(tmp_path, by):
    """MSAL speaks to https only, and finds the token endpoint by discovery (fact A21)."""
    shown = new_certificate(tmp_path, "idp", hosts=("localhost",))
    signing = new_certificate(tmp_path, "app")
    with TlsProxy(shown) as proxy:
        base = proxy.url("localhost")
        with start(Settings(base_url=base, client_secret=SECRET)) as handle:
            proxy.forward_to(handle.app.extensions["devidp"].settings.port)
            handle.state.client.certificates.append(signing.pem)
            key = {"private_key": signing.key_file.read_text(), "public_certificate": signing.pem}
            session = requests.Session()
            session.trust_env, session.verify = False, str(shown.certificate_file)
            app = msal.ConfidentialClientApplication(
                CLIENT_ID,
                authority=f"{base}/{TENANT_ID}",
                client_credential=SECRET if by == "secret" else key,
                instance_discovery=False,
                http_client=session,
            )
            answer = app.acquire_token_for_client([f"{base}/graph/.default"])
            assert answer["expires_in"] == 3599
            assert handle.state.directory.token_state("graph", answer["access_token"], time.time()) == "good"


@SIDES
def test_without_a_good_bearer_there_is_only_401(idp, side):
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer nobody"}):
        answer = idp.http.get(idp.base(side) + idp.list_path(side), headers=headers)
        assert answer.status_code == 401
        assert (
            code_of(answer)
            == {
                "graph": "InvalidAuthenticationToken",
                "pingone": "ACCESS_FAILED",
                "scim": "401",
            }[side]
        )
    idp.call(side, idp.list_path(side))
    idp.directory("DELETE", "tokens")
    assert idp.call(side, idp.list_path(side)).status_code == (200 if side == "scim" else 401)


def test_the_static_token_of_scim_can_be_changed(idp):
    idp.control("POST", "clients", {"scim_token": "another"})
    assert idp.call("scim", "/Users").status_code == 401
    assert idp.call("scim", "/Users", token="another").status_code == 200


# -- one person -------------------------------------------------------------------------------------


@SIDES
def test_disabling_counts_everywhere_at_once_and_enabling_too(idp, side):
    assert idp.enabled(side, "otto") is True
    idp.disable("otto")
    assert idp.enabled(side, "otto") is False
    assert idp.enabled(side, "ada") is True
    idp.enable("otto")
    idp.control("PUT", "people/otto", {"disabled": True})
    assert idp.enabled(side, "otto") is False
    idp.reset()
    idp.tokens = {"scim": "scim-token"}
    assert idp.enabled(side, "otto") is True


@SIDES
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_deleted_is_404_and_leaves_every_list(idp, side, kind):
    before = idp.read(side, "vera")
    idp.put_person("vera", deleted=kind)
    after = idp.read(side, "vera")
    assert (before.status_code, after.status_code) == (200, 404)
    expected = {"graph": "Request_ResourceNotFound", "pingone": "NOT_FOUND", "scim": "404"}
    assert code_of(after) == expected[side]
    assert idp.ids("vera")[side] not in idp.call(side, idp.list_path(side)).text
    assert idp.ids("ada")[side] in idp.call(side, idp.list_path(side)).text


def test_the_ids_of_the_directory_are_those_of_sign_in(idp):
    ids = idp.ids("ada")
    assert idp.claims("entra")["oid"] == ids["graph"]
    assert idp.claims("pingone")["sub"] == ids["pingone"]
    resource = idp.read("scim", "ada").json()
    assert idp.claims("generic")["sub"] == resource["externalId"]
    assert idp.claims("pingfederate")["sub"] == resource["userName"]
    assert resource["urn:pingidentity:schemas:User:1.0"] == {
        "entryUUID": ids["entry_uuid"],
        "accountDisabled": False,
    }


@pytest.mark.parametrize("name", ["otto", "p000007"])
def test_deleted_people_cannot_sign_in_until_they_are_restored(idp, name):
    idp.directory("POST", "generate", {"people": 10})
    assert "code" in idp.answer("entra", name)
    idp.put_person(name, deleted="soft")
    assert "Otto" not in idp.ask("entra").text or name != "otto"
    refused = idp.http.post(idp.request_url("entra"), data={"person": name})
    assert refused.status_code == 400
    assert "50057" in refused.text
    idp.put_person(name, deleted=None)
    assert "code" in idp.answer("entra", name)
    idp.put_person(name, deleted="hard")
    with pytest.raises(ValueError, match="deleted for good"):
        idp.put_person(name, deleted=None)


def test_a_rehire_is_another_person(idp):
    old = idp.ids("otto")
    _, link = idp.delta()
    idp.control("PUT", "people/otto", {"oid": "a0a0a0a0-9999-4000-8000-000000000002"})
    assert idp.graph(f"/users/{old['graph']}").status_code == 404
    assert idp.read("graph", "otto").status_code == 200
    assert idp.ids("otto")["pingone"] != old["pingone"]
    changes, _ = idp.delta(link)
    assert {"id": old["graph"], "@removed": {"reason": "deleted"}} in changes


@pytest.mark.parametrize("name", ["otto", "hugo", "under_score"])
def test_graph_knows_people_by_principal_name_too(idp, name):
    idp.control("PUT", f"people/{name}", {})
    body = idp.read("graph", name).json()
    upn = body["userPrincipalName"].replace("#", "%23")
    assert idp.graph(f"/users/{upn}").json()["id"] == body["id"]


def test_locked_is_not_disabled(idp):
    idp.put_person("otto", locked=True)
    body = idp.read("pingone", "otto").json()
    assert (body["account"]["status"], body["account"]["canAuthenticate"], body["enabled"]) == (
        "LOCKED",
        False,
        True,
    )
    assert idp.enabled("graph", "otto") is True


def test_what_comes_only_with_select_comes_only_with_select(idp):
    assert {"accountEnabled", "userType"}.isdisjoint(idp.read("graph", "ada").json())
    body = idp.read("graph", "hugo", "?" + STATE).json()
    assert (body["userType"], body["signInSessionsValidFromDateTime"]) == ("Guest", "2020-01-01T00:00:00Z")
    idp.put_person("hugo", signed_out_everywhere=True)
    assert idp.read("graph", "hugo", "?" + STATE).json()["signInSessionsValidFromDateTime"] > "2025"
    idp.knobs(graph__omit=["accountEnabled"])
    assert "accountEnabled" not in idp.read("graph", "hugo", "?" + STATE).json()


# -- groups -----------------------------------------------------------------------------------------


def nest_a_crew_in_operators(idp):
    idp.put_group("crew", members=["vera", "nora"])
    idp.put_group("airflow_prod_op", groups=["crew"])


def test_nesting_counts_where_the_vendor_says_so(idp):
    nest_a_crew_in_operators(idp)
    members = idp.graph(f"/groups/{OP}/transitiveMembers/microsoft.graph.user?$select=id").json()["value"]
    assert {one["id"] for one in members} == {idp.ids(name)["graph"] for name in ("otto", "vera", "nora")}
    direct = idp.graph(f"/groups/{OP}/members/microsoft.graph.user?$select=id").json()["value"]
    assert [one["id"] for one in direct] == [idp.ids("otto")["graph"]]
    vera = f"/users/{idp.ids('vera')['graph']}"
    told = idp.graph(f"{vera}/getMemberGroups", method="POST", body={"securityEnabledOnly": True})
    assert OP in told.json()["value"]
    asked = idp.graph(f"{vera}/checkMemberGroups", method="POST", body={"groupIds": [OP, "none"]})
    assert asked.json()["value"] == [OP]
    assert OP in idp.claims("entra", "vera")["groups"]
    assert "airflow_prod_op" not in idp.claims("generic", "vera")["groups"]
    assert "airflow_prod_op" not in json.dumps(idp.claims("pingfederate", "vera"))
    read = idp.read("pingone", "vera", "?include=memberOfGroupNames").json()
    assert idp.claims("pingone", "vera")["groups"] == read["memberOfGroupNames"]
    memberships = idp.read("pingone", "vera", "/memberOfGroups").json()["_embedded"]["groupMemberships"]
    assert {one["name"]: one["type"] for one in memberships}["airflow_prod_op"] == "INDIRECT"
    idp.put_group("airflow_prod_op", deleted=True)
    assert idp.graph(f"/groups/{OP}").status_code == 404
    assert OP not in idp.claims("entra", "vera")["groups"]


def test_groups_in_each_other_do_no_harm(idp):
    idp.put_group("left", groups=["right"], members=["ada"])
    idp.put_group("right", groups=["left"], members=["vera"])
    assert idp.directory("GET", "groups/left")["transitive_members"] == 2


def test_pingone_tells_groups_on_single_reads_and_by_filter(idp):
    body = idp.read("pingone", "otto", "?include=memberOfGroupIDs,memberOfGroupNames").json()
    assert body["memberOfGroupIDs"] == [GROUP_IDS["everyone"], OP]
    assert "memberOfGroupIDs" not in idp.read("pingone", "otto").json()
    assert idp.call("pingone", "/users?include=memberOfGroupIDs").status_code == 400
    found = idp.call("pingone", f'/users?filter=memberOfGroups[id eq "{OP}"]').json()
    assert [one["username"] for one in found["_embedded"]["users"]] == ["otto"]
    groups = idp.call("pingone", '/groups?filter=name eq "airflow_prod_op"').json()["_embedded"]["groups"]
    assert [(one["id"], one["name"]) for one in groups] == [(OP, "airflow_prod_op")]


def test_scim_lists_and_filters(idp):
    page = idp.call("scim", "/Users?startIndex=2&count=2").json()
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (6, 2, 2)
    assert [one["userName"] for one in page["Resources"]] == ["otto", "vera"]
    ids = idp.ids("vera")
    for wanted in ('USERNAME EQ "Vera"', f'externalId eq "{ids["external_id"]}"', f'id eq "{ids["scim"]}"'):
        found = idp.call("scim", f"/Users?filter={wanted}").json()["Resources"]
        assert [one["userName"] for one in found] == ["vera"]
    assert idp.call("scim", '/Users?filter=userName eq "nobody"').json()["totalResults"] == 0
    assert idp.call("scim", "/Users?filter=userName sw a").json()["scimType"] == "invalidFilter"
    [group] = idp.call("scim", '/Groups?filter=displayName eq "airflow_prod_op"').json()["Resources"]
    assert [one["display"] for one in group["members"]] == ["Otto Lilienthal"]
    assert "members" not in idp.call("scim", f"/Groups/{OP}?excludedAttributes=members").json()
    answer = idp.read("scim", "otto")
    assert {"value": OP, "display": "airflow_prod_op", "type": "direct"} in answer.json()["groups"]
    assert answer.headers["content-type"] == "application/scim+json"


def test_app_roles_of_people_and_of_groups(idp):
    idp.control("PUT", "people/ada", {"app_roles": ["Airflow.Admin"]})
    idp.put_group("airflow_prod_op", app_roles=["Airflow.Op"])
    [app] = idp.graph(f"/servicePrincipals?$filter=appId eq '{CLIENT_ID}'").json()["value"]
    assert app == {
        name: value
        for name, value in idp.graph(f"/servicePrincipals(appId='{CLIENT_ID}')").json().items()
        if name != "@odata.context"
    }
    values = {role["id"]: role["value"] for role in app["appRoles"]}
    assigned, pages = idp.walk("graph", f"/servicePrincipals/{app['id']}/appRoleAssignedTo?$top=1")
    assert pages == 2
    assert [(one["principalType"], one["principalId"], values[one["appRoleId"]]) for one in assigned] == [
        ("User", idp.ids("ada")["graph"], "Airflow.Admin"),
        ("Group", OP, "Airflow.Op"),
    ]
    assert idp.claims("entra", "otto")["roles"] == ["Airflow.Op"]
    assert "roles" not in idp.claims("entra", "vera")


# -- lists, changes and batches -----------------------------------------------------------------------


@pytest.mark.parametrize("side", ["graph", "pingone"])
def test_pages_hold_everybody_once(idp, side):
    idp.directory("POST", "generate", {"people": 45, "groups": 3, "members": 20})
    size = {"graph": "&$top=10", "pingone": "?limit=10"}[side]
    entries, pages = idp.walk(side, idp.list_path(side) + size)
    assert (len(entries), len({one["id"] for one in entries}), pages) == (51, 51, 6)
    group = idp.directory("GET", "groups/g0002")
    assert group["members"] == 20


def test_graph_counts_and_filters(idp):
    idp.disable("otto")
    assert idp.graph("/users/$count").status_code == 400
    counted = idp.graph("/users/$count", ConsistencyLevel="eventual")
    assert (counted.text, counted.headers["content-type"]) == ("6", "text/plain")
    assert idp.graph("/users?$count=true").status_code == 400
    assert idp.graph("/users?$count=true", ConsistencyLevel="eventual").json()["@odata.count"] == 6
    disabled = idp.graph("/users?$filter=accountEnabled eq false&$select=id").json()["value"]
    assert disabled == [{"id": idp.ids("otto")["graph"]}]
    ids = ",".join(f"'{idp.ids(name)['graph']}'" for name in ("ada", "vera"))
    assert len(idp.graph(f"/users?$filter=id in ({ids},'gone')").json()["value"]) == 2
    too_many = ",".join(f"'{n}'" for n in range(16))
    assert idp.graph(f"/users?$filter=id in ({too_many})").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/users?$top=1000",
        "/users?$top=0",
        "/users?$select=password",
        "/users?$orderby=id",
        "/users?$filter=startswith(displayName,'a')",
        "/users?$top=1&$top=2",
        "/users/delta?$top=5",
        "/users/delta?$filter=accountEnabled eq false",
        "/nothing",
    ],
)
def test_graph_refuses_what_it_does_not_have(idp, path):
    answer = idp.graph(path)
    assert answer.status_code == 400
    assert set(answer.json()["error"]["innerError"]) >= {"date", "request-id"}


def test_the_delta_tells_each_change_with_its_reason(idp, running):
    everybody, link = idp.delta()
    assert len(everybody) == 6
    assert idp.delta(link)[0] == []
    idp.disable("otto")
    idp.put_person("vera", deleted="soft")
    idp.put_person("nora", deleted="hard")
    idp.control("PUT", "people/newcomer", {})
    changes, after = idp.delta(link)
    assert changes == [
        {"id": idp.ids("otto")["graph"], "accountEnabled": False},
        {"id": idp.ids("vera")["graph"], "@removed": {"reason": "changed"}},
        {"id": idp.ids("nora")["graph"], "@removed": {"reason": "deleted"}},
        {"id": idp.ids("newcomer")["graph"], "accountEnabled": True},
    ]
    idp.control("PUT", "people/newcomer", {"groups": ["everyone", "airflow_prod_op"]})
    assert idp.delta(after)[0] == []
    idp.control("PUT", "people/newcomer", {"family_name": "Married"})
    named = idp.delta(after)[0]
    assert [one["id"] for one in named] == [idp.ids("newcomer")["graph"]]
    after = idp.delta(after)[1]
    idp.put_person("vera", deleted=None)
    assert idp.delta(after)[0] == [{"id": idp.ids("vera")["graph"], "accountEnabled": True}]
    assert idp.delta("/users/delta?$deltatoken=latest")[0] == []
    running[1].ahead = 8 * 24 * 3600
    idp.tokens.pop("graph")
    assert code_of(idp.graph(link)) == "syncStateNotFound"


def test_an_expired_delta_token_says_so_in_either_way(idp):
    _, link = idp.delta()
    idp.knobs(graph__delta_expired="410")
    gone = idp.graph(link)
    assert gone.status_code == 410
    assert len(idp.delta(gone.headers["location"])[0]) == 6
    idp.knobs(graph__delta_expired="syncStateNotFound")
    assert code_of(idp.graph(link)) == "syncStateNotFound"


def batch(idp, *requests):
    body = {"requests": [{"id": str(n), **one} for n, one in enumerate(requests)]}
    answer = idp.graph("/$batch", method="POST", body=body)
    return answer, {one["id"]: one for one in answer.json().get("responses", [])}


def test_a_batch_answers_each_member_by_itself(idp):
    otto = idp.ids("otto")["graph"]
    posted = {"headers": {"Content-Type": "application/json"}, "body": {"groupIds": [OP]}}
    answer, members = batch(
        idp,
        {"method": "GET", "url": f"/users/{otto}?$select=id,accountEnabled"},
        {"method": "GET", "url": "/users/nobody"},
        {"method": "POST", "url": f"/users/{otto}/checkMemberGroups", **posted},
        {"method": "POST", "url": "/$batch", **posted},
        {"method": "GET", "url": f"{idp.url}/users"},
    )
    assert answer.status_code == 200
    assert [members[str(n)]["status"] for n in range(5)] == [200, 404, 200, 400, 400]
    assert members["0"]["body"]["accountEnabled"] is True
    assert members["2"]["body"]["value"] == [OP]
    assert [one["id"] for one in answer.json()["responses"]] != ["0", "1", "2", "3", "4"]
    too_many, _ = batch(idp, *[{"method": "GET", "url": "/users"}] * 21)
    assert too_many.status_code == 400
    assert idp.counts()["graph.batch_members"] == 5
    assert idp.control("GET", "requests?endpoint=graph.batch")[0]["members"] == 5


def test_members_of_a_batch_fail_alone(idp):
    one, two = (idp.ids(name)["graph"] for name in ("ada", "otto"))
    idp.knobs(graph__batch_member_status={two: 429})
    answer, members = batch(
        idp, *({"method": "GET", "url": f"/users/{who}?$select=id,accountEnabled"} for who in (one, two))
    )
    assert answer.status_code == 200
    assert (members["0"]["status"], members["1"]["status"]) == (200, 429)
    assert members["1"]["headers"]["Retry-After"] == "10"
    assert members["1"]["body"]["error"]["code"] == "TooManyRequests"
    idp.knobs(graph__batch_member_status={"*": 403})
    _, members = batch(idp, {"method": "GET", "url": f"/users/{one}"})
    assert members["0"]["body"]["error"]["code"] == "Authorization_RequestDenied"


# -- permissions ------------------------------------------------------------------------------------


def test_what_was_not_granted_is_refused(idp):
    ada = idp.ids("ada")
    group = f"/groups/{OP}/transitiveMembers/microsoft.graph.user?$select=id,accountEnabled"
    idp.directory("PUT", "permissions", {"graph": ["User.Read.All"], "pingone": ["Identity Data Read Only"]})
    assert idp.read("graph", "ada").status_code == 200
    for path in (group, f"/groups/{OP}", f"/servicePrincipals(appId='{CLIENT_ID}')"):
        assert (idp.graph(path).status_code, code_of(idp.graph(path))) == (403, "Authorization_RequestDenied")
    asked = idp.graph(f"/users/{ada['graph']}/checkMemberGroups", method="POST", body={"groupIds": [OP]})
    assert asked.status_code == 403
    assert idp.read("pingone", "ada").status_code == 200
    refused = idp.read("pingone", "ada", "?include=memberOfGroupIDs")
    assert refused.status_code == 403
    assert refused.json()["details"][0]["code"] == "INSUFFICIENT_PERMISSIONS"
    assert idp.call("pingone", f'/users?filter=memberOfGroups[id eq "{OP}"]').status_code == 403
    idp.directory("PUT", "permissions", {"graph": ["GroupMember.Read.All"], "scim": ["users"]})
    assert idp.read("graph", "ada").status_code == 403
    assert idp.graph(group).json()["value"] == [{"id": idp.ids("otto")["graph"], "accountEnabled": None}]
    assert idp.call("scim", "/Groups").status_code == 403
    assert "groups" not in idp.read("scim", "ada").json()


# -- failures ---------------------------------------------------------------------------------------


@SIDES
@pytest.mark.parametrize("said", ["2.128", 7, "Wed, 21 Oct 2026 07:28:00 GMT", "absent"])
def test_throttling_in_the_vendors_words(idp, side, said):
    idp.knobs(**{f"{side}__users__retry_after": {"value": said, "times": 1}})
    answer = idp.call(side, idp.list_path(side))
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == (None if said == "absent" else str(said))
    assert code_of(answer) == {"graph": "TooManyRequests", "pingone": "REQUEST_LIMITED", "scim": "429"}[side]
    assert idp.call(side, idp.list_path(side)).status_code == 200


def test_a_failure_can_come_in_the_middle_of_the_pages(idp):
    idp.directory("POST", "generate", {"people": 40})
    idp.knobs(graph__users__status={"value": 503, "skip": 2, "times": 1})
    path, statuses = "/users?$top=10", []
    for _ in range(5):
        answer = idp.graph(path)
        statuses.append(answer.status_code)
        path = answer.json().get("@odata.nextLink", path)
    assert statuses == [200, 200, 503, 200, 200]


@SIDES
def test_broken_answers(idp, side):
    path = idp.list_path(side)
    idp.knobs(**{f"{side}__users__truncate": {"value": True, "times": 1}})
    with pytest.raises(json.JSONDecodeError):
        idp.call(side, path).json()
    idp.knobs(**{f"{side}__html": {"value": True, "times": 1}})
    assert "<h1>" in idp.call(side, path).text
    idp.knobs(**{f"{side}__redirect": {"value": "https://evil.example/", "times": 1}})
    assert idp.call(side, path).headers["location"] == "https://evil.example/"
    idp.knobs(**{f"{side}__content_type": {"value": "text/html", "times": 1}})
    assert idp.call(side, path).headers["content-type"] == "text/html"
    idp.knobs(**{f"{side}__users__down": {"value": True, "times": 1}})
    with pytest.raises(httpx.TransportError):
        idp.call(side, path)
    assert idp.call(side, path).status_code == 200


@SIDES
def test_a_directory_that_lost_people_looks_well(idp, side):
    idp.knobs(**{f"{side}__loses_people": 0.5})
    answer = idp.call(side, idp.list_path(side))
    assert answer.status_code == 200
    assert [idp.ids(who)[side] in answer.text for who in ("ada", "vera", "nora")] == [True, True, False]
    assert idp.read(side, "nora").status_code == 200
    idp.knobs(**{f"{side}__loses_people": {"keep": 0, "reads": True}})
    assert idp.ids("ada")[side] not in idp.call(side, idp.list_path(side)).text
    assert idp.read(side, "nora").status_code == 404


@SIDES
def test_single_reads_fail_by_person(idp, side):
    idp.knobs(**{f"{side}__member_status": {idp.ids("otto")[side]: 500}})
    assert [idp.read(side, who).status_code for who in ("ada", "otto")] == [200, 500]


def test_links_can_lead_to_a_foreign_host(idp):
    idp.knobs(graph__foreign_next_link=True, pingone__foreign_next_link="https://evil.example")
    assert (
        idp.graph("/users?$top=1").json()["@odata.nextLink"].startswith("http://127.0.0.2/graph/v1.0/users")
    )
    page = idp.call("pingone", "/users?limit=1").json()
    assert page["_links"]["next"]["href"].startswith("https://evil.example/pingone/v1/")


def test_members_with_null_properties(idp):
    path = f"/groups/{OP}/members/microsoft.graph.user?$select=id,accountEnabled"
    idp.knobs(graph__null_members=True)
    assert idp.graph(path).json()["value"] == [{"id": idp.ids("otto")["graph"], "accountEnabled": None}]


def test_latency_and_the_log(idp):
    idp.knobs(directory__latency=60)
    began = time.monotonic()
    idp.graph("/users?$select=id", x_ms_throttle_priority="low")
    assert time.monotonic() - began > 0.06
    [entry] = idp.control("GET", "requests?face=graph&endpoint=graph")
    assert (entry["endpoint"], entry["status"], entry["values"]) == ("graph.users", 200, {"$select": "id"})
    assert entry["headers"] == {"x-ms-throttle-priority": "low"}
    assert idp.counts() == {"graph.token": 1, "graph.users": 1}
    idp.directory("DELETE", "counts")
    assert idp.counts() == {}


def test_the_control_api_refuses_what_it_does_not_know(idp):
    for method, path, body in (
        ("PUT", "people/otto", {"disable": True}),
        ("PUT", "people/otto", {"deleted": "somehow"}),
        ("PUT", "people/otto", {"disabled": True, "locked": "yes"}),
        ("PUT", "people/whoever", {"disabled": True}),
        ("PUT", "groups/x", {"members": ["whoever"]}),
        ("PUT", "permissions", {"graph": ["Directory.Read.All"]}),
        ("POST", "generate", {"people": -1}),
    ):
        assert idp.directory(method, path, body, status=400)["error"]
    assert idp.enabled("graph", "otto") is True


# -- size -------------------------------------------------------------------------------------------


def test_a_hundred_thousand_people(idp):
    began = time.monotonic()
    made = idp.directory("POST", "generate", {"people": 100_000, "groups": 5_000, "members": 20})
    assert time.monotonic() - began < 5
    assert made == {"people": 100_006, "groups": 5_000 + 203}
    idp.graph("/users?$top=1")
    began = time.monotonic()
    page = idp.graph("/users?$top=999&$select=id,accountEnabled").json()
    assert time.monotonic() - began < 1
    assert len(page["value"]) == 999
    idp.disable("p100000")
    assert [idp.enabled(side, "p100000") for side in ("graph", "pingone", "scim")] == [False] * 3
    group = idp.directory("GET", "people/p100000")["groups"][0]
    assert idp.directory("GET", f"groups/{group}")["members"] == 20


# -- the page ---------------------------------------------------------------------------------------


def test_the_page_disables_and_enables_by_a_click(idp):
    index = idp.http.get(idp.url, headers={"Accept": "text/html"})
    assert "Who works here" in index.text
    assert idp.http.get(idp.url).json()["discovery"]
    assert "Otto Lilienthal" in idp.http.get(f"{idp.url}/people").text
    form = {"name": "otto", "change": "disable"}
    evil = idp.http.post(f"{idp.url}/people", data=form, headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403
    assert idp.enabled("graph", "otto") is True
    assert idp.http.post(f"{idp.url}/people", data=form, headers={"Origin": idp.url}).status_code == 303
    assert idp.enabled("graph", "otto") is False
    assert "This account is disabled" in idp.ask("entra").text
    idp.http.post(f"{idp.url}/people", data={"name": "otto", "change": "enable"})
    assert idp.enabled("graph", "otto") is True
