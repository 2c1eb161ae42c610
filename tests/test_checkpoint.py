"""Model folders and tensor files: strict reading, packed storage, all-or-nothing writing."""

import json
import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mamtra_cli import checkpoint
from mamtra_cli.checkpoint import FORMAT_VERSION, FolderWriter, read_model_folder, sha256
from mamtra_cli.errors import (
    CheckpointError,
    FormatVersionError,
    ModelNotFoundError,
    OutputError,
    UsageError,
)
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


def config(folder: Path, **fields: object) -> Path:
    folder.mkdir(exist_ok=True)
    whole = {"format_version": 1, "family": "cosyvoice2", "config": {}}
    (folder / "config.json").write_text(json.dumps({**whole, **fields}))
    return folder


def test_model_folder_tells_family_config_and_parts(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "m") as folder:
        folder.write_config("cosyvoice2", {"text": "phones"})
        folder.write_tensors("lm.safetensors", [("w", torch.ones(1))])
        folder.write_text("mamtra.json", '{"task": "convert"}')
    got = read_model_folder(tmp_path / "m")
    assert (got.family, got.config, got.parts) == ("cosyvoice2", {"text": "phones"}, ("lm",))
    assert got.provenance == {"task": "convert"}
    assert torch.equal(got.part("lm").get("w"), torch.ones(1))


def test_newer_format_is_refused_with_the_upgrade(tmp_path: Path) -> None:
    with pytest.raises(FormatVersionError) as said:
        read_model_folder(config(tmp_path / "m", format_version=FORMAT_VERSION + 1))
    assert f"format {FORMAT_VERSION + 1}; this version reads up to {FORMAT_VERSION}" in str(
        said.value
    )
    assert said.value.hint == "upgrade with `pip install -U mamtra-cli`"


def test_older_format_passes_through_every_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second(data: dict[str, object]) -> dict[str, object]:
        return {**data, "config": {"seen": [2]}}

    def third(data: dict[str, object]) -> dict[str, object]:
        old = data["config"]
        assert isinstance(old, dict)
        return {**data, "config": {"seen": [*old["seen"], 3]}}

    monkeypatch.setattr(checkpoint, "UPGRADES", (second, third))
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 3)
    assert read_model_folder(config(tmp_path / "m")).config == {"seen": [2, 3]}
    assert read_model_folder(config(tmp_path / "n", format_version=3)).config == {}


@pytest.mark.parametrize(
    "fields",
    [{"format_version": "1"}, {"format_version": 0}, {"family": 3}, {"config": []}],
    ids=["text", "zero", "family", "config"],
)
def test_config_that_says_something_else_is_refused(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    with pytest.raises(CheckpointError):
        read_model_folder(config(tmp_path / "m", **fields))


def test_no_folder_and_no_config_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        read_model_folder(tmp_path / "none")
    (tmp_path / "m").mkdir()
    with pytest.raises(CheckpointError, match=r"`config\.json` is missing"):
        read_model_folder(tmp_path / "m")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError], ids=["ctrl-c", "error"])
def test_interrupted_writing_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def tensors() -> Iterator[tuple[str, Tensor]]:
        yield "a", torch.ones(3)
        raise error

    def write_some() -> None:
        with FolderWriter(tmp_path / "m") as folder:
            folder.write_text("README.md", "x")
            folder.write_tensors("lm.safetensors", tensors())

    with pytest.raises(error):
        write_some()
    assert names(tmp_path) == []


def test_interrupted_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    old = config(tmp_path / "m")
    before = sha256(old / "config.json")

    def write_some() -> None:
        with FolderWriter(old, force=True) as folder:
            folder.write_text("config.json", "{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_some()
    assert names(tmp_path) == ["m"]
    assert sha256(old / "config.json") == before


def test_failed_rename_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = config(tmp_path / "m")
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OutputError, match="no space left"), FolderWriter(old, force=True) as new:
        new.write_text("new", "x")
    assert names(tmp_path) == ["m"]
    assert names(old) == ["config.json"]


def test_force_replaces_the_whole_folder(tmp_path: Path) -> None:
    old = config(tmp_path / "m")
    (old / "stale").write_text("x")
    with FolderWriter(old, force=True) as folder:
        folder.write_text("new", "x")
    assert names(old) == ["new"]
    assert names(tmp_path) == ["m"]


def test_existing_output_needs_force(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as said:
        FolderWriter(config(tmp_path / "m"))
    assert "is not empty" in said.value.message
    assert "--force" in str(said.value.hint)


def test_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with FolderWriter(tmp_path / "m") as folder:
        folder.write_text("a", "x")
    assert names(tmp_path / "m") == ["a"]


def test_file_in_the_way_is_refused_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("x")
    with pytest.raises(OutputError, match="is not a folder"):
        FolderWriter(tmp_path / "m", force=True)


def test_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError) as said, FolderWriter(tmp_path / "file" / "m"):
        pass
    assert "cannot write" in said.value.message
    assert said.value.hint


@pytest.mark.parametrize("limit", [10, 0], ids=["copied", "linked"])
def test_copy_keeps_the_bytes_and_links_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(checkpoint, "LINK_FROM", limit)
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    with FolderWriter(tmp_path / "m") as folder:
        folder.copy(source, "voices/copy")
    made = tmp_path / "m" / "voices" / "copy"
    assert made.read_bytes() == b"12345"
    assert (made.stat().st_nlink == 2) == (limit == 0)


def test_unknown_storage_names_the_nearest() -> None:
    with pytest.raises(UsageError) as said:
        check_storage("flaot16")
    assert said.value.hint == "did you mean `float16`?"


def test_written_files_may_be_read_by_others(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "out") as writer:
        tensors = writer.write_tensors("a.safetensors", [("x", torch.zeros(2))])
        text = writer.write_text("b.txt", "b")
        assert tensors.stat().st_mode == text.stat().st_mode
