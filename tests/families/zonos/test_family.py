"""A published folder is recognised, read strictly and told what it lacks; ZONOS2 is refused."""

import json
from pathlib import Path

import pytest
import torch
from tests.families.zonos.tiny import CODEC, SPEAKER, published_folder

from mamtra_cli.errors import CheckpointError
from mamtra_cli.families import registry
from mamtra_cli.families.zonos.family import FAMILY
from mamtra_cli.families.zonos.repository import CODEC as CODEC_REPOSITORY
from mamtra_cli.families.zonos.repository import REPOSITORIES


@pytest.mark.parametrize("kind", ["transformer", "hybrid"])
def test_a_published_folder_is_read_strictly(goldens: Path, tmp_path: Path, kind: str) -> None:
    model = registry.open_model(published_folder(goldens, kind, tmp_path / "z"))
    assert (model.family, model.published) == (FAMILY, True)
    assert (model.config.codec, model.config.speaker) == (CODEC, SPEAKER)
    for part in FAMILY.part_names(model.config):
        loaded = model.load(part)
        assert all(bool(value.isfinite().all()) for value in loaded.state_dict().values())
    facts = model.facts
    assert (facts.codebooks, facts.codes, facts.speaker_dim) == (9, 1024, 128)
    backbone = json.loads((model.folder / "config.json").read_text("utf-8"))["backbone"]
    assert facts.stack is not None
    assert facts.stack.layer_kinds == "".join(
        "T" if layer in backbone["attn_layer_idx"] else "N" for layer in range(backbone["n_layer"])
    )


def test_what_is_missing_is_named(goldens: Path, tmp_path: Path) -> None:
    folder = published_folder(goldens, "transformer", tmp_path / "z")
    (folder / "codec" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 1 .* model\.safetensors") as told:
        registry.open_model(folder)
    assert CODEC_REPOSITORY.name in str(told.value.hint)
    assert registry.open_model(folder, configs_only=True).family is FAMILY


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"model_type": "zonos2"}),
        ("config.json", {"architectures": ["Zonos2ForConditionalGeneration"]}),
        ("params.json", {"model": {"moe_n_experts": 16}}),
        ("params.json", {"moe_n_experts": 16}),
    ],
)
def test_the_second_generation_is_refused(
    tmp_path: Path, name: str, content: dict[str, object]
) -> None:
    (tmp_path / name).write_text(json.dumps(content), "utf-8")
    with pytest.raises(CheckpointError, match="holds ZONOS2, a mixture of experts"):
        registry.open_model(tmp_path)


def test_sizes_that_are_not_known_are_told(goldens: Path, tmp_path: Path) -> None:
    folder = published_folder(goldens, "hybrid", tmp_path / "z")
    told = json.loads((folder / "config.json").read_text("utf-8"))
    told["backbone"]["ssm_cfg"]["layer"] = "Mamba1"
    (folder / "config.json").write_text(json.dumps(told), "utf-8")
    with pytest.raises(CheckpointError, match="layers of `Mamba1` are not known"):
        registry.open_model(folder)


def test_a_wrong_speaker_file_is_told(goldens: Path, tmp_path: Path) -> None:
    folder = published_folder(goldens, "transformer", tmp_path / "z")
    path = next((folder / "speaker").glob("*base.pt"))
    torch.save({"conv.weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="do not fit the configuration"):
        registry.open_model(folder).load("speaker")


def test_fingerprints_follow_the_files(goldens: Path, tmp_path: Path) -> None:
    folder = published_folder(goldens, "transformer", tmp_path / "z")
    config = registry.open_model(folder).config
    prints = {part: FAMILY.fingerprint(folder, config, part) for part in ("speaker", "codec", "lm")}
    assert len(set(prints.values())) == 3
    assert FAMILY.fingerprint(folder, config, "speech_tokenizer") == prints["codec"]
    assert len(FAMILY.fingerprint(folder, config, "front_end")) == 64
    assert FAMILY.fingerprint(tmp_path, config, "codec") == ""


def test_aliases_fetch_codec_and_speaker_along() -> None:
    assert {each.alias for each in REPOSITORIES} == {"zonos", "zonos-hybrid"}
    assert all(len(each.companions) == 2 for each in REPOSITORIES)
    assert all(
        each.alias in {known.alias for known in registry.repositories()} for each in REPOSITORIES
    )
