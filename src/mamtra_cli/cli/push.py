"""`mamtra push`: flags to a recipe, the result to words."""

from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.cli.console import Console, facts, size, table
from mamtra_cli.cli.options import Config, Json, Quiet, Verbose, read_recipe
from mamtra_cli.recipes import PushRecipe, PushResult

TARGET = "Target"


def push(
    ctx: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", show_default=False, help="Model folder to upload."),
    ] = PushRecipe.folder,
    repo: Annotated[
        str,
        typer.Argument(metavar="REPO", show_default=False, help="Where to: org/name."),
    ] = PushRecipe.repo,
    revision: Annotated[
        str, typer.Option(metavar="NAME", help="Branch to write.", rich_help_panel=TARGET)
    ] = PushRecipe.revision,
    private: Annotated[
        bool,
        typer.Option("--private", help="Make a new repository private.", rich_help_panel=TARGET),
    ] = PushRecipe.private,
    tag: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Name the commit, v1 for example.",
            rich_help_panel=TARGET,
        ),
    ] = PushRecipe.tag,
    message: Annotated[
        str,
        typer.Option(
            "--message",
            "-m",
            metavar="TEXT",
            show_default="names the model and the plan",
            help="Subject of the commit.",
            rich_help_panel=TARGET,
        ),
    ] = PushRecipe.message,
    voices: Annotated[
        list[str] | None,
        typer.Option(
            "--voice",
            metavar="NAME",
            show_default="none",
            help="Upload this voice too; repeat for more.",
            rich_help_panel="Files",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "-n",
            help="Show files, sizes, licence and target, upload nothing.",
            rich_help_panel="Output",
        ),
    ] = PushRecipe.dry_run,
    json: Json = False,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Upload a model and its card to the Hugging Face Hub.

    The token comes from `HF_TOKEN` or from `hf auth login`. Voices go along only when named.

    \b
    Examples:
      $ mamtra push student org/name --dry-run
      $ mamtra push student org/name --tag v1
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(PushRecipe, ctx)
        from mamtra_cli.tasks.push import push as run

        result = run(recipe, console.report)
        console.result(result, words(result))


def words(result: PushResult) -> list[str]:
    """Return the table of a dry run, or where the files are now."""
    total = f"{len(result.files)}, {size(result.bytes)}"
    rows = {"files": total, "license": result.license}
    if result.dry_run:
        lines = table(("file", "size"), [(f.name, size(f.bytes)) for f in result.files])
        return [*lines, f"would push to {result.url}", *facts(rows)]
    rows["commit"] = f"{result.commit} (unchanged)" if result.unchanged else str(result.commit)
    if result.tag:
        rows["tag"] = result.tag
    rows["next"] = f'mamtra synth "Hello there." -m {result.repo} -o hello.wav'
    return [result.url, *facts(rows)]
