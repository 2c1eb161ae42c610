"""`mamtra convert`: flags to a recipe, the result to words."""

from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.cli.console import Console, amount, facts, size, table
from mamtra_cli.cli.help import OUTPUT
from mamtra_cli.cli.options import (
    Config,
    Device,
    DryRun,
    Json,
    OutputFolder,
    Quiet,
    Seed,
    Storage,
    Verbose,
    read_recipe,
)
from mamtra_cli.recipes import ConvertRecipe, ConvertResult, LayerSelection

PLAN = "Layer plan"
LAYERS = "New layers"


def complete_placement() -> list[str]:
    """Return the names `--placement` takes."""
    from mamtra_cli.backbone.auto import METHODS
    from mamtra_cli.backbone.plan import STRATEGIES

    return [*STRATEGIES, *(f"auto:{method}" for method in METHODS)]


def complete_mixer() -> list[str]:
    """Return the names `--mixer` takes."""
    from mamtra_cli.layers.mixer_config import PRESETS

    return list(PRESETS)


def convert(
    ctx: typer.Context,
    teacher: Annotated[
        str,
        typer.Argument(
            metavar="TEACHER",
            show_default=False,
            help="Model to convert: a folder, org/name[@revision] or `mini`.",
        ),
    ] = ConvertRecipe.teacher,
    ratio: Annotated[
        str,
        typer.Option(
            "--ratio",
            "-r",
            metavar="T:M",
            help="Attention layers to Mamba layers.",
            rich_help_panel=PLAN,
        ),
    ] = ConvertRecipe.ratio,
    placement: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where attention stays: block-begin, block-end, front, middle, back, sandwich "
            "or spread; or measured on the teacher, auto:swap, auto:restore, auto:swap-train, "
            "auto:drop, auto:cosine, auto:wer, auto:smart.",
            autocompletion=complete_placement,
            rich_help_panel=PLAN,
        ),
    ] = ConvertRecipe.placement,
    plan: Annotated[
        str,
        typer.Option(
            "--plan",
            "-p",
            metavar="PLAN",
            show_default=False,
            help="A full plan in place of the two above: T=0,8,11,16, pattern:TM3, "
            "preset:mamtra-1:5 or auto:swap,k=2.",
            rich_help_panel=PLAN,
        ),
    ] = ConvertRecipe.plan,
    heat_map: Annotated[
        Path | None,
        typer.Option(
            "--heat-map",
            metavar="FILE",
            show_default=False,
            help="Draw the layer scores of auto: .svg, .png or .pdf.",
            rich_help_panel=PLAN,
        ),
    ] = ConvertRecipe.heat_map,
    round: Annotated[
        bool,
        typer.Option(
            "--round",
            help="Accept a ratio that does not divide the layers, rounded.",
            rich_help_panel=PLAN,
        ),
    ] = ConvertRecipe.round,
    mixer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Kind of the new layers: mamba2-gqa, mamtra-paper or swa.",
            autocompletion=complete_mixer,
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.mixer,
    gate: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            show_default="the mixer's own",
            help="Their output gate: full, none, or a rank.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.gate,
    init: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="Their starting weights: transfer (from the attention) or random.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.init,
    calibrate: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="Closed-form fit of their output to the teacher's: ls, gain, scalar or none.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.calibrate,
    ridge: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Ridge of that fit, as a share of the mean power it reads; more is calmer.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.ridge,
    calibration_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Speech tokens for that fit.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.calibration_tokens,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="speech the teacher makes",
            help="JSONL of text and speech tokens for fit and check.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.data,
    check_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Held-out speech tokens to compare with the teacher on; 0 skips it.",
            rich_help_panel=LAYERS,
        ),
    ] = ConvertRecipe.check_tokens,
    output: OutputFolder = ConvertRecipe.output,
    dtype: Storage = ConvertRecipe.dtype,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace what is in the output folder.", rich_help_panel=OUTPUT
        ),
    ] = ConvertRecipe.force,
    dry_run: DryRun = ConvertRecipe.dry_run,
    json: Json = False,
    config: Config = None,
    device: Device = ConvertRecipe.device,
    seed: Seed = ConvertRecipe.seed,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Replace attention layers of a teacher with Mamba-2 layers.

    Each replaced layer starts from the weights of the attention it replaces, and its output is
    fitted to the teacher's. The result speaks poorly until it is trained: see `mamtra distill`.

    \b
    Examples:
      $ mamtra convert mini --ratio 1:3 --placement spread -o student
      $ mamtra convert ./CosyVoice2-0.5B --plan T=0,8,11,16 --dry-run
      $ mamtra convert mini --ratio 1:3 --placement auto:restore -o student
      $ mamtra convert --config recipe.toml --gate none -o student-ungated
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(ConvertRecipe, ctx)
        from mamtra_cli.tasks.convert import convert as run

        result = run(recipe, console.report)
        console.result(result, words(result))


def words(result: ConvertResult) -> list[str]:
    """Return what was made, where, the numbers and the next command."""
    rows = {
        "parameters": f"{amount(result.parameters_before)} -> {amount(result.parameters_after)}",
        "cache": f"{size(result.cache_before)} -> {size(result.cache_after)} per token, "
        f"and {size(result.state_bytes)} once",
    }
    if result.break_even is not None:
        rows["smaller"] = f"from {result.break_even} tokens of context on"
    if result.check is not None:
        check = result.check
        rows["check"] = (
            f"CE {check.ce_teacher:.3f} -> {check.ce_student:.3f}, KL {check.kl:.3f}, "
            f"{check.agreement:.1%} of {check.tokens} tokens agree"
        )
    if result.dry_run:
        total = sum(file.bytes for file in result.files)
        rows["files"] = f"{len(result.files)}, {size(total)}; nothing was written"
        head = f"would write {result.output}" if result.output else "dry run"
    else:
        rows["next"] = f"mamtra distill {result.output} -o {result.output}-tuned"
        head = str(result.output)
    return [head, *facts(rows), *(chosen_layers(result.selection) if result.selection else [])]


def chosen_layers(selection: LayerSelection) -> list[str]:
    """Return the layer scores and what the plan they led to is worth, as tables."""
    places = {layer: place for place, layer in enumerate(selection.ranking, 1)}
    layers = table(
        ("layer", selection.unit, "rank", "stays"),
        [
            (
                str(i),
                "-" if score is None else f"{score:.4f}",
                str(places[i]),
                "T" if i in selection.kept else "",
            )
            for i, score in enumerate(selection.scores)
        ],
    )
    others = [plan for plan in selection.spoken if plan.kinds != selection.chosen.kinds]
    plans = table(
        ("plan, untrained", "T", "KL", "CE", "WER"),
        [
            (
                plan.name,
                ",".join(str(i) for i, letter in enumerate(plan.kinds) if letter == "T"),
                f"{plan.kl:.4f}",
                f"{plan.ce:.4f}",
                "" if plan.wer is None else f"{plan.wer:.1%}",
            )
            for plan in (selection.chosen, *others, *selection.rivals)
        ],
        left=2,
    )
    origin = "measured before" if selection.cached else f"measured in {selection.seconds:.0f} s"
    steps = " -> ".join(step.name for step in selection.steps)
    heard = ""
    if selection.teacher_wer is not None:
        heard = f", its WER {selection.teacher_wer:.1%}"
    tokens = f"on {selection.tokens} speech tokens, teacher CE {selection.teacher_ce:.4f}{heard}"
    return ["", f"{origin} {tokens}; {steps}", *layers, "", *plans]
