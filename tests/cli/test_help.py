"""Help texts equal `tests/cli/help/*.txt`, which are the reference of the command line.

The pages of `docs/commands` show the same.
After a wanted change: `MAMTRA_WRITE_HELP=1 pytest tests/cli/test_help.py`, and read the diff.
"""

import os
from pathlib import Path

import pytest
from docs.write_commands import ALL, PAGES, name_of, page

from mamtra_cli import __version__
from mamtra_cli.cli.app import run
from mamtra_cli.cli.help import WIDTH, plain

HELP = Path(__file__).parent / "help"


@pytest.mark.parametrize("command", ALL, ids=lambda name: name or "mamtra")
def test_help_is_the_reference(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    path, shown = HELP / f"{name_of(command)}.txt", PAGES / f"{name_of(command)}.md"
    if os.environ.get("MAMTRA_WRITE_HELP"):
        path.write_text(text, encoding="utf-8")
        shown.write_text(page(command, text), encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    assert page(command, text) == shown.read_text(encoding="utf-8")
    assert not any(line.endswith("...") for line in text.splitlines()[1:])
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("args", [[], ["-h"]], ids=["none", "short"])
def test_no_arguments_show_the_help(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    wanted = capsys.readouterr().out
    assert run(args) == 0
    assert capsys.readouterr().out == wanted


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_is_one_line(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([flag]) == 0
    assert capsys.readouterr().out == f"mamtra {__version__}\n"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        pytest.param(
            "A.  [default: (the model's own)]", "A.  [default: the model's own]", id="word"
        ),
        pytest.param("A.  [default: 8; x>=1]", "A.  [default: 8; at least 1]", id="least"),
        pytest.param("A.  [default: 1; 0<=x<=0.99]", "A.  [default: 1; 0 to 0.99]", id="range"),
        pytest.param("A (b).", "A (b).", id="other"),
    ],
)
def test_plain_puts_defaults_in_words(given: str, wanted: str) -> None:
    assert plain(given) == wanted
