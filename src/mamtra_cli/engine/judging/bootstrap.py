"""Intervals for rates by the bootstrap over sentences, for one model and for the difference of two.

Every measure here is a ratio of sums over sentences (a rate pools errors and words, a mean has
ones below). Sentences are drawn with replacement; all that belongs to one (its seeds, its words,
both models' versions of it) is drawn together, so the interval says how the figure would move
with other sentences of the same kind, not with another voice, recogniser or training run.
Percentile intervals after Efron, "Bootstrap methods: another look at the jackknife", 1979; drawing
sentences for word errors and for differences after Bisani and Ney, "Bootstrap estimates for
confidence intervals in ASR performance evaluation", 2004. Knows numbers only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 2000
TAILS = (2.5, 97.5)
CELLS = 4_000_000  # draws held at once

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two sums over the same sentences, in their order.

    above, below: (N,) float64; a sentence that does not count is 0 in both.
    """

    above: Numbers
    below: Numbers

    def __post_init__(self) -> None:
        if self.above.ndim != 1 or self.above.shape != self.below.shape:
            raise ValueError(f"expected two (N,), got {self.above.shape} and {self.below.shape}")

    @property
    def value(self) -> float:
        """The ratio; NaN where nothing counts."""
        below = float(self.below.sum())
        return float(self.above.sum()) / below if below else float("nan")

    def drawn(self, picks: NDArray[np.int64]) -> Numbers:
        """The ratio of each drawing. picks: (rounds, N) indices."""
        below = self.below[picks].sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Numbers = self.above[picks].sum(1) / below
        return found


def interval(
    ratio: Ratio, other: Ratio | None = None, *, rounds: int = ROUNDS, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % interval of a ratio, or of `ratio - other` with both drawn together.

    Args:
        ratio: of N sentences.
        other: of the same N sentences, or `None`.
        rounds: drawings.
        seed: of the drawings; the same seed draws the same sentences for every measure.

    Returns:
        low and high, or `None` where fewer than two sentences count, or none in any drawing.
    """
    size = len(ratio.above)
    if other is not None and len(other.above) != size:
        raise ValueError(f"{size} sentences against {len(other.above)}")
    counted = ratio.below != 0 if other is None else (ratio.below != 0) & (other.below != 0)
    if int(counted.sum()) < 2:
        return None
    generator = np.random.default_rng(seed)
    step = max(1, CELLS // size)
    parts = []
    for start in range(0, rounds, step):
        picks = generator.integers(0, size, (min(step, rounds - start), size))
        values = ratio.drawn(picks)
        parts.append(values if other is None else values - other.drawn(picks))
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, TAILS)
    return float(low), float(high)
