"""Sounds that are like speech to a program: a buzz with formants that move, in a given file."""

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 24_000


def buzz(seconds: float, seed: int = 0, rate: int = RATE) -> NDArray[np.float32]:
    """Samples (S,) float32 of a buzz whose pitch and colour wander with the seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 60 * rng.random() + 20 * np.sin(2 * np.pi * (2 + rng.random()) * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    colour = 0.5 + 0.5 * np.sin(2 * np.pi * (3 + 2 * rng.random()) * time)
    sound = sum(np.sin(k * phase) * colour ** (k / 4) / k for k in range(1, 12))
    noise = 0.01 * rng.standard_normal(len(time))
    return (0.2 * (sound + noise)).astype(np.float32)


def write_sound(path: Path, seconds: float = 1.0, seed: int = 0, rate: int = RATE) -> Path:
    """Write a buzz; the format is that of the file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, buzz(seconds, seed, rate), rate)
    return path


def sound_bytes(seconds: float = 1.0, seed: int = 0, kind: str = "FLAC") -> bytes:
    """A buzz as the bytes of a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, buzz(seconds, seed), RATE, format=kind)
    return buffer.getvalue()
