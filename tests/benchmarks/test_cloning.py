"""The judges of `benchmarks/cloning.py`: what they must not mind, and what they must tell."""

import numpy as np
import pytest
import torch
from benchmarks.cloning import SPEAKERS, cepstra, judge, pitch_of

RATE = 24_000


def vowel(pitch: float, bright: float, seconds: float = 1.0) -> torch.Tensor:
    """A pulse train whose harmonics fall off faster where `bright` is small."""
    time = torch.arange(round(seconds * RATE)) / RATE
    tones = [bright**k * torch.sin(2 * torch.pi * pitch * k * time) for k in range(1, 30)]
    noise = 1e-3 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return 0.2 * torch.stack(tones).sum(0) + noise


def test_cepstra_hear_colour_not_loudness() -> None:
    dull, bright = cepstra(vowel(120, 0.6), RATE), cepstra(vowel(120, 0.95), RATE)
    quiet = cepstra(0.25 * vowel(120, 0.6), RATE)
    assert np.linalg.norm(dull - quiet) < 0.05 * np.linalg.norm(dull - bright)


def test_cepstra_leave_out_silence() -> None:
    padded = torch.cat((vowel(120, 0.8), 1e-5 * torch.randn(RATE)))
    far = np.linalg.norm(cepstra(vowel(120, 0.8), RATE) - cepstra(vowel(120, 0.6), RATE))
    assert np.linalg.norm(cepstra(padded, RATE) - cepstra(vowel(120, 0.8), RATE)) < 0.1 * far


@pytest.mark.parametrize("pitch", [90.0, 170.0])
def test_pitch_is_found_and_noise_has_none(pitch: float) -> None:
    found, share = pitch_of([vowel(pitch, 0.8)], RATE)
    assert found == pytest.approx(pitch, rel=0.03)
    assert share > 0.8
    noise = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    assert pitch_of([noise], RATE)[1] < 0.1


def test_verdict_names_who_it_was_taken_for() -> None:
    near = iter([[0.9, 0.5, 0, 0, 0], [0.4, 0.6, 0, 0, 0]])
    waves = [vowel(120, 0.8, 0.5)] * 2
    found = judge("x", SPEAKERS[0], "encoder", lambda _: np.array(next(near)), waves, RATE)
    assert found.right == 0.5
    assert found.mistaken == {SPEAKERS[1]: 1}
    assert found.own == pytest.approx(0.65)
    assert found.other == pytest.approx(0.55)
