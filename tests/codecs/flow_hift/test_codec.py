"""The codec over a road: what is asked of it, and what it chooses where nobody asks."""

from types import SimpleNamespace
from typing import Any

import pytest

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.flow_hift.codec import FlowCodec
from mamtra_cli.codecs.flow_hift.config import FlowConfig
from mamtra_cli.codecs.flow_hift.windows import WaveOptions


@pytest.mark.parametrize(
    ("flow", "device", "steps"),
    [
        (FlowConfig(), "cpu", 5),
        (FlowConfig(), "cuda:0", 10),
        (FlowConfig(steps=3), "cpu", 3),
        (FlowConfig(cfg_rate=0.0), "cpu", 10),
    ],
    ids=["guided", "on-a-gpu", "few", "unguided"],
)
def test_a_guided_flow_takes_fewer_steps_on_a_cpu(
    flow: FlowConfig, device: str, steps: int
) -> None:
    assert flow.steps_on(device) == steps


def test_steps_that_are_asked_for_are_taken() -> None:
    road: Any = SimpleNamespace(options=WaveOptions(steps=5))
    codec = FlowCodec(road, sample_rate=24_000, frame_rate=25.0)
    assert codec.asked(SoundOptions()).steps == 5
    assert codec.asked(SoundOptions(steps=10)).steps == 10
