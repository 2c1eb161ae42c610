"""The language model in an ONNX Runtime session over arrays, as the token loop drives it.

Prompts and tokens are read by one graph, rows are slots of its buffers. In float32 the numbers are
those of the modules. Needs no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.backbone.decoding.onnx_step import OnnxRow, OnnxStack, OnnxState
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND, LMConfig
from mamtra_cli.families.cosyvoice2.rows import SPEECH, is_aligned
from mamtra_cli.families.cosyvoice2.scripts import Reads

Array = NDArray[np.float32]


class ArrayTokens:
    """See `families.script.TokenModel`.

    Args:
        config: of the language model.
        onnx: the session of its stack and head.
        tables: by the number that a row of a prompt names (`rows.SPEECH` and so on), what gives
            vectors (n, D) for ids (n,).
    """

    codebooks = 1
    frame_rate = float(TOKENS_PER_SECOND)

    def __init__(self, config: LMConfig, onnx: OnnxStack, tables: Mapping[int, Any]) -> None:
        self.config = config
        self.onnx = onnx
        self.tables = tables

    def kept(self, value: Reads) -> tuple[int, OnnxRow | None]:
        """How much of a prompt was read before, and what is left of that."""
        del value
        return 0, None

    def scored(self, found: Array) -> Any:
        """(B, V) scores as the loop takes them: (B, 1, V)."""
        return found[:, None]

    def read(
        self,
        reads: Sequence[Reads],
        rows: OnnxState | None,
        at: Sequence[int],
        held: Sequence[OnnxRow | None],
    ) -> tuple[Any, OnnxState]:
        """Read prompts one by one, each into its slot."""
        state = self.onnx.alloc(max(at) + 1) if rows is None else rows
        scores = []
        for value, slot, row in zip(reads, at, held, strict=True):
            count = 0
            if row is None:
                count, row = self.kept(value)
            if row is not None:
                state = self.onnx.put(state, slot, row)
            ids, tables = np.array(value.row.ids[count:]), np.array(value.row.tables[count:])
            x = np.zeros((len(ids), self.onnx.width), np.float32)
            for table in set(tables.tolist()):
                here = tables == table
                x[here] = self.tables[table][ids[here]]
            places = None
            if is_aligned(self.config):
                places = np.array(value.row.positions[count:], np.float64)
            found, state = self.onnx.read(x, state, slot, places)
            scores.append(found)
        return self.scored(np.stack(scores)), state

    def step(self, columns: NDArray[np.int64], rows: OnnxState) -> tuple[Any, OnnxState]:
        """Read one token a row."""
        x = np.zeros((rows.rows, self.onnx.width), np.float32)
        x[: len(columns)] = self.tables[SPEECH][columns[:, 0]]
        found, rows = self.onnx.step(x, rows)
        return self.scored(found[: len(columns)]), rows

    def row_bytes(self, positions: int) -> int:
        """What a row holds after so many positions."""
        return self.onnx.row_bytes(positions)

    def pass_bytes(self, positions: int) -> int:
        """What one pass over so many needs: scores of each, and the widest feed-forward."""
        stack = self.config.hybrid
        return 4 * positions * (self.onnx.vocabulary + 2 * stack.d_model + 4 * stack.d_ff)

    def park(self, rows: OnnxState, slot: int) -> tuple[OnnxState | None, OnnxRow]:
        """Take a row out."""
        held = self.onnx.taken(rows, slot)
        return self.leave(rows, [slot]), held

    def leave(self, rows: OnnxState, slots: Sequence[int]) -> OnnxState | None:
        """Free slots."""
        rows = self.onnx.leave(rows, slots)
        return rows if rows.rows else None

    def compact(self, rows: OnnxState) -> tuple[OnnxState, Mapping[int, int]]:
        """Move the last rows into free slots."""
        used = np.flatnonzero(rows.lengths).tolist()
        free = [slot for slot in range(len(used)) if slot not in used]
        moves = dict(zip([slot for slot in used if slot >= len(used)], free, strict=True))
        return self.onnx.moved(rows, moves), moves
