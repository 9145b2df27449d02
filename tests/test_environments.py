"""What we say we run on is what is tested: the README, setup.cfg, the locks and the matrix agree."""

from __future__ import annotations

import configparser
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import matrix
from scripts.matrix import Cell
from tests.lines import both_lines
from tests.ports import free_port

pytestmark = both_lines

REPOSITORY = Path(__file__).resolve().parent.parent
CELLS = matrix.cells()
LOCKS = sorted(path for path in (REPOSITORY / "locks").rglob("*.txt"))
ROW = re.compile(r"^\| `([a-z0-9.-]+)` \| ([\d.]+) \| ([\d.]+) \| (newest|oldest) \| ([\d., ]+) \|$", re.M)


def inputs(cell: Cell) -> str:
    """What the lock of a cell is made from."""
    return cell.lock.with_name(cell.lock.name.replace("-dev.txt", ".txt")).with_suffix(".in").read_text()


def pythons(cell: Cell) -> list[str]:
    """The versions of Python that a cell is for, in order."""
    (said,) = re.findall(r"^# Pythons,.*: (.*)$", inputs(cell), re.M)
    return sorted(said.split(), key=_number)


def pinned(cell: Cell, name: str) -> set[str]:
    """The versions of a package in the lock of a cell: more than one where it differs by Python."""
    return set(re.findall(rf"^{re.escape(name)}==([^ ;\\]+)", cell.lock.read_text(), re.M))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _as_short(version: str) -> tuple[int, ...]:
    """1.6 and 1.6.0 are one version."""
    number = _number(version)
    while number and number[-1] == 0:
        number = number[:-1]
    return number


@pytest.fixture(scope="module")
def metadata() -> configparser.ConfigParser:
    written = configparser.ConfigParser()
    written.read(REPOSITORY / "setup.cfg")
    return written


def test_the_readme_names_the_cells_that_ci_runs() -> None:
    (section,) = re.findall(
        r"^## What it runs on\n(.*?)^## ", (REPOSITORY / "README.md").read_text(), re.M | re.S
    )
    said = {name: rest for name, *rest in ROW.findall(section)}
    assert said == {
        cell.name: [
            *pinned(cell, "apache-airflow"),
            *pinned(cell, "apache-airflow-providers-fab"),
            "oldest" if "# Resolution: lowest-direct" in inputs(cell) else "newest",
            ", ".join(pythons(cell)),
        ]
        for cell in CELLS
    }
    assert "make matrix" in (REPOSITORY / ".ci" / "run").read_text()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_lock_pins_the_airflow_that_it_is_made_for(cell: Cell) -> None:
    wanted = re.findall(r"^([a-z-]+)==(\S+)$", inputs(cell), re.M)
    assert [name for name, _ in wanted] == ["apache-airflow", "apache-airflow-providers-fab"]
    for name, version in wanted:
        assert pinned(cell, name) == {version}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_hashes_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in re.sub(r"#.*", "", text)
    assert "index-url" not in text
    for one in re.split(r"^(?=\S+==)", text, flags=re.M)[1:]:
        assert "--hash=sha256:" in one, one


def test_every_floor_is_a_version_that_the_matrix_runs(metadata: configparser.ConfigParser) -> None:
    for line in metadata["options"]["install_requires"].split("\n"):
        if not line.strip():
            continue
        (name, floor) = re.match(r"(\S+) >= ([\d.]+)", line).groups()  # type: ignore[union-attr]
        there = {version for cell in CELLS for version in pinned(cell, name)}
        assert _as_short(min(there, key=_number)) == _as_short(floor), f"{name}: {sorted(there, key=_number)}"


def test_every_python_that_we_claim_has_a_lock(metadata: configparser.ConfigParser) -> None:
    claimed = re.findall(r"Python :: (3\.\d+)", metadata["metadata"]["classifiers"])
    assert claimed == sorted({one for cell in CELLS for one in pythons(cell)}, key=_number)
    assert metadata["options"]["python_requires"] == f">={claimed[0]}"


def test_a_python_that_cannot_carry_an_environment_is_refused_in_words(tmp_path: Path) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"

    def find(suitable: str, airflow: str, **named: str) -> subprocess.CompletedProcess[str]:
        made_from = tmp_path / "airflow.in"
        made_from.write_text(f"# Pythons, best first: {suitable}\napache-airflow=={airflow}\n")
        without = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [REPOSITORY / "scripts" / "find_python.sh", made_from],
            env={**without, **named},
            capture_output=True,
            text=True,
            check=False,
        )

    good = find(f"3.99 {here}", "3.3.2", PYTHON=sys.executable)
    assert good.returncode == 0, good.stderr
    assert Path(good.stdout.strip()).exists()
    for variable, airflow in (("PYTHON", "3.3.2"), ("PYTHON_2_11", "2.11.2")):
        bad = find("3.99 3.98", airflow, **{variable: sys.executable})
        assert bad.returncode == 2
        assert f"Airflow {airflow} runs on any of 3.99 3.98" in bad.stderr
        assert f"is Python {here}" in bad.stderr
        assert f"{variable} is set to" in bad.stderr


def test_the_demo_looks_at_its_ports_before_anything_is_installed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        free, other = free_port(), free_port()
        for port, code, said in ((free, 0, ""), (taken, 2, f"port {taken} is in use")):
            ran = subprocess.run(
                [sys.executable, "-S", "-m", "demo", "--check"],  # without site-packages
                cwd=REPOSITORY,
                env={**os.environ, "DEMO_PORT": str(port), "DEMO_IDP_PORT": str(other), "PYTHONPATH": ""},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (ran.returncode, ran.stderr) == (code, "")
            assert said in ran.stdout
