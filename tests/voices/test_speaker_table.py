"""Speakers of a published folder are listed and read as voices, without running code."""

import os
from pathlib import Path

import pytest
import torch

from mamtra_cli.errors import CheckpointError
from mamtra_cli.voices.speaker_table import all_names, file_name, read_table


class Call:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_preset_and_saved_speakers_are_voices(tmp_path: Path) -> None:
    saved = {
        "prompt_text": torch.ones(1, 5, dtype=torch.int32),
        "prompt_text_len": torch.tensor([5]),
        "llm_prompt_speech_token": torch.ones(1, 4, dtype=torch.int32),
        "flow_prompt_speech_token": torch.full((1, 4), 2),
        "prompt_speech_feat": torch.zeros(1, 8, 80),
        "llm_embedding": torch.zeros(1, 192),
        "flow_embedding": torch.ones(1, 192),
    }
    preset = {"embedding": torch.full((1, 192), 3.0)}
    torch.save({"中文女": preset, "my clip": saved}, tmp_path / "spk2info.pt")
    found = read_table(tmp_path)
    assert all_names(tmp_path) == list(found) == ["中文女", "my clip"]
    assert found["中文女"].mode == "speaker"
    assert found["中文女"].embedding.tolist() == [3.0] * 192
    clip = found["my clip"]
    assert clip.mode == "zero-shot"
    assert clip.embedding.tolist() == [1.0] * 192
    assert clip.prompt_tokens.tolist() == [2] * 4
    assert clip.prompt_mel.shape == (8, 80)
    assert clip.prompt_text_ids.tolist() == [1] * 5


@pytest.mark.parametrize(
    "table",
    [[1], {"a": 1}, {"a": {}}, {"a": {"embedding": torch.full((1, 4), float("nan"))}}, Call()],
    ids=["list", "number", "empty", "nan", "code"],
)
def test_table_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: object
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(table, tmp_path / "spk2info.pt")
    with pytest.raises(CheckpointError):
        read_table(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_folder_without_a_table_has_no_speakers(tmp_path: Path) -> None:
    assert read_table(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "file"),
    [("中文女", "中文女"), ("my clip", "my-clip"), ("../x", "x"), ("", "speaker")],
)
def test_speaker_becomes_a_voice_file_of_a_plain_name(name: str, file: str) -> None:
    assert file_name(name) == f"voices/{file}.safetensors"
