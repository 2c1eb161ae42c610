"""Takes: pieces with seeds of their own, attempts that are counted, the sound that is judged."""

from typing import Any

import numpy as np
import pytest
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine import seeds
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.judging.seed_tts import Sentence
from mamtra_cli.engine.judging.takes import Clock, Job, sound_of, speak_jobs
from mamtra_cli.engine.model import Engine
from mamtra_cli.events import Advance, Event


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def job(text: str, seed: int, problem: str = "") -> Job:
    return Job(
        sentence=Sentence(id=f"s{seed}", text=text), voice=tiny_voice(), seed=seed, problem=problem
    )


def test_each_piece_is_spoken_from_a_seed_of_its_own_and_heard_as_it_is_written(
    engine: Engine,
) -> None:
    events: list[Event] = []
    clock = Clock()
    jobs = [job("one two. three four five.", 3), job("some more words.", 4), job("x", 5, "prompt")]
    takes = speak_jobs(engine, jobs, retries=20, clock=clock, report=events.append)
    assert [len(take.frames) for take in takes] == [2, 1, 0]
    assert [take.refused for take in takes] == [False, False, True]
    assert sum(isinstance(event, Advance) for event in events) == 3
    for take in takes[:2]:
        first = take.job.seed
        for number, (ids, seed) in enumerate(zip(take.ids, take.seeds, strict=True)):
            attempt = seed - first - number * seeds.PIECES_APART  # of the sound
            start = first + number * seeds.PIECES_APART + attempt * seeds.ATTEMPTS_APART
            assert engine.speaker.tokens is not None
            script = engine.speaker.begin(ids, take.job.voice)
            utterance = Utterance(script=script, seed=start)
            ((_, alone),) = decode(engine.speaker.tokens, [utterance], engine.sampling)
            assert take.frames[number] == alone.frames
        np.testing.assert_array_equal(sound_of(engine, take), take.wave)
    assert clock.tokens > 0
    assert clock.sound > 0


def test_a_refused_piece_refuses_its_take_and_the_others_are_kept() -> None:
    engine = tiny_engine()
    model = engine.speaker.tokens
    assert model is not None
    read = model.read

    def broken(reads: Any, rows: Any, at: Any, held: Any) -> Any:
        scores, rows = read(reads, rows, at, held)
        for row, script in enumerate(reads):
            if script.room < 40:  # the short piece
                scores[row] = float("nan")
        return scores, rows

    model.read = broken  # type: ignore[method-assign]
    text = "a long sentence to speak for a while. no."
    (take,) = speak_jobs(engine, [job(text, 0)], retries=1)
    assert take.refused
    assert take.causes.count("non_finite") == 2
    assert take.first_causes.count("non_finite") == 1
    assert take.frames[1] == ()
    assert len(take.wave) == 0
