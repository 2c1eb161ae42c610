"""The family object on a tiny published folder: recognise, read sizes, load, speak of errors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.cosyvoice2.tiny import (
    random_part,
    tiny_config,
    write_qwen,
    write_random_checkpoint,
    yaml_text,
)

from mamtra_cli.codecs.flow_hift.config import SpeakerEncoderConfig, SpeechTokenizerConfig
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families import registry
from mamtra_cli.families.cosyvoice2.config import (
    CosyVoice2Config,
)
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.cosyvoice2.published import (
    QWEN_FOLDER,
    YAML_FILE,
    read_config,
    read_yaml,
)
from mamtra_cli.families.cosyvoice2.weights import TEXT_HEAD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("published"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for path in folder.rglob("*"):
        target = tmp_path / path.relative_to(folder)
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
    return tmp_path


def test_published_folder_is_recognised_with_its_sizes(folder: Path) -> None:
    model = registry.open_model(folder)
    assert model.published
    assert model.family is FAMILY
    assert model.config == tiny_config()
    assert set(model.parts) == {"lm", "flow", "hift"}


def test_full_size_files_give_the_published_config(tmp_path: Path) -> None:
    (tmp_path / QWEN_FOLDER).mkdir()
    (tmp_path / YAML_FILE).write_text(yaml_text(CosyVoice2Config()), "utf-8")
    write_qwen(tmp_path / QWEN_FOLDER, CosyVoice2Config())
    assert read_config(tmp_path) == CosyVoice2Config()


def test_yaml_is_data_and_references_are_followed(folder: Path) -> None:
    data = read_yaml(folder / YAML_FILE)
    assert data["__set_seed2"] == ["exit 1"]
    assert data["flow"]["spk_embed_dim"].text == "<spk_embed_dim>"
    assert FAMILY.upstream(folder) is not None


@pytest.mark.parametrize("part", ["lm", "flow", "hift"])
def test_parts_load_with_their_values(folder: Path, part: str) -> None:
    model = registry.open_model(folder)
    seed = ["lm", "flow", "hift"].index(part)
    expected = random_part(tiny_config(), part, seed).state_dict()
    loaded = model.load(part).state_dict()
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(loaded[name], value, msg=name)
    assert TEXT_HEAD not in loaded
    half = model.load(part, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_front_end_reads_the_published_tokenizer(folder: Path) -> None:
    front = registry.open_model(folder).front_end()
    pieces = front.split("The sun and the sea", 80)
    assert pieces == ["The sun and the sea."]
    assert max(front.ids(pieces[0])) < tiny_config().lm.vocab_size
    assert front.prompt_ids("the") != front.prompt_ids("sun")


def test_sampling_is_repetition_aware(folder: Path) -> None:
    sampling = FAMILY.sampling(tiny_config())
    assert (sampling.top_p, sampling.top_k) == (0.8, 25)
    assert (sampling.ras_window, sampling.ras_threshold) == (10, 0.1)


def test_lessons_are_drawn_as_speech_unless_the_model_says_otherwise() -> None:
    config = replace(tiny_config(), temperature=0.3)
    assert FAMILY.lesson_sampling(config) == FAMILY.sampling(config)
    varied = FAMILY.lesson_sampling(replace(config, lesson_temperature=0.7))
    assert varied == replace(FAMILY.sampling(config), temperature=0.7)


def edit_yaml(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / YAML_FILE).read_text("utf-8")
        assert old in text
        (folder / YAML_FILE).write_text(text.replace(old, new), "utf-8")

    return edit


def edit_qwen(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / QWEN_FOLDER / "config.json"
        data = {**json.loads(path.read_text("utf-8")), **values}
        path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}), "utf-8")

    return edit


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def rename(name: str, to: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).rename(folder / to)

    return edit


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no-flow": (remove("flow.pt"), r"lacks 1 of the published files: flow\.pt"),
    "no-yaml": (remove(YAML_FILE), r"lacks 1 .*cosyvoice2\.yaml"),
    "no-vocab": (remove(f"{QWEN_FOLDER}/vocab.json"), r"vocab\.json"),
    "version-3": (rename(YAML_FILE, "cosyvoice3.yaml"), "holds CosyVoice 3"),
    "yaml-broken": (edit_yaml("llm: !new", "llm: ["), "cannot read"),
    "yaml-python": (edit_yaml("!new:omegaconf", "!!python/name:omegaconf"), "cannot read"),
    "yaml-section": (edit_yaml("flow: !new:", "stream: !new:"), "section `flow` is missing"),
    "yaml-ref": (edit_yaml("!ref <token_mel_ratio>\n    pre", "!ref <x>\n    pre"), "nowhere"),
    "yaml-circle": (edit_yaml("spk_embed_dim: 192", "spk_embed_dim: !ref <spk_embed_dim>"), "circ"),
    "yaml-kind": (edit_yaml("num_blocks: 1", "num_blocks: many"), "flow.encoder.num_blocks"),
    "yaml-dilations": (edit_yaml("[[1, 3, 5], ", "[[1, 3, 7], "), "dilations"),
    "qwen-lacks": (edit_qwen(rope_theta=None), "lacks rope_theta"),
    "qwen-window": (edit_qwen(use_sliding_window=True), "sliding windows"),
    "qwen-heads": (edit_qwen(num_attention_heads=0), "num_attention_heads"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_folder_is_refused_with_its_cause(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    with pytest.raises(CheckpointError, match=message):
        registry.open_model(copy)


def test_other_sizes_are_reported_with_count_and_first_names(copy: Path) -> None:
    edit_qwen(num_hidden_layers=3, intermediate_size=40)(copy)
    with pytest.raises(CheckpointError) as caught:
        registry.open_model(copy).load("lm")
    message = caught.value.message
    assert "llm.pt" in message
    assert "12 unexpected" in message
    assert "9 of another shape" in message
    assert message.count("layers.3.") == 5


def test_training_prefix_and_old_weight_norm_are_accepted(copy: Path) -> None:
    state = torch.load(copy / "hift.pt", weights_only=True)
    old = {
        f"generator.{name}".replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in state.items()
    }
    torch.save(old, copy / "hift.pt")
    loaded = registry.open_model(copy).load("hift").state_dict()
    expected = random_part(tiny_config(), "hift", 2).state_dict()
    torch.testing.assert_close(dict(loaded), dict(expected))


def test_parts_follow_the_config() -> None:
    config = replace(
        tiny_config(),
        speech_tokenizer=SpeechTokenizerConfig(width=64, heads=1, layers=1, levels=(3, 3)),
        speaker_encoder=SpeakerEncoderConfig(width=16, layers=1),
    )
    assert FAMILY.part_names(config)[3:] == ("speech_tokenizer", "speaker_encoder")
    for part in FAMILY.part_names(config):
        assert FAMILY.build_part(config, part).state_dict()
    with pytest.raises(CheckpointError, match="no part `speech_tokenizer`"):
        FAMILY.build_part(tiny_config(), "speech_tokenizer")


def test_mixers_enter_the_config() -> None:
    config = FAMILY.conversion(tiny_config()).with_mixers(
        tiny_config(), "TMTM", {"preset": "mamtra-paper"}
    )
    stack = FAMILY.facts(config).stack
    assert stack is not None
    assert stack.layer_kinds == "TMTM"
    assert stack.mixer.act == "silu"
