"""Formulas of the codec against its modules."""

import pytest
import torch

from mamtra_cli.codecs.dac import costs
from mamtra_cli.codecs.dac.config import WINDOW, DacConfig
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.live_bytes import live_peak

SMALL = DacConfig(encoder_width=4, decoder_width=256, latent=64)


@pytest.mark.parametrize("config", [SMALL, DacConfig()], ids=["small", "published"])
def test_parameters_are_those_of_the_module(config: DacConfig) -> None:
    with torch.device("meta"):
        built = sum(value.numel() for value in Dac(config).state_dict().values())
    assert costs.parameters(config) == built


def test_the_decoder_holds_what_the_formula_says() -> None:
    dac = Dac(SMALL).eval()
    ids = torch.zeros((1, 9, 64), dtype=torch.long)
    with torch.no_grad():
        peak, _ = live_peak(lambda: dac.decode(ids), torch.device("cpu"), carried=0)
    assert peak == pytest.approx(costs.one_pass(SMALL, 64), rel=0.2)


def test_windows_do_not_grow_with_the_speech() -> None:
    least = costs.windowed(SMALL, WINDOW)
    assert costs.windowed(SMALL, 10 * WINDOW) == least < costs.one_pass(SMALL, 10 * WINDOW)
