"""The list format, and the rules for words against cases worked out by hand."""

import string
from pathlib import Path

import pytest

from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.seed_tts import (
    STRIPPED,
    chinese_characters,
    english_words,
    read_list,
    simplified,
)
from mamtra_cli.errors import DataError


def test_stripped_characters_are_those_of_the_published_script() -> None:
    hanzi = pytest.importorskip("zhon.hanzi")
    assert set(hanzi.punctuation + string.punctuation) - {"'"} == STRIPPED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("Don't stop, now!", ["don't", "stop", "now"], id="apostrophe-stays"),
        pytest.param("Don’t", ["dont"], id="curly-apostrophe-goes"),
        pytest.param("well-known  fact", ["wellknown", "fact"], id="hyphen-joins"),
        pytest.param("In 1984.", ["in", "1984"], id="numbers-stay"),
        pytest.param("...", [], id="nothing"),
    ],
)
def test_english_words(text: str, words: list[str]) -> None:
    assert english_words(text) == words


def test_chinese_is_split_into_characters() -> None:
    assert chinese_characters("你好， 世界！ok") == ["你", "好", "世", "界", "o", "k"]


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        pytest.param("你好世界", "你好，世界。", 0.0, id="equal"),
        pytest.param("你好世界", "你好世", 0.25, id="left-out"),
        pytest.param("你好世界", "您好世界", 0.25, id="replaced"),
    ],
)
def test_chinese_errors_are_counted_by_character(said: str, heard: str, rate: float) -> None:
    pytest.importorskip("jiwer")
    found = count(said, heard, "seed-tts-zh")
    assert found.rate == pytest.approx(rate)
    assert found.character_errors / found.characters == pytest.approx(rate)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_traditional_characters_become_simplified() -> None:
    pytest.importorskip("zhconv")
    assert simplified("漢字") == "汉字"


def write(folder: Path, text: str) -> Path:
    (folder / "wavs").mkdir()
    (folder / "wavs" / "a.wav").write_bytes(b"")
    path = folder / "meta.lst"
    path.write_text(text, "utf-8")
    return path


def test_list_is_read_with_clips_beside_it(tmp_path: Path) -> None:
    path = write(
        tmp_path, "one|Said there.|wavs/a.wav|Say this.\n\ntwo|x|wavs/a.wav|And that.|wavs/b.wav\n"
    )
    first, second = read_list(path)
    assert first.id == "one"
    assert first.text == "Say this."
    assert first.prompt_text == "Said there."
    assert first.prompt_audio == tmp_path / "wavs" / "a.wav"
    assert second.text == "And that."
    assert read_list(path, 1) == [first]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a|b|c\n", "line 1 .* has 3 fields", id="fields"),
        pytest.param("\n", "no utterances", id="empty"),
        pytest.param("a|b|wavs/none.wav|c\n", "line 1 .* no clip", id="clip"),
        pytest.param("\na|b|wavs/a.wav|\n", "line 2 .* no text", id="text"),
        pytest.param("a|||b\na|||c\n", "two utterances `a`", id="twice"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_list(write(tmp_path, text))


def test_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_list(tmp_path / "none.lst")


def test_lines_of_a_list_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "meta.lst"
    path.write_text("a|||one\u2028two\r\nb|||three\r\n", encoding="utf-8")
    assert [one.text for one in read_list(path)] == ["one\u2028two", "three"]
