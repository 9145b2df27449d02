"""The examples under deploy/: every key is one that the chart has, and what lies inside them is in order.

The chart itself is not part of this repository: ``CHART_KEYS`` are those of its keys that the examples use. What must
stay true: a key that is not among them is a mistake, or has to be looked up in the chart first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_sso import config, yaml_document
from airflow_sso.role_mapping import BUILT_IN_ROLES, understand
from demo import airflow_home
from demo.airflow_home import REPOSITORY
from tests.lines import both_lines

pytestmark = both_lines

DEPLOY = REPOSITORY / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
#: The one that the demo, and every server of these tests, runs with.
WEBSERVER_CONFIG = airflow_home.WEBSERVER_CONFIG.read_text()
LINES = {"3": "values-airflow-3.yaml", "2": "values-airflow-2.yaml"}
#: Of the official chart, as its "Parameters reference" (1.22.0) and its values.yaml (commit d6ba4817 of
#: apache/airflow) have them; ``createUserJob.defaultUser`` is there since 1.19. A star: whatever is written below.
CHART_KEYS = {
    "defaultAirflowRepository",
    "defaultAirflowTag",
    "airflowVersion",
    "fernetKeySecretName",
    "apiSecretKeySecretName",
    "jwtSecretName",
    "webserverSecretKeySecretName",
    "config.*",
    "migrateDatabaseJob.enabled",
    "migrateDatabaseJob.args",
    "apiServer.replicas",
    "apiServer.args",
    "apiServer.apiServerConfig",
    "apiServer.extraVolumes",
    "apiServer.extraVolumeMounts",
    "webserver.replicas",
    "webserver.webserverConfig",
    "webserver.extraVolumes",
    "webserver.extraVolumeMounts",
    "createUserJob.defaultUser.enabled",
    "extraConfigMaps.*",
}
#: Airflow's own options that the examples set, by section, as each line spells them.
AIRFLOW_OPTIONS = {
    "3": {
        "core.auth_manager",
        "api.base_url",
        "fab.enable_proxy_fix",
        "fab.cookie_secure",
        "sso.config_file",
    },
    "2": {"webserver.base_url", "webserver.enable_proxy_fix", "webserver.cookie_secure", "sso.config_file"},
}


def keys(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every key with a value, with those above it."""
    for name, value in values.items():
        path = f"{above}{name}"
        starred = f"{path.partition('.')[0]}.*"
        if starred in CHART_KEYS:
            yield starred
        elif isinstance(value, dict):
            yield from keys(value, f"{path}.")
        else:
            yield path


def values_of(line: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "helm" / LINES[line]).read_text()))


def server_of(line: str) -> dict[str, Any]:
    return dict(values_of(line)["apiServer" if line == "3" else "webserver"])


def in_order(sso: str, mapping: str, folder: Path, secrets: Mapping[str, Path]) -> config.LoadedConfig:
    """Read both files as a web server would, with the secrets that the example speaks of in another place."""
    for written, there in secrets.items():
        assert written in sso, written
        sso = sso.replace(written, str(there))
        there.write_text("a secret")
    (folder / "sso.yaml").write_text(sso)
    (folder / "role_mapping.yaml").write_text(mapping)
    loaded = config.load(folder / "sso.yaml", default_external_url="https://airflow.example.com")
    assert loaded.faults == ()
    assert loaded.warnings == ()
    document = yaml_document.read(folder / "role_mapping.yaml")
    assert understand(document, BUILT_IN_ROLES) is not None, document.faults
    return loaded


@pytest.mark.parametrize("line", LINES)
def test_every_key_is_the_charts(line: str) -> None:
    assert set(keys(values_of(line))) <= CHART_KEYS
    foreign = {"2": {"apiServer", "apiSecretKeySecretName", "jwtSecretName"}, "3": {"webserver"}}
    assert not foreign[line] & set(values_of(line)), "of the other line"


def test_a_key_of_nobodys_is_noticed() -> None:
    assert set(keys({"apiServer": {"webserverConfig": "x"}})) - CHART_KEYS == {"apiServer.webserverConfig"}


@pytest.mark.parametrize("line", LINES)
def test_airflows_options_are_spelled_as_that_line_spells_them(line: str) -> None:
    written = {f"{section}.{key}" for section, keys in values_of(line)["config"].items() for key in keys}
    assert written == AIRFLOW_OPTIONS[line]


@pytest.mark.parametrize("line", LINES)
def test_the_files_inside_the_values_are_in_order(line: str, tmp_path: Path) -> None:
    values, server = values_of(line), server_of(line)
    text = values["extraConfigMaps"]["airflow-sso"]["data"]
    assert "{{" not in text, "the chart would take it for a template"
    files = yaml.safe_load(text)
    secret = tmp_path / "secret"
    secrets = {"/opt/airflow/sso-secrets/entra-client-secret": secret}
    loaded = in_order(files["sso.yaml"], files["role_mapping.yaml"], tmp_path, secrets)
    assert loaded.settings is not None
    mounts = {mount["mountPath"]: mount for mount in server["extraVolumeMounts"]}
    for mentioned in (
        values["config"]["sso"]["config_file"],
        str(loaded.settings.role_mapping_file),
        next(iter(secrets)),
    ):
        mount = mounts[str(Path(mentioned).parent)]
        assert mount["readOnly"]
        assert "subPath" not in mount, "it would never be updated"
    assert [volume["name"] for volume in server["extraVolumes"]] == [one["name"] for one in mounts.values()]
    assert server["apiServerConfig" if line == "3" else "webserverConfig"] == WEBSERVER_CONFIG


def test_only_the_line_that_needs_it_migrates_our_tables_by_itself() -> None:
    assert "args" not in values_of("3")["migrateDatabaseJob"]
    assert values_of("2")["migrateDatabaseJob"]["args"][-1] == "airflow db migrate && airflow-sso db upgrade"


def test_the_compose_file_mounts_what_it_names_and_nothing_can_be_written_there(tmp_path: Path) -> None:
    services = COMPOSE["services"]
    airflows = {name: one for name, one in services.items() if name != "postgres"}
    assert set(airflows) == {"migrate", "api-server", "scheduler", "dag-processor"}
    for name, one in airflows.items():
        assert "./sso:/opt/airflow/sso:ro" in one["volumes"], name
        assert one["environment"]["AIRFLOW__SSO__CONFIG_FILE"] == "/opt/airflow/sso/sso.yaml"
        assert one["environment"]["AIRFLOW__FAB__CONFIG_FILE"] == "/opt/airflow/sso/webserver_config.py"
    assert [name for name, one in services.items() if "secrets" in one] == ["api-server"]
    assert services["api-server"]["ports"] == ["127.0.0.1:8080:8080"], (
        "a proxy that ends TLS stands before it"
    )
    (secret,) = services["api-server"]["secrets"]
    assert secret in COMPOSE["secrets"]
    folder = DEPLOY / "compose" / "sso"
    assert (folder / "webserver_config.py").read_text() == WEBSERVER_CONFIG
    in_order(
        (folder / "sso.yaml").read_text(),
        (folder / "role_mapping.yaml").read_text(),
        tmp_path,
        {f"/run/secrets/{secret}": tmp_path / "secret"},
    )


def test_what_the_compose_file_asks_for_is_told_in_its_page() -> None:
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    page = (DEPLOY / "compose" / "README.md").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?see README.md\}", text))
    assert asked == set(re.findall(r"^ +([A-Z_]+)=", page, re.MULTILINE))
    assert not re.search(r"\$\{\w+(:-|\})", text), "nothing has a default that people forget"


def test_the_image_is_built_without_what_people_keep_beside_the_files() -> None:
    """The whole repository is what Docker is given: no secret of the compose file, nothing that git ignores."""
    left_out = (REPOSITORY / ".dockerignore").read_text().split()
    assert {".git", "deploy/compose/.env", "deploy/compose/secrets"} <= set(left_out)
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    names = [one.rstrip("/") for one in ignored if not one.startswith("tests/")]
    assert [
        one for one in names if not any(fnmatch(one, each.removeprefix("**/")) for each in left_out)
    ] == []
    for needed in ("airflow_sso", "templates", "setup.cfg", "pyproject.toml", "README.md"):
        assert not any(fnmatch(needed, each) for each in left_out)


def test_no_example_holds_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(
                r"(?i)(password|secret|key): *['\"]?[A-Za-z0-9+/_-]{16,}['\"]?$", path.read_text()
            )
