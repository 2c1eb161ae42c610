"""One utterance under way and the model that speaks it: what the token loop knows of a family.

A script says what is read next, what may be drawn, and takes what was drawn; it is a value, so a
new attempt starts from the first one. A token model turns reads into scores for rows that come and
go. Types only; nothing here knows any family, and the loop knows families only through these.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.codecs.base import Frame as Frame


class Script(Protocol):
    """One utterance under way, as a value without tensors of its own.

    Attributes:
        reads: what the model reads next, as the family's token model takes it: a prompt, or text
            that has come since; None where it reads just `column`.
        column: the ids that the model reads in its next step; only where `reads` is None.
        barred: (codebook, id) pairs that may not be drawn now.
        due: what comes next whatever the model scores, or None.
        history: what was drawn so far as rules against repetition see it, oldest first.
        frames: whole frames of sound, in order, which nothing will change any more.
        expected: frames that the text should take, or None where the model cannot say.
        heard: frames of the voice's clip that the model was shown, which it may repeat by mistake.
        waiting: whether text must come, or its end, before anything can be read.
        ended: whether the speech is over.
        capped: whether it was cut at its longest and did not end by itself.
    """

    @property
    def reads(self) -> Any: ...

    @property
    def column(self) -> Frame: ...

    @property
    def barred(self) -> Sequence[tuple[int, int]]: ...

    @property
    def due(self) -> Frame | None: ...

    @property
    def history(self) -> Sequence[Frame]: ...

    @property
    def frames(self) -> Sequence[Frame]: ...

    @property
    def expected(self) -> float | None: ...

    @property
    def heard(self) -> Sequence[Frame]: ...

    @property
    def waiting(self) -> bool: ...

    @property
    def ended(self) -> bool: ...

    @property
    def capped(self) -> bool: ...

    def accept(self, frame: Frame) -> Self:
        """What was read, and the ids drawn after it (or those that were due)."""
        ...

    def hear(self, ids: Sequence[int]) -> Self:
        """More text has come; ValueError where the text was whole from the start."""
        ...

    def close(self) -> Self:
        """The text has ended; nothing changes where it was whole from the start."""
        ...


class TokenModel(Protocol):
    """Rows of scores for scripts that join and leave.

    `rows` is the model's own value, None before the first row; every call uses it up and returns
    the next one. A row lives in the slot that the caller names, the lowest free ones first.

    Attributes:
        codebooks: ids of a frame (K).
        frame_rate: frames a second.
    """

    @property
    def codebooks(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    def read(
        self, reads: Sequence[Any], rows: Any, at: Sequence[int], held: Sequence[Any]
    ) -> tuple[Any, Any]:
        """Read whole values and take slots.

        Args:
            reads: of each joining row.
            rows: those that run.
            at: free slots.
            held: what `park` gave of each joining row; None where it is new.

        Returns:
            (len(at), K, V) float32 scores of what comes next, a tensor or an array,
            log-probabilities but for a constant; -inf bars an id. The rows.
        """
        ...

    def step(self, columns: NDArray[np.int64], rows: Any) -> tuple[Any, Any]:
        """Read one column a row.

        Args:
            columns: (B, K), B up to the last slot in use; any ids at free slots.
            rows: those that run.

        Returns:
            (B, K, V) float32 scores, without meaning at free slots; the rows.
        """
        ...

    def park(self, rows: Any, slot: int) -> tuple[Any, Any]:
        """Take a row out with memory of its own; returns the rest and what `read` goes on from."""
        ...

    def leave(self, rows: Any, slots: Sequence[int]) -> Any:
        """Free slots without copying anybody's memory."""
        ...

    def compact(self, rows: Any) -> tuple[Any, Mapping[int, int]]:
        """Move the last rows into free slots until none is free; says where each went."""
        ...
