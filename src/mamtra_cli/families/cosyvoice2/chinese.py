"""Chinese numbers that a full stop would break: decimals, percents, versions, in words.

Whole numbers stay figures: the model reads them. No package is needed for this; with `wetext`
these are read there before.
"""

import re

_DIGITS = "零一二三四五六七八九"
_UNITS = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿", "万亿")
_NUMBER = re.compile(
    r"(?<![\w.])(?P<minus>-)?(?P<number>\d+(?:,\d{3})*(?:\.\d+)+|\d+(?:,\d{3})*(?=%))(?P<percent>%)?",
    re.ASCII,
)


def cardinal(digits: str) -> str:
    """A whole number of up to sixteen digits in words, `105` as `一百零五`."""
    digits = digits.lstrip("0") or "0"
    if digits == "0":
        return _DIGITS[0]
    if len(digits) > 16:
        return "".join(_DIGITS[int(digit)] for digit in digits)
    words, gap = "", False
    groups = [digits[max(0, end - 4) : end] for end in range(len(digits), 0, -4)]
    for scale, group in reversed(list(enumerate(groups))):
        if not int(group):
            gap = True
            continue
        words += ("零" if words and (gap or len(group.lstrip("0")) < 4) else "") + _below(group)
        words += _GROUPS[scale]
        gap = False
    return words[1:] if words.startswith("一十") else words


def _below(group: str) -> str:
    words, zero = "", False
    digits = group.lstrip("0")
    for place, digit in enumerate(digits):
        if digit == "0":
            zero = True
            continue
        words += ("零" if zero else "") + _DIGITS[int(digit)] + _UNITS[len(digits) - place - 1]
        zero = False
    return words


def read_decimals(text: str) -> str:
    """Write decimals and percents as words, `4.9%` as `百分之四点九`; all else stays."""
    return _NUMBER.sub(_decimal, text)


def _decimal(match: re.Match[str]) -> str:
    whole, *parts = match["number"].replace(",", "").split(".")
    points = "".join("点" + "".join(_DIGITS[int(digit)] for digit in part) for part in parts)
    minus = "负" if match["minus"] else ""
    return f"{minus}{'百分之' if match['percent'] else ''}{cardinal(whole)}{points}"
