"""The vocoder in pieces: phase, noise, cross-fade, change of pace."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.vocoder_stream import HiFTStream, cross_fade
from mamtra_cli.codecs.flow_hift.windows import PaceState, change_pace


def in_pieces(vocoder: HiFTStream, mel: Tensor, sizes: list[int]) -> Tensor:
    """Speak (1, mel, T) piece by piece: (S,)."""
    state, waves = vocoder.start(), []
    pieces = list(mel.split(sizes, dim=2))
    for i, piece in enumerate(pieces):
        state, wave = vocoder.step(state, piece, final=i == len(pieces) - 1)
        waves.append(wave)
    return torch.cat(waves)


@pytest.fixture
def mel() -> Tensor:
    return torch.randn((1, 80, 120), generator=torch.Generator().manual_seed(0)) - 2


@pytest.mark.parametrize("seed", [None, 7], ids=["silent-source", "noisy-source"])
@pytest.mark.parametrize(
    "sizes", [[40, 80], [20] * 6, [3, 1, 50, 0, 66]], ids=["two", "six", "uneven"]
)
def test_source_in_pieces_equals_the_whole_source(
    monkeypatch: pytest.MonkeyPatch, small_hift: HiFT, mel: Tensor, sizes: list[int], seed: Any
) -> None:
    """With a filter that lets the source through, no join is left: phase and noise agree."""
    track = 150 + 50 * torch.sin(torch.arange(120) / 9)

    def f0(piece: Tensor) -> Tensor:
        return piece[:, 0]

    monkeypatch.setattr(small_hift, "f0", f0)
    monkeypatch.setattr(small_hift, "decode", lambda _, source: source[:, 0])
    mel[:, 0] = track
    vocoder = HiFTStream(hift=small_hift, context=6, overlap=4, guard=2, seed=seed)
    want = in_pieces(vocoder, mel, [120])
    got = in_pieces(vocoder, mel, sizes)
    assert got.shape == want.shape == (480 * 120,)
    assert (got - want).abs().max() < 2e-3
    assert want.abs().max() > 0.02


def test_phase_would_jump_without_its_carried_value(
    monkeypatch: pytest.MonkeyPatch, small_hift: HiFT, mel: Tensor
) -> None:
    """The test above can fail: the same pieces with the phase forgotten are far away."""
    monkeypatch.setattr(small_hift, "f0", lambda piece: piece[:, 0])
    monkeypatch.setattr(small_hift, "decode", lambda _, source: source[:, 0])
    mel[:, 0] = 123.4
    vocoder = HiFTStream(hift=small_hift, context=6, overlap=4, guard=2, seed=None)
    want = in_pieces(vocoder, mel, [120])
    state, head = vocoder.step(vocoder.start(), mel[:, :, :60], final=False)
    assert state.start > 0
    forgetful = type(state)(**{**vars(state), "turns": 0.0})
    _, tail = vocoder.step(forgetful, mel[:, :, 60:], final=True)
    assert (torch.cat((head, tail)) - want).abs().max() > 0.05


def test_wave_in_pieces_is_close_to_the_whole_wave(small_hift: HiFT, mel: Tensor) -> None:
    vocoder = HiFTStream(hift=small_hift, context=16, overlap=8, guard=12, seed=3)
    want = in_pieces(vocoder, mel, [120])
    got = in_pieces(vocoder, mel, [40, 40, 40])
    assert got.shape == want.shape
    assert ((got - want).norm() / want.norm()).item() < 5e-3


def test_cross_fade_weights_sum_to_one_and_start_with_the_old() -> None:
    level = torch.full((3840,), 0.7)
    torch.testing.assert_close(cross_fade(level, level), level)
    fade = cross_fade(torch.ones(1000), torch.zeros(1000))
    assert fade[0] > 0.999
    assert fade[-1] < 0.001
    assert (fade.diff() <= 0).all()


@pytest.mark.parametrize("speed", [0.5, 0.73, 1.0, 1.25, 2.0, 6.0], ids="speed-{}".format)
@pytest.mark.parametrize("size", [1, 7, 120], ids="pieces-of-{}".format)
def test_change_of_pace_in_pieces_equals_interpolation(
    mel: Tensor, speed: float, size: int
) -> None:
    state, out = PaceState(), []
    pieces = list(mel.split(size, dim=2))
    for i, piece in enumerate(pieces):
        state, part = change_pace(state, piece, speed, final=i == len(pieces) - 1)
        assert state.mel is None or state.mel.shape[2] <= 2 + 2 * max(1.0, speed) + size
        out.append(part)
    got = torch.cat(out, dim=2)
    frames = int(120 / speed)
    assert got.shape[2] == frames
    if frames * speed == 120:
        want = F.interpolate(mel, size=frames, mode="linear")
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_nothing_makes_no_sound(small_hift: HiFT, mel: Tensor) -> None:
    vocoder = HiFTStream(hift=small_hift, context=6, overlap=4, guard=2, seed=None)
    state, wave = vocoder.step(vocoder.start(), mel[:, :, :0], final=False)
    assert wave.shape == (0,)
    assert state.mel.shape == (1, 80, 0)
