"""The tokenizer against the published class on a toy vocabulary, and what a user cannot do."""

import json
from pathlib import Path
from typing import Any

import pytest

from mamtra_cli.errors import CheckpointError, TextError
from mamtra_cli.families.cosyvoice2 import bpe


@pytest.fixture(scope="module")
def golden(goldens: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(
        (goldens / "cosyvoice2" / "text_tokenizer.json").read_text("utf-8")
    )
    return data


@pytest.fixture
def folder(golden: dict[str, Any], tmp_path: Path) -> Path:
    (tmp_path / "vocab.json").write_text(json.dumps(golden["vocab"]), "utf-8")
    merges = "\n".join(["#version: 0.2", *golden["merges"], ""])
    (tmp_path / "merges.txt").write_text(merges, "utf-8")
    return tmp_path


@pytest.fixture
def tokenizer(folder: Path) -> bpe.BytePairTokenizer:
    return bpe.BytePairTokenizer.read(folder)


def test_encode_matches_published_tokenizer(
    tokenizer: bpe.BytePairTokenizer, golden: dict[str, Any]
) -> None:
    assert golden["cases"]
    for case in golden["cases"]:
        assert tokenizer.encode(case["text"], trusted=True) == case["ids"], case["text"]


def test_markup_has_published_ids(tokenizer: bpe.BytePairTokenizer, golden: dict[str, Any]) -> None:
    assert tokenizer.markup == golden["added_tokens"]
    assert tokenizer.vocab_size == golden["base_vocab_size"] + len(golden["added_tokens"])
    assert golden["pre_tokenizer_regex"] == bpe.WORDS


@pytest.mark.parametrize("control", bpe.CONTROLS)
def test_user_text_never_yields_control_ids(tokenizer: bpe.BytePairTokenizer, control: str) -> None:
    for text in (control, f"a{control}b", f"<|{control}|>", f"{control[:3]}[mn]{control}"):
        ids = tokenizer.encode(text)
        assert not {tokenizer.markup[name] for name in bpe.CONTROLS} & set(ids)
    assert tokenizer.markup["[mn]"] in ids


def test_encode_of_nothing_is_empty(tokenizer: bpe.BytePairTokenizer) -> None:
    assert tokenizer.encode("") == []


def test_front_end_splits_encodes_and_instructs(tokenizer: bpe.BytePairTokenizer) -> None:
    front = bpe.BpeFrontEnd(tokenizer)
    assert front.split("The fox, 1.5", 80) == ["The fox, one point five."]
    assert front.with_rules("none").split("The fox, 1.5", 80) == ["The fox, 1.5"]
    assert front.with_rules("published").split("The fox, 1.5", 80) == ["The fox, one.five."]
    assert front.prompt_ids("The 2") == tokenizer.encode("The two")
    assert front.ids("<|im_end|>") == tokenizer.encode("<|im_end|>")
    ids = front.instruction_ids("sad <|im_end|>")
    assert ids[-1] == tokenizer.markup[bpe.END_OF_PROMPT]
    assert tokenizer.markup["<|im_end|>"] not in ids
    assert front.instruction_ids("sad <|im_end|>" + bpe.END_OF_PROMPT) == ids


@pytest.mark.parametrize(
    "text",
    ["the fox, " * 40, "the lazy fox jumps " * 40, "x" * 300, "今天天气很好" * 50, "好，" * 90],
    ids=["commas", "words", "letters", "ideographs", "chinese-commas"],
)
def test_long_pieces_are_cut_without_loss(tokenizer: bpe.BytePairTokenizer, text: str) -> None:
    front = bpe.BpeFrontEnd(tokenizer)
    pieces = front.split(text, 24)
    assert all(len(front.ids(piece)) <= 24 for piece in pieces)
    whole = front.split(text, 10**6)
    assert "".join(pieces) == "".join(whole)
    if "fox" in text:
        assert all(piece.strip().split()[0] in {"the", "lazy", "fox", "jumps"}
                   for piece in pieces if piece != ".")  # fmt: skip


@pytest.mark.parametrize("text", ["", "   ", "...", "?!"], ids=["empty", "blank", "dots", "marks"])
@pytest.mark.parametrize("compat", [True, False], ids=["compat", "fixed"])
def test_front_end_refuses_text_without_words(
    tokenizer: bpe.BytePairTokenizer, text: str, compat: bool
) -> None:
    with pytest.raises(TextError):
        bpe.BpeFrontEnd(tokenizer, compat=compat).split(text, 80)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_missing_tokenizer_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        bpe.BytePairTokenizer.read(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "{", "damaged"),
        ("vocab.json", "[]", "no table"),
        ("vocab.json", '{"a": 0}', "256 bytes"),
        ("merges.txt", "zz qq", "does not fit"),
    ],
    ids=["truncated", "list", "small", "unknown-merge"],
)
def test_damaged_tokenizer_file_is_refused(
    folder: Path, name: str, content: str, message: str
) -> None:
    (folder / name).write_text(content, "utf-8")
    with pytest.raises(CheckpointError, match=message):
        bpe.BytePairTokenizer.read(folder)


def test_vocabulary_with_a_gap_is_refused(golden: dict[str, Any]) -> None:
    vocab = dict(golden["vocab"])
    vocab["extra"] = len(vocab) + 1
    with pytest.raises(CheckpointError, match="not 0 to"):
        bpe.BytePairTokenizer(vocab, [])
