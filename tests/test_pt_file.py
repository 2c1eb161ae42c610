"""`.pt` files tensor by tensor, and large files written as their tensors come."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from mamtra_cli import pt_file, tensors
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.errors import CheckpointError
from mamtra_cli.pt_file import PtFile
from mamtra_cli.tensors import TensorFile, load_module, write_file

PEAK = """
import sys, torch
from pathlib import Path
from mamtra_cli import pt_file, tensors
from mamtra_cli.pt_file import PtFile
from mamtra_cli.tensors import TensorFile, write_file

def peak():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["VmHWM"].split()[0]) // 1000

pt_file.HOLD = tensors.HOLD = tensors.SPOOL = 8_000_000
source, target = Path(sys.argv[1]), Path(sys.argv[2])
small = target.with_name("small.pt")
torch.save({"w": torch.zeros(1000)}, small)
write_file(target, PtFile(small).stream(), {})  # whatever is imported on first use
file = PtFile(source)
before = peak()
for _, value in file.stream():
    pass
read = peak() - before
write_file(target, file.stream(), {})
written = peak() - before
for _, value in TensorFile(target).stream():
    pass
print(read, written, peak() - before)
"""


def table(count: int = 6, size: int = 500) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"w{i}": torch.randn(size, 3, generator=generator) for i in range(count)}


def test_tensors_come_back_in_memory_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pt_file, "HOLD", 7000)  # a new mapping after every other tensor
    made = {**table(), "count": torch.tensor(3), "epoch": 7}
    torch.save(made, tmp_path / "llm.pt")
    file = PtFile(tmp_path / "llm.pt", skip=("w5",))
    assert list(file) == ["w0", "w1", "w2", "w3", "w4", "count"]
    got = dict(file.stream())
    for name, value in got.items():
        assert torch.equal(value, made[name]), name  # type: ignore[arg-type]
        assert value.untyped_storage().nbytes() == value.nbytes
    assert file.get("w2", torch.bfloat16).dtype == torch.bfloat16
    assert file.get("count", torch.bfloat16).dtype == torch.int64
    assert [name for name, _ in file.stream(["w4", "w0"])] == ["w4", "w0"]


def test_file_of_the_old_format_is_read_too(tmp_path: Path) -> None:
    made = table()
    torch.save(made, tmp_path / "hift.pt", _use_new_zipfile_serialization=False)
    got = dict(PtFile(tmp_path / "hift.pt").stream())
    assert all(torch.equal(got[name], made[name]) for name in made)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reader_and_writer_hold_a_window_of_a_file(tmp_path: Path) -> None:
    torch.save({f"w{i}": torch.zeros(1_000_000) for i in range(20)}, tmp_path / "llm.pt")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "llm.pt"), str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    read, written, back = map(int, done.stdout.split())
    megabytes = 80
    assert read < 0.7 * megabytes
    assert written < 0.7 * megabytes  # a window read, and as much before the writer begins
    assert back < 0.7 * megabytes


def test_large_file_is_written_as_its_tensors_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "SPOOL", 5000)
    monkeypatch.setattr(tensors, "STREAMED", 4000)
    made: dict[str, torch.Tensor] = {
        **{name: value.bfloat16() for name, value in table(5, 700).items()},
        "odd": torch.randn(7).half(),
        "vector": torch.randn(5),
        "ids": torch.arange(3),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.0),
        "packed": torch.ones(4, 7, dtype=torch.int8),
    }
    with FolderWriter(tmp_path / "model") as writer:
        writer.write_tensors("lm.safetensors", made.items(), metadata={"key": "value"})
    path = tmp_path / "model" / "lm.safetensors"
    file = TensorFile(path)
    assert file.metadata == {"format": "pt", "key": "value"}
    assert set(file) == set(made)
    with safe_open(str(path), framework="pt") as theirs:
        for name, value in made.items():
            assert torch.equal(theirs.get_tensor(name), value), name
            assert torch.equal(file.get(name, None), value), name
    first = path.read_bytes()
    write_file(path, made.items(), {"format": "pt", "key": "value"})
    assert path.read_bytes() == first


def test_name_written_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "SPOOL", 10)
    twice = [("w", torch.ones(9)), ("v", torch.ones(9)), ("w", torch.ones(9))]
    with pytest.raises(ValueError, match="w is written twice"):
        write_file(tmp_path / "x", twice, {})


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_large_gathered_table_stays_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(tensors, "MAP_FROM", 4000)
    module = torch.nn.ModuleDict(
        {"text": torch.nn.Embedding(400, 3), "head": torch.nn.Linear(3, 400)}
    )
    made = {name: value + 1 for name, value in module.state_dict().items()}
    path = tmp_path / f"lm.{suffix}"
    torch.save(made, path) if suffix == "pt" else write_file(path, made.items(), {})
    file = PtFile(path) if suffix == "pt" else TensorFile(path)
    read: list[str] = []
    stream = file.stream

    def watched(names: Iterable[str], dtype: torch.dtype | None) -> Iterator[tuple[str, Any]]:
        read.extend(names)
        return stream(names, dtype)

    monkeypatch.setattr(file, "stream", watched)
    for dtype, mapped in ((torch.float32, True), (torch.bfloat16, False)):
        read.clear()
        load_module(module, file, dtype, gathered=("text.weight",))
        assert ("text.weight" not in read) == mapped
        for name, value in made.items():
            assert torch.equal(module.state_dict()[name], value.to(dtype)), name
    assert file.mapped("text.weight", torch.bfloat16) is None
    assert file.mapped("head.bias", None) is None


def test_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"step": torch.tensor(1)}, tmp_path / "flow.pt")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        PtFile(tmp_path / "flow.pt", skip=("step",))
