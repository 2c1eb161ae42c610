"""Words of numbers."""

import random

import pytest

from mamtra_cli.text.number_words import cardinal, maybe_year, ordinal, plural, year


@pytest.mark.parametrize("exponent", range(1, 16), ids=lambda n: f"digits{n}")
def test_cardinals_and_ordinals_agree_with_inflect(exponent: int) -> None:
    engine = pytest.importorskip("inflect").engine()
    draw = random.Random(exponent)
    numbers = [0, 10 ** (exponent - 1), *(draw.randrange(10**exponent) for _ in range(20))]
    for value in numbers:
        words = engine.number_to_words(value, andword="")
        both = (words, engine.ordinal(words))
        plain = [text.replace(",", "").replace("-", " ") for text in both]
        assert [cardinal(str(value)), ordinal(str(value))] == plain


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("79", "seventy nine"),
        ("410", "four ten"),
        ("1905", "nineteen oh five"),
        ("2000", "two thousand"),
        ("2024", "twenty twenty four"),
    ],
)
def test_years(digits: str, words: str) -> None:
    assert year(digits) == words


def test_four_digits_are_a_year_where_one_can_be() -> None:
    assert maybe_year("1984") == "nineteen eighty four"
    assert maybe_year("9999") == "nine thousand nine hundred ninety nine"
    assert plural("sixty") == "sixties"
