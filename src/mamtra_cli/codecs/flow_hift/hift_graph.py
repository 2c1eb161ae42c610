"""HiFT as one ONNX graph: a mel to samples, its source made within. Needs the package `onnx`.

The same formulas as hift.py, stage by stage. Both transforms are convolutions with their bases:
analysis by a strided one, synthesis by its transpose, divided by what the windows add up to. What a
stream carries (settled pitch, the phase before) goes in, so any program can speak in pieces.
"""

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.onnx_graph import END, LAST, Graph
from mamtra_cli.backbone.decoding.stored_weights import StoredWeights
from mamtra_cli.codecs.flow_hift.config import HiFTConfig
from mamtra_cli.codecs.flow_hift.hift import (
    EPSILON,
    MAX_MAGNITUDE,
    POST_SLOPE,
    F0Predictor,
    HiFT,
    ResBlock,
    Snake,
)


def hift_graph(vocoder: HiFT, stored: StoredWeights | None = None) -> onnx.ModelProto:
    """A mel to samples, whole or as one piece of a stream.

    Inputs: `mel` (1, F, T) float32; `settled` (1, m), the f0 in Hz of its first m frames where it
    is not to be predicted again; `past` (1, p), nothing at the start of an utterance, else the sum
    of the f0 of all frames before `mel`, modulo the sample rate; `noise` (1, S, harmonics + 1),
    normal draws or zeros, S = samples_per_frame * T. Outputs: `wave` (1, S) within the audio limit,
    and `f0` (1, T).
    """
    config, graph = vocoder.config, Graph(stored=stored)
    graph.inputs += [
        graph.value("mel", (1, config.mel_bins, "T")),
        graph.value("settled", (1, "m")),
        graph.value("past", (1, "p")),
        graph.value("noise", (1, "S", config.harmonics + 1)),
    ]
    found = _pitch(graph, vocoder.f0_predictor)
    rest = graph.cut(found, graph.size("settled", 1), graph.constant([END]), 1)
    graph.ops("Concat", "settled", rest, outputs=["f0"], axis=1)
    wave = _filtered(graph, vocoder, _source(graph, vocoder))
    _limited(graph, wave, config.audio_limit)
    graph.outputs += [graph.value("wave", (1, "S")), graph.value("f0", (1, "T"))]
    return graph.model("hift")


def _number(graph: Graph, value: float) -> str:
    return graph.constant(torch.tensor([value]))


def _pitch(graph: Graph, predictor: F0Predictor) -> str:
    """(1, T) f0 of the mel."""
    x = "mel"
    for layer in predictor.condnet:
        x = graph.conv(x, layer) if isinstance(layer, nn.Conv1d) else graph.op("Elu", x)
    linear = predictor.classifier
    x = graph.linear(graph.op("Transpose", x, perm=LAST), linear.weight, linear.bias)
    return graph.op("Abs", graph.op("Squeeze", x, graph.constant([2])))


def _source(graph: Graph, vocoder: HiFT) -> str:
    """(1, 1, S) harmonics where voiced, noise everywhere, from `f0`, `past` and `noise`."""
    config = vocoder.config
    size, harmonics = config.samples_per_frame, config.harmonics + 1
    fine = _turns(graph, config)
    sines = graph.op("Sin", graph.op("Mul", fine, _number(graph, 2.0 * math.pi)))
    sines = graph.op("Mul", sines, _number(graph, config.sine_amplitude))
    voiced = graph.op("Greater", "f0", _number(graph, config.voiced_threshold))
    voiced = graph.shaped(graph.op("Cast", voiced, to=TensorProto.FLOAT), 0, -1, 1, 1)
    quiet, loud = config.noise_sigma, config.sine_amplitude / 3.0
    spread = graph.op("Mul", voiced, _number(graph, quiet - loud))
    spread = graph.op("Add", spread, _number(graph, loud))
    noise = graph.op("Mul", graph.shaped("noise", 1, -1, size, harmonics), spread)
    waves = graph.op("Add", graph.op("Mul", sines, voiced), noise)
    linear = vocoder.m_source.l_linear
    return graph.shaped(graph.op("Tanh", graph.linear(waves, linear.weight, linear.bias)), 1, 1, -1)


def _turns(graph: Graph, config: HiFTConfig) -> str:
    """(1, T, samples_per_frame, harmonics + 1) phases from 0 to 1 turn; sums are float64."""
    size, one = config.samples_per_frame, graph.constant([1])
    order = graph.constant(torch.arange(1, config.harmonics + 2).float())
    every = graph.op("Unsqueeze", graph.op("Concat", "past", "f0", axis=1), graph.constant([2]))
    step = graph.op("Div", graph.op("Mul", every, order), _number(graph, config.sample_rate))
    step = graph.op("Cast", _fraction(graph, step), to=TensorProto.DOUBLE)
    cycles = graph.op("CumSum", step, graph.op("Squeeze", one, graph.constant([0])))
    cycles = graph.op("Mul", cycles, graph.constant(np.array([float(size)])))
    first = graph.cut(cycles, graph.constant([0]), one, 1)
    last = graph.cut(cycles, graph.constant([-1]), graph.constant([END]), 1)
    padded = graph.op("Concat", first, cycles, last, axis=1)
    before = graph.size("past", 1)  # its own frame is not spoken
    left = graph.cut(padded, before, graph.constant([-2]), 1)
    here = graph.cut(cycles, before, graph.constant([END]), 1)
    two = graph.constant([2])
    right = graph.cut(padded, graph.op("Add", before, two), graph.constant([END]), 1)
    place = (np.arange(size)[:, None] + 0.5) / size - 0.5  # of a sample from its frame's middle
    fine = graph.op("Unsqueeze", here, two)
    for gap, share in (
        (graph.op("Sub", here, left), np.minimum(place, 0.0)),
        (graph.op("Sub", right, here), np.maximum(place, 0.0)),
    ):
        moved = graph.op("Mul", graph.op("Unsqueeze", gap, two), graph.constant(share))
        fine = graph.op("Add", fine, moved)
    return graph.op("Cast", _fraction(graph, fine), to=TensorProto.FLOAT)


def _fraction(graph: Graph, x: str) -> str:
    """What is above the next lower whole number."""
    return graph.op("Sub", x, graph.op("Floor", x))


def _filtered(graph: Graph, vocoder: HiFT, source: str) -> str:
    """(1, S) samples of a source (1, 1, S) filtered by the mel."""
    config, kinds = vocoder.config, len(vocoder.config.resblock_kernels)
    spectrum = _analysed(graph, vocoder, source)
    x = graph.conv("mel", vocoder.conv_pre)
    for i, up in enumerate(vocoder.ups):
        assert isinstance(up, nn.ConvTranspose1d)
        x = _raised(graph, graph.op("LeakyRelu", x, alpha=config.leaky_slope), up)
        if i == len(vocoder.ups) - 1:
            x = graph.op("Pad", x, graph.constant([0, 0, 1, 0, 0, 0]), mode="reflect")
        down = vocoder.source_downs[i]
        assert isinstance(down, nn.Conv1d)
        h = _residual(graph, graph.conv(spectrum, down), vocoder.source_resblocks[i])
        x = graph.op("Add", x, h)
        parts = [_residual(graph, x, block) for block in vocoder.resblocks[i * kinds :][:kinds]]
        x = graph.op("Div", graph.op("Sum", *parts), _number(graph, kinds))
    x = graph.conv(graph.op("LeakyRelu", x, alpha=POST_SLOPE), vocoder.conv_post)
    return _synthesised(graph, vocoder, x)


def _raised(graph: Graph, x: str, up: nn.ConvTranspose1d) -> str:
    weights = [graph.constant(up.weight)]
    if up.bias is not None:
        weights.append(graph.constant(up.bias))
    pad = int(up.padding[0])
    return graph.op("ConvTranspose", x, *weights, strides=list(up.stride), pads=[pad, pad])


def _residual(graph: Graph, x: str, block: nn.Module) -> str:
    assert isinstance(block, ResBlock)
    for one, wide, two, plain in zip(
        block.activations1, block.convs1, block.activations2, block.convs2, strict=True
    ):
        assert isinstance(wide, nn.Conv1d)
        assert isinstance(plain, nn.Conv1d)
        h = graph.conv(_snake(graph, x, one), wide)
        x = graph.op("Add", x, graph.conv(_snake(graph, h, two), plain))
    return x


def _snake(graph: Graph, x: str, snake: nn.Module) -> str:
    assert isinstance(snake, Snake)
    alpha = graph.op("Unsqueeze", graph.constant(snake.alpha), graph.constant([1]))
    sine = graph.op("Sin", graph.op("Mul", x, alpha))
    divisor = graph.op("Add", alpha, _number(graph, EPSILON))
    return graph.op("Add", x, graph.op("Div", graph.op("Mul", sine, sine), divisor))


def _angles(size: int) -> Tensor:
    """(bins, size) float64 radians of each bin of a transform at each sample."""
    bins = torch.arange(size // 2 + 1, dtype=torch.float64)
    return (2.0 * math.pi / size) * bins[:, None] * torch.arange(size, dtype=torch.float64)


def _analysed(graph: Graph, vocoder: HiFT, source: str) -> str:
    """(1, 1, S) to real parts over imaginary parts (1, n_fft + 2, S / hop + 1)."""
    size, angles = vocoder.config.n_fft, _angles(vocoder.config.n_fft)
    basis = torch.cat((angles.cos(), -angles.sin())) * vocoder.window.double()
    pads = graph.constant([0, 0, size // 2, 0, 0, size // 2])
    padded = graph.op("Pad", source, pads, mode="reflect")
    weight = graph.constant(basis[:, None])
    return graph.op("Conv", padded, weight, strides=[vocoder.config.hop])


def _synthesised(graph: Graph, vocoder: HiFT, x: str) -> str:
    """Log magnitudes over phases (1, n_fft + 2, S / hop + 1) to (1, S)."""
    config, size = vocoder.config, vocoder.config.n_fft
    angles, window = _angles(size), vocoder.window.double()
    share = torch.full((size // 2 + 1, 1), 2.0 / size, dtype=torch.float64)
    share[[0, -1]] /= 2  # the other bins stand for their mirror images too
    basis = torch.cat((angles.cos() * share, -angles.sin() * share)) * window
    bins = size // 2 + 1
    magnitude, angle = graph.split(x, [bins, bins], axis=1)
    magnitude = graph.op("Min", magnitude, _number(graph, math.log(MAX_MAGNITUDE)))
    magnitude, angle = graph.op("Exp", magnitude), graph.op("Sin", angle)
    parts = [graph.op("Mul", magnitude, graph.op(kind, angle)) for kind in ("Cos", "Sin")]
    spectrum = graph.op("Concat", *parts, axis=1)
    frames = graph.op("Concat", graph.constant([1, 1]), graph.size(x, 2), axis=0)
    ones = graph.op("Expand", graph.constant(torch.ones(1, 1, 1)), frames)
    wave, weight = (
        graph.op("ConvTranspose", value, graph.constant(kernel[:, None]), strides=[config.hop])
        for value, kernel in ((spectrum, basis), (ones, window.square()[None]))
    )
    start, stop = graph.constant([size // 2]), graph.constant([-(size // 2)])
    wave, weight = (graph.cut(value, start, stop, 2) for value in (wave, weight))
    return graph.op("Squeeze", graph.op("Div", wave, weight), graph.constant([1]))


def _limited(graph: Graph, wave: str, limit: float) -> None:
    low = graph.op("Max", wave, _number(graph, -limit))
    graph.ops("Min", low, _number(graph, limit), outputs=["wave"])
