"""Windows of the codec give what one pass gives, however the frames arrive."""

import pytest
import torch

from mamtra_cli.codecs.dac.config import DacConfig
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.codecs.dac.stream import DacStream

TINY = DacConfig(encoder_width=4, decoder_width=64, latent=16, codes=32, strides=(2, 2, 4))


@pytest.fixture(scope="module")
def dac() -> Dac:
    torch.manual_seed(0)
    model = Dac(TINY).double().eval()
    for value in model.decoder.parameters():
        torch.nn.init.normal_(value, std=0.2) if value.dim() > 1 else None
    return model


def frames(count: int) -> list[tuple[int, ...]]:
    ids = torch.randint(TINY.codes, (count, TINY.codebooks), generator=torch.manual_seed(count))
    return [tuple(row) for row in ids.tolist()]


def once(dac: Dac, said: list[tuple[int, ...]]) -> torch.Tensor:
    with torch.no_grad():
        return dac.decode(torch.tensor(said).T[None])[0].float()


@pytest.mark.parametrize("sizes", [(1,) * 90, (90,), (7, 80, 3), (0, 40, 50)], ids=str)
def test_any_cut_gives_the_samples_of_one_pass(dac: Dac, sizes: tuple[int, ...]) -> None:
    said = frames(90)
    stream = DacStream(dac, first=4, window=16)
    state, waves, at = stream.start(), [], 0
    for size in sizes:
        state, wave = stream.push(state, said[at : at + size])
        waves.append(wave)
        at += size
    waves.append(stream.finish(state))
    torch.testing.assert_close(torch.cat(waves), once(dac, said), atol=1e-7, rtol=0)
    torch.testing.assert_close(stream.whole(said), once(dac, said), atol=1e-7, rtol=0)


def test_speech_goes_on_from_the_frames_of_a_clip(dac: Dac) -> None:
    said, stream = frames(60), DacStream(dac, first=4, window=16)
    state, wave = stream.push(stream.after(said[:40]), said[40:])
    going_on = torch.cat((wave, stream.finish(state)))
    torch.testing.assert_close(going_on, once(dac, said)[40 * TINY.hop :], atol=1e-7, rtol=0)
    assert stream.after([]).heard == 0


def test_reach_is_needed_and_enough() -> None:
    decoder = Dac(TINY).double().decoder
    for value in decoder.parameters():
        torch.nn.init.normal_(value, std=0.1) if value.dim() > 1 else None
    latent = torch.randn(1, TINY.latent, 61, dtype=torch.double, requires_grad=True)
    wave = decoder(latent)[0, 0, 30 * TINY.hop : 31 * TINY.hop]
    (grad,) = torch.autograd.grad(wave.square().sum(), latent)
    touched = grad[0].abs().amax(dim=0).nonzero()
    assert (int(touched.min()), int(touched.max())) == (30 - TINY.reach, 30 + TINY.reach)
    assert DacConfig().reach == 10


def test_first_sound_comes_after_the_frames_it_depends_on(dac: Dac) -> None:
    stream = DacStream(dac, first=4, window=16)
    said = frames(TINY.reach + 4)
    state, wave = stream.push(stream.start(), said[:-1])
    assert len(wave) == 0
    _, wave = stream.push(state, said[-1:])
    assert len(wave) == 4 * TINY.hop


def test_frames_that_are_none_are_refused(dac: Dac) -> None:
    stream = DacStream(dac)
    with pytest.raises(ValueError, match="frames of 2 ids, expected 9"):
        stream.push(stream.start(), [(1, 2)])
    with pytest.raises(ValueError, match=r"0\.\.31"):
        stream.push(stream.start(), [(32,) * 9])
    assert len(stream.whole([])) == 0


def test_clips_become_frames(dac: Dac) -> None:
    stream = DacStream(dac)
    made = stream.encode(torch.randn(100, dtype=torch.double, generator=torch.manual_seed(0)))
    assert len(made) == TINY.padded(100) // TINY.hop
    assert all(len(frame) == TINY.codebooks for frame in made)
