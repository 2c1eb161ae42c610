"""Where the tokens of one step go in caches of keys and values, and which columns they see.

Worked out once a step for all layers alike. Rows of one length share plain slices and need no mask,
which is always so for a single row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra_cli.backbone.decoding.layer_caches import Window, ring_slot


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of one kind of cache that a step writes and reads.

    Attributes:
        end: columns to look at.
        new: where the new token goes: one column for all rows, or (B * G,) one each.
        rows: (B * G,) rows to go with the latter.
        hidden: (B * G, 1, end) columns that are not to be seen, or None.
    """

    end: int
    new: int | Tensor
    rows: Tensor | None = None
    hidden: Tensor | None = None


class Places:
    """Columns of a step.

    Args:
        lengths: tokens that each row has before the step; 0 for a free slot.
        device: of the caches.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.device = device
        self.lengths = lengths
        # What a free slot writes and reads means nothing, so it follows the others.
        self.longest = max(lengths)
        self.even = all(length in (0, self.longest) for length in lengths)
        self._made: dict[tuple[int, Window | None], Columns] = {}

    def columns(self, groups: int, window: Window | None) -> Columns:
        """Of a cache of so many groups, full or a window's."""
        key = (groups, window)
        if key not in self._made:
            self._made[key] = self._make(groups, window)
        return self._made[key]

    def _make(self, groups: int, window: Window | None) -> Columns:
        end = self.longest + 1 if window is None else sum(window)
        if self.even and (window is None or self.longest + 1 >= end):
            return Columns(end=end, new=_column(self.longest, window))
        at = torch.tensor(self.lengths, device=self.device).repeat_interleave(groups)
        hidden = torch.arange(end, device=self.device) > at[:, None, None]
        if self.even:
            return Columns(end=end, new=_column(self.longest, window), hidden=hidden)
        rows = torch.arange(len(at), device=self.device)
        new = at if window is None else ring_slot(at, *window)
        return Columns(end=end, new=new, rows=rows, hidden=hidden)


def _column(length: int, window: Window | None) -> int:
    """Column of the next token of a row, as `ring_slot` has it."""
    if window is None or length < window[0]:
        return length
    sinks, near = window
    return sinks + (length - sinks) % near
