"""Measuring drift: a slope that is there, one that is not, and minutes."""

import numpy as np
from benchmarks.drift import by_minute, slope


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
