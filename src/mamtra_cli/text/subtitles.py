"""Subtitles of a spoken text: cues as it was written, as SubRip or WebVTT.

A piece of the text is one cue, or several where it is long and the times of its words are known:
then it is parted before a word that is said as it is written. Knows no files.
Source of WebVTT: W3C, WebVTT: The Web Video Text Tracks Format, sections 4.1 and 4.2.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from html import escape

from mamtra_cli.recipes.times import TimedPiece, TimedWord

LONGEST = 84  # characters of a cue: two lines of 42
FORMATS = ("srt", "vtt")


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A text on the screen and its seconds."""

    text: str
    start: float
    end: float


def cues(text: str, start: float, end: float, words: Sequence[TimedWord] = ()) -> Iterator[Cue]:
    """The cues of one piece.

    Args:
        text: as it was written.
        start, end: seconds of the piece.
        words: with their times, in seconds of the whole; none where they are not known.
    """
    written = text.split()
    begins = _begins(written, words)
    first, since = 0, start
    while first < len(written):
        cut = _cut(written, begins, first)
        until = begins[cut] if cut < len(written) else end
        yield Cue(text=" ".join(written[first:cut]), start=since, end=until)
        first, since = cut, until


def _begins(written: list[str], words: Sequence[TimedWord]) -> dict[int, float]:
    """Places of written words that are said as they stand, and when."""
    said = [word.word for word in words]
    bare = [re.sub(r"^\W+|\W+$", "", word).lower() for word in written]
    same = SequenceMatcher(None, bare, said, autojunk=False).get_matching_blocks()
    return {block.a + i: words[block.b + i].start for block in same for i in range(block.size)}


def _cut(written: list[str], begins: dict[int, float], first: int) -> int:
    """Where the cue that begins at a word ends: at most `LONGEST` characters, after a mark if it
    is not much shorter then."""
    length, fitting = -1, first
    for place in range(first, len(written)):
        length += 1 + len(written[place])
        if length > LONGEST and place > first:
            break
        fitting = place + 1
    if fitting == len(written):
        return fitting
    possible = [place for place in range(first + 1, fitting + 1) if place in begins]
    marked = [place for place in possible if written[place - 1][-1] in ",;:.!?"]
    half = first + (fitting - first) // 2
    late = [place for place in marked if place > half] or possible
    # Where no word of the cue is known to begin, it grows until one is.
    return late[-1] if late else min((p for p in begins if p > fitting), default=len(written))


def subtitles(pieces: Iterable[TimedPiece], format: str) -> str:
    """The subtitles of pieces, `srt` or `vtt`."""
    shown = (cue for one in pieces for cue in cues(one.text, one.start, one.end, one.words))
    return srt(shown) if format == "srt" else vtt(shown)


def srt(found: Iterable[Cue]) -> str:
    """Cues as SubRip."""
    return "".join(
        f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{cue.text}\n\n"
        for number, cue in enumerate(found, 1)
    )


def vtt(found: Iterable[Cue]) -> str:
    """Cues as WebVTT."""
    return "WEBVTT\n\n" + "".join(
        f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}\n{escape(cue.text, quote=False)}\n\n"
        for cue in found
    )


def _stamp(seconds: float, point: str) -> str:
    """`01:02:03.456`."""
    whole = round(1000 * seconds)
    clock = f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}"
    return f"{clock}{point}{whole % 1000:03d}"
