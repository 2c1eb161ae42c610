"""Tensor files: strict reading, packed storage, damage and code refused."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mamtra_cli.checkpoint import FolderWriter, ModelFolder, Shared, sha256
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.pt_file import load_pt_weights
from mamtra_cli.tensors import (
    TensorFile,
    check_shapes,
    check_storage,
    encode,
    load_module,
    pack,
    unpack,
)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 24), nn.BatchNorm1d(24), nn.Conv1d(24, 8, 5))


def write(path: Path, tensors: dict[str, Tensor], storage: str = "keep") -> TensorFile:
    target = path.parent / f"with-{path.stem}"
    with FolderWriter(target) as folder:
        folder.write_tensors(path.name, tensors.items(), storage=storage)
    return TensorFile(target / path.name)


@pytest.mark.parametrize(
    ("storage", "most"),
    [
        ("keep", 0.0),
        ("float32", 0.0),
        ("bfloat16", 1 / 256),
        ("float16", 1 / 2048),
        ("int8", 1 / 254),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_module_comes_back_within_the_error_of_its_storage(
    tmp_path: Path, module: nn.Module, storage: str, most: float
) -> None:
    file = write(tmp_path / "lm.safetensors", module.state_dict(), storage)
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(32, 24), nn.BatchNorm1d(24), nn.Conv1d(24, 8, 5))
    load_module(empty, file)
    for name, value in module.state_dict().items():
        got = empty.state_dict()[name]
        assert got.dtype == value.dtype
        assert not got.is_meta
        if value.dim() < 2:
            assert torch.equal(got, value), name
        else:
            # Relative to the largest value of each row, which sets the step of int8.
            scale = value.abs().flatten(1).amax(1).view(-1, *[1] * (value.dim() - 1))
            assert bool(((got - value).abs() <= most * scale * 1.01).all()), name


def test_keep_stores_the_same_bits_in_any_type(tmp_path: Path) -> None:
    given = {
        "half": torch.randn(3, 2).half(),
        "brain": torch.randn(3).bfloat16(),
        "ids": torch.arange(4),
        "flag": torch.tensor([True, False]),
    }
    file = write(tmp_path / "a.safetensors", given)
    for name, value in given.items():
        got = file.get(name, None)
        assert got.dtype == value.dtype
        assert torch.equal(got, value)


def test_floating_tensors_widen_to_float32_by_default(tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors", {"w": torch.randn(4, 4).half(), "i": torch.arange(3)})
    assert file.get("w").dtype == torch.float32
    assert file.get("w", torch.bfloat16).dtype == torch.bfloat16
    assert file.get("i").dtype == torch.int64


@pytest.mark.parametrize("magnitude", [1e-9, 1e-6, 1.0, 1e3], ids=str)
def test_pack_errs_by_at_most_half_a_step(magnitude: float) -> None:
    value = torch.randn(16, 40, generator=torch.Generator().manual_seed(0)) * magnitude
    value[3] = 0
    values, scale = pack(value)
    assert values.abs().max() <= 127
    step = torch.maximum(scale.float(), torch.tensor(2.0**-24))
    assert bool(((unpack(values, scale) - value).abs() <= step[:, None] * 0.5001).all())
    assert torch.equal(unpack(values, scale)[3], value[3])


def test_packed_tensors_show_as_one_and_pass_through_unchanged(tmp_path: Path) -> None:
    value = torch.randn(8, 32)
    file = write(tmp_path / "a.safetensors", {"w": value, "b": torch.randn(8)}, "int8")
    assert file.shapes() == {"w": (8, 32), "b": (8,)}
    again = write(tmp_path / "b.safetensors", dict(file.stored()))
    assert torch.equal(again.get("w"), file.get("w"))


def test_values_beyond_float16_stay_float32() -> None:
    ((_, stored),) = encode("w", torch.full((2, 20), 1e6), "float16")
    assert stored.dtype == torch.float32


def test_views_and_shared_storage_are_written_out(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    file = write(tmp_path / "a.safetensors", {"t": base.T, "row": base[1], "all": base})
    assert torch.equal(file.get("t"), base.T)
    assert torch.equal(file.get("row"), base[1])


def test_load_names_missing_unexpected_and_wrong_shapes_together(
    tmp_path: Path, module: nn.Module
) -> None:
    state = module.state_dict()
    bad = {f"x{i}": torch.ones(1) for i in range(7)} | {"0.weight": torch.ones(2, 2)}
    file = write(tmp_path / "lm.safetensors", bad)
    with pytest.raises(CheckpointError) as said:
        load_module(module, file)
    message = said.value.message
    assert f"{len(state) - 1} missing: 0.bias, " in message
    assert "7 unexpected: x0, x1, x2, x3, x4, ..." in message
    assert "1 of another shape: 0.weight (2, 2) not (24, 32)" in message
    assert "x5" not in message


def test_check_shapes_is_silent_where_they_agree() -> None:
    check_shapes({"a": (1, 2)}, {"a": (1, 2)}, "x")


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    if how == "offsets":
        header["w"]["data_offsets"] = [4, 4 + header["w"]["data_offsets"][1]]
    elif how == "type":
        header["w"]["dtype"] = "F8"
    elif how == "shape":
        header["w"]["shape"] = [1]
    raw = json.dumps(header).encode()
    new = {
        "empty": b"",
        "short": data[:5],
        "header": data[: length // 2],
        "tail": data[:-3],
        "longer": data + b"12",
        "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "json": data[:8] + b"x" * length + data[8 + length :],
    }.get(how, struct.pack("<Q", len(raw)) + raw + data[8 + length :])
    path.write_bytes(new)


@pytest.mark.parametrize(
    "how",
    ["empty", "short", "header", "tail", "longer", "text", "json", "offsets", "type", "shape"],
)
def test_damaged_file_is_refused_on_opening(tmp_path: Path, how: str) -> None:
    file = write(tmp_path / "a.safetensors", {"w": torch.ones(4, 4)})
    damage(file.path, how)
    with pytest.raises(CheckpointError) as said:
        TensorFile(file.path)
    assert "`a.safetensors` is damaged" in said.value.message
    assert said.value.hint


def test_missing_file_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"`lm\.safetensors` is missing from"):
        TensorFile(tmp_path / "lm.safetensors")


class Evil:
    """Unpickles to a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def test_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(2), "evil": Evil()}, tmp_path / "llm.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="could run code"):
        load_pt_weights(tmp_path / "llm.pt")
    with pytest.raises(CheckpointError):
        load_pt_weights(tmp_path / "old.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("cut", [0, 7, 200, -50], ids=str)
def test_truncated_pt_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "llm.pt"
    torch.save({"weight": torch.ones(500)}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError):
        load_pt_weights(path)


def test_pt_weights_come_back_and_other_values_do_not(tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(6.0), "epoch": 3}, tmp_path / "llm.pt")
    got = load_pt_weights(tmp_path / "llm.pt")
    assert list(got) == ["weight"]
    assert torch.equal(got["weight"], torch.arange(6.0))


def test_unknown_storage_names_the_nearest() -> None:
    with pytest.raises(UsageError) as said:
        check_storage("flaot16")
    assert said.value.hint == "did you mean `float16`?"


def test_what_goes_along_with_a_model_is_no_code_nothing_hidden_and_what_it_shares(
    tmp_path: Path,
) -> None:
    model, other = tmp_path / "model", tmp_path / "other"
    for path in (
        "lm.safetensors",
        "voices/ann.safetensors",
        "run.py",
        ".git/head",
        "__pycache__/a",
    ):
        (model / path).parent.mkdir(parents=True, exist_ok=True)
        (model / path).write_bytes(b"x")
    other.mkdir()
    (other / "flow.safetensors").write_bytes(b"shared")
    shares = Shared(model="other", files={"flow.safetensors": sha256(other / "flow.safetensors")})
    folder = ModelFolder(path=model, family="toy", config={}, shares=shares)
    assert folder.files() == {
        "flow.safetensors": other / "flow.safetensors",
        "lm.safetensors": model / "lm.safetensors",
        "voices/ann.safetensors": model / "voices/ann.safetensors",
    }
    (other / "flow.safetensors").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="is not the file that `model` was made with"):
        folder.files()
