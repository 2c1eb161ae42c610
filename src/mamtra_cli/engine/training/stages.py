"""The stages of a distillation: closed form, alignment, the whole student, its own speech.

Each stage is one trainer with a folder of its own in the run's; a run that was stopped goes on in
the stage where it stood. Knows recipes and models, no output folders.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mamtra_cli.config import to_dict
from mamtra_cli.engine.lessons.agreement import take_tokens
from mamtra_cli.engine.lessons.examples import Batch, BatchSource
from mamtra_cli.engine.students.fitting import fit
from mamtra_cli.engine.students.pair import Pair
from mamtra_cli.engine.training.curves import Board
from mamtra_cli.engine.training.distillation import LAST, AlignLoss, DistillLoss
from mamtra_cli.engine.training.head_loss import LossWeights
from mamtra_cli.engine.training.losses import DIVERGENCES, HIDDEN, Blend, Divergence
from mamtra_cli.engine.training.optimization import TrainOptions
from mamtra_cli.engine.training.own_prefixes import OwnPrefixes
from mamtra_cli.engine.training.parallel import SHARDING, World
from mamtra_cli.engine.training.savepoint import has_state
from mamtra_cli.engine.training.teacher_cache import TeacherCache
from mamtra_cli.engine.training.trainer import (
    METRICS_FILE,
    Objective,
    Trainer,
    TrainResult,
    read_metrics,
)
from mamtra_cli.errors import UsageError
from mamtra_cli.events import Note, Report, Stage
from mamtra_cli.families.lessons import Example, Lessons
from mamtra_cli.recipes.distill import DistillRecipe

ALIGN, OWN, CACHE, BOARD = "align", "own", "teacher", "tensorboard"
STAGES = {ALIGN: "alignment", "": "training", OWN: "own speech"}
NEW = ".mixer."
PRECISIONS = ("auto", "float32", "bfloat16")
CALIBRATIONS = ("", "ls", "gain", "scalar")


def check(recipe: DistillRecipe) -> None:
    """Refuse what no run can follow.

    Raises:
        UsageError: with what is known.
    """
    choices = {
        "calibrate": (recipe.calibrate, CALIBRATIONS),
        "precision": (recipe.precision, PRECISIONS),
        "sharding": (recipe.sharding, SHARDING),
        "divergence": (recipe.divergence, DIVERGENCES),
        "own-divergence": (recipe.own_divergence, DIVERGENCES),
        "hidden-loss": (recipe.hidden_loss, HIDDEN),
        "align-loss": (recipe.align_loss, HIDDEN),
        "hidden-layers": (recipe.hidden_layers, ("replaced", "all", "last")),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            words = ", ".join(word for word in known if word)
            raise UsageError(f"unknown `--{name} {value}`", f"one of: {words}")
    others = ("calibrate", "align_steps", "own_steps", "family")
    if recipe.flow_steps and (named := [name for name in others if getattr(recipe, name)]):
        raise UsageError(
            f"`--flow-steps` has one stage, and no `--{named[0].replace('_', '-')}`",
            "train the language model and the flow one after the other",
        )
    if not (recipe.calibrate or recipe.align_steps or recipe.steps or recipe.own_steps):
        raise UsageError("every stage is switched off", "give `--steps 200`")
    if recipe.teacher_cache and recipe.hidden_weight and not recipe.cache_hidden:
        raise UsageError(
            "a stored teacher has no hidden states to compare",
            "add `--cache-hidden` or `--hidden-weight 0`",
        )


def check_world(recipe: DistillRecipe, world: World) -> None:
    """Refuse stages that the processes of a run cannot do, before the first of them begins."""
    if recipe.own_steps and world.size > 1 and world.sharding == "fsdp2":
        raise UsageError(
            "a student divided by fsdp2 cannot speak, as `--own-steps` wants",
            "use `--sharding ddp`",
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything the stages of a run share."""

    recipe: DistillRecipe
    pair: Pair
    examples: Sequence[Example]
    folder: Path
    world: World
    report: Report
    objective: Objective

    @classmethod
    def of(
        cls,
        recipe: DistillRecipe,
        pair: Pair,
        examples: Sequence[Example],
        folder: Path,
        world: World,
        report: Report,
    ) -> "Run":
        """A run of an opened pair."""
        student = pair.student.lessons
        blocks = list(student.stack.blocks())
        cores = [cast(nn.Module, block.core) for block in blocks]
        student.stack.recompute = "block" if recipe.checkpoint_activations else "scan"
        return cls(
            recipe=recipe,
            pair=pair,
            examples=examples,
            folder=folder,
            world=world,
            report=report,
            objective=Objective(student.lm, (*cores, *blocks)),
        )

    def train(self) -> tuple[TrainResult, dict[str, Tensor]]:
        """Do what is still to be done; return the end of the last stage and what was trained."""
        recipe = self.recipe
        self.pair.student.lessons.lm.train()
        started = has_state(self.folder) or has_state(self.folder / OWN)
        if not started:
            if recipe.calibrate and not has_state(self.folder / ALIGN):
                self._calibrate()
            if recipe.align_steps:
                self._align()
        weights: dict[str, Tensor] = {}
        done = TrainResult(steps=0, tokens=0, loss=None, seconds=0.0)
        if recipe.steps and not has_state(self.folder / OWN):
            trainer = self._trainer(recipe, self.folder, self._loss(recipe.steps))
            done, weights = self._go(trainer, self.folder, recipe.steps)
        if recipe.own_steps:
            if weights:
                self._adopt(weights)
            seconds = done.seconds
            done, weights = self._own()
            done = replace(done, seconds=seconds + done.seconds)
        if not weights:
            learning = self.pair.student.lessons.lm.named_parameters()
            weights = {name: p.detach() for name, p in learning if p.requires_grad}
        if self.world.main:
            steps, tokens = self._count()
            done = replace(done, steps=steps, tokens=tokens)
        return done, weights

    def _count(self) -> tuple[int, int]:
        """Updates and speech tokens of all stages, before an interruption too."""
        paths = [self.folder / name / METRICS_FILE for name in STAGES]
        last = [rows[-1] for path in paths if path.is_file() and (rows := read_metrics(path))]
        return sum(int(row["step"]) for row in last), sum(int(row["tokens"]) for row in last)

    def _calibrate(self) -> None:
        """Stage C, the same in every process."""
        recipe = self.recipe
        chosen = take_tokens(self.examples, recipe.calibrate_tokens)
        self.report(Stage(name="calibrating", detail=f"{len(chosen)} utterances"))
        pair = self.pair
        pair.student.lessons.lm.eval()
        with torch.no_grad():
            fits = fit(pair.teacher.lessons, pair.student.lessons, chosen, mode=recipe.calibrate)
        pair.student.lessons.lm.train()
        before = sum(one.before for one in fits) / len(fits)
        after = sum(one.after for one in fits) / len(fits)
        text = f"closed form: mean error of the new layers {before:.3f} -> {after:.3f}"
        self.report(Note(text=text))

    def _align(self) -> None:
        """Stage 0."""
        recipe = self.recipe
        folder = self.folder / ALIGN
        folder.mkdir(exist_ok=True)
        pair = self.pair
        loss = AlignLoss(
            pair.teacher.lessons,
            pair.student.lessons,
            kind=recipe.align_loss,
            packed=recipe.packing,
            world=self.world,
        )
        rate = recipe.lr if recipe.align_lr is None else recipe.align_lr
        first = replace(recipe, steps=recipe.align_steps, lr=rate, ema=0.0)
        named = pair.student.lessons.lm.named_parameters()
        others = [p for name, p in named if p.requires_grad and NEW not in name]
        if self.world.size > 1 and self.world.sharding == "fsdp2":
            others = []  # what FSDP2 divides keeps its flag; it has no gradient here
        for parameter in others:
            parameter.requires_grad_(False)
        trainer = self._trainer(first, folder, loss)
        if has_state(folder):
            trainer.resume()
        text = f"aligning each new layer alone, from step {trainer.step} of {first.steps}"
        self.report(Note(text=text))
        trainer.run()
        for parameter in others:
            parameter.requires_grad_(True)

    def _own(self) -> tuple[TrainResult, dict[str, Tensor]]:
        """Stage 2."""
        recipe = self.recipe
        folder = self.folder / OWN
        folder.mkdir(exist_ok=True)
        rate = recipe.lr / 3 if recipe.own_lr is None else recipe.own_lr
        second = replace(
            recipe,
            steps=recipe.own_steps,
            lr=rate,
            lr_rest=recipe.lr_rest / 3,
            seed=recipe.seed + 1,
        )
        own = OwnPrefixes(engine=self.pair.student, share=recipe.own_share, seed=recipe.seed)
        trainer = self._trainer(second, folder, self._loss(recipe.own_steps, live=True), own)
        return self._go(trainer, folder, recipe.own_steps)

    def _go(
        self, trainer: Trainer, folder: Path, steps: int
    ) -> tuple[TrainResult, dict[str, Tensor]]:
        """Run a stage from where it stands."""
        if has_state(folder):
            trainer.resume()
            self.report(Note(text=f"going on at step {trainer.step} of {steps}"))
        board = None
        if self.recipe.tensorboard and self.world.main:
            board = Board(self.folder / BOARD / (folder.name if folder != self.folder else "train"))
            trainer.on_record = board
        try:
            done = trainer.run()
        finally:
            if board is not None:
                board.close()
        return done, trainer.weights()

    @torch.no_grad()
    def _adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from the weights a stage ended with (its running mean, where one was kept)."""
        named = dict(self.pair.student.lessons.lm.named_parameters())
        for name, value in weights.items():
            named[name].copy_(value)

    def _loss(self, steps: int, *, live: bool = False) -> DistillLoss:
        """The loss of stages 1 and 2."""
        recipe, pair = self.recipe, self.pair
        chosen = Divergence(
            kind=recipe.divergence, alpha=recipe.skew, temperature=recipe.temperature, t2=recipe.t2
        )
        own = Blend(
            first=chosen,
            second=replace(chosen, kind=recipe.own_divergence),
            share=recipe.own_forward,
        )
        loss = DistillLoss(
            pair.teacher.lessons,
            pair.student.lessons,
            weights=LossWeights(
                ce=recipe.ce_weight, divergence=recipe.kl_weight, hidden=recipe.hidden_weight
            ),
            divergence=chosen,
            own=own,
            hidden_kind=recipe.hidden_loss,
            hidden_layers=recipe.hidden_layers,
            hidden_final=recipe.hidden_final,
            steps=steps,
            packed=recipe.packing,
            world=self.world,
        )
        if recipe.teacher_cache and not live:
            layers = [*loss.inner, *([LAST] if loss.last else [])] if recipe.cache_hidden else []
            source = self._source(recipe, 0)
            cache = TeacherCache(
                self.folder / CACHE,
                self.examples,
                source.flags(0),
                k=min(recipe.teacher_cache, pair.student.facts.head.speech_vocab),
                temperature=recipe.temperature,
                layers=layers,
            )
            cache.make(pair.teacher.lessons, self.world, self.report)
            loss.cache = cache
        return loss

    def _source(self, recipe: DistillRecipe, budget: int) -> BatchSource:
        size = self.pair.student.lessons.size
        longest = max(map(size, self.examples))
        return BatchSource(
            self.examples,
            budget=max(budget, longest),
            seed=recipe.seed,
            packed=recipe.packing,
            bistream=recipe.bistream,
            settled=recipe.teacher_cache > 0,
            size=size,
        )

    def _trainer(
        self,
        recipe: DistillRecipe,
        folder: Path,
        loss: AlignLoss | DistillLoss,
        prepare: Callable[[Batch], Batch] = lambda batch: batch,
    ) -> Trainer:
        """A trainer whose steps take `batch_tokens` speech tokens, in passes of bounded size."""
        budget, passes = passes_of(recipe, self.examples, self.pair.student.lessons)
        options = TrainOptions(
            steps=recipe.steps,
            lr=recipe.lr,
            lr_rest=recipe.lr_rest,
            # Not shortened for a short run: see docs/distillation.md, First steps.
            warmup=recipe.warmup,
            weight_decay=recipe.weight_decay,
            clip=recipe.clip,
            accumulate=passes,
            autocast=half(recipe, self.pair.student.device.type),
            ema=recipe.ema,
            log_every=recipe.log_every,
            save_every=recipe.save_every,
        )
        settled = replace(
            recipe,
            resume=None,
            device="",
            force=False,
            sharding="",
            tensorboard=False,
            plot=False,
            report=False,
            report_sentences=0,
        )
        return Trainer(
            self.objective,
            loss,
            self._source(recipe, budget),
            options,
            folder=folder,
            fingerprint=json.dumps(to_dict(settled), sort_keys=True),
            is_new=lambda name: NEW in name,
            prepare=prepare,
            count=loss.count,
            world=self.world,
            advice=advice(recipe),
            report=self.report,
        )


def passes_of(
    recipe: DistillRecipe, examples: Sequence[Example], lessons: Lessons
) -> tuple[int, int]:
    """Padded positions of a pass, and passes of a step: the same for any number of processes."""
    frames = sum(example.frames for example in examples)
    sizes = [lessons.size(example) for example in examples]
    wanted = round(recipe.batch_tokens * sum(sizes) / frames)
    passes = max(1, -(-wanted // recipe.pass_positions))
    return max(wanted // passes, max(sizes)), passes


def half(recipe: DistillRecipe, device: str) -> bool:
    """Whether passes are bfloat16."""
    if recipe.precision == "auto":
        return device == "cuda"
    return recipe.precision == "bfloat16"


def advice(recipe: DistillRecipe) -> str:
    """What to change where memory runs out, with numbers."""
    smaller = min(recipe.batch_tokens, recipe.pass_positions) // 2
    more = "" if recipe.checkpoint_activations else ", or add `--checkpoint-activations`"
    return (
        f"halve the passes: `--pass-positions {smaller}` (the same step in more passes), or "
        f"`--batch-tokens {recipe.batch_tokens // 2}`{more}"
    )
