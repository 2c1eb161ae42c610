"""Numbers with units: `5-10km`, `a 6 ft fence`, `9.8 m/s²`, `27" monitor`.

A unit is read from its parts (prefix, base, power, `per`), so that `kWh` and `mA/cm²` need no line
of their own. Letters that may also be words (`5 in a row`, `10 A`) are units only where what
stands beside them says so.
"""

import re

from mamtra_cli.text.adjectives import DETERMINERS, NO_NOUN, is_adjective, is_measured
from mamtra_cli.text.number_words import NUMBER, cardinal, number
from mamtra_cli.text.ratios import fraction
from mamtra_cli.text.rules import HIDDEN, NEAR, Rule, after, compiled, said, word_after, word_before

_PREFIXES = {
    "Y": "yotta", "T": "tera", "G": "giga", "M": "mega", "k": "kilo", "K": "kilo", "h": "hecto",
    "d": "deci", "c": "centi", "m": "milli", "µ": "micro", "u": "micro", "n": "nano", "p": "pico",
    "P": "peta", "Ki": "kibi", "Mi": "mebi", "Gi": "gibi", "Ti": "tebi",
}  # fmt: skip
# Base, its name, and the prefixes it is met with.
_BASES: dict[str, tuple[str, str]] = {
    "m": ("meter", "k c m d µ u n"), "g": ("gram", "k m µ u n"), "L": ("liter", "m c d µ h"),
    "l": ("liter", "m c d µ h"), "W": ("watt", "k m M G T µ"), "V": ("volt", "k m M µ"),
    "A": ("amp", "k m µ"), "Hz": ("hertz", "k M G T"), "Pa": ("pascal", "k h M G"),
    "J": ("joule", "k M G m"), "N": ("newton", "k m"), "s": ("second", "m µ n p"),
    "B": ("byte", "k K M G T P Ki Mi Gi Ti"), "bit": ("bit", "k K M G T"),
    "bps": ("bit per second", "k K M G"), "Bps": ("byte per second", "k K M G"),
    "Ω": ("ohm", "k m M"), "Wh": ("watt hour", "k M G T"), "Ah": ("amp hour", "m k"),
    "cal": ("calorie", "k"), "eV": ("electron volt", "k M G T"), "bar": ("bar", "m"),
    "mol": ("mole", "m µ"), "Eq": ("equivalent", "m µ"),
    "F": ("farad", "µ n p"), "Sv": ("sievert", "m µ"),
    "Wp": ("watt peak", "k"),
    "ton": ("ton", "k M"),
}  # fmt: skip
_IRREGULAR = {"foot": "feet", "inch": "inches", "henry": "henries"}
_UNITS = {
    "mi": "mile", "ft": "foot", "in": "inch", "yd": "yard", "yds": "yard", "lb": "pound",
    "lbs": "pound", "oz": "ounce", "gal": "gallon", "gals": "gallon", "qt": "quart", "qts": "quart",
    "pt": "pint", "pts": "point", "tsp": "teaspoon", "tbsp": "tablespoon", "Tbsp": "tablespoon",
    "cc": "cubic centimeter",
    "sec": "second", "secs": "second", "min": "minute", "mins": "minute", "h": "hour",
    "hr": "hour", "hrs": "hour", "wk": "week", "wks": "week", "mo": "month", "mos": "month",
    "yr": "year", "yrs": "year", "mph": "mile per hour", "kph": "kilometer per hour",
    "kmh": "kilometer per hour", "kn": "knot", "kt": "knot", "kts": "knot",
    "mpg": "mile per gallon",
    "psi": "pound per square inch",
    "rpm": "revolution per minute", "bpm": "beat per minute", "fps": "frame per second",
    "ppm": "part per million", "ppb": "part per billion", "dpi": "dot per inch",
    "dB": "decibel", "dBm": "decibel milliwatt", "hp": "horsepower", "px": "pixel", "lx": "lux",
    "lm": "lumen", "ha": "hectare", "atm": "atmosphere", "mmHg": "millimeter of mercury",
    "K": "kelvin", "°C": "degree celsius", "°F": "degree fahrenheit", "°K": "kelvin",
    "°": "degree", "%": "percent", "¢": "cent", "kcals": "kilocalorie", "Cal": "calorie",
    "kgs": "kilogram", "kms": "kilometer", "cms": "centimeter", "mcg": "microgram",
    "inHg": "inch of mercury",
    "kVA": "kilovolt amp", "BTU": "^b ^t ^u", "sqft": "square foot",
    "sqm": "square meter", "Nm": "newton meter", "MP": "megapixel", "Mpx": "megapixel",
}  # fmt: skip
_KINDS = {"sq": "square", "cu": "cubic", "fl": "fluid"}
_UNCOUNTED = frozenset({"percent", "hertz", "lux", "horsepower", "kelvin", "^b ^t ^u"})
_LOOSE = {name.lower(): name for name in [*_UNITS, "kg", "km", "cm", "mm", "ml", "kW", "kWh", "mAh",
    "MHz", "GHz", "kHz", "Hz", "KB", "MB", "GB", "TB", "MW", "kV", "kPa", "mg", "Mbps", "kbps",
    "Gbps", "kcal", "kJ", "GW", "nm"] if len(name) > 1 and name not in ("in", "mo", "ha", "mi",
    "pt", "min")}  # fmt: skip
# Words of English too, or letters: each has a rule in `_doubtful`.
_PER = {"s": "second", "h": "hour", "hr": "hour", "min": "minute", "sec": "second", "d": "day",
        "day": "day", "wk": "week", "week": "week", "mo": "month", "month": "month", "yr": "year",
        "year": "year", "hour": "hour", "minute": "minute", "second": "second", "person": "person",
        "night": "night", "user": "user", "a": "year", "mile": "mile", "unit": "unit",
        "item": "item", "head": "head", "page": "page", "student": "student", "word": "word",
        "share": "share", "acre": "acre", "seat": "seat", "km": "kilometer", "token": "token",
        "line": "line", "ton": "ton", "room": "room", "mL": "milliliter",
        "dL": "deciliter"}  # fmt: skip
_SIDES = frozenset(
    "wide tall long deep high thick across of by x square diameter apart away below above and "
    "off longer shorter taller wider higher or".split()
)


def unit_words(symbol: str) -> tuple[str, str] | None:
    """Name one and several of a unit, `kWh` as `kilowatt hour`, `kilowatt hours`.

    `None` for what is no unit. A power stands as `^2` or a last digit; `/` parts `per`.
    """
    top, slash, bottom = symbol.partition("/")
    power = compiled(r"\^?(-?[23])$").search(top)
    name = _simple(top[: power.start()] if power else top)
    if name is None or (power and power[1].startswith("-")):
        return None
    if power:
        name = f"{'square' if power[1] == '2' else 'cubic'} {name}"
    if not slash:
        return name, _several(name)
    raised = compiled(r"\^?([23])$").search(bottom)
    stem = bottom[: raised.start()] if raised else bottom
    under = _PER.get(stem) or _simple(stem)
    if under is None:
        return None
    if raised and under != "second":
        under = f"{'square' if raised[1] == '2' else 'cubic'} {under}"
    elif raised:
        under += " squared" if raised[1] == "2" else " cubed"
    return f"{name} per {under}", f"{_several(name)} per {under}"


def _simple(symbol: str) -> str | None:
    area = compiled(r"(sq|cu|fl|square|cubic)(?:\.\s?|\s)(.+)").fullmatch(symbol)
    if area:
        inner = _simple(area[2].rstrip("."))
        return inner and f"{_KINDS.get(area[1], area[1])} {inner}"
    symbol = symbol.replace("μ", "µ").replace("Ω", "Ω")
    if symbol in _UNITS:
        return _UNITS[symbol]
    if symbol in _BASES:
        return _BASES[symbol][0]
    for length in (2, 1):
        prefix, base = symbol[:length], symbol[length:]
        if base in _BASES and prefix in _BASES[base][1].split():
            return (_PREFIXES[prefix] + _BASES[base][0]).replace("kiloohm", "kilohm")
    loose = _LOOSE.get(symbol.lower())
    return _simple(loose) if loose and loose != symbol else None


def _several(name: str) -> str:
    if name in _UNCOUNTED or name.startswith("degree "):
        return name.replace("degree ", "degrees ")
    head, per, rest = name.partition(" per ")
    head, of, inside = head.partition(" of ")
    *first, last = head.split()
    last = last if last.endswith("hertz") else _IRREGULAR.get(last, last + "s")
    return " ".join([*first, last]) + of + inside + per + rest


def _doubtful(unit: str, gap: str, match: re.Match[str]) -> bool:
    """Whether letters after a number are no unit here."""
    following, rest = word_after(match), after(match)
    if rest.startswith("'s"):
        return True  # `the 5 W's`
    amount = match["b"] or match["a"]
    if unit == "in":
        if match["stop"]:
            return not (not rest.strip() or following.islower() or rest.lstrip()[:1] in "x×;,")
        if not following and (gap == "" or not rest.strip()):
            return False
        return following.lower() not in _SIDES and word_before(match) not in (
            "feet",
            "foot",
            "ft",
            "ft.",
            "'",
        )
    if unit in ("K", "M", "T", "G", "S", "H", "B", "C", "D", "F", "P", "E", "R"):
        return gap == "" or unit != "K" or not (not following or following in NO_NOUN)
    if unit == "MP" and amount == "1":
        return True
    if unit == "A":
        alone = following == "" or following in NO_NOUN
        return not (is_measured(following) or (alone and gap != ""))
    if (
        unit == "s"
        and gap == ""
        and compiled(r"[a-z]-").fullmatch(match.string[max(0, match.start() - 2) : match.start()])
    ):
        return True  # `under-21s`
    if unit == "kt":
        return following in ("gold", "white", "yellow", "rose", "solid")  # of gold: karats
    if unit in ("V", "W", "N", "J"):
        return gap != "" and following[:1].isupper() and len(following) == 1
    if unit in ("pt", "mo"):
        return gap != "" and following.islower() and not match["stop"]
    if unit in ("mi", "ha", "cal") and rest.startswith(" " + unit):
        return True
    return (unit == "m" and gap == "" and following in ("people", "users", "views", "dollars")) or (
        unit == "u" or (unit in ("I", "a") and gap != "") or amount == ""
    )


def _amount(match: re.Match[str]) -> str:
    first = number(match["a"])
    amount = f"{first} to {number(match['b'])}" if match["b"] else first
    return f"{amount} plus" if match["plus"] else amount


def _measure(match: re.Match[str]) -> str | None:
    unit, gap = match["unit"], match["gap"]
    words = unit_words(unit.strip())
    if words is None and unit[-1:] in "23" and gap:
        return None
    if words is None or _doubtful(unit, gap, match):
        return None
    one, many = words
    single = (match["b"] or match["a"]) == "1" or gap == "-"
    if unit.endswith(("b/s", "b/sec")):  # bits, however few write bytes so
        one, many = one.replace("byte", "bit"), many.replace("byte", "bit")
    if unit not in ("%", "¢") and not single:
        single = is_adjective(match)
    return said(f"{_amount(match)} {one if single else many}") + _stop(match)


def _stop(match: re.Match[str]) -> str:
    """The stop after an abbreviation, where a sentence ends with it."""
    following = after(match).lstrip()
    ends = not following or (following[0].isupper() and not following.startswith("I "))
    return ". " if match["stop"] and ends else ""


def _both(match: re.Match[str]) -> str | None:
    """`10%-20%`: two measures with a range between."""
    first, last = unit_words(match["u"]), unit_words(match["v"])
    if first is None or last is None:
        return None
    left = f"{number(match['a'])} {first[0] if match['a'] == '1' else first[1]}"
    right = f"{number(match['b'])} {last[0] if match['b'] == '1' else last[1]}"
    between = "to" if match["sep"].strip() in ("-", "–") else "by"
    return said(f"{left} {between} {right}")


def _part(match: re.Match[str]) -> str | None:
    """`1 1/2 lbs`, `3/4 in.`: a fraction of a unit."""
    words = unit_words(match["unit"])
    top, bottom = int(match["top"]), int(match["bottom"])
    if words is None or not 0 < top < bottom or bottom > 64:
        return None
    if (
        match["unit"] in ("in", "a", "A")
        and not match["stop"]
        and word_after(match).lower() not in _SIDES
    ):
        return None
    if len(match["unit"]) == 1 and match["unit"] not in "mgLl":
        return None
    single = not match["whole"] or match["gap"] == "-" or is_adjective(match)
    return said(
        f"{fraction(match['whole'], top, bottom)} {words[0] if single else words[1]}"
    ) + _stop(match)


def _pressure(match: re.Match[str]) -> str:
    unit = "millimeters of mercury" if match[3] else ""
    return said(f"{cardinal(match[1])} over {cardinal(match[2])} {unit}".strip())


def _inches(match: re.Match[str]) -> str | None:
    before = match.string[max(0, match.start() - 4 * NEAR) : match.start()]
    quote = match["quote"]
    if quote == '"' and len(compiled(r'(?<!\d)"').findall(before)) % 2:
        return None  # it closes a quotation
    if quote == "'" and len(compiled(r"(?<!\w)'|(?<!\d)'(?!\w)").findall(before)) % 2:
        return None
    following = word_after(match)
    one, many = ("inch", "inches") if quote == '"' else ("foot", "feet")
    noun = (
        bool(following)
        and following.lower() not in NO_NOUN
        and (quote == '"' or is_adjective(match))
    )
    noun = noun or compiled(r"\s\d+[KkPp]\b").match(after(match)) is not None
    by = bool(compiled(r"\s?(?:x|×|by)\s?\d").match(after(match)))
    last = is_adjective(match) or noun or (by and word_before(match) in DETERMINERS)
    last = last or (word_before(match) == "by" and bool(following))
    single = match["a"] == "1" or last
    return said(f"{number(match['a'])} {one if single else many}")


def _bearing(match: re.Match[str]) -> str | None:
    """`40°42'46" N`: minutes and seconds of an angle, and the quarter of the sky."""
    if match["minutes"] is None and match["side"] is None:
        return None
    words = [number(match["a"]), "degree" if match["a"] == "1" else "degrees"]
    for name in ("minutes", "seconds"):
        if count := match[name]:
            words += [number(count), name.removesuffix("s") if count == "1" else name]
    words += [_SIDES_OF_SKY[match["side"]]] if match["side"] else []
    return said(" ".join(words))


def _under(match: re.Match[str]) -> str | None:
    """`12 g CO2/km`: what a measure is for has been said between."""
    words = unit_words(f"g/{match[1]}")
    return None if words is None else said(words[0].removeprefix("gram "))


def _stone(match: re.Match[str]) -> str | None:
    """`12st 4lb`; `21st` is a rank."""
    amount, pounds = match["a"], match["b"]
    if amount.endswith("1") and amount != "11":
        return None
    more = f" {number(pounds)} pound" + ("s" if pounds != "1" else "") if pounds else ""
    return said(f"{number(amount)} stone{more}")


def _part_inch(match: re.Match[str]) -> str | None:
    """`3/16"`, `2 1/2"`."""
    top, bottom = int(match["top"]), int(match["bottom"])
    quoted = match.string[max(0, match.start() - 4 * NEAR) : match.start()].count('"') % 2
    if not 0 < top < bottom or bottom > 64 or quoted:
        return None
    unit = "inches" if match["whole"] and not is_adjective(match) else "inch"
    return said(f"{fraction(match['whole'], top, bottom)} {unit}")


def _tall(match: re.Match[str]) -> str:
    return said(f"{cardinal(match[1])} foot {number(match[2])}")


def _lone(match: re.Match[str]) -> str | None:
    words = unit_words(match[0])
    return None if words is None else said(words[1])


_SIDES_OF_SKY = {"N": "north", "S": "south", "E": "east", "W": "west"}
_AREA = r"(?:(?:sq|cu|fl)\.?\s?|(?:square|cubic)\s)?"
_SYMBOL = r"[°%¢A-Za-zµμΩΩ](?:[A-Za-zΩΩ]*)(?:\^-?[23]|(?<=[cmk]m)[23]|(?<=m)[23])?"
UNIT = rf"{_AREA}{_SYMBOL}(?:/[A-Za-z]+(?:\^?[23])?)?"
RULES = (
    Rule(
        r"\b(?<![\w.])(?P<a>\d{1,3})[- ]?(?:y/o|yo|y\.o\.)(?!\w)",
        lambda m: said(f"{cardinal(m['a'])} year old"),
        "y",
    ),
    Rule(
        rf"(?<![\w.])({NUMBER})\s?[lL]/100\s?km\b",
        lambda m: said(f"{number(m[1])} liters per one hundred kilometers"),
        "lL",
    ),
    Rule(r"(?<![\w/])(\d{2,3})/(\d{2,3})\s?(mm\s?Hg)\b", _pressure, "0"),
    Rule(
        r"(?:(?<=pressure )|(?<=\bBP )|(?<=\bBP: ))((?:of |is |was )?\d{2,3})/(\d{2,3})\b",
        lambda m: said(
            f"{m[1].rstrip('0123456789')}{cardinal(re.sub(r'[^0-9]', '', m[1]))} over "
            f"{cardinal(m[2])}"
        ),
        "0",
    ),
    Rule(
        r"(?<![\w.,])(\d{1,3}),(\d{1,2})(?=\s?(?:[kcm]?m|k?g|[cm]?[lL]|kWh|°|%)(?!\w))",
        lambda m: f"{m[1]}.{m[2]}",
        ",",
    ),
    Rule(
        rf"(?<![\w./])(?:(?P<whole>\d+)[ -])?(?P<top>\d+)/(?P<bottom>\d+)(?P<gap>[ -]?)(?P<unit"
        rf">{_AREA}[A-Za-z]{{1,4}})(?P<stop>\.(?!\w))?(?![\w^])",
        _part,
        "/",
    ),
    Rule(
        r"(?<![\w.])(?P<a>\d{1,3}(?:\.\d+)?)°\s?(?:(?P<minutes>\d{1,2}(?:\.\d+)?)'\s?"
        r"(?:(?P<seconds>\d{1,2}(?:\.\d+)?)(?:\"|''))?\s?)?(?P<side>[NSEW](?!\w))?",
        _bearing,
        "°",
    ),
    Rule(
        r"(?<![\w.])(?P<a>\d{1,2})(?:st|\s?st(?=\s?\d))(?:\s?(?P<b>1[0-3]|\d)\s?lbs?)?\b",
        _stone,
        "s",
    ),
    Rule(
        r"(?<![\w./])(?:(?P<whole>\d+)[ -])?(?P<top>\d+)/(?P<bottom>\d+)\"",
        _part_inch,
        "/",
    ),
    Rule(r"\b(\d)'\s?(\d{1,2})(?:\"|''|\b(?!'))", _tall, "'"),
    Rule(rf"(?<![\w.])(?P<a>{NUMBER})(?P<quote>[\"'])(?![\w])", _inches, "\"'"),
    Rule(
        rf"(?<![\w.])(?P<a>{NUMBER})\s?(?P<u>[°%¢]?[A-Za-zµμΩ]{{0,4}}(?<=[\w°%¢]))(?P<sep>\s?[-–]\s?|\s?[x×]\s)"
        rf"(?P<b>{NUMBER})\s?(?P<v>[°%¢]?[A-Za-zµμΩ]{{0,4}}(?<=[A-Za-zµΩ°%¢]))(?![\w^])",
        _both,
        "0",
    ),
    Rule(
        rf"(?<![\w./])(?P<a>{NUMBER})(?:\s?(?:[-–]|to)\s?(?P<b>{NUMBER}))?(?P<plus>\+)?"
        rf"(?P<gap>[ -]?)(?P<unit>{UNIT})"
        r"(?![\w^])(?P<stop>\.(?!\w))?",
        _measure,
        "0",
    ),
    Rule(rf"(?<=[{HIDDEN}] )/([A-Za-z]+)\b", _under, "/"),
)
LONE = (
    Rule(
        r"(?<![\w/])(?<!\d\s)(?<!\d)(?:°[CF]|k?m/h|m/s|km/s|[kcm]?m\^[23]|mi/h|[MGk]B/s|[MG]bit/s)(?![\w/])",
        _lone,
        "/^°",
    ),
)
