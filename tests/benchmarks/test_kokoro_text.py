"""The text side of a graph with Kokoro's names is cut off before the decoder, and runs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import conditioning as bench
import kokoro_text
from kokoro_text import CURVES, DURATIONS, FEATURES, KokoroText

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
LENGTHS = np.arange(kokoro_text.SYMBOLS, dtype=np.float32)


def graph_of_its_names(path: Path, features: str = FEATURES) -> Path:
    """A phone lasts as many units as its number; features and curves are as long; a decoder."""
    node, kind = onnx.helper.make_node, onnx.TensorProto
    numbers = {
        "encoder.lengths": LENGTHS,
        "decoder.weight": np.ones((512, 3), np.float32),
        "0": np.array(0.0, np.float32),
        "1": np.array(1.0, np.float32),
        "rows": np.array([1, 512, 1], np.int64),
        "row": np.array([1, 1], np.int64),
    }
    nodes = [
        node("Gather", ["encoder.lengths", "tokens"], [DURATIONS]),
        node("ReduceSum", [DURATIONS], ["sum"], keepdims=0),
        node("Range", ["0", "sum", "1"], ["line"]),
        node("Expand", ["line", "rows"], [features]),
        *(node("Expand", ["line", "row"], [curve]) for curve in CURVES),
        node("Transpose", [features], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["turned", "decoder.weight"], ["wave"]),
        node("ReduceSum", ["wave"], ["audio"], keepdims=0),
    ]
    inputs = [("tokens", kind.INT64, [1, "T"]), ("style", kind.FLOAT, [1, 256])]
    inputs += [("speed", kind.FLOAT, [1])]
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info(*one) for one in inputs],
        [onnx.helper.make_tensor_value_info("audio", kind.FLOAT, [])],
        [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    sets = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=sets, ir_version=9), path)
    return path


def test_what_is_before_the_decoder_speaks_as_long_as_it_is_told(tmp_path: Path) -> None:
    text = KokoroText(graph_of_its_names(tmp_path / "tiny.onnx"))
    assert (text.parameters, text.nbytes) == (len(LENGTHS), LENGTHS.nbytes)  # no decoder's
    said = text.forward([3, 1, 4, 1, 9], np.zeros(256), 0.06)()
    features, pitch, energy, durations = said
    units = 1 + 12 + 1  # its own would be 18
    assert features.shape == (1, 512, units)
    assert pitch.shape == energy.shape == (1, units)
    assert durations.tolist() == [[0, 3, 1, 4, 1, 9, 0]]


def test_more_phones_than_positions_are_refused(tmp_path: Path) -> None:
    text = KokoroText(graph_of_its_names(tmp_path / "tiny.onnx"))
    text.forward([1] * 510, np.zeros(256), 0.06)
    with pytest.raises(ValueError, match="510 phones at most, not 511"):
        text.forward([1] * 511, np.zeros(256), 0.06)


def test_a_graph_that_is_missing_or_another_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no graph of Kokoro at .*`python examples/mini/kokoro"):
        KokoroText(tmp_path / "missing.onnx")
    other = graph_of_its_names(tmp_path / "other.onnx", features="/encoder/other")
    with pytest.raises(SystemExit, match=r"has no /encoder/MatMul_1_output_0; `python"):
        KokoroText(other)


@pytest.mark.parametrize(("length", "there"), [(510, True), (511, False)])
def test_it_is_measured_beside_the_others_where_the_text_is_not_too_long(
    length: int,
    there: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph = graph_of_its_names(tmp_path / "tiny.onnx")
    made = subprocess.CompletedProcess([], 0, b"8")
    monkeypatch.setattr(bench, "Baseline", lambda bert: torch.nn.Identity())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: made)
    monkeypatch.setattr(bench, "seconds", lambda run: 1.0)
    bench.compared([], length, 1, graph)
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["system"] for row in rows] == ["S-sdpa", "S-noBERT", *["Kokoro int8"] * there]
    assert [row for row in rows if "speedup_kokoro" in row] == rows * there
    assert ("Kokoro takes 510 at most" in err) != there
