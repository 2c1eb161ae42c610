"""Work recorded as CUDA graphs and replayed: a launch a step, whatever the step is made of.

Attention's cost goes with the columns that it looks at, so there is a graph for each of a few
lengths. Where there is no CUDA device the same work is run as it is, which is what tests compare.
Not run on a real GPU yet: `benchmarks/gpu.py` is the command that does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.backbone.decoding.static import StaticRows

SHORTEST = 256  # columns of the first graph; each further one has twice as many
WARMUPS = 3


def bucket(tokens: int, capacity: int) -> int:
    """Columns of the graph for rows of so many tokens, the new one included."""
    end = SHORTEST
    while end < tokens:
        end *= 2
    return min(end, capacity)


class GraphedStep:
    """One step of fixed rows, recorded for each length that comes up.

    Args:
        rows: what it steps.
        work: runs a step with so many columns: reads and writes tensors that stay where they are,
            and calls `rows.step` once. Nothing may be read back in it.
        held: further tensors that `work` changes and that recording must leave alone.
        record: whether to; `None` where the rows are on a GPU.
    """

    def __init__(
        self,
        rows: StaticRows,
        work: Callable[[int], None],
        held: tuple[Tensor, ...] = (),
        *,
        record: bool | None = None,
    ) -> None:
        self.rows, self.work = rows, work
        self.held = (*rows.moving, *held)
        self.recorded = rows.position.is_cuda if record is None else record
        self._graphs: dict[int, Any] = {}

    def __call__(self) -> None:
        """Run a step."""
        end = bucket(self.rows.longest + 1, self.rows.capacity)
        self.rows.counted()
        if not self.recorded:
            self.work(end)
            return
        if end not in self._graphs:
            self._graphs[end] = self._record(end)
        self._graphs[end].replay()

    def _record(self, end: int) -> Any:
        """A graph of a step; recording runs nothing, and what the warm-up did is put back."""
        before = [value.clone() for value in self.held]
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUPS):
                self.work(end)
                # Each begins where the first one did: there may be room for one token only.
                _put_back(self.held, before)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        with torch.cuda.graph(graph, pool=pool):
            self.work(end)
        return graph


def _put_back(held: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    for value, old in zip(held, before, strict=True):
        value.copy_(old)
