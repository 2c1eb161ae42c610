"""Addresses of the net, of mail, and names with dots: files, `Node.js`, `.NET`."""

import re
from collections.abc import Callable

from mamtra_cli.text.number_words import maybe_year, number
from mamtra_cli.text.rules import compiled, said

Known = Callable[[str], bool]
_EMAIL = r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_URL = (
    r"(?i:(?:https?://|ftp://|www\.)[^\s\"<>]+"
    r"|(?<![\w.-])(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|ai|dev|co|uk|de|fr|eu|info|app|ca|tv)\b"
    r"(?![\w.-]*[(])(?:/[^\s\"<>]*)?)"
)
_PATH = r"(?<!\w)[A-Za-z]:(?:\\[\w.~-]*\w)+"
_SPELLED_ENDS = (
    "pdf txt md html htm css js ts jsx tsx py rb rs cpp hpp cc hh sh csv tsv jpg jpeg png svg "
    "mp3 mp4 "
    "mkv avi mov wmv ogg flac xls xlsx ppt pptx docx rtf xml sql exe dll php jsp db ps1 vb mpg "
    "gz bz2 xz "
    "7z rpm iso dmg apk epub tex bib ipynb cs kt hs ml vue aac m4a webp heic ttf otf woff cfg "
    "ini srt vtt"
).split()
_WORD_ENDS = (
    "yaml yml zip tar doc log json toml bat bin bak conf config env lock dat key pem wav gif "
    "mod sum "
    "jar java deb tmp"
).split()
_JOINED_NAMES = (
    r"\b(?:Node|Vue|React|Next|Nuxt|Three|Express|Ember|Backbone|Chart|Angular|D3)\.js\b"
)
_FILE = (
    rf"(?<![\w./\\-])(?P<stem>[\w-]*[A-Za-z0-9_](?:\.[A-Za-z0-9_-]+)*?)\.(?P<end>(?i"
    rf":{'|'.join(_SPELLED_ENDS + _WORD_ENDS)}))"
    r"(?![\w]|\.\w)"
)
_SIGNS = {".": "dot", "-": "dash", "?": "question mark", ":": "colon", ",": "comma", "&": "and",
          "@": "at", "%": "percent", "+": "plus", "=": "equals", "#": "hash", "*": "asterisk",
          "~": "tilde", "/": "slash", "_": "underscore", "$": "dollar", "\\": "backslash",
          "|": "vertical bar", "^": "caret", ";": "semicolon", "!": "exclamation mark"}  # fmt: skip
_VOWEL = r"[aeiouy]"


def read_addresses(text: str, known: Known) -> str:
    """Say addresses and names with dots.

    Args:
        text: folded text.
        known: whether a word stands in the lexicon; other short ones are spelled.
    """
    if not any(sign in text for sign in (".", "@", "//", ":\\")):
        return text
    text = compiled(_PATH).sub(lambda m: _address(m, known), text)
    text = compiled(r"\.NET\b").sub(lambda m: said("dot net"), text)
    text = compiled(_EMAIL).sub(lambda m: _address(m, known), text)
    text = compiled(_URL).sub(lambda m: _address(m, known), text)
    text = compiled(_JOINED_NAMES).sub(lambda m: f"{m[0][:-3]}{said('dot ^j ^s')}", text)
    text = compiled(_FILE).sub(lambda m: _file(m, known), text)
    return compiled(r"(?<![\w.!?)\"'])\.(?=[a-z]{2})").sub(lambda m: said("dot"), text)


def _easy(part: str, known: Known) -> bool:
    low = part.lower()
    sounds = re.search(_VOWEL, low) is not None
    return len(part) > 1 and sounds and (known(low) or len(part) > 3 or low == "gov")


def _spelled(letters: str) -> str:
    return " ".join(f"^{letter}" for letter in letters.lower())


def _address(match: re.Match[str], known: Known) -> str:
    text = re.sub(r"^(?:https?|ftp)://", "", match[0])
    tail = re.search(r"[.,;:!?)'/]*$", text)
    end = tail[0].replace("/", "") if tail else ""
    body = text[: len(text) - len(tail[0])] if tail else text
    words = []
    for part in re.findall(r"[A-Za-z]+|\d|.", body):
        if part.isalpha() and part.isascii():
            words.append(part.lower() if _easy(part, known) else _spelled(part))
        elif part.isdigit():
            words.append(number(part))
        else:
            words.append(_SIGNS.get(part, part))
    return f"{said(' '.join(words))}{end} "


def _file(match: re.Match[str], known: Known) -> str:
    end = match["end"].lower()
    words: list[str] = []
    for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[_.-]", match["stem"]):
        if part.isdigit():
            words.append(maybe_year(part))
        elif part.isalpha():
            words.append(part.lower() if _easy(part, known) else _spelled(part))
        elif part != "_":
            words.append(_SIGNS[part])
    if end in _WORD_ENDS:
        spoken = {"yml": "yaml"}.get(end, end)
    else:
        spoken = " ".join(
            number(p) if p.isdigit() else _spelled(p) for p in re.findall(r"\d|[a-z]+", end)
        )
    return said(" ".join([*words, "dot", spoken]))
