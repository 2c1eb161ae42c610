"""Code and formulas."""

import time

import pytest
from tests.text.said import said

from mamtra_cli.text import code
from mamtra_cli.text.rules import apply


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("a != b", "a is not equal to b ."),
        ("x >= 3", "x greater than or equal to three ."),
        ("x -> y", "x to y ."),
        ("a || b", "a or b ."),
        ("C# and F#", "^c sharp and ^f sharp ."),
        ("C++", "^c plus plus ."),
        ("#winning and #3", "hashtag winning and number three ."),
        ("CO2", "^c ^o two ."),
        ("H2SO4", "^h two ^s ^o four ."),
        ("Fe2O3", "^f ^e two ^o three ."),
        ("NaCl", "^n ^a ^c ^l ."),
        ("x²+y³", "x squared plus y cubed ."),
        ("10⁶", "ten to the power of six ."),
        ("the A380", "the ^a three eighty ."),
        ("a B-52", "a ^b fifty two ."),
        ("he/she", "he she ."),
        ("/usr/bin", "slash usr slash bin ."),
        (
            "order #B77, #A-1034 and #fun",
            "order number ^b seventy seven , number ^a ten thirty four and hashtag fun .",
        ),
        (
            "the Boeing 747-8, a 737-800",
            "the boeing seven forty seven eight , a seven thirty seven eight hundred .",
        ),
        ("H.264, 0x1F and 0b10", "^h two sixty four , zero ^x one ^f and zero ^b one zero ."),
        ("x³, m³, E = mc²", "x cubed , cubic meters , ^e equals ^m ^c squared ."),
        ("c = a / b", "c equals a divided by b ."),
        ("f'(x) = 2x - 3", "f prime x equals two ^x minus three ."),
        ("∓2", "minus or plus two ."),
        ("a 401(k), seats A1-A12", "a four oh one ^k , seats ^a one to ^a twelve ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken


@pytest.mark.parametrize("unit", ["(", "(A", "(A2", "!a", "a--", "s/"])
def test_time_grows_with_the_text_not_its_square(unit: str) -> None:
    began = time.process_time()
    for part in (code.RULES, code.NAMES, code.LAST):
        apply(part, "1 " + unit * (20_000 // len(unit)))
    assert time.process_time() - began < 2
