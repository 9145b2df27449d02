"""``airflow-sso doctor``: an Airflow that is as it should be, and everything that can be wrong with one, one thing
at a time, each with the words that mend it.

The database is a real one, migrated by Airflow; the providers are the local one; commands run in this process.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow import settings as airflow_settings
from cryptography.fernet import Fernet
from sqlalchemy import create_engine

from airflow_sso import audit, cli, database
from airflow_sso.accounts import break_glass
from airflow_sso.airflow_compat import AIRFLOW_2, AIRFLOW_3, AUTH_PREFIX, IS_AIRFLOW_2, LINE
from airflow_sso.audit import Journal
from airflow_sso.cli import doctor, doctor_airflow, doctor_written
from devidp.server import Handle
from devidp.settings import DEFAULT_CLIENT_SECRET
from tests import saml
from tests import stack as stacks
from tests.certificates import Certificate, new_certificate
from tests.databases import Database
from tests.lines import both_lines, only_on_3
from tests.review_world import quiet

pytestmark = both_lines

URL = "https://airflow.example.com"
WEBSERVER_CONFIG = (
    "from airflow_sso import SsoSecurityManager\n\nSECURITY_MANAGER_CLASS = SsoSecurityManager\n"
)
WEB, FAB = LINE.web_section.upper(), LINE.fab_section.upper()
OTHER_FAB = (AIRFLOW_3 if IS_AIRFLOW_2 else AIRFLOW_2).fab_section.upper()
GOOD = {
    "CORE__AUTH_MANAGER": stacks.SSO_AUTH_MANAGER,
    "CORE__FERNET_KEY": Fernet.generate_key().decode(),
    f"{WEB}__BASE_URL": f"{URL}/",
    f"{WEB}__SECRET_KEY": "0123456789abcdef0123456789abcdef",
    "API_AUTH__JWT_SECRET": "fedcba9876543210fedcba9876543210",
    f"{FAB}__ENABLE_PROXY_FIX": "True",
    f"{FAB}__COOKIE_SECURE": "True",
}


#: By how many days they last: making one takes longer than the test.
_pairs: dict[int, Certificate] = {}


class Installation:
    """One Airflow's files, settings and database; everything is as it should be until it is changed."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], idp: Handle
    ) -> None:
        self.folder, self.idp = folder, idp
        self._patch, self._capture = monkeypatch, capture
        self.sso: dict[str, Any] = {
            "external_url": URL,
            "role_mapping_file": str(folder / "role_mapping.yaml"),
            "break_glass": ["rescuer"],
            "providers": [
                stacks.generic(idp.url),
                saml.entry(idp.url, URL, "generic", "lab-saml", keys=self.keys(365), entity_id=URL),
            ],
        }
        self.mapping = "version: 1\nrules:\n  - {group: airflow_prod_admin, roles: [Admin]}\n"
        self.webserver_config: str | None = WEBSERVER_CONFIG
        for name, value in GOOD.items():
            self.set(name, value)
        self.set(f"{FAB}__CONFIG_FILE", str(folder / "webserver_config.py"))
        self.set("SSO__CONFIG_FILE", str(folder / "sso.yaml"))

    def keys(self, days: int) -> dict[str, dict[str, str]]:
        """A pair of ours that lasts so long, as ``keys:`` names it."""
        made = _pairs.get(days) or new_certificate(self.folder, f"lasts-{days}", days=days)
        _pairs[days] = made
        return {
            "certificate": {"file": str(made.certificate_file)},
            "private_key": {"file": str(made.key_file)},
        }

    def set(self, name: str, value: str | None) -> None:
        """One of Airflow's own settings, or none."""
        if value is None:
            self._patch.delenv(f"AIRFLOW__{name}", raising=False)
        else:
            self._patch.setenv(f"AIRFLOW__{name}", value)

    def env(self, name: str, value: str) -> None:
        self._patch.setenv(name, value)

    def write(self, statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.folder / "airflow.db")) as connection, connection:
            connection.execute(statement, values)

    def database(self) -> list[str]:
        """Everything that the database holds."""
        with closing(sqlite3.connect(self.folder / "airflow.db")) as connection:
            return list(connection.iterdump())

    def said(self, *options: str) -> tuple[int, list[dict[str, str]], str]:
        """Its exit code, what it found, and everything that it printed."""
        (self.folder / "sso.yaml").write_text(yaml.safe_dump(self.sso))
        (self.folder / "role_mapping.yaml").write_text(self.mapping)
        if self.webserver_config is not None:
            (self.folder / "webserver_config.py").write_text(self.webserver_config)
        self._capture.readouterr()
        with quiet():
            code = cli.main(["doctor", "--json", *options])
        printed = self._capture.readouterr()
        told = json.loads(printed.out)
        assert told["exit_code"] == code
        return code, told["findings"], printed.out + printed.err


def but_ok(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    return [one for one in findings if one["level"] not in ("ok", "skipped")]


@pytest.fixture
def it(
    migrated_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    idp: Handle,
) -> Iterator[Installation]:
    """An Airflow that is as it should be."""
    url = migrated_database.copy(tmp_path / "airflow.db").url
    monkeypatch.setattr(airflow_settings, "engine", create_engine(url, future=True))
    monkeypatch.setenv("TEST_CLIENT_SECRET", DEFAULT_CLIENT_SECRET)
    made = Installation(tmp_path, monkeypatch, capsys, idp)
    made.write(
        """insert into ab_user (id, first_name, last_name, username, password, active, email, created_on)
           values (900, 'R', 'R', 'rescuer', 'scrypt:1:1:1$a$b', 1, 'r@example.com', '2026-01-01 00:00:00')"""
    )
    made.write("insert into ab_role (name) select 'Admin' where not exists (select 1 from ab_role)")
    made.write("insert into ab_user_role (user_id, role_id) select 900, id from ab_role where name = 'Admin'")
    database._found.clear()
    yield made
    database._found.clear()


def test_an_airflow_that_is_as_it_should_be_has_nothing_to_mend(it: Installation) -> None:
    before = it.database()
    code, findings, printed = it.said()
    assert but_ok(findings) == []
    assert code == 0
    assert {one["check"] for one in findings} >= {check.name for check in doctor.CHECKS} - {
        "moving to 3",
        "other line",
        "directory",
        "mounts",
        "accounts",
    }
    assert it.database() == before, "looking changes nothing, not even a break-glass pin"
    for secret in (
        DEFAULT_CLIENT_SECRET,
        *(GOOD[name] for name in GOOD if "KEY" in name or "SECRET" in name),
    ):
        assert secret not in printed


def test_every_check_stands_in_the_page() -> None:
    page = (stacks.REPOSITORY / "docs" / "install.md").read_text()
    table = page.partition("| check | looks at |")[2].partition("\n\n")[0]
    told = {
        name
        for row in table.splitlines()
        for name in row.split("|")[1:2]
        for name in name.strip().split(", ")
    }
    assert told - {"---"} == {check.name for check in doctor.CHECKS}


def test_people_read_the_same_in_plain_words(it: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    it.said()
    capsys.readouterr()
    with quiet():
        assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Nothing is in the way."
    assert any(line.startswith("ok       tables") for line in lines)
    it.set(f"{FAB}__COOKIE_SECURE", None)
    it.write("drop table sso_mapping")
    it.write("update alembic_version_sso set version_num = '0004'")
    with quiet():
        assert cli.main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "FAULT    tables            the tables are at revision 0004" in text
    assert "mend: run airflow-sso db upgrade" in text
    assert text.rstrip().endswith("1 to mend, and 1 that could be better.")


def provider(it: Installation, number: int = 0, **changes: Any) -> None:
    it.sso["providers"][number] |= changes


def without(name: str) -> Callable[[Installation], None]:
    return lambda it: it.set(name, None)


def setting(name: str, value: str) -> Callable[[Installation], None]:
    return lambda it: it.set(name, value)


def python(text: str | None) -> Callable[[Installation], None]:
    def change(it: Installation) -> None:
        it.webserver_config = text

    return change


def written(**changes: Any) -> Callable[[Installation], None]:
    def change(it: Installation) -> None:
        it.sso |= changes

    return change


def mapped(text: str) -> Callable[[Installation], None]:
    def change(it: Installation) -> None:
        it.mapping = text

    return change


def sql(*statements: str) -> Callable[[Installation], None]:
    def change(it: Installation) -> None:
        for statement in statements:
            it.write(statement)

    return change


def both(*changes: Callable[[Installation], None]) -> Callable[[Installation], None]:
    def change(it: Installation) -> None:
        for one in changes:
            one(it)

    return change


def wrong_password(it: Installation) -> None:
    it.sso["providers"][0]["client_auth"] = {"secret": {"env": "NOBODY_SET_THIS"}}


def unreachable(it: Installation) -> None:
    provider(it, issuer=f"http://127.0.0.1:{stacks.free_port()}")


def another_issuer(it: Installation) -> None:
    provider(it, issuer=f"{it.idp.url.replace('localhost', '127.0.0.1')}/generic")


def another_tenant(it: Installation) -> None:
    entry = stacks.entra(it.idp.url, tenant_id="99999999-0000-cccc-1111-dddd2222eeee")
    it.sso["providers"].append(entry)


def no_metadata(it: Installation) -> None:
    provider(it, 1, metadata_url=f"{it.idp.url}/nothing-here")


def directory_of_strangers(it: Installation) -> None:
    it.env("WRONG", "not-the-secret")
    auth = {"client_id": "somebody", "client_auth": {"secret": {"env": "WRONG"}}}
    it.sso["providers"].append(
        stacks.entra(it.idp.url, directory={"type": "graph", "insecure_host": it.idp.url, **auth})
    )


def lost_canary(it: Installation) -> None:
    there = {"type": "graph", "insecure_host": it.idp.url, "canary": "00aa00aa-bb11-cc22-dd33-44ee44ee44ee"}
    it.sso["providers"].append(stacks.entra(it.idp.url, directory=there))


#: What is changed, then: the check that tells, how grave it is, what is said, what mends it.
WRONGS: dict[str, tuple[Callable[[Installation], None], str, str, str, str]] = {
    "no webserver_config.py": (
        python(None), "security manager", "wrong", "shows its own password form", "config_file"),
    "another security manager": (
        python("AUTH_TYPE = 1\n"), "security manager", "wrong",
        "own sign-in, which is open" if IS_AIRFLOW_2 else "own sign-in, by which nobody gets in",
        "SsoSecurityManager"),
    "another security manager beside Airflow's own auth manager": (
        both(python("AUTH_TYPE = 1\n"), setting("CORE__AUTH_MANAGER", stacks.STOCK_AUTH_MANAGER)),
        "security manager", "wrong", "own sign-in, which is open", "SsoSecurityManager"),
    "a webserver_config.py that does not run": (
        python("x = (\n"), "security manager", "wrong", "cannot be run: line 1", "mend that line"),
    "a webserver_config.py that raises": (
        python("raise RuntimeError('password-1234')\n"), "security manager", "wrong", "RuntimeError", "mend"),
    "an old sign-in": (
        python(WEBSERVER_CONFIG + "OAUTH_PROVIDERS = [{}]\n"),
        "left over", "advice", "OAUTH_PROVIDERS", "import-config"),
    "an old sign-in that is in use": (
        python("OAUTH_PROVIDERS = [{}]\n"), "left over", "advice", "once ours is named", "import-config"),
    "another AUTH_TYPE": (
        python(WEBSERVER_CONFIG + "AUTH_TYPE = 1\n"), "left over", "advice", "AUTH_TYPE", "take them out"),
    "two places": (
        python(WEBSERVER_CONFIG + "SSO_CONFIG_FILE = '/elsewhere/sso.yaml'\n"),
        "configuration", "wrong", "keep one of them", "lint"),
    "an unknown key": (written(provider=[]), "configuration", "wrong", "provider", "lint"),
    "a file elsewhere": (
        setting("SSO__CONFIG_FILE", "/nowhere/sso.yaml"), "configuration", "wrong", "/nowhere/sso.yaml",
        "AIRFLOW__SSO__CONFIG_FILE"),
    "Airflow's own auth manager": (
        setting("CORE__AUTH_MANAGER", stacks.STOCK_AUTH_MANAGER),
        "auth manager", "advice", "renewed token lives until it expires", stacks.SSO_AUTH_MANAGER),
    "the simple auth manager": (
        without("CORE__AUTH_MANAGER"), "auth manager", "wrong", "does not use our sign-in",
        stacks.SSO_AUTH_MANAGER),
    "an auth manager that is none": (
        setting("CORE__AUTH_MANAGER", "airflow_sso.nowhere.Manager"), "auth manager", "wrong",
        "cannot be imported", stacks.SSO_AUTH_MANAGER),
    "sessions in the cookie": (
        setting(f"{FAB}__SESSION_BACKEND", "securecookie"), "auth manager", "advice", "securecookie",
        "session_backend = database"),
    "no base_url": (without(f"{WEB}__BASE_URL"), "address", "fault", "is not set", URL),
    "http beside https": (
        setting(f"{WEB}__BASE_URL", "http://airflow.example.com"), "address", "fault", "the other https", "both"),
    "another path": (
        setting(f"{WEB}__BASE_URL", f"{URL}/airflow"), "address", "fault", "paths differ", "same path"),
    "another host": (
        setting(f"{WEB}__BASE_URL", "https://airflow.internal"), "address", "fault", "one host to the other",
        "same in both"),
    "/auth in base_url": (
        setting(f"{WEB}__BASE_URL", f"{URL}/auth"), "address", "wrong", "ends with /auth", URL),
    "/auth in external_url": (
        written(external_url=f"{URL}/auth"), "configuration", "wrong", "must not end with /auth", "lint"),
    "an option as the other line of Airflow names it": (
        both(without(f"{FAB}__COOKIE_SECURE"), setting(f"{OTHER_FAB}__COOKIE_SECURE", "True")),
        "other line", "advice", f"[{OTHER_FAB.lower()}] cookie_secure counts for nothing",
        f"[{FAB.lower()}] cookie_secure"),
    "the address as Airflow 3 names it": (
        both(without("WEBSERVER__BASE_URL"), setting("API__BASE_URL", URL)),
        "other line", "advice", "[api] base_url counts for nothing", "[webserver] base_url"),
    "the address of an Airflow that nobody told its own": (
        both(without(f"{WEB}__BASE_URL"), lambda it: it.sso.pop("external_url")),
        "address", "fault", "when nobody sets it", "where people reach Airflow"),
    "the address that a new airflow.cfg has": (
        both(setting(f"{WEB}__BASE_URL", "http://localhost:8080"), lambda it: it.sso.pop("external_url")),
        "address", "advice", "when nobody sets it", "where people reach Airflow"),
    "a proxy that Airflow was not told of": (
        without(f"{FAB}__ENABLE_PROXY_FIX"), "proxy", "advice", "a proxy ends TLS", "enable_proxy_fix = True"),
    "a cookie without Secure": (
        without(f"{FAB}__COOKIE_SECURE"), "proxy", "advice", "not marked Secure", "cookie_secure = True"),
    "a Secure cookie without TLS": (
        both(written(external_url="http://localhost:8080"), setting(f"{WEB}__BASE_URL", "http://localhost:8080")),
        "proxy", "fault", "round in circles", "cookie_secure = False"),
    "a secret key that is made up": (
        without(f"{WEB}__SECRET_KEY"), "secret keys", "advice", f"[{LINE.web_section}] secret_key is not set", "every replica"),
    "a token key that is made up": (
        without("API_AUTH__JWT_SECRET"), "secret keys", "advice", "[api_auth] jwt_secret is not set",
        "every replica"),
    "a well-known secret key": (
        setting(f"{WEB}__SECRET_KEY", "temporary_key"), "secret keys", "fault", "well known", "openssl rand"),
    "a short token key": (
        setting("API_AUTH__JWT_SECRET", "abc"), "secret keys", "fault", "short", "openssl rand"),
    "no Fernet key": (
        setting("CORE__FERNET_KEY", ""), "fernet key", "advice", "is empty", "makes one"),
    "no Fernet key, and it is needed": (
        both(setting("CORE__FERNET_KEY", ""), lambda it: provider(it, provider_sign_out=True)),
        "fernet key", "fault", "cannot be signed out at the provider", "makes one"),
    "a Fernet key that is none": (
        setting("CORE__FERNET_KEY", "abc"), "fernet key", "fault", "no Fernet key", "makes one"),
    "everybody may look": (
        written(public_role="Viewer"), "not signed in", "advice", "Viewer without signing in", "leave it out"),
    "a weakened check": (
        lambda it: provider(it, 1, insecure_unsigned_logout=True), "weakened", "advice",
        "insecure_unsigned_logout", "take it out"),
    "no tables of Airflow's own": (
        sql("drop table ab_user"), "tables", "fault", "Airflow's own tables", "airflow db migrate"),
    "no tables": (
        sql("drop table alembic_version_sso", "drop table sso_mapping"), "tables", "fault", "not there",
        "airflow-sso db upgrade"),
    "a table that is missing": (
        sql("drop table sso_mapping"), "tables", "fault", "missing in the database: sso_mapping", "backup"),
    "tables of a newer version": (
        sql("update alembic_version_sso set version_num = '9999'"), "tables", "advice", "newer version",
        "that version"),
    "a mapping with a fault": (
        mapped("version: 1\nrules:\n  - {group: a, roles: [Nobody]}\n"), "role mapping", "wrong",
        "'Nobody'", "lint"),
    "no emergency account": (
        written(break_glass=[]), "emergency", "advice", "while the provider cannot be asked", "break_glass:"),
    "an emergency account that is not there": (
        written(break_glass=["nobody"]), "emergency", "fault", "no account of this name", "break-glass"),
    "an emergency account that is shut": (
        sql("update ab_user set active = 0 where id = 900"), "emergency", "fault", "deactivated",
        "break-glass"),
    "an emergency account that may do nothing": (
        sql("delete from ab_user_role where user_id = 900"), "emergency", "advice", "no role",
        "give it the role"),
    "a secret that is not there": (
        wrong_password, "configuration", "wrong", "NOBODY_SET_THIS", "lint"),
    "a provider that does not answer": (unreachable, "providers", "fault", "generic: discovery", "curl"),
    "another issuer": (another_issuer, "providers", "fault", "its issuer is", "another issuer"),
    "no metadata": (no_metadata, "providers", "fault", "lab-saml: metadata", "metadata_url of its entry; from here: curl"),
    "another tenant": (another_tenant, "providers", "fault", "entra: discovery", "look at tenant_id"),
    "credentials that the directory refuses": (
        directory_of_strangers, "directory", "fault", "the directory of entra", "Renew the credentials"),
    "a canary that is not there": (
        lost_canary, "directory", "fault", "does not know its canary", "always there"),
}  # fmt: skip
EXIT = {"advice": 0, "fault": 1, "wrong": 2}


def test_an_emergency_account_is_told_from_another_of_its_name(it: Installation) -> None:
    with airflow_settings.engine.begin() as connection:
        journal = Journal(audit.new_reference())
        break_glass.account(connection, journal, ["rescuer"], "rescuer")  # as a server that starts
        journal.write(connection)
    assert but_ok(it.said("--offline")[1]) == []
    it.write("update ab_user set password = 'scrypt:1:1:1$a$c' where id = 900")
    (told,) = but_ok(it.said("--offline")[1])
    assert (told["level"], "password of rescuer was changed" in told["what"]) == ("advice", True)
    it.write("update ab_user set created_on = '2026-02-02 00:00:00' where id = 900")
    (told,) = but_ok(it.said("--offline")[1])
    assert (told["level"], "stood for another account before" in told["what"]) == ("fault", True)


ONLY_ON_3 = {
    "Airflow's own auth manager",  # on 2.11 all requests pass the security manager
    "the simple auth manager",
    "a token key that is made up",
    "a short token key",
}
ONLY_ON_2 = {
    "the address as Airflow 3 names it",  # which still takes this one by its older name
    "the address of an Airflow that nobody told its own",  # 3 has none then
    "the address that a new airflow.cfg has",
}


@pytest.mark.parametrize("name", sorted(set(WRONGS) - (ONLY_ON_3 if IS_AIRFLOW_2 else ONLY_ON_2)))
def test_what_is_wrong_is_said_with_its_mend(it: Installation, name: str) -> None:
    change, check, level, what, mend = WRONGS[name]
    change(it)
    code, findings, printed = it.said(*([] if check in ("providers", "directory") else ["--offline"]))
    told = [one for one in findings if one["check"] == check and one["level"] == level]
    assert any(what in one["what"] and mend in one["mend"] for one in told), findings
    assert code >= EXIT[level]
    if name not in ("a webserver_config.py that does not run", "no webserver_config.py"):
        assert "this check broke off" not in printed
    assert "password-1234" not in printed
    assert DEFAULT_CLIENT_SECRET not in printed


def test_a_directory_that_tells_is_well(it: Installation) -> None:
    it.sso["providers"].append(
        stacks.entra(it.idp.url, directory={"type": "graph", "insecure_host": it.idp.url})
    )
    it.mapping = yaml.safe_dump(stacks.default_mapping())
    _, findings, _ = it.said()
    (told,) = [one for one in findings if one["check"] == "directory"]
    assert told["level"] == "ok", told
    assert "3 groups" in told["what"]


@only_on_3("these options have no older name")
def test_options_that_airflow_still_takes_by_their_older_name_are_given(it: Installation) -> None:
    for name in ("BASE_URL", "SECRET_KEY"):
        it.set(f"WEBSERVER__{name}", GOOD[f"API__{name}"])
        it.set(f"API__{name}", None)
    assert but_ok(it.said("--offline")[1]) == []


def test_replicas_compare_their_secrets_by_a_mark(it: Installation) -> None:
    def marks() -> dict[str, str]:
        _, findings, _ = it.said("--offline")
        about = [one["what"] for one in findings if one["check"] in ("secret keys", "fernet key")]
        return {what.partition(" is set")[0]: what.rpartition(" ")[2] for what in about}

    here = marks()
    assert len(here) == (3 if LINE.has_browser_tokens else 2)
    assert all(re.fullmatch("[0-9a-f]{8}", mark) for mark in here.values()), here
    assert marks() == here, "the control: another replica with the same secrets"
    it.set(f"{WEB}__SECRET_KEY", "another-secret-of-a-good-length")
    changed = f"[{LINE.web_section}] secret_key"
    there = marks()
    assert {name for name in here if there[name] != here[name]} == {changed}
    it.set(f"{WEB}__SECRET_KEY", "another-secret-of-a-good-length ")
    assert marks()[changed] != there[changed], "a space more is another secret"


@only_on_3("these options have no older name")
def test_what_airflow_says_of_older_names_is_not_among_what_a_machine_reads(
    it: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.said("--offline")
    monkeypatch.setenv("AIRFLOW__WEBSERVER__BASE_URL", GOOD["API__BASE_URL"])
    monkeypatch.delenv("AIRFLOW__API__BASE_URL")
    command = [sys.executable, "-m", "airflow_sso.cli", "urls", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(json.loads(ran.stdout)) == {"generic", "lab-saml"}


def test_offline_asks_nobody(it: Installation) -> None:
    unreachable(it)
    assert it.said()[0] == 1
    code, findings, _ = it.said("--offline")
    assert code == 0
    assert [one["level"] for one in findings if one["check"] in ("providers", "directory")] == ["skipped"] * 2


def test_a_certificate_that_ends_is_said(it: Installation) -> None:
    it.sso["providers"][1]["keys"] = it.keys(3)
    code, findings, _ = it.said("--offline")
    (told,) = but_ok(findings)
    assert (code, told["check"], told["level"]) == (0, "certificates", "advice")
    assert "our saml certificate ends on" in told["what"]


def test_clocks_that_differ_are_said(it: Installation) -> None:
    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Thu, 01 Jan 2026 00:00:00 GMT"

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Late)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        provider(it, issuer=f"http://127.0.0.1:{server.server_port}")
        _, findings, _ = it.said()
    finally:
        server.shutdown()
        server.server_close()
    assert any("its clock and ours are" in one["what"] and "NTP" in one["mend"] for one in findings)
    assert not any("lab-saml: its clock" in one["what"] for one in findings)


def test_a_library_that_is_too_old_is_said(it: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor_written.version
    monkeypatch.setattr(doctor_written, "version", lambda name: "1.6.8" if name == "authlib" else real(name))
    code, findings, _ = it.said("--offline")
    (told,) = but_ok(findings)
    assert (code, told["check"]) == (1, "libraries")
    assert told["what"] == "authlib is 1.6.8, and >=1.6.9 is needed"
    assert told["mend"] == 'pip install "authlib>=1.6.9"'


def test_another_file_than_the_servers_is_said(it: Installation, tmp_path: Path) -> None:
    it.said("--offline")
    other = tmp_path / "other.yaml"
    shutil.copy(tmp_path / "sso.yaml", other)
    code, findings, _ = it.said("--offline", "--config", str(other))
    (told,) = but_ok(findings)
    assert code == 1
    assert told["what"] == f"a web server reads {tmp_path / 'sso.yaml'} instead"
    assert it.said("--offline", "--config", str(tmp_path / "sso.yaml"))[0] == 0


def test_accounts_of_a_provider_that_was_renamed_are_counted(it: Installation) -> None:
    account = """insert into sso_account (identity_key, authority, subject, user_id, provider, created_at,
        given_roles, facts) values (?, ?, '1', 900, 'old', '2026-01-01 00:00:00', '[]', '{}')"""
    it.write(account, "a" * 64, "oidc:generic")
    assert but_ok(it.said("--offline")[1]) == []
    it.write(account, "b" * 64, "oidc:gone")
    (told,) = but_ok(it.said("--offline")[1])
    assert told["what"].startswith("1 account is of oidc:gone")
    assert "authority:" in told["mend"]
    it.write("update sso_account set authority = 'entra:public:a-tenant' where authority = 'oidc:gone'")
    (told,) = but_ok(it.said("--offline")[1])
    assert "tenant_id: a-tenant and cloud: public" in told["mend"]
    it.write("update sso_account set authority = 'pingone:an-environment' where authority like 'entra:%'")
    (told,) = but_ok(it.said("--offline")[1])
    assert "environment_id: an-environment" in told["mend"]


def test_accounts_of_an_entry_with_a_fault_are_not_called_strangers(it: Installation) -> None:
    account = """insert into sso_account (identity_key, authority, subject, user_id, provider, created_at,
        given_roles, facts) values (?, 'oidc:generic', '1', 900, 'old', '2026-01-01 00:00:00', '[]', '{}')"""
    it.write(account, "a" * 64)
    wrong_password(it)
    _, findings, _ = it.said("--offline")
    assert [one["level"] for one in findings if one["check"] == "accounts"] == ["skipped"]
    assert [one["check"] for one in but_ok(findings)] == ["configuration"]


def test_a_check_that_breaks_off_hides_no_other(it: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_case: object) -> Iterator[object]:
        raise RuntimeError("password-1234")

    rows = [row._replace(look=breaks) if row.name == "proxy" else row for row in doctor.CHECKS]
    monkeypatch.setattr(doctor, "CHECKS", tuple(rows))
    code, findings, printed = it.said("--offline")
    (told,) = but_ok(findings)
    assert (code, told["check"], told["what"]) == (1, "proxy", "this check broke off: RuntimeError")
    assert "password-1234" not in printed
    assert [one["level"] for one in findings if one["check"] == "tables"] == ["ok"]


def test_a_move_to_airflow_3_is_said_on_2(it: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> list[dict[str, str]]:
        return [one for one in it.said("--offline")[1] if one["check"] == "moving to 3"]

    del it.sso["providers"][1]["entity_id"]
    if not IS_AIRFLOW_2:
        assert said() == []
        read = doctor_airflow.read()
        monkeypatch.setattr(doctor_airflow, "read", lambda: replace(read, is_line_2=True))
    (told,) = said()
    assert told["what"].startswith("lab-saml: entity_id is not written")
    assert "airflow-sso urls --line 3" in told["mend"]
    it.sso["providers"][1]["entity_id"] = f"{URL}/saml/metadata/lab-saml"
    assert said() == []


def test_what_to_register_is_printed_for_either_line(
    it: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    del it.sso["providers"][1]["entity_id"]
    it.said("--offline")

    def printed(*options: str) -> dict[str, dict[str, str]]:
        capsys.readouterr()
        with quiet():
            assert cli.main(["urls", "--json", *options]) == 0
        return dict(json.loads(capsys.readouterr().out))

    on_2, on_3 = printed("--line", "2"), printed("--line", "3")
    assert on_2["generic"]["redirect_uri"] == f"{URL}/oauth-authorized/generic"
    assert on_3["generic"]["redirect_uri"] == f"{URL}/auth/oauth-authorized/generic"
    assert on_2["lab-saml"]["entity_id"] == f"{URL}/saml/metadata/lab-saml"
    assert on_3["lab-saml"]["entity_id"] == f"{URL}/auth/saml/metadata/lab-saml"
    assert printed() == (on_3 if AUTH_PREFIX else on_2)
    it.sso["providers"][1]["entity_id"] = URL
    it.said("--offline")
    assert printed("--line", "3")["lab-saml"]["entity_id"] == URL
    assert printed("--line", "3")["lab-saml"]["acs_url"] == f"{URL}/auth/saml/acs/lab-saml"
