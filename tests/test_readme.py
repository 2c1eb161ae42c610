"""The README and the examples run as they are written, with the built-in model."""

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command import python

ROOT = Path(__file__).parents[1]
# Programs of the reader's machine that the pipes name; these stand-ins only pass data on. `mamtra`
# and `python` are the reader's, in forks of a process that has imported them.
STAND_INS = {
    "aplay": "cat > played.wav",
    "ffmpeg": "cat > spoken.raw",
    "fortune": "echo 'A test a day keeps the bugs away.'",
    "jq": f"{sys.executable} -c 'import json, sys; print(json.load(sys.stdin)[\"rtf\"])'",
}


def blocks(language: str, page: str = "README.md") -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder to work in, and an environment whose PATH has `mamtra` and the stand-ins."""
    folder = tmp_path_factory.mktemp("readme")
    tools = folder / "bin"
    tools.mkdir()
    warm = shlex.join(python())
    forks = {"mamtra": f'exec {warm} -m mamtra_cli "$@"', "python": f'exec {warm} "$@"'}
    for name, body in (STAND_INS | forks).items():
        path = tools / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    search = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": search, "HF_HUB_OFFLINE": "1", "MAMTRA_HOME": str(folder / "home")}
    return folder, os.environ | own


def run(script: str, shell: tuple[Path, dict[str, str]]) -> str:
    folder, environment = shell
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_first_block_names_the_two_set_up_commands() -> None:
    assert re.findall(r"^make (\w+)", blocks("bash")[0], re.MULTILINE) == ["demo", "test"]


@pytest.mark.slow
def test_commands_and_pipes_run_as_written(shell: tuple[Path, dict[str, str]]) -> None:
    commands = [block for block in blocks("bash") if "mamtra" in block]
    assert len(commands) >= 2
    for block in commands:
        run(block, shell)
    folder = shell[0]
    assert (folder / "hello.wav").stat().st_size > 20_000
    assert (folder / "played.wav").read_bytes()[:4] == b"RIFF"
    assert (folder / "spoken.raw").stat().st_size > 20_000
    assert (folder / "copied.wav").stat().st_size > 20_000


@pytest.mark.slow
def test_python_of_the_readme_runs(shell: tuple[Path, dict[str, str]]) -> None:
    for block in blocks("python"):
        run(f"python - <<'PYTHON'\n{block}\nPYTHON", shell)


@pytest.mark.slow
def test_quickstart_and_python_examples_run(shell: tuple[Path, dict[str, str]]) -> None:
    (shell[0] / "quick").mkdir()
    run(f"STEPS=1 TOKENS=2000 SENTENCES=1 {ROOT}/examples/quickstart.sh {shell[0]}/quick", shell)
    assert (shell[0] / "quick" / "tuned.wav").stat().st_size > 20_000
    assert "KL to the teacher" in run(f"python {ROOT}/examples/python_api.py", shell)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["tutorial", "howto/slurm"])
def test_pages_run_as_written(page: str, shell: tuple[Path, dict[str, str]]) -> None:
    folder = shell[0] / page.replace("/", "-")
    folder.mkdir()
    for block in blocks("bash", f"docs/{page}.md"):
        run(block, (folder, shell[1]))
