"""Two numbers that belong together: fractions, scores, shares, ratios, sizes, sums."""

import re

from mamtra_cli.text.number_words import NUMBER, cardinal, maybe_year, number, ordinal, year
from mamtra_cli.text.rules import (
    HIDDEN,
    NEAR,
    Rule,
    after,
    before,
    compiled,
    said,
    word_after,
    word_before,
)

_DENOMINATORS = frozenset([*range(2, 11), 12, 15, 16, 20, 32, 64, 100, 1000])
_OUT_OF = frozenset([20, 25, 30, 40, 50, 60, 75, 80, 100, 120, 200, 500, 1000])
_SCORED = frozenset(
    "score scored scores rate rated rates rating give gave got gets get pain mark marks grade is "
    "only a an solid result about about:".split()
)
_DOSE = r"[\d.,]+\s?(?:mg|mcg|g|ml|mL|tablets?|pills?|drops?|minutes?|mins?|reps?)\b"
_FASTER = frozenset(
    "faster slower more less better worse the as larger smaller bigger cheaper".split()
)
_PAIRED = frozenset("vision eyesight acuity time meter metre signature beat rhythm".split())
_OFTEN = frozenset(
    "a an per each every daily hourly nightly weekly biweekly fortnightly monthly yearly "
    "annually".split()
)


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match["whole"], int(match["top"]), int(match["bottom"])
    pair = f"{number(match['top'])} {number(match['bottom'])}"
    following = word_after(match)
    if not whole:
        if top + bottom == 100 or (top == bottom and bottom not in (5, 10, 100)):
            return said(pair)  # shares and eyesight: `50/50`, `20/20`
        if following in _PAIRED or following.startswith("sight"):
            return said(pair)
        if top == bottom or (1 < top <= bottom and bottom in _OUT_OF):
            return said(f"{number(match['top'])} out of {number(match['bottom'])}")
        scored = word_before(match).strip(":,") in _SCORED or before(match)[-1:] in (["-"], ["–"])
        counted = len(following) > 3 and following.endswith("s") and following.islower()
        if bottom in (5, 10) and 0 <= top < bottom and (scored or (counted and bottom == 10)):
            return said(f"{number(match['top'])} out of {number(match['bottom'])}")
        if _in_sum(match) and bottom and not 0 < top < bottom:
            return said(f"{number(match['top'])} divided by {number(match['bottom'])}")
    if not 0 < top < bottom or bottom not in _DENOMINATORS:
        # No part of a whole: `24/7`, `9/11`.
        return said(f"{number(whole) if whole else ''} {pair}".strip())
    if not whole and top == 1 and bottom == 2 and following in ("a", "an"):
        return said("half")
    return said(fraction(whole, top, bottom))


def fraction(whole: str | None, top: int, bottom: int) -> str:
    """Say a part of a whole, `3/4` as `three quarters`, `1 1/2` as `one and a half`."""
    name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(str(bottom))
    if top != 1:
        name = "halves" if bottom == 2 else name + "s"
    spoken = f"{cardinal(str(top))} {name}"
    if whole:
        return f"{cardinal(whole)} and {f'a {name}' if top == 1 else spoken}"
    return spoken


def _in_sum(match: re.Match[str]) -> bool:
    """Whether an equals sign stands near."""
    text, start, end = match.string, match.start(), match.end()
    return "=" in text[max(0, start - NEAR // 4) : end + NEAR // 4]


def _minus(match: re.Match[str]) -> str | None:
    return said("minus") if _in_sum(match) else None


def _divided(match: re.Match[str]) -> str:
    return said("divided by")


def _half(digits: str) -> str:
    """`1080` as `ten eighty`, `720` as `seven twenty`."""
    if len(digits) == 3 and int(digits) % 100 >= 10:
        return f"{cardinal(digits[0])} {cardinal(digits[1:])}"
    return year(digits) if len(digits) == 4 else cardinal(digits)


def _pixels(match: re.Match[str]) -> str:
    """The sizes of a screen."""
    if _in_sum(match):
        return said(f"{number(match[1])} times {number(match[2])}")
    return said(f"{_half(match[1])} by {_half(match[2])}")


def _by(match: re.Match[str]) -> str:
    dose = compiled(_DOSE).match(after(match)) is not None
    return said("times" if dose or _in_sum(match) else "by")


def _fold(match: re.Match[str]) -> str:
    """`2x faster`, `3x a day`, `a 10x gain`."""
    times = match[2] == "×" or word_after(match).lower() in _FASTER | _OFTEN
    times = times or after(match).startswith("/")
    return f"{match[1]}{said('times' if times else '^x')}"


def _verse(match: re.Match[str]) -> str:
    """`Genesis 1:1-5`, `Genesis 1:1-2:3`."""
    words = " ".join(cardinal(number) for number in match.group(2, 3))
    last = " ".join(cardinal(number) for number in match.group(4, 5) if number)
    return f"{match[1]}{said(f'{words} to {last}' if last else words)}"


def _ratio(match: re.Match[str]) -> str:
    return said(f"{number(match[1])} to {number(match[2])}")


def _share(match: re.Match[str]) -> str:
    """`4.5/5`."""
    return said(f"{number(match[1])} out of {number(match[2])}")


def _range(match: re.Match[str]) -> str:
    shared = match[1].isdigit() and match[2].isdigit() and int(match[1]) + int(match[2]) == 100
    if shared and word_after(match) in ("chance", "split", "mix", "ratio", "odds", "rule", "share"):
        return said(f"{number(match[1])} {number(match[2])}")
    return said(f"{maybe_year(match[1])} to {maybe_year(match[2])}")


def _power_of_ten(match: re.Match[str]) -> str:
    sign = "minus " if match[2] == "-" else ""
    return f"{match[1]}{said(f'times ten to the {sign}{cardinal(match[3])}')}"


def _plus(match: re.Match[str]) -> str:
    rest = after(match)
    return f"{match[1]}{said('plus')}" if not rest.startswith("+") else match[0]


_BOOKS = (
    "Genesis|Exodus|Leviticus|Numbers|Deuteronomy|Joshua|Judges|Ruth|Samuel|Kings|Chronicles|Ezra|"
    "Nehemiah|Esther|Job|Psalms?|Proverbs|Ecclesiastes|Isaiah|Jeremiah|Lamentations|Ezekiel|Daniel|"
    "Hosea|Joel|Amos|Obadiah|Jonah|Micah|Nahum|Habakkuk|Zephaniah|Haggai|Zechariah|Malachi|Matthew|"
    "Mark|Luke|John|Acts|Romans|Corinthians|Galatians|Ephesians|Philippians|Colossians|"
    "Thessalonians|Timothy|Titus|Philemon|Hebrews|James|Peter|Jude|Revelation|Sura|Surah|Quran"
)
FIRST = (
    Rule(
        r"\b(\d+)(?:st|nd|rd|th)\s?[-–]\s?(?=\d+(?:st|nd|rd|th)\b)",
        lambda m: said(f"{ordinal(m[1])} to"),
        "-–",
    ),
    Rule(
        rf"\b({_BOOKS})\s(\d{{1,3}}):(\d{{1,3}})(?:\s?[-–]\s?(?:(\d{{1,3}}):)?(\d{{1,3}}))?(?![\d:])",
        _verse,
        ":",
    ),
    Rule(rf"\s?[x×*]\s?(?=10\s[{HIDDEN}])", lambda m: said("times"), "x×*"),
    Rule(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?)(\d{1,3})(?!\w)", _power_of_ten, "eE"),
    Rule(r"(?<=\d)/(\d+)(?:rd|th|nd|st)s?\b", lambda m: f"/{m[1]}", "/"),
    Rule(r"(?<=\d)\s?[-–]\s?(?=\d+(?:\.\d+)?\s?=)", lambda m: said("minus"), "="),
    Rule(r"(?:(?<=[\d)])|(?<=\b[a-z])|(?<=\d[a-z]))\s[-–]\s(?=[\d(]|[a-z]\b)", _minus, "="),
    Rule(r"(?:(?<=\d)|(?<=\b[a-z]))!(?=\s?[-+=*/])", lambda m: said("factorial"), "!"),
    Rule(r"(?<=[\d)])\s/\s(?=[\d(])", _divided, "/"),
    Rule(r"(?<=[\d)])\s?\*\s?(?=[\d(])", lambda m: said("times"), "*"),
    Rule(r"(?<![\w.,])(\d{3,4})\s?[x×]\s?(\d{3,4})(?![\w.]|\s?[x×])", _pixels, "x×"),
    Rule(r"(?<=\d)\s?[x×]\s?(?=\d)", _by, "x×"),
    Rule(r"(?<![\w.])(\d+(?:\.\d+)?)\s?([x×])(?![\w×])", _fold, "x×"),
)
RULES = (
    Rule(r"(?<![\w/.])(\d+\.\d+)/(\d+)(?![\w/]|\.\d)", _share, "/"),
    Rule(rf"(?<=[{HIDDEN}]\s)\s*[x×]\s*(?=\s[{HIDDEN}]|\d)", _by, "x×"),
    Rule(
        r"(?<![\w/.])(?:(?P<whole>\d+)[ -])?(?P<top>\d+)/(?P<bottom>\d+)(?![\w/]|\.\d)",
        _fraction,
        "/",
    ),
    Rule(r"(?<![\w:.])(\d{1,4}):(\d{1,4})(?![\w:]|\.\d)", _ratio, ":"),
    Rule(rf"(?<![\w.-])({NUMBER})\s?[-–]\s?({NUMBER})(?![\w-]|\.\d)", _range, "-–"),
    Rule(r"(?<=\d)\+(?=\s?[-+]?\d)", lambda m: said("plus"), "+"),
    Rule(r"(\d)\+(?!\w)", _plus, "+"),
)
