"""Formulas against the modules and the published sizes, and each saving against its cause."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.families.zonos.tiny import CODEC, SPEAKER

from mamtra_cli.backbone import costs as stack_costs
from mamtra_cli.codecs.dac.config import DacConfig
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.families.measures import Request
from mamtra_cli.families.zonos import costs
from mamtra_cli.families.zonos.config import HYBRID, SpeakerConfig, ZonosConfig
from mamtra_cli.families.zonos.measures import PipelineMeasures
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder
from mamtra_cli.live_bytes import live_peak

BOTH = {"transformer": ZonosConfig(), "hybrid": HYBRID}
REQUEST = Request(tokens=861, prompt=431, text=150)


def count(module: torch.nn.Module) -> int:
    values = module.state_dict().items()
    return sum(v.numel() for name, v in values if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("kind", BOTH)
def test_parameters_are_the_published_ones(goldens: Path, kind: str) -> None:
    told = json.loads((goldens / f"zonos/manifest_{kind}.json").read_text("utf-8"))
    assert costs.lm_parameters(BOTH[kind].lm) == told["parameter_count"]


def test_codec_and_speaker_are_counted() -> None:
    for codec in (CODEC, DacConfig()):
        with torch.device("meta"):
            assert costs.codec_parameters(codec) == count(Dac(codec))
    for speaker in (SPEAKER, SpeakerConfig()):
        with torch.device("meta"):
            assert costs.speaker_parameters(speaker) == count(SpeakerEncoder(speaker))


def test_caches_are_the_published_sizes() -> None:
    precision = stack_costs.Precision(weights=2, cache=2, state=2, conv=2)
    transformer, hybrid = (config.lm.hybrid for config in BOTH.values())
    assert stack_costs.kv_bytes_per_token(transformer, 2) == 53_248
    assert stack_costs.kv_bytes_per_token(hybrid, 2) == 24_576
    # Theirs keeps one column more before the convolution.
    column = 34 * 4352 * 2
    assert stack_costs.state_bytes(hybrid, precision) + column == 36_835_328


def test_every_saving_has_its_cause() -> None:
    config = ZonosConfig()
    kinds = "TM" * 13
    hybrid = replace(config, lm=replace(config.lm, kinds=kinds))
    steps = costs.savings(config, REQUEST, hybrid)
    first = steps[0].peak
    assert [step.hybrid for step in steps] == [False] * 4 + [True]
    assert all(step.own > 0 for step in steps[1:4])
    # At 15 seconds the exchange costs weights and saves cache: the sum is told as it is.
    now = costs.cache_bytes(config.lm, 1000) - costs.cache_bytes(hybrid.lm, 1000)
    then = costs.cache_bytes(config.lm, 3000) - costs.cache_bytes(hybrid.lm, 3000)
    assert then - now == 2 * 2000 * 13 * 2048
    assert steps[-2].peak < 0.8 * first


def test_the_decoder_holds_what_the_formula_says() -> None:
    codec = DacConfig(encoder_width=4, decoder_width=256, latent=64)
    dac = Dac(codec).eval()
    ids = torch.zeros((1, 9, 64), dtype=torch.long)
    with torch.no_grad():
        peak, _ = live_peak(lambda: dac.decode(ids), torch.device("cpu"), carried=0)
    assert peak == pytest.approx(costs.decoder_scratch(codec, 64), rel=0.2)


def test_a_measured_prompt_is_what_was_asked() -> None:
    reads = PipelineMeasures().prompt(ZonosConfig(), REQUEST, seed=3, room=8)
    assert len(reads.prompt.ids) == REQUEST.text
    assert len(reads.columns) == REQUEST.prompt + 1
