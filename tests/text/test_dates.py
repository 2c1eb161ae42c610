"""Dates: months that are verbs, orders, ranges, figures, eras."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Only 3 may enter.", "only three may enter ."),
        ("The army will march 10 miles.", "the army will march ten miles ."),
        ("Page 7 mar the text.", "page seven mar the text ."),
        ("March 10 miles!", "march ten miles ."),
        ("March 10 was warm.", "march tenth was warm ."),
        ("on the 4th of July", "on the fourth of july ."),
        ("the 1st of January, 2024", "the first of january , twenty twenty four ."),
        ("Jan. 5", "january fifth ."),
        ("MAY 5, 2020", "may fifth , twenty twenty ."),
        ("14 July 1789", "the fourteenth of july , seventeen eighty nine ."),
        ("June 5-7", "june fifth to seventh ."),
        ("4-6 June", "the fourth to sixth of june ."),
        ("Jan-Mar 2024", "january to march twenty twenty four ."),
        ("Sat–Sun closed", "saturday to sunday closed ."),
        ("12-25-2023", "december twenty fifth , twenty twenty three ."),
        ("2024/01/05", "january fifth , twenty twenty four ."),
        ("24.12.2021", "december twenty fourth , twenty twenty one ."),
        ("31/12/1999", "december thirty first , nineteen ninety nine ."),
        (
            "2024-01-05T10:20:30Z",
            "january fifth , twenty twenty four , ten twenty and thirty seconds .",
        ),
        ("on 12/24", "on december twenty fourth ."),
        ("AD 79 and 44 BC", "^a ^d seventy nine and forty four ^b ^c ."),
        ("the class of '05", "the class of oh five ."),
        ("the 1800s", "the eighteen hundreds ."),
        ("FY2021/22", "^f ^y twenty twenty one to twenty two ."),
        ("the '00s, under-21s", "the two thousands , under twenty ones ."),
        ("Sat 14 Dec, by 15/06", "saturday the fourteenth of december , by june fifteenth ."),
        (
            "Jan '24, Mar-24, 04/2024",
            "january twenty four , march twenty four , april twenty twenty four .",
        ),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
