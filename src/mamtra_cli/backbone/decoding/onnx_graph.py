"""A hybrid stack as one ONNX graph, for ONNX Runtime on CPUs: any number of new tokens a row.

Teacher and mixers are expressed by contrib operators that ONNX Runtime brings: matrices of few
bits (`MatMulNBits`), attention with a length a row (`GroupQueryAttention`), the convolution and the
recurrence of a mixer with their states (`CausalConvWithState`, `LinearAttention`). Needs the
package `onnx` to build; knows nothing of sessions or buffers (onnx_step.py).
Source: ONNX Runtime, docs/ContribOperators.md, 1.26 and later.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.onnx_step import FREQUENCIES
from mamtra_cli.backbone.hybrid import Block, HybridStack
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mlp import SwiGLU
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.rotary import rope_frequencies

CONTRIB = "com.microsoft"
OPSET, IR_VERSION = 21, 10
ACCURACY = 4  # MatMulNBits: int8 activations, int32 sums
EXACT = 32


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
    """Nodes, constants, inputs and outputs while a graph is put together."""

    quantisation: Quantisation
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    layer: int = 0

    def constant(self, value: Tensor | np.ndarray | Sequence[int]) -> str:
        """A constant; tensors become float32, sequences int64."""
        if isinstance(value, Tensor):
            value = value.detach().float().cpu().numpy()
        array = np.ascontiguousarray(value if isinstance(value, np.ndarray) else np.array(value))
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

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
            y = self.op("MatMul", x, self.constant(weight.detach().float().t()))
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

    def split(self, x: str, sizes: Sequence[int], axis: int = -1) -> list[str]:
        """Parts of the given sizes."""
        return self.ops("Split", x, self.constant(sizes), outputs=len(sizes), axis=axis)

    def shaped(self, x: str, *shape: int) -> str:
        """Reshape; 0 keeps a size, -1 is what remains."""
        return self.op("Reshape", x, self.constant(shape))

    def norm(self, x: str, weight: Tensor, eps: float) -> str:
        """RMS norm over the last axis, in float32."""
        name = self.constant(weight)
        return self.op("SimplifiedLayerNormalization", x, name, axis=-1, epsilon=eps, stash_type=1)

    def rotated(self, x: str, heads: int, width: int) -> str:
        """Heads (B, T, heads * P) turned by the tables of the new positions."""
        return self.op(
            "RotaryEmbedding",
            x,
            "places",
            "cos",
            "sin",
            domain=CONTRIB,
            num_heads=heads,
            rotary_embedding_dim=width,
        )

    def joined(self, x: str, parts: Sequence[nn.Linear]) -> str:
        """Several projections of one input as one matrix; missing biases become zeros."""
        bias = None
        if any(part.bias is not None for part in parts):
            bias = torch.cat(
                [
                    part.weight.new_zeros(part.out_features) if part.bias is None else part.bias
                    for part in parts
                ]
            )
        return self.linear(x, torch.cat([part.weight for part in parts]), bias)


def attention(graph: Graph, x: str, core: SelfAttention) -> str:
    """Full attention over the cache: (B, T, D) to (B, T, H * P)."""
    shape = core.shape
    heads, groups, width = shape.n_heads, shape.n_kv_heads, shape.head_dim
    qkv = graph.joined(x, [core.q_proj, core.k_proj, core.v_proj])
    both, v = graph.split(qkv, [(heads + groups) * width, groups * width])
    both = graph.rotated(both, heads + groups, width)
    q, k = graph.split(both, [heads * width, groups * width])
    sizes = ("B", groups, "capacity", width)
    (k_in, k_out), (v_in, v_out) = graph.state("k", sizes), graph.state("v", sizes)
    names = [f"attention.{graph.layer}", k_out, v_out]
    return graph.ops(
        "GroupQueryAttention",
        *(q, k, v, k_in, v_in, "past", "total"),
        outputs=names,
        domain=CONTRIB,
        num_heads=heads,
        kv_num_heads=groups,
    )[0]


def mixer(graph: Graph, x: str, core: Mamba2Mixer) -> str:
    """Convolution, recurrence, norm and gate: (B, T, D) to (B, T, H * P)."""
    config, shape = core.config, core.shape
    heads, groups, width = shape.n_heads, shape.n_kv_heads, shape.head_dim
    parts = [core.v_proj, core.k_proj, core.q_proj, core.dt_proj]
    if config.gate != "none":
        parts.append(core.gate_proj if config.gate == "full" else core.gate_down)
    sizes = [shape.conv_channels, *(part.out_features for part in parts[3:])]
    channels, dt, *gate = graph.split(graph.joined(x, parts), sizes)
    mixed = _convolved(graph, channels, core)
    v, both = graph.split(mixed, [groups * width, (groups + heads) * width])
    if config.rope == "keep":
        both = graph.rotated(both, groups + heads, width)
    both = _features(graph, graph.shaped(both, 0, 0, groups + heads, width), config.feature_map)
    k, q = graph.split(both, [groups, heads], axis=2)
    v = graph.shaped(v, 0, 0, groups, width)
    if heads > groups:
        owner = graph.constant(np.repeat(np.arange(groups), heads // groups))
        k, v = (graph.op("Gather", part, owner, axis=2) for part in (k, v))
    read = _scanned(graph, q, k, v, dt, core)
    if core.D is not None:
        skip = graph.constant(core.D.detach()[:, None])
        read = graph.op("Add", read, graph.op("Mul", v, skip))
    return _tail(graph, graph.shaped(read, 0, 0, heads * width), gate, core)


def _convolved(graph: Graph, channels: str, core: Mamba2Mixer) -> str:
    """The causal convolution with its activation: (B, T, C) to (B, T, C)."""
    count, taps = core.conv.weight.shape
    before, after = graph.state("taps", ("B", count, taps - 1))
    weight = graph.constant(core.conv.weight.detach()[:, None])
    y = graph.ops(
        "CausalConvWithState",
        graph.op("Transpose", channels, perm=[0, 2, 1]),
        weight,
        graph.constant(core.conv.bias),
        before,
        outputs=[f"conv.{graph.layer}", after],
        domain=CONTRIB,
        activation="silu" if core.config.act == "silu" else "none",
    )[0]
    return graph.op("Transpose", y, perm=[0, 2, 1])


def _features(graph: Graph, x: str, kind: str) -> str:
    """The feature map of queries and keys: (..., P) to (..., N)."""
    if kind == "softmax2":
        twice = graph.op("Concat", x, graph.op("Neg", x), axis=-1)
        return graph.op("Softmax", twice, axis=-1)
    if kind == "elu1":
        return graph.op("Add", graph.op("Elu", x), graph.constant(torch.ones(1)))
    return x


def _scanned(graph: Graph, q: str, k: str, v: str, dt: str, core: Mamba2Mixer) -> str:
    """The recurrence: (B, T, H, N), (B, T, H, N), (B, T, H, P), (B, T, H) to (B, T, H, P)."""
    config, shape = core.config, core.shape
    heads, width = shape.n_heads, shape.head_dim
    states, rows = config.state_width(width), config.value_width(width)
    size = graph.op("Softplus", graph.op("Add", dt, graph.constant(core.dt_bias)))  # (B, T, H)
    decay = graph.op("Mul", size, graph.constant(-torch.exp(core.A_log.detach().float())))
    if config.normalise:
        one = graph.op("Mul", graph.split(v, [1, width - 1])[0], graph.constant(torch.zeros(1)))
        one = graph.op("Add", one, graph.constant(torch.ones(1)))
        v = graph.op("Concat", v, one, axis=-1)
    if config.gain == "dt":
        v = graph.op("Mul", v, graph.shaped(size, 0, 0, heads, 1))
    before, after = graph.state("ssm", ("B", heads, states, rows))
    read = graph.ops(
        "LinearAttention",
        graph.shaped(q, 0, 0, heads * states),
        graph.shaped(k, 0, 0, heads * states),
        graph.shaped(v, 0, 0, heads * rows),
        before,
        decay,
        outputs=[f"scan.{graph.layer}", after],
        domain=CONTRIB,
        update_rule="gated",
        scale=1.0,
        q_num_heads=heads,
        kv_num_heads=heads,
    )[0]
    read = graph.shaped(read, 0, 0, heads, rows)
    if not config.normalise:
        return read
    read, total = graph.split(read, [width, 1])
    empty = graph.op("Cast", graph.op("Equal", total, graph.constant(torch.zeros(1))), to=1)
    return graph.op("Div", read, graph.op("Add", total, empty))


def _tail(graph: Graph, y: str, gate: Sequence[str], core: Mamba2Mixer) -> str:
    """Norm and gate in the configured order: (B, T, H * P)."""
    config = core.config

    def norm(x: str) -> str:
        groups, weight = core.norm.groups, core.norm.weight
        if groups == 1:
            return graph.norm(x, weight, core.norm.eps)
        unit = torch.ones(core.shape.q_width // groups)
        split = graph.norm(graph.shaped(x, 0, 0, groups, -1), unit, core.norm.eps)
        joined = graph.shaped(split, 0, 0, core.shape.q_width)
        return graph.op("Mul", joined, graph.constant(weight))

    early = config.norm != "none" and config.norm_order == "before_gate"
    if early:
        y = norm(y)
    if config.gate != "none":
        z = gate[0]
        if config.gate != "full":
            z = graph.linear(z, core.gate_up.weight, core.gate_up.bias)
        open_ = graph.op("Sigmoid", z)
        if config.gate_kind == "silu":
            open_ = graph.op("Mul", z, open_)
        else:
            open_ = graph.op("Mul", open_, graph.constant(torch.full((1,), 2.0)))
        y = graph.op("Mul", y, open_)
    return norm(y) if config.norm != "none" and not early else y


Emit = Callable[[Graph, str, Any], str]


def emitter(core: object) -> tuple[Emit | None, str]:
    """How a mixer is written into a graph, or `None` and the reason why it cannot be."""
    if isinstance(core, SelfAttention):
        if core.window is not None:
            return None, "windows with sinks have no operator"
        return attention, ""
    if isinstance(core, Mamba2Mixer):
        if core.conv.weight.shape[1] < 2:
            return None, "a convolution of one tap has no operator"
        return mixer, ""
    return None, f"a {type(core).__name__} has no operator"


def obstacle(stack: HybridStack) -> str:
    """Why a stack cannot be a graph; "" where it can."""
    config = stack.config
    told = {"norm": config.norm, "feed-forward": config.ffn, "rotary order": config.rope}
    written = {"norm": "rms", "feed-forward": "swiglu", "rotary order": "half"}
    for what, value in told.items():
        if value != written[what]:
            return f"the {what} `{value}` is not written as a graph"
    if config.learned_positions:
        return "learned positions are not written as a graph"
    for index, block in enumerate(stack.blocks()):
        reason = emitter(block.core)[1]
        if reason:
            return f"layer {index}: {reason}"
    return ""


def build(stack: HybridStack, head: nn.Linear, quantisation: Quantisation) -> onnx.ModelProto:
    """The graph of a stack and its output head.

    Inputs: `x` (B, T, D) float32; `past` (B,) int32, cached tokens of each row plus T - 1; `total`
    (1,) int32, the largest count after the pass; `cos`, `sin` (B * T, P / 2) of the new positions,
    `places` (B, T) int64, their rows in these tables; the states of the layers. Outputs: `logits`
    (B, T, V) float32 and the states after.

    Raises:
        ValueError: a layer has no operator (see `obstacle`).
    """
    reason = obstacle(stack)
    if reason:
        raise ValueError(reason)
    graph, config = Graph(quantisation), stack.config
    half = config.head_dim // 2
    graph.inputs += [
        graph.value("x", ("B", "T", config.d_model)),
        graph.value("past", ("B",), TensorProto.INT32),
        graph.value("total", (1,), TensorProto.INT32),
        graph.value("cos", ("rows", half)),
        graph.value("sin", ("rows", half)),
        graph.value("places", ("B", "T"), TensorProto.INT64),
    ]
    x = "x"
    for index, block in enumerate(stack.blocks()):
        graph.layer = index
        x = _block(graph, x, block)
    last = graph.norm(x, stack.norm.weight, stack.norm.eps)
    logits = graph.linear(last, head.weight, head.bias, quantisation.head_bits)
    graph.ops("Identity", logits, outputs=["logits"])
    graph.outputs.insert(0, graph.value("logits", ("B", "T", head.out_features)))
    used = {name for node in graph.nodes for name in node.input}
    made = helper.make_graph(
        graph.nodes,
        "step",
        [value for value in graph.inputs if value.name in used],
        graph.outputs,
        list(graph.constants.values()),
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    frequencies = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
    helper.set_model_props(model, {FREQUENCIES: json.dumps(frequencies.tolist())})
    return model


def _block(graph: Graph, x: str, block: Block) -> str:
    """One layer: mixer and feed-forward, each behind its norm."""
    core: Any = block.core
    emit, _ = emitter(core)
    assert emit is not None
    mixed = emit(graph, _normed(graph, x, block.input_layernorm), core)
    x = graph.op("Add", x, graph.linear(mixed, core.o_proj.weight, core.o_proj.bias))
    mlp = block.mlp
    assert isinstance(mlp, SwiGLU)
    u = _normed(graph, x, block.post_attention_layernorm)
    both = graph.joined(u, [mlp.gate_proj, mlp.up_proj])
    gate, up = graph.split(both, [mlp.gate_proj.out_features, mlp.up_proj.out_features])
    # QuickGelu with alpha 1 is SiLU, in one operator.
    gate = graph.op("QuickGelu", gate, domain=CONTRIB, alpha=1.0)
    down = graph.linear(graph.op("Mul", gate, up), mlp.down_proj.weight, mlp.down_proj.bias)
    return graph.op("Add", x, down)


def _normed(graph: Graph, x: str, norm: nn.Module) -> str:
    assert isinstance(norm, RMSNorm)
    return graph.norm(x, norm.weight, norm.eps)
