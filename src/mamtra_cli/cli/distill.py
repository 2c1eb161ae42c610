"""`mamtra distill`: flags to a recipe, the result to words."""

import os

import typer

from mamtra_cli.cli import distill_options as options
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
from mamtra_cli.recipes.evaluate import Scores


def distill(
    ctx: typer.Context,
    student: options.Student = DistillRecipe.student,
    preset: options.Preset = DistillRecipe.preset,
    calibrate: options.Calibrate = DistillRecipe.calibrate,
    calibrate_tokens: options.CalibrateTokens = DistillRecipe.calibrate_tokens,
    align_steps: options.AlignSteps = DistillRecipe.align_steps,
    align_lr: options.AlignLr = DistillRecipe.align_lr,
    align_loss: options.AlignLoss = DistillRecipe.align_loss,
    steps: options.Steps = DistillRecipe.steps,
    own_steps: options.OwnSteps = DistillRecipe.own_steps,
    own_share: options.OwnShare = DistillRecipe.own_share,
    own_lr: options.OwnLr = DistillRecipe.own_lr,
    own_divergence: options.OwnDivergence = DistillRecipe.own_divergence,
    own_forward: options.OwnForward = DistillRecipe.own_forward,
    teacher: options.Teacher = DistillRecipe.teacher,
    data: options.DataPath = DistillRecipe.data,
    synthetic: options.Synthetic = DistillRecipe.synthetic,
    check_tokens: options.CheckTokens = DistillRecipe.check_tokens,
    bistream: options.Bistream = DistillRecipe.bistream,
    packing: options.Packing = DistillRecipe.packing,
    batch_tokens: options.BatchTokens = DistillRecipe.batch_tokens,
    lr: options.Rate = DistillRecipe.lr,
    lr_rest: options.RestRate = DistillRecipe.lr_rest,
    warmup: options.Warmup = DistillRecipe.warmup,
    clip: options.Clip = DistillRecipe.clip,
    weight_decay: options.WeightDecay = DistillRecipe.weight_decay,
    ema: options.RunningMean = DistillRecipe.ema,
    log_every: options.LogEvery = DistillRecipe.log_every,
    save_every: options.SaveEvery = DistillRecipe.save_every,
    resume: options.Resume = DistillRecipe.resume,
    divergence: options.Divergence = DistillRecipe.divergence,
    kl_weight: options.KlWeight = DistillRecipe.kl_weight,
    ce_weight: options.CeWeight = DistillRecipe.ce_weight,
    hidden_weight: options.HiddenWeight = DistillRecipe.hidden_weight,
    hidden_final: options.HiddenFinal = DistillRecipe.hidden_final,
    hidden_loss: options.HiddenLoss = DistillRecipe.hidden_loss,
    hidden_layers: options.HiddenLayers = DistillRecipe.hidden_layers,
    skew: options.Skew = DistillRecipe.skew,
    temperature: options.Temperature = DistillRecipe.temperature,
    t2: options.TimesSquare = DistillRecipe.t2,
    teacher_cache: options.TeacherCache = DistillRecipe.teacher_cache,
    cache_hidden: options.CacheHidden = DistillRecipe.cache_hidden,
    pass_positions: options.PassPositions = DistillRecipe.pass_positions,
    precision: options.Precision = DistillRecipe.precision,
    checkpoint_activations: options.CheckpointActivations = DistillRecipe.checkpoint_activations,
    sharding: options.Sharding = DistillRecipe.sharding,
    tensorboard: options.Tensorboard = DistillRecipe.tensorboard,
    plot: options.Plot = DistillRecipe.plot,
    report: options.FinalReport = DistillRecipe.report,
    report_sentences: options.ReportSentences = DistillRecipe.report_sentences,
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
    OUTPUT.run, to be taken up with --resume. Every step's numbers are in metrics.jsonl. At the end
    student and teacher say --report-sentences (extra `eval`); where that fails, the trained model
    is there all the same, with a warning.

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
        rows["heard"] = heard_words(result)
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


def heard_words(result: DistillResult) -> str:
    """Return the word errors of both models with their intervals in words."""
    from mamtra_cli.engine.judging.report import percent, points, shown

    both = (result.scores, result.teacher_scores, result.difference)
    mine, theirs, apart = (scores or Scores() for scores in both)
    return (
        f"{shown(mine, 'wer', percent)} of words wrong, teacher {shown(theirs, 'wer', percent)}, "
        f"difference {shown(apart, 'wer', points)}"
    )
