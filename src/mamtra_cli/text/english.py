"""English text as a line of spoken words: folding, abbreviations, acronyms, sentences.

`normalise` gives lower-case words, `^x` for a letter said by its name, and the pauses `,` `.` `?`;
`sentences` cuts a text where a reader would stop. Nothing is skipped in silence: a character that
has no English reading raises `TextError` with its name and script. Digits are the business of
`english_numbers.py`; this file knows no phones, only (through `known`) which words a lexicon has.
"""

import re
import unicodedata
from collections.abc import Callable

from mamtra_cli.errors import TextError
from mamtra_cli.text.english_numbers import say_numbers

NEAR = 100  # characters around a stop that decide what it is; more would be quadratic
KEPT = "£€¥₹°¢"
_FOLDED = {
    **dict.fromkeys("‘’‛′ʼ`´", "'"),
    **dict.fromkeys("“”„‟″«»‹›", '"'),
    **dict.fromkeys("‐‑‒−", "-"),
    **dict.fromkeys("–—―⸺", " - "),
    **dict.fromkeys("•·‣◦▪●‧※", ", "),
    **dict.fromkeys("¿¡", " "),
    **dict.fromkeys("、，", ", "),
    **dict.fromkeys("。｡", ". "),
    **dict.fromkeys("‚¸", ","),
    "…": "... ", "‽": "?", "⁄": "/", "∕": "/",
    "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ß": "ss", "ẞ": "SS",
    "đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ł": "l", "Ł": "L",
    "ı": "i", "ħ": "h", "Ħ": "H", "ŋ": "ng",
    "½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3", "⅛": " 1/8",
    "⅜": " 3/8", "⅝": " 5/8", "⅞": " 7/8", "⅕": " 1/5",
    "²": " squared", "³": " cubed", "×": " times ", "÷": " divided by ", "±": " plus or minus ",
    "≈": " approximately ", "≠": " is not equal to ", "≤": " at most ", "≥": " at least ",
    "→": " to ", "√": " square root of ", "∞": " infinity ", "π": " pi ", "µ": " micro",
    "™": " trademark", "®": " registered trademark", "©": " copyright ", "§": " section ",
    "¶": " paragraph ", "№": " number ", "‰": " per mille ", "º": "°", "℃": "°C", "℉": "°F",
    "†": ", ", "‡": ", ",
}  # fmt: skip

_SAID = {
    "dr": "doctor", "mr": "mister", "mrs": "mrs", "ms": "ms", "prof": "professor",
    "gen": "general", "sen": "senator", "rep": "representative", "gov": "governor",
    "capt": "captain", "lt": "lieutenant", "col": "colonel", "sgt": "sergeant",
    "rev": "reverend", "hon": "honorable", "pres": "president", "st": "saint", "mt": "mount",
    "ft": "fort", "messrs": "messers", "fr": "father", "cpl": "corporal", "maj": "major",
    "adm": "admiral",
}  # fmt: skip
_STREETS = {
    "st": "street", "dr": "drive", "rd": "road", "ave": "avenue", "blvd": "boulevard",
    "ln": "lane", "hwy": "highway", "pl": "place", "sq": "square", "ct": "court",
}  # fmt: skip
_SHORT = {
    "etc": "et cetera", "vs": "versus", "jr": "junior", "sr": "senior", "inc": "incorporated",
    "ltd": "limited", "co": "company", "corp": "corporation", "bros": "brothers",
    "dept": "department", "approx": "approximately", "est": "established", "tel": "telephone",
    "al": "al", "ca": "circa", "cf": "compare", "misc": "miscellaneous", "max": "maximum",
    "min": "minimum", "avg": "average",
    "govt": "government", "univ": "university", "assn": "association", "jan": "january",
    "feb": "february", "mar": "march", "apr": "april", "jun": "june", "jul": "july",
    "aug": "august", "sep": "september", "sept": "september", "oct": "october",
    "nov": "november", "dec": "december", "mon": "monday", "tue": "tuesday", "tues": "tuesday",
    "wed": "wednesday", "thu": "thursday", "thurs": "thursday", "fri": "friday",
    "sat": "saturday", "sun": "sunday",
}  # fmt: skip
# Words of their own where they begin small.
_WORDS_TOO = frozenset("sun sat mar max min al ca co est art wed mon dec".split())
# Only with a number after them.
_NUMBERED = {
    "no": "number", "nos": "numbers", "fig": "figure", "figs": "figures", "vol": "volume",
    "ch": "chapter", "sec": "section", "p": "page", "pp": "pages", "eq": "equation",
    "art": "article", "par": "paragraph", "apt": "apartment", "ext": "extension",
}  # fmt: skip
_DOTTED = {"e.g": "for example", "i.e": "that is", "a.k.a": "also known as", "ph.d": "^p ^h ^d"}
_NEVER_LAST = _SAID.keys() | _NUMBERED.keys() | {"vs", "approx", "ca", "cf", "e.g", "i.e"}
_ABBREVIATION = _NEVER_LAST | _STREETS.keys() | _SHORT.keys() | _DOTTED.keys()

_SYMBOLS = {
    "&": "and", "@": "at", "%": "percent", "+": "plus", "=": "equals", "<": "less than",
    ">": "greater than", "#": "hash", "*": "asterisk", "~": "tilde", "^": "caret",
    "|": "vertical bar", "\\": "backslash", "/": "slash", "_": "underscore", "$": "dollar",
    "£": "pound", "€": "euro", "¥": "yen", "₹": "rupee", "°": "degree", "¢": "cent",
}  # fmt: skip
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50}
_RULERS = (
    "henry edward elizabeth george charles william james louis philip pope paul pius john "
    "benedict gregory leo richard frederick catherine mary napoleon nicholas alexander peter "
    "ivan ferdinand francis wilhelm ramses ptolemy"
).split()
_WORD_LIKE = re.compile(r"(?:[bcdfghjklmnprstvwz]{0,2}[aeiouy]{1,2}){2,}[bcdfghjklmnprstvwxz]{0,2}")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(
    r"(?:https?://|ftp://|www\.)[^\s\"<>]+"
    r"|\b(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|ai|dev|co|uk|de|fr|eu|info|app)\b(?:/[^\s\"<>]*)?",
    re.I,
)


def fold(text: str) -> str:
    """Write a text with ASCII and the currency and degree signs only.

    Raises:
        TextError: characters that English has no reading for, named with their script.
    """
    folded: list[str] = []
    strange: dict[str, str] = {}
    for character in unicodedata.normalize("NFC", text):
        if character.isspace():
            folded.append("\n" if character in "\n\r\u2028\u2029" else " ")
        elif character in _FOLDED:
            folded.append(_FOLDED[character])
        elif unicodedata.category(character) == "Cc":
            strange[character] = script_of(character)
        elif character in KEPT or " " <= character <= "~":
            folded.append(character)
        elif unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
            continue
        else:
            parts = unicodedata.normalize("NFKD", character)
            plain = "".join(
                _FOLDED.get(p, p) for p in parts if not unicodedata.name(p, "").startswith("COMB")
            )
            if plain.isascii() and (plain or parts):
                folded.append(plain)
            else:
                strange.setdefault(character, script_of(character))
    if strange:
        letters = [c if c.isprintable() else f"U+{ord(c):04X}" for c in strange]
        shown = " ".join(letters[:8]) + (" ..." if len(letters) > 8 else "")
        scripts = " and ".join(dict.fromkeys(strange.values()))
        raise TextError(
            f"cannot speak `{shown}` ({scripts}): this voice reads English",
            "write it in English words, or leave it out",
        )
    return "".join(folded)


def script_of(character: str) -> str:
    """Name the script of a character, such as `Cyrillic` or `emoji or symbol`."""
    category = unicodedata.category(character)
    if category in ("So", "Sk", "Sm", "Sc"):
        return "emoji or symbol"
    if category in ("Cc", "Cn", "Co", "Cs"):
        return "control or unassigned character"
    first = unicodedata.name(character, "unknown").split(" ")[0]
    return {"CJK": "Chinese", "HANGUL": "Korean"}.get(first, first.capitalize())


def sentences(text: str) -> list[str]:
    """Cut a text after sentences; the pieces joined by a space hold all its words."""
    pieces: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = " ".join(paragraph.split())
        start = 0
        for stop in re.finditer(r"[.!?…]+[\"')\]”’]*(?=\s)", paragraph):
            if _is_abbreviation(paragraph, stop):
                continue
            pieces.append(paragraph[start : stop.end()].strip())
            start = stop.end()
        pieces.append(paragraph[start:].strip())
    return [piece for piece in pieces if piece]


def _is_abbreviation(text: str, stop: re.Match[str]) -> bool:
    if text[stop.start()] != "." or stop[0].startswith(".."):
        return False
    word = re.search(r"[\w.]*$", text[max(0, stop.start() - NEAR) : stop.start()])
    last = word[0] if word else ""
    rest = text[stop.end() : stop.end() + NEAR].lstrip(" \"'(“‘")
    goes_on = not rest[:1].isupper()
    name = last.lower()
    if name in _NUMBERED and name not in _SAID:
        return rest[:1].isdigit()
    if name in _NEVER_LAST:
        return True
    if len(last) == 1 and last.isupper() and last != "I":
        before = text[max(0, stop.start() - NEAR) : stop.start() - 1].split()
        named = not before or before[-1][0].isupper()
        return named or goes_on
    dotted = re.fullmatch(r"(?:[A-Za-z]\.)+[A-Za-z]", last) is not None
    return (name in _ABBREVIATION or dotted) and goes_on


def spell(letters: str) -> str:
    """Mark letters (and digits) to be said by name, `FBI` as `^f ^b ^i`."""
    return " ".join(f"^{c}" if c.isalpha() else c for c in letters.lower())


def _address(match: re.Match[str], known: Callable[[str], bool]) -> str:
    text = re.sub(r"^(?:https?|ftp)://", "", match[0])
    tail = re.search(r"[.,;:!?)'/]*$", text)
    end = tail[0].replace("/", "") if tail else ""
    body = text[: len(text) - len(tail[0])] if tail else text
    signs = {".": "dot", "-": "dash", "?": "question mark", ":": "colon", ",": "comma"}
    words = []
    for part in re.findall(r"[A-Za-z]+|\d|.", body):
        if part.isalpha():
            easy = known(part.lower()) or (len(part) > 3 and re.search(r"[aeiouy]", part.lower()))
            words.append(part.lower() if easy and len(part) > 1 else spell(part))
        else:
            words.append(signs.get(part) or _SYMBOLS.get(part) or part)
    return f" {' '.join(words)}{end} "


def _abbreviation(text: str) -> str:
    text = re.sub(
        r"\b(e\.g|i\.e|a\.k\.a|ph\.d)\b\.?", lambda m: _DOTTED[m[1].lower()] + ",", text, flags=re.I
    ).replace("^p ^h ^d,", "^p ^h ^d")
    text = re.sub(r"\bet al\b\.?", "et al", text)
    names = "|".join(_NUMBERED)
    text = re.sub(
        rf"\b({names})\.\s?(?=\d)", lambda m: _NUMBERED[m[1].lower()] + " ", text, flags=re.I
    )
    text = re.sub(r"#(?=\d)", "number ", text)
    text = re.sub(r"\band/or\b", "and or", text)
    text = re.sub(r"(?<=[a-z])\.?-(?=[A-Z][a-z]{2}\.)", ". to ", text)

    def street(match: re.Match[str]) -> str:
        word = match[2].lower()
        before = match[1]
        return f"{before} {_STREETS[word]}" + ("" if match[3] else ".")

    text = re.sub(
        r"\b([A-Z][a-z]+|\d+(?:st|nd|rd|th))\s(St|Dr|Rd|Ave|Blvd|Ln|Hwy|Pl|Sq|Ct)\b"
        r"(?:\.(?=(\s*[a-z0-9,;])?))(?!\s[A-Z])",
        street,
        text,
    )
    text = re.sub(
        rf"\b({'|'.join(name.capitalize() for name in _SAID)})\b\.?(?=\s[A-Z])",
        lambda m: _SAID[m[1].lower()],
        text,
    )

    def short(match: re.Match[str]) -> str:
        word = match[1].lower()
        if word in _WORDS_TOO and not match[1][0].isupper():
            return match[0]
        said = _SHORT.get(word) or _SAID.get(word) or _STREETS.get(word)
        rest = text[match.end() :].lstrip()
        ends = not rest or rest[0].isupper()
        return str(said) + (". " if ends and word not in _NEVER_LAST else " ")

    return re.sub(
        rf"\b({'|'.join(_SHORT.keys() | _STREETS.keys() | _SAID.keys())})\.",
        short,
        text,
        flags=re.I,
    )


def _roman_value(text: str) -> int:
    values = [_ROMAN[c] for c in text]
    return sum(-v if any(v < w for w in values[i + 1 : i + 2]) else v for i, v in enumerate(values))


def _roman(match: re.Match[str]) -> str:
    before, value = match[1], str(_roman_value(match[2]))
    if before.lower() in _RULERS:
        suffix = {"1": "st", "2": "nd", "3": "rd"}.get(value if value not in "111213" else "", "th")
        return f"{before} the {value}{suffix}"
    return f"{before} {value}"


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
    text = fold(text).replace("\n", " ")
    text = re.sub(r"(?<=[\w)])\^(?=[\w(-])", " to the power of ", text).replace("^", " caret ")
    text = _EMAIL.sub(lambda m: _address(m, known), text)
    text = _URL.sub(lambda m: _address(m, known), text)
    text = _abbreviation(text)
    text = re.sub(
        r"\b((?i:world war|chapter|part|act|scene|phase|type|class|volume|book|section))"
        r"\s(I|V|X)\b(?!')",
        _roman,
        text,
    )
    text = re.sub(
        r"\b([A-Z][a-z]+)\s((?:X{1,3})?(?:IX|IV|VI{0,3}|I{2,3})|X{1,3}I{0,3}"
        r"|L(?:X{1,3}(?:IX|IV|VI{0,3}|I{1,3})?|IX|IV|VI{1,3}|I{2,3}))\b",
        _roman,
        text,
    )
    text = re.sub(r"(?<=\d)\s?\*\s?(?=\d)", " times ", text)
    text = re.sub(r"~\s?(?=\d)", "approximately ", text)
    text = re.sub(r"(\*\*|__|\*|_)(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text)
    text = re.sub(r"(?<=[a-z])\s+'s\b", "'s", say_numbers(text))
    text = re.sub(r"\b(?:[A-Za-z]\.){2,}(?:[A-Za-z]\b)?", _initials, text)
    text = _INITIAL.sub(_initial, " " + text)
    text = re.sub(r"\bPhD", "^p ^h ^d", text)
    text = re.sub(
        r"\b[A-Z]{1,2}(?:&[A-Z]{1,2})+\b", lambda m: " and ".join(map(spell, m[0].split("&"))), text
    )
    text = re.sub(r"(?i)'n'", " and ", text)
    # Mid-sentence a capital A is the letter, unless a headline goes on: `plan A`, `7A`.
    text = re.sub(
        r"(?<=[\w,])(\s+|(?<=\d))A\b(?!'|\s[A-Z][a-z])|\bA(?=\s*[+=*/<>])", r"\1 ^a", text
    )
    text = re.sub(r"\s--+\s?|--+|\s-+\s|\s-+$", ", ", text)
    for sign, words in _SYMBOLS.items():
        if sign != "^":
            text = text.replace(sign, f" {words} ")
    shouting = not re.search(r"[a-z]", re.sub(r"\^[a-z]", "", text))
    text = re.sub(r"[A-Za-z^][A-Za-z^']*", lambda m: _cased(m[0], known, shouting), text)
    return _pauses(text)


_INITIAL = re.compile(r"(?<=\s)([A-HJ-Z])\.(?=\s)")


def _around(match: re.Match[str]) -> tuple[list[str], str]:
    """Words before a match and text after it, as far as they are looked at."""
    text, start, end = match.string, match.start(), match.end()
    return text[max(0, start - NEAR) : start].split(), text[end : end + NEAR].lstrip()


def _initial(match: re.Match[str]) -> str:
    """Drop the stop of the initial of a name, keep it after `plan B.`"""
    before, after = _around(match)
    named = not before or before[-1][0].isupper() or before[-1] in _SAID.values()
    return spell(match[1]) + ("" if named or not after[:1].isupper() else ".")


def _initials(match: re.Match[str]) -> str:
    rest = _around(match)[1]
    ends = match[0].endswith(".") and (not rest or (rest[0].isupper() and rest[1:2].islower()))
    letters = spell(match[0].replace(".", ""))
    return letters + ("." if ends and not rest else " ")


def _cased(word: str, known: Callable[[str], bool], shouting: bool) -> str:
    if word[0] == "^" or word.islower():
        return word
    if re.fullmatch(r"[A-Z]'s", word):
        return f"^{word.lower()}"
    low = word.lower()
    stem = re.sub(r"'?s$", "", word) if len(word) > 2 else word
    if stem.isupper() and len(stem) > 1 and stem.isalpha():
        plural = word[len(stem) :].lower()
        if known(stem.lower()) and stem not in _SPELLED:
            return low
        if (shouting and len(stem) > 3) or (len(stem) > 3 and _WORD_LIKE.fullmatch(stem.lower())):
            return low
        return spell(stem) + ("'s" if plural else "")
    if known(low) or word.istitle() or not stem.isalpha():
        return low if len(word) > 1 or word in "AI" else spell(word)
    # CamelCase: each part by its own case.
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z']+", word)
    if len(parts) < 2:
        return low
    return " ".join(_cased(part, known, False) if len(part) > 1 else spell(part) for part in parts)


_SPELLED = {"US", "UN", "EU", "PM", "AM", "ID", "PC", "AI", "ER", "LA", "MS", "FDIC"}


def _pauses(text: str) -> str:
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z^])", " ", text)
    text = re.sub(r"(?<![a-z])'(?!(?:s|em|tis|twas|til|cause|bout|round)\b)|'(?![a-z])", " ", text)
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
