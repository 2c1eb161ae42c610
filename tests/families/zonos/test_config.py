"""Numbers from files have ranges, and sizes that cannot go together are refused by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.families.zonos.tiny import published_folder

from mamtra_cli import config as configs
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.families import registry
from mamtra_cli.families.zonos.config import HYBRID, ZonosConfig


def changed(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Plain data with one value changed; the path has dots, numbers count list items."""
    *keys, last = path.split(".")
    inner: Any = data
    for key in keys:
        inner = inner[int(key)] if key.isdecimal() else inner[key]
    inner[int(last) if last.isdecimal() else last] = value
    return data


@pytest.mark.parametrize("config", [ZonosConfig(), HYBRID], ids=["transformer", "hybrid"])
def test_published_sizes_are_read_back_as_they_are(config: ZonosConfig) -> None:
    assert configs.from_dict(ZonosConfig, configs.to_dict(config), "a file") == config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("lm.d_model", 10**12),
        ("lm.n_layers", 0),
        ("lm.rope_theta", float("nan")),
        ("lm.codebooks", 0),
        ("lm.codebooks", 3),
        ("lm.conditions.1.width", 10**9),
        ("lm.conditions.6.high", 1e12),
        ("lm.conditions.3.high", float("inf")),
        ("lm.conditions", []),
        ("lm.durations", [1.0]),
        ("codec.sample_rate", 0),
        ("codec.strides", [2] * 40),
        ("codec.strides", [3, 4]),
        ("codec.strides", []),
        ("codec.decoder_width", 1001),
        ("codec.codes", 10**10),
        ("speaker.blocks", [1, 1]),
        ("speaker.width", -1),
        ("guidance", 0.0),
        ("min_p", 1.5),
        ("max_seconds", float("inf")),
        ("penalty_window", 10**9),
    ],
    ids=str,
)
def test_number_out_of_its_range_is_refused(path: str, value: object) -> None:
    data = changed(configs.to_dict(ZonosConfig()), path, value)
    with pytest.raises(UsageError) as said:
        configs.from_dict(ZonosConfig, data, "a file")
    assert len(said.value.message) < 300


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("config.json", "backbone.d_model", 10**12),
        ("config.json", "backbone.d_model", "2048"),
        ("config.json", "backbone.n_layer", 10**15),
        ("config.json", "backbone.ssm_cfg.d_state", 0),
        ("config.json", "backbone.norm_epsilon", float("nan")),
        ("config.json", "eos_token_id", 7),
        ("config.json", "prefix_conditioner.conditioners.6.max_val", 1e300),
        ("config.json", "prefix_conditioner.conditioners.1.cond_dim", 10**9),
        ("config.json", "prefix_conditioner.conditioners.2.type", "Unheard"),
        ("codec/config.json", "downsampling_ratios", [10**9]),
        ("codec/config.json", "sampling_rate", 1e300),
    ],
    ids=str,
)
def test_published_number_out_of_its_range_is_refused(
    goldens: Path, tmp_path: Path, file: str, path: str, value: object
) -> None:
    folder = published_folder(goldens, "hybrid", tmp_path / "z")
    told: Mapping[str, Any] = json.loads((folder / file).read_text("utf-8"))
    (folder / file).write_text(json.dumps(changed(dict(told), path, value)), "utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json.* is not understood"):
        registry.open_model(folder)
