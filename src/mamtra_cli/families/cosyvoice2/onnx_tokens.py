"""A loaded language model whose stack runs in an ONNX Runtime session; scores are tensors."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamtra_cli.backbone.decoding.onnx_step import OnnxRow, OnnxStack
from mamtra_cli.families.cosyvoice2.array_tokens import ArrayTokens
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import SPECIAL, SPEECH, TEXT
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.layers.state import HybridState, KVState, MambaState


class OnnxTokens(ArrayTokens):
    """See `families.script.TokenModel`.

    Args:
        lm: for its tables; its stack is not run.
        onnx: the session of its stack and head.
    """

    def __init__(self, lm: SpeechLM, onnx: OnnxStack) -> None:
        tables = {
            SPECIAL: lm.llm_embedding.weight,
            TEXT: lm.stack.embed_tokens.weight,
            SPEECH: lm.speech_embedding.weight,
        }
        super().__init__(lm.config, onnx, {number: _Table(t) for number, t in tables.items()})

    def kept(self, value: Reads) -> tuple[int, OnnxRow | None]:
        """The state that was kept with a voice, where a slot can hold it."""
        if value.after is None:
            return 0, None
        count, state = value.after
        row = onnx_row(state)
        return (count if row is not None else 0), row

    def scored(self, found: NDArray[np.float32]) -> Tensor:
        """(B, 1, V) log-probabilities."""
        return torch.log_softmax(torch.from_numpy(found), dim=-1)[:, None]


class _Table:
    """Rows of a table, which may be large and stay where it is."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()

    def __getitem__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.weight[torch.as_tensor(ids)].float().cpu().numpy()
        return found


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
