"""English text as a line of spoken words: the order in which the trades read it.

`normalise` gives lower-case words, `^x` for a letter said by its name, and the pauses `,` `.` `?`.
What money, dates or acronyms are is known in their own modules; here stands which of them reads
first. This file knows no phones, only (through `known`) which words a lexicon has. Modules of
numbers are imported when a text has digits: most sentences have none.
"""

import re
from collections.abc import Callable

from mamtra_cli.text import abbreviations, code
from mamtra_cli.text.addresses import read_addresses
from mamtra_cli.text.cutting import sentences
from mamtra_cli.text.letters import read_capitals, read_initials, tokens_shown
from mamtra_cli.text.markup import plain
from mamtra_cli.text.places import STATES
from mamtra_cli.text.roman import read_roman
from mamtra_cli.text.rules import HIDDEN, apply, compiled, show_written
from mamtra_cli.text.signs import fold, soften

__all__ = ["normalise", "sentences"]
_SYMBOLS = {
    "&": "and", "@": "at", "%": "percent", "+": "plus", "=": "equals", "<": "less than",
    ">": "greater than", "#": "hash", "*": "asterisk", "~": "tilde", "^": "caret",
    "|": "vertical bar", "\\": "backslash", "/": "slash", "_": "underscore", "$": "dollar",
    "£": "pound", "€": "euro", "¥": "yen", "₹": "rupee", "°": "degree", "¢": "cent", "₩": "won",
    "₽": "ruble", "₺": "lira", "₪": "shekel", "₫": "dong", "₴": "hryvnia", "₦": "naira",
    "₱": "peso", "฿": "baht",
}  # fmt: skip

_SPOKEN = frozenset("./&@%+=<>#*~|_$£€¥₹°¢₩₽₺₪₫₴₦₱฿–×÷±∓≈≠≤≥√Ω²³")
_WORDED = "&%+=$£€¥₹°¢₩₽₺₪₫₴₦₱฿"  # signs that are never left for the model to guess


def normalise(text: str, known: Callable[[str], bool]) -> str:
    """Write a text as it is spoken.

    Args:
        text: anything a user types.
        known: whether a lower-case word stands in the lexicon; decides how acronyms are read.

    Returns:
        Lower-case words and `^x` letters between single spaces, with `,`, `.` and `?` as pauses,
        one of `.` and `?` last; `""` if nothing is to be said.

    Raises:
        TextError: characters that cannot be read as English.
    """
    text = compiled(r"(?<=\d)\s?[Å\u212b](?!\w)").sub(" angstroms", plain(text))
    text = fold(text).replace("\n", " ")
    text = _read_signs(text, known)
    text = compiled(r"\s–\s|–").sub(" - ", text)
    text = compiled(r"\s--+\s?|--+|\s-+\s|\s-+$").sub(", ", text)
    for sign, words in _SYMBOLS.items():
        text = text.replace(sign, f" {words} ")
    return _pauses(tokens_shown(read_capitals(text, known)))


def written_out(text: str) -> str:
    """Write numbers, signs and abbreviations of a text as words, and leave the rest as it is.

    For models that read letters: case, names, accents and marks stay. Never raises.
    """
    if not any(character.isdigit() or character in _SPOKEN for character in text):
        return text
    text = show_written(_read_signs(soften(plain(text)), lambda word: True))
    for sign in _WORDED:
        if sign in text:
            text = text.replace(sign, f" {_SYMBOLS[sign]} ")
    return compiled(r"[^\S\n]+").sub(" ", compiled(r" +(?=[,.;:!?'])").sub("", text)).strip(" ")


def _read_signs(text: str, known: Callable[[str], bool]) -> str:
    """Say numbers, signs and everything with them."""
    text = read_addresses(text, known)
    text = apply(code.RULES, text)
    if "-" in text or "–" in text:
        from mamtra_cli.text.dates import SPANS

        text = apply(SPANS, text)
    if "/" in text or "^" in text or "°" in text:
        from mamtra_cli.text.units import LONE

        text = apply(LONE, text)
    if any(character.isdigit() for character in text):
        text = _read_numbers(text)
    text = apply(abbreviations.RULES, text)
    text = apply(STATES, text)
    text = read_roman(text, known)
    text = read_initials(apply(abbreviations.DEGREES, text))
    # What is tied to said words by a hyphen is one word with them: `3rd-party`, `U.K.-based`.
    tied = rf"(?<=[{HIDDEN}]\s)\s?-(?=[A-Za-z])|(?<=[A-Za-z])-(?=\s[{HIDDEN}])"
    return compiled(tied).sub(" ", apply(code.LAST, text))


def _read_numbers(text: str) -> str:
    from mamtra_cli.text import dates, identifiers, money, numbers, ratios, times, units

    for rules in (
        numbers.NOTATIONS,
        abbreviations.BEFORE_NUMBERS,
        times.LENGTHS,
        dates.RULES,
        identifiers.RULES,
        times.RULES,
        ratios.FIRST,
        numbers.SIGNS,
        money.RULES,
        units.RULES,
        ratios.RULES,
        code.NAMES,
        numbers.RULES,
    ):
        text = apply(rules, text)
    return text


def _pauses(text: str) -> str:
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z^])", " ", text)
    text = re.sub(
        r"(?<![a-z])'(?!(?:s|em|tis|twas|til|cause|bout|round)\b)|(?<!\bth)(?<!\bo)'(?![a-z])",
        " ",
        text,
    )
    text = re.sub(r"[!]", ".", text)
    text = re.sub(r"[;:\"(){}\[\]-]", " , ", text)
    text = re.sub(r"([,.?])", r" \1 ", text)
    tokens: list[str] = []
    for token in text.split():
        if token in ",.?":
            if not tokens:
                continue
            if tokens[-1] in ",.?":
                # The stronger of two neighbouring pauses wins.
                tokens[-1] = max(tokens[-1], token, key=",.?".index)
                continue
        tokens.append(token)
    if not tokens:
        return ""
    if tokens[-1] == ",":
        tokens[-1] = "."
    elif tokens[-1] not in ".?":
        tokens.append(".")
    return " ".join(tokens)
