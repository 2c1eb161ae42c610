import numpy as np
import pytest

from mamtra_cli.ops.alignment import monotone_counts, monotone_counts_naive


@pytest.mark.parametrize(("frames", "symbols"), [(1, 1), (1, 4), (9, 1), (40, 12), (5, 23)])
def test_monotone_counts_match_naive(frames: int, symbols: int) -> None:
    scores = np.random.default_rng(frames).standard_normal((frames, symbols)).astype(np.float32)
    counts = monotone_counts(scores)
    assert counts == monotone_counts_naive(scores)
    assert sum(counts) == frames


def test_a_clear_diagonal_is_followed() -> None:
    owners = np.repeat(np.arange(5), [3, 0, 4, 1, 2])
    scores = np.full((10, 5), -9.0, np.float32)
    scores[np.arange(10), owners] = 0.0
    assert monotone_counts(scores) == [3, 0, 4, 1, 2]
