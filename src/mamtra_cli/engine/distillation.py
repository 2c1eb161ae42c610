"""A student and its teacher: how they are opened together, and losses of one batch under both.

`AlignLoss` fits each new layer alone, on what the teacher gives its own layer: no layer hears of
another's mistakes (the first stage of MOHAWK, arXiv 2408.10189, and of RADLADS, arXiv
2505.03005). `DistillLoss` trains the whole student: the tokens themselves, the teacher's
distribution, its hidden states. Formulas are in losses.py; nothing here knows recipes.
"""

from dataclasses import dataclass

import torch

from mamtra_cli.checkpoint import PROVENANCE, ModelFolder, read_json
from mamtra_cli.engine.data import Batch
from mamtra_cli.engine.losses import (
    IGNORE,
    Divergence,
    LossWeights,
    distillation_loss,
    hidden_distance,
)
from mamtra_cli.engine.runtime import Engine
from mamtra_cli.engine.trainer import Loss
from mamtra_cli.errors import PlanError, UsageError
from mamtra_cli.events import Report
from mamtra_cli.families.cosyvoice2 import lm_batch
from mamtra_cli.families.cosyvoice2.lm import SpeechLM


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two models of a run."""

    teacher: Engine
    student: Engine


def open_pair(student_name: str, teacher_name: str, device: str, report: Report) -> Pair:
    """Open both models and check that one can teach the other.

    Args:
        student_name: the converted model.
        teacher_name: its teacher; "" is the model it was converted from.
        device: of both.
        report: hears of downloads.
    """
    if not student_name:
        raise UsageError("no student is given", "`mamtra distill student -o student-tuned`")
    # Training keeps float32 weights; half precision is a matter of autocast.
    student = Engine.load(student_name, device=device, dtype="float32", report=report)
    if not isinstance(getattr(student.model, "source", None), ModelFolder):
        raise UsageError(
            f"`{student_name}` is a published model, not a converted one",
            f"convert it first, `mamtra convert {student_name} -o student`",
        )
    name = teacher_name or teacher_of(student)
    teacher = Engine.load(name, device=device, dtype="float32", report=report)
    ours, theirs = student.config.lm, teacher.config.lm
    for field in ("speech_vocab", "vocab_size", "n_layers", "d_model"):
        if getattr(ours, field) != getattr(theirs, field):
            raise PlanError(
                f"`{name}` cannot teach `{student_name}`: `{field}` is "
                f"{getattr(theirs, field)} and {getattr(ours, field)}",
                "name the model the student was converted from, `--teacher`",
            )
    return Pair(teacher=teacher, student=student)


def teacher_of(student: Engine) -> str:
    """The model a student was converted from, as its folder tells."""
    path = student.folder / PROVENANCE
    told = read_json(path).get("recipe", {}) if path.is_file() else {}
    name = told.get("teacher") if isinstance(told, dict) else None
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"`{student.name}` does not tell which model it was converted from",
            "name it with `--teacher`",
        )
    return name


def share_frozen(pair: Pair) -> None:
    """Hold frozen tensors that teacher and student have in common once."""
    theirs = dict(pair.teacher.lm.named_parameters())
    for name, parameter in pair.student.lm.named_parameters():
        other = theirs.get(name)
        if parameter.requires_grad or other is None or other.shape != parameter.shape:
            continue
        if torch.equal(parameter, other):
            parameter.data = other.data


def lay_out(batch: Batch, lm: SpeechLM) -> lm_batch.LMBatch:
    """A batch as teacher-forcing sequences on a model's device."""
    laid = lm_batch.lay_out_padded(
        lm.config, batch.text_ids, batch.text_lengths, batch.tokens, batch.token_lengths
    )
    return laid.to(lm.speech_embedding.weight.device)


class AlignLoss:
    """How far each new layer's output is from that of the attention it replaced.

    Every layer is given what the teacher gives its own, so none of the student's stack runs.
    """

    def __init__(self, teacher: SpeechLM, student: SpeechLM) -> None:
        self.teacher, self.student = teacher, student
        self.layers = self.student.config.hybrid.plan.converted

    def __call__(self, batch: Batch) -> Loss:
        """Run the teacher, and the new layers on its inputs."""
        laid = lay_out(batch, self.teacher)
        real = laid.tables != lm_batch.PAD
        with torch.no_grad():
            out = self.teacher.stack(
                self.teacher.embed(laid),
                positions=laid.positions,
                capture=self.layers,
                keep_state=False,
            )
        theirs, ours = (list(lm.stack.blocks()) for lm in (self.teacher, self.student))
        gaps = []
        for i in self.layers:
            with torch.no_grad():
                given = theirs[i].input_layernorm(out.captured[i])
                wanted, _ = theirs[i].core(given, None, positions=laid.positions)
            made, _ = ours[i].core(given, None, positions=laid.positions, pad_mask=real)
            gaps.append(hidden_distance(made, wanted, real))
        gap = torch.stack(gaps)
        parts = {f"layer_{i}": float(g) for i, g in zip(self.layers, gap.detach(), strict=True)}
        return Loss(value=gap.mean(), tokens=int(real.sum()), parts=parts)


class DistillLoss:
    """The weighted sum of the three losses on one batch."""

    def __init__(
        self,
        teacher: SpeechLM,
        student: SpeechLM,
        *,
        weights: LossWeights,
        divergence: Divergence,
    ) -> None:
        self.teacher, self.student = teacher, student
        self.weights = weights
        self.divergence = divergence
        kinds = self.student.config.hybrid.layer_kinds
        # What block i gives is what block i + 1 is given; the last one shows in the final norm.
        replaced = [i for i, kind in enumerate(kinds) if kind != "T"] or list(range(len(kinds)))
        self.inner = [i + 1 for i in replaced if i + 1 < len(kinds)]
        self.last = len(kinds) - 1 in replaced

    def __call__(self, batch: Batch) -> Loss:
        """Run both models on a batch."""
        student = self.student
        laid = lay_out(batch, student)
        capture = self.inner if self.weights.hidden else []
        with torch.no_grad():
            theirs = self.teacher.stack(
                self.teacher.embed(laid),
                positions=laid.positions,
                capture=capture,
                keep_state=False,
            )
        ours = student.stack(
            student.embed(laid), positions=laid.positions, capture=capture, keep_state=False
        )
        layers = [(ours.captured[i], theirs.captured[i]) for i in capture]
        if self.last:
            layers.append((ours.hidden, theirs.hidden))
        targets = laid.targets.masked_fill(laid.targets == lm_batch.IGNORE, IGNORE)
        losses = distillation_loss(
            ours.hidden,
            theirs.hidden,
            student.llm_decoder,
            self.teacher.llm_decoder,
            targets,
            weights=self.weights,
            divergence=self.divergence,
            layers=layers,
            pad_mask=laid.tables != lm_batch.PAD,
        )
        count = int((targets != IGNORE).sum())
        return Loss(value=losses.total, tokens=count, parts=dict(losses.parts))
