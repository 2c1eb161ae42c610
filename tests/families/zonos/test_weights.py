"""Published names both ways, and both manifests on the meta device, strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.families.zonos.golden import read

from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.zonos.config import HYBRID, SpeakerConfig, ZonosConfig
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.published import config_of
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder
from mamtra_cli.families.zonos.weights import (
    ENCODER_FILE,
    LDA_FILE,
    PublishedLM,
    PublishedSpeaker,
    to_ours,
    to_published,
)

BOTH = {"transformer": ZonosConfig(), "hybrid": HYBRID}


def manifest(goldens: Path, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((goldens / f"zonos/manifest_{kind}.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("kind", BOTH)
def test_every_published_tensor_is_consumed(goldens: Path, kind: str) -> None:
    told = manifest(goldens, kind)
    assert config_of(told["config"]) == BOTH[kind]
    with torch.device("meta"):
        lm = ZonosLM(config_of(told["config"]).lm)
        published = {name: torch.empty(each["shape"]) for name, each in told["tensors"].items()}
    lm.load_state_dict(to_ours(published), strict=True)
    assert sum(value.numel() for value in lm.state_dict().values()) == told["parameter_count"]
    back = {name: tuple(value.shape) for name, value in to_published(lm.state_dict()).items()}
    assert back == {name: tuple(each["shape"]) for name, each in told["tensors"].items()}


@pytest.mark.parametrize("kind", BOTH)
def test_names_come_back_with_their_numbers(goldens: Path, tmp_path: Path, kind: str) -> None:
    _, tensors = read(goldens, f"tiny_{kind}_weights")
    back = to_published(to_ours(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], value) for name, value in tensors.items())

    save_file(tensors, tmp_path / "model.safetensors")
    file = PublishedLM(tmp_path / "model.safetensors")
    read_back = dict(file.stream(dtype=None))
    ours = to_ours(tensors)
    assert file.shapes() == {name: tuple(value.shape) for name, value in ours.items()}
    assert read_back.keys() == ours.keys()
    assert all(torch.equal(read_back[name], value) for name, value in ours.items())


def test_speaker_files_are_read_as_one(tmp_path: Path) -> None:
    config = SpeakerConfig(width=2, blocks=(1, 1, 1, 1), dim=6, lda=3)
    state = SpeakerEncoder(config).state_dict()
    encoder = {name: value for name, value in state.items() if not name.startswith("lda.")}
    torch.save(encoder, tmp_path / ENCODER_FILE)
    torch.save({"weight": state["lda.weight"], "bias": state["lda.bias"]}, tmp_path / LDA_FILE)
    file = PublishedSpeaker(tmp_path / ENCODER_FILE)
    assert file.shapes() == {name: tuple(value.shape) for name, value in state.items()}
    assert all(torch.equal(value, state[name]) for name, value in file.stream(dtype=None))


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("ran",)


def test_a_speaker_file_with_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"x": torch.zeros(1), "y": Code()}, tmp_path / ENCODER_FILE)
    with pytest.raises(CheckpointError, match="could run code"):
        PublishedSpeaker(tmp_path / ENCODER_FILE)
    assert "ran" not in capsys.readouterr().out
