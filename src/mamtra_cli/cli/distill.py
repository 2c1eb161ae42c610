"""`mamtra distill`: flags to a recipe, the result to words."""

import os
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
from mamtra_cli.recipes.distill import PRESETS

STAGES = "Stages"
DATA = "Data"
TRAINING = "Training"
LOSS = "Loss"
MEMORY = "Memory and processes"
RECORDS = "Records"


def complete_preset() -> list[str]:
    """Return the names of the presets."""
    return list(PRESETS)


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
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            autocompletion=complete_preset,
            help="Values to start from: mamtra-paper.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.preset,
    calibrate: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default="as converted",
            help="Stage C: set the new output projections in closed form: ls, gain or scalar.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.calibrate,
    calibrate_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Speech tokens of stage C.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.calibrate_tokens,
    align_steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Stage 0: steps that fit each new layer alone to the one it replaced.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.align_steps,
    align_lr: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            show_default="--lr",
            help="Learning rate of stage 0.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.align_lr,
    align_loss: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Distance of stage 0: nmse, mse, l2 or cosine.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.align_loss,
    steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Stage 1: optimizer steps of the whole student.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.steps,
    own_steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Stage 2: steps after, on the student's own speech too.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.own_steps,
    own_share: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            max=1,
            help="Share of these steps that read the student's own speech.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.own_share,
    own_lr: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            min=0,
            show_default="a third of --lr",
            help="Learning rate of stage 2.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.own_lr,
    own_divergence: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Divergence on the student's own speech.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.own_divergence,
    own_forward: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            max=1,
            help="Weight of --divergence kept beside it.",
            rich_help_panel=STAGES,
        ),
    ] = DistillRecipe.own_forward,
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
            metavar="PATH",
            show_default="speech the teacher makes",
            help="JSONL of text and speech tokens, or a folder of `mamtra prepare`.",
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
    bistream: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            max=1,
            help="Share laid out as text and speech in turns; 0.5 keeps streaming of CosyVoice 2.",
            rich_help_panel=DATA,
        ),
    ] = DistillRecipe.bistream,
    packing: Annotated[
        bool,
        typer.Option(
            "--packing/--no-packing",
            help="Lay several utterances in one row instead of padding.",
            rich_help_panel=DATA,
        ),
    ] = DistillRecipe.packing,
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
    ema: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            max=0.99999,
            help="Decay of a running mean of the weights, which is what is written; 0: none.",
            rich_help_panel=TRAINING,
        ),
    ] = DistillRecipe.ema,
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
    divergence: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="skew_forward, skew_reverse, kl_forward, kl_reverse, js, tv or kl_topk.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.divergence,
    kl_weight: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Weight of the divergence from the teacher.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.kl_weight,
    ce_weight: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Weight of the cross entropy of the tokens.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.ce_weight,
    hidden_weight: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Weight of the distance of hidden states.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.hidden_weight,
    hidden_final: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0,
            help="Share of that weight left at the last step.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.hidden_final,
    hidden_loss: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Distance of hidden states: nmse, mse, l2 or cosine.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.hidden_loss,
    hidden_layers: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="States compared: after replaced layers, after all, or the last.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.hidden_layers,
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
    t2: Annotated[
        bool,
        typer.Option(
            "--t2/--no-t2",
            help="Multiply the divergence by the temperature squared.",
            rich_help_panel=LOSS,
        ),
    ] = DistillRecipe.t2,
    teacher_cache: Annotated[
        int,
        typer.Option(
            metavar="K",
            min=0,
            help="Store the teacher's K likeliest tokens once; 0 runs it every time.",
            rich_help_panel=MEMORY,
        ),
    ] = DistillRecipe.teacher_cache,
    cache_hidden: Annotated[
        bool,
        typer.Option(
            "--cache-hidden/--no-cache-hidden",
            help="Store the compared hidden states too.",
            rich_help_panel=MEMORY,
        ),
    ] = DistillRecipe.cache_hidden,
    pass_positions: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Padded positions of one pass, over all processes together.",
            rich_help_panel=MEMORY,
        ),
    ] = DistillRecipe.pass_positions,
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Of the passes: auto, float32 or bfloat16; weights stay float32.",
            rich_help_panel=MEMORY,
        ),
    ] = DistillRecipe.precision,
    checkpoint_activations: Annotated[
        bool,
        typer.Option(
            "--checkpoint-activations/--no-checkpoint-activations",
            help="Run each block again in the backward pass: less memory, more time.",
            rich_help_panel=MEMORY,
        ),
    ] = DistillRecipe.checkpoint_activations,
    sharding: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="With several processes (torchrun): ddp or fsdp2.",
            rich_help_panel=MEMORY,
        ),
    ] = DistillRecipe.sharding,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard/--no-tensorboard",
            help="Write TensorBoard events into OUTPUT/tensorboard.",
            rich_help_panel=RECORDS,
        ),
    ] = DistillRecipe.tensorboard,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot/--no-plot",
            help="Draw losses and gradient norm into OUTPUT/curves.png.",
            rich_help_panel=RECORDS,
        ),
    ] = DistillRecipe.plot,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="End with the report of `mamtra eval`, teacher against student.",
            rich_help_panel=RECORDS,
        ),
    ] = DistillRecipe.report,
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

    Only the new layers learn unless --lr-rest says otherwise. Ctrl-C and SIGTERM save the run in
    OUTPUT.run, to be taken up with --resume. Every step's numbers are in metrics.jsonl.

    \b
    Examples:
      $ mamtra distill student -o student-tuned
      $ mamtra distill student --data speech.jsonl --steps 2000 -o student-tuned
      $ mamtra distill student --align-steps 200 --own-steps 100 -o student-tuned
      $ mamtra distill --resume student-tuned.run
      $ torchrun --nproc-per-node 8 -m mamtra_cli distill student -o student-tuned
    """
    with Console.of(ctx) as console:
        recipe = read_recipe(DistillRecipe, ctx, presets=PRESETS)
        from mamtra_cli.tasks.distill import distill as run

        result = run(recipe, console.report)
        if int(os.environ.get("RANK", "0")) == 0:
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
    rows |= result.plan
    if result.curves is not None:
        rows["curves"] = str(result.curves)
    if result.report is not None:
        rows["report"] = str(result.report)
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
