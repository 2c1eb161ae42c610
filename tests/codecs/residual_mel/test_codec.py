"""Frames in any pieces make the sound of one pass, and a clip before them is not heard."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mamtra_cli.codecs.base import Frame, SoundOptions
from mamtra_cli.codecs.flow_hift.config import SourceFilterConfig
from mamtra_cli.codecs.residual_mel.codec import ResidualMelCodec
from mamtra_cli.codecs.residual_mel.config import ResidualMelConfig
from mamtra_cli.codecs.residual_mel.model import ResidualMel
from mamtra_cli.errors import UsageError

TINY = ResidualMelConfig(
    width=8,
    blocks=1,
    latent=6,
    codebooks=3,
    codes=16,
    vocoder=SourceFilterConfig(width=8, blocks=2, fine_blocks=1, pitch_width=8, pitch_layers=2),
)


@pytest.fixture(scope="module")
def codec() -> ResidualMelCodec:
    torch.manual_seed(0)
    return ResidualMelCodec(ResidualMel(TINY).eval())


def frames(count: int) -> list[Frame]:
    drawn = torch.randint(TINY.codes, (count, TINY.codebooks), generator=torch.manual_seed(count))
    return [tuple(row) for row in drawn.tolist()]


def pieces(codec: ResidualMelCodec, said: Sequence[Frame], sizes: Sequence[int]) -> Tensor:
    state, waves, at = codec.start((), SoundOptions(seed=3)), [], 0
    for size in sizes:
        state, wave = codec.push(state, said[at : at + size])
        waves.append(wave)
        at += size
    return torch.cat((*waves, codec.finish(state)))


@pytest.mark.parametrize("sizes", [(1,) * 30, (30,), (7, 0, 20, 3)], ids=str)
def test_any_cut_gives_the_samples_of_one_pass(
    codec: ResidualMelCodec, sizes: tuple[int, ...]
) -> None:
    said = frames(30)
    whole = codec.whole(said, (), SoundOptions(seed=3))
    assert len(whole) == 30 * TINY.hop
    torch.testing.assert_close(pieces(codec, said, sizes), whole, atol=1e-5, rtol=0)


def test_windows_of_long_speech_are_not_heard(
    codec: ResidualMelCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = frames(30)
    whole = codec.whole(said, (), SoundOptions(seed=3))
    monkeypatch.setattr("mamtra_cli.codecs.residual_mel.codec.WINDOW", 8)
    torch.testing.assert_close(
        codec.whole(said, (), SoundOptions(seed=3)), whole, atol=1e-5, rtol=0
    )


def test_the_sound_of_a_clip_is_dropped(codec: ResidualMelCodec) -> None:
    said = frames(30)
    going_on = codec.whole(said[20:], said[:20], SoundOptions(seed=3))
    whole = codec.whole(said, (), SoundOptions(seed=3))
    torch.testing.assert_close(going_on, whole[20 * TINY.hop :], atol=1e-5, rtol=0)
    assert not len(codec.whole((), (), SoundOptions()))


def test_a_clip_becomes_whole_frames_that_are_nearest(codec: ResidualMelCodec) -> None:
    wave = torch.randn(10 * TINY.hop - 5, generator=torch.manual_seed(0)) * 0.1
    said = codec.encode(wave)
    assert (len(said), {len(frame) for frame in said}) == (10, {TINY.codebooks})
    quantizer = codec.model.quantizer
    ids = torch.tensor(said).T[None]
    left = codec.model.latent(codec.model.mel(wave[None]))[0].T  # (F, latent)
    for book, codes in enumerate(quantizer.codes):
        assert torch.equal(torch.cdist(left, codes).argmin(1), ids[0, book])
        left = left - codes[ids[0, book]]


@pytest.mark.parametrize("said", [[(0, 1)], [(0, 1, 16)], [(0, -1, 2)]], ids=str)
def test_frames_of_another_codec_are_refused(codec: ResidualMelCodec, said: list[Frame]) -> None:
    with pytest.raises(ValueError, match="ids"):
        codec.whole(said, (), SoundOptions())


def test_what_it_cannot_do_is_refused(codec: ResidualMelCodec) -> None:
    for options in (SoundOptions(speed=1.5), SoundOptions(steps=3)):
        with pytest.raises(UsageError):
            codec.start((), options)
    with pytest.raises(UsageError, match="samples of a mel frame"):
        replace(TINY, mel=replace(TINY.mel, hop=240))
    with pytest.raises(UsageError, match="codes"):
        replace(TINY, codes=0)
