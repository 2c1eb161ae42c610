"""Formulas of the pipeline's memory against modules, measurements and published counts."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tests.tiny_model import tiny_config

from mamtra_cli.codecs.flow_hift.chunk_mask import BLOCK
from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
    SourceFilterConfig,
)
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.families.cosyvoice2 import costs
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.official.flow import published_attention
from mamtra_cli.live_bytes import live_peak

MIB = 2**20
TEACHER = CosyVoice2Config()


def test_parameters_are_those_of_the_modules() -> None:
    assert costs.flow_parameters(TEACHER.flow) == 112_549_360
    tiny = tiny_config()
    hift = replace(TEACHER.hift, base_channels=32, f0_channels=24)
    for config in (tiny.flow, replace(tiny.flow, encoder=FlowEncoderConfig(blocks=1, up_blocks=1))):
        built = sum(p.numel() for p in Flow(config).parameters())
        assert costs.flow_parameters(config) == built
    for sizes in (tiny.hift, hift):
        built = sum(p.numel() for p in HiFT(sizes).parameters())
        assert costs.hift_parameters(sizes) == built
    for filters in (SourceFilterConfig(), SourceFilterConfig(width=20, blocks=3, pitch_width=6)):
        built = sum(p.numel() for p in SourceFilter(filters).parameters())
        assert costs.source_filter_parameters(filters) == built


@pytest.mark.parametrize(
    ("tokens", "measured"), [(125, 19), (250, 65), (500, 237), (1000, 901), (2000, 3512)]
)
def test_published_encoder_needs_what_was_measured(tokens: int, measured: int) -> None:
    """Live bytes of the published class (float32, CPU, random weights)."""
    formula = costs.official_encoder_scratch(TEACHER.flow.encoder, tokens) / MIB
    assert formula == pytest.approx(measured, rel=0.015)


@pytest.mark.parametrize(("tokens", "measured"), [(125, 10), (250, 29), (500, 92), (1000, 322)])
def test_published_estimator_needs_what_was_measured(tokens: int, measured: int) -> None:
    formula = costs.official_estimator_scratch(TEACHER.flow.estimator, 2 * tokens) / MIB
    assert formula == pytest.approx(measured, rel=0.03)


@pytest.fixture(scope="module")
def flow() -> Flow:
    """Published widths and heads, few layers: scratch does not depend on depth."""
    config = FlowConfig(
        vocab_size=100,
        steps=1,
        encoder=FlowEncoderConfig(blocks=1, up_blocks=1),
        estimator=FlowEstimatorConfig(n_blocks=1, mid_blocks=1),
    )
    return Flow(config).eval().requires_grad_(False)


def test_imitated_encoder_and_estimator_need_what_the_formulas_say(flow: Flow) -> None:
    config, ids, x = flow.config, torch.zeros((1, 150), dtype=torch.long), torch.randn(2, 80, 320)
    with torch.inference_mode(), published_attention(flow):
        encoder, _ = live_peak(lambda: flow.encode(ids, streaming=False))
        estimator, _ = live_peak(
            lambda: flow.decoder.estimator(x, x, torch.zeros(2), x[:, :, 0], x)
        )
    assert encoder == pytest.approx(costs.official_encoder_scratch(config.encoder, 150), rel=0.06)
    wanted = costs.official_estimator_scratch(config.estimator, 320)
    assert estimator == pytest.approx(wanted, rel=0.06)


@pytest.mark.parametrize("tokens", [100, 203])
def test_our_encoder_needs_what_the_formula_says(flow: Flow, tokens: int) -> None:
    assert costs.QUERIES == BLOCK
    ids = torch.zeros((1, tokens), dtype=torch.long)
    with torch.inference_mode():
        peak, _ = live_peak(lambda: flow.encode(ids, streaming=True))
    assert peak == pytest.approx(costs.encoder_scratch(flow.config.encoder, tokens), rel=0.15)


def test_vocoder_needs_what_the_formula_says() -> None:
    config = HiFTConfig(base_channels=256, f0_channels=8)
    hift = HiFT(config).eval().requires_grad_(False)
    with torch.inference_mode():
        peak, _ = live_peak(lambda: hift.decode(torch.zeros(1, 80, 30), torch.zeros(1, 1, 14_400)))
    assert peak == pytest.approx(costs.hift_scratch(config, 30), rel=0.15)


def test_source_filter_needs_what_the_formula_says() -> None:
    config = CosyVoice2Config(source_filter=SourceFilterConfig())
    vocoder = SourceFilter(SourceFilterConfig()).eval().requires_grad_(False)
    with torch.inference_mode():
        peak, _ = live_peak(lambda: vocoder(torch.zeros(1, 80, 100)))
    assert peak == pytest.approx(costs.vocoder_scratch(config, 100), rel=0.15)


def test_formulas_count_the_vocoder_that_a_model_has() -> None:
    request = costs.Request.of_seconds(30, rate=25.0)
    other = replace(TEACHER, source_filter=SourceFilterConfig())
    ours, theirs = costs.official(other, request), costs.official(TEACHER, request)
    counts = (
        costs.source_filter_parameters(SourceFilterConfig()),
        costs.hift_parameters(TEACHER.hift),
    )
    assert ours.weights - theirs.weights == 4 * (counts[0] - counts[1])
    own = costs.source_filter_scratch(SourceFilterConfig(), 100)
    assert costs.vocoder_scratch(other, 100) == own


def test_official_arithmetic_of_half_a_minute() -> None:
    """2.02 GB, 450 MB and 83 MB of weights as shipped, and 0.7 GB for one pass of the encoder."""
    found = costs.official(TEACHER, costs.Request.of_seconds(30, rate=25.0))
    assert found.weights == pytest.approx(2_023e6 + 450.2e6 + 83.2e6 + 496.1e6, rel=0.001)
    assert found.sound == pytest.approx(729e6, rel=0.01)
    assert found.highest == found.weights + found.sound


def test_savings_halve_the_peak_of_half_a_minute_without_the_hybrid() -> None:
    hybrid = replace(TEACHER, lm=replace(TEACHER.lm, kinds="TMMM" * 6))
    steps = costs.savings(TEACHER, costs.Request.of_seconds(30, rate=25.0), hybrid)
    assert [step.hybrid for step in steps] == [False] * 6 + [True]
    official, lean, last = steps[0].peak, steps[-2].peak, steps[-1].peak
    assert lean < 0.5 * official
    # One short utterance: the exchange of layers saves nothing, and the table says so.
    assert abs(last - lean) < 0.02 * official
    # Not an effect of the ONNX file: without it the half is kept too.
    assert lean < 0.5 * (official - costs.ONNX_BYTES)
    assert all(a.peak >= b.peak for a, b in pairwise(steps[:-1]))
