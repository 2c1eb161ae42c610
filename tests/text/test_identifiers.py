"""Digits that name something: telephones, codes, postal codes, cards."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Call 07700 900123.", "call zero seven seven zero zero , nine zero zero one two three ."),
        ("1-800-FLOWERS", "one eight hundred flowers ."),
        ("Call 911 now.", "call nine one one now ."),
        ("Call 300 people.", "call three hundred people ."),
        ("1300 555 019", "one three zero zero , five five five , zero one nine ."),
        ("(212) 555-0187", "two one two , five five five , zero one eight seven ."),
        ("Beverly Hills, CA 90210", "beverly hills , california nine zero two one zero ."),
        ("PIN 1234", "pin one two three four ."),
        ("1 000 000", "one million ."),
        (
            "4111 1111 1111 1111",
            "four one one one , one one one one , one one one one , one one one one .",
        ),
        ("Dial 911 or 112.", "dial nine one one or one one two ."),
        ("(020) 7946 0000", "zero two zero , seven nine four six , zero zero zero zero ."),
        ("030/123456", "zero three zero , one two three four five six ."),
        ("NY, NY 10001", "^n ^y , new york one zero zero zero one ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
