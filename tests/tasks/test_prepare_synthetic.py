"""`prepare --synthetic`: texts that the teacher speaks, in any order and shard."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.preparing import made, rows
from tests.tiny_model import write_tiny_model

from mamtra_cli.engine.preparing import spoken_rows
from mamtra_cli.errors import MissingDependencyError
from mamtra_cli.recipes import PrepareRecipe, PrepareResult
from mamtra_cli.tasks.prepare import prepare


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", layers=2)


def spoken(output: Path, model: Path, **changes: Any) -> PrepareResult:
    recipe = PrepareRecipe(
        output=output, model=str(model), synthetic=True, device="cpu", plot=False, retries=20
    )
    return prepare(replace(recipe, **changes))


def test_a_missing_pyarrow_is_told_before_anything_is_spoken(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError):
        spoken(tmp_path / "out", tiny, tokens=500)
    assert list(tmp_path.iterdir()) == []


def test_synthetic_speech_of_given_texts_is_repeatable_in_any_order(
    tmp_path: Path, tiny: Path
) -> None:
    lines = ["A cat sat.", "The dog ran.", "Who was it?", "!!", "Rain fell."]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    result = spoken(tmp_path / "one", tiny, input=str(tmp_path / "texts.txt"), seed=5)
    assert result.causes.pop("unspeakable") == 1
    assert result.written + sum(result.causes.values()) == 4
    (tmp_path / "texts.txt").write_text("\n".join(reversed(lines)))
    for k in (1, 2):
        shard = f"{k}/2"
        spoken(tmp_path / "two", tiny, input=str(tmp_path / "texts.txt"), seed=5, shard=shard)
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == result.written > 0
    assert {id: row["speech_tokens"].tolist() for id, row in one.items()} == {
        id: row["speech_tokens"].tolist() for id, row in two.items()
    }
    assert all(row["speaker"] is None for row in one.values())
    again = spoken(tmp_path / "one", tiny, input=str(tmp_path / "texts.txt"), seed=5)
    assert (again.written, again.kept) == (0, result.written)


def test_synthetic_speech_of_built_in_sentences_stops_at_the_tokens(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoken_rows, "CHUNK", 12)
    result = spoken(tmp_path / "out", tiny, tokens=500)
    assert 500 <= result.statistics["tokens"] < 20_000
    assert result.statistics["synthetic"] == [True]
    assert result.written + result.bad == result.entries
    again = spoken(tmp_path / "out", tiny, tokens=500)
    assert (again.written, again.kept, again.bad) == (0, result.written, result.bad)


def test_another_seed_says_something_else_in_the_same_place(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "The cat sat on the chair."}\n')
    spoken(tmp_path / "out", tiny, input=str(tmp_path / "texts.jsonl"), seed=1)
    one = rows(tmp_path / "out")
    result = spoken(tmp_path / "out", tiny, input=str(tmp_path / "texts.jsonl"), seed=2)
    two = rows(tmp_path / "out")
    assert (result.written, result.replaced) == (1, 1)
    assert one["a"]["speech_tokens"].tolist() != two["a"]["speech_tokens"].tolist()


def test_half_a_character_is_listed_and_not_fatal(tiny: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    lines = [{"text": "\ud800 one"}, {"id": "\udc00", "text": "It is fine."}, {"text": "\ud800"}]
    texts.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for _ in range(2):
        result = made(texts, tmp_path / "out", synthetic=True, model=str(tiny))
        assert result.entries == 3
        assert result.causes["unspeakable"] == 2


def test_byte_order_mark_of_a_list_of_texts_is_not_said(tiny: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("It is fine.\r\n", encoding="utf-8-sig")
    result = made(texts, tmp_path / "out", synthetic=True, model=str(tiny))
    assert "unspeakable" not in result.causes
