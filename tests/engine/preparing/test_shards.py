"""Shards keep what is put in, in bounded files, and say when they cannot be used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.families.cosyvoice2.tiny import write_random_checkpoint

from mamtra_cli.checkpoint import sha256
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing import shards
from mamtra_cli.engine.preparing.prepared import load_known
from mamtra_cli.engine.preparing.shard_writer import Row, ShardWriter, write_shard
from mamtra_cli.engine.preparing.shards import ShardHeader
from mamtra_cli.engine.preparing.statistics import find_problems, statistics
from mamtra_cli.errors import DataError, OutputError
from mamtra_cli.hub import BUILT_IN

HEADER = ShardHeader(
    model="m",
    family="cosyvoice2",
    speech_tokenizer="a" * 64,
    front_end="b" * 64,
    frame_rate=25.0,
    speech_vocab=49,
    text_vocab=20,
    speaker_dim=4,
)


def row(number: int, **changes: object) -> Row:
    made = Row(
        id=f"r{number}",
        text=f"text {number}",
        text_ids=[1, 2, number % 20],
        speech_tokens=list(range(number % 7 + 1)),
        speaker=np.arange(4, dtype=np.float32) + number if number % 2 else None,
        seconds=0.5 * number,
        source=f"corpus/{number}.wav",
        sha256=f"{number:064x}",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def write(folder: Path, count: int, *, rows: int = 4, header: ShardHeader = HEADER) -> list[Path]:
    with ShardWriter(folder, header, shard_rows=rows) as writer:
        for number in range(count):
            writer.add(row(number))
    return writer.written


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    paths = write(tmp_path, 10)
    assert [path.name for path in paths] == [f"rows-0000{i}.parquet" for i in range(3)]
    back = [item for path in paths for item in shards.read_rows(path)]
    assert len(back) == 10
    for number, item in enumerate(back):
        wanted = row(number)
        assert (item["id"], item["text"], item["source"]) == (
            wanted.id, wanted.text, wanted.source,
        )  # fmt: skip
        assert item["sha256"] == wanted.sha256
        assert item["seconds"] == wanted.seconds
        assert item["text_ids"].tolist() == list(wanted.text_ids)
        assert item["speech_tokens"].tolist() == list(wanted.speech_tokens)
        assert (item["speaker"] is None) == (wanted.speaker is None)
        if wanted.speaker is not None:
            assert item["speaker"].tolist() == wanted.speaker.tolist()


def test_header_comes_back_as_it_was_written(tmp_path: Path) -> None:
    header = replace(HEADER, synthetic=True, made={"seed": 3, "sampling": {"top_p": 0.8}})
    (path,) = write(tmp_path, 1, header=header)
    assert shards.read_header(path) == header


def test_a_second_writer_goes_on_behind_the_first(tmp_path: Path) -> None:
    write(tmp_path, 4)
    with ShardWriter(tmp_path, HEADER, shard_rows=4) as writer:
        writer.add(row(9))
    assert [path.name for path in writer.written] == ["rows-00001.parquet"]
    examples = shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)
    assert [example.id for example in examples] == ["r0", "r1", "r2", "r3", "r9"]


def test_rows_before_an_interruption_are_kept(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path, HEADER) as writer:
            writer.add(row(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rows-00000.parquet"]


def test_examples_are_those_of_the_rows(tmp_path: Path) -> None:
    write(tmp_path, 3)
    examples = shards.read_folder(
        tmp_path, speech_tokenizer="a" * 64, front_end="b" * 64, text_vocab=20, speech_vocab=49
    )
    assert examples[2].text_ids == (1, 2, 2)
    assert examples[2].tokens == (0, 1, 2)


@pytest.mark.parametrize("part", ["speech_tokenizer", "front_end"])
def test_ids_of_another_tokenizer_are_refused(tmp_path: Path, part: str) -> None:
    write(tmp_path, 3)
    with pytest.raises(DataError, match="rows-00000") as caught:
        shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49, **{part: "c" * 64})
    assert "cccccccccccc" in caught.value.message
    assert "mamtra prepare" in str(caught.value.hint)


def test_an_unknown_tokenizer_is_not_compared(tmp_path: Path) -> None:
    write(tmp_path, 3)
    assert len(shards.read_folder(tmp_path, speech_tokenizer="", text_vocab=20, speech_vocab=49))


@pytest.mark.parametrize(("text", "speech"), [(2, 49), (20, 2)])
def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path, text: int, speech: int) -> None:
    write(tmp_path, 8)
    with pytest.raises(DataError, match="outside"):
        shards.read_folder(tmp_path, text_vocab=text, speech_vocab=speech)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "inside"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 8)
    path = tmp_path / "rows-00001.parquet"
    data = bytearray(path.read_bytes())
    if damage == "inside":
        data[4:200] = bytes(196)
    path.write_bytes({"cut": data[:-20], "empty": b"", "noise": b"x" * 999, "inside": data}[damage])
    with pytest.raises(DataError, match=r"rows-00001\.parquet"):
        shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)


def test_a_foreign_parquet_file_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="was not written by"):
        shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)


def test_a_shard_of_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    write(tmp_path, 1, header=replace(HEADER, format_version=shards.FORMAT_VERSION + 1))
    with pytest.raises(DataError, match="format 3") as caught:
        shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)
    assert "pip install -U" in str(caught.value.hint)


def test_a_shard_of_format_1_is_read(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 3)
    old = json.loads(pq.read_schema(path).metadata[shards.KEY])
    old = {**old, "format_version": 1, "token_rate": old.pop("frame_rate")}
    del old["codebooks"]
    table = pq.read_table(path).replace_schema_metadata({shards.KEY: json.dumps(old)})
    pq.write_table(table, path)
    assert shards.read_header(path) == HEADER
    assert len(shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)) == 3


def test_frames_of_several_ids_come_back(tmp_path: Path) -> None:
    header = replace(HEADER, codebooks=3)
    with ShardWriter(tmp_path, header) as writer:
        writer.add(row(1, speech_tokens=[1, 2, 3, 4, 5, 6]))
    sizes = {"text_vocab": 20, "speech_vocab": 49}
    (example,) = shards.read_folder(tmp_path, codebooks=3, **sizes)
    assert (example.frames, example.tokens) == (2, (1, 2, 3, 4, 5, 6))
    assert statistics(tmp_path)["tokens"] == 2
    with pytest.raises(DataError, match="frames of 3 ids"):
        shards.read_folder(tmp_path, **sizes)


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prepared shards") as caught:
        shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)
    assert "mamtra prepare" in str(caught.value.hint)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputError, match="no space left"):
        write_shard(tmp_path / "rows-00000.parquet", [row(1)], HEADER)
    assert not list(tmp_path.iterdir())


def test_hashes_of_mini_are_of_its_tokenizer_and_front_end(tmp_path: Path) -> None:
    engine = Engine.load("mini", device="cpu")
    hashes = shards.model_hashes(engine)
    assert hashes.speech_tokenizer == sha256(BUILT_IN["mini"] / "speech_tokenizer.safetensors")
    assert len(hashes.front_end) == 64
    header = shards.header_of(engine)
    assert (header.speech_vocab, header.text_vocab, header.speaker_dim) == (1225, 64, 192)


def test_hashes_of_a_published_folder_are_of_its_onnx_and_bpe_files(tmp_path: Path) -> None:
    folder = write_random_checkpoint(tmp_path / "published")
    bare = shards.model_hashes(Engine.load(str(folder), device="cpu"))
    assert bare.speech_tokenizer == ""
    (folder / "speech_tokenizer_v2.onnx").write_bytes(b"v2")
    (folder / "speech_tokenizer_v3.onnx").write_bytes(b"v3")
    hashes = shards.model_hashes(Engine.load(str(folder), device="cpu"))
    assert hashes.speech_tokenizer == sha256(folder / "speech_tokenizer_v2.onnx")
    assert hashes.front_end == bare.front_end != ""


ROWS = 3
WRONG = {
    "strings": ("speech_tokens", pa.array([["a"]] * ROWS)),
    "missing ids": ("speech_tokens", pa.array([[1, None]] * ROWS, pa.list_(pa.int32()))),
    "a missing row": ("text_ids", pa.array([[1], None, [2]], pa.list_(pa.int32()))),
    "nested": ("text_ids", pa.array([[[1]]] * ROWS)),
    "no hash": ("sha256", pa.array(["zz"] * ROWS)),
    "missing hashes": ("sha256", pa.array([None] * ROWS, pa.string())),
    "words": ("seconds", pa.array(["long"] * ROWS)),
    "not finite": ("seconds", pa.array([float("nan")] * ROWS, pa.float32())),
    "no column": ("text_ids", None),
}


@pytest.mark.parametrize("what", WRONG)
def test_columns_that_are_not_those_of_a_shard_are_told_with_its_name(
    tmp_path: Path, what: str
) -> None:
    path = write(tmp_path, ROWS)[0]
    name, values = WRONG[what]
    whole = pq.read_table(path)
    table = whole.drop_columns([name])
    table = table if values is None else table.append_column(name, values)
    pq.write_table(table.replace_schema_metadata(whole.schema.metadata), path)
    told = rf"`{name}`.*{path.name}|{path.name}.*`{name}`"
    with pytest.raises(DataError, match=told):
        list(shards.read_rows(path))
    [problem] = find_problems(tmp_path)
    assert f"`{name}`" in problem
    if name in ("text_ids", "speech_tokens"):
        with pytest.raises(DataError, match=told):
            shards.read_folder(tmp_path, text_vocab=20, speech_vocab=49)
    else:
        header = shards.read_header(path)
        with pytest.raises(DataError, match=told):
            load_known(tmp_path, header)
