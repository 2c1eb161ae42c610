"""Greek letters that stand for themselves: `α particles`, `Δt`, `χ²`, `ΦΒΚ`.

English reads such a letter by its name. Words of Greek are none of its business: here they are
only told apart. Names are those of the Unicode standard, but for `lambda`.
"""

import re
import unicodedata

_RUN = re.compile("[\u0370-\u03ff\u1f00-\u1fff]+")
_NAME = re.compile(r"GREEK (?:(?:SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)|(?:LUNATE )?(\w+) SYMBOL)")
_CLUB = 3  # letters of a name of capitals, such as that of a fraternity


def name(letter: str) -> str:
    """The name of a Greek letter, `α` as `alpha`; `""` for others, also for one with an accent."""
    found = _NAME.fullmatch(unicodedata.name(letter, ""))
    return (found[1] or found[2]).lower().replace("lamda", "lambda") if found else ""


def named(text: str) -> dict[int, str]:
    """Greek letters of a text by their places: what is said for each, `""` in a word of Greek.

    A letter stands for itself alone, doubled (`ΔΔG`), or beside few other capitals. Blanks part
    what is said from letters and figures beside it.
    """
    found: dict[int, str] = {}
    for match in _RUN.finditer(text):
        run = match[0]
        club = run.isupper() and len(run) <= _CLUB
        names = [name(letter) for letter in run]
        alone = all(names) and (len(run) == 1 or club or (len(run) == 2 and run[0] == run[1]))
        for place, word in enumerate(names, match.start()):
            before, after = text[place - 1 : place], text[place + 1 : place + 2]
            left, right = (" " if _letter_or_digit(sign) else "" for sign in (before, after))
            found[place] = f"{left}{word}{right}" if alone else ""
    return found


def ends_at(text: str) -> int:
    """Where the Greek letters begin that a text ends with: they may be the start of a word."""
    last = _RUN.match(text[::-1])
    return len(text) - (last.end() if last else 0)


def _letter_or_digit(sign: str) -> bool:
    return sign.isalpha() or sign.isdecimal()
