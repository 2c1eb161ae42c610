"""Sound made on threads is the sound made at once, and what is dropped is not heard."""

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
from mamtra_cli.engine.speaking.speech import pieces_of
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.engine.speaking.workshop import sound_threads
from mamtra_cli.ops.sampling import Sampling

OPEN = GuardLimits(
    equal_run=1000,
    loop_span=1000,
    min_share=0.0,
    max_share=1000.0,
    cut_seconds=math.inf,
    silence_rms=0.0,
)
OPTIONS = SpeechOptions(limits=OPEN, sampling=Sampling(), retries=20)
TEXTS = ["one. two three.", "four five six seven eight.", "nine."]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def test_lines_sound_the_same_with_threads_and_without(engine: Engine) -> None:
    lines = [
        Line(id=str(n), text=text, voice=tiny_voice(), seed=n) for n, text in enumerate(TEXTS * 2)
    ]
    alone, beside = (
        {
            made.line.id: made
            for made in speak_lines(engine, lines, OPTIONS, rows=3, sounders=sounders)
        }
        for sounders in (0, 2)
    )
    assert alone.keys() == beside.keys()
    for id, made in alone.items():
        assert made.pieces == beside[id].pieces
        np.testing.assert_array_equal(np.asarray(made.audio), np.asarray(beside[id].audio))


def streamed(engine: Engine, sounders: int) -> dict[int, Any]:
    """The sound of three streams, one of which is dropped once it is heard."""
    utterances = Utterances(engine, rows=3, limits=OPEN, sounders=sounders)
    options = SpeechOptions(limits=OPEN, sampling=Sampling(), stream=True, retries=20)
    voice, found, dropped = tiny_voice(), {}, False
    for _ in range(3):
        id = utterances.add(options)
        text = "a long sentence that is said. another one, for a while."
        utterances.give(id, pieces_of(engine, text, voice, engine.speaker.settings(voice)))
        utterances.close(id)
        found[id] = [np.zeros(0)]
    while utterances.busy:
        for news in utterances.step():
            assert not (dropped and news.id == 1)
            if news.chunk is not None:
                found[news.id].append(np.asarray(news.chunk.audio))
        if len(found[1]) > 1 and not dropped and 1 in utterances:
            utterances.drop(1)
            dropped = True
    assert dropped
    assert not utterances.running
    return {id: np.concatenate(found[id]) for id in (0, 2)}


def test_streams_sound_the_same_and_a_dropped_one_is_gone(engine: Engine) -> None:
    alone, beside = (streamed(engine, sounders) for sounders in (0, 2))
    for id, sound in alone.items():
        assert len(sound) > 1000
        np.testing.assert_array_equal(sound, beside[id])


def test_threads_are_counted_by_the_user_or_by_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    engine.compute = replace(engine.compute, threads=1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sound_threads(engine) == 0
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert sound_threads(engine, 1) == 0
    monkeypatch.setattr("os.sched_getaffinity", lambda who: set(range(4)), raising=False)
    assert sound_threads(engine) == 4
    monkeypatch.setattr("os.sched_getaffinity", lambda who: {0}, raising=False)
    assert sound_threads(engine) == 0
