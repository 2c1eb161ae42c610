"""Waves as every judge hears them."""

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import LISTENING_RATE, resample

Vector = NDArray[np.float32]


def narrow(wave: Vector, rate: int) -> Vector:
    """A mono wave (T,) at 16 kHz."""
    if wave.ndim != 1:
        raise ValueError(f"expected a mono wave (T,), got {wave.shape}")
    return np.ascontiguousarray(resample(wave, rate, LISTENING_RATE), np.float32)
