"""Cutting texts into pieces, and what the front end refuses."""

from collections.abc import Sequence

import pytest

from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.families.zonos.front_end import ZonosFrontEnd
from mamtra_cli.families.zonos.symbols import phone_ids


def letters(words: Sequence[str], language: str) -> list[str]:
    return [word.lower() for word in words]


FRONT_END = ZonosFrontEnd(pronounce=letters)


def test_sentences_stay_together_where_they_fit() -> None:
    text = "One two.  Three four!\nFive, six seven."
    assert FRONT_END.split(text, 200) == ["One two. Three four! Five, six seven."]
    assert FRONT_END.split(text, 24) == ["One two. Three four!", "Five, six seven."]
    assert FRONT_END.split(text, 14) == ["One two.", "Three four!", "Five,", "six seven."]
    assert FRONT_END.split("猫がいる。犬もいる。", 8) == ["猫がいる。", "犬もいる。"]


def test_every_piece_fits() -> None:
    text = "In the year 1999, 1,234 people came; then nobody. " * 5
    front = FRONT_END.with_rules("published")
    for limit in (30, 50, 90):
        pieces = front.split(text, limit)
        assert all(len(FRONT_END.ids(piece)) <= limit for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())


def test_ids_stand_between_begin_and_end() -> None:
    assert FRONT_END.ids("Hi!") == phone_ids("hi!")
    assert FRONT_END.prompt_ids("Hi!") == phone_ids("hi!")
    given = ZonosFrontEnd(pronounce=letters, given="həlˈoʊ")
    assert given.ids("anything") == phone_ids("həlˈoʊ")
    assert given.split("anything", 9) == ["anything"]


def test_english_is_written_as_words_first() -> None:
    text = "In 1999, $5 bought 3-4 kg."
    words = "In nineteen ninety nine, five dollars bought three to four kilograms."
    assert FRONT_END.split(text, 200) == [words]
    assert FRONT_END.with_rules("none").split(text, 200) == [text]
    assert FRONT_END.prompt_ids("$5") == FRONT_END.ids("five dollars")
    assert ZonosFrontEnd(language="de", pronounce=letters).split(text, 200) == [text]


def test_what_cannot_be_spoken_is_told() -> None:
    for text in ("", " ... "):
        with pytest.raises(TextError, match="nothing to speak"):
            FRONT_END.split(text, 9)
    with pytest.raises(TextError, match="too long for one word"):
        FRONT_END.split("a" * 30, 9)
    with pytest.raises(TextError, match="phones given are more than 3"):
        ZonosFrontEnd(pronounce=letters, given="abcdef").split("x", 5)
    with pytest.raises(UsageError, match="instructions"):
        FRONT_END.instruction_ids("sadly")
    with pytest.raises(UsageError, match="no language"):
        ZonosFrontEnd(language="xx")
