"""Times of day and lengths of time."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("at 7:05", "at seven oh five ."),
        ("12:00", "twelve o'clock ."),
        ("5-6pm", "five to six ^p ^m ."),
        ("6 p.m.-9 p.m.", "six ^p ^m to nine ^p ^m ."),
        ("8:30–9:15 am", "eight thirty to nine fifteen ^a ^m ."),
        ("1h 30m", "one hour thirty minutes ."),
        ("5m 30s", "five minutes thirty seconds ."),
        ("in 2:05:30", "in two oh five and thirty seconds ."),
        ("at 3.15pm, 6.30 p.m.", "at three fifteen ^p ^m , six thirty ^p ^m ."),
        (
            "2m30s, 1010 AM, 24/7/365",
            "two minutes thirty seconds , ten ten ^a ^m , twenty four seven three sixty five .",
        ),
        ("at 2-3:15 pm", "at two to three fifteen ^p ^m ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
