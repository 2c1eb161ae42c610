"""How close a student's predictions are to its teacher's on the same teacher-forced speech.

Both models read the same prefixes, so the numbers need no sound and no luck: cross entropy of
the speech tokens, forward KL, and how often both would take the same token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamtra_cli.engine.data import BatchOrder, Example, collate
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.lm_batch import LMBatch, lay_out_padded
from mamtra_cli.recipes import StartCheck

POSITIONS = 4096  # padded positions of one batch


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


def compare(teacher: SpeechLM, student: SpeechLM, examples: Sequence[Example]) -> StartCheck:
    """Compare two language models on examples, in nats a token."""
    positions = [example.positions for example in examples]
    budget = max(POSITIONS, max(positions))
    totals = torch.zeros(4, dtype=torch.float64)
    count = 0
    for batch in BatchOrder(positions, budget=budget, seed=0).epoch(0):
        part, size = _sums(teacher, student, [examples[index] for index in batch])
        totals += part
        count += size
    ce_teacher, ce_student, kl, same = (totals / count).tolist()
    return StartCheck(
        tokens=count, ce_teacher=ce_teacher, ce_student=ce_student, kl=kl, agreement=same
    )


@torch.inference_mode()
def _sums(teacher: SpeechLM, student: SpeechLM, examples: Sequence[Example]) -> tuple[Tensor, int]:
    """Sums of cross entropies, KL and agreements over the targets of one batch."""
    first = teacher(teacher_forced(teacher, examples))
    second = student(teacher_forced(student, examples))
    log_p = torch.log_softmax(first.logits.float(), dim=-1)  # (M, V)
    log_q = torch.log_softmax(second.logits.float().to(log_p.device), dim=-1)
    targets = first.targets[:, None]
    values = torch.stack(
        (
            -log_p.gather(1, targets)[:, 0],
            -log_q.gather(1, targets)[:, 0],
            (log_p.exp() * (log_p - log_q)).sum(-1),
            (log_p.argmax(-1) == log_q.argmax(-1)).float(),
        )
    )
    return values.double().sum(1).cpu(), len(targets)
