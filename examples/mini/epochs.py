"""Epochs of batches of similar length, for stages whose cost is that of the padded positions.

The batch of a step depends on the seed and the step alone, as `loop.py` asks.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
SPREAD = 6.0  # positions by which a length is blurred, so that epochs differ


class Epochs(Generic[T]):
    """Batches of at most so many padded positions.

    Args:
        rows: what is drawn from.
        sizes: positions that each row takes.
        positions: of a batch at most, padding included.
    """

    def __init__(self, rows: Sequence[T], sizes: Sequence[int], positions: int) -> None:
        self.rows, self.sizes, self.positions = rows, np.array(sizes), positions
        self.epoch, self.batches = 0, self._drawn(0)
        self.steps = len(self.batches)  # of an epoch

    def batch(self, step: int) -> list[T]:
        """The rows of a step."""
        epoch, at = divmod(step, self.steps)
        if epoch != self.epoch:
            self.epoch, self.batches = epoch, self._drawn(epoch)
        return self.batches[min(at, len(self.batches) - 1)]

    def _drawn(self, seed: int) -> list[list[T]]:
        rng = np.random.default_rng(seed)
        batches: list[list[T]] = [[]]
        longest = 0
        for i in np.argsort(self.sizes + rng.normal(0, SPREAD, len(self.rows))):
            longest = max(longest, int(self.sizes[i]))
            if batches[-1] and longest * (len(batches[-1]) + 1) > self.positions:
                batches.append([])
                longest = int(self.sizes[i])
            batches[-1].append(self.rows[i])
        return [batches[i] for i in rng.permutation(len(batches))]
