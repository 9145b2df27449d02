"""The tutorial of docs/role-mapping.md, gone through as it is written, on a fresh database beside a server.

Every ``yaml`` block that begins with a file's name is written to that file, every ``console`` block is typed,
and what the docs say is printed has to be printed; times, and what they are made into, are masked.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devidp.server import Handle
from tests import stack as stacks
from tests.stack import Stack, driver

PAGE = Path(__file__).parent.parent / "docs" / "role-mapping.md"
#: Where the page says that the files are.
FOLDER = "/opt/airflow/config"
GROUPS = {
    "ada": ["airflow-admins"],
    "otto": ["airflow-team-payments"],
    "vera": ["airflow-team-risk"],
}
_BLOCK = re.compile(
    r"^```(?P<kind>yaml|console)\n(?P<text>.*?)^```$|^<!-- (?P<done>[^>]*?) -->$", re.M | re.S
)
_MASKED = (
    (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?"), "DATE"),
    (re.compile(r"\bsha [0-9a-f]{12}"), "sha HASH"),
)


@pytest.fixture(scope="module")
def company(
    migrated_database: Path, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A server that has begun with an empty mapping file."""
    path = tmp_path_factory.mktemp("docs") / "home"
    with stacks.migrated_home(migrated_database, path) as home:
        stack = Stack(home, idp=identity_provider)
        stack.configure([stacks.generic(identity_provider.url)])
        stack.mapping_yaml.write_text("")
        try:
            yield stack.start()
        finally:
            stack.stop()


def masked(text: str) -> list[str]:
    for pattern, word in _MASKED:
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def steps(begins: str, ends: str) -> list[re.Match[str]]:
    """What is to be done between two headings."""
    page = PAGE.read_text()
    begin, end = (re.search(rf"^## {re.escape(heading)}$", page, re.M) for heading in (begins, ends))
    assert begin
    assert end
    return list(_BLOCK.finditer(page, begin.end(), end.start()))


class Reader:
    """Somebody who follows the page."""

    def __init__(self, stack: Stack, idp: Handle) -> None:
        self.stack = stack
        self.folder = stack.mapping_yaml.parent
        self.idp = idp

    def write(self, text: str) -> None:
        first, _, rest = text.partition("\n")
        (self.folder / first.removeprefix("# ")).write_text(rest)

    def sign_in(self, names: list[str]) -> None:
        self.stack.generation()
        for name in names:
            driver(self.idp).control("PUT", f"people/{name}", {"groups": GROUPS[name]})
            assert self.stack.visitor().sign_in(name, "generic").ok

    def type(self, text: str) -> None:
        """Each command, and whether it prints what the page says."""
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, expected = part.partition("\n")
            assert masked(self.run(command)) == masked(expected), command

    def run(self, command: str) -> str:
        words = shlex.split(command)
        if words[0] == "airflow-sso":
            words = [sys.executable, "-m", "airflow_sso.cli", *words[1:]]
        ran = subprocess.run(
            words,
            cwd=self.folder,
            env=self.stack.home.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in ran.stderr.splitlines() if line.startswith(("note:", "Traceback", "Error"))]
        assert not said, (command, ran.stderr)
        return ran.stdout.replace(str(self.folder), FOLDER)

    def follow(self, step: re.Match[str]) -> None:
        done = step["done"] or ""
        if done == "the file counts":
            self.stack.generation()
        elif done:
            self.sign_in(re.findall(r"\w+", re.sub(r" signs? in| and ", " ", done)))
        elif step["kind"] == "yaml":
            self.write(step["text"])
        else:
            self.type(step["text"])


@pytest.mark.server
def test_the_page_works_as_it_is_written(company: Stack, idp: Handle) -> None:
    known = {"redirect_uris": [f"{company.url}/auth/oauth-authorized/generic"]}
    driver(idp).control("POST", "clients", known)
    reader = Reader(company, idp)
    tutorial = steps("From an empty file to three teams", "What a rule can ask")
    assert len(tutorial) > 15
    first = [step["text"] for step in tutorial if (step["text"] or "").startswith("# role_mapping.yaml")][1]
    for step in tutorial:
        reader.follow(step)
    assert company.roles_of("otto") == {"team-payments"}
    # The version before is restored, as `git revert` would.
    reader.write(first)
    (activated,) = steps("Saving it", "Editors and pull requests")
    reader.follow(activated)
