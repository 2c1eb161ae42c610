"""A clip becomes a prompt: shapes agree, features are the published ones, a kept state is used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engine.tiny import tiny_engine, tiny_voice
from tests.sounds import speech, write
from tests.tiny_model import write_tiny_model

from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import TextError
from mamtra_cli.families.cosyvoice2.cloning import read_prefix, speaker_vector, speech_tokens
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.features import fbank80, logmel128, mel24k, resample_sinc
from mamtra_cli.model_rate import to_rate
from mamtra_cli.recipes import ClipFacts, VoiceFacts
from mamtra_cli.voices.clip import Clip, read_clip
from mamtra_cli.voices.voice import Manner, Voice, load_voice, save_voice

TEXT = "The old clock in the kitchen was slow."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = write_tiny_model(tmp_path_factory.mktemp("cloning") / "tiny", copies=True)
    return Engine.load(str(folder), device="cpu")


def clip_of(folder: Path, seconds: float = 3.0, rate: int = 16_000) -> Clip:
    return read_clip(write(folder / "a.wav", speech(seconds, rate), rate))


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_prompt_has_two_frames_a_token_at_any_rate(
    engine: Engine, tmp_path: Path, rate: int
) -> None:
    voice = engine.speaker.clone(
        clip_of(tmp_path, 3.01, rate), "ann", transcript=TEXT, consent="yes"
    )
    assert voice.embedding.shape == (192,)
    assert voice.prompt_mel.shape == (2 * len(voice.prompt_tokens), 80)
    assert len(voice.prompt_tokens) == 75
    assert len(voice.prompt_text_ids) > 10
    assert voice.mode == "zero-shot"
    assert voice.facts is not None
    assert (voice.facts.consent, voice.facts.transcript) == ("yes", TEXT)
    assert voice.facts.model == "tiny"
    assert len(voice.facts.speech_tokenizer) == len(voice.facts.front_end) == 64


def test_features_are_those_of_the_published_system(engine: Engine, tmp_path: Path) -> None:
    clip = clip_of(tmp_path, 2.0, 44_100)
    voice = engine.speaker.clone(clip, "ann")
    wave = torch.from_numpy(clip.samples)
    narrow, wide = resample_sinc(wave, 44_100, 16_000), resample_sinc(wave, 44_100, 24_000)
    codes, _ = engine.part("speech_tokenizer").encode(logmel128(narrow[None]))  # type: ignore[operator]
    vector = engine.part("speaker_encoder")(fbank80(narrow[None], subtract_mean=True))
    assert torch.equal(voice.prompt_tokens, codes[0])
    assert torch.equal(voice.embedding, vector[0])
    assert torch.equal(voice.prompt_mel, mel24k(wide).T[: 2 * len(codes[0])])


def test_odd_rate_is_resampled_without_a_giant_kernel(tmp_path: Path) -> None:
    wave = torch.from_numpy(speech(1.0, 22_051))
    assert len(to_rate(wave, 22_051, 16_000)) == pytest.approx(16_000, abs=2)


def test_vector_and_tokens_are_plain_tensors(engine: Engine) -> None:
    wave = torch.from_numpy(speech(1.0))
    assert not speech_tokens(engine, wave).is_inference()
    assert not speaker_vector(engine, wave).is_inference()


def test_voice_without_transcript_is_cross_lingual(engine: Engine, tmp_path: Path) -> None:
    voice = engine.speaker.clone(clip_of(tmp_path), "ann", prefill=True)
    assert (voice.mode, voice.state) == ("cross-lingual", None)


def test_transcript_that_the_model_cannot_speak_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(TextError):
        engine.speaker.clone(clip_of(tmp_path), "ann", transcript="\u4f60\u597d")


def test_copied_voice_is_written_and_speaks(engine: Engine, tmp_path: Path) -> None:
    voice = engine.speaker.clone(clip_of(tmp_path), "ann", transcript=TEXT, prefill=True)
    save_voice(voice, tmp_path / "ann.safetensors")
    read = engine.voice(str(tmp_path / "ann.safetensors"))
    speaker = engine.speaker
    script = speaker.begin(engine.encode("It was late."), read)
    assert script.reads.after is not None
    assert script.reads.after[0] == 1 + len(voice.prompt_text_ids)
    assert [token for (token,) in script.heard] == voice.prompt_tokens.tolist()
    for mode in ("cross-lingual", "speaker"):
        other = speaker.begin([1, 2], read, Manner(mode=mode))
        assert (other.reads.after, other.heard) == (None, ())
    assert speaker.sound_prompt(read).tokens.shape[1] == len(voice.prompt_tokens)
    assert speaker.sound_prompt(read, Manner(mode="speaker")).tokens.shape[1] == 0


def kept_voice(engine: Engine, *, language_model: str = "x", dtype: str = "float32") -> Voice:
    """A voice with a state that an engine left, said to be of a language model."""
    voice = tiny_voice(12)
    clip = ClipFacts(
        sha256="",
        seconds=1,
        speech_seconds=1,
        sample_rate=16_000,
        channels=1,
        peak=0,
        loudness=0,
        clipped=0,
    )
    facts = VoiceFacts(
        family="cosyvoice2",
        model="tiny",
        speech_tokenizer="",
        speaker_encoder="",
        front_end="",
        normalizer="plain",
        transcript="x",
        consent="x",
        consent_date="",
        mamtra="",
        clip=clip,
        language_model=language_model,
        language_model_dtype=dtype,
    )
    return replace(voice, facts=facts, state=read_prefix(engine, voice))


@pytest.mark.parametrize("kinds", ["TT", "TM", "MM", "ST"])
@pytest.mark.parametrize("positions", ["aligned", "sequential"])
def test_kept_state_changes_nothing_but_the_reading(
    kinds: str, positions: str, tmp_path: Path
) -> None:
    engine = tiny_engine(kinds=kinds, positions=positions, mixer={"window": 6, "sinks": 1})
    engine.speaker.__dict__["_lm_hash"] = "x"
    save_voice(kept_voice(engine), tmp_path / "a.safetensors")
    voice = load_voice(tmp_path / "a.safetensors")
    kept = engine.speaker.begin([3, 4, 5], voice).reads
    assert kept.after is not None
    plain = replace(kept, after=None)
    model = engine.speaker.tokens
    assert model is not None

    def run(*reads: Reads) -> list[torch.Tensor]:
        none = [None] * len(reads)
        with torch.inference_mode():
            scores, rows = model.read(reads, None, range(len(reads)), none)
            seen = [scores]
            for token in (6, 2, 9):
                scores, rows = model.step(torch.full((len(reads), 1), token), rows)
                seen.append(scores)
        return seen

    for _ in range(2):  # a state in use must not be changed by it
        for found, wanted in zip(run(kept), run(plain), strict=True):
            torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    for found in run(kept, plain):
        torch.testing.assert_close(found[0], found[1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("language_model", "dtype"), [("y", "float32"), ("x", "bfloat16"), ("", "float32")]
)
def test_state_of_another_language_model_is_not_used(language_model: str, dtype: str) -> None:
    engine = tiny_engine()
    engine.speaker.__dict__["_lm_hash"] = "x" if language_model else ""
    voice = kept_voice(engine, language_model=language_model, dtype=dtype)
    assert engine.speaker.begin([3, 4, 5], voice).reads.after is None


def test_language_model_put_in_place_uses_no_state(engine: Engine, tmp_path: Path) -> None:
    voice = engine.speaker.clone(clip_of(tmp_path), "ann", transcript=TEXT, prefill=True)
    assert engine.speaker.begin([3], voice).reads.after is not None
    other = engine.with_lessons(engine.lessons, "same").speaker
    assert other.begin([3], voice).reads.after is None


def test_mono_and_equal_stereo_give_one_voice(engine: Engine, tmp_path: Path) -> None:
    samples = speech(2.0)
    mono = read_clip(write(tmp_path / "m.wav", samples))
    both = read_clip(write(tmp_path / "s.wav", np.stack((samples, samples), axis=1)))
    one, two = (engine.speaker.clone(clip, "ann") for clip in (mono, both))
    assert torch.equal(one.prompt_tokens, two.prompt_tokens)
    assert torch.equal(one.embedding, two.embedding)
