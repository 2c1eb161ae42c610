"""Two numbers that belong together: fractions, scores, shares, sizes, sums."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("a 50/50 chance", "a fifty fifty chance ."),
        ("20/20 vision", "twenty twenty vision ."),
        ("score 7/10", "score seven out of ten ."),
        ("10/10", "ten out of ten ."),
        ("9/10 doctors", "nine out of ten doctors ."),
        ("2/3 of it", "two thirds of it ."),
        ("24/7", "twenty four seven ."),
        ("3 x 4 = 12", "three times four equals twelve ."),
        ("12 / 4 = 3", "twelve divided by four equals three ."),
        ("1920x1080", "nineteen twenty by ten eighty ."),
        ("4 x 6 inches", "four by six inches ."),
        ("2x faster", "two times faster ."),
        ("Genesis 1:1-5", "genesis one one to five ."),
        ("2×10³", "two times ten to the three ."),
        ("5th-7th grade", "fifth to seventh grade ."),
        ("1,000-2,000 steps", "one thousand to two thousand steps ."),
        ("Genesis 1:1-2:3", "genesis one one to two three ."),
        ("2 x 500 mg 3x/day", "two times five hundred milligrams three times per day ."),
        ("a 6/8 time; 8/2 = 4", "a six eight time , eight divided by two equals four ."),
        ("5! = 120", "five factorial equals one hundred twenty ."),
        ("5-4 = 1", "five minus four equals one ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
