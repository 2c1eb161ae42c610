"""A conditioning stack as ONNX graphs, each naming the weights in a folder. Needs `onnx`.

Two graphs: a window of phones, and a block of frames; what lies between them (windows, durations,
the frames of each phone) is plain arithmetic, in windows.py and light.py. Both take any length, and
states go in and out. The net that hears a reference is no part of them: a voice is made by modules.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import onnx
from onnx import TensorProto
from torch import nn

from mamtra_cli.backbone.decoding.onnx_graph import END, LAST, PERM, Graph
from mamtra_cli.backbone.decoding.onnx_layers import Held, Scan, native, native_scan
from mamtra_cli.backbone.decoding.stored_weights import StoredWeights
from mamtra_cli.checkpoint import SUFFIX
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.graphs import flow_estimator, vocoder_graph
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.errors import PlanError
from mamtra_cli.families.mvc.conditioner import PLACES, Conditioner
from mamtra_cli.families.mvc.layers import AdaptiveNorm, BidirectionalLayer, CausalLayer, Fusion
from mamtra_cli.families.mvc.light import FRAMES, PHONES
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer

NOTHING: Held = ("", "")
BACK = -(1 << 62)  # before the first token, for a slice that runs backwards


def made_graphs(
    parts: Loaded, folder: Path, quant: str = "none"
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Each graph of `light.LightMVC.graphs` by its name.

    Args:
        parts: of the model.
        folder: holds the weights that the parts were loaded from, in our format.
        quant: none; matrices of few bits are for language models.

    Raises:
        PlanError: few bits are asked for.
    """
    if quant != "none":
        raise PlanError(
            f"`{parts.name}` has no step whose matrices could be {quant}", "leave out `--quant`"
        )

    def stored(part: str) -> StoredWeights:
        return StoredWeights(folder / f"{part}{SUFFIX}", parts.part(part))

    model = cast(Conditioner, parts.part("conditioner"))
    yield from conditioner_graphs(model, stored("conditioner"))
    yield "flow_estimator", flow_estimator(cast(Flow, parts.part("flow")), stored("flow"))
    name = parts.config.vocoder_part
    vocoder = cast(HiFT | SourceFilter, parts.part(name))
    yield name, vocoder_graph(vocoder, stored(name))


def conditioner_graphs(
    model: Conditioner, stored: StoredWeights | None = None
) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The graphs of the stack alone, by their names."""
    yield PHONES, phones(model, stored)
    yield FRAMES, frames(model, stored)


def phones(model: Conditioner, stored: StoredWeights | None = None) -> onnx.ModelProto:
    """A window of phones.

    Inputs: `ids` (1, T) int64; `style` (1, E) float32; `commit` (1,) int64, phones that are final;
    states `taps.i` (1, C, W - 1), `ssm.i` (1, H, N, P) and `left.i` (1, reach, D), zeros to begin
    with. Outputs: `features` (1, T, D), `log_duration` (1, T), log2 of frames, and the states after
    the final phones.
    """
    graph, config = Graph(stored=stored), model.config
    graph.inputs += [
        graph.value("ids", (1, "T"), TensorProto.INT64),
        graph.value("style", (1, config.style_width)),
        graph.value("commit", (1,), TensorProto.INT64),
    ]
    x = graph.rows(model.embedding.weight, "ids")
    layers = (*model.text, *model.rhythm)
    for graph.layer, layer in enumerate(layers):
        assert isinstance(layer, BidirectionalLayer)
        if graph.layer == len(model.text):
            text = _normed(graph, x, model.text_norm)
            shape = graph.op(
                "Concat",
                graph.constant([1]),
                graph.size(x, 1),
                graph.constant([config.style_width]),
                axis=0,
            )
            x = graph.op("Concat", text, graph.op("Expand", "style", shape), axis=2)
            x = graph.linear(x, model.rhythm_in.weight, model.rhythm_in.bias)
        x = _bidirectional(graph, x, layer)
    h = graph.norm(x, model.rhythm_norm)
    graph.ops("Add", text, h, outputs=["features"])
    log = graph.linear(h, model.duration.weight, model.duration.bias)
    graph.ops("Squeeze", log, graph.constant([2]), outputs=["log_duration"])
    graph.outputs += [
        graph.value("features", (1, "T", config.width)),
        graph.value("log_duration", (1, "T")),
    ]
    return graph.model(PHONES)


def frames(model: Conditioner, stored: StoredWeights | None = None) -> onnx.ModelProto:
    """A block of frames.

    Inputs: `x` (1, F, D + 3) float32, features of each frame's phone and its place in it; `style`
    (1, E); `steer` (3,), what is added to pitch, voicing and energy; states `taps.i` and `ssm.i`,
    zeros to begin with. Outputs: `controls` (1, F, 3), normalised log2 of pitch, a logit of voicing
    and normalised energy; `mu` (1, F, mel), and the states after.
    """
    graph, config = Graph(stored=stored), model.config
    graph.inputs += [
        graph.value("x", (1, "F", config.width + PLACES)),
        graph.value("style", (1, config.style_width)),
        graph.value("steer", (3,)),
    ]
    x, place = graph.split("x", [config.width, PLACES])
    x = graph.op("Add", x, graph.linear(place, model.place.weight, model.place.bias))
    for graph.layer, layer in enumerate(model.prosody):
        assert isinstance(layer, CausalLayer)
        said = native(graph, _normed(graph, x, layer.norm), layer.ahead)
        x = graph.op("Add", x, graph.linear(said, layer.ahead.o_proj.weight, None))
    h = graph.norm(x, model.prosody_norm)
    told = graph.op("Add", graph.linear(h, model.controls.weight, model.controls.bias), "steer")
    graph.ops("Identity", told, outputs=["controls"])
    pitch, voiced, energy = graph.split(told, [1, 1, 1])
    on = graph.op("Cast", graph.op("Greater", voiced, _zero(graph)), to=TensorProto.FLOAT)
    known = graph.op("Concat", graph.op("Mul", pitch, on), on, energy, axis=2)
    known = graph.linear(known, model.controls_in.weight, model.controls_in.bias)
    mu = graph.linear(graph.op("Add", h, known), model.mu.weight, model.mu.bias)
    graph.ops("Identity", mu, outputs=["mu"])
    graph.outputs += [
        graph.value("controls", (1, "F", 3)),
        graph.value("mu", (1, "F", config.mel_bins)),
    ]
    return graph.model(FRAMES)


def _zero(graph: Graph) -> str:
    return graph.op("Cast", graph.constant([0]), to=TensorProto.FLOAT)


def _normed(graph: Graph, x: str, layer: nn.Module) -> str:
    """A norm that `style` modulates, where it does."""
    assert isinstance(layer, AdaptiveNorm)
    if layer.modulation is None:
        return graph.norm(x, layer.norm)
    both = graph.linear("style", layer.modulation.weight, layer.modulation.bias)
    width = layer.norm.normalized_shape[0]
    gamma, beta = graph.split(graph.shaped(both, -1), [width, width])
    one = graph.op("Cast", graph.constant([1]), to=TensorProto.FLOAT)
    scale = graph.op("Add", gamma, one)
    return graph.op("LayerNormalization", x, scale, beta, axis=-1, epsilon=layer.norm.eps)


def _bidirectional(graph: Graph, x: str, layer: BidirectionalLayer) -> str:
    """See `layers.BidirectionalLayer`; states are those after `commit` tokens."""
    u = _normed(graph, x, layer.norm)
    ahead = _onward(graph, u, layer.ahead)
    if layer.back is None:
        back = graph.op("Mul", ahead, _zero(graph))
    else:
        back = native_scan(graph, _turned(graph, u), layer.back, NOTHING, NOTHING).said
        back = _turned(graph, graph.linear(back, layer.back.o_proj.weight, None))
    y = graph.op("Add", x, _fused(graph, graph.op("Concat", ahead, back, axis=2), layer.fusion))
    local = layer.local
    if local is None:
        return y
    reach, width = local.kernel_size[0] // 2, local.in_channels
    left, left_after = graph.state("left", (1, reach, width))
    shape = graph.constant([1, reach, width])
    joined = graph.op("Concat", left, u, graph.op("Expand", _zero(graph), shape), axis=1)
    stop = graph.op("Add", "commit", graph.constant([reach]))
    graph.ops("Slice", joined, "commit", stop, graph.constant([1]), outputs=[left_after])
    near = graph.conv(graph.op("Transpose", joined, perm=LAST), local)
    return graph.op("Add", y, graph.op("Transpose", near, perm=LAST))


def _turned(graph: Graph, x: str) -> str:
    """(1, T, D) from its end."""
    one = graph.constant([1])
    last, before = graph.constant([-1]), graph.constant([BACK])
    return graph.op("Slice", x, last, before, one, last)


def _fused(graph: Graph, both: str, fusion: Fusion) -> str:
    if fusion.gate is not None:
        openness = graph.op("Sigmoid", graph.linear(both, fusion.gate.weight, fusion.gate.bias))
        both = graph.op("Mul", openness, both)
    return graph.linear(both, fusion.out.weight, None)


def _onward(graph: Graph, u: str, core: NativeMamba2Layer) -> str:
    """The recurrence from the start; what it hands on is the state after `commit` tokens."""
    native = core.native
    taps = graph.state("taps", (1, core.channels, native.conv_kernel - 1))
    ssm = graph.state("ssm", (1, core.heads, native.d_state, native.head_dim))
    scan = native_scan(graph, u, core, (taps[0], ""), (ssm[0], ""))
    _handed_on(graph, scan, taps, ssm)
    return graph.linear(scan.said, core.o_proj.weight, None)


def _handed_on(graph: Graph, scan: Scan, taps: Held, ssm: Held) -> None:
    """States after `commit` tokens of a scan; see `recurrences._after`."""
    zero, one = graph.constant([0]), graph.constant([1])

    def final(x: str) -> str:
        return graph.cut(x, zero, "commit", 1)

    new = graph.op("Transpose", final(scan.channels), perm=LAST)
    past = graph.op("Concat", taps[0], new, axis=2)
    end, last = graph.constant([END]), graph.constant([2])
    graph.ops("Slice", past, "commit", end, last, outputs=[taps[1]])
    logs = final(scan.decay)  # (1, T, H)
    axis = graph.op("Squeeze", one, zero)
    later = graph.op("CumSum", logs, axis, exclusive=1, reverse=1)
    weight = graph.op("Unsqueeze", graph.op("Exp", later), graph.constant([3]))
    fed = graph.op("Transpose", graph.op("Mul", final(scan.fed), weight), perm=PERM)
    keys = graph.op("Transpose", final(scan.keys), perm=[0, 2, 3, 1])
    added = graph.op("MatMul", keys, fed)  # (1, H, N, P)
    left = graph.op("Exp", graph.op("ReduceSum", logs, one, keepdims=0))
    left = graph.op("Unsqueeze", left, graph.constant([2, 3]))
    graph.ops("Add", added, graph.op("Mul", ssm[0], left), outputs=[ssm[1]])
