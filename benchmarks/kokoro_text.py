"""The text side of Kokoro-82M: the part of its graph that lies before the decoder.

Text encoder, PL-BERT, durations, pitch and energy, as they were trained and stored: weights in
eight bits, what goes in rounded to eight bits at each product (MatMulInteger, ConvInteger,
DynamicQuantizeLSTM), attention, norms and curves in float32. Kokoro is of StyleTTS 2's kind
(arXiv:2306.07691). Durations are told as they are without the graph, but what follows is given
others, so that speech is as long as whoever compares wants it. Knows the graph's names; not how it
is measured. Needs `onnx`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.backbone.decoding.onnx_session import open_session

INPUTS = ("tokens", "style", "speed")
DURATIONS = "/encoder/Clip_output_0"  # (1, T + 2) units of 25 ms
FEATURES = "/encoder/MatMul_1_output_0"  # (1, 512, U)
CURVES = ("/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0")  # (1, 2 U): pitch and energy
UNITS = "units"
SYMBOLS, STYLE = 178, 256
UNIT = 0.025  # seconds
LONGEST = 510  # phones; one more position goes before and one after
MADE_BY = "python examples/mini/kokoro.py work"


class KokoroText:
    """The text side on one thread.

    Args:
        graph: of `examples/mini/kokoro.py`, or the model as it is published in eight bits.

    Attributes:
        parameters: numbers that were learned.
        nbytes: of them as they are stored.

    Raises:
        SystemExit: there is no such file, or it is another graph.
    """

    def __init__(self, graph: Path) -> None:
        import onnx

        if not graph.is_file():
            raise SystemExit(f"no graph of Kokoro at {graph}: `{MADE_BY}` makes it")
        cut = text_side(onnx.load(graph), str(graph))
        weights = [onnx.numpy_helper.to_array(one) for one in cut.graph.initializer]
        learned = [one for one in weights if one.size > 1 and one.dtype.itemsize < 8]
        self.parameters = sum(one.size for one in learned)
        self.nbytes = sum(one.nbytes for one in learned)
        self.session = open_session(cut.SerializeToString(), fused=True)

    def forward(
        self, phones: Sequence[int], style: np.ndarray, seconds: float
    ) -> Callable[[], Any]:
        """What reads phones (T ids under 178) in a style (256,), each so long on average.

        It returns features (1, 512, U), pitch and energy (1, 2 U), and the durations (1, T + 2)
        that the graph itself would give.

        Raises:
            ValueError: there are more phones than the graph has positions for.
        """
        if len(phones) > LONGEST:
            raise ValueError(f"Kokoro takes {LONGEST} phones at most, not {len(phones)}")
        ends = np.round(np.arange(len(phones) + 1) * seconds / UNIT)
        feed = {
            "tokens": np.array([[0, *phones, 0]], np.int64),
            "style": np.asarray(style, np.float32)[None],
            "speed": np.ones(1, np.float32),
            UNITS: np.array([[1, *np.diff(ends), 1]], np.float32),
        }
        return lambda: self.session.run([FEATURES, *CURVES, DURATIONS], feed)


def text_side(model: Any, name: str) -> Any:
    """The part of a graph up to features and curves, with durations as an input beside.

    Raises:
        SystemExit: the graph lacks one of the values.
    """
    from onnx import TensorProto, helper
    from onnx.utils import Extractor

    made = {value for node in model.graph.node for value in node.output}
    made |= {value.name for value in model.graph.input}
    lacking = {*INPUTS, DURATIONS, FEATURES, *CURVES} - made
    if lacking:
        raise SystemExit(
            f"{name} is no graph of Kokoro: it has no {', '.join(sorted(lacking))}; "
            f"`{MADE_BY}` makes one"
        )
    wanted = [FEATURES, *CURVES, DURATIONS]
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted
    )
    cut = Extractor(model).extract_model(list(INPUTS), wanted)
    for node in cut.graph.node:
        node.input[:] = [UNITS if value == DURATIONS else value for value in node.input]
    cut.graph.input.append(helper.make_tensor_value_info(UNITS, TensorProto.FLOAT, [1, "N"]))
    return cut
