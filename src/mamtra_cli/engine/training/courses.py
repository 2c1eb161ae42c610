"""What is learned beside a language model, in one stage: the same run folder and the same trainer.

Knows recipes, runs and a `Course`; which one it is and what its folder holds says a lesson
(lesson.py).
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.config import to_dict
from mamtra_cli.engine.lessons.examples import Batch, BatchSource, hold_out
from mamtra_cli.engine.lessons.spoken import keep_tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.pair import Pair
from mamtra_cli.engine.students.trained import copy_records
from mamtra_cli.engine.training.lesson import Lesson, NewModel, ShortFlow, counted
from mamtra_cli.engine.training.optimization import TrainOptions
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.engine.training.plan import read_data_of
from mamtra_cli.engine.training.run_folder import (
    PAIRS,
    check_sources,
    check_unused,
    clear,
    discard,
    held,
    read_run,
    sources_of,
    write_run,
)
from mamtra_cli.engine.training.savepoint import has_state
from mamtra_cli.engine.training.trainer import Loss, Trainer
from mamtra_cli.engine.training.weights import refuse_broken, set_weights
from mamtra_cli.errors import PlanError, UsageError
from mamtra_cli.events import Note, Report, Stage
from mamtra_cli.families.course import Course
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes.distill import DistillRecipe, DistillResult

KEPT = 5  # one example in so many is held out, up to what `check_tokens` asks for


def taught(recipe: DistillRecipe, world: World, report: Report) -> DistillResult:
    """Train what a recipe asks for, or say what training it would mean.

    Raises:
        UsageError: several processes, or a teacher that is none for this family.
        PlanError: a model that cannot learn what is asked for.
    """
    if world.size > 1:
        raise UsageError("this is trained in one process", "start without torchrun")
    lesson: Lesson = (ShortFlow if recipe.flow_steps else NewModel).opened(recipe, report)
    teacher = lesson.teacher
    if not teacher.lm_part:
        raise PlanError(f"`{teacher.name}` has no language model to learn from", "name `mini`")
    output = recipe.output
    if output is None and not recipe.dry_run:
        raise UsageError("no output folder is given", "name one, `-o student`")
    told = DistillResult(
        output=output, student=lesson.name, teacher=lesson.compared,
        dry_run=recipe.dry_run, steps=recipe.steps, tokens=recipe.steps * recipe.batch_tokens,
        trainable=0, frozen=0, loss=None, before=None, after=None, seconds=0.0,
    )  # fmt: skip
    if recipe.dry_run:
        return lesson.planned(recipe, told)
    assert output is not None
    run = recipe.resume or output.with_name(f"{output.name}.run")
    if recipe.resume is None:
        check_unused(run, force=recipe.force)
    with held(run, world):
        if recipe.resume is None:
            clear(run)
            write_run(run, {"recipe": recipe})
        examples = _examples(recipe, teacher, run, report)
        torch.manual_seed(recipe.seed)
        course = lesson.course(recipe, examples)
        sources = sources_of(Pair(teacher=teacher, student=teacher), examples)
        sources |= lesson.sources(course)
        check_sources(run, read_run(run).get("sources") or {}, sources)
        write_run(run, {"recipe": recipe, "sources": sources})
        training, kept = _divided(recipe, examples)
        learned, frozen = counted(course)
        told = replace(told, trainable=learned, frozen=frozen)
        told, weights = _trained(recipe, course, training, kept, run, told, report)
        report(Stage(name="writing", detail=str(output)))
        with FolderWriter(output, force=recipe.force) as writer:
            lesson.write(recipe, course, told, weights, writer)
            copy_records(recipe, run, writer, report)
    discard(run)
    return told


def _examples(recipe: DistillRecipe, teacher: Engine, run: Path, report: Report) -> list[Example]:
    """Given pairs, or what the teacher says, kept in the run."""
    pair = Pair(teacher=teacher, student=teacher)
    if recipe.data is not None:
        return read_data_of(recipe.data, pair)
    keep_tokens(run / PAIRS, teacher, recipe.synthetic, seed=recipe.seed, report=report)
    return read_data_of(run / PAIRS, pair)


def _divided(recipe: DistillRecipe, examples: list[Example]) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples."""
    mean = sum(example.frames for example in examples) / len(examples)
    wanted = min(round(recipe.check_tokens / mean), len(examples) // KEPT)
    return hold_out(examples, wanted, seed=recipe.seed)


def _trained(
    recipe: DistillRecipe,
    course: Course,
    training: Sequence[Example],
    kept: Sequence[Example],
    run: Path,
    told: DistillResult,
    report: Report,
) -> tuple[DistillResult, dict[str, Tensor]]:
    """Train the course's module from where the run stands; return what was trained too."""

    def loss(batch: Batch) -> Loss:
        found = dict(course.losses(batch.examples, recipe.seed + batch.step))
        return Loss(value=found.pop("loss"), tokens=batch.frames, parts=found)

    options = TrainOptions(
        steps=recipe.steps,
        lr=recipe.lr,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
        ema=recipe.ema,
        log_every=recipe.log_every,
        save_every=recipe.save_every,
    )
    settled = replace(recipe, resume=None, device="", force=False, plot=False, report=False)
    longest = max(example.frames for example in training)
    trainer = Trainer(
        course.module.train(),
        loss,
        BatchSource(
            training,
            budget=max(recipe.batch_tokens, longest),
            seed=recipe.seed,
            size=lambda example: example.frames,
        ),
        options,
        folder=run,
        fingerprint=json.dumps(to_dict(settled), sort_keys=True),
        report=report,
    )
    before = _checked(course, kept)
    if has_state(run):
        trainer.resume()
        report(Note(text=f"going on at step {trainer.step} of {recipe.steps}"))
    done = trainer.run()
    weights = trainer.weights()
    refuse_broken(weights.items(), "training ended with", "start again with a lower `--lr`")
    set_weights(course.module, weights)
    told = replace(
        told,
        steps=done.steps,
        tokens=done.tokens,
        loss=done.loss,
        seconds=done.seconds,
        checks={f"before_{name}": value for name, value in before.items()}
        | {f"after_{name}": value for name, value in _checked(course, kept).items()},
    )
    return told, weights


def _checked(course: Course, kept: Sequence[Example]) -> dict[str, float]:
    """The parts of the loss over held-out examples, nothing drawn."""
    if not kept:
        return {}
    was = course.module.training
    course.module.eval()
    with torch.no_grad():
        found = {name: float(value) for name, value in course.losses(kept, None).items()}
    course.module.train(was)
    return found
