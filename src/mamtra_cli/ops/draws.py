"""Frames drawn from scores, each row by random numbers of its own, as if it were alone.

The scores are arrays of numpy or tensors of torch; the same variates draw the same ids from either
(array_draws.py, tensor_draws.py), and a road that has no torch imports none. The random numbers
are defined here, once: counter-based, so that what a draw uses does not move the next one.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.ops.sampling import Sampling

Frame = tuple[int, ...]


class Variates:
    """Random numbers of one row: draw n is block n of the Philox generator keyed by the seed.

    The raw numbers of Philox are the same on every machine (Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", 2011).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draws = 0

    def exponential(self, count: int) -> NDArray[np.float32]:
        """Exp(1) variates (count,) of the next draw, none of them zero."""
        source = np.random.Philox(key=self.seed % 2**64, counter=[0, self.draws, 0, 0])
        self.draws += 1
        uniform = ((source.random_raw(count) >> np.uint64(11)) + 0.5) * 2.0**-53
        drawn: NDArray[np.float32] = -np.log(uniform).astype(np.float32)
        return drawn


def is_shaped(options: Sampling) -> bool:
    """Whether shaping.py draws: its cut-offs renormalise, the others do not."""
    return options.repetition_penalty != 1.0 or options.linear > 0.0


def recent_books(history: Sequence[Frame], options: Sampling, books: int) -> list[tuple[int, ...]]:
    """What repetitions are counted in: the recent ids of each codebook."""
    recent = history[-options.ras_window :] if options.ras_window else ()
    return [tuple(frame[book] for frame in recent) for book in range(books)]


def draw_frames(
    scores: Any,
    options: Sampling,
    histories: Sequence[Sequence[Frame]],
    variates: Sequence[Variates],
) -> list[Frame]:
    """Draw one id of each codebook of each row.

    Args:
        scores: (B, K, V) logits or log-probabilities; -inf excludes an id.
        options: how to draw, the same for all rows.
        histories: frames that each row drew so far, oldest first.
        variates: one a row.
    """
    drawn: list[Frame] = _twin(scores).draw_frames(scores, options, histories, variates)
    return drawn


def finite_rows(scores: Any) -> list[bool]:
    """Of each row (B, K, V), whether something can come next and no score is NaN."""
    sound: list[bool] = _twin(scores).finite_rows(scores)
    return sound


def barred(scores: Any, places: Sequence[tuple[int, int, int]]) -> Any:
    """Scores (B, K, V) with -inf at some (row, codebook, id)."""
    return _twin(scores).barred(scores, places)


def _twin(scores: Any) -> Any:
    name = "array_draws" if isinstance(scores, np.ndarray) else "tensor_draws"
    return import_module(f"mamtra_cli.ops.{name}")
