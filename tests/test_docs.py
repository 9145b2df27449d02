"""The pages about the role mapping, gone through as they are written, each on a fresh database.

Every ``yaml`` block that begins with a file's name is written to that file, every ``console`` block is typed,
and what the docs say is printed has to be printed; times, and what they are made into, are masked. One page
has a server beside it, at which people sign in; the other begins when they have.
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
from tests.databases import Database
from tests.review_world import People, Review
from tests.stack import REPOSITORY, Stack, driver

#: Where the pages say that the files are.
FOLDER = "/opt/airflow/config"
GROUPS = {
    "ada": ["airflow-admins"],
    "otto": ["airflow-team-payments"],
    "vera": ["airflow-team-risk"],
}
_BLOCK = re.compile(
    r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$|^<!-- (?P<done>[^>]*?) -->$", re.MULTILINE | re.DOTALL
)
_MASKED = (
    (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?"), "DATE"),
    (re.compile(r"\bsha [0-9a-f]{12}"), "sha HASH"),
)


def masked(text: str) -> list[str]:
    for pattern, word in _MASKED:
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def steps(page: str, begins: str = "", ends: str = "") -> list[re.Match[str]]:
    """What is to be done on a page of the docs, or between two of its headings."""
    text = (REPOSITORY / "docs" / page).read_text()
    begin, end = (
        re.search(rf"^## {re.escape(one)}$", text, re.MULTILINE) if one else None for one in (begins, ends)
    )
    assert [bool(begin), bool(end)] == [bool(begins), bool(ends)]
    first, last = begin.end() if begin else 0, end.start() if end else len(text)
    return [step for step in _BLOCK.finditer(text, first, last) if _is_done(step)]


def _is_done(step: re.Match[str]) -> bool:
    """Something that a reader does; anything else is only shown."""
    if step["done"] or step["kind"] == "console":
        return True
    return step["kind"] == "yaml" and re.match(r"# \S+\.yaml\n", step["text"]) is not None


class Reader:
    """Somebody who follows a page, with the files in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str) -> None:
        """The whole block: its first line is a comment in the file, too."""
        name = text.partition("\n")[0].removeprefix("# ")
        (self.folder / name).write_text(text)

    def type(self, text: str) -> None:
        """Each command, and whether it prints what the page says."""
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            printed = self.run(shlex.split(command)).replace(str(self.folder), FOLDER)
            assert masked(printed) == masked(expected), command

    def run(self, words: list[str]) -> str:
        """What a command prints."""
        raise NotImplementedError

    def happens(self, what: str) -> None:
        """What the page's invisible remarks say."""
        raise NotImplementedError

    def follow(self, step: re.Match[str]) -> None:
        if step["done"]:
            self.happens(step["done"])
        elif step["kind"] == "yaml":
            self.write(step["text"])
        else:
            self.type(step["text"])


# --- docs/role-mapping.md -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def company(
    migrated_database: Database, identity_provider: Handle, tmp_path_factory: pytest.TempPathFactory
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


class BesideTheServer(Reader):
    """Commands are processes of their own, as in a terminal; people sign in at the server."""

    def __init__(self, stack: Stack, idp: Handle) -> None:
        super().__init__(stack.mapping_yaml.parent)
        self.stack = stack
        self.idp = idp

    def run(self, words: list[str]) -> str:
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
        assert not said, (words, ran.stderr)
        return ran.stdout

    def happens(self, what: str) -> None:
        self.stack.generation()
        if what == "the file counts":
            return
        for name in re.findall(r"\w+", re.sub(r" signs? in| and ", " ", what)):
            driver(self.idp).control("PUT", f"people/{name}", {"groups": GROUPS[name]})
            assert self.stack.visitor().sign_in(name, "generic").ok


@pytest.mark.server
def test_from_an_empty_file_to_three_teams(company: Stack, idp: Handle) -> None:
    known = {"redirect_uris": [f"{company.auth_url}/oauth-authorized/generic"]}
    driver(idp).control("POST", "clients", known)
    reader = BesideTheServer(company, idp)
    tutorial = steps("role-mapping.md", "From an empty file to three teams", "What a rule can ask")
    assert len(tutorial) > 15
    first = [step["text"] for step in tutorial if (step["text"] or "").startswith("# role_mapping.yaml")][1]
    for step in tutorial:
        reader.follow(step)
    assert company.roles_of("otto") == {"team-payments"}
    # The version before is restored, as `git revert` would.
    reader.write(first)
    (activated,) = steps("role-mapping.md", "Saving it", "Editors and pull requests")
    reader.follow(activated)


# --- docs/reviewing-access.md -------------------------------------------------------------------------------


class AfterSignIns(Reader):
    """Commands run in this process; what sign-ins would have found out stands in the database."""

    def __init__(self, review: Review, people: People) -> None:
        super().__init__(review.folder)
        self.review = review
        self.people = people

    def run(self, words: list[str]) -> str:
        assert words[0] == "airflow-sso"
        _code, out, err = self.review.run(*words[1:], shortened=False)
        assert not err, words
        return out

    def happens(self, what: str) -> None:
        assert what == "ada, otto, vera and nora have signed in"
        add = self.people.add
        self.people.make_roles("team-a")
        add(
            "ada",
            {"group": ["airflow-admins", "airflow-team-a", "airflow-team-b"]},
            holds=("Admin", "Viewer"),
            given=("Admin",),
        )
        add("otto", {"group": ["airflow-team-a", "airflow-viewers"]}, holds=("team-a", "Viewer"))
        add("vera", {"group": ["airflow-viewers"]}, holds=("Viewer",))
        add("nora", {"group": ["airflow-ops"]}, holds=("Op",))


def test_who_has_what_and_why(review: Review, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(review.folder)
    page = steps("reviewing-access.md")
    commands = [
        word for step in page for word in re.findall(r"^\$ airflow-sso (\w+)", step["text"] or "", re.M)
    ]
    assert set(commands) == {"diff", "test", "explain"}
    reader = AfterSignIns(review, people)
    for step in page:
        reader.follow(step)


@pytest.mark.parametrize("page", ["role-mapping.md", "reviewing-access.md"])
def test_what_a_command_prints_is_never_shown_only(page: str) -> None:
    """A block that is not gone through has no output that could have become another meanwhile."""
    text = (REPOSITORY / "docs" / page).read_text()
    shown = [step for step in _BLOCK.finditer(text) if step["kind"] not in (None, "console")]
    assert not [step["text"] for step in shown if re.search(r"^\$ ", step["text"], re.MULTILINE)]
