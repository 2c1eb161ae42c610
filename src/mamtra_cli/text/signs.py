"""Which signs can be read as English, and what becomes of the others.

`fold` writes a text with ASCII and the few signs that rules read. `Sieve` takes unreadable signs
out of a text (or spells them by name, or refuses them) and remembers every one with its sentence:
nothing is dropped in silence. Which signs are unreadable is the business of the front end.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.text import greek

OnUnreadable = Literal["skip", "spell", "refuse"]
KEPT = frozenset("£€¥₹₩₽₺₪₫₴₦₱฿°¢–×÷±∓≈≠≤≥√µΩ→←⇒")
_LEVELS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_FOLDED = {
    **dict.fromkeys("‘’‛′ʼ`´", "'"),
    **dict.fromkeys("“”„‟″«»‹›", '"'),
    **dict.fromkeys("‐‑‒−", "-"),
    **dict.fromkeys("—―⸺", " - "),
    **dict.fromkeys("•·⋅‣◦▪●‧※", ", "),
    **dict.fromkeys("¿¡", " "),
    **dict.fromkeys("、，", ", "),
    **dict.fromkeys("。｡", ". "),
    **dict.fromkeys("‚¸", ","),
    "…": "... ", "‽": "?", "⁄": "/", "∕": "/",
    "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ß": "ss", "ẞ": "SS",
    "đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ł": "l", "Ł": "L",
    "ı": "i", "ħ": "h", "Ħ": "H", "ŋ": "ng", "μ": "µ", "\u2126": "Ω",
    "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8",
    "⅜": " 3/8", "⅝": " 5/8", "⅞": " 7/8", "⅕": " 1/5",
    "∞": " infinity ", "π": " pi ", "∑": " sum ", "∏": " product ", "∫": " integral ",
    "∂": " partial ", "≡": " is equivalent to ",
    "∈": " in ", "∉": " not in ", "∀": " for all ", "∃": " there exists ",
    "∪": " union ", "∩": " intersection ", "∝": " proportional to ", "∇": " nabla ",
    "∴": " therefore ", "∵": " because ", "∅": " empty set ",
    "™": " trademark", "®": " registered trademark", "©": " copyright ", "§": " section ",
    "¶": " paragraph ", "№": " number ", "‰": " per mille ", "º": "°", "℃": "°C", "℉": "°F",
    "†": ", ", "‡": ", ", "♭": " flat ", "♯": " sharp ", "♮": " natural ", "∆": " delta ",
}  # fmt: skip
_SOFT = frozenset("½¼¾⅓⅔⅛⅜⅝⅞⅕‐‑‒−⁄∕″′№℃℉μ\u2126")
_DOTS = "·⋅"  # between the factors of a product
_WIDE_BLANKS = "\u00a0\u202f\u2009\u2007"  # between the thousands of a number


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A sign that was not spoken: itself, its name, and the sentence it stood in."""

    sign: str
    name: str
    sentence: str


def fold(text: str) -> str:
    """Write a text with ASCII and the signs in `KEPT` only.

    Raises:
        TextError: characters that English has no reading for, named with their script.
    """
    if text.isascii() and text.isprintable():
        return text
    folded: list[str] = []
    strange: list[str] = []
    raised = False
    composed = unicodedata.normalize("NFC", text)
    for place, character in enumerate(composed):
        level = character.translate(_LEVELS)
        if level != character:
            written = "".join(folded[-1:])
            stands = bool(written) and (written[-1].isalnum() or written[-1] in ")µΩ")
            folded.append(("" if raised else "^" if stands else " ") + level)
            raised = True
            continue
        raised = False
        if character in _WIDE_BLANKS and _in_number(composed, place):
            folded.append(",")
            continue
        written_as = _product(composed, place)
        if written_as is None:
            written_as = _folded(character)
        if written_as is None:
            strange.append(character)
        else:
            folded.append(written_as)
    if strange:
        raise refusal(strange)
    return "".join(folded)


def soften(text: str) -> str:
    """Write raised figures, fractions and their like so that rules read them; keep all else."""
    if text.isascii():
        return text
    soft: list[str] = []
    raised = False
    for place, character in enumerate(text):
        level = character.translate(_LEVELS)
        if level != character:
            written = soft[-1][-1:] if soft else ""
            stands = written.isascii() and (written.isalnum() or written == ")")
            soft.append(("" if raised else "^" if stands else " ") + level)
        elif character in _WIDE_BLANKS and _in_number(text, place):
            soft.append(",")
        elif (product := _product(text, place)) is not None:
            soft.append(product)
        elif character.isdigit() and not character.isascii():
            soft.append(str(unicodedata.digit(character)))
        else:
            soft.append(_FOLDED[character] if character in _SOFT else character)
        raised = level != character
    return "".join(soft)


def unreadable(character: str) -> bool:
    """Whether `fold` has no reading for a character."""
    return character.translate(_LEVELS) == character and _folded(character) is None


def pictorial(character: str) -> bool:
    """Whether a character is an emoji, a dingbat, a control or nothing at all."""
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return not character.isspace()
    pictures = code >= 0x1F000 or 0x2600 <= code <= 0x27BF or 0x2B00 <= code <= 0x2BFF
    wanting = unicodedata.category(character) in ("So", "Sk", "Sm", "Cn", "Co", "Cs")
    return (pictures and wanting) or code in (0xFE0F, 0x20E3)


def refusal(signs: list[str]) -> TextError:
    """The error that names signs and their scripts."""
    shown = list(dict.fromkeys(c if c.isprintable() else f"U+{ord(c):04X}" for c in signs))
    letters = " ".join(shown[:8]) + (" ..." if len(shown) > 8 else "")
    scripts = " and ".join(dict.fromkeys(map(script_of, signs)))
    return TextError(
        f"cannot speak `{letters}` ({scripts}): this voice reads English",
        "write it in English words, or leave it out",
    )


def _in_number(text: str, place: int) -> bool:
    digits = text[place + 1 : place + 4]
    return text[:place][-1:].isdigit() and len(digits) == 3 and digits.isdigit()


def _product(text: str, place: int) -> str | None:
    """What a dot at half height stands for between figures or letters; `None` where it is none."""
    around = text[place - 1 : place + 2] if place and text[place] in _DOTS else ""
    if len(around) < 3 or not (around[0].isalnum() and around[2].isalnum()):
        return None
    return "" if around[0].isalpha() and around[2].isalpha() else "×"


def _folded(character: str) -> str | None:
    """What stands for one character; `None` where English has no reading for it."""
    if character.isspace():
        return "\n" if character in "\n\r\u2028\u2029" else " "
    if character in _FOLDED:
        return _FOLDED[character]
    if character in KEPT or " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    if category == "Cc":
        return None
    if category == "No" and (digit := unicodedata.digit(character, None)) is not None:
        return str(digit)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    parts = unicodedata.normalize("NFKD", character)
    plain = "".join(
        _FOLDED.get(part, part)
        for part in parts
        if not unicodedata.name(part, "").startswith("COMB")
    )
    return plain if plain.isascii() and plain.isprintable() and (plain or parts) else None


def script_of(character: str) -> str:
    """Name the script of a character, such as `Cyrillic` or `emoji or symbol`."""
    category = unicodedata.category(character)
    if category in ("So", "Sk", "Sm", "Sc"):
        return "emoji or symbol"
    if category in ("Cc", "Cn", "Co", "Cs"):
        return "control or unassigned character"
    first = unicodedata.name(character, "unknown").split(" ")[0]
    return {"CJK": "Chinese", "HANGUL": "Korean"}.get(first, first.capitalize())


def sign_name(character: str) -> str:
    """The name of a sign in small letters, `thumbs up sign`; its number where it has none."""
    return unicodedata.name(character, f"character U+{ord(character):04X}").lower()


def policy_of(word: str) -> OnUnreadable:
    """What becomes of unreadable signs, by its word.

    Raises:
        UsageError: there is no such word.
    """
    if word not in get_args(OnUnreadable):
        raise UsageError(f"`--on-unreadable {word}`", "it is skip, spell or refuse")
    return cast(OnUnreadable, word)


class Sieve:
    """Takes the signs out of a text that a front end cannot read, and remembers them.

    Works on a text that comes in parts: how it is parted makes no difference. Greek letters at the
    end of a part wait for what follows them: alone they are read by name, in a word of Greek not.

    Args:
        cannot: whether the front end has no reading for a character.
        policy: `skip` leaves the sign out, `spell` puts its name there, `refuse` raises.
    """

    def __init__(self, cannot: Callable[[str], bool], policy: OnUnreadable = "skip") -> None:
        self._cannot = cannot
        self._policy = policy
        self._seen: list[str] = []
        self._found: list[tuple[int, str]] = []
        self._length = 0
        self._told = 0
        self._held = ""

    def take(self, text: str) -> str:
        """The readable form of a part of the text.

        Raises:
            TextError: an unreadable sign, with the policy `refuse`; it names all of this part.
        """
        text = unicodedata.normalize("NFC", self._held + text)
        cut = greek.ends_at(text)
        text, self._held = text[:cut], text[cut:]
        return self._read(text)

    def finish(self) -> str:
        """The text has ended: the readable form of what waits.

        Raises:
            TextError: as `take`.
        """
        held, self._held = self._held, ""
        return self._read(held)

    def _read(self, text: str) -> str:
        kept: list[str] = []
        lost: list[tuple[int, str]] = []
        strange: list[str] = []
        greeks = greek.named(text) if self._cannot("α") else {}
        for place, character in enumerate(text):
            name = greeks.get(place)
            if name != "" and not self._cannot(character):
                kept.append(character)
                continue
            if name:
                kept.append(name)
                continue
            strange.append(character)
            if self._policy == "spell" and unicodedata.category(character)[0] not in "CM":
                kept.append(f" {_plain_name(character)} ")
            else:
                lost.append((self._length + place, character))
                kept.append(_gap(kept))
        if strange and self._policy == "refuse":
            raise refusal(strange)
        self._found += lost
        self._seen.append(text)
        self._length += len(text)
        return "".join(kept)

    def news(self) -> list[tuple[str, str, str]]:
        """Signs left out since the last call: sign or word, name, and the words before it."""
        fresh, self._told = _joined(self._found[self._told :]), len(self._found)
        whole = "".join(self._seen) if fresh else ""
        return [
            (signs, _name(signs), " ".join(whole[max(0, place - 40) : place].split()[-4:]))
            for place, signs in fresh
        ]

    def skipped(self) -> tuple[Skipped, ...]:
        """Every sign, or word of another script, that was left out so far, with its sentence."""
        if not self._found:
            return ()
        from mamtra_cli.text.cutting import sentence_at

        whole = "".join(self._seen)
        return tuple(
            Skipped(sign=signs, name=_name(signs), sentence=sentence_at(whole, place))
            for place, signs in _joined(self._found)
        )


def _joined(found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Signs with neighbouring letters as words."""
    joined: list[tuple[int, str]] = []
    for place, sign in found:
        if joined and sign.isalpha() and joined[-1][1].isalpha():
            start, word = joined[-1]
            if start + len(word) == place:
                joined[-1] = (start, word + sign)
                continue
        joined.append((place, sign))
    return joined


def _name(signs: str) -> str:
    """The name of a sign, the script of a word."""
    return sign_name(signs) if len(signs) == 1 else f"{script_of(signs[0])} letters"


def _gap(kept: list[str]) -> str:
    """A blank in the place of a sign, where none stands before it."""
    return "" if not kept or kept[-1][-1:].isspace() else " "


def _plain_name(character: str) -> str:
    """The name of a sign as words: no `sign`, no hyphens."""
    name = sign_name(character).removesuffix(" sign").removesuffix(" symbol")
    return name.replace("-", " ").replace("u+", "")
