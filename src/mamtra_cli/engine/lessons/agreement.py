"""How close a student's predictions are to its teacher's on the same teacher-forced speech.

Both models read the same prefixes, so the numbers need no sound and no luck: cross entropy of
the speech tokens, forward KL, and how often both would take the same token.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra_cli.engine.lessons.examples import BatchOrder
from mamtra_cli.families.lessons import IGNORE, Example, Layout, Lessons, counted
from mamtra_cli.recipes.shared import StartCheck

POSITIONS = 512  # padded positions of one batch


def take_tokens(examples: Sequence[Example], tokens: int) -> list[Example]:
    """The first examples that hold at least so many frames together."""
    taken: list[Example] = []
    said = 0
    for example in examples:
        if said >= tokens:
            break
        taken.append(example)
        said += example.frames
    return taken


def scores(lessons: Lessons, laid: Layout) -> tuple[Tensor, Tensor]:
    """What a model expects where it must predict: (M, V) float32 log-probabilities, (M,) targets.

    M counts targets in the order of rows, positions and codebooks.
    """
    out = lessons.stack(lessons.embed(laid.inputs), positions=laid.positions, keep_state=False)
    wanted = laid.targets != IGNORE  # (B, T, K)
    some = wanted.any(-1)
    logits = counted(lessons.heads(out.hidden[some]), wanted[some])
    return torch.log_softmax(logits.float(), dim=-1), laid.targets[wanted]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model expects in one batch.

    log_p: (M, V) float32 log-probabilities; targets: (M,) long; indices: of the examples.
    """

    log_p: Tensor
    targets: Tensor
    indices: tuple[int, ...]


def predictions(teacher: Lessons, examples: Sequence[Example]) -> Iterator[Prediction]:
    """What a teacher expects of every speech token, batch by batch; 26 kB a token at full size."""
    for batch in batches(teacher, examples, POSITIONS):
        with torch.inference_mode():
            log_p, targets = scores(teacher, teacher.lay_out([examples[i] for i in batch]))
        yield Prediction(log_p=log_p, targets=targets, indices=tuple(batch))


def batches(lessons: Lessons, examples: Sequence[Example], budget: int) -> list[list[int]]:
    """Places of examples that go together: as many as the budget of positions allows."""
    sizes = [lessons.size(example) for example in examples]
    return BatchOrder(sizes, budget=max(budget, max(sizes)), seed=0).epoch(0)


def compare(teacher: Lessons, student: Lessons, examples: Sequence[Example]) -> StartCheck:
    """Compare two language models on examples, in nats a token."""
    return compare_with(predictions(teacher, examples), student, examples)


def compare_with(
    told: Iterable[Prediction], student: Lessons, examples: Sequence[Example]
) -> StartCheck:
    """Compare a student with what its teacher said of the same examples: one model is enough."""
    totals = torch.zeros(4, dtype=torch.float64)
    count = 0
    for prediction in told:
        totals += _sums(prediction, student, [examples[index] for index in prediction.indices])
        count += len(prediction.targets)
    ce_teacher, ce_student, kl, same = (totals / count).tolist()
    return StartCheck(
        tokens=count, ce_teacher=ce_teacher, ce_student=ce_student, kl=kl, agreement=same
    )


@torch.inference_mode()
def _sums(prediction: Prediction, student: Lessons, examples: Sequence[Example]) -> Tensor:
    """Sums of cross entropies, KL and agreements over the targets of one batch."""
    log_p = prediction.log_p  # (M, V)
    log_q = scores(student, student.lay_out(examples))[0].to(log_p.device)
    targets = prediction.targets[:, None]
    values = torch.stack(
        (
            -log_p.gather(1, targets)[:, 0],
            -log_q.gather(1, targets)[:, 0],
            (log_p.exp() * (log_p - log_q)).sum(-1),
            (log_p.argmax(-1) == log_q.argmax(-1)).float(),
        )
    )
    return values.double().sum(1).cpu()
