"""Cases of public reports: all are run by one command, and what is argued is in the docs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[object]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from benchmarks import public_cases

    yield public_cases
    sys.path.remove(str(ROOT / "benchmarks"))


def test_every_report_has_a_case(benchmark: object) -> None:
    from cases.case import CASES

    faults = [id for id in CASES if id[0] == "R" and id[1:].isdigit()]
    assert len(faults) == 46
    assert len(CASES) - len(faults) == 207


def test_argued_cases_stand_in_the_docs(benchmark: object) -> None:
    from cases.case import ARGUED

    told = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert ARGUED
    assert [id for id in ARGUED if f"`{id}`" not in told] == []


def test_cases_of_texts_are_right() -> None:
    """Some of them, so that the program itself does not rot; it runs all 253."""
    line = [sys.executable, str(ROOT / "benchmarks" / "public_cases.py"), "--only"]
    done = subprocess.run(
        [*line, "stream", "wetext", "zhdot", "cvraw"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 cases: 14 right" in done.stdout, done.stdout
