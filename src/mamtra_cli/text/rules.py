"""How a rule of reading is written: a pattern, what to say for it, and words that stay said.

Words that a rule has chosen are moved to private characters, so that no later rule reads them as
text (the month `march` as an order, `a` as a letter); `show` brings them back. What a trade knows
(money, dates, ...) is in its own module, as a tuple of rules; this file knows no English.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

NEAR = 100  # characters around a match that decide what it is; more would be quadratic
_SHIFT = 0xE000
_HIDE = {code: code + _SHIFT for code in range(0x20, 0x7F)}
_SHOW = {hidden: code for code, hidden in _HIDE.items()}
HIDDEN = f"{chr(_SHIFT + 0x20)}-{chr(_SHIFT + 0x7E)}"  # inside a character class of a pattern


def said(words: str) -> str:
    """Words that no later rule changes, between blanks."""
    return f" {words.translate(_HIDE)} "


def show(text: str) -> str:
    """Bring the words of `said` back."""
    return text.translate(_SHOW)


def show_written(text: str) -> str:
    """Bring words back as a person writes them: letters said by name as capitals, `FBI`."""
    first, last, blank = said("a")[1], said("z")[1], said("  ")[1]
    caret = said("^")[1]
    named = compiled(f"{caret}[{first}-{last}](?:{blank}{caret}[{first}-{last}])*")
    capital = named.sub(lambda m: show(m[0]).replace("^", "").replace(" ", "").upper(), text)
    return show(capital)


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern and what is put in its place.

    Args:
        pattern: regular expression, compiled when first needed.
        say: what stands for a match; `None` leaves it to later rules.
        needs: characters of which a text holds one if the rule can match; `0` is any digit.
    """

    pattern: str
    say: Callable[[re.Match[str]], str | None]
    needs: str = ""


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern once, when a text needs it."""
    return re.compile(pattern)


def apply(rules: Iterable[Rule], text: str) -> str:
    """Put what rules say in the place of what they match, one rule after the other."""
    digits = any(character.isdigit() for character in text)
    for rule in rules:
        needs = rule.needs
        if needs and not (digits and "0" in needs) and not any(sign in text for sign in needs):
            continue
        text = compiled(rule.pattern).sub(_replacing(rule), text)
    return text


def _replacing(rule: Rule) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        words = rule.say(match)
        return match[0] if words is None else words

    return replace


def before(match: re.Match[str]) -> list[str]:
    """Words before a match, as far as they are looked at; said words are shown."""
    return show(match.string[max(0, match.start() - NEAR) : match.start()]).split()


def after(match: re.Match[str]) -> str:
    """Text after a match, as far as it is looked at; said words are shown."""
    return show(match.string[match.end() : match.end() + NEAR])


def word_before(match: re.Match[str]) -> str:
    """The word before a match in small letters, without signs; `""` at a start."""
    words = before(match)
    return words[-1].strip("\"'([{").lower() if words else ""


def word_after(match: re.Match[str]) -> str:
    """The word after a match as it is written; `""` where a sign or nothing follows."""
    found = compiled(r"[\s-]*([A-Za-z][A-Za-z']*)").match(after(match))
    return found[1] if found else ""
