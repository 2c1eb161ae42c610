"""Small graphs with the inputs and outputs of the published ONNX files, and random weights.

Nothing in them has been trained; what they share with the published files is how they are called:
names, types and shapes. The same seed writes the same bytes.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 9
WIDTH = 32
DIGITS = 8


def save(graph: onnx.GraphProto, path: Path) -> None:
    """Check a graph and write it."""
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR, producer_name="stand-in")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def constants(**values: np.ndarray) -> list[onnx.TensorProto]:
    """Named arrays as initialisers."""
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def write_speech_tokenizer(path: Path, seed: int = 0) -> None:
    """`feats` (1, 128, T) and `feats_length` (1,) int32 to `indices` (1, N), four frames an id."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Cast", ["feats_length"], ["stop"], to=TensorProto.INT64),
        helper.make_node("Slice", ["feats", "zero", "stop", "time"], ["real"]),
        helper.make_node("Conv", ["real", "w1"], ["c1"], strides=[2], pads=[1, 1]),
        helper.make_node("Tanh", ["c1"], ["h1"]),
        helper.make_node("Conv", ["h1", "w2"], ["c2"], strides=[2], pads=[1, 1]),
        helper.make_node("Tanh", ["c2"], ["h2"]),
        helper.make_node("Transpose", ["h2"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["rows", "down"], ["low"]),
        helper.make_node("Tanh", ["low"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "scale"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Add", ["rounded", "one"], ["digits"]),
        helper.make_node("MatMul", ["digits", "places"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["indices"], to=TensorProto.INT32),
    ]
    arrays = constants(
        zero=np.array([0], np.int64),
        time=np.array([2], np.int64),
        w1=(rng.standard_normal((WIDTH, 128, 3)) / np.sqrt(384)).astype(np.float32),
        w2=(2 * rng.standard_normal((WIDTH, WIDTH, 3)) / np.sqrt(3 * WIDTH)).astype(np.float32),
        down=(4 * rng.standard_normal((WIDTH, DIGITS)) / np.sqrt(WIDTH)).astype(np.float32),
        scale=np.array(0.9990000128746033, np.float32),
        one=np.array(1.0, np.float32),
        places=(3.0 ** np.arange(DIGITS)).astype(np.float32),
    )
    feats = helper.make_tensor_value_info("feats", TensorProto.FLOAT, [1, 128, "T"])
    length = helper.make_tensor_value_info("feats_length", TensorProto.INT32, [1])
    indices = helper.make_tensor_value_info("indices", TensorProto.INT32, [1, "N"])
    save(helper.make_graph(nodes, "speech_tokenizer_v2", [feats, length], [indices], arrays), path)


def write_speaker_encoder(path: Path, seed: int = 0) -> None:
    """`input` (B, T, 80) to `output` (B, 192): means of squares and of magnitudes, projected."""
    rng = np.random.default_rng(seed + 1)
    nodes = [
        helper.make_node("Mul", ["input", "input"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["power"], axes=[1], keepdims=0),
        helper.make_node("Abs", ["input"], ["magnitudes"]),
        helper.make_node("ReduceMean", ["magnitudes"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Concat", ["power", "mean"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "weight"], ["output"]),
    ]
    weight = (rng.standard_normal((160, 192)) / np.sqrt(160)).astype(np.float32)
    fbank = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["B", "T", 80])
    vector = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["B", 192])
    graph = helper.make_graph(nodes, "campplus", [fbank], [vector], constants(weight=weight))
    save(graph, path)
