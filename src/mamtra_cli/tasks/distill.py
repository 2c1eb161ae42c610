"""Train a converted model to predict what its teacher predicts.

One process, three losses (the tokens themselves, the teacher's distribution, its hidden states
after each new layer) on the same teacher-forced speech. A run keeps its state beside the output,
in `<output>.run`, until it is done; the result is a model folder like any other.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path

from mamtra_cli.checkpoint import MODEL
from mamtra_cli.config import from_dict
from mamtra_cli.engine.lessons.agreement import compare, take_tokens
from mamtra_cli.engine.lessons.examples import hold_out
from mamtra_cli.engine.lessons.spoken import keep_tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.pair import Pair, open_pair, share_frozen
from mamtra_cli.engine.students.trained import write_student
from mamtra_cli.engine.training.closing_report import eval_command, write_closing_report
from mamtra_cli.engine.training.courses import taught
from mamtra_cli.engine.training.parallel import World, join, leave, own_device
from mamtra_cli.engine.training.plan import plan_of, read_data_of
from mamtra_cli.engine.training.run_folder import (
    PAIRS,
    RUN,
    check_sources,
    check_unused,
    clear,
    discard,
    held,
    read_run,
    sources_of,
    write_run,
)
from mamtra_cli.engine.training.stages import NEW, Run, check, check_world
from mamtra_cli.engine.training.weights import refuse_broken, set_weights
from mamtra_cli.errors import (
    CheckpointError,
    DataError,
    MamtraError,
    PlanError,
    UsageError,
)
from mamtra_cli.events import Note, Report, ignore
from mamtra_cli.families.lessons import Example, Lessons
from mamtra_cli.publish import check_free
from mamtra_cli.recipes.distill import DistillRecipe, DistillResult
from mamtra_cli.recipes.shared import StartCheck
from mamtra_cli.stopping import interruptible

log = logging.getLogger(__name__)


def distill(recipe: DistillRecipe, report: Report = ignore) -> DistillResult:
    """Train a student, or say what training it would mean.

    Started by `torchrun` or `accelerate launch`, the processes train together and the first one
    writes and reports.

    Args:
        recipe: every knob; with `resume`, that of the run it names is used.
        report: hears of progress and numbers.

    Raises:
        TrainingError: the loss is not finite, or a saved run does not fit.
        OutOfMemoryError: with what to change.
        OutputError: no space; the last save is kept.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGUSR1, after the run was saved.
    """
    recipe, before = resumed(recipe)
    check(recipe)
    if recipe.output is not None and not recipe.dry_run:
        check_free(recipe.output, force=recipe.force, kind=MODEL)
    device = own_device(recipe.device)
    world = join(recipe.sharding, cpu=device == "cpu")
    try:
        with interruptible():
            listener = report if world.main else ignore
            if recipe.flow_steps:
                result = taught(replace(recipe, device=device), world, listener)
            elif recipe.family or without_tokens(recipe.student):
                result = taught(recipe, world, listener)
            else:
                result = _distill(replace(recipe, device=device), before, world, listener)
    finally:
        leave(world)
    if recipe.dry_run or not recipe.report or not world.main:
        return result
    # The other processes are gone by now: nobody waits at a barrier for what is heard.
    with interruptible():
        return reported(replace(recipe, device=device), result, report)


def without_tokens(student: str) -> bool:
    """Whether the student has no language model."""
    return bool(student) and not Engine.load(student, device="cpu").lm_part


def _distill(
    recipe: DistillRecipe, before: StartCheck | None, world: World, report: Report
) -> DistillResult:
    """Open both models, train, write."""
    check_world(recipe, world)
    pair = open_pair(recipe.student, recipe.teacher, recipe.device, report)
    trainable = choose_trainable(pair.student.lessons, recipe)
    share_frozen(pair)
    planned = _planned(recipe, pair, trainable)
    if recipe.dry_run:
        return replace(planned, plan=plan_of(recipe, pair, trainable, world))
    output = recipe.output
    if output is None:
        raise UsageError("no output folder is given", "name one, `-o student-tuned`")
    for engine in (pair.teacher, pair.student):
        refuse_broken(
            engine.lessons.lm.named_parameters(), f"`{engine.name}` holds", "make it again"
        )
    # Data that cannot be used are refused before there is a run.
    given = None if recipe.data is None else divided(recipe, read_data_of(recipe.data, pair))
    run = recipe.resume or output.with_name(f"{output.name}.run")
    if recipe.resume is None:
        check_unused(run, force=recipe.force)
        world.wait()  # all have looked before one begins
    with held(run, world):
        if recipe.resume is None and world.main:
            clear(run)
            write_run(run, {"recipe": recipe})
        told = _trained(recipe, pair, given, run, replace(planned, before=before), world, report)
    if world.main:
        discard(run)
    world.wait()
    return told


def _trained(
    recipe: DistillRecipe,
    pair: Pair,
    given: tuple[list[Example], list[Example]] | None,
    run: Path,
    told: DistillResult,
    world: World,
    report: Report,
) -> DistillResult:
    """Follow a recipe from where its run stands, and write the student."""
    world.wait()
    training, kept = given or divided(recipe, spoken_examples(recipe, pair, run, world, report))
    if world.main:
        sources = sources_of(pair, [*training, *kept])
        check_sources(run, read_run(run).get("sources") or {}, sources)
        if told.before is None and kept:
            told = replace(told, before=compare(pair.teacher.lessons, pair.student.lessons, kept))
        write_run(run, {"recipe": recipe, "before": told.before, "sources": sources})
    world.wait()
    stages = Run.of(recipe, pair, training, run, world, report)
    done, weights = stages.train()
    told = replace(told, steps=done.steps, tokens=done.tokens, loss=done.loss, seconds=done.seconds)
    if world.main:
        refuse_broken(weights.items(), "training ended with", "start again with a lower `--lr`")
        if stages.objective.divided:
            # A divided student cannot be run alone: take a whole one.
            pair = open_pair(recipe.student, recipe.teacher, recipe.device, report)
        set_weights(pair.student.lessons.lm, weights)
        after = compare(pair.teacher.lessons, pair.student.lessons, kept) if kept else None
        told = replace(told, after=after)
        told = write_student(recipe, pair, told, weights, run, report)
    return told


def resumed(recipe: DistillRecipe) -> tuple[DistillRecipe, StartCheck | None]:
    """The recipe to follow: of the run to go on with, or as given; and that run's first check."""
    if recipe.resume is None:
        return recipe, None
    saved = read_run(recipe.resume)
    path = str(recipe.resume / RUN)
    told, before = saved.get("recipe"), saved.get("before")
    if not isinstance(told, dict) or not isinstance(before, dict | None):
        raise CheckpointError(f"`{path}` holds no recipe", "start the run anew with `--force`")
    kept = from_dict(DistillRecipe, told, path)
    check = from_dict(StartCheck, before, path) if before else None
    return replace(
        kept,
        resume=recipe.resume,
        device=recipe.device,
        force=recipe.force,
        dry_run=recipe.dry_run,
    ), check


def choose_trainable(student: Lessons, recipe: DistillRecipe) -> int:
    """Let the new layers learn, and the rest where it has a rate; return the trainable count."""
    for name, parameter in student.lm.named_parameters():
        parameter.requires_grad_(NEW in name or recipe.lr_rest > 0)
    count = sum(p.numel() for p in student.lm.parameters() if p.requires_grad)
    alone = recipe.calibrate or recipe.align_steps
    if not count or (alone and not student.stack.config.plan.converted):
        raise PlanError(
            "the student has no new layers to train",
            "convert it first, or train everything, in stage 1 or 2, with `--lr-rest 1e-5`",
        )
    return count


def spoken_examples(
    recipe: DistillRecipe, pair: Pair, run: Path, world: World, report: Report
) -> list[Example]:
    """What the teacher says where no data are given, kept in the run."""
    if world.main and not (run / PAIRS).is_file():
        steps = recipe.steps + recipe.align_steps + recipe.own_steps
        tokens = steps * recipe.batch_tokens
        tokens += recipe.calibrate_tokens if recipe.calibrate else 0
        wanted = min(recipe.synthetic, tokens) + recipe.check_tokens
        keep_tokens(run / PAIRS, pair.teacher, wanted, seed=recipe.seed, report=report)
    world.wait()
    return read_data_of(run / PAIRS, pair)


def divided(recipe: DistillRecipe, examples: list[Example]) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples."""
    if not recipe.check_tokens:
        return examples, []
    mean = sum(example.frames for example in examples) / len(examples)
    # One more than the mean asks for: `take_tokens` gives back what is too much.
    wanted = math.ceil(recipe.check_tokens / mean) + 1
    training, held = hold_out(examples, wanted, seed=recipe.seed)
    if not held:
        raise DataError(
            f"{len(examples)} examples are too few to hold some out",
            "give five or more, or `--check-tokens 0`",
        )
    return training, take_tokens(held, recipe.check_tokens)


def reported(recipe: DistillRecipe, result: DistillResult, report: Report) -> DistillResult:
    """Add what is heard of the student and its teacher; the student is written already."""
    output = recipe.output
    assert output is not None
    again = eval_command(output, result.teacher, recipe.report_sentences, recipe.seed)
    try:
        found = write_closing_report(
            output,
            result.teacher,
            sentences=recipe.report_sentences,
            seed=recipe.seed,
            device=recipe.device,
            report=report,
        )
    except KeyboardInterrupt:
        text = f"`{output}` is complete; the report was cut short, make it with `{again}`"
        report(Note(text=text, warning=True))
        raise
    except Exception as error:
        # Whatever it is, hours of training have ended well: a report can be made at any time.
        log.debug("no report", exc_info=True)
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, MamtraError):
            why = f"{error.message}; {error.hint}" if error.hint else error.message
        text = f"no report: {why}; `{output}` is complete, make it with `{again}`"
        report(Note(text=text, warning=True))
        return replace(result, absent={"report": why})
    return replace(
        result,
        report=found.path,
        report_files=found.files,
        scores=found.student,
        teacher_scores=found.teacher,
        difference=found.difference,
        absent=found.absent,
    )


def _planned(recipe: DistillRecipe, pair: Pair, trainable: int) -> DistillResult:
    """What is known before anything is trained."""
    frozen = sum(p.numel() for p in pair.student.lessons.lm.parameters()) - trainable
    steps = recipe.align_steps + recipe.steps + recipe.own_steps
    return DistillResult(
        output=recipe.output,
        student=recipe.student,
        teacher=pair.teacher.name,
        dry_run=recipe.dry_run,
        steps=steps,
        tokens=steps * recipe.batch_tokens,
        trainable=trainable,
        frozen=frozen,
        loss=None,
        before=None,
        after=None,
        seconds=0.0,
    )
