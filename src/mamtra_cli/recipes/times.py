"""When words and pieces of a text were said: part of what speaking returns."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimedWord:
    """A spoken word and its seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class TimedPiece:
    """A piece of a text as it was written, and its seconds; its words where they are known."""

    text: str
    start: float
    end: float
    words: tuple[TimedWord, ...] = ()
