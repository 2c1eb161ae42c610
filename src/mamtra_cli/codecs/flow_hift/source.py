"""The source of the source-filter vocoder over arrays: pulses from a track of pitch, and what its
filters are laid out by. Sizes and numbers that the networks (source_filter.py) share are here.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.codecs.flow_hift.config import SourceFilterConfig

Array = NDArray[np.float32]
PITCH_ZERO = 150.0  # Hz of log pitch 0
PITCH_RANGE = (40.0, 600.0)  # Hz
MAX_LOG_GAIN = 6.0
PRE_KERNEL, PRE_AHEAD = 5, 2
PITCH_KERNEL, PITCH_AHEAD = 5, 1
NEAR_PULSE = 1e-4  # sine below which the pulse train takes its limit


def pasts(config: SourceFilterConfig) -> list[int]:
    """Frames behind it that each layer with a context sees, in the order of the graph."""
    return [
        *[PITCH_KERNEL - 1 - PITCH_AHEAD] * config.pitch_layers,
        PRE_KERNEL - 1 - PRE_AHEAD,
        *[config.kernel - 1 - config.ahead] * config.blocks,
        *[config.kernel - 1 - config.fine_ahead] * config.fine_blocks,
    ]


def pulses(config: SourceFilterConfig, track: Array, turns: float) -> tuple[Array, float]:
    """Pulses of frames whose neighbours are known.

    Args:
        config: sizes.
        track: (2, n + 2) voicing from 0 to 1 and log2 of pitch over `PITCH_ZERO`.
        turns: of the pulses so far, modulo 1.

    Returns:
        (S,) pulses of the n frames, and the turns after them.
    """
    size = config.samples_per_frame
    f0 = (PITCH_ZERO * np.exp2(track[1])).clip(*PITCH_RANGE)
    values = np.stack((track[0], f0)).astype(np.float32)
    edges = (values[:, :-1] + values[:, 1:]) / 2  # between frames
    ramp = ((np.arange(size) + 0.5) / size).astype(np.float32)
    before, after = edges[:, :-1, None], edges[:, 1:, None]
    fine: Array = (before + ramp * (after - before)).reshape(2, -1).astype(np.float32)
    voicing, pitch = fine
    cycles = turns + np.cumsum(pitch.astype(np.float64) / config.sample_rate)
    train = pulse_train(np.remainder(cycles, 1.0).astype(np.float32), pitch, config.pulse_fmax)
    return voicing * train, float(np.remainder(cycles[-1], 1.0))


def pulse_train(turns: Array, f0: Array, highest: float) -> Array:
    """See `source_filter.pulse_train`."""
    multiples = np.float32(highest) / f0
    count = np.floor(multiples) - 1
    x = np.float32(math.pi) * turns
    sine = np.sin(x)
    near = abs(sine) < NEAR_PULSE
    ratio = np.sin((2 * count + 1) * x) / np.where(near, np.float32(1.0), sine)
    kernel = np.where(near, 2 * count + 1, ratio)
    last = (multiples - count - 1) * np.cos(2 * (count + 1) * x)
    train: Array = ((kernel - 1) / 2 + last) * np.sqrt(2 / multiples)
    return train


def band_map(config: SourceFilterConfig) -> Array:
    """(F, bins) weights that carry a value of each mel band to the bins around its centre."""
    hertz = np.linspace(0, config.sample_rate / 2, config.bins)
    top = _slaney(np.array([config.mel_fmax]))
    place = (_slaney(hertz) / top * (config.mel_bins + 1) - 1).clip(0, config.mel_bins - 1)
    low = np.minimum(np.floor(place).astype(int), config.mel_bins - 2)
    weights = np.zeros((config.mel_bins, config.bins), np.float32)
    bins = np.arange(config.bins)
    weights[low, bins] = 1 - (place - low)
    weights[low + 1, bins] = place - low
    return weights


def _slaney(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel of frequencies in Hz."""
    log = 15 + np.log(np.maximum(hertz, 1000) / 1000) / (math.log(6.4) / 27)
    return np.where(hertz < 1000, hertz * 3 / 200, log)
