"""Amounts of money: signs, codes, magnitudes, ranges, rates."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("$1,299.99", "one thousand two hundred ninety nine dollars and ninety nine cents ."),
        ("20€ and 1.50€", "twenty euros and one euro and fifty cents ."),
        ("2,50 €", "two euros and fifty cents ."),
        ("Rs. 500", "five hundred rupees ."),
        ("100 USD", "one hundred ^u ^s dollars ."),
        ("R$ 10", "ten reais ."),
        ("₩1000", "one thousand won ."),
        ("a $1 million house", "a one million dollar house ."),
        ("$4bn", "four billion dollars ."),
        ("$5-$10", "five dollars to ten dollars ."),
        ("$3-$5 million", "three to five million dollars ."),
        ("10-15€", "ten to fifteen euros ."),
        ("$5/month", "five dollars per month ."),
        ("£5/kg", "five pounds per kilogram ."),
        ("50¢-75¢", "fifty cents to seventy five cents ."),
        ("a $3.5-billion deal", "a three point five billion dollar deal ."),
        ("£5 notes", "five pound notes ."),
        (
            "3.000,50 €, 12'000 CHF",
            "three thousand euros and fifty cents , twelve thousand swiss francs .",
        ),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
