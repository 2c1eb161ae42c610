"""Text to phones: the stored examples, and what is said where espeak or a language is missing."""

import json
import shutil
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from mamtra_cli.errors import MissingDependencyError, TextError, UsageError
from mamtra_cli.families.zonos import normalise
from mamtra_cli.families.zonos.phones import (
    ESPEAK,
    MARKS,
    PHONEMIZER,
    espeak,
    phones,
    program,
    switched,
    unread,
)
from mamtra_cli.families.zonos.symbols import LANGUAGES, ROWS, TABLE_ROWS, phone_ids


@pytest.fixture(scope="module")
def examples(goldens: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((goldens / "zonos/text_frontend.json").read_text("utf-8"))
    return found


def test_symbols_are_the_published_rows(goldens: Path) -> None:
    published = json.loads((goldens / "zonos/symbols.json").read_text("utf-8"))
    assert published["symbol_to_id"] == ROWS
    assert published["table_rows"] == TABLE_ROWS
    assert tuple(published["language_codes_in_id_order"]) == LANGUAGES


def test_phones_become_the_published_ids(examples: dict[str, Any]) -> None:
    for item in examples["items"]:
        assert phone_ids(item["phonemes"]) == item["ids"]
        assert LANGUAGES.index(item["language"]) == item["language_id"]


def test_numbers_are_written_as_published(examples: dict[str, Any]) -> None:
    for item in examples["items"]:
        if item["language"] != "ja":
            assert normalise.english(item["text"]) == item["normalized"]


def test_odd_numbers_follow_the_published_rules() -> None:
    assert normalise.english("$3.5 and $0") == "three dollars, five cents and zero dollars"
    assert normalise.english("$1.2.3") == "one point two.three dollars"
    assert normalise.english("2000, 2005, 1900, 1903, 3000") == (
        "two thousand, two thousand five, nineteen hundred, nineteen oh three, three thousand"
    )


def test_kanji_numbers() -> None:
    written = {0: "〇", 10: "十", 110: "百十", 1100: "千百", 3456: "三千四百五十六"}
    written |= {10_000: "一万", 11_000_000: "一千百万", 10**8: "一億"}
    assert {value: normalise.kanji_number(value) for value in written} == written


def stored(item: dict[str, Any]) -> list[str]:
    """Phones of each word of a stored example, cut as its text is."""
    return [word for word in MARKS.split(item["phonemes"])[::2] if word]


def test_punctuation_stays_where_it_was(examples: dict[str, Any]) -> None:
    for item in examples["items"]:
        if item["language"] not in ("ja", "cmn", "fr-fr"):  # their phones hold marks of their own
            spoken = stored(item)
            assert (
                phones(item["text"], item["language"], lambda *_, s=spoken: s) == (item["phonemes"])
            )


@pytest.mark.skipif(not find_library("espeak-ng"), reason="the espeak-ng library is not here")
def test_the_library_pronounces_the_stored_examples(
    examples: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for item in examples["items"]:
        monkeypatch.setattr(normalise, "japanese", lambda _, item=item: item["normalized"])
        assert phones(item["text"], item["language"]) == item["phonemes"]
    with pytest.raises(TextError, match="cannot pronounce `none`: it has no such voice"):
        espeak(["x"], "none")
    with monkeypatch.context() as patched:
        patched.setattr("mamtra_cli.families.zonos.phones.run_espeak", None)
        assert phones("Hello, world!", "en-us") == "həlˈoʊ, wˈɜːld!"


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="the espeak-ng program is not here")
def test_the_program_serves_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ESPEAK, "espeak-ng")
    assert phones("Hello, world!", "en-us") == "həlˈoʊ, wˈɜːld!"


def test_missing_espeak_says_how_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(ESPEAK, "nowhere")
    with pytest.raises(MissingDependencyError, match="MAMTRA_ESPEAK names `nowhere`"):
        program()
    monkeypatch.delenv(ESPEAK)
    monkeypatch.delenv(PHONEMIZER, raising=False)
    monkeypatch.setattr("mamtra_cli.families.zonos.phones.find_library", lambda _: None)
    with pytest.raises(MissingDependencyError, match="espeak is not installed") as told:
        phones("unheard", "en-us")
    assert ESPEAK in str(told.value.hint)
    assert PHONEMIZER in str(told.value.hint)
    monkeypatch.setenv(PHONEMIZER, "/nowhere/libespeak-ng.so")
    with pytest.raises(MissingDependencyError, match=r"/libespeak-ng\.so` does not start") as told:
        phones("unheard", "en-us")
    assert PHONEMIZER in str(told.value.hint)


def test_unknown_language_names_what_is_near() -> None:
    with pytest.raises(UsageError, match="no language `en`") as told:
        phones("hello", "en")
    assert "`en-us`" in str(told.value.hint)
    with pytest.raises(TextError, match="nothing to speak"):
        phones(" ... ", "en-us", lambda words, _: list(words))


def test_symbols_without_a_row_and_foreign_words_are_told() -> None:
    assert unread("a\u0303b1") == "\u03031"
    assert switched("(en)nɪ(cmn) s") == ("(en)", "(cmn)")


def test_phones_that_the_model_was_not_taught_are_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoken = {"kana": "(en)kˈænə(ja)", "blanc": "bla\u0303", "noir": "nwˈaʁ", "pain": "pɛ\u0303"}
    monkeypatch.setattr(
        "mamtra_cli.families.zonos.phones.run_espeak",
        lambda words, language: [spoken[word] for word in words],
    )
    for words in (["kana", "noir"], ["kana", "blanc"], ["pain"]):
        espeak(words, "of this test")
    assert [line.split(maxsplit=3)[2] for line in caplog.messages] == [
        "`kana`",
        "`kana`",
        "`blanc`",
    ]
    assert "in another language, (en)" in caplog.messages[0]
    assert "no row" in caplog.messages[2]
