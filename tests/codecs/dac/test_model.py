"""The codec against transformers' model of the same names; its lengths against published ones."""

import json
from pathlib import Path

import pytest
import torch

from mamtra_cli.codecs.dac.config import DacConfig
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.errors import UsageError
from mamtra_cli.features import resample_sinc

TINY = DacConfig(encoder_width=4, decoder_width=48, latent=16, codes=32, strides=(2, 4))


@pytest.fixture(scope="module")
def pair() -> tuple[Dac, torch.nn.Module]:
    """Ours and transformers', with the same random weights."""
    dac = pytest.importorskip("transformers.models.dac.modeling_dac")
    torch.manual_seed(0)
    ours = Dac(TINY).eval()
    config = dac.DacConfig(
        encoder_hidden_size=TINY.encoder_width,
        decoder_hidden_size=TINY.decoder_width,
        downsampling_ratios=list(TINY.strides),
        upsampling_ratios=list(reversed(TINY.strides)),
        hidden_size=TINY.latent,
        codebook_size=TINY.codes,
        n_codebooks=TINY.codebooks,
        codebook_dim=TINY.code_dim,
        sampling_rate=TINY.sample_rate,
    )
    theirs = dac.DacModel(config).eval()
    with torch.no_grad():
        for value in ours.parameters():
            value.normal_(std=0.3) if value.dim() > 1 else None
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_decoding_agrees_with_transformers(pair: tuple[Dac, torch.nn.Module]) -> None:
    ours, theirs = pair
    ids = torch.randint(TINY.codes, (2, TINY.codebooks, 7), generator=torch.manual_seed(1))
    with torch.no_grad():
        expected = theirs.decode(audio_codes=ids).audio_values
        torch.testing.assert_close(ours.decode(ids), expected, atol=1e-6, rtol=0)


def test_encoding_agrees_with_transformers(pair: tuple[Dac, torch.nn.Module]) -> None:
    ours, theirs = pair
    wave = torch.randn(2, 8 * 50, generator=torch.manual_seed(2)) / 4
    with torch.no_grad():
        expected = theirs.encode(wave[:, None]).audio_codes
        assert torch.equal(ours.encode(wave), expected)
        # Silence fills the last frame.
        assert torch.equal(
            ours.encode(wave[:, :397]), ours.encode(wave * (torch.arange(400) < 397))
        )


def test_full_size_has_the_published_tensors() -> None:
    dac = pytest.importorskip("transformers.models.dac.modeling_dac")
    with torch.device("meta"):
        ours, theirs = Dac(DacConfig()), dac.DacModel(dac.DacConfig(sampling_rate=44_100))
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert shapes == {name: value.shape for name, value in theirs.state_dict().items()}
    assert sum(value.numel() for value in ours.parameters()) == 76_620_777


def test_lengths_are_the_published_ones(goldens: Path) -> None:
    cases = json.loads((goldens / "zonos/dac_preprocess_lengths.json").read_text("utf-8"))
    config = DacConfig()
    assert config.hop == 512
    assert config.frame_rate == pytest.approx(86.13, abs=0.01)
    for case in cases:
        wave = resample_sinc(torch.zeros(case["samples"]), case["sr"], config.sample_rate)
        assert config.padded(wave.shape[-1]) == case["out"]


def test_strides_are_even() -> None:
    with pytest.raises(UsageError, match="even numbers"):
        DacConfig(strides=(2, 5))
