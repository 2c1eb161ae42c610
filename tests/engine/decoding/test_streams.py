"""Streams: who joins, who leaves, who waits, and what each is told."""

from dataclasses import replace

import pytest
import torch
from tests.backbone.decoding.test_caches import buffers
from tests.engine.decoding.lines import EOS, Lines, Said
from tests.engine.tiny import tiny_engine

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.streams import Event, Outcome, Streams
from mamtra_cli.ops.sampling import Sampling

OPEN = GuardLimits(equal_run=1000, loop_span=1000, min_share=0.0, max_share=1000.0)
GREEDY = Sampling(greedy=True)


def say(
    line: list[int], limits: GuardLimits | None = None, **options: object
) -> tuple[list[int], Outcome]:
    streams = Streams(Lines([line]), limits=limits)
    streams.add(Said(reads=0, **options), GREEDY)  # type: ignore[arg-type]
    events = run(streams)
    assert events[-1].outcome is not None
    return [token for event in events for (token,) in event.frames], events[-1].outcome


def run(streams: Streams) -> list[Event]:
    events: list[Event] = []
    while streams.busy:
        events += streams.step()
    return events


def test_frames_come_until_the_end_id() -> None:
    said, outcome = say([1, 2, 4, EOS])
    assert said == [1, 2, 4]
    assert outcome == Outcome(frames=((1,), (2,), (4,)))
    assert outcome.tokens == (1, 2, 4)


def test_barred_ids_are_not_drawn() -> None:
    said, outcome = say([1, EOS, EOS, 2, EOS], least=3)
    assert said == [1, 3, 3, 2]
    assert outcome.rejection is None


def test_cap_is_a_runaway() -> None:
    said, outcome = say(list(range(40)), GuardLimits(cut_seconds=0.0), most=30)
    assert len(said) == 30
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "runaway"


def test_nothing_to_say_is_over_at_once() -> None:
    said, outcome = say([1], ended=True)
    assert said == []
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "too_short"


def test_repetition_ends_the_stream_early() -> None:
    said, outcome = say([7], most=1000)
    assert len(said) == 24  # what is refused is not handed out
    assert len(outcome.frames) == 25
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "runaway"


def test_length_is_judged_against_the_text() -> None:
    outcome = say([1, 2, EOS], expected=100.0)[1]
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "too_short"


def test_speech_too_long_for_its_text_ends_early() -> None:
    said, outcome = say(list(range(40)), most=1000, expected=5.0)
    assert len(said) < 30
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "too_long"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_refused(value: float) -> None:
    model = Lines([[1, 2, EOS]])
    model.scores = lambda rows: torch.full((1, 1, 52), value)  # type: ignore[method-assign]
    streams = Streams(model)
    streams.add(Said(reads=0), GREEDY)
    (event,) = streams.step()
    assert event.outcome is not None
    assert event.outcome.rejection is not None
    assert event.outcome.rejection.cause == "non_finite"
    assert not streams.busy


def test_what_is_due_comes_whatever_is_scored() -> None:
    streams = Streams(Lines([[1, 2]]))
    streams.add(Said(reads=0, due=(5,), most=3), GREEDY)
    assert [event.frames for event in run(streams)] == [((5,),)] * 3


def test_rows_leave_as_they_end_and_their_slots_are_taken() -> None:
    model = Lines([[1, EOS], [1, 2, 4, 5, 6, EOS], [6, 7, EOS], [8, 9, EOS]])
    streams = Streams(model, rows=3, limits=OPEN)
    ids = [streams.add(Said(reads=line), GREEDY) for line in range(4)]
    said: dict[int, list[int]] = {id: [] for id in ids}
    widths = []
    while streams.busy:
        events = streams.step()
        widths.append((streams.running, streams.waiting))
        for event in events:
            said[event.id] += [token for (token,) in event.frames]
    assert [said[id] for id in ids] == [[1], [1, 2, 4, 5, 6], [6, 7], [8, 9]]
    assert widths == [(3, 1), (2, 1), (2, 0), (2, 0), (1, 0), (0, 0)]
    assert [call for call in model.calls if call[0] == "read"] == [
        ("read", [0, 1, 2]),
        ("read", [0]),
    ]


def test_drop_frees_the_row_at_once_and_others_go_on() -> None:
    model = Lines([[1, 2, 3, EOS], list(range(20, 40)), list(range(5, 20))])
    streams = Streams(model, rows=3, limits=OPEN)
    ids = [streams.add(Said(reads=line), GREEDY) for line in range(3)]
    streams.step()
    streams.drop(ids[0])
    assert streams.running == 2
    assert model.calls[-1] == ("leave", [0])
    other = streams.add(Said(reads=0), GREEDY)
    events = streams.step()
    assert {event.id for event in events} == {ids[1], ids[2], other}
    # The new one took the slot, so nobody had to move.
    assert model.calls[-2:] == [("step", [1, 2]), ("read", [0])]
    assert not any(name == "compact" for name, _ in model.calls)
    with pytest.raises(ValueError, match="no stream"):
        streams.drop(ids[0])


def test_a_drop_leaves_the_memory_of_the_others_where_it_is() -> None:
    """Keys, values and states stay; who comes next has the free row one step later."""
    mixer = {"window": 6, "sinks": 1}
    engine = tiny_engine(kinds="TMS", n_layers=3, mixer=mixer)
    assert engine.speaker.tokens is not None
    streams = Streams(engine.speaker.tokens, rows=4, limits=OPEN)
    script = replace(engine.speaker.begin(engine.encode("some words.")), least=20)
    ids = [streams.add(script, Sampling(), seed=seed) for seed in range(4)]
    for _ in range(2):
        streams.step()
    before = [buffer.data_ptr() for buffer in buffers(streams._batch)]
    length = streams._batch.lengths[0]
    streams.drop(ids[1])
    assert streams.running == 3
    assert streams._batch.lengths == (length, 0, length, length)
    ids[1] = streams.add(script, Sampling(), seed=9)
    assert {event.id for event in streams.step()} == set(ids)
    assert streams._batch.lengths == (length + 1, length - 1, length + 1, length + 1)
    assert [buffer.data_ptr() for buffer in buffers(streams._batch)] == before


def test_line_can_be_left_before_it_is_one_s_turn() -> None:
    streams = Streams(Lines([[1, EOS]]), rows=1)
    first, second = (streams.add(Said(reads=0), GREEDY) for _ in range(2))
    streams.drop(second)
    assert {event.id for event in run(streams)} == {first}


def test_gaps_are_closed_once_half_is_free() -> None:
    model = Lines([[1, EOS], [1, EOS], [1, EOS], list(range(20))])
    streams = Streams(model, rows=4, limits=OPEN)
    for line in range(4):
        streams.add(Said(reads=line, most=6), GREEDY)
    run(streams)
    assert ("compact", {3: 0}) in model.calls
    assert model.calls[-2:] == [("step", [0]), ("leave", [0])]


def test_stream_that_waits_for_text_is_taken_out_and_comes_back() -> None:
    model = Lines([list(range(10, 30)), list(range(30, 49))])
    streams = Streams(model, rows=2, limits=OPEN)
    turns = streams.add(Said(reads=0, turns=2, most=6), GREEDY)
    other = streams.add(Said(reads=1, most=7), GREEDY)
    waits = [event.waits for _ in range(2) for event in streams.step() if event.id == turns]
    assert waits == [False, True]
    streams.step()
    streams.hear(turns, [1])
    events = run(streams)
    assert [event.waits for event in events if event.id == turns] == [False, True]
    streams.hear(turns, [1])
    events += run(streams)
    said = [token for event in events for (token,) in event.frames if event.id == turns]
    assert said == [12, 13, 14, 15]
    assert [name for name, _ in model.calls].count("park") == 2
    assert other not in {event.id for event in events[-2:]}


def test_stream_that_waits_keeps_its_place() -> None:
    streams = Streams(Lines([[1, 2, 3]]), rows=1, limits=OPEN)
    first = streams.add(Said(reads=0, turns=1, most=2), GREEDY)
    streams.add(Said(reads=0, most=1), GREEDY)
    streams.step()
    assert (streams.running, streams.waiting, streams.busy) == (1, 1, False)
    assert streams.step() == []
    streams.hear(first, [1])
    assert [event.outcome is not None for event in run(streams)] == [True, True]


def test_frames_of_many_codebooks_are_drawn_together() -> None:
    streams = Streams(Lines([[4, 5, EOS]], codebooks=3), limits=OPEN)
    streams.add(Said(reads=0), GREEDY)
    assert [event.frames for event in run(streams)] == [((4, 4, 4),), ((5, 5, 5),), ()]


@pytest.mark.parametrize("kinds", ["TT", "TM", "ST"])
@pytest.mark.parametrize("positions", ["aligned", "sequential"])
def test_company_does_not_change_what_is_said(kinds: str, positions: str) -> None:
    """Rows join at different steps, wait in line, leave and are dropped: tokens stay their own."""
    engine = tiny_engine(kinds=kinds, positions=positions, mixer={"window": 6, "sinks": 1})
    speaker = engine.speaker
    assert speaker.tokens is not None
    texts = ["hi.", "a much longer sentence than that.", "mid size text.", "and one.", "the end"]
    scripts = [speaker.begin(engine.encode(text)) for text in texts]
    samplings = [Sampling(temperature=0.8, top_p=0.9, ras_window=10), Sampling(top_k=25)]

    def alone(number: int) -> tuple[int, ...]:
        streams = Streams(speaker.tokens, rows=1, limits=OPEN)  # type: ignore[arg-type]
        streams.add(scripts[number], samplings[number % 2], seed=number)
        outcome = run(streams)[-1].outcome
        assert outcome is not None
        return outcome.tokens

    streams = Streams(speaker.tokens, rows=3, limits=OPEN)
    together: dict[int, tuple[int, ...]] = {}
    numbers: dict[int, int] = {}
    for number, script in enumerate(scripts):
        numbers[streams.add(script, samplings[number % 2], seed=number)] = number
        extra = streams.add(replace(script, least=30), Sampling(), seed=99)
        for _ in range(3):
            events = streams.step()
            for event in events:
                if event.outcome is not None and event.id in numbers:
                    together[numbers[event.id]] = event.outcome.tokens
        if extra in streams:
            streams.drop(extra)
    for event in run(streams):
        if event.outcome is not None:
            together[numbers[event.id]] = event.outcome.tokens
    assert [together[number] for number in range(len(texts))] == [
        alone(number) for number in range(len(texts))
    ]
