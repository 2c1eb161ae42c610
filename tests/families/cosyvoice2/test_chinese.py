"""Chinese numbers in words."""

import pytest

from mamtra_cli.families.cosyvoice2.chinese import cardinal, read_decimals


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "零"),
        ("10", "十"),
        ("15", "十五"),
        ("105", "一百零五"),
        ("110", "一百一十"),
        ("1005", "一千零五"),
        ("10000", "一万"),
        ("20300", "二万零三百"),
        ("100000000", "一亿"),
        ("1000000005", "十亿零五"),
    ],
)
def test_whole_numbers(digits: str, words: str) -> None:
    assert cardinal(digits) == words


def test_only_decimals_and_percents_are_written_as_words() -> None:
    assert (
        read_decimals("3个-0.5度，1,234.5元，50%")
        == "3个负零点五度，一千二百三十四点五元，百分之五十"
    )
