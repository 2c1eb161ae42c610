"""Intervals and rank correlation, by resampling sentences or rows.

All seeded; plain numpy. A rate is a ratio of sums (errors by words, nats by tokens), so that a
long sentence weighs more, and the resampled unit is the sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def rate(counts: Sequence[float], sizes: Sequence[float], *, seed: int = 0) -> Estimate:
    """Sum of counts over sum of sizes, resampled by item."""
    top, bottom = np.asarray(counts, float), np.asarray(sizes, float)
    picks = np.random.default_rng(seed).integers(0, len(top), (ROUNDS, len(top)))
    sampled = top[picks].sum(1) / bottom[picks].sum(1)
    return _estimate(float(top.sum() / bottom.sum()), sampled)


def rate_difference(
    ours: Sequence[float], theirs: Sequence[float], sizes: Sequence[float], *, seed: int = 0
) -> Estimate:
    """Difference of two rates on the same items, resampled in pairs."""
    gaps = np.asarray(ours, float) - np.asarray(theirs, float)
    return rate(gaps.tolist(), sizes, seed=seed)


def spearman(x: Sequence[float], y: Sequence[float], *, seed: int = 0) -> Estimate:
    """Rank correlation, ties at their mean rank; resampled by pair."""
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) != len(b) or len(a) < 3:
        raise ValueError(f"spearman needs three or more pairs, got {len(a)} and {len(b)}")
    generator = np.random.default_rng(seed)
    sampled = []
    while len(sampled) < ROUNDS:
        picks = generator.integers(0, len(a), len(a))
        if len(set(a[picks])) > 1 and len(set(b[picks])) > 1:
            sampled.append(_pearson(ranks(a[picks]), ranks(b[picks])))
    return _estimate(_pearson(ranks(a), ranks(b)), np.asarray(sampled))


def ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    placed = np.empty(len(values))
    placed[order] = np.arange(1, len(values) + 1)
    for value in np.unique(values):
        same = values == value
        placed[same] = placed[same].mean()
    return placed


def _pearson(a: Floats, b: Floats) -> float:
    first, second = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0


def _estimate(value: float, sampled: Floats) -> Estimate:
    low, high = np.percentile(sampled, [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high))
