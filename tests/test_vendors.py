"""Every vendor and every way of proving that we are the registered client, on one real Airflow."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from devidp.server import Handle
from devidp.settings import PINGONE_ENVIRONMENT_ID, TENANT_ID
from tests import stack as stacks
from tests.certificates import Certificate, new_certificate
from tests.databases import Database
from tests.stack import Stack, facts

DN = "cn={},ou=Groups, DC=contoso,DC=Example"  # not in the case and spacing that is sent


@dataclass
class Vendors:
    """The Airflow of this file, its provider, and the files that its credentials lie in."""

    airflow: Stack
    idp: Handle
    certificate: Certificate
    token_file: Path
    audience: str
    identity_requests: list[tuple[str, str | None]]

    def sign_in(self, person: str, through: str) -> tuple[str | None, str | None]:
        """Who Airflow says it is, and the code of the refusal: one of them is ``None``."""
        visitor = self.airflow.visitor()
        page = visitor.sign_in(person, through)
        return visitor.who(), facts(page)[0]


@pytest.fixture(scope="module")
def shared_vendors(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Vendors]:
    folder = tmp_path_factory.mktemp("vendors")
    url = identity_provider.url
    certificate = new_certificate(folder, "client")
    token_file = folder / "federated-token"
    audience = f"{url}/{TENANT_ID}/oauth2/v2.0/token"
    token_file.write_text(certificate.assertion(audience))
    requests_seen: list[tuple[str, str | None]] = []

    class ManagedIdentity(BaseHTTPRequestHandler):
        """The endpoint that App Service gives an application (fact A26)."""

        def do_GET(self) -> None:
            requests_seen.append((self.path, self.headers.get("X-IDENTITY-HEADER")))
            body = {
                "access_token": certificate.assertion(audience),
                "expires_on": str(int(time.time()) + 3600),
                "resource": "api://AzureADTokenExchange",
                "token_type": "Bearer",
            }
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    managed = HTTPServer(("127.0.0.1", 0), ManagedIdentity)
    threading.Thread(target=managed.serve_forever, daemon=True).start()
    pair = {
        "certificate": {"file": str(certificate.certificate_file)},
        "private_key": {"file": str(certificate.key_file)},
    }
    ping = {"tenant_id": None, "insecure_authority_host": None}
    providers = [
        stacks.entra(url, name="cert", client_auth={"certificate": pair}),
        stacks.entra(url, name="file", client_auth={"federated_token_file": str(token_file)}),
        stacks.entra(
            url, name="identity", client_auth={"managed_identity": "22222222-2222-4222-8222-222222222222"}
        ),
        stacks.entra(url, name="adopting", adopt_stock_azure=True),
        stacks.entra(url, name="roles", claims={"groups": ["no_such_claim"]}),
        stacks.entra(
            url,
            name="pingone",
            vendor="pingone",
            environment_id=PINGONE_ENVIRONMENT_ID,
            issuer=f"{url}/pingone/{PINGONE_ENVIRONMENT_ID}/as",
            **ping,
        ),
        stacks.generic(
            url,
            name="pf",
            vendor="pingfederate",
            issuer=f"{url}/pf",
            claims={"subject": "entryUUID", "username": "uid"},
        ),
        stacks.generic(
            url,
            name="pfcn",
            vendor="pingfederate",
            issuer=f"{url}/pf",
            insecure_subject_may_be_reused=True,
            group_dn="cn",
        ),
        stacks.generic(
            url, name="basic", client_auth={"secret": {"env": "TEST_CLIENT_SECRET"}, "method": "basic"}
        ),
        stacks.generic(url, name="info", claims={"groups": "groups"}),
        stacks.generic(url, name="noinfo"),
    ]
    providers = [{key: value for key, value in one.items() if value is not None} for one in providers]
    with stacks.migrated_home(
        migrated_database,
        folder / "home",
        extra={
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{managed.server_port}/token",
            "IDENTITY_HEADER": "of-this-run",
        },
    ) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure(providers)
        try:
            yield Vendors(stack.start(), identity_provider, certificate, token_file, audience, requests_seen)
        finally:
            stack.stop()
            managed.shutdown()
            managed.server_close()


@pytest.fixture
def vendors(shared_vendors: Vendors, idp: Handle) -> Vendors:
    drive = stacks.driver(idp)
    names = [
        "cert",
        "file",
        "identity",
        "adopting",
        "roles",
        "pingone",
        "pf",
        "pfcn",
        "basic",
        "info",
        "noinfo",
    ]
    uris = [f"{shared_vendors.airflow.auth_url}/oauth-authorized/{name}" for name in names]
    drive.control(
        "POST", "clients", {"redirect_uris": uris, "certificates": [shared_vendors.certificate.pem]}
    )
    mapping = stacks.default_mapping()
    mapping["rules"].append({"app_role": "Airflow.Op", "roles": ["Op"]})
    shared_vendors.airflow.map(mapping)
    return shared_vendors


@pytest.mark.parametrize("through", ["cert", "file", "identity"])
def test_a_client_assertion_gets_in_without_any_secret(vendors: Vendors, through: str) -> None:
    assert vendors.sign_in("ada", through) == ("ada@contoso.example", None)
    seen = stacks.driver(vendors.idp).control("GET", "requests?endpoint=token")
    assert seen[-1]["client_auth"] == "private_key_jwt"


def test_certificate_and_key_are_read_at_each_use(vendors: Vendors, tmp_path: Path) -> None:
    ours, other = vendors.certificate, new_certificate(tmp_path, "other")
    good = ours.certificate_file.read_bytes(), ours.key_file.read_bytes()
    try:
        ours.key_file.write_bytes(other.key_file.read_bytes())
        assert vendors.sign_in("ada", "cert") == (None, "SSO-102"), "a key that is not registered"
        ours.key_file.write_text("not PEM")
        assert vendors.sign_in("ada", "cert") == (None, "SSO-501")
    finally:
        ours.certificate_file.write_bytes(good[0])
        ours.key_file.write_bytes(good[1])
    assert vendors.sign_in("ada", "cert") == ("ada@contoso.example", None)


def test_a_federated_token_file_is_read_at_each_use(vendors: Vendors, tmp_path: Path) -> None:
    good = vendors.token_file.read_text()
    try:
        vendors.token_file.write_text(new_certificate(tmp_path, "stranger").assertion(vendors.audience))
        assert vendors.sign_in("ada", "file") == (None, "SSO-102")
        vendors.token_file.write_text("")
        assert vendors.sign_in("ada", "file") == (None, "SSO-501")
        vendors.token_file.unlink()
        assert vendors.sign_in("ada", "file") == (None, "SSO-501")
    finally:
        vendors.token_file.write_text(good)
    assert vendors.sign_in("ada", "file") == ("ada@contoso.example", None)


def test_a_managed_identity_is_asked_as_app_service_wants_it(vendors: Vendors) -> None:
    vendors.sign_in("ada", "identity")
    path, header = vendors.identity_requests[0]
    assert "resource=api%3A%2F%2FAzureADTokenExchange" in path
    assert "client_id=22222222-2222-4222-8222-222222222222" in path
    assert header == "of-this-run"


def test_the_same_person_is_one_account_through_every_door_of_a_tenant(vendors: Vendors) -> None:
    for through in ("cert", "file", "adopting"):
        vendors.sign_in("otto", through)
    rows = vendors.airflow.rows("select * from ab_user where username like 'otto@%'")
    assert len(rows) == 1
    (link,) = vendors.airflow.rows("select * from sso_account where user_id = ?", rows[0]["id"])
    assert link["authority"] == f"entra:public:{TENANT_ID}"


def test_pingone_is_keyed_by_environment_and_user_id(vendors: Vendors) -> None:
    who, code = vendors.sign_in("ada", "pingone")
    assert (code, vendors.airflow.roles_of(str(who))) == (None, {"Admin"})
    (link,) = vendors.airflow.rows("select * from sso_account where provider = 'pingone'")
    assert link["authority"] == f"pingone:{PINGONE_ENVIRONMENT_ID}"


def test_pingfederate_is_keyed_by_a_claim_that_is_never_reused(vendors: Vendors) -> None:
    claims = {"entryUUID": "3f6b0f1e-0000-4000-8000-00000000ada1", "uid": "ada.pf"}
    drive = stacks.driver(vendors.idp)
    drive.control("PUT", "people/ada", {"claims": claims})
    assert vendors.sign_in("ada", "pf") == ("ada.pf", None)
    assert vendors.airflow.roles_of("ada.pf") == {"Admin"}, "its group is a distinguished name"
    # A rehire gets the same login name and another entry: another person, and a name of their own.
    claims = {"entryUUID": "3f6b0f1e-0000-4000-8000-00000000ada2", "uid": "ada.pf"}
    drive.control("PUT", "people/ada", {"claims": claims})
    assert vendors.sign_in("ada", "pf") == ("ada.pf~2", None)
    drive.knobs(id_token__remove=["entryUUID"])
    assert vendors.sign_in("ada", "pf") == (None, "SSO-205"), "without the claim nobody is anybody"


def test_a_group_can_be_known_by_its_common_name(vendors: Vendors) -> None:
    who, code = vendors.sign_in("vera", "pfcn")
    assert (code, vendors.airflow.roles_of(str(who))) == (None, {"Viewer"})


def test_app_roles_alone_are_enough(vendors: Vendors) -> None:
    stacks.driver(vendors.idp).control("PUT", "people/nora", {"app_roles": ["Airflow.Op"]})
    who, code = vendors.sign_in("nora", "roles")
    assert (code, vendors.airflow.roles_of(str(who))) == (None, {"Op"})


def test_userinfo_is_asked_only_for_a_configured_claim_that_is_missing(vendors: Vendors) -> None:
    drive = stacks.driver(vendors.idp)

    def asked() -> int:
        return len(drive.control("GET", "requests?endpoint=userinfo"))

    assert vendors.sign_in("ada", "info")[1] is None
    assert asked() == 0, "the ID token has the groups"
    drive.knobs(groups__place="userinfo")
    who, code = vendors.sign_in("ada", "info")
    assert (code, vendors.airflow.roles_of(str(who))) == (None, {"Admin"})
    assert asked() == 1
    assert vendors.sign_in("ada", "noinfo")[1] == "SSO-305"
    assert asked() == 1, "nothing is configured to be looked up there"


@pytest.mark.parametrize(
    ("knobs", "code"),
    [
        ({"userinfo__set": {"sub": "somebody-else"}}, "SSO-204"),
        ({"userinfo__remove": ["sub"]}, "SSO-204"),
        ({"userinfo__status": 500}, "SSO-103"),
        ({"userinfo__status": 401}, "SSO-103"),
        ({"userinfo__html": True}, "SSO-103"),
        ({"userinfo__down": True}, "SSO-103"),
    ],
    ids=str,
)
def test_a_userinfo_answer_that_is_not_about_this_person_is_refused(
    vendors: Vendors, knobs: dict[str, Any], code: str
) -> None:
    stacks.driver(vendors.idp).knobs(groups__place="userinfo", **knobs)
    assert vendors.sign_in("ada", "info") == (None, code)


def test_userinfo_never_overrules_the_id_token(vendors: Vendors) -> None:
    drive = stacks.driver(vendors.idp)
    drive.control("PUT", "people/vera", {"claims": {}})
    drive.knobs(
        groups__place="userinfo", userinfo__set={"preferred_username": "root", "iss": "x", "aud": "y"}
    )
    who, code = vendors.sign_in("vera", "info")
    assert code is None
    assert str(who).startswith("vera")


# --- coming from Airflow's own Azure sign-in ---------------------------------------------------------


def stock_account(airflow: Stack, oid: str, *, active: int = 1) -> int:
    """A row as the stock ``azure`` provider makes it: the ``oid`` is the username."""
    airflow.write(
        """insert into ab_user (first_name, last_name, username, email, password, active, created_on, changed_on)
           values ('A', 'B', ?, ?, 'scrypt:x$y$z', ?, '2025-01-01 10:00:00.123456', '2025-01-01 10:00:00')""",
        oid,
        f"{oid}@stock.example",
        active,
    )
    (row,) = airflow.rows("select id from ab_user where username = ?", oid)
    return int(row["id"])


def new_person(vendors: Vendors, name: str) -> str:
    oid = str(uuid.uuid4())
    body = {
        "oid": oid,
        "given_name": name,
        "family_name": "N.",
        "groups": ["airflow_prod_viewer"],
        "about": "-",
    }
    stacks.driver(vendors.idp).control("PUT", f"people/{name}", body)
    return oid


def test_a_stock_azure_account_is_adopted_where_that_is_configured(vendors: Vendors) -> None:
    airflow = vendors.airflow
    oid = new_person(vendors, "stock1")
    user_id = stock_account(airflow, oid)
    who, code = vendors.sign_in("stock1", "adopting")
    assert (who, code) == ("stock1@contoso.example", None)
    (row,) = airflow.rows("select * from ab_user where id = ?", user_id)
    assert row["username"] == "stock1@contoso.example"
    assert not row["password"].startswith("scrypt:")
    events = [
        r["event"]
        for r in airflow.rows("select event from sso_decision where user_id = ? order by id", user_id)
    ]
    assert events == ["account_adopted", "account_changed", "roles_changed", "sign_in"]


def test_elsewhere_it_waits_for_an_operator(vendors: Vendors) -> None:
    airflow = vendors.airflow
    oid = new_person(vendors, "stock2")
    user_id = stock_account(airflow, oid)
    assert vendors.sign_in("stock2", "cert")[1] is None
    (link,) = airflow.rows("select user_id from sso_account where subject = ?", oid)
    assert link["user_id"] != user_id, "a new account was made"


def test_a_deactivated_stock_account_is_not_woken(vendors: Vendors) -> None:
    oid = new_person(vendors, "stock3")
    stock_account(vendors.airflow, oid, active=0)
    assert vendors.sign_in("stock3", "adopting") == (None, "SSO-302")


def test_an_operator_can_adopt_any_account(vendors: Vendors) -> None:
    airflow = vendors.airflow
    oid = new_person(vendors, "stock4")
    user_id = stock_account(airflow, "old.hand")
    command = ["users", "adopt", "old.hand", "--provider", "cert", "--subject", oid.upper()]
    with airflow.command(*command) as first:
        assert first.wait(timeout=60) == 0
    assert vendors.sign_in("stock4", "cert") == ("stock4@contoso.example", None)
    (link,) = airflow.rows("select user_id from sso_account where subject = ?", oid)
    assert link["user_id"] == user_id
    with airflow.command(*command) as again:
        assert again.wait(timeout=60) == 3
        assert "no account 'old.hand'" in again.log_tail()
