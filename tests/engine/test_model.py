"""The engine: lazy strict loading, prompts, steps that equal the sequence."""

import gc
import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from tests.engine.tiny import tiny_engine
from tests.families.cosyvoice2.tiny import write_random_checkpoint
from tests.tiny_model import write_tiny_model

from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import speak_frames
from mamtra_cli.errors import CheckpointError, ModelNotFoundError
from mamtra_cli.families.folder import Model
from mamtra_cli.voices.voice import Voice, save_voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("runtime") / "tiny")


def test_parts_are_loaded_when_they_are_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    plain = Model.load
    monkeypatch.setattr(Model, "load", lambda self, *a: (loaded.append(a[0]), plain(self, *a))[1])
    engine = Engine.load(str(folder), device="cpu")
    assert loaded == []
    assert not engine.part("lm").training
    assert not any(p.requires_grad for p in engine.part("lm").parameters())
    _ = engine.part("lm")
    assert loaded == ["lm"]
    engine.ready("lm", "flow", "hift")
    assert loaded == ["lm", "flow", "hift"]


def test_only_the_language_model_is_halved(folder: Path) -> None:
    engine = Engine.load(str(folder), device="cpu", dtype="bfloat16")
    assert engine.part("lm").speech_embedding.weight.dtype == torch.bfloat16
    assert engine.part("flow").input_embedding.weight.dtype == torch.float32
    assert engine.part(engine.config.vocoder_part).conv_post.weight.dtype == torch.float32


def test_vocoder_is_the_one_that_the_config_names(folder: Path, tmp_path: Path) -> None:
    """A folder from before there were two says nothing of the second, and speaks with HiFT."""
    old = shutil.copytree(folder, tmp_path / "old")
    told = json.loads((old / "config.json").read_text())
    assert told["config"].pop("source_filter", "") is None
    (old / "config.json").write_text(json.dumps(told))
    other = write_tiny_model(tmp_path / "other", source_filter=True)
    for path, kind in ((old, HiFT), (other, SourceFilter)):
        engine = Engine.load(str(path), device="cpu")
        assert isinstance(engine.part(engine.config.vocoder_part), kind)
        assert engine.model is not None
        assert engine.model.parts[:1] == ("flow",)
        spoken = speak_frames(engine, [(1,), (2,), (3,)], engine.voice("ann"))
        assert len(spoken) == 3 * 960


@pytest.mark.parametrize("published", [False, True], ids=["own", "published"])
def test_parts_loaded_in_inference_mode_can_still_be_trained(
    folder: Path, tmp_path: Path, published: bool
) -> None:
    where = write_random_checkpoint(tmp_path) if published else folder
    engine = Engine.load(str(where), device="cpu")
    with torch.inference_mode():
        engine.ready("lm", "flow", "hift")
    for name in ("lm", "flow", "hift"):
        state = engine.part(name).state_dict(keep_vars=True)
        assert not [key for key, value in state.items() if value.is_inference()], name
    weight = engine.part("lm").speech_embedding.weight.requires_grad_()
    engine.part("lm").speech_embedding(torch.tensor([1, 2])).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        pytest.param(lambda path: path.unlink(), "flow", id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-9]), "lm", id="truncated"),
    ],
)
def test_unsound_part_is_named(folder: Path, tmp_path: Path, spoil, part: str) -> None:  # type: ignore[no-untyped-def]
    copy = shutil.copytree(folder, tmp_path / "copy")
    spoil(copy / f"{part}.safetensors")
    engine = Engine.load(str(copy), device="cpu")
    with pytest.raises(CheckpointError, match=part):
        engine.part(part)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        Engine.load(str(tmp_path), device="cpu")
    with pytest.raises(ModelNotFoundError):
        Engine.load("no-such-model", device="cpu")


def test_voice_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    save_voice(Voice(name="x", embedding=torch.ones(7)), tmp_path / "x.safetensors")
    engine = Engine.load(str(folder), device="cpu")
    assert engine.voices() == ["ann", "bob"]
    with pytest.raises(CheckpointError, match="7 numbers, not 192"):
        engine.voice(str(tmp_path / "x.safetensors"))


def test_voice_whose_tokens_the_model_does_not_know_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    engine = Engine.load(str(folder), device="cpu")
    known = engine.config.lm.speech_vocab
    tokens = torch.tensor([0, known + 5])
    mel = torch.zeros(2 * len(tokens), engine.config.flow.mel_bins)
    voice = Voice(name="x", embedding=torch.ones(192), prompt_tokens=tokens, prompt_mel=mel)
    save_voice(voice, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="speech tokens that this model does not know"):
        engine.voice(str(tmp_path / "x.safetensors"))


def test_text_becomes_pieces_and_ids(folder: Path) -> None:
    engine = Engine.load(str(folder), device="cpu")
    pieces = engine.speaker.pieces("The clock was slow. " * 40)
    assert len(pieces) > 1
    assert all(engine.encode(piece) for piece in pieces)


def test_changed_sampling_keeps_the_rest() -> None:
    engine = tiny_engine()
    changed = engine.sampling_with(temperature=0.5, top_p=None)
    assert changed.temperature == 0.5
    assert changed.top_p == engine.sampling.top_p
    assert engine.sampling_with(engine.lesson_sampling, top_p=0.5).top_p == 0.5


def test_published_folder_speaks_like_our_own(tmp_path: Path) -> None:
    engine = Engine.load(str(write_random_checkpoint(tmp_path)), device="cpu")
    voice = Voice(name="x", embedding=torch.ones(engine.config.flow.speaker_dim))
    with pytest.raises(ModelNotFoundError, match="no voices"):
        engine.voice()
    ids = engine.encode(engine.speaker.pieces("hello there")[0])
    utterance = Utterance(script=engine.speaker.begin(ids, voice, most=25))
    assert engine.speaker.tokens is not None
    (_, outcome), *_ = decode(engine.speaker.tokens, [utterance], engine.sampling)
    wave = speak_frames(engine, [(1,), (2,), (3,), *outcome.frames[:20]], voice)
    assert len(wave) == 960 * (3 + len(outcome.frames[:20]))
    assert bool(torch.isfinite(wave).all())


def test_weights_go_with_the_engine() -> None:
    """Without waiting for the collector: many models are tried one after the other."""
    engine = tiny_engine()
    engine.speaker.ready()
    weight = weakref.ref(engine.part("lm"))
    gc.disable()
    try:
        del engine
        assert weight() is None
    finally:
        gc.enable()
