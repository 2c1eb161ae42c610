"""The source-filter vocoder: its source, its filters before training, any pieces as the whole."""

import pytest
import torch
from torch import Tensor

from mamtra_cli import features
from mamtra_cli.codecs.flow_hift.config import SOURCE_FILTER_PIECE, SourceFilterConfig
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter, pulse_train
from mamtra_cli.codecs.flow_hift.vocoder_stream import SourceFilterStream
from mamtra_cli.live_bytes import live_peak

FRAMES = 40


@pytest.fixture(scope="module")
def vocoder() -> SourceFilter:
    """A small vocoder whose weights are drawn wide, so that every layer is heard. Read-only."""
    torch.manual_seed(0)
    config = SourceFilterConfig(
        width=24, blocks=2, ahead=2, fine_blocks=2, pitch_width=16, pitch_layers=2
    )
    made = SourceFilter(config).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    return made


@pytest.fixture
def mel() -> Tensor:
    return torch.randn((1, 80, FRAMES), generator=torch.Generator().manual_seed(1)) - 3


@pytest.mark.parametrize(
    "sizes", [[FRAMES], [1] * FRAMES, [7, 0, 20, 13], [39, 1], [3, 37]], ids=str
)
@pytest.mark.parametrize("seed", [None, 7], ids=["no-noise", "noise"])
def test_any_pieces_make_the_sound_of_the_whole(
    vocoder: SourceFilter, mel: Tensor, sizes: list[int], seed: int | None
) -> None:
    stream = SourceFilterStream(vocoder=vocoder, seed=seed)
    want = stream.step(stream.start(), mel, final=True)[1]
    state, waves = stream.start(), []
    for i, part in enumerate(mel.split(sizes, dim=2)):
        state, wave = stream.step(state, part, final=i == len(sizes) - 1)
        waves.append(wave)
    got = torch.cat(waves)
    assert got.shape == want.shape == (FRAMES * vocoder.config.samples_per_frame,)
    assert want.abs().max() > 0.01
    # The last digit of a float32 pitch moves the phase of the highest harmonics.
    assert (got - want).abs().max() < 1e-3 * want.abs().max()


def test_sound_waits_for_the_frames_ahead_and_no_longer(vocoder: SourceFilter, mel: Tensor) -> None:
    """2 + 2 * 2 frames of the slow layers, 2 * 2 filters, and 180 samples of a window."""
    stream = SourceFilterStream(vocoder=vocoder, seed=None)
    heard = stream.step(stream.start(), mel, final=False)[1]
    assert heard.shape == ((FRAMES - 6) * 480 - 4 * 120 - 180,)


def test_scratch_of_a_stream_does_not_grow_with_a_piece(vocoder: SourceFilter) -> None:
    stream, peaks = SourceFilterStream(vocoder=vocoder, seed=0), []
    for frames in (3 * SOURCE_FILTER_PIECE, 9 * SOURCE_FILTER_PIECE):
        mel = torch.zeros(1, 80, frames)
        peak, _ = live_peak(lambda mel=mel: stream.step(stream.start(), mel, final=True))
        peaks.append(peak - 4 * 480 * frames)  # the sound itself grows
    assert peaks[1] < 1.5 * peaks[0]


def test_nothing_makes_no_sound(vocoder: SourceFilter) -> None:
    stream = SourceFilterStream(vocoder=vocoder, seed=0)
    for final in (False, True):
        assert stream.step(stream.start(), torch.zeros(1, 80, 0), final=final)[1].shape == (0,)


def test_whole_call_is_the_stream(vocoder: SourceFilter, mel: Tensor) -> None:
    draws = torch.randn(1, FRAMES * 480)
    rows = torch.cat((mel, mel.flip(2)))
    both = vocoder(rows, noise=draws)
    assert both.dtype == torch.float32
    torch.testing.assert_close(both[:1], vocoder(mel, noise=draws), atol=3e-4, rtol=0)
    again = [vocoder(mel, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)


def test_pulses_are_the_harmonics_below_the_limit_at_equal_power() -> None:
    f0 = torch.full((1, 24_000), 200.0)
    turns = torch.remainder(f0.double().cumsum(1) / 24_000, 1.0).float()
    pulses = pulse_train(turns, f0, 11_800.0)
    power = 2 * torch.fft.rfft(pulses[0] / 24_000).abs().square()
    lines = power[200:11_601:200]
    torch.testing.assert_close(lines, torch.full_like(lines, 1 / 59), atol=1e-5, rtol=1e-2)
    assert power.sum() == pytest.approx(58 / 59, rel=1e-2)


def test_no_harmonic_comes_at_once() -> None:
    """Across a pitch where one more fits, the pulses go on without a step."""
    turns = torch.full((1, 2), 0.37)
    below, above = pulse_train(turns, torch.tensor([[199.9999, 200.0001]]), 11_800.0)[0]
    assert below == pytest.approx(float(above), abs=1e-4)


def test_untrained_filters_follow_the_mel() -> None:
    """Before any training the sound has the mel's own shape over frequency and time."""
    torch.manual_seed(0)
    vocoder = SourceFilter(SourceFilterConfig())
    mel = torch.full((1, 80, 60), -7.0)
    mel[:, 10:30, 20:40] = -2.0
    with torch.no_grad():
        made = features.mel24k(vocoder(mel, generator=torch.Generator().manual_seed(0)))[0]
    loud = made[12:28, 24:36].mean()
    assert loud - made[40:70, 24:36].mean() > 3
    assert loud - made[12:28, :14].mean() > 3
    assert loud == pytest.approx(-2.0, abs=2.5)


def test_training_with_a_given_pitch_reaches_every_filter_weight(mel: Tensor) -> None:
    vocoder = SourceFilter(SourceFilterConfig(width=16, blocks=2, fine_blocks=1, pitch_width=8))
    logit, log_pitch = vocoder.pitch_of(mel)
    assert logit.shape == log_pitch.shape == (1, FRAMES)
    wave = vocoder.render(mel, torch.sigmoid(logit), log_pitch)
    wave.square().sum().backward()
    missed = {name for name, p in vocoder.named_parameters() if p.grad is None}
    assert missed == {name for name, _ in vocoder.named_parameters() if name.startswith("pitch.")}


def test_a_pitch_that_looks_further_than_the_filters_is_refused() -> None:
    with pytest.raises(ValueError, match="the pitch sees further ahead"):
        SourceFilter(SourceFilterConfig(blocks=1, pitch_layers=4))
