"""Numbers that stand alone: signs before them, ranks, versions, `10k`, years, everything left."""

import re

from mamtra_cli.text.number_words import (
    NUMBER,
    cardinal,
    digit_string,
    maybe_year,
    number,
    ordinal,
    plural,
    year,
)
from mamtra_cli.text.rules import Rule, before, compiled, said, word_after, word_before

_SHOWN = frozenset(
    "video videos tv race run display monitor resolution screen content footage".split()
)
_RUN = frozenset("ran run running jog jogged walked raced".split())
_RUN_NOUNS = frozenset("runner runners race races finisher finishers".split())
_GOLD = frozenset("gold white yellow rose solid diamond".split())
_AUDIENCE = frozenset(
    "views users people dollars euros followers subscribers downloads streams "
    "plays parameters params tokens".split()
)
_NOT_COUNTED = frozenset(
    "is was has does plus as this its his yes us perhaps always towards".split()
)
_MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion"}
SIGNED = r"[$£€¥₹]?\.?\d"


def _magnitude(match: re.Match[str]) -> str | None:
    written, following = match["mag"], word_after(match)
    run = word_before(match) in _RUN or following.lower() in _RUN_NOUNS
    if written in "kK" and following.lower() in _GOLD:
        return said(f"{number(match['a'])} karat")
    screen = written == "K" and match["a"] in ("2", "4", "8") and following not in _AUDIENCE
    if written in "kK" and (following.lower() in _SHOWN or run or screen):
        return said(f"{number(match['a'])} ^k")
    if written in "mB" and following in _AUDIENCE:
        return said(f"{number(match['a'])} {_MAGNITUDES[written.lower()]}")
    if written in "mb" or (written == "B" and "." not in match["a"]):
        return None
    return said(f"{number(match['a'])} {_MAGNITUDES[written.lower()]}")


def _version(match: re.Match[str]) -> str:
    parts = match[0].split(".")
    if len(parts) == 4 and all(len(part) <= 3 and int(part) < 256 for part in parts):
        # An address of the internet.
        spoken = [digit_string(part) if len(part) == 3 else number(part) for part in parts]
        return said(" dot ".join(spoken))
    return said(" point ".join(number(part) for part in parts))


def _bare(match: re.Match[str]) -> str:
    digits = match[0]
    if len(digits) != 4 or not digits.isdigit():
        return said(number(digits))
    following, previous = word_after(match), before(match)[-1:]
    counted = following.islower() and following.endswith("s") and following not in _NOT_COUNTED
    if counted and digits[2:] != "00" and len(following) > 3 and not 1800 <= int(digits) <= 2099:
        return said(number(digits))
    model = bool(previous) and compiled(r"[A-Z]{2,4}").fullmatch(previous[0]) is not None
    if model and not counted and digits[2:] != "00" and digits[0] != "0":
        return said(year(digits))
    return said(maybe_year(digits))


def _named(match: re.Match[str]) -> str:
    """`MP3s`."""
    return said(plural(cardinal(match[1] or match[2])))


def _grouped(match: re.Match[str]) -> str | None:
    """`1.000.000` and `3.000,50` as the continent of Europe writes them; no address of the net."""
    parts = match[1].split(".")
    if not match[2] and (len(parts) < 3 or (len(parts) == 4 and max(map(int, parts)) < 256)):
        return None
    return "".join(parts) + (f".{match[2]}" if match[2] else "")


NOTATIONS = (
    Rule(r"(?<=\d)\.{2,}(?=\d)", lambda m: "... ", "."),
    Rule(r"(?<=€)(\s?\d+),(?=\d\d(?![\d,]))", lambda m: f"{m[1]}.", "€"),
    Rule(r"(?<![\w.,])(\d{1,3}(?:\.\d{3})+)(?:,(\d\d?))?(?![\w.,]\d|\w)", _grouped, "."),
    Rule(r"(?<![\w.,])\d{1,3}(?:'\d{3})+(?![\w'\"])", lambda m: m[0].replace("'", ""), "'"),
)
RULES = (
    Rule(r"(?<![\d.])\d+(?:\.\d+){2,}\b", _version, "."),
    Rule(
        r"(?<![\w.])(?<!\w-)(?P<a>\d+(?:,\d{3})*(?:\.\d+)?)(?P<mag>[kKmMbB]n?)(?![\w'])",
        _magnitude,
        "kKmMbB",
    ),
    Rule(
        r"(?<![\w.])(?P<a>\d+(?:\.\d+)?)\s(?P<mag>bn|mn)(?![\w'])",
        lambda m: said(f"{number(m['a'])} {_MAGNITUDES[m['mag']]}"),
        "bm",
    ),
    Rule(
        r"(?<![\d,])(\d+(?:,\d{3})*)(?:st|nd|rd|th|ST|ND|RD|TH)\b",
        lambda m: said(ordinal(m[1])),
        "0",
    ),
    Rule(r"(?<=[A-Za-z])(\d+)s\b|\b(\d+)'s\b", _named, "0"),
    Rule(NUMBER, _bare, "0"),
)
SIGNS = (
    Rule(r"([$£€¥₹])-(?=[.\d])", lambda m: f"-{m[1]}", "-"),
    Rule(r"(?<=\b(?:UTC|GMT))\s?[-–](?=\d)", lambda m: said("minus"), "-–"),
    Rule(rf"(?<![\w)\]%°¢€£$–-])-(?={SIGNED})", lambda m: said("minus"), "-"),
    Rule(rf"(?<![\w)\]+])\+(?={SIGNED})", lambda m: said("plus"), "+"),
    Rule(r"±\s?(?=\d)", lambda m: said("plus or minus"), "±"),
    Rule(r"[~≈]\s?(?=[$£€]?\d)", lambda m: said("approximately"), "~≈"),
)
