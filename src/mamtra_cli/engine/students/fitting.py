"""A student in memory: a teacher's language model with other layers, fitted without gradients.

Everything unchanged is the teacher's own tensors, so a student costs its new layers only. Knows
language models and examples; no folders.
"""

from collections.abc import Iterator, Sequence

import torch

from mamtra_cli.backbone.calibrate import RIDGE, LayerFit, Sequences, calibrate
from mamtra_cli.backbone.transfer import student_of
from mamtra_cli.engine.lessons.agreement import POSITIONS, batches
from mamtra_cli.families.lessons import Example, Lessons
from mamtra_cli.layers.mixer_config import MixerConfig


def hybrid_of(
    teacher: Lessons, kinds: str, mixer: MixerConfig, *, init: str = "transfer", seed: int = 0
) -> Lessons:
    """Return a language model of other layers that shares everything else with its teacher.

    Args:
        teacher: a language model of attention layers.
        kinds: the student's layers, one letter each.
        mixer: choices of the new layers.
        init: their start, as in `backbone.transfer`.
        seed: of whatever is drawn.
    """
    stack = student_of(teacher.stack, kinds, mixer, init=init, seed=seed, share=True)
    return teacher.around(stack)


def fit(
    teacher: Lessons,
    student: Lessons,
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
    read = _sequences(teacher, examples)
    return calibrate(teacher.stack, student.stack, read, mode=mode, ridge=ridge)


def _sequences(teacher: Lessons, examples: Sequence[Example]) -> Iterator[Sequences]:
    for indices in batches(teacher, examples, POSITIONS):
        laid = teacher.lay_out([examples[index] for index in indices])
        with torch.no_grad():
            x = teacher.embed(laid.inputs)
        yield Sequences(x=x, positions=laid.positions, pad_mask=laid.real)
