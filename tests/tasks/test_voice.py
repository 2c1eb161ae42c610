"""`voice add|list|show|remove`, and `synth` in every mode with what they keep."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.sounds import speech, write
from tests.tiny_model import write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.errors import (
    AudioError,
    CheckpointError,
    MamtraError,
    OutputError,
    TextError,
    UsageError,
)
from mamtra_cli.events import Note
from mamtra_cli.recipes import (
    ClipLimits,
    SynthRecipe,
    VoiceAddRecipe,
    VoiceListRecipe,
    VoiceRemoveRecipe,
    VoiceShowRecipe,
)
from mamtra_cli.recording import read_audio
from mamtra_cli.tasks.synth import synth
from mamtra_cli.tasks.voice import add_voice, list_all, remove_voice, show

TEXT = "The old clock in the kitchen was slow."
CONSENT = "Ann agreed."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(
        tmp_path_factory.mktemp("voice") / "tiny", copies=True, source_filter=True
    )


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> VoiceAddRecipe:
    clip = write(tmp_path / "clip.wav", speech(3.2))
    return VoiceAddRecipe(
        name="eve",
        clip=clip,
        text=TEXT,
        consent=CONSENT,
        model=str(model),
        voices=tmp_path / "voices",
        device="cpu",
    )


def speak(recipe: VoiceAddRecipe, **changes: object) -> SynthRecipe:
    given = {
        "text": "It was late.",
        "output": str(recipe.voices.parent / "out.wav"),  # type: ignore[union-attr]
        "model": recipe.model,
        "voice": "eve",
        "voices": recipe.voices,
        "retries": 30,
        "device": "cpu",
        "force": True,
        **changes,
    }
    return SynthRecipe(**given)  # type: ignore[arg-type]


def test_added_voice_is_listed_shown_used_and_removed(recipe: VoiceAddRecipe) -> None:
    added = add_voice(recipe)
    assert not added.replaced
    assert added.voice.mode == "zero-shot"
    listed = list_all(VoiceListRecipe(voices=recipe.voices, model=recipe.model))
    assert listed.voices == (added.voice,)
    assert listed.model_voices == ("ann", "bob")
    shown = show(VoiceShowRecipe(name="eve", voices=recipe.voices)).voice
    assert shown == added.voice
    assert shown.facts is not None
    assert (shown.facts.transcript, shown.facts.consent) == (TEXT, CONSENT)
    assert shown.facts.clip.seconds == 3.2
    result = synth(speak(recipe))
    assert (result.voice, result.mode) == ("eve", "zero-shot")
    assert synth(speak(recipe, voice=shown.path)).tokens == result.tokens
    remove_voice(VoiceRemoveRecipe(name="eve", voices=recipe.voices))
    assert list_all(VoiceListRecipe(voices=recipe.voices)).voices == ()


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"cross_lingual": True}, "cross-lingual"),
        ({"speaker_only": True}, "speaker"),
        ({"voice": "ann"}, "speaker"),
        ({"voice": "", "clip": "clip.wav", "clip_text": TEXT}, "zero-shot"),
        ({"voice": "", "clip": "clip.wav"}, "cross-lingual"),
        ({"stream": True, "cross_lingual": True}, "cross-lingual"),
    ],
    ids=["cross-lingual", "speaker-only", "stored", "clip", "clip-without-text", "streamed"],
)
def test_synth_speaks_in_the_mode_asked_for(
    recipe: VoiceAddRecipe, changes: dict[str, object], mode: str
) -> None:
    add_voice(recipe)
    if "clip" in changes:
        changes = {**changes, "clip": recipe.clip}
    result = synth(speak(recipe, **changes))
    assert result.mode == mode
    assert soundfile.info(result.output).frames > 0


@pytest.mark.parametrize(
    ("changes", "mode", "told"),
    [
        ({}, "cross-lingual", 1),
        ({"stream": True}, "cross-lingual", 1),
        ({"zero_shot": True}, "zero-shot", 0),
        ({"cross_lingual": True}, "cross-lingual", 0),
        ({"speaker_only": True}, "speaker", 0),
        ({"voice": "ann"}, "speaker", 0),
    ],
    ids=["default", "streamed", "zero-shot", "cross-lingual", "speaker-only", "stored"],
)
def test_model_that_did_not_learn_zero_shot_does_something_else_and_says_so(
    recipe: VoiceAddRecipe, tmp_path: Path, changes: dict[str, object], mode: str, told: int
) -> None:
    add_voice(recipe)
    other = shutil.copytree(recipe.model, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["config"]["zero_shot"] = False
    (other / "config.json").write_text(json.dumps(config))
    notes: list[Note] = []
    result = synth(
        speak(recipe, model=str(other), **changes),
        lambda event: notes.append(event) if isinstance(event, Note) else None,
    )
    assert result.mode == mode
    assert sum("`--zero-shot`" in note.text for note in notes) == told
    if mode == "cross-lingual":
        asked = synth(speak(recipe, **{**changes, "cross_lingual": True}))
        assert (asked.tokens, asked.attempts) == (result.tokens, result.attempts)


def test_voice_with_a_kept_state_says_the_same(recipe: VoiceAddRecipe) -> None:
    add_voice(recipe)
    plain = synth(speak(recipe))
    samples = soundfile.read(plain.output)[0]
    again = add_voice(replace(recipe, prefill=True, force=True))
    assert again.replaced
    assert again.voice.facts is not None
    assert again.voice.facts.language_model
    kept = synth(speak(recipe))
    assert (kept.tokens, kept.attempts) == (plain.tokens, plain.attempts)
    np.testing.assert_allclose(soundfile.read(kept.output)[0], samples, atol=1e-4)


def test_voice_speaks_with_a_model_that_shares_its_front_ends(
    recipe: VoiceAddRecipe, tmp_path: Path
) -> None:
    add_voice(replace(recipe, prefill=True))
    other = write_tiny_model(tmp_path / "other", copies=True, source_filter=True, seed=5)
    for part in ("speech_tokenizer", "speaker_encoder"):
        name = f"{part}.safetensors"
        shutil.copyfile(Path(recipe.model) / name, other / name)
    assert synth(speak(recipe, model=str(other))).mode == "zero-shot"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("speech_tokenizer.safetensors", "speech tokenizer"),
        ("speaker_encoder.safetensors", "speaker encoder"),
        ("symbols.json", "text front end"),
    ],
)
def test_voice_of_another_model_is_refused(
    recipe: VoiceAddRecipe, tmp_path: Path, name: str, words: str
) -> None:
    add_voice(recipe)
    other = shutil.copytree(recipe.model, tmp_path / "other")
    if name == "symbols.json":
        (other / name).write_text((other / name).read_text() + "\n")
    else:
        fresh = write_tiny_model(tmp_path / "fresh", copies=True, source_filter=True, seed=5)
        shutil.copyfile(fresh / name, other / name)
    with pytest.raises(CheckpointError, match=words) as caught:
        synth(speak(recipe, model=str(other), force=True))
    assert "made with another model" in caught.value.message
    assert not Path(speak(recipe).output).exists()


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"consent": "  "}, UsageError, "no consent statement"),
        ({"consent_file": Path("none.txt")}, UsageError, "both given"),
        ({"consent": "", "consent_file": Path("none.txt")}, UsageError, "cannot read `none.txt"),
        ({"consent": "x" * 5000}, UsageError, "5000 characters"),
        ({"clip": None}, UsageError, "no clip"),
        ({"clip": Path("none.wav")}, AudioError, "no audio file"),
        ({"name": "../eve"}, UsageError, "cannot name"),
        ({"name": "ann"}, UsageError, "of its own"),
        ({"text": "Hi. " * 200}, TextError, "too much text"),
        ({"text": "", "prefill": True}, UsageError, "needs a transcript"),
        ({"limits": ClipLimits(min_seconds=60.0)}, AudioError, "at least 60 s"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bad_request_is_refused_and_leaves_nothing(
    recipe: VoiceAddRecipe, changes: dict[str, object], kind: type[MamtraError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        add_voice(replace(recipe, **changes))
    assert not (recipe.voices or Path()).exists()


def test_name_in_use_needs_force(recipe: VoiceAddRecipe) -> None:
    add_voice(recipe)
    with pytest.raises(OutputError, match="already"):
        add_voice(recipe)


def test_consent_comes_from_a_file_too(recipe: VoiceAddRecipe, tmp_path: Path) -> None:
    (tmp_path / "consent.txt").write_text("Eve agreed.\n")
    file = tmp_path / "consent.txt"
    added = add_voice(replace(recipe, consent="", consent_file=file)).voice
    assert added.facts is not None
    assert added.facts.consent == "Eve agreed."


def test_advice_is_told_and_returned(recipe: VoiceAddRecipe, tmp_path: Path) -> None:
    heard: list[str] = []
    poor = replace(recipe, clip=write(tmp_path / "b.wav", speech(3.2, 8_000), 8_000), text="")
    result = add_voice(
        poor, lambda event: heard.append(event.text) if isinstance(event, Note) else None
    )
    assert heard == list(result.advice)
    assert [line.split(";")[0] for line in heard] == [
        "the clip has 8000 samples a second",
        "no transcript: this voice speaks in the cross-lingual mode only",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cross_lingual": True, "speaker_only": True}, "contradict"),
        ({"cross_lingual": True, "instruct": "softly"}, "contradict"),
        ({"cross_lingual": True, "zero_shot": True}, "contradict"),
        ({"voice": "ann", "zero_shot": True}, "has no clip"),
        ({"clip": Path("a.wav")}, "both given"),
        ({"clip_text": TEXT}, "there is none"),
        ({"instruct": "softly"}, "follows no instructions"),
        ({"voice": "ann", "cross_lingual": True}, "has no clip"),
    ],
    ids=[
        "two-modes",
        "two-more",
        "two-others",
        "stored-zero-shot",
        "clip-and-voice",
        "text-alone",
        "instruct",
        "stored",
    ],
)
def test_synth_refuses_modes_that_cannot_be(
    recipe: VoiceAddRecipe, changes: dict[str, object], words: str
) -> None:
    if changes.get("voice") is None:
        add_voice(recipe)
    with pytest.raises(UsageError, match=words):
        synth(speak(recipe, **changes))
    assert not Path(speak(recipe).output).exists()


def test_commands_print_words_and_json(
    recipe: VoiceAddRecipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAMTRA_HOME", str(recipe.voices))
    add = ["voice", "add", "eve", str(recipe.clip), "--text", TEXT, "-m", recipe.model]
    assert run([*add]) == 2
    assert "--consent" in capsys.readouterr().err
    assert run([*add, "--consent", CONSENT, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == "voice add"
    assert told["voice"]["facts"]["consent"] == CONSENT
    assert run(["voice", "list"]) == 0
    assert "zero-shot" in capsys.readouterr().out
    assert run(["voice", "show", "eve"]) == 0
    assert CONSENT in capsys.readouterr().out
    assert run(["voice", "show", "eva", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["hint"] == "did you mean `eve`?"
    assert run(["voice", "remove", "eve", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "eve"
    assert run(["voice", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["voices"] == []


def test_each_voice_of_a_model_speaks_a_sample(recipe: VoiceAddRecipe, tmp_path: Path) -> None:
    asked = VoiceListRecipe(voices=recipe.voices, model=recipe.model, samples=tmp_path / "heard")
    heard = list_all(replace(asked, say="It was late, and nobody came home.", device="cpu"))
    assert heard.model_voices == ("ann", "bob")
    assert [Path(path).name for path in heard.samples] == ["ann.wav", "bob.wav"]
    assert all(len(read_audio(Path(path), 24_000)) > 2400 for path in heard.samples)
    with pytest.raises(OutputError, match=r"ann\.wav` exists"):
        list_all(asked)
    with pytest.raises(UsageError, match="spoken by a model"):
        list_all(replace(asked, model=""))


def test_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["voice"]) == 0
    assert "Usage: mamtra voice" in capsys.readouterr().out


def test_damaged_file_is_listed_as_such(recipe: VoiceAddRecipe, tmp_path: Path) -> None:
    add_voice(recipe)
    path = tmp_path / "voices" / "bad.safetensors"
    path.write_bytes(b"no voice")
    listed = list_all(VoiceListRecipe(voices=recipe.voices))
    assert [entry.name for entry in listed.voices] == ["eve"]
    assert "bad.safetensors" in listed.damaged[0]
