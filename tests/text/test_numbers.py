"""Numbers that stand alone."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("10k steps", "ten thousand steps ."),
        ("4K video", "four ^k video ."),
        ("18+", "eighteen plus ."),
        ("±5", "plus or minus five ."),
        ("192.168.0.1", "one nine two dot one six eight dot zero dot one ."),
        ("a 3rd-party app", "a third party app ."),
        ("the mid-20th century", "the mid twentieth century ."),
        ("In 1984 it rained", "in nineteen eighty four it rained ."),
        ("100's of them", "one hundreds of them ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
