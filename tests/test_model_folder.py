"""Model folders: strict configuration, all-or-nothing writing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mamtra_cli import checkpoint
from mamtra_cli.checkpoint import (
    FORMAT_VERSION,
    FolderWriter,
    Shared,
    find_file,
    gather,
    read_model_folder,
    sha256,
)
from mamtra_cli.errors import (
    CheckpointError,
    FormatVersionError,
    ModelNotFoundError,
    OutputError,
)


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


def test_shared_files_are_those_of_the_folder_beside(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "base") as folder:
        folder.write_config("cosyvoice2", {})
        folder.write_tensors("flow.safetensors", [("w", torch.ones(1))])
    file = tmp_path / "base" / "flow.safetensors"
    with FolderWriter(tmp_path / "m") as folder:
        folder.write_config("mvc", {}, Shared(model="base", files={file.name: sha256(file)}))
        folder.write_tensors("conditioner.safetensors", [("w", torch.ones(1))])
    got = read_model_folder(tmp_path / "m")
    assert got.parts == ("conditioner", "flow")
    assert torch.equal(got.part("flow").get("w"), torch.ones(1))
    assert find_file(tmp_path / "m", file.name) == file
    whole = gather(got, tmp_path / "whole")
    assert (whole.shares, whole.parts) == (None, got.parts)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="not the file that `m` was made with"):
        got.file(file.name)
    file.unlink()
    with pytest.raises(CheckpointError, match="not beside it"):
        got.file(file.name)


def test_shared_files_cannot_lie_elsewhere(tmp_path: Path) -> None:
    for name in ("..", "a/b", "/etc"):
        folder = config(tmp_path / "m", shares={"model": name, "files": {}})
        with pytest.raises(CheckpointError, match="beside a model"):
            read_model_folder(folder)


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


def test_older_folder_is_replaced_with_the_files_its_version_wrote(tmp_path: Path) -> None:
    old = config(tmp_path / "m")
    (old / "mamtra.json").write_text(json.dumps({"sha256": {"voices/ada.safetensors": "00"}}))
    (old / "voices").mkdir()
    (old / "voices" / "ada.safetensors").write_bytes(b"voice")
    with FolderWriter(old, force=True) as folder:
        folder.write_text("new", "x")
    assert names(old) == [".mamtra", "new"]
    assert names(tmp_path) == ["m"]


def test_older_folder_with_a_voice_of_the_user_stays(tmp_path: Path) -> None:
    old = config(tmp_path / "m")
    (old / "voices").mkdir()
    (old / "voices" / "ann.safetensors").write_bytes(b"voice")
    with pytest.raises(OutputError, match=r"voices/ann\.safetensors`, which mamtra did not write"):
        FolderWriter(old, force=True)


def test_failure_names_the_output_and_not_the_hidden_folder(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "m") as folder:
        folder.write_text("a", "x")
        with pytest.raises(OutputError) as said:
            folder.write_text("a/b", "x")
    assert str(tmp_path / "m" / "a" / "b") in said.value.message


def test_existing_output_needs_force(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as said:
        FolderWriter(config(tmp_path / "m"))
    assert "is not empty" in said.value.message
    assert "--force" in str(said.value.hint)


def test_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with FolderWriter(tmp_path / "m") as folder:
        folder.write_text("a", "x")
    assert names(tmp_path / "m") == [".mamtra", "a"]


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


def test_written_files_may_be_read_by_others(tmp_path: Path) -> None:
    with FolderWriter(tmp_path / "out") as writer:
        tensors = writer.write_tensors("a.safetensors", [("x", torch.zeros(2))])
        text = writer.write_text("b.txt", "b")
        assert tensors.stat().st_mode == text.stat().st_mode
