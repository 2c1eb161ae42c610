"""Verified speech: what counts as understood, who listens, and what becomes of the rest."""

import math
from typing import Any

import numpy as np
import pytest
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.judging import verifying
from mamtra_cli.engine.judging.verifying import Verifier, mostly_chinese, open_verifier
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.lines import Line, speak_lines
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Heard, PieceReport
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import MissingDependencyError
from mamtra_cli.events import Event, Note
from mamtra_cli.ops.sampling import Sampling

OPEN = GuardLimits(
    equal_run=1000,
    loop_span=1000,
    min_share=0.0,
    max_share=1000.0,
    cut_seconds=math.inf,
    silence_rms=0.0,
)


class Ears:
    """Hears what it is told to."""

    def __init__(self, *heard: str) -> None:
        self.about = {"name": "ears"}
        self.heard = list(heard)

    def transcribe(self, wave: Any, rate: int) -> str:
        assert wave.ndim == 1
        return self.heard.pop(0)


@pytest.fixture(scope="module")
def mini() -> Engine:
    return Engine.load("mini", threads=1)


@pytest.mark.parametrize(
    ("text", "heard", "errors"),
    [
        ("It costs $5.", "it costs five dollars", 0.0),
        ("It costs $5.", "it costs five", 0.25),
        ("Say nothing at all.", "", 1.0),
        ("...", "anything", 0.0),
    ],
    ids=["as-read", "a-word-lost", "silence", "no-words"],
)
def test_the_better_of_what_is_written_and_what_is_read_counts(
    mini: Engine, text: str, heard: str, errors: float
) -> None:
    verifier = Verifier(mini, Ears(heard), "plain", 0.2)
    found = verifier(text, np.zeros(10, np.float32))
    assert found.errors == pytest.approx(errors)
    assert found.good is (errors <= 0.2)


def endless_engine() -> Engine:
    """A tiny model that never ends by itself, so that no guard refuses its noise."""
    engine = tiny_engine()
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id :] = -30.0
    return engine


def hear(*errors: float) -> tuple[Any, list[Any]]:
    """A listener with these answers, and what it was given."""
    left, given = list(errors), []

    def listen(text: str, audio: Any) -> Heard:
        given.append(audio)
        share = left.pop(0)
        return Heard(words=f"{share:g}", errors=share, good=share <= 0.2)

    return listen, given


def spoken(*errors: float, retries: int = 2) -> tuple[PieceReport, Any, list[Any], list[Event]]:
    listen, given = hear(*errors)
    told: list[Event] = []
    options = SpeechOptions(limits=OPEN, sampling=Sampling(), retries=retries, listen=listen)
    chunks = list(speak(endless_engine(), "some words.", tiny_voice(), options, told.append))
    piece = chunks[-1].piece
    assert piece is not None
    audio = np.concatenate([np.asarray(chunk.audio) for chunk in chunks])
    return piece, audio, given, told


def test_what_is_misheard_is_tried_again_with_another_seed_and_told() -> None:
    piece, audio, given, told = spoken(0.5, 0.0)
    assert (piece.attempts, piece.rejected) == (2, ("misheard",))
    assert piece.heard == Heard(words="0", errors=0.0, good=True)
    assert not np.array_equal(given[0], given[1])
    assert len(audio) == len(given[1])
    (note,) = [event for event in told if isinstance(event, Note)]
    assert "heard as `0.5`, 50% of the words wrong (misheard)" in note.text


def test_the_best_attempt_is_kept_and_attempts_are_bounded() -> None:
    piece, audio, given, _ = spoken(0.9, 0.4, 0.6)
    assert (piece.attempts, piece.rejected) == (3, ("misheard",) * 3)
    assert piece.heard == Heard(words="0.4", errors=0.4, good=False)
    assert len(audio) == len(given[1])
    np.testing.assert_array_equal(audio[200:-200], np.asarray(given[1])[200:-200])
    assert piece.seconds == pytest.approx(len(audio) / 24_000)


def test_lines_are_heard_piece_by_piece() -> None:
    listen, _ = hear(0.0, 0.5, 0.5)
    options = SpeechOptions(limits=OPEN, sampling=Sampling(), retries=1, listen=listen)
    line = Line(id="a", text="one two. some words.", voice=tiny_voice())
    (made,) = speak_lines(endless_engine(), [line], options, rows=1)
    assert [piece.heard and piece.heard.good for piece in made.pieces] == [True, False]
    assert [piece.attempts for piece in made.pieces] == [1, 2]


def test_without_a_recogniser_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        open_verifier(tiny_engine(), asr="auto", limit=0.2)
    assert caught.value.hint == "pip install 'mamtra-cli[eval]'"


def test_chinese_is_told_by_its_letters() -> None:
    assert mostly_chinese(["你好 mini"]) is False
    assert mostly_chinese(["你好，世界。"]) is True
    assert mostly_chinese([]) is False
