"""``protocol: saml`` in ``sso.yaml``: what may stand there, and what each mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_sso import config
from airflow_sso.certificates import our_keys
from airflow_sso.config import LoadedConfig
from airflow_sso.login.vendors import vendor_of
from airflow_sso.saml_settings import EntraSaml, SamlProvider
from tests.certificates import new_certificate
from tests.lines import both_lines

pytestmark = both_lines

GOOD = """\
external_url: https://airflow.example.com
role_mapping_file: /opt/airflow/role_mapping.yaml
providers:
  - name: adfs
    vendor: generic
    protocol: saml
    metadata_url: https://idp.example.com/metadata?appid=1
    keys: {certificate: {file: CERTIFICATE}, private_key: {file: KEY}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    new_certificate(made, "ours")
    new_certificate(made, "another")
    (made / "garbage.pem").write_text("not PEM")
    return made


def load(folder: Path, tmp_path: Path, *changes: tuple[str, str]) -> LoadedConfig:
    text = GOOD
    for was, becomes in changes:
        assert was in text, was
        text = text.replace(was, becomes)
    text = text.replace("CERTIFICATE", str(folder / "ours.crt")).replace("KEY", str(folder / "ours.key"))
    file = tmp_path / "sso.yaml"
    file.write_text(text.replace("ANOTHER", str(folder / "another.key")).replace("FOLDER", str(folder)))
    return config.load(file)


def test_a_good_entry_opens_its_door(folder: Path, tmp_path: Path) -> None:
    loaded = load(folder, tmp_path)
    assert loaded.faults == ()
    assert loaded.warnings == ()
    assert loaded.settings
    provider = loaded.settings.providers["adfs"]
    assert isinstance(provider, SamlProvider)
    assert provider.signs_requests
    assert provider.want_signed == "any"
    assert provider.idp_initiated == "restart"
    assert not provider.force_authn
    assert not provider.may_reuse_subjects


FAULTS = [
    ("metadata_url: https://idp.example.com/metadata?appid=1", "label: x", "", "exactly one of metadata_url"),
    (
        "metadata_url: https://idp.example.com/metadata?appid=1",
        "metadata_url: https://a.example/m\n    metadata_file: FOLDER/ours.crt",
        "",
        "exactly one of metadata_url",
    ),
    ("https://idp.example.com", "http://idp.example.com", "metadata_url", "https://"),
    ("https://idp.example.com/", "https://ada:pw@idp.example.com/", "metadata_url", "user name"),
    (
        "metadata_url: https://idp.example.com/metadata?appid=1",
        "metadata_file: FOLDER/nowhere.xml",
        "metadata_file",
        "there is no file",
    ),
    ("vendor: generic", "vendor: entra", "tenant_id", "required"),
    ("vendor: generic", "vendor: pingone", "environment_id", "required"),
    ("vendor: generic", "vendor: generic\n    client_id: x", "client_id", "not a key that is known here"),
    ("vendor: generic", "vendor: generic\n    want_signed: none", "want_signed", "'any', 'assertion'"),
    ("vendor: generic", "vendor: generic\n    idp_initiated: allow", "idp_initiated", "'restart', 'refuse'"),
    ("vendor: generic", "vendor: generic\n    metadata_fingerprint: abc", "metadata_fingerprint", "SHA-256"),
    ("vendor: generic", "vendor: generic\n    claims: {subject: [uid, NameID]}", "", "NameID stands alone"),
    ("vendor: generic", "vendor: generic\n    entity_id: ''", "entity_id", "must not be empty"),
    (
        "private_key: {file: KEY}",
        "private_key: {file: ANOTHER}",
        "keys",
        "does not belong to the certificate",
    ),
    ("private_key: {file: KEY}", "private_key: {file: FOLDER/garbage.pem}", "keys", "not PEM"),
    ("certificate: {file: CERTIFICATE}", "certificate: {file: KEY}", "keys", "certificate is not PEM"),
    (
        "private_key: {file: KEY}",
        "private_key: {file: FOLDER/gone.key}",
        "keys.private_key",
        "cannot be read",
    ),
    ("private_key: {file: KEY}", "private_key: secret-in-the-file", "keys.private_key", "never written here"),
    (
        "keys: {certificate: {file: CERTIFICATE}, private_key: {file: KEY}}",
        "sign_requests: true",
        "",
        "sign_requests needs keys",
    ),
]


@pytest.mark.parametrize(("was", "becomes", "place", "mend"), FAULTS, ids=[row[1][:60] for row in FAULTS])
def test_a_fault_names_its_place_and_its_mend(
    folder: Path, tmp_path: Path, was: str, becomes: str, place: str, mend: str
) -> None:
    loaded = load(folder, tmp_path, (was, becomes))
    told = [str(fault) for fault in loaded.faults]
    wanted = f"providers[0].{place}" if place else "providers[0]"
    assert any(wanted in line and mend in line for line in told), told
    assert loaded.shut == {"adfs": "adfs" if "label" not in becomes else "x"}
    assert "secret-in-the-file" not in "".join(told)


def test_what_weakens_a_check_is_said(folder: Path, tmp_path: Path) -> None:
    loaded = load(
        folder,
        tmp_path,
        (
            "vendor: generic",
            "vendor: generic\n    idp_initiated: insecure_idp_initiated\n"
            "    insecure_subject_may_be_reused: true",
        ),
    )
    assert loaded.faults == ()
    assert loaded.warnings == (
        "providers[0].idp_initiated weakens a check",
        "providers[0].insecure_subject_may_be_reused weakens a check",
    )


def test_plain_http_is_for_this_machine_unless_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    for address in ("http://localhost:8081", "http://127.0.0.1:8081"):
        assert load(folder, tmp_path, ("https://idp.example.com", address)).faults == ()
    asked = ("vendor: generic", "vendor: generic\n    insecure_http: true")
    assert load(folder, tmp_path, ("https://idp.example.com", "http://idp.example.com"), asked).faults == ()


@pytest.mark.parametrize(
    ("cloud", "known"), [("public", "sts.windows.net"), ("china", "sts.chinacloudapi.cn")]
)
def test_entras_names_follow_the_cloud(cloud: str, known: str) -> None:
    tenant = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
    settings = EntraSaml(
        name="entra",
        vendor="entra",
        protocol="saml",
        tenant_id=tenant,
        cloud=cloud,
        metadata_url="https://x.example",
    )
    entity_ids = vendor_of(settings).entity_ids(settings)
    assert entity_ids
    assert f"https://{known}/{tenant}/" in entity_ids


def test_a_private_key_is_shown_nowhere(folder: Path) -> None:
    keys = our_keys((folder / "ours.crt").read_text(), (folder / "ours.key").read_text())
    assert "PRIVATE" not in repr(keys)
    with pytest.raises(ValueError, match="does not belong") as refused:
        our_keys((folder / "ours.crt").read_text(), (folder / "another.key").read_text())
    assert "PRIVATE" not in str(refused.value)
