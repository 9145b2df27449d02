"""As it stands in a cluster: under a sub-path, behind a proxy that ends TLS and of which Airflow was not told, the
configuration in a folder that nobody can write to and that is replaced as Kubernetes replaces a ConfigMap.

What must stay true: our addresses come from ``external_url`` alone, and nothing is ever written beside the files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from demo.processes import Process
from devidp.server import Handle
from tests import stack as stacks
from tests.certificates import Certificate, new_certificate
from tests.databases import Database
from tests.stack import Stack, Visitor
from tests.tls_proxy import TlsProxy

pytestmark = pytest.mark.server


def as_a_reader() -> list[str]:
    """What begins a command that may not write where permissions say so, whoever runs these tests."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("without setpriv (util-linux) root can write everywhere")
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


class Mounted:
    """A folder as Kubernetes mounts a ConfigMap: names lead through ``..data`` to the newest version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0
        folder.mkdir()

    def put(self, **files: str) -> None:
        """Another version of everything, which takes the place of the one before at once."""
        self.folder.chmod(0o755)
        self._versions += 1
        version = self.folder / f"..version_{self._versions}"
        version.mkdir()
        for name, text in files.items():
            file = version / f"{name}.yaml"
            file.write_text(text)
            file.chmod(0o444)
            link = self.folder / file.name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / file.name)
        version.chmod(0o555)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.rename(self.folder / "..data")
        self.folder.chmod(0o555)

    def as_it_is(self) -> list[tuple[str, int, int]]:
        """Every name in it, with its size and when it was changed."""
        found = sorted(self.folder.rglob("*"))
        return [(str(one), one.lstat().st_size, one.lstat().st_mtime_ns) for one in found]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return new_certificate(tmp_path_factory.mktemp("tls"), "proxy", hosts=("localhost",))


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    made = Mounted(tmp_path_factory.mktemp("mounted") / "sso")
    yield made
    for folder in (made.folder, *made.folder.glob("..version_*")):
        folder.chmod(0o755)  # so that it can be cleared away


@pytest.fixture(scope="module")
def served(
    migrated_database: Database,
    identity_provider: Handle,
    certificate: Certificate,
    mounted: Mounted,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    path = tmp_path_factory.mktemp("sub-path") / "home"
    with TlsProxy(certificate) as proxy, stacks.migrated_home(migrated_database, path) as home:
        proxy.forward_to(home.port)
        home = replace(
            home, base_url=f"{proxy.url('localhost')}/airflow", sso_config=mounted.folder / "sso.yaml"
        )
        stack = Stack(home, idp=identity_provider)
        settings = {
            "providers": [stacks.entra(identity_provider.url)],
            "role_mapping_file": str(mounted.folder / "role_mapping.yaml"),
        }
        mounted.put(sso=yaml.safe_dump(settings), role_mapping=yaml.safe_dump(stacks.default_mapping()))
        server = Process(
            "api-server",
            [*as_a_reader(), sys.executable, "-m", "airflow", *home.api_server_arguments()],
            log=home.logs / "api-server.log",
            env=home.environment(),
            cwd=home.path,
        )
        stack.processes.append(server)
        try:
            server.wait_for_url(home.health_url(), timeout=180)
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def airflow(served: Stack, idp: Handle) -> Stack:
    uris = [f"{served.auth_url}/oauth-authorized/entra"]
    stacks.driver(idp).control("POST", "clients", {"redirect_uris": uris})
    return served


def visitor(airflow: Stack, certificate: Certificate) -> Visitor:
    made = airflow.visitor()
    made.verify = str(certificate.certificate_file)
    return made


def test_nobody_could_write_there(mounted: Mounted, served: Stack) -> None:
    """The control: the server runs as this does."""
    for folder, succeeds in ((mounted.folder, False), (served.home.path, True)):
        line = [*as_a_reader(), sys.executable, "-c", f"open({str(folder / 'written')!r}, 'w')"]
        assert (subprocess.run(line, check=False, capture_output=True).returncode == 0) is succeeds


def test_signing_in_under_a_sub_path_behind_a_proxy_that_airflow_was_not_told_of(
    airflow: Stack, certificate: Certificate, mounted: Mounted
) -> None:
    before = mounted.as_it_is()
    browser = visitor(airflow, certificate)
    sent = browser.at("/auth/login/entra", allow_redirects=False)
    asked = parse_qs(urlsplit(sent.headers["Location"]).query)
    assert asked["redirect_uri"] == [f"{airflow.auth_url}/oauth-authorized/entra"]
    assert airflow.url.startswith("https://localhost:")
    assert airflow.url.endswith("/airflow")
    end = browser.sign_in("ada")
    assert end.ok, end.text[:500]
    assert end.url.startswith(f"{airflow.url}/")
    assert browser.who() is not None
    ours = [one for one in browser.cookies if "airflow_sso" in one.name]
    assert all(one.secure and one.path.startswith("/airflow") for one in ours), ours
    assert mounted.as_it_is() == before, "nothing was written beside the files"
    again = browser.leave()
    assert again.url == f"{airflow.auth_url}/signed-out/"
    assert browser.who() is None


def test_a_mapping_that_is_replaced_as_kubernetes_does_counts(
    airflow: Stack, certificate: Certificate, mounted: Mounted
) -> None:
    browser = visitor(airflow, certificate)
    assert browser.sign_in("vera").ok
    name = str(browser.who())
    assert airflow.roles_of(name) == {"Viewer"}
    sso = (mounted.folder / "sso.yaml").read_text()
    mapping = stacks.default_mapping()
    for rule in mapping["rules"]:
        rule["roles"] = ["Op" if role == "Viewer" else role for role in rule["roles"]]
    mounted.put(sso=sso, role_mapping=yaml.safe_dump(mapping))
    before = mounted.as_it_is()
    assert visitor(airflow, certificate).sign_in("vera").ok
    assert airflow.roles_of(name) == {"Op"}
    assert mounted.as_it_is() == before
