"""Dates in figures and words: days, months, ranges of them, years before and after Christ.

A month is one only where it is written as one: `may`, `march` and `mar` in small letters are
verbs. What is written first is said first, `4th of July` as `fourth of july`.
"""

import re

from mamtra_cli.text.number_words import cardinal, number, ordinal, plural, two_digits, year
from mamtra_cli.text.rules import Rule, after, said, word_after, word_before

MONTHS = (
    "january february march april may june july august september october november december"
).split()
_MONTH_OF = {name[:3]: name for name in MONTHS}
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_DAY_OF = {name[:3]: name for name in DAYS}
_MONTH = (
    r"(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(?:Mon|Tues?|Wed|Thur?s?|Fri|Sat|Sun)"
_FULL_DAY = r"(?i:mon|tues|wednes|thurs|fri|satur|sun)day"
_ALSO_WORDS = frozenset({"may", "march", "mar", "august"})
_YEAR = r"(?P<year>1\d{3}|20\d{2})"
_NTH = r"(?:st|nd|rd|th)"
_NOT_PLURAL = frozenset("is was has does plus as this its his yes us perhaps always".split())
_COUNTED = frozenset(
    "abreast deep percent hundred thousand million billion people men women children".split()
)


def _month(written: str, *, alone: bool = False) -> str | None:
    """The month a word names, or `None` where it may be another word.

    Args:
        written: letters of a month or its abbreviation.
        alone: nothing else (a year, a rank) says that it is a month.
    """
    word = written.lower()
    if word in _ALSO_WORDS and (written.islower() or (alone and written.isupper())):
        return None
    return _MONTH_OF[word[:3]]


def _spoken_year(digits: str | None) -> str:
    return f", {year(digits)}" if digits else ""


def _is_day(day: str) -> bool:
    return 1 <= int(day) <= 31


def _month_day(match: re.Match[str]) -> str | None:
    month = _month(match["month"], alone=not (match["nth"] or match["year"]))
    if month is None or not _is_day(match["day"]):
        return None
    if match["month"].lower() in _ALSO_WORDS and not match["nth"]:
        # `March 10 miles.` begins with an order, `March 10 is warm` with a date.
        following = word_after(match)
        several = following.endswith("s") and following.islower()
        if (several and following not in _NOT_PLURAL) or following in _COUNTED:
            return None
    stop = "." if match["year"] is None and after(match).startswith("..") else ""
    return said(f"{month} {ordinal(match['day'])}{_spoken_year(match['year'])}") + stop


def _day_month(match: re.Match[str]) -> str | None:
    sure = bool(match["nth"] or match["of"] or match["year"])
    month = _month(match["month"], alone=not sure)
    if month is None or not _is_day(match["day"]):
        return None
    day = ordinal(match["day"])
    the = "" if match["of"] or word_before(match) in ("the", "this", "every", "each") else "the "
    return said(f"{the}{day} of {month}{_spoken_year(match['year'])}")


def _day_range(match: re.Match[str]) -> str | None:
    month = _month(match["month"], alone=True)
    if month is None or not (_is_day(match["first"]) and _is_day(match["last"])):
        return None
    days = f"{ordinal(match['first'])} to {ordinal(match['last'])}"
    return said(f"{month} {days}{_spoken_year(match['year'])}")


def _range_month(match: re.Match[str]) -> str | None:
    month = _month(match["month"], alone=True)
    if month is None or not (_is_day(match["first"]) and _is_day(match["last"])):
        return None
    the = "" if word_before(match) == "the" else "the "
    days = f"{the}{ordinal(match['first'])} to {ordinal(match['last'])}"
    return said(f"{days} of {month}{_spoken_year(match['year'])}")


def _months(match: re.Match[str]) -> str | None:
    first, last = _month(match["first"]), _month(match["last"])
    return None if first is None or last is None else said(f"{first} to {last}")


def _days(match: re.Match[str]) -> str:
    return said(f"{_DAY_OF[match[1][:3].lower()]} to {_DAY_OF[match[2][:3].lower()]}")


def _iso(match: re.Match[str]) -> str | None:
    month, day = int(match["m"]), match["d"]
    if not 1 <= month <= 12 or not _is_day(day):
        dash = " dash " if match["sep"] == "-" else " slash "
        return said(dash.join(number(match[name]) for name in "ymd"))
    return said(f"{MONTHS[month - 1]} {ordinal(day)}, {year(match['y'])}")


def _minutes(match: re.Match[str]) -> str:
    if match["min"] != "00":
        return two_digits(match["min"])
    return "hundred" if int(match["h"]) > 12 else "o'clock"


def _stamp(match: re.Match[str]) -> str | None:
    """A time stamp; that it is universal time (`Z`) is not said."""
    month = int(match["m"])
    if not 1 <= month <= 12 or not _is_day(match["d"]):
        return None
    seconds = int(match["s"] or 0)
    clock = f"{cardinal(match['h'])} {_minutes(match)}"
    if seconds:
        clock += f" and {cardinal(match['s'])} second" + ("s" if seconds > 1 else "")
    return said(f"{MONTHS[month - 1]} {ordinal(match['d'])}, {year(match['y'])}, {clock}")


def _figures(match: re.Match[str]) -> str | None:
    """`3/15/2024`: the American order unless only the other one is possible; with stops, day "
    "first."""
    first, second, digits, sep = int(match["a"]), int(match["b"]), match["y"], match["sep"]
    if sep != "/" and len(digits) == 2:
        return None
    if sep == ".":
        month, day = (second, first) if second <= 12 else (first, second)
    else:
        month, day = (second, first) if first > 12 else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        if sep != "/":
            return None
        spoken = [number(match["a"]), number(match["b"]), year(digits)]
        return said(" slash ".join(spoken))
    spoken_year = year(digits) if len(digits) == 4 else number(digits)
    return said(f"{MONTHS[month - 1]} {ordinal(str(day))}, {spoken_year}")


def _dated(match: re.Match[str]) -> str | None:
    """`on 12/24`."""
    month, day = int(match[2]), match[3]
    if month > 12 and int(day) <= 12:
        month, day = int(day), match[2]
    if not 1 <= month <= 12 or not _is_day(day):
        return None
    return f"{match[1]}{said(f'{MONTHS[month - 1]} {ordinal(day)}')}"


def _era(match: re.Match[str]) -> str:
    letters = re.sub(r"[^A-Za-z]", "", match["era"]).lower()
    spelled = " ".join(f"^{letter}" for letter in letters)
    digits = match["year"].replace(",", "")
    years = year(digits) if digits.isdigit() else number(digits)
    if match["until"]:
        years = f"{years} to {year(match['until'])}"
    return said(f"{years} {spelled}")


def _before_year(match: re.Match[str]) -> str:
    return said(f"^a ^d {year(match['year'])}")


def _decade(match: re.Match[str]) -> str:
    digits = match["digits"]
    if digits == "00":
        return said("two thousands")
    return said(plural(year(digits) if len(digits) == 4 else cardinal(digits)))


def _season(match: re.Match[str]) -> str | None:
    """`2021/22`: two years, one after the other."""
    first, last = match[1], match[2]
    if int(last) != (int(first) + 1) % 100:
        return None
    return said(f"{year(first)} to {two_digits(last)}")


def _short_year(match: re.Match[str]) -> str | None:
    if after(match).startswith("'"):
        return None
    return said(two_digits(match[1]))


def _short_month(match: re.Match[str]) -> str | None:
    """`Mar-24`."""
    month = _month(match["month"])
    return month and said(f"{month} {two_digits(match['short'])}")


def _month_year(match: re.Match[str]) -> str:
    """`04/2024`."""
    return said(f"{MONTHS[int(match[1]) - 1]} {year(match[2])}")


def _named_month(match: re.Match[str]) -> str | None:
    month = _month(match["month"])
    return None if month is None else said(month)


_RANGE = rf"(?P<first>\d{{1,2}}){_NTH}?\s?[-–]\s?(?P<last>\d{{1,2}}){_NTH}?"
_END = r"(?![\w%°$£€]|[:/.,]\d)"
SPANS = (
    Rule(
        rf"\b(?P<first>{_MONTH})\.?\s?[-–]\s?(?P<last>{_MONTH})\b\.?(?!\s\d{{1,2}}\b)",
        _months,
        "-–",
    ),
    Rule(rf"\b({_DAY}|{_FULL_DAY})\.?\s?[-–]\s?({_DAY}|{_FULL_DAY})\b\.?(?!\w)", _days, "-–"),
)
RULES = (
    Rule(
        rf"\b({_DAY})\b\.?(?=,?\s(?:\d|{_MONTH}\b\.?\s\d))",
        lambda m: said(_DAY_OF[m[1][:3].lower()]),
        "0",
    ),
    Rule(r"(?<!\d)(19\d\d|20\d\d)/(\d\d)(?![\d/]|\.\d)", _season, "/"),
    Rule(
        r"\b(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[T ](?P<h>[01]\d|2[0-4]):(?P<min>[0-5]\d)"
        r"(?::(?P<s>[0-5]\d)(?:\.\d+)?)?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?\b",
        _stamp,
        "0",
    ),
    Rule(r"\b(?P<y>\d{4})(?P<sep>[-/])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})\b(?![-/]\d)", _iso, "0"),
    Rule(
        r"(?<![\w./-])(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<y>\d{4}|\d\d)(?![\w/-]|\.\d)",
        _figures,
        "0",
    ),
    Rule(
        r"\b((?i:on|by|until|till|since|due|before|after|dated)\s)(\d{1,2})/(\d{1,2})(?![\d/]|\.\d)",
        _dated,
        "/",
    ),
    Rule(rf"\b(?P<month>{_MONTH})\.?\s{_RANGE}(?:,?\s{_YEAR})?{_END}", _day_range, "0"),
    Rule(
        rf"(?<![\w.,:/$£€-]){_RANGE}\s(?:of\s)?(?P<month>{_MONTH})\.?(?:,?\s{_YEAR})?{_END}",
        _range_month,
        "0",
    ),
    Rule(rf"(?<=\d)\s?[-–]\s?(?={_MONTH}\.?\s\d)", lambda m: said("to"), "-–"),
    Rule(
        rf"\b(?P<month>{_MONTH})\.?\s(?P<day>\d{{1,2}})(?P<nth>{_NTH})?(?:,?\s{_YEAR})?{_END}",
        _month_day,
        "0",
    ),
    Rule(
        rf"(?<![\w.,:/$£€-])(?P<day>\d{{1,2}})(?P<nth>{_NTH})?(?P<of>\sof)?\s(?P<month>{_MONTH})\b"
        rf"(?:\.(?=\s[a-z0-9]|,|\s?$))?(?:,?\s{_YEAR})?{_END}",
        _day_month,
        "0",
    ),
    Rule(
        rf"\b(?P<month>{_MONTH})\b\.?(?=,?\s(?:1\d{{3}}|20\d\d|'\d\d)\b)",
        _named_month,
        "0",
    ),
    Rule(rf"\b(?P<month>{_MONTH})-(?P<short>\d\d)\b(?![-.,]?\d)", _short_month, "-"),
    Rule(r"(?<![\d/.])(0[1-9]|1[0-2])/((?:19|20)\d\d)(?![\d/])", _month_year, "/"),
    Rule(
        r"(?<![\w.])(?P<year>\d{1,3}(?:,\d{3})+|\d{1,4})(?:\s?[-–]\s?(?P<until>\d{1,4}))?\s?"
        r"(?P<era>BCE?|CE|AD|B\.\s?C\.(?:\s?E\.)?|A\.\s?D\.|C\.\s?E\.)(?!\w)",
        _era,
        "0",
    ),
    Rule(r"\b(?:AD|A\.\s?D\.)\s?(?P<year>\d{1,4})\b", _before_year, "0"),
    Rule(r"(?<=[a-z]-)([1-9]\d)s\b", lambda m: said(plural(cardinal(m[1]))), "0"),
    Rule(r"(?<!\w)'?(?P<digits>\d{3}0|\d0)'?s\b", _decade, "0"),
    Rule(r"(?<![\w'])'(\d\d)(?![\w'\"]|[.,]\d)", _short_year, "'"),
)
