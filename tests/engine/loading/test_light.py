"""Models without torch: nothing of torch is imported, and it says what the modules say."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mamtra_cli.engine.loading.light import LightEngine, Wishes, light_engine, opened
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import pieces_of, speak, speak_pieces
from mamtra_cli.hub import BUILT_IN
from mamtra_cli.voices.voice import Manner

pytest.importorskip("onnxruntime")
MINI = BUILT_IN["mini"]
TEXT = "The birch canoe slid, quizzically, on the planks."  # `quizzically` is in no lexicon
TOLERANCE = 5e-3  # of full scale; the phase of the pulses is a sum over all samples before
UNWANTED = "torch onnx huggingface_hub"
PROGRAM = """
import sys
from mamtra_cli.cli.app import run
unwanted = sys.argv.pop(1).split()
code = run(sys.argv[1:])
found = [name for name in unwanted if name in sys.modules]
sys.exit(code or (f"imported: {found}" if found else 0))
"""


@pytest.fixture(scope="module")
def light() -> LightEngine:
    engine, reason = opened(MINI, "mini")
    assert engine is not None, reason
    return engine


@pytest.fixture(scope="module")
def modules() -> Engine:
    return Engine.load("mini", device="cpu", threads=1)


@pytest.mark.parametrize(
    ("more", "unwanted"),
    [
        # Numbers are converted by pydantic; texts and what is not given are not.
        pytest.param([], f"{UNWANTED} pydantic", id="plain"),
        pytest.param(["--stream", "--speed", "1.2", "--voice", "david"], UNWANTED, id="stream"),
        pytest.param(["-m", "mini-mvc"], UNWANTED, id="mini-mvc"),
        pytest.param(
            ["-m", "mini-mvc", "--stream", "--lookahead", "0.25", "--set", "pitch=2"],
            UNWANTED,
            id="mini-mvc-stream",
        ),
    ],
)
def test_synth_imports_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], unwanted: str
) -> None:
    out = tmp_path / "a.wav"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            unwanted,
            "synth",
            "Hello there, quizzical.",
            "-o",
            str(out),
            *more,
        ],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    wave, rate = soundfile.read(out)
    assert rate == 24_000
    assert len(wave) > 12_000


def test_a_file_of_lines_imports_no_torch(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "Hello there."}\n{"text": "Good evening."}\n')
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            UNWANTED,
            "synth",
            "--jsonl",
            str(lines),
            "-d",
            str(tmp_path / "o"),
        ],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "o").glob("*.wav"))) == 2


def test_pieces_together_are_said_as_one_by_one(light: LightEngine) -> None:
    voice = light.voice()
    pieces = pieces_of(light, "One came. Two went home. Three stayed.", voice, Manner())
    said = []
    for rows in (1, 3):
        options = SpeechOptions(seed=1)
        chunks = list(speak_pieces(light, pieces * 2, options, silence=0.1, rows=rows))
        wave = np.concatenate([np.asarray(chunk.audio) for chunk in chunks])
        said.append((wave, [chunk.piece for chunk in chunks if chunk.piece]))
    assert said[0][1] == said[1][1]
    np.testing.assert_allclose(said[0][0], said[1][0], atol=TOLERANCE)


def test_words_are_counted_as_by_the_modules(light: LightEngine, modules: Engine) -> None:
    ids, frames = light.speaker.encode("Hello there."), [(token,) for token in range(25)]
    found: list[Any] = [
        engine.speaker.counts(ids, frames, engine.voice(), Manner(mode="speaker"))
        for engine in (light, modules)
    ]
    assert found[0] == found[1]
    assert sum(found[0]) == 25


def test_what_an_utterance_holds_is_what_is_allocated(light: LightEngine, modules: Engine) -> None:
    tokens: Any = light.speaker.tokens
    for positions in (100, 700):
        held = tokens.onnx.alloc(3, positions).nbytes
        assert held == 3 * tokens.row_bytes(positions)
    assert light.held_bytes(250, 0.0) == modules.held_bytes(250, 0.0)
    # With torch the flow keeps what it heard of a prompt.
    ours, theirs = (engine.held_bytes(250, 10.0) for engine in (light, modules))
    assert ours[0] == theirs[0]
    assert ours[1] < theirs[1]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_both_roads_say_the_same_tokens_and_samples(
    light: LightEngine, modules: Engine, stream: bool
) -> None:
    options = SpeechOptions(seed=5, stream=stream)
    said = []
    for engine in (modules, light):
        chunks = list(speak(engine, TEXT, engine.voice("anna"), options))
        wave = np.concatenate([np.asarray(chunk.audio) for chunk in chunks])
        said.append((wave, [chunk.piece.tokens for chunk in chunks if chunk.piece]))
    assert said[0][1] == said[1][1]
    assert said[0][0].shape == said[1][0].shape
    assert abs(said[0][0] - said[1][0]).max() < TOLERANCE


def test_a_model_without_tokens_says_the_same_samples_and_words_on_both_roads() -> None:
    roads: list[Any] = [opened(BUILT_IN["mini-mvc"], "mini-mvc")[0], Engine.load("mini-mvc")]
    for told in ((), ("lookahead=0.25", "pitch=-1.5")):
        options = SpeechOptions(seed=5, stream=bool(told), speed=0.9, manner=Manner(told=told))
        waves = []
        for road in roads:
            chunks = list(speak(road, TEXT, road.voice("m1"), options))
            waves.append(np.concatenate([np.asarray(chunk.audio) for chunk in chunks]))
        assert waves[0].shape == waves[1].shape
        assert abs(waves[0] - waves[1]).max() < TOLERANCE
    assert roads[0].held_bytes(250, 10.0) == roads[1].held_bytes(250, 10.0)


def test_a_look_ahead_that_covers_the_text_streams_the_same_samples() -> None:
    light: Any = opened(BUILT_IN["mini-mvc"], "mini-mvc")[0]
    waves = []
    for stream in (False, True):
        options = SpeechOptions(stream=stream, manner=Manner(told=("lookahead=60",)))
        chunks = list(speak(light, "The birch canoe slid.", light.voice(), options))
        waves.append(np.concatenate([np.asarray(chunk.audio) for chunk in chunks]))
    assert waves[0].tobytes() == waves[1].tobytes()


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
