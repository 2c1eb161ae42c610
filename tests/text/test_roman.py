"""Roman numerals and letters that are none."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Malcolm X", "malcolm ^x ."),
        ("Generation X", "generation ^x ."),
        ("XXI century", "twenty first century ."),
        ("Thutmose II", "thutmose the second ."),
        ("GTA V", "^g ^t ^a five ."),
        ("World War II", "world war two ."),
        ("WWI", "world war one ."),
        ("King Charles III's", "king charles the third's ."),
        ("an IV drip", "an ^i ^v drip ."),
        ("She and I left.", "she and i left ."),
        ("Chapter V", "chapter five ."),
        ("section iii, page xii", "section three , page twelve ."),
        ("as (i) one, (ii) two", "as , one , one , two , two ."),
        ("the MMXX edition", "the twenty twenty edition ."),
        ("part i like", "part i like ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
