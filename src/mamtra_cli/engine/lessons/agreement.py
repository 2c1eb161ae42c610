"""How close a student's predictions are to its teacher's on the same teacher-forced speech.

Both models read the same prefixes, so the numbers need no sound and no luck: cross entropy of
the speech tokens, forward KL, and how often both would take the same token.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra_cli.engine.lessons.examples import BatchOrder, Example, collate
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import LMBatch, lay_out_padded
from mamtra_cli.recipes import StartCheck

POSITIONS = 512  # padded positions of one batch


def take_tokens(examples: Sequence[Example], tokens: int) -> list[Example]:
    """The first examples that hold at least so many speech tokens together."""
    taken: list[Example] = []
    said = 0
    for example in examples:
        if said >= tokens:
            break
        taken.append(example)
        said += len(example.tokens)
    return taken


def teacher_forced(lm: SpeechLM, examples: Sequence[Example]) -> LMBatch:
    """Examples as a batch on a language model's device."""
    batch = collate(examples)
    laid = lay_out_padded(
        lm.config, batch.text_ids, batch.text_lengths, batch.tokens, batch.token_lengths
    )
    return laid.to(lm.speech_embedding.weight.device)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model expects in one batch.

    log_p: (M, V) float32 log-probabilities; targets: (M,) long; indices: of the examples.
    """

    log_p: Tensor
    targets: Tensor
    indices: tuple[int, ...]


def predictions(teacher: SpeechLM, examples: Sequence[Example]) -> Iterator[Prediction]:
    """What a teacher expects of every speech token, batch by batch; 26 kB a token at full size."""
    positions = [example.positions for example in examples]
    budget = max(POSITIONS, max(positions))
    for batch in BatchOrder(positions, budget=budget, seed=0).epoch(0):
        with torch.inference_mode():
            out = teacher(teacher_forced(teacher, [examples[index] for index in batch]))
            log_p = torch.log_softmax(out.logits.float(), dim=-1)
        yield Prediction(log_p=log_p, targets=out.targets, indices=tuple(batch))


def compare(teacher: SpeechLM, student: SpeechLM, examples: Sequence[Example]) -> StartCheck:
    """Compare two language models on examples, in nats a token."""
    return compare_with(predictions(teacher, examples), student, examples)


def compare_with(
    told: Iterable[Prediction], student: SpeechLM, examples: Sequence[Example]
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
def _sums(prediction: Prediction, student: SpeechLM, examples: Sequence[Example]) -> Tensor:
    """Sums of cross entropies, KL and agreements over the targets of one batch."""
    out = student(teacher_forced(student, examples))
    log_p = prediction.log_p  # (M, V)
    log_q = torch.log_softmax(out.logits.float().to(log_p.device), dim=-1)
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
