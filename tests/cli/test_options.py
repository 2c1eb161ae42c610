"""Every knob of a recipe is an option with the same default, and the merge order holds."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from mamtra_cli import recipes
from mamtra_cli.cli.app import COMMANDS, app, run
from mamtra_cli.cli.console import Console
from mamtra_cli.cli.options import command
from mamtra_cli.recipes.export import ExportRecipe
from mamtra_cli.recipes.knob import Knob, check_bounds, knobs
from mamtra_cli.recipes.serve import ServeRecipe
from mamtra_cli.recipes.shared import Device

RECIPES = {
    "convert": recipes.ConvertRecipe,
    "prepare": recipes.PrepareRecipe,
    "distill": recipes.DistillRecipe,
    "synth": recipes.SynthRecipe,
    "eval": recipes.EvalRecipe,
    "profile": recipes.ProfileRecipe,
    "export": ExportRecipe,
    "push": recipes.PushRecipe,
    "doctor": recipes.DoctorRecipe,
    "serve": ServeRecipe,
    "voice add": recipes.VoiceAddRecipe,
    "voice list": recipes.VoiceListRecipe,
    "voice show": recipes.VoiceShowRecipe,
    "voice remove": recipes.VoiceRemoveRecipe,
}
OF_THE_CONSOLE = {"json", "quiet", "verbose", "config", "help"}
WITHOUT_KNOB = {"voice add": {"limits"}}  # too many for flags; a recipe file sets them


def parameters(command: str) -> dict[str, Any]:
    found: Any = get_command(app)
    for word in command.split():
        found = found.commands[word]
    return {param.name: param for param in found.params}


def test_every_command_has_a_recipe() -> None:
    group: Any = get_command(app)
    commands = []
    for name in COMMANDS:
        inner = getattr(group.commands[name], "commands", None)
        commands += [name] if inner is None else [f"{name} {word}" for word in inner]
    assert list(RECIPES) == commands


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_is_an_option_with_its_default(name: str) -> None:
    known = parameters(name)
    values = dataclasses.fields(RECIPES[name])
    fields = {field.name: field.default for field in values}
    for field in fields.keys() - WITHOUT_KNOB.get(name, set()):
        assert (known[field].default or None) == (fields[field] or None), field
    assert not known.keys() - fields.keys() - OF_THE_CONSOLE


@pytest.mark.parametrize("name", RECIPES)
def test_every_knob_has_a_sentence_and_a_default_within_its_bounds(name: str) -> None:
    for field, (_, knob) in knobs(RECIPES[name]).items():
        assert knob.help.endswith("."), field
    check_bounds(RECIPES[name]())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small:
    number: Annotated[int, Knob("A number.", "N", low=0, high=9)] = 7
    word: Annotated[str, Knob("A word.", "WORD", "Words", words=("seven", "three"))] = "seven"
    device: Device = "auto"
    many: Annotated[tuple[str, ...], Knob("Words.", "WORD", names=("--one", "-1"))] = ()
    flag: Annotated[bool, Knob("A flag.", negative=True)] = False
    unasked: int = 1


def merge(args: list[str], monkeypatch: pytest.MonkeyPatch, **env: str) -> Small:
    """Run a command of a small recipe and return the recipe it reads."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    small = typer.Typer()
    got: list[Small] = []

    @small.command("command")
    @command(Small)
    def body(recipe: Small, console: Console) -> None:
        """Do little."""
        got.append(recipe)

    get_command(small)(args=args, standalone_mode=False)
    return got[0] if got else Small(number=-1)


def test_flags_become_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["--number", "3", "--word", "three", "-1", "a", "--one", "b", "--flag"]
    wanted = Small(number=3, word="three", many=("a", "b"), flag=True)
    assert merge(args, monkeypatch) == wanted


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text('number = 3\nword = "three"\ndevice = "mps"\n')
    return path


def test_recipe_file_beats_defaults(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Small(number=3, word="three", device="mps")
    assert merge(["--config", str(recipe)], monkeypatch) == wanted


def test_flags_beat_the_recipe_file_even_when_empty(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--config", str(recipe), "--number", "0", "--word", ""]
    assert merge(args, monkeypatch) == Small(number=0, word="", device="mps")


def test_flag_equal_to_the_default_still_beats_the_file(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert merge(["--config", str(recipe), "--number", "7"], monkeypatch).number == 7


def test_environment_beats_the_file_and_loses_to_the_flag(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--config", str(recipe)]
    assert merge(args, monkeypatch, MAMTRA_DEVICE="cuda").device == "cuda"
    assert merge([*args, "--device", "cpu"], monkeypatch, MAMTRA_DEVICE="cuda").device == "cpu"


def test_provenance_of_an_output_is_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mamtra.json"
    path.write_text('{"mamtra": "0.1.0", "task": "command", "recipe": {"number": 5}}')
    assert merge(["--config", str(path)], monkeypatch) == Small(number=5)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        pytest.param("r.toml", "numbr = 1", "unknown key `numbr` in", id="unknown-key"),
        pytest.param("r.toml", 'number = "x"', "is not a whole number", id="wrong-type"),
        pytest.param("r.toml", "number = ", "is not valid TOML", id="not-toml"),
        pytest.param("r.json", "[1]", "does not hold a table", id="list"),
        pytest.param("r.yaml", "", "neither .toml nor .json", id="yaml"),
    ],
)
def test_bad_recipe_says_where(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    words: str,
) -> None:
    path = tmp_path / name
    path.write_text(text)
    merge(["--config", str(path)], monkeypatch)
    said = capsys.readouterr().err
    assert words in said
    assert name in said


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("log_every = 0", "log_every = 0` in .* is less than 1"),
        ("steps = -5", "steps = -5` in .* is less than 0"),
        ("skew = 1.5", "is more than 0.99"),
        ("lr = nan", "is not finite"),
        ("clip = inf", "is not finite"),
        ("seed = 99999999999999999", "is more than 4294967295"),
    ],
)
def test_recipe_file_may_not_say_what_the_option_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fact: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    assert run(["distill", "student", "-o", "tuned", "--config", str(path)]) == 2
    assert re.search(fact, capsys.readouterr().err)


@pytest.mark.parametrize("value", ["-1", "4294967296", "99999999999999999999"])
def test_seed_that_torch_cannot_take_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert run(["synth", "x", "--seed", value, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["code"] == "usage"
    bound = "greater than or equal to 0" if value == "-1" else "less than or equal to 4294967295"
    assert said["error"] == f"invalid value for `--seed`: Input should be {bound}"
