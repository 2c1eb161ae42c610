"""A small Zonos speaks: by the command, in any voice or none, streamed, going on from a clip."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families.zonos.tiny import CODEC, published_folder

from mamtra_cli.engine.decoding.streams import Streams
from mamtra_cli.engine.measuring import room
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import CheckpointError, OutOfMemoryError, UsageError
from mamtra_cli.families.zonos import front_end
from mamtra_cli.families.zonos.speaker import ZonosSpeaker
from mamtra_cli.families.zonos.symbols import ROWS
from mamtra_cli.recipes import ClipFacts, SynthRecipe
from mamtra_cli.recording import decode_file
from mamtra_cli.tasks.synth import synth
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.voice import Manner, Voice, load_voice, save_voice


def letters(words: Sequence[str], language: str) -> list[str]:
    return [word.lower() if language == "en-us" else word.upper() for word in words]


@pytest.fixture(autouse=True)
def no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters for phones, whatever is installed."""
    default = front_end.ZonosFrontEnd.__init__
    monkeypatch.setattr(
        front_end.ZonosFrontEnd,
        "__init__",
        lambda self, **given: default(self, **{"pronounce": letters, **given}),
    )


@pytest.fixture(scope="module", params=["transformer", "hybrid"])
def folder(
    small_models: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    return published_folder(
        small_models, request.param, tmp_path_factory.mktemp("z") / request.param
    )


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.load(str(folder), device="cpu", dtype="float32")


def clip(seconds: float) -> Clip:
    draw = np.random.default_rng(0)
    samples = (0.1 * draw.normal(size=round(seconds * 16_000))).astype(np.float32)
    return Clip(samples=samples, rate=16_000, facts=FACTS)


FACTS = ClipFacts(
    seconds=1.0, speech_seconds=1.0, sample_rate=16_000, channels=1, peak=0.5, loudness=-20.0,
    clipped=0.0, sha256="0" * 64,
)  # fmt: skip
OPTIONS = SpeechOptions(retries=20)


def recipe(folder: Path, output: Path, **knobs: Any) -> SynthRecipe:
    base = SynthRecipe(model=str(folder), text="Hello there.", output=str(output), device="cpu")
    return replace(base, retries=20, dtype="float32", **knobs)


def test_the_command_speaks_without_a_voice(folder: Path, tmp_path: Path) -> None:
    made = synth(recipe(folder, tmp_path / "a.wav", settings=("emotion=none", "language=de")))
    samples, rate = decode_file(tmp_path / "a.wav")
    assert rate == CODEC.sample_rate
    assert len(samples) == made.tokens * CODEC.hop
    assert (made.voice, made.mode) == ("unsaid", "speaker")


def test_a_clip_becomes_a_voice_that_is_gone_on_from(engine: Engine, tmp_path: Path) -> None:
    voice = engine.speaker.clone(clip(0.5), "anna", transcript="Good day.")
    assert voice.prompt_tokens.shape == (CODEC.padded(4000) // CODEC.hop, 9)
    assert voice.mode == "zero-shot"
    save_voice(voice, tmp_path / "anna.safetensors")
    kept = load_voice(tmp_path / "anna.safetensors")
    assert torch.equal(kept.prompt_tokens, voice.prompt_tokens)
    engine.speaker.fits(kept)
    speaker = engine.speaker
    settings = speaker.settings(voice)
    published = replace(front_end.ZonosFrontEnd(), own=False)
    engine.use_rules("published")
    assert speaker.encode("2 men", settings) == published.ids("2 men")
    engine.use_rules("own")
    ids = speaker.encode("Hello.", settings)
    script: Any = speaker.begin(ids, voice, settings)
    whole = front_end.ZonosFrontEnd().ids("Good day. Hello.")
    assert list(script.reads.prompt.ids) == whole
    assert len(script.reads.columns) == len(voice.prompt_tokens) + 1
    assert len(speaker.sound_prompt(voice, settings)) == len(voice.prompt_tokens)
    german: Any = speaker.settings(voice, Manner(told=("language=de",)))
    script = speaker.begin(speaker.encode("Tag.", german), voice, german)
    assert list(script.reads.prompt.ids) == front_end.ZonosFrontEnd(language="de").ids(
        "Good day. Tag."
    )
    alone: Any = speaker.begin(ids, voice, speaker.settings(voice, Manner(mode="speaker")))
    assert len(alone.reads.columns) == 1
    assert alone.reads.prompt.voice == tuple(voice.embedding.tolist())


def test_speech_goes_on_from_the_piece_before(engine: Engine) -> None:
    speaker = engine.speaker
    voice = speaker.default_voice()
    assert voice is not None
    settings = speaker.settings(voice)
    first, second = speaker.encode("one.", settings), speaker.encode("two.", settings)
    frames = tuple((place,) * engine.facts.codebooks for place in range(5))
    for _ in range(2):  # the second time a clip stands before
        found = speaker.after(first, frames, voice, settings)
        assert found is not None
        voice, settings = found
        script: Any = speaker.begin(second, voice, settings)
        before = len(voice.prompt_text_ids) - 1
        assert script.prompt.ids[:before] == tuple(voice.prompt_text_ids.tolist()[:-1])
        assert script.prompt.ids[before:] == (ROWS[" "], *second[1:])
        assert script.given[-5:] == frames
    assert script.given == frames * 2


def test_streamed_sound_is_the_whole_sound(engine: Engine) -> None:
    voice = engine.speaker.clone(clip(0.3), "anna", transcript="Good day.")
    for who in (voice, engine.voice()):
        waves = []
        for stream in (False, True):
            chunks = speak(engine, "Hello there.", who, replace(OPTIONS, stream=stream))
            waves.append(torch.cat([chunk.audio for chunk in chunks]))
        torch.testing.assert_close(waves[0], waves[1], atol=1e-6, rtol=0)


def test_streams_give_each_row_what_it_gets_alone(engine: Engine) -> None:
    speaker = engine.speaker
    assert isinstance(speaker, ZonosSpeaker)
    voice = engine.speaker.clone(clip(0.3), "anna", transcript="Good day.")
    told = [((), None), (("language=de", "guidance=1"), None), (("emotion=none",), voice)]
    told += [(("fmax=none", "speaking_rate=30"), voice)]
    scripts = []
    for number, (words, who) in enumerate(told):
        who = who or speaker.default_voice()
        settings = speaker.settings(who, Manner(told=words))
        ids = speaker.encode(f"Hello {'a' * number}.", settings)
        scripts.append(speaker.begin(ids, who, settings, most=4 + 3 * number))
    found = []
    for rows in (4, 1):
        streams = Streams(speaker.tokens, rows=rows)
        ids_of = {streams.add(s, engine.sampling, seed=n): n for n, s in enumerate(scripts)}
        frames: dict[int, list[tuple[int, ...]]] = {number: [] for number in range(4)}
        while streams.busy:
            for event in streams.step():
                frames[ids_of[event.id]] += event.frames
        found.append(frames)
    assert found[0] == found[1]
    assert len({len(row) for row in found[0].values()}) > 1


def test_more_rows_than_memory_has_room_for_are_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "free_bytes", lambda: 200_000_000)
    with pytest.raises(OutOfMemoryError, match="1024 pieces at once") as told:
        room.check_room(engine, 1024)
    assert "fits" in str(told.value.hint)
    room.check_room(engine, 1)


def test_what_the_model_cannot_do_is_told(engine: Engine) -> None:
    speaker, voice = engine.speaker, engine.voice()
    for manner, fact in (
        (Manner(mode="instruct"), "does not follow instructions"),
        (Manner(told=("speaking_rate=50",)), "cannot be 50"),
        (Manner(mode="zero-shot"), "has no clip"),
    ):
        with pytest.raises(UsageError, match=fact):
            speaker.settings(voice, manner)
    with pytest.raises(UsageError, match="cannot change the speed"):
        list(speak(engine, "Hello.", voice, replace(OPTIONS, speed=2.0)))
    with pytest.raises(UsageError, match="no solver"):
        list(speak(engine, "Hello.", voice, replace(OPTIONS, steps=4)))
    with pytest.raises(UsageError, match="word by word"):
        speaker.turns(voice)
    for other in (Voice(name="x", embedding=torch.zeros(192)), strange()):
        with pytest.raises(CheckpointError, match="voice `x`"):
            speaker.fits(other)


def strange() -> Voice:
    """A voice of frames that have one id."""
    return Voice(name="x", embedding=torch.zeros(128), prompt_tokens=torch.zeros(4).long())
