"""mini's speaker encoder: what goes in, what comes out, and that padding is not heard."""

import pytest
import torch

from mamtra_cli.codecs.flow_hift.config import SpeakerEncoderConfig
from mamtra_cli.codecs.flow_hift.speaker_encoder import SpeakerEncoder


@pytest.fixture
def encoder() -> SpeakerEncoder:
    torch.manual_seed(4)
    return SpeakerEncoder(SpeakerEncoderConfig(n_mels=20, width=16, layers=3, dim=12))


@pytest.mark.parametrize("length", [1, 2, 33, 60])
def test_padding_does_not_change_the_vector(encoder: SpeakerEncoder, length: int) -> None:
    fbank = torch.randn(2, 61, 20)
    vectors = encoder(fbank, torch.tensor([61, length]))
    assert vectors.shape == (2, 12)
    torch.testing.assert_close(vectors[1:], encoder(fbank[1:, :length]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16-autocast"])
def test_gradient_reaches_every_weight(encoder: SpeakerEncoder, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        vectors = encoder(torch.randn(2, 30, 20), torch.tensor([30, 1]))
    assert vectors.dtype == torch.float32
    vectors.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_default_vector_has_the_size_the_flow_reads() -> None:
    assert SpeakerEncoder(SpeakerEncoderConfig())(torch.randn(1, 20, 80)).shape == (1, 192)


def test_wrong_bins_are_refused_with_shapes(encoder: SpeakerEncoder) -> None:
    with pytest.raises(ValueError, match=r"\(1, 9, 80\), expected \(B, T, 20\)"):
        encoder(torch.zeros(1, 9, 80))
