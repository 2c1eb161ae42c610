"""Voice files: what is written is read, what is wrong is named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mamtra_cli.errors import CheckpointError, ModelNotFoundError
from mamtra_cli.voices.voice import Voice, find_voice, list_voices, load_voice, save_voice


def make(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        voice = Voice(name=name, embedding=torch.full((192,), float(index)))
        save_voice(voice, folder / "voices" / f"{name}.safetensors")
    return folder


def test_voice_with_prompt_survives_the_file(tmp_path: Path) -> None:
    voice = Voice(
        name="anna",
        embedding=torch.randn(192),
        prompt_tokens=torch.arange(5),
        prompt_mel=torch.randn(10, 80),
        prompt_text_ids=torch.arange(3),
        metadata={"consent": "given"},
    )
    save_voice(voice, tmp_path / "anna.safetensors")
    read = load_voice(tmp_path / "anna.safetensors")
    assert read.name == "anna"
    assert read.metadata == {"consent": "given"}
    for name in ("embedding", "prompt_tokens", "prompt_mel", "prompt_text_ids"):
        assert torch.equal(getattr(read, name), getattr(voice, name))


def test_first_voice_is_the_default(tmp_path: Path) -> None:
    folder = make(tmp_path, "ben", "anna")
    assert list_voices(folder) == ["anna", "ben"]
    assert find_voice(folder).name == "anna"
    assert find_voice(folder, "ben").name == "ben"


def test_voice_file_works_where_a_name_does(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "anna")
    path = make(tmp_path / "other", "carla") / "voices" / "carla.safetensors"
    assert find_voice(folder, str(path)).name == "carla"


def test_unknown_voice_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no voice `ana`") as caught:
        find_voice(make(tmp_path, "anna", "ben"), "ana")
    assert caught.value.hint == "did you mean `anna`? voices: anna, ben"


def test_model_without_voices_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="has no voices"):
        find_voice(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        pytest.param({"vector": torch.zeros(192)}, "holds vector", id="foreign"),
        pytest.param(
            {"embedding": torch.zeros(192), "prompt_mel": torch.zeros(4, 80)},
            "holds embedding, prompt_mel",
            id="half-a-prompt",
        ),
        pytest.param({"embedding": torch.zeros(1, 192)}, "embedding must be", id="two-axes"),
        pytest.param({"embedding": torch.full((192,), float("nan"))}, "not finite", id="nan"),
    ],
)
def test_bad_voice_file_is_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_voice(tmp_path / "bad.safetensors")


def test_truncated_voice_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, "anna") / "voices" / "anna.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_voice(path)
