"""No command deletes anything of a folder that mamtra did not write, whatever it is told."""

import os
from pathlib import Path

import pytest

from mamtra_cli.cli.app import run

COMMANDS = {
    "convert": "convert mini --calibrate none --check-tokens 0 --force -o",
    "distill": "distill mini --teacher mini --lr-rest 1e-5 --steps 1 --force -o",
    "prepare": "prepare --synthetic --tokens 10 --force -o",
    "eval report": "eval mini --sentences 1 --force --report",
    "eval records": "eval mini --sentences 1 --force --records",
    "synth": "synth Hi. --force -o",
    "eval choices": "eval mini --teacher mini --sentences 1 --force --ab",
    "export": "export mini --force -o",
    "subtitles": "synth Hi. -o out.wav --force --srt",
    "plot": "profile mini --estimate --force --plot",
    "run": "distill --resume",
    "voice remove": "voice remove zoe --voices",
    "voice add": "voice add zoe zoe.wav --text Hi. --consent mine --force --voices",
    "heat map": "convert mini --placement auto:swap --force -o student --heat-map",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with what people have there, names of ours among them."""
    home = tmp_path / "homes" / "ann"
    names = "notes.txt statistics.json bad-days.jsonl README.md config.json zoe.safetensors"
    for name in names.split():
        (home / "work").mkdir(parents=True, exist_ok=True)
        (home / name).write_text("mine")
        (home / "work" / name).write_text("mine")
    (home / "empty").mkdir()
    (home / "project" / ".git").mkdir(parents=True)
    (home / "project" / ".git" / "HEAD").write_text("mine")
    (tmp_path / "link").symlink_to(home, target_is_directory=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    return home


def everything(folder: Path) -> list[tuple[str, bytes]]:
    return sorted(
        (str(path), path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_is_a_home_folder_costs_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = everything(tmp_path)
    places = (home, home.parent, home / "work", home / "project", tmp_path / "link")
    for target in (*places, Path(), Path(".."), Path(os.sep)):
        assert run([*COMMANDS[command].split(), str(target)]) in (1, 2)
        said = capsys.readouterr().err
        assert "error: " in said
        assert "Traceback" not in said
    assert everything(tmp_path) == before


def test_sounds_of_lines_in_a_home_folder_cost_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.jsonl").write_text('{"id": "one", "text": "Hi."}\n')
    before = everything(home)
    line = ["synth", "--jsonl", str(tmp_path / "lines.jsonl"), "--force", "-d", str(home)]
    assert run(line) == 0, capsys.readouterr().err
    assert set(everything(home)) >= set(before)


def test_leave_to_replace_is_given_on_the_command_line_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'teacher = "mini"\nforce = true\noutput = "{tmp_path / "out"}"\n')
    assert run(["convert", "-c", str(recipe)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "precious").read_text() == "mine"


def test_recipe_alone_runs_no_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'model = "mini"\nsentences = 1\nasr = "command:touch {tmp_path / "ran"}"\n')
    assert run(["eval", "-c", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert "runs a program" in said
    assert "--asr 'command:touch" in said
    assert not (tmp_path / "ran").exists()
