"""Utterances that are made in parts: turns, leaving, and the frames of the whole at the end."""

from collections.abc import Iterator

from mamtra_cli.engine.decoding.parts import Parts
from mamtra_cli.engine.decoding.streams import Event, Outcome
from mamtra_cli.families.speaker import Made


def parts(*frames: str) -> Iterator[Made]:
    for number, letters in enumerate(frames, 1):
        yield Made(frames=tuple(letters), last=number == len(frames))


def run(loop: Parts) -> list[Event]:
    events: list[Event] = []
    while loop.busy:
        events += loop.step()
    return events


def test_those_who_wait_take_turns_a_part_each() -> None:
    loop = Parts()
    one, two = loop.add(parts("ab", "c", "d")), loop.add(parts("x"))
    assert (loop.running, loop.waiting) == (1, 1)
    told = [(event.id, "".join(event.frames)) for event in run(loop)]
    assert told == [(one, "ab"), (two, "x"), (one, "c"), (one, "d")]
    assert (loop.running, loop.waiting) == (0, 0)


def test_last_part_tells_the_frames_of_the_whole_and_no_other_does() -> None:
    loop = Parts()
    loop.add(parts("ab", "c"))
    first, last = run(loop)
    assert first.outcome is None
    assert last.outcome == Outcome(frames=("a", "b", "c"))


def test_who_is_dropped_is_not_asked_again() -> None:
    loop = Parts()
    gone, kept = loop.add(parts("a", "b")), loop.add(parts("x", "y"))
    loop.step()
    loop.drop(gone)
    assert {event.id for event in run(loop)} == {kept}
