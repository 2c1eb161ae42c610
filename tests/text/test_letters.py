"""Capitals: acronyms, words, shouts."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("The CIA knew.", "the ^c ^i ^a knew ."),
        ("Ask the IT department.", "ask the ^i ^t department ."),
        ("You MUST do it.", "you must do it ."),
        ("the WHO in Geneva", "the ^w ^h ^o in geneva ."),
        ("WHO ARE YOU?", "who are you ?"),
        ("made in the US", "made in the ^u ^s ."),
        ("NATO and UNICEF", "nato and unicef ."),
        ("STOP RIGHT NOW", "stop right now ."),
        ("iOS and pH", "^i ^o ^s and ^p ^h ."),
        ("M&Ms", "^m and ^m's ."),
        (
            "GATTACAGATTACAGATTACAGATTACAGATTACA",
            "^g ^a ^t ^t ^a ^c ^a ^g ^a ^t ^t ^a ^c ^a ^g ^a ^t ^t ^a ^c ^a ^g ^a ^t ^t ^a ^c "
            "^a ^g ^a ^t ^t ^a ^c ^a .",
        ),
        ("He met C. S. Lewis.", "he met ^c ^s lewis ."),
        ("the A-team", "the ^a team ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
