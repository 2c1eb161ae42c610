"""Text that arrives in parts: when a sentence is complete, and that it is spoken by then."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.speaking.arrival import speak_arriving, takes_turns
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import AudioRejectedError, TextError, UsageError
from mamtra_cli.events import Event, Note
from mamtra_cli.ops.sampling import Sampling

OPEN = GuardLimits(equal_run=1000, loop_span=1000, min_share=0.0, max_share=1000.0, silence_rms=0.0)
OPTIONS = SpeechOptions(limits=OPEN, sampling=Sampling(), retries=20, silence=0.0)


def arriving(parts: list[str], seen: list[str]) -> Iterator[str]:
    """Parts, each noted when it is asked for."""
    for part in parts:
        seen.append(part)
        yield part


def test_first_sentence_is_heard_before_the_second_arrives() -> None:
    engine, seen = tiny_engine(), []
    parts = ["first one.\n", "second one."]
    chunks = speak_arriving(engine, arriving(parts, seen), tiny_voice(), OPTIONS)
    first = next(chunks)
    assert len(first.audio) > 0
    assert seen == parts[:1]
    rest = list(chunks)
    assert [c.piece.text for c in [first, *rest] if c.piece] == [
        "first one.",
        "second one.",
    ]


def test_arriving_text_sounds_like_the_same_text_at_once() -> None:
    engine = tiny_engine()
    whole = torch.cat([c.audio for c in speak(engine, "one. two three.", tiny_voice(), OPTIONS)])
    parts = ["on", "e.", " two thr", "ee."]
    got = torch.cat([c.audio for c in speak_arriving(engine, parts, tiny_voice(), OPTIONS)])
    assert torch.equal(got, whole)


def test_sentence_that_cannot_be_spoken_is_left_out_and_told() -> None:
    heard: list[Event] = []
    parts = ["fine.\n", "\u4f60.\n", "fine again."]
    chunks = speak_arriving(tiny_engine(), parts, tiny_voice(), OPTIONS, heard.append)
    pieces = [chunk.piece.text for chunk in chunks if chunk.piece]
    assert pieces == ["fine.", "fine again."]
    assert any(isinstance(e, Note) and "left out" in e.text for e in heard)


@pytest.mark.parametrize("positions", ["aligned", "sequential"])
def test_text_that_never_comes_is_an_error(positions: str) -> None:
    engine = tiny_engine(positions=positions)
    with pytest.raises(TextError, match="empty"):
        list(speak_arriving(engine, [" \n", ""], tiny_voice(), OPTIONS))


def test_model_trained_for_it_speaks_in_the_middle_of_a_sentence() -> None:
    """Five text ids make it speak; the fill id is due after fifteen tokens."""
    engine, seen = tiny_engine(positions="sequential"), []
    assert takes_turns(engine)
    assert not takes_turns(tiny_engine())
    engine.part("lm").llm_decoder.bias[engine.config.lm.speech_vocab :] = -30.0
    parts = ["a few", " words", " and", " more", " of", " them", " come", " late.", " End."]
    limits = replace(OPEN, equal_run=10_000, loop_span=10_000, cut_seconds=0)
    options = replace(OPTIONS, limits=limits)
    chunks = speak_arriving(engine, arriving(parts, seen), tiny_voice(), options)
    first = next(chunks)
    assert len(first.audio) > 0
    assert len(seen) < len(parts) - 1
    with pytest.raises(AudioRejectedError, match="no end after"):
        list(chunks)


def test_turns_that_nobody_has_heard_are_tried_again_with_all_text_that_came() -> None:
    engine = tiny_engine(positions="sequential")
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id] = 30.0
    model = engine.speaker.tokens
    assert model is not None
    read, reads = model.read, []

    def fickle(asked: Any, *given: Any) -> Any:
        scores, rows = read(asked, *given)
        reads.append(asked)
        return (scores * float("nan") if len(reads) == 1 else scores), rows

    model.read = fickle  # type: ignore[method-assign]
    heard: list[Event] = []
    parts = ["one ", "two three four"]
    chunks = list(speak_arriving(engine, parts, tiny_voice(), OPTIONS, heard.append))
    done = chunks[-1].piece
    assert done is not None
    assert (done.text, done.attempts) == ("one two three four", 2)
    assert done.rejected == ("non_finite",)
    assert done.seconds == pytest.approx(done.tokens / 25)
    assert any(isinstance(event, Note) and "trying again" in event.text for event in heard)


def test_turns_have_no_longest_piece() -> None:
    engine = tiny_engine(positions="sequential")
    options = replace(OPTIONS, max_seconds=3.0)
    with pytest.raises(UsageError, match="--max-seconds"):
        list(speak_arriving(engine, ["one ", "two"], tiny_voice(), options))


def test_turns_end_with_their_text() -> None:
    engine = tiny_engine(positions="sequential")
    # Once it may end, it ends at once.
    engine.part("lm").llm_decoder.bias[engine.config.lm.eos_id] = 30.0
    chunks = list(speak_arriving(engine, ["one ", "two three four"], tiny_voice(), OPTIONS))
    done = chunks[-1].piece
    assert done is not None
    assert done.text == "one two three four"
    assert sum(len(c.audio) for c in chunks) == done.tokens * 960
