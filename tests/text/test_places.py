"""States behind two letters."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Austin, TX", "austin , texas ."),
        ("Gary, IN", "gary , indiana ."),
        ("WAIT, OR ELSE", "wait , or else ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
