"""An ONNX graph while it is put together: constants, nodes, states, matrices of few bits.

Needs the package `onnx`. Knows operators; no layers (onnx_layers.py), no sessions (onnx_step.py).
Source: ONNX Runtime, docs/ContribOperators.md, 1.26 and later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.stored_weights import WEIGHTS, StoredTensor, StoredWeights
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.shape import MixerShape

CONTRIB = "com.microsoft"
OPSET, IR_VERSION = 21, 10
ACCURACY = 4  # MatMulNBits: int8 activations, int32 sums
EXACT = 32
END = (1 << 63) - 1  # where a slice that goes to the end stops
LAST = [0, 2, 1]  # the last two of three axes exchanged
PERM = [0, 2, 1, 3]  # tokens before heads, or heads before tokens
KINDS = {
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "I8": TensorProto.INT8,
}


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How matrices are stored in the graph.

    Attributes:
        bits: 32 (float32, exact), 8 or 4, of the layers' matrices.
        head_bits: of the output head.
        block: weights of a row that share a scale.
    """

    bits: int = EXACT
    head_bits: int = EXACT
    block: int = 32

    def __post_init__(self) -> None:
        if self.bits not in (EXACT, 8, 4) or self.head_bits not in (EXACT, 8, 4):
            raise ValueError(f"bits must be 32, 8 or 4: {self}")
        if self.block < 16 or self.block & (self.block - 1):
            raise ValueError(f"a block must be a power of two from 16 on, got {self.block}")


QUANTISATIONS = {
    "none": Quantisation(),
    "int8": Quantisation(bits=8, head_bits=8),
    "int4": Quantisation(bits=4, head_bits=8),
}


def quantise(weight: Tensor, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (N, K) in blocks along K, as `MatMulNBits` reads it.

    Returns:
        (N, ceil(K / block), block * bits / 8) uint8 around the middle of their range, and float32
        scales, one a block; errors are at most half a scale.
    """
    rows, width = weight.shape
    blocks = -(-width // block)
    padded = nn.functional.pad(weight.detach().float(), (0, blocks * block - width))
    values = padded.view(rows, blocks, block)
    if bits == 8:
        scale = (values.abs().amax(-1) / 127).clamp_min(1e-12)
        blob = ((values / scale[..., None]).round() + 128).to(torch.uint8)
    else:
        # The value of largest magnitude falls on -8, so that all sixteen levels are used.
        peak = values.gather(-1, values.abs().argmax(-1, keepdim=True))[..., 0]
        scale = torch.where(peak == 0, torch.full_like(peak, 1e-12), peak / -8)
        levels = ((values / scale[..., None]).round() + 8).clamp(0, 15).to(torch.uint8)
        blob = levels[..., 0::2] | (levels[..., 1::2] << 4)
    return blob.numpy(), scale.reshape(-1).numpy()


@dataclass
class Graph:
    """Nodes, constants, inputs and outputs while a graph is put together.

    With `stored`, weights that lie in a file of tensors stay there: the graph names their bytes.
    """

    quantisation: Quantisation = field(default_factory=Quantisation)
    stored: StoredWeights | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    layer: int = 0

    def constant(self, value: Tensor | np.ndarray | Sequence[int]) -> str:
        """A constant; tensors become float32, sequences int64."""
        if isinstance(value, Tensor):
            if self.stored is not None and (kept := self.stored.find(value)) is not None:
                return self._kept(kept)
            value = value.detach().float().cpu().numpy()
        array = np.ascontiguousarray(value if isinstance(value, np.ndarray) else np.array(value))
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def _kept(self, kept: StoredTensor) -> str:
        """A stored tensor widened to float32, which a session does once."""
        name = self._external(kept)
        if kept.scale is not None:
            axes = self.constant(list(range(1, len(kept.shape))))
            scale = self.op("Cast", self._external(kept.scale), to=TensorProto.FLOAT)
            name = self.op("Cast", name, to=TensorProto.FLOAT)
            return self.op("Mul", name, self.op("Unsqueeze", scale, axes))
        wide = kept.kind == "F32"
        return name if wide else self.op("Cast", name, to=TensorProto.FLOAT)

    def _external(self, kept: StoredTensor) -> str:
        """The bytes of a stored tensor as a constant."""
        assert self.stored is not None
        if kept.name not in self.constants:
            proto = onnx.TensorProto(name=kept.name, data_type=KINDS[kept.kind], dims=kept.shape)
            proto.data_location = TensorProto.EXTERNAL
            told = {
                "location": self.stored.path.name,
                "offset": str(kept.offset),
                "length": str(kept.length),
            }
            for key, value in told.items():
                proto.external_data.add(key=key, value=value)
            self.constants[kept.name] = proto
        return kept.name

    def rows(self, table: Tensor, ids: str) -> str:
        """Rows of a table (R, D) by their ids: (..., D); few of them are ever widened."""
        kept = None if self.stored is None else self.stored.find(table)
        if kept is None:
            return self.op("Gather", self.constant(table), ids)
        found = self.op("Gather", self._external(kept), ids)
        found = self.op("Cast", found, to=TensorProto.FLOAT)
        if kept.scale is None:
            return found
        scale = self.op("Gather", self._external(kept.scale), ids)
        scale = self.op("Cast", scale, to=TensorProto.FLOAT)
        return self.op("Mul", found, self.op("Unsqueeze", scale, self.constant([-1])))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node of one output."""
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(
        self,
        kind: str,
        *inputs: str,
        outputs: int | Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """A node of several outputs, counted or named ("" leaves one out)."""
        number = len(self.nodes)
        if isinstance(outputs, int):
            names = [f"{kind}{number}_{i}" for i in range(outputs)]
        else:
            names = list(outputs)
        node = helper.make_node(
            kind, inputs, names, name=f"{kind}{number}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return names

    def value(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> Any:
        """Name, shape and type of an input or output."""
        return helper.make_tensor_value_info(name, kind, shape)

    def state(self, name: str, shape: Sequence[int | str]) -> tuple[str, str]:
        """A state that goes in under a name and comes out under another."""
        before, after = f"{name}.{self.layer}", f"{name}.{self.layer}.next"
        self.inputs.append(self.value(before, shape))
        self.outputs.append(self.value(after, shape))
        return before, after

    def linear(self, x: str, weight: Tensor, bias: Tensor | None, bits: int | None = None) -> str:
        """x @ weight.T + bias."""
        bits = self.quantisation.bits if bits is None else bits
        if bits == EXACT:
            y = self._product(x, self.constant(weight))
            return y if bias is None else self.op("Add", y, self.constant(bias))
        blob, scales = quantise(weight, bits, self.quantisation.block)
        inputs = [x, self.constant(blob), self.constant(scales)]
        if bias is not None:
            inputs += ["", "", self.constant(bias)]
        return self.op(
            "MatMulNBits",
            *inputs,
            domain=CONTRIB,
            N=weight.shape[0],
            K=weight.shape[1],
            bits=bits,
            block_size=self.quantisation.block,
            accuracy_level=ACCURACY,
        )

    def _product(self, x: str, weight: str) -> str:
        """x @ weight.T"""
        return self.op("FusedMatMul", x, weight, domain=CONTRIB, transB=1)

    def size(self, x: str, axis: int) -> str:
        """(1,) int64, the extent of an axis."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def cut(self, x: str, start: str, stop: str, axis: int) -> str:
        """A slice between two (1,) int64."""
        return self.op("Slice", x, start, stop, self.constant([axis]))

    def conv(self, x: str, conv: nn.Conv1d, left: int = 0) -> str:
        """A convolution over (B, C, T) behind `left` zeros more than its own padding."""
        inputs = [x, self.constant(conv.weight)]
        if conv.bias is not None:
            inputs.append(self.constant(conv.bias))
        around = int(conv.padding[0])
        return self.op(
            "Conv",
            *inputs,
            pads=[left + around, around],
            strides=list(conv.stride),
            dilations=list(conv.dilation),
            group=conv.groups,
        )

    def model(self, name: str, facts: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """The finished graph, without inputs that nothing reads."""
        used = {one for node in self.nodes for one in node.input}
        made = helper.make_graph(
            self.nodes,
            name,
            [value for value in self.inputs if value.name in used],
            self.outputs,
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
        kept = {} if self.stored is None else {WEIGHTS: self.stored.mark}
        helper.set_model_props(model, {**kept, **(facts or {})})
        return model

    def split(self, x: str, sizes: Sequence[int], axis: int = -1) -> list[str]:
        """Parts of the given sizes."""
        return self.ops("Split", x, self.constant(sizes), outputs=len(sizes), axis=axis)

    def shaped(self, x: str, *shape: int) -> str:
        """Reshape; 0 keeps a size, -1 is what remains."""
        return self.op("Reshape", x, self.constant(shape))

    def rms_norm(self, x: str, weight: Tensor, eps: float) -> str:
        """RMS norm over the last axis, in float32."""
        name = self.constant(weight)
        return self.op("SimplifiedLayerNormalization", x, name, axis=-1, epsilon=eps, stash_type=1)

    def norm(self, x: str, norm: nn.Module) -> str:
        """The norm of a block over the last axis."""
        if isinstance(norm, RMSNorm):
            return self.rms_norm(x, norm.weight, norm.eps)
        assert isinstance(norm, nn.LayerNorm)
        scale, bias = self.constant(norm.weight), self.constant(norm.bias)
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=norm.eps)

    def rotated(self, x: str, heads: int, shape: MixerShape) -> str:
        """Heads (B, T, heads * P) turned by the tables of the new positions."""
        if shape.rope == "none":
            return x
        return self.op(
            "RotaryEmbedding",
            x,
            "places",
            "cos",
            "sin",
            domain=CONTRIB,
            num_heads=heads,
            rotary_embedding_dim=shape.head_dim,
            interleaved=int(shape.rope == "interleaved"),
        )

    def joined(self, x: str, parts: Sequence[nn.Linear]) -> str:
        """Several projections of one input as one matrix; missing biases become zeros."""
        if self.stored is not None and self.quantisation.bits == EXACT:
            return self._joined_stored(x, parts)
        bias = None
        if any(part.bias is not None for part in parts):
            bias = torch.cat(
                [
                    part.weight.new_zeros(part.out_features) if part.bias is None else part.bias
                    for part in parts
                ]
            )
        return self.linear(x, torch.cat([part.weight for part in parts]), bias)

    def _joined_stored(self, x: str, parts: Sequence[nn.Linear]) -> str:
        """The same of stored matrices, which a session puts together once."""
        weights = [self.constant(part.weight) for part in parts]
        y = self._product(x, self.op("Concat", *weights, axis=0))
        if all(part.bias is None for part in parts):
            return y
        biases = [
            self.constant(torch.zeros(part.out_features) if part.bias is None else part.bias)
            for part in parts
        ]
        return self.op("Add", y, self.op("Concat", *biases, axis=0))
