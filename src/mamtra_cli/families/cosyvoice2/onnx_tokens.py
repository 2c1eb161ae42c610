"""The language model in an ONNX Runtime session, as the token loop drives it.

The third token model beside those of `token_model.py`: prompts and tokens are read by one graph,
rows are slots of its buffers. In float32 the numbers are those of the modules.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamtra_cli.backbone.decoding.onnx_step import OnnxRow, OnnxStack, OnnxState
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.families.cosyvoice2.sequences import after, to_sequence
from mamtra_cli.layers.state import HybridState, KVState, MambaState


class OnnxTokens:
    """See `families.script.TokenModel`.

    Args:
        lm: for its tables; its stack is not run.
        onnx: the session of its stack and head.
    """

    codebooks = 1
    frame_rate = float(TOKENS_PER_SECOND)

    def __init__(self, lm: SpeechLM, onnx: OnnxStack) -> None:
        self.lm = lm
        self.onnx = onnx
        self.table = lm.speech_embedding.weight.detach().float().cpu().numpy()

    def read(
        self,
        reads: Sequence[Reads],
        rows: OnnxState | None,
        at: Sequence[int],
        held: Sequence[OnnxRow | None],
    ) -> tuple[Tensor, OnnxState]:
        """Read prompts one by one, each into its slot."""
        state = self.onnx.alloc(max(at) + 1) if rows is None else rows
        scores = []
        for value, slot, row in zip(reads, at, held, strict=True):
            sequence = to_sequence(self.lm.config, [value.row])
            if row is None and value.after is not None:
                count, kept = value.after
                row = onnx_row(kept)
                sequence = after(sequence, count if row is not None else 0)
            if row is not None:
                state = self.onnx.put(state, slot, row)
            with torch.inference_mode():
                x = self.lm.embed(sequence)[0].float().cpu().numpy()
            positions = sequence.positions
            found, state = self.onnx.read(
                x, state, slot, None if positions is None else positions[0].double().numpy()
            )
            scores.append(found)
        return _scores(np.stack(scores)), state

    def step(self, columns: NDArray[np.int64], rows: OnnxState) -> tuple[Tensor, OnnxState]:
        """Read one token a row."""
        x = np.zeros((rows.rows, self.table.shape[1]), np.float32)
        x[: len(columns)] = self.table[columns[:, 0]]
        found, rows = self.onnx.step(x, rows)
        return _scores(found[: len(columns)]), rows

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


def _scores(found: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> Tensor:
    """(B, V) scores as the loop takes them: (B, 1, V) log-probabilities."""
    return torch.log_softmax(torch.from_numpy(found), dim=-1)[:, None]


def onnx_row(state: HybridState) -> OnnxRow | None:
    """A kept state of one row for a slot; `None` where a layer keeps a window."""
    held = {}
    length = 0
    for index, layer in enumerate(state.layers):
        if isinstance(layer, MambaState):
            held[f"taps.{index}"] = layer.conv[0].float().cpu().numpy()
            held[f"ssm.{index}"] = layer.ssm[0].float().transpose(1, 2).cpu().numpy()
            length = max(length, layer.seen)
            continue
        if not isinstance(layer, KVState) or layer.index is not None:
            return None
        k, v, _ = layer.columns()
        held[f"k.{index}"], held[f"v.{index}"] = k[0].float().numpy(), v[0].float().numpy()
        length = layer.length
    return OnnxRow(
        held=held,
        length=length,
        position=float(torch.as_tensor(state.position).reshape(-1)[0]),
        ordinals=np.zeros(0, np.int64),
    )
