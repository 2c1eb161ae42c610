"""A hybrid stack as one ONNX graph, for ONNX Runtime on CPUs: any number of new tokens a row.

Teacher and mixers are expressed by contrib operators that ONNX Runtime brings: matrices of few
bits (`MatMulNBits`), attention with a length a row (`GroupQueryAttention`), the convolution and the
recurrence of a mixer with their states (`CausalConvWithState`, `LinearAttention`). Knows nothing of
sessions or buffers (onnx_step.py).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import nn

from mamtra_cli.backbone.decoding.onnx_graph import CONTRIB, LAST, PERM, Graph, Quantisation
from mamtra_cli.backbone.decoding.onnx_step import FREQUENCIES, WINDOW
from mamtra_cli.backbone.decoding.stored_weights import StoredWeights
from mamtra_cli.backbone.hybrid import Block, HybridStack
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mlp import SwiGLU
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.recurrence import DepthwiseTaps
from mamtra_cli.layers.rotary import rope_frequencies

Held = tuple[str, str]
"""A state's names in a graph: as it goes in ("" for zeros), and as it comes out ("" where nobody
asks)."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a native layer says, and what its states are made of; names in a graph.

    Attributes:
        said: (B, T, H * P), before the output projection.
        channels: (B, T, C), before the convolution.
        keys, fed: (B, T, H, N) and (B, T, H, P), what each token adds to a state.
        decay: (B, T, H), logarithms.
    """

    said: str
    channels: str
    keys: str
    fed: str
    decay: str


def attention(graph: Graph, x: str, core: SelfAttention) -> str:
    """Full attention over the cache: (B, T, D) to (B, T, H * P)."""
    shape = core.shape
    heads, groups, width = shape.n_heads, shape.n_kv_heads, shape.head_dim
    q, k, v = _projected(graph, x, core)
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


def _projected(graph: Graph, x: str, core: SelfAttention) -> tuple[str, str, str]:
    """Queries (B, T, H * P), keys and values (B, T, G * P), turned where they should be."""
    shape = core.shape
    heads, groups, width = shape.n_heads, shape.n_kv_heads, shape.head_dim
    qkv = graph.joined(x, [core.q_proj, core.k_proj, core.v_proj])
    both, v = graph.split(qkv, [(heads + groups) * width, groups * width])
    both = graph.rotated(both, heads + groups, shape)
    q, k = graph.split(both, [heads * width, groups * width])
    return q, k, v


def window(graph: Graph, x: str, core: SelfAttention) -> str:
    """Attention over a window and its sinks, whose columns the caller keeps account of."""
    shape = core.shape
    heads, groups, width = shape.n_heads, shape.n_kv_heads, shape.head_dim
    assert core.window is not None
    room = core.sinks + core.window
    q, k, v = _projected(graph, x, core)
    joined, after = [], []
    for name, new in (("near_k", k), ("near_v", v)):
        held, following = graph.state(name, ("B", groups, room, width))
        heads_first = graph.op("Transpose", graph.shaped(new, 0, 0, groups, width), perm=PERM)
        joined.append(graph.op("Concat", held, heads_first, axis=2))  # (B, G, room + T, P)
        after.append((held, following))
    # Heads of a group lie side by side: one product serves them all.
    queries = graph.op("Transpose", graph.shaped(q, 0, 0, heads, width), perm=PERM)
    queries = graph.shaped(queries, 0, groups, -1, width)  # (B, G, H/G * T, P)
    queries = graph.op("Mul", queries, graph.constant(torch.full((1,), width**-0.5)))
    keys = graph.op("Transpose", joined[0], perm=[0, 1, 3, 2])
    scores = graph.op("MatMul", queries, keys)  # (B, G, H/G * T, L)
    size = graph.op("Shape", "window_bias")  # (B, 1, T, L)
    tail = graph.op("Slice", size, graph.constant([2]), graph.constant([4]))
    split = graph.op("Concat", graph.constant([0, groups, heads // groups]), tail, axis=0)
    seen = graph.op("Unsqueeze", "window_bias", graph.constant([1]))
    biased = graph.op("Add", graph.op("Reshape", scores, split), seen)
    shares = graph.op("Reshape", graph.op("Softmax", biased, axis=-1), graph.op("Shape", scores))
    read = graph.op("MatMul", shares, joined[1])
    read = graph.op("Reshape", read, graph.op("Concat", *_row_sizes(graph, heads, width), axis=0))
    for columns, (held, following) in zip(joined, after, strict=True):
        at = graph.op("Unsqueeze", "window_take", graph.constant([1, 3]))
        at = graph.op("Expand", at, graph.op("Shape", held))
        graph.ops("GatherElements", columns, at, outputs=[following], axis=2)
    return graph.shaped(graph.op("Transpose", read, perm=PERM), 0, 0, heads * width)


def _row_sizes(graph: Graph, heads: int, width: int) -> tuple[str, str, str]:
    """The parts of the shape (B, H, T, P) for what is new."""
    size = graph.op("Shape", "window_bias")  # (B, 1, T, L)
    rows = graph.op("Slice", size, graph.constant([0]), graph.constant([1]))
    count = graph.op("Slice", size, graph.constant([2]), graph.constant([3]))
    middle = graph.op("Concat", graph.constant([heads]), count, axis=0)
    return rows, middle, graph.constant([width])


def mixer(graph: Graph, x: str, core: Mamba2Mixer) -> str:
    """Convolution, recurrence, norm and gate: (B, T, D) to (B, T, H * P)."""
    config, shape = core.config, core.shape
    heads, groups, width = shape.n_heads, shape.n_kv_heads, shape.head_dim
    parts = [core.v_proj, core.k_proj, core.q_proj, core.dt_proj]
    if config.gate != "none":
        parts.append(core.gate_proj if config.gate == "full" else core.gate_down)
    sizes = [shape.conv_channels, *(part.out_features for part in parts[3:])]
    channels, dt, *gate = graph.split(graph.joined(x, parts), sizes)
    count, taps = core.conv.weight.shape
    held = graph.state("taps", ("B", count, taps - 1))
    mixed = _convolved(graph, channels, core.conv, config.act, held)
    v, both = graph.split(mixed, [groups * width, (groups + heads) * width])
    if config.rope == "keep":
        both = graph.rotated(both, groups + heads, shape)
    both = _features(graph, graph.shaped(both, 0, 0, groups + heads, width), config.feature_map)
    k, q = graph.split(both, [groups, heads], axis=2)
    v = graph.shaped(v, 0, 0, groups, width)
    k, v = (_shared(graph, part, groups, heads) for part in (k, v))
    read = _scanned(graph, q, k, v, dt, core)
    if core.D is not None:
        skip = graph.constant(core.D.detach()[:, None])
        read = graph.op("Add", read, graph.op("Mul", v, skip))
    return _tail(graph, graph.shaped(read, 0, 0, heads * width), gate, core)


def _after(graph: Graph, held: Held) -> str:
    """What the state after is called; operators that keep one must name it."""
    return held[1] or f"unasked{len(graph.nodes)}"


def _convolved(graph: Graph, channels: str, conv: DepthwiseTaps, act: str, held: Held) -> str:
    """The causal convolution with its activation: (B, T, C) to (B, T, C)."""
    weight = graph.op("Unsqueeze", graph.constant(conv.weight), graph.constant([1]))
    y = graph.ops(
        "CausalConvWithState",
        graph.op("Transpose", channels, perm=LAST),
        weight,
        graph.constant(conv.bias),
        held[0],
        outputs=[f"conv{len(graph.nodes)}", _after(graph, held)],
        domain=CONTRIB,
        activation="silu" if act == "silu" else "none",
    )[0]
    return graph.op("Transpose", y, perm=LAST)


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
    config, width = core.config, core.shape.head_dim
    if config.normalise:
        one = graph.op("Mul", graph.split(v, [1, width - 1])[0], graph.constant(torch.zeros(1)))
        one = graph.op("Add", one, graph.constant(torch.ones(1)))
        v = graph.op("Concat", v, one, axis=-1)
    sizes = (core.shape.n_heads, config.state_width(width), config.value_width(width))
    size, decay = _steps(graph, dt, core)
    if config.gain == "dt":
        v = graph.op("Mul", v, graph.shaped(size, 0, 0, sizes[0], 1))
    read = _recurrence(graph, q, k, v, decay, sizes, graph.state("ssm", ("B", *sizes)))
    if not config.normalise:
        return read
    read, total = graph.split(read, [width, 1])
    empty = graph.op("Cast", graph.op("Equal", total, graph.constant(torch.zeros(1))), to=1)
    return graph.op("Div", read, graph.op("Add", total, empty))


def _steps(graph: Graph, dt: str, core: Mamba2Mixer | NativeMamba2Layer) -> tuple[str, str]:
    """Step sizes and logarithms of decays, (B, T, H) each."""
    size = graph.op("Softplus", graph.op("Add", dt, graph.constant(core.dt_bias)))
    rates = graph.constant(-torch.exp(core.A_log.detach().float()))
    return size, graph.op("Mul", size, rates)


def _recurrence(
    graph: Graph, q: str, k: str, v: str, decay: str, sizes: tuple[int, int, int], held: Held
) -> str:
    """The gated recurrence for heads, N and rows of `sizes`: (B, T, H, rows)."""
    heads, states, rows = sizes
    read = graph.ops(
        "LinearAttention",
        graph.shaped(q, 0, 0, heads * states),
        graph.shaped(k, 0, 0, heads * states),
        graph.shaped(v, 0, 0, heads * rows),
        held[0],
        decay,
        outputs=[f"scan{len(graph.nodes)}", _after(graph, held)],
        domain=CONTRIB,
        update_rule="gated",
        scale=1.0,
        q_num_heads=heads,
        kv_num_heads=heads,
    )[0]
    return graph.shaped(read, 0, 0, heads, rows)


def _shared(graph: Graph, x: str, groups: int, heads: int) -> str:
    """Groups (B, T, G, ...) repeated for their heads (B, T, H, ...)."""
    if heads == groups:
        return x
    owner = graph.constant(np.repeat(np.arange(groups), heads // groups))
    return graph.op("Gather", x, owner, axis=2)


def native(graph: Graph, x: str, core: NativeMamba2Layer) -> str:
    """A published model's own Mamba-2 layer: (B, T, D) to (B, T, H * P)."""
    native = core.native
    taps = graph.state("taps", ("B", core.channels, native.conv_kernel - 1))
    ssm = graph.state("ssm", ("B", core.heads, native.d_state, native.head_dim))
    return native_scan(graph, x, core, taps, ssm).said


def native_scan(graph: Graph, x: str, core: NativeMamba2Layer, taps: Held, ssm: Held) -> Scan:
    """The same from and to states that are not the graph's own."""
    sizes = core.native
    heads, groups, width, states = core.heads, sizes.groups, sizes.head_dim, sizes.d_state
    gate, channels, dt = graph.split(
        graph.linear(x, core.in_proj.weight, None), [core.inner, core.channels, heads]
    )
    mixed = _convolved(graph, channels, core.conv, "silu", taps)
    v, k, q = graph.split(mixed, [core.inner, groups * states, groups * states])
    v = graph.shaped(v, 0, 0, heads, width)
    k, q = (
        _shared(graph, graph.shaped(part, 0, 0, groups, states), groups, heads) for part in (k, q)
    )
    size, decay = _steps(graph, dt, core)
    fed = graph.op("Mul", v, graph.shaped(size, 0, 0, heads, 1))
    read = _recurrence(graph, q, k, fed, decay, (heads, states, width), ssm)
    skip = graph.op("Mul", v, graph.constant(core.D.detach()[:, None]))
    read = graph.shaped(graph.op("Add", read, skip), 0, 0, core.inner)
    gated = graph.op("Mul", read, graph.op("QuickGelu", gate, domain=CONTRIB, alpha=1.0))
    said = graph.norm(gated, core.norm)
    return Scan(said=said, channels=channels, keys=k, fed=fed, decay=decay)


def _tail(graph: Graph, y: str, gate: Sequence[str], core: Mamba2Mixer) -> str:
    """Norm and gate in the configured order: (B, T, H * P)."""
    config = core.config

    def norm(x: str) -> str:
        groups, weight = core.norm.groups, core.norm.weight
        if groups == 1:
            return graph.norm(x, core.norm)
        unit = torch.ones(core.shape.q_width // groups)
        split = graph.rms_norm(graph.shaped(x, 0, 0, groups, -1), unit, core.norm.eps)
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
        return (attention if core.window is None else window), ""
    if isinstance(core, Mamba2Mixer) and type(core) is not Mamba2Mixer:
        return None, f"a {type(core).__name__} is not written as a graph"
    if isinstance(core, Mamba2Mixer | NativeMamba2Layer):
        if isinstance(core, Mamba2Mixer) and core.config.state != "head":
            return None, "states shared by heads are not written as a graph"
        if core.conv.weight.shape[1] < 2:
            return None, "a convolution of one tap has no operator"
        return (mixer if isinstance(core, Mamba2Mixer) else native), ""
    return None, f"a {type(core).__name__} is not written as a graph"


def obstacle(stack: HybridStack) -> str:
    """Why a stack cannot be a graph; "" where it can."""
    if stack.config.learned_positions:
        return "learned positions are not written as a graph"
    for index, block in enumerate(stack.blocks()):
        reason = emitter(block.core)[1]
        if reason:
            return f"layer {index}: {reason}"
    return ""


def build(
    stack: HybridStack,
    head: nn.Linear,
    quantisation: Quantisation,
    stored: StoredWeights | None = None,
) -> onnx.ModelProto:
    """The graph of a stack and its output head.

    Inputs: `x` (B, T, D) float32; `past` (B,) int32, tokens of each row after the pass less one;
    `total` (1,) int32, the largest of these and one; `cos`, `sin` (B * T, P / 2) of the new
    positions, `places` (B, T) int64, their rows in these tables; `window_bias` (B, 1, T, L) and
    `window_take` (B, R) of sliding windows (see `onnx_step.Window`); the states of the layers.
    Outputs: `logits` (B, T, V) float32 and the states after.

    Raises:
        ValueError: a layer has no operator (see `obstacle`).
    """
    reason = obstacle(stack)
    if reason:
        raise ValueError(reason)
    graph, config = Graph(quantisation, stored), stack.config
    half, integers = config.head_dim // 2, {"kind": TensorProto.INT64}
    graph.inputs += [
        graph.value("x", ("B", "T", config.d_model)),
        graph.value("past", ("B",), TensorProto.INT32),
        graph.value("total", (1,), TensorProto.INT32),
        graph.value("cos", ("rows", half)),
        graph.value("sin", ("rows", half)),
        graph.value("places", ("B", "T"), **integers),
        graph.value("window_bias", ("B", 1, "T", "L")),
        graph.value("window_take", ("B", "R"), **integers),
    ]
    x = "x"
    for index, block in enumerate(stack.blocks()):
        graph.layer = index
        x = _block(graph, x, block)
    logits = graph.linear(graph.norm(x, stack.norm), head.weight, head.bias, quantisation.head_bits)
    graph.ops("Identity", logits, outputs=["logits"])
    graph.outputs.insert(0, graph.value("logits", ("B", "T", head.out_features)))
    frequencies = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
    facts = {FREQUENCIES: json.dumps(frequencies.tolist())}
    if any("window_take" in node.input for node in graph.nodes):
        facts[WINDOW] = json.dumps([config.mixer.sinks, config.mixer.window])
    return graph.model("step", facts)


def _block(graph: Graph, x: str, block: Block) -> str:
    """One layer: mixer and feed-forward, each behind its norm."""
    core: Any = block.core
    emit, _ = emitter(core)
    assert emit is not None
    mixed = emit(graph, graph.norm(x, block.input_layernorm), core)
    x = graph.op("Add", x, graph.linear(mixed, core.o_proj.weight, core.o_proj.bias))
    mlp = block.mlp
    if mlp is None:
        return x
    u = graph.norm(x, block.post_attention_layernorm)
    if isinstance(mlp, SwiGLU):
        both = graph.joined(u, [mlp.gate_proj, mlp.up_proj])
        gate, up = graph.split(both, [mlp.gate_proj.out_features, mlp.up_proj.out_features])
        # QuickGelu with alpha 1 is SiLU, in one operator.
        hidden = graph.op("Mul", graph.op("QuickGelu", gate, domain=CONTRIB, alpha=1.0), up)
    else:
        hidden = graph.linear(u, mlp.up_proj.weight, mlp.up_proj.bias)
        hidden = graph.op("Gelu", hidden, approximate=mlp.approximate)
    down = graph.linear(hidden, mlp.down_proj.weight, mlp.down_proj.bias)
    return graph.op("Add", x, down)
