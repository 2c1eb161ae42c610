"""English numbers, dates, times, money and measures as words.

Takes ASCII text (see `english.py`, which folds everything else first) and gives the same text
with every digit read aloud; which reading a string of digits gets (year, price, time, telephone
number) is decided here. It knows no lexicon, no acronyms, no model.

Why ours: wetext 0.1.8 (45 MB of rule files) was tried on 48 lines. It raised on a cent sign, read
`1990s` as seconds, `555-1234` as a range, `100m` as minutes, `$3.50` as `three point five dollars`
and `St.` not at all; repairing that takes as many rules as stand here. inflect 7.6 has the
words of numbers alone and takes two seconds to import; the tests hold us to it.
"""

import re
from collections.abc import Callable

MONTHS = {
    name[:3]: name
    for name in (
        "january february march april may june july august september october november december"
    ).split()
}
MONTHS["sept"] = "september"
MONTH_NAMES = list(dict.fromkeys(MONTHS.values()))
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_UNITS = {
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "m": ("meter", "meters"),
    "mi": ("mile", "miles"),
    "ft": ("foot", "feet"),
    "in": ("inch", "inches"),
    "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"),
    "mg": ("milligram", "milligrams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "l": ("liter", "liters"),
    "ml": ("milliliter", "milliliters"),
    "s": ("second", "seconds"),
    "sec": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "min": ("minute", "minutes"),
    "h": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"),
    "hz": ("hertz", "hertz"),
    "khz": ("kilohertz", "kilohertz"),
    "mhz": ("megahertz", "megahertz"),
    "ghz": ("gigahertz", "gigahertz"),
    "kb": ("kilobyte", "kilobytes"),
    "mb": ("megabyte", "megabytes"),
    "gb": ("gigabyte", "gigabytes"),
    "tb": ("terabyte", "terabytes"),
    "w": ("watt", "watts"),
    "kw": ("kilowatt", "kilowatts"),
    "v": ("volt", "volts"),
    "°c": ("degree celsius", "degrees celsius"),
    "°f": ("degree fahrenheit", "degrees fahrenheit"),
    "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
    "¢": ("cent", "cents"),
}
# Before a plain word these could be that word (`5 in a row`, `2 m`), so they need the digit close.
_CLOSE_ONLY = {"in", "m", "s", "h", "g", "l", "w", "v"}
_LETTERS_WHEN_CAPITAL = {"G", "H", "M", "S"}  # `5G`, `5S`
_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
_MAGNITUDE = r"(?:\s*(hundred|thousand|million|billion|trillion|[kKmMbB]n?(?![\w])))?"
_MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
_DENOMINATORS = frozenset([*range(2, 11), 12, 15, 16, 20, 32, 64, 100, 1000])
_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen""".split()
_TENS = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion")
_IRREGULAR_RANKS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


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
    """Say a year of four digits, `1905` as `nineteen oh five`."""
    value = int(digits)
    if value % 1000 < 10 and value >= 1000:
        return cardinal(digits)
    first, last = digits[:2], digits[2:]
    if last == "00":
        return f"{cardinal(first)} hundred"
    if last[0] == "0":
        return f"{cardinal(first)} oh {_SMALL[int(last[1])]}"
    return f"{cardinal(first)} {cardinal(last)}"


def _maybe_year(digits: str) -> str:
    return year(digits) if len(digits) == 4 else number(digits)


def _money(match: re.Match[str]) -> str:
    one, many, one_cent, cents = _CURRENCIES[match["sign"]]
    amount, magnitude = match["amount"].replace(",", ""), match["magnitude"]
    if magnitude:
        magnitude = _MAGNITUDES.get(magnitude.lower(), magnitude)
        return f" {number(amount)} {magnitude} {many} "
    whole, point, part = amount.partition(".")
    if not point or len(part) != 2:
        return f" {number(amount)} {one if amount == '1' else many} "
    words = []
    if int(whole or "0") or not int(part):
        words.append(f"{cardinal(whole or '0')} {one if whole == '1' else many}")
    if int(part):
        words.append(f"{cardinal(part)} {one_cent if int(part) == 1 else cents}")
    return f" {' and '.join(words)} "


def _clock(match: re.Match[str]) -> str:
    hour, minute, second, half = match["h"], match["m"], match["s"], match["half"]
    words = [cardinal(hour)]
    if minute and minute != "00":
        words.append(f"oh {_SMALL[int(minute)]}" if minute[0] == "0" else cardinal(minute))
    elif minute and not half:
        words.append("hundred" if int(hour) > 12 else "o'clock")
    if second:
        words.append(f"and {cardinal(second)} second" + ("s" if int(second) != 1 else ""))
    if half:
        words.append("^a ^m" if half[0] in "aA" else "^p ^m")
    return f" {' '.join(words)} "


def _month_day(month: str, day: str, year_digits: str | None) -> str:
    words = f"{MONTHS[month.lower()[:3]]} {ordinal(day)}"
    return f" {words}, {year(year_digits)}" if year_digits else f" {words}"


def _numeric_date(match: re.Match[str]) -> str:
    first, second, digits = int(match[1]), int(match[2]), match[3]
    # American order unless only the other one is possible.
    month, day = (second, first) if first > 12 else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return f" {number(match[1])} slash {number(match[2])} slash {_maybe_year(digits)} "
    spoken = year(digits) if len(digits) == 4 else number(digits)
    return f" {MONTH_NAMES[month - 1]} {ordinal(str(day))}, {spoken} "


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return f" {number(match[1])} dash {number(match[2])} dash {number(match[3])} "
    return f" {MONTH_NAMES[month - 1]} {ordinal(str(day))}, {year(match[1])} "


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match["whole"], int(match["top"]), int(match["bottom"])
    if 1 < top <= bottom and bottom in (20, 25, 30, 40, 50, 60, 75, 80, 100, 120, 200, 500, 1000):
        return f" {number(match['top'])} out of {number(match['bottom'])} "
    if not 0 < top < bottom or bottom not in _DENOMINATORS:
        # No part of a whole: `24/7`, `9/11`.
        return (
            f" {number(whole) if whole else ''} {number(match['top'])} {number(match['bottom'])} "
        )
    name = {2: "half", 4: "quarter"}.get(bottom) or ordinal(str(bottom))
    if top != 1:
        name = "halves" if bottom == 2 else name + "s"
    spoken = f"{cardinal(str(top))} {name}"
    if whole:
        part = f"a {name}" if top == 1 else spoken
        return f" {cardinal(whole)} and {part} "
    return f" {spoken} "


def _measure(match: re.Match[str]) -> str:
    unit = match["unit"].lower()
    one, many = _UNITS[unit]
    amount = match["amount"]
    if match["unit"] in _LETTERS_WHEN_CAPITAL:
        return f" {number(amount)} ^{unit} "
    return f" {number(amount)} {one if amount == '1' else many} "


def _telephone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    sign = "plus " if match[0].startswith("+") else ""
    return f" {sign}{', '.join(digit_string(group) for group in groups)} "


def _plural(words: str) -> str:
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def _decade(match: re.Match[str]) -> str:
    digits = match["digits"]
    return f" {_plural(year(digits) if len(digits) == 4 else cardinal(digits))} "


def _range(match: re.Match[str]) -> str:
    return f" {_maybe_year(match[1])} to {_maybe_year(match[2])} "


def _ratio(match: re.Match[str]) -> str:
    return f" {number(match[1])} to {number(match[2])} "


def _power(match: re.Match[str]) -> str:
    sign = "minus " if match[2] == "-" else ""
    return f"{match[1]} times ten to the {sign}{match[3]} "


def _version(match: re.Match[str]) -> str:
    return f" {' point '.join(number(part) for part in match[0].split('.'))} "


def _bare(match: re.Match[str]) -> str:
    text = match[0]
    if len(text) == 4 and text.isdigit() and 1010 <= int(text) <= 2099:
        return f" {year(text)} "
    return f" {number(text)} "


_SIGNS = "".join(map(re.escape, _CURRENCIES))
_UNIT = "|".join(re.escape(u) for u in sorted(_UNITS, key=len, reverse=True))
_WORDY = "|".join(re.escape(u) for u in sorted(_UNITS.keys() - _CLOSE_ONLY, key=len, reverse=True))
_HALF_DAY = r"[ap]\.m\.(?=\s+[a-z0-9]|,)|[ap]\.?\s?m\b"
_YEAR = r"(1\d{3}|20\d{2})"
_TELEPHONE = re.compile(
    r"(?<![\w.,])(?:"
    r"\+\d[\d -]{6,17}\d|"
    r"(?:\+?\d{1,2}[ -])?\(\d{3}\)\s?\d{3}[ -]\d{4}|"
    r"(?:\d{1,2}[ -])?\d{3}([-. ])\d{3}\1\d{4}|"
    r"\d{3}-\d{4}|"
    r"0\d{2,4}(?:[ -]\d{3,4})+|"
    r"\d+(?:-\d+){2,}"
    r")(?![\w]|[.,]\d)"
)
_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (
        re.compile(
            rf"(?:US|CA|AU)?(?P<sign>[{_SIGNS}])\s?(?P<amount>{_NUMBER})"
            + _MAGNITUDE.replace("(hundred", "(?P<magnitude>hundred")
        ),
        _money,
    ),
    (
        re.compile(r"\b(\d)'\s?(\d{1,2})(?:\"|'')"),
        lambda m: f" {cardinal(m[1])} foot {cardinal(m[2])} ",
    ),
    (re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b"), _iso_date),
    (re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})\b"), _numeric_date),
    (
        re.compile(
            r"\b(?P<h>[01]?\d|2[0-4])(?::(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d))?)(?!\d)"
            rf"(?:\s?(?P<half>{_HALF_DAY}))?",
            re.I,
        ),
        _clock,
    ),
    (
        re.compile(rf"\b(?P<h>1[0-2]|0?[1-9])(?P<m>)(?P<s>)\s?(?P<half>{_HALF_DAY})", re.I),
        _clock,
    ),
    (
        re.compile(rf"\b{_MONTH}\s(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s{_YEAR})?\b(?![:/.]\d)", re.I),
        lambda m: _month_day(m[1], m[2], m[3]),
    ),
    (
        re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?:\sof)?\s{_MONTH}(?:,?\s{_YEAR})?\b", re.I),
        lambda m: _month_day(m[2], m[1], m[3]),
    ),
    (re.compile(r"(?<![\w:.])(\d{1,4}):(\d{1,4})(?![\w:]|\.\d)"), _ratio),
    (_TELEPHONE, _telephone),
    (re.compile(r"(?<!\w)'?(?P<digits>\d{3}0|\d0)'?s\b"), _decade),
    (re.compile(r"\b(\d[\d,]*)(?:st|nd|rd|th)\b", re.I), lambda m: f" {ordinal(m[1])} "),
    (
        re.compile(r"(?<![\d/.])(?:(?P<whole>\d+)\s)?(?P<top>\d+)/(?P<bottom>\d+)(?![\d/]|\.\d)"),
        _fraction,
    ),
    (re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}\b"), _version),
    (re.compile(r"(?<![\w.-])(\d+)\s?-\s?(\d+)(?![\w-]|\.\d)"), _range),
    (
        re.compile(rf"(?<![\w.])(?P<amount>{_NUMBER})(?P<unit>{_UNIT})(?!\w)", re.I),
        _measure,
    ),
    (
        re.compile(rf"(?<![\w.])(?P<amount>{_NUMBER})\s(?P<unit>{_WORDY})(?![\w])", re.I),
        _measure,
    ),
    (re.compile(_NUMBER), _bare),
]
_MINUS = re.compile(rf"(?<![\w)])-(?=[{_SIGNS}]?[.\d])")
_SIGN_FIRST = re.compile(rf"([{_SIGNS}])-(?=[.\d])")
_AMOUNTS = re.compile(rf"([{_SIGNS}])({_NUMBER})\s?-\s?\1?(?=[.\d])")
_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?)(\d{1,3})(?!\w)")
_RANKED = re.compile(r"(?<=\d)/(\d+)(?:rd|th|nd|st)s?\b")
_SUM = re.compile(r"(?<=\d)\s-\s(?=\d)")
_HOURS = re.compile(
    r"(?<=\d:\d\d)\s?-\s?(?=\d)|(?<=\d[ap]m)\s?-\s?(?=\d)|(?<=\d [ap]m)\s?-\s?(?=\d)", re.I
)
# A name with a number: `MP3s`, `COVID-19`; and `3-year-old`.
_NAMED_PLURAL = re.compile(r"(?<=[A-Za-z])(\d+)s\b")
_JOINED = re.compile(r"(?<=[A-Za-z])-(?=\d)|(?<=\d)-(?=[A-Za-z])")


def _many(match: re.Match[str]) -> str:
    return f" {_plural(cardinal(match[1]))} "


def say_numbers(text: str) -> str:
    """Replace every number of an ASCII text (currency signs and `°` kept) by its words.

    Letters to be spelled come out as `^a`, as everywhere in this front end.
    """
    if not any(character.isdigit() for character in text):
        return text
    text = _HOURS.sub(" to ", text)
    if "=" in text:
        text = _SUM.sub(" minus ", text)
    text = _POWER.sub(_power, text)
    text = _RANKED.sub(r"/\1", text)
    text = _AMOUNTS.sub(r"\1\2 to \1", _SIGN_FIRST.sub(r"-\1", text))
    text = _JOINED.sub(" ", text)
    text = _NAMED_PLURAL.sub(_many, text)
    text = _MINUS.sub(" minus ", text)
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    return text
