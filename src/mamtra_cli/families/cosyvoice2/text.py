"""Normalise a text and cut it into speakable pieces, as the published front end does.

Pure functions on strings: nothing here knows ids, models or files. Rules after
FunAudioLLM/CosyVoice, cosyvoice/cli/frontend.py and cosyvoice/utils/frontend_utils.py.

Where this differs on purpose: a text of blanks raises `TextError` instead of crashing, blanks
at the ends never crash, numbers too long to be named are read digit by digit, and where the
optional package raises (`[1]`, `+1`), the text goes on without it. With `compat=False` English is
read by our own rules (`text/english.py`), Chinese decimals stay decimals, and `<|` does not switch
the rules off.
"""

import logging
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from mamtra_cli.errors import TextError
from mamtra_cli.families.cosyvoice2.chinese import read_decimals
from mamtra_cli.text.english import written_out

log = logging.getLogger(__name__)

TextLength = Callable[[str], int]
Rewrite = Callable[[str], str]

TERMINATORS = {
    "zh": frozenset("。？！；：、.?!;"),
    "en": frozenset(".?!;:"),
}
COMMAS = frozenset("，,")
CLOSING_QUOTES = frozenset('"”')
BRACKETS = str.maketrans({"（": "", "）": "", "【": "", "】": "", "`": ""})
LONGEST_NAMED = 36


@dataclass(frozen=True, kw_only=True)
class Normalizers:
    """Optional rewriting of dates, amounts and the like, one function a language."""

    zh: Rewrite
    en: Rewrite


def contains_chinese(text: str) -> bool:
    """Whether any character is a unified ideograph."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def replace_blank(text: str) -> str:
    """Keep a blank only between two ASCII characters that are not blanks.

    A blank at either end is dropped.
    """
    kept = []
    for index, character in enumerate(text):
        if character == " ":
            around = text[max(index - 1, 0) : index] + text[index + 1 : index + 2]
            if len(around) < 2 or " " in around or not around.isascii():
                continue
        kept.append(character)
    return "".join(kept)


def replace_corner_mark(text: str) -> str:
    """Name the superscripts of square and cube in Chinese."""
    return text.replace("²", "平方").replace("³", "立方")


def remove_bracket(text: str) -> str:
    """Drop full-width brackets and backticks; a long dash becomes a blank."""
    return text.translate(BRACKETS).replace("——", " ")


def is_only_punctuation(text: str) -> bool:
    """Whether every character is punctuation or a symbol; true for the empty text."""
    return all(unicodedata.category(character)[0] in "PS" for character in text)


@cache
def _inflect() -> Any:
    # inflect takes a second to import; only English texts with digits need it.
    import inflect

    return inflect.engine()


def _name_integer(digits: str) -> str:
    # Superscripts and circled digits count as digits to `str.isdigit` but not to inflect.
    digits = "".join(str(unicodedata.digit(digit)) for digit in digits)
    significant = digits.lstrip("0") or "0"
    if len(significant) > LONGEST_NAMED:
        return " ".join(str(_inflect().number_to_words(digit)) for digit in digits)
    return str(_inflect().number_to_words(significant))


def spell_out_number(text: str) -> str:
    """Replace each run of digits by the English name of that integer."""
    runs = ((digits, "".join(run)) for digits, run in groupby(text, str.isdigit))
    return "".join(_name_integer(run) if digits else run for digits, run in runs)


def _sentences(text: str, terminators: frozenset[str]) -> list[str]:
    sentences: list[str] = []
    start = 0
    for index, character in enumerate(text):
        if character not in terminators:
            continue
        if index > start:
            sentences.append(text[start : index + 1])
        start = index + 1
        if text[start : start + 1] in CLOSING_QUOTES and sentences:
            sentences[-1] += text[start]
            start += 1
    return sentences


def _merge(
    sentences: list[str], length: TextLength, longest: int, shortest: int, join_below: int
) -> Iterator[str]:
    pieces: list[str] = []
    current = ""
    for sentence in sentences:
        if length(current + sentence) > longest and length(current) > shortest:
            pieces.append(current)
            current = ""
        current += sentence
    if current:
        if pieces and length(current) < join_below:
            pieces[-1] += current
        else:
            pieces.append(current)
    return iter(pieces)


def split_paragraph(
    text: str,
    length: TextLength | None = None,
    lang: str = "zh",
    *,
    token_max_n: int = 80,
    token_min_n: int = 60,
    merge_len: int = 20,
    comma_split: bool = False,
) -> list[str]:
    """Cut a text after its sentences and merge them greedily to pieces of 60 to 80.

    Args:
        text: the text; a final terminator is added where none is.
        length: counts text ids (English); `None` counts characters, as always for Chinese.
        lang: `zh` or `en`.
        token_max_n: a piece is closed when the next sentence would make it longer than this ...
        token_min_n: ... and it is itself longer than this.
        merge_len: a last piece shorter than this joins the one before.
        comma_split: commas end a sentence too.
    """
    if not text:
        return []
    measure = len if lang == "zh" or length is None else length
    terminators = TERMINATORS[lang] | (COMMAS if comma_split else frozenset())
    if text[-1] not in terminators:
        text += "。" if lang == "zh" else "."
    sentences = _sentences(text, terminators)
    return list(_merge(sentences, measure, token_max_n, token_min_n, merge_len))


def wetext_normalizers() -> Normalizers | None:
    """The normalisers of the optional package `wetext`, or `None` where it is missing."""
    try:
        from wetext import Normalizer
    except ImportError:
        log.debug("wetext is not installed; dates and amounts are read by the plain rules")
        return None
    chinese = Normalizer(lang="zh", operator="tn", remove_erhua=False)
    english = Normalizer(lang="en", operator="tn")
    return Normalizers(zh=guarded(chinese.normalize), en=guarded(english.normalize))


def guarded(normalise: Callable[[str], object]) -> Rewrite:
    """Call a rewriting that may raise; where it does, the text stays as it is."""

    def rewrite(text: str) -> str:
        try:
            return str(normalise(text))
        except Exception as error:  # wetext 0.1.8 asserts on `+1`, `[1]`, `50¢`
            log.debug("wetext cannot read %r: %s", text, type(error).__name__)
            return text

    return rewrite


def _normalize_chinese(text: str, compat: bool) -> str:
    text = replace_blank(text.replace("\n", ""))
    if not compat:
        text = read_decimals(text)
    text = replace_corner_mark(text).replace(".", "。").replace(" - ", "，")
    text = remove_bracket(text)
    return re.sub(r"[，,、]+$", "。", text)


def _normalize_pieces(
    text: str, length: TextLength | None, normalizers: Normalizers | None, compat: bool
) -> tuple[str, list[str]]:
    text = text.strip()
    if not text:
        raise TextError("the text holds nothing but blanks", "give at least one word")
    if contains_chinese(text):
        text = _normalize_chinese(normalizers.zh(text) if normalizers else text, compat)
        pieces = split_paragraph(text, length, "zh")
    else:
        if compat:
            text = spell_out_number(normalizers.en(text) if normalizers else text)
        else:
            text = written_out(text)
        pieces = split_paragraph(text, length, "en")
    return text, [piece for piece in pieces if not is_only_punctuation(piece)]


def _is_raw(text: str, enabled: bool, compat: bool) -> bool:
    return not enabled or not text or (compat and "<|" in text and "|>" in text)


def text_normalize(
    text: str,
    length: TextLength | None = None,
    *,
    enabled: bool = True,
    normalizers: Normalizers | None = None,
    compat: bool = True,
) -> list[str]:
    """The pieces of a text to synthesise, each spoken on its own.

    A text that holds only punctuation gives no piece.

    Args:
        text: what the user gave. With both `<|` and `|>` inside it stays as it is (`compat`).
        length: counts the text ids of an English text.
        enabled: `False` returns the text as one piece.
        normalizers: optional rewriting before the rules; see `wetext_normalizers`.
        compat: the published rules in every case; see the module docstring.
    """
    if _is_raw(text, enabled, compat):
        return [text]
    return _normalize_pieces(text, length, normalizers, compat)[1]


def normalize_prompt(
    text: str,
    *,
    enabled: bool = True,
    normalizers: Normalizers | None = None,
    compat: bool = True,
) -> str:
    """The normalised transcript of a voice prompt, in one piece. Arguments as above."""
    if _is_raw(text, enabled, compat):
        return text
    return _normalize_pieces(text, None, normalizers, compat)[0]
