"""``sso.yaml``: every fault at once, with its place and its mend; what is broken shuts no more than it must."""

from __future__ import annotations

import os
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.secrets import BaseSecretsBackend

from airflow_sso import config, config_location, yaml_document
from airflow_sso.airflow_compat import IS_AIRFLOW_2, LINE
from airflow_sso.config import LoadedConfig, Settings
from airflow_sso.config_location import LocationUnclear
from airflow_sso.oidc_settings import EntraOidc
from airflow_sso.secret import Secret, SecretUnavailable
from tests.lines import both_lines

pytestmark = both_lines

SECRET = "the-value-of-the-secret"
GOOD = """\
external_url: https://airflow.example.com
support_contact: data-platform@example.com
role_mapping_file: /opt/airflow/role_mapping.yaml
providers:
  - name: entra
    label: Microsoft
    vendor: entra
    protocol: oidc
    tenant_id: 00000000-0000-0000-0000-00000000000A
    client_id: 11111111-1111-1111-1111-111111111111
    client_auth: {secret: {env: TEST_SECRET}}
  - name: lab
    vendor: generic
    protocol: oidc
    issuer: https://id.lab.example.com
    client_id: airflow
    client_auth: {secret: {env: TEST_SECRET}}
    scopes: [openid, profile]
    http: {timeout: 5s}
    claims: {groups: memberOf}
"""
#: On which line each line stands first.
LINES = {line.strip(" -"): number for number, line in reversed([*enumerate(GOOD.splitlines(), 1)])}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sso.yaml"


def load(file: Path, text: str | bytes = GOOD, **options: Any) -> LoadedConfig:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return config.load(file, **options)


def changed(line: str, *replacement: str) -> str:
    """The good file with other lines in place of one."""
    assert GOOD.count(f"{line}\n") in (1, 2), line
    before, after = GOOD.rsplit(f"{line}\n", 1)
    indent = " " * (len(before) - len(before.rstrip(" ")))
    return before.rstrip(" ") + "".join(f"{indent}{new}\n" for new in replacement) + after


def settings(loaded: LoadedConfig) -> Settings:
    assert loaded.settings is not None, loaded.faults
    return loaded.settings


def told(loaded: LoadedConfig) -> list[str]:
    """Every fault as people see it, but for the column."""
    return [re.sub(r"^([^:]*:\d+):\d+: ", r"\1: ", str(fault)) for fault in loaded.faults]


def test_a_fault_names_the_column_too(file: Path) -> None:
    loaded = load(file, GOOD.replace("label: Microsoft", "label: [a]"))
    assert [(fault.line, fault.column) for fault in loaded.faults] == [(LINES["label: Microsoft"], 5)]
    assert str(loaded.faults[0]).startswith(f"{file}:{LINES['label: Microsoft']}:5: providers[0].label: ")


def test_a_good_file_opens_every_door(file: Path) -> None:
    loaded = load(file)
    assert told(loaded) == []
    assert loaded.shut == {}
    assert loaded.warnings == ()
    found = settings(loaded)
    assert found.external_url == "https://airflow.example.com"
    assert found.role_mapping_file == Path("/opt/airflow/role_mapping.yaml")
    beside = load(file, GOOD.replace("/opt/airflow/role_mapping.yaml", "role_mapping.yaml"))
    assert settings(beside).role_mapping_file == file.parent / "role_mapping.yaml"
    assert found.support_contact == "data-platform@example.com"
    assert list(found.providers) == ["entra", "lab"]
    entra, lab = found.providers.values()
    assert isinstance(entra, EntraOidc)
    assert entra.tenant_id == "00000000-0000-0000-0000-00000000000a"
    assert (entra.shown_as, lab.shown_as) == ("Microsoft", "lab")
    assert (entra.http.timeout, lab.http.timeout) == (timedelta(seconds=10), timedelta(seconds=5))
    assert lab.claims.groups == ("memberOf",)
    assert lab.clock_skew == timedelta(seconds=60)
    assert entra.guests == "deny"


# --- a fault says where it is and how to mend it -----------------------------------------------------------

IN_ENTRA = [
    # line to replace, its replacement, the line and path that are named, words of the mend
    ("label: Microsoft", "label: ''", "label", "must not be empty"),
    ("label: Microsoft", f"label: {'x' * 101}", "label", "at most 100 characters"),
    ("label: Microsoft", "lable: Microsoft", "lable", "not a key that is known here; did you mean 'label'?"),
    ("label: Microsoft", "zzz: 1", "zzz", "not a key that is known here; known here: "),
    ("label: Microsoft", "issuer: https://x", "issuer", "not a key that is known here"),
    ("label: Microsoft", "cloud: germany", "cloud", "'public', 'usgov', 'usgov_dod' or 'china'"),
    ("label: Microsoft", "guests: allow", "guests", "'deny' or 'map'"),
    ("label: Microsoft", "clock_skew: 60", "clock_skew", "a number with a unit: 60s, 5m, 12h or 30d"),
    ("label: Microsoft", "clock_skew: soon", "clock_skew", "a number with a unit"),
    ("label: Microsoft", "scopes: {openid: true}", "scopes", "must be a list"),
    ("label: Microsoft", "insecure_http: perhaps", "insecure_http", "valid boolean"),
    ("label: Microsoft", "http: {timeout: 5}", "http.timeout", "a number with a unit"),
    ("label: Microsoft", "http: {timout: 5s}", "http.timout", "did you mean 'timeout'?"),
    ("label: Microsoft", "http: 5s", "http", "must have keys"),
    ("label: Microsoft", "http: {ca_bundle: /no/such.pem}", "http.ca_bundle", "there is no file"),
    ("label: Microsoft", "claims: {gruops: x}", "claims.gruops", "did you mean 'groups'?"),
    ("label: Microsoft", "claims: {groups: ''}", "claims.groups", "must not be empty"),
    ("label: Microsoft", "claims: {groups: [a, 5]}", "claims.groups[1]", "must be text"),
    ("label: Microsoft", "label: [a]", "label", "must be text"),
    ("name: entra", "name: Entra", "name", "pattern '^[a-z][a-z0-9_-]{0,31}$'"),
    ("name: entra", f"name: {'e' * 33}", "name", "pattern"),
    ("name: entra", "name: en/tra", "name", "pattern"),
    ("name: entra", 'name: "entra\\n"', "name", "pattern"),
    ("name: entra", "name: 5", "name", "must be text"),
    ("name: entra", "name: null", "name", "must be text"),
    ("vendor: entra", "vendor: azure", "vendor", "it speaks vendor: entra with protocol: oidc, "),
    ("vendor: entra", "vendor: 5", "vendor", "not one that this version speaks"),
    ("protocol: oidc", "protocol: ldap", "protocol", "not one that this version speaks"),
    (
        "tenant_id: 00000000-0000-0000-0000-00000000000A",
        "tenant_id: contoso.onmicrosoft.com",
        "tenant_id",
        "must be a GUID",
    ),
    ("tenant_id: 00000000-0000-0000-0000-00000000000A", "tenant_id: common", "tenant_id", "must be a GUID"),
    ("client_id: 11111111-1111-1111-1111-111111111111", "client_id: ''", "client_id", "must not be empty"),
]


@pytest.mark.parametrize(("line", "wrong", "path", "mend"), IN_ENTRA, ids=lambda value: value[:30])
def test_a_fault_of_a_provider_names_its_place_and_its_mend(
    file: Path, line: str, wrong: str, path: str, mend: str
) -> None:
    before, after = GOOD.split(f"{line}\n", 1)
    loaded = load(file, f"{before}{wrong}\n{after}")
    (fault,) = told(loaded)
    assert fault.startswith(f"{file}:{LINES[line]}: providers[0].{path}: ")
    assert mend in fault
    assert list(settings(loaded).providers) == ["lab"]


AT_THE_TOP = [
    (
        "support_contact: data-platform@example.com",
        "suport_contact: x",
        "suport_contact",
        "'support_contact'?",
    ),
    (
        "support_contact: data-platform@example.com",
        "support_contact: ''",
        "support_contact",
        "must not be empty",
    ),
    (
        "support_contact: data-platform@example.com",
        "zzz: 1",
        "zzz",
        "known here: break_glass, external_url, insecure_http",
    ),
    (
        "support_contact: data-platform@example.com",
        "external_url: https://x",
        "external_url",
        "is written twice",
    ),
    ("support_contact: data-platform@example.com", "? [a, b]\n: c", "", "keys must be plain words"),
    ("support_contact: data-platform@example.com", "<<: {a: b}", "", "keys must be plain words"),
    (
        "role_mapping_file: /opt/airflow/role_mapping.yaml",
        "role_mapping_file: 5",
        "role_mapping_file",
        "path",
    ),
    (
        "role_mapping_file: /opt/airflow/role_mapping.yaml",
        "role_maping_file: /x",
        "role_maping_file",
        "did you mean 'role_mapping_file'?",
    ),
    (
        "external_url: https://airflow.example.com",
        "external_url: airflow.example.com",
        "external_url",
        "absolute",
    ),
]


@pytest.mark.parametrize(("line", "wrong", "path", "mend"), AT_THE_TOP, ids=lambda value: value[:30])
def test_a_fault_at_the_top_names_its_place_and_shuts_every_door(
    file: Path, line: str, wrong: str, path: str, mend: str
) -> None:
    loaded = load(file, GOOD.replace(line, wrong))
    where = f"{file}:{LINES[line]}: {path}{': ' if path else ''}"
    assert [fault for fault in told(loaded) if fault.startswith(where) and mend in fault], told(loaded)
    assert loaded.settings is None


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("role_mapping_file: /opt/airflow/role_mapping.yaml", "1: role_mapping_file: is required"),
        ("  - name: entra\n    label: Microsoft", "5: providers[0].name: is required"),
        ("    client_id: airflow", "12: providers[1].client_id: is required"),
        ("    issuer: https://id.lab.example.com", "12: providers[1].issuer: is required"),
        (
            "    client_auth: {secret: {env: TEST_SECRET}}\n    scopes",
            "12: providers[1].client_auth: is required",
        ),
    ],
)
def test_what_is_missing_is_named_where_it_belongs(file: Path, line: str, place: str) -> None:
    kept = {"  - name": "  - label: Microsoft", "    client_auth": "    scopes"}.get(line.split(":")[0], "#")
    loaded = load(file, GOOD.replace(line, kept))
    # A line that was taken out of the top of the file moves those below; it was replaced by a comment.
    assert [fault for fault in told(loaded) if fault.startswith(f"{file}:{place}")], told(loaded)


@pytest.mark.parametrize(
    ("providers", "says"),
    [
        ("", ": providers: must be a list with at least one provider"),
        ("providers: []", ":2: providers: must be a list with at least one provider"),
        ("providers: entra", ":2: providers: must be a list with at least one provider"),
        ("providers: {name: entra}", ":2: providers: must be a list with at least one provider"),
        ("providers: [entra]", ":2: providers[0]: must be keys and values"),
        ("providers: [[entra]]", ":2: providers[0]: must be keys and values"),
        ("providers: [null]", ":2: providers[0]: must be keys and values"),
    ],
)
def test_providers_that_are_none_open_nothing(file: Path, providers: str, says: str) -> None:
    loaded = load(file, f"external_url: https://x.example\n{providers}\nrole_mapping_file: /x")
    (fault,) = told(loaded)
    assert says in fault
    assert loaded.settings is None or not loaded.settings.providers


def test_all_faults_are_told_at_once(file: Path) -> None:
    loaded = load(
        file,
        """\
external_url: http://airflow.example.com
suport_contact: x
providers:
  - name: local
    vendor: entra
    protocol: oidc
    tenant_id: common
    client_auth: {secret: plain, method: jwt}
    claims: {group: x}
    scopes: [profile]
  - name: lab
    vendor: generic
    protocol: oidc
    issuer: ftp://id.lab.example.com
    client_id: airflow
    client_auth: {secret: {env: NOT_SET_ANYWHERE}}
    http: {ca_bundle: /no/such.pem}
    clock_skew: 6m
  - vendor: okta
  - entra
""",
    )
    places = [fault.split(": ", 2)[:2] for fault in told(loaded)]
    assert sorted((int(where.rsplit(":", 1)[1]), path) for where, path in places) == [
        (1, "external_url"),
        (1, "role_mapping_file"),
        (2, "suport_contact"),
        (4, "providers[0].client_id"),
        (4, "providers[0].name"),
        (7, "providers[0].tenant_id"),
        (8, "providers[0].client_auth.method"),
        (8, "providers[0].client_auth.secret"),
        (9, "providers[0].claims.group"),
        (10, "providers[0].scopes"),
        (14, "providers[1].issuer"),
        (16, "providers[1].client_auth.secret"),
        (17, "providers[1].http.ca_bundle"),
        (18, "providers[1].clock_skew"),
        (19, "providers[2].vendor"),
        (20, "providers[3]"),
    ]


@pytest.mark.parametrize(
    "two", [("suport_contact: x", "external_url: ftp://x"), ("role_mapping_file: 5", "external_url: /x")]
)
def test_a_fault_at_the_top_hides_no_other(file: Path, two: tuple[str, str]) -> None:
    providers = GOOD[GOOD.index("providers:") :]
    loaded = load(file, "\n".join((*two, providers)))
    assert {fault.place[0] for fault in loaded.faults} >= {line.split(":")[0] for line in two}


# --- what a fault shuts ---------------------------------------------------------------------------------------


def test_a_faulty_provider_shuts_its_own_door_only(file: Path) -> None:
    loaded = load(file, GOOD.replace("00000000-0000-0000-0000-00000000000A", "common"))
    assert list(settings(loaded).providers) == ["lab"]
    assert loaded.shut == {"entra": "Microsoft"}
    loaded = load(file, GOOD.replace("issuer: https", "issuer: ftp"))
    assert list(settings(loaded).providers) == ["entra"]
    assert loaded.shut == {"lab": "lab"}


def test_when_every_provider_is_faulty_all_of_them_are_shut(file: Path) -> None:
    loaded = load(file, GOOD.replace("protocol: oidc", "protocol: saml"))
    assert settings(loaded).providers == {}
    assert loaded.shut == {"entra": "Microsoft", "lab": "lab"}


def test_a_variable_that_is_not_set_shuts_the_provider_that_names_it(file: Path) -> None:
    loaded = load(file, GOOD.replace("client_id: airflow", "client_id: airflow-${NOT_SET_ANYWHERE}"))
    assert list(settings(loaded).providers) == ["entra"]
    assert "providers[1].client_id: ${NOT_SET_ANYWHERE}: the environment variable" in told(loaded)[0]


@pytest.mark.parametrize("how_many", [2, 3])
def test_a_name_that_stands_twice_shuts_both(file: Path, how_many: int) -> None:
    more = GOOD[GOOD.index("  - name: lab") :] * (how_many - 1)
    loaded = load(file, GOOD + more)
    assert list(settings(loaded).providers) == ["entra"]
    assert loaded.shut == {"lab": "lab"}
    assert "providers[2].name: the name 'lab' is used twice" in told(loaded)[0]


def test_a_name_that_stands_twice_opens_nothing_when_one_of_them_is_faulty(file: Path) -> None:
    lab = GOOD[GOOD.index("  - name: lab") :]
    faulty = lab.replace("issuer: https", "issuer: ftp")
    for entries in (faulty + lab, lab + faulty):
        loaded = load(file, GOOD.replace(lab, entries))
        assert list(settings(loaded).providers) == ["entra"]
        assert list(loaded.shut) == ["lab"]


def test_the_name_local_is_reserved(file: Path) -> None:
    loaded = load(file, changed("name: lab", "name: local"))
    assert list(settings(loaded).providers) == ["entra"]
    assert "the name 'local' is reserved" in told(loaded)[0]


@pytest.mark.parametrize("name", ["locale", "local-2", "a", "a" * 32, "a1_-"])
def test_a_name_is_free_otherwise(file: Path, name: str) -> None:
    assert list(settings(load(file, changed("name: lab", f"name: {name}"))).providers) == ["entra", name]


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("scopes: [profile]", "must contain openid"),
        ("scopes: []", "must contain openid"),
        ("id_token_algorithms: [none]", "may be: RS256"),
        ("id_token_algorithms: [RS256, HS256]", "may be: RS256"),
        ("id_token_algorithms: []", "may be: RS256"),
        ("clock_skew: 6m", "may be 5m at most"),
        ("http: {timeout: 0s}", "timeout"),
    ],
)
def test_a_setting_that_would_weaken_or_break_sign_in_is_refused(file: Path, line: str, mend: str) -> None:
    loaded = load(file, GOOD.replace("scopes: [openid, profile]\n    http: {timeout: 5s}", line))
    assert list(settings(loaded).providers) == ["entra"]
    assert any("providers[1]" in fault and mend in fault for fault in told(loaded)), told(loaded)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("name: lab", "name: local"),
        ("issuer: https://id.lab.example.com", "issuer: ftp://x"),
        ("scopes: [openid, profile]", "scopes: [profile]"),
        ("scopes: [openid, profile]", "id_token_algorithms: [HS256]"),
        ("scopes: [openid, profile]", "clock_skew: 6m"),
        ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {env: NOT_SET_ANYWHERE}}"),
        ("http: {timeout: 5s}", "http: {ca_bundle: /no/such.pem}"),
    ],
)
def test_a_value_that_is_refused_is_named_by_its_own_path_and_line(file: Path, line: str, wrong: str) -> None:
    text = changed(line, wrong)
    (fault,) = load(file, text).faults
    assert fault.line == text[: text.index(wrong)].count("\n") + 1
    assert fault.place[:3] == ("providers", 1, wrong.split(":")[0])


@pytest.mark.parametrize(
    ("written", "value"),
    [("0s", 0), ("60s", 60), ("5m", 300), ("5 m", 300)],
)
def test_a_duration_is_a_number_with_a_unit(file: Path, written: str, value: int) -> None:
    loaded = load(file, changed("scopes: [openid, profile]", f"clock_skew: {written}"))
    assert settings(loaded).providers["lab"].clock_skew == timedelta(seconds=value)


def test_a_new_tenant_s_file_of_certificates_is_looked_for(file: Path) -> None:
    bundle = file.with_name("ca.pem")
    text = changed("http: {timeout: 5s}", f"http: {{ca_bundle: {bundle}}}")
    assert list(settings(load(file, text)).providers) == ["entra"]
    bundle.touch()
    assert settings(load(file, text)).providers["lab"].http.ca_bundle == bundle


# --- secrets ------------------------------------------------------------------------------------------------------


def with_secret(reference: str) -> str:
    return changed("client_auth: {secret: {env: TEST_SECRET}}", f"client_auth: {{secret: {reference}}}")


def test_a_secret_is_looked_up_where_the_reference_says(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = file.with_name("secret")
    kept.write_text(f"{SECRET}\n")
    for reference in ("{env: TEST_SECRET}", f"{{file: {kept}}}"):
        secret = settings(load(file, with_secret(reference))).providers["lab"].client_auth.secret
        assert secret.reveal() == SECRET
        assert SECRET not in repr(secret)
        assert repr(secret) == str(secret) == f"<secret from {secret.kind}: {secret.name}>"
    kept.write_text("rotated\r\n")
    assert secret.reveal() == "rotated"
    kept.write_text(f"\ufeff{SECRET}\r\n")  # as Notepad saves it
    assert secret.reveal() == SECRET
    kept.unlink()
    with pytest.raises(SecretUnavailable, match="cannot be read: No such file"):
        secret.reveal()
    monkeypatch.delenv("TEST_SECRET")
    with pytest.raises(SecretUnavailable, match="TEST_SECRET is not set"):
        Secret("env", "TEST_SECRET").reveal()


class Vault(BaseSecretsBackend):
    """A secrets backend as a company would configure it."""

    def get_config(self, key: str) -> str | None:
        return {"sso-client-secret": SECRET}.get(key)


def test_a_secret_may_lie_in_airflow_s_secrets_backend(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = with_secret("{airflow_secret: sso-client-secret}")
    loaded = load(file, text)
    assert "Airflow's secrets backend has no configuration value 'sso-client-secret'" in told(loaded)[0]
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", f"{__name__}.Vault")
    secret = settings(load(file, text)).providers["lab"].client_auth.secret
    assert secret.reveal() == SECRET
    assert SECRET not in repr(secret)
    loaded = load(file, with_secret("{airflow_secret: other}"))
    assert "Airflow's secrets backend has no configuration value 'other'" in told(loaded)[0]


@pytest.mark.parametrize(
    ("reference", "mend"),
    [
        (
            "hunter2",
            "a secret is never written here: write {env: NAME}, {file: /path} or {airflow_secret: key}",
        ),
        ("'${TEST_SECRET}'", "a secret is never written here: write {env: TEST_SECRET}"),
        ("'x${TEST_SECRET}'", "a secret is never written here: write {env: NAME}"),
        ("''", "a secret is never written here"),
        ("null", "must have exactly one of secret"),
        ("12345", "a secret is never written here"),
        ("[hunter2]", "a secret is never written here"),
        ("{}", "a secret is never written here"),
        ("{value: hunter2}", "a secret is never written here"),
        ("{env: ''}", "a secret is never written here"),
        ("{env: [A]}", "a secret is never written here"),
        ("{env: TEST_SECRET, file: /x}", "a secret is never written here"),
        ("{env: NOT_SET_ANYWHERE}", "the environment variable NOT_SET_ANYWHERE is not set, or is empty"),
        ("{env: EMPTY}", "the environment variable EMPTY is not set, or is empty"),
        ("{file: /no/such/file}", "the file /no/such/file cannot be read: No such file or directory"),
        ("{file: /}", "the file / cannot be read: Is a directory"),
        ("{file: /dev/null}", "the file /dev/null is empty"),
        ("{file: FOLDER/newlines}", "is empty"),
        ("{file: FOLDER/binary}", "cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_secret_is_only_ever_a_reference(
    file: Path, monkeypatch: pytest.MonkeyPatch, reference: str, mend: str
) -> None:
    monkeypatch.setenv("EMPTY", "")
    file.with_name("newlines").write_text("\n\n")
    file.with_name("binary").write_bytes(b"\xff\xfe\x00")
    loaded = load(file, with_secret(reference.replace("FOLDER", str(file.parent))))
    (fault,) = told(loaded)
    assert fault.startswith(f"{file}:17: providers[1].client_auth")
    assert mend in fault
    assert SECRET not in fault
    assert "hunter2" not in fault
    assert list(settings(loaded).providers) == ["entra"]


def test_no_secret_shows_in_the_settings(file: Path) -> None:
    loaded = load(file)
    assert settings(loaded).providers["lab"].client_auth.secret.reveal() == SECRET
    assert SECRET not in repr(loaded)
    assert SECRET not in settings(loaded).providers["lab"].model_dump_json(exclude={"client_auth"})


# --- ${NAME} ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${CONTACT}", "ops@example.com"),
        ("mail ${CONTACT}, now", "mail ops@example.com, now"),
        ("${CONTACT}${CONTACT}", "ops@example.comops@example.com"),
        ("$$", "$"),
        ("$${CONTACT}", "${CONTACT}"),
        ("$$$${CONTACT}", "$${CONTACT}"),
        ("$$${CONTACT}", "$ops@example.com"),
        ("$CONTACT", "$CONTACT"),
        ("costs 5$", "costs 5$"),
        ("${}", "${}"),
        ("${CONTACT", "${CONTACT"),
        ("${CONTACT:-x}", "${CONTACT:-x}"),
        ("${NESTED}", "${CONTACT}"),  # once, and never what a value says
    ],
)
def test_variables_are_substituted_in_text(
    file: Path, monkeypatch: pytest.MonkeyPatch, written: str, value: str
) -> None:
    monkeypatch.setenv("CONTACT", "ops@example.com")
    monkeypatch.setenv("NESTED", "${CONTACT}")
    loaded = load(file, GOOD.replace("data-platform@example.com", f"'{written}'"))
    assert settings(loaded).support_contact == value


def test_variables_count_in_every_value_and_in_no_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOST": "id.lab.example.com",
        "SCOPE": "email",
        "SKEW": "30s",
        "KEY": "label",
    }.items():
        monkeypatch.setenv(name, value)
    text = GOOD.replace("id.lab.example.com", "${HOST}").replace("[openid, profile]", "[openid, '${SCOPE}']")
    lab = settings(load(file, text.replace("http: {timeout: 5s}", "clock_skew: ${SKEW}"))).providers["lab"]
    assert lab.scopes == ("openid", "email")
    assert lab.clock_skew == timedelta(seconds=30)
    loaded = load(file, changed("http: {timeout: 5s}", "${KEY}: x"))
    assert "providers[1].${KEY}: is not a key that is known here" in told(loaded)[0]


def test_each_variable_that_is_not_set_is_named_where_it_stands(file: Path) -> None:
    loaded = load(file, GOOD.replace("data-platform@example.com", "${NOT_A} ${NOT_B}"))
    assert told(loaded) == [
        f"{file}:2: support_contact: ${{{name}}}: the environment variable {name} is not set"
        for name in ("NOT_A", "NOT_B")
    ]
    assert loaded.settings is None


#: A value that is wrong wherever it stands, long enough for every limit.
MARKER = "Sensitive Value " + "that/must?not#show@up " * 20
SUBSTITUTED = [
    ("external_url: https://airflow.example.com", "external_url: ${MARKER}"),
    ("support_contact: data-platform@example.com", "support_contact: ${MARKER}"),
    ("name: lab", "name: ${MARKER}"),
    ("vendor: generic", "vendor: ${MARKER}"),
    ("protocol: oidc", "protocol: ${MARKER}"),
    ("issuer: https://id.lab.example.com", "issuer: ${MARKER}"),
    ("issuer: https://id.lab.example.com", "issuer: 'http://${HOST}/'"),
    ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: ${MARKER}"),
    ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: '${MARKER}'}"),
    ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {env: '${MARKER}'}}"),
    ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {file: '${MARKER}'}}"),
    ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {airflow_secret: '${MARKER}'}}"),
    (
        "client_auth: {secret: {env: TEST_SECRET}}",
        "client_auth: {secret: {env: TEST_SECRET}, method: '${MARKER}'}",
    ),
    ("scopes: [openid, profile]", "scopes: ${MARKER}"),
    ("scopes: [openid, profile]", "id_token_algorithms: ['${MARKER}']"),
    ("scopes: [openid, profile]", "clock_skew: ${MARKER}"),
    ("scopes: [openid, profile]", "guests: ${MARKER}"),
    ("scopes: [openid, profile]", "insecure_http: ${MARKER}"),
    ("scopes: [openid, profile]", "authority: ${MARKER}"),
    ("scopes: [openid, profile]", "label: ${MARKER}"),
    ("http: {timeout: 5s}", "http: {timeout: '${MARKER}'}"),
    ("http: {timeout: 5s}", "http: {ca_bundle: '${MARKER}'}"),
    ("claims: {groups: memberOf}", "claims: ${MARKER}"),
    ("claims: {groups: memberOf}", "claims: {groups: {a: '${MARKER}'}}"),
]


@pytest.mark.parametrize(("line", "wrong"), SUBSTITUTED, ids=lambda value: value[:60])
def test_no_fault_shows_a_value_that_was_substituted(
    file: Path, monkeypatch: pytest.MonkeyPatch, line: str, wrong: str
) -> None:
    monkeypatch.setenv("MARKER", MARKER)
    monkeypatch.setenv("HOST", "sensitive.example.com")
    loaded = load(file, changed(line, wrong))
    assert told(loaded), "the value was not looked at"
    for shown in (*told(loaded), *map(repr, loaded.faults), *loaded.warnings):
        assert "ensitive" not in shown


@pytest.mark.parametrize(
    "name", ["sensitive", "it's\nsensitive", 'a "sensitive" one', "sensitive\\"], ids=repr
)
def test_a_name_that_was_substituted_and_stands_twice_is_not_shown(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("NAME", name)
    loaded = load(file, GOOD.replace("name: entra", "name: ${NAME}").replace("name: lab", "name: ${NAME}"))
    assert any("is used twice" in fault for fault in told(loaded)), told(loaded)
    for fault in told(loaded):
        assert "sensitive" not in fault


@pytest.mark.parametrize(
    "value", ["/no//such/./sensitive//x", "no such/sensitive/", "it's\nsensitive", "se'n\"sitive"]
)
@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("http: {timeout: 5s}", "http: {ca_bundle: '${VALUE}'}"),
        ("http: {timeout: 5s}", "http: {ca_bundle: '${VALUE}/ca.pem'}"),
        ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {file: '${VALUE}'}}"),
        ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {airflow_secret: '${VALUE}'}}"),
        ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {federated_token_file: '${VALUE}'}"),
    ],
)
def test_a_value_that_reads_differently_in_a_message_is_not_shown_either(
    file: Path, monkeypatch: pytest.MonkeyPatch, line: str, wrong: str, value: str
) -> None:
    monkeypatch.setenv("VALUE", value)
    (fault,) = told(load(file, changed(line, wrong)))
    assert "sitive" not in fault
    assert "${VALUE}" in fault


@pytest.mark.parametrize("value", ["must", "deny", "is not a key", "label", "providers", "s", " "])
def test_a_value_that_was_substituted_garbles_no_message(
    file: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    text = changed(
        "scopes: [openid, profile]", "label: '${VALUE}'", "guests: allow", "lable: x", "clock_skew: 1"
    )
    monkeypatch.setenv("VALUE", "x")
    expected = told(load(file, text))
    assert len(expected) == 3
    monkeypatch.setenv("VALUE", value)
    assert told(load(file, text)) == expected


# --- plain http, and where Airflow is ---------------------------------------------------------------------------

SAFE = ["https://x.example", "https://x.example:8443/sub/path", "http://localhost:8080", "http://LOCALHOST/"]
SAFE += ["http://127.0.0.1:8080", "http://127.1.2.3", "http://[::1]:8080", "https://[2001:db8::1]/"]
ONLY_INSECURE = [
    "http://x.example",
    "http://10.0.0.1",
    "http://0.0.0.0:8080",
    "http://[::]/",
    "HTTP://x.example",
]
ONLY_INSECURE += ["http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://airflow:8080"]
NEVER = ["x.example", "//x.example", "/path", "ftp://x.example", "https://", "https:///path", "https:x", "''"]
NEVER += ["https://x.example?a=b", "https://x.example/#f", "https://user@x.example", "https://u:p@x.example"]
NEVER += [
    "'https://x.example/ a'",
    '"https://x.example/\\ta"',
    "'https://x.example\\@y'",
    "https://[x.example",
]
NEVER += [
    "https://x.example:99999",
    "https://x.example:port",
    "javascript:alert(1)",
    "5",
    "[https://x.example]",
]


@pytest.mark.parametrize("field", ["external_url", "issuer", "insecure_authority_host"])
@pytest.mark.parametrize("url", SAFE + ONLY_INSECURE + NEVER)
def test_plain_http_is_for_this_machine_unless_said_otherwise(file: Path, field: str, url: str) -> None:
    place = {
        "external_url": "external_url: https://airflow.example.com",
        "issuer": "issuer: https://id.lab.example.com",
        "insecure_authority_host": "label: Microsoft",
    }[field]
    opened = []
    for insecure in ("", "insecure_http: true"):
        loaded = load(file, changed(place, f"{field}: {url}", *filter(None, [insecure])))
        shut = loaded.settings is None or len(loaded.settings.providers) < 2
        assert shut == bool(loaded.faults)
        opened.append(not shut)
        if insecure:
            path = "" if field == "external_url" else f"providers[{0 if 'host' in field else 1}]."
            assert f"{path}insecure_http weakens a check" in loaded.warnings
    if field == "insecure_authority_host" and url == "''":
        return  # nothing in its place: Microsoft's own host
    assert opened == [url in SAFE, url in SAFE + ONLY_INSECURE]


def test_the_mend_for_plain_http_is_told(file: Path) -> None:
    (fault,) = told(load(file, GOOD.replace("https://airflow", "http://airflow")))
    assert "external_url: it must start with https://" in fault
    assert "insecure_http: true" in fault


@pytest.mark.parametrize(
    "url", ["https://x.example/auth", "https://x.example/auth/", "https://x.example/a/auth"]
)
def test_airflow_s_own_prefix_is_not_written(file: Path, url: str) -> None:
    loaded = load(file, GOOD.replace("https://airflow.example.com", url))
    assert "external_url: must not end with /auth, which Airflow 3 adds by itself" in told(loaded)[0]
    assert loaded.settings is None


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("https://x.example/", "https://x.example"),
        ("https://x.example/airflow/", "https://x.example/airflow"),
        ("https://x.example/authors", "https://x.example/authors"),
    ],
)
def test_the_external_url_is_kept_without_a_slash_at_its_end(file: Path, written: str, used: str) -> None:
    loaded = load(file, GOOD.replace("https://airflow.example.com", written))
    assert settings(loaded).external_url == used


WITHOUT_URL = GOOD.replace("external_url: https://airflow.example.com", "#")


def test_airflow_s_base_url_is_the_external_url_by_default(file: Path) -> None:
    base = "https://base.example.com/airflow/"
    assert settings(load(file, WITHOUT_URL, default_external_url=base)).external_url == base.rstrip("/")
    assert settings(load(file, default_external_url=base)).external_url == "https://airflow.example.com"


@pytest.mark.parametrize(
    ("base", "says"),
    [
        (None, f"external_url: is required, because Airflow's [{LINE.web_section}] base_url is not set"),
        ("", "external_url: is required"),
        (
            "http://x.example",
            f"external_url: Airflow's [{LINE.web_section}] base_url (http://x.example), which is used here, must",
        ),
        ("https://x.example/auth", "external_url: must not end with /auth"),
    ],
)
def test_a_base_url_that_will_not_do_is_a_fault(file: Path, base: str | None, says: str) -> None:
    loaded = load(file, WITHOUT_URL, default_external_url=base)
    assert says in told(loaded)[0]
    assert loaded.settings is None


@pytest.mark.parametrize(
    ("line", "added", "warned"),
    [
        ("label: Microsoft", "insecure_authority_host: http://localhost:8081", True),
        ("label: Microsoft", "insecure_http: true", True),
        ("label: Microsoft", "insecure_http: false", False),
        ("label: Microsoft", "guests: map", False),
    ],
)
def test_whatever_weakens_a_check_is_said_at_start(file: Path, line: str, added: str, warned: bool) -> None:
    loaded = load(file, changed(line, added))
    key = added.split(":")[0]
    assert loaded.warnings == ((f"providers[0].{key} weakens a check",) if warned else ())
    assert len(settings(loaded).providers) == 2


# --- which file -----------------------------------------------------------------------------------------------------


@pytest.fixture
def option(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("AIRFLOW__SSO__CONFIG_FILE", raising=False)
    return lambda path: monkeypatch.setenv("AIRFLOW__SSO__CONFIG_FILE", str(path))


def test_the_first_place_that_names_the_file_counts(option: Any) -> None:
    flask = {"SSO_CONFIG_FILE": "/from/webserver_config.yaml"}
    assert config_location.find({}) == Path(os.environ["AIRFLOW_HOME"], "sso.yaml")
    assert config_location.find(flask) == Path("/from/webserver_config.yaml")
    option("/from/option.yaml")
    assert config_location.find({}) == Path("/from/option.yaml")
    assert config_location.find(flask, given="/given.yaml") == Path("/given.yaml")


def test_two_places_may_name_one_file_and_never_two(option: Any) -> None:
    option("/one//sso.yaml")
    assert config_location.find({"SSO_CONFIG_FILE": "/one/sso.yaml"}) == Path("/one/sso.yaml")
    with pytest.raises(LocationUnclear) as caught:
        config_location.find({"SSO_CONFIG_FILE": "/two/sso.yaml"})
    assert "/one//sso.yaml" in str(caught.value)
    assert "/two/sso.yaml" in str(caught.value)
    loaded = config_location.load({"SSO_CONFIG_FILE": "/two/sso.yaml"})
    assert loaded.settings is None
    assert "keep one of them" in told(loaded)[0]


def test_the_file_is_read_from_where_it_is_with_airflow_s_base_url(
    file: Path, option: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIRFLOW__{LINE.web_section.upper()}__BASE_URL", "https://base.example.com")
    file.write_text(WITHOUT_URL)
    option(file)
    assert settings(config_location.load({})).external_url == "https://base.example.com"


# --- files that are none ------------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_one_fault(file: Path) -> None:
    loaded = config.load(file)
    assert told(loaded) == [f"{file}: cannot be read: No such file or directory"]
    assert told(config.load(file.parent)) == [f"{file.parent}: cannot be read: Is a directory"]
    assert loaded.settings is None


BILLION = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
)
HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "is empty"),
    "a comment": ("# nothing", "is empty"),
    "only null": ("~", "must be a list of keys and values"),
    "text": ("just text", "must be a list of keys and values"),
    "a list": ("- a\n- b", "must be a list of keys and values"),
    "a tab": ("external_url: x\nproviders:\n\t- name: x", "that is a tab, and YAML takes spaces"),
    "a variable in brackets": ("providers: [{a: ${NAME}}]", "stands in quotes: 'team-{1}', '${NAME}'"),
    "an open bracket": ("providers: [", "is not valid YAML"),
    "an open quote": ('external_url: "x', "is not valid YAML"),
    "two documents": ("a: b\n---\nc: d", "is not valid YAML"),
    "an unknown alias": ("a: *b", "is not valid YAML"),
    "a directive": ("%YAML 9.9\n---\na: b", "is not valid YAML"),
    "a zero byte": ("a: b\x00", "is not valid YAML"),
    "a control character": ("a: \x1b[31m", "is not valid YAML"),
    "latin-1": ("external_url: é".encode("latin-1"), "is not UTF-8 text"),
    "utf-16": (GOOD.encode("utf-16"), "is not UTF-8 text"),
    "binary": (bytes(range(256)), "is not UTF-8 text"),
    "an alias of itself": ("a: &a [*a]", "too deeply nested"),
    "an alias of itself, many times": ("a: &a [*a, *a, *a, *a]", "too deeply nested"),
    "a key of itself": ("a: &a {b: *a}", "too deeply nested"),
    "a billion aliases": (BILLION, "too large"),
    "many aliases": (f"a: &a [{', '.join('x' * 500)}]\nb: [{', '.join(['*a'] * 500)}]", "too large"),
    "sixty levels": ("a: " + "[" * 60 + "]" * 60, "too deeply nested"),
    "ten thousand levels": ("a: " + "[" * 10_000 + "]" * 10_000, "is not valid YAML"),
    "levels that never close": ("[" * 100_000, "is not valid YAML"),
    "ten thousand maps": ("{a: " * 10_000, "is not valid YAML"),
    "a tag that runs code": ("a: !!python/object/apply:os.system [x]", "a: is not a key"),
    "an unknown tag": ("a: !secret x", "a: is not a value that can be read here"),
    "no truth value": (
        "insecure_http: !!bool perhaps",
        "insecure_http: is not a value that can be read here",
    ),
    "no whole number": ("a: !!int x", "a: is not a value that can be read here"),
    "a whole number that is nothing": ("a: !!int ''", "a: is not a value that can be read here"),
    "a number that is nothing": ("a: !!float ''", "a: is not a value that can be read here"),
    "endless digits": ("a: " + "9" * 5000, "a: is not a value that can be read here"),
    "half a number": ("a: 0x_", "a: is not a value that can be read here"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_none_is_told_and_opens_nothing(file: Path, name: str) -> None:
    text, says = HOSTILE[name]
    started = time.monotonic()
    loaded = load(file, text)
    assert time.monotonic() - started < 10
    assert any(says in fault for fault in told(loaded)), told(loaded)[:5]
    assert all(fault.startswith(str(file)) for fault in told(loaded))
    assert len(loaded.faults) < 20, "one cause is told once"
    assert loaded.settings is None


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("name: lab", 'name: "\\uD800"'),
        ("issuer: https://id.lab.example.com", 'issuer: "https://id.example/\\uD800"'),
        ("scopes: [openid, profile]", 'label: "\\uD800"'),
        ("client_auth: {secret: {env: TEST_SECRET}}", 'client_auth: {secret: {env: "A\\0B"}}'),
        ("client_auth: {secret: {env: TEST_SECRET}}", 'client_auth: {secret: {env: "\\uD800"}}'),
        ("client_auth: {secret: {env: TEST_SECRET}}", "client_auth: {secret: {env: 'A=B'}}"),
        ("client_auth: {secret: {env: TEST_SECRET}}", 'client_auth: {secret: {file: "/a\\0b"}}'),
        ("client_auth: {secret: {env: TEST_SECRET}}", 'client_auth: {secret: {file: "/\\uD800"}}'),
        ("client_auth: {secret: {env: TEST_SECRET}}", f"client_auth: {{secret: {{file: /{'x' * 5000}}}}}"),
        ("http: {timeout: 5s}", 'http: {ca_bundle: "/a\\0b"}'),
        ("http: {timeout: 5s}", f"http: {{ca_bundle: /{'x' * 5000}}}"),
    ],
    ids=lambda value: value[:60],
)
def test_text_that_no_system_takes_shuts_its_own_door_only(file: Path, line: str, wrong: str) -> None:
    loaded = load(file, changed(line, wrong))
    assert [fault for fault in told(loaded) if "providers[1]" in fault]
    assert list(settings(loaded).providers) == ["entra"]


def test_a_byte_order_mark_and_foreign_line_ends_do_no_harm(file: Path) -> None:
    for text in (GOOD.encode("utf-8-sig"), GOOD.replace("\n", "\r\n").encode(), f"---\n{GOOD}...\n".encode()):
        assert len(settings(load(file, text)).providers) == 2


def test_a_fault_below_an_alias_is_told_at_a_line_of_the_file(file: Path) -> None:
    text = changed("claims: {groups: memberOf}", "claims: &c {gruops: x}").replace(
        "    label: Microsoft", "    claims: *c"
    )
    loaded = load(file, text.replace("providers:", "#\nproviders:"))
    assert loaded.faults
    assert all(fault.line and fault.line <= text.count("\n") + 1 for fault in loaded.faults)


def test_places_are_spelled_as_people_write_them() -> None:
    assert yaml_document.spell(("providers", 0, "http", "timeout")) == "providers[0].http.timeout"
    assert yaml_document.spell(()) == ""


# --- break-glass and the public role -----------------------------------------------------------------------


def with_key(line: str, text: str = GOOD) -> str:
    return f"{line}\n{text}"


def test_break_glass_and_the_public_role_are_nobody_unless_written(file: Path) -> None:
    loaded = load(file)
    assert loaded.break_glass == ()
    assert settings(loaded).public_role is None
    loaded = load(file, with_key("break_glass: [admin, Rescue Me]\npublic_role: Viewer"))
    assert told(loaded) == []
    assert loaded.break_glass == ("admin", "Rescue Me")
    assert settings(loaded).public_role == "Viewer"


@pytest.mark.parametrize(
    ("line", "place", "words", "left"),
    [
        ("break_glass: admin", "break_glass", "must be a list", ()),
        ("break_glass: {admin: 1}", "break_glass", "must be a list", ()),
        ("break_glass: [admin, '']", "break_glass[1]", "must not be empty", ("admin",)),
        (f"break_glass: [{'x' * 251}, admin]", "break_glass[0]", "at most 250 characters", ("admin",)),
        ("break_glass: [5, admin]", "break_glass[0]", "must be text", ("admin",)),
        ("break_glass: [admin, rescue, ADMIN]", "break_glass", "stands here twice", ("admin", "rescue")),
        (f"break_glass: {[f'n{n}' for n in range(21)]}", "break_glass", "at most 20 items", None),
        ("break_glass: [admin, '${UNSET_NAME}']", "break_glass[1]", "UNSET_NAME is not set", ("admin",)),
        ("public_role: ''", "public_role", "must not be empty", ()),
        ("public_role: [Viewer]", "public_role", "must be text", ()),
    ],
)
def test_a_fault_in_them_shuts_every_door_and_keeps_the_names_that_are_in_order(
    file: Path, line: str, place: str, words: str, left: tuple[str, ...] | None
) -> None:
    loaded = load(file, with_key(line))
    assert loaded.settings is None
    found = [fault for fault in told(loaded) if f"sso.yaml:1: {place}: " in fault and words in fault]
    assert found, told(loaded)
    assert loaded.break_glass == (tuple(f"n{n}" for n in range(20)) if left is None else left)


@pytest.mark.parametrize(
    "text",
    [
        with_key("break_glass: [admin]", GOOD.replace("role_mapping_file:", "role_maping_file:")),
        with_key("break_glass: [admin]", GOOD.replace("vendor: entra", "vendor: nobody")),
        "break_glass: [admin]\n",
        "break_glass: [admin]\nproviders: 5\nsession: forever\nexternal_url: 7\n",
    ],
)
def test_the_names_count_whatever_else_is_wrong(file: Path, text: str) -> None:
    loaded = load(file, text)
    assert loaded.faults
    assert loaded.break_glass == ("admin",)


@pytest.mark.parametrize("text", ["break_glass: [admin", "", "- break_glass", "break_glass"])
def test_a_file_that_says_nothing_names_nobody(file: Path, text: str) -> None:
    assert load(file, text).break_glass == ()


@pytest.mark.parametrize("written", ["", "public_role: Op\n"])
def test_airflows_own_public_role_must_be_spelled_out_here(file: Path, written: str) -> None:
    loaded = load(file, f"break_glass: [admin]\n{written}zzz: 1\n{GOOD}", airflows_public_role="Viewer")
    assert loaded.settings is None
    assert loaded.break_glass == ("admin",)
    faults = "\n".join(told(loaded))
    assert ("[fab] auth_role_public" in faults) is not IS_AIRFLOW_2
    for words in (
        "AUTH_ROLE_PUBLIC in webserver_config.py",
        "write public_role: Viewer",
        "zzz",
    ):
        assert words in faults
    agreed = load(file, f"public_role: Viewer\n{GOOD}", airflows_public_role="Viewer")
    assert told(agreed) == []
    alone = load(file, f"public_role: Viewer\n{GOOD}", airflows_public_role="")
    assert told(alone) == []


def test_each_of_airflows_own_settings_is_looked_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(file)
    for key in ("AIRFLOW__FAB__AUTH_ROLE_PUBLIC", "AIRFLOW__SSO__CONFIG_FILE"):
        monkeypatch.delenv(key, raising=False)
    assert config_location.load({}, given=str(file)).settings
    assert not config_location.load({"AUTH_ROLE_PUBLIC": "Public"}, given=str(file)).settings
    monkeypatch.setenv("AIRFLOW__FAB__AUTH_ROLE_PUBLIC", "Viewer")
    counts = not config_location.load({}, given=str(file)).settings
    assert counts is not IS_AIRFLOW_2  # which reads no such option itself
