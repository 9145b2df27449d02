"""Two cards of *SSO status*: who holds a role that the mapping would not give, and when certificates end."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import event, insert, update

from airflow_sso import config, database, models
from airflow_sso.accounts import fab_users, given_roles
from airflow_sso.login import doors
from airflow_sso.login.attempt import Attempt
from airflow_sso.login.doors import Doors
from airflow_sso.pages import status_keys, status_people
from airflow_sso.pages.status_people import OtherRoles
from tests.certificates import new_certificate
from tests.lines import both_lines
from tests.sync_world import ADMINS, OPS, VIEWERS, World

pytestmark = both_lines

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
GUID = "11111111-2222-4333-8444-555555555555"


# --- people ------------------------------------------------------------------------------------------------


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.forget_everything()
    fresh = World(shared_world.engine)
    fresh.sign_up("ada", ADMINS)
    fresh.sign_up("otto", OPS)
    fresh.sign_up("vera", VIEWERS)
    return fresh


def give(world: World, person: str, *roles: str) -> None:
    """By hand, as Airflow's own page of users does; a role that is not there yet is made."""
    with database.transaction() as connection:
        for role in set(roles) - fab_users.role_names(connection):
            connection.execute(insert(fab_users.role_table()).values(name=role))
        user = fab_users.by_username(connection, person)
        assert user is not None
        held = fab_users.RoleWriting(connection)
        held.set_roles(user.user_id, (), roles)
        held.write()


def gave(world: World, person: str, *roles: str, label: str = "a rule") -> None:
    """What the mapping gave, in the form of this version."""
    text = given_roles.written({}, {role: [label] for role in roles}, NOW)
    of_one = models.accounts.c.username == person
    world.write(update(models.accounts).where(of_one).values(given_roles=text))


def test_nobody_holds_another_role_whatever_form_the_text_has(world: World) -> None:
    assert status_people.gather() == OtherRoles(number=0, people=())
    gave(world, "otto", "Op")
    assert status_people.gather() == OtherRoles(number=0, people=())


@pytest.mark.parametrize("as_list", [True, False])
def test_roles_given_by_hand_are_told_with_whose_they_are(world: World, as_list: bool) -> None:
    if not as_list:
        gave(world, "otto", "Op")
        gave(world, "vera", "Viewer")
    give(world, "otto", "Admin", "User")
    give(world, "vera", "Op")
    found = status_people.gather()
    assert found.people == (("otto", ("Admin", "User")), ("vera", ("Op",)))
    assert (found.number, found.more) == (2, 0)


@pytest.mark.parametrize("label", ["Admin", '"Admin": {', '"Admin"', 'Admin": {'])
def test_a_rule_named_like_a_role_gives_that_role_to_nobody(world: World, label: str) -> None:
    gave(world, "otto", "Op", label=label)
    give(world, "otto", "Admin")
    assert status_people.gather().people == (("otto", ("Admin",)),)


@pytest.mark.parametrize("role", ["op", "O", "OpOp", "O_", "%", 'say "Op"', "Leitung Ä", "back\\slash"])
def test_a_role_is_told_from_one_that_is_written_almost_alike(world: World, role: str) -> None:
    gave(world, "otto", "Op")
    give(world, "otto", role)
    assert status_people.gather().people == (("otto", (role,)),)
    gave(world, "otto", "Op", role)
    assert status_people.gather().number == 0
    listed = json.dumps(["Op", role])
    world.write(update(models.accounts).values(given_roles=listed))
    assert "otto" not in dict(status_people.gather().people)


def test_a_local_account_and_one_whose_link_leads_elsewhere_are_not_counted(world: World) -> None:
    world.sign_up("local", OPS, linked=False)
    give(world, "vera", "Op")
    assert status_people.gather().number == 1
    users = fab_users.table()
    world.write(update(users).where(users.c.username == "vera").values(created_on=datetime(2001, 1, 1)))  # noqa: DTZ001
    assert status_people.gather().number == 0


def test_of_many_people_the_first_are_listed_and_all_are_counted_in_few_statements(world: World) -> None:
    for number in range(55):
        world.sign_up(f"p{number:02}", VIEWERS)
        give(world, f"p{number:02}", "Op")
    said: list[str] = []
    event.listen(world.engine, "before_cursor_execute", lambda *told: said.append(told[2]))
    found = status_people.gather()
    assert [name for name, _roles in found.people] == [f"p{number:02}" for number in range(50)]
    assert (found.number, found.more) == (55, 5)
    assert len(said) == 3, "the names of the roles, the count, the people"


# --- certificates ------------------------------------------------------------------------------------------


def opened(folder: Path, *providers: dict[str, Any]) -> Doors:
    path = folder / "sso.yaml"
    (folder / "role_mapping.yaml").write_text("version: 1\nrules: [{group: x, roles: [Viewer]}]\n")
    written = {
        "external_url": "https://airflow.contoso.example",
        "role_mapping_file": "role_mapping.yaml",
        "providers": list(providers),
    }
    path.write_text(yaml.safe_dump(written))
    loaded = config.load(path)
    assert loaded.faults == (), loaded.faults
    return doors.make(
        loaded,
        fallback_url="https://airflow.contoso.example",
        prefix="/auth",
        ask_directory=lambda identity, _mapping: identity,
        keep_refresh_token=lambda _identity: None,
    )


def pair(folder: Path, name: str) -> dict[str, Any]:
    made = new_certificate(folder, name)
    return {"certificate": {"file": str(made.certificate_file)}, "private_key": {"file": str(made.key_file)}}


def entra(**changes: Any) -> dict[str, Any]:
    basics = {"name": "entra", "label": "Contoso", "vendor": "entra", "protocol": "oidc"}
    return {
        **basics,
        "tenant_id": GUID,
        "client_id": GUID,
        "client_auth": {"secret": {"env": "HOME"}},
        **changes,
    }


def test_where_no_certificate_is_used_none_is_shown(tmp_path: Path) -> None:
    assert status_keys.gather(opened(tmp_path, entra())) == ()
    assert status_keys.gather(Doors(opened(tmp_path, entra()).urls)) == (), "nor where nothing is in order"


def test_a_client_certificate_and_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(tmp_path, entra(client_auth={"certificate": pair(tmp_path, "client")}, directory="graph"))
    (key,) = status_keys.gather(found)
    assert (key.provider, key.what) == ("Contoso", "Our client certificate"), (
        "once, for directory and sign-in"
    )
    assert key.ends is not None
    assert timedelta(hours=23) < key.ends - models.now() <= timedelta(hours=24)
    assert (key.is_soon, key.is_over) == (True, False)
    monkeypatch.setattr(models, "now", lambda: NOW.replace(year=2099))
    (key,) = status_keys.gather(found)
    assert (key.is_soon, key.is_over) == (False, True)
    monkeypatch.setattr(models, "now", lambda: NOW.replace(year=2020))
    (key,) = status_keys.gather(found)
    assert (key.is_soon, key.is_over) == (False, False)


def test_what_is_not_at_hand_is_unknown_and_says_why(tmp_path: Path) -> None:
    keys = pair(tmp_path, "client")
    found = opened(tmp_path, entra(client_auth={"certificate": keys}))
    Path(keys["certificate"]["file"]).write_text("nonsense")
    (key,) = status_keys.gather(found)
    assert (key.ends, key.unknown) == (None, "it is not PEM (-----BEGIN CERTIFICATE-----)")
    Path(keys["certificate"]["file"]).unlink()
    (key,) = status_keys.gather(found)
    assert "cannot be read: No such file" in key.unknown


def test_a_secrets_backend_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    keys = pair(tmp_path, "client")
    pem = Path(keys["certificate"]["file"]).read_text()

    def backend(key: str) -> str:
        asked.append(key)
        return pem if key == "crt" else Path(keys["private_key"]["file"]).read_text()

    monkeypatch.setattr("airflow_sso.airflow_compat.secrets_backend_config", backend)
    kept = {"certificate": {"airflow_secret": "crt"}, "private_key": {"airflow_secret": "key"}}
    found = opened(tmp_path, entra(client_auth={"certificate": kept}))
    asked.clear()
    (key,) = status_keys.gather(found)
    assert key.ends is None
    assert "secrets backend" in key.unknown
    assert asked == []


def test_a_saml_provider_s_certificates_once_its_metadata_was_read(tmp_path: Path) -> None:
    theirs = new_certificate(tmp_path, "theirs")
    body = "".join(theirs.pem.splitlines()[1:-1])
    metadata = tmp_path / "metadata.xml"
    metadata.write_text(
        '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
        'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="https://idp.example">'
        '<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
        '<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>'
        f"{body}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
        '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" '
        'Location="https://idp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>'
    )
    provider = {
        "name": "lab",
        "vendor": "generic",
        "protocol": "saml",
        "metadata_file": str(metadata),
        "keys": pair(tmp_path, "ours"),
        "claims": {"subject": "employeeNumber"},
    }
    found = opened(tmp_path, provider)
    attempt = Attempt(
        provider="lab", nonce="n", code_verifier="v", next_url="/", state="s", state_hash="h", started_at=NOW
    )
    ours, unread = status_keys.gather(found)
    assert (ours.what, ours.is_soon) == ("Our SAML certificate", True)
    assert (unread.what, unread.ends) == ("Their signing certificate", None)
    assert unread.unknown == "this process has not read their metadata yet"
    found.open["lab"].start(attempt)
    _ours, read = status_keys.gather(found)
    assert (read.what, read.unknown) == ("Their signing certificate", "")
    assert read.ends == ours.ends or abs((read.ends or NOW) - (ours.ends or NOW)) < timedelta(minutes=1)
