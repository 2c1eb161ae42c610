"""The text rules against the published functions, and the cases where they crashed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mamtra_cli.errors import TextError
from mamtra_cli.families.cosyvoice2 import text as rules


def count_words(text: str) -> int:
    return len(text.split())


FUNCTIONS: dict[str, Callable[[str], Any]] = {
    "split_en": lambda text: rules.split_paragraph(text, count_words, "en"),
    "split_en_comma": lambda text: rules.split_paragraph(text, count_words, "en", comma_split=True),
    "split_zh": lambda text: rules.split_paragraph(text, count_words, "zh"),
    "spell_out_number": rules.spell_out_number,
    "contains_chinese": rules.contains_chinese,
    "replace_blank": rules.replace_blank,
    "replace_corner_mark": rules.replace_corner_mark,
    "remove_bracket": rules.remove_bracket,
    "is_only_punctuation": rules.is_only_punctuation,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_text_function_matches_published_one(name: str, goldens: Path) -> None:
    cases = json.loads((goldens / "cosyvoice2" / "text_frontend.json").read_text("utf-8"))
    options = "comma_split=False" if name == "split_en" else ""
    assert options in cases["note"]
    for case in cases[name]:
        assert FUNCTIONS[name](case["i"]) == case["o"], case["i"]


@pytest.mark.parametrize("blank", [" ", "\n", "\t \u3000"], ids=["space", "newline", "wide"])
def test_text_of_blanks_is_refused(blank: str) -> None:
    with pytest.raises(TextError, match="blanks"):
        rules.text_normalize(blank)
    with pytest.raises(TextError, match="blanks"):
        rules.normalize_prompt(blank)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("好 ", "好"), (" 好", "好"), ("a ", "a"), (" a", "a"), (" ", ""), ("", "")],
    ids=["trailing", "leading", "trailing-ascii", "leading-ascii", "only", "empty"],
)
def test_replace_blank_drops_blanks_at_the_ends(text: str, kept: str) -> None:
    assert rules.replace_blank(text) == kept


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", [""]),
        ("...!?", []),
        ('."', []),
        ("  I have 3 cats\n", ["I have three cats."]),
        ("我 有3.5 - x²（好）、", ["我有3。5，x平方好。"]),
        ("<|x|> 12", ["<|x|> 12"]),
    ],
    ids=["empty", "punctuation", "quote-first", "english", "chinese", "marked"],
)
def test_text_normalize_gives_pieces(text: str, pieces: list[str]) -> None:
    assert rules.text_normalize(text, count_words) == pieces


def test_text_normalize_switched_off_returns_text() -> None:
    assert rules.text_normalize(" 12 ", enabled=False) == [" 12 "]
    assert rules.normalize_prompt(" 12 ", enabled=False) == " 12 "


def test_normalize_prompt_keeps_one_piece_without_added_terminator() -> None:
    assert rules.normalize_prompt(" one. 2, three ") == "one. two, three"


def test_normalizers_run_before_the_rules() -> None:
    normalizers = rules.Normalizers(zh=lambda text: text + "中", en=lambda text: text + " 7")
    assert rules.text_normalize("a", count_words, normalizers=normalizers) == ["a seven."]
    assert rules.text_normalize("好", normalizers=normalizers) == ["好中。"]


def test_longest_numbers_are_read_digit_by_digit() -> None:
    assert rules.spell_out_number("12" * 40) == " ".join(["one two"] * 40)
    assert rules.spell_out_number("x²") == "xtwo"


def test_marks_without_compat_do_not_switch_rules_off() -> None:
    assert rules.text_normalize("<|x|> 2", count_words, compat=False) == ["<|x|> two."]


def test_wetext_reads_amounts_where_installed() -> None:
    pytest.importorskip("wetext")
    normalizers = rules.wetext_normalizers()
    assert normalizers is not None
    assert normalizers.zh("3.5米") == "三点五米"
    for text in ("[1]", "+1", "#1", "50¢", "18+", "√2"):
        assert rules.text_normalize(text, count_words, normalizers=normalizers)
    assert "three" in normalizers.en("3 cats").lower()


def test_what_a_normalizer_raises_reaches_nobody() -> None:
    def fail(text: str) -> object:
        raise AssertionError(text)

    broken = rules.Normalizers(zh=rules.guarded(fail), en=rules.guarded(fail))
    assert rules.text_normalize("[1]", count_words, normalizers=broken) == ["[one]."]
    assert rules.text_normalize("好", normalizers=broken) == ["好。"]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It costs $5.50.", "It costs five dollars and fifty cents."),
        ("at 10:30", "at ten thirty."),
        ("100%", "one hundred percent."),
        ("in the 1990s", "in the nineteen nineties."),
        ("#1, 18+ and 50¢", "number one, eighteen plus and fifty cents."),
        ("√2 is not 2²+3³", "square root of two is not two squared plus three cubed."),
        ("The FBI’s “café” opens", "The FBI’s “café” opens."),
        ("At 5 p.m. CO2 rose", "At five PM CO two rose."),
        ("1,234.5 and ٣", "one thousand two hundred thirty four point five and three."),
        ("Nothing here changes, Dr Who.", "Nothing here changes, doctor Who."),
    ],
)
def test_own_rules_read_english(text: str, spoken: str) -> None:
    assert rules.text_normalize(text, count_words, compat=False) == [spoken]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("出口7.81万亿元，增长4.9%。", "出口七点八一万亿元，增长百分之四点九。"),
        ("圆周率是3.14", "圆周率是三点一四。"),
        ("版本2.0.1发布了", "版本二点零点一发布了。"),
        ("我有3个", "我有3个。"),
    ],
)
def test_chinese_decimals_stay_decimals(text: str, spoken: str) -> None:
    assert rules.text_normalize(text, compat=False) == [spoken]
