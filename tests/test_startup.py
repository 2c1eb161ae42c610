"""Help, version, completion and usage errors load nothing but Typer and the words of commands.

How long that takes is shown by `benchmarks/startup.py`.
"""

import json
import subprocess
import sys

from tests.command import environment
from typer.main import get_command

from mamtra_cli.cli.app import COMMANDS, app

PROBE = """
import contextlib, io, json, sys
import typer
from typer.main import get_command
small = typer.Typer()
@small.command()
def command(number: int = 1): ...
with contextlib.suppress(Exception):
    get_command(small)(args=["--number", "x"], standalone_mode=False)
known = {name.partition(".")[0] for name in sys.modules}
from mamtra_cli.cli.app import run
codes = []
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for line in json.loads(sys.argv[1]):
        codes.append(run(line))
others = {name.partition(".")[0] for name in sys.modules} - known - sys.stdlib_module_names
own = [name for name in sys.modules if name.startswith("mamtra_cli.")]
print(json.dumps({"codes": codes, "others": sorted(others), "own": own}))
"""
LINES = {
    ("--help",): 0,
    ("convert", "--help"): 0,
    ("voice", "add", "--help"): 0,
    ("--version",): 0,
    ("conver",): 2,
    ("convert", "--ratoi", "1:1"): 2,
    ("synth", "--seed", "x"): 2,
}
FLOORS = {"cli", "recipes", "config", "errors", "events", "text"}


def test_startup_loads_typer_and_words_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(list(LINES))],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["codes"] == list(LINES.values())
    assert said["others"] == ["mamtra_cli"]
    assert {name.split(".")[1] for name in said["own"]} <= FLOORS
    read = {name for name in said["own"] if name.startswith("mamtra_cli.text")}
    assert read <= {"mamtra_cli.text", "mamtra_cli.text.encoding"}


def test_list_of_commands_has_the_first_line_of_their_help() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    told = {name: command.help.splitlines()[0] for name, command in commands.items()}
    assert told == COMMANDS


def test_help_of_a_command_loads_that_command_alone() -> None:
    for line, wanted in ((["--help"], set()), (["synth", "--help"], {"synth"})):
        done = subprocess.run(
            [sys.executable, "-c", PROBE, json.dumps([line])],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        read = {name.rpartition(".")[2] for name in json.loads(done.stdout)["own"]}
        assert read & {*COMMANDS, "evaluate"} == wanted


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
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("mamtra ")
