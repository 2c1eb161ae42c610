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
)
from mamtra_cli.text.rules import Rule, said, word_after

_SHOWN = frozenset(
    "video videos tv race run display monitor resolution screen content footage".split()
)
_AUDIENCE = frozenset("views users people dollars euros followers subscribers downloads".split())
_NOT_COUNTED = frozenset(
    "is was has does plus as this its his yes us perhaps always towards".split()
)
_MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion"}
SIGNED = r"[$£€¥₹]?\.?\d"


def _magnitude(match: re.Match[str]) -> str | None:
    written, following = match["mag"], word_after(match)
    if written in "kK" and following.lower() in _SHOWN:
        return said(f"{number(match['a'])} ^k")
    if written == "m" and following in _AUDIENCE:
        return said(f"{number(match['a'])} million")
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
    following = word_after(match)
    counted = following.islower() and following.endswith("s") and following not in _NOT_COUNTED
    if counted and digits[2:] != "00" and len(following) > 3 and not 1800 <= int(digits) <= 2099:
        return said(number(digits))
    return said(maybe_year(digits))


def _named(match: re.Match[str]) -> str:
    """`MP3s`."""
    return said(plural(cardinal(match[1] or match[2])))


RULES = (
    Rule(r"(?<![\d.])\d+(?:\.\d+){2,}\b", _version, "."),
    Rule(
        r"(?<![\w.])(?P<a>\d+(?:,\d{3})*(?:\.\d+)?)(?P<mag>[kKmMbB]n?)(?![\w'])",
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
    Rule(rf"(?<![\w)\]%°¢€£$–-])-(?={SIGNED})", lambda m: said("minus"), "-"),
    Rule(rf"(?<![\w)\]+])\+(?={SIGNED})", lambda m: said("plus"), "+"),
    Rule(r"±\s?(?=\d)", lambda m: said("plus or minus"), "±"),
    Rule(r"[~≈]\s?(?=[$£€]?\d)", lambda m: said("approximately"), "~≈"),
)
