"""Measuring drift: a slope that is there, one that is not, minutes, and pitch."""

import numpy as np
import pytest
import torch
from benchmarks.drift import by_minute, pitch_of, slope

RATE = 24_000


def test_slope_tells_drift_from_noise() -> None:
    minutes, draw = np.linspace(0, 10, 200), np.random.default_rng(0)
    noise = draw.normal(size=200)
    change, half = slope(minutes, 0.3 * minutes + noise)
    assert change - half < 0.3 < change + half
    change, half = slope(minutes, noise)
    assert abs(change) < half


def test_minutes_are_means_of_their_pieces() -> None:
    found = {"minute": np.array([0.1, 0.9, 1.5]), "rate": np.array([1.0, 3.0, 5.0])}
    assert by_minute(found, "rate") == [2.0, 5.0]


@pytest.mark.parametrize("pitch", [90.0, 170.0])
def test_pitch_is_found_and_noise_has_none(pitch: float) -> None:
    draw = torch.Generator().manual_seed(0)
    time, noise = torch.arange(RATE) / RATE, torch.randn(RATE, generator=draw)
    vowel = sum(0.8**k * torch.sin(2 * torch.pi * pitch * k * time) for k in range(1, 30))
    assert pitch_of(0.2 * vowel + 1e-3 * noise, RATE) == pytest.approx(pitch, rel=0.03)
    assert np.isnan(pitch_of(0.1 * noise, RATE))
