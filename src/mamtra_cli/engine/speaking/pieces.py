"""What goes into an utterance and what comes out of it, as values: pieces, sound, news."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mamtra_cli.engine.decoding.guards import Rejection
from mamtra_cli.errors import MamtraError
from mamtra_cli.recipes.heard import HeardPiece
from mamtra_cli.recipes.times import TimedPiece, TimedWord
from mamtra_cli.text.word_times import ending
from mamtra_cli.voices.voice import Voice


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A text that is spoken at once.

    Attributes:
        text: as it is told, where somebody is.
        ids: what the model reads of it.
        voice: who says it; `None` for the model as it is, where no sound is made.
        settings: of the voice, as the model's `Speaker` resolved them; `None` for its own.
        speed: on top of the utterance's.
        pause: seconds of silence before it; `None` for the utterance's, and none before the first.
        spans: words in the order of the ids and how many are each one's own, where the times of
            words are wanted; see `FrontEnd.spans`.
        arrives: whether this is its beginning, and the rest is heard while it is spoken. Only for
            models that learned to speak in turns with their text.
    """

    text: str = ""
    ids: Sequence[int]
    voice: Voice | None = None
    settings: Any = None
    speed: float = 1.0
    pause: float | None = None
    spans: tuple[tuple[str, int], ...] = ()
    arrives: bool = False


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a recogniser made of a piece.

    Attributes:
        words: that it heard.
        errors: word errors a word of the piece.
        good: whether these are few enough.
    """

    words: str
    errors: float
    good: bool


Listen = Callable[[str, Any], Heard]
"""What is heard in samples (S,) that should say a text."""


@dataclass(frozen=True, kw_only=True)
class PieceReport:
    """How a piece was made.

    Attributes:
        text: as it is told.
        tokens: frames of it.
        attempts: how many there were, the good one among them.
        rejected: the guards that refused the others.
        cut: it found no end, and was kept up to its longest length.
        seconds: of its sound, without the pause before it.
        words: with their times, from its first sample on; none where nobody asked, or where the
            model cannot tell.
        heard: what a recogniser made of it, where one listened.
    """

    text: str
    tokens: int
    attempts: int
    rejected: tuple[str, ...] = ()
    cut: bool = False
    seconds: float = 0.0
    words: tuple[TimedWord, ...] = ()
    heard: Heard | None = None


def heard_piece(report: PieceReport) -> HeardPiece:
    """What was heard of a piece to which somebody listened."""
    assert report.heard is not None
    return HeardPiece(
        text=report.text,
        heard=report.heard.words,
        wer=round(100 * report.heard.errors, 1),
        good=report.heard.good,
        attempts=report.attempts,
    )


def piece_at(report: PieceReport, end: float) -> TimedPiece:
    """A piece that ends after so many seconds of the whole."""
    return ending(report.text, report.words, report.seconds, end)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Samples (S,) float32, a tensor on the CPU or an array, as the engine makes them.

    The last chunk of a piece carries its report, and all frames that were spoken.
    """

    audio: Any
    piece: PieceReport | None = None
    frames: Sequence[Any] = ()


@dataclass(frozen=True, kw_only=True)
class News:
    """One thing that a step did to an utterance.

    Attributes:
        id: of the utterance.
        chunk: sound that follows what came before.
        refused: a piece, and why an attempt at it was refused; it is tried again unless `done`.
        done: whether the utterance has ended.
        error: why, if not well; its sound so far is not taken back.
    """

    id: int
    chunk: Chunk | None = None
    refused: tuple[Piece, Rejection] | None = None
    done: bool = False
    error: MamtraError | None = None
