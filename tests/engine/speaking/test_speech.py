"""Text to sound: joins, seeds, guards with new attempts, streaming."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Piece
from mamtra_cli.engine.speaking.speech import speak, speak_frames
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.errors import AudioRejectedError, TextError
from mamtra_cli.events import Event, Note
from mamtra_cli.ops.sampling import Sampling

OPEN = GuardLimits(equal_run=1000, loop_span=1000, min_share=0.0, max_share=1000.0, silence_rms=0.0)
OPTIONS = SpeechOptions(limits=OPEN, sampling=Sampling(), retries=20)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def audio(chunks: list[Chunk]) -> torch.Tensor:
    return torch.cat([chunk.audio for chunk in chunks])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_same_seed_gives_the_same_sound(engine: Engine, stream: bool) -> None:
    options = replace(OPTIONS, stream=stream, seed=4)
    first, second, other = (
        audio(list(speak(engine, "hello there.", tiny_voice(), replace(options, seed=seed))))
        for seed in (4, 4, 5)
    )
    assert torch.equal(first, second)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_piece_reports_tell_tokens_that_match_the_sound(engine: Engine) -> None:
    options = replace(OPTIONS, silence=0.1)
    chunks = list(speak(engine, "one. two three.", tiny_voice(), options))
    pieces = [chunk.piece for chunk in chunks if chunk.piece is not None]
    assert [piece.text for piece in pieces] == ["one.", "two three."]
    samples = sum(piece.tokens for piece in pieces) * 960 + 2400
    assert len(audio(chunks)) == samples


@pytest.mark.parametrize("prompt", [0, 8], ids=["speaker", "clip"])
def test_stream_has_the_length_of_the_whole(engine: Engine, prompt: int) -> None:
    text, voice = "a sentence of some length.", tiny_voice(prompt)
    whole = list(speak(engine, text, voice, OPTIONS))
    streamed = list(speak(engine, text, voice, replace(OPTIONS, stream=True)))
    assert len(audio(streamed)) == len(audio(whole))
    assert [c.piece for c in streamed if c.piece] == [c.piece for c in whole if c.piece]


def test_stream_hands_out_sound_before_the_last_token(engine: Engine) -> None:
    text = "a long sentence that takes well over twenty five tokens to be spoken in full."
    chunks = speak(engine, text, tiny_voice(), replace(OPTIONS, stream=True))
    first = next(chunks)
    assert first.piece is None
    assert len(first.audio) > 0
    rest = list(chunks)
    assert rest[-1].piece is not None


def test_speed_changes_the_length_only(engine: Engine) -> None:
    slow, fast = (
        len(audio(list(speak(engine, "some words.", tiny_voice(), replace(OPTIONS, speed=speed)))))
        for speed in (1.0, 2.0)
    )
    assert abs(slow - 2 * fast) <= 960


def test_refused_attempts_are_told_and_bounded(engine: Engine) -> None:
    heard: list[Event] = []
    limits = replace(OPEN, max_share=0.01, slack=0)
    options = replace(OPTIONS, limits=limits, retries=2)
    with pytest.raises(AudioRejectedError, match="after 3 attempts") as caught:
        list(speak(engine, "some words.", tiny_voice(), options, heard.append))
    assert caught.value.hint
    notes = [event for event in heard if isinstance(event, Note)]
    assert len(notes) == 2
    assert all(note.warning for note in notes)


def test_second_attempt_may_succeed(engine: Engine) -> None:
    engine = tiny_engine()
    model = engine.speaker.tokens
    assert model is not None
    read, tried = model.read, []

    def fickle(*given: Any) -> Any:
        scores, rows = read(*given)
        tried.append(scores)
        return (scores * float("nan") if len(tried) == 1 else scores), rows

    model.read = fickle  # type: ignore[method-assign]
    chunks = list(speak(engine, "some words.", tiny_voice(), OPTIONS))
    piece = chunks[-1].piece
    assert piece is not None
    assert piece.attempts == len(tried) >= 2
    assert piece.rejected[0] == "non_finite"


@pytest.mark.parametrize("stream", [False, True])
def test_short_text_without_an_end_is_cut_and_a_long_one_refused(stream: bool) -> None:
    engine = tiny_engine(positions="sequential")
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id :] = -30.0
    options = replace(OPTIONS, stream=stream, retries=0)

    def tokens(text: str, options: SpeechOptions) -> int:
        piece = list(speak(engine, text, tiny_voice(), options))[-1].piece
        assert piece is not None
        assert piece.cut
        return piece.tokens

    long = "a sentence of so many letters that it would take a long time."
    assert 0 < tokens("no.", options) <= 100
    with pytest.raises(AudioRejectedError, match="no end after"):
        tokens(long, options)
    kept = replace(options, limits=replace(OPEN, cut_seconds=math.inf))
    assert tokens(long, kept) > 100


def test_streamed_piece_is_not_tried_again_once_heard() -> None:
    engine = tiny_engine()
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id :] = -30.0
    limits = replace(OPTIONS.limits, cut_seconds=0)
    options = replace(OPTIONS, stream=True, max_seconds=3.0, limits=limits)
    got: list[Chunk] = []
    with pytest.raises(
        AudioRejectedError, match="no end after 75 tokens; what has begun"
    ) as caught:
        got.extend(speak(engine, "a sentence of twenty five letters.", tiny_voice(), options))
    assert got
    assert "streaming" in (caught.value.hint or "")
    assert "--retries" not in (caught.value.hint or "")  # it could not help


def test_silent_speech_is_refused() -> None:
    engine = tiny_engine()
    engine.part(engine.config.vocoder_part).conv_post.weight.zero_()
    engine.part(engine.config.vocoder_part).conv_post.bias.fill_(-20.0)
    options = replace(OPTIONS, limits=replace(OPEN, silence_rms=1e-3), retries=0)
    with pytest.raises(AudioRejectedError, match="root mean square"):
        list(speak(engine, "some words.", tiny_voice(), options))


def test_unspeakable_piece_is_told_before_any_sound(engine: Engine) -> None:
    with pytest.raises(TextError, match="cannot speak"):
        next(speak(engine, "fine. so far. \u4f60.", tiny_voice(), OPTIONS))


def test_a_mute_utterance_is_frames_alone_and_says_why_it_ended(engine: Engine) -> None:
    """Its frames are those that are heard otherwise, and no part that makes sound is loaded."""
    heard = list(speak(engine, "some words.", tiny_voice(), OPTIONS))[-1]
    piece = Piece(ids=engine.encode("some words."), voice=tiny_voice())
    for limits, refused in ((OPEN, False), (replace(OPEN, max_share=0.01, slack=0), True)):
        utterances = Utterances(engine, limits=limits)
        options = replace(OPTIONS, mute=True, retries=20 if not refused else 1)
        utterances.say(options, [piece])
        news = []
        while utterances.busy:
            news += utterances.step()
        assert news[-1].done
        if refused:
            assert [one.refused is not None for one in news] == [True, True]
        else:
            assert [tuple(one.chunk.frames) for one in news if one.chunk] == [tuple(heard.frames)]
            assert all(len(one.chunk.audio) == 0 for one in news if one.chunk)


def test_known_tokens_are_spoken(engine: Engine) -> None:
    assert speak_frames(engine, [(1,), (2,), (3,), (4,)], tiny_voice()).shape == (4 * 960,)
