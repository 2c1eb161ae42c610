"""Abbreviations."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Sunset Blvd", "sunset boulevard ."),
        ("12 Oak Rd", "twelve oak road ."),
        ("At 12 Elm St. He", "at twelve elm street . he ."),
        ("State Hwy 5", "state highway five ."),
        ("the 5th Ave. shop", "the fifth avenue shop ."),
        ("max. 10 people", "maximum ten people ."),
        ("w/o sugar, w/ milk", "without sugar , with milk ."),
        ("a B.Sc. degree", "a ^b ^s ^c degree ."),
        ("an MSc student", "an ^m ^s ^c student ."),
        ("One more rep.", "one more rep ."),
        ("PhDs", "^p ^h ^d's ."),
        ("Dr Watson", "doctor watson ."),
        ("No. 5, pp. 3-4", "number five , pages three to four ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
