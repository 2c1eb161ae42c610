"""Many callers on one loop: the same sound as alone, text in parts, leaving, refusal."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.engine.speaking.test_speech import OPEN, OPTIONS
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.many import EngineStudio
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.engine.speaking.studio import Order, Samples, Spoken
from mamtra_cli.errors import AudioRejectedError, ModelNotFoundError, TextError, UsageError
from mamtra_cli.voices.voice import FOLDER, save_voice


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    made = tiny_engine()
    made.folder = tmp_path_factory.mktemp("tiny")
    (made.folder / FOLDER).mkdir()
    save_voice(tiny_voice(), made.folder / FOLDER / "f1.safetensors")
    return made


@pytest.fixture
def studio(engine: Engine, tmp_path: Path) -> EngineStudio:
    return EngineStudio(engine, rows=4, library=tmp_path, options=OPTIONS)


def run(studio: EngineStudio) -> list[Spoken]:
    events: list[Spoken] = []
    while studio.busy:
        events += studio.step()
    return events


def sound_of(events: list[Spoken], id: int) -> Samples:
    return np.concatenate([e.audio for e in events if e.id == id and e.audio is not None])


def alone(engine: Engine, text: str, seed: int) -> Samples:
    options = replace(OPTIONS, stream=True, seed=seed)
    chunks = speak(engine, text, tiny_voice(), options)
    return torch.cat([chunk.audio for chunk in chunks]).numpy()


def test_each_caller_hears_what_it_would_hear_alone(engine: Engine, studio: EngineStudio) -> None:
    texts = ["one. two three.", "a longer sentence, said at once.", "yes."]
    ids = [studio.add(Order(text=text, seed=seed)) for seed, text in enumerate(texts)]
    events = run(studio)
    for seed, (id, text) in enumerate(zip(ids, texts, strict=True)):
        found, want = sound_of(events, id), alone(engine, text, seed)
        assert found.shape == want.shape
        np.testing.assert_allclose(found, want, atol=1e-4)
        last = [event for event in events if event.id == id][-1]
        assert last.done
        assert last.seconds == pytest.approx(len(want) / engine.sample_rate)
    pieces = [event.text for event in events if event.id == ids[0] and event.text]
    assert pieces == ["one.", "two three."]


def test_a_piece_begins_after_the_pause_before_it(studio: EngineStudio) -> None:
    studio.add(Order(text="one. [pause:1s] two three."))
    first, second = [event for event in run(studio) if event.text]
    assert first.start == 0.0
    assert second.start - first.seconds == pytest.approx(1.0, abs=0.01)


def test_text_in_parts_is_spoken_by_sentences(engine: Engine, studio: EngineStudio) -> None:
    id = studio.add(Order(text=None))
    assert not studio.busy
    events: list[Spoken] = []
    for part in ("one. tw", "o three. ", "fo", "ur."):
        studio.hear(id, part)
        events += run(studio)
    assert [event.text for event in events if event.text] == ["one.", "two three."]
    studio.close(id)
    events += run(studio)
    assert [event.text for event in events if event.text] == ["one.", "two three.", "four."]
    assert events[-1].done


def test_a_sentence_that_cannot_be_read_is_named_and_the_rest_is_spoken(
    studio: EngineStudio,
) -> None:
    id = studio.add(Order(text=None))
    studio.hear(id, "one. 99 bad. two. ")
    studio.close(id)
    events = run(studio)
    assert [event.text for event in events if event.text] == ["one.", "two."]
    assert [len(event.skipped) for event in events if event.skipped] == [1]


def test_signs_that_cannot_be_read_are_left_out_and_named(
    engine: Engine, studio: EngineStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.front_end, "unreadable", lambda character: character == "\u2603")
    for order in (Order(text="one two\u2603."), Order(text=None)):
        id = studio.add(order)
        if order.text is None:
            studio.hear(id, "one two\u2603.")
            studio.close(id)
        events = run(studio)
        assert not [e for e in events if isinstance(e.error, TextError)]
        assert [sign for event in events for sign in event.skipped] == ["\u2603 (snowman)"]


def test_a_dropped_caller_frees_its_row_and_the_others_go_on(
    engine: Engine, studio: EngineStudio
) -> None:
    gone = studio.add(Order(text="a sentence that nobody waits for any more."))
    kept = studio.add(Order(text="this one is heard.", seed=3))
    events = studio.step()
    assert studio.running == 2
    studio.drop(gone)
    assert studio.running == 1
    events += run(studio)
    assert not [event for event in events if event.id == gone and event.done]
    want = alone(engine, "this one is heard.", 3)
    np.testing.assert_allclose(sound_of(events, kept), want, atol=1e-4)


def test_what_is_refused_after_every_attempt_is_an_error(engine: Engine, tmp_path: Path) -> None:
    limits = replace(OPEN, max_share=0.0, slack=0.0)
    options = replace(OPTIONS, limits=limits, retries=1)
    studio = EngineStudio(engine, rows=2, library=tmp_path, options=options)
    id = studio.add(Order(text="a sentence."))
    events = run(studio)
    assert [event.id for event in events] == [id]
    assert isinstance(events[0].error, AudioRejectedError)
    assert "2 attempts" in events[0].error.message


def test_orders_are_checked_before_they_wait(studio: EngineStudio) -> None:
    assert studio.check(Order(text="one two three.")) > studio.check(Order(text="one."))
    assert studio.check(Order(text="one.", speed=2.0)) < studio.check(Order(text="one."))
    with pytest.raises(TextError):
        studio.check(Order(text=" "))
    with pytest.raises(ModelNotFoundError):
        studio.check(Order(text="one.", voice="nobody"))
    with pytest.raises(UsageError, match="voice file"):
        studio.check(Order(text="one.", voice="a.safetensors"))
    empty = studio.add(Order(text=None))
    studio.close(empty)
    assert isinstance(run(studio)[-1].error, TextError)


def test_memory_grows_with_the_seconds(studio: EngineStudio) -> None:
    assert studio.bytes_of(20.0) > studio.bytes_of(1.0) > 0
    assert studio.shared_bytes > 0
