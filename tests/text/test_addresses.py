"""Addresses and names with dots."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Open report.pdf now.", "open report dot ^p ^d ^f now ."),
        ("edit config.yaml", "edit config dot yaml ."),
        ("the .NET runtime", "the dot net runtime ."),
        ("Node.js", "node dot ^j ^s ."),
        ("bob@mail.org", "bob at mail dot org ."),
        ("song.mp3", "song dot ^m ^p three ."),
        ("It was late.Then", "it was late . then ."),
        (
            "C:\\Users\\me\\file.txt",
            "^c colon backslash users backslash me backslash file dot ^t ^x ^t .",
        ),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
