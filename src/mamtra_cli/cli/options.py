"""A command from the knobs of its recipe, and how flags, files and defaults become one.

Order: defaults of the recipe, recipe file, environment, flags. A flag counts only when the user
gave it, so 0 and "" are valid answers. What a flag refuses, a recipe file may not say either.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from inspect import Parameter, Signature, getdoc
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer

from mamtra_cli.cli.console import Console
from mamtra_cli.config import SHOWN, field_types, from_dict, nearest, read_data
from mamtra_cli.errors import MamtraError, UsageError
from mamtra_cli.recipes.knob import OUTPUT, Knob, check_bounds, knobs

T = TypeVar("T")
Words = Callable[[], list[str]]
PROGRAM = "command:"  # what a value begins with that names a program to run
GIVEN = frozenset({"COMMANDLINE", "ENVIRONMENT", "PROMPT"})
JSON = Knob("Print the result as JSON.", panel=OUTPUT)
CONFIG = Knob(
    "Recipe to start from (.toml or .json). Options given here win.",
    "FILE",
    names=("--config", "-c"),
)
QUIET = Knob("Only errors on stderr.", names=("--quiet", "-q"))
VERBOSE = Knob("Debug messages on stderr, and tracebacks.", names=("--verbose", "-v"))


def command(
    cls: type[T],
    *,
    config: bool = True,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    words: Mapping[str, Words] | None = None,
) -> Callable[[Callable[[T, Console], None]], Callable[..., None]]:
    """Return a decorator that makes a Typer command of a function of a recipe and a console.

    Args:
        cls: the recipe; its fields with a `Knob` become options in their order, the general ones
            after all others.
        config: whether the command takes a recipe file.
        presets: values by the name that the field `preset` holds.
        words: completes fields whose values only a floor above the recipes knows.
    """

    def decorate(body: Callable[[T, Console], None]) -> Callable[..., None]:
        def run(ctx: typer.Context, **values: Any) -> None:
            with Console.of(ctx) as console:
                check_folder()
                body(read_recipe(cls, ctx, presets=presets), console)

        run.__doc__, run.__name__ = getdoc(body), body.__name__
        run.__signature__ = Signature(parameters(cls, config, words or {}))  # type: ignore[attr-defined]
        return run

    return decorate


def check_folder() -> None:
    """Refuse a current folder that was removed: libraries below fail on it in words of their own.

    Raises:
        MamtraError: it is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise MamtraError("the current folder is gone", "go to one that exists, `cd`") from error


def parameters(cls: type, config: bool, words: Mapping[str, Words]) -> list[Parameter]:
    """Return the parameters of a command: its context, its knobs and those of every command."""
    defaults = {field.name: field.default for field in fields(cls)}
    special: list[Parameter] = []
    general: list[Parameter] = []
    for name, (kind, knob) in knobs(cls).items():
        place = special if knob.panel or knob.positional else general
        place.append(option(name, kind, defaults[name], knob, words.get(name)))
    return [
        Parameter("ctx", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *special,
        option("json", bool, False, JSON),
        *([option("config", Path | None, None, CONFIG)] if config else ()),
        *general,
        option("quiet", bool, False, QUIET),
        option("verbose", bool, False, VERBOSE),
    ]


def option(name: str, kind: Any, default: Any, knob: Knob, words: Words | None = None) -> Parameter:
    """Return a knob as a parameter that Typer understands."""
    if get_origin(kind) is tuple:
        kind, default = list[str] | None, default or None
    shared: dict[str, Any] = {
        "help": knob.help,
        "metavar": knob.value or None,
        "envvar": knob.env or None,
        "show_envvar": bool(knob.env),
        "show_default": knob.default or default not in ("", None, MISSING),
        "min": knob.low,
        "max": knob.high,
        "autocompletion": words or ((lambda: list(knob.words)) if knob.words else None),
    }
    info = (
        typer.Argument(**shared)
        if knob.positional
        else typer.Option(*knob.flags(name), rich_help_panel=knob.panel or None, **shared)
    )
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


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
        values.pop("force", None)  # leave to replace is given on the command line only
    read = set(values)
    for name in field_types(cls):
        source_of = ctx.get_parameter_source(name)
        if source_of is not None and source_of.name in GIVEN:
            values[name] = ctx.params[name]
            read.discard(name)
    for name in sorted(read):
        if isinstance(values[name], str) and values[name].startswith(PROGRAM):
            raise UsageError(
                f"`{name}` in {where} runs a program: a recipe alone may not",
                f"say it on the command line too: --{name} {shlex.quote(values[name])}",
            )
    preset = values.get("preset")
    if presets is not None and preset:
        if not isinstance(preset, str) or preset not in presets:
            near = nearest(str(preset), presets)
            hint = f"did you mean `{near}`?" if near else f"known: {', '.join(presets)}"
            raise UsageError(f"unknown preset `{str(preset)[:SHOWN]}`", hint)
        values = {**presets[preset], **values}
    recipe = from_dict(cls, values, where)
    check_bounds(recipe, {name: where for name in read})
    return recipe
