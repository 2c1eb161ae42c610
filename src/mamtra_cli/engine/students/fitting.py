"""A student in memory: a teacher's language model with other layers, fitted without gradients.

Everything unchanged is the teacher's own tensors, so a student costs its new layers only. Knows
language models and examples; no folders.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from mamtra_cli.backbone.calibrate import RIDGE, LayerFit, Sequences, calibrate
from mamtra_cli.backbone.transfer import student_of
from mamtra_cli.engine.lessons.agreement import POSITIONS, teacher_forced
from mamtra_cli.engine.lessons.examples import BatchOrder, Example
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import PAD
from mamtra_cli.layers.mixer_config import MixerConfig

SHARED = ("llm_embedding", "llm_decoder", "speech_embedding")


def hybrid_of(
    teacher: SpeechLM, kinds: str, mixer: MixerConfig, *, init: str = "transfer", seed: int = 0
) -> SpeechLM:
    """Return a language model of other layers that shares everything else with its teacher.

    Args:
        teacher: a language model of attention layers.
        kinds: the student's layers, one letter each.
        mixer: choices of the new layers.
        init: their start, as in `backbone.transfer`.
        seed: of whatever is drawn.
    """
    config = dataclasses.replace(teacher.config, kinds=kinds, mixer=mixer.to_dict())
    with torch.device("meta"):
        student = SpeechLM(config)
    inner = student.llm["model"]
    assert isinstance(inner, nn.ModuleDict)
    inner["model"] = student_of(teacher.stack, kinds, mixer, init=init, seed=seed, share=True)
    for name in SHARED:
        setattr(student, name, getattr(teacher, name))
    return student.eval().requires_grad_(False)


def fit(
    teacher: SpeechLM,
    student: SpeechLM,
    examples: Sequence[Example],
    *,
    mode: str,
    ridge: float = RIDGE,
) -> tuple[LayerFit, ...]:
    """Fit the output projections of a student's new layers to what its teacher puts out.

    Args:
        teacher: as in `hybrid_of`.
        student: changed in place.
        examples: speech to fit on.
        mode, ridge: as in `backbone.calibrate`.
    """
    batches = _batches(teacher, examples)
    return calibrate(teacher.stack, student.stack, batches, mode=mode, ridge=ridge)


def _batches(teacher: SpeechLM, examples: Sequence[Example]) -> Iterator[Sequences]:
    """The teacher's inputs, batch by batch."""
    positions = [example.positions for example in examples]
    order = BatchOrder(positions, budget=max(POSITIONS, max(positions)), seed=0)
    for indices in order.epoch(0):
        batch = teacher_forced(teacher, [examples[index] for index in indices])
        with torch.no_grad():
            x = teacher.embed(batch)
        yield Sequences(x=x, positions=batch.positions, pad_mask=batch.tables != PAD)
