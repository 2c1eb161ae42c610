"""Every `mamtra` command that README and docs show runs, or is named with what stands for it.

Blocks of bash are run by `tests/test_readme.py`, single commands here. Of the others, which want a
GPU, a cluster, a corpus, published weights or hours, the words are read: names of commands and
options, kinds and ranges of values.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.test_readme import RUN_AS_BLOCKS

from mamtra_cli.cli import options
from mamtra_cli.cli.app import run

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "commands"),
]
BASH = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?:bash|sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (?:\$ )?(mamtra (?:.*\\\n)*.*)$", re.MULTILINE)
ENDS = re.compile(r"[|&;()]+")


def commands(text: str) -> Iterator[list[str]]:
    """The words after `mamtra` of every command in a page."""
    for block in [*BLOCK.findall(text), *INDENTED.findall(text)]:
        yield from commands_in(block)


def commands_in(script: str) -> Iterator[list[str]]:
    """The same of a script, quoted scripts among it."""
    joined = re.sub(r"\\\n", " ", script)
    for line in re.sub(r"\$\{?\w+\}?", "1", joined).splitlines():
        try:
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;()<>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:
            continue  # text over several lines, of a program in a here-document
        command: list[str] = []
        for word in [*words, ";"]:
            if ENDS.fullmatch(word) or word in ("<", ">", ">>"):
                while command and re.fullmatch(r"\w+=.*", command[0]):
                    command.pop(0)
                if command[:1] == ["mamtra"]:
                    yield command[1:]
                command = []
            elif word.startswith("mamtra "):
                yield from commands_in(word)
            else:
                command.append(word)


RUN_HERE = ("text", "streaming", "voices", "mvc")
TESTED_BY = {
    "prepare ": "tasks/test_prepare.py",  # a corpus
    "distill ": "tasks/test_distill_run.py",  # hours, or a published model
    "eval ": "tasks/test_evaluate.py",  # recognisers, and minutes
    "convert ": "tasks/test_convert.py",  # minutes of measuring or fitting, or a published model
    "profile mini --imitate-official": "tasks/test_profile.py",  # 10 s of speech, three times
    "profile zonos": "tasks/test_profile.py",
    "export ": "tasks/test_export.py",  # the model of a lesson of hours
    "serve": "tasks/test_serve.py",  # runs until it is ended, as the tutorial's does
    "synth --jsonl lines.jsonl -d spoken --ray": "engine/speaking/test_spread.py",
    "synth --jsonl lines.jsonl -d spoken --verify": "engine/speaking/test_hearing.py",
    "synth --jsonl lines.jsonl -d /shared": "test_readme.py",  # howto/slurm without SLURM
    "synth -i letter.txt -o letter.wav --verify": "engine/speaking/test_hearing.py",
    "synth 'Hello there.' -m cosyvoice-2steps": "families/cosyvoice2/test_family.py",
    "synth 'The kettle is on.' -m old --voice m1": "families/cosyvoice2/test_family.py",
    "synth 'Hello there.' -m zonos": "families/zonos/test_family.py",
    "synth 'Guten Tag.' -m zonos-hybrid": "families/zonos/test_family.py",
    "voice add anna": "tasks/test_voice.py",  # for zonos
}
"""Beginnings of commands that run nowhere as written, and the test of the like under `tests`."""

FOUND = [
    pytest.param(command, id=f"{path.stem}: {' '.join(command)[:70]}")
    for path in PAGES
    for command in commands(path.read_text("utf-8"))
]


def test_commands_are_found_in_pipes_and_quotes() -> None:
    script = (
        "A=1 mamtra synth \"a; b\" -o - | aplay\nsbatch --wrap 'mamtra doctor -q' && mamtra push\n"
    )
    assert list(commands_in(script)) == [
        ["synth", "a; b", "-o", "-"],
        ["doctor", "-q"],
        ["push"],
    ]
    assert len(FOUND) > 90


@pytest.mark.parametrize("command", FOUND)
def test_command_is_understood(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read = options.read_recipe

    def only_read(cls: type, ctx: Any, **given: Any) -> None:
        if ctx.params.get("config") is None:
            read(cls, ctx, **given)
        raise typer.Exit(0)

    monkeypatch.setattr(options, "read_recipe", only_read)
    assert run(command) == 0


def elsewhere(command: list[str]) -> str:
    """The test that stands for a command; "" where it is to be run."""
    text = shlex.join(command)
    return next((TESTED_BY[start] for start in TESTED_BY if text.startswith(start)), "")


def test_every_command_is_run_or_has_a_test_that_stands_for_it() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in RUN_AS_BLOCKS)]
    blocks = [block for page in pages for block in BASH.findall(page.read_text("utf-8"))]
    run_as_blocks = [command for block in blocks for command in commands_in(block)]
    for page in PAGES:
        for command in commands(page.read_text("utf-8")):
            known = command in run_as_blocks or page.stem in RUN_HERE or elsewhere(command)
            assert known, f"{page.name}: {shlex.join(command)}"
    assert all((ROOT / "tests" / test).is_file() for test in TESTED_BY.values())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of what pages say that a recording says."""
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    assert run(["synth", "What Ann says in the clip, which is not much.", "-o", str(path)]) == 0
    return path


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_HERE)
def test_commands_run_as_written(
    page: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAMTRA_HOME", str(tmp_path / "home"))
    for name in ("ann.wav", "me.wav"):
        shutil.copyfile(clip, tmp_path / name)
    (tmp_path / "talk.txt").write_text("A talk. It has two sentences.")
    for command in commands((ROOT / "docs" / f"{page}.md").read_text("utf-8")):
        if not elsewhere(command):
            assert run(command) == 0, shlex.join(command)
