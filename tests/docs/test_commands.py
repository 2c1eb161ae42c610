"""Every `mamtra` command that README and docs show is one that the command line takes.

Only its words are read: names of commands, options, kinds and ranges of values. What a laptop can
run is run as well, by `tests/test_readme.py`; the rest wants a GPU, a cluster or hours.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mamtra_cli.cli import options
from mamtra_cli.cli.app import run

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "commands"),
]
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
    assert len(FOUND) > 100


@pytest.mark.parametrize("command", FOUND)
def test_command_is_understood(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read = options.read_recipe

    def only_read(cls: type, ctx: Any, **given: Any) -> None:
        if ctx.params.get("config") is None:
            read(cls, ctx, **given)
        raise typer.Exit(0)

    monkeypatch.setattr(options, "read_recipe", only_read)
    assert run(command) == 0
