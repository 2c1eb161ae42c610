"""Markdown, HTML and lists."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("# Heading", "heading ."),
        ("> quoted line", "quoted line ."),
        ("| a | b |", "a , b ."),
        ("***very bold***", "very bold ."),
        ("![a cat](cat.png)", "a cat ."),
        ("<b>bold</b> text", "bold text ."),
        ("Tom &amp; Jerry", "tom and jerry ."),
        ("a < b", "a less than b ."),
        (">100 items", "greater than one hundred items ."),
        ("- [ ] buy milk", "buy milk ."),
        ("1. First", "one , first ."),
        ("**One. Two.", "one . two ."),
        ("5 * 3", "five times three ."),
        ("snake_case", "snake underscore case ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
