"""What a text asks for besides its words: parts with a voice and a rate, pauses, words by phones.

Values only; `tags.py` and `ssml.py` make them of texts, `respelling.py` of a user's lexicon.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mamtra_cli.errors import TextError

LONGEST_PAUSE = 60.0  # seconds
LONGEST_SILENCE = 1800.0  # seconds of all pauses of a text
STRENGTHS = {
    "none": 0.0,
    "x-weak": 0.1,
    "weak": 0.25,
    "medium": 0.5,
    "strong": 0.8,
    "x-strong": 1.2,
}


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Words to be spoken in one manner, or a pause.

    Attributes:
        text: words; `""` for a pause.
        pause: seconds of silence, in place of words.
        voice: name of who speaks; `""` is the voice that was asked for.
        rate: factor on the speed.
    """

    text: str = ""
    pause: float = 0.0
    voice: str = ""
    rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Given:
    """Words whose phones are given: each stands in the text as a word of its own.

    Attributes:
        phones: stand-in to phones.
        written: stand-in to what the user wrote there.
    """

    phones: dict[str, tuple[str, ...]] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    def add(self, phones: tuple[str, ...], written: str) -> str:
        """One more word; returns what stands for it."""
        word = stand_in(len(self.phones))
        self.phones[word], self.written[word] = phones, written
        return word

    def restored(self, text: str) -> str:
        """A text with what the user wrote in place of the stand-ins."""
        if not self.written:
            return text
        return re.sub(r"qxphone[a-z]+", lambda found: self.written.get(found[0], found[0]), text)


@dataclass(frozen=True, kw_only=True)
class Script:
    """A text in segments.

    Attributes:
        segments: in order.
        given: words of it whose phones are given.
        voice: who would say what follows.
    """

    segments: tuple[Segment, ...]
    given: Given = field(default_factory=Given)
    voice: str = ""

    @property
    def texts(self) -> list[str]:
        """The words of its segments, as the user wrote them."""
        return [self.given.restored(part.text) for part in self.segments if part.text]


def seconds(written: str, where: str) -> float:
    """The length of a pause, `1.5s`, `300ms` or `2`.

    Raises:
        TextError: it is none, or longer than a minute.
    """
    found = re.fullmatch(r"\s*\+?(\d{1,6}(?:\.\d{0,6})?|\.\d{1,6})\s*(ms|s)?\s*", written, re.ASCII)
    if found is None:
        raise TextError(
            f"{where}: `{written[:40]}` is no length of time", "write it as 1.5s or 300ms"
        )
    length = float(found[1]) / (1000 if found[2] == "ms" else 1)
    if length > LONGEST_PAUSE:
        raise TextError(f"{where}: a pause of {length:g} s is longer than {LONGEST_PAUSE:g} s")
    return length


def pause_of(time: str | None, strength: str | None, where: str) -> float:
    """The seconds of a `break` by its attributes.

    Raises:
        TextError: they are no length.
    """
    if time is not None:
        return seconds(time, where)
    if strength is not None and strength not in STRENGTHS:
        names = ", ".join(STRENGTHS)
        raise TextError(f"{where}: `{strength[:40]}` is no strength", f"it is one of {names}")
    return STRENGTHS[strength or "medium"]


def stand_in(number: int) -> str:
    """A word that stands for given phones until the front end sees it."""
    letters = ""
    while True:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
        if number < 0:
            return f"qxphone{letters}"


def joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Segments with neighbours of one manner put together, and empty ones left out.

    Raises:
        TextError: all pauses together are longer than half an hour.
    """
    result: list[Segment] = []
    for segment in segments:
        if segment.pause:
            result.append(segment)
            continue
        blank = not segment.text.strip()
        if result and not result[-1].pause and (blank or _alike(result[-1], segment)):
            result[-1] = replace(result[-1], text=f"{result[-1].text}{segment.text}")
        elif not blank:
            result.append(segment)
    silence = sum(segment.pause for segment in result)
    if silence > LONGEST_SILENCE:
        raise TextError(
            f"the pauses of the text are {silence:g} s together, more than {LONGEST_SILENCE:g} s",
            "speak it in parts",
        )
    return tuple(result)


def _alike(one: Segment, other: Segment) -> bool:
    return one.voice == other.voice and one.rate == other.rate
