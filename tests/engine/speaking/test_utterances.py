"""Utterances as values: pieces that are begun together, late pieces, and those let go.

What an utterance sounds like, alone and in company, is in test_speech.py and test_many.py.
"""

from dataclasses import replace

import pytest
import torch
from tests.engine.speaking.test_speech import OPTIONS
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.decoding.streams import Event
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.attempts import Sound
from mamtra_cli.engine.speaking.pieces import News, Piece
from mamtra_cli.engine.speaking.speech import pieces_of
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.engine.speaking.workshop import Workshop


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def pieces(engine: Engine, text: str) -> list[Piece]:
    voice = tiny_voice()
    return pieces_of(engine, text, voice, engine.speaker.settings(voice, None))


def run(utterances: Utterances) -> list[News]:
    news: list[News] = []
    while utterances.busy:
        news += utterances.step()
    return news


def said(news: list[News]) -> list[str]:
    return [one.chunk.piece.text for one in news if one.chunk and one.chunk.piece]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_pieces_begun_together_sound_in_their_order_as_one_after_the_other(
    engine: Engine, stream: bool
) -> None:
    text = "a first and rather long sentence. two. three."
    heard = []
    for together in (False, True):
        utterances = Utterances(engine, rows=4, limits=OPTIONS.limits)
        id = utterances.add(replace(OPTIONS, stream=stream), together=together)
        utterances.give(id, pieces(engine, text))
        assert utterances.running + utterances.waiting == (3 if together else 1)
        utterances.close(id)
        news = run(utterances)
        assert said(news) == ["a first and rather long sentence.", "two.", "three."]
        heard.append(torch.cat([one.chunk.audio for one in news if one.chunk]))
    assert heard[0].shape == heard[1].shape
    torch.testing.assert_close(*heard, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("stream", "least", "most"), [(False, 1, 1), (True, 5, 1000)])
def test_a_thread_for_sound_is_asked_once_for_what_is_made_at_the_end(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, stream: bool, least: int, most: int
) -> None:
    asked: list[int] = []
    put = Workshop.put

    def counted(self: Workshop, event: Event, sound: Sound) -> None:
        asked.append(event.id)
        put(self, event, sound)

    monkeypatch.setattr(Workshop, "put", counted)
    utterances = Utterances(engine, limits=OPTIONS.limits)
    utterances.say(replace(OPTIONS, stream=stream), pieces(engine, "two words."))
    assert said(run(utterances)) == ["two words."]
    assert least <= len(asked) <= most


def test_what_is_given_after_the_end_is_nothing(engine: Engine) -> None:
    utterances = Utterances(engine, limits=OPTIONS.limits)
    id = utterances.add(OPTIONS)
    utterances.close(id, silence=0.1)
    assert id not in utterances
    utterances.give(id, pieces(engine, "one."))
    utterances.close(id)
    silence, end = run(utterances)
    assert silence.chunk is not None
    assert len(silence.chunk.audio) == 0.1 * engine.sample_rate
    assert (end.done, end.error) == (True, None)


def test_of_an_utterance_that_is_dropped_nothing_is_heard_any_more(engine: Engine) -> None:
    utterances = Utterances(engine, limits=OPTIONS.limits)
    gone, kept = utterances.add(OPTIONS), utterances.add(OPTIONS)
    for id in (gone, kept):
        utterances.give(id, pieces(engine, "one. two."))
        utterances.close(id)
    utterances.step()
    utterances.drop(gone)
    assert gone not in utterances
    assert utterances.running == 1
    news = run(utterances)
    assert {one.id for one in news} == {kept}
    assert said(news) == ["one.", "two."]
