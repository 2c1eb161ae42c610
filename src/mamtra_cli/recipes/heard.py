"""What a recogniser heard of a piece, as it is told and kept."""

from dataclasses import dataclass

from mamtra_cli.errors import LimitMissedError

SHOWN = 60  # characters of a text in a warning


@dataclass(frozen=True, kw_only=True)
class HeardPiece:
    """A piece as it was to be said and as it was heard, in its best attempt."""

    text: str
    heard: str
    wer: float  # percent
    good: bool
    attempts: int

    @property
    def warning(self) -> str:
        """That the best attempt was not understood."""
        return (
            f"`{self.text[:SHOWN]}` is heard as `{self.heard[:SHOWN]}`, {self.wer:.0f} % of the "
            f"words wrong, in the best of {self.attempts} attempts"
        )


def missed(limit: float, misheard: int, where: str = "") -> LimitMissedError | None:
    """The error that tells how many pieces were not understood, if any; `where` tells which."""
    if not misheard:
        return None
    pieces = "1 piece" if misheard == 1 else f"{misheard} pieces"
    kept = "the best attempts were kept; try another `--seed`, or more `--retries`"
    return LimitMissedError(
        f"missed `--max-wer {limit:g}` in {pieces}", f"{where}; {kept}" if where else kept
    )
