"""Lessons: speech that another model learns from."""

from dataclasses import replace

import pytest
from tests.engine.tiny import tiny_engine

from mamtra_cli.engine.decoding.loop import decode
from mamtra_cli.engine.lessons import spoken as pairs
from mamtra_cli.ops.sampling import Sampling


@pytest.mark.parametrize("given", [None, Sampling(greedy=True)], ids=["own", "given"])
def test_lessons_are_drawn_at_the_temperature_of_lessons(
    given: Sampling | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine()
    engine.config = replace(engine.config, temperature=0.3, lesson_temperature=0.9)
    seen: list[Sampling] = []

    def watched(engine: object, utterances: object, sampling: Sampling, **rest: object) -> object:
        seen.append(sampling)
        return decode(engine, utterances, sampling, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pairs, "decode", watched)
    pairs.make_pairs(engine, ["The sun."], sampling=given)
    assert seen == [given or replace(engine.sampling, temperature=0.9)]
