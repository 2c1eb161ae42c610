"""What will be said for a text, as a value: pieces, their words, and the phones of those."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mamtra_cli.text.signs import Skipped


@dataclass(frozen=True, kw_only=True)
class Word:
    """A spoken word, a letter (`^x`) or a pause, and its phones where the model reads phones."""

    word: str
    phones: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What the model hears at once, as it was written, and the words said for it."""

    text: str
    words: tuple[Word, ...]

    @property
    def spoken(self) -> str:
        """The words of the piece in one line."""
        return " ".join(word.word for word in self.words)

    @property
    def phones(self) -> str:
        """The phones of the piece in one line, words parted by two blanks."""
        return "  ".join(" ".join(word.phones) for word in self.words if word.phones)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What will be said for a text, and the signs that were left out."""

    pieces: tuple[Piece, ...]
    skipped: tuple[Skipped, ...] = ()


def read(
    pieces: Iterable[str], shown: Callable[[str], list[Word]], skipped: tuple[Skipped, ...] = ()
) -> Reading:
    """The reading of pieces.

    Args:
        pieces: as a front end cuts them.
        shown: the front end's words of a piece.
        skipped: signs that were taken out before.
    """
    return Reading(
        pieces=tuple(Piece(text=piece, words=tuple(shown(piece))) for piece in pieces),
        skipped=skipped,
    )
