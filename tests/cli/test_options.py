"""Every knob of a recipe is an option with the same default, and the merge order holds."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from mamtra_cli import recipes
from mamtra_cli.cli.app import COMMANDS, app, run
from mamtra_cli.cli.options import check_number, read_recipe
from mamtra_cli.errors import UsageError

RECIPES = {
    "convert": recipes.ConvertRecipe,
    "prepare": recipes.PrepareRecipe,
    "distill": recipes.DistillRecipe,
    "synth": recipes.SynthRecipe,
    "eval": recipes.EvalRecipe,
    "profile": recipes.ProfileRecipe,
    "push": recipes.PushRecipe,
    "doctor": recipes.DoctorRecipe,
    "voice add": recipes.VoiceAddRecipe,
    "voice list": recipes.VoiceListRecipe,
    "voice show": recipes.VoiceShowRecipe,
    "voice remove": recipes.VoiceRemoveRecipe,
}
OF_THE_CONSOLE = {"json", "quiet", "verbose", "config", "help"}
OF_THE_COMMAND = {"synth": {"input_file"}}
OF_THE_RECIPE = {"voice add": {"limits"}}  # too many for flags; a recipe file sets them


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


@pytest.mark.parametrize("command", RECIPES)
def test_every_field_is_an_option_with_its_default(command: str) -> None:
    known = parameters(command)
    for field in dataclasses.fields(RECIPES[command]):
        if field.name in OF_THE_RECIPE.get(command, set()):
            continue
        assert field.name in known, f"`{command}` has no option for `{field.name}`"
        shown = known[field.name].default
        assert (shown or None) == (field.default or None), field.name


@pytest.mark.parametrize("command", RECIPES)
def test_every_option_is_a_field(command: str) -> None:
    fields = {field.name for field in dataclasses.fields(RECIPES[command])}
    extra = set(parameters(command)) - fields - OF_THE_CONSOLE - OF_THE_COMMAND.get(command, set())
    assert not extra


@pytest.mark.parametrize("command", RECIPES)
def test_every_option_has_a_help(command: str) -> None:
    for name, param in parameters(command).items():
        assert param.help, name
        assert param.help[-1] == ".", name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knobs:
    number: int = 7
    word: str = "seven"
    device: str = "auto"


def merge(args: list[str], monkeypatch: pytest.MonkeyPatch, **env: str) -> Knobs:
    """Run a command of two options and return the recipe it reads."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    small = typer.Typer()
    got: list[Knobs] = []

    @small.command()
    def command(
        ctx: typer.Context,
        number: int = Knobs.number,
        word: str = Knobs.word,
        device: str = typer.Option(Knobs.device, envvar="MAMTRA_DEVICE"),
        config: Path | None = None,
    ) -> None:
        got.append(read_recipe(Knobs, ctx))

    get_command(small)(args=args, standalone_mode=False)
    return got[0]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text('number = 3\nword = "three"\ndevice = "mps"\n')
    return path


def test_recipe_file_beats_defaults(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Knobs(number=3, word="three", device="mps")
    assert merge(["--config", str(recipe)], monkeypatch) == wanted


def test_flags_beat_the_recipe_file_even_when_empty(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--config", str(recipe), "--number", "0", "--word", ""]
    assert merge(args, monkeypatch) == Knobs(number=0, word="", device="mps")


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
    assert merge(["--config", str(path)], monkeypatch) == Knobs(number=5)


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as said:
        merge(["--config", str(path)], monkeypatch)
    assert words in said.value.message
    assert name in said.value.message


@pytest.mark.parametrize("command", RECIPES)
def test_every_default_is_within_the_bounds_of_its_option(command: str) -> None:
    for name, param in parameters(command).items():
        value = getattr(RECIPES[command](), name, None)
        if isinstance(value, int | float):
            check_number(value, param, "the defaults")


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
@pytest.mark.parametrize("command", ["distill", "eval", "synth"])
def test_seed_that_torch_cannot_take_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], command: str, value: str
) -> None:
    assert run([command, "x", "--seed", value, "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["code"] == "usage"
    bound = "greater than or equal to 0" if value == "-1" else "less than or equal to 4294967295"
    assert said["error"] == f"invalid value for `--seed`: Input should be {bound}"
