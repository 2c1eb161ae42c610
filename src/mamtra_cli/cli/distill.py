"""`mamtra distill`: flags to a recipe, the result to words."""

from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.cli.console import Console, amount, facts
from mamtra_cli.cli.options import (
    Config,
    Device,
    DryRun,
    Force,
    Json,
    OutputFolder,
    Quiet,
    Seed,
    Verbose,
    read_recipe,
)
from mamtra_cli.recipes import DistillRecipe, DistillResult, StartCheck

DATA = "Data"
TRAINING = "Training"
LOSS = "Loss"


def distill(
    ctx: typer.Context,
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT",
            show_default=False,
            help="Converted model to train: a folder or org/name[@revision].",
        ),
    ] = DistillRecipe.student,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            show_default="the one it was converted from",
            help="Model to learn from.",
            rich_help_panel=DATA,
        ),
    ] = DistillRecipe.teacher,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="speech the teacher makes",
            help="JSONL of text and speech tokens.",
            rich_help_panel=DATA,
        ),
    ] = DistillRecipe.data,
    synthetic: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Speech tokens the teacher makes where no data are given.",
            rich_help_panel=DATA,
        ),
    ] = DistillRecipe.synthetic,
    check_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Held-out speech tokens to compare with the teacher on; 0 skips it.",
            rich_help_panel=DATA,
        ),
    ] = DistillRecipe.check_tokens,
    align_steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Steps before, fitting each new layer alone to the one it replaced.",
            rich_help_panel=TRAINING,
        ),
    ] = DistillRecipe.align_steps,
    steps: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Optimizer steps.", rich_help_panel=TRAINING),
    ] = DistillRecipe.steps,
    batch_tokens: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Speech tokens a step.", rich_help_panel=TRAINING),
    ] = DistillRecipe.batch_tokens,
    lr: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, help="Learning rate of the new layers.", rich_help_panel=TRAINING
        ),
    ] = DistillRecipe.lr,
    lr_rest: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Learning rate of everything else; 0 keeps it frozen.",
            rich_help_panel=TRAINING,
        ),
    ] = DistillRecipe.lr_rest,
    warmup: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Steps until the full rate.", rich_help_panel=TRAINING
        ),
    ] = DistillRecipe.warmup,
    clip: Annotated[
        float,
        typer.Option(metavar="X", min=0, help="Largest gradient norm.", rich_help_panel=TRAINING),
    ] = DistillRecipe.clip,
    weight_decay: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, help="Weight decay of matrices.", rich_help_panel=TRAINING
        ),
    ] = DistillRecipe.weight_decay,
    log_every: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Steps between lines of numbers.", rich_help_panel=TRAINING
        ),
    ] = DistillRecipe.log_every,
    save_every: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Steps between saves.", rich_help_panel=TRAINING),
    ] = DistillRecipe.save_every,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Go on with a run, OUTPUT.run; its own settings hold.",
            rich_help_panel=TRAINING,
        ),
    ] = DistillRecipe.resume,
    kl_weight: Annotated[
        float,
        typer.Option(metavar="X", min=0, help="Of the skewed KL divergence.", rich_help_panel=LOSS),
    ] = DistillRecipe.kl_weight,
    ce_weight: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, help="Of the cross entropy of the tokens.", rich_help_panel=LOSS
        ),
    ] = DistillRecipe.ce_weight,
    hidden_weight: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, help="Of the distance of hidden states.", rich_help_panel=LOSS
        ),
    ] = DistillRecipe.hidden_weight,
    skew: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            max=0.99,
            help="Share of the teacher in the skewed mixture.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.skew,
    temperature: Annotated[
        float,
        typer.Option(
            metavar="T", min=0.01, help="Softens both distributions.", rich_help_panel=LOSS
        ),
    ] = DistillRecipe.temperature,
    output: OutputFolder = DistillRecipe.output,
    force: Force = DistillRecipe.force,
    dry_run: DryRun = DistillRecipe.dry_run,
    json: Json = False,
    config: Config = None,
    device: Device = DistillRecipe.device,
    seed: Seed = DistillRecipe.seed,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a converted model to match its teacher.

    Only the new layers learn unless --lr-rest says otherwise. Ctrl-C saves the run in OUTPUT.run,
    to be taken up with --resume. Every step's numbers are in metrics.jsonl.

    \b
    Examples:
      $ mamtra distill student -o student-tuned
      $ mamtra distill student --data speech.jsonl --steps 2000 -o student-tuned
      $ mamtra distill --resume student-tuned.run
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(DistillRecipe, ctx)
        from mamtra_cli.tasks.distill import distill as run

        result = run(recipe, console.report)
        console.result(result, words(result))


def words(result: DistillResult) -> list[str]:
    """Return what was made, where, the numbers and the next command."""
    rows = {
        "trains": f"{amount(result.trainable)} parameters, {amount(result.frozen)} frozen",
        "steps": f"{result.steps}, {amount(result.tokens)} speech tokens",
    }
    if result.before is not None and result.after is not None:
        rows["before"] = check_words(result.before)
        rows["after"] = check_words(result.after)
    if result.dry_run:
        return [f"would train {result.student} to match {result.teacher}", *facts(rows)]
    rows["next"] = f'mamtra synth "Hello there." -m {result.output} -o hello.wav'
    return [str(result.output), *facts(rows)]


def check_words(check: StartCheck) -> str:
    """Return a comparison with the teacher in words."""
    return (
        f"CE {check.ce_student:.3f} (teacher {check.ce_teacher:.3f}), KL {check.kl:.3f}, "
        f"{check.agreement:.1%} of {check.tokens} tokens agree"
    )
