"""Numbers and money in words, as the model heard them in training.

English words for every language but Japanese, the published rules with their oddities ($3.5 is
five cents; the digits after a point are read as one number). Source: Zyphra/Zonos,
zonos/conditioning.py, whose rules are those of keithito/tacotron.
"""

import re
import unicodedata
from functools import cache
from typing import Any

from mamtra_cli.errors import MissingDependencyError

KANJI = "〇一二三四五六七八九"
SMALL = ("", "十", "百", "千")
LARGE = ("", "万", "億", "兆", "京")


@cache
def _inflect() -> Any:
    import inflect

    return inflect.engine()


def english(text: str) -> str:
    """Write the numbers of a text in English words."""
    text = re.sub(r"[0-9][0-9,]+[0-9]", lambda found: found[0].replace(",", ""), text)
    text = re.sub(r"£([0-9,]*[0-9]+)", r"\1 pounds", text)
    text = re.sub(r"\$([0-9.,]*[0-9]+)", lambda found: _dollars(found[1]), text)
    text = re.sub(r"[0-9]+\.[0-9]+", lambda found: found[0].replace(".", " point "), text)
    text = re.sub(
        r"[0-9]+(?:st|nd|rd|th)", lambda found: str(_inflect().number_to_words(found[0])), text
    )
    return re.sub(r"[0-9]+", lambda found: _number(int(found[0])), text)


def _dollars(amount: str) -> str:
    parts = amount.split(".")
    if len(parts) > 2:
        return f"{amount} dollars"
    dollars = int(parts[0] or 0)
    cents = int(parts[1] or 0) if len(parts) == 2 else 0
    words = []
    if dollars:
        words.append(f"{dollars} dollar" + "s" * (dollars != 1))
    if cents:
        words.append(f"{cents} cent" + "s" * (cents != 1))
    return ", ".join(words) or "zero dollars"


def _number(value: int) -> str:
    words = _inflect().number_to_words
    if not 1000 < value < 3000:
        return str(words(value, andword=""))
    if value == 2000:
        return "two thousand"
    if 2000 < value < 2010:
        return f"two thousand {words(value % 100)}"
    if value % 100 == 0:
        return f"{words(value // 100)} hundred"
    return str(words(value, andword="", zero="oh", group=2)).replace(", ", " ")


def japanese(text: str) -> str:
    """Write a Japanese text as the readings of its words, joined by spaces.

    Raises:
        MissingDependencyError: SudachiPy or its dictionary is not installed.
    """
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"\d+", lambda found: kanji_number(int(found[0])), text)
    tokenizer, mode = _sudachi()
    return " ".join(word.reading_form() for word in tokenizer.tokenize(text, mode))


def kanji_number(value: int) -> str:
    """Write a whole number below 10^20 in kanji; a larger one digit by digit."""
    if value == 0:
        return KANJI[0]
    if value >= 10 ** (4 * len(LARGE)):
        return "".join(KANJI[int(digit)] for digit in str(value))
    text = ""
    for place in range(len(LARGE) - 1, -1, -1):
        group = value // 10 ** (4 * place) % 10_000
        written = ""
        for power in range(3, -1, -1):
            digit = group // 10**power % 10
            if digit:
                # One is not written before ten, hundred and a thousand that stands alone.
                silent = digit == 1 and power > 0 and not (power == 3 and place > 0)
                written += ("" if silent else KANJI[digit]) + SMALL[power]
        text += written + LARGE[place] * bool(written)
    return text


@cache
def _sudachi() -> tuple[Any, Any]:
    try:
        from sudachipy import Dictionary, SplitMode
    except ImportError as error:
        raise MissingDependencyError(
            "Japanese text is read by SudachiPy, which is not installed",
            "pip install 'mamtra-cli[ja]', or give the phones yourself",
        ) from error
    for name in ("full", "core", "small"):
        try:
            return Dictionary(dict=name).create(), SplitMode.A
        except ModuleNotFoundError:
            continue
    raise MissingDependencyError(
        "SudachiPy has no dictionary", "pip install sudachidict_core, or sudachidict_full"
    )
