"""Losses of one batch under a student and its teacher.

`AlignLoss` fits each new layer alone, on what the teacher gives its own layer: no layer hears of
another's mistakes (the first stage of MOHAWK, arXiv 2408.10189, and of RADLADS, arXiv
2505.03005). `DistillLoss` trains the whole student: the tokens themselves, the teacher's
distribution, its hidden states. Formulas are in losses.py; nothing here knows recipes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.engine.lessons.examples import Batch
from mamtra_cli.engine.training.head_loss import LossWeights, distillation_loss
from mamtra_cli.engine.training.losses import (
    Blend,
    Divergence,
    Stored,
    hidden_distance,
)
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.engine.training.teacher_cache import TeacherCache
from mamtra_cli.engine.training.trainer import Loss
from mamtra_cli.families.lessons import IGNORE, Layout, Lessons

HIDDEN_LAYERS = ("replaced", "all", "last")


class AlignLoss:
    """How far each new layer's output is from that of the attention it replaced.

    Every layer is given what the teacher gives its own, so none of the student's stack runs.

    Args:
        teacher, student: the two models.
        kind: of distance, one of `losses.HIDDEN`.
        packed: several utterances a row.
        world: the processes that take part.
    """

    def __init__(
        self,
        teacher: Lessons,
        student: Lessons,
        *,
        kind: str = "nmse",
        packed: bool = False,
        world: World | None = None,
    ) -> None:
        self.teacher, self.student = teacher, student
        self.kind = kind
        self.packed = packed
        self.total = total_of(world)
        self.layers = student.stack.config.plan.converted

    def count(self, batch: Batch) -> int:
        """Positions by which a batch weighs."""
        return count_targets(batch, self.student)

    def __call__(self, batch: Batch) -> Loss:
        """Run the teacher, and the new layers on its inputs."""
        laid = self.teacher.lay_out(batch.examples, turns=batch.turns, packed=self.packed)
        real = laid.real
        counted = torch.zeros_like(real) if batch.blank else real
        with torch.no_grad():
            out = self.teacher.stack(
                self.teacher.embed(laid.inputs),
                **laid.reading,
                capture=self.layers,
                keep_state=False,
            )
        theirs, ours = (list(lm.stack.blocks()) for lm in (self.teacher, self.student))
        positions = laid.positions
        if positions is None and laid.seq_idx is not None:
            positions = restarting(laid)
        gaps = []
        for i in self.layers:
            reading: dict[str, Any] = {"positions": positions, "seq_idx": laid.seq_idx}
            theirs_pad = None if laid.seq_idx is None else real
            with torch.no_grad():
                given = theirs[i].input_layernorm(out.captured[i])
                wanted, _ = theirs[i].core(given, None, **reading, pad_mask=theirs_pad)
            made, _ = ours[i].core(given, None, **reading, pad_mask=real)
            gaps.append(hidden_distance(made, wanted, counted, kind=self.kind, total=self.total))
        gap = torch.stack(gaps)
        parts = {f"layer_{i}": g for i, g in zip(self.layers, gap.detach(), strict=True)}
        return Loss(value=gap.mean(), tokens=int(counted.sum()), parts=parts)


class DistillLoss:
    """The weighted sum of the three losses on one batch.

    Layers before the first one that differs are run once for both models.

    Args:
        teacher, student: the two models.
        weights: of the terms.
        divergence: from the teacher's distribution.
        own: divergence for batches of the student's own speech, which have no tokens to learn.
        hidden_kind: one of `losses.HIDDEN`.
        hidden_layers: outputs of the `replaced` layers, of `all`, or the `last` hidden state.
        hidden_final: share of the hidden weight left at update `steps`; it changes linearly.
        steps: length of the run.
        packed: several utterances a row.
        cache: what is stored of the teacher, in place of running it.
        world: the processes that take part.
    """

    def __init__(
        self,
        teacher: Lessons,
        student: Lessons,
        *,
        weights: LossWeights,
        divergence: Divergence,
        own: Divergence | Blend | None = None,
        hidden_kind: str = "nmse",
        hidden_layers: str = "replaced",
        hidden_final: float = 1.0,
        steps: int = 1,
        packed: bool = False,
        cache: TeacherCache | None = None,
        world: World | None = None,
    ) -> None:
        if hidden_layers not in HIDDEN_LAYERS:
            raise ValueError(f"hidden_layers must be one of {HIDDEN_LAYERS}, got {hidden_layers!r}")
        self.teacher, self.student = teacher, student
        self.weights = weights
        self.divergence = divergence
        self.own = own
        self.hidden_kind = hidden_kind
        self.hidden_final = hidden_final
        self.steps = steps
        self.packed = packed
        self.cache = cache
        self.total = total_of(world)
        self.inner, self.last = compared_layers(student.stack.config.layer_kinds, hidden_layers)
        self.shared = shared_layers(teacher, student)

    def count(self, batch: Batch) -> int:
        """Positions that the loss of a batch is a mean over."""
        return count_targets(batch, self.student)

    def weights_at(self, step: int) -> LossWeights:
        """The weights of an update."""
        progress = min(1.0, step / max(1, self.steps))
        share = 1.0 + (self.hidden_final - 1.0) * progress
        return replace(self.weights, hidden=self.weights.hidden * share)

    def __call__(self, batch: Batch) -> Loss:
        """Run both models on a batch."""
        student = self.student
        laid = student.lay_out(batch.examples, turns=batch.turns, packed=self.packed)
        counted = laid.real
        if batch.blank:
            laid = replace(laid, targets=torch.full_like(laid.targets, IGNORE))
            counted = torch.zeros_like(counted)
        weights = self.weights_at(batch.step)
        divergence: Divergence | Blend = self.divergence
        if batch.own:
            weights = replace(weights, ce=0.0)
            divergence = self.own or divergence
        inner = self.inner if weights.hidden else []
        stored = self.cache is not None and not batch.own
        aim: Tensor | Stored
        if stored:
            assert self.cache is not None
            aim, known = self.cache.fetch(batch, laid, hidden=bool(weights.hidden))
            begin, x = 0, student.embed(laid.inputs)
        else:
            begin = self.shared
            known, aim, x = self._listen(laid, {*inner, begin})
        ours = student.stack(x, **laid.reading, capture=inner, keep_state=False, start=begin)
        layers = [(ours.captured[i], known[i]) for i in inner]
        if self.last and weights.hidden:
            layers.append((ours.hidden, known[LAST]))
        losses = distillation_loss(
            ours.hidden,
            aim,
            student.heads,
            self.teacher.heads,
            laid.targets,
            weights=weights,
            divergence=divergence,
            layers=layers,
            pad_mask=counted,
            hidden_kind=self.hidden_kind,
            count=None if batch.count is None else max(batch.count, 1),
            total=self.total,
        )
        value = losses.total
        if batch.blank:
            # Engines expect a gradient, of nothing, from every process.
            value = value + 0.0 * ours.hidden.sum()
        return Loss(value=value, tokens=self.count(batch), parts=losses.parts)

    @torch.no_grad()
    def _listen(self, laid: Layout, capture: set[int]) -> tuple[dict[int, Tensor], Tensor, Tensor]:
        """The teacher's states by layer and at the end, and what the first other layer is given."""
        x = self.teacher.embed(laid.inputs)
        out = self.teacher.stack(x, **laid.reading, capture=capture, keep_state=False)
        known = {**out.captured, LAST: out.hidden}
        if self.shared:
            x = out.captured[self.shared]
        elif not same_tables(self.teacher, self.student):
            with torch.enable_grad():
                x = self.student.embed(laid.inputs)
        return known, out.hidden, x


LAST = -1  # the state after the final norm, among the states by layer


def count_targets(batch: Batch, lessons: Lessons) -> int:
    """Ids of a batch that are predicted, counted without laying it out."""
    if batch.blank:
        return 0
    turns = batch.turns or (False,) * len(batch.examples)
    pairs = zip(batch.examples, turns, strict=True)
    return sum(lessons.count(example, turns=flag) for example, flag in pairs)


def total_of(world: World | None) -> Callable[[Tensor], Tensor] | None:
    """How denominators are added up; `None` where one process has the whole batch."""
    return None if world is None or world.size == 1 else world.sum


def compared_layers(kinds: Sequence[str], which: str) -> tuple[list[int], bool]:
    """Layers whose inputs are compared, and whether the last hidden state is.

    What block i gives is what block i + 1 is given; the last one shows in the final norm.
    """
    if which == "last":
        return [], True
    if which == "all":
        return list(range(1, len(kinds))), True
    replaced = [i for i, kind in enumerate(kinds) if kind != "T"] or list(range(len(kinds)))
    return [i + 1 for i in replaced if i + 1 < len(kinds)], len(kinds) - 1 in replaced


def shared_layers(teacher: Lessons, student: Lessons) -> int:
    """How many first layers, after the embeddings, are the teacher's own frozen tensors."""
    if not same_tables(teacher, student):
        return 0
    pairs = list(zip(teacher.stack.blocks(), student.stack.blocks(), strict=True))
    for number, (theirs, mine) in enumerate(pairs):
        if not same(theirs, mine):
            return number
    return len(pairs) - 1


def same_tables(teacher: Lessons, student: Lessons) -> bool:
    """Whether both look their inputs up in the same frozen tensors."""
    return all(map(same, teacher.tables, student.tables))


def same(theirs: torch.nn.Module, mine: torch.nn.Module) -> bool:
    """Whether two modules are the same frozen tensors in memory."""
    one, two = dict(theirs.named_parameters()), dict(mine.named_parameters())
    return one.keys() == two.keys() and all(
        one[name].data_ptr() == p.data_ptr() and not p.requires_grad for name, p in two.items()
    )


def restarting(laid: Layout) -> Tensor:
    """Counted positions (B, T) that start anew with each packed utterance."""
    positions = torch.zeros_like(laid.real, dtype=torch.long)
    for row, part in laid.rows:
        positions[row, part] = torch.arange(part.stop - part.start, device=positions.device)
    return positions
