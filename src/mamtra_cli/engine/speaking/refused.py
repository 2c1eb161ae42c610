"""How speech that was refused is told."""

from collections.abc import Sequence

from mamtra_cli.engine.decoding.guards import Rejection
from mamtra_cli.errors import AudioRejectedError


def rejected(
    piece: str, refused: Sequence[Rejection], *, heard: bool = False
) -> AudioRejectedError:
    """The error that ends a piece after its last attempt; `heard` if it had begun."""
    last = refused[-1].detail
    if heard:
        return AudioRejectedError(
            f"no good speech for `{shortened(piece)}`: {last}; what has begun to be heard is not "
            "tried again",
            hint="leave out the streaming: pieces are then judged and tried again before anybody "
            "hears them; or try another `--seed`",
        )
    attempts = "attempt" if len(refused) == 1 else "attempts"
    return AudioRejectedError(
        f"no good speech for `{shortened(piece)}` after {len(refused)} {attempts}: {last}",
        hint="try another `--seed`, a lower `--temperature`, or `--retries 5`",
    )


def shortened(piece: str) -> str:
    """The start of a piece, for messages."""
    return piece if len(piece) <= 40 else piece[:37] + "..."
