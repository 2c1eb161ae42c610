"""Where phones and columns stand on the rotary axis.

Published models count. Where a model knows how long its phones take, phones and columns share one
axis instead: each phone stands in the middle of the time it is expected to be spoken at, column p
at p, everything else before the first phone. A faster rate brings the phones nearer together.
Knows no modules.
"""

from collections.abc import Sequence
from itertools import accumulate

from mamtra_cli.families.zonos.config import LMConfig

USUAL_RATE = 15.0  # phones a second that durations are told for, and where nothing was said
BEFORE = -1.0  # where conditions without a time stand


def expected(config: LMConfig, ids: Sequence[int], rate: float | None) -> list[float] | None:
    """Frames that each phone is expected to take; None where the model counts positions.

    Args:
        config: knows the durations.
        ids: phones.
        rate: phones a second, None for the usual.
    """
    if not config.durations:
        return None
    stretch = USUAL_RATE / (rate or USUAL_RATE)
    return [config.durations[row] * stretch for row in ids]


def positions(
    config: LMConfig, ids: Sequence[int], rate: float | None, columns: int
) -> list[float] | None:
    """Where a prefix and the columns after it stand; None where the model counts positions."""
    frames = expected(config, ids, rate)
    if frames is None:
        return None
    laid: list[float] = []
    for each in config.conditions:
        if each.kind == "phones":
            ends = accumulate(frames)
            laid += [end - own / 2 for end, own in zip(ends, frames, strict=True)]
        else:
            laid.append(BEFORE)
    return laid + [float(column) for column in range(columns)]
