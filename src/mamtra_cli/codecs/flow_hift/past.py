"""What stands before a piece of frames: nothing, or frames that an earlier pass heard.

Behind chunk masks, a piece that begins with a chunk depends on earlier frames only through what
its layers see of them: the input of every attention, and the newest frames before every
convolution. One pass over the earlier frames records that, layer by layer in the order they run;
later pieces go on from it. Keys and values are made again from the inputs, which are a fourth of
their size at the published width. Knows no layer and no solver.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


class Past:
    """Nothing stands before a piece: a convolution sees zeros, attention the piece alone."""

    frames = 0

    def convolved(self, x: Tensor, seen: int) -> Tensor:
        """Put `seen` frames before the input of a convolution: (B, C, T) to (B, C, seen+T)."""
        return F.pad(x, (seen, 0))

    def attended(self, x: Tensor) -> Tensor:
        """Put all earlier frames before the input of an attention: (B, T, C), `frames` more."""
        return x


NOTHING = Past()


class Recording(Past):
    """Nothing stands before a piece, and what its layers see is kept for what follows it."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def convolved(self, x: Tensor, seen: int) -> Tensor:
        """See `Past.convolved`."""
        self.kept.append(x[:, :, -seen:].clone())
        return super().convolved(x, seen)

    def attended(self, x: Tensor) -> Tensor:
        """See `Past.attended`."""
        self.kept.append(x)
        return x


class Continuing(Past):
    """What a recording kept stands before a piece; for one pass.

    Args:
        kept: of a `Recording`.
        frames: that it heard.
    """

    def __init__(self, kept: Sequence[Tensor], frames: int) -> None:
        self.frames = frames
        self._next = iter(kept)

    def convolved(self, x: Tensor, seen: int) -> Tensor:
        """See `Past.convolved`."""
        return torch.cat((next(self._next), x), dim=2)

    def attended(self, x: Tensor) -> Tensor:
        """See `Past.attended`."""
        return torch.cat((next(self._next), x), dim=1)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the solver saw of the first frames of a prompt: tensors for each of its steps."""

    frames: int
    steps: Sequence[Sequence[Tensor]]

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(tensor.nbytes for step in self.steps for tensor in step)
