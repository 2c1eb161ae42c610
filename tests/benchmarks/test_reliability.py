"""The campaign against faults, in its smallest form: nothing is lost and nothing is accepted."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.command import environment, python

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.name == "nt", reason="forks and signals of POSIX")
def test_smoke_form_of_the_campaign_finds_nothing() -> None:
    asked = ["--kills", "6", "--full", "2", "--races", "1", "--lines", "6", "--files", "-1"]
    done = subprocess.run(
        [*python(), str(ROOT / "benchmarks" / "reliability.py"), *asked],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["found"]
    assert found["six at once"]["tried"] == 1
    assert sum(part["tried"] for part in found.values()) == 15
