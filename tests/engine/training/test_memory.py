"""The estimate of `distill --dry-run` beside what a step of mini has in use."""

import pytest
import torch

from mamtra_cli.engine.lessons.examples import BatchSource
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.engine.students.pair import Pair, share_frozen
from mamtra_cli.engine.training.distillation import DistillLoss
from mamtra_cli.engine.training.head_loss import LossWeights
from mamtra_cli.engine.training.losses import Divergence
from mamtra_cli.engine.training.memory import estimate
from mamtra_cli.families.lessons import Example
from mamtra_cli.layers.mixer_config import preset
from mamtra_cli.live_bytes import live_peak


@pytest.mark.parametrize(
    ("everything", "again"),
    [(False, False), (True, False), (False, True)],
    ids=["new-layers", "everything", "blocks-again"],
)
def test_estimate_is_within_a_quarter_of_what_is_in_use(everything: bool, again: bool) -> None:
    teacher = Engine.load("mini", device="cpu", dtype="float32")
    teacher.lessons.lm.eval().requires_grad_(False)
    student = hybrid_of(teacher.lessons, "TM" * 4, preset("mamba2-gqa"))
    student.lm.train()
    for name, parameter in student.lm.named_parameters():
        parameter.requires_grad_(everything or ".mixer." in name)
    pair = Pair(teacher=teacher, student=teacher.with_lessons(student, "student"))
    share_frozen(pair)
    student.lm.train()
    student.stack.recompute = "block" if again else "scan"
    generator = torch.Generator().manual_seed(0)

    def ids(size: int, count: int) -> tuple[int, ...]:
        return tuple(torch.randint(size, (count,), generator=generator).tolist())

    examples = [Example(id=str(i), text_ids=ids(50, 40), tokens=ids(1225, 200)) for i in range(4)]
    (batch, _) = next(BatchSource(examples, budget=1000, seed=0).batches())
    loss = DistillLoss(teacher.lessons, student, weights=LossWeights(), divergence=Divergence())

    def step() -> None:
        torch.autograd.backward(loss(batch).value)

    live = live_peak(step)[0]
    learning = sum(p.numel() for p in student.lm.parameters() if p.requires_grad)
    positions = batch.padded + 4 * 2
    guess = estimate(pair, learning, positions, everything=everything, again=again)
    gradients = 4 * learning
    assert guess.activations + guess.logits + gradients == pytest.approx(live, rel=0.25)
