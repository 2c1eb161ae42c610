"""Draws from scores that are arrays of numpy, without torch; see draws.py and tensor_draws.py."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.ops.draws import Frame, Variates, is_shaped, recent_books
from mamtra_cli.ops.sampling import Sampling, repeats

Array = NDArray[np.float32]


def finite_rows(scores: Array) -> list[bool]:
    """See draws.py."""
    return [bool(sound) for sound in np.isfinite(scores.max(-1)).all(-1)]


def barred(scores: Array, places: Sequence[tuple[int, int, int]]) -> Array:
    """See draws.py."""
    scores = scores.copy()
    scores[tuple(np.array(places).T)] = -np.inf
    return scores


def draw_frames(
    scores: Array,
    options: Sampling,
    histories: Sequence[Sequence[Frame]],
    variates: Sequence[Variates],
) -> list[Frame]:
    """See draws.py.

    Raises:
        ValueError: the options shape the scores, which only tensors can be.
    """
    if is_shaped(options):
        raise ValueError(f"only tensors can be drawn from by {options}")
    return [
        tuple(
            _draw_one(book, options, past, one)
            for book, past in zip(row, recent_books(history, options, len(row)), strict=True)
        )
        for row, history, one in zip(scores, histories, variates, strict=True)
    ]


def _draw_one(scores: Array, options: Sampling, recent: Sequence[int], variates: Variates) -> int:
    """Draw one id from scores (V,); see `tensor_draws.sample_one`."""
    if options.greedy or options.temperature == 0.0:
        return int(scores.argmax())
    probs = probabilities(scores, options)
    ids = np.argsort(-probs, kind="stable")
    if options.top_k:
        ids = ids[: options.top_k]
    ranked = probs[ids]
    if options.top_p < 1.0:
        taken = np.add.accumulate(ranked, dtype=np.float32)
        ranked = ranked[: 1 + np.count_nonzero(taken[:-1] < np.float32(options.top_p))]
    if options.min_p > 0.0:
        ranked = ranked[: np.count_nonzero(ranked >= options.min_p * ranked[0])]
    chosen = int(ids[(ranked / variates.exponential(len(ranked))).argmax()])
    if not (options.ras_window and repeats(chosen, recent, options)):
        return chosen
    others = scores.copy()
    others[chosen] = -np.inf
    if others.max() == -np.inf:
        return chosen
    again = probabilities(others, options)
    return int((again / variates.exponential(len(again))).argmax())


def probabilities(scores: Array, options: Sampling) -> Array:
    """Softmax in float32 of scores (V,) over temperature."""
    wide = scores.astype(np.float32)
    if options.temperature not in (0.0, 1.0):
        wide = wide / np.float32(options.temperature)
    risen = np.exp(wide - wide.max())
    share: Array = risen / risen.sum()
    return share
