"""The words of numbers: cardinals, ranks, digits, years, decimals. Strings of digits in, words out.

Which of these readings a number in a text gets is decided by the rules (`numbers.py`, `dates.py`
and others). Why ours: inflect 7.6 and num2words 0.5 have the same words, inflect takes two seconds
to import, and neither knows years or digits; the tests hold us to inflect.
"""

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen""".split()
_TENS = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion")
_IRREGULAR_RANKS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
NUMBER = r"(?:\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"


def cardinal(digits: str) -> str:
    """Say a whole number, `1234` as `one thousand two hundred thirty four`."""
    digits = digits.replace(",", "").lstrip("0") or "0"
    if len(digits) > 15:
        return digit_string(digits)
    words: list[str] = []
    groups = [digits[max(0, end - 3) : end] for end in range(len(digits), 0, -3)]
    for scale, group in reversed(list(zip(_SCALES, groups, strict=False))):
        if value := int(group):
            words += [*_below_thousand(value), scale]
    return " ".join(word for word in words if word) or _SMALL[0]


def _below_thousand(value: int) -> list[str]:
    hundreds, rest = divmod(value, 100)
    words = [_SMALL[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        words.append(_TENS[rest // 10])
        rest %= 10
    if rest:
        words.append(_SMALL[rest])
    return words


def ordinal(digits: str) -> str:
    """Say a rank, `21` as `twenty first`."""
    *first, last = cardinal(digits).split()
    if last.endswith("y"):
        last = f"{last[:-1]}ieth"
    else:
        last = _IRREGULAR_RANKS.get(last, f"{last}th")
    return " ".join([*first, last])


def digit_string(digits: str) -> str:
    """Say digits one by one, `007` as `zero zero seven`."""
    return " ".join(_SMALL[int(digit)] for digit in digits if digit.isdigit())


def number(text: str) -> str:
    """Say an unsigned number with optional thousands commas and decimals."""
    whole, point, decimals = text.replace(",", "").partition(".")
    if not point:
        if len(whole) > 1 and whole[0] == "0":
            return digit_string(whole)
        return cardinal(whole)
    return f"{cardinal(whole or '0')} point {digit_string(decimals)}"


def year(digits: str) -> str:
    """Say a year of one to four digits, `1905` as `nineteen oh five`, `410` as `four ten`."""
    value = int(digits)
    if len(digits) < 3 or value % 1000 < 10:
        return cardinal(digits)
    first, last = digits[:-2], digits[-2:]
    if last == "00":
        return f"{cardinal(first)} hundred"
    return f"{cardinal(first)} {two_digits(last)}"


def two_digits(digits: str) -> str:
    """Say the last half of a year or of a time, `05` as `oh five`."""
    return f"oh {_SMALL[int(digits[1])]}" if digits[0] == "0" else cardinal(digits)


def maybe_year(digits: str) -> str:
    """Say four digits without a sign as a year, everything else as a number."""
    is_year = len(digits) == 4 and digits.isdigit() and 1010 <= int(digits) <= 2099
    return year(digits) if is_year else number(digits)


def plural(words: str) -> str:
    """Say several of a number or a rank, `sixty` as `sixties`."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")
