"""What holds speech moves; noise, hum and tones do not, however loud and however they swell."""

import numpy as np
import pytest
from tests.sounds import speech

from mamtra_cli.recipes import ClipLimits
from mamtra_cli.voices.activity import measure_activity

RATE = 16_000
TIME = np.arange(4 * RATE) / RATE
NOISE = np.random.default_rng(0).standard_normal(len(TIME))
SWELL = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * TIME)
LIMITS = ClipLimits()


def sines(*pitches: float) -> np.ndarray:
    return sum((np.sin(2 * np.pi * pitch * TIME) for pitch in pitches), np.zeros(len(TIME)))


OTHERS = {
    "white": NOISE,
    "brown": np.cumsum(NOISE - NOISE.mean()),
    "noise-that-swells": NOISE * SWELL,
    "bursts": NOISE * (3 * TIME % 1 < 0.4),
    "hum": sines(50),
    "hum-with-overtones": np.sign(sines(60)),
    "tone": sines(440),
    "tone-that-swells": sines(200) * SWELL,
    "chord": sines(220, 440, 1000),
    "sweep": np.sin(2 * np.pi * (100 * TIME + 300 * TIME**2)),
    "siren": np.sin(2 * np.pi * (600 * TIME + 100 * np.sin(2 * np.pi * TIME))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_sounds_are_told_from_speech(name: str) -> None:
    found = measure_activity(0.1 * OTHERS[name], RATE)
    assert found.movement < LIMITS.min_movement or found.purity > LIMITS.max_purity


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
def test_speech_is_speech_at_every_rate(rate: int) -> None:
    found = measure_activity(speech(rate=rate), rate)
    assert found.movement > LIMITS.unvoiced_movement
    assert found.voiced > 0.3
    assert found.purity < LIMITS.max_purity
    assert found.snr > LIMITS.good_snr


def test_noise_lowers_the_distance_and_not_the_judgement() -> None:
    clean = speech()
    told = [
        measure_activity(clean + level * clean.std() * NOISE, RATE) for level in (0.03, 0.1, 0.3)
    ]
    assert [found.snr for found in told] == sorted((f.snr for f in told), reverse=True)
    assert all(found.movement > LIMITS.min_movement for found in told)
