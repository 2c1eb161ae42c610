"""Help, version, completion and usage errors never load torch, and are quick."""

import json
import os
import subprocess
import sys

import pytest
from tests.command import environment

HEAVY = ("torch", "numpy", "huggingface_hub", "safetensors", "rich", "soundfile")
PROBE = """
import json, sys, time
from mamtra_cli.cli.app import run
code = run(json.loads(sys.argv[1]))
used = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
sys.stderr.write("\\n" + json.dumps({"rc": code, "used": used, "cpu": time.process_time()}))
"""


@pytest.mark.parametrize(
    ("args", "code"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["convert", "--help"], 0, id="convert-help"),
        pytest.param(["--version"], 0, id="version"),
        pytest.param(["conver"], 2, id="unknown-command"),
        pytest.param(["convert", "--ratoi", "1:1"], 2, id="unknown-option"),
        pytest.param(["synth", "--seed", "x"], 2, id="bad-value"),
    ],
)
def test_startup_loads_nothing_heavy(args: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(args), json.dumps(HEAVY)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stderr.splitlines()[-1])
    assert said["rc"] == code
    assert said["used"] == []
    # Processor time, not wall time: the promise must hold on a busy machine too.
    assert said["cpu"] < 0.4


def test_completion_loads_nothing_heavy() -> None:
    env = environment({"_MAMTRA_COMPLETE": "complete_bash", "COMP_WORDS": "mamtra con"})
    code = (
        "import sys; from mamtra_cli.cli.app import run\n"
        "try: run([])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["convert"], done.stderr
    assert "AssertionError" not in done.stderr


def test_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mamtra_cli", "--version"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("mamtra ")
