"""Sounds that are like speech to a program: a buzz with formants that move, in a given file."""

import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 24_000
CLIP_RATE = 16_000
FORMANTS = np.array(((700, 1100), (300, 2300), (500, 900), (400, 1900), (600, 1700)))


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


def speech(seconds: float = 4.0, rate: int = CLIP_RATE, level: float = 0.3) -> NDArray[np.float32]:
    """Samples (S,) of a buzz through formants that change four times a second, a hiss between."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * 0.7 * time)) / rate
    syllable = (4 * time).astype(int) % len(FORMANTS)
    harmonics = np.arange(1, int(min(4000, 0.45 * rate) / 120))
    away = (harmonics[:, None, None] * 120 - FORMANTS) / 120.0
    turn = np.exp(1j * phase)
    turned, wave = np.ones_like(turn), np.zeros(len(time))
    for loudness in (1 / (1 + away**2)).sum(axis=2):
        turned *= turn
        wave += loudness[syllable] * turned.imag
    within = 4 * time % 1
    hiss = np.diff(np.random.default_rng(0).standard_normal(len(time) + 1))
    wave = np.where(within < 0.7, wave / wave.std(), 0.25 * hiss) * np.sin(np.pi * within) ** 2
    return (level * 0.3 * wave).astype(np.float32)


def write(
    path: Path, samples: NDArray[np.floating], rate: int = CLIP_RATE, subtype: str = "FLOAT"
) -> Path:
    """Write samples; the format is that of the file name."""
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def sound_bytes(seconds: float = 1.0, seed: int = 0, kind: str = "FLAC") -> bytes:
    """A buzz as the bytes of a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, buzz(seconds, seed), RATE, format=kind)
    return buffer.getvalue()
