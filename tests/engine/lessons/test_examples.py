"""Examples from JSONL, batches under a budget, an order that can be taken up anywhere."""

import itertools
import json
from pathlib import Path

import pytest
import torch

from mamtra_cli.engine.lessons.examples import (
    BatchOrder,
    BatchSource,
    Position,
    hold_out,
    positions_of,
    read_examples,
    write_examples,
)
from mamtra_cli.errors import DataError, TextError
from mamtra_cli.families.lessons import Example


def encode(text: str) -> list[int]:
    return [ord(letter) % 32 for letter in text]


def examples(count: int, seed: int = 0) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(3, 40, (count, 2), generator=generator).tolist()
    return [
        Example(id=f"e{i}", text_ids=tuple(range(n)), tokens=tuple(range(m)))
        for i, (n, m) in enumerate(sizes)
    ]


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def test_examples_written_are_read_back(tmp_path: Path) -> None:
    made = examples(5)
    assert write_examples(tmp_path / "a.jsonl", made) == 5
    assert read_examples(tmp_path / "a.jsonl", encode, speech_vocab=50, text_vocab=50) == made


def test_text_is_encoded_by_the_front_end(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", {"text": "ab", "tokens": [1]}, "", {"text_ids": [3], "tokens": [2]}
    )
    first, second = read_examples(path, encode, speech_vocab=9, text_vocab=32)
    assert (first.id, first.text_ids) == ("1", (1, 2))
    assert (second.id, second.text_ids) == ("3", (3,))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "line 2", id="not-json"),
        pytest.param("[1]", "not a JSON object", id="not-object"),
        pytest.param('{"tokens": [1]}', "neither `text` nor `text_ids`", id="no-text"),
        pytest.param('{"text": "a"}', "`tokens`", id="no-tokens"),
        pytest.param('{"text": "a", "tokens": [1.5]}', "integers", id="float-token"),
        pytest.param('{"text": "a", "tokens": []}', "empty `tokens`", id="empty-tokens"),
        pytest.param('{"text": "a", "tokens": [9]}', "speech token 9", id="token-too-big"),
        pytest.param('{"text_ids": [-1], "tokens": [1]}', "text id -1", id="negative-id"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "tokens": [1]}, line)
    with pytest.raises(DataError, match="line 2") as caught:
        read_examples(path, encode, speech_vocab=9, text_vocab=32)
    assert message in caught.value.message


def test_empty_or_missing_file_is_an_error(tmp_path: Path) -> None:
    for path in (write(tmp_path / "empty.jsonl"), tmp_path / "missing.jsonl"):
        with pytest.raises(DataError):
            read_examples(path, encode, speech_vocab=9, text_vocab=9)


def test_frames_of_several_codebooks_are_written_and_read_back(tmp_path: Path) -> None:
    made = [Example(id="a", text_ids=(1,), tokens=(1, 2, 3, 4, 5, 6), codebooks=3)]
    write_examples(tmp_path / "a.jsonl", made)
    assert json.loads((tmp_path / "a.jsonl").read_text())["tokens"] == [[1, 2, 3], [4, 5, 6]]
    sizes = {"speech_vocab": 9, "text_vocab": 9}
    assert read_examples(tmp_path / "a.jsonl", encode, codebooks=3, **sizes) == made
    assert made[0].frames == 2
    with pytest.raises(DataError, match="not a list of integers"):
        read_examples(tmp_path / "a.jsonl", encode, **sizes)
    with pytest.raises(DataError, match="frames of 2 ids"):
        read_examples(tmp_path / "a.jsonl", encode, codebooks=2, **sizes)


def test_order_takes_each_example_once_under_the_budget() -> None:
    positions = [positions_of(example) for example in examples(200)]
    order = BatchOrder(positions, budget=300, seed=1)
    batches = order.epoch(0)
    assert sorted(itertools.chain(*batches)) == list(range(200))
    assert all(len(b) * max(positions[i] for i in b) <= 300 for b in batches)
    assert order.epoch(0) == batches
    assert order.epoch(1) != batches
    assert BatchOrder(positions, budget=300, seed=2).epoch(0) != batches


def test_order_keeps_padding_low() -> None:
    positions = [positions_of(example) for example in examples(500)]
    batches = BatchOrder(positions, budget=600, seed=0).epoch(0)
    padded = sum(len(b) * max(positions[i] for i in b) for b in batches)
    assert sum(positions) / padded > 0.9


def test_example_over_the_budget_is_refused() -> None:
    with pytest.raises(DataError, match="more than the batch budget"):
        BatchOrder([10, 400], budget=100, seed=0)


@pytest.mark.parametrize("taken", [1, 7, 30], ids=lambda taken: f"after-{taken}")
def test_source_goes_on_where_it_stopped(taken: int) -> None:
    def ids(start: Position | None, count: int) -> tuple[list[tuple[str, ...]], Position]:
        source = BatchSource(examples(60), budget=300, seed=4)
        read = list(itertools.islice(source.batches(start), count))
        return [batch.ids for batch, _ in read], read[-1][1]

    whole, _ = ids(None, taken + 20)
    first, position = ids(None, taken)
    assert first + ids(position, 20)[0] == whole


def test_hold_out_splits_without_overlap() -> None:
    made = examples(50)
    kept, held = hold_out(made, 8, seed=3)
    assert len(held) == 8
    assert {e.id for e in kept} | {e.id for e in held} == {e.id for e in made}
    assert hold_out(made, 8, seed=3) == (kept, held)
    assert len(hold_out(made[:5], 8, seed=3)[1]) == 1


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"id": "a\u2028b", "text_ids": [1], "tokens": [2]}\r\n{"text_ids": [1], "tokens": [3]}\n',
        encoding="utf-8",
    )
    found = read_examples(path, list, speech_vocab=9, text_vocab=9)  # type: ignore[arg-type]
    assert [(example.id, example.tokens) for example in found] == [("a\u2028b", (2,)), ("2", (3,))]


def test_text_that_cannot_be_spoken_is_named_by_its_line(tmp_path: Path) -> None:
    def encode(text: str) -> list[int]:
        raise TextError("cannot speak it")

    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text_ids": [1], "tokens": [2]}\n{"text": "x", "tokens": [2]}\n')
    with pytest.raises(DataError, match=r"line 2 of .* cannot speak it"):
        read_examples(path, encode, speech_vocab=9, text_vocab=9)
