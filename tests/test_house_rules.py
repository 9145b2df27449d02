"""The house's own laws: who may import whom, how long things may be, what every error must have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from airflow_sso import config, errors, yaml_document
from airflow_sso.config import PROVIDER_MODELS
from airflow_sso.directory_settings import DirectorySettings
from airflow_sso.provider_settings import HttpSettings
from airflow_sso.role_mapping import BUILT_IN_ROLES, understand
from airflow_sso.setting_types import ClientAuth

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "airflow_sso"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
WINGS = {
    "login",
    "accounts",
    "directory",
    "sync",
    "scim",
    "api",
    "tokens",
    "hooks",
    "cli",
    "pages",
    "role_mapping",
    "in_force",
}
#: The only spine modules that compose wings.
COMPOSERS = {"security_manager", "auth_manager", "token_auth_manager", "cli"}
STRANGERS = {"login", "directory", "scim", "api"}
PURE = {"role_mapping", "accounts.matching", "sync.plan", "sync.compare", "sync.untold"}
MAY_IMPORT_AIRFLOW = {
    "security_manager",
    "auth_manager",
    "token_auth_manager",
    "airflow_compat",
    "cli.doctor_airflow",
    "db_manager",
    "plugin",
    "login.views",
    "login.saml_views",
    "login.logout_views",
    "login.local_views",
    "pages",
    "scim.routes",
    "api",
    "accounts.fab_users",
    "accounts.sessions",
    "audit",
    "metrics",
    "secret",
    "hooks",
}


def dotted(path: Path) -> str:
    """``airflow_sso/login/oidc.py`` as ``login.oidc``; a package's ``__init__`` as the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """What a file imports of this package, as dotted names that exist."""
    known = {dotted(module) for module in MODULES}
    found = {name.removeprefix("airflow_sso.") for name in imports(path) if name.startswith("airflow_sso.")}
    return found & known


def room(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_arrows(path: Path) -> None:
    name = dotted(path)
    targets = {room(target) for target in ours(path)} - {room(name)}
    if room(name) not in WINGS and name not in COMPOSERS:
        assert not targets & WINGS, "the spine imports no wing"
    if room(name) in STRANGERS:
        assert not targets & STRANGERS, "these wings never import each other"
    outside = {found.split(".")[0] for found in imports(path)}
    if any(name == pure or name.startswith(f"{pure}.") for pure in PURE):
        assert not outside & {"flask", "sqlalchemy", "requests", "httpx"}, "this decides, it does not act"
    if not any(name == one or name.startswith(f"{one}.") for one in MAY_IMPORT_AIRFLOW):
        assert not outside & {"airflow", "flask_appbuilder"}, "Airflow is reached through few files"
    if room(name) == "tokens":
        assert not outside & {"flask", "flask_appbuilder"}, "workers have no web application"


def test_the_package_itself_imports_nothing_when_imported() -> None:
    for name in ("__init__.py", "provider_info.py"):
        tree = ast.parse((PACKAGE / name).read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert {getattr(node, "module", None) for node in top} <= {"__future__", "typing"}


@pytest.mark.parametrize(
    "path",
    [*MODULES, *sorted(REPOSITORY.glob("devidp/*.py")), *sorted(REPOSITORY.glob("demo/*.py"))],
    ids=str,
)
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


LEAVES = [leaf for leaf in errors._leaves(errors.SsoError) if leaf.code]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_every_error_tells_what_happened_and_what_to_do(leaf: type[errors.SsoError]) -> None:
    assert re.fullmatch(r"SSO-[1-5]\d\d", leaf.code)
    assert leaf.headline
    assert leaf.message
    assert leaf.remedy
    assert leaf.status in (403, 429, 503)
    names = set(re.findall(r"{(\w+)}", leaf.message + leaf.headline + leaf.remedy))
    assert names <= {"groups", "seconds"}, "only counts may stand in a public sentence"


def test_the_catalogue_is_complete() -> None:
    catalogue = [101, 102, 103, 104, *range(201, 206), *range(301, 309), 401, 501, 502, 503]
    assert sorted(errors.BY_CODE) == [f"SSO-{number}" for number in catalogue]


def test_only_the_verifier_makes_verified_claims() -> None:
    makers = {
        "VerifiedClaims": "login.id_token",
        "VerifiedAssertion": "login.assertion",
        "VerifiedNotice": "login.logout_token",
    }
    for value, maker in makers.items():
        assert [dotted(path) for path in MODULES if f"{value}(" in path.read_text()] == [maker]


def test_only_what_was_verified_becomes_an_identity() -> None:
    """``login.captured`` reads what nobody has verified, and makes facts of it."""

    def makes_one(path: Path) -> bool:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        return any(getattr(call.func, "id", getattr(call.func, "attr", "")) == "Identity" for call in calls)

    assert [dotted(path) for path in MODULES if makes_one(path)] == ["login.claims"]
    readers = {dotted(path) for path in MODULES if "login.captured" in ours(path)}
    assert readers == {"cli.explain"}, "what nobody verified is for explaining alone"


@pytest.mark.parametrize(
    "model",
    sorted({*PROVIDER_MODELS.values(), HttpSettings, ClientAuth, DirectorySettings}, key=str),
    ids=str,
)
def test_every_setting_is_documented(model: type[BaseModel]) -> None:
    pages = "".join(
        (REPOSITORY / "docs" / name).read_text()
        for name in ("configuration.md", "entra.md", "ping.md", "deprovisioning.md")
    )
    for name in model.model_fields:
        assert f"`{name}" in pages or f"{name}:" in pages, f"{name} is in no page of docs/"


def test_every_code_is_documented() -> None:
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    assert [code for code in errors.BY_CODE if f"| {code} |" not in page] == []


def test_the_examples_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTRA_CLIENT_SECRET", "x")
    loaded = config.load(REPOSITORY / "sso.example.yaml")
    assert loaded.faults == ()
    document = yaml_document.read(REPOSITORY / "role_mapping.example.yaml")
    assert understand(document, BUILT_IN_ROLES) is not None, document.faults
    for path in sorted((REPOSITORY / "demo").glob("*.yaml")):
        assert yaml_document.read(path).faults == [], path


def test_every_file_that_the_readme_names_is_there() -> None:
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists() or target.startswith("http"), f"{page.name}: {target}"
