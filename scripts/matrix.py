"""Runs tests/matrix/test_cell.py on every set of versions that the README says we run on: ``make matrix``.

A cell is a lock file, an environment that holds exactly what it names, and one run of that module with its
Python. What must stay true: a cell that cannot be installed is one that failed, and the table at the end
says what was really there, asked of the environment itself.

    python scripts/matrix.py [CELL ...]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
#: What every environment depends on beside its lock, as in the Makefile.
PACKAGING = ("scripts/install.sh", "locks/uv.txt", "setup.cfg", "pyproject.toml")
SHOWN = {
    "apache-airflow": "Airflow",
    "apache-airflow-providers-fab": "FAB prov.",
    "sqlalchemy": "SQLAlchemy",
    "authlib": "Authlib",
    "joserfc": "joserfc",
    "python3-saml": "python3-saml",
    "xmlsec": "xmlsec",
    "lxml": "lxml",
    "msal": "msal",
    "pydantic": "pydantic",
}
ASK = f"""
import json, platform
from importlib.metadata import PackageNotFoundError, version
found = {{"Python": platform.python_version()}}
for name in {tuple(SHOWN)!r}:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        found[name] = "-"
print(json.dumps(found))
"""


@dataclass
class Cell:
    """One row of the matrix, and what became of it."""

    name: str
    lock: Path
    folder: Path
    versions: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    passed: bool = False
    seconds: float = 0.0

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def log(self) -> Path:
        return REPOSITORY / "test-artifacts" / "matrix" / f"{self.name}.log"


def cells() -> list[Cell]:
    """The environments of ``make test`` first, which are there already; then those of locks/matrix."""
    locks = REPOSITORY / "locks"
    ours = [
        Cell("airflow-3.3", locks / "airflow-3.3-dev.txt", REPOSITORY / ".venv"),
        Cell("airflow-2.11", locks / "airflow-2.11-dev.txt", REPOSITORY / ".venv-2.11"),
    ]
    others = [
        Cell(lock.stem, lock.with_suffix(".txt"), REPOSITORY / ".venv-matrix" / lock.stem)
        for lock in sorted((locks / "matrix").glob("*.in"))
    ]
    return [*ours, *others]


def is_current(cell: Cell) -> bool:
    """Whether the environment is of this checkout, and younger than everything it is made from."""
    try:
        made = (cell.folder / f"{cell.lock.stem}.stamp").stat().st_mtime
        root = (cell.folder / "root").read_text().strip()
    except OSError:
        return False
    inputs = [cell.lock, *(REPOSITORY / name for name in PACKAGING)]
    return root == str(REPOSITORY) and all(path.stat().st_mtime <= made for path in inputs)


def run(cell: Cell) -> None:
    """Install the cell if need be, and run its tests; what they print goes into its log."""
    began = time.monotonic()
    cell.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        cell.outcome = _outcome(cell)
    finally:
        cell.seconds = time.monotonic() - began


def _outcome(cell: Cell) -> str:
    if not is_current(cell):
        paths = [str(path.relative_to(REPOSITORY)) for path in (cell.folder, cell.lock)]
        if subprocess.run(["scripts/install.sh", *paths], cwd=REPOSITORY, check=False).returncode:
            return "cannot be installed"
    asked = subprocess.run([cell.python, "-c", ASK], capture_output=True, text=True, check=True)
    cell.versions = json.loads(asked.stdout)
    command = [cell.python, "-m", "pytest", "tests/matrix/test_cell.py", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    with cell.log.open("w") as log:
        status = subprocess.run(
            command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    lines = cell.log.read_text(errors="replace").splitlines()
    said = lines[-1].strip("= ") if lines else "nothing was said"
    # A test that is skipped shows nothing, and there is none that a cell may leave out.
    cell.passed = status == 0 and "skipped" not in said
    if not cell.passed:
        print("\n".join(lines[-60:]), file=sys.stderr)
    return said


def table(done: list[Cell]) -> str:
    """What was there, and how it went; one line a cell."""
    head = ["cell", "Python", *SHOWN.values(), "seconds", "result"]
    rows = [
        [
            cell.name,
            *(cell.versions.get(name, "-") for name in ("Python", *SHOWN)),
            f"{cell.seconds:.0f}",
            f"{'passed' if cell.passed else 'FAILED'} ({cell.outcome})",
        ]
        for cell in done
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    )


def main(names: list[str]) -> int:
    known = cells()
    unknown = set(names) - {cell.name for cell in known}
    if unknown:
        said = ", ".join(cell.name for cell in known)
        print(f"No cell is called {', '.join(sorted(unknown))}; there are {said}.", file=sys.stderr)
        return 2
    chosen = [cell for cell in known if not names or cell.name in names]
    for number, cell in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {cell.name}", flush=True)
        run(cell)
        print(f"    {cell.outcome}, after {cell.seconds:.0f} s", flush=True)
    print(table(chosen))
    return 0 if all(cell.passed for cell in chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
