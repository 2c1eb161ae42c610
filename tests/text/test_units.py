"""Numbers with units: parts of units, ranges, adjectives, letters that are words."""

import pytest
from tests.text.said import said


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("350 kWh", "three hundred fifty kilowatt hours ."),
        ("5 GB/s", "five gigabytes per second ."),
        ("9.8 m/s²", "nine point eight meters per second squared ."),
        ("3 m²", "three square meters ."),
        ("5-10km", "five to ten kilometers ."),
        ("40–60°C", "forty to sixty degrees celsius ."),
        ("10%-20%", "ten percent to twenty percent ."),
        ("5kg-10kg", "five kilograms to ten kilograms ."),
        ("a 10m passageway", "a ten meter passageway ."),
        ("a 5 km run", "a five kilometer run ."),
        ("10 km away", "ten kilometers away ."),
        ("It is 5 ft. tall.", "it is five feet tall ."),
        ("6 in. wide", "six inches wide ."),
        ("5 in a row", "five in a row ."),
        ("5 ft 11 in", "five feet eleven inches ."),
        ("10 sq. ft.", "ten square feet ."),
        ('27" monitor', "twenty seven inch monitor ."),
        ('"I am 27" he said', "i am twenty seven , he said ."),
        ('a 12" x 8" tray', "a twelve inch by eight inch tray ."),
        ("5' wide", "five feet wide ."),
        ("180/95 mmHg", "one hundred eighty over ninety five millimeters of mercury ."),
        ("1 1/2 lbs", "one and a half pounds ."),
        ("1,5 km", "one point five kilometers ."),
        ("3 cups", "three cups ."),
        ("5 us", "five us ."),
        ("10 A students", "ten ^a students ."),
        (
            "a 5A fuse, 35 kts, 18kt gold",
            "a five amp fuse , thirty five knots , eighteen ^k ^t gold .",
        ),
        ("in °F or °C", "in degrees fahrenheit or degrees celsius ."),
        ("12st 4lb, the 21st", "twelve stone four pounds , the twenty first ."),
        ('3/16", a 55" 4K TV', "three sixteenths inch , a fifty five inch four ^k ^t ^v ."),
        (
            "a 45-yo man, 140 mEq/L",
            "a forty five year old man , one hundred forty milliequivalents per liter .",
        ),
        ("BP was 130/85", "^b ^p was one hundred thirty over eighty five ."),
        (
            "20Gb/s, 7.4 l/100 km",
            "twenty gigabits per second , seven point four liters per one hundred kilometers .",
        ),
        ("the 4x100 m relay", "the four by one hundred meter relay ."),
        ("the 5 W's, 1 Å", "the five ^w's , one angstroms ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
