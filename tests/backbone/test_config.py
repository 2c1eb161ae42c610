"""HybridConfig: derived sizes, and refusal of what no stack can be."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.errors import PlanError
from mamtra_cli.layers.mixer_config import PRESETS

QWEN: dict[str, Any] = {
    "d_model": 896,
    "n_layers": 24,
    "n_heads": 14,
    "n_kv_heads": 2,
    "head_dim": 64,
    "d_ff": 4864,
}


def test_derived_sizes_of_the_published_teacher() -> None:
    config = HybridConfig(**QWEN)
    shape = config.shape
    assert (shape.q_width, shape.kv_width, shape.conv_channels) == (896, 128, 1152)
    assert config.layer_kinds == "T" * 24
    assert config.plan.attention == tuple(range(24))


def test_config_is_frozen_and_strict() -> None:
    config = HybridConfig(**QWEN)
    with pytest.raises(FrozenInstanceError):
        config.d_ff = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        HybridConfig(**QWEN, width=3)


@pytest.mark.parametrize(
    "change",
    [{"d_model": 0}, {"n_layers": -1}, {"n_kv_heads": 3}, {"vocab_size": -1}],
    ids=["width", "depth", "groups", "vocabulary"],
)
def test_impossible_size_is_a_value_error(change: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        HybridConfig(**(QWEN | change))


@pytest.mark.parametrize("kinds", ["TM", "T" * 25, "Q" * 24])
def test_plan_that_does_not_fit_is_a_plan_error(kinds: str) -> None:
    with pytest.raises(PlanError):
        HybridConfig(**QWEN, kinds=kinds)


def test_window_preset_does_not_make_recurrent_layers() -> None:
    HybridConfig(**QWEN, kinds="TS" * 12, mixer=PRESETS["swa"])
    with pytest.raises(PlanError, match="kind M"):
        HybridConfig(**QWEN, kinds="TM" * 12, mixer=PRESETS["swa"])


def test_plan_config_and_costs_import_no_torch() -> None:
    code = (
        "import sys; import mamtra_cli.backbone.costs, mamtra_cli.backbone.plan; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
