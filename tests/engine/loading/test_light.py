"""mini without torch: nothing of torch is imported, and it says what the modules say."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mamtra_cli.engine.loading.light import LightEngine, Wishes, light_engine, opened
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.hub import BUILT_IN

pytest.importorskip("onnxruntime")
MINI = BUILT_IN["mini"]
TEXT = "The birch canoe slid, quizzically, on the planks."  # `quizzically` is in no lexicon
TOLERANCE = 5e-3  # of full scale; the phase of the pulses is a sum over all samples before
PROGRAM = """
import sys
from mamtra_cli.cli.app import run
code = run(sys.argv[1:])
found = [name for name in ("torch", "onnx", "huggingface_hub") if name in sys.modules]
sys.exit(code or (f"imported: {found}" if found else 0))
"""


@pytest.fixture(scope="module")
def light() -> LightEngine:
    engine, reason = opened(MINI, "mini")
    assert engine is not None, reason
    return engine


@pytest.mark.parametrize("more", [[], ["--stream", "--speed", "1.2", "--voice", "m2"]], ids=str)
def test_synth_with_mini_imports_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    out = tmp_path / "a.wav"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, "synth", "Hello there, quizzical.", "-o", str(out), *more],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    wave, rate = soundfile.read(out)
    assert rate == 24_000
    assert len(wave) > 12_000


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_both_roads_say_the_same_tokens_and_samples(light: LightEngine, stream: bool) -> None:
    options = SpeechOptions(seed=5, stream=stream)
    modules = Engine.load("mini", device="cpu", threads=1)
    said = []
    for engine in (modules, light):
        chunks = list(speak(engine, TEXT, engine.voice("f1"), options))
        wave = np.concatenate([np.asarray(chunk.audio) for chunk in chunks])
        said.append((wave, [chunk.piece.tokens for chunk in chunks if chunk.piece]))
    assert said[0][1] == said[1][1]
    assert said[0][0].shape == said[1][0].shape
    assert abs(said[0][0] - said[1][0]).max() < TOLERANCE


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        pytest.param(Wishes(backend="torch"), "asked for", id="backend"),
        pytest.param(Wishes(quant="int8"), "--quant int8", id="quant"),
        pytest.param(Wishes(dtype="bfloat16"), "float32", id="dtype"),
        pytest.param(Wishes(device="cuda"), "cuda", id="device"),
        pytest.param(Wishes(beyond=("--clip",)), "--clip", id="clip"),
    ],
)
def test_what_needs_torch_is_told(wishes: Wishes, reason: str) -> None:
    engine, why = light_engine("mini", wishes)
    assert engine is None
    assert reason in why


def test_a_graph_of_other_weights_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(MINI, folder)
    assert opened(folder, "other")[0] is not None
    path = folder / "flow.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    engine, reason = opened(folder, "other")
    assert engine is None
    assert "other weights" in reason
    (folder / "lm.onnx").write_bytes(b"no graph")
    assert "`lm.onnx` does not open" in opened(folder, "other")[1]
    (folder / "lm.onnx").unlink()
    assert "no `lm.onnx`" in opened(folder, "other")[1]
