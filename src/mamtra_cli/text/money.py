"""Amounts of money: signs before and after, codes, magnitudes, ranges, rates."""

import re

from mamtra_cli.text.adjectives import is_adjective
from mamtra_cli.text.number_words import NUMBER, cardinal, number
from mamtra_cli.text.rules import Rule, said, word_after
from mamtra_cli.text.units import unit_words

_DOLLAR = ("dollar", "dollars", "cent", "cents")
_SIGNS = {
    "$": _DOLLAR,
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₫": ("dong", "dong", "xu", "xu"),
    "₴": ("hryvnia", "hryvnias", "kopek", "kopeks"),
    "₦": ("naira", "naira", "kobo", "kobo"),
    "₱": ("peso", "pesos", "centavo", "centavos"),
    "฿": ("baht", "baht", "satang", "satang"),
}
_LANDS = {
    "US": "^u ^s", "USD": "^u ^s", "CA": "canadian", "C": "canadian", "CAD": "canadian",
    "A": "australian", "AU": "australian", "AUD": "australian", "NZ": "new zealand",
    "NZD": "new zealand", "HK": "hong kong", "HKD": "hong kong", "S": "singapore",
    "SGD": "singapore", "R": "",
}  # fmt: skip
_CODES = {
    "EUR": _SIGNS["€"], "GBP": _SIGNS["£"], "JPY": _SIGNS["¥"], "INR": _SIGNS["₹"],
    "KRW": _SIGNS["₩"], "RUB": _SIGNS["₽"], "CNY": ("yuan", "yuan", "fen", "fen"),
    "RMB": ("yuan", "yuan", "fen", "fen"), "CHF": ("swiss franc", "swiss francs", "centime",
    "centimes"),
    "SEK": ("swedish krona", "swedish kronor", "ore", "ore"),
    "NOK": ("norwegian krone", "norwegian kroner", "ore", "ore"),
    "DKK": ("danish krone", "danish kroner", "ore", "ore"),
    "PLN": ("zloty", "zlotys", "grosz", "groszy"), "MXN": ("mexican peso", "mexican pesos",
    "centavo", "centavos"),
    "BRL": ("real", "reais", "centavo", "centavos"), "ZAR": ("rand", "rand", "cent", "cents"),
    "TRY": _SIGNS["₺"], "PHP": _SIGNS["₱"], "THB": _SIGNS["฿"], "ILS": _SIGNS["₪"],
    "kr": ("krona", "kronor", "ore", "ore"),
}  # fmt: skip
for _code, _land in _LANDS.items():
    if len(_code) == 3:
        _CODES[_code] = (f"{_land} dollar", f"{_land} dollars", "cent", "cents")
_MAGNITUDES = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "mio": "million",
    "b": "billion", "bn": "billion", "t": "trillion", "tn": "trillion",
}  # fmt: skip
_RATES = {"hr": "hour", "h": "hour", "mo": "month", "yr": "year", "wk": "week", "lb": "pound",
          "oz": "ounce", "pp": "person", "min": "minute", "sec": "second",
          "ea": "each"}  # fmt: skip


def _names(match: re.Match[str]) -> tuple[str, str, str, str]:
    """One and several of a currency and of its hundredth."""
    groups = match.groupdict()
    code, sign = groups.get("code"), groups.get("sign")
    if code:
        return _CODES.get(code.rstrip("."), _SIGNS["₹"])
    one, many, cent, cents = _SIGNS[sign or "$"]
    if groups.get("land") == "R":
        return "real", "reais", "centavo", "centavos"
    if land := _LANDS.get(groups.get("land") or "", ""):
        return f"{land} {one}", f"{land} {many}", cent, cents
    return one, many, cent, cents


def _magnitude(written: str | None) -> str:
    return "" if not written else " " + _MAGNITUDES.get(written.lower(), written.lower())


def _amount(amount: str, names: tuple[str, str, str, str], magnitude: str, single: bool) -> str:
    one, many, one_cent, cents = names
    amount = amount.replace(",", "")
    if magnitude:
        return f"{number(amount)}{magnitude} {one if single else many}"
    whole, point, part = amount.partition(".")
    if not point or len(part) != 2:
        return f"{number(amount)} {one if amount == '1' or single else many}"
    words = []
    if int(whole or "0") or not int(part):
        words.append(f"{cardinal(whole or '0')} {one if whole == '1' or single else many}")
    if int(part):
        words.append(f"{cardinal(part)} {one_cent if int(part) == 1 or single else cents}")
    return " and ".join(words)


def _rate(match: re.Match[str]) -> str:
    written = match.groupdict().get("rate")
    if not written:
        return ""
    unit = _RATES.get(written.lower())
    if unit is None:
        words = unit_words(written)
        unit = words[0] if words else written.lower()
    return " each" if unit == "each" else f" per {unit}"


def _money(match: re.Match[str]) -> str:
    magnitude = _magnitude(match["mag"])
    single = is_adjective(match) and not match["rate"]
    return said(_amount(match["amount"], _names(match), magnitude, single) + _rate(match))


def _range(match: re.Match[str]) -> str:
    names, last = _names(match), _magnitude(match["mag2"])
    first = _magnitude(match["mag"])
    high = _amount(match["high"], names, last, is_adjective(match)) + _rate(match)
    if match["again"] and not (last and not first):
        low = _amount(match["low"], names, first, False)
    else:
        low = number(match["low"]) + (first if first != last else "")
    return said(f"{low} to {high}")


def _behind(match: re.Match[str]) -> str:
    """`20€`, `1,50 €`, `100 USD`."""
    amount = match["amount"]
    if re.fullmatch(r"\d+,\d\d", amount):
        amount = amount.replace(",", ".")
    magnitude = _magnitude(match["mag"])
    return said(_amount(amount, _names(match), magnitude, is_adjective(match)) + _rate(match))


def _behind_range(match: re.Match[str]) -> str:
    high = _amount(match["high"], _names(match), "", False)
    return said(f"{number(match['low'])} to {high}")


def _rupees(match: re.Match[str]) -> str:
    return said(_amount(match["amount"], _names(match), _magnitude(match["mag"]), False))


def _lone(match: re.Match[str]) -> str | None:
    """A sign without a number, as in `$ amount`."""
    return said(_SIGNS[match[0]][0]) if not word_after(match) else None


_SIGN = "[" + "".join(map(re.escape, _SIGNS)) + "]"
SIGNS = "".join(_SIGNS)
_LAND = r"(?P<land>(?<![A-Za-z])(?:US|CA|AU|NZ|HK|C|A|S|R))?"
_MAG = (
    r"(?:[\s-]?"
    r"(?P<{}>(?i:hundred|thousand|million|billion|trillion|mio|bn|mn|tn|mm|[kmbt]))(?![\w]))?"
)
_RATE = r"(?:\s?/\s?(?P<rate>[A-Za-z]+))?"
_CODE = "|".join(sorted(_CODES, key=len, reverse=True))
RULES = (
    Rule(
        rf"{_LAND}(?P<sign>{_SIGN})\s?(?P<low>{NUMBER}){_MAG.format('mag')}\s?[-–]\s?"
        rf"(?P<again>(?:[A-Z]{{0,2}})(?P=sign)\s?)?(?P<high>{NUMBER}){_MAG.format('mag2')}{_RATE}(?![\w])",
        _range,
        SIGNS,
    ),
    Rule(
        rf"{_LAND}(?P<sign>{_SIGN})\s?(?P<amount>{NUMBER}){_MAG.format('mag')}{_RATE}",
        _money,
        SIGNS,
    ),
    Rule(rf"\b(?P<code>Rs\.?|{_CODE})\s?(?P<amount>{NUMBER}){_MAG.format('mag')}", _rupees, "0"),
    Rule(
        rf"(?<![\w.,])(?P<low>{NUMBER})\s?[-–]\s?(?P<high>{NUMBER})\s?(?:(?P<sign>{_SIGN})|(?P<code>{_CODE})\b)",
        _behind_range,
        "0",
    ),
    Rule(
        rf"(?<![\w.,])(?P<amount>\d+,\d\d(?!\d)|{NUMBER}){_MAG.format('mag')}\s?(?:(?P<sign>{_SIGN})|(?P<code>{_CODE})\b){_RATE}",
        _behind,
        "0",
    ),
)
