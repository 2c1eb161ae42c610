"""Pieces that hear each other: what the model is shown, and that nothing else changes a sound."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.lines import Line, speak_lines
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import PieceReport
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import UsageError
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.voice import Voice

OPEN = GuardLimits(
    equal_run=1000,
    loop_span=1000,
    min_share=0.0,
    max_share=1000.0,
    leak_kinds=1000,
    cut_seconds=math.inf,
    silence_rms=0.0,
)
OPTIONS = SpeechOptions(limits=OPEN, sampling=Sampling(), carry=True, silence=0.0)
TEXT = "one two. three four. five."


@pytest.fixture
def engine() -> Engine:
    """A tiny model that never ends by itself, so that no piece is empty."""
    engine = tiny_engine(positions="sequential")
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id :] = -30.0
    return engine


def heard_by(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Voice, Any]]:
    """What the language model is shown of the voice, piece by piece."""
    begin, shown = engine.speaker.begin, []

    def watched(ids: Any, voice: Any = None, settings: Any = None, **more: Any) -> Any:
        shown.append((voice, settings))
        return begin(ids, voice, settings, **more)

    monkeypatch.setattr(engine.speaker, "begin", watched)
    return shown


def said(engine: Engine, voice: Voice, options: SpeechOptions) -> tuple[Any, list[PieceReport]]:
    chunks = list(speak(engine, TEXT, voice, options))
    audio = np.concatenate([np.asarray(chunk.audio) for chunk in chunks])
    return audio, [chunk.piece for chunk in chunks if chunk.piece is not None]


@pytest.mark.parametrize("prompt", [0, 8], ids=["speaker", "clip"])
def test_a_piece_hears_the_voice_and_the_piece_before_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, prompt: int
) -> None:
    voice = tiny_voice(prompt)
    shown = heard_by(engine, monkeypatch)
    _, pieces = said(engine, voice, OPTIONS)
    text, tokens = voice.heard(engine.speaker.settings(voice))
    assert shown[0][0] is voice
    for place, (longer, settings) in enumerate(shown[1:]):
        ids, frames = longer.heard(settings)
        assert ids == [*text, *engine.encode(pieces[place].text)]
        assert frames[: len(tokens)] == tokens
        assert len(frames) == len(tokens) + pieces[place].tokens  # never more than one piece


def test_the_first_piece_is_as_ever_and_the_next_is_another(engine: Engine) -> None:
    voice = tiny_voice(8)
    carried, (first, *_) = said(engine, voice, OPTIONS)
    alone, _ = said(engine, voice, replace(OPTIONS, carry=False))
    samples = round(first.seconds * engine.sample_rate)
    np.testing.assert_array_equal(carried[:samples], alone[:samples])
    assert not np.array_equal(carried[samples:], alone[samples:])


def test_streaming_company_and_batches_change_nothing(engine: Engine) -> None:
    voice = tiny_voice(8)
    whole, pieces = said(engine, voice, OPTIONS)
    streamed, same = said(engine, voice, replace(OPTIONS, stream=True))
    assert [piece.tokens for piece in same] == [piece.tokens for piece in pieces]
    assert len(streamed) == len(whole)
    lines = [Line(id=str(n), text=TEXT, voice=voice, seed=n) for n in range(3)]
    made = {one.line.id: one for one in speak_lines(engine, lines, OPTIONS, rows=4)}
    np.testing.assert_allclose(np.asarray(made["0"].audio), whole, atol=2e-4)


def test_a_model_that_does_not_go_on_from_speech_refuses(engine: Engine) -> None:
    engine = tiny_engine()
    engine.config = replace(engine.config, zero_shot=False)
    with pytest.raises(UsageError, match="cannot hear each other"):
        list(speak(engine, TEXT, tiny_voice(), OPTIONS))
