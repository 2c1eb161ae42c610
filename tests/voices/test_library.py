"""The user's voices: named files in one folder, and only with the model they fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.engine.tiny import tiny_voice

from mamtra_cli.errors import (
    CheckpointError,
    FormatVersionError,
    ModelNotFoundError,
    OutputError,
    UsageError,
)
from mamtra_cli.layers.state import HybridState, KVState, MambaState
from mamtra_cli.recipes import ClipFacts, VoiceFacts
from mamtra_cli.voices.library import (
    check_fit,
    check_name,
    check_width,
    describe,
    entries,
    library_folder,
    remove,
    store,
)
from mamtra_cli.voices.voice import Manner, Voice, find_voice, load_voice, save_voice

FACTS = VoiceFacts(
    family="cosyvoice2",
    model="mini",
    speech_tokenizer="a" * 64,
    speaker_encoder="b" * 64,
    front_end="c" * 64,
    normalizer="plain",
    transcript="Sch\u00f6n \u4f60\u597d",
    consent="Ann agreed.",
    consent_date="2026-11-21",
    mamtra="0.1.0",
    clip=ClipFacts(
        sha256="d" * 64,
        seconds=4.0,
        speech_seconds=3.5,
        sample_rate=16_000,
        channels=1,
        peak=-3.0,
        loudness=-20.0,
        clipped=0.0,
    ),
)


def made(name: str = "ann") -> Voice:
    return replace(tiny_voice(6), name=name, facts=FACTS)


def test_facts_survive_the_file(tmp_path: Path) -> None:
    path = store(made(), tmp_path)
    assert load_voice(path).facts == FACTS
    entry = describe(path)
    assert (entry.name, entry.mode, entry.prompt_tokens) == ("ann", "zero-shot", 6)
    assert entry.facts == FACTS
    assert list(tmp_path.iterdir()) == [path]


def test_state_survives_the_file(tmp_path: Path) -> None:
    state = HybridState(
        layers=(
            KVState(k=torch.randn(1, 2, 9, 4), v=torch.randn(1, 2, 9, 4), length=5, seen=5),
            MambaState(conv=torch.randn(1, 6, 3), ssm=torch.randn(1, 2, 4, 4), seen=5),
            KVState(
                k=torch.randn(1, 2, 3, 4),
                v=torch.randn(1, 2, 3, 4),
                length=3,
                index=torch.tensor([[0, 3, 4]]),
                seen=5,
            ),
        ),
        position=torch.tensor([5.5]),
    )
    path = tmp_path / "ann.safetensors"
    save_voice(replace(made(), state=state), path)
    read = load_voice(path).state
    assert read is not None
    assert isinstance(read.position, torch.Tensor)
    assert read.position.tolist() == [5.5]
    first, second, third = read.layers
    wanted = state.layers
    assert isinstance(first, KVState)
    assert isinstance(second, MambaState)
    assert isinstance(third, KVState)
    assert (first.length, first.seen, first.capacity) == (5, 5, 5)
    assert torch.equal(first.k, wanted[0].k[:, :, :5])  # type: ignore[union-attr]
    assert torch.equal(second.ssm, wanted[1].ssm)  # type: ignore[union-attr]
    assert third.index is not None
    assert third.index.tolist() == [[0, 3, 4]]


def test_newer_format_is_refused_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"embedding": torch.zeros(4)}, path, {"format_version": "2", "voice": "{}"})
    with pytest.raises(FormatVersionError, match="format 2"):
        load_voice(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"format_version": "1"},
        {"format_version": "1", "voice": "no JSON"},
        {"format_version": "1", "voice": "[]"},
        {"format_version": "1", "voice": '{"famly": "x"}'},
        {"format_version": "one", "voice": "{}"},
    ],
    ids=["missing", "text", "list", "key", "version"],
)
def test_metadata_that_is_not_understood_is_refused(
    tmp_path: Path, metadata: dict[str, str]
) -> None:
    save_file({"embedding": torch.zeros(4)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CheckpointError, match="not understood"):
        load_voice(tmp_path / "a.safetensors")
    assert len(entries(tmp_path)[1]) == 1


def test_folder_is_the_given_one_then_the_home_then_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAMTRA_HOME", str(tmp_path))
    assert library_folder(Path("mine")) == Path("mine")
    assert library_folder() == tmp_path / "voices"
    monkeypatch.delenv("MAMTRA_HOME")
    assert library_folder().parts[-2:] == ("mamtra", "voices")


@pytest.mark.parametrize("name", ["ann", "Ann-2", "\u00e4nn", "a.b_c", "9", "a" * 64])
def test_good_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", [".", "..", "-a", "_a", "../a", "a/b", "a\\b", "a b", "a.", "a" * 65, "a\0", "C:x"]
)
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a voice"):
        check_name(name)


def test_voice_is_replaced_only_by_force(tmp_path: Path) -> None:
    store(made(), tmp_path)
    with pytest.raises(OutputError, match="already"):
        store(made(), tmp_path)
    store(made(), tmp_path, force=True)


def test_removed_voice_is_gone_and_others_stay(tmp_path: Path) -> None:
    store(made("ann"), tmp_path)
    store(made("bob"), tmp_path)
    remove(tmp_path, "ann")
    assert [entry.name for entry in entries(tmp_path)[0]] == ["bob"]
    with pytest.raises(ModelNotFoundError, match="no voice `ann`"):
        remove(tmp_path, "ann")
    with pytest.raises(UsageError):
        remove(tmp_path, "../bob")


def test_model_s_voice_comes_before_the_user_s(tmp_path: Path) -> None:
    store(made("ann"), tmp_path / "mine")
    store(replace(made("ann"), facts=None), tmp_path / "model" / "voices")
    store(made("eve"), tmp_path / "mine")
    assert find_voice(tmp_path / "model", "ann", tmp_path / "mine").facts is None
    assert find_voice(tmp_path / "model", "eve", tmp_path / "mine").facts == FACTS
    with pytest.raises(ModelNotFoundError) as caught:
        find_voice(tmp_path / "model", "evee", tmp_path / "mine")
    assert caught.value.hint == "did you mean `eve`? voices: ann, eve"


SAME = {"speech_tokenizer": "a" * 64, "speaker_encoder": "b" * 64, "front_end": "c" * 64}


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("speech_tokenizer", "speech tokenizer aaaaaaaa, not eeeeeeee"),
        ("speaker_encoder", "speaker encoder bbbbbbbb"),
        ("front_end", "text front end cccccccc"),
    ],
)
def test_voice_of_other_hashes_is_refused(part: str, words: str) -> None:
    check_fit(made(), SAME.__getitem__)
    with pytest.raises(CheckpointError, match=words) as caught:
        check_fit(made(), {**SAME, part: "e" * 64}.__getitem__)
    assert "mamtra voice add ann" in str(caught.value.hint)


def test_a_vector_of_another_width_is_refused() -> None:
    check_width(made(), 192)
    with pytest.raises(CheckpointError, match="`ann` has 192 numbers, not 128") as caught:
        check_width(made(), 128)
    assert caught.value.hint == "it belongs to another model"


def test_voice_speaks_with_a_model_that_lacks_the_encoders() -> None:
    check_fit(made(), {**SAME, "speech_tokenizer": "", "speaker_encoder": ""}.__getitem__)


def test_only_what_a_voice_holds_is_compared() -> None:
    bare = Voice(name="ann", embedding=torch.zeros(192), facts=FACTS)
    check_fit(bare, {**SAME, "speech_tokenizer": "e", "front_end": "e"}.__getitem__)


def test_manner_decides_what_each_model_is_shown() -> None:
    voice = made()
    text, tokens = voice.prompt_text_ids.tolist(), voice.prompt_tokens.tolist()
    assert voice.heard(Manner()) == (text, tokens)
    assert voice.heard(Manner(mode="cross-lingual")) == ([], [])
    assert voice.heard(Manner(mode="speaker")) == ([], [])
    assert voice.heard(Manner(mode="instruct", instruction=(7, 8))) == ([7, 8], [])
    assert voice.seen(Manner(mode="cross-lingual")) is voice
    assert voice.seen(Manner(mode="instruct", instruction=(7,))) is voice
    assert not len(voice.seen(Manner(mode="speaker")).prompt_tokens)


def test_voice_without_transcript_speaks_cross_lingual() -> None:
    voice = replace(made(), prompt_text_ids=torch.zeros(0, dtype=torch.long))
    assert voice.mode == "cross-lingual"
    assert voice.heard(Manner()) == ([], [])
    with pytest.raises(UsageError, match="no transcript"):
        voice.heard(Manner(mode="zero-shot"))


def test_voice_without_clip_has_no_cross_lingual_mode() -> None:
    with pytest.raises(UsageError, match="no clip"):
        tiny_voice().asked(Manner(mode="cross-lingual"))
