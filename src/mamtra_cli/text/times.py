"""Times of day and lengths of time in figures: `10:30 am`, `5-6pm`, `1h 30m`."""

import re

from mamtra_cli.text.number_words import cardinal, two_digits
from mamtra_cli.text.rules import HIDDEN, Rule, said, word_after

_HALF = rf"(?i:[ap])(?:\.m\.(?=\s+[a-z0-9]|,|\s*[-–{HIDDEN}])|\.?\s?(?i:m)\b)"
_HOUR = r"1[0-2]|0?[1-9]"


def _half(written: str | None) -> str:
    if not written:
        return ""
    return " ^a ^m" if written[0] in "aA" else " ^p ^m"


def _clock(match: re.Match[str]) -> str:
    hour, minute, second, half = match["h"], match["m"], match["s"], match["half"]
    words = cardinal(hour)
    if minute != "00":
        words += f" {two_digits(minute)}"
    elif not half:
        words += " hundred" if int(hour) > 12 else " o'clock"
    if second:
        words += f" and {cardinal(second)} second" + ("s" if int(second) != 1 else "")
    return said(words + _half(half))


def _stopped(match: re.Match[str]) -> str:
    """`3.15pm`."""
    minutes = "" if match[2] == "00" else f" {two_digits(match[2])}"
    return said(cardinal(match[1]) + minutes + _half(match[3]))


def _from(match: re.Match[str]) -> str:
    """`2-3:15 pm`."""
    return said(f"{cardinal(match[1])} to")


def _hours(match: re.Match[str]) -> str:
    return said(f"{cardinal(match[1])} to {cardinal(match[2])}{_half(match[3])}")


def _military(match: re.Match[str]) -> str | None:
    """`at 1630 hours`; `2000 hours of work` is a length."""
    hour, minute = match["h"], match["m"]
    if minute == "00" and ((hour[0] != "0" and match["at"] == "by") or word_after(match) == "of"):
        return None
    zero = "zero " if hour[0] == "0" and hour != "00" else ""
    minutes = "hundred" if minute == "00" else two_digits(minute)
    return f"{match['at']} {said(f'{zero}{cardinal(hour)} {minutes} hours')}"


def _length(match: re.Match[str]) -> str:
    hours, minutes, seconds = match["h"], match["m"], match["s"]
    parts = {"hour": hours, "minute": minutes, "second": seconds}
    return said(
        " ".join(
            f"{cardinal(count)} {name}" + ("s" if int(count) != 1 else "")
            for name, count in parts.items()
            if count
        )
    )


LENGTHS = (
    Rule(
        r"\b(?P<h>\d{1,2})\s?h(?:rs?)?\.?\s?(?P<m>[0-5]?\d)\s?m(?:ins?)?\b(?:\s?(?P<s>[0-5]?\d)\s?s(?:ecs?)?\b)?",
        _length,
        "h",
    ),
    Rule(
        r"\b(?P<h>)(?P<m>\d{1,3})\s?m(?:ins?)?\s?(?P<s>[0-5]?\d)\s?s(?:ecs?)?\b",
        _length,
        "m",
    ),
)
RULES = (
    Rule(r"(?<![\w.,:$£€-])(?<=\b)([1-9]|1\d|2[0-3])\s?[-–](?=\d{1,2}:\d\d\b)", _from, "-–"),
    Rule(
        r"(?<=\d:\d\d)\s?[-–]\s?(?=\d)|(?<=\d[apAP][mM])\s?[-–]\s?(?=\d)"
        r"|(?<=\d [apAP][mM])\s?[-–]\s?(?=\d)|(?<=[apAP]\.[mM]\.)\s?[-–]\s?(?=\d)",
        lambda m: said("to"),
        "-–",
    ),
    Rule(
        r"(?<![\d:.])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d))?(?![\d:])"
        rf"(?:\s?(?P<half>{_HALF}))?",
        _clock,
        ":",
    ),
    Rule(
        r"\b(?P<at>at|by|from|until|till|around)\s(?P<h>[01]\d|2[0-3])(?P<m>[0-5]\d)\s(?:hours|hrs)\b",
        _military,
        "0",
    ),
    Rule(r"(?<=\b24)/7/365\b", lambda m: said("seven three sixty five"), "/"),
    Rule(rf"(?<![\w.,$£€])({_HOUR})\.([0-5]\d)\s?({_HALF})", _stopped, "."),
    Rule(rf"(?<![\w.,$£€-])({_HOUR})\s?[-–]\s?({_HOUR})\s?({_HALF})", _hours, "-–"),
    Rule(
        rf"(?<![\w.,$£€])({_HOUR})\s?({_HALF})", lambda m: said(cardinal(m[1]) + _half(m[2])), "0"
    ),
    Rule(r"(?<=\b\d{3})\sAM\b|(?<=\b\d{4})\sAM\b", lambda m: said("^a ^m"), "A"),
)
