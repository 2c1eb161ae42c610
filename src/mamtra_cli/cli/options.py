"""Options that several commands share, and how flags, files and defaults become a recipe.

Order: defaults of the recipe, recipe file, environment, flags. A flag counts only when the user
gave it, so 0 and "" are valid answers. What a flag refuses, a recipe file may not say either.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mamtra_cli.cli.help import GENERAL, OUTPUT
from mamtra_cli.config import field_types, from_dict, nearest, read_data
from mamtra_cli.errors import UsageError

T = TypeVar("T")
GIVEN = frozenset({"COMMANDLINE", "ENVIRONMENT", "PROMPT"})
SEEDS = 2**32  # a seed is below; sums and products of it then fit what torch takes


def complete_dtype() -> list[str]:
    """Return the names `--dtype` takes when running a model."""
    return ["auto", "float32", "bfloat16", "float16"]


def complete_storage() -> list[str]:
    """Return the names `--dtype` takes when writing a model."""
    return ["keep", "float32", "bfloat16", "float16", "int8"]


def complete_device() -> list[str]:
    """Return the kinds of device."""
    return ["auto", "cpu", "cuda"]


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Recipe to start from (.toml or .json). Options given here win.",
        rich_help_panel=GENERAL,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        envvar="MAMTRA_DEVICE",
        show_envvar=True,
        help="auto, cpu, cuda or cuda:1.",
        autocompletion=complete_device,
        rich_help_panel=GENERAL,
    ),
]
DType = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Type to compute in: auto, float32, bfloat16 or float16.",
        autocompletion=complete_dtype,
        rich_help_panel=GENERAL,
    ),
]
Threads = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="CPU threads; 0 chooses: one for a small model.",
        rich_help_panel=GENERAL,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        max=SEEDS - 1,
        help="Seed of everything random.",
        rich_help_panel=GENERAL,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        envvar="MAMTRA_MODEL",
        show_envvar=True,
        help="A folder, org/name[@revision] or `mini`.",
        rich_help_panel=GENERAL,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Only errors on stderr.", rich_help_panel=GENERAL),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Debug messages on stderr, and tracebacks.",
        rich_help_panel=GENERAL,
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace what is there already.", rich_help_panel=OUTPUT),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        help="Show the plan and sizes, write nothing.",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT),
]
Voices = Annotated[
    Path | None,
    typer.Option(
        "--voices",
        metavar="DIR",
        show_default="in MAMTRA_HOME or your data folder",
        help="Folder of your own voices.",
        rich_help_panel="Voice",
    ),
]
Storage = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Type of the written weights: keep, float32, bfloat16, float16 or int8.",
        autocompletion=complete_storage,
        rich_help_panel=OUTPUT,
    ),
]
OutputFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder to write; new or empty unless --force.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]


def read_recipe(
    cls: type[T], ctx: typer.Context, *, presets: Mapping[str, Mapping[str, Any]] | None = None
) -> T:
    """Merge defaults, a preset, the file of `--config`, environment and flags to a recipe.

    Args:
        cls: the recipe dataclass; its field names are the parameter names of the command.
        ctx: the running command.
        presets: values by the name that the field `preset` holds.

    Raises:
        UsageError: an unknown key or preset, or a value that the option would not take.
    """
    values: dict[str, Any] = {}
    flags: set[str] = set()
    where = "the recipe"
    path = ctx.params.get("config")
    if path is not None:
        where = str(path)
        data = read_data(Path(path))
        inner, asked = data.get("recipe"), ctx.command.name
        if isinstance(inner, dict) and data.get("task", asked) != asked:
            raise UsageError(
                f"`{path}` tells how `mamtra {data['task']}` made something",
                f"give it to that command: mamtra {data['task']} --config {path}",
            )
        source = inner if isinstance(inner, dict) else data
        values.update({str(key).replace("-", "_"): value for key, value in source.items()})
    for name in field_types(cls):
        source_of = ctx.get_parameter_source(name)
        if source_of is not None and source_of.name in GIVEN:
            values[name] = ctx.params[name]
            flags.add(name)
    preset = values.get("preset")
    if presets is not None and preset:
        if preset not in presets:
            near = nearest(str(preset), presets)
            hint = f"did you mean `{near}`?" if near else f"known: {', '.join(presets)}"
            raise UsageError(f"unknown preset `{preset}`", hint)
        values = {**presets[preset], **values}
    recipe = from_dict(cls, values, where)
    for param in ctx.command.params:
        if param.name in values:
            check_number(getattr(recipe, param.name), param, "" if param.name in flags else where)
    return recipe


def check_number(value: object, param: Any, where: str) -> None:
    """Refuse a number outside the bounds of its option, whoever gave it.

    Args:
        value: of the recipe.
        param: the option, with `min` and `max`.
        where: the file that the value came from; "" for the option itself.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    least, most = getattr(param, "min", None), getattr(param, "max", None)
    if not math.isfinite(value):
        fact = "is not finite"
    elif least is not None and value < least:
        fact = f"is less than {least}"
    elif most is not None and value > most:
        fact = f"is more than {most}"
    else:
        return
    name = f"`{param.name} = {value}` in {where}" if where else f"`{param.opts[0]} {value}`"
    raise UsageError(f"{name} {fact}")
