"""``airflow-sso import-config`` on what people have written, through the command's own door.

Each of these files is modelled on a page of documentation, a gist or an issue. Whatever the file is, it is
never run, its secrets are never shown, and what is called complete passes our own ``lint``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_sso import cli, config, yaml_document
from airflow_sso.airflow_compat import IS_AIRFLOW_2, LINE
from airflow_sso.role_mapping import BUILT_IN_ROLES, understand
from tests.lines import both_lines

pytestmark = [both_lines, pytest.mark.usefixtures("command_log")]

TENANT = "11112222-aaaa-bbbb-cccc-3333dddd4444"
ENVIRONMENT = "99998888-eeee-4fff-8000-777766665555"
SECRET = "Zx8~clear-as-day.Q"

AZURE = f"""
import os
from airflow.www.fab_security.manager import AUTH_OAUTH
from airflow.www.security import AirflowSecurityManager

WTF_CSRF_ENABLED = True
AUTH_TYPE = AUTH_OAUTH
OAUTH_PROVIDERS = [{{
    "name": "azure",
    "icon": "fa-windows",
    "token_key": "access_token",
    "remote_app": {{
        "api_base_url": "https://login.microsoftonline.com/{TENANT}/",
        "client_kwargs": {{
            "scope": "User.read name preferred_username email profile upn",
            "resource": "00000000",
        }},
        "access_token_url": "https://login.microsoftonline.com/{TENANT}/oauth2/token",
        "authorize_url": "https://login.microsoftonline.com/{TENANT}/oauth2/authorize",
        "request_token_url": None,
        "client_id": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
        "client_secret": "{SECRET}",
    }},
}}]
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Public"
AUTH_ROLES_SYNC_AT_LOGIN = True
AUTH_ROLES_MAPPING = {{
    "airflow_prod_admin": ["Admin"],
    "airflow_prod_user": ["Op"],
    "airflow_prod_viewer": ["Viewer"],
}}
"""

BY_ENVIRONMENT = """
import os
from os import environ
from datetime import timedelta as td
from flask_appbuilder.const import AUTH_OAUTH
AUTH_TYPE = AUTH_OAUTH
TENANT = os.environ.get("AZURE_TENANT_ID")
BASE = "https://login.microsoftonline.com/" + TENANT
OAUTH_PROVIDERS = []
OAUTH_PROVIDERS.append(dict(
    name="azure",
    remote_app={
        "client_id": environ["AZURE_APPLICATION_ID"],
        "client_secret": os.getenv("AZURE_APPLICATION_SECRET"),
        "api_base_url": BASE,
        "authorize_url": "%s/oauth2/v2.0/authorize" % BASE,
        "access_token_url": "{}/oauth2/v2.0/token".format(BASE),
        "client_kwargs": {"scope": "openid email profile offline_access"},
    },
))
AUTH_OAUTH_ROLE_KEYS = {"azure": "groups"}
AUTH_ROLES_MAPPING = {}
AUTH_ROLES_MAPPING["8F6A0D0E-5D4B-4D0E-9A55-0D3B3F3F9C11"] = ("Admin",)
AUTH_ROLES_MAPPING.update({"on-prem-ops": ["Op"]})
AUTH_ROLES_SYNC_AT_LOGIN = True
PERMANENT_SESSION_LIFETIME = td(hours=8, minutes=30)
"""

PINGONE = f"""
from flask_appbuilder.security.manager import AUTH_OAUTH
AUTH_TYPE = AUTH_OAUTH
ENV = "{ENVIRONMENT}"
OAUTH_PROVIDERS = [
    {{
        "name": "Ping One",
        "remote_app": {{
            "client_id": "abc",
            "client_secret": open("/run/secrets/ping").read().strip(),
            "server_metadata_url": f"https://auth.pingone.eu/{{ENV}}/as/.well-known/openid-configuration",
            "client_kwargs": {{"scope": "openid profile email"}},
        }},
    }}
]
AUTH_ROLES_MAPPING = {{"airflow-admins": ["Admin"]}}
AUTH_ROLES_SYNC_AT_LOGIN = False
"""

PINGFEDERATE = """
AUTH_TYPE = 4
OAUTH_PROVIDERS = [{"name": "ping", "remote_app": {
    "client_id": "airflow", "client_secret": os.environ["PF_SECRET"],
    "api_base_url": "https://sso.example.com:9031/",
    "access_token_url": "https://sso.example.com:9031/as/token.oauth2",
    "authorize_url": "https://sso.example.com:9031/as/authorization.oauth2",
    "client_kwargs": {"scope": "openid profile groups"}}}]
AUTH_ROLES_MAPPING = {"CN=Airflow Admins,OU=Groups,DC=corp": ["Admin"]}
"""

KEYCLOAK = """
import os
from flask_appbuilder.security.manager import AUTH_OAUTH
AUTH_TYPE = AUTH_OAUTH
PROVIDER_NAME = "keycloak"
KEYCLOAK_BASE_URL = "https://id.example.com"
OIDC_ISSUER = f"{KEYCLOAK_BASE_URL}/realms/data"
OAUTH_PROVIDERS = [{
    "name": PROVIDER_NAME,
    "remote_app": {
        "client_id": "airflow",
        "client_secret": os.environ["KC_SECRET"],
        "api_base_url": f"{OIDC_ISSUER}/protocol/",
        "client_kwargs": {"scope": "email profile"},
        "access_token_url": OIDC_ISSUER + "/protocol/openid-connect/token",
        "authorize_url": OIDC_ISSUER + "/protocol/openid-connect/auth",
    },
}]
AUTH_ROLES_MAPPING = {"airflow_admin": ["Admin"], "nobody": []}
AUTH_ROLES_SYNC_AT_LOGIN = True
"""

OKTA = """
from flask_appbuilder.const import AUTH_OAUTH
AUTH_TYPE = AUTH_OAUTH
OAUTH_PROVIDERS = [{"name": "okta", "remote_app": {
    "client_id": "0oa", "client_secret": "${OKTA}",
    "api_base_url": "https://dev-1.okta.com/oauth2/default/v1/",
    "client_kwargs": {"scope": "openid profile email groups"},
    "access_token_url": "https://dev-1.okta.com/oauth2/default/v1/token"}}]
AUTH_ROLES_MAPPING = {"Data Engineers": ["DataEngineer", "Viewer"]}
AUTH_ROLES_SYNC_AT_LOGIN = True
"""

OWN_MANAGER = (
    AZURE
    + """
class AzureCustomSecurity(AirflowSecurityManager):
    def get_oauth_user_info(self, provider, response=None):
        me = self._azure_jwt_token_parse(response["id_token"])
        return {"username": me["upn"], "role_keys": me["roles"]}

    def load_user(self, pk):
        return None

SECURITY_MANAGER_CLASS = AzureCustomSecurity
"""
)

TWO = f"""
AUTH_TYPE = AUTH_OAUTH
SECRETS = {{"azure": "{SECRET}", "lab": "{SECRET}2"}}
OAUTH_PROVIDERS = [
    {{"name": "azure", "remote_app": {{"client_id": "a", "client_secret": SECRETS["azure"],
      "api_base_url": "https://login.microsoftonline.us/{TENANT}"}}}},
    {{"name": "lab", "remote_app": {{"client_id": "b", "client_secret": SECRETS["lab"],
      "server_metadata_url": "https://id.lab.example.com/.well-known/openid-configuration"}}}},
]
AUTH_ROLES_MAPPING = {{"ops": "Op"}}
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Viewer"
AUTH_ROLES_SYNC_AT_LOGIN = True
"""

SAML = f"""
from flask_appbuilder.const import AUTH_SAML
AUTH_TYPE = AUTH_SAML
SAML_PROVIDERS = [{{
    "name": "entra_id",
    "idp": {{"entityId": "https://sts.windows.net/{TENANT}/", "x509cert": "MIIC"}},
    "attribute_mapping": {{"http://schemas.example/mail": "email", "memberOf": "role_keys"}},
}}]
SAML_CONFIG = {{"sp": {{"entityId": "urn:airflow", "privateKey": "{SECRET}"}}}}
AUTH_ROLES_MAPPING = {{"a": ["Admin"]}}
AUTH_ROLES_SYNC_AT_LOGIN = True
"""

Import = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tmp_path / "webserver_config.py"


@pytest.fixture
def importing(old: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    """Import a file's text: the exit code, and what ``--json`` says."""

    def run(text: str) -> tuple[int, dict[str, Any]]:
        old.write_text(text)
        code = cli.main(["import-config", str(old), "--json"])
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err
        return code, json.loads(said.out)

    return run


def rules_of(said: dict[str, Any]) -> list[dict[str, Any]]:
    return list(said["role_mapping"]["rules"])


def test_azure_as_airflow_2_documented_it(importing: Import) -> None:
    code, said = importing(AZURE)
    assert (code, said["to_mend"]) == (0, [])
    assert said["sso"]["providers"] == [
        {
            "name": "azure",
            "vendor": "entra",
            "protocol": "oidc",
            "tenant_id": TENANT,
            "client_id": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
            "client_auth": {"secret": {"env": "AIRFLOW_SSO_AZURE_SECRET"}},
            "adopt_stock_azure": True,
        }
    ]
    assert said["role_mapping"] == {
        "version": 1,
        "rules": [
            {"app_role": "airflow_prod_admin", "roles": ["Admin"]},
            {"app_role": "airflow_prod_user", "roles": ["Op"]},
            {"app_role": "airflow_prod_viewer", "roles": ["Viewer"]},
        ],
        "no_match": "deny",
    }
    notes = " ".join(said["notes"])
    assert "'User.read'" in notes
    assert "/auth/oauth-authorized/azure" in notes
    if IS_AIRFLOW_2:  # it stays where it is, until Airflow 3
        assert "0/oauth-authorized/azure (the same as it was; with Airflow 3 it will be http" in notes


def test_the_environment_stays_the_environment(importing: Import) -> None:
    code, said = importing(BY_ENVIRONMENT)
    assert (code, said["to_mend"]) == (0, [])
    (entra,) = said["sso"]["providers"]
    assert entra["tenant_id"] == "${AZURE_TENANT_ID}"
    assert entra["client_id"] == "${AZURE_APPLICATION_ID}"
    assert entra["client_auth"] == {"secret": {"env": "AZURE_APPLICATION_SECRET"}}
    assert entra["scopes"] == ["openid", "profile", "email", "offline_access"]
    assert said["variables"] == ["AZURE_TENANT_ID", "AZURE_APPLICATION_ID", "AZURE_APPLICATION_SECRET"]
    assert rules_of(said) == [
        {"group": "8F6A0D0E-5D4B-4D0E-9A55-0D3B3F3F9C11", "roles": ["Admin"]},
        {"group": "on-prem-ops", "roles": ["Op"]},
    ]
    assert said["sso"]["session"] == {"absolute": "510m"}


def test_pingone_under_a_name_that_cannot_stay(importing: Import) -> None:
    code, said = importing(PINGONE)
    assert (code, said["to_mend"]) == (0, [])
    assert said["sso"]["providers"] == [
        {
            "name": "ping-one",
            "vendor": "pingone",
            "protocol": "oidc",
            "environment_id": ENVIRONMENT,
            "region": "eu",
            "client_id": "abc",
            "client_auth": {"secret": {"file": "/run/secrets/ping"}},
        }
    ]
    assert rules_of(said) == [{"group": "airflow-admins", "roles": ["Admin"]}]
    assert said["role_mapping"]["manual_roles"] == "keep"
    assert any("'Ping One' is called ping-one now" in note for note in said["notes"])


def test_pingfederate_asks_for_the_claim_that_is_never_reused(importing: Import) -> None:
    code, said = importing(PINGFEDERATE)
    assert code == 1
    (ping,) = said["sso"]["providers"]
    assert (ping["vendor"], ping["issuer"]) == ("pingfederate", "https://sso.example.com:9031")
    assert ping["scopes"] == ["openid", "profile", "groups"]
    assert any("claims" in one for one in said["to_mend"])
    assert any("sub is a login name" in one for one in said["to_mend"]), "lint says it too"


def test_keycloak_has_its_issuer_by_its_own_rule(importing: Import) -> None:
    code, said = importing(KEYCLOAK)
    assert (code, said["to_mend"]) == (0, [])
    (keycloak,) = said["sso"]["providers"]
    assert (keycloak["vendor"], keycloak["issuer"]) == ("generic", "https://id.example.com/realms/data")
    assert "scopes" not in keycloak, "openid was missing, and with it they are the usual ones"
    assert rules_of(said) == [{"group": "airflow_admin", "roles": ["Admin"]}]


def test_okta_and_a_role_of_their_own(importing: Import) -> None:
    code, said = importing(OKTA)
    assert (code, said["to_mend"]) == (0, [])
    (okta,) = said["sso"]["providers"]
    assert okta["issuer"] == "https://dev-1.okta.com/oauth2/default"
    assert okta["client_auth"] == {"secret": {"env": "AIRFLOW_SSO_OKTA_SECRET"}}
    assert any("'DataEngineer' must exist" in note for note in said["notes"])
    assert not any("'Viewer' must exist" in note for note in said["notes"])


def test_a_security_manager_of_their_own_is_named_with_its_lines(importing: Import) -> None:
    code, said = importing(OWN_MANAGER)
    assert code == 1
    line = 1 + OWN_MANAGER.split("def get_oauth_user_info")[0].count("\n")
    told = [one for one in said["to_mend"] if one.startswith(f"line {line}: ")]
    assert len(told) == 1
    assert "claims:" in told[0]
    assert any("load_user" in one for one in said["to_mend"])
    assert "adopt_stock_azure" not in said["sso"]["providers"][0], "who knows what it called people"


def test_two_providers_and_a_string_instead_of_a_list(importing: Import) -> None:
    code, said = importing(TWO)
    assert (code, said["to_mend"]) == (0, [])
    azure, lab = said["sso"]["providers"]
    assert (azure["cloud"], lab["issuer"]) == ("usgov", "https://id.lab.example.com")
    assert lab["client_auth"] == {"secret": {"env": "AIRFLOW_SSO_LAB_SECRET"}}
    assert rules_of(said) == [{"app_role": "ops", "roles": ["Op"]}, {"group": "ops", "roles": ["Op"]}]
    assert said["role_mapping"]["no_match"] == "deny"
    assert any("everybody got 'Viewer'" in note for note in said["notes"])
    _, said = importing(TWO.replace("AUTH_USER_REGISTRATION = True", ""))
    assert not any("everybody got" in note for note in said["notes"]), "it was given to nobody"
    assert any("had an account beforehand" in note for note in said["notes"])


def test_saml_asks_for_the_metadata(importing: Import) -> None:
    code, said = importing(SAML)
    assert code == 1
    assert said["sso"]["providers"] == [
        {
            "name": "entra_id",
            "vendor": "entra",
            "protocol": "saml",
            "tenant_id": TENANT,
            "entity_id": "urn:airflow",
            "claims": {"email": "http://schemas.example/mail", "groups": "memberOf"},
        }
    ]
    assert any("metadata_url" in one for one in said["to_mend"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((TENANT, "common"), "tenant_id"),
        ((TENANT, "contoso.onmicrosoft.com"), "tenant_id"),
        (('"client_id": "aaaabbbb-0000-cccc-1111-dddd2222eeee"', '"client_id": vault("id")'), "client_id"),
        ((f'"{SECRET}"', "vault.read('x')"), "AIRFLOW_SSO_AZURE_SECRET"),
        (("OAUTH_PROVIDERS = [{", "OAUTH_PROVIDERS = [load('x'), {"), "an entry of OAUTH_PROVIDERS"),
        (('["Op"]', "roles_of('op')"), "one entry of AUTH_ROLES_MAPPING"),
        (('"airflow_prod_user"', 'os.environ["OPS"]'), "one entry of AUTH_ROLES_MAPPING"),
        (('"airflow_prod_user"', '"airflow_*"'), "as any text"),
        (('ROLE = "Public"', "ROLE = ask()"), "AUTH_USER_REGISTRATION_ROLE"),
        (("WTF_CSRF_ENABLED = True", "AUTH_ROLE_PUBLIC = 'Viewer'"), "AUTH_ROLE_PUBLIC"),
        (("AT_LOGIN = True", "AT_LOGIN = on()"), "AUTH_ROLES_SYNC_AT_LOGIN"),
        (("WTF_CSRF_ENABLED = True", "PERMANENT_SESSION_LIFETIME = int(x)"), "PERMANENT_SESSION_LIFETIME"),
        (('"name": "azure"', '"name": "github"'), "without OpenID Connect"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_what_cannot_be_carried_over_is_said_with_its_line(
    importing: Import, change: tuple[str, str], says: str
) -> None:
    assert importing(AZURE)[0] == 0
    assert change[0] in AZURE
    code, said = importing(AZURE.replace(*change))
    assert code == 1
    assert any(says in one and one.startswith("line ") for one in said["to_mend"]), said["to_mend"]


@pytest.mark.parametrize(
    ("written", "reference"),
    [
        (f'"{SECRET}"', "AIRFLOW_SSO_AZURE_SECRET"),
        (f'["{SECRET}"][0]', "AIRFLOW_SSO_AZURE_SECRET"),
        (f'"%s" % "{SECRET}"', "AIRFLOW_SSO_AZURE_SECRET"),
        (f'os.getenv("AAD", "{SECRET}")', "AAD"),
        (f'os.environ.get("AAD") or "{SECRET}"', "AAD"),
        (f'"{SECRET}" + os.environ["AAD"]', "AIRFLOW_SSO_AZURE_SECRET"),
        (f'["{SECRET}"]', "AIRFLOW_SSO_AZURE_SECRET"),
        (f'b"{SECRET}".decode()', "AIRFLOW_SSO_AZURE_SECRET"),
        (f'"{SECRET}" if x else None', "AIRFLOW_SSO_AZURE_SECRET"),
    ],
)
def test_a_secret_is_shown_in_no_way(importing: Import, written: str, reference: str) -> None:
    _, said = importing(AZURE.replace(f'"{SECRET}"', written))  # which looks for it
    assert said["sso"]["providers"][0]["client_auth"] == {"secret": {"env": reference}}
    assert reference in said["variables"]


@pytest.mark.parametrize(
    "after",
    [
        "for p in OAUTH_PROVIDERS: p['name'] = 'x'",
        "if os.environ.get('PROD'): OAUTH_PROVIDERS = []",
        "OAUTH_PROVIDERS[0:1] = []",
        "change(OAUTH_PROVIDERS)",
        "OAUTH_PROVIDERS.sort()",
        "del OAUTH_PROVIDERS",
        "with x() as OAUTH_PROVIDERS: pass",
        "OAUTH_PROVIDERS = [p for p in OAUTH_PROVIDERS]",
        "try:\n    pass\nexcept ImportError:\n    OAUTH_PROVIDERS = []",
    ],
)
def test_what_may_have_been_changed_is_unknown(importing: Import, after: str) -> None:
    code, said = importing(f"{AZURE}\n{after}\n")
    assert code == 1
    assert "providers" not in said["sso"]
    code, said = importing(f"{AZURE}\nif AUTH_TYPE == AUTH_OAUTH: pass\nelse: OAUTH_PROVIDERS = []\nprint(1)")
    assert (code, len(said["sso"]["providers"])) == (0, 1)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("AUTH_TYPE = (", 2, "webserver_config.py:1"),
        ("\0", 2, "not Python"),
        ("AUTH_TYPE = AUTH_LDAP\nOAUTH_PROVIDERS = []", 3, "AUTH_LDAP"),
        ("from flask_appbuilder import const\nAUTH_TYPE = const.AUTH_DB", 3, "AUTH_DB"),
        ("AUTH_TYPE = 3", 3, "AUTH_REMOTE_USER"),
        ("", 3, "nothing to import"),
    ],
)
def test_a_file_without_a_provider_is_told_apart(
    old: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, says: str
) -> None:
    old.write_text(text)
    assert cli.main(["import-config", str(old)]) == code
    assert says in capsys.readouterr().err


def test_a_file_that_is_not_there(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import-config", str(old)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_nothing_of_it_is_run(importing: Import, tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    harm = f"import pathlib\npathlib.Path({str(trace)!r}).touch()\nraise SystemExit(7)\n"
    assert importing(harm + AZURE)[0] == 0
    assert not trace.exists()
    with pytest.raises(SystemExit):
        exec(harm)
    assert trace.exists()


def test_both_files_are_written_over_none(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old.write_text(TWO)
    folder = tmp_path / "new"
    assert cli.main(["import-config", str(old), "--to", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "airflow-sso lint finds nothing to mend" in said
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert SECRET not in said + "".join(written.values())
    for name in ("AIRFLOW_SSO_AZURE_SECRET", "AIRFLOW_SSO_LAB_SECRET"):
        assert name in said
        monkeypatch.setenv(name, "x")
    loaded = config.load(folder / "sso.yaml", default_external_url="https://airflow.example.com")
    assert (loaded.faults, set(loaded.settings.providers if loaded.settings else ())) == (
        (),
        {"azure", "lab"},
    )
    assert loaded.settings
    mapping = yaml_document.read(loaded.settings.role_mapping_file)
    assert understand(mapping, BUILT_IN_ROLES)
    assert mapping.faults == []
    assert "# no_match: [Viewer] would keep" in written["role_mapping.yaml"]
    assert f"Default: Airflow's [{LINE.web_section}] base_url." in written["sso.yaml"]

    (folder / "sso.yaml").unlink()
    assert cli.main(["import-config", str(old), "--to", str(folder)]) == 2
    assert "role_mapping.yaml is there already" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["role_mapping.yaml"]


@pytest.mark.parametrize(
    "text", [AZURE, BY_ENVIRONMENT, PINGONE, PINGFEDERATE, KEYCLOAK, OWN_MANAGER, TWO, SAML]
)
def test_both_files_are_printed_for_reading(
    old: Path, capsys: pytest.CaptureFixture[str], text: str, importing: Import
) -> None:
    code, told = importing(text)
    assert cli.main(["import-config", str(old)]) == code
    said = capsys.readouterr().out
    _, sso, mapping = said.split("----------\n", 2)[0], *said.split("----------\n", 2)[1:]
    sso = sso.partition("----------")[0]
    mapping = mapping.partition("\n\n")[0]
    assert yaml_document.parse(sso, "sso.yaml").data == told["sso"]
    assert yaml_document.parse(mapping, "role_mapping.yaml").data == told["role_mapping"]
    assert "TODO" not in said
    assert ("lint finds nothing to mend" in said) == (not any("sso.yaml: " in one for one in told["to_mend"]))


PIECES = [
    *"()[]{}\"'\\%#=,:*\n\0é\u2028$",
    "None", "True", "1e999", "-1", "10**9", "f'{x!r:>9}'", "'%(a)s' % {'a': 1}", "'{0.a}'.format(1)", "lambda: 0",
    "[*x]", "{**x}", "timedelta(days=10**12)", "os.environ[x]", "os.getenv()", "AUTH_X", "'\\ud800'", "'a\\nb'", "b'x'",
    "\"${X}\"", "'https://[/v1'", "'$$'", "({}, [])", "x if y else z", "a or b", "not a", "['a'] * 3", "{1: 2}", "...",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_no_file_upsets_it(old: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        text = chance.choice(
            [AZURE, BY_ENVIRONMENT, PINGONE, PINGFEDERATE, KEYCLOAK, OKTA, OWN_MANAGER, TWO, SAML]
        )
        for _ in range(chance.randrange(1, 4)):
            if chance.random() < 0.7:  # a value in the place of another
                values = [at for at, char in enumerate(text) if char == '"']
                at = chance.randrange(0, len(values) - 1, 2)
                text = text[: values[at]] + chance.choice(PIECES[15:]) + text[values[at + 1] + 1 :]
            else:
                at = chance.randrange(len(text))
                text = text[:at] + chance.choice(PIECES) + text[at + chance.randrange(3) :]
        old.write_text(text, errors="surrogatepass")
        code = cli.main(["import-config", str(old), *(["--json"] if chance.random() < 0.5 else [])])
        said = capsys.readouterr()
        assert code in (0, 1, 2, 3)
        assert "not valid YAML" not in said.out, text
        assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 3000 + ")" * 3000,
        "x = " + "-" * 5000 + "1",
        "x = 'a'\n" + "x = x + x\n" * 200,
        "x = [1]\n" + "x = x + x\n" * 200,
        "x = 9\n" + "x = x * x\n" * 200,
        "x = '%1000000000d' % 1\ny = '{:>1000000000}'.format(1)\nz = f'{1:>1000000000}'",
        "x = []\nx.append(x)\nOAUTH_PROVIDERS = x\nAUTH_ROLES_MAPPING = {'a': x}",
        "x = {}\nx['remote_app'] = x\nOAUTH_PROVIDERS = [x]",
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 90)) + " " * 90 + "pass",
    ],
    ids=range(9),
)
def test_no_file_makes_it_large_or_deep(old: Path, text: str) -> None:
    old.write_text(text)
    assert cli.main(["import-config", str(old), "--json"]) in (1, 2, 3)
