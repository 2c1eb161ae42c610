"""Flow and source-filter vocoder as ONNX graphs, for ONNX Runtime and for other programs.

Three graphs: tokens to mel means, the velocity of a solver's step, a mel to the filters of the
vocoder. What lies between them (solver, noise, pulses, transforms) is plain arithmetic, written
once more over arrays in light.py. Every graph takes any length. Needs the package `onnx`.
"""

import math

import onnx
import torch
from onnx import TensorProto
from torch import nn

from mamtra_cli.backbone.decoding.onnx_graph import END, LAST, PERM, Graph
from mamtra_cli.backbone.decoding.stored_weights import StoredWeights
from mamtra_cli.codecs.flow_hift.context_conv import Block, ContextConv
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.flow_encoder import LEAKY_SLOPE, EncoderBlock, InputLayer
from mamtra_cli.codecs.flow_hift.flow_estimator import (
    TIME_SCALE,
    ConvBlock,
    FlowEstimator,
    ResnetBlock,
    TimeMLP,
    TransformerBlock,
)
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.hift_graph import hift_graph
from mamtra_cli.codecs.flow_hift.source_filter import MEL_MEAN, MEL_SCALE, SourceFilter


def flow_encoder(flow: Flow, stored: StoredWeights | None = None) -> onnx.ModelProto:
    """Tokens to mel means.

    Inputs: `ids` (1, T + A) int64, the last A of them (the look-ahead) without output; `known`
    (1, T + A, 1) float32, 0 for ids that only stand for what is not there; `chunk` (1,) int64,
    tokens that see each other, at least T for full attention; `speaker` (1, speaker_dim) of unit
    length. Outputs: `mu` (1, mel, ratio * T), and `spks` (1, mel) for the estimator.
    """
    graph, encoder = Graph(stored=stored), flow.encoder
    config = encoder.config
    ahead = config.lookahead
    graph.inputs += [
        graph.value("ids", (1, "N"), TensorProto.INT64),
        graph.value("known", (1, "N", 1)),
        graph.value("chunk", (1,), TensorProto.INT64),
        graph.value("speaker", (1, flow.config.speaker_dim)),
    ]
    spks = _linear(graph, "speaker", flow.spk_embed_affine_layer)
    graph.ops("Identity", spks, outputs=["spks"])
    x = graph.rows(flow.input_embedding.weight, "ids")
    x = graph.op("Mul", _embedded(graph, x, encoder.embed), "known")
    look = encoder.pre_lookahead_layer
    h = graph.conv(graph.op("Transpose", x, perm=LAST), look.conv1)
    h = graph.conv(graph.op("LeakyRelu", h, alpha=LEAKY_SLOPE), look.conv2, left=2)
    x = graph.cut(x, graph.constant([0]), graph.constant([-ahead]), 1)
    x = graph.op("Add", graph.op("Transpose", h, perm=LAST), x)
    seen = _seen(graph, x, "chunk")
    places = _places(graph, x, config.width)
    for block in encoder.encoders:
        x = _encoder_block(graph, x, block, places, seen)
    once = graph.op("Unsqueeze", x, graph.constant([2]))
    x = graph.shaped(graph.op("Concat", *[once] * config.upsample, axis=2), 0, -1, config.width)
    up = encoder.up_layer.conv
    x = graph.conv(graph.op("Transpose", x, perm=LAST), up, left=2 * config.upsample)
    x = _embedded(graph, graph.op("Transpose", x, perm=LAST), encoder.up_embed)
    seen = _seen(graph, x, graph.op("Mul", "chunk", graph.constant([config.upsample])))
    places = _places(graph, x, config.width)
    for block in encoder.up_encoders:
        x = _encoder_block(graph, x, block, places, seen)
    x = _linear(graph, graph.norm(x, encoder.after_norm), flow.encoder_proj)
    graph.ops("Transpose", x, outputs=["mu"], perm=LAST)
    graph.outputs += [
        graph.value("mu", (1, flow.config.mel_bins, "T")),
        graph.value("spks", (1, flow.config.mel_bins)),
    ]
    return graph.model("flow_encoder")


def _linear(graph: Graph, x: str, linear: nn.Linear) -> str:
    return graph.linear(x, linear.weight, linear.bias)


def _embedded(graph: Graph, x: str, layer: InputLayer) -> str:
    linear, norm = layer.out
    assert isinstance(linear, nn.Linear)
    x = graph.norm(_linear(graph, x, linear), norm)
    return graph.op("Mul", x, graph.constant(torch.tensor([layer.scale])))


def _range(graph: Graph, stop: str) -> str:
    """(T,) int64 from 0 to a (1,) int64."""
    zero = graph.op("Squeeze", graph.constant([0]), graph.constant([0]))
    one = graph.op("Squeeze", graph.constant([1]), graph.constant([0]))
    return graph.op("Range", zero, graph.op("Squeeze", stop, graph.constant([0])), one)


def _seen(graph: Graph, x: str, chunk: str) -> str:
    """(T, T) 0 where a frame of (1, T, D) sees another, up to the end of its chunk, else -inf."""
    frames = _range(graph, graph.size(x, 1))
    one = graph.constant([1])
    limit = graph.op("Mul", graph.op("Add", graph.op("Div", frames, chunk), one), chunk)
    limit = graph.op("Unsqueeze", limit, one)
    zero, never = (graph.constant(torch.tensor([value])) for value in (0.0, -math.inf))
    return graph.op("Where", graph.op("Less", frames, limit), zero, never)


def _places(graph: Graph, x: str, width: int) -> str:
    """(2 T, D) encoded distances T-1 .. -T, see `flow_encoder.relative_positions`."""
    length = graph.size(x, 1)
    steps = _range(graph, graph.op("Mul", length, graph.constant([2])))
    first = graph.op("Sub", length, graph.constant([1]))
    distances = graph.op("Cast", graph.op("Sub", first, steps), to=TensorProto.FLOAT)
    rates = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width))
    angles = graph.op(
        "Mul", graph.op("Unsqueeze", distances, graph.constant([1])), graph.constant(rates)
    )
    last = graph.constant([2])
    both = [graph.op("Unsqueeze", graph.op(kind, angles), last) for kind in ("Sin", "Cos")]
    return graph.shaped(graph.op("Concat", *both, axis=2), -1, width)


def _encoder_block(graph: Graph, x: str, block: nn.Module, places: str, seen: str) -> str:
    assert isinstance(block, EncoderBlock)
    core = block.self_attn
    heads, width = core.heads, core.head_dim
    scale = graph.constant(torch.tensor([1.0 / math.sqrt(width)]))
    h = graph.norm(x, block.norm_mha)
    qkv = graph.joined(h, [core.linear_q, core.linear_k, core.linear_v])
    q, k, v = (
        graph.op("Transpose", graph.shaped(part, 0, 0, heads, width), perm=PERM)
        for part in graph.split(qkv, [heads * width] * 3)
    )
    p = graph.op(
        "Transpose",
        graph.shaped(graph.linear(places, core.linear_pos.weight, None), 0, heads, width),
        perm=[1, 2, 0],
    )  # (H, P, 2 T)
    one = graph.constant([1])
    u, w = (
        graph.op("Unsqueeze", graph.constant(bias), one)
        for bias in (core.pos_bias_u, core.pos_bias_v)
    )
    content = graph.op("Mul", graph.op("Add", q, u), scale)
    place = graph.op("Mul", graph.op("Add", q, w), scale)
    keys = graph.op("Transpose", k, perm=[0, 1, 3, 2])
    scores = graph.op("Add", graph.op("MatMul", content, keys), seen)
    scores = graph.op(
        "Add", scores, _aligned(graph, graph.op("MatMul", place, p), graph.size(x, 1))
    )
    read = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), v)
    read = graph.shaped(graph.op("Transpose", read, perm=PERM), 0, 0, heads * width)
    x = graph.op("Add", x, _linear(graph, read, core.linear_out))
    h = _linear(graph, graph.norm(x, block.norm_ff), block.feed_forward.w_1)
    h = _linear(graph, graph.op("Mul", h, graph.op("Sigmoid", h)), block.feed_forward.w_2)
    return graph.op("Add", x, h)


def _aligned(graph: Graph, raw: str, rows: str) -> str:
    """Row r of (1, H, T, 2 T) shifted left by T-1-r, cut to (1, H, T, T)."""
    one = graph.constant([1])
    columns = graph.op("Sub", graph.op("Mul", rows, graph.constant([2])), one)  # 2 T - 1
    start = graph.op("Sub", rows, one)
    stop = graph.op("Add", start, graph.op("Mul", rows, columns))
    flat = graph.cut(graph.shaped(raw, 0, 0, -1), start, stop, 2)
    shape = graph.op("Concat", graph.constant([0, 0]), rows, columns, axis=0)
    return graph.cut(graph.op("Reshape", flat, shape), graph.constant([0]), rows, 3)


def flow_estimator(flow: Flow, stored: StoredWeights | None = None) -> onnx.ModelProto:
    """The velocity of the mel at one point of the path.

    Inputs: `x`, `mu`, `cond` (B, mel, T) and `spks` (B, mel) float32, `t` (B,) float32 from 0 to 1,
    `chunk` (1,) int64 as in `flow_encoder`, in mel frames; where the velocity is the mean one, `r`
    (B,), the time that a step ends at. Output: `velocity` (B, mel, T).
    """
    estimator, bins = flow.decoder.estimator, flow.config.mel_bins
    graph = Graph(stored=stored)
    graph.inputs += [graph.value(name, ("B", bins, "T")) for name in ("x", "mu", "cond")]
    graph.inputs += [
        graph.value("spks", ("B", bins)),
        graph.value("t", ("B",)),
        graph.value("chunk", (1,), TensorProto.INT64),
    ]
    time = _embedded_time(graph, estimator, "t", estimator.time_mlp)
    if estimator.span_mlp is not None:
        graph.inputs.append(graph.value("r", ("B",)))
        span = graph.op("Sub", "r", "t")
        time = graph.op("Add", time, _embedded_time(graph, estimator, span, estimator.span_mlp))
    time = _mish(graph, time)  # every level begins with it
    spks = graph.op("Unsqueeze", "spks", graph.constant([2]))
    spks = graph.op("Expand", spks, graph.op("Shape", "x"))
    h = graph.op("Concat", "x", "mu", spks, "cond", axis=1)
    seen = _seen(graph, graph.op("Transpose", "x", perm=LAST), "chunk")

    def run(level: nn.Module, h: str) -> str:
        assert isinstance(level, nn.ModuleList)
        resnet, blocks = level[0], level[1]
        assert isinstance(resnet, ResnetBlock)
        assert isinstance(blocks, nn.ModuleList)
        h = graph.op("Transpose", _resnet(graph, h, resnet, time), perm=LAST)
        for block in blocks:
            assert isinstance(block, TransformerBlock)
            h = _transformer(graph, h, block, seen)
        return graph.op("Transpose", h, perm=LAST)

    down, up = estimator.down_blocks[0], estimator.up_blocks[0]
    skip = run(down, h)
    h = graph.conv(skip, _last(down), left=2)
    for level in estimator.mid_blocks:
        h = run(level, h)
    h = run(up, graph.op("Concat", h, skip, axis=1))
    h = graph.conv(h, _last(up), left=2)
    h = graph.conv(_conv_block(graph, h, estimator.final_block), estimator.final_proj)
    graph.ops("Identity", h, outputs=["velocity"])
    graph.outputs.append(graph.value("velocity", ("B", bins, "T")))
    return graph.model("flow_estimator")


def _last(level: nn.Module) -> nn.Conv1d:
    """The convolution at the end of the first and the last level."""
    assert isinstance(level, nn.ModuleList)
    conv = level[2]
    assert isinstance(conv, nn.Conv1d)
    return conv


def _embedded_time(graph: Graph, estimator: FlowEstimator, t: str, network: TimeMLP) -> str:
    """Times (B,) after a network of their sines: (B, hidden)."""
    half = estimator.time_width // 2
    rates = torch.exp(torch.arange(half).float() * -(math.log(10000.0) / (half - 1)))
    t = graph.op("Mul", t, graph.constant(torch.tensor([TIME_SCALE])))
    t = graph.op("Unsqueeze", t, graph.constant([1]))
    angles = graph.op("Mul", t, graph.constant(rates))
    both = graph.op("Concat", graph.op("Sin", angles), graph.op("Cos", angles), axis=1)
    h = _linear(graph, both, network.linear_1)
    return _linear(graph, graph.op("Mul", h, graph.op("Sigmoid", h)), network.linear_2)


def _mish(graph: Graph, x: str) -> str:
    return graph.op("Mul", x, graph.op("Tanh", graph.op("Softplus", x)))


def _conv_block(graph: Graph, x: str, block: ConvBlock) -> str:
    conv, norm = block.block["0"], block.block["2"]
    assert isinstance(conv, nn.Conv1d)
    h = graph.norm(graph.op("Transpose", graph.conv(x, conv, left=2), perm=LAST), norm)
    return _mish(graph, graph.op("Transpose", h, perm=LAST))


def _resnet(graph: Graph, x: str, block: ResnetBlock, time: str) -> str:
    linear = block.mlp[1]
    assert isinstance(linear, nn.Linear)
    moved = graph.op("Unsqueeze", _linear(graph, time, linear), graph.constant([2]))
    h = graph.op("Add", _conv_block(graph, x, block.block1), moved)
    return graph.op("Add", _conv_block(graph, h, block.block2), graph.conv(x, block.res_conv))


def _transformer(graph: Graph, x: str, block: TransformerBlock, seen: str) -> str:
    core = block.attn1
    inner = core.to_q.out_features
    width = inner // core.heads
    qkv = graph.joined(graph.norm(x, block.norm1), [core.to_q, core.to_k, core.to_v])
    q, k, v = (
        graph.op("Transpose", graph.shaped(part, 0, 0, core.heads, width), perm=PERM)
        for part in graph.split(qkv, [inner] * 3)
    )
    q = graph.op("Mul", q, graph.constant(torch.tensor([width**-0.5])))
    scores = graph.op("MatMul", q, graph.op("Transpose", k, perm=[0, 1, 3, 2]))
    shares = graph.op("Softmax", graph.op("Add", scores, seen), axis=-1)
    read = graph.op("Transpose", graph.op("MatMul", shares, v), perm=PERM)
    out = core.to_out[0]
    assert isinstance(out, nn.Linear)
    x = graph.op("Add", x, _linear(graph, graph.shaped(read, 0, 0, inner), out))
    proj, down = block.ff.net["0"].proj, block.ff.net["2"]
    assert isinstance(proj, nn.Linear)
    assert isinstance(down, nn.Linear)
    h = graph.op("Gelu", _linear(graph, graph.norm(x, block.norm3), proj))
    return graph.op("Add", x, _linear(graph, h, down))


def vocoder_graph(
    vocoder: HiFT | SourceFilter, stored: StoredWeights | None = None
) -> onnx.ModelProto:
    """The graph of the vocoder that a model has; see `light.light_vocoder`."""
    if isinstance(vocoder, HiFT):
        return hift_graph(vocoder, stored)
    return source_filter(vocoder, stored)


def source_filter(vocoder: SourceFilter, stored: StoredWeights | None = None) -> onnx.ModelProto:
    """A mel in pieces to the pitch and the filters of the source-filter vocoder.

    Inputs: `mel` (1, mel, T) float32; `final` (1,) int64, 1 where nothing follows; the contexts
    `context.i` of each layer, nothing to begin with (zeros of its past), and `tracked` (1, 2, n),
    what the filters have not used yet of the pitch. Outputs: `track` (1, 2, n) voicing from 0 to 1
    and log2 of pitch over 150 Hz, `filters` (1, 3 * bins, n), and contexts and `tracked` after.
    """
    config = vocoder.config
    graph = Graph(stored=stored)
    graph.inputs += [
        graph.value("mel", (1, config.mel_bins, "T")),
        graph.value("final", (1,), TensorProto.INT64),
        graph.value("tracked", (1, 2, "waiting")),
    ]
    mean, scale = (graph.constant(torch.tensor([value])) for value in (-MEL_MEAN, 1 / MEL_SCALE))
    mel = graph.op("Mul", graph.op("Add", "mel", mean), scale)
    x = mel
    for conv in vocoder.pitch.convs:
        assert isinstance(conv, ContextConv)
        x = graph.op("Gelu", _context(graph, x, conv)[1])
    found = graph.op("Transpose", x, perm=LAST)
    found = graph.op("Transpose", _linear(graph, found, vocoder.pitch.out), perm=LAST)
    voicing, pitch = graph.split(found, [1, 1], axis=1)
    track = graph.op("Concat", graph.op("Sigmoid", voicing), pitch, axis=1)
    graph.ops("Identity", track, outputs=["track"])
    x = _context(graph, mel, vocoder.pre)[1]
    for block in vocoder.blocks:
        x = _frame_block(graph, x, block)
    every, used = graph.op("Concat", "tracked", track, axis=2), graph.size(x, 2)
    graph.ops(
        "Slice", every, used, graph.constant([END]), graph.constant([2]), outputs=["tracked.next"]
    )
    pitch_first = graph.op("Gather", every, graph.constant([1, 0]), axis=1)
    x = graph.op("Concat", x, graph.cut(pitch_first, graph.constant([0]), used, 2), axis=1)
    x = _linear(graph, graph.op("Transpose", x, perm=LAST), vocoder.refine)
    x = graph.op("Transpose", graph.shaped(x, 0, 0, config.width, config.rate), perm=PERM)
    x = graph.shaped(x, 0, config.width, -1)
    for block in vocoder.fine_blocks:
        x = _frame_block(graph, x, block)
    filters = _linear(graph, graph.op("Transpose", x, perm=LAST), vocoder.out)
    graph.ops("Transpose", filters, outputs=["filters"], perm=LAST)
    graph.outputs += [
        graph.value("track", (1, 2, "n")),
        graph.value("filters", (1, 3 * config.bins, "m")),
        graph.value("tracked.next", (1, 2, "left")),
    ]
    return graph.model("source_filter")


def _context(graph: Graph, x: str, layer: ContextConv) -> tuple[str, str]:
    """The frames that a layer can answer now, and its answers; its context goes in and out."""
    name, conv = f"context.{graph.layer}", layer.conv
    graph.layer += 1
    graph.inputs.append(graph.value(name, (1, conv.in_channels, f"past.{graph.layer}")))
    graph.outputs.append(
        graph.value(f"{name}.next", (1, conv.in_channels, layer.past + layer.ahead))
    )
    pads = graph.op("Mul", graph.constant([0, 0, 0, 0, 0, layer.ahead]), "final")
    x = graph.op("Concat", name, graph.op("Pad", x, pads), axis=2)
    last = graph.constant([-layer.past - layer.ahead])
    end, axis = graph.constant([END]), graph.constant([2])
    graph.ops("Slice", x, last, end, axis, outputs=[f"{name}.next"])
    stop = graph.constant([-layer.ahead]) if layer.ahead else end
    here = graph.cut(x, graph.constant([layer.past]), stop, 2)
    return here, graph.conv(x, conv)


def _frame_block(graph: Graph, x: str, block: nn.Module) -> str:
    assert isinstance(block, Block)
    here, mixed = _context(graph, x, block.mix)
    h = graph.norm(graph.op("Transpose", mixed, perm=LAST), block.norm)
    h = _linear(graph, graph.op("Gelu", _linear(graph, h, block.up)), block.down)
    return graph.op("Add", here, graph.op("Transpose", h, perm=LAST))
