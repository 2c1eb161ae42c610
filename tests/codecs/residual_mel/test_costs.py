"""Formulas of the codec against its modules, in one pass and in windows."""

import pytest
import torch
from tests.codecs.residual_mel.test_codec import TINY

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.residual_mel import costs
from mamtra_cli.codecs.residual_mel.codec import ResidualMelCodec
from mamtra_cli.codecs.residual_mel.config import WINDOW, ResidualMelConfig
from mamtra_cli.codecs.residual_mel.model import ResidualMel
from mamtra_cli.live_bytes import live_peak


@pytest.mark.parametrize("config", [TINY, ResidualMelConfig()], ids=["tiny", "default"])
def test_parameters_are_those_of_the_module(config: ResidualMelConfig) -> None:
    with torch.device("meta"):
        built = sum(value.numel() for value in ResidualMel(config).parameters())
    assert costs.parameters(config) == built


@torch.no_grad()
def test_it_holds_what_the_formulas_say() -> None:
    config = ResidualMelConfig()
    model = ResidualMel(config).eval()
    said = [(0,) * config.codebooks] * WINDOW
    ids = torch.tensor(said).T[None]
    peak, _ = live_peak(lambda: model.decode(ids), torch.device("cpu"))
    assert peak == pytest.approx(costs.one_pass(config, WINDOW), rel=0.15)
    codec = ResidualMelCodec(model)
    peak, _ = live_peak(lambda: codec.whole(said, (), SoundOptions()), torch.device("cpu"))
    assert peak == pytest.approx(costs.windowed(config, WINDOW), rel=0.15)
