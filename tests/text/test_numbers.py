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
        (
            "1.000.000 or 192.168.100.200",
            "one million or one nine two dot one six eight dot one zero zero dot two zero zero .",
        ),
        (
            "He ran 5k, a 10k race, 18k gold, 10k men",
            "he ran five ^k , a ten ^k race , eighteen karat gold , ten thousand men .",
        ),
        ("UTC-5, 4K", "^u ^t ^c minus five , four ^k ."),
        ("an RTX 4090, 2M views", "an ^r ^t ^x forty ninety , two million views ."),
        ("3..2..1, €3,50", "three . two . one , three euros and fifty cents ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
