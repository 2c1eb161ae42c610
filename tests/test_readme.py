"""The README, the pages and the examples run, with the built-in model and on less work.

Their words are run as they are written, but for the numbers in `LESS`: what is said about a command
does not depend on how much speech it reads.
"""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command import python

ROOT = Path(__file__).parents[1]
RUN_AS_BLOCKS = ["tutorial", "howto/slurm", "howto/cloning", "howto/distill", "howto/llm"]
"""Pages whose blocks of bash are run."""
# Programs of the reader's machine that the pipes name; these stand-ins only pass data on. `mamtra`
# and `python` are the reader's, in forks of a process that has imported them.
STAND_INS = {
    "aplay": "cat > played.wav",
    "ffmpeg": "cat > spoken.raw",
    "fortune": "echo 'A test a day keeps the bugs away.'",
    "jq": f"{sys.executable} -c 'import json, sys; print(json.load(sys.stdin)[\"rtf\"])'",
}

CHECK = "--check-tokens 100"
LESS = {
    "--ratio 1:1 --calibration-tokens 2048": (
        f"--ratio 1:1 --placement auto:swap,tokens=200 --calibration-tokens 2048 {CHECK}"
    ),
    '/convert-1-1.toml" --calibration-tokens 2048': (
        f'/convert-1-1.toml" --placement auto:swap,tokens=200 --calibration-tokens 2048 {CHECK}'
    ),
    'ratio="1:1", calibration_tokens=2048': (
        'ratio="1:1", placement="auto:swap,tokens=200", calibration_tokens=1024, check_tokens=100'
    ),
    "--synthetic 2000 --steps 4 --batch-tokens 512": (
        f"--synthetic 500 --steps 2 --batch-tokens 120 {CHECK}"
    ),
    '--steps "$steps"': f'--steps "$steps" --batch-tokens 120 {CHECK}',
    "--report-sentences 2": "--report-sentences 1",
    "mamtra profile  ": "mamtra profile --runs 1 --warmup 0 --seq 64  ",
    "--seconds 5\n": "--seconds 1\n",
}
"""What is written, and what is run in its place.

Students that speak are fitted on all of the speech that is written: on half of it they hang on one
token in 5 of 15 sentences at the first attempt, on all of it in one (with the paper's layers in 8).
"""
FILES = ("README.md", "docs/tutorial.md", "examples/quickstart.sh", "examples/python_api.py")


def less(text: str) -> str:
    """The same commands on less work."""
    for written, run in LESS.items():
        text = text.replace(written, run)
    return text


def blocks(language: str, page: str = "README.md") -> list[str]:
    text = less((ROOT / page).read_text(encoding="utf-8"))
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


def test_what_is_run_on_less_work_is_written() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in FILES]
    assert not [written for written in LESS if not any(written in text for text in texts)]


@pytest.mark.slow
def test_commands_and_pipes_run(shell: tuple[Path, dict[str, str]]) -> None:
    commands = [block for block in blocks("bash") if "mamtra" in block]
    assert len(commands) >= 2
    for block in commands:
        run(block, shell)
    folder = shell[0]
    assert (folder / "hello.wav").stat().st_size > 20_000
    assert (folder / "played.wav").read_bytes()[:4] == b"RIFF"
    assert (folder / "spoken.raw").stat().st_size > 20_000
    assert (folder / "spoken" / "000001.wav").stat().st_size > 20_000


@pytest.mark.slow
def test_python_of_the_readme_runs(shell: tuple[Path, dict[str, str]]) -> None:
    for block in blocks("python"):
        run(f"python - <<'PYTHON'\n{block}\nPYTHON", shell)


@pytest.mark.slow
def test_quickstart_and_python_examples_run(shell: tuple[Path, dict[str, str]]) -> None:
    examples, quick = shell[0] / "examples", shell[0] / "quick"
    examples.mkdir()
    quick.mkdir()
    for path in (ROOT / "examples").iterdir():
        if path.suffix in {".sh", ".py", ".toml"}:
            (examples / path.name).write_text(less(path.read_text(encoding="utf-8")), "utf-8")
            shutil.copymode(path, examples / path.name)
    run(f"STEPS=1 TOKENS=500 SENTENCES=1 {examples}/quickstart.sh {quick}", shell)
    assert (quick / "tuned.wav").stat().st_size > 20_000
    assert "KL to the teacher" in run(f"python {examples}/python_api.py", shell)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_AS_BLOCKS)
def test_pages_run(page: str, shell: tuple[Path, dict[str, str]]) -> None:
    folder = shell[0] / page.replace("/", "-")
    folder.mkdir()
    for block in blocks("bash", f"docs/{page}.md"):
        run(block, (folder, shell[1]))
