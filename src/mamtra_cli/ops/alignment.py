"""The monotone path through scores of frames against symbols, and the frames each symbol takes.

NumPy, no torch: what makes the scores is not known here. A path begins at the first symbol, ends at
the last one, and may pass over a few symbols from one frame to the next, since a phone can be
shorter than a frame.
"""

import numpy as np
from numpy.typing import NDArray

MOST_PASSED = 3  # symbols that may lie between two frames


def monotone_counts_naive(scores: NDArray[np.float32], passed: int = MOST_PASSED) -> list[int]:
    """The slow twin of `monotone_counts`: every start of every step is tried."""
    frames, symbols = scores.shape
    stride = max(passed + 1, -(-(symbols - 1) // max(frames - 1, 1)))
    best = np.full((frames, symbols), -np.inf)
    came = np.zeros((frames, symbols), int)
    best[0, 0 if frames > 1 else symbols - 1] = 0.0
    for f in range(1, frames):
        for s in range(symbols):
            for before in range(s, max(-1, s - stride - 1), -1):
                if best[f - 1, before] > best[f, s]:
                    best[f, s], came[f, s] = best[f - 1, before], before
            best[f, s] += scores[f, s]
    return _counts(came, symbols)


def monotone_counts(scores: NDArray[np.float32], passed: int = MOST_PASSED) -> list[int]:
    """How many frames each symbol takes on the best monotone path.

    Args:
        scores: (F, N) logarithms, F and N at least 1; the first frame is the first symbol's, the
            last frame the last one's.
        passed: symbols without a frame that a step may pass over; more only where there are fewer
            frames than that needs.

    Returns:
        N counts with the sum F.
    """
    frames, symbols = scores.shape
    stride = max(passed + 1, -(-(symbols - 1) // max(frames - 1, 1)))
    best = np.full(symbols, -np.inf)
    best[0 if frames > 1 else symbols - 1] = 0.0
    came = np.zeros((frames, symbols), int)
    places = np.arange(symbols)
    for f in range(1, frames):
        far = np.full((stride + 1, symbols), -np.inf)
        for step in range(min(stride, symbols - 1) + 1):
            far[step, step:] = best[: symbols - step]
        chosen = far.argmax(0)
        came[f] = places - chosen
        best = far[chosen, places] + scores[f]
    return _counts(came, symbols)


def _counts(came: NDArray[np.int64], symbols: int) -> list[int]:
    """Follow the path back from the last symbol."""
    counts = [0] * symbols
    at = symbols - 1
    for f in range(len(came) - 1, -1, -1):
        counts[at] += 1
        at = int(came[f, at])
    return counts
