"""When each word of a text is said, as values: from what ids say and how long they take.

Knows no model: a front end tells the words of the ids (`FrontEnd.spans`), a speaker the frames of
each (`Speaker.counts`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mamtra_cli.recipes.times import TimedPiece, TimedWord


def ending(text: str, words: Iterable[TimedWord], seconds: float, end: float) -> TimedPiece:
    """A piece of so many seconds that ends there; its words are in seconds of its own."""
    start = end - seconds
    return TimedPiece(
        text=text, start=round(start, 3), end=round(end, 3), words=later(words, start)
    )


def timed(
    spans: Iterable[tuple[str, int]], counts: Sequence[int], seconds: float
) -> tuple[TimedWord, ...]:
    """The words of a piece with their times.

    Args:
        spans: words in order with the number of their ids; "" is no word.
        counts: frames of each id.
        seconds: how long all frames take.

    Raises:
        ValueError: there are more or fewer ids than counts.
    """
    spans = list(spans)
    if sum(size for _, size in spans) != len(counts):
        raise ValueError(f"{sum(size for _, size in spans)} ids and {len(counts)} counts")
    step = seconds / max(sum(counts), 1)
    found: list[TimedWord] = []
    first = frames = 0
    for word, size in spans:
        taken = sum(counts[first : first + size])
        start, end = step * frames, step * (frames + taken)
        if word:
            found.append(TimedWord(word=word, start=round(start, 3), end=round(end, 3)))
        first, frames = first + size, frames + taken
    return tuple(found)


def later(words: Iterable[TimedWord], seconds: float) -> tuple[TimedWord, ...]:
    """The same words after a beginning of so many seconds."""
    return tuple(
        replace(word, start=round(word.start + seconds, 3), end=round(word.end + seconds, 3))
        for word in words
    )
