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
        ("22 min 14 s, max. 5", "twenty two minutes fourteen seconds , maximum five ."),
        ("the 15 Pro Max 256GB", "the fifteen pro max two hundred fifty six gigabytes ."),
        ("It has 30 pp. and 12 vols.", "it has thirty pages and twelve volumes ."),
        (
            "$25 pp., up by 2.5pp",
            "twenty five dollars per person , up by two point five percentage points .",
        ),
        (
            "c. 1600, b. 1970, d. 1543",
            "circa sixteen hundred , born nineteen seventy , died fifteen forty three .",
        ),
        (
            "the 2nd ed., 3rd fl., 5th c. BC",
            "the second edition , third floor , fifth century ^b ^c .",
        ),
        (
            "the I-405 N, then US-101 S",
            "the i four oh five north , then ^u ^s one hundred one south .",
        ),
        (
            "1 Cor. 13:4; Rev. 3:20; Ps. 23",
            "first corinthians thirteen four , revelation three twenty , psalm twenty three .",
        ),
        ("N. 5th St., W. Main Rd., Ave. B", "north fifth street , west main road , avenue ^b ."),
        (
            "Jan, Feb and Mar; she, Jan, left; in Oct",
            "january , february and march , she , jan , left , in october .",
        ),
        ("Mon, Thu/Fri; the sun sat", "monday , thursday friday , the sun sat ."),
        (
            "4 billion yrs; approx 5; pls wait",
            "four billion years , approximately five , please wait .",
        ),
        ("see Eq. (4) and Op. 27", "see equation , four , and opus twenty seven ."),
        ("w/ COVID, 2% YoY, Nº 5", "with covid , two percent year over year , number five ."),
        ("the 11th hr. of it", "the eleventh hour of it ."),
        ("It took some hrs. He left.", "it took some hours . he left ."),
    ],
)
def test_reading(text: str, spoken: str) -> None:
    assert said(text) == spoken
