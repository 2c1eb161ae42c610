"""A language model as something to be taught: what a family states of it, and the types of that.

Examples go in as text ids and frames; what a sequence looks like inside, what it must predict and
which numbers it shares with a student is the family's business. Frames have K ids (K codebooks);
a position that predicts anything predicts up to K of them. Nothing here knows any family, and
nothing of losses or of where examples come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.hybrid import HybridStack

IGNORE = -100
"""Target of a position and codebook that predicts nothing."""
ROW = 1024  # positions of a packed row, or those of the longest utterance


@dataclass(frozen=True, kw_only=True)
class Example:
    """One utterance: what is said and the frames that say it.

    Attributes:
        tokens: ids of the frames, one frame after the other.
        codebooks: K, ids of one frame.
        voice: numbers of the speaker vector, where the language model reads one.
    """

    id: str
    text_ids: tuple[int, ...]
    tokens: tuple[int, ...]
    codebooks: int = 1
    voice: tuple[float, ...] = ()

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.tokens) // self.codebooks


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Teacher-forcing sequences on a model's device.

    Attributes:
        inputs: what `Lessons.embed` reads, as the family holds it.
        positions: (B, T), or `None` where they are counted.
        targets: (B, T, K) long, `IGNORE` where nothing is predicted.
        real: (B, T) bool, False at padding, which is on the right.
        seq_idx: (B, T) numbers of packed utterances; `None` where each has a row of its own.
        rows: for each utterance, its row and the slice of it.
    """

    inputs: Any
    positions: Tensor | None
    targets: Tensor
    real: Tensor
    seq_idx: Tensor | None
    rows: Sequence[tuple[int, slice]]

    @property
    def reading(self) -> dict[str, Tensor | None]:
        """Arguments of the stack. Padding on the right cannot be seen by what is before it."""
        found: dict[str, Tensor | None] = {"positions": self.positions}
        if self.seq_idx is not None:
            found |= {"seq_idx": self.seq_idx, "pad_mask": self.real}
        return found


class Lessons(Protocol):
    """One language model, loaded, with what is needed to teach it or to compare it.

    Attributes:
        lm: the model; names of its parameters are those of its file.
        stack: its layers.
        heads: the last hidden state to scores, (..., D) to (..., K, V).
        tables: what `embed` reads from.
        in_turns: whether it learns text and speech in turns as well.
    """

    @property
    def lm(self) -> nn.Module: ...

    @property
    def stack(self) -> HybridStack: ...

    @property
    def heads(self) -> nn.Module: ...

    @property
    def tables(self) -> tuple[nn.Module, ...]: ...

    @property
    def in_turns(self) -> bool: ...

    def size(self, example: Example) -> int:
        """Positions that an example takes."""
        ...

    def count(self, example: Example, *, turns: bool = False) -> int:
        """Ids that an example predicts, those that end the speech included."""
        ...

    def lay_out(
        self, examples: Sequence[Example], *, turns: Sequence[bool] = (), packed: bool = False
    ) -> Layout:
        """Lay examples out on the model's device.

        Args:
            examples: at least one.
            turns: which of them as text and speech in turns; none if empty.
            packed: several in a row, see `pack`.
        """
        ...

    def embed(self, inputs: Any) -> Tensor:
        """Look the inputs of a `Layout` up: (B, T, D)."""
        ...

    def around(self, stack: HybridStack) -> Self:
        """The same model around another stack; every other tensor is this one's own, frozen."""
        ...


def counted(values: Tensor, here: Tensor) -> Tensor:
    """Values (N, K, ...) where `here` (N, K) is true, as (M, ...); no row of `here` is empty."""
    # A position that predicts with one codebook predicts with that one: nothing is copied.
    return values.flatten(0, 1) if here.shape[1] == 1 else values[here]


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where each of some rows goes when they are laid one after the other.

    Attributes:
        rows: the new row and the slice of it, for each old row.
        numbers: of each old row in its new one.
        lengths: positions of each new row that are taken.
    """

    rows: tuple[tuple[int, slice], ...]
    numbers: tuple[int, ...]
    lengths: tuple[int, ...]

    def lay(self, padded: Tensor, fill: float) -> Tensor:
        """Old rows (B, T, ...) as new ones (R, W, ...), `fill` where nothing is."""
        shape = (len(self.lengths), max(self.lengths), *padded.shape[2:])
        laid = padded.new_full(shape, fill)
        for index, (row, part) in enumerate(self.rows):
            laid[row, part] = padded[index, : part.stop - part.start]
        return laid

    def seq_idx(self) -> Tensor:
        """(R, W) number of the old row at each place; padding counts to the one before it."""
        found = torch.zeros(len(self.lengths), max(self.lengths), dtype=torch.long)
        placed = zip(self.numbers, self.rows, strict=True)
        for number, (row, part) in sorted(placed, key=lambda one: one[0]):
            found[row, part.start :] = number
        return found


def pack(lengths: Sequence[int]) -> Packing:
    """Lay rows one after the other, the longest first, each where it still fits.

    Args:
        lengths: positions of each.
    """
    capacity = max(*lengths, ROW)
    taken: list[int] = []
    counts: list[int] = []
    places: dict[int, tuple[int, slice]] = {}
    numbers: dict[int, int] = {}
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        size = lengths[index]
        row = next((r for r, used in enumerate(taken) if used + size <= capacity), len(taken))
        if row == len(taken):
            taken.append(0)
            counts.append(0)
        places[index] = (row, slice(taken[row], taken[row] + size))
        numbers[index] = counts[row]
        taken[row] += size
        counts[row] += 1
    order = range(len(lengths))
    return Packing(
        rows=tuple(places[i] for i in order),
        numbers=tuple(numbers[i] for i in order),
        lengths=tuple(taken),
    )
