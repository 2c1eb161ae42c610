"""Formulas against the modules and the published sizes, and each saving against its cause."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.families.zonos.tiny import SPEAKER

from mamtra_cli.backbone import costs as stack_costs
from mamtra_cli.codecs.residual_mel import costs as residual_mel
from mamtra_cli.codecs.residual_mel.config import ResidualMelConfig
from mamtra_cli.families.measures import Request
from mamtra_cli.families.zonos import costs
from mamtra_cli.families.zonos.config import HYBRID, SpeakerConfig, ZonosConfig
from mamtra_cli.families.zonos.measures import PipelineMeasures
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder

BOTH = {"transformer": ZonosConfig(), "hybrid": HYBRID}
REQUEST = Request(tokens=861, prompt=431, text=150)


def count(module: torch.nn.Module) -> int:
    values = module.state_dict().items()
    return sum(v.numel() for name, v in values if not name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("kind", BOTH)
def test_parameters_are_the_published_ones(goldens: Path, kind: str) -> None:
    told = json.loads((goldens / f"zonos/manifest_{kind}.json").read_text("utf-8"))
    assert costs.lm_parameters(BOTH[kind].lm) == told["parameter_count"]


def test_speaker_encoder_is_counted() -> None:
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


def test_a_codec_of_mels_has_its_own_savings() -> None:
    mel = ResidualMelConfig()
    lm = replace(ZonosConfig().lm, codebooks=mel.codebooks, codes=mel.codes)
    config = ZonosConfig(lm=lm, mel_codec=mel)
    request = Request.of_seconds(10, rate=config.sound.frame_rate)
    steps = costs.savings(config, request, replace(config, lm=replace(lm, kinds="TM" * 13)))
    windows, cache = steps[1], steps[3]
    assert windows.own == residual_mel.one_pass(mel, 375) - residual_mel.windowed(mel, 250)
    # 30 seconds are so many frames of this codec, beside the prefix and the clip.
    kept = costs.cache_bytes(lm, 1016, state=2) - costs.cache_bytes(lm, 510)
    assert cache.own == kept


def test_a_measured_prompt_is_what_was_asked() -> None:
    reads = PipelineMeasures().prompt(ZonosConfig(), REQUEST, seed=3, room=8)
    assert len(reads.prompt.ids) == REQUEST.text
    assert len(reads.columns) == REQUEST.prompt + 1
