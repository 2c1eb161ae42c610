"""Names and shapes against the published manifests; damaged and dangerous files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mamtra_cli.codecs.flow_hift.config import HiFTConfig
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.cosyvoice2 import weights
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.folder import build_empty

MANIFESTS = {"lm": "manifest_llm.json", "flow": "manifest_flow.json", "hift": "manifest_hift.json"}


def manifest(goldens: Path, part: str) -> dict[str, Any]:
    path = goldens / "cosyvoice2" / MANIFESTS[part]
    data: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return data


def full_size(part: str) -> torch.nn.Module:
    with torch.device("meta"):
        return build_empty(FAMILY, CosyVoice2Config(), part)


def meta_tensors(keys: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.empty(entry["shape"], device="meta") for name, entry in keys.items()}


@pytest.mark.parametrize("part", MANIFESTS)
def test_published_names_and_shapes_are_those_of_the_modules(part: str, goldens: Path) -> None:
    keys = manifest(goldens, part)["keys"]
    ours = weights.to_ours(part, meta_tensors(keys))
    module = full_size(part)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.items()} == expected


@pytest.mark.parametrize("part", MANIFESTS)
def test_our_names_lead_back_to_the_published_ones(part: str, goldens: Path) -> None:
    keys = manifest(goldens, part)["keys"]
    back = weights.to_published(part, weights.to_ours(part, meta_tensors(keys)))
    assert {name: list(value.shape) for name, value in back.items()} == {
        name: entry["shape"] for name, entry in keys.items()
    }


def test_parameters_are_as_many_as_published(goldens: Path) -> None:
    for part in ("lm", "flow"):
        module = full_size(part)
        count = sum(parameter.numel() for parameter in module.parameters())
        assert count == manifest(goldens, part)["parameters"]["total"]


def test_weight_norm_survives_the_way_there_and_back() -> None:
    torch.manual_seed(0)
    ours = {"conv_pre.weight": torch.randn(4, 3, 5), "source_downs.0.weight": torch.randn(2, 2, 3)}
    published = weights.to_published("hift", ours)
    assert "source_downs.0.weight" in published
    back = weights.to_ours("hift", published)
    assert back.keys() == ours.keys()
    torch.testing.assert_close(back["conv_pre.weight"], ours["conv_pre.weight"])


def test_empty_parts_keep_computed_buffers() -> None:
    config = CosyVoice2Config(hift=HiFTConfig(base_channels=16, f0_channels=16))
    drawn = dict(FAMILY.build_part(config, "hift").named_buffers())
    empty = dict(build_empty(FAMILY, config, "hift").named_buffers())
    assert drawn
    torch.testing.assert_close(empty, drawn)


class Danger:
    """Pickles to a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


def test_file_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "llm.pt"
    torch.save({"weight": Danger()}, path)
    with pytest.raises(CheckpointError, match="run code"):
        weights.PublishedFile("lm", path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("keep", [0, 10, 700], ids=["empty", "start", "half"])
def test_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "llm.pt"
    torch.save({"weight": torch.zeros(200)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"llm\.pt"):
        weights.PublishedFile("lm", path)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        weights.PublishedFile("lm", tmp_path / "llm.pt")
    torch.save({"epoch": 1, "step": torch.tensor(2)}, tmp_path / "llm.pt")
    with pytest.raises(CheckpointError, match="no tensors"):
        weights.PublishedFile("lm", tmp_path / "llm.pt")
